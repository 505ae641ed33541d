"""The ``infogan`` program: its commands, and how errors become exit codes.

Exit codes are 0 for success, 2 for a user's mistake, 130 and 143 for a signal, and 1 for a bug. Results go to standard
output, everything else to standard error. Modules that are slow to import are imported inside the commands.
"""

import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import infogan
from infogan.cli import codes, data, evaluate, model, sweep, train
from infogan.utils.errors import SilentError, UserError
from infogan.utils.memory import report_memory_shortage

app = typer.Typer(
    help="Find categories and continuous factors in unlabelled images, and generate images from them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (train, codes, evaluate, sweep, model):
    app.add_typer(group.commands)
app.add_typer(data.commands, name="data")


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Version number.")] = False) -> None:
    """Handle the options that go before a command."""
    if version:
        typer.echo(infogan.__version__)
        raise typer.Exit


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: The arguments after ``infogan``; None = those of this process.

    Example:
        >>> run(["info", "missing"])
        error: missing is not a model folder: ...
        2
    """
    stdout = sys.stdout
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
        if sys.stdout is not stdout:  # Typer replaces it if the reader of the output, such as `head`, is gone
            return 0
        return end.code if isinstance(end.code, int) else 0
    return 0


def main() -> NoReturn:
    """Run the command of this process and exit with its code."""

    def terminate(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)  # an exception, so that temporary files are removed

    signal.signal(signal.SIGTERM, terminate)
    sys.exit(run())
