"""Pictures, judged by their pixels: every cell at its place, text where it belongs, curves through their values."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infogan.reports.figures import (
    AXIS,
    BACKGROUND,
    CHART,
    GAP,
    GRID,
    INK,
    MARGIN,
    PADDING,
    PALETTE,
    PLOT_BOTTOM,
    PLOT_LEFT,
    PLOT_TOP,
    REFERENCE,
    ROW_LABEL_WIDTH,
    Axis,
    animation_frames,
    gif_bytes,
    image_grid,
    labelled_sheet,
    line_chart,
)

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def colour(rgb: tuple[int, int, int], *shape: int) -> Pixels:
    """Images of one colour, of the shape (..., height, width)."""
    filled = np.empty((*shape[:-2], 3, *shape[-2:]), dtype=np.uint8)
    filled[...] = np.array(rgb, dtype=np.uint8)[:, None, None]
    return filled


def at(picture: Image.Image, rgb: tuple[int, int, int]) -> Mask:
    mask: Mask = (np.asarray(picture) == rgb).all(axis=2)
    return mask


def box(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, and one past right and bottom of what is true."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def text_boxes(picture: Image.Image, region: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The box of everything darker than the ground inside a region, in the picture's coordinates."""
    left, top, right, bottom = region
    dark = np.asarray(picture)[top:bottom, left:right, 0] < BACKGROUND[0] - 60
    x0, y0, x1, y1 = box(dark)
    return left + x0, top + y0, left + x1, top + y1


# Grids.


def test_every_image_is_in_its_cell_enlarged_pixel_by_pixel_and_the_rest_is_ground() -> None:
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


@pytest.mark.parametrize(("size", "shown"), [(8, 64), (28, 84), (32, 64), (48, 96), (63, 126), (64, 64), (128, 128)])
def test_small_images_are_enlarged_by_a_whole_factor_to_at_least_64(size: int, shown: int) -> None:
    assert image_grid(noise(1, 1, size, size), columns=1, padding=0).size == (shown, shown)


def test_fewer_images_than_columns_leave_no_empty_columns() -> None:
    assert image_grid(noise(2, 1, 64, 64), columns=5, padding=1).size == (2 * 65 + 1, 66)


def test_the_input_is_left_as_it_was() -> None:
    images = noise(4, 1, 8, 8)
    before = images.copy()
    image_grid(images, columns=2)
    assert (images == before).all()


