"""Schedules, optimizers and the average of the weights."""

from typing import Literal, cast

import pytest
import torch

from infogan.config.schema import Update
from infogan.models.networks import Networks
from infogan.training.optim import (
    EMA,
    computes_in_bfloat16,
    ema_decay,
    learning_rate_factor,
    loss_weight,
    make_optimizers,
)
from tests.helpers import GENERATOR, make_context, small_config


def test_linear_decay_falls_to_zero_over_the_second_half() -> None:
    factors = [learning_rate_factor("linear", progress) for progress in (0.0, 0.3, 0.5, 0.75, 0.99)]
    assert factors == pytest.approx([1, 1, 1, 0.5, 0.02])
    assert learning_rate_factor("none", 0.99) == 1


@pytest.mark.parametrize("schedule", ["none", "linear", "cosine"])
def test_the_learning_rate_rises_during_the_warmup_alone(schedule: Literal["none", "linear", "cosine"]) -> None:
    factors = [
        learning_rate_factor(schedule, progress, 0.2) / learning_rate_factor(schedule, progress)
        for progress in (0.0, 0.05, 0.1, 0.2, 0.6, 0.9)
    ]
    assert factors == pytest.approx([0.05, 0.2875, 0.525, 1, 1, 1])


def test_cosine_decay_falls_to_a_twentieth() -> None:
    factors = [learning_rate_factor("cosine", progress) for progress in (0.0, 0.5, 1.0)]
    assert factors == pytest.approx([1, 0.525, 0.05])


def test_loss_weight_is_constant_or_linear() -> None:
    assert [loss_weight((2.0, 1.0), progress) for progress in (0.0, 0.25, 0.99)] == pytest.approx([2, 1.75, 1.01])
    assert loss_weight(0.3, 0.7) == 0.3


def test_updates_of_the_same_networks_and_settings_share_an_optimizer() -> None:
    _, networks = make_context(small_config())
    generator = Update(networks=("generator",), losses={"adversarial": 1.0}, learning_rate=1e-3, beta1=0.3)
    faster = generator.model_copy(update={"learning_rate": 2e-3})
    discriminator = generator.model_copy(update={"networks": ("discriminator",)})
    first, second, third, fourth = make_optimizers((generator, generator, faster, discriminator), networks)
    assert first is second
    assert len({id(first), id(third), id(fourth)}) == 3
    group = first.param_groups[0]
    assert (group["lr"], group["betas"]) == (1e-3, (0.3, 0.999))
    assert list(map(id, group["params"])) == list(map(id, networks.parameters_of(GENERATOR)))


def test_precision_auto_depends_on_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert computes_in_bfloat16(small_config("train.precision=bf16"), cpu)
    assert not computes_in_bfloat16(small_config("train.precision=fp32"), cpu)
    for supported in (True, False):
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda supported=supported: supported)
        assert computes_in_bfloat16(small_config("train.precision=auto"), cpu) == supported


def test_average_halves_old_weights_in_a_half_life() -> None:
    config = small_config("train.ema_half_life=320", "train.steps=20000")
    assert ema_decay(config, 10_000) ** (320 / 16) == pytest.approx(0.5, abs=1e-9)
    assert ema_decay(config, 0) < 0.01  # the first weights are soon forgotten
    assert ema_decay(small_config("train.ema_half_life=0", "train.steps=200"), 100) == 0


def batch_norms() -> tuple[torch.nn.BatchNorm1d, torch.nn.BatchNorm1d]:
    """Return a layer whose weights are 3 and whose running means are 7, and an untouched one."""
    layer, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    layer.weight.data.fill_(3.0)
    assert layer.running_mean is not None
    layer.running_mean.fill_(7.0)
    return layer, average


def test_average_moves_towards_weights_and_copies_buffers() -> None:
    layer, average = batch_norms()
    config = small_config("train.ema_half_life=320", "train.steps=20000")
    EMA(cast(Networks, layer), cast(Networks, average), config).update(10_000)
    decay = 0.5 ** (16 / 320)
    torch.testing.assert_close(average.weight.data, torch.full((2,), decay + 3 * (1 - decay)))
    assert average.running_mean is not None
    assert average.running_mean.tolist() == [7.0, 7.0]


def test_average_without_half_life_is_copied_when_it_is_read() -> None:
    layer, average = batch_norms()
    ema = EMA(cast(Networks, layer), cast(Networks, average), small_config("train.ema_half_life=0"))
    ema.update(2)
    assert average.weight.tolist() == [1.0, 1.0]
    ema.refresh()
    assert average.weight.tolist() == [3.0, 3.0]
    average.weight.data.fill_(5.0)
    ema.refresh()  # up to date already
    assert average.weight.tolist() == [5.0, 5.0]
