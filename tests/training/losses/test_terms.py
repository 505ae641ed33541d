"""Who gets which gradient: the bugs that public implementations have (each test names one)."""

import copy
import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from infogan.config.schema import ENCODER_TERMS, Config, NetworkName
from infogan.models.networks import Networks
from infogan.training.losses import LOSSES, StepContext
from infogan.training.losses.context import Pairing
from infogan.utils.errors import UserError
from tests.helpers import begin_update, DISCRIMINATOR, GENERATOR, play_of, small_config

INFORMATION = {"information": 1.0}
ADVERSARIAL = {"adversarial": 1.0}


def parts_with_gradient(networks: Networks) -> set[str]:
    """generator, trunk, discriminator's head, recognizer: whoever has a gradient that is not zero."""
    moved = set()
    for name, parameter in networks.named_parameters():
        if parameter.grad is not None and bool(parameter.grad.abs().sum() > 0):
            top, second = name.split(".")[:2]
            moved.add("trunk" if (top, second) == ("discriminator", "trunk") else top)
    return moved


def backward(play: StepContext, players: tuple[NetworkName, ...], terms: dict[str, float]) -> None:
    seen = begin_update(play, players, terms)
    total = sum((weight * LOSSES[name].compute(seen).mean() for name, weight in terms.items()), torch.zeros(()))
    if total.requires_grad:
        torch.autograd.backward(total)
    play.end(players)


def shared(*assignments: str, **sections: Any) -> Config:
    return small_config(*assignments, **{"networks": {"recognizer": "shared", "width": 4}, **sections})


def test_information_gradient_reaches_generator_and_recognizer() -> None:
    play, networks = play_of(small_config())
    backward(play, ("generator", "recognizer"), INFORMATION)
    assert parts_with_gradient(networks) == {"generator", "recognizer"}


@pytest.mark.parametrize(
    ("to", "players", "expected"),
    [
        (["generator", "recognizer", "trunk"], ("discriminator", "recognizer"), {"trunk", "recognizer"}),
        (["generator", "recognizer"], ("discriminator", "recognizer"), {"recognizer"}),
        (["generator", "recognizer", "trunk"], ("generator",), {"generator"}),
        (["recognizer", "trunk"], ("generator",), set()),
        (["recognizer", "trunk"], ("generator", "recognizer"), {"recognizer"}),
        (["recognizer"], ("discriminator", "recognizer"), {"recognizer"}),
    ],
)
def test_information_gradient_goes_where_the_option_says_with_a_shared_trunk(
    to: list[str], players: tuple[NetworkName, ...], expected: set[str]
) -> None:
    play, networks = play_of(shared(objective={"information_to": to}))
    backward(play, players, INFORMATION)
    assert parts_with_gradient(networks) == expected


@pytest.mark.parametrize(
    ("to", "expected"),
    [(["generator", "recognizer"], {"generator", "recognizer"}), (["recognizer"], {"recognizer"})],
)
def test_information_gradient_goes_where_the_option_says_with_a_separate_recognizer(
    to: list[str], expected: set[str]
) -> None:
    play, networks = play_of(small_config(objective={"information_to": to}))
    backward(play, ("generator", "recognizer"), INFORMATION)
    assert parts_with_gradient(networks) == expected


def test_the_information_option_leaves_the_adversarial_gradient_alone() -> None:
    play, networks = play_of(small_config(objective={"information_to": ["recognizer"]}))
    backward(play, ("generator", "recognizer"), ADVERSARIAL | INFORMATION)
    assert parts_with_gradient(networks) == {"generator", "recognizer"}


def test_discriminator_only_step_leaves_generator_gradients_none() -> None:
    play, networks = play_of(small_config())
    backward(play, ("discriminator",), ADVERSARIAL)
    assert all(p.grad is None for p in networks.generator.parameters())
    assert all(p.grad is not None for p in networks.discriminator.parameters())


def test_generator_step_computes_no_discriminator_gradients() -> None:
    play, networks = play_of(small_config())
    backward(play, ("generator",), ADVERSARIAL)
    assert all(p.grad is None for p in networks.discriminator.parameters())
    assert all(p.grad is not None for p in networks.generator.parameters())


