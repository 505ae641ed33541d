"""How long a run takes, and how many steps fit into a budget of seconds.

The number of steps is fixed and recorded before a run starts, so that its schedules fit its length and it resumes and
repeats exactly; only this measurement looks at a clock.
"""

import itertools
import math
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
from infogan.utils.devices import synchronize
from infogan.utils.errors import UserError

GOOD_GAN_STEPS = 2_000  # steps that train the generator; a budget that leaves fewer causes a warning
MIN_GAN_STEPS = 200  # a budget that leaves fewer is refused
TIMED_STEPS = 8  # of each stage; the first of them warm up
WARM_UP_STEPS = 3
SMALL_SAMPLE = 1_000  # images on which hooks are timed, and on twice as many
BUSY = 1.3  # times the time of this thread, from which on other programs take part of the machine
RESERVE = 0.15  # of the time: for figures, checkpoints and evaluation, and because a warm machine is slower
NEVER = 2**31


class Timing(NamedTuple):
    """How long the parts of a run take on this machine, in seconds.

    Attributes:
        overhead: The timing itself and all stage hooks.
        steps: A step of each stage.
    """

    overhead: float
    steps: tuple[float, ...]

    def total(self, config: Config) -> float:
        """Return the seconds that a whole run takes, with its evaluation."""
        training = sum(count * step for count, step in zip(config.stage_steps, self.steps, strict=True))
        return (self.overhead + training) / (1 - RESERVE)


class Length(NamedTuple):
    """A configuration with its length in steps.

    Attributes:
        config: For a budget, every stage's share is its number of steps.
        warning: A sentence, if there are fewer steps than a good model needs.
    """

    config: Config
    warning: str | None = None


def within(seconds: float, config: Config, timing: Timing) -> Length:
    """Return the configuration with as many steps as fit into a time.

    Stages that do not scale take their ``share`` as steps; the others divide the rest by their shares.

    Args:
        seconds: Time for the whole run.
        config: The configuration; its ``train.steps`` is ignored.
        timing: From `measure`.

    Raises:
        UserError: The stages that do not scale and ``MIN_GAN_STEPS`` steps of the others do not fit.
    """
    timed = list(zip(config.stages, timing.steps, strict=True))
    fixed = sum(stage.share * step for stage, step in timed if not stage.scales_with_budget)
    scaling = sum(stage.share * step for stage, step in timed if stage.scales_with_budget)
    shares = sum(stage.share for stage in config.stages if _is_gan(stage))
    per_step = scaling / shares if shares else 0.0  # with its part of the other stages that scale
    least, enough = (
        (timing.overhead + fixed + steps * per_step) / (1 - RESERVE) for steps in (MIN_GAN_STEPS, GOOD_GAN_STEPS)
    )
    if seconds < least:
        message = f"a budget of {seconds:.0f} s is too short on this machine: use --budget {math.ceil(least)}s or more"
        raise distributed.rank0_error(UserError(message))
    available = seconds * (1 - RESERVE) - timing.overhead - fixed
    stages = []
    for stage in config.stages:
        steps = stage.share * available / scaling if stage.scales_with_budget else stage.share
        stages.append(stage.model_copy(update={"share": float(max(1, int(steps)))}))
    gan_steps = int(sum(stage.share for stage in stages if _is_gan(stage)))
    warning = None
    if seconds < enough and shares:
        warning = (
            f"a budget of {seconds:.0f} s leaves {gan_steps} GAN steps; at least {GOOD_GAN_STEPS} are recommended. "
            f"Use --budget {math.ceil(enough)}s on this machine"
        )
    return Length(with_stages(config.with_train(budget=seconds), tuple(stages)), warning)


def _is_gan(stage: Stage) -> bool:
    return stage.scales_with_budget and any("generator" in update.networks for update in stage.updates)


def with_stages(config: Config, stages: tuple[Stage, ...]) -> Config:
    """Return the configuration with other stages, whose shares are numbers of steps."""
    steps = int(sum(stage.share for stage in stages))
    return config.model_copy(update={"stages": stages}).with_train(steps=steps)


def _clock(device: torch.device | str) -> float:
    """Return the time in seconds of a clock that other programs on the machine do not slow down, if there is one.

    On the CPU it is the time that the main thread computed: it takes part in all that other threads do, so that on an
    idle machine both times agree. Waiting for a GPU or for other workers takes none of it.
    """
    synchronize(torch.device(device))
    is_alone = torch.device(device).type == "cpu" and not distributed.is_distributed()
    return time.thread_time() if is_alone else time.monotonic()


