"""The encoder: how it reads, who teaches it what, how its classes begin, and that a run with one resumes."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infogan.api import resolve, train_run
from infogan.config import presets
from infogan.config.load import build
from infogan.config.schema import Config, NetworkName
from infogan.data.batches import stream_seed, to_network
from infogan.data.dataset import ImageSet
from infogan.data.labels import read_labels
from infogan.models.architectures import ImageShape
from infogan.models.encoder import Encoder
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks
from infogan.training.callbacks import Interrupted
from infogan.training.checkpoint import load_latest_checkpoint
from infogan.training.loop import train
from infogan.training.losses import LOSSES
from infogan.training.optim import loss_weight
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import DIFFUSE_LR_SCALE, STAGE_HOOKS, VAT_RADIUS
from infogan.training.state import INITIAL_STREAM, EncoderState
from infogan.utils.errors import UserError
from tests.helpers import GENERATOR, Hooks, bar_images, begin_update, image_set, make_context, small_config

ENCODER: tuple[NetworkName, ...] = ("encoder",)
CODES: list[dict[str, Any]] = [{"kind": "continuous"}, {"kind": "categorical", "size": 2}]  # not the first in order


def robust(*assignments: str, **sections: Any) -> Config:
    given = {"codes": CODES, "networks": {"width": 4, "encoder_width": 4}, "train": {"steps": 9}, **sections}
    return small_config("data.source=bars", *assignments, preset="robust", **given)


def moved(networks: Networks) -> set[str]:
    """The players that have a gradient."""
    return {name.split(".")[0] for name, p in networks.named_parameters() if p.grad is not None and p.grad.any()}


# Learning.


@pytest.mark.parametrize("name", ["nt_xent", "vat", "uda", "conditional_entropy", "marginal_kl"])
def test_what_is_learned_from_reals_reaches_the_encoder_alone(name: str) -> None:
    play, networks = make_context(robust(), 16)
    seen = begin_update(play, ("encoder",), {name: 1.0})
    values = LOSSES[name].compute(seen)
    assert values.shape == (16,)
    torch.autograd.backward(values.mean())
    assert moved(networks) == {"encoder"}


def test_in_the_game_the_generator_pleases_the_encoder_which_does_not_move() -> None:
    play, networks = make_context(robust(), 16)
    seen = begin_update(play, ("generator",), {"information": 1.0})
    torch.autograd.backward(LOSSES["information"].compute(seen).mean())
    assert moved(networks) == {"generator"}
    assert set(seen.log_likelihoods) == {"knob1", "category"}


def test_the_discriminator_is_told_the_code_of_fakes_and_the_encoders_reading_of_reals() -> None:
    play, networks = make_context(robust(), 16)
    discriminator, encoder = networks.discriminator, networks.encoder
    assert encoder is not None
    seen = begin_update(play, ("discriminator", "recognizer"), {"adversarial": 1.0})
    judged = torch.stack([seen.real_logits, seen.fake_logits])
    read = encoder(play.reals).argmax(dim=1)
    assert len(read.unique()) == 2, "only one value is read: nothing would be tested"
    by_hand = []
    for features, values in ((seen.real_features, read), (seen.fake_features, play.codes["category"])):
        assert discriminator.embedding is not None
        embedded = discriminator.embedding.weight.T[values]  # Miyato & Koyama 2018, equation 4
        by_hand.append(discriminator.head(features).squeeze(1) + (features * embedded).sum(dim=1))
    torch.testing.assert_close(judged, torch.stack(by_hand))
    LOSSES["adversarial"].compute(seen).mean().backward()
    assert moved(networks) == {"discriminator"}


@pytest.mark.parametrize("sections", [{"networks": {"conditional": False}}, {"objective": {"kind": "gan"}}])
def test_a_discriminator_that_is_told_nothing_asks_nobody(sections: dict[str, Any]) -> None:
    play, networks = make_context(small_config(preset="robust", **sections), 16)
    assert networks.discriminator.embedding is None
    assert play.real_condition is None
    assert play.fake_condition is None


def test_the_encoder_is_not_run_where_nobody_could_learn_from_it() -> None:
    play, networks = make_context(robust(), 16)
    assert networks.encoder is not None
    calls = []
    networks.encoder.register_forward_hook(lambda *_: calls.append(1))
    seen = begin_update(play, ("discriminator", "recognizer"), {"information": 1.0})
    torch.autograd.backward(LOSSES["information"].compute(seen).mean())
    assert set(seen.log_likelihoods) == {"knob1"}
    assert not calls
    assert "recognizer" in moved(networks)


def test_smoothness_is_nothing_for_a_posterior_that_never_changes_and_something_for_one_that_does() -> None:
    play, networks = make_context(robust(), 16)
    assert networks.encoder is not None
    with torch.no_grad():
        networks.encoder.directions.copy_(torch.ones(2, Encoder.FEATURES))  # both values the same direction
    flat = LOSSES["vat"].compute(begin_update(play, ("encoder",), {"vat": 1.0}))
    torch.testing.assert_close(flat, torch.zeros(16), atol=1e-6, rtol=0)
    with torch.no_grad():
        networks.encoder.directions.normal_(generator=torch.Generator().manual_seed(0))
    values = LOSSES["vat"].compute(begin_update(play, ("encoder",), {"vat": 1.0})).detach()
    assert float(values.min()) >= 0
    assert float(values.mean()) > 1e-3


def test_the_running_marginal_follows_the_readings() -> None:
    play, networks = make_context(robust(), 16)
    assert networks.encoder is not None
    for _ in range(60):
        seen = begin_update(play, ("encoder",), {"marginal_kl": 1.0})
        values = LOSSES["marginal_kl"].compute(seen)
    mean = seen.target.mean(dim=0)
    torch.testing.assert_close(play.encoder_state.marginal, mean, atol=1e-4, rtol=0)
    assert not torch.allclose(mean, torch.full((2,), 0.5), atol=1e-3)
    expected = (seen.target * (play.encoder_state.marginal * 2).log()).sum(dim=1)
    torch.testing.assert_close(values.detach(), expected, atol=1e-5, rtol=1e-5)


def test_a_weight_of_two_numbers_goes_straight_from_one_to_the_other() -> None:
    assert [loss_weight((2.0, 1.0), p) for p in (0.0, 0.25, 0.99)] == pytest.approx([2, 1.75, 1.01])
    assert loss_weight(0.3, 0.7) == 0.3


# Beginning.


def test_classes_begin_where_the_clusters_of_the_features_are() -> None:
    encoder = Encoder(ImageShape(1, 8), 8, 2)
    state = EncoderState(2)
    pixels = torch.from_numpy(bar_images(200))
    STAGE_HOOKS["cluster"](encoder, state, pixels, 5, None)
    encoder.eval()
    with torch.no_grad():
        found = encoder(to_network(pixels)).argmax(dim=1).numpy()
    shares = np.bincount(found, minlength=2) / 200
    assert shares.min() > 0.05
    assert encoder.directions.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert float(state.marginal.sum()) == pytest.approx(1, abs=1e-6)
    # This share of the distance of images to their tenth neighbours, at the size they are read at.
    images = encoder.resize(to_network(pixels)).flatten(1)
    distances = torch.cdist(images, images).sort(dim=1).values[:, 10]
    assert float(state.vat_radius) == pytest.approx(VAT_RADIUS * float(distances.mean()), rel=1e-4)


def noise(count: int) -> ImageSet:
    """Images without kinds."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    return ImageSet(pixels, [str(i) for i in range(count)], "noise", None, ())


