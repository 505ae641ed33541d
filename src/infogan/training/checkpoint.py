"""Checkpoints: the training state on disk, with a checksum, so that a run resumes bit for bit."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from infogan.models.architectures import ImageShape
from infogan.models.encoder import Encoder
from infogan.models.infogan import InfoGAN
from infogan.training.run_dir import RunFolder
from infogan.training.state import TrainState
from infogan.utils import distributed
from infogan.utils.errors import UserError
from infogan.utils.files import write_bytes

CHECKPOINTS_KEPT = 2
FIRST_STAGE = "first_stage.safetensors"
CHECKSUM, BLANK = "sha256", "0" * 64  # the metadata key, and its value while the checksum is computed


@dataclass(frozen=True)
class Checkpoint:
    """A saved training state.

    Attributes:
        step: Number of steps made.
        seconds: Time that they took.
        tensors: By dotted name, as `TrainState.state_dict` returns them.
    """

    step: int
    seconds: float
    tensors: dict[str, Tensor]


class CheckpointManager:
    """Saves checkpoints and the model, loads the latest intact checkpoint, and keeps two. Rank 0 reads and writes.

    Args:
        run: The run folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def restore(self, state: TrainState) -> None:
        """Load the latest intact checkpoint into the state of every worker, if there is one.

        Raises:
            UserError: All checkpoints are damaged, or the checkpoint belongs to another run.
        """

        def load() -> Checkpoint | None:
            checkpoint, warnings = load_latest_checkpoint(self._run.checkpoints)
            for warning in warnings:
                self._run.incident(warning)
            self._run.rewind_stats(checkpoint.step if checkpoint else 0)
            return checkpoint

        checkpoint = distributed.broadcast_from_rank0(load)
        if checkpoint is None:
            return
        state.step, state.seconds = checkpoint.step, checkpoint.seconds
        if state.step < state.config.train.steps:
            index, start, _ = state.config.stage_at(state.step)
            if state.step > start:  # a stage that begins here gets new optimizers
                state.reset_optimizers(state.config.stages[index])
        state.load_state_dict(checkpoint.tensors)
        distributed.on_rank0(lambda: self._save_model(state.model))  # a kill may have come before the model was saved

    def save(self, state: TrainState) -> None:
        """Save a checkpoint and the model.

        Raises:
            UserError: A weight is not finite, or nothing can be written.
        """
        model, tensors = state.averaged_model, state.state_dict()

        def write() -> None:
            _check_finite(tensors, self._run, state.step)
            save_checkpoint(self._run.checkpoints, Checkpoint(state.step, state.seconds, tensors))
            self._save_model(model)

        distributed.on_rank0(write)

    def save_first_stage(self, state: TrainState) -> None:
        """Keep the encoder if the stage that begins is the one in which its categories start; see `load_first_stage`.

        Raises:
            UserError: It cannot be written.
        """
        encoder = state.ema.average.encoder
        if encoder is None or "cluster" not in state.config.stages[state.config.stage_at(state.step)[0]].on_start:
            return
        state.ema.refresh()
        distributed.on_rank0(lambda: save_first_stage(self._run, encoder))

    def _save_model(self, model: InfoGAN) -> None:
        """Save the model; a configuration that exists stays, because it holds names that were given meanwhile."""
        model.save_weights(self._run.model)
        if not (self._run.model / "config.json").is_file():
            model.save_config(self._run.model)


