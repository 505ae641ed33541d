"""Figures, checked by their pixels: positions of cells and texts, and the frames of animations."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infogan.reports.figures import (
    BACKGROUND,
    GAP,
    MARGIN,
    PADDING,
    ROW_LABEL_WIDTH,
    animation_frames,
    gif_bytes,
    image_grid,
    labelled_sheet,
    sample_grid,
    save_image,
    to_image,
)
from infogan.utils.errors import UserError
from tests.helpers import small_config, small_model

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def colour(rgb: tuple[int, int, int], *shape: int) -> Pixels:
    """Return images of one colour, (..., 3, height, width)."""
    filled = np.empty((*shape[:-2], 3, *shape[-2:]), dtype=np.uint8)
    filled[...] = np.array(rgb, dtype=np.uint8)[:, None, None]
    return filled


def pixels_of_colour(image: Image.Image, rgb: tuple[int, int, int]) -> Mask:
    mask: Mask = (np.asarray(image) == rgb).all(axis=2)
    return mask


def box(mask: Mask) -> tuple[int, int, int, int]:
    """Return left, top, and one past right and bottom of the true pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def text_box(image: Image.Image, region: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return the box of everything darker than the background in a region, in coordinates of the image."""
    left, top, right, bottom = region
    dark = np.asarray(image)[top:bottom, left:right, 0] < BACKGROUND[0] - 60
    x0, y0, x1, y1 = box(dark)
    return left + x0, top + y0, left + x1, top + y1


# Grids.


def test_grid_contains_every_image_enlarged_on_the_background() -> None:
    images = noise(5, 3, 8, 8)
    grid = np.asarray(image_grid(images, columns=3, padding=4, scale=2)).copy()
    assert grid.shape == (2 * (16 + 4) + 4, 3 * (16 + 4) + 4, 3)
    for index, image in enumerate(images):
        top, left = 4 + index // 3 * 20, 4 + index % 3 * 20
        cell = grid[top : top + 16, left : left + 16]
        for dy in (0, 1):
            for dx in (0, 1):
                assert (cell[dy::2, dx::2] == image.transpose(1, 2, 0)).all()
        cell[...] = BACKGROUND
    assert (grid == BACKGROUND).all()


def test_grey_images_become_equal_channels() -> None:
    image = noise(1, 1, 64, 64)
    grid = np.asarray(image_grid(image, columns=1, padding=0))
    assert (grid == image[0].transpose(1, 2, 0)).all()


@pytest.mark.parametrize(("size", "enlarged"), [(8, 64), (28, 84), (32, 64), (48, 96), (63, 126), (64, 64), (128, 128)])
def test_small_images_are_enlarged_by_an_integer_factor_to_at_least_64(size: int, enlarged: int) -> None:
    assert image_grid(noise(1, 1, size, size), columns=1, padding=0).size == (enlarged, enlarged)


def test_grid_has_no_empty_columns() -> None:
    assert image_grid(noise(2, 1, 64, 64), columns=5, padding=1).size == (2 * 65 + 1, 66)


def test_grid_does_not_change_its_input() -> None:
    images = noise(4, 1, 8, 8)
    before = images.copy()
    image_grid(images, columns=2)
    assert (images == before).all()


@pytest.mark.parametrize(
    ("shape", "columns", "scale", "message"),
    [
        ((4, 8, 8), 2, None, r"\(4, 8, 8\)"),
        ((0, 1, 8, 8), 2, None, r"\(0, 1, 8, 8\)"),
        ((4, 1, 8, 8), 0, None, "columns is 0"),
        ((4, 1, 8, 8), 2, 0, "scale is 0"),
    ],
)
def test_grid_refuses_invalid_arguments(shape: tuple[int, ...], columns: int, scale: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_grid(np.zeros(shape, dtype=np.uint8), columns, scale=scale)


# Sheets.


def test_sheet_without_labels_is_a_grid_with_a_margin() -> None:
    images = noise(2, 3, 1, 28, 28)
    sheet = np.asarray(labelled_sheet(images))
    grid = np.asarray(image_grid(images.reshape(6, 1, 28, 28), columns=3))
    assert (sheet[MARGIN:-MARGIN, MARGIN:-MARGIN] == grid).all()
    assert (sheet[:MARGIN] == BACKGROUND).all()


def sheet_with_a_mark(**labels: object) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """Return a labelled sheet of 2 x 3 white cells, and the box of the red cell at row 1, column 2."""
    images = colour((255, 255, 255), 2, 3, 64, 64)
    images[1, 2] = colour((255, 0, 0), 64, 64)
    sheet = labelled_sheet(images, **labels)  # type: ignore[arg-type]
    return sheet, box(pixels_of_colour(sheet, (255, 0, 0)))


def test_labels_do_not_change_the_positions_of_cells() -> None:
    sheet, mark = sheet_with_a_mark(column_labels=["a", "b", "c"], row_labels=["first", "second"], title="title")
    left, top, right, bottom = box(pixels_of_colour(sheet, (255, 255, 255)) | pixels_of_colour(sheet, (255, 0, 0)))
    pitch = 64 + PADDING
    assert (right - left, bottom - top) == (3 * pitch - PADDING, 2 * pitch - PADDING)
    assert mark == (left + 2 * pitch, top + pitch, right, bottom)
    assert sheet.size == (right + PADDING + MARGIN, bottom + PADDING + MARGIN)


def test_column_label_is_centred_above_its_column() -> None:
    sheet, (left, top, right, _) = sheet_with_a_mark(column_labels=["", "", "HH"])
    cells_top = top - 64 - PADDING
    x0, y0, x1, y1 = text_box(sheet, (0, 0, sheet.width, cells_top - PADDING))
    assert abs((x0 + x1) - (left + right)) <= 2
    assert MARGIN <= y0 < y1 <= cells_top - PADDING - GAP


def test_row_label_ends_before_its_row_at_half_height() -> None:
    sheet, (left, top, _, bottom) = sheet_with_a_mark(row_labels=["", "HH"])
    cells_left = left - 2 * (64 + PADDING)
    x0, y0, x1, y1 = text_box(sheet, (0, 0, cells_left - PADDING, sheet.height))
    assert MARGIN <= x0 < x1 <= cells_left - PADDING - GAP + 1
    assert abs((y0 + y1) - (top + bottom)) <= 3


def test_long_labels_stay_within_their_space() -> None:
    label = "W" * 100
    sheet, (left, _, right, _) = sheet_with_a_mark(column_labels=["", "", label], row_labels=[label, ""])
    x0, _, x1, _ = text_box(sheet, (0, 0, sheet.width, MARGIN + 15))
    assert left <= x0 < x1 <= right
    cells_left = left - 2 * (64 + PADDING)
    assert cells_left - PADDING - MARGIN <= ROW_LABEL_WIDTH + GAP
    x0, _, x1, _ = text_box(sheet, (0, MARGIN + 20, cells_left - PADDING, sheet.height))
    assert MARGIN <= x0 < x1 <= cells_left - PADDING - GAP + 1


def test_truncated_label_shows_its_beginning() -> None:
    def heading(text: str) -> Pixels:
        return np.asarray(labelled_sheet(noise(1, 1, 1, 64, 64), column_labels=[text]))

    assert (heading("ankle boots, brown") == heading("ankle boots, black")).all()
    assert (heading("ankle boots, brown") != heading("uncle boots, brown")).any()


def test_accents_that_the_font_lacks_are_dropped() -> None:
    images = noise(1, 1, 1, 64, 64)
    accented, plain = (labelled_sheet(images, column_labels=[text]) for text in ("Äpfel", "Apfel"))
    assert (np.asarray(accented) == np.asarray(plain)).all()


def test_sheet_widens_for_its_title_up_to_a_limit() -> None:
    narrow = noise(1, 1, 1, 64, 64)
    title, long_title = (labelled_sheet(narrow, title=text) for text in ("a title wider than the image", "W" * 500))
    x0, _, x1, _ = text_box(title, (0, 0, title.width, MARGIN + 18))
    assert MARGIN <= x0 < x1 <= title.width - MARGIN
    assert title.width < long_title.width <= 480 + 2 * MARGIN


def test_sheet_refuses_invalid_arguments() -> None:
    images = noise(2, 3, 1, 8, 8)
    with pytest.raises(ValueError, match="2 column labels"):
        labelled_sheet(images, column_labels=["a", "b"])
    with pytest.raises(ValueError, match="3 row labels"):
        labelled_sheet(images, row_labels=["a", "b", "c"])
    with pytest.raises(ValueError, match="rows, columns"):
        labelled_sheet(images[0])


# Animations.


def test_frames_run_forwards_and_backwards_without_repeated_ends() -> None:
    images = noise(4, 2, 1, 64, 64)
    frames = animation_frames(images, columns=2)
    corners = [np.asarray(frame)[MARGIN + PADDING, MARGIN + PADDING, 0] for frame in frames]
    assert corners == [images[step, 0, 0, 0, 0] for step in (0, 1, 2, 3, 2, 1)]
    assert len(animation_frames(images[:1], columns=1)) == 1


def test_frames_have_equal_size_for_captions_of_any_length() -> None:
    frames = animation_frames(noise(3, 1, 1, 64, 64), columns=1, captions=["a", "a rather long caption", "b"])
    assert len({frame.size for frame in frames}) == 1


def test_frames_refuse_invalid_arguments() -> None:
    images = noise(3, 4, 1, 8, 8)
    with pytest.raises(ValueError, match="columns is 3"):
        animation_frames(images, columns=3)
    with pytest.raises(ValueError, match="2 step labels"):
        animation_frames(images, columns=2, captions=["a", "b"])


def read_gif(content: bytes) -> tuple[list[Pixels], list[int], int]:
    """Return the frames of a GIF as RGB, their durations in milliseconds, and its repetitions (0 = forever)."""
    frames, durations = [], []
    with Image.open(io.BytesIO(content)) as gif:
        for index in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(index)
            frames.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
        return frames, durations, gif.info["loop"]


def test_grey_gif_preserves_values_frames_and_durations() -> None:
    frames = animation_frames(noise(5, 2, 1, 64, 64), columns=2, captions=list("abcde"))
    decoded, durations, repetitions = read_gif(gif_bytes(frames, 120))
    assert len(decoded) == len(frames) == 8
    assert all((pixels == np.asarray(frame)).all() for pixels, frame in zip(decoded, frames, strict=True))
    assert durations == [120] * 8
    assert repetitions == 0


def test_gif_is_exact_for_few_colours_and_close_for_many() -> None:
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ((200, 10, 10), (10, 10, 200)))
    decoded, _, _ = read_gif(gif_bytes([red, blue], 50))
    assert (decoded[0] == (200, 10, 10)).all()
    assert (decoded[1] == (10, 10, 200)).all()
    frames = [Image.fromarray(noise(32, 32, 3, seed=seed)) for seed in range(3)]
    decoded, _, _ = read_gif(gif_bytes(frames, 50))
    error = np.abs(np.stack(decoded).astype(int) - np.stack([np.asarray(frame) for frame in frames])).mean()
    assert 0 < error < 20


def test_constant_parts_of_a_colour_gif_do_not_flicker() -> None:
    constant = noise(16, 16, 3)
    frames = [Image.fromarray(np.concatenate([constant, noise(16, 16, 3, seed=seed)])) for seed in range(1, 5)]
    decoded, _, _ = read_gif(gif_bytes(frames, 50))
    assert all((frame[:16] == decoded[0][:16]).all() for frame in decoded)


def test_durations_of_equal_frames_are_added() -> None:
    black, white = (Image.new("RGB", (8, 8), (value,) * 3) for value in (0, 255))
    decoded, durations, _ = read_gif(gif_bytes([black, black, white], 50))
    assert len(decoded) == 2
    assert durations == [100, 50]


@pytest.mark.parametrize("milliseconds", [0, 10, 25])
def test_gif_refuses_invalid_durations(milliseconds: int) -> None:
    with pytest.raises(ValueError, match=f"{milliseconds} ms"):
        gif_bytes([Image.new("RGB", (8, 8))], milliseconds)


def test_gif_refuses_frames_of_different_sizes() -> None:
    with pytest.raises(ValueError, match="equal size"):
        gif_bytes([], 50)
    with pytest.raises(ValueError, match="equal size"):
        gif_bytes([Image.new("RGB", (8, 8)), Image.new("RGB", (8, 9))], 50)


def test_sample_grid_repeats_its_noise_or_shows_one_value() -> None:
    model, config = small_model(), small_config()
    assert (np.asarray(sample_grid(model, config, 1)) == np.asarray(sample_grid(model, config, 2))).all()
    config = small_config("train.sample_grid=one-value")
    first, second = (np.asarray(sample_grid(model, config, step)) for step in (1, 2))
    assert first.shape == second.shape
    assert (first != second).any()


def test_image_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    image = to_image(noise(3, 8, 8))
    save_image(image, tmp_path / "a.png")
    assert (np.asarray(Image.open(tmp_path / "a.png")) == np.asarray(image)).all()
    with pytest.raises(UserError, match="txt"):
        save_image(image, tmp_path / "a.txt")
