"""Pictures of what was learned: grids of images, labelled sheets, animations and curves.

In flow uint8 arrays of images (channels, height, width; 1 or 3 channels) and numbers; out flow Pillow images in RGB.
Nothing is saved here. The sheets are those of Chen et al. 2016, figure 2: one code value per column, the same noise
per row.

Text is set in Pillow's bundled font, which knows little beyond ASCII: accents are dropped from what it can not draw.
"""

import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from infogan.config.schema import Config, ContinuousCode
from infogan.models.infogan import InfoGAN
from infogan.models.naming import CodeValues
from infogan.utils.errors import UserError
from infogan.utils.files import write_bytes

Images = NDArray[np.uint8]
Curve = tuple[Sequence[float] | NDArray[Any], Sequence[float] | NDArray[Any]]  # x and y of equal length

BACKGROUND = (228, 228, 228)  # neither an image's black nor its white
INK = (34, 34, 34)
CELL = 64  # pixels; smaller images are enlarged to at least this
PADDING = 2  # pixels between images
MARGIN = 12  # pixels around a sheet
GAP = 6  # pixels between a label and what it labels
LABEL_SIZE, TITLE_SIZE = 13, 15  # pixels
ROW_LABEL_WIDTH = 160  # pixels at most
TITLE_WIDTH = 480  # pixels at least available to a title


def image_grid(images: Images, columns: int, *, padding: int = PADDING, scale: int | None = None) -> Image.Image:
    """The images in reading order, ``columns`` to a row, on a neutral ground.

    Args:
        images: (count, channels, height, width).
        columns: How many to a row; the last row may be short.
        padding: Pixels of ground between and around the images.
        scale: The whole factor by which images are enlarged, each pixel to a square. None: the smallest that makes
            the longer side at least 64 pixels (28 -> 84, 32 -> 64, 128 as it is).

    Raises:
        ValueError: images of another shape, or a column count or a scale below 1.
    """
    _check_images(images, 4)
    if columns < 1:
        raise ValueError(f"{columns} columns: at least 1 is needed")
    cells = [_enlarged(image, scale) for image in images]
    width, height = cells[0].size
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    grid = Image.new(
        "RGB", (columns * (width + padding) + padding, rows * (height + padding) + padding), color=BACKGROUND
    )
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        grid.paste(cell, (padding + column * (width + padding), padding + row * (height + padding)))
    return grid


def labelled_sheet(
    images: Images,
    *,
    column_labels: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Image.Image:
    """A table of images with a heading over each column, at the left of each row, and over the whole.

    It shows one code value per column and the same noise per row, or real images by category, a category per row.
    Images are enlarged as by `image_grid`. A heading wider than its column, or than 160 pixels at the left of a row,
    is cut short with an ellipsis.

    Args:
        images: (rows, columns, channels, height, width).
        column_labels: One per column.
        row_labels: One per row.
        title: One line; the sheet widens for it, within reason.

    Raises:
        ValueError: images of another shape, or another number of labels than of columns or rows.
    """
    _check_images(images, 5)
    rows, columns = images.shape[:2]
    _check_labels("column", column_labels, columns)
    _check_labels("row", row_labels, rows)
    table = image_grid(images.reshape(-1, *images.shape[2:]), columns, padding=PADDING)
    cell_width, cell_height = (table.width - PADDING) // columns, (table.height - PADDING) // rows

    label_font, title_font = _font(LABEL_SIZE), _font(TITLE_SIZE)
    row_texts = [_shortened(label, label_font, ROW_LABEL_WIDTH) for label in row_labels or ()]
    left = MARGIN + (max(_width(text, label_font) for text in row_texts) + GAP if row_texts else 0)
    top = MARGIN + (TITLE_SIZE + 2 * GAP if title else 0) + (LABEL_SIZE + GAP if column_labels else 0)
    width = left + table.width
    title_text = _shortened(title, title_font, max(width - MARGIN, TITLE_WIDTH)) if title else ""
    width = max(width, MARGIN + _width(title_text, title_font))

    sheet = Image.new("RGB", (width + MARGIN, top + table.height + MARGIN), color=BACKGROUND)
    sheet.paste(table, (left, top))
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN + TITLE_SIZE), title_text, fill=INK, font=title_font, anchor="ls")
    middle = top + PADDING + (cell_height - PADDING) / 2
    for row, text in enumerate(row_texts):
        draw.text((left - GAP, middle + row * cell_height), text, fill=INK, font=label_font, anchor="rm")
    middle = left + PADDING + (cell_width - PADDING) / 2
    for column, label in enumerate(column_labels or ()):
        text = _shortened(label, label_font, cell_width - PADDING)
        draw.text((middle + column * cell_width, top - GAP), text, fill=INK, font=label_font, anchor="ms")
    return sheet