@pytest.mark.parametrize(
    ("shape", "columns", "scale", "message"),
    [
        ((4, 8, 8), 2, None, r"images of shape \(4, 8, 8\): \(count, channels, height, width\)"),
        ((4, 2, 8, 8), 2, None, "1 or 3 channels"),
        ((0, 1, 8, 8), 2, None, r"images of shape \(0, 1, 8, 8\)"),
        ((4, 1, 8, 8), 0, None, "0 columns: at least 1"),
        ((4, 1, 8, 8), 2, 0, "scale 0: at least 1"),
    ],
)
def test_a_grid_names_what_it_can_not_show(shape: tuple[int, ...], columns: int, scale: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_grid(np.zeros(shape, dtype=np.uint8), columns, scale=scale)


# Sheets.


def test_a_bare_sheet_is_its_grid_within_a_margin() -> None:
    images = noise(2, 3, 1, 28, 28)
    sheet = np.asarray(labelled_sheet(images))
    grid = np.asarray(image_grid(images.reshape(6, 1, 28, 28), columns=3))
    assert (sheet[MARGIN:-MARGIN, MARGIN:-MARGIN] == grid).all()
    assert (sheet[:MARGIN] == BACKGROUND).all()


def sheet_with_a_mark(**labels: object) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """A labelled sheet of 2 x 3 white cells, and the box of the cell at row 1, column 2, which is red."""
    images = colour((255, 255, 255), 2, 3, 64, 64)
    images[1, 2] = colour((255, 0, 0), 64, 64)
    sheet = labelled_sheet(images, **labels)  # type: ignore[arg-type]
    return sheet, box(at(sheet, (255, 0, 0)))


def test_cells_keep_their_places_under_labels() -> None:
    sheet, mark = sheet_with_a_mark(column_labels=["a", "b", "c"], row_labels=["first", "second"], title="title")
    left, top, right, bottom = box(at(sheet, (255, 255, 255)) | at(sheet, (255, 0, 0)))
    pitch = 64 + PADDING
    assert (right - left, bottom - top) == (3 * pitch - PADDING, 2 * pitch - PADDING)
    assert mark == (left + 2 * pitch, top + pitch, right, bottom)
    assert sheet.size == (right + PADDING + MARGIN, bottom + PADDING + MARGIN)


def test_a_column_label_is_centred_over_its_column() -> None:
    sheet, (left, top, right, _) = sheet_with_a_mark(column_labels=["", "", "HH"])
    cells_top = top - 64 - PADDING
    x0, y0, x1, y1 = text_boxes(sheet, (0, 0, sheet.width, cells_top - PADDING))
    assert abs((x0 + x1) - (left + right)) <= 2
    assert MARGIN <= y0 < y1 <= cells_top - PADDING - GAP


def test_a_row_label_ends_before_its_row_at_half_height() -> None:
    sheet, (left, top, _, bottom) = sheet_with_a_mark(row_labels=["", "HH"])
    cells_left = left - 2 * (64 + PADDING)
    x0, y0, x1, y1 = text_boxes(sheet, (0, 0, cells_left - PADDING, sheet.height))
    assert MARGIN <= x0 < x1 <= cells_left - PADDING - GAP + 1
    assert abs((y0 + y1) - (top + bottom)) <= 3


def test_long_labels_end_in_an_ellipsis_inside_their_room() -> None:
    long = "W" * 100
    sheet, (left, _, right, _) = sheet_with_a_mark(column_labels=["", "", long], row_labels=[long, ""])
    x0, _, x1, _ = text_boxes(sheet, (0, 0, sheet.width, MARGIN + 15))
    assert left <= x0 < x1 <= right
    cells_left = left - 2 * (64 + PADDING)
    assert cells_left - PADDING - MARGIN <= ROW_LABEL_WIDTH + GAP
    x0, _, x1, _ = text_boxes(sheet, (0, MARGIN + 20, cells_left - PADDING, sheet.height))
    assert MARGIN <= x0 < x1 <= cells_left - PADDING - GAP + 1


def test_a_shortened_label_shows_its_beginning() -> None:
    def heading(text: str) -> Pixels:
        return np.asarray(labelled_sheet(noise(1, 1, 1, 64, 64), column_labels=[text]))

    assert (heading("ankle boots, brown") == heading("ankle boots, black")).all()
    assert (heading("ankle boots, brown") != heading("uncle boots, brown")).any()


def test_accents_the_font_lacks_are_dropped_instead_of_drawn_as_boxes() -> None:
    images = noise(1, 1, 1, 64, 64)
    accented, plain = (labelled_sheet(images, column_labels=[text]) for text in ("Äpfel", "Apfel"))
    assert (np.asarray(accented) == np.asarray(plain)).all()


def test_a_sheet_widens_for_its_title_but_not_for_ever() -> None:
    narrow = noise(1, 1, 1, 64, 64)
    title, endless = (labelled_sheet(narrow, title=text) for text in ("a title wider than the image", "W" * 500))
    x0, _, x1, _ = text_boxes(title, (0, 0, title.width, MARGIN + 18))
    assert MARGIN <= x0 < x1 <= title.width - MARGIN
    assert title.width < endless.width <= 480 + 2 * MARGIN


def test_a_sheet_names_what_does_not_fit() -> None:
    images = noise(2, 3, 1, 8, 8)
    with pytest.raises(ValueError, match="2 column labels: 3 are needed"):
        labelled_sheet(images, column_labels=["a", "b"])
    with pytest.raises(ValueError, match="3 row labels: 2 are needed"):
        labelled_sheet(images, row_labels=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"\(rows, columns, channels, height, width\)"):
        labelled_sheet(images[0])


# Animations.


def test_frames_run_there_and_back_without_showing_the_ends_twice() -> None:
    images = noise(4, 2, 1, 64, 64)
    frames = animation_frames(images, columns=2)
    shown = [np.asarray(frame)[MARGIN + PADDING, MARGIN + PADDING, 0] for frame in frames]
    assert shown == [images[step, 0, 0, 0, 0] for step in (0, 1, 2, 3, 2, 1)]
    assert len(animation_frames(images[:1], columns=1)) == 1


def test_frames_have_one_size_whatever_their_captions() -> None:
    frames = animation_frames(noise(3, 1, 1, 64, 64), columns=1, captions=["a", "a rather long caption", "b"])
    assert len({frame.size for frame in frames}) == 1


def test_frames_name_what_does_not_fit() -> None:
    images = noise(3, 4, 1, 8, 8)
    with pytest.raises(ValueError, match="3 columns: a number that divides the 4 images"):
        animation_frames(images, columns=3)
    with pytest.raises(ValueError, match="2 step labels: 3 are needed"):
        animation_frames(images, columns=2, captions=["a", "b"])


def read_gif(content: bytes) -> tuple[list[Pixels], list[int], int]:
    """A GIF's frames as RGB, their times in milliseconds, and its repetitions (0 = for ever)."""
    frames, times = [], []
    with Image.open(io.BytesIO(content)) as gif:
        for index in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(index)
            frames.append(np.asarray(gif.convert("RGB")))
            times.append(gif.info["duration"])
        return frames, times, gif.info["loop"]


def test_a_grey_gif_keeps_every_value_frame_and_time() -> None:
    frames = animation_frames(noise(5, 2, 1, 64, 64), columns=2, captions=list("abcde"))
    shown, times, repetitions = read_gif(gif_bytes(frames, 120))
    assert len(shown) == len(frames) == 8
    assert all((read == np.asarray(frame)).all() for read, frame in zip(shown, frames, strict=True))
    assert times == [120] * 8
    assert repetitions == 0


def test_a_gif_of_few_colours_is_exact_and_of_many_is_near() -> None:
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ((200, 10, 10), (10, 10, 200)))
    shown, _, _ = read_gif(gif_bytes([red, blue], 50))
    assert (shown[0] == (200, 10, 10)).all()
    assert (shown[1] == (10, 10, 200)).all()
    frames = [Image.fromarray(noise(32, 32, 3, seed=seed)) for seed in range(3)]
    shown, _, _ = read_gif(gif_bytes(frames, 50))
    error = np.abs(np.stack(shown).astype(int) - np.stack([np.asarray(frame) for frame in frames])).mean()
    assert 0 < error < 20


