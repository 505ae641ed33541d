"""How a command talks to a terminal: progress while it runs, one line for an error, the exit code for a script."""

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from infogan.config.schema import Config
from infogan.training.callbacks import Callback, LogRecord

RECENT = 20.0  # seconds that a rate is the mean of

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Prints a line as it is; to standard error, so that ``--json`` has standard output for itself."""
    ERR.print(text, markup=False)


@contextmanager
def fetching() -> Iterator[Callable[[str, int, int], None]]:
    """Shows what is fetched or read: a bar on a terminal, a line for each thing elsewhere."""
    if ERR.is_terminal:
        with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=ERR) as bars:
            tasks: dict[str, TaskID] = {}

            def show(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what)
                bars.update(tasks[what], completed=done, total=total or None)

            yield show
        return
    told: set[str] = set()

    def tell(what: str, done: int, total: int) -> None:
        if what not in told:
            told.add(what)
            say(what)

    yield tell


class TrainingDisplay(Callback):
    """The progress of a run: a live bar on a terminal, a plain line a report elsewhere.

    Args:
        config: Of the run, for its length.
        entropies: H(c) by code, for showing the information against.
    """

    def __init__(self, config: Config, entropies: dict[str, float]) -> None:
        self.steps = config.train.steps
        self.images_seen = config.images_seen
        self.entropies = entropies
        self._recent: deque[tuple[float, int]] = deque()  # (when, steps done), the last RECENT seconds
        self._bar = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.fields[rate]} images/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=ERR,
            disable=not ERR.is_terminal,
        )
        self._task = self._bar.add_task("", total=self.steps, rate="-", status="")

    def __enter__(self) -> "TrainingDisplay":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_step_end(self, done: int) -> None:
        """Move the bar."""
        now = time.monotonic()
        self._recent.append((now, done))
        while len(self._recent) > 2 and self._recent[0][0] < now - RECENT:
            self._recent.popleft()
        self._bar.update(self._task, completed=done, rate=self._rate(done))

    def on_log(self, record: LogRecord) -> None:
        """Show a line of ``stats.jsonl``."""
        report = record.values
        bounds = [f"{name} {report[f'information/{name}']:.2f}/{whole:.2f}" for name, whole in self.entropies.items()
                  if f"information/{name}" in report]  # fmt: skip
        status = f"information in nats: {', '.join(bounds)}" if bounds else ""
        self._bar.update(self._task, status=status)
        if not ERR.is_terminal:
            done = report["step"]
            say(f"step {done}/{self.steps}  {self._rate(done)} images/s  {self._left(done)} left  {status}".rstrip())

    def _rate(self, done: int) -> str:
        """Images a second, lately."""
        if len(self._recent) < 2:
            return "-"
        (before, first), (now, last) = self._recent[0], self._recent[-1]
        return f"{(self.images_seen(last) - self.images_seen(first)) / max(now - before, 1e-9):.0f}"

    def _left(self, done: int) -> str:
        """Minutes and seconds to go at the pace of late; a stage to come may have another."""
        if len(self._recent) < 2:
            return "?"
        (before, first), (now, last) = self._recent[0], self._recent[-1]
        minutes, seconds = divmod(round((self.steps - done) * (now - before) / (last - first)), 60)
        return f"{minutes}:{seconds:02d}"


class Signals(Callback):
    """Remembers the first signal that asks to end.

    Args:
        insisted: Whether a second one ends the process as usual. Not where torchrun sends on what the terminal has sent
            already.
    """

    # By Ctrl-C, by `kill` or a shutdown, and (not on Windows) by a terminal that is closed.
    ASKING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))

    def __init__(self, *, insisted: bool = True) -> None:
        self.received: int | None = None
        self._insisted = insisted

    def stop_requested(self) -> bool:
        """Return whether a signal was received."""
        return self.received is not None

    @contextmanager
    def caught(self) -> Iterator["Signals"]:
        """While this lasts, a signal is remembered instead of ending the process."""
        before = {number: signal.signal(number, self._remember) for number in self.ASKING}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        elif self._insisted:
            sys.exit(128 + number)
