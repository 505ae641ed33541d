"""The training state: its initial weights, its tensors by name, and what it refuses to load."""

from pathlib import Path

import pytest
import torch

from infogan.config.schema import Config
from infogan.training.state import TrainState
from infogan.training.step import StepSampler, update_networks
from infogan.utils.errors import UserError
from tests.helpers import assert_same_tensors, image_set, saved_tensors, small_config, train_at
from tests.training.test_loop import with_encoder

CPU = torch.device("cpu")


def trained_state(config: Config, steps: int = 2) -> TrainState:
    """Return the state of a run after a few steps of its first stage."""
    state = TrainState.create(config, image_set(), CPU)
    sampler = StepSampler(config, image_set(), None, CPU)
    stage = config.stages[0]
    state.reset_optimizers(stage)
    for _ in range(steps):
        micro_batches = sampler.sample(state, 0, 0)
        for number, update in enumerate(stage.updates):
            update_networks(state, number, update, micro_batches, config.batch_size(0), 0.0)
        state.ema.update(state.step)
        state.step += 1
    return state


def test_initial_weights_depend_on_the_seed_alone() -> None:
    first, second = (TrainState.create(small_config(), image_set(), CPU).state_dict() for _ in range(2))
    other = TrainState.create(small_config("train.seed=1"), image_set(), CPU).state_dict()
    assert_same_tensors(first, second)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_state_survives_a_round_trip() -> None:
    config = with_encoder()
    state = trained_state(config)
    state.encoder_state.lr_scale.fill_(0.25)
    tensors = {name: tensor.clone() for name, tensor in state.state_dict().items()}
    assert {name.split(".")[0] for name in tensors} == {"networks", "ema", "encoder_state", "optimizers"}
    copy = TrainState.create(config, image_set(), CPU)
    copy.reset_optimizers(config.stages[0])
    copy.load_state_dict(tensors)
    assert_same_tensors(copy.state_dict(), tensors)
    assert copy.lr_scale(["encoder"]) == 0.25
    assert copy.lr_scale(["generator"]) == 1


def test_averaged_model_has_the_averaged_weights() -> None:
    state = trained_state(small_config("train.ema_half_life=0"))
    for averaged, current in zip(state.averaged_model.networks.parameters(), state.networks.parameters(), strict=True):
        assert torch.equal(averaged, current)
        assert not averaged.requires_grad


def test_learned_prior_is_loaded_into_the_model() -> None:
    config = with_encoder()
    state = TrainState.create(config, image_set(), CPU)
    tensors = state.state_dict()
    tensors["ema.encoder.prior"] = torch.tensor([0.2, 0.8])
    state.load_state_dict(tensors)
    assert state.model.layout.entropy("category") == pytest.approx(0.5004, abs=1e-4)


@pytest.mark.parametrize("change", ["missing", "shape", "part", "moment"])
def test_checkpoint_of_another_run_is_refused(change: str) -> None:
    state = trained_state(small_config())
    tensors = dict(state.state_dict())
    weight = next(name for name in tensors if name.startswith("networks.generator"))
    match change:
        case "missing":
            del tensors[weight]
        case "shape":
            tensors[weight] = torch.zeros(1, 2, 3)
        case "part":
            tensors["unknown.weight"] = torch.zeros(1)
        case "moment":
            tensors["optimizers.0.999.exp_avg"] = torch.zeros(3)
    with pytest.raises(UserError, match="checkpoint after 2 steps does not belong to this run"):
        state.load_state_dict(tensors)


def test_checkpoint_of_version_0_1_is_loaded() -> None:
    config = with_encoder()
    state = trained_state(config)
    state.encoder_state.vat_radius.fill_(3.0)
    tensors = {name: tensor.clone() for name, tensor in state.state_dict().items()}
    names = {"marginal": "marginal", "vat_radius": "radius", "lr_scale": "pace"}  # of buffers of the encoder, then
    old = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part == "encoder_state":
            for copied in ("networks", "average"):
                old[f"{copied}.encoder.{names[rest]}"] = tensor
        else:
            old[f"{ {'ema': 'average', 'optimizers': 'optimisers'}.get(part, part) }.{rest}"] = tensor
    copy = TrainState.create(config, image_set(), CPU)
    copy.reset_optimizers(config.stages[0])
    copy.load_state_dict(old)
    assert_same_tensors(copy.state_dict(), tensors)


def test_shared_optimizers_are_saved_once(tmp_path: Path) -> None:
    generator = {"networks": ["generator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3}
    discriminator = {**generator, "networks": ["discriminator"]}
    stages = [{"updates": [discriminator, generator, generator, {**generator, "learning_rate": 2e-3}]}]
    config = small_config(objective={"kind": "gan"}, codes=[], stages=stages)
    tensors = saved_tensors(train_at(tmp_path, config))
    steps = {name.split(".")[1]: float(tensor) for name, tensor in tensors.items() if name.endswith(".step")}
    assert steps == {"0": 6.0, "1": 12.0, "2": 6.0}
