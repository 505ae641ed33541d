"""The reader: its calibration, what it changes images by, and where its outputs stand among the others."""

import numpy as np
import pytest
import torch

from infogan.config.schema import CategoricalCode, Code, ContinuousCode, NetworkSettings, NoiseSettings
from infogan.data.properties import TRANSFORMS
from infogan.models.architectures import ImageShape
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.models.reader import Reader
from infogan.utils.random import BatchRandom

SLANT = ContinuousCode(name="slant", follows="slant", deviation=0.2)
TURN = ContinuousCode(name="turn", follows="rotate", range=40, deviation=0.2)


def reader_of(*codes: ContinuousCode, channels: int = 1) -> Reader:
    return Reader(ImageShape(channels, 8), 2, codes).eval()


def test_calibrated_codes_are_uniform_and_linear_between_quantiles() -> None:
    reader = reader_of(SLANT, TURN)
    random = torch.Generator().manual_seed(0)
    measured = torch.stack([torch.randn(4000, generator=random), torch.rand(4000, generator=random) ** 2 * 9], dim=1)
    reader.calibrate(measured)
    reader.measure = lambda images: images.flatten(1)  # type: ignore[method-assign]
    codes = reader(measured).numpy()
    ranks = np.linspace(0.05, 0.95, 19)
    expected = np.tile(((ranks - 0.02) / 0.48 - 1)[:, None], 2)
    np.testing.assert_allclose(np.quantile(codes, ranks, axis=0), expected, atol=0.03)
    # Against linear interpolation between the quantiles, written down separately.
    inner = np.linspace(0.02, 0.98, 17)
    for column in range(2):
        values = measured[:, column].double().numpy()
        points = np.quantile(values, inner)
        between = (values > points[0]) & (values < points[-1])
        interpolated = np.interp(values[between], points, np.linspace(-1, 1, 17))
        np.testing.assert_allclose(codes[between, column], interpolated, atol=1e-4)
        assert codes[values < points[0], column].max() <= -1 + 1e-4
        assert codes[values > points[-1], column].min() >= 1 - 1e-4


def test_a_property_that_does_not_vary_gets_a_finite_code() -> None:
    reader = reader_of(SLANT)
    reader.calibrate(torch.zeros(100, 1))
    assert reader(torch.zeros(2, 1, 8, 8)).isfinite().all()


def test_only_codes_with_a_range_vary_real_images() -> None:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    random = BatchRandom(torch.Generator().manual_seed(1))
    assert reader_of(SLANT).vary(images, random) is images
    assert not torch.allclose(reader_of(SLANT, TURN).vary(images, random), images, atol=0.1)


def test_changes_are_of_the_properties_and_of_what_is_to_be_ignored() -> None:
    for channels in (1, 3):
        reader = reader_of(SLANT, TURN, channels=channels)
        change = reader.random_change(2000, BatchRandom(torch.Generator().manual_seed(0)))
        amounts = reader.amounts(change)
        assert list(amounts)[:2] == ["slant", "rotate"]
        assert set(amounts) == {name for name in TRANSFORMS if name != "hue" or channels == 3}
        assert float(amounts["rotate"].abs().max()) == pytest.approx(40, rel=0.01)  # its range
        assert float(amounts["slant"].abs().max()) == pytest.approx(TRANSFORMS["slant"].usual, rel=0.01)
    of_slant = reader_of(SLANT)
    change = of_slant.random_change(2, BatchRandom(torch.Generator().manual_seed(0)))
    assert "rotate" not in of_slant.amounts(change)  # a straight stroke that is turned is slanted


def test_posterior_has_the_outputs_of_each_network_in_the_order_of_the_codes() -> None:
    codes: tuple[Code, ...] = (TURN, ContinuousCode(name="k"), CategoricalCode(name="c", size=3), SLANT)
    layout, settings = CodeLayout(NoiseSettings(size=4), codes), NetworkSettings(width=4, encoder_width=2, encoder=True)
    networks = build_networks(settings, layout, ImageShape(1, 8), kind="infogan", seed=0).eval()
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert networks.reader is not None and networks.encoder is not None and networks.recognizer is not None
    with torch.no_grad():
        posterior = layout.split_posterior(networks.posterior(images))
        measured = networks.reader(images)
        recognized = networks.recognizer.head(networks.recognizer.features(images))
        torch.testing.assert_close(posterior["turn"]["mean"], measured[:, 0])
        torch.testing.assert_close(posterior["slant"]["mean"], measured[:, 1])
        torch.testing.assert_close(posterior["k"]["mean"], recognized[:, 0])
        torch.testing.assert_close(posterior["c"]["probabilities"], networks.encoder(images).softmax(1))
    assert posterior["slant"]["deviation"].tolist() == pytest.approx([0.2] * 5)
    assert recognized.shape == (5, 2)


def test_without_other_codes_there_is_no_recognizer() -> None:
    layout = CodeLayout(NoiseSettings(size=4), (SLANT,))
    networks = build_networks(
        NetworkSettings(width=4, encoder_width=2), layout, ImageShape(1, 8), kind="infogan", seed=0
    )
    assert networks.recognizer is None
    assert networks.reads_codes
    assert networks.posterior(torch.zeros(2, 1, 8, 8)).shape == (2, 2)