def test_modes_are_held_to_their_sizes_unless_these_are_about_equal() -> None:
    encoder = Encoder(ImageShape(1, 8), 8, 2)
    state = EncoderState(2)
    random = np.random.default_rng(0)
    kinds = random.integers(0, 256, (2, 1, 8, 8))

    def begin(*counts: int) -> list[float]:
        pixels = np.repeat(kinds, counts, axis=0) + random.integers(-9, 10, (sum(counts), 1, 8, 8))
        STAGE_HOOKS["cluster"](encoder, state, torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)), 5, None)
        assert float(state.lr_scale) == 1
        return sorted(encoder.prior.tolist())

    assert begin(150, 50) == pytest.approx([0.95 / 4 + 0.025, 0.95 * 3 / 4 + 0.025])
    assert begin(120, 80) == [0.5, 0.5]


def test_from_clusters_that_are_not_compact_the_encoder_goes_on_with_caution() -> None:
    encoder = Encoder(ImageShape(1, 8), 8, 4)
    state = EncoderState(4)
    STAGE_HOOKS["cluster"](encoder, state, torch.from_numpy(noise(300).images), 5, None)
    assert float(state.lr_scale) == pytest.approx(DIFFUSE_LR_SCALE)
    assert encoder.prior.tolist() == [0.25] * 4


