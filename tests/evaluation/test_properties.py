"""Measures of properties, on drawings of which they are known."""

import numpy as np
import pytest

from infogan.evaluation.properties import measure_property, turns_between


def drawing(rows: slice, columns: slice, *, ground: int = 0, side: int = 40) -> np.ndarray:
    image = np.full((1, 1, side, side), ground, np.uint8)
    image[..., rows, columns] = 255 - ground
    return image


@pytest.mark.parametrize("ground", [0, 255])
def test_moments_of_a_rectangle(ground: int) -> None:
    image = drawing(slice(10, 30), slice(8, 16), ground=ground)
    assert measure_property(image, "shift-x").item() == pytest.approx(12 / 40)
    assert measure_property(image, "shift-y").item() == pytest.approx(20 / 40)
    # The variance of n equal pixels in a row is (n² - 1) / 12.
    expected = np.sqrt((20**2 - 1 + 8**2 - 1) / 12) / 40
    assert measure_property(image, "size").item() == pytest.approx(expected)
    assert measure_property(image, "slant").item() == pytest.approx(0, abs=1e-9)
    assert measure_property(image, "rotate").item() == pytest.approx(0, abs=1e-9)


def test_slant_and_rotation_of_a_diagonal() -> None:
    image = np.zeros((1, 1, 40, 40), np.uint8)
    for row in range(10, 30):
        image[0, 0, row, 40 - row - 1] = 255  # leans to the right by 45 degrees
    assert measure_property(image, "slant").item() == pytest.approx(45)
    assert measure_property(image, "rotate").item() == pytest.approx(45)
    assert measure_property(image[..., ::-1].copy(), "rotate").item() == pytest.approx(-45)


def test_thickness_of_a_long_stroke_is_about_its_width() -> None:
    for width in (1, 2, 4):
        image = drawing(slice(2, 38), slice(10, 10 + width))
        assert measure_property(image, "thickness").item() == pytest.approx(width / 40, rel=0.12)


def test_brightness_and_hue_of_colours() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (128, 128, 128)]
    images = np.array(colours, np.uint8)[:, :, None, None] * np.ones((1, 1, 8, 8), np.uint8)
    np.testing.assert_allclose(measure_property(images, "hue")[:4] % 1, [0, 1 / 3, 2 / 3, 1 / 6], atol=1e-9)
    assert np.isnan(measure_property(images, "hue")[4])
    np.testing.assert_allclose(measure_property(images, "brightness")[:4], [1 / 3, 1 / 3, 1 / 3, 2 / 3])


def test_a_blank_image_has_no_position() -> None:
    blank = np.full((1, 1, 8, 8), 7, np.uint8)
    for name in ("slant", "thickness", "size", "shift-x", "rotate"):
        assert np.isnan(measure_property(blank, name)).all()


def test_turns_go_the_shorter_way() -> None:
    first, second = np.array([0.9, 0.1, 0.2]), np.array([0.1, 0.9, 0.5])
    np.testing.assert_allclose(turns_between(first, second), [0.2, -0.2, 0.3])