def animation_frames(images: Images, columns: int, *, captions: Sequence[str] | None = None) -> list[Image.Image]:
    """A traversal as frames that run there and back, so that the repeated animation never jumps.

    Args:
        images: (steps, count, channels, height, width): at each step of the code, the same images in the same order.
        columns: Of each frame's grid; divides count.
        captions: One line per step, e.g. the code's value.

    Returns:
        2 * steps - 2 frames of one size (a single step gives one).

    Raises:
        ValueError: images of another shape, columns that do not divide them, or another number of captions than steps.
    """
    _check_images(images, 5)
    steps, count = images.shape[:2]
    _check_labels("step", captions, steps)
    if columns < 1 or count % columns:
        raise ValueError(f"{columns} columns: a number that divides the {count} images of a frame is needed")
    tables = images.reshape(steps, count // columns, columns, *images.shape[2:])
    titles: Sequence[str | None] = captions or [None] * steps
    there = [labelled_sheet(table, title=title) for table, title in zip(tables, titles, strict=True)]
    width = max(frame.width for frame in there)
    there = [_widened(frame, width) for frame in there]
    return there + there[-2:0:-1]


def gif_bytes(frames: Sequence[Image.Image], milliseconds: int) -> bytes:
    """The frames as a GIF that repeats for ever.

    Grey frames keep every value. Frames in colour share one palette of 256 colours, so that nothing flickers; no
    dithering. Frames that equal the one before are stored as more time for that one, as the format wants.

    Args:
        frames: At least one, all of one size.
        milliseconds: Each frame is shown; the format counts in tens, and viewers slow down what is below 20.

    Raises:
        ValueError: no frames, frames of unequal size, or a time that is not a multiple of 10 from 20 up.
    """
    if not frames or len({frame.size for frame in frames}) > 1:
        raise ValueError("an animation needs one or more frames, all of one size")
    if milliseconds < 20 or milliseconds % 10:
        raise ValueError(f"{milliseconds} ms a frame: a multiple of 10 from 20 up is needed")
    first, *rest = _paletted(frames)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0, optimize=False)
    return buffer.getvalue()


# Curves.

CHART = (760, 400)  # pixels, width and height
PLOT_TOP, PLOT_BOTTOM, PLOT_LEFT = 62, 52, 60  # pixels around the plot that ticks and texts take
LEGEND_WIDTH = 150  # pixels at most for a name
SWATCH = 22  # pixels, the line before a name
X_SPACING, Y_SPACING = 70, 40  # pixels at least between ticks
Y_ROOM = 0.04  # of the curves' height, left free above and below
LINE, THIN_LINE = 2.0, 1.0  # pixels
PAPER, GRID, AXIS, REFERENCE = (255, 255, 255), (232, 232, 232), (120, 120, 120), (90, 90, 90)
SMOOTHING = 4  # lines are drawn that much larger and averaged down; Pillow's own are jagged

