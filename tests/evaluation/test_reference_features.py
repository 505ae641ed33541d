"""Simple features of images, by hand."""

import numpy as np
import pytest

from infogan.evaluation.reference_features import background, brightness, colour, references


def test_brightness_is_a_histogram_of_grey_values() -> None:
    images = np.zeros((2, 1, 4, 4), np.uint8)
    images[1, 0, :2] = 255
    assert brightness(images)[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert brightness(images)[1].tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0.5]


def test_colour_is_a_histogram_of_all_channels_together() -> None:
    images = np.zeros((3, 3, 4, 4), np.uint8)
    images[1, 0] = 255
    images[2, 2, 0] = 255
    histograms = colour(images)
    assert histograms.shape == (3, 64)
    assert histograms.sum(axis=1) == pytest.approx(1)
    assert histograms[0, 0] == 1
    assert histograms[1, 0] == 0
    assert sorted(histograms[2][histograms[2] > 0].tolist()) == [0.25, 0.75]
    # The same colours in other places are the same.
    assert (colour(images[..., ::-1, :]) == histograms).all()


@pytest.mark.parametrize("side", [8, 20, 32])
def test_background_sees_the_border_alone(side: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, side, side), dtype=np.uint8)
    changed = images.copy()
    depth = -(-side // 8)
    changed[:, :, depth:-depth, depth:-depth] = 0
    assert background(images) == pytest.approx(background(changed))
    assert background(images).shape == (2, 3 * 28)
    changed[0, 0, 0, 0] ^= 255
    assert background(images)[0] != pytest.approx(background(changed)[0])
    assert background(np.full((1, 3, side, side), 51, np.uint8)) == pytest.approx(0.2)


def test_grey_images_have_no_colours_and_no_background() -> None:
    assert references(np.zeros((1, 1, 8, 8), np.uint8)).keys() == {"brightness"}
    assert references(np.zeros((1, 3, 8, 8), np.uint8)).keys() == {"brightness", "colour", "background"}
