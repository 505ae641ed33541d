"""Which gradient reaches which network: each test names a bug of public implementations."""

import copy
import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from infogan.config.schema import Config, NetworkName
from infogan.models.networks import Networks
from infogan.training.losses import LOSSES, StepContext
from infogan.training.losses.context import Pairing
from infogan.utils.errors import UserError
from tests.helpers import DISCRIMINATOR, GENERATOR, begin_update, make_context, small_config

INFORMATION = {"information": 1.0}
ADVERSARIAL = {"adversarial": 1.0}


def parts_with_gradient(networks: Networks) -> set[str]:
    """Return which of generator, trunk, discriminator's head and recognizer have a nonzero gradient."""
    networks_with_gradient = set()
    for name, parameter in networks.named_parameters():
        if parameter.grad is not None and bool(parameter.grad.abs().sum() > 0):
            top, second = name.split(".")[:2]
            networks_with_gradient.add("trunk" if (top, second) == ("discriminator", "trunk") else top)
    return networks_with_gradient


def backward(context: StepContext, trained: tuple[NetworkName, ...], losses: dict[str, float]) -> None:
    forward = begin_update(context, trained, losses)
    total = sum((weight * LOSSES[name].compute(forward).mean() for name, weight in losses.items()), torch.zeros(()))
    if total.requires_grad:
        torch.autograd.backward(total)
    context.end_update(forward.update)


def shared(*assignments: str, **sections: Any) -> Config:
    return small_config(*assignments, **{"networks": {"recognizer": "shared", "width": 4}, **sections})


def test_information_gradient_reaches_generator_and_recognizer() -> None:
    context, networks = make_context(small_config())
    backward(context, ("generator", "recognizer"), INFORMATION)
    assert parts_with_gradient(networks) == {"generator", "recognizer"}


@pytest.mark.parametrize(
    ("to", "trained", "expected"),
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
    to: list[str], trained: tuple[NetworkName, ...], expected: set[str]
) -> None:
    context, networks = make_context(shared(objective={"information_to": to}))
    backward(context, trained, INFORMATION)
    assert parts_with_gradient(networks) == expected


@pytest.mark.parametrize(
    ("to", "expected"),
    [(["generator", "recognizer"], {"generator", "recognizer"}), (["recognizer"], {"recognizer"})],
)
def test_information_to_selects_gradients_with_separate_recognizer(to: list[str], expected: set[str]) -> None:
    context, networks = make_context(small_config(objective={"information_to": to}))
    backward(context, ("generator", "recognizer"), INFORMATION)
    assert parts_with_gradient(networks) == expected


def test_information_to_does_not_affect_adversarial_gradient() -> None:
    context, networks = make_context(small_config(objective={"information_to": ["recognizer"]}))
    backward(context, ("generator", "recognizer"), ADVERSARIAL | INFORMATION)
    assert parts_with_gradient(networks) == {"generator", "recognizer"}


def test_discriminator_update_computes_no_generator_gradients() -> None:
    context, networks = make_context(small_config())
    backward(context, ("discriminator",), ADVERSARIAL)
    assert all(p.grad is None for p in networks.generator.parameters())
    assert all(p.grad is not None for p in networks.discriminator.parameters())


def test_generator_update_computes_no_discriminator_gradients() -> None:
    context, networks = make_context(small_config())
    backward(context, ("generator",), ADVERSARIAL)
    assert all(p.grad is None for p in networks.discriminator.parameters())
    assert all(p.grad is not None for p in networks.generator.parameters())


def test_fakes_are_made_once_for_both_players_and_anew_after_the_generator_networks_with_gradient() -> None:
    context, networks = make_context(small_config())
    outputs: list[Tensor] = []
    networks.generator.register_forward_hook(lambda _, __, output: outputs.append(output))
    backward(context, ("discriminator",), ADVERSARIAL)
    backward(context, ("generator",), ADVERSARIAL)
    assert len(outputs) == 1
    backward(context, ("generator", "recognizer"), INFORMATION)
    assert len(outputs) == 2


