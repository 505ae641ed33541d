"""Pages and model cards from the templates in ``templates/``.

Pages are self-contained: styles, scripts and images (as PNG) are embedded, nothing is fetched. In HTML all values are
escaped, in Markdown those with the filter ``markdown``.
"""

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from infogan.utils.errors import encodable

STATIC = Path(__file__).parent / "static"


def static(name: str) -> str:
    """Return the text of a file in ``static/``."""
    return (STATIC / name).read_text(encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """Return a template of ``templates/``, filled in, as text that UTF-8 can encode; a missing value is an error."""
    return encodable(_TEMPLATES.get_template(template).render(values))


def scrubber(strips: Sequence[Sequence[Image.Image]], **options: Any) -> str:
    """Return a figure in which buttons select a strip of frames and sliders a frame of it; see ``macros.html``."""
    return _macro("scrubber", strips, **options)


def figure(image: Image.Image, alt: str, caption: str) -> str:
    """Return an image as HTML, with its alternative text and an optional caption."""
    return _macro("figure", image, alt, caption)


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


def _markdown(text: str) -> str:
    """Return text on one line that Markdown shows literally."""
    return re.sub(r"([\\`*_\[\]|#~$!])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _macro(name: str, *arguments: Any, **options: Any) -> str:
    return str(getattr(_TEMPLATES.get_template("macros.html").module, name)(*arguments, **options))


def _side_by_side(frames: Sequence[Image.Image]) -> Image.Image:
    width, height = frames[0].size
    strip = Image.new("RGB", (width * len(frames), height))
    for index, frame in enumerate(frames):
        strip.paste(frame, (index * width, 0))
    return strip


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader([Path(__file__).parent / "templates", STATIC]),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {
    "json": lambda value: json.dumps(value, ensure_ascii=False),
    "markdown": _markdown,
    "png": png_data_url,
    "sentence": sentence,
    "side_by_side": _side_by_side,
}
