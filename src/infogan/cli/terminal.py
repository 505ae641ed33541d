"""Signals while a run trains, and the command that resumes it."""

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from infogan.cli import signals
from infogan.config.schema import Config
from infogan.training.callbacks import Callback, Status
from infogan.training.run_dir import RunFolder
from infogan.utils import distributed


def resume_command(path: Path) -> str:
    """Return the command of this process with the folder that it wrote to as ``--out``."""
    command = ["infogan", *sys.argv[1:]]
    if not any(word == "--out" or word.startswith("--out=") for word in command):
        end = command.index("--") if "--" in command else len(command)
        command[end:end] = ["--out", str(path)]
    return shlex.join(command)


class Signals(Callback):
    """Requests a stop after the first signal while there is a loop to stop; ends the process at once otherwise.

    A loop is there from the start, or as long as training proceeds if this is one of the callbacks of a run.

    Args:
        exit_on_second: Whether a second signal ends the process at once. Under torchrun it must not, because torchrun
            repeats the signals that the terminal has sent already; all workers stop after the same step instead.
    """

    def __init__(self, *, exit_on_second: bool = True) -> None:
        self.received: int | None = None
        self._exit_on_second = exit_on_second
        self._in_loop, self._last_step = True, 0
        self._is_ending = False

    def stop_requested(self) -> bool:
        """Return whether a signal was received."""
        return self.received is not None

    def on_train_begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Remember where the loop ends, and the run."""
        self._last_step = config.train.steps
        if distributed.is_rank0():
            signals.WATCH.last_action = lambda: run.end("interrupted")
        self.on_step_end(step)

    def on_step_end(self, step: int) -> None:
        """End the process after the last step if a signal was received."""
        if step == self._last_step:
            self._leave_loop()
            if self.received is not None:
                self._exit(self.received)

    def on_train_end(self, status: Status) -> None:
        """Forget the run, in which the end is recorded."""
        signals.WATCH.last_action = lambda: None
        self._leave_loop()

    @contextmanager
    def catch(self) -> Iterator["Signals"]:
        """Handle signals within the block; those that the process ignores stay ignored."""
        handlers = {number: signal.signal(number, self._remember) for number in signals.caught_numbers()}
        if not self._exit_on_second:
            signals.WATCH.patience = signals.WORKER_PATIENCE_S
        try:
            yield self
        finally:
            self._leave_loop()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _leave_loop(self) -> None:
        self._in_loop = False
        signals.WATCH.patience = signals.PATIENCE_S

    def _remember(self, number: int, frame: FrameType | None) -> None:
        is_first = self.received is None
        if is_first:
            self.received = number
        if not self._in_loop if is_first else self._exit_on_second or signals.WATCH.overdue:
            self._exit(number)

    def _exit(self, number: int) -> None:
        """Raise SystemExit once: another one would interrupt what the first one lets end."""
        if not self._is_ending:
            self._is_ending = True
            sys.exit(128 + number)
