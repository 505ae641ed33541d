"""Length by time: how many steps fit into a budget. How well the clock is met is for the benchmarks."""

import math

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
    MAX_FIXED_SHARE,
    RESERVE,
    SMALL_SAMPLE,
    TIMED_STEPS,
    seconds_per_step,
    within,
)
from infogan.utils.errors import UserError
from tests.helpers import image_set

IMAGES = image_set()
STEP_SECONDS = (0.010, 0.020, 0.015, 0.005)
FIXED = 600 * 0.010 + 600 * 0.020 + 700 * 0.015  # seconds for the stages that do not scale


def set_clock(monkeypatch: pytest.MonkeyPatch, hooks: float, steps: tuple[float, ...]) -> None:
    """Pretend that stage hooks and steps take these seconds."""
    monkeypatch.setattr(time_budget, "_measure", lambda *_: (hooks, list(steps)))


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return `robust`, whose steps take `STEP_SECONDS` and whose hooks take no time."""
    set_clock(monkeypatch, 0.0, STEP_SECONDS)
    return build(compose("robust", [{"data": {"source": "bars"}}]))


def steps_of(config: Config) -> list[int]:
    assert sum(stage.share for stage in config.stages) == config.train.steps
    return [int(stage.share) for stage in config.stages]


def test_fixed_stages_keep_their_steps_and_the_gan_stage_takes_the_rest(config: Config) -> None:
    steps = steps_of(within(200, config, IMAGES).config)
    assert steps[:3] == [600, 600, 700]
    assert steps[3] == pytest.approx((200 * (1 - RESERVE) - FIXED) / 0.005, abs=5)


def test_fixed_stages_shrink_alike_in_a_short_time(config: Config) -> None:
    available = 20 * (1 - RESERVE)
    factor = MAX_FIXED_SHARE * available / FIXED
    expected = [600 * factor, 600 * factor, 700 * factor, (1 - MAX_FIXED_SHARE) * available / 0.005]
    assert steps_of(within(20, config, IMAGES).config) == pytest.approx(expected, abs=5)


def test_budget_grows_on_a_slow_machine_only(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    assert within(200, config, IMAGES, longest=300).config.train.budget == 200  # leaves far more steps than needed
    slow = 5.0
    set_clock(monkeypatch, 6.0, tuple(slow * seconds for seconds in (0.010, 0.020, 0.015, 0.010)))
    needed = (6 + slow * (FIXED + GOOD_GAN_STEPS * 0.010)) / (1 - RESERVE)
    assert 200 < needed < 300
    extended = within(200, config, IMAGES, longest=300).config
    assert extended.train.budget == pytest.approx(needed, abs=0.1)
    assert steps_of(extended) == pytest.approx([600, 600, 700, GOOD_GAN_STEPS], abs=10)
    assert within(200, config, IMAGES, longest=230).config.train.budget == 230
    assert within(200, config, IMAGES).config.train.budget == 200


def test_budget_that_leaves_few_gan_steps_causes_a_warning(config: Config) -> None:
    assert FIXED / MAX_FIXED_SHARE > FIXED + GOOD_GAN_STEPS * 0.005  # the fixed stages should not shrink either
    enough = FIXED / MAX_FIXED_SHARE / (1 - RESERVE)
    assert within(enough + 0.1, config, IMAGES).warning is None
    length = within(30, config, IMAGES)
    assert length.warning is not None
    for part in ("30 s", f"{steps_of(length.config)[3]} GAN steps", f"{GOOD_GAN_STEPS}", f"{math.ceil(enough)}s"):
        assert part in length.warning


def test_extended_budget_causes_a_warning_only_if_it_is_still_too_short(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, 0.0, (0.05, 0.1, 0.075, 0.0503))
    extended = within(200, config, IMAGES, longest=400)
    assert (steps_of(extended.config)[3], extended.warning) == (GOOD_GAN_STEPS - 1, None)  # one fewer by rounding
    too_short = within(30, config, IMAGES, longest=35)
    assert too_short.warning is not None
    assert "35 s" in too_short.warning


def test_stages_that_do_not_scale_cause_no_warning(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 0.0, STEP_SECONDS[:3])
    stages = tuple(stage for stage in config.stages if not stage.scales_with_budget)
    assert within(1, config.model_copy(update={"stages": stages}), IMAGES).warning is None


def test_budget_that_is_too_short_is_refused_with_the_shortest(config: Config) -> None:
    shortest = TIMED_STEPS * sum(STEP_SECONDS) / (1 - RESERVE)
    assert 0.4 < shortest < 0.5
    within(1.0, config, IMAGES)
    with pytest.raises(UserError, match="--budget 2s"):
        within(0.4, config, IMAGES)


def test_hooks_are_timed_on_few_images_and_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, counts = [0.0], []

    def hook(encoder: object, state: object, pixels: torch.Tensor, seed: int, few_labels: object) -> None:
        counts.append(len(pixels))
        seconds[0] += 1e-3 * len(pixels) + 1e-6 * len(pixels) ** 2

    monkeypatch.setattr("infogan.training.time_budget.time.monotonic", lambda: seconds[0])
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
