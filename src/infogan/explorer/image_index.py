"""An index of real images: what the recognizer predicts for each, and the labels that a person gave.

Images are encoded in batches, and the part that is encoded can be used at once. Codes are referred to by their position
in the layout, images by their index. The *groups* of a categorical code are its values by name: values with one name
form one group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infogan.data import ImageSet
from infogan.explorer.persistence import csv_bytes
from infogan.explorer.render import tiled_data_url
from infogan.models.groups import Group, code_columns, group_numbers, group_probabilities, groups_of, text_rows
from infogan.models.infogan import InfoGAN
from infogan.models.results import Encoding
from infogan.utils.errors import UserError

BATCH_SIZE = 250  # images encoded at a time: a rendering waits no longer than that takes
REPRESENTATIVES = 6  # images of a group at a glance
CONFIDENT = 0.95  # lowest probability of a confident prediction

Order = Literal["surest", "least", "between"]


@dataclass(frozen=True)
class Predictions:
    """What the recognizer predicts for a batch of images.

    Attributes:
        values: For each code in the layout's order: probabilities of its categories, float32 (count, size), or the mean
            of a continuous code, float32 (count,).
    """

    values: tuple[NDArray[np.float32], ...]

    @classmethod
    def from_encoding(cls, encoding: Encoding) -> "Predictions":
        """Convert the result of `InfoGAN.encode`."""
        return cls(tuple(encoding.probabilities.get(name, values) for name, values in encoding.codes.items()))

    def __getitem__(self, images: slice) -> "Predictions":
        """Return the predictions for some of the images."""
        return Predictions(tuple(values[images] for values in self.values))

    def distance(self, other: "Predictions") -> NDArray[np.float32]:
        """Return the distance in code of all images to a single other one, (count,).

        It is the Euclidean norm of the Hellinger distances of the categories (0 to 1) and half the differences of the
        continuous codes.
        """
        total: Any = 0.0
        for values, reference in zip(self.values, other.values, strict=True):
            if values.ndim == 2:
                total = total + 1 - np.sqrt(values * reference).sum(axis=1)
            else:
                total = total + ((values - reference) / 2) ** 2
        distances: NDArray[np.float32] = np.sqrt(np.maximum(total, 0, dtype=np.float32))
        return distances

    def first_as_lists(self) -> list[list[float]]:
        """Return the predictions for the first image: for each code, its probabilities or a list of its mean."""
        return [np.atleast_1d(values[0]).round(4).tolist() for values in self.values]


class GroupOverview(NamedTuple):
    """A group at a glance.

    Attributes:
        group: The group.
        size: Number of its images.
        uncertain: Number of those whose probability is below ``CONFIDENT``.
        images: Indices of images that represent it.
    """

    group: Group
    size: int
    uncertain: int
    images: list[int]


class ImageIndex:
    """Real images with their predictions and labels.

    Args:
        model: Encodes the images.
        images: The images.
        probabilities: (images, values), of the first category, from a better encoder than the model's own; None = the
            model's.

    Attributes:
        labels: Labels given by a person, by index of the image.
        encoded: Number of images that are encoded so far.
    """

    def __init__(self, model: InfoGAN, images: ImageSet, probabilities: NDArray[np.float32] | None = None) -> None:
        self.model, self.images, self._better = model, images, probabilities
        self.labels: dict[int, str] = {}
        self.encoded = 0
        count = len(images)
        sizes = {code.name: (count, code.size) for code in model.layout.categorical}
        shapes = [sizes.get(name, (count,)) for name in model.layout.codes]
        self._predictions = Predictions(tuple(np.zeros(shape, np.float32) for shape in shapes))
        self._entropy = np.zeros(count, np.float32)
        self._best = {code: np.zeros(count, np.int64) for code, shape in enumerate(shapes) if len(shape) == 2}

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
        encoding = self.model.encode(np.ascontiguousarray(self.images.images[batch]))
        if self._better is not None:
            encoding = encoding.with_probabilities(self.model.first_categorical().name, self._better[batch])
        self._entropy[batch] = encoding.entropy
        predictions = Predictions.from_encoding(encoding)
        for code, values in enumerate(predictions.values):
            self._predictions.values[code][batch] = values
            if code in self._best:
                self._best[code][batch] = values.argmax(axis=1)
        self.encoded = min(batch.stop, len(self.images))
        return True

    def refile(self, probabilities: NDArray[np.float32] | None) -> None:
        """File the images again, by other probabilities (images, values) of the first category; None = the model's."""
        self._better = probabilities
        self.encoded = 0  # `encode_next` goes through all of them again

    # Groups.

    def groups(self, code: int) -> list[Group]:
        """Return the groups of a code in display order; raises UserError if it is not categorical."""
        if code not in self._best:
            raise UserError(f"code {code} is not a categorical code of this model")
        return groups_of(self.model, list(self.model.layout.codes)[code])

    def assignments(self, code: int) -> tuple[list[Group], NDArray[np.int64]]:
        """Return the groups of a code, and for each encoded image the number of its group, (encoded,).

        A label counts as certain. An image whose label is not the name of a group has the number -1.
        """
        groups = self.groups(code)
        labels = {index: self.labels[index] for index in self._labelled()} if code == self.main_code else {}
        return groups, group_numbers(groups, self._best[code][: self.encoded], labels)

    def group_probabilities(self, code: int, indices: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the probabilities of the groups of a code, (images, groups); labels count as certain.

        Args:
            code: Position of a categorical code.
            indices: Indices of encoded images. None = all of them.
        """
        groups, numbers = self.assignments(code)
        indices = np.arange(self.encoded) if indices is None else indices
        probabilities = group_probabilities(groups, self._predictions.values[code][indices])
        if code == self.main_code:
            labelled = np.isin(indices, self._labelled())
            probabilities[labelled] = numbers[indices[labelled], np.newaxis] == np.arange(len(groups))
        return probabilities

    def ungrouped_labels(self) -> dict[str, list[int]]:
        """Return the labels that are not the name of a group, each with its encoded images."""
        names = {group.name for group in self.groups(self.main_code)}
        ungrouped: dict[str, list[int]] = {}
        for index in sorted(self._labelled()):
            if self.labels[index] not in names:
                ungrouped.setdefault(self.labels[index], []).append(index)
        return dict(sorted(ungrouped.items()))

    def overview(self, code: int) -> list[GroupOverview]:
        """Return the groups of a code in display order, each with images that represent it.

        These lie at equal steps of the more certain half of a group, so that they are typical, but not all alike.
        """
        groups, numbers = self.assignments(code)
        probabilities = self.group_probabilities(code)
        overviews = []
        for number, group in enumerate(groups):
            members = np.flatnonzero(numbers == number)
            certainty = probabilities[members, number]
            order = members[np.argsort(-certainty, kind="stable")]
            half = order[: max(min(len(order), REPRESENTATIVES), len(order) // 2)]
            steps = np.linspace(0, len(half) - 1, min(REPRESENTATIVES, len(half))).astype(int)
            uncertain = int((certainty < CONFIDENT).sum())
            overviews.append(GroupOverview(group, len(members), uncertain, half[steps].tolist()))
        return overviews

    def ranked(self, code: int, value: int | None, order: Order, other: int | None = None) -> NDArray[np.int64]:
        """Return the indices of the images of a group in an order.

        Args:
            code: Position of a categorical code.
            value: Any value of the group.
            order: ``surest`` (most probable first), ``least`` (least probable first), or ``between`` (images of both
                groups, those first that might as well belong to the other).
            other: Any value of the other group for ``between``.

        Raises:
            UserError: an unknown code or value.
        """
        _, numbers = self.assignments(code)
        group = self._group_with(code, value)
        if order != "between":
            members = np.flatnonzero(numbers == group)
            confidence = self.group_probabilities(code, members)[:, group]
            return members[np.argsort(-confidence if order == "surest" else confidence, kind="stable")]
        both = [group, self._group_with(code, other)]
        if both[0] == both[1]:
            raise UserError("the order 'between' needs another group")
        members = np.flatnonzero(np.isin(numbers, both))
        confidence = self.group_probabilities(code, members)[:, both].min(axis=1)
        return members[np.argsort(-confidence, kind="stable")]

    def by_uncertainty(self) -> NDArray[np.int64]:
        """Return the indices of the unlabelled images, highest entropy of the group probabilities first."""
        probabilities = self.group_probabilities(self.main_code)
        entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1)
        order = np.argsort(-entropy, kind="stable")
        return order[~np.isin(order, self._labelled())]

    def count_confident(self) -> int:
        """Count the images that are labelled, or in a named group with a probability of at least ``CONFIDENT``."""
        groups, numbers = self.assignments(self.main_code)
        numbers[self._labelled()] = -1
        count = len(self.labels)
        for number, group in enumerate(groups):
            if group.named:
                probabilities = self._predictions.values[self.main_code][np.flatnonzero(numbers == number)]
                count += int((probabilities[:, list(group.values)].sum(axis=1) >= CONFIDENT).sum())
        return count

    def _labelled(self) -> list[int]:
        """Return the indices of the encoded images with a label."""
        return [index for index in self.labels if index < self.encoded]

    def _group_with(self, code: int, value: int | None) -> int:
        """Return the number of the group that contains a value; raises UserError if there is none."""
        for number, group in enumerate(self.groups(code)):
            if value in group.values:
                return number
        size = self._predictions.values[code].shape[1]
        raise UserError(f"there is no value {value}: the code has the values 0 to {size - 1}")

    # Descriptions.

    def describe(self, indices: Sequence[int], code: int | None = None) -> dict[str, Any]:
        """Describe encoded images for the page.

        Args:
            indices: Indices of the images.
            code: Position of the categorical code whose groups are meant. None = the main code.

        Returns:
            ``items``: name, label, group with its probability, and predictions of each image; ``image``: all images in
            one row as a data URL, or None if there are none.
        """
        if not indices:
            return {"items": [], "image": None}
        code = self.main_code if code is None else code
        labels = self.labels if code == self.main_code else {}
        groups, numbers = self.assignments(code)
        probabilities = self.group_probabilities(code, np.asarray(indices))
        items = []
        for index, row in zip(indices, probabilities, strict=True):
            number = int(numbers[index])
            group, confidence = (groups[number].name, float(row[number])) if number >= 0 else (labels[index], 1.0)
            items.append(
                {
                    "index": index,
                    "name": printable(self.images.names[index]),
                    "label": printable(labels[index]) if index in labels else None,
                    "group": printable(group),
                    "confidence": confidence,
                    "predictions": self.predictions[index : index + 1].first_as_lists(),
                }
            )
        order = np.argsort(indices)  # a memory-mapped file is read front to back
        pixels = self.images.images[np.asarray(indices)[order]][np.argsort(order)]
        return {"items": items, "image": tiled_data_url(self.model.shown(pixels[np.newaxis]))}

    def codes_csv(self) -> bytes:
        """Return a CSV file with a row for each encoded image, with the columns of `models.groups.code_columns`."""
        code_names, values = list(self.model.layout.codes), self.predictions.values
        codes: dict[str, NDArray[Any]] = {
            name: self._best[code][: self.encoded] if code in self._best else values[code]
            for code, name in enumerate(code_names)
        }
        probabilities = {code_names[code]: values[code] for code in self._best}
        encoding = Encoding(codes, probabilities, {}, self._entropy[: self.encoded])
        names = [self.images.names[index] for index in range(self.encoded)]
        labels = {index: self.labels[index] for index in self._labelled()}
        columns = code_columns(self.model, names, encoding, labels)
        return csv_bytes([tuple(columns), *text_rows(columns)])

    def nearest(self, prediction: Predictions, count: int) -> list[int]:
        """Return the indices of the images closest in code, nearest first."""
        nearest: list[int] = np.argsort(self.predictions.distance(prediction), kind="stable")[:count].tolist()
        return nearest

    def check_index(self, index: int) -> None:
        """Raise UserError if there is no image with this index."""
        if not 0 <= index < len(self.images):
            raise UserError(f"there is no image {index}: there are {len(self.images)}")


def printable(name: str) -> str:
    """Return a name as valid text: bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")
