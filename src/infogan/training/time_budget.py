"""A length in seconds: how many steps fit into a budget on this machine.

The number of steps is fixed and recorded before a run starts, so that its schedules fit its length and it resumes and
repeats exactly; only this measurement looks at a clock.
"""

import itertools
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

from infogan.config.schema import Config, Stage
from infogan.data.dataset import ImageSet
from infogan.data.labels import FewLabels
from infogan.models.encoder import Encoder
from infogan.training.callbacks import Callback
from infogan.training.loop import train
from infogan.training.optim import computes_in_bfloat16
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import CLUSTERED_IMAGES, STAGE_HOOKS
from infogan.training.state import EncoderState
from infogan.utils import distributed
from infogan.utils.errors import UserError

MAX_FIXED_SHARE = 0.7  # of the time, for stages that do not scale, if others do
GOOD_GAN_STEPS = 2_000  # steps of the stages that scale; fewer cause a warning
TIMED_STEPS = 8  # of each stage; the first of them warm up
WARM_UP_STEPS = 3
SMALL_SAMPLE = 1_000  # images on which hooks are timed, and on twice as many
RESERVE = 0.15  # of the budget: for figures, checkpoints and evaluation, and because a warm machine is slower
NEVER = 2**31


class Length(NamedTuple):
    """A configuration with its length in steps.

    Attributes:
        config: For a budget, every stage's share is its number of steps.
        warning: A sentence, if there are fewer steps than a good model needs.
    """

    config: Config
    warning: str | None = None


def within(
    seconds: float,
    config: Config,
    images: ImageSet,
    device: torch.device | str = "cpu",
    few_labels: FewLabels | None = None,
    *,
    longest: float | None = None,
) -> Length:
    """Return the configuration with as many steps of each stage as fit into a time.

    Stages that do not scale take their ``share`` as steps, and together at most ``MAX_FIXED_SHARE`` of the time; the
    others divide the rest by their shares.

    Args:
        seconds: Time for the whole run.
        config: The configuration; its ``train.steps`` is ignored.
        images: The training images.
        device: The device that is timed.
        few_labels: Labels of a few images, for the loss ``supervised``.
        longest: Time that the run may take instead, on a machine so slow that ``seconds`` leave fewer than
            ``GOOD_GAN_STEPS``, or shorten the stages that do not scale; None = ``seconds``.

    Raises:
        UserError: Not even a few steps of each stage fit.
    """
    overhead, step_seconds = _measure(config, images, device, few_labels)
    timed = list(zip(config.stages, step_seconds, strict=True))
    fixed = sum(stage.share * seconds for stage, seconds in timed if not stage.scales_with_budget)
    scaling = sum(stage.share * seconds for stage, seconds in timed if stage.scales_with_budget)
    shares = sum(stage.share for stage in config.stages if stage.scales_with_budget)
    enough = 0.0
    if scaling:
        enough = (overhead + max(fixed + GOOD_GAN_STEPS * scaling / shares, fixed / MAX_FIXED_SHARE)) / (1 - RESERVE)
    if longest is not None:
        seconds = max(seconds, min(longest, enough))
    config = config.with_train(budget=seconds)
    available = seconds * (1 - RESERVE) - overhead
    least = TIMED_STEPS * sum(step_seconds)
    if available < least:
        needed = math.ceil((seconds - available + least) / (1 - RESERVE))
        message = f"a budget of {seconds:.0f} s is too short on this machine: use --budget {needed + 1}s or more"
        raise distributed.rank0_error(UserError(message))
    for_fixed = min(fixed, MAX_FIXED_SHARE * available) if scaling else available
    stages = []
    for stage in config.stages:
        factor = (available - for_fixed) / scaling if stage.scales_with_budget else for_fixed / fixed
        stages.append(stage.model_copy(update={"share": float(max(1, int(stage.share * factor)))}))
    gan_steps = int(sum(stage.share for stage in stages if stage.scales_with_budget))
    warning = None
    if seconds < enough and gan_steps < GOOD_GAN_STEPS:  # with just enough time there may be one fewer by rounding
        warning = (
            f"a budget of {seconds:.0f} s leaves {gan_steps} GAN steps; at least {GOOD_GAN_STEPS} are recommended. "
            f"Use --budget {math.ceil(enough)}s on this machine"
        )
    return Length(with_stages(config, tuple(stages)), warning)


