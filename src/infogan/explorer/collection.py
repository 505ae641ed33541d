"""Real images filed under the codes, with the corrections of a person.

Images are read in pieces, and what is read so far is there to be looked at. Codes go by their place in the layout. The
*groups* of a categorical code are its values with one name: two values that a person called the same are one group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data import ImageSet
from infogan.models.infogan import Encoding, InfoGAN
from infogan.utils.errors import UserError

PIECE = 250  # images read at a time: what is drawn waits no longer than that takes
SURE = 0.95  # from this probability on, what the recognizer says counts as sure
ORDERS = ("surest", "least", "between")


@dataclass(frozen=True)
class Group:
    """Values of a categorical code that share a name.

    Attributes:
        name: As shown.
        values: Their numbers.
        named: Whether a person, or labels, gave the name.
    """

    name: str
    values: tuple[int, ...]
    named: bool


def groups_of(model: InfoGAN, code: str) -> list[Group]:
    """The groups of a categorical code, in the order it is shown in."""
    found: dict[str, list[int]] = {}
    called = model.value_names(code)
    for value in map(int, model.values_of(code)):
        found.setdefault(called[value], []).append(value)
    return [Group(name, tuple(values), model.is_named(code, values[0])) for name, values in found.items()]


@dataclass(frozen=True)
class Readings:
    """What the recognizer reads in images, by the place of the code.

    Attributes:
        probabilities: Of a categorical code: float32 (count, size).
        means: Of a continuous code: float32 (count,).
    """

    probabilities: dict[int, NDArray[np.float32]]
    means: dict[int, NDArray[np.float32]]

    @classmethod
    def of(cls, encoding: Encoding) -> "Readings":
        """Those of an encoding."""
        return cls(
            {
                i: encoding.probabilities[name]
                for i, name in enumerate(encoding.codes)
                if name in encoding.probabilities
            },
            {i: encoding.codes[name] for i, name in enumerate(encoding.codes) if name not in encoding.probabilities},
        )

    def __getitem__(self, chosen: Any) -> "Readings":
        """Those of some of the images."""
        return Readings(
            {place: values[chosen] for place, values in self.probabilities.items()},
            {place: values[chosen] for place, values in self.means.items()},
        )

    def distance(self, other: "Readings") -> NDArray[np.float32]:
        """How far the codes of all images are from those of a single one, (count,).

        The Euclidean length of the Hellinger distances of the categories (0 the same, 1 nothing in common) and of half
        the differences of the continuous codes.
        """
        total: Any = 0.0
        for place, p in self.probabilities.items():
            total = total + 1 - np.sqrt(p * other.probabilities[place]).sum(axis=1)
        for place, mean in self.means.items():
            total = total + ((mean - other.means[place]) / 2) ** 2
        distances: NDArray[np.float32] = np.sqrt(np.maximum(total, 0, dtype=np.float32))
        return distances


class Collection:
    """Images, what is read in them, and what a person says of them.

    Args:
        model: Reads them.
        images: To be filed.
        labels: What a person has said already: by place of the image, the name of what it shows.
    """

    def __init__(self, model: InfoGAN, images: ImageSet, labels: Mapping[int, str]) -> None:
        self.model, self.images = model, images
        self.labels = dict(labels)
        self.read = 0
        count = len(images)
        codes = list(enumerate(model.layout.codes))
        sizes = {code.name: code.size for code in model.layout.categorical}
        self._readings = Readings(
            {place: np.zeros((count, sizes[name]), np.float32) for place, name in codes if name in sizes},
            {place: np.zeros(count, np.float32) for place, name in codes if name not in sizes},
        )
        self._best = {place: np.zeros(count, np.int64) for place in self._readings.probabilities}

    @property
    def code(self) -> int:
        """The place of the code that files images: the first categorical one."""
        return list(self.model.layout.codes).index(self.model.first_categorical().name)

    @property
    def readings(self) -> Readings:
        """Of the images that are read so far."""
        return self._readings[: self.read]

    def read_on(self) -> bool:
        """Reads the next piece; False when there was nothing left."""
        if self.read == len(self.images):
            return False
        piece = slice(self.read, self.read + PIECE)
        found = Readings.of(self.model.encode(np.ascontiguousarray(self.images.images[piece])))
        for place, probabilities in found.probabilities.items():
            self._readings.probabilities[place][piece] = probabilities
            self._best[place][piece] = probabilities.argmax(axis=1)
        for place, means in found.means.items():
            self._readings.means[place][piece] = means
        self.read = min(piece.stop, len(self.images))
        return True

    # Filing.

    def filed(self, code: int) -> tuple[list[Group], NDArray[np.int64], NDArray[np.float32]]:
        """Where images are: the groups, the number of each image's, (read,), and how probable each is, (read, groups).

        What a person said of an image is certain: it is in the group of that name, or where there is none of that name
        in no group (-1).
        """
        groups, found = self.found(code)
        values = self.readings.probabilities[code]
        inside = [value for group in groups for value in group.values]
        begins = np.cumsum([0, *(len(group.values) for group in groups[:-1])])
        probabilities = np.add.reduceat(values[:, inside], begins, axis=1)
        if code == self.code:
            by_hand = [place for place in self.labels if place < self.read]
            probabilities[by_hand] = 0
            certain = [place for place in by_hand if found[place] >= 0]
            probabilities[certain, found[certain]] = 1
        return groups, found, probabilities

    def found(self, code: int) -> tuple[list[Group], NDArray[np.int64]]:
        """The groups and the number of each image's, as `filed` has them."""
        groups = groups_of(self.model, list(self.model.layout.codes)[code])
        group_of = np.zeros(self._readings.probabilities[code].shape[1], np.int64)
        for number, group in enumerate(groups):
            group_of[list(group.values)] = number
        # By the most probable value, as `InfoGAN.encode` and all that builds on it file; with values that share a name,
        # another group may be the more probable one.
        found = group_of[self._best[code][: self.read]]
        if code == self.code:
            numbers = {group.name: number for number, group in enumerate(groups)}
            for place, label in self.labels.items():
                if place < self.read:
                    found[place] = numbers.get(label, -1)
        return groups, found

    def group_of(self, code: int, value: int) -> int:
        """The number of the group that a value of a categorical code is in; raises UserError where there is none."""
        groups = groups_of(self.model, list(self.model.layout.codes)[self.categorical(code)])
        for number, group in enumerate(groups):
            if value in group.values:
                return number
        size = self._readings.probabilities[code].shape[1]
        raise UserError(f"there is no value {value}: the code takes 0 to {size - 1}")

    def strays(self) -> dict[str, list[int]]:
        """The labels that a person gave and that no group is called by, each with its images that are read."""
        names = {group.name for group in groups_of(self.model, self.model.first_categorical().name)}
        strays: dict[str, list[int]] = {}
        for place, label in sorted(self.labels.items()):
            if label not in names and place < self.read:
                strays.setdefault(label, []).append(place)
        return dict(sorted(strays.items()))

    def ranked(self, code: int, group: int, order: str, other: int | None = None) -> NDArray[np.int64]:
        """The images of a group.

        Args:
            code: The place of a categorical code.
            group: A number among its groups.
            order: ``surest`` or ``least`` sure first, or ``between``: those that might as well be in ``other``.
            other: Another group.

        Raises:
            UserError: an unknown code, group or order.
        """
        groups, found = self.found(self.categorical(code))
        for number in (group, other):
            if number is not None and not 0 <= number < len(groups):
                raise UserError(f"there is no group {number}: the code has {len(groups)}")
        if order == "between":
            if other is None or other == group:
                raise UserError("between needs another group")
            candidates = np.flatnonzero((found == group) | (found == other))
            both = np.minimum(*(self._sureness(code, groups[number], candidates) for number in (group, other)))
            return candidates[np.argsort(-both, kind="stable")]
        if order not in ORDERS:
            raise UserError(f"order {order!r}: allowed are {', '.join(ORDERS)}")
        members = np.flatnonzero(found == group)
        sureness = self._sureness(code, groups[group], members)
        return members[np.argsort(-sureness if order == "surest" else sureness, kind="stable")]

    def _sureness(self, code: int, group: Group, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """How probable a group is for each of some images that are read, as `filed` has it."""
        sureness: NDArray[np.float32] = self._readings.probabilities[code][places][:, list(group.values)].sum(axis=1)
        if code == self.code:
            for i, place in enumerate(places.tolist()):
                if place in self.labels:
                    sureness[i] = self.labels[place] == group.name
        return sureness

    def categorical(self, code: int) -> int:
        """The place of a categorical code, checked; raises UserError where there is none."""
        if code not in self._readings.probabilities:
            raise UserError(f"code {code} is not a categorical code of this model")
        return code

    def doubted(self) -> NDArray[np.int64]:
        """The images that no person has filed, those first of whose group least is known: the entropy is highest."""
        _, _, probabilities = self.filed(self.code)
        entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1)
        order = np.argsort(-entropy, kind="stable")
        return order[~np.isin(order, list(self.labels))]

    def sure(self) -> int:
        """How many images carry a sure label: a person's, or a name that is at least ``SURE`` probable."""
        groups, found = self.found(self.code)
        found[[place for place in self.labels if place < self.read]] = -1
        sure = len(self.labels)
        for number, group in enumerate(groups):
            if group.named:
                members = np.flatnonzero(found == number)
                sure += int((self._sureness(self.code, group, members) >= SURE).sum())
        return sure

    def told(self, places: Sequence[int], code: int | None = None) -> list[dict[str, Any]]:
        """What is known of images: for each its place, name, label, readings, and group with how probable that is.

        Args:
            places: Of images that are read.
            code: The categorical code whose group is told; None = the one that files images, whose labels are told.
        """
        labels = self.labels if code in (None, self.code) else {}
        filing = self.code if code is None else code
        groups, found = self.found(filing)
        items = []
        for place in places:
            number = int(found[place])
            sureness = 1.0
            if number >= 0:
                sureness = float(self._sureness(filing, groups[number], np.array([place]))[0])
            items.append(
                {
                    "place": int(place),
                    "name": printable(self.images.names[place]),
                    "label": printable(labels[int(place)]) if int(place) in labels else None,
                    "group": printable(groups[number].name if number >= 0 else labels[int(place)]),
                    "sureness": sureness,
                    "readings": told_readings(self.readings[place : place + 1]),
                }
            )
        return items

    def check(self, place: int) -> None:
        """Raises UserError where there is no image at a place."""
        if not 0 <= place < len(self.images):
            raise UserError(f"there is no image {place}: there are {len(self.images)}")

    # Neighbours.

    def nearest(self, reading: Readings, count: int) -> list[int]:
        """The images closest in code, nearest first."""
        distances = self.readings.distance(reading)
        return [int(place) for place in np.argsort(distances, kind="stable")[:count]]


def told_readings(reading: Readings) -> list[list[float]]:
    """The readings of one image, a list a code in order: the probabilities of its values, or its mean alone."""
    parts = {**reading.probabilities, **reading.means}
    return [np.atleast_1d(parts[place][0]).round(4).tolist() for place in sorted(parts)]


def printable(name: str) -> str:
    """A name as text that can be sent: bytes that are no UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")
