"""Figures as Pillow images: grids of images, labelled sheets and animations.

Inputs are uint8 arrays of images (channels, height, width). Of images that are neither grey nor RGB, the first three
channels are shown; `InfoGAN.shown` chooses others. A sheet has one code value per column
and the same noise per row, like figure 2 of Chen et al. 2016. Text is set in Pillow's bundled font, which has few
letters beyond ASCII; accents that it lacks are dropped.
"""

import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from infogan.config.schema import Config, ContinuousCode
from infogan.data.preprocess import shown
from infogan.models.infogan import InfoGAN
from infogan.models.naming import CodeValues
from infogan.utils.errors import UserError
from infogan.utils.files import write_bytes
from infogan.utils.in_place import is_written_in_place

Images = NDArray[np.uint8]

BACKGROUND = (228, 228, 228)  # neither the black nor the white of an image
INK = (34, 34, 34)
CELL = 64  # pixels; smaller images are enlarged to at least this
PADDING = 2  # pixels between images
MARGIN = 12  # pixels around a sheet
GAP = 6  # pixels between a label and its row or column
LABEL_SIZE, TITLE_SIZE = 13, 15  # pixels
ROW_LABEL_WIDTH = 160  # pixels at most
TITLE_WIDTH = 480  # pixels at least available to a title


def image_grid(images: Images, columns: int, *, padding: int = PADDING, scale: int | None = None) -> Image.Image:
    """Return images in reading order, ``columns`` per row, on a grey background.

    Args:
        images: (count, channels, height, width).
        columns: Images per row; the last row may be incomplete.
        padding: Pixels of background between and around the images.
        scale: Integer factor by which images are enlarged. Default: the smallest that makes the longer side at least
            64 pixels (28 -> 84, 32 -> 64, 128 -> 128).

    Raises:
        ValueError: images of another shape, or ``columns`` or ``scale`` below 1.
    """
    _check_images(images, 4)
    if columns < 1:
        raise ValueError(f"columns is {columns}; it must be at least 1")
    cells = [_enlarge(image, scale) for image in images]
    width, height = cells[0].size
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    pitch_x, pitch_y = width + padding, height + padding
    grid = Image.new("RGB", (columns * pitch_x + padding, rows * pitch_y + padding), color=BACKGROUND)
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        grid.paste(cell, (padding + column * pitch_x, padding + row * pitch_y))
    return grid


def labelled_sheet(
    images: Images,
    *,
    column_labels: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Image.Image:
    """Return a table of images with labels above its columns and left of its rows, and a title.

    Images are enlarged as by `image_grid`. A column label that is wider than its column, or a row label that is wider
    than 160 pixels, is truncated with an ellipsis.

    Args:
        images: (rows, columns, channels, height, width).
        column_labels: One per column.
        row_labels: One per row.
        title: One line; the sheet widens for it to at most 480 pixels.

    Raises:
        ValueError: images of another shape, or a number of labels that differs from the columns or rows.
    """
    _check_images(images, 5)
    rows, columns = images.shape[:2]
    _check_labels("column", column_labels, columns)
    _check_labels("row", row_labels, rows)
    table = image_grid(images.reshape(-1, *images.shape[2:]), columns, padding=PADDING)
    cell_width, cell_height = (table.width - PADDING) // columns, (table.height - PADDING) // rows

    label_font, title_font = _font(LABEL_SIZE), _font(TITLE_SIZE)
    row_texts = [_truncate(label, label_font, ROW_LABEL_WIDTH) for label in row_labels or ()]
    table_left = MARGIN + (max(_width(text, label_font) for text in row_texts) + GAP if row_texts else 0)
    table_top = MARGIN + (TITLE_SIZE + 2 * GAP if title else 0) + (LABEL_SIZE + GAP if column_labels else 0)
    width = table_left + table.width
    title_text = _truncate(title, title_font, max(width - MARGIN, TITLE_WIDTH)) if title else ""
    width = max(width, MARGIN + _width(title_text, title_font))

    sheet = Image.new("RGB", (width + MARGIN, table_top + table.height + MARGIN), color=BACKGROUND)
    sheet.paste(table, (table_left, table_top))
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN + TITLE_SIZE), title_text, fill=INK, font=title_font, anchor="ls")
    middle = table_top + PADDING + (cell_height - PADDING) / 2
    for row, text in enumerate(row_texts):
        draw.text((table_left - GAP, middle + row * cell_height), text, fill=INK, font=label_font, anchor="rm")
    middle = table_left + PADDING + (cell_width - PADDING) / 2
    for column, label in enumerate(column_labels or ()):
        text = _truncate(label, label_font, cell_width - PADDING)
        draw.text((middle + column * cell_width, table_top - GAP), text, fill=INK, font=label_font, anchor="ms")
    return sheet


