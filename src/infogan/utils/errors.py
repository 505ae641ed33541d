"""Errors a user can cause and mend: one sentence each, shown without a traceback, exit code 2."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user asked for or supplied.

    The message is one sentence that names the thing, says what was found and what is allowed. The command line prints
    it alone and exits with 2; a library caller catches it as a ``ValueError``.
    """


class SilentError(UserError):
    """Ends one of several workers for a reason that another one tells."""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """Builds the error for a name that is not among the allowed ones, with the nearest valid name.

    Args:
        kind: What is named, e.g. ``"preset"``.
        name: What was given.
        allowed: The valid names.
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return UserError(f"unknown {kind} {name!r}: {hint}allowed are {', '.join(names)}")
