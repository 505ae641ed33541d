"""The ``infogan`` program: its commands, and how errors become exit codes.

Exit codes are 0 for success, 2 for a user's mistake, 3 with ``--require-trust`` for a run that is not trusted, 130 and
143 for a signal, and 1 for a bug. Results go to standard output, everything else to standard error. Modules that are
slow to import are imported inside the commands.
"""

import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, TextIO, cast

import typer

import infogan
from infogan.cli import categories, codes, collection, data, embed, evaluate, model, signals, sweep, train
from infogan.utils.errors import DataWarning, SilentError, UserError
from infogan.utils.memory import report_memory_shortage
from infogan.utils.names import KEEP_BYTES

app = typer.Typer(
    help="Find categories and continuous factors in unlabelled images, and generate images from them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (train, categories, embed, codes, collection, evaluate, sweep, model):
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
        with report_memory_shortage(), _warnings_as_lines():
            app(arguments)
    except UserError as error:
        if not isinstance(error, SilentError):
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit as end:
        if sys.stdout is not stdout and end.code == 1:  # Typer replaces it if the reader, such as `head`, is gone
            return 0
        return end.code if isinstance(end.code, int) else 0
    return 0


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print each warning about images as one line, once, instead of with a line of our code."""
    shown: set[str] = set()
    show = warnings.showwarning

    def show_line(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if not issubclass(category, DataWarning):
            show(message, category, *place, **options)
        elif str(message) not in shown:
            shown.add(str(message))
            print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show_line
        yield


class Output:
    """A standard stream that drops what is written to it once its terminal has gone.

    Args:
        stream: The stream, which does everything else.
        is_result: Whether a command fails without what it writes; messages are dropped on any error.
    """

    def __init__(self, stream: TextIO, *, is_result: bool) -> None:
        self._stream, self._is_result = stream, is_result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text and return its length."""
        if text == "":  # Typer tries whether the stream takes text, and ignores every error
            return 0
        with self._handle_errors():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._handle_errors():
            self._stream.flush()

    @contextmanager
    def _handle_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._is_result or error.errno == errno.EIO:
                return
            if error.errno == errno.EPIPE:
                raise  # Typer ends the command: the reader, such as `head`, has enough
            with open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), self._stream.fileno())  # for what is buffered
            raise UserError(f"cannot write to standard output: {error.strerror}") from error


def main() -> NoReturn:
    """Run the command of this process and exit with its code."""
    signals.install()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=KEEP_BYTES)  # names of files need not be UTF-8
    if sys.stdout is not None:  # it may be closed
        sys.stdout = cast(TextIO, Output(sys.stdout, is_result=True))
    if sys.stderr is not None:
        sys.stderr = cast(TextIO, Output(sys.stderr, is_result=False))
    try:
        code = run()
    except Exception:
        sys.excepthook(*sys.exc_info())
        code = 1
    distributed = sys.modules.get("infogan.utils.distributed")
    # The threads of a process group can abort Python's end; and torchrun ends all workers as soon as one has failed.
    if code > 128 or (distributed is not None and distributed.has_process_group()):
        signals.ignore()
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        signals.end(code)
    signals.release()
    sys.exit(code)
