"""What a person changes in the explorer, saved at once, and undone again.

Names, orders and merges of values go into the model's own ``config.json``, so that every command knows them;
corrections go into ``labels.csv`` of the run, which `infogan train --labels` takes. A change that can not be saved does
not happen, nor one to what others changed meanwhile.
"""

import contextlib
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infogan.config.schema import CategoricalCode
from infogan.data.dataset import ImageSet
from infogan.explorer.collection import Collection, groups_of, printable
from infogan.explorer.saved import LabelBook, Outdated, SharedFile, Unsaved
from infogan.models.infogan import InfoGAN
from infogan.models.serialization import ModelConfig
from infogan.utils.errors import UserError
from infogan.utils.files import folder_lock

LONGEST_NAME = 64
REMEMBERED = 100  # changes that can be undone
CHANGED_ELSEWHERE = "the names or labels were changed elsewhere meanwhile: look at them and say it again"


@dataclass(frozen=True)
class _Before:
    """How things stood before a change, and its number among all changes."""

    number: int
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
        self._folder = folder
        self._names = SharedFile(folder / "config.json")
        self._history: list[_Before] = []
        self._changes = 0
        if images is not None and labels is not None and model.networks.reads_codes and model.layout.categorical:
            self._labels, self._book = SharedFile(labels), LabelBook(images)
            self.collection = Collection(model, images, {})
            self._look_at_labels()

    @property
    def beside(self) -> int:
        """How many labels are kept of images that are not here."""
        return self._book.beside if self.collection is not None else 0

    @property
    def undoable(self) -> tuple[int, str] | None:
        """The change that `undo` would take back: its number, and what it was in words."""
        return (self._history[-1].number, self._history[-1].change) if self._history else None

    def described(self) -> dict[str, Any]:
        """What the page must know: the codes with their names and orders, and how far things are."""
        with contextlib.suppress(UserError, Unsaved, Outdated):  # who changes something is told
            self._look()
        codes = []
        for name, spec in self.model.layout.codes.items():
            told: dict[str, Any] = {"name": name}
            if isinstance(spec, CategoricalCode):
                called = self.model.value_names(name)
                told["values"] = [
                    {
                        "value": int(value),
                        "name": called[int(value)],
                        "named": self.model.is_named(name, int(value)),
                    }
                    for value in self.model.values_of(name)
                ]
                told["groups"] = [
                    {"name": group.name, "values": list(group.values), "named": group.named}
                    for group in groups_of(self.model, name)
                ]
            codes.append(told)
        files, last = self.collection, self.undoable
        return {
            "reads": self.model.networks.reads_codes,
            "codes": codes,
            "undo": {"id": last[0], "change": last[1]} if last else None,
            "images": None
            if files is None
            else {
                "count": len(files.images),
                "read": files.read,
                "sure": files.sure(),
                "labelled": len(files.labels),
                "beside": self.beside,
                "strays": [{"label": label, "count": len(places)} for label, places in files.strays().items()],
                "code": files.code,
            },
        }

    # Changes.

    def name_value(self, code: str, value: int, name: str) -> None:
        """Names a value of a categorical code; ``""`` takes its name away. Labels follow, see `_follow`.

        Raises:
            UserError: an unknown code or value, or no name.
            Unsaved: see `Unsaved`.
            Outdated: see `Outdated`.
        """
        if name:
            check_name(name)
        with self._changing(f"{code} {value} named {name!r}" if name else f"{code} {value} without a name"):
            called = self._called(code)
            self.model.name_codes({code: {value: name}})
            self._follow(code, called)

    def rename_code(self, code: str, name: str) -> None:
        """Renames a code; raises as `InfoGAN.rename_code`, and Unsaved and Outdated."""
        with self._changing(f"code {code!r} named {name!r}"):
            called = self._called(code)
            self.model.rename_code(code, name)
            self._follow(name, called)

    def order_values(self, code: str, order: Sequence[int]) -> None:
        """Orders the values of a categorical code; raises as `InfoGAN.order_values`, and Unsaved and Outdated."""
        with self._changing(f"the order of {code}"):
            self.model.order_values(code, order)

    def join(self, code: str, values: Sequence[int]) -> None:
        """Says that groups of values mean the same: all values of all of them take the name of the first that has one.

        Where none has a name, it is made of their numbers, or of the first one's. Labels with their names follow.

        Raises:
            UserError: an unknown code or value, or fewer than two values.
            Unsaved: see `Unsaved`.
            Outdated: see `Outdated`.
        """
        if len(set(values)) < 2 or not all(self._has(code, value) for value in values):
            raise UserError(f"two or more values of {code!r} are needed, not {list(values)}")
        groups = groups_of(self.model, code)
        chosen = list(dict.fromkeys(v for value in values for g in groups if value in g.values for v in g.values))
        with self._changing(f"{code} {' and '.join(map(str, chosen))} as the same"):
            named = [self.model.value_name(code, value) for value in chosen if self.model.is_named(code, value)]
            joined = "+".join(map(str, chosen))
            name = named[0] if named else joined if len(joined) <= LONGEST_NAME else f"{chosen[0]}+"
            called = self._called(code)
            self.model.name_codes({code: dict.fromkeys(chosen, name)})
            self._follow(code, called, joined=True)

    def label(self, place: int, label: str | None) -> None:
        """Says what an image shows, by the name of a group or another; None takes back what was said.

        Raises:
            UserError: there are no images, no such image, or it is no name.
            Unsaved: see `Unsaved`.
            Outdated: see `Outdated`.
        """
        files = self.files()
        files.check(place)
        if label is not None and label not in {group.name for group in groups_of(self.model, self._filing())}:
            check_name(label)
        image = printable(files.images.names[place])
        with self._changing(
            f"image {image} as the model says" if label is None else f"image {image} filed as {label!r}"
        ):
            if label is None:
                files.labels.pop(place, None)
            else:
                files.labels[place] = label

    def undo(self, number: int) -> str:
        """Takes back the last change and says which.

        Args:
            number: Of the change that is meant, as `described` tells it.

        Raises:
            UserError: there is nothing to undo.
            Unsaved: see `Unsaved`.
            Outdated: another change is the last by now; or see `Outdated`.
        """
        with folder_lock(self._folder):
            if self._look():
                raise Outdated(CHANGED_ELSEWHERE)
            if not self._history:
                raise UserError("there is nothing to undo")
            if self._history[-1].number != number:
                raise Outdated("another change is the last by now: look at what undo would take back, and say it again")
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

    def labels_csv(self) -> bytes:
        """The corrections as they are saved: as `infogan train --labels` takes them.

        The columns are ``image`` and ``label``, and others that the file has; the rows come in the order of the images.
        """
        return self._book.content(self.files().labels)

    def _has(self, code: str, value: int) -> bool:
        spec = self.model.layout.code(code)
        return isinstance(spec, CategoricalCode) and 0 <= value < spec.size

    def _filing(self) -> str:
        """The name of the code that files images."""
        return self.model.first_categorical().name

    def _called(self, code: str) -> list[str]:
        """What each value of a code is called; nothing for a continuous one."""
        return self.model.value_names(code) if isinstance(self.model.layout.code(code), CategoricalCode) else []

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

    # Saving.

    @contextlib.contextmanager
    def _changing(self, change: str) -> Iterator[None]:
        """Holds the files, looks what others did to them, and saves what is changed inside; raises as `name_value`."""
        with folder_lock(self._folder):
            if self._look():
                raise Outdated(CHANGED_ELSEWHERE)
            before = self._before(change)
            yield
            self._save(before)
            self._changes += 1
            self._history = [*self._history[1 - REMEMBERED :], before]

    def _look(self) -> bool:
        """Takes up what others wrote, after which nothing can be undone; whether there was any.

        Raises:
            UserError: ``labels.csv`` can not be read.
            Unsaved: ``config.json`` can not be read, or is of another model.
        """
        news = self._look_at_names()
        news |= self.collection is not None and self._look_at_labels()
        if news:
            self._history = []
        return news

    def _look_at_names(self) -> bool:
        content = self._names.news()
        if content is None:
            return False
        try:
            config = ModelConfig.parse(content)
        except (ValueError, RecursionError):
            raise Unsaved("config.json of the model can not be read any more, so nothing was changed") from None
        if not config.is_of_the_same_model(self.model.config):
            raise Outdated("another model lies in the folder by now, so nothing was changed: start the explorer again")
        self._names.know(content)
        if config == self.model.config:
            return False
        self.model.adopt(config)
        return True

    def _look_at_labels(self) -> bool:
        assert self.collection is not None
        content = self._labels.news()
        if content is None:
            return False
        self.collection.labels = self._book.take(content, str(self._labels.path))
        self._labels.know(content)
        return True

    def _before(self, change: str) -> _Before:
        labels = dict(self.collection.labels) if self.collection else {}
        return _Before(self._changes, change, self.model.config, labels)

    def _restore(self, before: _Before) -> None:
        self.model.adopt(before.config)
        if self.collection is not None:
            self.collection.labels = dict(before.labels)

    def _save(self, before: _Before) -> None:
        """Writes what differs from ``before``; where that fails, everything is as it was then."""
        try:
            if self.collection is not None and self.collection.labels != before.labels:
                self._save_labels()
            if self.model.config != before.config:
                self.model.save_config(self._folder)
                self._names.know(self._names.path.read_bytes())
        except Exception as error:
            print(f"error: {error}", file=sys.stderr)
            after = {} if self.collection is None else self.collection.labels
            self._restore(before)
            if after != before.labels:
                with contextlib.suppress(Exception):  # it may be the names that could not be written
                    self._save_labels()
            raise Unsaved("this could not be saved, and was taken back: the terminal says why") from error

    def _save_labels(self) -> None:
        self._labels.write(self.labels_csv())


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
