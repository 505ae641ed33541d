"""Pages that need nothing else: no network, no folder beside them; pictures are in them as PNG."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

SHORT = 12  # letters of a cell that is not broken


def page(title: str, sections: Sequence[str], lead: str = "") -> str:
    """A page with a heading, something under it, and sections (HTML)."""
    template = Template((Path(__file__).parent / "static" / "report.html").read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(title), verdict=lead, sections="\n".join(sections))


def as_data(picture: Image.Image) -> str:
    """A picture as a ``data:`` address; grey ones in one channel."""
    pixels = np.asarray(picture.convert("RGB"))
    if (pixels == pixels[..., :1]).all():
        picture = picture.convert("L")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure(picture: Image.Image, alt: str, caption: str) -> str:
    """A picture with what it is called where it can not be seen, and what stands below it."""
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<figure><img src="{as_data(picture)}" alt="{html.escape(alt)}" {size}>{below}</figure>'


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


def sentence(text: str) -> str:
    """Words with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""