@pytest.mark.parametrize(("before", "after"), [(1.0, 1.0), (DIFFUSE_LR_SCALE, 0.0)])
def test_an_encoder_whose_clusters_were_not_compact_is_not_taught_by_itself(before: float, after: float) -> None:
    encoder = Encoder(ImageShape(1, 8), 4, 2)
    state = EncoderState(2)
    state.lr_scale.fill_(before)
    STAGE_HOOKS["freeze_if_diffuse"](encoder, state, torch.from_numpy(bar_images(8)), 0, None)
    assert float(state.lr_scale) == after


def test_the_pace_is_that_of_the_encoders_learning_rate_alone(tmp_path: Path) -> None:
    code = {"kind": "categorical", "size": 4}
    config = robust(codes=[code], train={"steps": 1, "ema_half_life": 0.0, "batch_size": 16})
    config = config.model_copy(update={"stages": config.stages[1:2]})
    layout = CodeLayout(config.noise, config.codes)
    before = build_networks(
        config.networks, layout, ImageShape(1, 8), kind="infogan", seed=stream_seed(config.train.seed, INITIAL_STREAM)
    )
    after = train(config, noise(300), RunFolder.at(tmp_path / "run")).networks
    assert after.lr_scale(ENCODER) == pytest.approx(DIFFUSE_LR_SCALE)
    assert after.lr_scale(GENERATOR) == 1
    assert before.encoder is not None
    assert after.encoder is not None
    moves = [
        (new - old).detach().abs().max().item()
        for old, new in zip(before.encoder.trunk.parameters(), after.encoder.trunk.parameters(), strict=True)
    ]
    # The first step of Adam is as long as its learning rate, whatever the gradient.
    assert max(moves) == pytest.approx(DIFFUSE_LR_SCALE * config.stages[0].updates[0].learning_rate, rel=1e-3)


def test_an_encoder_that_rests_is_left_as_it_is(tmp_path: Path) -> None:
    states = []
    for last in (2, 3):
        config = robust(train={"steps": last - 1, "ema_half_life": 0.0, "batch_size": 16})
        config = config.model_copy(update={"stages": config.stages[1:last]})
        assert config.stage_at(last - 2)[0] == last - 2
        encoder = train(config, noise(300), RunFolder.at(tmp_path / str(last))).networks.encoder
        assert encoder is not None
        states.append(encoder.state_dict())
    classes, refined = states
    assert float(classes.pop("pace")) == pytest.approx(DIFFUSE_LR_SCALE)
    assert float(refined.pop("pace")) == 0
    assert all(torch.equal(tensor, refined[name]) for name, tensor in classes.items())


def test_a_learned_prior_is_the_encoders_frequencies_smoothed() -> None:
    encoder = Encoder(ImageShape(1, 8), 4, 3)
    state = EncoderState(3)
    pixels = torch.from_numpy(bar_images(100))
    STAGE_HOOKS["learn_prior"](encoder, state, pixels, 5, None)
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


def stopping_after(steps: int) -> Hooks:
    asked = itertools.count(1)
    return Hooks(stop=lambda: next(asked) == steps)


@pytest.mark.parametrize("stop", range(1, 9))
def test_a_run_with_an_encoder_resumes_bit_for_bit_at_every_step(tmp_path: Path, stop: int) -> None:
    # Stages begin after steps 2 and 4.
    config = robust(train={"batch_size": 16, "save_every": 100, "steps": 9, "sample_every": 100})
    runs = []
    for name in ("whole", "cut"):
        run = RunFolder.at(tmp_path / name)
        run.begin(config, "x")
        if name == "cut":
            with pytest.raises(Interrupted):
                train(config, image_set(), run, callbacks=[stopping_after(stop)])
        train(config, image_set(), run)
        runs.append(run)
    assert (runs[0].model / "model.safetensors").read_bytes() == (runs[1].model / "model.safetensors").read_bytes()
    a, b = (load_latest_checkpoint(run.checkpoints)[0] for run in runs)
    assert a is not None
    assert b is not None
    assert all(torch.equal(tensor, b.tensors[name]) for name, tensor in a.tensors.items())


# Asking for one.


