"""The drawn dSprites have the published factors, and the published file replaces them."""

import hashlib
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from infogan.data import dataset_note, dataset_status, fetch, load
from infogan.data.synthetic import dsprites
from infogan.data.synthetic.cache import resize_images
from infogan.utils.errors import UserError

SMALL = (3, 2, 4, 3, 5)  # factor sizes for tests that draw the whole set


@pytest.fixture
def small_count(monkeypatch: pytest.MonkeyPatch) -> int:
    """Reduce the scales, orientations and positions; return the number of images."""
    monkeypatch.setattr(dsprites, "FACTOR_SIZES", SMALL)
    return math.prod(SMALL)


def draw(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the images with these numbers, uint8 (count, 64, 64)."""
    positions = dsprites.FACTOR_SIZES[3] * dsprites.FACTOR_SIZES[4]
    images = np.empty((len(numbers), 64, 64), np.uint8)
    for sprite in np.unique(numbers // positions).tolist():
        rows = numbers // positions == sprite
        images[rows] = dsprites._draw_sprite(sprite)[numbers[rows] % positions, 0]
    return images


def sprite_mask(shape: str, scale: int = 5, orientation: int = 0, x: int = 15, y: int = 15) -> NDArray[np.bool_]:
    values = [[dsprites.SHAPES.index(shape), scale, orientation, x, y]]
    return np.asarray(draw(dsprites.grid().numbers(np.array(values)))[0] > 0)


def rotated_mask(shape: str, angle: float) -> NDArray[np.bool_]:
    """Return a shape at any angle, on points half a pixel off its centre, which quarter turns map onto each other."""
    points = np.arange(-20, 20, dtype=np.float64) + 0.5
    return dsprites._shape_mask(shape, 1.0, angle, points, points[:, None])


def centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(np.argwhere(mask).mean(axis=0), np.float64)


def test_factors_are_the_published_ones() -> None:
    grid = dsprites.grid()
    assert len(grid) == 737_280 and grid.names == ("shape", "scale", "orientation", "posX", "posY")
    assert grid.value_names[0] == ("square", "ellipse", "heart")
    assert grid.value_names[1] == ("0.5", "0.6", "0.7", "0.8", "0.9", "1")
    assert grid.value_names[2][:2] == ("0", "0.1611") and grid.value_names[2][-1] == "6.283"
    # According to the published notebook, posY varies fastest, and image 32 is the first one with another posX.
    assert grid.values(np.array([0, 1, 32, 737_279])).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 1, 0],
        [2, 5, 39, 31, 31],
    ]


@given(number=st.integers(0, 737_279))
def test_numbers_and_factors_are_one_to_one(number: int) -> None:
    grid = dsprites.grid()
    shape, scale, orientation, x, y = grid.values(np.array([number]))[0].tolist()
    assert (((shape * 6 + scale) * 40 + orientation) * 32 + x) * 32 + y == number
    assert grid.numbers(np.array([[shape, scale, orientation, x, y]])).tolist() == [number]


def test_first_images_of_a_split_have_all_factor_values() -> None:
    rendering = dsprites.rendering(Path("nowhere"))
    for numbers in rendering.splits().values():
        values = rendering.grid.values(numbers[:2000])
        for column, size in zip(values.T, rendering.grid.sizes, strict=True):
            frequencies = np.bincount(column, minlength=size) * size / 2000
            assert frequencies.min() > 0.4 and frequencies.max() < 1.7


def test_images_are_the_same_on_every_machine() -> None:
    images = draw(np.arange(0, 737_280, 4999))
    assert set(np.unique(images).tolist()) == {0, 255}
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "645c07bd2de3a44a"


def test_shapes_are_complete_and_only_full_turns_look_the_same() -> None:
    sprites: dict[tuple[tuple[int, ...], bytes], tuple[int, ...]] = {}
    white = 0.0
    for shape, scale, orientation in np.ndindex(3, 6, 40):
        corners = np.array([[shape, scale, orientation, x, x] for x in (0, 31)])
        images = draw(dsprites.grid().numbers(corners))
        assert not images[:, [0, -1]].any() and not images[:, :, [0, -1]].any()  # nothing is cut off
        white += images[0].mean() / 255 / 720
        rows, columns = (np.flatnonzero(images[0].any(axis=axis)) for axis in (1, 0))
        crop = images[0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        first_equal = sprites.setdefault((crop.shape, crop.tobytes()), (shape, scale, orientation))
        assert first_equal == (shape, scale, orientation % 39)
    assert len(sprites) == 3 * 6 * 39
    assert white == pytest.approx(0.043, abs=0.0005)  # reported for the published images


@pytest.mark.parametrize("shape", dsprites.SHAPES)
def test_last_orientation_equals_the_first_and_is_in_the_same_split(shape: str) -> None:
    np.testing.assert_array_equal(sprite_mask(shape, orientation=0), sprite_mask(shape, orientation=39))
    assert (sprite_mask(shape, orientation=0) != sprite_mask(shape, orientation=5)).sum() > 10
    pair = dsprites.grid().numbers(np.array([[1, 2, 0, 3, 4], [1, 2, 39, 3, 4]]))
    groups = dsprites.rendering(Path("nowhere")).groups(pair)
    assert groups[0] == groups[1]


def test_square_ellipse_and_heart_have_their_symmetries() -> None:
    for angle in (0.0, 0.3, 1.0):
        quarter, half = angle + math.pi / 2, angle + math.pi
        np.testing.assert_array_equal(rotated_mask("square", angle), rotated_mask("square", quarter))
        np.testing.assert_array_equal(rotated_mask("ellipse", angle), rotated_mask("ellipse", half))
        assert (rotated_mask("ellipse", angle) != rotated_mask("ellipse", quarter)).sum() > 40
        assert (rotated_mask("heart", angle) != rotated_mask("heart", half)).sum() > 40
    upright = rotated_mask("heart", 0)
    np.testing.assert_array_equal(upright, upright[:, ::-1])
    assert (upright != upright[::-1]).sum() > 40


def test_orientations_turn_clockwise_from_upright() -> None:
    heart = rotated_mask("heart", 0)
    np.testing.assert_array_equal(rotated_mask("heart", math.pi / 2), np.rot90(heart, -1))
    rows = np.flatnonzero(heart.any(axis=1))
    assert heart[rows[-1]].sum() <= 2 < heart[rows[0]].sum()  # the tip is at the bottom
    width, height = np.ptp(np.argwhere(rotated_mask("ellipse", 0)), axis=0)[::-1]
    assert width > 1.4 * height


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("square", (2 * dsprites.SQUARE_HALF_SIDE) ** 2),
        ("ellipse", math.pi * math.prod(dsprites.ELLIPSE_HALF_AXES)),
        ("heart", 180 * math.pi * dsprites.HEART_UNIT**2),
    ],
)
def test_area_grows_with_the_square_of_the_scale(shape: str, area: float) -> None:
    for scale in range(6):
        pixels = np.mean([sprite_mask(shape, scale, orientation).sum() for orientation in range(0, 39, 3)])
        assert pixels == pytest.approx(area * (0.5 + 0.1 * scale) ** 2, rel=0.02)


@pytest.mark.parametrize("shape", dsprites.SHAPES)
def test_positions_are_one_pixel_apart_and_rotation_keeps_the_centre(shape: str) -> None:
    origin = np.array(dsprites.FIRST_CENTRE[::-1]) - 0.5
    for x, y in ((0, 0), (31, 0), (0, 31), (12, 30)):
        centres = [centroid(sprite_mask(shape, 5, orientation, x, y)) for orientation in range(0, 39, 3)]
        np.testing.assert_allclose(np.mean(centres, axis=0), origin + np.array([y, x]), atol=0.06)
    for orientation in range(0, 39, 6):
        np.testing.assert_allclose(centroid(sprite_mask(shape, 5, orientation)), origin + 15, atol=0.35)
        first, second = (centroid(sprite_mask(shape, 5, orientation, x, y)) for x, y in ((19, 5), (20, 7)))
        np.testing.assert_allclose(second - first, (2, 1), atol=1e-9)


def test_set_is_drawn_once_and_split_for_good(small_count: int, cache: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    assert dataset_status("dsprites") == "to be drawn"
    train, test = load("dsprites", progress=lambda *report: reports.append(report)), load("dsprites", split="test")
    assert dataset_status("dsprites") == "drawn"
    assert reports[-1] == ("rendering dsprites at 64x64", small_count, small_count)
    numbers = [dsprites.grid().numbers(images.factors.values) for images in (train, test) if images.factors]
    assert sorted(np.concatenate(numbers).tolist()) == list(range(small_count))
    # 3 of 4 orientations are distinct, and a tenth of their images is for testing.
    assert abs(len(test) - small_count / 10) <= small_count / 40
    for images, image_numbers in zip((train, test), numbers, strict=True):
        np.testing.assert_array_equal(images.images[:, 0], draw(image_numbers))
        assert isinstance(images.images, np.memmap)  # otherwise 3 GB would be in memory
        assert images.labels is not None and images.factors is not None
        np.testing.assert_array_equal(images.labels, images.factors.values[:, 0])
    assert train.label_names == ("square", "ellipse", "heart") and train.source == "dsprites (train)"
    files = fetch("dsprites")
    assert files == [cache / "dsprites" / f"{dsprites.VERSION}-64.npy"]
    modified = files[0].stat().st_mtime_ns
    load("dsprites")
    assert files[0].stat().st_mtime_ns == modified


def test_equal_images_are_in_the_same_split(small_count: int) -> None:
    train = {image.tobytes() for image in load("dsprites").images}
    assert not train & {image.tobytes() for image in load("dsprites", split="test").images}


def test_smaller_size_is_drawn_block_by_block(small_count: int, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[int] = []

    def record(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        blocks.append(len(images))
        return resize_images(images, size)

    monkeypatch.setattr(dsprites, "resize_images", record)
    small = load("dsprites", size=32)
    assert isinstance(small.images, np.memmap) and small.images.shape[1:] == (1, 32, 32)
    assert set(blocks) == {SMALL[3] * SMALL[4]}
    assert [path.name for path in (cache / "dsprites").iterdir()] == [f"{dsprites.VERSION}-32.npy"]
    for image, original in zip(small.images[::7], load("dsprites").images[::7], strict=True):
        expected = Image.fromarray(original[0]).resize((32, 32), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(image[0], np.asarray(expected))


def write_published(cache: Path, images: NDArray[np.uint8], **changes: Any) -> Path:
    """Write a file like the published one, whose metadata is a pickle that must not be read."""
    path = cache / "dsprites" / dsprites.PUBLISHED_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    values = dsprites.grid().values(np.arange(len(dsprites.grid())))
    members = {
        "metadata": np.array({"author": "x"}, object),
        "imgs": images,
        "latents_classes": np.insert(values, 0, 0, axis=1),
        "latents_values": np.zeros((len(images), 6)),
    } | changes
    np.savez_compressed(path, **members)
    with zipfile.ZipFile(path) as archive, pytest.raises(ValueError, match="allow_pickle"):
        np.load(io.BytesIO(archive.read("metadata.npy")), allow_pickle=False)
    return path


def read_agreement(cache: Path) -> dict[str, Any]:
    """Return the newest file with the agreement of drawn and published images."""
    newest = max((cache / "dsprites").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return dict(json.loads(newest.read_text()))


def test_published_file_is_used_and_compared(small_count: int, cache: Path) -> None:
    drawn = draw(np.arange(small_count)) // 255
    assert dataset_note("dsprites") == ""
    load("dsprites")
    shifted = np.roll(drawn, 1, axis=2)  # one pixel to the right
    write_published(cache, shifted)
    assert "the published file is used" in dataset_note("dsprites") and "%" not in dataset_note("dsprites")
    train = load("dsprites")
    assert train.factors is not None
    numbers = dsprites.grid().numbers(train.factors.values)
    np.testing.assert_array_equal(train.images[:, 0], shifted[numbers] * 255)
    agreement = read_agreement(cache)
    assert agreement["images"] == 4 * math.prod(SMALL[:3]) and 0.98 < agreement["pixels"] < 1
    assert list(agreement["overlap"]) == list(dsprites.SHAPES)
    assert all(0.6 < value < 0.95 for value in agreement["overlap"].values())
    assert f"{agreement['pixels']:.2%}" in dataset_note("dsprites")
    # By hand, for squares of one scale and orientation: two columns of pixels differ after the shift.
    side = np.flatnonzero(drawn[0].any(axis=0)).size
    assert agreement["overlap"]["square"] < (side - 1) / (side + 1) + 0.2


def test_another_published_file_is_unpacked_again(small_count: int, cache: Path) -> None:
    drawn = draw(np.arange(small_count)) // 255
    write_published(cache, np.roll(drawn, 1, axis=2))
    load("dsprites")
    write_published(cache, drawn)
    train = load("dsprites")
    assert train.factors is not None
    np.testing.assert_array_equal(train.images[:, 0], drawn[dsprites.grid().numbers(train.factors.values)] * 255)
    agreement = read_agreement(cache)
    assert agreement["pixels"] == 1 and set(agreement["overlap"].values()) == {1.0}


def test_damaged_agreement_is_ignored(small_count: int, cache: Path) -> None:
    write_published(cache, draw(np.arange(small_count)) // 255)
    load("dsprites")
    (agreement,) = (cache / "dsprites").glob("*.json")
    assert "100.00%" in dataset_note("dsprites")
    for content in ('{"images": 3}', "[]", '{"pixels": 1, "overlap": 2}', "{"):
        agreement.write_text(content)
        assert "the published file is used" in dataset_note("dsprites") and "%" not in dataset_note("dsprites")


def test_files_that_differ_from_the_published_one_are_refused(small_count: int, cache: Path) -> None:
    images = draw(np.arange(small_count)) // 255
    reversed_classes = np.insert(dsprites.grid().values(np.arange(small_count)[::-1]), 0, 0, axis=1)
    for changes, message in (
        ({"imgs": images[:-1]}, "must be uint8 of shape"),
        ({"imgs": np.array([None] * small_count, object)}, "must be uint8 of shape"),
        ({"latents_classes": reversed_classes}, "another order"),
    ):
        write_published(cache, images, **changes)
        with pytest.raises(UserError, match=message):
            load("dsprites")
    path = cache / "dsprites" / dsprites.PUBLISHED_FILE
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=dsprites.PUBLISHED_FILE):
        load("dsprites")
    assert [path.name for path in (cache / "dsprites").iterdir()] == [dsprites.PUBLISHED_FILE]
