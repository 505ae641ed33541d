"""Data sets with known factors: what is drawn is what the factors say, and nothing that trains looks at them."""

import hashlib
import io
import json
import math
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, features

from infogan.api import resolve
from infogan.config.load import build
from infogan.data import DATASETS, Factors, ImageSet, dataset_note, dataset_status, fetch, load, prepare
from infogan.data.factors import FactorGrid, held_out_mask
from infogan.data.synthetic import cache as caching
from infogan.data.synthetic import dsprites, glyphs, shapes
from infogan.data.synthetic.cache import Rendering, read_rendering, render_all
from infogan.utils.errors import UserError
from tests.helpers import pictures, small_config

SMALL = (3, 2, 4, 3, 5)  # sizes of a dSprites that a test can afford


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INFOGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """dSprites with fewer scales, orientations and positions; how many images."""
    monkeypatch.setattr(dsprites, "SIZES", SMALL)
    return math.prod(SMALL)


def digest(images: NDArray[np.uint8]) -> str:
    return hashlib.sha256(images.tobytes()).hexdigest()[:16]


def sprite(shape: str, scale: int = 5, turn: int = 0, x: int = 15, y: int = 15) -> NDArray[np.bool_]:
    number = dsprites.grid().numbers(np.array([[dsprites.SHAPES.index(shape), scale, turn, x, y]]))
    return np.asarray(dsprites.render(number)[0, 0] > 0)


def turned(shape: str, angle: float, scale: float = 1.0) -> NDArray[np.bool_]:
    """A shape alone, at any angle, on points that are half a pixel off its centre: turns by quarters map them."""
    points = np.arange(-20, 20, dtype=np.float64) + 0.5
    return dsprites._inside(dsprites.SHAPES.index(shape), scale, angle, points, points[:, None])


def centroid(image: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(np.argwhere(image).mean(axis=0), np.float64)


# Factors and the grid.


def test_dsprites_has_the_published_factors() -> None:
    grid = dsprites.grid()
    assert len(grid) == 737_280 and grid.names == ("shape", "scale", "orientation", "posX", "posY")
    assert grid.value_names[0] == ("square", "ellipse", "heart")
    assert grid.value_names[1] == ("0.5", "0.6", "0.7", "0.8", "0.9", "1")
    assert grid.value_names[2][:2] == ("0", "0.1611") and grid.value_names[2][-1] == "6.283"
    # As the published notebook tells: posY varies fastest, the 32nd image is the first with another posX.
    assert grid.values(np.array([0, 1, 32, 737_279])).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 1, 0],
        [2, 5, 39, 31, 31],
    ]


@given(number=st.integers(0, 737_279))
def test_numbers_and_factors_are_one_to_one(number: int) -> None:
    grid = dsprites.grid()
    shape, scale, turn, x, y = grid.values(np.array([number]))[0].tolist()
    assert (((shape * 6 + scale) * 40 + turn) * 32 + x) * 32 + y == number
    assert grid.numbers(np.array([[shape, scale, turn, x, y]])).tolist() == [number]


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_a_grid_has_each_combination_once(sizes: list[int]) -> None:
    names = tuple(map(str, range(len(sizes))))
    grid = FactorGrid(names, tuple(tuple(map(str, range(size))) for size in sizes))
    values = grid.values(np.arange(len(grid)))
    assert len(np.unique(values, axis=0)) == len(grid) == math.prod(sizes)
    np.testing.assert_array_equal(grid.numbers(values), np.arange(len(grid)))


def test_factors_that_do_not_fit_together_are_refused() -> None:
    values = np.zeros((2, 2), np.int64)
    with pytest.raises(UserError, match="one name and one size per factor"):
        Factors(("a",), (3,), values)
    with pytest.raises(UserError, match="from 0 to below"):
        Factors(("a", "b"), (3, 1), values + 1)
    with pytest.raises(UserError, match="int64"):
        Factors(("a", "b"), (3, 1), values.astype(np.int32))
    with pytest.raises(UserError, match="one name a value"):
        Factors(("a", "b"), (3, 1), values, (("x", "y"), ("z",)))


