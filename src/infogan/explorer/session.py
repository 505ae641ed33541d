"""The changes a person makes in the explorer: applied, saved at once, and undone again.

Names, orders and merged values go into the model's ``config.json``, so that every command uses them. Labels go into
``labels.csv`` of the run, which `infogan train --labels` takes. A change that cannot be saved is undone. A change to
files that another program changed is refused.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infogan.config.schema import CategoricalCode
from infogan.data.dataset import ImageSet
from infogan.explorer.image_index import ImageIndex, printable
from infogan.explorer.persistence import ConflictError, LabelFile, SaveError, SharedFile
from infogan.models.groups import groups_of
from infogan.models.infogan import InfoGAN
from infogan.models.serialization import ModelConfig
from infogan.utils.errors import UserError
from infogan.utils.files import folder_lock

MAX_NAME_LENGTH = 64
MAX_UNDO = 100


class _State(NamedTuple):
    """What can be changed: the names and orders of a model, and the labels of images."""

    config: ModelConfig
    labels: dict[int, str]


class _Change(NamedTuple):
    """A change that can be undone: its number, its description, and the state before it."""

    number: int
    description: str
    before: _State


class Session:
    """A model whose codes are named, and real images that are labelled.

    Args:
        model: The model saved in ``folder``.
        folder: The model folder.
        images: The training images; None if they are not available.
        labels: Path of the label file, which may be missing; None if labels cannot be kept.
        probabilities: As for `ImageIndex`.

    Raises:
        UserError: ``labels`` exists and is malformed.
    """

    def __init__(
        self,
        model: InfoGAN,
        folder: Path,
        images: ImageSet | None,
        labels: Path | None,
        probabilities: NDArray[np.float32] | None = None,
    ) -> None:
        self.model = model
        self.index: ImageIndex | None = None
        self._folder = folder
        self._config = SharedFile(folder / "config.json")
        self._history: list[_Change] = []
        self._changes = 0
        if images is not None and labels is not None and model.networks.reads_codes and model.layout.categorical:
            self._labels, self._label_file = SharedFile(labels), LabelFile(images)
            self.index = ImageIndex(model, images, probabilities)
            self._labels.reload(self._load_labels)

    @property
    def unloaded_labels(self) -> int:
        """Number of labels in the file whose images are not loaded."""
        return self._label_file.unloaded if self.index is not None else 0

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
        index, images, undo = self.index, None, None
        if self._history:
            undo = {"id": self._history[-1].number, "change": self._history[-1].description}
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
            "undo": undo,
            "images": images,
        }

    def _describe_code(self, name: str) -> dict[str, Any]:
        if not isinstance(self.model.layout.code(name), CategoricalCode):
            return {"name": name}
        names = self.model.value_names(name)
        values = [
            {"value": value, "name": names[value], "named": self.model.is_named(name, value)}
            for value in map(int, self.model.values_of(name))
        ]
        return {
            "name": name,
            "values": values,
            "groups": [group._asdict() for group in groups_of(self.model, name)],
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
            self.model.name_codes({code: {value: name}})

    def rename_code(self, code: str, name: str) -> None:
        """Rename a code; raises UserError as `InfoGAN.rename_code` does."""
        with self._change(f"code {code!r} named {name!r}"):
            self.model.rename_code(code, name)

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
        group_of = {value: group for group in groups_of(self.model, code) for value in group.values}
        if len(set(values)) < 2 or not group_of.keys() >= set(values):
            raise UserError(f"values {list(values)} of code {code!r}: name at least two values that it has")
        groups = [group_of[value] for value in values]
        members = list(dict.fromkeys(value for group in groups for value in group.values))
        numbers = "+".join(map(str, members))
        default = numbers if len(numbers) <= MAX_NAME_LENGTH else f"{members[0]}+"
        name = next((group.name for group in groups if group.named), default)
        with self._change(f"{code} {' and '.join(map(str, members))} as the same", joined=True):
            self.model.name_codes({code: dict.fromkeys(members, name)})

    def label(self, images: Sequence[int], label: str | None) -> None:
        """Label images with the name of a group or another name; None removes their labels.

        Raises:
            UserError: there are no images, no such image, or the name is invalid.
        """
        index = self.images()
        if not images:
            raise UserError("no image is selected")
        for image in images:
            index.check_index(image)
        if label is not None and label not in self._main_names():
            check_name(label)
        single = len(set(images)) == 1
        what = f"image {printable(index.images.names[images[0]])}" if single else f"{len(set(images))} images"
        change = f"label of {what} removed" if label is None else f"{what} labelled {label!r}"
        with self._change(change):
            index.labels = {number: text for number, text in index.labels.items() if number not in set(images)}
            if label is not None:
                index.labels |= dict.fromkeys(images, label)

    def undo(self, number: int) -> None:
        """Revert the last change.

        Args:
            number: Number of the change to revert, from `describe`.

        Raises:
            UserError: there is nothing to undo.
            ConflictError: this is not the last change any more.
        """
        with self._saving():
            if not self._history:
                raise UserError("there is nothing to undo")
            if self._history[-1].number != number:
                raise ConflictError("another change is the last one now; review it and retry")
            self._restore(self._history[-1].before)
        self._history.pop()

    # Saving.

    @contextlib.contextmanager
    def _change(self, description: str, *, joined: bool = False) -> Iterator[None]:
        """Save what the body of the ``with`` statement changes, and labels of renamed groups; allow to undo it all."""
        with self._saving() as before:
            old_names = self._main_names()
            yield
            if self.index is not None:
                self.index.labels = _renamed(self.index.labels, old_names, self._main_names(), joined=joined)
        self._history = [*self._history[1 - MAX_UNDO :], _Change(self._changes, description, before)]
        self._changes += 1

    @contextlib.contextmanager
    def _saving(self) -> Iterator[_State]:
        """Lock the files, check that they are unchanged, and save what the body of the ``with`` statement changes.

        Yields:
            The state before.
        """
        with folder_lock(self._folder):
            if self._reload():
                raise ConflictError("another program changed the names or labels; review them and retry")
            before = self._state()
            yield before
            self._save(before)

    def _reload(self) -> bool:
        """Load what other programs wrote and return whether there was anything; if so, nothing can be undone any more.

        Raises:
            UserError: ``labels.csv`` is malformed.
            SaveError: ``config.json`` is malformed.
            ConflictError: ``config.json`` belongs to another model.
        """
        changed = self._config.reload(self._load_config)
        changed |= self.index is not None and self._labels.reload(self._load_labels)
        if changed:
            self._history = []
        return changed

    def _load_config(self, content: bytes) -> bool:
        try:
            config = ModelConfig.parse(content)
        except (ValueError, RecursionError):
            raise SaveError("the model's config.json is damaged; nothing was changed") from None
        if not config.is_same_model(self.model.config):
            raise ConflictError("the folder contains another model now; nothing was changed, restart the explorer")
        if config == self.model.config:
            return False
        self.model.replace_config(config)
        return True

    def _load_labels(self, content: bytes) -> bool:
        self.images().labels = self._label_file.parse(content, str(self._labels.path))
        return True

    def _main_names(self) -> list[str]:
        """Return the name of each value of the code that labels refer to; an empty list without real images."""
        return [] if self.index is None else self.model.value_names(self.model.first_categorical().name)

    def _state(self) -> _State:
        return _State(self.model.config, {} if self.index is None else self.index.labels)

    def _restore(self, state: _State) -> None:
        self.model.replace_config(state.config)
        if self.index is not None:
            self.index.labels = state.labels

    def _save(self, before: _State) -> None:
        """Write what differs from the state ``before``; if that fails, restore it."""
        after = self._state()
        try:
            if after.labels != before.labels:
                self._labels.write(self.labels_csv())
            if after.config != before.config:
                self.model.save_config(self._folder)
                self._config.reload(self._load_config)  # from now on its content is the known one
        except Exception as error:
            print(f"error: {error}", file=sys.stderr)
            self._restore(before)
            if after.labels != before.labels:
                with contextlib.suppress(Exception):  # perhaps only the names could not be written
                    self._labels.write(self.labels_csv())
            raise SaveError("the change could not be saved and was undone; see the terminal for the reason") from error


def _renamed(
    labels: dict[int, str], old_names: list[str], new_names: list[str], *, joined: bool = False
) -> dict[int, str]:
    """Return the labels after groups were renamed.

    A group counts as renamed if all its values have one new name that no other value and no ungrouped label has.
    Taking over the name of another group does not count, unless the groups were ``joined``.

    Args:
        labels: Labels by index of the image.
        old_names: The name of each value before.
        new_names: The name of each value now.
        joined: Whether groups were merged.
    """
    names_of_group: dict[str, set[str]] = {}
    for old, new in zip(old_names, new_names, strict=True):
        names_of_group.setdefault(old, set()).add(new)
    sources = Counter(new for names in names_of_group.values() for new in names)
    ungrouped = set(labels.values()) - set(old_names)
    renamed = {}
    for old, names in names_of_group.items():
        [new, *others] = names
        if not others and (joined or (sources[new] == 1 and new not in ungrouped)):
            renamed[old] = new
    return {image: renamed.get(label, label) for image, label in labels.items()}


def check_name(name: str) -> None:
    """Raise UserError if a text cannot be the name of a group."""
    if not 1 <= len(name) <= MAX_NAME_LENGTH or name != name.strip() or not name.isprintable():
        raise UserError(f"names have 1 to {MAX_NAME_LENGTH} printable characters and no space at the ends")
