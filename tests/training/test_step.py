"""One training step: its micro-batches, and one optimizer step on them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from infogan.config.schema import Config
from infogan.data.labels import FewLabels
from infogan.training.callbacks import Interrupted
from infogan.training.checkpoint import latest_checkpoint_path
from infogan.training.run_dir import RunFolder
from infogan.training.state import TrainState
from infogan.training.step import StepSampler, update_networks
from infogan.utils.errors import UserError
from tests.helpers import image_set, saved_tensors, small_config, train_at
from tests.training.test_loop import with_encoder
from tests.training.test_state import CPU


def accumulated(config: Config, steps: int) -> Config:
    """Return the configuration with a number of accumulation steps."""
    return config.with_train(accumulation_steps=steps)


# Sampling.


def test_micro_batches_are_consecutive_parts_of_the_batch() -> None:
    config = small_config("train.batch_size=10")
    state = TrainState.create(config, image_set(), CPU)
    (batch,) = StepSampler(config, image_set(), None, CPU).sample(state, 0, 0)
    parts = StepSampler(accumulated(config, 3), image_set(), None, CPU).sample(state, 0, 0)
    assert [len(part.reals) for part in parts] == [3, 3, 4]
    assert [part.batch_size for part in parts] == [3, 3, 4]
    assert torch.equal(torch.cat([part.reals for part in parts]), batch.reals)
    assert torch.equal(torch.cat([part.latents for part in parts]), batch.latents)


def test_material_of_a_step_depends_on_seed_and_step() -> None:
    config = small_config()
    state = TrainState.create(config, image_set(), CPU)
    sampler = StepSampler(config, image_set(), None, CPU)
    (first,), (again,) = sampler.sample(state, 0, 0), StepSampler(config, image_set(), None, CPU).sample(state, 0, 0)
    assert torch.equal(first.reals, again.reals)
    assert torch.equal(first.latents, again.latents)
    state.step = 1
    (second,) = sampler.sample(state, 0, 0)
    assert not torch.equal(first.reals, second.reals)
    assert not torch.equal(first.latents, second.latents)


def test_labelled_images_are_drawn_only_for_stages_that_need_them() -> None:
    config = with_encoder(data={"labels": "some.csv", "size": 8, "channels": 1})
    few_labels = FewLabels(np.array([3, 8, 20]), np.array([1, 0, 0]), ("lying", "upright"))
    state = TrainState.create(config, image_set(), CPU)
    sampler = StepSampler(config, image_set(), few_labels, CPU)
    assert [sampler.sample(state, stage, 0)[0].labelled is not None for stage in range(4)] == [False, True, True, False]
    (context,) = sampler.sample(state, 1, 0)
    assert context.labelled is not None
    images, categories = context.labelled
    labelled = {tensor.numpy().tobytes(): value for tensor, value in zip(images, categories.tolist(), strict=True)}
    expected = sampler.batches.reals(torch.tensor([3, 8, 20]))
    assert labelled == {expected[0].numpy().tobytes(): 1} | {image.numpy().tobytes(): 0 for image in expected[1:]}


def test_batch_needs_two_images_per_micro_batch() -> None:
    StepSampler(accumulated(small_config(), 8), image_set(), None, CPU)
    with pytest.raises(UserError, match=r"batch_size is 16.*9 accumulation.*at least 18"):
        StepSampler(accumulated(small_config(), 9), image_set(), None, CPU)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match="16"):
        StepSampler(small_config(), image_set(10), None, CPU)


# Updates.


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    # Without batch norm, which sees one micro-batch at a time.
    config = small_config(preset="post", train={"batch_size": 16, "steps": 6})
    states, losses = [], []
    for steps in (1, 4):
        state = TrainState.create(config, image_set(), CPU)
        state.reset_optimizers(config.stages[0])
        micro_batches = StepSampler(accumulated(config, steps), image_set(), None, CPU).sample(state, 0, 0)
        for number, update in enumerate(config.stages[0].updates):
            losses.append(update_networks(state, number, update, micro_batches, 16, 0.0))
        states.append(state.state_dict())
    for full, parts in zip(losses[:3], losses[3:], strict=True):
        assert full.keys() == parts.keys()
        for name, value in full.items():
            torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6)
    moments = [name for name in states[0] if name.endswith("exp_avg")]
    assert len(moments) == 16  # the gradients, up to a factor
    for name in moments:
        torch.testing.assert_close(states[1][name], states[0][name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("preset", ["robust", "disentangle"])
def test_micro_batches_change_only_what_batch_norm_sees(tmp_path: Path, preset: str) -> None:
    length = {"steps": 4, "budget": None, "precision": "fp32"}
    config = small_config(preset=preset, networks={"encoder_width": 4}, train=length)
    full, parts = train_at(tmp_path / "full", config), train_at(tmp_path / "parts", accumulated(config, 3))
    first, second = full.read_stats()[0], parts.read_stats()[0]
    assert first.keys() == second.keys()
    losses = [name for name in first if "/" in name and name != "generator/diversity"]  # which compares a few pairs
    differences = [abs(first[name] - second[name]) / max(1, abs(first[name])) for name in losses]
    assert 0 < max(differences) < 0.5
    assert set(saved_tensors(full)) == set(saved_tensors(parts))


def test_run_resumes_with_another_number_of_micro_batches(tmp_path: Path) -> None:
    config, run = small_config(), RunFolder(tmp_path)
    with pytest.raises(Interrupted):
        train_at(tmp_path, config, stop=lambda: latest_checkpoint_path(run.checkpoints) is not None)
    train_at(tmp_path, accumulated(config, 4))
    assert [record["step"] for record in run.read_stats()] == [2, 3, 4, 6]
    assert [session["accumulation_steps"] for session in run.read_environment()] == [1, 4]
    with pytest.raises(UserError, match=r"train\.batch_size was 16, now 8"):
        train_at(tmp_path, accumulated(small_config("train.batch_size=8"), 4))


def test_later_updates_see_the_changed_generator() -> None:
    config = small_config(preset="post", train={"batch_size": 16, "steps": 6})
    state = TrainState.create(config, image_set(), CPU)
    state.reset_optimizers(config.stages[0])
    (micro_batch,) = StepSampler(config, image_set(), None, CPU).sample(state, 0, 0)
    fakes = []
    for number, update in enumerate(config.stages[0].updates):  # of the discriminator, and twice of the generator
        update_networks(state, number, update, [micro_batch], 16, 0.0)
        fakes.append(micro_batch.fakes(()))
    assert not torch.equal(fakes[0], fakes[1])
    assert not torch.equal(fakes[1], fakes[2])


def first_step(
    lr_scale: float, *, loss: str = "conditional_entropy", warmup: float = 0.0
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the longest move of a weight of the encoder in one update, and the losses that were logged."""
    config = with_encoder()
    settings = {"losses": {loss: 1.0}, "learning_rate": 1e-3, "warmup": warmup}
    update = config.stages[1].updates[0].model_copy(update=settings)
    stage = config.stages[1].model_copy(update={"updates": (update,)})
    state = TrainState.create(config, image_set(), CPU)
    state.encoder_state.lr_scale.fill_(lr_scale)
    state.reset_optimizers(stage)
    assert state.networks.encoder is not None
    before = {name: tensor.clone() for name, tensor in state.networks.encoder.state_dict().items()}
    micro_batches = StepSampler(config, image_set(), None, CPU).sample(state, 0, 0)
    losses = update_networks(state, 0, update, micro_batches, 64, 0.0)
    after = state.networks.encoder.state_dict()
    if lr_scale == 0:
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())  # running statistics as well
    moves = [(after[name] - before[name]).abs().max().item() for name, _ in state.networks.encoder.named_parameters()]
    return max(moves), losses


def test_learning_rate_of_the_encoder_is_scaled() -> None:
    # The first step of Adam is as long as its learning rate, whatever the gradient.
    assert first_step(1.0)[0] == pytest.approx(1e-3, rel=1e-3)
    assert first_step(0.1)[0] == pytest.approx(1e-4, rel=1e-3)
    assert first_step(0.1, warmup=0.5)[0] == pytest.approx(5e-6, rel=1e-2)


def test_frozen_encoder_is_not_computed() -> None:
    assert first_step(0.0) == (0.0, {})