def sample_grid(model: InfoGAN, config: Config, step: int) -> Image.Image:
    """Return the sample grid of a training step.

    It has 100 images with random codes, like the grid of real images; noise and codes are the same at each step, so
    that grids compare over time. With ``train.sample_grid="one-value"`` it shows one value of the first category
    instead, with other noise at each step.
    """
    if config.train.sample_grid == "one-value" and model.layout.categorical:
        code = model.first_categorical()
        value = int(np.random.default_rng([config.train.seed, step]).integers(code.size))
        return image_grid(model.shown(model.sample(16, codes={code.name: value}, seed=step).images), 4)
    return image_grid(model.shown(model.sample(100).images), 10)


def traversal_gif(
    model: InfoGAN,
    code: str,
    *,
    rows: int = 4,
    seed: int = 0,
    codes: Mapping[str, CodeValues] | None = None,
    limit: int | None = None,
) -> bytes:
    """Return an animated GIF of generated images while one code runs through its values and back.

    Args:
        model: The model.
        code: Name of the code that varies.
        rows: The GIF shows ``rows`` times ``rows`` images.
        seed: Random seed of noise and codes.
        codes: Fixed values of other codes.
        limit: Maximum number of values of a category; they are evenly spaced.
    """
    continuous = isinstance(model.layout.code(code), ContinuousCode)
    values = np.linspace(-1, 1, 25).tolist() if continuous else model.display_values(code, limit)
    images = model.shown(model.traverse(code, values=values, rows=rows * rows, seed=seed, codes=codes))
    captions = [f"{code} {value:+.2f}" if continuous else f"{code} {model.value_name(code, value)}" for value in values]
    frames = animation_frames(np.ascontiguousarray(images.swapaxes(0, 1)), rows, captions=captions)
    return gif_bytes(frames, 60 if continuous else 700)


def animation_frames(images: Images, columns: int, *, captions: Sequence[str] | None = None) -> list[Image.Image]:
    """Return a traversal as frames that run forwards and backwards, so that the repeated animation never jumps.

    Args:
        images: (steps, count, channels, height, width): the same images in the same order at each step of the code.
        columns: Columns of the grid of each frame; divides count.
        captions: One line per step, e.g. the value of the code.

    Returns:
        2 * steps - 2 frames of equal size (1 for a single step).

    Raises:
        ValueError: images of another shape, columns that do not divide them, or a wrong number of captions.
    """
    _check_images(images, 5)
    steps, count = images.shape[:2]
    _check_labels("step", captions, steps)
    if columns < 1 or count % columns:
        raise ValueError(f"columns is {columns}; it must divide the {count} images of a frame")
    tables = images.reshape(steps, count // columns, columns, *images.shape[2:])
    titles: Sequence[str | None] = captions or [None] * steps
    frames = [labelled_sheet(table, title=title) for table, title in zip(tables, titles, strict=True)]
    width = max(frame.width for frame in frames)
    frames = [ImageOps.expand(frame, (0, 0, width - frame.width, 0), fill=BACKGROUND) for frame in frames]
    return frames + frames[-2:0:-1]


def gif_bytes(frames: Sequence[Image.Image], milliseconds: int) -> bytes:
    """Return frames as a GIF that repeats forever.

    Grey frames keep every value. Colour frames share one palette of 256 colours without dithering, so that nothing
    flickers. A frame that equals the previous one is stored as a longer duration of that frame.

    Args:
        frames: At least one, all of equal size.
        milliseconds: Duration of a frame, a multiple of 10 from 20 on (viewers slow down shorter ones).

    Raises:
        ValueError: no frames, frames of unequal size, or another duration.
    """
    if not frames or len({frame.size for frame in frames}) > 1:
        raise ValueError(f"{len(frames)} frames; an animation needs one or more frames of equal size")
    if milliseconds < 20 or milliseconds % 10:
        raise ValueError(f"{milliseconds} ms per frame; use a multiple of 10 from 20 on")
    first, *rest = _to_palette(frames)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0, optimize=False)
    return buffer.getvalue()


