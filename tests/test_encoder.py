"""The encoder: how it reads, who teaches it what, how its classes begin, and that a run with one resumes."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from infogan import recipes
from infogan.beginnings import BEGINNINGS
from infogan.config import Config, Player, build
from infogan.data.batches import to_network
from infogan.errors import UserError
from infogan.model import InfoGAN
from infogan.networks import Encoder, ImageShape, Networks
from infogan.runs import RunFolder
from infogan.terms import TERMS
from infogan.training import Interrupted, Watcher, train, weight_at
from tests.helpers import GENERATOR, image_set, pictures, play_of, small_config

ENCODER: tuple[Player, ...] = ("encoder",)
CODES: list[dict[str, Any]] = [{"kind": "continuous"}, {"kind": "categorical", "size": 2}]  # not the first in order


def robust(*assignments: str, **sections: Any) -> Config:
    given = {"codes": CODES, "networks": {"width": 4, "encoder_width": 4}, "train": {"steps": 9}, **sections}
    return small_config("data.source=bars", *assignments, preset="robust", **given)


def moved(networks: Networks) -> set[str]:
    """The players that have a gradient."""
    return {name.split(".")[0] for name, p in networks.named_parameters() if p.grad is not None and p.grad.any()}


# Reading.


def test_the_posterior_holds_the_encoders_code_in_its_place() -> None:
    play, networks = play_of(robust(), 16)
    networks.eval()
    assert networks.encoder is not None
    read = play.layout.posterior_slices
    assert read["category"] == slice(2, 4)
    posterior = networks.posterior(play.reals)
    torch.testing.assert_close(posterior[:, read["category"]], networks.encoder(play.reals))
    torch.testing.assert_close(
        posterior[:, read["knob1"]], networks.posterior_of(networks.recognizer_features(play.reals))
    )


def test_logits_are_cosines_over_the_temperature() -> None:
    encoder = Encoder(ImageShape(1, 28), 4, 3)
    features = functional.normalize(torch.randn(5, Encoder.FEATURES))
    expected = [
        [float(functional.cosine_similarity(f, d, dim=0)) / 0.1 for d in encoder.directions.detach()] for f in features
    ]
    torch.testing.assert_close(encoder.logits(features), torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "side"), [(8, 28), (15, 28), (16, 16), (28, 28), (33, 34), (128, 128)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_is_read_and_small_images_are_enlarged(size: int, side: int, channels: int) -> None:
    encoder = Encoder(ImageShape(channels, size), 2, 3)
    images = torch.rand(2, channels, size, size)
    assert encoder.enlarged(images).shape == (2, channels, side, side)
    assert torch.equal(encoder.enlarged(encoder.enlarged(images)), encoder.enlarged(images))
    assert encoder(images).shape == (2, 3)


def test_a_frozen_encoder_goes_by_the_statistics_of_reals() -> None:
    play, networks = play_of(robust(), 16)
    assert networks.encoder is not None
    networks.set_learners(GENERATOR)
    alone = networks.encoder(play.reals[:1])
    torch.testing.assert_close(networks.encoder(play.reals)[:1], alone)  # no statistics of the batch
    networks.set_learners(ENCODER)
    assert not torch.allclose(networks.encoder(play.reals)[:1], alone)


def test_unrecorded_passes_leave_the_statistics_alone() -> None:
    encoder = Encoder(ImageShape(1, 16), 4, 3)
    images = torch.rand(8, 1, 16, 16)
    before = [buffer.clone() for buffer in encoder.buffers()]
    with encoder.unrecorded():
        encoder(images)
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.buffers(), strict=True))
    encoder(images)
    assert not all(torch.equal(a, b) for a, b in zip(before, encoder.buffers(), strict=True))


# Learning.


@pytest.mark.parametrize("name", ["contrast", "smoothness", "consistency", "confidence", "balance"])
def test_what_is_learned_from_reals_reaches_the_encoder_alone(name: str) -> None:
    play, networks = play_of(robust(), 16)
    seen = play.begin(("encoder",), {name: 1.0})
    values = TERMS[name].compute(seen)
    assert values.shape == (16,)
    torch.autograd.backward(values.mean())
    assert moved(networks) == {"encoder"}


def test_in_the_game_the_generator_pleases_the_encoder_which_does_not_move() -> None:
    play, networks = play_of(robust(), 16)
    seen = play.begin(("generator",), {"information": 1.0})
    torch.autograd.backward(TERMS["information"].compute(seen).mean())
    assert moved(networks) == {"generator"}
    assert set(seen.log_likelihoods) == {"knob1", "category"}


def test_the_encoder_is_not_run_where_nobody_could_learn_from_it() -> None:
    play, networks = play_of(robust(), 16)
    assert networks.encoder is not None
    calls = []
    networks.encoder.register_forward_hook(lambda *_: calls.append(1))
    seen = play.begin(("discriminator", "recognizer"), {"information": 1.0})
    torch.autograd.backward(TERMS["information"].compute(seen).mean())
    assert set(seen.log_likelihoods) == {"knob1"}
    assert not calls
    assert "recognizer" in moved(networks)


def test_smoothness_is_nothing_for_a_posterior_that_never_changes_and_something_for_one_that_does() -> None:
    play, networks = play_of(robust(), 16)
    assert networks.encoder is not None
    with torch.no_grad():
        networks.encoder.directions.copy_(torch.ones(2, Encoder.FEATURES))  # both values the same direction
    flat = TERMS["smoothness"].compute(play.begin(("encoder",), {"smoothness": 1.0}))
    torch.testing.assert_close(flat, torch.zeros(16), atol=1e-6, rtol=0)
    with torch.no_grad():
        networks.encoder.directions.normal_(generator=torch.Generator().manual_seed(0))
    values = TERMS["smoothness"].compute(play.begin(("encoder",), {"smoothness": 1.0})).detach()
    assert float(values.min()) >= 0
    assert float(values.mean()) > 1e-3


def test_the_running_marginal_follows_the_readings() -> None:
    play, networks = play_of(robust(), 16)
    assert networks.encoder is not None
    for _ in range(60):
        seen = play.begin(("encoder",), {"balance": 1.0})
        values = TERMS["balance"].compute(seen)
    mean = seen.target.mean(dim=0)
    torch.testing.assert_close(networks.encoder.marginal, mean, atol=1e-4, rtol=0)
    assert not torch.allclose(mean, torch.full((2,), 0.5), atol=1e-3)
    expected = (seen.target * networks.encoder.marginal.log()).sum(dim=1)
    torch.testing.assert_close(values.detach(), expected, atol=1e-5, rtol=1e-5)


def test_a_weight_of_two_numbers_goes_straight_from_one_to_the_other() -> None:
    assert [weight_at((2.0, 1.0), p) for p in (0.0, 0.25, 0.99)] == pytest.approx([2, 1.75, 1.01])
    assert weight_at(0.3, 0.7) == 0.3


# Beginning.


def test_classes_begin_where_the_clusters_of_the_features_are() -> None:
    encoder = Encoder(ImageShape(1, 8), 8, 2)
    pixels = torch.from_numpy(pictures(200))
    BEGINNINGS["cluster"](encoder, pixels, 5)
    encoder.eval()
    with torch.no_grad():
        found = encoder(to_network(pixels)).argmax(dim=1).numpy()
    shares = np.bincount(found, minlength=2) / 200
    assert shares.min() > 0.05
    assert encoder.directions.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert float(encoder.marginal.sum()) == pytest.approx(1, abs=1e-6)
    # Three quarters of the distance of images to their tenth neighbours, at the size they are read at.
    images = encoder.enlarged(to_network(pixels)).flatten(1)
    distances = torch.cdist(images, images).sort(dim=1).values[:, 10]
    assert float(encoder.radius) == pytest.approx(0.75 * float(distances.mean()), rel=1e-4)


def test_a_learned_prior_is_the_encoders_frequencies_smoothed() -> None:
    encoder = Encoder(ImageShape(1, 8), 4, 3)
    pixels = torch.from_numpy(pictures(100))
    BEGINNINGS["prior"](encoder, pixels, 5)
    encoder.eval()
    with torch.no_grad():
        counts = torch.bincount(encoder(to_network(pixels)).argmax(dim=1), minlength=3)
    torch.testing.assert_close(encoder.prior, 0.95 * counts / 100 + 0.05 / 3)


def test_codes_are_drawn_from_the_prior_that_was_learned_and_saved(tmp_path: Path) -> None:
    config = robust()
    run = RunFolder.at(tmp_path / "run")
    run.begin(config, "x")
    model = train(config, image_set(), run)
    assert model.networks.encoder is not None
    model.networks.encoder.prior.copy_(torch.tensor([0.2, 0.8]))
    model.save(tmp_path / "model")
    again = InfoGAN.load(tmp_path / "model")
    drawn = again.sample(2000).codes["category"]
    assert 0.77 < drawn.mean() < 0.83
    assert again.layout.entropy("category") == pytest.approx(-0.2 * math.log(0.2) - 0.8 * math.log(0.8), abs=1e-6)


def stopping_after(steps: int) -> Watcher:
    asked = itertools.count(1)
    return Watcher(interrupted=lambda: next(asked) == steps)


@pytest.mark.parametrize("stop", range(1, 9))
def test_a_run_with_an_encoder_resumes_bit_for_bit_at_every_step(tmp_path: Path, stop: int) -> None:
    # Stages begin after steps 2 and 4.
    config = robust(train={"batch_size": 16, "save_every": 100, "steps": 9, "picture_every": 100})
    runs = []
    for name in ("whole", "cut"):
        run = RunFolder.at(tmp_path / name)
        run.begin(config, "x")
        if name == "cut":
            with pytest.raises(Interrupted):
                train(config, image_set(), run, watch=stopping_after(stop))
        train(config, image_set(), run)
        runs.append(run)
    assert (runs[0].model / "model.safetensors").read_bytes() == (runs[1].model / "model.safetensors").read_bytes()
    a, b = (run.load_checkpoint()[0] for run in runs)
    assert a is not None
    assert b is not None
    assert all(torch.equal(tensor, b.tensors[name]) for name, tensor in a.tensors.items())


# Asking for one.


def test_invariances_are_named_with_or_without_a_strength() -> None:
    assert recipes.invariances("shift, rotate=30") == {"shift": 0.1, "rotate": 30.0}
    assert recipes.invariances("none") == {}
    with pytest.raises(UserError, match="'rotate'"):
        recipes.invariances("rotat")
    with pytest.raises(UserError, match="number"):
        recipes.invariances("rotate=much")


def test_nothing_is_mirrored_or_turned_on_a_guess() -> None:
    guessed = build(recipes.resolve("robust", [{"data": {"source": "some/folder"}}])).invariance.strengths
    assert guessed
    assert not {"flip", "rotate"} & guessed.keys()
    assert "flip" not in recipes.INVARIANCES["mnist"]


def test_without_a_category_there_is_no_encoder() -> None:
    config = build(recipes.resolve("robust", [{"codes": [{"kind": "continuous"}]}]))
    assert not config.networks.encoder
    assert [stage.name for stage in config.stages] == ["game"]
    with pytest.raises(UserError, match="invariance"):
        robust(invariance={name: None for name in recipes.ANY_IMAGES})
