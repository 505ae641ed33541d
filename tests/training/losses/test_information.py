"""The losses on codes: which gradient reaches which network. Each of these tests names a bug of public code."""

import math
from typing import Any, get_args

import pytest
import torch

from infogan.config.schema import Config, NetworkName
from infogan.training.losses import LOSSES
from infogan.training.losses.context import Pairing
from tests.helpers import GENERATOR, begin_update, make_context, small_config
from tests.training.losses import backward, parts_with_gradient

INFORMATION = {"information": 1.0}
PAIRINGS = get_args(Pairing)
PAIR_LOSSES = {"sharing": "infogan_cr", "varying": "variation_predictability"}
PAIR_CLASSIFIER: tuple[NetworkName, ...] = ("pair_classifier",)


# The bound on the mutual information.


def shared_trunk(**sections: Any) -> Config:
    return small_config(networks={"recognizer": "shared", "width": 4}, **sections)


def test_information_gradient_reaches_generator_and_recognizer() -> None:
    context, networks = make_context(small_config())
    backward(context, ("generator", "recognizer"), INFORMATION)
    assert parts_with_gradient(networks) == {"generator", "recognizer"}


@pytest.mark.parametrize(
    ("targets", "trained", "expected"),
    [
        (["generator", "recognizer", "trunk"], ("discriminator", "recognizer"), {"trunk", "recognizer"}),
        (["generator", "recognizer"], ("discriminator", "recognizer"), {"recognizer"}),
        (["generator", "recognizer", "trunk"], ("generator",), {"generator"}),
        (["recognizer", "trunk"], ("generator",), set()),
        (["recognizer", "trunk"], ("generator", "recognizer"), {"recognizer"}),
        (["recognizer"], ("discriminator", "recognizer"), {"recognizer"}),
    ],
)
def test_information_to_selects_gradients_with_shared_trunk(
    targets: list[str], trained: tuple[NetworkName, ...], expected: set[str]
) -> None:
    context, networks = make_context(shared_trunk(objective={"information_to": targets}))
    backward(context, trained, INFORMATION)
    assert parts_with_gradient(networks) == expected


@pytest.mark.parametrize(
    ("targets", "expected"),
    [(["generator", "recognizer"], {"generator", "recognizer"}), (["recognizer"], {"recognizer"})],
)
def test_information_to_selects_gradients_with_separate_recognizer(targets: list[str], expected: set[str]) -> None:
    context, networks = make_context(small_config(objective={"information_to": targets}))
    backward(context, ("generator", "recognizer"), INFORMATION)
    assert parts_with_gradient(networks) == expected


def test_information_to_does_not_affect_adversarial_gradient() -> None:
    context, networks = make_context(small_config(objective={"information_to": ["recognizer"]}))
    backward(context, ("generator", "recognizer"), {"adversarial": 1.0, "information": 1.0})
    assert parts_with_gradient(networks) == {"generator", "recognizer"}


def test_information_weighs_codes_at_batch_size_one() -> None:
    codes = [
        {"kind": "categorical", "size": 3, "weight": 2.0},
        {"kind": "continuous", "weight": 0.5},
        {"kind": "categorical", "size": 4, "weight": 0.0},
    ]
    context, networks = make_context(small_config(codes=codes, networks={"architecture": "post"}), batch=1)
    networks.eval()
    forward = begin_update(context, ("recognizer",), INFORMATION)
    log_likelihoods = forward.log_likelihoods
    expected = -2 * log_likelihoods["category"] - 0.5 * log_likelihoods["knob1"]
    torch.testing.assert_close(LOSSES["information"].compute(forward), expected)


def test_bound_of_each_code_is_logged() -> None:
    context, _ = make_context(small_config())
    forward = begin_update(context, ("generator", "recognizer"), INFORMATION)
    LOSSES["information"].compute(forward)
    assert list(forward.statistics) == ["information/category", "information/knob1", "information/knob2"]
    expected = forward.log_likelihoods["category"].detach() + math.log(10)
    torch.testing.assert_close(forward.statistics["information/category"], expected)


def test_information_trains_the_generator_and_not_the_encoder() -> None:
    context, networks = make_context(small_config(preset="robust"), 16)
    forward = begin_update(context, GENERATOR, INFORMATION)
    torch.autograd.backward(LOSSES["information"].compute(forward).mean())
    assert parts_with_gradient(networks) == {"generator"}
    assert set(forward.log_likelihoods) == {"category", "knob1", "knob2"}


# Pairs of images.


def with_pair_classifier(**sections: Any) -> Config:
    networks = {"recognizer": "shared", "width": 4, "pair_classifier": True}
    return small_config(networks=networks, **sections)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_partners_share_one_code_or_all_but_one(pairing: Pairing) -> None:
    context, _ = make_context(with_pair_classifier(), batch=200)
    slices = context.layout.latent_slices
    partner_latents, latents = context.partner_latents(pairing), context.latents
    assert sorted(set(context.paired_code.tolist())) == [0, 1, 2]
    for number, (name, columns) in enumerate(slices.items()):
        same = (partner_latents[:, columns] == latents[:, columns]).all(dim=1)
        shared_rows = (context.paired_code == number) == (pairing == "sharing")
        assert bool(same[shared_rows].all())
        # Two categories drawn from ten agree by chance in a tenth of the pairs, two numbers in none.
        by_chance = float(same[~shared_rows].double().mean())
        assert 0.01 < by_chance < 0.25 if name == "category" else by_chance == 0
    noise = slice(0, context.config.noise.size)
    same_noise = (partner_latents[:, noise] == latents[:, noise]).all(dim=1)
    assert bool(same_noise.all()) if pairing == "varying" else not bool(same_noise.any())


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_pair_losses_start_at_chance(pairing: Pairing) -> None:
    context, networks = make_context(with_pair_classifier())
    assert networks.pair_classifier is not None
    with torch.no_grad():
        networks.pair_classifier.head.weight.zero_()
        networks.pair_classifier.head.bias.zero_()
    loss = PAIR_LOSSES[pairing]
    values = LOSSES[loss].compute(begin_update(context, PAIR_CLASSIFIER, {loss: 1.0}))
    torch.testing.assert_close(values, torch.full((8,), math.log(3)))


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("network", ["pair_classifier", "generator"])
def test_pair_losses_train_the_network_of_the_update(pairing: Pairing, network: NetworkName) -> None:
    context, networks = make_context(with_pair_classifier())
    backward(context, (network,), {PAIR_LOSSES[pairing]: 1.0})
    assert parts_with_gradient(networks) == {network}


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_partners_are_generated_again_only_after_the_generator_changed(pairing: Pairing) -> None:
    context, networks = make_context(with_pair_classifier())
    calls: list[int] = []
    networks.generator.register_forward_hook(lambda *_: calls.append(1))
    losses = {PAIR_LOSSES[pairing]: 1.0}
    backward(context, PAIR_CLASSIFIER, losses)
    backward(context, GENERATOR, losses)
    assert len(calls) == 2  # the fakes and their partners
    backward(context, GENERATOR, losses)
    assert len(calls) == 4
