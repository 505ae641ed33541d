"""The losses by which an encoder learns: their definitions, and what they do to the encoder."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from infogan.config.schema import Config, NetworkName
from infogan.models.encoder import Encoder
from infogan.training.losses import LOSSES, representation
from tests.helpers import begin_update, make_context, small_config
from tests.training.losses import backward, parts_with_gradient

ENCODER: tuple[NetworkName, ...] = ("encoder",)


def two_categories(**sections: Any) -> Config:
    settings = {"codes": [{"kind": "categorical", "size": 2}], "networks": {"width": 4, "encoder_width": 4}}
    return small_config(preset="robust", **{**settings, **sections})


# The functions.


def unit_rows(count: int, size: int, seed: int) -> Tensor:
    rows = torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows)


def test_nt_xent_matches_its_definition() -> None:
    first, second, temperature = unit_rows(5, 3, 0), unit_rows(5, 3, 1), 0.4
    views = [*first, *second]
    expected = []
    for i in range(5):
        losses = []
        for anchor, partner in ((i, i + 5), (i + 5, i)):
            similarities = [math.exp(float(views[anchor] @ view) / temperature) for view in views]
            losses.append(-math.log(similarities[partner] / (sum(similarities) - similarities[anchor])))
        expected.append(sum(losses) / 2)
    values = representation.nt_xent(first, second, temperature)
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
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
    undecided = torch.zeros(1, 2, dtype=torch.float64)
    assert representation.kl_divergence(certain, undecided).item() == pytest.approx(math.log(2), abs=1e-12)


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


# The losses of an update.


@pytest.mark.parametrize("name", ["nt_xent", "vat", "uda", "fixmatch", "conditional_entropy", "marginal_kl"])
def test_losses_on_reals_train_only_the_encoder(name: str) -> None:
    context, networks = make_context(two_categories(), 16)
    backward(context, ENCODER, {name: 1.0})
    assert parts_with_gradient(networks) == {"encoder"}


def test_fixmatch_is_the_cross_entropy_of_views_of_certain_images() -> None:
    context, networks = make_context(two_categories(), 16)
    assert networks.encoder is not None
    with torch.no_grad():  # probabilities on both sides of the threshold
        networks.encoder.directions.copy_(torch.randn(2, Encoder.FEATURES, generator=torch.Generator().manual_seed(0)))
    forward = begin_update(context, ENCODER, {"fixmatch": 1.0})
    values = LOSSES["fixmatch"].compute(forward)
    posterior, of_views = forward.target, forward.encoder.logits(forward.view_features).softmax(1)
    category = posterior.argmax(1)
    is_certain = posterior.max(1).values >= 0.8
    assert 0 < int(is_certain.sum()) < 16
    expected = -of_views[torch.arange(16), category].log() * is_certain
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-5)


def test_vat_is_zero_for_a_constant_posterior_only() -> None:
    context, networks = make_context(two_categories(), 16)
    assert networks.encoder is not None
    with torch.no_grad():
        networks.encoder.directions.copy_(torch.ones(2, Encoder.FEATURES))  # both categories in the same direction
    values = LOSSES["vat"].compute(begin_update(context, ENCODER, {"vat": 1.0}))
    torch.testing.assert_close(values, torch.zeros(16), atol=1e-6, rtol=0)
    with torch.no_grad():
        networks.encoder.directions.normal_(generator=torch.Generator().manual_seed(0))
    values = LOSSES["vat"].compute(begin_update(context, ENCODER, {"vat": 1.0})).detach()
    assert float(values.min()) >= 0
    assert float(values.mean()) > 1e-3


def test_marginal_is_a_running_mean_of_posteriors() -> None:
    context, _ = make_context(two_categories(), 16)
    for _ in range(60):
        forward = begin_update(context, ENCODER, {"marginal_kl": 1.0})
        values = LOSSES["marginal_kl"].compute(forward)
    marginal, mean = context.encoder_state.marginal, forward.target.mean(dim=0)
    torch.testing.assert_close(marginal, mean, atol=1e-4, rtol=0)
    assert not torch.allclose(mean, torch.full((2,), 0.5), atol=1e-3)
    expected = (forward.target * (marginal * 2).log()).sum(dim=1)
    torch.testing.assert_close(values.detach(), expected, atol=1e-5, rtol=1e-5)


def test_supervised_loss_is_the_cross_entropy_of_augmented_labelled_images() -> None:
    config = two_categories(
        data={"labels": "some.csv"}, augment={"crop": None, "shift": None, "colour": None, "flip": 1.0}
    )
    context, networks = make_context(config, 16)
    assert networks.encoder is not None
    labels = torch.tensor([0, 1, 1])
    context.labelled = context.reals[:3], labels
    networks.train()
    forward = begin_update(context, ENCODER, {"supervised": 1.0})
    values = LOSSES["supervised"].compute(forward)
    with torch.no_grad(), networks.encoder.without_running_stats():
        mirrored = networks.encoder.resize(context.reals[:3]).flip(3)
        log_likelihoods = networks.encoder(mirrored).log_softmax(dim=1)
    torch.testing.assert_close(values.detach(), -log_likelihoods[range(3), labels], atol=1e-4, rtol=1e-4)
    torch.autograd.backward(values.mean())
    assert parts_with_gradient(networks) == {"encoder"}