def test_fakes_are_made_once_for_both_players_and_anew_after_the_generator_moved() -> None:
    play, networks = play_of(small_config())
    made: list[Tensor] = []
    networks.generator.register_forward_hook(lambda _, __, output: made.append(output))
    backward(play, ("discriminator",), ADVERSARIAL)
    backward(play, ("generator",), ADVERSARIAL)
    assert len(made) == 1
    backward(play, ("generator", "recognizer"), INFORMATION)
    assert len(made) == 2


def test_one_pass_of_the_discriminator_sees_reals_and_fakes() -> None:
    play, networks = play_of(small_config())
    sizes: list[int] = []
    networks.discriminator.trunk.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    backward(play, ("discriminator",), ADVERSARIAL)
    assert sizes == [16]
    backward(play, ("generator",), ADVERSARIAL)
    assert sizes == [16, 8]


@pytest.mark.parametrize("preset", ["plain", "paper"])
def test_one_pass_over_both_gives_what_two_passes_give(preset: str) -> None:
    play, networks = play_of(small_config(preset=preset))
    apart = copy.deepcopy(networks).discriminator  # with running statistics of its own
    seen = begin_update(play, ("discriminator",), ADVERSARIAL)
    both = (seen.real_logits, seen.fake_logits)
    torch.testing.assert_close(both, tuple(apart.score(apart.features(part)) for part in (play.reals, seen.fakes)))
    for (name, mine), theirs in zip(networks.discriminator.named_buffers(), apart.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)
    assert any("running_mean" in name for name, _ in networks.discriminator.named_buffers()) == (preset == "paper")


def test_the_generators_graph_survives_the_discriminators_step() -> None:
    # Public implementations fail here on current PyTorch: an in-place change by the discriminator's optimiser.
    play, networks = play_of(small_config())
    optimiser = torch.optim.Adam(networks.parameters_of(DISCRIMINATOR), lr=0.1)
    backward(play, ("discriminator",), ADVERSARIAL)
    optimiser.step()
    backward(play, ("generator", "recognizer"), ADVERSARIAL | INFORMATION)
    assert "generator" in parts_with_gradient(networks)


def test_r1_trains_the_discriminator_alone() -> None:
    play, networks = play_of(small_config())
    backward(play, ("discriminator",), {"r1": 1.0})
    assert "generator" not in parts_with_gradient(networks)
    assert "trunk" in parts_with_gradient(networks)


@pytest.mark.parametrize("adversarial", ["non-saturating", "hinge", "relativistic"])
def test_every_term_gives_one_value_per_sample(adversarial: str) -> None:
    play, _ = play_of(small_config(objective={"adversarial": adversarial}))
    for players, names in ((DISCRIMINATOR, ("adversarial", "r1")), (GENERATOR, ("adversarial", "information"))):
        seen = begin_update(play, players, dict.fromkeys(names, 1.0))
        for name in names:
            assert LOSSES[name].compute(seen).shape == (8,)


def test_terms_over_a_sample_do_not_depend_on_the_rest_of_the_batch() -> None:
    # With networks that do not either, every share of a batch gives the values it has in the whole.
    config = compared()
    whole, networks = play_of(config)
    networks.eval()
    for players in (DISCRIMINATOR, GENERATOR):
        names = [
            name
            for name, term in LOSSES.items()
            if term.over == "sample" and name not in ENCODER_TERMS and (name != "r1" or players[0] != "generator")
        ]
        seen = begin_update(whole, players, dict.fromkeys(names, 1.0))
        values = {name: LOSSES[name].compute(seen) for name in names}
        some = StepContext(
            networks,
            whole.layout,
            config,
            reals=whole.reals[2:5],
            noise=whole.latents[2:5, : config.noise.size],
            codes={name: value[2:5] for name, value in whole.codes.items()},
            randomness=whole.randomness,
            generator_learns=True,
        )
        some.singled = whole.singled[2:5]  # which chance would draw
        some._partners = {pairing: images[2:5] for pairing, images in whole._partners.items()}
        part = begin_update(some, players, dict.fromkeys(names, 1.0))
        for name in names:
            torch.testing.assert_close(LOSSES[name].compute(part), values[name][2:5], rtol=1e-4, atol=1e-5)


def test_information_weighs_codes_and_batch_size_one_works() -> None:
    codes = [
        {"kind": "categorical", "size": 3, "weight": 2.0},
        {"kind": "continuous", "weight": 0.5},
        {"kind": "categorical", "size": 4, "weight": 0.0},
    ]
    play, networks = play_of(small_config(codes=codes, networks={"architecture": "post"}), batch=1)
    networks.eval()
    seen = begin_update(play, ("recognizer",), INFORMATION)
    likelihoods = seen.log_likelihoods
    expected = -2 * likelihoods["category"] - 0.5 * likelihoods["knob1"]
    torch.testing.assert_close(LOSSES["information"].compute(seen), expected)