def test_what_stands_still_does_not_flicker_in_colour() -> None:
    still = noise(16, 16, 3)
    frames = [Image.fromarray(np.concatenate([still, noise(16, 16, 3, seed=seed)])) for seed in range(1, 5)]
    shown, _, _ = read_gif(gif_bytes(frames, 50))
    assert all((frame[:16] == shown[0][:16]).all() for frame in shown)


def test_equal_frames_add_up_their_time() -> None:
    black, white = (Image.new("RGB", (8, 8), (value,) * 3) for value in (0, 255))
    shown, times, _ = read_gif(gif_bytes([black, black, white], 50))
    assert len(shown) == 2
    assert times == [100, 50]


@pytest.mark.parametrize("milliseconds", [0, 10, 25])
def test_a_gif_names_a_time_it_can_not_keep(milliseconds: int) -> None:
    with pytest.raises(ValueError, match=f"{milliseconds} ms a frame: a multiple of 10 from 20 up"):
        gif_bytes([Image.new("RGB", (8, 8))], milliseconds)


def test_a_gif_needs_frames_of_one_size() -> None:
    with pytest.raises(ValueError, match="all of one size"):
        gif_bytes([], 50)
    with pytest.raises(ValueError, match="all of one size"):
        gif_bytes([Image.new("RGB", (8, 8)), Image.new("RGB", (8, 9))], 50)


