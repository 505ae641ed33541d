"""What a person sees while a run is prepared and trained: a bar on a terminal, otherwise lines, on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from infogan.api.resolve import Plan
from infogan.config.schema import Config
from infogan.models.latents import CodeLayout
from infogan.training.callbacks import Callback, LogRecord
from infogan.training.run_dir import RunFolder
from infogan.training.time_budget import Timing

ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def log(text: str) -> None:
    """Print a line to standard error, because standard output is for results."""
    ERR.print(text, markup=False)


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
    size = f"{images.size}x{images.size}"
    log(f"{config.objective.kind} on {images.source}: {len(images)} images of {size}, in {run.path}")
    if plan.categories:
        log(f"{plan.categories.summary}; the run has {config.category_sizes[0]}, see {run.path / 'categories.json'}")
    if plan.timing:
        seconds = plan.timing.total(config)
        log(f"{config.train.steps} steps, which take about {format_seconds(seconds)} on this machine when it is idle")
    for sentence in (*plan.notes, *plan.warnings):
        log(sentence)


def format_seconds(seconds: float) -> str:
    """Return a time for people: ``45 s``, ``4.2 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class TrainingDisplay(Callback):
    """Shows the progress of a run: a bar on a terminal, otherwise one line per log record.

    Args:
        timing: How long a step of each stage takes, for the remaining time; None = all steps alike.
    """

    def __init__(self, timing: Timing | None = None) -> None:
        self._timing = timing
        self._bar = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.fields[rate]} images/s"),
            TextColumn("{task.fields[left]} left"),
            TextColumn("{task.fields[status]}"),
            console=ERR,
            disable=not ERR.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, rate="-", left="-", status="")

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
        step_seconds = self._timing.steps if self._timing else [1.0] * len(config.stages)
        weights = np.repeat(step_seconds, config.stage_steps)
        self._expected = np.concatenate([[0.0], np.cumsum(weights)])  # seconds until each step on an idle machine
        self._first_step, self._started = step, time.monotonic()

    def on_step_end(self, step: int) -> None:
        """Move the bar, and update the number of images per second and the time left."""
        stage, _, _ = self._config.stage_at(step - 1)
        speed = self._bar.tasks[0].speed  # steps per second
        rate = f"{speed * self._config.batch_size(stage):.0f}" if speed else "-"
        # Steps of later stages take another time, and all are slower than expected by what slowed the steps so far.
        slowness = (time.monotonic() - self._started) / (self._expected[step] - self._expected[self._first_step])
        left = format_seconds(slowness * (self._expected[-1] - self._expected[step]))
        self._bar.update(self._task, completed=step, rate=rate, left=left)

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
            fields = self._bar.tasks[0].fields
            steps = f"step {record.step}/{self._config.train.steps}"
            log(f"{steps}  {fields['rate']} images/s  {fields['left']} left  {status}".rstrip())
