"""Output on a terminal or in a file, the progress of training, and signals."""

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from infogan.api.resolve import Plan
from infogan.config.schema import Config
from infogan.models.latents import CodeLayout
from infogan.training.callbacks import Callback, LogRecord
from infogan.training.run_dir import RunFolder

MAX_SKIPPED_LINES = 10

ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def log(text: str) -> None:
    """Print a line to standard error, because standard output is for results."""
    ERR.print(text, markup=False)


def resume_command(path: Path) -> str:
    """Return the command of this process with the folder that it wrote to as ``--out``."""
    command = ["infogan", *sys.argv[1:]]
    if not any(word == "--out" or word.startswith("--out=") for word in command):
        end = command.index("--") if "--" in command else len(command)
        command[end:end] = ["--out", str(path)]
    return shlex.join(command)


@contextmanager
def show_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that shows the progress of downloads and reads: a bar on a terminal, otherwise a line each."""
    tasks: dict[str, TaskID] = {}
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=ERR, disable=not ERR.is_terminal) as progress:

        def update(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name)
                if not ERR.is_terminal:
                    log(name)
            progress.update(tasks[name], completed=done, total=total or None)

        yield update


def log_plan(plan: Plan, run: RunFolder) -> None:
    """Log what will be trained on which images, for how long and where."""
    config, images = plan.config, plan.images
    for skipped in images.skipped[:MAX_SKIPPED_LINES]:
        log(f"skipped {skipped}")
    if len(images.skipped) > MAX_SKIPPED_LINES:
        log(f"skipped {len(images.skipped)} images in all; see log.txt for their names")
    size = f"{images.size}x{images.size}"
    log(f"{config.objective.kind} on {images.source}: {len(images)} images of {size}, in {run.path}")
    if plan.scan:
        log(f"{plan.scan.best} categories found; see {run.path / 'categories.json'} for the evidence")
    if isinstance(config.train.budget, float):
        log(f"{config.train.steps} steps, which take about {config.train.budget / 60:.1f} minutes on this machine")
    if plan.warning:
        log(plan.warning)


class TrainingDisplay(Callback):
    """Shows the progress of a run: a bar on a terminal, otherwise one line per log record."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.fields[rate]} images/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=ERR,
            disable=not ERR.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, rate="-", status="")

    def __enter__(self) -> "TrainingDisplay":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_train_begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Set the length of the bar."""
        self._config = config
        layout = CodeLayout(config.noise, config.codes)
        self._entropies = {name: layout.entropy(name) for name in layout.codes}
        self._bar.update(self._task, completed=step, total=config.train.steps)

    def on_step_end(self, step: int) -> None:
        """Move the bar, and update the number of images per second."""
        stage, _, _ = self._config.stage_at(step - 1)
        speed = self._bar.tasks[0].speed  # steps per second
        rate = f"{speed * self._config.batch_size(stage):.0f}" if speed else "-"
        self._bar.update(self._task, completed=step, rate=rate)

    def on_log(self, record: LogRecord) -> None:
        """Show the information of the codes next to their entropy."""
        information = [
            f"{name} {record.values[f'information/{name}']:.2f}/{entropy:.2f}"
            for name, entropy in self._entropies.items()
            if f"information/{name}" in record.values
        ]
        status = f"information in nats: {', '.join(information)}" if information else ""
        self._bar.update(self._task, status=status)
        if not ERR.is_terminal:
            task = self._bar.tasks[0]
            steps = f"step {record.step}/{self._config.train.steps}"
            remaining = TimeRemainingColumn(compact=True).render(task)
            log(f"{steps}  {task.fields['rate']} images/s  {remaining} left  {status}".rstrip())


class Signals(Callback):
    """Requests a stop after the first signal.

    Args:
        exit_on_second: Whether a second signal ends the process at once. Under torchrun it must not, because torchrun
            repeats the signals that the terminal has sent already.
    """

    # From Ctrl-C, from `kill` or a shutdown, and (except on Windows) from a terminal that is closed.
    NUMBERS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))

    def __init__(self, *, exit_on_second: bool = True) -> None:
        self.received: int | None = None
        self._exit_on_second = exit_on_second

    def stop_requested(self) -> bool:
        """Return whether a signal was received."""
        return self.received is not None

    @contextmanager
    def catch(self) -> Iterator["Signals"]:
        """Remember signals within the block instead of ending the process."""
        handlers = {number: signal.signal(number, self._remember) for number in self.NUMBERS}
        try:
            yield self
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        elif self._exit_on_second:
            sys.exit(128 + number)
