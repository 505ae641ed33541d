"""What a person changes in the explorer, saved at once, and undone again.

Names, orders and merges of values go into the model's own ``config.json``, so that every command knows them;
corrections go into ``labels.csv`` of the run, which `infogan train --labels` takes. A change that can not be saved does
not happen.
"""

import contextlib
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infogan.config import CategoricalCode
from infogan.data.imageset import ImageSet
from infogan.data.labels import read_labels
from infogan.errors import UserError
from infogan.explorer.collection import Collection, groups_of
from infogan.files import write_bytes
from infogan.model import InfoGAN, ModelConfig

LONGEST_NAME = 64
REMEMBERED = 100  # changes that can be undone


class Unsaved(Exception):
    """A change that could not be written, and was taken back."""


@dataclass(frozen=True)
class _Before:
    """How things stood before a change."""

    change: str
    config: ModelConfig
    labels: dict[int, str]


class Desk:
    """A model that is being named, and real images that are being corrected.

    Args:
        model: Of `folder`.
        folder: Where the model is saved.
        images: The training images, if they are to be had and the model can read them.
        labels: The file of corrections; read if it is there. None: corrections can not be kept.

    Raises:
        UserError: ``labels`` is there and can not be read.
    """

    def __init__(self, model: InfoGAN, folder: Path, images: ImageSet | None, labels: Path | None) -> None:
        self.model = model
        self.collection: Collection | None = None
        self._folder, self._labels_path = folder, labels
        self._history: list[_Before] = []
        if images is not None and labels is not None and model.networks.reads_codes and model.layout.categorical:
            known = {}
            if labels.is_file() and labels.read_bytes().strip() not in (b"", b"image,label"):
                few = read_labels(labels, images)
                named = [few.names[value] for value in few.values.tolist()]
                known = dict(zip(few.indices.tolist(), named, strict=True))
            self.collection = Collection(model, images, known)

    @property
    def undoable(self) -> str | None:
        """The change that `undo` would take back, in words."""
        return self._history[-1].change if self._history else None

    def described(self) -> dict[str, Any]:
        """What the page must know: the codes with their names and orders, and how far things are."""
        codes = []
        for name, spec in self.model.layout.codes.items():
            told: dict[str, Any] = {"name": name}
            if isinstance(spec, CategoricalCode):
                told["values"] = [
                    {
                        "value": int(value),
                        "name": self.model.value_name(name, int(value)),
                        "named": self.model.is_named(name, int(value)),
                    }
                    for value in self.model.values_of(name)
                ]
                told["groups"] = [
                    {"name": group.name, "values": list(group.values), "named": group.named}
                    for group in groups_of(self.model, name)
                ]
            codes.append(told)
        files = self.collection
        return {
            "reads": self.model.networks.reads_codes,
            "codes": codes,
            "undo": self.undoable,
            "images": None
            if files is None
            else {
                "count": len(files.images),
                "read": files.read,
                "sure": files.sure(),
                "labelled": len(files.labels),
                "code": files.code,
            },
        }

    # Changes.

    def name_value(self, code: str, value: int, name: str) -> None:
        """Names a value of a categorical code; ``""`` takes its name away. Labels follow, see `_follow`.

        Raises:
            UserError: an unknown code or value, or no name.
            Unsaved: see `Unsaved`.
        """
        if name:
            check_name(name)
        before = self._before(f"naming {code} {value}")
        called = self._called(code)
        self.model.name_codes({code: {value: name}})
        self._follow(code, called)
        self._keep(before)

    def rename_code(self, code: str, name: str) -> None:
        """Renames a code; raises as `InfoGAN.rename_code`, and Unsaved."""
        before = self._before(f"renaming {code}")
        called = self._called(code)
        self.model.rename_code(code, name)
        self._follow(name, called)
        self._keep(before)

    def order_values(self, code: str, order: Sequence[int]) -> None:
        """Orders the values of a categorical code; raises as `InfoGAN.order_values`, and Unsaved."""
        before = self._before(f"the order of {code}")
        self.model.order_values(code, order)
        self._keep(before)

    def join(self, code: str, values: Sequence[int]) -> None:
        """Says that groups of values mean the same: all values of all of them take the name of the first that has one.

        Where none has a name, it is made of their numbers, or of the first one's. Labels with their names follow.

        Raises:
            UserError: an unknown code or value, or fewer than two values.
            Unsaved: see `Unsaved`.
        """
        if len(set(values)) < 2 or not all(self._has(code, value) for value in values):
            raise UserError(f"two or more values of {code!r} are needed, not {list(values)}")
        groups = groups_of(self.model, code)
        chosen = list(dict.fromkeys(v for value in values for g in groups if value in g.values for v in g.values))
        before = self._before(f"{code} {' and '.join(map(str, chosen))} as the same")
        named = [self.model.value_name(code, value) for value in chosen if self.model.is_named(code, value)]
        joined = "+".join(map(str, chosen))
        name = named[0] if named else joined if len(joined) <= LONGEST_NAME else f"{chosen[0]}+"
        called = self._called(code)
        self.model.name_codes({code: dict.fromkeys(chosen, name)})
        self._follow(code, called, joined=True)
        self._keep(before)

    def label(self, place: int, label: str | None) -> None:
        """Says what an image shows, by the name of a group or another; None takes back what was said.

        Raises:
            UserError: there are no images, no such image, or it is no name.
            Unsaved: see `Unsaved`.
        """
        files = self.files()
        files.check(place)
        if label is not None and label not in {group.name for group in groups_of(self.model, self._filing())}:
            check_name(label)
        before = self._before(f"filing image {place}")
        if label is None:
            files.labels.pop(place, None)
        else:
            files.labels[place] = label
        self._keep(before)

    def undo(self) -> str:
        """Takes back the last change and says which; raises UserError where there is none, and Unsaved."""
        if not self._history:
            raise UserError("there is nothing to undo")
        last = self._history.pop()
        now = self._before("")
        self._restore(last)
        try:
            self._save(now)
        except Unsaved:
            self._history.append(last)
            raise
        return last.change

    def files(self) -> Collection:
        """The real images; raises UserError where there are none."""
        if self.collection is None:
            raise UserError("there are no real images here to file")
        return self.collection

    def _has(self, code: str, value: int) -> bool:
        spec = self.model.layout.code(code)
        return isinstance(spec, CategoricalCode) and 0 <= value < spec.size

    def _filing(self) -> str:
        """The name of the code that files images."""
        return self.model.first_categorical().name

    def _called(self, code: str) -> list[str]:
        """What each value of a code is called; nothing for a continuous one."""
        spec = self.model.layout.code(code)
        values = range(spec.size) if isinstance(spec, CategoricalCode) else ()
        return [self.model.value_name(code, value) for value in values]

    def _follow(self, code: str, called: list[str], *, joined: bool = False) -> None:
        """Lets labels that name a group go with it when the group is called otherwise.

        Only where that is what happened: all values of the group have the same new name, which no other value has, nor
        a label beside the groups. To take the name of another is not to become it, unless they are ``joined``.
        """
        if self.collection is None or code != self._filing():
            return
        now = self._called(code)
        labels = self.collection.labels
        beside = set(labels.values()) - set(called)
        renamed: dict[str, str] = {}
        for old in dict.fromkeys(called):
            new = {now[value] for value, name in enumerate(called) if name == old}
            others = {now[value] for value, name in enumerate(called) if name != old}
            if len(new) == 1 and (joined or not new & (others | beside)):
                renamed[old] = new.pop()
        self.collection.labels = {place: renamed.get(label, label) for place, label in labels.items()}

    def _before(self, change: str) -> _Before:
        return _Before(change, self.model.config, dict(self.collection.labels) if self.collection else {})

    def _restore(self, before: _Before) -> None:
        self.model.adopt(before.config)
        if self.collection is not None:
            self.collection.labels = dict(before.labels)

    def _keep(self, before: _Before) -> None:
        self._save(before)
        self._history = [*self._history[1 - REMEMBERED :], before]

    def _save(self, before: _Before) -> None:
        """Writes what differs from ``before``; where that fails, everything is as it was then."""
        try:
            if self.collection is not None and self.collection.labels != before.labels:
                self._save_labels()
            if self.model.config != before.config:
                self.model.save_config(self._folder)
        except Exception as error:
            print(f"error: {error}", file=sys.stderr)
            after = {} if self.collection is None else self.collection.labels
            self._restore(before)
            if after != before.labels:
                with contextlib.suppress(Exception):  # it may be the names that could not be written
                    self._save_labels()
            raise Unsaved("this could not be saved, and was taken back: the terminal says why") from error

    def _save_labels(self) -> None:
        assert self.collection is not None and self._labels_path is not None
        write_bytes(self._labels_path, labels_csv(self.collection).encode("utf-8", "surrogateescape"))