def save_first_stage(run: RunFolder, encoder: Encoder) -> None:
    """Keep what an encoder has learned before its categories start; raise UserError if it cannot be written."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in encoder.trunk.state_dict().items()}
    write_bytes(run.path / FIRST_STAGE, safetensors.torch.save(tensors))


def load_first_stage(run: RunFolder, shape: ImageShape) -> Encoder | None:
    """Return an encoder with the features that the run's had before its categories started; None if none were kept.

    Categories are judged in these features. Those of the finished encoder have been pulled into as many groups as it
    was asked for, and agree with any number.

    Raises:
        UserError: The file is damaged.
    """
    path = run.path / FIRST_STAGE
    if not path.is_file():
        return None
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        encoder = Encoder(shape, width=len(tensors["1.weight"]), classes=1)
        encoder.trunk.load_state_dict(tensors)
    except (OSError, LookupError, RuntimeError, TypeError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} is damaged; without this file, the first stage is learned again") from error
    return encoder.eval().requires_grad_(False)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, verify it by reading it back, and then remove all but the latest two.

    Raises:
        UserError: It cannot be written, or reads back differently; earlier checkpoints are still there.
    """
    metadata = {"step": str(checkpoint.step), "seconds": repr(checkpoint.seconds), CHECKSUM: BLANK}
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    content = safetensors.torch.save(tensors, metadata)
    content = content.replace(BLANK.encode(), sha256(content).hexdigest().encode(), 1)
    path = folder / f"{checkpoint.step:08d}.safetensors"
    write_bytes(path, content)
    try:
        read_checkpoint(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} reads back differently ({error}); check the disk. The checkpoint before it is kept"
        ) from error
    for old in _paths(folder)[CHECKPOINTS_KEPT:]:
        old.unlink(missing_ok=True)


def load_latest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the latest intact checkpoint, if any, and a sentence for each damaged one that was skipped.

    If there is an intact one, damaged ones are renamed, so that they do not count among those that are kept.

    Raises:
        UserError: There are checkpoints, but all are damaged.
    """
    warnings: dict[Path, str] = {}
    for path in _paths(folder):
        try:
            checkpoint = read_checkpoint(path)
        except (OSError, ValueError) as error:
            warnings[path] = f"checkpoint {path.name} is damaged ({error}); using the one before"
            continue
        for damaged_path in warnings:
            with suppress(OSError):  # the folder may be read-only
                damaged_path.replace(damaged_path.with_suffix(".damaged"))
        return checkpoint, list(warnings.values())
    if warnings:
        raise UserError(f"every checkpoint in {folder} is damaged: remove the folder to start the run again")
    return None, []


def read_checkpoint(path: Path) -> Checkpoint:
    """Return a checkpoint after verifying its checksum.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged; the message says how.
    """
    if not path.is_file():
        raise ValueError("it is not a file")
    content = path.read_bytes()
    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        checksum = metadata[CHECKSUM]
        # The checksum is that of the file with the blank in its place.
        if sha256(content.replace(checksum.encode(), BLANK.encode(), 1)).hexdigest() != checksum:
            raise ValueError("its checksum does not match")
        return Checkpoint(int(metadata["step"]), float(metadata["seconds"]), safetensors.torch.load(content))
    except (KeyError, TypeError, AttributeError, RecursionError, safetensors.SafetensorError) as error:
        raise ValueError(f"it is not a checkpoint: {str(error).splitlines()[0]}") from error


def latest_checkpoint_path(folder: Path) -> Path | None:
    """Return the path of the latest checkpoint, intact or not."""
    return next(iter(_paths(folder)), None)


def last_good_checkpoint(run: RunFolder) -> str:
    """Return a clause that names the latest checkpoint of a run."""
    path = latest_checkpoint_path(run.checkpoints)
    return f"the last good checkpoint is {path}" if path else "there is no checkpoint yet"


def _paths(folder: Path) -> list[Path]:
    """Return the paths of checkpoints, latest first; their names are step numbers."""
    paths = [path for path in folder.glob("*.safetensors") if re.fullmatch("[0-9]{1,18}", path.stem)]
    return sorted(paths, key=lambda path: int(path.stem), reverse=True)


def _check_finite(tensors: dict[str, Tensor], run: RunFolder, step: int) -> None:
    """Raise UserError if a weight or moment is not finite: a gradient can overflow although its loss does not."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(
                f"{name} is NaN or infinite by step {step}; {last_good_checkpoint(run)}; lower the learning rate"
            )
