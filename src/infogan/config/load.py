"""Reading, merging and validating trees of options, and other arguments of a program."""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any, SupportsFloat, SupportsIndex

from pydantic import BaseModel, ValidationError

from infogan.config.migrate import migrate_assignment, migrate_config
from infogan.config.schema import Config
from infogan.utils.errors import UserError, unknown_name

Number = SupportsIndex | SupportsFloat
"""A number of Python, NumPy or torch."""

Assignment = str | tuple[str, Any]
"""``section.key=value``, or the dotted name of an option and its value."""

SHOULD_BE = "Input should be "  # starts most of Pydantic's messages
# Pydantic's kinds of errors about types (the part before the first "_") in the words of a configuration.
TYPES = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "dict": "a table",
    "model": "a table",
}


def to_plain(value: Any) -> Any:
    """Return a value with types of Python alone, so that it can be compared, validated and written as JSON.

    Numbers, arrays, tensors and series of NumPy, torch or pandas become numbers and lists, paths become text, and items
    of containers are converted as well; everything else stays as it is.

    Example:
        >>> to_plain({"sizes": np.array([3, 4]), "source": Path("photos"), "share": torch.tensor(0.5)})
        {'sizes': [3, 4], 'source': 'photos', 'share': 0.5}
    """
    if hasattr(value, "tolist"):  # in all these libraries, none of which has to be imported
        plain = value.tolist()
        return float(plain) if type(plain) is type(value) else to_plain(plain)  # NumPy's long double stays one
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Set | BaseModel):
        return [to_plain(item) for item in value]
    return value


def whole_number(value: Any, name: str, lowest: int, highest: int | None = None) -> int:
    """Return an argument that is a whole number, of whatever type, as an int.

    Args:
        value: A number of Python, NumPy or torch; 5.0 is whole.
        name: What it is, for the error, e.g. ``"the number of images"``.
        lowest: The smallest number that is allowed.
        highest: The largest one, if there is one.

    Raises:
        UserError: It is no whole number, or out of range.

    Example:
        >>> whole_number(np.int64(5), "the number of images", 1)
        5
    """
    plain = to_plain(value)
    is_whole = isinstance(plain, int) or (isinstance(plain, float) and plain.is_integer())  # false for NaN and infinity
    if not is_whole or plain < lowest or (highest is not None and plain > highest):
        limit = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise UserError(f"{name} must be a whole number {limit}, not {plain!r}")
    return int(plain)


def build(options: dict[str, Any]) -> Config:
    """Validate a tree of options.

    Raises:
        UserError: The first error, with the dotted name of the option.

    Example:
        >>> from infogan.config.presets import PRESETS
        >>> build(PRESETS["paper"]).train.batch_size
        128
    """
    try:
        return Config.model_validate(options)
    except ValidationError as error:
        raise _as_user_error(error) from error


def read_options(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file of options, which may be the ``config.json`` of a run; the values are not validated.

    Raises:
        UserError: The file is missing, is not valid TOML or JSON, or holds no table.
    """
    language = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text(encoding="utf-8")
        options = json.loads(text) if language == "JSON" else tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"the configuration {path} is not valid {language}: {error}") from error
    if not isinstance(options, dict):
        raise UserError(f"the configuration {path} holds a {type(options).__name__}, not a table of options")
    return migrate_config(options)


def merge(base: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``layer`` on top: tables are merged key by key, everything else is replaced.

    Example:
        >>> merge({"train": {"seed": 0, "steps": 10}}, {"train": {"seed": 1}})
        {'train': {'seed': 1, 'steps': 10}}
    """
    merged = dict(base)
    for key, value in layer.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def override(options: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
    """Return the options after one assignment; an option's old name is accepted as well.

    Items of lists go by number (``stages.0.share=2``).

    Args:
        options: A tree of options.
        assignment: ``section.key=value``, with the value written as in TOML; or ``section.key`` and the value itself.

    Raises:
        UserError: The assignment has no ``=``, or its path leads through something that is no table and no list.

    Example:
        >>> override({"train": {"steps": 10}}, "train.steps=20")
        {'train': {'steps': 20}}
    """
    if isinstance(assignment, str):
        path, equals, text = assignment.partition("=")
        value, title, form = _toml_value(text.strip()), f"--set {assignment!r}", "section.key=value"
    else:
        (path, value), equals = assignment, "="
        title, form = f"option {path!r}", "section.key"
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise UserError(f"{title} is not of the form {form}")
    keys = migrate_assignment(".".join(keys)).split(".")
    changed: dict[str, Any] = _assign(options, keys, value, title)
    return changed


def _assign(node: Any, keys: list[str], value: Any, title: str) -> Any:
    key, rest = keys[0], keys[1:]
    if isinstance(node, dict):
        return {**node, key: _assign(node.get(key, {}), rest, value, title) if rest else value}
    if isinstance(node, (list, tuple)) and key.isdecimal() and int(key) < len(node):
        items = list(node)
        items[int(key)] = _assign(items[int(key)], rest, value, title) if rest else value
        return items
    allowed = f"use a number below {len(node)}" if isinstance(node, (list, tuple)) else "it has no options of its own"
    raise UserError(f"{title}: {key!r} does not exist there; {allowed}")


def _toml_value(text: str) -> Any:
    # What is not TOML is a plain string, so that the shell needs no second pair of quotes.
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _as_user_error(error: ValidationError) -> UserError:
    """Return Pydantic's first error as one sentence, with the nearest valid name for an unknown option."""
    errors = error.errors()
    first = errors[0]
    location = _option(first)
    option = ".".join(location)
    if first["type"] == "extra_forbidden":
        return unknown_name("option", option, _sibling_options(location))
    if first["type"] == "missing":
        return UserError(f"option {option} is missing")
    if not option:
        return UserError(_expected(first))
    # If an option takes one of several types, Pydantic lists what each of them expected.
    expected = " or ".join(dict.fromkeys(_expected(other) for other in errors if _option(other) == location))
    must_be = "must be " if first["msg"].startswith(SHOULD_BE) else ""
    shown = repr(first["input"])
    return UserError(f"option {option} is {shown[:60]}{'…' * (len(shown) > 60)}: {must_be}{expected}")


def _option(error: Any) -> list[str]:
    """Return the parts of the name of the option that an error is about, without Pydantic's names of types."""
    types = {"categorical", "continuous", "float", "int", "str", "bool"}
    return [str(part) for part in error["loc"] if re.fullmatch(r"\w+", str(part)) and part not in types]


def _expected(error: Any) -> str:
    """Return what an error expected, e.g. ``greater than 0``."""
    type_name, _, kind = error["type"].partition("_")
    if kind in ("type", "parsing", "from_float") and type_name in TYPES:
        return TYPES[type_name]
    message: str = error["msg"].removeprefix("Value error, ").removeprefix(SHOULD_BE)
    message = message.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")
    return message[0].lower() + message[1:]


def _sibling_options(location: list[str]) -> list[str]:
    """Return the dotted names that are valid in place of an unknown one."""
    models: list[type[BaseModel]] = [Config]
    for depth, part in enumerate(location[:-1]):
        if not part.isdigit():
            models = _models_in(models[0].model_fields[part].annotation)
        if not models:
            return [".".join(location[:depth])]
    return [".".join([*location[:-1], name]) for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
