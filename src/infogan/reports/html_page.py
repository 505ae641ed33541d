"""Self-contained HTML pages: styles, scripts and images (as PNG) are embedded, nothing is fetched."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

SHORT_CELL = 12  # letters of a table cell that is not wrapped


@dataclass(frozen=True)
class Control:
    """A slider or a group of buttons that selects among frames.

    Attributes:
        name: Label of the control.
        values: Text of each position; those of a slider contain no spaces.
    """

    name: str
    values: Sequence[str]


def static(name: str) -> str:
    """Return the text of a file in ``static/``."""
    return (Path(__file__).parent / "static" / name).read_text(encoding="utf-8")


def page(title: str, sections: Sequence[str], lead: str = "") -> str:
    """Return a page with a title (text), a lead paragraph (HTML) and sections (HTML)."""
    return Template(static("report.html")).substitute(
        title=html.escape(title),
        lead=lead,
        sections="\n".join(sections),
        style=static("scrub.css") + static("chart.css"),
        script=static("scrub.js"),
    )


def section(title: str, content: str) -> str:
    """Return a section of a page: a heading (text) and its content (HTML)."""
    return f"<section><h2>{html.escape(title)}</h2>{content}</section>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, escaped: bool = False) -> str:
    """Return a table whose first column contains row headings.

    Args:
        head: Column headings; empty for none.
        rows: Cells of each row.
        escaped: Whether the cells of ``rows`` are HTML already.
    """

    def content(cell: str) -> str:
        return cell if escaped else html.escape(cell)

    def data(cell: str) -> str:
        # Long words wrap anywhere, so that a path does not widen the page; numbers do not wrap.
        return f"<td class=short>{content(cell)}</td>" if len(cell) <= SHORT_CELL else f"<td>{content(cell)}</td>"

    headings = "".join(f"<th scope=col>{html.escape(cell)}</th>" for cell in head)
    header = f"<thead><tr>{headings}</tr></thead>" if head else ""
    body = [f"<tr><th scope=row>{content(first)}</th>{''.join(map(data, rest))}</tr>" for first, *rest in rows]
    return f"<div class=scroll><table>{header}<tbody>{''.join(body)}</tbody></table></div>"


def figure(image: Image.Image, alt: str, caption: str) -> str:
    """Return an image with its alternative text and an optional caption."""
    figcaption = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    size = f'width="{image.width}" height="{image.height}" style="max-width:100%;height:auto"'
    return f'<figure><img src="{png_data_url(image)}" alt="{html.escape(alt)}" {size}>{figcaption}</figure>'


def scrubber(
    strips: Sequence[Sequence[Image.Image]],
    *,
    sliders: Sequence[Control],
    buttons: Control | None = None,
    independent: bool = False,
    width: int,
    alt: str,
    caption: str,
) -> str:
    """Return a figure in which buttons select a strip of frames and sliders a frame of it; ``scrub.js`` animates it.

    Args:
        strips: One per button, or a single one; frames of equal size in the order that ``scrub.js`` documents.
        sliders: Each starts at its middle position.
        buttons: The first one is selected at the start.
        independent: Whether the frames vary one slider at a time instead of all combinations of their positions.
        width: Maximum width of a frame in pixels.
        alt: Alternative text.
        caption: Text below the figure.
    """
    first = strips[0][0]
    images = "".join(
        f'<img src="{png_data_url(_side_by_side(frames))}" alt=""{" hidden" if i else ""}>'
        for i, frames in enumerate(strips)
    )
    window = (
        f'<div class="window" role="img" style="--frames:{len(strips[0])};aspect-ratio:{first.width}/{first.height};'
        f'max-width:{width}px" aria-label="{html.escape(alt)}">{images}</div>'
    )
    controls = ""
    if buttons is not None:
        radios = "".join(
            f'<label><input type="radio"{"" if i else " checked"}>{html.escape(value)}</label>'
            for i, value in enumerate(buttons.values)
        )
        controls += f"<fieldset><legend>{html.escape(buttons.name)}</legend>{radios}</fieldset>"
    controls += "".join(map(_slider, sliders))
    attributes = 'class="scrubber" data-independent' if independent else 'class="scrubber"'
    return f"<figure {attributes}>{window}{controls}<figcaption>{html.escape(caption)}</figcaption></figure>"


def png_data_url(image: Image.Image, *, optimize: bool = True) -> str:
    """Return an image as a ``data:`` URL of a PNG; with ``optimize``, grey images are stored in one channel."""
    if optimize:
        pixels = np.asarray(image.convert("RGB"))
        if (pixels == pixels[..., :1]).all():
            image = image.convert("L")
    return f"data:image/png;base64,{base64.b64encode(png_bytes(image, optimize=optimize)).decode()}"


def png_bytes(image: Image.Image, *, optimize: bool = True) -> bytes:
    """Return an image as PNG: as small as possible, or written as fast as possible."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **({"optimize": True} if optimize else {"compress_level": 1}))
    return buffer.getvalue()


def sentence(text: str) -> str:
    """Return text with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _slider(control: Control) -> str:
    last, middle = len(control.values) - 1, len(control.values) // 2
    return (
        f'<label>{html.escape(control.name)} <input type="range" min="0" max="{last}" value="{middle}" step="1" '
        f'data-values="{" ".join(control.values)}"> <output>{control.values[middle]}</output></label>'
    )


def _side_by_side(frames: Sequence[Image.Image]) -> Image.Image:
    width, height = frames[0].size
    strip = Image.new("RGB", (width * len(frames), height))
    for index, frame in enumerate(frames):
        strip.paste(frame, (index * width, 0))
    return strip
