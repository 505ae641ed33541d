"""Losses at the ends of their ranges: values and gradients stay finite, whatever the networks return in bfloat16."""

import math

import pytest
import torch
from torch import Tensor

from infogan.config.schema import CategoricalCode, ContinuousCode, NoiseSettings
from infogan.models.latents import CodeLayout, categorical_log_likelihood
from infogan.training.losses import adversarial, representation
from infogan.training.losses.adversarial import ADVERSARIAL

# What a network can return in bfloat16, as float32; not the largest values, of which a sum overflows.
MAGNITUDES = torch.tensor([0.0, 1e-30, 1.0, 88.7, 1e4, 1e30], dtype=torch.bfloat16).float()
EXTREMES = torch.cat([MAGNITUDES, -MAGNITUDES])


def assert_finite(values: Tensor, *inputs: Tensor) -> None:
    """Check values and their gradients."""
    assert torch.isfinite(values).all()
    for gradient in torch.autograd.grad(values.sum(), inputs):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_adversarial_losses_are_finite_at_all_pairs_of_logits(name: str) -> None:
    loss = ADVERSARIAL[name]
    real, fake = (
        grid.reshape(-1).clone().requires_grad_() for grid in torch.meshgrid(EXTREMES, EXTREMES, indexing="ij")
    )
    assert_finite(loss.discriminator(real, fake), real, fake)
    if loss.generator_sees_reals:
        assert_finite(loss.generator(real, fake), real, fake)
    else:
        assert_finite(loss.generator(fake), fake)


def test_saturated_losses_are_linear_or_zero() -> None:
    logits = torch.tensor([-1e4, 1e4])
    assert adversarial.non_saturating_generator(logits).tolist() == [1e4, 0.0]
    assert adversarial.non_saturating_discriminator(logits, logits).tolist() == [1e4, 1e4]


@pytest.mark.parametrize(("categories", "batch"), [(1, 1), (1, 12), (2, 12), (10_000, 1), (10_000, 12)])
def test_losses_on_categories_are_finite(categories: int, batch: int) -> None:
    random = torch.Generator().manual_seed(0)
    indices = torch.randint(len(EXTREMES), (batch, categories), generator=random)
    logits = EXTREMES[indices].clamp(-1e30, 1e30).requires_grad_()
    values = torch.randint(categories, (batch,), generator=random)
    target = EXTREMES[indices.flip(1)].softmax(dim=1)
    marginal = torch.nn.functional.one_hot(torch.tensor(0), categories).float()  # all images in one category
    prior = torch.full((categories,), 1 / categories)
    assert_finite(categorical_log_likelihood(logits, values), logits)
    assert_finite(representation.kl_divergence(target, logits), logits)
    assert_finite(representation.soft_cross_entropy(target, logits), logits)
    assert_finite(representation.entropy(logits), logits)
    assert_finite(representation.marginal_kl(logits, marginal, prior), logits)
    if categories == 1:  # there is no information, and nothing is lost
        assert representation.entropy(logits).tolist() == [0.0] * batch
        assert categorical_log_likelihood(logits, values).abs().tolist() == [0.0] * batch


def test_nt_xent_of_a_single_image_is_zero() -> None:
    feature = torch.nn.functional.normalize(torch.randn(1, 8), dim=1).requires_grad_()
    loss = representation.nt_xent(feature, feature * 1.0, 0.35)
    assert loss.tolist() == [0.0]
    assert_finite(loss, feature)


def test_zero_features_and_constant_images_are_finite() -> None:
    features = torch.zeros(3, 8, requires_grad=True)
    unit = torch.nn.functional.normalize(features)
    assert_finite(representation.nt_xent(unit, unit * 1.0, 0.35), features)
    assert representation.unit(torch.zeros(2, 1, 4, 4)).abs().max() == 0
    images = torch.zeros(2, 1, 8, 8, requires_grad=True)
    assert adversarial.r1(images, (images * 0).sum(dim=(1, 2, 3))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("batch", [1, 6])
def test_bounds_of_codes_are_finite_for_any_posterior(batch: int) -> None:
    codes = (CategoricalCode(name="category", size=10_000), ContinuousCode(name="knob"))
    layout = CodeLayout(NoiseSettings(size=3), codes)
    sampled = layout.sample_codes(batch, torch.Generator().manual_seed(0))
    width = max(columns.stop for columns in layout.posterior_slices.values())
    for value in (*MAGNITUDES[:5].tolist(), -1e4, -88.7):
        posterior = torch.full((batch, width), value)
        posterior[:, ::2] *= -1
        posterior.requires_grad_()
        for name, log_likelihood in layout.log_likelihoods(posterior, sampled).items():
            assert_finite(log_likelihood, posterior)
            assert math.isfinite(layout.entropy(name))