def with_stages(config: Config, stages: tuple[Stage, ...]) -> Config:
    """Return the configuration with other stages, whose shares are numbers of steps."""
    steps = int(sum(stage.share for stage in stages))
    return config.model_copy(update={"stages": stages}).with_train(steps=steps)


class StepTimer(Callback):
    """Records when each step ends.

    Attributes:
        times: Seconds: when it was made, then the end of each step.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self.times = [time.monotonic()]

    def on_step_end(self, step: int) -> None:
        """Record the time."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # Python only queues the step
        self.times.append(time.monotonic())


def seconds_per_step(
    config: Config, images: ImageSet, device: torch.device | str = "cpu", few_labels: FewLabels | None = None
) -> tuple[list[float], Encoder | None]:
    """Return the seconds that a step of each stage takes, the median of a few, and the encoder that made them."""
    stages = tuple(stage.model_copy(update={"share": 1.0, "on_start": ()}) for stage in config.stages)
    length = {"steps": TIMED_STEPS * len(stages), "log_every": NEVER, "save_every": NEVER, "sample_every": NEVER}
    short = config.model_copy(update={"stages": stages}).with_train(**length)
    timer = StepTimer(device)
    with TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        model = train(short, images, run, device=device, few_labels=few_labels, callbacks=[timer])
    lengths = [after - before for before, after in itertools.pairwise(timer.times)]
    by_stage = [lengths[first : first + TIMED_STEPS] for first in range(0, len(lengths), TIMED_STEPS)]
    model.networks.compute_in_bfloat16(computes_in_bfloat16(config, model.device))
    return [statistics.median(lengths[WARM_UP_STEPS:]) for lengths in by_stage], model.networks.encoder


def _measure(
    config: Config, images: ImageSet, device: torch.device | str, few_labels: FewLabels | None
) -> tuple[float, list[float]]:
    """Return the seconds that this measurement and all stage hooks take together, and those of a step of each stage.

    All workers make the steps, which they share. Rank 0 alone runs hooks, and its clock counts, so that all workers get
    the same number of steps.
    """
    started = time.monotonic()
    step_seconds, encoder = seconds_per_step(config, images, device, few_labels)
    hooks = [hook for stage in config.stages for hook in stage.on_start]

    def measure() -> tuple[float, list[float]]:
        hook_seconds = 0.0 if encoder is None else _hook_seconds(hooks, encoder, images)
        return hook_seconds + time.monotonic() - started, step_seconds

    return distributed.broadcast_from_rank0(measure)


def _hook_seconds(hooks: Sequence[str], encoder: Encoder, images: ImageSet) -> float:
    """Return the seconds that stage hooks take, extrapolated from a few images.

    Some of it is proportional to the number of images, such as computing their features, and some to its square, such
    as finding their neighbours.
    """
    state = EncoderState(len(encoder.directions)).to(encoder.directions.device)

    def measure(count: int) -> float:
        pixels = torch.from_numpy(np.ascontiguousarray(images.images[:: -(-len(images) // count)]))
        started = time.monotonic()
        for hook in hooks:
            STAGE_HOOKS[hook](encoder, state, pixels, 0, None)
        return time.monotonic() - started

    most = min(len(images), CLUSTERED_IMAGES)
    measure(min(most, SMALL_SAMPLE // 2))  # warms up
    if most <= 2 * SMALL_SAMPLE:
        return measure(most)
    small, double = measure(SMALL_SAMPLE), measure(2 * SMALL_SAMPLE)
    quadratic = max(0.0, double - 2 * small) / 2
    factor = most / SMALL_SAMPLE
    return (small - quadratic) * factor + quadratic * factor**2