def test_discriminator_sees_reals_and_fakes_in_one_pass() -> None:
    context, networks = make_context(small_config())
    sizes: list[int] = []
    networks.discriminator.trunk.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    backward(context, ("discriminator",), ADVERSARIAL)
    assert sizes == [16]
    backward(context, ("generator",), ADVERSARIAL)
    assert sizes == [16, 8]


@pytest.mark.parametrize("preset", ["plain", "paper"])
def test_one_pass_equals_two_passes(preset: str) -> None:
    context, networks = make_context(small_config(preset=preset))
    separate = copy.deepcopy(networks).discriminator  # with running statistics of its own
    forward = begin_update(context, ("discriminator",), ADVERSARIAL)
    both = (forward.real_logits, forward.fake_logits)
    torch.testing.assert_close(
        both, tuple(separate.score(separate.features(part)) for part in (context.reals, forward.fakes))
    )
    for (name, buffer), expected in zip(networks.discriminator.named_buffers(), separate.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, msg=name)
    assert any("running_mean" in name for name, _ in networks.discriminator.named_buffers()) == (preset == "paper")


def test_generator_graph_survives_discriminator_step() -> None:
    # Public implementations fail here on current PyTorch: an in-place change by the discriminator's optimizer.
    context, networks = make_context(small_config())
    optimizer = torch.optim.Adam(networks.parameters_of(DISCRIMINATOR), lr=0.1)
    backward(context, ("discriminator",), ADVERSARIAL)
    optimizer.step()
    backward(context, ("generator", "recognizer"), ADVERSARIAL | INFORMATION)
    assert "generator" in parts_with_gradient(networks)


def test_r1_trains_only_the_discriminator() -> None:
    context, networks = make_context(small_config())
    backward(context, ("discriminator",), {"r1": 1.0})
    assert "generator" not in parts_with_gradient(networks)
    assert "trunk" in parts_with_gradient(networks)


@pytest.mark.parametrize("adversarial", ["non-saturating", "hinge", "relativistic"])
def test_every_loss_returns_one_value_per_sample(adversarial: str) -> None:
    context, _ = make_context(small_config(objective={"adversarial": adversarial}))
    for trained, names in ((DISCRIMINATOR, ("adversarial", "r1")), (GENERATOR, ("adversarial", "information"))):
        forward = begin_update(context, trained, dict.fromkeys(names, 1.0))
        for name in names:
            assert LOSSES[name].compute(forward).shape == (8,)


def test_sample_losses_do_not_depend_on_the_rest_of_the_batch() -> None:
    # With networks that do not either, every share of a batch gives the values it has in the batch.
    config = with_pair_classifier()
    batch, networks = make_context(config)
    networks.eval()
    for trained in (DISCRIMINATOR, GENERATOR):
        names = [
            name
            for name, loss in LOSSES.items()
            if loss.depends_on == "sample" and "encoder" not in loss.needs
            if name != "r1" or trained[0] != "generator"
        ]
        forward = begin_update(batch, trained, dict.fromkeys(names, 1.0))
        values = {name: LOSSES[name].compute(forward) for name in names}
        part = StepContext(
            networks,
            batch.layout,
            config,
            reals=batch.reals[2:5],
            noise=batch.latents[2:5, : config.noise.size],
            codes={name: value[2:5] for name, value in batch.codes.items()},
            random=batch.random,
            trains_generator=True,
        )
        part.paired_code = batch.paired_code[2:5]  # which is random otherwise
        part._partners = {pairing: images[2:5] for pairing, images in batch._partners.items()}
        part_forward = begin_update(part, trained, dict.fromkeys(names, 1.0))
        for name in names:
            torch.testing.assert_close(LOSSES[name].compute(part_forward), values[name][2:5], rtol=1e-4, atol=1e-5)


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