def test_a_cgans_discriminator_is_told_the_label_of_reals_and_fakes() -> None:
    config = small_config(objective={"kind": "cgan"}).model_copy(update={})
    options = config.model_dump()
    options["codes"] = [{"kind": "categorical", "name": "label", "size": 2}]
    play, networks = play_of(Config.model_validate(options))
    seen = begin_update(play, ("discriminator",), ADVERSARIAL)
    told = (seen.real_logits.clone(), seen.fake_logits.clone())
    mislabelled, _ = play_of(Config.model_validate(options))
    mislabelled.codes = {"label": 1 - play.codes["label"]}
    other = begin_update(mislabelled, ("discriminator",), ADVERSARIAL)
    assert not torch.allclose(told[0], other.real_logits)
    assert not torch.allclose(told[1], other.fake_logits)
    assert networks.recognizer is None


PAIRINGS = get_args(Pairing)


def compared(**sections: Any) -> Config:
    networks = {"recognizer": "shared", "width": 4, "pair_classifier": True}
    return small_config(**{"networks": networks, **sections})


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_partners_share_the_one_code_that_is_named_or_all_but_that(pairing: Pairing) -> None:
    play, _ = play_of(compared(), batch=200)
    slices = play.layout.latent_slices
    theirs, ours = play.partner_latents(pairing), play.latents
    assert sorted(set(play.singled.tolist())) == [0, 1, 2]
    for number, (name, columns) in enumerate(slices.items()):
        same = (theirs[:, columns] == ours[:, columns]).all(dim=1)
        in_common = (play.singled == number) == (pairing == "sharing")
        assert bool(same[in_common].all())
        # Of two categories drawn from ten a tenth are the same by chance, of two numbers none.
        by_chance = float(same[~in_common].double().mean())
        assert 0.01 < by_chance < 0.25 if name == "category" else by_chance == 0
    noise = slice(0, play.config.noise.size)
    same_noise = (theirs[:, noise] == ours[:, noise]).all(dim=1)
    assert bool(same_noise.all()) if pairing == "varying" else not bool(same_noise.any())


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_comparing_costs_as_much_as_guessing_at_first_and_teaches_generator_and_comparer(pairing: Pairing) -> None:
    play, networks = play_of(compared())
    assert networks.pair_classifier is not None
    with torch.no_grad():
        networks.pair_classifier.head.weight.zero_()
        networks.pair_classifier.head.bias.zero_()
    loss = LOSSES[pairing].compute(begin_update(play, ("pair_classifier",), {pairing: 1.0}))
    torch.testing.assert_close(loss, torch.full((8,), math.log(3)))
    play, networks = play_of(compared())
    backward(play, ("pair_classifier",), {pairing: 1.0})
    assert parts_with_gradient(networks) == {"pair_classifier"}
    play, networks = play_of(compared())
    backward(play, ("generator",), {pairing: 1.0})
    assert parts_with_gradient(networks) == {"generator"}


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_partners_are_made_once_until_the_generator_moves(pairing: Pairing) -> None:
    play, networks = play_of(compared())
    made: list[Tensor] = []
    networks.generator.register_forward_hook(lambda _, __, output: made.append(output))
    backward(play, ("pair_classifier",), {pairing: 1.0})
    backward(play, ("generator",), {pairing: 1.0})
    assert len(made) == 2
    backward(play, ("generator",), {pairing: 1.0})
    assert len(made) == 4


def test_a_comparer_needs_two_codes_and_the_term_needs_a_comparer() -> None:
    with pytest.raises(UserError, match="there must be two"):
        compared(codes=[{"kind": "continuous"}])
    stages = [{"updates": [{"networks": ["generator"], "losses": {"infogan_cr": 1.0}, "learning_rate": 1e-3}]}]
    with pytest.raises(UserError, match=r"networks\.comparer is false"):
        small_config(stages=stages)
    stages[0]["updates"][0]["losses"] = {"infogan_cr": 1.0, "variation_predictability": 1.0}
    with pytest.raises(UserError, match="not both"):
        compared(stages=stages)
