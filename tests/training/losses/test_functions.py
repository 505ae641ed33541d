import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from infogan.models.latents import categorical_log_likelihood, gaussian_log_likelihood
from infogan.training.losses import adversarial, representation
from infogan.training.losses.adversarial import ADVERSARIAL


def logits(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


REAL, FAKE = logits(0.0, 2.0, -1.5, 30.0), logits(0.0, -1.0, 3.0, -30.0)


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


def test_log_likelihood_gradients_match_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    values = torch.tensor([0, 4, 2, 2])
    assert torch.autograd.gradcheck(lambda s: categorical_log_likelihood(s, values), (scores,))
    mean = torch.randn(4, dtype=torch.float64, generator=generator, requires_grad=True)
    deviation = torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    knob = torch.tensor([-1.0, 0.0, 0.4, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m, d: gaussian_log_likelihood(m, d, knob), (mean, deviation))


def test_log_likelihoods_match_torch_distributions() -> None:
    scores = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    values = torch.tensor([2, 1])
    torch.testing.assert_close(categorical_log_likelihood(scores, values), Categorical(logits=scores).log_prob(values))
    mean, deviation, knob = logits(0.2, -1.0), logits(0.1, 3.0), logits(0.25, 1.0)
    torch.testing.assert_close(gaussian_log_likelihood(mean, deviation, knob), Normal(mean, deviation).log_prob(knob))


# What an encoder learns from real images.


def unit_rows(count: int, size: int, seed: int) -> Tensor:
    rows = torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows)


def test_nt_xent_matches_its_definition() -> None:
    first, second, temperature = unit_rows(5, 3, 0), unit_rows(5, 3, 1), 0.4
    views = [*first, *second]
    expected = []
    for i in range(5):
        losses = []
        for mine, other in ((i, i + 5), (i + 5, i)):
            similar = [math.exp(float(views[mine] @ view) / temperature) for view in views]
            losses.append(-math.log(similar[other] / (sum(similar) - similar[mine])))
        expected.append(sum(losses) / 2)
    values = representation.nt_xent(first, second, temperature)
    torch.testing.assert_close(values, logits(*expected), rtol=1e-12, atol=0)
    torch.testing.assert_close(values, representation.nt_xent(second, first, temperature))


def test_nt_xent_of_orthogonal_images_matches_closed_form() -> None:
    views = torch.eye(4, dtype=torch.float64)
    # The partner at cosine 1, the six others at 0.
    assert representation.nt_xent(views, views, 0.5).tolist() == pytest.approx([math.log(1 + 6 * math.exp(-2))] * 4)


def test_divergence_and_entropies_match_torch_distributions() -> None:
    p, q = (torch.randn(6, 4, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (0, 1))
    target, posterior = Categorical(logits=p), Categorical(logits=q)
    divergence = torch.distributions.kl_divergence(target, posterior)
    torch.testing.assert_close(representation.kl_divergence(p.softmax(1), q), divergence, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(representation.entropy(q), posterior.entropy(), rtol=1e-12, atol=1e-14)
    cross_entropy = divergence + target.entropy()
    torch.testing.assert_close(
        representation.soft_cross_entropy(p.softmax(1), q), cross_entropy, rtol=1e-12, atol=1e-14
    )
    certain = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert representation.kl_divergence(certain, logits(3, 3).unsqueeze(0)).item() == pytest.approx(
        math.log(2), abs=1e-12
    )


def test_marginal_kl_has_the_gradient_of_the_divergence() -> None:
    scores = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    marginal = scores.softmax(1).mean(0)
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    divergence = torch.distributions.kl_divergence(Categorical(probs=marginal), Categorical(probs=prior))
    (expected,) = torch.autograd.grad(divergence, scores)
    values = representation.marginal_kl(scores, marginal.detach(), prior)
    (gradient,) = torch.autograd.grad(values.mean(), scores)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)
    assert values.mean().item() == pytest.approx(divergence.item(), abs=1e-12)
    torch.testing.assert_close(representation.marginal_kl(scores, prior, prior), torch.zeros(8, dtype=torch.float64))


def test_adversarial_direction_of_linear_classifier_is_its_weight() -> None:
    weight = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def logits_of(images: Tensor) -> Tensor:
        score = (images * weight).sum(dim=(1, 2, 3))
        return torch.stack([score, -score], dim=1)

    images, start = (torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(s)).double() for s in (1, 2))
    target = logits_of(images).softmax(1)
    values = representation.adversarial_direction(logits_of, images, target, start, step=1e-3)
    assert not values.requires_grad
    torch.testing.assert_close(values.flatten(1).norm(dim=1), torch.ones(3, dtype=torch.float64))
    cosine = (values * weight / weight.norm()).sum(dim=(1, 2, 3)).abs()
    torch.testing.assert_close(cosine, torch.ones(3, dtype=torch.float64), rtol=1e-6, atol=0)