def test_invariances_are_named_with_or_without_a_strength() -> None:
    assert resolve.parse_augmentations("shift, rotate=30") == {"shift": 0.1, "rotate": 30.0}
    assert resolve.parse_augmentations("none") == {}
    with pytest.raises(UserError, match="'rotate'"):
        resolve.parse_augmentations("rotat")
    with pytest.raises(UserError, match="number"):
        resolve.parse_augmentations("rotate=much")


def test_nothing_is_mirrored_or_turned_on_a_guess() -> None:
    guessed = build(resolve.compose("robust", [{"data": {"source": "some/folder"}}])).augment.strengths
    assert guessed
    assert not {"flip", "rotate"} & guessed.keys()
    assert "flip" not in presets.AUGMENTATIONS["mnist"]


def test_without_a_category_there_is_no_encoder() -> None:
    config = build(resolve.compose("robust", [{"codes": [{"kind": "continuous"}]}]))
    assert not config.networks.encoder
    assert [stage.name for stage in config.stages] == ["gan"]
    with pytest.raises(UserError, match="augment"):
        robust(augment={name: None for name in presets.DEFAULT_AUGMENTATION})


# A few labels.


def test_a_few_labels_order_the_classes_and_are_learned(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    kinds = random.integers(0, 256, (3, 1, 8, 8))
    truth = np.arange(150) % 3
    pixels = (kinds[truth] + random.integers(-9, 10, (150, 1, 8, 8))).clip(0, 255).astype(np.uint8)
    images = ImageSet(pixels, [f"{i}.png" for i in range(150)], "kinds", None, ())
    file = tmp_path / "labels.csv"
    # The first class in the alphabet is of kind 2, the second of kind 0; of kind 1 nothing is said.
    file.write_text("image,label\n2.png,aster\n5.png,aster\n0.png,birch\n3.png,birch\n7.png,\n")
    few = read_labels(file, images)
    assert few.names == ("aster", "birch")
    assert few.indices.tolist() == [0, 2, 3, 5]
    assert few.values.tolist() == [1, 0, 1, 0]
    encoder = Encoder(ImageShape(1, 8), 8, 3)
    state = EncoderState(3)
    STAGE_HOOKS["cluster"](encoder, state, torch.from_numpy(pixels), 5, few)
    encoder.eval()
    with torch.no_grad():
        found = encoder(to_network(torch.from_numpy(pixels))).argmax(dim=1).numpy()
    assert np.array_equal(found, np.array([1, 2, 0])[truth])
    assert (state.marginal > 0.3).all()

    np.savez(tmp_path / "kinds.npz", images=pixels)
    source = {"source": str(tmp_path / "kinds.npz"), "labels": str(file)}
    given = {"codes": [{"kind": "categorical", "size": 3}], "networks": {"width": 4}, "train": {"steps": 40}}
    config = small_config(preset="robust", **given, data=source)
    assert [config.stages[i].updates[0].losses["supervised"] for i in (1, 2)] == [presets.SUPERVISED_WEIGHT] * 2
    assert all("supervised" not in update.losses for i in (0, 3) for update in config.stages[i].updates)
    plan = resolve.Plan(config, images, few_labels=few)
    model, _ = train_run.train_run(plan, RunFolder.at(tmp_path / "run"))
    names = [model.value_name("category", value) for value in range(3)]
    assert {"aster", "birch"} <= set(names)
    assert InfoGAN.load(tmp_path / "run").value_name("category", names.index("aster")) == "aster"


def test_supervision_is_the_cross_entropy_of_the_labelled_images() -> None:
    play, networks = make_context(robust(data={"labels": "some.csv"}, augment={"flip": 1.0}), 16)
    assert networks.encoder is not None
    values = torch.tensor([0, 1, 1])
    play.labelled = play.reals[:3], values
    networks.train()
    seen = begin_update(play, ("encoder",), {"supervised": 1.0})
    found = LOSSES["supervised"].compute(seen)
    with torch.no_grad(), networks.encoder.without_running_stats():
        mirrored = networks.encoder.resize(play.reals[:3]).flip(3)
        likelihoods = networks.encoder(mirrored).log_softmax(dim=1)
    torch.testing.assert_close(found.detach(), -likelihoods[range(3), values], atol=1e-4, rtol=1e-4)
    torch.autograd.backward(found.mean())
    assert moved(networks) == {"encoder"}
