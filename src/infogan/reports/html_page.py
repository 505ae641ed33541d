"""Pages that need nothing else: no network, no folder beside them; pictures are in them as PNG."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

SHORT = 12  # letters of a cell that is not broken


@dataclass(frozen=True)
class Control:
    """What chooses among frames.

    Attributes:
        name: Stands before it.
        values: One a place, as they are told; a slider's have no spaces.
    """

    name: str
    values: Sequence[str]


def static(name: str) -> str:
    """A file that is part of pages."""
    return (Path(__file__).parent / "static" / name).read_text(encoding="utf-8")


def page(title: str, sections: Sequence[str], lead: str = "") -> str:
    """A page with a heading, something under it, and sections (HTML)."""
    return Template(static("report.html")).substitute(
        title=html.escape(title),
        verdict=lead,
        sections="\n".join(sections),
        scrub_style=static("scrub.css"),
        scrub_script=static("scrub.js"),
    )


def png_bytes(picture: Image.Image, *, optimize: bool = True) -> bytes:
    """Return an image as PNG: as small as possible, or written as fast as possible."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **({"optimize": True} if optimize else {"compress_level": 1}))
    return buffer.getvalue()


def png_data_url(picture: Image.Image, *, optimize: bool = True) -> str:
    """Return an image as a ``data:`` URL of a PNG; with ``optimize``, grey images are stored in one channel."""
    if optimize:
        pixels = np.asarray(picture.convert("RGB"))
        if (pixels == pixels[..., :1]).all():
            picture = picture.convert("L")
    return f"data:image/png;base64,{base64.b64encode(png_bytes(picture, optimize=optimize)).decode()}"


def figure(picture: Image.Image, alt: str, caption: str) -> str:
    """A picture with what it is called where it can not be seen, and what stands below it."""
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    size = f'width="{picture.width}" height="{picture.height}" style="max-width:100%;height:auto"'
    return f'<figure><img src="{png_data_url(picture)}" alt="{html.escape(alt)}" {size}>{below}</figure>'


def scrubber(
    strips: Sequence[Sequence[Image.Image]],
    *,
    sliders: Sequence[Control],
    buttons: Control | None = None,
    alone: bool = False,
    width: int,
    alt: str,
    caption: str,
) -> str:
    """A figure in which buttons choose a strip of frames and sliders a frame of it; ``scrub.js`` makes it move.

    Args:
        strips: One for each button, or a single one; frames of one size, in the order that ``scrub.js`` tells.
        sliders: Each stands in its middle at first.
        buttons: The first is chosen at first.
        alone: Whether the frames are those of one slider after another, and not of all their places together.
        width: Pixels that a frame is shown in, where there is room.
        alt: What is shown.
        caption: What stands below.
    """
    first = strips[0][0]
    images = "".join(f'<img src="{png_data_url(_side_by_side(frames))}" alt=""{" hidden" if i else ""}>'
                     for i, frames in enumerate(strips))  # fmt: skip
    shown = (
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
    kind = '"scrubbed" data-alone' if alone else '"scrubbed"'
    return f"<figure class={kind}>{shown}{controls}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _slider(control: Control) -> str:
    last, middle = len(control.values) - 1, len(control.values) // 2
    return (
        f'<label>{html.escape(control.name)} <input type="range" min="0" max="{last}" value="{middle}" step="1" '
        f'data-values="{" ".join(control.values)}"> <output>{control.values[middle]}</output></label>'
    )


def section(title: str, content: str) -> str:
    """A part of a page under a heading."""
    return f"<section><h2>{html.escape(title)}</h2>{content}</section>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, escaped: bool = False) -> str:
    """A table whose first column is a heading of its row."""

    def text(cell: str) -> str:
        return cell if escaped else html.escape(cell)

    def data(cell: str) -> str:
        # Long words may be broken anywhere, so that a path does not make the page wide; numbers may not.
        return f"<td class=short>{text(cell)}</td>" if len(cell) <= SHORT else f"<td>{text(cell)}</td>"

    top = (
        f"<thead><tr>{''.join(f'<th scope=col>{html.escape(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    )
    lines = [f"<tr><th scope=row>{text(first)}</th>{''.join(map(data, rest))}</tr>" for first, *rest in rows]
    return f"<div class=scroll><table>{top}<tbody>{''.join(lines)}</tbody></table></div>"


def _side_by_side(frames: Sequence[Image.Image]) -> Image.Image:
    width, height = frames[0].size
    strip = Image.new("RGB", (width * len(frames), height))
    for place, frame in enumerate(frames):
        strip.paste(frame, (place * width, 0))
    return strip


def sentence(text: str) -> str:
    """Words with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""
