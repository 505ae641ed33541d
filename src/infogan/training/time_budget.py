"""Length by time: how many steps fit into a budget on this machine.

A run's steps are fixed before it begins and recorded, so that its schedules fit its length and it resumes and repeats
exactly; only the measurement looks at a clock.
"""

import itertools
import json
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
from infogan.training.loop import Watcher, computes_in_bfloat16, train
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import CLUSTERED, STAGE_HOOKS
from infogan.utils import distributed
from infogan.utils.errors import UserError

FIXED = 0.7  # of the time, at most, for stages that do not stretch where others do
LEAST = 2_000  # steps of those that do, for which a run may take longer than its time, if it may; fewer are told
PROBES = 8  # steps of each stage that are timed; the first of them warm up
WARM_UP = 3
SMALL_SAMPLE = 1_000  # images on which beginnings are timed, and on twice as many
RESERVE = 0.15  # of the budget: for pictures, checkpoints and evaluation, and because a warm machine is slower


class Length(NamedTuple):
    """What the time, the images or the steps that were asked for came to."""

    config: Config  # in which, of a time, every share is a number of steps
    caution: str | None = None  # a sentence, where they are fewer than a good model wants


def within(
    seconds: float,
    config: Config,
    images: ImageSet,
    device: torch.device | str = "cpu",
    few: FewLabels | None = None,
    *,
    longest: float | None = None,
) -> Length:
    """The configuration with as many steps of each stage as fit into a time, and with that time as its budget.

    Stages that do not stretch take their ``share`` as steps, and together at most ``FIXED`` of the time; the others
    have what is left, in their shares.

    Args:
        seconds: For the whole run.
        config: Its ``train.steps`` plays no part.
        images: The training images.
        device: What is timed.
        few: Labels of a few images, if the configuration has a term for them.
        longest: Seconds that the run may take instead, on a machine so slow that stages that stretch would have fewer
            than ``LEAST`` steps, or the others would have to shrink; None = no more than ``seconds``.

    Raises:
        UserError: not even a few steps of each stage would fit.
    """
    started = time.monotonic()
    beginnings, a_step = _measure(config, images, device, few)
    # One clock, so that all workers come to the same steps.
    before = float(distributed.broadcast_from_rank0(lambda: repr(beginnings + time.monotonic() - started)))
    wanted = sum(
        stage.share * step for stage, step in zip(config.stages, a_step, strict=True) if not stage.scales_with_budget
    )
    elastic = sum(
        stage.share * step for stage, step in zip(config.stages, a_step, strict=True) if stage.scales_with_budget
    )
    shares = sum(stage.share for stage in config.stages if stage.scales_with_budget)
    enough = 0.0
    if elastic:
        enough = (before + max(wanted + LEAST * elastic / shares, wanted / FIXED)) / (1 - RESERVE)
    if longest is not None:
        seconds = max(seconds, min(longest, enough))
    config = config.model_copy(update={"train": config.train.model_copy(update={"budget": seconds})})
    left = seconds * (1 - RESERVE) - before
    least = PROBES * sum(a_step)
    if left < least:
        needed = (seconds - left + least) / (1 - RESERVE)
        short = f"a budget of {seconds:.0f} s is too short here: it must be above {math.ceil(needed)} s"
        raise distributed.rank0_error(UserError(short))
    fixed = min(wanted, FIXED * left) if elastic else left
    stages = []
    for stage in config.stages:
        factor = (left - fixed) / elastic if stage.scales_with_budget else fixed / wanted
        stages.append(stage.model_copy(update={"share": float(max(1, int(stage.share * factor)))}))
    played = int(sum(stage.share for stage in stages if stage.scales_with_budget))
    caution = None
    if seconds < enough and played < LEAST:  # in just enough they may be one fewer, as steps are whole
        caution = (
            f"{seconds:.0f} s leave {played} steps in which drawing is learned, and good pictures want {LEAST}: "
            f"{math.ceil(enough)} s would do here"
        )
    return Length(with_stages(config, tuple(stages)), caution)


def with_stages(config: Config, stages: tuple[Stage, ...]) -> Config:
    """The configuration with stages whose shares are numbers of steps."""
    steps = int(sum(stage.share for stage in stages))
    return config.model_copy(update={"stages": stages, "train": config.train.model_copy(update={"steps": steps})})


def _measure(
    config: Config, images: ImageSet, device: torch.device | str, few: FewLabels | None
) -> tuple[float, list[float]]:
    """Seconds that the stages' beginnings take together, and seconds a step of each stage takes, for the first worker.

    All workers make the steps, which are shared; the first alone begins stages.
    """
    a_step, encoder = seconds_a_step(config, images, device, few)
    actions = [action for stage in config.stages for action in stage.on_start]

    def told() -> str:
        return json.dumps((0.0 if encoder is None else _seconds_to_begin(actions, encoder, images), a_step))

    beginnings, a_step = json.loads(distributed.broadcast_from_rank0(told))
    return beginnings, a_step


def seconds_a_step(
    config: Config, images: ImageSet, device: torch.device | str = "cpu", few: FewLabels | None = None
) -> tuple[list[float], Encoder | None]:
    """Seconds that a step of each stage takes, the median of a few, and the encoder that took them, if there is one."""
    never = 2**31
    short = config.model_copy(
        update={
            "stages": tuple(stage.model_copy(update={"share": 1.0, "on_start": ()}) for stage in config.stages),
            "train": config.train.model_copy(
                update={
                    "steps": PROBES * len(config.stages),
                    "log_every": never,
                    "save_every": never,
                    "sample_every": never,
                }
            ),
        }
    )
    clock = [time.monotonic()]

    def look(_: int) -> None:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)  # a step has only been asked for when Python is done with it
        clock.append(time.monotonic())

    with TemporaryDirectory() as folder:
        model = train(
            short,
            images,
            RunFolder(Path(folder)),
            device=device,
            few=few,
            watch=Watcher(on_step=look),
        )
    lengths = [after - before for before, after in itertools.pairwise(clock)]
    stages = [lengths[first : first + PROBES] for first in range(0, len(lengths), PROBES)]
    model.networks.compute_in_bfloat16(computes_in_bfloat16(config, model.device))
    return [statistics.median(stage[WARM_UP:]) for stage in stages], model.networks.encoder


def _seconds_to_begin(actions: Sequence[str], encoder: Encoder, images: ImageSet) -> float:
    """Seconds that these actions take, told from what they take on a few images.

    A part of it is in proportion to the number of images, such as reading their features, and a part to its square,
    such as finding their neighbours.
    """

    def seconds(count: int) -> float:
        pixels = torch.from_numpy(np.ascontiguousarray(images.images[:: -(-len(images) // count)]))
        started = time.monotonic()
        for action in actions:
            STAGE_HOOKS[action](encoder, pixels, 0, None)
        return time.monotonic() - started

    if not actions:
        return 0.0
    most = min(len(images), CLUSTERED)
    seconds(min(most, SMALL_SAMPLE // 2))  # warms up
    if most <= 2 * SMALL_SAMPLE:
        return seconds(most)
    once, twice = seconds(SMALL_SAMPLE), seconds(2 * SMALL_SAMPLE)
    square = max(0.0, twice - 2 * once) / 2
    times = most / SMALL_SAMPLE
    return (once - square) * times + square * times**2
