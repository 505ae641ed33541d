"""Where commands write their results, and what they report of it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from infogan.api.progress import log
from infogan.utils.in_place import is_stdout


def print_results(*lines: str | Path, out: Path | None = None) -> None:
    """Print lines to standard output.

    If the command writes the file ``out`` to standard output, log them instead, except for the name of that file.
    """
    for line in map(str, lines):
        if out is not None and is_stdout(out):
            if line != str(out):
                log(line)
            continue
        typer.echo(line)


@contextmanager
def log_replaced(paths: Iterable[Path]) -> Iterator[None]:
    """Log which of the files that a command is about to write it has replaced."""
    replaced = [path for path in paths if path.is_file() and not is_stdout(path)]
    yield
    if len(replaced) == 1:
        log(f"replaced {replaced[0]}")
    elif replaced:
        log(f"replaced {len(replaced)} files in {replaced[0].parent}")
