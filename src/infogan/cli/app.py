"""The ``infogan`` program: its commands, and how errors become exit codes.

Exit codes are 0 for success, 2 for a user's mistake, 130 and 143 for a signal, and 1 for a bug. Results go to standard
output, everything else to standard error. Modules that are slow to import are imported inside the commands.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import infogan
from infogan.cli import data, encode, evaluate, model, samples, sweep, train
from infogan.utils.errors import SilentError, UserError
from infogan.utils.memory import report_memory_shortage


class CommandGroup(TyperGroup):
    """The commands. If the reader of their output is gone, such as ``head``, they end without an error."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            if not _stdout_is_broken():
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


app = typer.Typer(
    cls=CommandGroup,
    help="Find categories and continuous factors in unlabelled images, and generate images from them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (train, samples, encode, evaluate, sweep, model):
    app.add_typer(group.commands)
app.add_typer(data.commands, name="data")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(infogan.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Version number.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Accept the options that go before a command."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: The words after ``infogan``; None = those of this process.

    Example:
        >>> run(["info", "missing"])
        error: missing is not a model folder: ...
        2
    """
    try:
        with report_memory_shortage():
            app(arguments)
    except UserError as error:
        if not isinstance(error, SilentError):
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def main() -> NoReturn:
    """Run the command of this process and exit with its code."""

    def terminate(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)  # an exception, so that temporary files are removed

    signal.signal(signal.SIGTERM, terminate)
    sys.exit(run())


def _stdout_is_broken() -> bool:
    try:
        print(flush=True)
    except BrokenPipeError:
        return True
    return False
