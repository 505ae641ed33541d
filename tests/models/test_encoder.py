import pytest
import torch
from torch.nn import functional

from infogan.config.schema import CategoricalCode, ContinuousCode, NetworkName, NetworkSettings, NoiseSettings
from infogan.data.batches import to_network
from infogan.models.architectures import ImageShape
from infogan.models.encoder import Encoder
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks
from tests.helpers import GENERATOR, bar_images

ENCODER: tuple[NetworkName, ...] = ("encoder",)
# The encoder's code is not the first one.
LAYOUT = CodeLayout(NoiseSettings(size=5), (ContinuousCode(name="knob1"), CategoricalCode(name="category", size=2)))
IMAGES = to_network(torch.from_numpy(bar_images(16)))


def build() -> Networks:
    settings = NetworkSettings(width=4, encoder=True, encoder_width=4)
    return build_networks(settings, LAYOUT, ImageShape(1, 8), kind="infogan", seed=0)


def test_the_posterior_has_the_encoders_columns_in_the_place_of_its_code() -> None:
    networks = build().eval()
    assert networks.encoder is not None
    columns = LAYOUT.posterior_slices
    assert columns["category"] == slice(2, 4)
    posterior = networks.posterior(IMAGES)
    torch.testing.assert_close(posterior[:, columns["category"]], networks.encoder(IMAGES))
    assert networks.recognizer is not None
    recognized = networks.recognizer.head(networks.recognizer.features(IMAGES))
    torch.testing.assert_close(posterior[:, columns["knob1"]], recognized)


def test_logits_are_cosines_over_the_temperature() -> None:
    encoder = Encoder(ImageShape(1, 28), 4, 3)
    features = functional.normalize(torch.randn(5, Encoder.FEATURES))
    expected = [
        [float(functional.cosine_similarity(f, d, dim=0)) / 0.1 for d in encoder.directions.detach()] for f in features
    ]
    torch.testing.assert_close(encoder.logits(features), torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "channels", "side"),
    [(8, 1, 28), (15, 3, 28), (16, 3, 16), (28, 1, 28), (31, 3, 32), (33, 1, 32), (128, 3, 32)],
)
def test_images_are_resized_to_the_side_of_the_trunk(size: int, channels: int, side: int) -> None:
    encoder = Encoder(ImageShape(channels, size), 2, 3)
    images = torch.rand(2, channels, size, size)
    assert encoder.resize(images).shape == (2, channels, side, side)
    assert torch.equal(encoder.resize(encoder.resize(images)), encoder.resize(images))
    assert encoder(images).shape == (2, 3)


def test_large_images_are_averaged_down() -> None:
    images = torch.rand(2, 3, 64, 64)
    averages = images.reshape(2, 3, 32, 2, 32, 2).mean(dim=(3, 5))
    torch.testing.assert_close(Encoder(ImageShape(3, 64), 2, 3).resize(images), averages)


def test_a_frozen_encoder_normalises_by_running_statistics() -> None:
    networks = build()
    assert networks.encoder is not None
    networks.set_trainable(GENERATOR)
    single = networks.encoder(IMAGES[:1])
    torch.testing.assert_close(networks.encoder(IMAGES)[:1], single)  # independent of the batch
    networks.set_trainable(ENCODER)
    assert not torch.allclose(networks.encoder(IMAGES)[:1], single)


def test_without_running_stats_leaves_the_statistics_unchanged() -> None:
    encoder = Encoder(ImageShape(1, 16), 4, 3)
    images = torch.rand(8, 1, 16, 16)
    before = [buffer.clone() for buffer in encoder.buffers()]
    with encoder.without_running_stats():
        encoder(images)
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.buffers(), strict=True))
    encoder(images)
    assert not all(torch.equal(a, b) for a, b in zip(before, encoder.buffers(), strict=True))