def test_a_subset_keeps_its_factors_and_the_digest_knows_none() -> None:
    images, names = pictures(4), list("abcd")
    factors = Factors(("bar",), (4,), np.arange(4)[:, None])
    known = ImageSet(images, names, "bars", factors=factors)
    part = known.subset([3, 1])
    assert part.factors is not None and part.factors.values.tolist() == [[3], [1]] and part.factors.sizes == (4,)
    assert known.digest() == ImageSet(images, names, "bars").digest()
    assert ImageSet(images, names, "bars").subset([0]).factors is None


def test_a_tenth_is_held_out_and_kin_stay_together() -> None:
    numbers = np.arange(10_000)
    test = held_out_mask(numbers, 1)
    assert test.sum() == 1000
    # No stretch and no residue of the numbers is preferred.
    assert all(60 < part.sum() < 145 for part in [*test.reshape(10, 1000), *test.reshape(1000, 10).T])
    assert (held_out_mask(numbers, 2) != test).sum() > 1500
    together = held_out_mask(numbers // 4, 1).reshape(-1, 4)
    assert (together == together[:, :1]).all() and together.sum() == 1000
    assert digest(np.packbits(test)) == "11333e5b2806b47e"  # the same on every machine and with every numpy


def test_the_first_images_of_a_split_are_of_all_kinds() -> None:
    rendering = dsprites.rendering(Path("nowhere"))
    for numbers in rendering.splits().values():
        values = rendering.grid.values(numbers[:2000])
        for column, size in zip(values.T, rendering.grid.sizes, strict=True):
            counts = np.bincount(column, minlength=size) * size / 2000
            assert counts.min() > 0.4 and counts.max() < 1.7


# dSprites.


def test_the_images_are_the_same_everywhere() -> None:
    numbers = np.arange(0, 737_280, 4999)
    images = dsprites.render(numbers)
    assert images.shape == (148, 1, 64, 64) and set(np.unique(images).tolist()) == {0, 255}
    assert digest(images) == "645c07bd2de3a44a"


def test_shapes_are_whole_and_no_two_images_are_equal_but_those_of_a_full_turn() -> None:
    seen: dict[tuple[tuple[int, ...], bytes], tuple[int, ...]] = {}
    white = 0.0
    for shape in range(3):
        for scale in range(6):
            for turn in range(40):
                images = dsprites.render(
                    dsprites.grid().numbers(np.array([[shape, scale, turn, x, x] for x in (0, 31)]))
                )
                assert not images[:, :, [0, -1]].any() and not images[:, :, :, [0, -1]].any()  # nothing is cut off
                white += images[0].mean() / 255 / 720
                rows, columns = (np.flatnonzero(images[0, 0].any(axis=axis)) for axis in (1, 0))
                cut = images[0, 0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                twin = seen.setdefault((cut.shape, cut.tobytes()), (shape, scale, turn))
                assert twin == (shape, scale, turn % 39)
    assert len(seen) == 3 * 6 * 39
    assert white == pytest.approx(0.043, abs=0.0005)  # as of the published images


@pytest.mark.parametrize("shape", dsprites.SHAPES)
def test_the_last_orientation_is_the_first(shape: str) -> None:
    np.testing.assert_array_equal(sprite(shape, turn=0), sprite(shape, turn=39))
    assert (sprite(shape, turn=0) != sprite(shape, turn=5)).sum() > 10
    x, y = dsprites.grid().numbers(np.array([[1, 2, 0, 3, 4], [1, 2, 39, 3, 4]]))
    kin = dsprites.rendering(Path("nowhere")).kin(np.array([x, y]))
    assert kin[0] == kin[1]


def test_square_ellipse_and_heart_have_their_symmetries() -> None:
    for angle in (0.0, 0.3, 1.0):
        quarter, half = angle + math.pi / 2, angle + math.pi
        np.testing.assert_array_equal(turned("square", angle), turned("square", quarter))
        np.testing.assert_array_equal(turned("ellipse", angle), turned("ellipse", half))
        assert (turned("ellipse", angle) != turned("ellipse", quarter)).sum() > 40
        assert (turned("heart", angle) != turned("heart", half)).sum() > 40
    upright = turned("heart", 0)
    np.testing.assert_array_equal(upright, upright[:, ::-1])
    assert (upright != upright[::-1]).sum() > 40


def test_orientations_turn_clockwise_from_upright() -> None:
    np.testing.assert_array_equal(turned("heart", math.pi / 2), np.rot90(turned("heart", 0), -1))
    rows = np.flatnonzero(turned("heart", 0).any(axis=1))
    assert turned("heart", 0)[rows[-1]].sum() <= 2 < turned("heart", 0)[rows[0]].sum()  # the tip is below
    across, down = np.ptp(np.argwhere(turned("ellipse", 0)), axis=0)[::-1]
    assert across > 1.4 * down


@pytest.mark.parametrize(
    "shape, area",
    [
        ("square", (2 * dsprites.SQUARE) ** 2),
        ("ellipse", math.pi * dsprites.ELLIPSE[0] * dsprites.ELLIPSE[1]),
        ("heart", 180 * math.pi * dsprites.HEART**2),
    ],
)
def test_area_grows_with_the_square_of_the_scale(shape: str, area: float) -> None:
    for scale in range(6):
        share = 0.5 + 0.1 * scale
        found = np.mean([sprite(shape, scale, turn).sum() for turn in range(0, 39, 3)])
        assert found == pytest.approx(area * share**2, rel=0.02)


@pytest.mark.parametrize("shape", dsprites.SHAPES)
def test_positions_are_a_pixel_apart_and_turning_does_not_move(shape: str) -> None:
    origin = np.array(dsprites.FIRST[::-1]) - 0.5
    for x, y in ((0, 0), (31, 0), (0, 31), (12, 30)):
        found = np.mean([centroid(sprite(shape, 5, turn, x, y)) for turn in range(0, 39, 3)], axis=0)
        np.testing.assert_allclose(found, origin + np.array([y, x]), atol=0.06)
    for turn in range(0, 39, 6):
        np.testing.assert_allclose(centroid(sprite(shape, 5, turn)), origin + 15, atol=0.35)
        step = centroid(sprite(shape, 5, turn, 20, 7)) - centroid(sprite(shape, 5, turn, 19, 5))
        np.testing.assert_allclose(step, (2, 1), atol=1e-9)


def test_dsprites_is_drawn_once_and_split_for_good(few: int, cache: Path) -> None:
    told: list[tuple[str, int, int]] = []
    assert dataset_status("dsprites") == "to be drawn"
    train, test = load("dsprites", progress=lambda *news: told.append(news)), load("dsprites", split="test")
    assert dataset_status("dsprites") == "drawn" and told[-1] == ("rendering dsprites at 64x64", few, few)
    assert train.factors is not None and test.factors is not None
    numbers = [dsprites.grid().numbers(part.factors.values) for part in (train, test) if part.factors]
    assert sorted(np.concatenate(numbers).tolist()) == list(range(few))
    # 3 of 4 orientations are different, and of their images a tenth is for testing.
    assert abs(len(test) - few / 10) <= few / 40
    for part, chosen in zip((train, test), numbers, strict=True):
        np.testing.assert_array_equal(part.images, dsprites.render(chosen))
        assert isinstance(part.images, np.memmap)  # or 3 GB would be in memory
        assert part.labels is not None and part.factors is not None
        np.testing.assert_array_equal(part.labels, part.factors.values[:, 0])
    assert train.label_names == ("square", "ellipse", "heart") and train.source == "dsprites (train)"
    written = fetch("dsprites")
    assert written == [cache / "dsprites" / f"{dsprites.EDITION}-64.npy"]
    before = written[0].stat().st_mtime_ns
    load("dsprites")
    assert written[0].stat().st_mtime_ns == before


def test_equal_images_are_never_parted(few: int) -> None:
    trained_on = {image.tobytes() for image in load("dsprites").images}
    assert not trained_on & {image.tobytes() for image in load("dsprites", split="test").images}


def test_a_smaller_size_is_drawn_piece_by_piece(few: int, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    whole = caching.resized

    def watched(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        nonlocal largest
        largest = max(largest, len(images))
        return whole(images, size)

    monkeypatch.setattr(dsprites, "resized", watched)
    small = load("dsprites", size=32)
    assert isinstance(small.images, np.memmap) and small.images.shape[1:] == (1, 32, 32)
    assert largest == SMALL[3] * SMALL[4]
    assert [path.name for path in (cache / "dsprites").iterdir()] == [f"{dsprites.EDITION}-32.npy"]
    full = load("dsprites")
    for image, original in zip(small.images[::7], full.images[::7], strict=True):
        expected = Image.fromarray(original[0]).resize((32, 32), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(image[0], np.asarray(expected))


def test_the_table_has_the_counts_of_the_splits() -> None:
    for name, module in (("dsprites", dsprites), ("shapes", shapes)):
        splits = module.rendering(Path("nowhere")).splits()
        assert DATASETS[name].counts == {split: len(numbers) for split, numbers in splits.items()}
    one = Rendering("glyphs", "x", glyphs.grid(glyphs.find_faces([])), 1, "letter", lambda size: iter(()))
    assert DATASETS["glyphs"].counts == {split: len(numbers) for split, numbers in one.splits().items()}


# Drawing into a file.


def tiny(draw: Any = None) -> Rendering:
    grid = FactorGrid(("a", "b"), (("0", "1", "2", "3"), tuple(map(str, range(10)))))
    every = np.arange(40, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 8, 8), np.uint8)
    return Rendering("tiny", "tiny1", grid, 1, "a", draw or (lambda size: iter(np.split(every, 4))))


def test_drawing_that_is_interrupted_is_begun_anew(tmp_path: Path) -> None:
    def cut(size: int) -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((10, 1, 8, 8), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_all(tiny(cut), tmp_path, 8)
    assert list(tmp_path.iterdir()) == []
    train = read_rendering(tiny(), tmp_path, "train", 8)
    test = read_rendering(tiny(), tmp_path, "test", 8)
    assert len(train.images) == 36 and len(test.images) == 4
    shown = np.concatenate([train.images, test.images])[:, 0, 0, 0].tolist()
    assert sorted(shown) == list(range(40)) and shown[:36] != sorted(shown[:36])
    for part in (train, test):
        assert part.factors is not None
        np.testing.assert_array_equal(part.factors.values @ (10, 1), part.images[:, 0, 3, 3])


def test_a_file_cut_short_is_drawn_anew(tmp_path: Path) -> None:
    path = render_all(tiny(), tmp_path, 8)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert render_all(tiny(), tmp_path, 8).read_bytes() == whole


def test_what_a_killed_process_left_is_removed_and_a_live_one_is_not_disturbed(tmp_path: Path) -> None:
    old, new = tmp_path / ".tiny1-8.npy.dead.npy", tmp_path / ".tiny1-8.npy.live.npy"
    for path in (old, new):
        path.write_bytes(b"half")
    long_ago = time.time() - 2 * caching.ABANDONED_S
    os.utime(old, (long_ago, long_ago))
    render_all(tiny(), tmp_path, 8)
    assert not old.exists() and new.exists()


def test_a_full_disk_is_told_before_and_while_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(size: int) -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((10, 1, 8, 8), np.uint8)
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot write .*tiny1-8\.npy: No space left on device"):
        render_all(tiny(full), tmp_path, 8)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"tiny at 8x8 pixels needs .* GB .*INFOGAN_CACHE"):
        render_all(tiny(), tmp_path, 8)
    assert list(tmp_path.iterdir()) == []


# The published file.


def publish(cache: Path, images: NDArray[np.uint8], **changed: Any) -> Path:
    """A file like the published one, whose metadata is a pickle that must not be read."""
    path = cache / "dsprites" / dsprites.OFFICIAL
    path.parent.mkdir(parents=True, exist_ok=True)
    values = dsprites.grid().values(np.arange(len(dsprites.grid())))
    members = {
        "metadata": np.array({"author": "x"}, object),
        "imgs": images,
        "latents_classes": np.insert(values, 0, 0, axis=1),
        "latents_values": np.zeros((len(images), 6)),
    } | changed
    np.savez_compressed(path, **members)
    with zipfile.ZipFile(path) as archive, pytest.raises(ValueError, match="allow_pickle"):
        np.load(io.BytesIO(archive.read("metadata.npy")), allow_pickle=False)
    return path


def test_the_published_file_is_used_and_compared(few: int, cache: Path) -> None:
    ours = dsprites.render(np.arange(few))[:, 0] // 255
    assert dataset_note("dsprites") == ""
    load("dsprites")
    published = np.roll(ours, 1, axis=2)  # a pixel to the right
    path = publish(cache, published)
    assert "the published file is used" in dataset_note("dsprites") and "%" not in dataset_note("dsprites")
    train = load("dsprites")
    assert train.factors is not None
    numbers = dsprites.grid().numbers(train.factors.values)
    np.testing.assert_array_equal(train.images[:, 0], published[numbers] * 255)
    found = dsprites.agreement(path.parent)
    assert found.images == 4 * math.prod(SMALL[:3]) and 0.98 < found.pixels < 1
    assert list(found.overlap) == list(dsprites.SHAPES) and all(0.6 < share < 0.95 for share in found.overlap.values())
    assert f"{found.pixels:.2%}" in dataset_note("dsprites")
    # By hand, on the squares of one scale and orientation: a step to the right parts two columns of pixels.
    side = np.flatnonzero(ours[0].any(axis=0)).size
    assert found.overlap["square"] < (side - 1) / (side + 1) + 0.2
    # Another file is noticed.
    publish(cache, ours)
    np.testing.assert_array_equal(load("dsprites").images[:, 0], ours[numbers] * 255)
    equal = dsprites.agreement(path.parent)
    assert equal.pixels == 1 and set(equal.overlap.values()) == {1.0}


def test_agreement_can_be_asked_before_the_file_is_unpacked(few: int, cache: Path) -> None:
    with pytest.raises(UserError, match="to compare with"):
        dsprites.agreement(cache / "dsprites")
    path = publish(cache, dsprites.render(np.arange(few))[:, 0] // 255)
    assert dsprites.agreement(path.parent).pixels == 1
    kept = next(path.parent.glob("*.json"))
    assert json.loads(kept.read_text())["pixels"] == 1
    kept.write_text('{"images": 3}')  # not ours: found again
    assert dsprites.agreement(path.parent).pixels == 1


def test_files_that_are_not_the_published_one_are_refused(few: int, cache: Path) -> None:
    images = dsprites.render(np.arange(few))[:, 0] // 255
    turned_over = np.insert(dsprites.grid().values(np.arange(few)[::-1]), 0, 0, axis=1)
    for changed, message in (
        ({"imgs": images[:-1]}, "expected is uint8 of shape"),
        ({"imgs": np.array([None] * few, object)}, "expected is uint8 of shape"),
        ({"latents_classes": turned_over}, "another order"),
    ):
        publish(cache, images, **changed)
        with pytest.raises(UserError, match=message):
            load("dsprites")
    path = cache / "dsprites" / dsprites.OFFICIAL
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot read"):
        load("dsprites")
    assert [path.name for path in (cache / "dsprites").iterdir()] == [dsprites.OFFICIAL]


# Shapes.


@pytest.fixture(scope="module")
def rooms() -> NDArray[np.uint8]:
    return np.concatenate(list(shapes.draw(16)))


def hue(colour: NDArray[np.uint8]) -> float:
    import colorsys

    return colorsys.rgb_to_hsv(*(colour / 255.0).tolist())[0]


def test_each_factor_of_shapes_is_where_it_should_be(rooms: NDArray[np.uint8]) -> None:
    grid = shapes.GRID
    assert len(rooms) == len(grid) == 40_960
    random = np.random.default_rng(0)
    for number in random.choice(len(grid), 200, replace=False):
        values = dict(zip(grid.names, grid.values(np.array([number]))[0].tolist(), strict=True))
        image = rooms[number]
        radius, middle = shapes.RADII[values["size"]], shapes.PLACES[values["x"]]
        inside = image[:, round((shapes.GROUND - radius) * 16 - 0.5), round(middle * 16 - 0.5)]
        if radius * 16 > 2:  # or no pixel is covered whole
            assert hue(inside) == pytest.approx(values["object_hue"] / 8, abs=0.01)
        assert hue(image[:, 0, 0]) == pytest.approx(values["wall_hue"] / 8, abs=0.01)
        assert hue(image[:, -1, 0]) == pytest.approx(values["floor_hue"] / 8, abs=0.01)


def test_all_of_shapes_are_different(rooms: NDArray[np.uint8]) -> None:
    assert len({image.tobytes() for image in rooms}) == len(rooms)
    assert digest(rooms[::97]) == "9fe9dc949d620a91"


def test_objects_have_the_size_place_and_form_that_they_should() -> None:
    points = (np.arange(400) + 0.5) / 400
    expected = {"disc": math.pi, "square": 4.0, "triangle": 2.0, "cross": 4 - 4 * (1 - shapes.ARM) ** 2}
    for shape in shapes.SHAPES:
        for radius in shapes.RADII:
            for middle in shapes.PLACES:
                found = shapes.inside(shape, radius, middle, points)
                assert found.mean() == pytest.approx(expected[shape] * radius**2, rel=0.03)
                rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
                assert points[rows[-1]] == pytest.approx(shapes.GROUND, abs=0.004)
                assert points[columns].mean() == pytest.approx(middle, abs=0.004)


def test_shapes_and_glyphs_load_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "font_files", lambda: iter(()))
    test = load("glyphs", split="test", size=24)
    assert test.images.shape == (156, 1, 24, 24) and test.factors is not None
    assert test.factors.value_names[1] == ("Aileron",) and test.label_names == tuple(glyphs.LETTERS)
    train = load("shapes", size=8)
    assert train.images.shape == (36_864, 3, 8, 8) and train.factors is not None
    assert train.factors.names == shapes.GRID.names


# Glyphs.


def letters_of(faces: list[glyphs.Face], size: int = 32) -> NDArray[np.uint8]:
    pieces = [glyphs._variants(letter, faces[0], size) for letter in glyphs.LETTERS]
    return np.stack(pieces).reshape(26, len(glyphs.WEIGHTS), len(glyphs.SLANTS), len(glyphs.HEIGHTS), size, size)


@pytest.fixture(scope="module")
def capitals() -> NDArray[np.uint8]:
    return letters_of(glyphs.find_faces([]))


def test_glyphs_are_in_the_order_of_their_grid(capitals: NDArray[np.uint8]) -> None:
    faces = glyphs.find_faces([])
    drawn = np.concatenate(list(glyphs.draw(faces, 32)))
    grid = glyphs.grid(faces)
    assert len(drawn) == len(grid) == 26 * 3 * 5 * 4 and grid.names == ("letter", "font", "weight", "slant", "size")
    for number in range(0, len(grid), 37):
        letter, _, weight, slant, size = grid.values(np.array([number]))[0]
        np.testing.assert_array_equal(drawn[number, 0], capitals[letter, weight, slant, size])
    assert len({image.tobytes() for image in drawn}) == len(drawn)


def test_weight_size_and_slant_do_what_they_say(capitals: NDArray[np.uint8]) -> None:
    ink = capitals.astype(float).sum(axis=(4, 5)) / 255
    assert (np.diff(ink, axis=1) > 1).all()  # heavier, for every letter, slant and size
    assert (np.diff(ink, axis=3) > 1).all()  # larger
    np.testing.assert_allclose(ink, ink[:, :, [2]].repeat(5, axis=2), rtol=0.02)  # a shear keeps the area
    tall = capitals[glyphs.LETTERS.index("H"), 0, 2].astype(float)
    for image, height in zip(tall, glyphs.HEIGHTS, strict=True):
        assert image.sum(axis=0).max() / 255 == pytest.approx(32 * height, abs=1)
    rows, columns = np.mgrid[:32, :32] - 15.5
    for j, degrees in enumerate(glyphs.SLANTS):
        bar = capitals[glyphs.LETTERS.index("I"), 1, j, 3].astype(float)
        # The regression of the columns on the rows: a bar that leans to the right is further right above.
        assert -(bar * rows * columns).sum() / (bar * rows**2).sum() == pytest.approx(
            math.tan(math.radians(degrees)), abs=0.03
        )


def test_letters_stay_inside_and_in_the_middle(capitals: NDArray[np.uint8]) -> None:
    assert not capitals[..., [0, -1], :].any() and not capitals[..., [0, -1]].any()
    upright = capitals[:, 0, 2, 3] > 127
    for image in upright:
        for axis in (0, 1):
            found = np.flatnonzero(image.any(axis=axis))
            assert abs((found[0] + found[-1]) / 2 - 15.5) <= 1


def test_fonts_that_can_not_be_used_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = glyphs.find_faces([])
    assert [face.name for face in own] == ["Aileron"] and own[0].source is None
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0" + b"\xff" * 5000)
    (tmp_path / "empty.ttf").write_bytes(b"")
    (tmp_path / "folder.ttf").mkdir()
    real = glyphs._font
    opened: list[str] = []

    def font(source: Path | None, size: float) -> Any:
        opened.append("" if source is None else source.name)
        return real(source, size)

    monkeypatch.setattr(glyphs, "_font", font)
    large = tmp_path / "large.ttf"
    large.write_bytes(b"x")
    os.truncate(large, glyphs.MOST_BYTES + 1)
    assert glyphs.find_faces(sorted(tmp_path.iterdir())) == own
    assert "large.ttf" not in opened and "empty.ttf" not in opened and "folder.ttf" not in opened
    assert "broken.ttf" in opened
    monkeypatch.setattr(glyphs, "MOST_FILES", 3)
    opened.clear()
    glyphs.find_faces(tmp_path / "broken.ttf" for _ in range(100))
    assert opened.count("broken.ttf") == 3


def faces_by(monkeypatch: pytest.MonkeyPatch, letters: Any) -> list[str]:
    """The fonts that are found where one file has Pillow's own letters, changed."""
    real = glyphs._masters

    def masters(source: Path | None) -> Any:
        own = real(None)
        assert own is not None
        return own if source is None else letters(own)

    def face(source: Path | None, found: Any) -> glyphs.Face:
        return glyphs.Face("own" if source is None else "other", source, 1.0, "")

    monkeypatch.setattr(glyphs, "_masters", masters)
    monkeypatch.setattr(glyphs, "_face", face)
    return [found.name for found in glyphs.find_faces([Path("x.ttf")])]


def test_a_font_must_have_letters_of_its_own_that_look_like_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    def wider(letters: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
        return [np.repeat(letter, 2, axis=1) for letter in letters]

    with monkeypatch.context() as patch:
        assert faces_by(patch, wider) == ["own", "other"]
    with monkeypatch.context() as patch:
        assert faces_by(patch, lambda letters: letters) == ["own"]  # the same font under another name
    with monkeypatch.context() as patch:
        assert faces_by(patch, lambda letters: wider(letters)[7:] + wider(letters)[:7]) == ["own"]  # A is drawn as H
    with monkeypatch.context() as patch:
        assert faces_by(patch, lambda letters: [letters[0], *wider(letters)[1:]]) == ["own"]  # shares its A


def test_without_freetype_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(UserError, match="pip install --force-reinstall pillow"):
        load("glyphs")


def test_other_fonts_make_another_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "font_files", lambda: iter(()))
    one = glyphs.rendering(cache).edition
    with monkeypatch.context() as patch:
        patch.setattr(glyphs, "_face", lambda source, letters: glyphs.Face("a", None, 1.0, "other letters"))
        assert glyphs.rendering(cache).edition != one
    assert glyphs.rendering(cache).edition == one


# Files of one's own.


def test_prepare_keeps_factors(few: int, tmp_path: Path) -> None:
    written = prepare("dsprites", tmp_path / "sprites.npz", size=16)
    for split, images in written.items():
        back = load(tmp_path / "sprites.npz", split=split)
        assert back.factors is not None and images.factors is not None
        np.testing.assert_array_equal(back.factors.values, images.factors.values)
        assert (back.factors.names, back.factors.sizes) == (images.factors.names, images.factors.sizes)
        assert back.factors.value_names == images.factors.value_names


def test_factors_of_ones_own_file(tmp_path: Path) -> None:
    images, values = np.zeros((3, 8, 8), np.uint8), np.array([[0, 1], [2, 0], [1, 1]], np.uint8)
    np.savez(tmp_path / "a.npz", images=images, factors=values)
    found = load(tmp_path / "a.npz").factors
    assert found is not None and found.names == ("factor0", "factor1") and found.sizes == (3, 2)
    np.testing.assert_array_equal(found.values, values)
    for changed, message in (
        ({"factors": values[:2]}, "3 images and factors of 2"),
        ({"factors": values.astype(float)}, "factors of type float64"),
        ({"factor_names": np.array(["a"])}, "one name and one size per factor"),
        ({"factor_sizes": np.array([2, 2])}, "from 0 to below"),
    ):
        np.savez(tmp_path / "b.npz", **{"images": images, "factors": values, **changed})  # type: ignore[arg-type]
        with pytest.raises(UserError, match=message):
            load(tmp_path / "b.npz")


# What training may look at.


class Hidden(ImageSet):
    """Fails whoever looks at factors or labels."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("factors", "labels", "label_names"):
            raise AssertionError(f"the {name} were looked at")
        return super().__getattribute__(name)


@pytest.mark.parametrize("kind", ["infogan", "gan"])
def test_factors_are_never_touched_in_training(tmp_path: Path, kind: str) -> None:
    from tests.training.test_loop import trained

    factors = Factors(("bar",), (64,), np.arange(64)[:, None])
    images = Hidden(pictures(), [str(i) for i in range(64)], "bars", factors=factors)
    assert trained(tmp_path, small_config(objective={"kind": kind}), images).last_checkpoint() is not None
    with pytest.raises(AssertionError, match="factors were looked at"):
        _ = images.factors


def test_no_invariance_of_these_sets_touches_a_factor() -> None:
    for name in ("dsprites", "shapes", "glyphs"):
        strengths = build(resolve.compose("robust", [{"data": {"source": name}}])).augment.strengths
        assert strengths and set(strengths) <= {"colour", "shift"}
        assert "shift" not in strengths or name == "glyphs"
