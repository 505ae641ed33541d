"""Checkpoints: any damage is noticed, and a run goes on from the latest intact one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from infogan.models.infogan import InfoGAN
from infogan.training.checkpoint import (
    Checkpoint,
    CheckpointManager,
    last_good_checkpoint,
    latest_checkpoint_path,
    load_first_stage,
    load_latest_checkpoint,
    save_checkpoint,
)
from infogan.training.run_dir import RunFolder
from infogan.training.state import TrainState
from infogan.utils.errors import UserError
from tests.helpers import (
    assert_same_tensors,
    capture_networks,
    image_set,
    saved_tensors,
    small_config,
    small_model,
    train_at,
)


def checkpoint(step: int) -> Checkpoint:
    tensors = {"networks.weight": torch.arange(12.0).reshape(3, 4) + step, "networks.count": torch.tensor(step)}
    return Checkpoint(step, step / 3, tensors)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Return a run with two checkpoints, after 1 and 2 steps."""
    run = RunFolder(tmp_path)
    save_checkpoint(run.checkpoints, checkpoint(1))
    save_checkpoint(run.checkpoints, checkpoint(2))
    return run


def is_same(loaded: Checkpoint | None, expected: Checkpoint) -> bool:
    assert loaded is not None
    assert loaded.tensors.keys() == expected.tensors.keys()
    equal = all(torch.equal(loaded.tensors[name], tensor) for name, tensor in expected.tensors.items())
    return equal and (loaded.step, loaded.seconds) == (expected.step, expected.seconds)


def latest_path(run: RunFolder) -> Path:
    path = latest_checkpoint_path(run.checkpoints)
    assert path is not None
    return path


def names(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir())


# Files.


def test_checkpoint_survives_a_round_trip(run: RunFolder) -> None:
    loaded, warnings = load_latest_checkpoint(run.checkpoints)
    assert is_same(loaded, checkpoint(2))
    assert warnings == []
    # Names that look like the place of the checksum change nothing.
    odd = Checkpoint(3, 0.0, {"0" * 64: torch.ones(2), "sha256": torch.zeros(1)})
    save_checkpoint(run.checkpoints, odd)
    assert is_same(load_latest_checkpoint(run.checkpoints)[0], odd)


def test_any_changed_byte_is_noticed(run: RunFolder) -> None:
    path, content = latest_path(run), latest_path(run).read_bytes()
    random = np.random.default_rng(0)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        loaded, warnings = load_latest_checkpoint(run.checkpoints)
        assert is_same(loaded, checkpoint(1)), position
        assert len(warnings) == 1
        assert "\n" not in warnings[0]


def test_any_changed_length_is_noticed(run: RunFolder) -> None:
    path, content = latest_path(run), latest_path(run).read_bytes()
    lengths = [content[:length] for length in range(0, len(content), 7)] + [content + b"\0", content * 2]
    for damaged in [*lengths, b"\0" * len(content), content[::-1]]:
        path.write_bytes(damaged)
        assert is_same(load_latest_checkpoint(run.checkpoints)[0], checkpoint(1))