def test_cgan_discriminator_is_conditioned_on_labels() -> None:
    config = small_config(objective={"kind": "cgan"}).model_copy(update={})
    options = config.model_dump()
    options["codes"] = [{"kind": "categorical", "name": "label", "size": 2}]
    context, networks = make_context(Config.model_validate(options))
    forward = begin_update(context, ("discriminator",), ADVERSARIAL)
    logits = (forward.real_logits.clone(), forward.fake_logits.clone())
    mislabelled, _ = make_context(Config.model_validate(options))
    mislabelled.codes = {"label": 1 - context.codes["label"]}
    other = begin_update(mislabelled, ("discriminator",), ADVERSARIAL)
    assert not torch.allclose(logits[0], other.real_logits)
    assert not torch.allclose(logits[1], other.fake_logits)
    assert networks.recognizer is None


PAIRINGS = get_args(Pairing)
PAIR_LOSSES = {"sharing": "infogan_cr", "varying": "variation_predictability"}


def with_pair_classifier(**sections: Any) -> Config:
    networks = {"recognizer": "shared", "width": 4, "pair_classifier": True}
    return small_config(**{"networks": networks, **sections})


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
        # Of two categories drawn from ten a tenth are the same by chance, of two numbers none.
        by_chance = float(same[~shared_rows].double().mean())
        assert 0.01 < by_chance < 0.25 if name == "category" else by_chance == 0
    noise = slice(0, context.config.noise.size)
    same_noise = (partner_latents[:, noise] == latents[:, noise]).all(dim=1)
    assert bool(same_noise.all()) if pairing == "varying" else not bool(same_noise.any())


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_pair_losses_start_at_chance_and_train_generator_and_classifier(pairing: Pairing) -> None:
    context, networks = make_context(with_pair_classifier())
    assert networks.pair_classifier is not None
    with torch.no_grad():
        networks.pair_classifier.head.weight.zero_()
        networks.pair_classifier.head.bias.zero_()
    loss = LOSSES[PAIR_LOSSES[pairing]].compute(
        begin_update(context, ("pair_classifier",), {PAIR_LOSSES[pairing]: 1.0})
    )
    torch.testing.assert_close(loss, torch.full((8,), math.log(3)))
    context, networks = make_context(with_pair_classifier())
    backward(context, ("pair_classifier",), {PAIR_LOSSES[pairing]: 1.0})
    assert parts_with_gradient(networks) == {"pair_classifier"}
    context, networks = make_context(with_pair_classifier())
    backward(context, ("generator",), {PAIR_LOSSES[pairing]: 1.0})
    assert parts_with_gradient(networks) == {"generator"}


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_partners_are_made_once_until_the_generator_moves(pairing: Pairing) -> None:
    context, networks = make_context(with_pair_classifier())
    outputs: list[Tensor] = []
    networks.generator.register_forward_hook(lambda _, __, output: outputs.append(output))
    backward(context, ("pair_classifier",), {PAIR_LOSSES[pairing]: 1.0})
    backward(context, ("generator",), {PAIR_LOSSES[pairing]: 1.0})
    assert len(outputs) == 2
    backward(context, ("generator",), {PAIR_LOSSES[pairing]: 1.0})
    assert len(outputs) == 4


def test_pair_losses_need_two_codes_and_a_classifier() -> None:
    with pytest.raises(UserError, match="at least two codes"):
        with_pair_classifier(codes=[{"kind": "continuous"}])
    stages = [{"updates": [{"networks": ["generator"], "losses": {"infogan_cr": 1.0}, "learning_rate": 1e-3}]}]
    with pytest.raises(UserError, match=r"networks\.comparer is false"):
        small_config(stages=stages)
    stages[0]["updates"][0]["losses"] = {"infogan_cr": 1.0, "variation_predictability": 1.0}
    with pytest.raises(UserError, match="not both"):
        with_pair_classifier(stages=stages)
