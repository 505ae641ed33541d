"""The changes a person makes in the explorer: applied, saved at once, and undone again.

Names, orders and merged values go into the model's ``config.json``, so that every command uses them. Labels go into
``labels.csv`` of the run, which `infogan train --labels` takes. A change that cannot be saved is undone. A change to
files that another program changed is refused.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infogan.config.schema import CategoricalCode
from infogan.data.dataset import ImageSet
from infogan.explorer.image_index import ImageIndex, groups_of, printable
from infogan.explorer.persistence import ConflictError, LabelFile, SaveError, SharedFile
from infogan.models.infogan import InfoGAN
from infogan.models.serialization import ModelConfig
from infogan.utils.errors import UserError
from infogan.utils.files import folder_lock

MAX_NAME_LENGTH = 64
MAX_UNDO = 100
CHANGED_ELSEWHERE = "another program changed the names or labels; review them and retry"


@dataclass(frozen=True)
class _Snapshot:
    """The state before a change, with the number and the description of the change."""

    number: int
    change: str
    config: ModelConfig
    labels: dict[int, str]


class Session:
    """A model whose codes are named, and real images that are labelled.

    Args:
        model: The model saved in ``folder``.
        folder: The model folder.
        images: The training images; None if they are not available.
        labels: Path of the label file, which may be missing; None if labels cannot be kept.

    Raises:
        UserError: ``labels`` exists and is malformed.
    """

    def __init__(self, model: InfoGAN, folder: Path, images: ImageSet | None, labels: Path | None) -> None:
        self.model = model
        self.index: ImageIndex | None = None
        self._folder = folder
        self._names = SharedFile(folder / "config.json")
        self._history: list[_Snapshot] = []
        self._changes = 0
        if images is not None and labels is not None and model.networks.reads_codes and model.layout.categorical:
            self._labels, self._label_file = SharedFile(labels), LabelFile(images)
            self.index = ImageIndex(model, images, {})
            self._reload_labels()

    @property
    def unloaded_labels(self) -> int:
        """Number of labels in the file whose images are not loaded."""
        return self._label_file.unloaded if self.index is not None else 0

    @property
    def undoable(self) -> tuple[int, str] | None:
        """Number and description of the change that `undo` would revert."""
        return (self._history[-1].number, self._history[-1].change) if self._history else None

    def images(self) -> ImageIndex:
        """Return the index of real images; raises UserError if there is none."""
        if self.index is None:
            raise UserError("this explorer has no real images")
        return self.index

    def labels_csv(self) -> bytes:
        """Return the content of ``labels.csv``, as `infogan train --labels` takes it."""
        return self._label_file.content(self.images().labels)

    def describe(self) -> dict[str, Any]:
        """Return the state that the page shows: codes with names, orders and groups, progress, and the last change."""
        with contextlib.suppress(UserError, SaveError, ConflictError):  # reported when something is changed
            self._reload()
        index, change = self.index, self.undoable
        images = None
        if index is not None:
            ungrouped = [{"label": label, "count": len(members)} for label, members in index.ungrouped_labels().items()]
            images = {
                "count": len(index.images),
                "encoded": index.encoded,
                "confident": index.count_confident(),
                "labelled": len(index.labels),
                "unloaded": self.unloaded_labels,
                "ungrouped": ungrouped,
                "code": index.main_code,
            }
        return {
            "recognizes": self.model.networks.reads_codes,
            "codes": [self._describe_code(name) for name in self.model.layout.codes],
            "undo": {"id": change[0], "change": change[1]} if change else None,
            "images": images,
        }

    def _describe_code(self, name: str) -> dict[str, Any]:
        if not self._is_categorical(name):
            return {"name": name}
        names, groups = self.model.value_names(name), groups_of(self.model, name)
        values = [
            {"value": value, "name": names[value], "named": self.model.is_named(name, value)}
            for value in map(int, self.model.values_of(name))
        ]
        return {
            "name": name,
            "values": values,
            "groups": [{"name": group.name, "values": list(group.values), "named": group.named} for group in groups],
        }

    # Changes. Each raises SaveError if it cannot be saved, and ConflictError if the files were changed elsewhere.

    def name_value(self, code: str, value: int, name: str) -> None:
        """Name a value of a categorical code; an empty name removes the name. Labels are renamed with their group.

        Raises:
            UserError: an unknown code or value, or an invalid name.
        """
        if name:
            check_name(name)
        with self._change(f"{code} {value} named {name!r}" if name else f"{code} {value} without a name"):
            old_names = self._value_names(code)
            self.model.name_codes({code: {value: name}})
            self._rename_labels(code, old_names)

    def rename_code(self, code: str, name: str) -> None:
        """Rename a code; raises UserError as `InfoGAN.rename_code` does."""
        with self._change(f"code {code!r} named {name!r}"):
            old_names = self._value_names(code)
            self.model.rename_code(code, name)
            self._rename_labels(name, old_names)

    def order_values(self, code: str, order: Sequence[int]) -> None:
        """Set the display order of a categorical code's values; raises UserError as `InfoGAN.order_values` does."""
        with self._change(f"the order of {code}"):
            self.model.order_values(code, order)

    def join(self, code: str, values: Sequence[int]) -> None:
        """Merge the groups of some values by giving all their values one name.

        The name is that of the first named value; if there is none, it is made of the numbers of the values.

        Raises:
            UserError: an unknown code or value, or fewer than two values.
        """
        if len(set(values)) < 2 or not all(self._has_value(code, value) for value in values):
            raise UserError(f"values {list(values)} of code {code!r}: name at least two values that it has")
        groups = groups_of(self.model, code)
        members = list(dict.fromkeys(v for value in values for g in groups if value in g.values for v in g.values))
        with self._change(f"{code} {' and '.join(map(str, members))} as the same"):
            names = [self.model.value_name(code, value) for value in members if self.model.is_named(code, value)]
            numbers = "+".join(map(str, members))
            name = names[0] if names else numbers if len(numbers) <= MAX_NAME_LENGTH else f"{members[0]}+"
            old_names = self._value_names(code)
            self.model.name_codes({code: dict.fromkeys(members, name)})
            self._rename_labels(code, old_names, joined=True)

    def label(self, image: int, label: str | None) -> None:
        """Label an image with the name of a group or another name; None removes the label.

        Raises:
            UserError: there are no images, no such image, or the name is invalid.
        """
        index = self.images()
        index.check_index(image)
        if label is not None and label not in {group.name for group in groups_of(self.model, self._main_code())}:
            check_name(label)
        name = printable(index.images.names[image])
        change = f"label of image {name} removed" if label is None else f"image {name} labelled {label!r}"
        with self._change(change):
            if label is None:
                index.labels.pop(image, None)
            else:
                index.labels[image] = label

    def undo(self, number: int) -> str:
        """Revert the last change and return its description.

        Args:
            number: Number of the change to revert, from `describe`.

        Raises:
            UserError: there is nothing to undo.
            ConflictError: this is not the last change any more.
        """
        with folder_lock(self._folder):
            if self._reload():
                raise ConflictError(CHANGED_ELSEWHERE)
            if not self._history:
                raise UserError("there is nothing to undo")
            if self._history[-1].number != number:
                raise ConflictError("another change is the last one now; review it and retry")
            last = self._history.pop()
            current = self._snapshot("")
            self._restore(last)
            try:
                self._save(current)
            except SaveError:
                self._history.append(last)
                raise
            return last.change

    def _is_categorical(self, code: str) -> bool:
        return isinstance(self.model.layout.code(code), CategoricalCode)

    def _has_value(self, code: str, value: int) -> bool:
        spec = self.model.layout.code(code)
        return isinstance(spec, CategoricalCode) and 0 <= value < spec.size

    def _main_code(self) -> str:
        """Return the name of the code that labels refer to."""
        return self.model.first_categorical().name

    def _value_names(self, code: str) -> list[str]:
        """Return the name of each value of a code; an empty list for a continuous one."""
        return self.model.value_names(code) if self._is_categorical(code) else []

    def _rename_labels(self, code: str, old_names: list[str], *, joined: bool = False) -> None:
        """Rename the labels of groups that were renamed.

        A group counts as renamed if all its values have one new name that no other value and no ungrouped label has.
        Taking over the name of another group does not count, unless the groups were ``joined``.
        """
        if self.index is None or code != self._main_code():
            return
        new_names = self._value_names(code)
        labels = self.index.labels
        ungrouped = set(labels.values()) - set(old_names)
        renamed: dict[str, str] = {}
        for old in dict.fromkeys(old_names):
            inside = {new_names[value] for value, name in enumerate(old_names) if name == old}
            outside = {new_names[value] for value, name in enumerate(old_names) if name != old}
            if len(inside) == 1 and (joined or not inside & (outside | ungrouped)):
                renamed[old] = inside.pop()
        self.index.labels = {image: renamed.get(label, label) for image, label in labels.items()}

    # Saving.

    @contextlib.contextmanager
    def _change(self, change: str) -> Iterator[None]:
        """Lock the files, check that they are unchanged, and save what the body of the ``with`` statement changes."""
        with folder_lock(self._folder):
            if self._reload():
                raise ConflictError(CHANGED_ELSEWHERE)
            before = self._snapshot(change)
            yield
            self._save(before)
            self._changes += 1
            self._history = [*self._history[1 - MAX_UNDO :], before]

    def _reload(self) -> bool:
        """Load what other programs wrote and return whether there was anything; if so, nothing can be undone any more.

        Raises:
            UserError: ``labels.csv`` is malformed.
            SaveError: ``config.json`` is malformed.
            ConflictError: ``config.json`` belongs to another model.
        """
        changed = self._reload_names()
        changed |= self.index is not None and self._reload_labels()
        if changed:
            self._history = []
        return changed

    def _reload_names(self) -> bool:
        content = self._names.read_if_changed()
        if content is None:
            return False
        try:
            config = ModelConfig.parse(content)
        except (ValueError, RecursionError):
            raise SaveError("the model's config.json is damaged; nothing was changed") from None
        if not config.is_same_model(self.model.config):
            raise ConflictError("the folder contains another model now; nothing was changed, restart the explorer")
        self._names.remember(content)
        if config == self.model.config:
            return False
        self.model.replace_config(config)
        return True

    def _reload_labels(self) -> bool:
        content = self._labels.read_if_changed()
        if content is None:
            return False
        self.images().labels = self._label_file.parse(content, str(self._labels.path))
        self._labels.remember(content)
        return True

    def _snapshot(self, change: str) -> _Snapshot:
        labels = dict(self.index.labels) if self.index else {}
        return _Snapshot(self._changes, change, self.model.config, labels)

    def _restore(self, snapshot: _Snapshot) -> None:
        self.model.replace_config(snapshot.config)
        if self.index is not None:
            self.index.labels = dict(snapshot.labels)

    def _save(self, before: _Snapshot) -> None:
        """Write what differs from a snapshot; if that fails, restore the snapshot."""
        try:
            if self.index is not None and self.index.labels != before.labels:
                self._labels.write(self.labels_csv())
            if self.model.config != before.config:
                self.model.save_config(self._folder)
                self._names.remember(self._names.path.read_bytes())
        except Exception as error:
            print(f"error: {error}", file=sys.stderr)
            labels_changed = self.index is not None and self.index.labels != before.labels
            self._restore(before)
            if labels_changed:
                with contextlib.suppress(Exception):  # perhaps only the names could not be written
                    self._labels.write(self.labels_csv())
            raise SaveError("the change could not be saved and was undone; see the terminal for the reason") from error


def check_name(name: str) -> None:
    """Raise UserError if a text cannot be the name of a group."""
    if not 1 <= len(name) <= MAX_NAME_LENGTH or name != name.strip() or not name.isprintable():
        raise UserError(f"names have 1 to {MAX_NAME_LENGTH} printable characters and no space at the ends")
