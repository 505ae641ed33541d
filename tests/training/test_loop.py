"""The training loop: a run is a function of its configuration, images and seed, however often it is interrupted."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from infogan.config.load import build
from infogan.config.schema import Config
from infogan.data import load
from infogan.data.dataset import ImageSet
from infogan.training.callbacks import Interrupted
from infogan.training.checkpoint import latest_checkpoint_path
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.commands import Command, infogan
from tests.helpers import (
    NoLabelsAllowed,
    assert_same_tensors,
    bar_images,
    image_set,
    saved_tensors,
    small_config,
    train_at,
)

TWO_STAGES: list[dict[str, Any]] = [
    {"name": "first", "share": 1, "updates": [
        {"networks": ["discriminator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3},
        {"networks": ["generator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3},
    ]},
    {"name": "second", "share": 2, "updates": [
        {"networks": ["discriminator"], "losses": {"adversarial": 1.0, "r1": 0.1}, "learning_rate": 1e-3},
        {"networks": ["generator", "recognizer"], "losses": {"adversarial": 1.0, "information": 1.0},
         "learning_rate": 1e-3, "decay": "linear"},
    ]},
]  # fmt: skip
FOUR_STAGES = ["stages.0.share=2", "stages.1.share=2", "stages.2.share=2", "stages.3.share=3"]  # of `robust`


def with_encoder(**sections: Any) -> Config:
    """Return a run of `robust` with two steps in each stage, and three in the last."""
    codes = [{"kind": "continuous"}, {"kind": "categorical", "size": 2}]  # the category comes last
    networks = {"width": 4, "encoder_width": 4}
    length = {"steps": 9, "batch_size": 16, "save_every": 100, "sample_every": 100}
    return small_config(*FOUR_STAGES, preset="robust", codes=codes, networks=networks, train=length, **sections)


def without_seconds(run: RunFolder) -> list[dict[str, Any]]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in run.read_stats()]


def model_bytes(run: RunFolder) -> bytes:
    return (run.model / "model.safetensors").read_bytes()


# Resuming.

RUNS = {
    "two stages": lambda: small_config(stages=TWO_STAGES),
    "encoder": with_encoder,
    "paper": lambda: small_config(preset="paper", train={"batch_size": 16, "steps": 4}),
    "post": lambda: small_config(preset="post", train={"batch_size": 16, "steps": 4}),
    "disentangle": lambda: small_config(preset="disentangle", train={"batch_size": 16, "steps": 10}),
}


@pytest.mark.parametrize("name", RUNS)
def test_run_interrupted_after_every_step_equals_the_uninterrupted_one(tmp_path: Path, name: str) -> None:
    config = RUNS[name]()
    uninterrupted = train_at(tmp_path / "uninterrupted", config)
    for step in range(1, config.train.steps):
        with pytest.raises(Interrupted) as caught:
            train_at(tmp_path / "interrupted", config, stop=lambda: True)
        assert caught.value.step == step
    interrupted = train_at(tmp_path / "interrupted", config)
    assert_same_tensors(saved_tensors(interrupted), saved_tensors(uninterrupted))
    assert model_bytes(interrupted) == model_bytes(uninterrupted)


def test_resumed_run_logs_the_same_statistics(tmp_path: Path) -> None:
    config = small_config(stages=TWO_STAGES)
    uninterrupted = train_at(tmp_path / "uninterrupted", config)
    steps: list[int] = []
    with pytest.raises(Interrupted):
        train_at(tmp_path / "interrupted", config, on_step=steps.append, stop=lambda: len(steps) == 3)
    assert without_seconds(train_at(tmp_path / "interrupted", config)) == without_seconds(uninterrupted)


def test_crash_between_checkpoints_changes_nothing(tmp_path: Path) -> None:
    config = small_config("train.log_every=1", stages=TWO_STAGES)

    def crash(step: int) -> None:
        if step == 5:  # one step after the checkpoint, which has a line of statistics already
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_at(tmp_path / "crashed", config, on_step=crash)
    uninterrupted, crashed = train_at(tmp_path / "uninterrupted", config), train_at(tmp_path / "crashed", config)
    assert_same_tensors(saved_tensors(crashed), saved_tensors(uninterrupted))
    assert without_seconds(crashed) == without_seconds(uninterrupted)


COMMAND = ["train", "digits", "--steps", "110"]
COMMAND += ["--set", "networks.width=4", "--set", "networks.encoder_width=4"]
COMMAND += ["--set", "train.save_every=20", "--set", "train.log_every=5", "--out"]


def run_to_its_end(path: Path) -> dict[str, Tensor]:
    """Begin or resume a run by its command, and return its weights."""
    process = infogan(*COMMAND, path)
    assert process.returncode == 0, process.stderr
    return saved_tensors(RunFolder(path))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return run_to_its_end(tmp_path_factory.mktemp("uninterrupted") / "run")


@pytest.mark.integration
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_a_process_and_the_same_command_resumes_the_run(
    tmp_path: Path, uninterrupted: dict[str, Tensor], number: signal.Signals, exit_code: int
) -> None:
    command = Command(*COMMAND, tmp_path / "run")
    command.wait_for_output("step 30/")
    command.signal(number)
    process = command.wait()
    assert process.returncode == exit_code
    assert "to resume: infogan train digits" in process.stderr
    assert f"--out {tmp_path / 'run'}" in process.stderr
    assert_same_tensors(run_to_its_end(tmp_path / "run"), uninterrupted)


@pytest.mark.integration
def test_killed_process_resumes_from_its_checkpoint_to_the_same_weights(
    tmp_path: Path, uninterrupted: dict[str, Tensor]
) -> None:
    command = Command(*COMMAND, tmp_path / "run")
    command.wait_for_output("step 65/")
    command.signal(signal.SIGKILL)
    assert command.wait().returncode == -signal.SIGKILL
    assert latest_checkpoint_path(RunFolder(tmp_path / "run").checkpoints) is not None
    assert_same_tensors(run_to_its_end(tmp_path / "run"), uninterrupted)


# What a run depends on.


def test_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    first, second = (saved_tensors(train_at(tmp_path / name, small_config())) for name in "ab")
    other = saved_tensors(train_at(tmp_path / "c", small_config("train.seed=1")))
    assert_same_tensors(first, second)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_training_does_not_touch_the_global_random_state(tmp_path: Path) -> None:
    before, numpy_before = torch.random.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    train_at(tmp_path, small_config())
    assert torch.equal(before, torch.random.get_rng_state())
    assert numpy_before == str(np.random.get_state())  # noqa: NPY002


def unreadable_labels() -> ImageSet:
    names = [str(number) for number in range(64)]
    return NoLabelsAllowed(bar_images(), names, "bars", np.zeros(64, np.int64), ("a",))


@pytest.mark.parametrize("kind", ["infogan", "gan"])
def test_labels_are_not_read(tmp_path: Path, kind: str) -> None:
    images = unreadable_labels()
    run = train_at(tmp_path, small_config(objective={"kind": kind}), images)
    assert latest_checkpoint_path(run.checkpoints) is not None
    with pytest.raises(AssertionError, match="labels were read"):
        _ = images.labels  # the test can fail


def test_cgan_reads_labels_and_saves_their_names(tmp_path: Path) -> None:
    label = {"kind": "categorical", "name": "label", "size": 2}
    config = build({**small_config(objective={"kind": "cgan"}).model_dump(), "codes": [label]})
    with pytest.raises(AssertionError, match="labels were read"):
        train_at(tmp_path / "hidden", config, unreadable_labels())
    run = train_at(tmp_path / "run", config)
    assert json.loads((run.model / "config.json").read_text())["names"] == {"label": ["lying", "upright"]}
    with pytest.raises(UserError, match="label for each image"):
        train_at(tmp_path / "unlabelled", config, image_set(labelled=False))


def test_run_on_images_in_their_file_equals_that_on_images_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "images.npy", image_set().images)
    monkeypatch.setattr("infogan.data.batches.MAX_RESIDENT_SHARE", 0.0)
    mapped = train_at(tmp_path / "mapped", small_config(), load(tmp_path / "images.npy"))
    assert model_bytes(mapped) == model_bytes(train_at(tmp_path / "memory", small_config()))


def test_samples_do_not_depend_on_the_other_samples(tmp_path: Path) -> None:
    model = train(small_config(), image_set(), RunFolder.at(tmp_path))
    assert np.array_equal(model.sample(40, seed=3).images[:3], model.sample(3, seed=3).images)


@pytest.mark.slow
def test_information_exceeds_two_nats_and_accuracy_the_majority_on_digits(tmp_path: Path) -> None:
    from infogan.evaluation.evaluate import evaluate
    from infogan.evaluation.metric_groups import EvaluationInputs

    images, test = load("digits"), load("digits", split="test")
    config = small_config("train.steps=1500", "train.batch_size=64", "networks.width=24", "train.save_every=1500")
    model = train(config, images, RunFolder.at(tmp_path))
    result = evaluate(EvaluationInputs(model, images, test, 0))
    assert result["information"]["category"] > 2.0
    assert result["accuracy"] > 0.2


# Faster arithmetic, against single precision and networks that are not compiled.


def losses_by_step(path: Path, *assignments: str, preset: str, steps: int) -> dict[str, NDArray[np.float64]]:
    """Return the value of each loss at each step."""
    length = {"steps": steps, "batch_size": 16, "log_every": 1, "save_every": 100, "sample_every": 100}
    sections: dict[str, Any] = {"networks": {"width": 4}, "train": length}
    if preset == "robust":
        sections["codes"] = [{"kind": "categorical", "size": 2}]
        sections["networks"]["encoder_width"] = 4
    records = train_at(path, small_config(*assignments, preset=preset, **sections)).read_stats()
    assert len(records) == steps
    names = [name for name in records[0] if "/" in name]
    return {name: np.array([record[name] for record in records if name in record]) for name in names}


@pytest.mark.parametrize(
    ("preset", "steps", "tolerances"),
    [
        ("plain", 15, {"adversarial": 0.01, "information": 0.06}),
        ("robust", 15, {"nt_xent": 0.01}),
        pytest.param("plain", 50, {"adversarial": 0.01, "information": 0.06}, marks=pytest.mark.integration),
        pytest.param("paper", 50, {"adversarial": 0.03, "information": 0.4}, marks=pytest.mark.integration),
        pytest.param("robust", 50, {"nt_xent": 0.01}, marks=pytest.mark.integration),
    ],
)
def test_losses_in_bfloat16_are_those_in_float32(
    tmp_path: Path, preset: str, steps: int, tolerances: dict[str, float]
) -> None:
    single, half = (
        losses_by_step(tmp_path / precision, f"train.precision={precision}", preset=preset, steps=steps)
        for precision in ("fp32", "bf16")
    )
    assert single.keys() == half.keys()
    differences = {name: float(np.abs(single[name] - half[name]).max()) for name in single}
    assert min(differences.values()) > 0  # otherwise nothing was computed in bfloat16
    for name, difference in differences.items():
        kind = name.split("/")[-1] if name.split("/")[0] != "information" else "information"
        assert difference < tolerances[kind], name


@pytest.mark.slow
def test_fifty_compiled_steps_have_the_losses_of_eager_ones(tmp_path: Path) -> None:
    # In processes of their own: the checks of shapes that tests run under cannot be compiled.
    records = []
    for flag in ("--no-compile", "--compile"):
        arguments = ["train", "digits", "--recipe", "plain", "--steps", "50", flag, "--out", str(tmp_path / flag)]
        for option in ("train.batch_size=16", "networks.width=8", "train.log_every=1"):
            arguments += ["--set", option]
        subprocess.run([sys.executable, "-m", "infogan", *arguments], check=True, capture_output=True)
        records.append(RunFolder.existing(tmp_path / flag).read_stats())
    assert len(records[0]) == len(records[1]) == 50
    for eager, compiled in zip(*records, strict=True):
        for name in (name for name in eager if "/" in name):
            assert compiled[name] == pytest.approx(eager[name], abs=2e-3), f"{name} at step {eager['step']}"