def save_image(image: Image.Image, path: Path) -> None:
    """Write an image atomically, in the format of its file extension; raise UserError if that fails.

    Standard output (``-``), pipes and devices without an extension get a PNG.
    """
    buffer = io.BytesIO()
    extension = path.suffix.lower() or (".png" if is_written_in_place(path) else "")
    try:
        image.save(buffer, format=Image.registered_extensions()[extension])
    except KeyError:
        raise UserError(f"cannot write {path}: {path.suffix or 'no extension'} is not an image format") from None
    write_bytes(path, buffer.getvalue())


def save_pixels(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write one image, (channels, height, width), atomically as a PNG, or as a TIFF with one page a channel.

    Raises:
        UserError: The file cannot be written.
    """
    if len(pixels) in (1, 3):
        save_image(to_image(pixels), path)
        return
    buffer, (first, *others) = io.BytesIO(), map(Image.fromarray, pixels)
    first.save(buffer, format="TIFF", save_all=True, append_images=others)
    write_bytes(path, buffer.getvalue())


def pixels_extension(channels: int) -> str:
    """Return the extension of the files that `save_pixels` writes."""
    return ".png" if channels in (1, 3) else ".tif"


def to_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return one image, (channels, height, width), as a Pillow image of equal size."""
    pixels = shown(pixels)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _enlarge(image: Images, scale: int | None) -> Image.Image:
    factor = math.ceil(CELL / max(image.shape[1:])) if scale is None else scale
    if factor < 1:
        raise ValueError(f"scale is {factor}; it must be at least 1")
    return ImageOps.scale(to_image(image).convert("RGB"), factor, Image.Resampling.NEAREST)


def _to_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    colours = [np.asarray(frame.convert("RGB")) for frame in frames]
    if all((rgb == rgb[..., :1]).all() for rgb in colours):
        return [frame.convert("L") for frame in frames]
    palette = Image.fromarray(np.concatenate(colours)).quantize(256, dither=Image.Dither.NONE)
    return [frame.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow's wheels have FreeType, some builds from source lack it
        raise RuntimeError("this build of Pillow lacks FreeType, which labels need; install a wheel of Pillow")
    return font


def _without_accents(text: str) -> str:
    # Decomposed, an accented letter is the letter and its accent; the font has the letter only.
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))


def _truncate(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    text = _without_accents(text)
    if _width(text, font) <= width:
        return text
    length = next((end for end in range(len(text), 0, -1) if _width(f"{text[:end]}…", font) <= width), 0)
    return f"{text[:length].rstrip()}…"


def _width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return math.ceil(font.getlength(text))


def _check_images(images: Images, dimensions: int) -> None:
    if images.ndim != dimensions or images.size == 0 or images.shape[-3] == 0:
        axes = {4: "count", 5: "rows, columns"}[dimensions]
        raise ValueError(f"images have shape {images.shape}; expected ({axes}, channels, height, width)")


def _check_labels(kind: str, labels: Sequence[str] | None, count: int) -> None:
    if labels is not None and len(labels) != count:
        raise ValueError(f"{len(labels)} {kind} labels for {count} {kind}s; expected one each")
