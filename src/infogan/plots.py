"""Pictures of images: grids, labelled sheets and animations, with Pillow alone.

Images go in as uint8 arrays of shape (..., channels, height, width); Pillow images come out. Nothing is saved here.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

BACKGROUND = (128, 128, 128)  # between images: as far from black ones as from white ones
PAPER = (255, 255, 255)  # around a labelled sheet
INK = (32, 32, 32)
COMFORTABLE = 56  # pixels of an enlarged image


def magnification(size: int) -> int:
    """The whole factor by which images of ``size`` are enlarged, so that they come near COMFORTABLE pixels."""
    return max(1, round(COMFORTABLE / size))


def image_grid(images: NDArray[np.uint8], columns: int, *, padding: int = 2, scale: int | None = None) -> Image.Image:
    """Images side by side, row by row, over a grey ground.

    Args:
        images: uint8 (count, channels, height, width), 1 or 3 channels.
        columns: How many in a row; the last row may be shorter.
        padding: Pixels between images and around the grid, after enlarging.
        scale: The whole factor of enlarging, without smoothing; None = `magnification` of their size.

    Raises:
        ValueError: no images, or not of that shape.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise ValueError(f"images of shape {images.shape}: one or more, as (count, 1 or 3, height, width)")
    factor = scale or magnification(images.shape[2])
    height, width = images.shape[2] * factor, images.shape[3] * factor
    rows = -(-len(images) // columns)
    canvas = np.empty((rows * (height + padding) + padding, columns * (width + padding) + padding, 3), np.uint8)
    canvas[:] = BACKGROUND
    for index, image in enumerate(images):
        top = padding + index // columns * (height + padding)
        left = padding + index % columns * (width + padding)
        # One grey channel spreads over the three of the canvas.
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0).repeat(factor, 0).repeat(factor, 1)
    return Image.fromarray(canvas)


def labelled_sheet(
    images: NDArray[np.uint8],
    *,
    column_labels: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    title: str | None = None,
    scale: int | None = None,
) -> Image.Image:
    """A table of images with a title, a label over each column and one beside each row.

    Args:
        images: uint8 (rows, columns, channels, height, width).
        column_labels: One a column; what is too long for it is cut with an ellipsis.
        row_labels: One a row.
        title: Above everything.
        scale: As for `image_grid`.

    Raises:
        ValueError: as `image_grid`, or labels that are not one a column or row.
    """
    rows, columns = images.shape[:2]
    for kind, labels, count in (("column", column_labels, columns), ("row", row_labels, rows)):
        if labels is not None and len(labels) != count:
            raise ValueError(f"{len(labels)} {kind} labels for {count} {kind}s")
    padding = 2
    grid = image_grid(images.reshape(-1, *images.shape[2:]), columns, padding=padding, scale=scale)
    cell_width, cell_height = (grid.width - padding) // columns, (grid.height - padding) // rows
    font, heading = ImageFont.load_default(13), ImageFont.load_default(17)
    margin = 8
    left = margin + (max(int(font.getlength(label)) for label in row_labels) + 6 if row_labels else 0)
    top = margin + (26 if title else 0) + (20 if column_labels else 0)
    sheet = Image.new("RGB", (left + grid.width + margin, top + grid.height + margin), PAPER)
    sheet.paste(grid, (left, top))
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((left, margin), shortened(title, heading, grid.width), INK, heading)
    for column, label in enumerate(column_labels or ()):
        centre = left + padding // 2 + (column + 0.5) * cell_width
        draw.text((centre, top - 4), shortened(label, font, cell_width - 2), INK, font, anchor="ms")
    for row, label in enumerate(row_labels or ()):
        middle = top + padding // 2 + (row + 0.5) * cell_height
        draw.text((left - 6, middle), label, INK, font, anchor="rm")
    return sheet


def shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """``text``, or as much of its beginning as fits into ``width`` pixels with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def gif_bytes(frames: Sequence[Image.Image], milliseconds: int) -> bytes:
    """An endless GIF of frames of one size, each shown for ``milliseconds``; raises ValueError without frames."""
    if not frames:
        raise ValueError("an animation needs at least one frame")
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=list(frames[1:]), duration=milliseconds, loop=0, optimize=False
    )
    return buffer.getvalue()