def labels_csv(files: Collection) -> str:
    """The corrections as `infogan train --labels` takes them: ``image`` and ``label``, in the order of the images."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "label"])
    writer.writerows([files.images.names[place], label] for place, label in sorted(files.labels.items()))
    return text.getvalue()


def codes_csv(files: Collection) -> str:
    """What is known of every image that was read.

    The columns are ``image``; ``label``, its group or what a person said; ``by``, ``hand`` or ``model``;
    ``probability`` of the group; then the codes, a category by its most probable value. A code that is called like
    another column is written ``code NAME``.
    """
    groups, found, probabilities = files.filed(files.code)
    readings, names = files.readings, list(files.model.layout.codes)
    columns: list[list[Any]] = []
    for place, name in enumerate(names):
        if place in readings.probabilities:
            values = readings.probabilities[place].argmax(axis=1).tolist()
            columns.append([files.model.value_name(name, value) for value in values])
        else:
            columns.append([f"{value:.6f}" for value in readings.means[place].tolist()])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    first = ["image", "label", "by", "probability"]
    writer.writerow([*first, *(f"code {name}" if name in first else name for name in names)])
    surest = np.where(found < 0, 1, probabilities[np.arange(len(found)), found])
    for place in range(files.read):
        by_hand = place in files.labels
        label = files.labels[place] if by_hand else groups[found[place]].name
        writer.writerow(
            [
                files.images.names[place],
                label,
                "hand" if by_hand else "model",
                f"{surest[place]:.6f}",
                *(column[place] for column in columns),
            ]
        )
    return text.getvalue()


def check_name(name: str) -> None:
    """Raises UserError for what can not be the name of a group."""
    if not 1 <= len(name) <= LONGEST_NAME or name != name.strip() or not name.isprintable():
        raise UserError(f"a name has 1 to {LONGEST_NAME} printable characters and no space at its ends")
