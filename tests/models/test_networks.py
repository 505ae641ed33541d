import pytest
import torch
from torch import Tensor, nn

from infogan.config.schema import CategoricalCode, NetworkSettings, NoiseSettings
from infogan.models.architectures import ARCHITECTURES, ImageShape, he_normal, with_edges
from infogan.models.batchnorm import BATCH_NORMS
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks, fuse_batchnorm
from infogan.utils.errors import UserError
from tests.helpers import DISCRIMINATOR, GENERATOR

LAYOUT = CodeLayout(NoiseSettings(size=6), (CategoricalCode(name="c", size=4),))


SMALL = ImageShape(1, 8)


def networks(shape: ImageShape = SMALL, *, kind: str = "infogan", seed: int = 0, **settings: object) -> Networks:
    made = NetworkSettings.model_validate({"width": 4, **settings})
    return build_networks(made, LAYOUT, shape, kind=kind, seed=seed)


def latents(count: int = 5) -> Tensor:
    noise = LAYOUT.sample_noise(count, torch.Generator().manual_seed(0))
    return LAYOUT.latents(noise, LAYOUT.sample_codes(count, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("architecture", ["mlp", "conv", "post"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 9, 13, 28, 31, 32, 37, 64, 100, 128])
def test_every_size_gives_images_logits_and_posteriors(architecture: str, channels: int, size: int) -> None:
    made = networks(ImageShape(channels, size), architecture=architecture)
    images = made.generator(latents(2))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    features = made.discriminator.trunk(images)
    assert made.discriminator.score(features).shape == (2,)
    assert made.posterior(images).shape == (2, 4)


def test_all_sizes_from_8_to_128_are_drawn_by_the_default_architecture() -> None:
    for size in range(8, 129):
        made = networks(ImageShape(1, size), width=1)
        assert made.discriminator.trunk(made.generator(latents(2))).shape[0] == 2


def test_the_papers_layers_for_mnist() -> None:
    made = build_networks(
        NetworkSettings(architecture="paper", recognizer="shared"), LAYOUT, ImageShape(1, 28), kind="infogan", seed=0
    )
    shapes = {name: tuple(p.shape) for name, p in made.named_parameters() if p.dim() > 1}
    assert list(shapes.values()) == [
        (1024, 10), (6272, 1024), (128, 64, 4, 4), (64, 1, 4, 4),
        (64, 1, 4, 4), (128, 64, 4, 4), (1024, 6272), (1, 1024),
        (128, 1024), (4, 128),
    ]  # fmt: skip
    assert made.generator(latents(2)).shape == (2, 1, 28, 28)


def test_edges_are_repeated_alike_where_networks_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.arange(12.0).reshape(1, 1, 3, 4)
    ways = [(1, 1), (0, 2), (2, 0)]
    eager = [with_edges(images, *way) for way in ways]
    monkeypatch.setattr("torch.compiler.is_dynamo_compiling", lambda: True)
    assert all(torch.equal(with_edges(images, *way), known) for way, known in zip(ways, eager, strict=True))
    assert eager[0][0, 0, 0].tolist() == [0, 0, 1, 2, 3, 3]
    assert eager[1][0, 0, -1].tolist() == [8, 9, 10, 11, 11, 11]


def test_the_papers_architecture_refuses_sizes_it_cannot_halve_twice() -> None:
    with pytest.raises(UserError, match="multiple of 4, not 30"):
        networks(ImageShape(1, 30), architecture="paper")


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_initialisation_is_a_function_of_the_seed_and_leaves_the_global_state_alone(architecture: str) -> None:
    before = torch.random.get_rng_state()
    a, b, c = (networks(architecture=architecture, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_he_initialisation_has_the_variance_of_the_paper() -> None:
    made = networks(ImageShape(1, 32), width=64)
    conv = next(m for m in made.discriminator.trunk.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 64)
    paper = networks(ImageShape(1, 32), width=64, architecture="paper").generator
    up = next(m for m in paper.modules() if isinstance(m, nn.ConvTranspose2d))
    he_normal(up)
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert up.weight.std().item() == pytest.approx((2 / (up.in_channels * 4)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("channels", [1, 3])
def test_sub_pixels_begin_alike(channels: int) -> None:
    drawn = networks(ImageShape(channels, 16)).generator(latents())
    blocks = drawn.reshape(len(drawn), channels, 8, 2, 8, 2)
    assert torch.equal(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks))
    assert drawn.std() > 0.1


def test_learners_are_the_players_and_nobody_else() -> None:
    made = networks(recognizer="separate")
    made.set_trainable(DISCRIMINATOR)
    assert {name.split(".")[0] for name, p in made.named_parameters() if p.requires_grad} == {"discriminator"}
    made.set_trainable(("generator", "recognizer"))
    assert {name.split(".")[0] for name, p in made.named_parameters() if p.requires_grad} == {"generator", "recognizer"}
    counted = sum(p.numel() for p in made.parameters_of(("generator", "discriminator", "recognizer")))
    assert counted == sum(p.numel() for p in made.parameters())


def test_a_frozen_players_batch_norm_does_not_move() -> None:
    made = networks(architecture="mlp").train()
    norm = next(m for m in made.generator.modules() if isinstance(m, nn.BatchNorm1d))
    assert norm.running_mean is not None
    made.set_trainable(DISCRIMINATOR)
    before = norm.running_mean.clone()
    made.generator(latents())
    assert torch.equal(norm.running_mean, before)
    made.set_trainable(GENERATOR)
    made.generator(latents())
    assert not torch.equal(norm.running_mean, before)


def test_shared_recognizer_reads_the_discriminators_features() -> None:
    made = networks(recognizer="shared")
    images = made.generator(latents())
    before = made.posterior(images)
    with torch.no_grad():
        next(made.discriminator.trunk.parameters()).add_(1.0)
    assert not torch.allclose(made.posterior(images), before)
    assert made.recognizer is not None
    assert made.recognizer.trunk is None


def test_spectral_norm_holds_every_layer_of_the_discriminator_at_one() -> None:
    made = networks(ImageShape(1, 16), width=8, spectral_norm=True).train()
    images = made.generator(latents())
    for _ in range(100):
        made.discriminator.score(made.discriminator.trunk(images))
    layers = [m for m in made.discriminator.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert layers
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
        assert largest == pytest.approx(1, abs=1e-3)
    plain = networks(ImageShape(1, 16), width=8)
    weight = next(m for m in plain.discriminator.modules() if isinstance(m, nn.Conv2d)).weight
    assert torch.linalg.matrix_norm(weight.flatten(1), ord=2).item() > 1.1


def test_a_conditional_discriminator_adds_the_projection_of_the_label() -> None:
    made = networks(kind="cgan")
    assert made.recognizer is None
    features = torch.randn(3, made.discriminator.head.in_features)
    label = torch.eye(4)[[0, 3, 3]]
    assert made.discriminator.embedding is not None
    embedded = made.discriminator.embedding.weight.T[[0, 3, 3]]
    expected = made.discriminator.score(features) + (features * embedded).sum(1)
    torch.testing.assert_close(made.discriminator.score(features, label), expected)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_batch_of_one_is_judged_and_read(architecture: str) -> None:
    made = networks(architecture=architecture).eval()
    image = made.generator(latents(1))
    assert made.discriminator.score(made.discriminator.trunk(image)).shape == (1,)
    assert made.posterior(image).shape == (1, 4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("recognizer", "normed"), [("shared", False), ("separate", False), ("shared", True)])
def test_folded_networks_say_the_same_without_batch_norm(architecture: str, recognizer: str, normed: bool) -> None:
    made = networks(
        ImageShape(1, 16), architecture=architecture, recognizer=recognizer, encoder=True, spectral_norm=normed
    )
    random = torch.Generator().manual_seed(3)
    for module in made.modules():
        if isinstance(module, BATCH_NORMS):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(torch.randn(module.num_features, generator=random))
            module.running_var.copy_(torch.rand(module.num_features, generator=random) + 0.5)
            nn.init.uniform_(module.weight, 0.5, 2.0, generator=random)
            nn.init.uniform_(module.bias, -1.0, 1.0, generator=random)
    made.eval()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    fast = fuse_batchnorm(made)
    left = [module for module in fast.modules() if isinstance(module, BATCH_NORMS)]
    assert len(left) == (2 if normed and architecture == "paper" else 0)  # of layers under spectral norm
    with torch.no_grad():
        images = made.generate(latents())
        torch.testing.assert_close(fast.generate(latents()), images, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fast.posterior(images), made.posterior(images), rtol=1e-4, atol=1e-4)
        features = made.discriminator.features(images)
        torch.testing.assert_close(
            fast.discriminator.score(fast.discriminator.features(images)),
            made.discriminator.score(features),
            rtol=1e-4,
            atol=1e-4,
        )
    after = made.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