# Curves.

BLUE, VERMILION = PALETTE[:2]
TICKS = CHART[1] - PLOT_BOTTOM + 2  # a row that crosses the ticks of the x axis


def chart(**changes: object) -> Image.Image:
    arguments = {"title": "Title", "x_label": "step", "y_label": "nats"} | changes
    return line_chart(**arguments)  # type: ignore[arg-type]


def grid_rows(picture: Image.Image) -> list[int]:
    """The rows of the horizontal grid lines, from the bottom up; curves may cover some of each."""
    return [int(row) for row in np.flatnonzero(at(picture, GRID).sum(axis=1) > 100)][::-1]


def near(picture: Image.Image, rgb: tuple[int, int, int]) -> Mask:
    mask: Mask = np.abs(np.asarray(picture).astype(int) - rgb).max(axis=2) < 40
    return mask


def test_a_curve_passes_through_its_values_between_the_grid_lines() -> None:
    # The grid lines are at 0.0, 0.2, ..., 1.0.
    picture = chart(series={"flat": ([0, 100], [0.7, 0.7]), "slope": ([0, 100], [0, 1])})
    rows = grid_rows(picture)
    per_unit = (rows[0] - rows[-1]) / 1.0
    assert len(rows) == 6
    ticks = np.flatnonzero(at(picture, AXIS)[TICKS])
    left, right = int(ticks[0]), int(ticks[-1])
    assert left == PLOT_LEFT
    for share in (0.1, 0.25, 0.5, 0.9):
        column = round(left + share * (right - left))
        flat = np.flatnonzero(near(picture, BLUE)[:, column])
        slope = np.flatnonzero(near(picture, VERMILION)[:, column])
        assert flat.mean() == pytest.approx(rows[0] - 0.7 * per_unit, abs=1)
        assert slope.mean() == pytest.approx(rows[0] - share * per_unit, abs=1.5)
        assert 1 <= len(flat) <= 3


def test_an_axis_runs_from_its_lowest_to_its_highest_value_with_ticks_that_fit_in() -> None:
    axis = Axis(low=-0.3, high=0.9, start=350, end=50, step=0.2)
    assert axis.pixel(-0.3) == 350
    assert axis.pixel(0.9) == 50
    assert axis.pixel(0.3) == 200
    assert [axis.text(tick) for tick in axis.ticks()] == ["-0.2", "0.0", "0.2", "0.4", "0.6", "0.8"]
    assert [axis._replace(step=step).text(12_000) for step in (5_000, 0.5, 2e7)] == ["12,000", "12,000.0", "12000"]
    assert axis._replace(low=0, high=1, step=0.1).ticks() == pytest.approx(np.linspace(0, 1, 11))


def test_ticks_are_at_round_numbers_at_their_places() -> None:
    picture = chart(series={"curve": ([0, 20_000], [0, 1])})
    ticks = np.flatnonzero(at(picture, AXIS)[TICKS])
    assert len(ticks) == 5  # 0, 5,000, ..., 20,000
    assert np.ptp(np.diff(ticks)) <= 1


def test_curves_stay_inside_the_plot_and_do_not_touch_its_ends() -> None:
    picture = chart(series={"curve": ([3, 4, 5], [-7.3, 12.9, 0.001])})
    ticks = np.flatnonzero(at(picture, AXIS)[CHART[1] - PLOT_BOTTOM])
    plot = near(picture, BLUE)[:, : ticks[-1] + 3]
    left, top, right, bottom = box(plot)
    assert left >= PLOT_LEFT - 2
    assert right <= ticks[-1] + 3
    assert top > PLOT_TOP
    assert bottom < CHART[1] - PLOT_BOTTOM


