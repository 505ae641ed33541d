"""Properties that declared knobs follow: what their transforms do to the pixels, measured by moments."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from infogan.config.schema import Property
from infogan.data.properties import TRANSFORMS, transform
from infogan.evaluation.properties import MEASURES, measure_property, turns_between

COUNT = 12
EXPECTED: dict[Property, float] = {"slant": 1, "rotate": 1, "shift-x": 1, "shift-y": 1, "hue": 1}  # change per amount


def blobs(channels: int = 1, side: int = 48) -> Tensor:
    """Return smooth oblong blobs in different places, upright, of a colour each, in [-1, 1]."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    images: list[np.ndarray] = []
    for _ in range(COUNT):
        centre_x, centre_y = random.uniform(0.42, 0.58, 2)
        blob = np.exp(-(((x - centre_x) / 0.06) ** 2) - ((y - centre_y) / 0.12) ** 2)
        colour = random.uniform(0.4, 0.8, channels)
        colour[len(images) % channels] = 0.6 if channels == 1 else 0.2
        images.append(colour[:, None, None] * blob)
    return torch.from_numpy(np.stack(images)).float() * 2 - 1


def to_pixels(images: Tensor) -> np.ndarray:
    return ((images + 1) * 127.5).round().clamp(0, 255).byte().numpy()


def changed(images: Tensor, name: Property, amount: float) -> Tensor:
    return transform(images, {name: torch.full((len(images),), amount)})


def test_every_property_has_a_transform_and_a_measure() -> None:
    assert set(get_args(Property)) == TRANSFORMS.keys() == MEASURES.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_transforms_change_what_is_measured_by_their_amount(name: Property) -> None:
    images, amount = blobs(3 if name == "hue" else 1), TRANSFORMS[name].usual / 2
    before = measure_property(to_pixels(images), name)
    after = measure_property(to_pixels(changed(images, name, amount)), name)
    difference = turns_between(before, after) if name == "hue" else after - before
    np.testing.assert_allclose(difference, amount, rtol=0.12, atol=0.003 if name == "hue" else 0)


def test_size_grows_by_a_power_of_e() -> None:
    images = blobs()
    before = measure_property(to_pixels(images), "size")
    after = measure_property(to_pixels(changed(images, "size", 0.2)), "size")
    np.testing.assert_allclose(after / before, math.exp(0.2), rtol=0.02)


def test_brightness_is_a_power_of_the_pixels() -> None:
    images = blobs(3)
    pixels = (images + 1) / 2
    torch.testing.assert_close((changed(images, "brightness", 0.5) + 1) / 2, pixels ** math.exp(-0.5))


@pytest.mark.parametrize("ground", [-1.0, 1.0])
def test_thickness_moves_borders_whichever_is_brighter(ground: float) -> None:
    images = torch.full((1, 1, 20, 20), ground)
    images[:, :, 6:14, 8:12] = -ground
    for amount, rows in ((0.05, slice(5, 15)), (-0.05, slice(7, 13))):
        result = changed(images, "thickness", amount)  # by one pixel of twenty
        expected = torch.full_like(images, ground)
        expected[:, :, rows, 7 if amount > 0 else 9 : 13 if amount > 0 else 11] = -ground
        torch.testing.assert_close(result, expected)
    half = changed(images, "thickness", 0.025)
    torch.testing.assert_close(half, (images + changed(images, "thickness", 0.05)) / 2)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_image_is_changed_by_its_own_amount_and_not_by_zero(name: Property) -> None:
    images, usual = blobs(3), TRANSFORMS[name].usual
    amounts = torch.tensor([0.0, usual, -usual]).repeat(COUNT // 3)
    result = transform(images, {name: amounts})
    assert result.shape == images.shape
    assert float(result.abs().max()) <= 1
    torch.testing.assert_close(result[::3], images[::3], atol=2e-5, rtol=0)
    assert float((result[1::3] - images[1::3]).abs().amax(dim=(1, 2, 3)).min()) > 0.02
    torch.testing.assert_close(result[1::3], changed(images, name, usual)[1::3], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "thickness"])
def test_two_changes_add_up(name: Property) -> None:
    images, amount = blobs(3), TRANSFORMS[name].usual / 2
    twice = changed(changed(images, name, amount), name, amount / 2)
    if name != "slant":  # of which the tangents add up
        torch.testing.assert_close(twice, changed(images, name, amount * 1.5), atol=0.12, rtol=0)
    back = changed(changed(images, name, amount), name, -amount)
    torch.testing.assert_close(back, images, atol=0.12, rtol=0)


def test_hue_of_grey_images_stays() -> None:
    images = blobs(1)
    assert torch.equal(changed(images, "hue", 0.3), images)