class StepTimer(Callback):
    """Records when each step ends.

    Attributes:
        times: Seconds: when it was made, then the end of each step.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._device = device
        self.times = [_clock(device)]

    def on_step_end(self, step: int) -> None:
        """Record the time."""
        self.times.append(_clock(self._device))


def seconds_per_step(
    config: Config, images: ImageSet, device: torch.device | str = "cpu", few_labels: FewLabels | None = None
) -> tuple[tuple[float, ...], Encoder | None]:
    """Return the seconds that a step of each stage takes, the fastest of a few, and the encoder that made them."""
    stages = tuple(stage.model_copy(update={"share": 1.0, "on_start": ()}) for stage in config.stages)
    length = {"steps": TIMED_STEPS * len(stages), "log_every": NEVER, "save_every": NEVER, "sample_every": NEVER}
    short = config.model_copy(update={"stages": stages}).with_train(**length)
    timer = StepTimer(device)
    with TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        targets = None
        if config.features.source:  # of no meaning, but of the right shape
            targets = np.full((len(images), config.category_sizes[0]), 1 / config.category_sizes[0], np.float32)
        model = train(short, images, run, device=device, few_labels=few_labels, targets=targets, callbacks=[timer])
    lengths = [after - before for before, after in itertools.pairwise(timer.times)]
    by_stage = [lengths[first : first + TIMED_STEPS] for first in range(0, len(lengths), TIMED_STEPS)]
    model.networks.compute_in_bfloat16(computes_in_bfloat16(config, model.device))
    return tuple(min(lengths[WARM_UP_STEPS:]) for lengths in by_stage), model.networks.encoder


def measure(
    config: Config, images: ImageSet, device: torch.device | str = "cpu", few_labels: FewLabels | None = None
) -> Timing:
    """Measure how long a run takes, by a few steps of each stage and by stage hooks on a few images.

    All workers make the steps, which they share. Rank 0 alone runs hooks, and its clock counts, so that all workers get
    the same number of steps.

    Args:
        config: The configuration of the run.
        images: The training images.
        device: The device that is timed.
        few_labels: Labels of a few images, for the loss ``supervised``.
    """
    started, wall_started = _clock(device), time.monotonic()
    step_seconds, encoder = seconds_per_step(config, images, device, few_labels)
    is_busy = time.monotonic() - wall_started > BUSY * (_clock(device) - started)
    hooks = [hook for stage in config.stages for hook in stage.on_start]

    def timing() -> Timing:
        hook_seconds = 0.0 if encoder is None else _hook_seconds(hooks, encoder, images)
        return Timing(hook_seconds + _clock(device) - started, step_seconds)

    if not is_busy or torch.get_num_threads() == 1:
        return distributed.broadcast_from_rank0(timing)
    # Threads that wait for one that does not run may spin, which costs time on this clock. A single thread waits for
    # nothing, and is at most as many times slower on an idle machine as there are threads.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone, encoder = seconds_per_step(config, images, device, few_labels)
        step_seconds = tuple(map(min, step_seconds, alone))
        return timing()
    finally:
        torch.set_num_threads(threads)


def _hook_seconds(hooks: Sequence[str], encoder: Encoder, images: ImageSet) -> float:
    """Return the seconds that stage hooks take, extrapolated from a few images.

    Some of it is proportional to the number of images, such as computing their features, and some to its square, such
    as finding their neighbours.
    """
    device = encoder.directions.device
    state = EncoderState(len(encoder.directions)).to(device)

    def measure_on(count: int) -> float:
        pixels = torch.from_numpy(np.ascontiguousarray(images.images[:: -(-len(images) // count)]))
        started = _clock(device)
        for hook in hooks:
            if hook in STAGE_HOOKS:  # the reader's takes little time
                STAGE_HOOKS[hook](encoder, state, pixels, 0, None)
        return _clock(device) - started

    most = min(len(images), CLUSTERED_IMAGES)
    measure_on(min(most, SMALL_SAMPLE // 2))  # warms up
    if most <= 2 * SMALL_SAMPLE:
        return measure_on(most)
    small, double = measure_on(SMALL_SAMPLE), measure_on(2 * SMALL_SAMPLE)
    quadratic = max(0.0, double - 2 * small) / 2
    factor = most / SMALL_SAMPLE
    return (small - quadratic) * factor + quadratic * factor**2
