"""Names of codes and values: what users call them, the order of display, and the numbers they stand for."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infogan.config.load import Number, to_plain, whole_number
from infogan.config.schema import CategoricalCode, ContinuousCode, is_code_name
from infogan.models.latents import CodeLayout
from infogan.models.serialization import ModelConfig
from infogan.utils.determinism import neutral_state
from infogan.utils.errors import UserError

ValueList = Iterable[Number] | Iterable[str]  # values of a code: numbers, or names of categories
CodeValues = Number | str | ValueList  # one value for all images, or one per image
FixedCodes = Mapping[str, CodeValues]

MAX_VALUES = 100  # values of a category that a figure shows


class CodeNames:
    """The codes of a model with their names, as a base class of `InfoGAN`.

    Changes are made to this object only; `InfoGAN.save` writes them.

    Attributes:
        config: Configuration of the model, which holds the names.
        layout: Columns and distributions of the codes.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.layout = CodeLayout(config.noise, config.codes)

    def first_categorical(self) -> CategoricalCode:
        """Return the code that sorts images into categories; raises UserError for a model without categorical codes."""
        if not self.layout.categorical:
            raise UserError("this model has no categorical code")
        return self.layout.categorical[0]

    # Names of values.

    def value_name(self, code: str, value: Number) -> str:
        """Return the name of a category; without a name, its number.

        If another category has that number as its name, the code's name precedes the number.
        """
        names, number = self.config.names.get(code), self._number(code, value)
        return (names[number] if names else "") or _unnamed(code, number, names or ())

    def value_names(self, code: str) -> list[str]:
        """Return `value_name` of every value of a categorical code; raises UserError for any other code."""
        names = self.config.names.get(code, ("",) * self._categorical(code).size)
        distinct = frozenset(names)
        return [name or _unnamed(code, value, distinct) for value, name in enumerate(names)]

    def is_named(self, code: str, value: Number) -> bool:
        """Return whether a category has a name."""
        names = self.config.names.get(code)
        return bool(names and names[self._number(code, value)])

    def name_codes(self, names: Mapping[str, Iterable[str] | Mapping[Any, str]]) -> None:
        """Name values of categorical codes.

        Args:
            names: By code: one name per value, in order, or a mapping of some values (numbers) to names. "" removes a
                name. Two values with one name have the same meaning.

        Raises:
            UserError: an unknown or continuous code, a value out of range, or a wrong number of names.

        Example:
            >>> model.name_codes({"category": {3: "three"}})
        """
        renamed = dict(self.config.names)
        for code, code_names in to_plain(names).items():
            size = self._categorical(code).size
            if isinstance(code_names, dict):
                changed = {self._number(code, value): name for value, name in code_names.items()}
                names_before = self.config.names.get(code, ("",) * size)
                code_names = [changed.get(value, name) for value, name in enumerate(names_before)]
            is_list = isinstance(code_names, list) and len(code_names) == size
            if not is_list or not all(isinstance(name, str) for name in code_names):
                raise UserError(f"code {code!r} needs {size} names, one per value, not {code_names!r}")
            renamed[code] = tuple(code_names)
        self.config = self.config.model_copy(update={"names": renamed})

    def rename_code(self, code: str, name: str) -> None:
        """Rename a code.

        Args:
            code: Current name.
            name: New name: 1 to 64 printable characters without ``=``, ``/`` and backslash.

        Raises:
            UserError: there is no such code, another code has the new name, or it is not valid.

        Example:
            >>> model.rename_code("knob1", "slant")
        """
        self.layout.code(code)
        if name != code and name in self.layout.codes:
            raise UserError(f"there is already a code {name!r}")
        if not is_code_name(name):
            raise UserError(f"{name!r} cannot be the name of a code: use 1 to 64 characters without = / \\")
        config, new_names = self.config, {code: name}
        codes = tuple(spec.model_copy(update={"name": new_names.get(spec.name, spec.name)}) for spec in config.codes)
        names = {new_names.get(key, key): values for key, values in config.names.items()}
        order = {new_names.get(key, key): values for key, values in config.order.items()}
        self.replace_config(config.model_copy(update={"codes": codes, "names": names, "order": order}))

    def replace_config(self, config: ModelConfig) -> None:
        """Use another configuration of the same model, with other names and orders of codes and values."""
        self.config = config
        self.layout = CodeLayout(config.noise, config.codes)

    # Order and numbers of values.

    def order_values(self, code: str, order: Iterable[Number]) -> None:
        """Set the order in which figures, reports and the explorer show the values of a categorical code.

        Raises:
            UserError: an unknown or continuous code, or the order does not list each value once.

        Example:
            >>> model.order_values("category", [2, 0, 1])
        """
        size = self._categorical(code).size
        values = tuple(whole_number(value, f"a value of code {code!r}", 0) for value in order)
        if sorted(values) != list(range(size)):
            raise UserError(f"the order of code {code!r} must list each of its values 0 to {size - 1} once")
        self.config = self.config.model_copy(update={"order": self.config.order | {code: values}})

    def values_of(self, code: str) -> list[int] | list[float]:
        """Return all categories in the order of display, or ten values from -1 to 1 of a continuous code."""
        spec = self.layout.code(code)
        if isinstance(spec, CategoricalCode):
            return list(self.config.order.get(code, range(spec.size)))
        return [round(float(value), 3) for value in np.linspace(-1, 1, 10)]

    def display_values(self, code: str, limit: Number | None = MAX_VALUES) -> list[Any]:
        """Return `values_of` a code; of more than ``limit`` categories, that many at equal distances."""
        values = list(self.values_of(code))
        limit = len(values) if limit is None else whole_number(limit, "the largest number of values", 1)
        if len(values) <= limit:
            return values
        return [values[index] for index in np.linspace(0, len(values) - 1, limit).round().astype(int)]

    def value_labels(self, code: str, values: Sequence[Any]) -> list[str]:
        """Return how figures label values of a code: the names of categories, or signed numbers."""
        if isinstance(self.layout.code(code), ContinuousCode):
            return [f"{value:+.2f}" for value in values]
        return [self.value_name(code, int(value)) for value in values]

    @neutral_state()
    def parse_codes(self, codes: FixedCodes | None, count: int) -> dict[str, Tensor]:
        """Return the values of codes for ``count`` images as tensors, (count,) each.

        Args:
            codes: By name of the code, one value for all images or one per image: the number or name of a category, or
                a number in [-1, 1]. Images take turns if several categories have the same name.
            count: Number of images.

        Raises:
            UserError: an unknown code, a value that the code does not have, or a wrong number of values.
        """
        return {name: self._parse_values(name, values, count) for name, values in (codes or {}).items()}

    def _parse_values(self, name: str, values: CodeValues, count: int) -> Tensor:
        spec = self.layout.code(name)
        plain = to_plain(values)
        per_image: list[Any] = plain if isinstance(plain, list) else [plain] * count
        if len(per_image) != count:
            raise UserError(f"code {name!r} has {len(per_image)} values for {count} images")
        if isinstance(spec, CategoricalCode):
            return torch.tensor([self._parse_category(spec, value, index) for index, value in enumerate(per_image)])
        with suppress(ValueError, TypeError, OverflowError):
            numbers = torch.tensor([float(value) for value in per_image])
            if bool((numbers.abs() <= 1).all()):
                return numbers
        raise UserError(f"code {name!r} takes numbers from -1 to 1, not {plain!r}")

    def _parse_category(self, spec: CategoricalCode, value: Any, index: int) -> int:
        """Return the number of a category, given by name or number, for the image at ``index``."""
        if isinstance(value, str):
            matches = [number for number, name in enumerate(self.value_names(spec.name)) if name == value]
            if matches:
                return matches[index % len(matches)]
        with suppress(ValueError, TypeError, OverflowError):
            number = int(value)
            if 0 <= number < spec.size and number == float(value):
                return number
        names = dict.fromkeys(self.value_names(spec.name)) if spec.name in self.config.names else {}
        alternatives = f" or one of {', '.join(names)}" if names else ""
        raise UserError(f"code {spec.name!r} takes 0 to {spec.size - 1}{alternatives}, not {value!r}")

    def _number(self, code: str, value: Any) -> int:
        """Return a value of a categorical code as an int; raise UserError if it has no such value."""
        return whole_number(value, f"a value of code {code!r}", 0, self._categorical(code).size - 1)

    def _categorical(self, code: str) -> CategoricalCode:
        spec = self.layout.code(code)
        if not isinstance(spec, CategoricalCode):
            raise UserError(f"code {code!r} is continuous; only categorical codes have values with names")
        return spec


def _unnamed(code: str, value: int, names: frozenset[str] | tuple[str, ...]) -> str:
    """Return the label of a value without a name, next to the names of other values."""
    return f"{code} {value}" if str(value) in names else str(value)
