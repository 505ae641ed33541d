"""Callbacks: what happens next to the optimizer steps, such as progress, statistics, trackers and interruption."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infogan.config.schema import Config, Stage
from infogan.models.infogan import InfoGAN
from infogan.training.checkpoint import last_good_checkpoint
from infogan.training.run_dir import RunFolder
from infogan.training.state import TrainState
from infogan.utils import distributed
from infogan.utils.errors import UserError

Status = Literal["finished", "interrupted", "failed"]
Figures = Mapping[str, NDArray[np.uint8]]  # by name: (height, width, 3)


class Interrupted(Exception):
    """Training was asked to stop and wrote a checkpoint.

    Attributes:
        step: Number of steps made.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step


@dataclass(frozen=True)
class LogRecord:
    """One line of ``stats.jsonl``.

    Attributes:
        step: Number of steps made.
        values: Everything in the line: ``step``, ``images``, ``seconds``, ``stage`` and the means of the losses since
            the last line.
        nonfinite: The first step at which a loss was NaN or infinite, and the name of that loss; None if none was.
    """

    step: int
    values: dict[str, Any]
    nonfinite: tuple[int, str] | None = None


@dataclass(frozen=True, eq=False)
class EncodedSample:
    """The codes that a model predicts for some real images.

    Attributes:
        images: uint8 (count, channels, height, width).
        grid: uint8 (height, width, 3): the images side by side, twenty per row.
        features: float32 (count, features): the encoder's features, or the codes as numbers if there is no encoder.
        codes: By name, one per image: the name of a category, or the value of a knob.
    """

    images: NDArray[np.uint8]
    grid: NDArray[np.uint8]
    features: NDArray[np.float32]
    codes: dict[str, list[str] | list[float]]


class Callback:
    """Base class of callbacks. Override the methods that you need; each does nothing by default.

    If several workers train a run, all of them call ``on_train_begin``, ``on_stage_begin``, ``on_step_end`` and
    ``stop_requested``; rank 0 alone calls the others.

    Example:
        >>> class Stopwatch(Callback):
        ...     def on_log(self, record):
        ...         print(record.step, record.values["seconds"])
        >>> model = infogan.fit(images, callbacks=[Stopwatch()])
    """

    def on_train_begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Start a session of training, ``step`` steps after the start of the run."""

    def on_stage_begin(self, stage: Stage, step: int) -> None:
        """Start a stage; not called for a stage that is resumed in the middle."""

    def on_step_end(self, step: int) -> None:
        """Finish step number ``step``, counted from 1."""

    def on_log(self, record: LogRecord) -> None:
        """Handle a new line of ``stats.jsonl``."""

    def on_sample(self, step: int, model: InfoGAN) -> None:
        """Draw samples of the model with the averaged weights; called every ``train.sample_every`` steps."""

    def on_figures(self, step: int, figures: Figures) -> None:
        """Handle the figures drawn at a step: ``samples``, and ``traversals/CODE`` for each code."""

    def on_evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """Handle the evaluation of the trained model, a line of ``metrics.jsonl``."""

    def on_encoded(self, step: int, encoded: EncodedSample) -> None:
        """Handle the codes of some test images, or of training images if there is no test split."""

    def on_train_end(self, status: Status) -> None:
        """End the session."""

    def stop_requested(self) -> bool:
        """Return True to write a checkpoint after this step and raise `Interrupted`."""
        return False


class CallbackList:
    """Calls the same method of several callbacks, in their order.

    Example:
        >>> CallbackList([Stopwatch()]).call("on_step_end", 1)
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self.callbacks = list(callbacks)

    def call(self, method: str, *arguments: object) -> None:
        """Call a method of all callbacks."""
        for callback in self.callbacks:
            getattr(callback, method)(*arguments)

    def call_on_rank0(self, method: str, *arguments: object) -> None:
        """Call a method of all callbacks on rank 0; a `UserError` there ends all workers."""
        distributed.on_rank0(lambda: self.call(method, *arguments))

    def call_on_all_ranks(self, method: str, *arguments: object) -> None:
        """Call a method of all callbacks on every rank; a `UserError` on one ends all workers."""
        with distributed.all_or_none():
            self.call(method, *arguments)

    def stop_requested(self) -> bool:
        """Return whether any callback of any worker requests a stop."""
        return distributed.any_rank(any([callback.stop_requested() for callback in self.callbacks]))


class NaNGuard(Callback):
    """Ends a run whose losses are NaN or infinite, before anything of it is written."""

    def on_train_begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Remember the run."""
        self._run = run

    def on_log(self, record: LogRecord) -> None:
        """Raise UserError with the loss, the step and the last good checkpoint if a loss was not finite."""
        if record.nonfinite is not None:
            step, name = record.nonfinite
            raise UserError(
                f"the loss {name} is NaN or infinite at step {step}; {last_good_checkpoint(self._run)}; "
                "lower its learning rate"
            )


class StatisticsWriter(Callback):
    """Appends each record to ``stats.jsonl``."""

    def on_train_begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Remember the run."""
        self._run = run

    def on_log(self, record: LogRecord) -> None:
        """Append the record."""
        self._run.add_stats(record.values)


class RunningMeans:
    """Means of the losses since the last log record, kept on the device so that no step waits for them.

    Args:
        device: Where the losses are computed.
    """

    _PER_STEP = 10_000  # more than the losses of a step

    def __init__(self, device: torch.device) -> None:
        self._never = torch.tensor(torch.iinfo(torch.int64).max, device=device)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._first_nonfinite: dict[str, Tensor] = {}  # _PER_STEP times the step, plus the position within the step
        self._step = self._position = 0

    def add(self, means: Mapping[str, Tensor], step: int) -> None:
        """Add one step's means, each (), or this worker's shares of them."""
        for name, mean in means.items():
            self._sums[name] = self._sums.get(name, 0) + mean
            self._counts[name] = self._counts.get(name, 0) + 1
            self._position = self._position + 1 if step == self._step else 0
            self._step = step
            first = self._first_nonfinite.get(name, self._never)
            order = step * self._PER_STEP + self._position
            self._first_nonfinite[name] = torch.where(mean.isfinite(), first, first.clamp(max=order))

    def record(self, state: TrainState, stage: str) -> LogRecord:
        """Return the record of the steps since the last one; start again."""
        losses, nonfinite = self.reset()
        images, seconds = state.config.images_seen(state.step), round(state.seconds, 3)
        values = {"step": state.step, "images": images, "seconds": seconds, "stage": stage}
        return LogRecord(state.step, values | losses, nonfinite)

    def reset(self) -> tuple[dict[str, float], tuple[int, str] | None]:
        """Return the means, and the step and name of the first one that was not finite in any worker; start again.

        The first is named because it may have spread to the others from there.
        """
        if not self._sums:  # all networks were frozen
            return {}, None
        names = list(self._sums)
        sums = distributed.all_reduce_sum(torch.stack([self._sums[name] for name in names]))
        orders = distributed.all_reduce_min(torch.stack([self._first_nonfinite[name] for name in names])).tolist()
        means = {name: float(total) / self._counts[name] for name, total in zip(names, sums, strict=True)}
        order, name = min(zip(orders, names, strict=True))
        self._sums, self._counts, self._first_nonfinite = {}, {}, {}
        return means, None if order == int(self._never) else (order // self._PER_STEP + 1, name)
