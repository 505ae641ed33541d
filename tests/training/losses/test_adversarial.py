"""The adversarial losses in closed form, and which networks they train."""

import math

import pytest
import torch
from torch import Tensor

from infogan.training.losses import LOSSES, adversarial
from infogan.training.losses.adversarial import ADVERSARIAL
from tests.helpers import DISCRIMINATOR, GENERATOR, begin_update, make_context, small_config
from tests.training.losses import backward, parts_with_gradient


def logits(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


REAL, FAKE = logits(0.0, 2.0, -1.5, 30.0), logits(0.0, -1.0, 3.0, -30.0)


# The functions.


def test_non_saturating_losses_match_closed_form() -> None:
    d_real, d_fake = REAL[:3].sigmoid(), FAKE[:3].sigmoid()
    values = adversarial.non_saturating_discriminator(REAL[:3], FAKE[:3])
    torch.testing.assert_close(values, -(d_real.log() + (1 - d_fake).log()), rtol=1e-12, atol=1e-12)
    assert values[0].item() == pytest.approx(2 * math.log(2), abs=1e-12)
    torch.testing.assert_close(adversarial.non_saturating_generator(FAKE[:3]), -d_fake.log(), rtol=1e-12, atol=1e-12)


def test_hinge_losses_match_closed_form() -> None:
    assert adversarial.hinge_discriminator(REAL, FAKE).tolist() == [2.0, 0.0, 6.5, 0.0]
    assert adversarial.hinge_generator(FAKE).tolist() == [0.0, 1.0, -3.0, 30.0]


def test_relativistic_losses_match_closed_form() -> None:
    expected = -(REAL - FAKE).sigmoid().log()
    torch.testing.assert_close(adversarial.relativistic_discriminator(REAL, FAKE), expected, rtol=1e-9, atol=1e-25)
    torch.testing.assert_close(
        adversarial.relativistic_generator(REAL[:3], FAKE[:3]), -(FAKE - REAL)[:3].sigmoid().log(), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_adversarial_losses_are_finite_at_extreme_logits(name: str) -> None:
    loss = ADVERSARIAL[name]
    for value in (-1e4, 1e4):
        real, fake = logits(value, -value).requires_grad_(), logits(-value, value).requires_grad_()
        arguments = (real, fake) if loss.generator_sees_reals else (fake,)
        total = loss.discriminator(real, fake).sum() + loss.generator(*arguments).sum()
        (gradient,) = torch.autograd.grad(total, fake)
        assert total.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_gradients_point_each_network_to_its_own_goal(name: str) -> None:
    loss = ADVERSARIAL[name]
    real, fake = logits(0.1).requires_grad_(), logits(0.2).requires_grad_()
    (for_real,) = torch.autograd.grad(loss.discriminator(real, fake).sum(), real)
    (for_fake,) = torch.autograd.grad(loss.discriminator(real, fake).sum(), fake)
    arguments = (real, fake) if loss.generator_sees_reals else (fake,)
    (by_generator,) = torch.autograd.grad(loss.generator(*arguments).sum(), fake)
    assert for_real.item() < 0 < for_fake.item()
    assert by_generator.item() < 0


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_each_value_depends_on_its_sample_alone(name: str) -> None:
    loss = ADVERSARIAL[name]
    batch = loss.discriminator(REAL, FAKE)
    parts = torch.cat([loss.discriminator(r, f) for r, f in zip(REAL.split(1), FAKE.split(1), strict=True)])
    torch.testing.assert_close(batch, parts, rtol=0, atol=0)


def test_r1_of_linear_discriminator_is_half_its_squared_slope() -> None:
    weight = torch.tensor([[[1.0, -2.0], [0.5, 3.0]]], dtype=torch.float64)
    images = torch.randn(3, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    values = adversarial.r1(images, (images * weight).sum(dim=(1, 2, 3)))
    torch.testing.assert_close(values, torch.full((3,), 14.25 / 2, dtype=torch.float64), rtol=1e-12, atol=0)


def test_r1_second_derivative_matches_finite_differences() -> None:
    def penalty(weight: Tensor) -> Tensor:
        images = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(2, 1, 2, 2).requires_grad_()
        return adversarial.r1(images, torch.tanh((images * weight).sum(dim=(1, 2, 3))))

    weight = torch.tensor([[[0.3, -0.2], [0.5, 0.1]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(penalty, (weight,))


# The losses of an update.


def test_discriminator_update_computes_no_generator_gradients() -> None:
    context, networks = make_context(small_config())
    backward(context, DISCRIMINATOR, {"adversarial": 1.0})
    assert all(p.grad is None for p in networks.generator.parameters())
    assert all(p.grad is not None for p in networks.discriminator.parameters())


def test_generator_update_computes_no_discriminator_gradients() -> None:
    context, networks = make_context(small_config())
    backward(context, GENERATOR, {"adversarial": 1.0})
    assert all(p.grad is None for p in networks.discriminator.parameters())
    assert all(p.grad is not None for p in networks.generator.parameters())


@pytest.mark.parametrize("kind", sorted(ADVERSARIAL))
def test_objective_selects_the_adversarial_loss(kind: str) -> None:
    context, _ = make_context(small_config(objective={"adversarial": kind}))
    loss = ADVERSARIAL[kind]
    forward = begin_update(context, DISCRIMINATOR, {"adversarial": 1.0})
    expected = loss.discriminator(forward.real_logits, forward.fake_logits)
    torch.testing.assert_close(LOSSES["adversarial"].compute(forward), expected, rtol=0, atol=0)
    forward = begin_update(context, GENERATOR, {"adversarial": 1.0})
    arguments = [forward.fake_logits]
    if loss.generator_sees_reals:
        arguments.insert(0, forward.real_logits)
    torch.testing.assert_close(LOSSES["adversarial"].compute(forward), loss.generator(*arguments), rtol=0, atol=0)


def test_r1_trains_only_the_discriminator() -> None:
    context, networks = make_context(small_config())
    backward(context, DISCRIMINATOR, {"r1": 1.0})
    assert parts_with_gradient(networks) == {"trunk", "discriminator"}


# The diversity.


def test_scatter_is_the_mean_squared_distance_within_categories() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(30, 2, 4, 4, generator=generator, dtype=torch.float64)
    categories = torch.randint(0, 3, (30,), generator=generator)
    pairs = [(i, j) for i in range(30) for j in range(30) if i != j and categories[i] == categories[j]]
    expected = torch.stack([(images[i] - images[j]).square().sum() for i, j in pairs]).mean()
    condition = torch.nn.functional.one_hot(categories, 3).double()
    torch.testing.assert_close(adversarial.category_scatter(images, condition), expected, rtol=1e-12, atol=0)
    assert adversarial.category_scatter(images[:3], torch.eye(3, dtype=torch.float64)) == 0  # no pairs


@pytest.mark.parametrize(
    ("scale", "expected"), [(0.5, math.log(0.9 / 0.25)), (0.94, math.log(0.9 / 0.94**2)), (1.0, 0.0)]
)
def test_diversity_is_asked_for_up_to_that_of_the_reals(scale: float, expected: float) -> None:
    context, _ = make_context(small_config(objective={"kind": "gan"}, codes=[]), batch=16)
    context._images[None] = context.reals * scale
    forward = begin_update(context, GENERATOR, {"diversity": 1.0})
    loss = LOSSES["diversity"].compute(forward)
    torch.testing.assert_close(loss, torch.full((16,), expected), rtol=0, atol=2e-3)
    torch.testing.assert_close(forward.statistics["diversity"], torch.full((16,), scale**2), rtol=1e-4, atol=0)


def test_diversity_pushes_images_of_one_category_apart() -> None:
    context, _ = make_context(small_config())
    images = context._images[None] = (context.reals * 0.1).requires_grad_()
    backward(context, GENERATOR, {"diversity": 1.0})
    assert images.grad is not None
    moved = images.detach() - 0.01 * images.grad
    condition = torch.ones(len(images), 1)
    before, after = (adversarial.category_scatter(x, condition) for x in (images.detach(), moved))
    assert after > before


def test_a_collapsed_generator_gets_finite_gradients() -> None:
    context, _ = make_context(small_config())
    images = context._images[None] = torch.zeros_like(context.reals).requires_grad_()
    backward(context, GENERATOR, {"diversity": 1.0})
    assert images.grad is not None
    assert images.grad.isfinite().all()
