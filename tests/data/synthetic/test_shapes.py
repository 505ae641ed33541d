"""Coloured shapes show what their factors state."""

import colorsys
import hashlib
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.data import load
from infogan.data.synthetic import shapes


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.concatenate(list(shapes.draw(16)))


def hue(colour: NDArray[np.uint8]) -> float:
    return colorsys.rgb_to_hsv(*(colour / 255.0).tolist())[0]


def test_hues_are_those_of_floor_wall_and_object(images: NDArray[np.uint8]) -> None:
    grid = shapes.GRID
    assert len(images) == len(grid) == 40_960
    for number in np.random.default_rng(0).choice(len(grid), 200, replace=False):
        values = dict(zip(grid.names, grid.values(np.array([number]))[0].tolist(), strict=True))
        image = images[number]
        radius, centre = shapes.RADII[values["size"]], shapes.CENTRES[values["x"]]
        if radius * 16 > 2:  # otherwise no pixel is covered completely
            colour = image[:, round((shapes.BASELINE - radius) * 16 - 0.5), round(centre * 16 - 0.5)]
            assert hue(colour) == pytest.approx(values["object_hue"] / 8, abs=0.01)
        assert hue(image[:, 0, 0]) == pytest.approx(values["wall_hue"] / 8, abs=0.01)
        assert hue(image[:, -1, 0]) == pytest.approx(values["floor_hue"] / 8, abs=0.01)


def test_all_images_differ_and_are_the_same_on_every_machine(images: NDArray[np.uint8]) -> None:
    assert len({image.tobytes() for image in images}) == len(images)
    assert hashlib.sha256(images[::97].tobytes()).hexdigest()[:16] == "9fe9dc949d620a91"


@pytest.mark.parametrize(
    ("shape", "area"),
    [("disc", math.pi), ("square", 4.0), ("triangle", 2.0), ("cross", 4 - 4 * (1 - shapes.ARM) ** 2)],
)
def test_objects_have_the_stated_area_and_position(shape: str, area: float) -> None:
    points = (np.arange(400) + 0.5) / 400
    for radius in shapes.RADII:
        for centre in shapes.CENTRES:
            mask = shapes.object_mask(shape, radius, centre, points)
            assert mask.mean() == pytest.approx(area * radius**2, rel=0.03)
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            assert points[rows[-1]] == pytest.approx(shapes.BASELINE, abs=0.004)
            assert points[columns].mean() == pytest.approx(centre, abs=0.004)


def test_set_loads_at_another_size() -> None:
    train = load("shapes", size=8)
    assert train.images.shape == (36_864, 3, 8, 8) and train.factors is not None
    assert train.factors.names == shapes.GRID.names
