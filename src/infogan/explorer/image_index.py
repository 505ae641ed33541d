"""An index of real images: what the recognizer predicts for each, and the labels that a person gave.

Images are encoded in batches, and the part that is encoded can be used at once. Codes are referred to by their position
in the layout, images by their index. The *groups* of a categorical code are its values by name: values with one name
form one group.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data import ImageSet
from infogan.models.infogan import InfoGAN
from infogan.models.results import Encoding
from infogan.utils.errors import UserError

BATCH_SIZE = 250  # images encoded at a time: a rendering waits no longer than that takes
CONFIDENT = 0.95  # lowest probability of a confident prediction
ORDERS = ("surest", "least", "between")


@dataclass(frozen=True)
class Group:
    """Values of a categorical code that share a name.

    Attributes:
        name: Displayed name.
        values: Numbers of the values.
        named: Whether the name was given by a person or taken from labels.
    """

    name: str
    values: tuple[int, ...]
    named: bool


def groups_of(model: InfoGAN, code: str) -> list[Group]:
    """Return the groups of a categorical code in display order."""
    values_by_name: dict[str, list[int]] = {}
    names = model.value_names(code)
    for value in map(int, model.values_of(code)):
        values_by_name.setdefault(names[value], []).append(value)
    return [Group(name, tuple(values), model.is_named(code, values[0])) for name, values in values_by_name.items()]


@dataclass(frozen=True)
class Predictions:
    """What the recognizer predicts for a batch of images, by position of the code.

    Attributes:
        probabilities: For each categorical code, float32 (count, size).
        means: For each continuous code, float32 (count,).
    """

    probabilities: dict[int, NDArray[np.float32]]
    means: dict[int, NDArray[np.float32]]

    @classmethod
    def from_encoding(cls, encoding: Encoding) -> "Predictions":
        """Convert the result of `InfoGAN.encode`."""
        probabilities, means = {}, {}
        for position, (name, values) in enumerate(encoding.codes.items()):
            if name in encoding.probabilities:
                probabilities[position] = encoding.probabilities[name]
            else:
                means[position] = values
        return cls(probabilities, means)

    def __getitem__(self, index: Any) -> "Predictions":
        """Return the predictions for some of the images."""
        return Predictions(
            {code: values[index] for code, values in self.probabilities.items()},
            {code: values[index] for code, values in self.means.items()},
        )

    def distance(self, other: "Predictions") -> NDArray[np.float32]:
        """Return the distance in code of all images to a single other one, (count,).

        It is the Euclidean norm of the Hellinger distances of the categories (0 to 1) and half the differences of the
        continuous codes.
        """
        total: Any = 0.0
        for code, p in self.probabilities.items():
            total = total + 1 - np.sqrt(p * other.probabilities[code]).sum(axis=1)
        for code, mean in self.means.items():
            total = total + ((mean - other.means[code]) / 2) ** 2
        distances: NDArray[np.float32] = np.sqrt(np.maximum(total, 0, dtype=np.float32))
        return distances

    def first_as_lists(self) -> list[list[float]]:
        """Return the predictions for the first image: for each code, its probabilities or a list of its mean."""
        parts = {**self.probabilities, **self.means}
        return [np.atleast_1d(parts[code][0]).round(4).tolist() for code in sorted(parts)]


class ImageIndex:
    """Real images with their predictions and labels.

    Args:
        model: Encodes the images.
        images: The images.
        labels: Labels given by a person, by index of the image.
    """

    def __init__(self, model: InfoGAN, images: ImageSet, labels: Mapping[int, str]) -> None:
        self.model, self.images = model, images
        self.labels = dict(labels)
        self.encoded = 0
        count = len(images)
        codes = list(enumerate(model.layout.codes))
        sizes = {code.name: code.size for code in model.layout.categorical}
        self._predictions = Predictions(
            {position: np.zeros((count, sizes[name]), np.float32) for position, name in codes if name in sizes},
            {position: np.zeros(count, np.float32) for position, name in codes if name not in sizes},
        )
        self._best = {position: np.zeros(count, np.int64) for position in self._predictions.probabilities}

    @property
    def main_code(self) -> int:
        """Position of the code that labels refer to: the first categorical one."""
        return list(self.model.layout.codes).index(self.model.first_categorical().name)

    @property
    def predictions(self) -> Predictions:
        """Predictions for the images that are encoded so far."""
        return self._predictions[: self.encoded]

    def encode_next(self) -> bool:
        """Encode the next batch; return False if all images are encoded already."""
        if self.encoded == len(self.images):
            return False
        batch = slice(self.encoded, self.encoded + BATCH_SIZE)
        predictions = Predictions.from_encoding(self.model.encode(np.ascontiguousarray(self.images.images[batch])))
        for code, probabilities in predictions.probabilities.items():
            self._predictions.probabilities[code][batch] = probabilities
            self._best[code][batch] = probabilities.argmax(axis=1)
        for code, means in predictions.means.items():
            self._predictions.means[code][batch] = means
        self.encoded = min(batch.stop, len(self.images))
        return True

    # Groups.

    def assignments(self, code: int) -> tuple[list[Group], NDArray[np.int64]]:
        """Return the groups of a code, and for each encoded image the number of its group, (encoded,).

        A label counts as certain. An image whose label is not the name of a group has the number -1.
        """
        groups = groups_of(self.model, list(self.model.layout.codes)[code])
        group_of_value = np.zeros(self._predictions.probabilities[code].shape[1], np.int64)
        for number, group in enumerate(groups):
            group_of_value[list(group.values)] = number
        # By the most probable value, as in `InfoGAN.encode`: where values share a name, another group can be likelier.
        numbers = group_of_value[self._best[code][: self.encoded]]
        if code == self.main_code:
            number_of_name = {group.name: number for number, group in enumerate(groups)}
            for index, label in self.labels.items():
                if index < self.encoded:
                    numbers[index] = number_of_name.get(label, -1)
        return groups, numbers

    def group_probabilities(self) -> NDArray[np.float32]:
        """Return the probabilities of the groups of the main code, (encoded, groups); labels count as certain."""
        groups, numbers = self.assignments(self.main_code)
        values = self.predictions.probabilities[self.main_code]
        by_group = [value for group in groups for value in group.values]
        starts = np.cumsum([0, *(len(group.values) for group in groups[:-1])])
        probabilities: NDArray[np.float32] = np.add.reduceat(values[:, by_group], starts, axis=1)
        labelled = [index for index in self.labels if index < self.encoded]
        probabilities[labelled] = 0
        grouped = [index for index in labelled if numbers[index] >= 0]
        probabilities[grouped, numbers[grouped]] = 1
        return probabilities

    def group_with(self, code: int, value: int) -> int:
        """Return the number of the group that contains a value; raises UserError if there is none."""
        groups = groups_of(self.model, list(self.model.layout.codes)[self.check_categorical(code)])
        for number, group in enumerate(groups):
            if value in group.values:
                return number
        size = self._predictions.probabilities[code].shape[1]
        raise UserError(f"there is no value {value}: the code has the values 0 to {size - 1}")

    def ungrouped_labels(self) -> dict[str, list[int]]:
        """Return the labels that are not the name of a group, each with its encoded images."""
        names = {group.name for group in groups_of(self.model, self.model.first_categorical().name)}
        ungrouped: dict[str, list[int]] = {}
        for index, label in sorted(self.labels.items()):
            if label not in names and index < self.encoded:
                ungrouped.setdefault(label, []).append(index)
        return dict(sorted(ungrouped.items()))

    def ranked(self, code: int, group: int, order: str, other: int | None = None) -> NDArray[np.int64]:
        """Return the indices of the images of a group in an order.

        Args:
            code: Position of a categorical code.
            group: Number of the group.
            order: ``surest`` (most probable first), ``least`` (least probable first), or ``between`` (images of both
                groups, those first that might as well belong to the other).
            other: Number of the other group for ``between``.

        Raises:
            UserError: an unknown code, group or order.
        """
        groups, numbers = self.assignments(self.check_categorical(code))
        for number in (group, other):
            if number is not None and not 0 <= number < len(groups):
                raise UserError(f"there is no group {number}: the code has {len(groups)}")
        if order not in ORDERS:
            raise UserError(f"unknown order {order!r}: allowed are {', '.join(ORDERS)}")
        if order != "between":
            members = np.flatnonzero(numbers == group)
            confidence = self._confidence(code, groups[group], members)
            return members[np.argsort(-confidence if order == "surest" else confidence, kind="stable")]
        if other is None or other == group:
            raise UserError("the order 'between' needs another group")
        candidates = np.flatnonzero((numbers == group) | (numbers == other))
        both = np.minimum(*(self._confidence(code, groups[number], candidates) for number in (group, other)))
        return candidates[np.argsort(-both, kind="stable")]

    def _confidence(self, code: int, group: Group, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the probability of a group for some encoded images; labels count as certain."""
        rows = self._predictions.probabilities[code][indices]
        confidence: NDArray[np.float32] = rows[:, list(group.values)].sum(axis=1)
        if code == self.main_code:
            for row, index in enumerate(indices.tolist()):
                if index in self.labels:
                    confidence[row] = self.labels[index] == group.name
        return confidence

    def by_uncertainty(self) -> NDArray[np.int64]:
        """Return the indices of the unlabelled images, highest entropy of the group probabilities first."""
        probabilities = self.group_probabilities()
        entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1)
        order = np.argsort(-entropy, kind="stable")
        return order[~np.isin(order, list(self.labels))]

    def count_confident(self) -> int:
        """Count the images that are labelled, or in a named group with a probability of at least ``CONFIDENT``."""
        groups, numbers = self.assignments(self.main_code)
        numbers[[index for index in self.labels if index < self.encoded]] = -1
        count = len(self.labels)
        for number, group in enumerate(groups):
            if group.named:
                members = np.flatnonzero(numbers == number)
                count += int((self._confidence(self.main_code, group, members) >= CONFIDENT).sum())
        return count

    # Descriptions.

    def describe(self, indices: Sequence[int], code: int | None = None) -> list[dict[str, Any]]:
        """Describe encoded images for the page: name, label, group with its probability, and predictions.

        Args:
            indices: Indices of the images.
            code: Position of the categorical code whose groups are meant. None = the main code.
        """
        labels = self.labels if code in (None, self.main_code) else {}
        code = self.main_code if code is None else code
        groups, numbers = self.assignments(code)
        items = []
        for index in map(int, indices):
            number, confidence = int(numbers[index]), 1.0
            if number >= 0:
                confidence = float(self._confidence(code, groups[number], np.array([index]))[0])
            items.append(
                {
                    "index": index,
                    "name": printable(self.images.names[index]),
                    "label": printable(labels[index]) if index in labels else None,
                    "group": printable(groups[number].name if number >= 0 else labels[index]),
                    "confidence": confidence,
                    "predictions": self.predictions[index : index + 1].first_as_lists(),
                }
            )
        return items

    def codes_csv(self) -> str:
        """Return a CSV file with a row for each encoded image.

        The columns are ``image``; ``label``, the person's label or else the group; ``by``, ``hand`` or ``model``;
        ``probability`` of the group; then the codes, a category by its most probable value. A code whose name is one of
        the other columns is written as ``code NAME``.
        """
        groups, numbers = self.assignments(self.main_code)
        confidence = self.group_probabilities()[np.arange(len(numbers)), numbers]
        columns: list[list[str]] = []
        for code, name in enumerate(self.model.layout.codes):
            if code in self._best:
                names = self.model.value_names(name)
                columns.append([names[value] for value in self._best[code][: self.encoded]])
            else:
                columns.append([f"{value:.6f}" for value in self.predictions.means[code].tolist()])
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        fixed = ["image", "label", "by", "probability"]
        writer.writerow([*fixed, *(f"code {name}" if name in fixed else name for name in self.model.layout.codes)])
        for index in range(self.encoded):
            by_hand = index in self.labels
            label = self.labels[index] if by_hand else groups[numbers[index]].name
            probability = 1.0 if by_hand else confidence[index]
            codes = [column[index] for column in columns]
            writer.writerow(
                [self.images.names[index], label, "hand" if by_hand else "model", f"{probability:.6f}", *codes]
            )
        return text.getvalue()

    def nearest(self, prediction: Predictions, count: int) -> list[int]:
        """Return the indices of the images closest in code, nearest first."""
        distances = self.predictions.distance(prediction)
        return [int(index) for index in np.argsort(distances, kind="stable")[:count]]

    # Checks.

    def check_categorical(self, code: int) -> int:
        """Return the position of a categorical code; raises UserError if it is not one."""
        if code not in self._best:
            raise UserError(f"code {code} is not a categorical code of this model")
        return code

    def check_index(self, index: int) -> None:
        """Raise UserError if there is no image with this index."""
        if not 0 <= index < len(self.images):
            raise UserError(f"there is no image {index}: there are {len(self.images)}")


def printable(name: str) -> str:
    """Return a name as valid text: bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")
