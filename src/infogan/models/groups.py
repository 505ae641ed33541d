"""Groups of images: the values of a category that share a name, and the corrections that a person has made.

The commands, the explorer and the report all file images by these functions, so that an image has one group everywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infogan.models.infogan import InfoGAN
from infogan.models.results import Encoding
from infogan.utils.names import column_names

NO_GROUP = -1  # the number of a group that does not exist


class Group(NamedTuple):
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


def group_probabilities(groups: Sequence[Group], probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of each group, (images, groups), from those of the values, (images, values)."""
    by_group = [value for group in groups for value in group.values]
    starts = np.cumsum([0, *(len(group.values) for group in groups[:-1])])
    sums: NDArray[np.float32] = np.add.reduceat(probabilities[:, by_group], starts, axis=1)
    return sums


def group_numbers(
    groups: Sequence[Group], values: NDArray[np.int64], corrections: Mapping[int, str]
) -> NDArray[np.int64]:
    """Return the number of the group of each image, (images,): that of its correction, or of its most probable value.

    Where values share a name, the most probable value can be in another group than the most probable group.

    Args:
        groups: The groups.
        values: (images,), the most probable value of each image.
        corrections: Labels that a person has given, by number of the image; ``NO_GROUP`` if it is no group's name.
    """
    number_of_value = np.full(1 + max(max(group.values) for group in groups), NO_GROUP)
    for number, group in enumerate(groups):
        number_of_value[list(group.values)] = number
    numbers: NDArray[np.int64] = number_of_value[values]
    number_of_name = {group.name: number for number, group in enumerate(groups)}
    for row, label in corrections.items():
        numbers[row] = number_of_name.get(label, NO_GROUP)
    return numbers


@dataclass(frozen=True)
class Assignment:
    """Where images are filed by one categorical code.

    Attributes:
        groups: The groups of the code, in display order.
        numbers: int64 (images,), the group of each image, ``NO_GROUP`` if a person has given another label.
        values: int64 (images,), the value of the code; of a corrected image, the first one of its group unless the
            model's is of that group, too.
        names: The name of each image's group, or the person's label.
        confidence: float32 (images,), the probability of each image's group; 1 if it is corrected.
        corrected: bool (images,), whether a person has corrected the image.
    """

    groups: list[Group]
    numbers: NDArray[np.int64]
    values: NDArray[np.int64]
    names: list[str]
    confidence: NDArray[np.float32]
    corrected: NDArray[np.bool_]

    @classmethod
    def of(
        cls, model: InfoGAN, code: str, probabilities: NDArray[np.float32], corrections: Mapping[int, str] | None = None
    ) -> "Assignment":
        """File images.

        Args:
            model: The model, which knows the names.
            code: Name of the categorical code.
            probabilities: (images, values), of the code's values.
            corrections: Labels that a person has given, by number of the image.
        """
        groups, values, corrections = groups_of(model, code), probabilities.argmax(axis=1), corrections or {}
        numbers = group_numbers(groups, values, corrections)
        confidence = group_probabilities(groups, probabilities)[np.arange(len(values)), numbers]
        names = [groups[number].name for number in numbers.tolist()]
        corrected = np.zeros(len(values), bool)
        for row, label in corrections.items():
            members = groups[numbers[row]].values if numbers[row] != NO_GROUP else (NO_GROUP,)
            if values[row] not in members:
                values[row] = members[0]
            names[row], confidence[row], corrected[row] = label, 1, True
        return cls(groups, numbers, values, names, confidence, corrected)


Columns = dict[str, list[str] | NDArray[Any]]
"""Columns of a table by name: texts, or numbers."""


def code_columns(
    model: InfoGAN,
    names: Sequence[str],
    encoding: Encoding,
    corrections: Mapping[int, str] | None = None,
    *,
    all_probabilities: bool = False,
) -> Columns:
    """Return the table of the codes of images, one row per image.

    The columns are ``image``; for each code its value (a category by its name or, without one, by its number), followed
    by the probability of that name if it is a category; ``entropy``, the sum of the entropies of the categories, in
    nats; for each category ``NAME_number``, its value as a number (``NO_GROUP`` if a label is not its name); and
    ``source``, which is ``corrected`` for images that a person has labelled, and ``model`` for others. A code whose
    name is that of another column is written as ``code NAME``.

    Args:
        model: The model, which knows the names.
        names: The names of the images.
        encoding: Their codes.
        corrections: Labels that a person has given for the first category, by number of the image.
        all_probabilities: Whether the probability of every value of every category follows, ``NAME_number_V``.
    """
    layout, corrections = model.layout, corrections or {}
    columns: Columns = {"image": [*names]}
    assignments = {
        code.name: Assignment.of(model, code.name, encoding.probabilities[code.name], {} if position else corrections)
        for position, code in enumerate(layout.categorical)
    }
    column_of = column_names(layout.codes, ["image", *(f"{code}_probability" for code in assignments), "entropy"])
    for code, column in column_of.items():
        if code in assignments:
            columns[column] = assignments[code].names
            columns[f"{code}_probability"] = assignments[code].confidence
        else:
            columns[column] = encoding.codes[code]
    columns["entropy"] = encoding.entropy
    added: Columns = {f"{code}_number": assignment.values for code, assignment in assignments.items()}
    if assignments:
        corrected = assignments[model.first_categorical().name].corrected.tolist()
        added["source"] = ["corrected" if is_corrected else "model" for is_corrected in corrected]
    if all_probabilities:
        for code in assignments:
            added |= {f"{code}_number_{value}": row for value, row in enumerate(encoding.probabilities[code].T)}
    return columns | {column: added[name] for name, column in column_names(added, columns).items()}


def text_rows(columns: Columns) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table as texts: numbers with six decimals, whole ones without, and none for ``NO_GROUP``."""

    def texts(column: list[str] | NDArray[Any]) -> list[str]:
        if isinstance(column, list):
            return column
        if column.dtype.kind == "i":
            return ["" if value == NO_GROUP else str(value) for value in column.tolist()]
        return [f"{value:.6f}" for value in column.tolist()]

    return zip(*map(texts, columns.values()), strict=True)
