"""Callbacks: which methods are called when, how they stop a run, and what the callbacks of every run do."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from infogan.config.schema import Config, Stage
from infogan.models.infogan import InfoGAN
from infogan.training.callbacks import (
    Callback,
    CallbackList,
    Interrupted,
    LogRecord,
    NaNGuard,
    RunningMeans,
    StatisticsWriter,
)
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.helpers import Hooks, capture_networks, image_set, saved_tensors, small_config, train_at
from tests.training.test_loop import TWO_STAGES


class Recorder(Callback):
    """Records its calls, and requests a stop before a step ends."""

    def __init__(self, calls: list[tuple[Any, ...]], name: str = "", stop_before: int = -1) -> None:
        self.calls, self.name, self.stop_before, self.steps = calls, name, stop_before, 0

    def on_train_begin(self, run: RunFolder, config: Config, step: int) -> None:
        self.steps = step
        self.calls.append((self.name, "train", step))

    def on_stage_begin(self, stage: Stage, step: int) -> None:
        self.calls.append((self.name, "stage", stage.name, step))

    def on_log(self, record: LogRecord) -> None:
        self.calls.append((self.name, "log", record.step))

    def on_sample(self, step: int, model: InfoGAN) -> None:
        assert not any(parameter.requires_grad for parameter in model.networks.parameters())
        self.calls.append((self.name, "sample", step))

    def on_step_end(self, step: int) -> None:
        self.steps = step
        self.calls.append((self.name, "step", step))

    def stop_requested(self) -> bool:
        return self.steps + 1 == self.stop_before


def events(run: RunFolder, config: Config, stop_before: int = -1) -> list[tuple[Any, ...]]:
    """Train or resume a run; return the calls of one callback."""
    calls: list[tuple[Any, ...]] = []
    recorder = Recorder(calls, stop_before=stop_before)
    if stop_before > 0:
        with pytest.raises(Interrupted) as caught:
            train(config, image_set(), run, callbacks=[recorder])
        assert caught.value.step == stop_before
    else:
        train(config, image_set(), run, callbacks=[recorder])
    return [call[1:] for call in calls]


def test_methods_are_called_in_the_order_of_training(tmp_path: Path) -> None:
    config = small_config("train.sample_every=4", stages=TWO_STAGES)
    assert events(RunFolder(tmp_path), config) == [
        ("train", 0),
        ("stage", "first", 0), ("step", 1), ("log", 2), ("step", 2),
        ("stage", "second", 2), ("step", 3), ("log", 4), ("sample", 4), ("step", 4),
        ("step", 5), ("log", 6), ("sample", 6), ("step", 6),
    ]  # fmt: skip


def test_stop_request_saves_after_the_step_and_resuming_calls_the_rest(tmp_path: Path) -> None:
    config, run = small_config("train.sample_every=4", stages=TWO_STAGES), RunFolder(tmp_path)
    assert events(run, config, stop_before=3) == [
        ("train", 0),
        ("stage", "first", 0), ("step", 1), ("log", 2), ("step", 2),
        ("stage", "second", 2), ("log", 3), ("step", 3),
    ]  # fmt: skip
    # A stage that is resumed in the middle does not begin again.
    assert events(run, config) == [
        ("train", 3), ("log", 4), ("sample", 4), ("step", 4), ("step", 5), ("log", 6), ("sample", 6), ("step", 6),
    ]  # fmt: skip
    assert events(run, config) == [("train", 6)]  # a finished run has nothing to do


def test_last_step_finishes_the_run_although_a_stop_is_requested(tmp_path: Path) -> None:
    train_at(tmp_path, small_config("train.steps=1"), stop=lambda: True)


def test_callbacks_are_called_in_their_order_and_all_are_asked_to_stop() -> None:
    calls: list[tuple[Any, ...]] = []
    callbacks = CallbackList([Recorder(calls, "a", stop_before=1), Recorder(calls, "b")])
    callbacks.call("on_step_end", 7)
    callbacks.call_on_rank0("on_log", LogRecord(3, {}))
    assert calls == [("a", "step", 7), ("b", "step", 7), ("a", "log", 3), ("b", "log", 3)]
    requests: list[str] = []

    def requesting(name: str, stop: bool) -> Callback:
        def request() -> bool:
            requests.append(name)
            return stop

        return Hooks(stop=request)

    assert CallbackList([requesting("a", True), requesting("b", False)]).stop_requested()
    assert requests == ["a", "b"]
    assert not CallbackList([requesting("c", False)]).stop_requested()
    assert not CallbackList().stop_requested()


def test_error_of_a_callback_ends_the_run(tmp_path: Path) -> None:
    def fail(step: int) -> None:
        if step == 3:
            raise UserError("the camera is broken")

    with pytest.raises(UserError, match="the camera is broken"):
        train_at(tmp_path, small_config(), on_step=fail)
    assert [record["step"] for record in RunFolder(tmp_path).read_stats()] == [2]


# Statistics.


def test_running_means_cover_the_steps_since_the_last_record() -> None:
    means = RunningMeans(torch.device("cpu"))
    means.add({"a": torch.tensor(2.0)}, 0)
    means.add({"a": torch.tensor(5.0), "b": torch.tensor(7.0)}, 1)
    assert means.reset() == ({"a": 3.5, "b": 7.0}, None)
    means.add({"a": torch.tensor(2.0)}, 2)
    assert means.reset() == ({"a": 2.0}, None)
    assert means.reset() == ({}, None)


def test_first_loss_that_is_not_finite_is_named() -> None:
    good, bad = torch.tensor(1.0), torch.tensor(math.nan)
    means = RunningMeans(torch.device("cpu"))
    means.add({"early": good}, 0)  # was computed before the others
    means.add({"first": bad, "early": bad, "last": bad}, 7)
    means.add({"first": bad}, 8)
    assert means.reset()[1] == (8, "first")


def test_statistics_hold_every_loss_and_the_information_of_every_code(tmp_path: Path) -> None:
    records = train_at(tmp_path, small_config()).read_stats()
    assert [record["step"] for record in records] == [2, 4, 6]
    assert [record["images"] for record in records] == [32, 64, 96]
    assert [record["stage"] for record in records] == ["gan"] * 3
    for record in records:
        assert {"discriminator/adversarial", "generator+recognizer/adversarial", "generator+recognizer/information",
                "information/category", "information/knob1", "information/knob2"} <= record.keys()  # fmt: skip
        total = -record["information/category"] - record["information/knob1"] - record["information/knob2"]
        entropies = math.log(10) + 2 * math.log(2)
        assert record["generator+recognizer/information"] == pytest.approx(total + entropies, abs=1e-4)


def test_statistics_writer_appends_records(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    writer = StatisticsWriter()
    writer.on_train_begin(run, small_config(), 0)
    for step in (1, 2):
        writer.on_log(LogRecord(step, {"step": step, "a/b": 0.5}))
    assert run.read_stats() == [{"step": 1, "a/b": 0.5}, {"step": 2, "a/b": 0.5}]


# Losses that are not finite.


def test_nan_guard_names_loss_and_step(tmp_path: Path) -> None:
    guard = NaNGuard()
    guard.on_train_begin(RunFolder(tmp_path), small_config(), 0)
    guard.on_log(LogRecord(2, {}))
    with pytest.raises(UserError, match=r"generator/adversarial is NaN or infinite at step 3.*no checkpoint yet"):
        guard.on_log(LogRecord(4, {}, (3, "generator/adversarial")))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path, value: float) -> None:
    stages = json.loads(json.dumps(TWO_STAGES))[1:]
    config = small_config(stages=stages, train={"steps": 12, "batch_size": 16, "save_every": 4, "log_every": 1})

    def poison(step: int) -> None:
        if step == 5:
            networks[0].discriminator.head.weight.data.fill_(value)

    with capture_networks() as networks, pytest.raises(UserError) as caught:
        train_at(tmp_path, config, on_step=poison)
    for part in ("discriminator/adversarial", "at step 6", "00000004.safetensors"):
        assert part in str(caught.value)
    assert [record["step"] for record in RunFolder(tmp_path).read_stats()] == [1, 2, 3, 4, 5]
    assert all(torch.isfinite(tensor).all() for tensor in saved_tensors(RunFolder(tmp_path)).values())
