"""The benchmark of the parts of the encoder's schedule."""

import numpy as np
import pytest
import torch

from benchmarks import ablation
from infogan.data import load
from infogan.models.architectures import ImageShape
from infogan.models.encoder import Encoder
from infogan.training.state import EncoderState
from tests.helpers import bar_images

UNCHANGED = ablation.variant("digits", lambda stages: stages)


def losses_of(name: str) -> list[list[str]]:
    config = ablation.variant("digits", ablation.VARIANTS[name])
    return [sorted(stage.updates[0].losses) for stage in config.stages]


def test_variant_leaves_out_one_part() -> None:
    assert [stage.name for stage in UNCHANGED.stages] == ["pretrain", "cluster", "self_train"]
    everything = losses_of("all parts")
    for name, loss in (
        ("no smoothness", "vat"),
        ("no confidence", "conditional_entropy"),
        ("no balance", "marginal_kl"),
    ):
        assert losses_of(name) == [sorted(set(losses) - {loss}) for losses in everything]
        assert losses_of(name) != everything
    cluster = ["conditional_entropy", "marginal_kl", "nt_xent", "vat"]
    assert losses_of("no consistency, so no refinement") == [["nt_xent"], cluster]
    assert losses_of("no contrast while classes form") == [
        ["nt_xent"],
        sorted({*everything[1]} - {"nt_xent"}),
        ["fixmatch"],
    ]


@pytest.mark.parametrize("name", ablation.VARIANTS)
def test_every_variant_takes_the_same_time(name: str) -> None:
    config = ablation.variant("digits", ablation.VARIANTS[name])
    step_seconds = [0.01, 0.03, 0.02][: len(config.stages)]
    config = ablation.with_length(config, step_seconds, 30.0)
    seconds = sum(stage.share * step for stage, step in zip(config.stages, step_seconds, strict=True))
    assert seconds == pytest.approx(30.0, abs=0.1)
    assert config.train.steps == sum(int(stage.share) for stage in config.stages)


def test_accuracy_is_measured_on_the_test_split() -> None:
    images, test = load("digits"), load("digits", split="test")
    config = ablation.with_length(UNCHANGED, [1.0] * 3, 6.0).with_train(batch_size=16)
    result = ablation.measure(config, images.subset(np.arange(400)), test)
    assert result["steps"] == [1, 2, 3]
    assert 0.05 < result["accuracy"] < 0.9  # of ten classes, after six steps


def test_categories_can_start_at_random() -> None:
    encoder, state = Encoder(ImageShape(1, 8), 4, 10), EncoderState(10)
    pixels = torch.from_numpy(bar_images(100))
    ablation.start_at_full_rate(encoder, state, pixels, 0)
    clusters, radius = encoder.directions.clone(), float(state.vat_radius)
    assert float(state.lr_scale) == 1
    ablation.start_at_random(encoder, state, pixels, 0)
    assert not torch.allclose(encoder.directions, clusters)
    assert float(state.vat_radius) == radius != 1.0
