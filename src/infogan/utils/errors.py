"""Errors that a user can cause and fix: one sentence, shown without a traceback, exit code 2."""

import difflib
import importlib
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """A mistake in what the user asked for or supplied.

    The message is one sentence: what happened, what was expected, what to do. The command line prints it alone and
    exits with 2; a program catches it as a ``ValueError``.

    Args:
        message: The message, in which `encodable` escapes what cannot be printed everywhere.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(encodable(str(message)))


class DataWarning(UserWarning):
    """Something about a set of images that a person should know: images that are left out, a strange range of values.

    The command line prints it as one line.
    """


class SilentError(UserError):
    """Ends a worker whose error another worker prints."""


def encodable(text: str) -> str:
    """Return text with a backslash escape in place of each lone surrogate, which UTF-8 cannot encode.

    Python puts such surrogates in place of bytes that are not UTF-8, e.g. in the names of files.

    Example:
        >>> encodable("photos" + chr(0xDCFF)).isascii()
        True
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """Return the error for a name that is not allowed, with the nearest name that is.

    Args:
        kind: What the name is of, e.g. ``"recipe"``.
        name: The unknown name.
        allowed: The valid names.

    Example:
        >>> str(unknown_name("recipe", "robst", ["robust", "plain"]))
        "unknown recipe 'robst': did you mean 'robust'? Allowed are plain, robust"
    """
    names = sorted(set(allowed))
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? Allowed are" if close else "allowed are"
    return UserError(f"unknown {kind} {name!r}: {hint} {', '.join(names)}")


def import_extra(library: str, extra: str, purpose: str) -> Any:
    """Return a library that an extra of this package installs.

    Args:
        library: Name of its module.
        extra: Name of the extra.
        purpose: Begin of the message if it is missing, e.g. ``"Parquet files need"``.

    Raises:
        UserError: the library is not installed.

    Example:
        >>> onnxruntime = import_extra("onnxruntime", "onnx", "ONNX files need")
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise UserError(f"{purpose} {error.name}: pip install 'infogan[{extra}]'") from error
