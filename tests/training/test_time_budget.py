"""Length by time: how many steps fit into a budget. How well the clock is met is for the benchmarks."""

import math
import time

import numpy as np
import pytest
import torch

from infogan.api.resolve import compose
from infogan.config.load import build
from infogan.config.schema import Config
from infogan.data.dataset import ImageSet
from infogan.models.architectures import ImageShape
from infogan.models.encoder import Encoder
from infogan.training import time_budget
from infogan.training.stage_hooks import STAGE_HOOKS
from infogan.training.time_budget import (
    GOOD_GAN_STEPS,
    MIN_GAN_STEPS,
    RESERVE,
    SMALL_SAMPLE,
    TIMED_STEPS,
    WARM_UP_STEPS,
    Timing,
    seconds_per_step,
    within,
)
from infogan.utils.errors import UserError
from tests.helpers import image_set

IMAGES = image_set()
TIMING = Timing(3.0, (0.010, 0.020, 0.015, 0.005))
FIXED = 600 * 0.010 + 900 * 0.020 + 1400 * 0.015  # seconds for the stages that do not scale


@pytest.fixture
def config() -> Config:
    return build(compose("robust", [{"data": {"source": "bars"}}]))


def steps_of(config: Config) -> list[int]:
    assert sum(stage.share for stage in config.stages) == config.train.steps
    return [int(stage.share) for stage in config.stages]


def seconds_for(gan_steps: int) -> float:
    return (3.0 + FIXED + gan_steps * 0.005) / (1 - RESERVE)


def test_fixed_stages_keep_their_steps_and_the_gan_stage_takes_the_rest(config: Config) -> None:
    length = within(200, config, TIMING)
    steps = steps_of(length.config)
    assert steps[:3] == [600, 900, 1400]
    assert steps[3] == pytest.approx((200 * (1 - RESERVE) - 3.0 - FIXED) / 0.005, abs=5)
    assert length.config.train.budget == 200
    assert TIMING.total(length.config) == pytest.approx(200, abs=0.1)


def test_budget_that_leaves_few_gan_steps_causes_a_warning(config: Config) -> None:
    assert within(seconds_for(GOOD_GAN_STEPS) + 0.1, config, TIMING).warning is None
    length = within(seconds_for(500) + 0.001, config, TIMING)
    assert length.warning is not None
    assert steps_of(length.config) == pytest.approx([600, 900, 1400, 500], abs=1)
    for part in ("500 GAN steps", f"{GOOD_GAN_STEPS}", f"{math.ceil(seconds_for(GOOD_GAN_STEPS))}s"):
        assert part in length.warning


def test_budget_that_is_too_short_is_refused_with_the_shortest(config: Config) -> None:
    shortest = math.ceil(seconds_for(MIN_GAN_STEPS))
    assert steps_of(within(shortest, config, TIMING).config)[3] >= MIN_GAN_STEPS
    with pytest.raises(UserError, match=f"--budget {shortest}s"):
        within(seconds_for(MIN_GAN_STEPS) - 0.001, config, TIMING)


def test_stages_that_do_not_scale_are_never_changed(config: Config) -> None:
    stages = tuple(stage for stage in config.stages if not stage.scales_with_budget)
    fixed = config.model_copy(update={"stages": stages})
    timing = Timing(0.0, TIMING.steps[:3])
    length = within(1000, fixed, timing)
    assert (steps_of(length.config), length.warning) == ([600, 900, 1400], None)
    with pytest.raises(UserError, match="too short"):
        within(FIXED, fixed, timing)


def test_a_busy_machine_changes_the_number_of_steps_by_less_than_a_factor_of_two(config: Config) -> None:
    """Other programs slow most steps down, but the fastest of a few count, on the clock of this thread."""
    random = np.random.default_rng(0)

    def measured(step_seconds: float) -> float:
        slowed = step_seconds * random.uniform(1.0, 2.0, TIMED_STEPS - WARM_UP_STEPS)  # caches and memory are shared
        return float(slowed.min())

    idle = steps_of(within(180, config, TIMING).config)[3]
    for _ in range(100):
        busy = within(180, config, Timing(3.0, tuple(map(measured, TIMING.steps)))).config
        assert idle / 2 < steps_of(busy)[3] <= idle


def test_hooks_are_timed_on_few_images_and_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, counts = [0.0], []

    def hook(encoder: object, state: object, pixels: torch.Tensor, seed: int, few_labels: object) -> None:
        counts.append(len(pixels))
        seconds[0] += 1e-3 * len(pixels) + 1e-6 * len(pixels) ** 2

    monkeypatch.setattr("infogan.training.time_budget._clock", lambda device: seconds[0])
    monkeypatch.setitem(STAGE_HOOKS, "cluster", hook)
    encoder = Encoder(ImageShape(1, 8), 4, 2)
    images = ImageSet(np.broadcast_to(np.uint8(0), (60_000, 1, 8, 8)), [], "zeros")
    estimate = time_budget._hook_seconds(["cluster", "cluster"], encoder, images)
    assert estimate == pytest.approx(2 * (1e-3 * 20_000 + 1e-6 * 20_000**2))  # at most that many are clustered
    assert max(counts) == 2 * SMALL_SAMPLE
    assert time_budget._hook_seconds(["cluster"], encoder, IMAGES) == pytest.approx(1e-3 * 64 + 1e-6 * 64**2)
    assert time_budget._hook_seconds([], encoder, IMAGES) == 0


def test_steps_of_every_stage_are_timed() -> None:
    sections = {"data": {"source": "bars"}, "networks": {"width": 4, "encoder_width": 4}, "train": {"batch_size": 8}}
    config = build(compose("robust", [sections]))
    seconds, encoder = seconds_per_step(config, IMAGES)
    assert len(seconds) == len(config.stages)
    assert all(1e-4 < step < 10 for step in seconds)
    assert encoder is not None


def test_the_fastest_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.cumsum([0.0, *[9.0] * WARM_UP_STEPS, 3.0, 1.0, 5.0, 2.0, 4.0]))
    monkeypatch.setattr(time_budget, "_clock", lambda device: next(clock))
    sections = {"data": {"source": "bars"}, "networks": {"width": 4}, "train": {"batch_size": 8}}
    seconds, _ = seconds_per_step(build(compose("plain", [sections])), IMAGES)
    assert seconds == (1.0,)


def test_time_in_which_other_programs_run_does_not_count() -> None:
    started = time_budget._clock("cpu")
    time.sleep(0.2)  # the processor is someone else's
    assert time_budget._clock("cpu") - started < 0.1
    until = time.monotonic() + 10
    while time_budget._clock("cpu") - started < 0.1:
        assert time.monotonic() < until, "the clock stands still"