def test_checkpoint_that_reads_back_differently_replaces_none(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def failing_disk(self: Path, content: bytes) -> int:
        return write(self, content[:-1] + bytes([content[-1] ^ 1]))

    monkeypatch.setattr(Path, "write_bytes", failing_disk)
    with pytest.raises(UserError, match=r"00000003\.safetensors reads back differently"):
        save_checkpoint(run.checkpoints, checkpoint(3))
    monkeypatch.undo()
    assert [name[7] for name in names(run)] == ["1", "2", "3"]
    assert is_same(load_latest_checkpoint(run.checkpoints)[0], checkpoint(2))


def test_damaged_checkpoint_is_renamed_and_replaces_no_intact_one(run: RunFolder) -> None:
    latest_path(run).write_bytes(b"damaged")
    assert is_same(load_latest_checkpoint(run.checkpoints)[0], checkpoint(1))
    assert load_latest_checkpoint(run.checkpoints)[1] == []  # is reported once
    assert latest_path(run).name == "00000001.safetensors"
    save_checkpoint(run.checkpoints, checkpoint(2))
    assert names(run) == ["00000001.safetensors", "00000002.damaged", "00000002.safetensors"]


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    for name in ("\u00b2.safetensors", "latest.safetensors", "1.txt"):
        (tmp_path / name).write_text("")
    assert latest_checkpoint_path(tmp_path) is None
    assert load_latest_checkpoint(tmp_path) == (None, [])
    assert load_latest_checkpoint(tmp_path / "nothing") == (None, [])
    (tmp_path / "00000003.safetensors").mkdir()
    with pytest.raises(UserError, match="every checkpoint"):
        load_latest_checkpoint(tmp_path)


def test_last_good_checkpoint_is_named(run: RunFolder, tmp_path: Path) -> None:
    assert "00000002.safetensors" in last_good_checkpoint(run)
    assert "no checkpoint" in last_good_checkpoint(RunFolder(tmp_path / "other"))


# The manager.


def state_after(step: int) -> TrainState:
    state = TrainState.create(small_config(), image_set(), torch.device("cpu"))
    state.step, state.seconds = step, step * 1.5
    with torch.no_grad():
        next(state.networks.parameters()).fill_(float(step))
    return state


def test_manager_keeps_two_checkpoints_and_restores_the_latest(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    manager = CheckpointManager(run)
    for step in (2, 4, 6):
        manager.save(state_after(step))
    assert names(run) == ["00000004.safetensors", "00000006.safetensors"]
    restored = state_after(0)
    CheckpointManager(run).restore(restored)
    assert (restored.step, restored.seconds) == (6, 9.0)
    assert_same_tensors(restored.state_dict(), saved_tensors(run))


def test_manager_starts_at_zero_without_a_checkpoint(tmp_path: Path) -> None:
    state = state_after(0)
    before = {name: tensor.clone() for name, tensor in state.state_dict().items()}
    CheckpointManager(RunFolder.at(tmp_path)).restore(state)
    assert_same_tensors(state.state_dict(), before)
    assert (state.step, list(tmp_path.iterdir())) == (0, [])


def test_manager_skips_damaged_checkpoints_and_rewinds_the_statistics(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    for step in (2, 4):
        CheckpointManager(run).save(state_after(step))
        run.add_stats({"step": step, "a/b": 0.5})
    latest_path(run).write_bytes(latest_path(run).read_bytes()[:-1000])
    restored = state_after(0)
    CheckpointManager(run).restore(restored)
    assert restored.step == 2
    assert [record["step"] for record in run.read_stats()] == [2]
    (incident,) = run.read_incidents()
    assert "00000004.safetensors" in incident["what"]
    assert "00000004.safetensors" in (run.path / "log.txt").read_text()


def test_manager_refuses_a_folder_of_damaged_checkpoints(tmp_path: Path) -> None:
    run = train_at(tmp_path, small_config())
    for path in run.checkpoints.iterdir():
        path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="every checkpoint"):
        CheckpointManager(run).restore(state_after(0))


def test_manager_refuses_the_checkpoint_of_another_run(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    save_checkpoint(run.checkpoints, checkpoint(7))
    with pytest.raises(UserError, match="checkpoint after 7 steps does not belong to this run"):
        CheckpointManager(run).restore(state_after(0))


def test_manager_does_not_replace_the_names_in_a_saved_model(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    CheckpointManager(run).save(state_after(2))
    (run.model / "config.json").write_text("named by a person meanwhile")
    CheckpointManager(run).save(state_after(4))
    assert (run.model / "config.json").read_text() == "named by a person meanwhile"


# Runs.


def test_run_goes_on_from_the_checkpoint_before_a_truncated_one(tmp_path: Path) -> None:
    config = small_config()
    run = train_at(tmp_path, config)
    tensors, path = saved_tensors(run), latest_path(run)
    path.write_bytes(path.read_bytes()[:-1000])
    assert_same_tensors(saved_tensors(train_at(tmp_path, config)), tensors)
    assert f"checkpoint {path.name} is damaged" in (run.path / "log.txt").read_text()


def test_model_that_a_kill_prevented_is_saved_when_the_run_is_resumed(tmp_path: Path) -> None:
    run = train_at(tmp_path, small_config())
    content = (run.model / "model.safetensors").read_bytes()
    shutil.rmtree(run.model)
    train_at(tmp_path, small_config())
    assert (run.model / "model.safetensors").read_bytes() == content
    assert (run.model / "config.json").is_file()


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    def overflow(step: int) -> None:
        if step == 3:  # the losses of step 4 are still finite, its gradients are not
            parameter = next(networks[0].generator.parameters())
            parameter.register_hook(lambda gradient: gradient * torch.inf)

    with capture_networks() as networks, pytest.raises(UserError, match=r"by step 4.*00000002\.safetensors"):
        train_at(tmp_path, small_config(), on_step=overflow)
    assert all(tensor.isfinite().all() for tensor in saved_tensors(RunFolder(tmp_path)).values())
    train_at(tmp_path, small_config())


# The encoder of the first stage.


def test_run_keeps_the_encoder_that_knows_nothing_of_categories(tmp_path: Path) -> None:
    config = small_config(preset="robust", train={"steps": 12, "save_every": 1})
    first, *_ = config.stage_steps
    trunks = {}

    def remember(step: int) -> None:
        trunks[step] = {
            name.removeprefix("ema.encoder.trunk."): tensor.clone()
            for name, tensor in saved_tensors(RunFolder(tmp_path / "run")).items()
            if name.startswith("ema.encoder.trunk.")
        }

    run = train_at(tmp_path / "run", config, on_step=remember)
    encoder = load_first_stage(run, InfoGAN.load(run.path).config.shape)
    assert encoder is not None
    assert_same_tensors(encoder.trunk.state_dict(), trunks[first])
    assert not torch.equal(trunks[first]["1.weight"], trunks[first + 1]["1.weight"])


def test_a_damaged_first_stage_is_named(run: RunFolder) -> None:
    shape = small_model().config.shape
    assert load_first_stage(run, shape) is None
    for content in (b"", b"\x00" * 64, (run.checkpoints / "00000002.safetensors").read_bytes()):
        (run.path / "first_stage.safetensors").write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            load_first_stage(run, shape)