def test_a_reference_line_is_dashed_at_its_height() -> None:
    picture = chart(series={"slope": ([0, 1], [0, 1])}, reference_lines={"H(c)": 0.6})
    rows = grid_rows(picture)
    dashed = np.flatnonzero(at(picture, REFERENCE).sum(axis=1) > 100)
    assert len(dashed) == 1
    assert dashed[0] == pytest.approx(rows[0] - 0.6 * (rows[0] - rows[-1]), abs=1)
    row = at(picture, REFERENCE)[dashed[0], PLOT_LEFT + 1 : PLOT_LEFT + 400]
    assert 0.4 < row.mean() < 0.6


def test_a_reference_line_beyond_the_curves_is_in_view() -> None:
    picture = chart(series={"slope": ([0, 1], [0, 1])}, reference_lines={"H(c)": 2.303})
    dashed = np.flatnonzero(at(picture, REFERENCE).sum(axis=1) > 100)
    assert len(dashed) == 1
    assert PLOT_TOP < dashed[0] < CHART[1] - PLOT_BOTTOM


def test_names_of_references_at_one_height_do_not_cover_each_other() -> None:
    def written(names: list[str]) -> int:
        picture = chart(series={"slope": ([0, 1], [0, 1])}, reference_lines=dict.fromkeys(names, 0.5))
        row = int(np.flatnonzero(at(picture, REFERENCE).sum(axis=1) > 100)[0])
        above = np.asarray(picture)[row - 16 : row - 3, PLOT_LEFT + 1 : PLOT_LEFT + 200, 0] < 150
        return int(above.sum())

    assert written(["HHH", "MMM"]) == written(["MMM", "HHH"]) > 1.5 * written(["HHH"])


def test_the_legend_has_a_swatch_a_series_in_order_and_no_name_is_cut_off() -> None:
    picture = chart(series={name * 40: ([0, 1], [0, 1]) for name in "WMH"})
    ticks = np.flatnonzero(at(picture, AXIS)[CHART[1] - PLOT_BOTTOM])
    legend = np.arange(CHART[0]) > ticks[-1] + 10
    middles = [box(near(picture, rgb) & legend)[1] for rgb in PALETTE[:3]]
    assert middles == sorted(middles)
    assert len(set(middles)) == 3
    dark = np.asarray(picture)[..., 0] < 120
    assert not dark[:, -MARGIN + 1 :].any()


def test_the_ninth_curve_is_told_from_the_first_by_its_thinner_line() -> None:
    picture = chart(series={str(index): ([0, 1], [index, index]) for index in range(9)})
    column = near(picture, BLUE)[:, 300]
    rows = np.flatnonzero(np.asarray(picture)[:, 300, 0] < 200)
    assert column[rows].any()
    first, ninth = (np.asarray(picture)[rows, 300, 0].astype(int) for rows in (slice(300, 348), slice(63, 80)))
    assert (255 - first).sum() > 1.5 * (255 - ninth).sum() > 0


def test_a_single_point_is_a_dot_and_a_level_curve_has_an_axis() -> None:
    picture = chart(series={"dot": ([5], [0])})
    left, top, right, bottom = box(near(picture, BLUE)[:, : CHART[0] - 150])
    assert {right - left, bottom - top} <= {5, 6, 7}
    assert len(grid_rows(picture)) >= 2


def test_the_palette_has_eight_different_colours_and_ink_is_dark_on_the_ground() -> None:
    assert len(set(PALETTE)) == 8
    assert BACKGROUND[0] - INK[0] > 150


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"series": {}}, "at least one series"),
        ({"series": {"a": ([], [])}}, r"series 'a' has x of shape \(0,\)"),
        ({"series": {"a": ([0, 1], [0])}}, r"series 'a' has x of shape \(2,\) and y of shape \(1,\)"),
        ({"series": {"a": ([0, 1], [0, float("nan")])}}, "series 'a' has values that are not finite"),
        ({"series": {"a": ([0], [0])}, "reference_lines": {"H": float("inf")}}, "reference line 'H' is at inf"),
    ],
)
def test_a_chart_names_what_it_can_not_draw(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chart(**changes)