# Okabe & Ito 2008, told apart with any colour vision; yellow, faint on white, comes last.
PALETTE = (
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 0, 0),
    (240, 228, 66),
)


class Axis(NamedTuple):
    """One axis: the values at its ends, the pixels where they lie, and where its ticks are."""

    low: float
    high: float
    start: int
    end: int
    step: float

    def pixel(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """The multiples of the step on the axis."""
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [index * self.step for index in range(first, last + 1)]

    def text(self, value: float) -> str:
        """A tick's number with as many decimals as the step needs."""
        if not 1e-4 <= self.step < 1e7:
            return f"{value:g}"
        decimals = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{value:,.{decimals}f}"


def line_chart(
    series: Mapping[str, Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
    reference_lines: Mapping[str, float] | None = None,
) -> Image.Image:
    """Curves over a common axis, e.g. each code's information in nats over the steps of training.

    Args:
        series: For each name in the legend, x and y of equal length, at least one point, all finite. Points are joined
            in the order given. From the ninth on, colours return in thin lines.
        title: Stands above.
        x_label: Stands below the x axis.
        y_label: Stands above the y axis.
        reference_lines: For each name, a height to draw a dashed line at, e.g. a code's entropy.

    Raises:
        ValueError: no series, or one with no points, unequal lengths or values not finite.
    """
    references = reference_lines or {}
    curves = _checked_curves(series, references)
    font = _font(LABEL_SIZE)
    names = [_shortened(name, font, LEGEND_WIDTH) for name in series]
    legend = CHART[0] - MARGIN - max(_width(name, font) for name in names) - GAP - SWATCH
    heights = np.concatenate([y for _, y in curves] + [np.array([*references.values()])])
    x_axis = _axis(np.concatenate([x for x, _ in curves]), PLOT_LEFT, legend - 2 * MARGIN, X_SPACING, 0)
    y_axis = _axis(heights, CHART[1] - PLOT_BOTTOM, PLOT_TOP, Y_SPACING, Y_ROOM)

    chart = Image.new("RGB", CHART, color=PAPER)
    draw = ImageDraw.Draw(chart)
    draw.text((MARGIN, MARGIN + TITLE_SIZE), _drawable(title), fill=INK, font=_font(TITLE_SIZE), anchor="ls")
    draw.text((MARGIN, PLOT_TOP - GAP - 3), _drawable(y_label), fill=AXIS, font=font, anchor="ls")
    _draw_axes(draw, x_axis, y_axis, x_label)
    for height in references.values():
        _draw_dashes(draw, x_axis, y_axis.pixel(height))
    for index, curve in enumerate(curves):
        points = [(x_axis.pixel(x), y_axis.pixel(y)) for x, y in zip(*curve, strict=True)]
        _draw_smoothly(chart, points, index)
    _draw_reference_names(draw, x_axis, y_axis, references)
    for index, name in enumerate(names):
        middle = PLOT_TOP + LABEL_SIZE // 2 + index * (LABEL_SIZE + GAP)
        _draw_smoothly(chart, [(legend, middle), (legend + SWATCH, middle)], index)
        draw.text((legend + SWATCH + GAP, middle), name, fill=INK, font=font, anchor="lm")
    return chart


def _axis(values: NDArray[np.float64], start: int, end: int, spacing: int, room: float) -> Axis:
    # Ticks at 1, 2 or 5 times a power of ten, at least `spacing` pixels apart; `room` is left at both ends.
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    low, high = low - room * (high - low), high + room * (high - low)
    rough = (high - low) * spacing / abs(end - start)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return Axis(low, high, start, end, step)


def _draw_axes(draw: ImageDraw.ImageDraw, x_axis: Axis, y_axis: Axis, x_label: str) -> None:
    font = _font(LABEL_SIZE)
    for tick in y_axis.ticks():
        height = round(y_axis.pixel(tick))
        draw.line([(x_axis.start, height), (x_axis.end, height)], fill=GRID)
        draw.text((x_axis.start - GAP, height), y_axis.text(tick), fill=AXIS, font=font, anchor="rm")
    for tick in x_axis.ticks():
        place = round(x_axis.pixel(tick))
        draw.line([(place, y_axis.start), (place, y_axis.start + 4)], fill=AXIS)
        draw.text((place, y_axis.start + 4 + GAP), x_axis.text(tick), fill=AXIS, font=font, anchor="mt")
    draw.line([(x_axis.start, y_axis.start), (x_axis.end, y_axis.start)], fill=AXIS)
    middle = (x_axis.start + x_axis.end) / 2
    draw.text((middle, CHART[1] - MARGIN), _drawable(x_label), fill=AXIS, font=font, anchor="ms")


def _draw_dashes(draw: ImageDraw.ImageDraw, x_axis: Axis, height: float) -> None:
    for start in range(x_axis.start, x_axis.end, 8):
        draw.line([(start, round(height)), (min(start + 3, x_axis.end), round(height))], fill=REFERENCE)


def _draw_reference_names(
    draw: ImageDraw.ImageDraw, x_axis: Axis, y_axis: Axis, references: Mapping[str, float]
) -> None:
    # Over the line's left end, where training starts and curves are low; a name that would cover another moves right.
    font = _font(LABEL_SIZE)
    placed: list[tuple[float, float]] = []  # bottom and right end of the names so far
    for name, height in references.items():
        bottom = y_axis.pixel(height) - 4
        left = max([right + MARGIN for other, right in placed if abs(other - bottom) < LABEL_SIZE] + [x_axis.start + 4])
        text = _shortened(name, font, max(0, int(x_axis.end - left)))
        draw.text((left, bottom), text, fill=REFERENCE, font=font, anchor="ls", stroke_width=2, stroke_fill=PAPER)
        placed.append((bottom, left + _width(text, font)))


def _draw_smoothly(chart: Image.Image, points: Sequence[tuple[float, float]], index: int) -> None:
    # The line is a mask through which its colour is pasted; drawn large, it has soft edges when averaged down.
    # Pixel centres are whole numbers: half a pixel is added before enlarging.
    width = LINE if index < len(PALETTE) else THIN_LINE
    large = [((x + 0.5) * SMOOTHING, (y + 0.5) * SMOOTHING) for x, y in points]
    mask = Image.new("L", (chart.width * SMOOTHING, chart.height * SMOOTHING))
    draw = ImageDraw.Draw(mask)
    draw.line(large, fill=255, width=round(width * SMOOTHING), joint="curve")
    radius = width * SMOOTHING * (1.5 if len(points) == 1 else 0.5)  # a lone point is a dot
    for x, y in (large[0], large[-1]):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    chart.paste(PALETTE[index % len(PALETTE)], mask=mask.reduce(SMOOTHING))


def _checked_curves(
    series: Mapping[str, Curve], references: Mapping[str, float]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    if not series:
        raise ValueError("a chart needs at least one series")
    curves = [(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)) for x, y in series.values()]
    for name, (x, y) in zip(series, curves, strict=True):
        if x.ndim != 1 or x.shape != y.shape or x.size == 0:
            raise ValueError(
                f"series {name!r} has x of shape {x.shape} and y of shape {y.shape}: equally many, 1 or more"
            )
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError(f"series {name!r} has values that are not finite")
    for name, height in references.items():
        if not math.isfinite(height):
            raise ValueError(f"reference line {name!r} is at {height}, which is not finite")
    return curves


# Cells, palettes, texts.


def _enlarged(image: Images, scale: int | None) -> Image.Image:
    channels, height, width = image.shape
    factor = math.ceil(CELL / max(height, width)) if scale is None else scale
    if factor < 1:
        raise ValueError(f"scale {factor}: at least 1 is needed")
    pixels = image.repeat(factor, axis=1).repeat(factor, axis=2).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.repeat(3 // channels, axis=2)))


def _widened(frame: Image.Image, width: int) -> Image.Image:
    canvas = Image.new("RGB", (width, frame.height), color=BACKGROUND)
    canvas.paste(frame, (0, 0))
    return canvas


def _paletted(frames: Sequence[Image.Image]) -> list[Image.Image]:
    colours = [np.asarray(frame.convert("RGB")) for frame in frames]
    if all((rgb == rgb[..., :1]).all() for rgb in colours):
        return [frame.convert("L") for frame in frames]
    palette = Image.fromarray(np.concatenate(colours)).quantize(256, dither=Image.Dither.NONE)
    return [frame.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow built by hand without FreeType; its wheels have it
        raise RuntimeError("this build of Pillow has no FreeType support, which legible labels need")
    return font


def _drawable(text: str) -> str:
    # Decomposed, an accented letter is the letter and its accent, of which the font knows the first.
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    whole = _drawable(text)
    if _width(whole, font) <= width:
        return whole
    kept = next((end for end in range(len(whole), 0, -1) if _width(f"{whole[:end]}…", font) <= width), 0)
    return f"{whole[:kept].rstrip()}…"


def _width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return math.ceil(font.getlength(text))


def _check_images(images: Images, dimensions: int) -> None:
    if images.ndim != dimensions or images.size == 0 or images.shape[-3] not in (1, 3):
        leading = {4: "count", 5: "rows, columns"}[dimensions]
        raise ValueError(
            f"images of shape {images.shape}: ({leading}, channels, height, width) with 1 or 3 channels is needed"
        )


def _check_labels(kind: str, labels: Sequence[str] | None, count: int) -> None:
    if labels is not None and len(labels) != count:
        raise ValueError(f"{len(labels)} {kind} labels: {count} are needed")


def save_image(picture: Image.Image, path: Path) -> None:
    """Writes a picture in the format of its name, all or nothing; raises UserError where it can not."""
    buffer = io.BytesIO()
    try:
        picture.save(buffer, format=Image.registered_extensions()[path.suffix.lower()])
    except KeyError:
        raise UserError(f"cannot write {path}: {path.suffix or 'no ending'} is no format for a picture") from None
    write_bytes(path, buffer.getvalue())


def to_image(image: NDArray[np.uint8]) -> Image.Image:
    """One image, uint8 (channels, height, width), as it is."""
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def sample_grid(model: InfoGAN, config: Config, step: int) -> Image.Image:
    """The picture of a training run at a step: always the same noise, so that pictures compare over time."""
    if config.train.sample_grid == "one-value" and model.layout.categorical:
        code = model.first_categorical()
        value = int(np.random.default_rng([config.train.seed, step]).integers(code.size))
        return image_grid(model.sample(16, codes={code.name: value}, seed=step).images, 4)
    if model.layout.categorical:
        return model.sheet(model.first_categorical().name)
    return image_grid(model.sample(100).images, 10)


def traversal_gif(
    model: InfoGAN,
    code: str,
    *,
    rows: int = 4,
    seed: int = 0,
    codes: Mapping[str, CodeValues] | None = None,
    limit: int | None = None,
) -> bytes:
    """A GIF of ``rows`` by ``rows`` images that goes through the values of one code, there and back.

    Of a category with more than ``most`` values, so many are shown, evenly chosen.
    """
    continuous = isinstance(model.layout.code(code), ContinuousCode)
    values = np.linspace(-1, 1, 25).tolist() if continuous else model.display_values(code, limit)
    images = model.traverse(code, values=values, rows=rows * rows, seed=seed, codes=codes)
    captions = [f"{code} {value:+.2f}" if continuous else f"{code} {model.value_name(code, value)}" for value in values]
    frames = animation_frames(np.ascontiguousarray(images.swapaxes(0, 1)), rows, captions=captions)
    return gif_bytes(frames, 60 if continuous else 700)
