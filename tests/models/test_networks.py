import pytest
import torch
from torch import Tensor, nn

from infogan.config.schema import CategoricalCode, NetworkSettings, NoiseSettings
from infogan.models.architectures import ARCHITECTURES, ImageShape, replicate_pad
from infogan.models.batchnorm import BATCH_NORMS
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks, fuse_batchnorm
from infogan.utils.errors import UserError
from tests.helpers import DISCRIMINATOR, GENERATOR

LAYOUT = CodeLayout(NoiseSettings(size=6), (CategoricalCode(name="c", size=4),))
SMALL = ImageShape(1, 8)


def build(shape: ImageShape = SMALL, *, kind: str = "infogan", seed: int = 0, **settings: object) -> Networks:
    settings_ = NetworkSettings.model_validate({"width": 4, **settings})
    return build_networks(settings_, LAYOUT, shape, kind=kind, seed=seed)


def latents(count: int = 5) -> Tensor:
    noise = LAYOUT.sample_noise(count, torch.Generator().manual_seed(0))
    return LAYOUT.latents(noise, LAYOUT.sample_codes(count, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    ("architecture", "channels", "size"),
    [("mlp", 1, 8), ("mlp", 3, 37), ("post", 3, 9), ("post", 1, 28), ("paper", 1, 28), ("paper", 3, 32)]
    + [("conv", channels, size) for channels, size in ((1, 28), (3, 8), (1, 13), (3, 31), (3, 64), (1, 100), (3, 128))],
)
def test_outputs_have_the_expected_shapes(architecture: str, channels: int, size: int) -> None:
    networks = build(ImageShape(channels, size), architecture=architecture)
    images = networks.generator(latents(2))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    features = networks.discriminator.trunk(images)
    assert networks.discriminator.score(features).shape == (2,)
    assert networks.posterior(images).shape == (2, 4)


def test_conv_supports_every_size_from_8_to_256() -> None:
    for size in [*range(8, 129), 129, 200, 255, 256]:
        networks = build(ImageShape(1, size), width=1)
        images = networks.generator(latents(2))
        assert images.shape == (2, 1, size, size)
        assert networks.discriminator.trunk(images).shape[0] == 2


def test_paper_has_the_layers_of_the_paper_for_mnist() -> None:
    networks = build_networks(
        NetworkSettings(architecture="paper", recognizer="shared"), LAYOUT, ImageShape(1, 28), kind="infogan", seed=0
    )
    shapes = {name: tuple(p.shape) for name, p in networks.named_parameters() if p.dim() > 1}
    assert list(shapes.values()) == [
        (1024, 10), (6272, 1024), (128, 64, 4, 4), (64, 1, 4, 4),
        (64, 1, 4, 4), (128, 64, 4, 4), (1024, 6272), (1, 1024),
        (128, 1024), (4, 128),
    ]  # fmt: skip
    assert networks.generator(latents(2)).shape == (2, 1, 28, 28)


def test_padding_is_the_same_when_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.arange(12.0).reshape(1, 1, 3, 4)
    paddings = [(1, 1), (0, 2), (2, 0)]
    eager = [replicate_pad(images, *padding) for padding in paddings]
    monkeypatch.setattr("torch.compiler.is_dynamo_compiling", lambda: True)
    for padding, expected in zip(paddings, eager, strict=True):
        assert torch.equal(replicate_pad(images, *padding), expected)
    assert eager[0][0, 0, 0].tolist() == [0, 0, 1, 2, 3, 3]
    assert eager[1][0, 0, -1].tolist() == [8, 9, 10, 11, 11, 11]


def test_paper_rejects_sizes_that_are_not_multiples_of_4() -> None:
    with pytest.raises(UserError, match="multiple of 4, not 30"):
        build(ImageShape(1, 30), architecture="paper")


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_weights_depend_only_on_the_seed_and_not_on_global_state(architecture: str) -> None:
    before = torch.random.get_rng_state()
    first, same, other = (build(architecture=architecture, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_he_initialisation_has_the_variance_of_the_paper() -> None:
    trunk = build(ImageShape(1, 32), width=64).discriminator.trunk
    conv = next(m for m in trunk.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 64)
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_paper_is_initialised_as_in_the_code_of_chen_et_al() -> None:
    paper = build(ImageShape(1, 32), width=64, architecture="paper").generator
    transposed = next(m for m in paper.modules() if isinstance(m, nn.ConvTranspose2d))
    assert transposed.weight.std().item() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("channels", [1, 3])
def test_sub_pixels_start_equal(channels: int) -> None:
    images = build(ImageShape(channels, 16)).generator(latents())
    blocks = images.reshape(len(images), channels, 8, 2, 8, 2)
    assert torch.equal(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks))
    assert images.std() > 0.1


def test_only_the_chosen_networks_are_trainable() -> None:
    networks = build(recognizer="separate")
    networks.set_trainable(DISCRIMINATOR)
    assert trainable(networks) == {"discriminator"}
    networks.set_trainable(("generator", "recognizer"))
    assert trainable(networks) == {"generator", "recognizer"}
    count = sum(p.numel() for p in networks.parameters_of(("generator", "discriminator", "recognizer")))
    assert count == sum(p.numel() for p in networks.parameters())


def trainable(networks: Networks) -> set[str]:
    return {name.split(".")[0] for name, p in networks.named_parameters() if p.requires_grad}


def test_batch_norm_of_a_frozen_network_keeps_its_statistics() -> None:
    networks = build(architecture="mlp").train()
    norm = next(m for m in networks.generator.modules() if isinstance(m, nn.BatchNorm1d))
    assert norm.running_mean is not None
    networks.set_trainable(DISCRIMINATOR)
    before = norm.running_mean.clone()
    networks.generator(latents())
    assert torch.equal(norm.running_mean, before)
    networks.set_trainable(GENERATOR)
    networks.generator(latents())
    assert not torch.equal(norm.running_mean, before)


def test_a_shared_recognizer_uses_the_discriminators_features() -> None:
    networks = build(recognizer="shared")
    images = networks.generator(latents())
    before = networks.posterior(images)
    with torch.no_grad():
        next(networks.discriminator.trunk.parameters()).add_(1.0)
    assert not torch.allclose(networks.posterior(images), before)
    assert networks.recognizer is not None
    assert networks.recognizer.trunk is None


def test_spectral_norm_is_1_for_every_layer_of_the_discriminator() -> None:
    networks = build(ImageShape(1, 16), width=8, spectral_norm=True).train()
    images = networks.generator(latents())
    for _ in range(100):
        networks.discriminator.score(networks.discriminator.trunk(images))
    layers = [m for m in networks.discriminator.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert layers
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
        assert norm == pytest.approx(1, abs=1e-3)
    plain = build(ImageShape(1, 16), width=8)
    weight = next(m for m in plain.discriminator.modules() if isinstance(m, nn.Conv2d)).weight
    assert torch.linalg.matrix_norm(weight.flatten(1), ord=2).item() > 1.1


def test_a_conditional_discriminator_adds_the_projection_of_the_label() -> None:
    discriminator = build(kind="cgan").discriminator
    features = torch.randn(3, discriminator.head.in_features)
    label = torch.eye(4)[[0, 3, 3]]
    assert discriminator.embedding is not None
    embedded = discriminator.embedding.weight.T[[0, 3, 3]]
    expected = discriminator.score(features) + (features * embedded).sum(1)
    torch.testing.assert_close(discriminator.score(features, label), expected)


def test_a_gan_and_a_cgan_have_no_recognizer() -> None:
    for kind in ("gan", "cgan"):
        assert not build(kind=kind).reads_codes
    assert build().reads_codes


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_batch_of_one_is_possible_in_evaluation_mode(architecture: str) -> None:
    networks = build(architecture=architecture).eval()
    image = networks.generator(latents(1))
    assert networks.discriminator.score(networks.discriminator.trunk(image)).shape == (1,)
    assert networks.posterior(image).shape == (1, 4)


@pytest.mark.parametrize(
    ("architecture", "recognizer", "spectral_norm"),
    [
        ("conv", "shared", True),
        ("conv", "separate", False),
        ("mlp", "separate", False),
        ("paper", "shared", True),
        ("paper", "separate", False),
        ("post", "shared", False),
    ],
)
def test_fused_networks_compute_the_same(architecture: str, recognizer: str, spectral_norm: bool) -> None:
    networks = build(
        ImageShape(1, 16), encoder=True, architecture=architecture, recognizer=recognizer, spectral_norm=spectral_norm
    )
    randomise_batch_norm(networks)
    networks.eval()
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    fused = fuse_batchnorm(networks)
    norms = [module for module in fused.modules() if isinstance(module, BATCH_NORMS)]
    assert len(norms) == (2 if spectral_norm and architecture == "paper" else 0)  # of layers with spectral norm
    with torch.no_grad():
        images = networks.generate(latents())
        torch.testing.assert_close(fused.generate(latents()), images, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fused.posterior(images), networks.posterior(images), rtol=1e-4, atol=1e-4)
        logits, expected = (n.discriminator.score(n.discriminator.features(images)) for n in (fused, networks))
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    after = networks.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def randomise_batch_norm(networks: Networks) -> None:
    random = torch.Generator().manual_seed(3)
    for module in networks.modules():
        if isinstance(module, BATCH_NORMS):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(torch.randn(module.num_features, generator=random))
            module.running_var.copy_(torch.rand(module.num_features, generator=random) + 0.5)
            nn.init.uniform_(module.weight, 0.5, 2.0, generator=random)
            nn.init.uniform_(module.bias, -1.0, 1.0, generator=random)
