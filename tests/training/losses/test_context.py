"""What the networks compute in a step: each output once, with gradients only to what is trained."""

import copy
from typing import Any

import pytest
import torch

from infogan.config.load import build
from infogan.config.schema import Config
from infogan.training.losses import LOSSES
from tests.helpers import DISCRIMINATOR, GENERATOR, begin_update, make_context, small_config
from tests.training.losses import backward, parts_with_gradient

ADVERSARIAL = {"adversarial": 1.0}
CODES: list[dict[str, Any]] = [{"kind": "continuous"}, {"kind": "categorical", "size": 2}]  # the category comes last


def with_encoder(**sections: Any) -> Config:
    settings = {"codes": CODES, "networks": {"width": 4, "encoder_width": 4}, **sections}
    return small_config(preset="robust", **settings)


# Passes through the networks.


def test_fakes_are_generated_again_only_after_the_generator_changed() -> None:
    context, networks = make_context(small_config())
    calls: list[int] = []
    networks.generator.register_forward_hook(lambda *_: calls.append(1))
    backward(context, DISCRIMINATOR, ADVERSARIAL)
    backward(context, GENERATOR, ADVERSARIAL)
    assert len(calls) == 1
    backward(context, ("generator", "recognizer"), {"information": 1.0})
    assert len(calls) == 2


def test_discriminator_sees_reals_and_fakes_in_one_pass() -> None:
    context, networks = make_context(small_config())
    batches: list[int] = []
    networks.discriminator.trunk.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    backward(context, DISCRIMINATOR, ADVERSARIAL)
    assert batches == [16]
    backward(context, GENERATOR, ADVERSARIAL)
    assert batches == [16, 8]


def test_discriminator_sees_reals_and_fakes_through_the_same_augmentations() -> None:
    plain, networks = make_context(small_config())
    augmented, _ = make_context(small_config("objective.augment.colour=0.9"))
    inputs: list[torch.Tensor] = []
    augmented.networks.discriminator.trunk.register_forward_hook(lambda _, seen, __: inputs.append(seen[0].detach()))
    networks.discriminator.trunk.register_forward_hook(lambda _, seen, __: inputs.append(seen[0].detach()))
    for context in (plain, augmented):
        backward(context, DISCRIMINATOR, ADVERSARIAL)
        backward(context, GENERATOR, ADVERSARIAL)
    (reals, fakes), (augmented_reals, augmented_fakes) = (both.chunk(2) for both in (inputs[0], inputs[2]))
    assert torch.equal(reals, plain.reals)
    assert not torch.equal(augmented_reals, augmented.reals)
    assert not torch.equal(augmented_fakes, fakes)
    # The generator learns through them, and its images stay as they are.
    assert "generator" in parts_with_gradient(augmented.networks)
    assert torch.equal(augmented.fakes(("generator",)), plain.fakes(("generator",)))


@pytest.mark.parametrize("preset", ["plain", "paper"])
def test_one_pass_equals_two_passes(preset: str) -> None:
    context, networks = make_context(small_config(preset=preset))
    separate = copy.deepcopy(networks).discriminator  # with running statistics of its own
    forward = begin_update(context, DISCRIMINATOR, ADVERSARIAL)
    both = (forward.real_logits, forward.fake_logits)
    torch.testing.assert_close(
        both, tuple(separate.score(separate.features(images)) for images in (context.reals, forward.fakes))
    )
    for (name, buffer), expected in zip(networks.discriminator.named_buffers(), separate.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, msg=name)
    assert any("running_mean" in name for name, _ in networks.discriminator.named_buffers()) == (preset == "paper")


def test_generator_graph_survives_discriminator_step() -> None:
    # Public implementations fail here on current PyTorch: the discriminator's optimizer changes weights in place.
    context, networks = make_context(small_config())
    optimizer = torch.optim.Adam(networks.parameters_of(DISCRIMINATOR), lr=0.1)
    backward(context, DISCRIMINATOR, ADVERSARIAL)
    optimizer.step()
    backward(context, ("generator", "recognizer"), {"adversarial": 1.0, "information": 1.0})
    assert "generator" in parts_with_gradient(networks)


def test_encoder_is_skipped_if_neither_it_nor_the_generator_is_trained() -> None:
    context, networks = make_context(with_encoder(), 16)
    assert networks.encoder is not None
    calls: list[int] = []
    networks.encoder.register_forward_hook(lambda *_: calls.append(1))
    forward = begin_update(context, ("discriminator", "recognizer"), {"information": 1.0})
    torch.autograd.backward(LOSSES["information"].compute(forward).mean())
    assert set(forward.log_likelihoods) == {"knob1"}
    assert not calls
    assert "recognizer" in parts_with_gradient(networks)


# Conditions of the discriminator.


def test_cgan_discriminator_is_conditioned_on_labels() -> None:
    label = {"kind": "categorical", "name": "label", "size": 2}
    config = build({**small_config(objective={"kind": "cgan"}).model_dump(), "codes": [label]})
    context, networks = make_context(config)
    forward = begin_update(context, DISCRIMINATOR, ADVERSARIAL)
    logits = (forward.real_logits.clone(), forward.fake_logits.clone())
    mislabelled, _ = make_context(config)
    mislabelled.codes = {"label": 1 - context.codes["label"]}
    other = begin_update(mislabelled, DISCRIMINATOR, ADVERSARIAL)
    assert not torch.allclose(logits[0], other.real_logits)
    assert not torch.allclose(logits[1], other.fake_logits)
    assert networks.recognizer is None


def test_discriminator_is_conditioned_on_codes_of_fakes_and_predictions_for_reals() -> None:
    context, networks = make_context(with_encoder(), 16)
    discriminator, encoder = networks.discriminator, networks.encoder
    assert encoder is not None
    assert discriminator.embedding is not None
    forward = begin_update(context, ("discriminator", "recognizer"), ADVERSARIAL)
    logits = torch.stack([forward.real_logits, forward.fake_logits])
    predictions = encoder(context.reals).argmax(dim=1)
    assert len(predictions.unique()) == 2, "only one category is predicted: nothing would be tested"
    expected = []
    for features, values in (
        (forward.real_features, predictions),
        (forward.fake_features, context.codes["category"]),
    ):
        embedded = discriminator.embedding.weight.T[values]  # Miyato & Koyama 2018, equation 4
        expected.append(discriminator.head(features).squeeze(1) + (features * embedded).sum(dim=1))
    torch.testing.assert_close(logits, torch.stack(expected))
    LOSSES["adversarial"].compute(forward).mean().backward()
    assert parts_with_gradient(networks) == {"discriminator", "trunk"}


@pytest.mark.parametrize("sections", [{"networks": {"conditional": False}}, {"objective": {"kind": "gan"}}])
def test_unconditional_discriminator_has_no_condition(sections: dict[str, Any]) -> None:
    context, networks = make_context(small_config(preset="robust", **sections), 16)
    assert networks.discriminator.embedding is None
    assert context.real_condition is None
    assert context.fake_condition is None
