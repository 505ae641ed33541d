"""Length by time, by images and by steps: the arithmetic. How well the clock is met is for the benchmarks."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infogan.api import resolve, train_run
from infogan.config import presets
from infogan.config.load import build
from infogan.config.schema import Config
from infogan.data.dataset import ImageSet
from infogan.models.architectures import ImageShape
from infogan.models.encoder import Encoder
from infogan.training import time_budget
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import STAGE_HOOKS
from infogan.utils.errors import UserError
from tests.helpers import image_set, small_config


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Config:
    """Four stages whose steps take 10, 20, 15 and 5 ms, and their beginnings nothing."""
    monkeypatch.setattr(time_budget, "_measure", lambda *_: (0.0, [0.010, 0.020, 0.015, 0.005]))
    return build(resolve.compose("robust", [{"data": {"source": "bars"}}]))


def steps(config: Config) -> list[int]:
    assert sum(stage.share for stage in config.stages) == config.train.steps
    return [int(stage.share) for stage in config.stages]


def test_stages_that_do_not_stretch_keep_their_steps_and_the_game_has_the_rest(clocked: Config) -> None:
    found = time_budget.within(200, clocked, image_set()).config
    left = 200 * (1 - time_budget.RESERVE) - 600 * 0.010 - 600 * 0.020 - 700 * 0.015
    assert steps(found)[:3] == [600, 600, 700]
    assert steps(found)[3] == pytest.approx(left / 0.005, abs=5)


def test_in_a_short_time_they_shrink_alike_and_leave_the_game_its_part(clocked: Config) -> None:
    found = time_budget.within(20, clocked, image_set()).config
    left = 20 * (1 - time_budget.RESERVE)
    factor = time_budget.MAX_FIXED_SHARE * left / (600 * 0.010 + 600 * 0.020 + 700 * 0.015)
    expected = [600 * factor, 600 * factor, 700 * factor, (1 - time_budget.MAX_FIXED_SHARE) * left / 0.005]
    assert steps(found) == pytest.approx(expected, abs=5)


def test_a_slow_machine_may_take_longer_for_a_game_that_is_long_enough(
    clocked: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        time_budget.within(200, clocked, image_set(), longest=300).config.train.budget == 200
    )  # has many more than that
    slow = 5.0
    monkeypatch.setattr(
        time_budget, "_measure", lambda *_: (6.0, [slow * step for step in (0.010, 0.020, 0.015, 0.010)])
    )
    needed = 6 + slow * (600 * 0.010 + 600 * 0.020 + 700 * 0.015 + time_budget.GOOD_GAN_STEPS * 0.010)
    found = time_budget.within(200, clocked, image_set(), longest=300).config
    assert found.train.budget == pytest.approx(needed / (1 - time_budget.RESERVE), abs=0.1)
    assert 200 < needed / (1 - time_budget.RESERVE) < 300
    assert steps(found) == pytest.approx([600, 600, 700, time_budget.GOOD_GAN_STEPS], abs=10)
    assert time_budget.within(200, clocked, image_set(), longest=230).config.train.budget == 230
    assert time_budget.within(200, clocked, image_set()).config.train.budget == 200


def test_a_time_that_leaves_few_steps_for_drawing_is_told_with_the_time_that_leaves_enough(
    clocked: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = 600 * 0.010 + 600 * 0.020 + 700 * 0.015
    assert (
        features / time_budget.MAX_FIXED_SHARE > features + time_budget.GOOD_GAN_STEPS * 0.005
    )  # nor should the features shrink
    enough = features / time_budget.MAX_FIXED_SHARE / (1 - time_budget.RESERVE)
    assert time_budget.within(enough + 0.1, clocked, image_set()).warning is None
    found = time_budget.within(30, clocked, image_set())
    assert found.warning is not None
    assert f"{steps(found.config)[3]} steps" in found.warning
    assert f"{math.ceil(enough)} s would do" in found.warning
    monkeypatch.setattr(time_budget, "_measure", lambda *_: (0.0, [0.05, 0.1, 0.075, 0.0503]))
    extended = time_budget.within(200, clocked, image_set(), longest=400)  # to what would do, and no more is to be said
    assert (steps(extended.config)[3], extended.warning) == (time_budget.GOOD_GAN_STEPS - 1, None)  # as steps are whole
    slow = time_budget.within(30, clocked, image_set(), longest=35)  # nobody said how long, and yet it is not enough
    assert slow.warning is not None
    assert slow.warning.startswith("35 s leave")
    monkeypatch.setattr(time_budget, "_measure", lambda *_: (0.0, [0.010, 0.020, 0.015]))
    alone = clocked.model_copy(update={"stages": tuple(s for s in clocked.stages if not s.scales_with_budget)})
    assert time_budget.within(1, alone, image_set()).warning is None  # nothing here draws longer for more time


def test_a_time_that_is_too_short_is_refused_with_the_shortest(clocked: Config) -> None:
    least = time_budget.TIMED_STEPS * 0.050 / (1 - time_budget.RESERVE)
    assert 0.4 < least < 0.5
    time_budget.within(1.0, clocked, image_set())
    with pytest.raises(UserError, match=r"above 1 s"):
        time_budget.within(0.4, clocked, image_set())


def test_beginnings_are_timed_on_few_images_and_told_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    now, seen = [0.0], []

    def begin(encoder: object, state: object, pixels: torch.Tensor, seed: int, few: object) -> None:
        seen.append(len(pixels))
        now[0] += 1e-3 * len(pixels) + 1e-6 * len(pixels) ** 2

    monkeypatch.setattr("infogan.training.time_budget.time.monotonic", lambda: now[0])
    monkeypatch.setitem(STAGE_HOOKS, "cluster", begin)
    encoder = Encoder(ImageShape(1, 8), 4, 2)
    many = ImageSet(np.broadcast_to(np.uint8(0), (60_000, 1, 8, 8)), [], "zeros")
    found = time_budget._hook_seconds(["cluster", "cluster"], encoder, many)
    assert found == pytest.approx(2 * (1e-3 * 20_000 + 1e-6 * 20_000**2))  # no more than that are clustered
    assert max(seen) == 2 * time_budget.SMALL_SAMPLE
    few = image_set(64)
    assert time_budget._hook_seconds(["cluster"], encoder, few) == pytest.approx(1e-3 * 64 + 1e-6 * 64**2)
    assert time_budget._hook_seconds([], encoder, few) == 0


def test_a_budget_is_measured_on_real_steps_once_and_kept(tmp_path: Path) -> None:
    config = small_config(train={"steps": 6, "batch_size": 16, "budget": 600.0})
    found = time_budget.within(600.0, config, image_set()).config
    assert found.train.steps > 50
    options: dict[str, Any] = json.loads(config.model_dump_json())
    options["data"] = {"source": "digits"}
    run = RunFolder.at(tmp_path / "run")
    first = train_run.plan(options, run=run.path).config
    run.begin(first, "x")
    assert train_run.plan(options, run=run.path).config == first  # whatever the clock says the second time


def test_a_length_that_nobody_said_is_longer_on_a_slow_machine_and_then_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = resolve.compose("robust", [{"data": {"source": "digits"}}])
    run = RunFolder.at(tmp_path / "run")
    monkeypatch.setattr(time_budget, "_measure", lambda *_: (6.0, [0.05, 0.1, 0.05, 0.06]))
    first = train_run.plan(options, run=run.path).config
    assert isinstance(first.train.budget, float)
    assert presets.BUDGET < first.train.budget < presets.BUDGET * presets.LONGEST_BUDGET_FACTOR
    run.begin(first, "x")
    monkeypatch.setattr(time_budget, "_measure", lambda *_: (0.0, [0.01] * 4))
    assert train_run.plan(options, run=run.path).config == first
    said = resolve.compose("robust", [{"data": {"source": "digits"}, "train": {"budget": presets.BUDGET}}])
    monkeypatch.setattr(time_budget, "_measure", lambda *_: (6.0, [0.05, 0.1, 0.05, 0.06]))
    assert train_run.plan(said).config.train.budget == presets.BUDGET


def test_images_come_to_the_fewest_steps_that_show_so_many() -> None:
    options = resolve.compose("robust", [{"data": {"source": "digits"}, "train": {"images_seen": 100_000}}])
    found = train_run.plan(options).config
    assert found.train.budget is None
    assert found.images_seen(found.train.steps) == pytest.approx(100_000, rel=0.02)


def test_large_images_have_time_in_proportion_to_their_pixels_unless_it_is_given() -> None:
    def seconds(size: int, *assignments: str) -> float:
        budget: float = resolve._for_size(resolve.compose("robust", (), assignments), size)["train"]["budget"]
        return budget

    assert seconds(8) == seconds(32) == presets.BUDGET
    assert seconds(48) == pytest.approx(presets.BUDGET * 2.25)
    assert seconds(128) == pytest.approx(presets.BUDGET * 16)
    assert seconds(128, "train.budget=7") == 7


def test_a_length_that_is_given_takes_the_place_of_the_presets() -> None:
    assert build(resolve.compose("robust")).train.budget == "auto"
    for assignment in ("train.steps=77", "train.images_seen=77"):
        assert build(resolve.compose("robust", (), [assignment])).train.budget is None
    assert build(resolve.compose("post", [{"train": {"budget": 5.0}}])).train.budget == 5
    with pytest.raises(UserError, match="one of them"):
        build(resolve.compose("robust", [{"train": {"budget": 5.0, "images_seen": 7}}]))
