"""Capital letters in the fonts of this machine, with the known factors letter, font, weight, slant and size.

Letters are white on black, with antialiasing. Fonts differ between machines, and so do the images: compare results only
if the names of the fonts are the same. One font is always available, Aileron, which is part of Pillow. Font files are
treated as untrusted input.

A weight thickens the strokes and a slant shears the letter, by the same rule for every font. Files of bold and slanted
faces are left out, because they would be the same factors under another name. A size is the height of the capitals.
"""

import hashlib
import math
import os
import string
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from infogan.data.factors import FactorGrid
from infogan.data.synthetic.cache import Rendering
from infogan.utils.errors import UserError

VERSION = "glyphs1"  # changes whenever a pixel changes
LETTERS = string.ascii_uppercase
WEIGHTS = (0.0, 0.03, 0.06)  # growth of a stroke on each side, relative to the height of a capital
SLANTS = (-20, -10, 0, 10, 20)  # degrees to the right
HEIGHTS = (0.3, 0.36, 0.42, 0.48)  # of a capital, relative to the side of the image
SUPERSAMPLING = 4  # points per pixel along each axis

MAX_FONTS = 12
MAX_FONT_FILES = 500  # files that are tried
MAX_FONT_BYTES = 8 * 2**20
FONT_EXTENSIONS = (".ttf", ".otf", ".ttc")
_FONT_FOLDERS = {
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    "win32": ("$WINDIR/Fonts", "$LOCALAPPDATA/Microsoft/Windows/Fonts"),
    "linux": ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"),
}
# Share of a font's capitals that must be nearest to the same letter of Pillow's font; 1/26 is chance.
MIN_RECOGNIZED = 0.25
REGULAR_STYLES = {"regular", "book", "roman", "normal"}
UPRIGHT_STYLES = REGULAR_STYLES | {"medium", "text"}
_TEST_SIZE = 96  # font size in pixels at which fonts are judged
_PATTERN_SIZE = 12  # points along each axis by which letters are compared

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Face:
    """A font that can be used.

    Attributes:
        name: Name of the family, and of the style unless it is a regular one.
        source: Font file; None for Pillow's own font.
        size_per_height: Pillow's size of the font divided by the height of its capitals.
        digest: SHA-256 of the letters in hex.
    """

    name: str
    source: Path | None
    size_per_height: float
    digest: str


def rendering(folder: Path) -> Rendering:
    """Return how the set is drawn with the fonts of this machine.

    Raises:
        UserError: Pillow cannot draw fonts.
    """
    faces = find_faces(find_font_files())
    digest = hashlib.sha256("".join(face.digest for face in faces).encode()).hexdigest()[:12]
    return Rendering("glyphs", f"{VERSION}-{digest}", grid(faces), 1, "letter", lambda size: draw(faces, size))


def grid(faces: Iterable[Face]) -> FactorGrid:
    """Return the factors; the names of the fonts are among those of the values."""
    value_names = (
        tuple(LETTERS),
        tuple(face.name for face in faces),
        tuple(f"+{2 * weight:.0%}" for weight in WEIGHTS),
        tuple(f"{slant}°" for slant in SLANTS),
        tuple(f"{height:g}" for height in HEIGHTS),
    )
    return FactorGrid(("letter", "font", "weight", "slant", "size"), value_names)


def draw(faces: Sequence[Face], size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield all images in the order of the grid, in blocks of uint8 (images, 1, size, size)."""
    for letter in LETTERS:
        for face in faces:
            yield _draw_variants(letter, face, size)


def find_font_files() -> Iterator[Path]:
    """Yield possible font files from the platform's font folders and from matplotlib, if it is installed."""
    names = _FONT_FOLDERS.get(sys.platform, _FONT_FOLDERS["linux"])
    folders = [os.path.expandvars(os.path.expanduser(name)) for name in names]
    # matplotlib is not imported, because only its fonts are needed.
    folders += [f"{entry}/matplotlib/mpl-data/fonts/ttf" for entry in sys.path if entry]
    for font_folder in folders:
        for folder, subfolders, files in os.walk(font_folder):
            subfolders.sort()
            yield from (Path(folder) / file for file in sorted(files) if file.lower().endswith(FONT_EXTENSIONS))


def find_faces(files: Iterable[Path]) -> list[Face]:
    """Return the fonts that can be used: Pillow's, then up to ``MAX_FONTS - 1`` others by name.

    A font can be used if it is upright and of regular weight, its capitals are 26 different ones that fit into the
    image, no earlier font shares one of them, and enough of them resemble the letters that they stand for, which the
    characters of symbol fonts do not.

    Raises:
        UserError: Pillow cannot draw fonts.
    """
    if not features.check("freetype2"):
        raise UserError("glyphs needs Pillow with FreeType: pip install --force-reinstall pillow")
    pillow_letters = _load_letters(None)
    assert pillow_letters is not None
    pillow_patterns, keys = _patterns(pillow_letters), _letter_keys(pillow_letters)
    faces: dict[str, Face] = {}
    for _, path in zip(range(MAX_FONT_FILES), files, strict=False):
        letters = _load_letters(path)
        if letters is None or _recognized_share(_patterns(letters), pillow_patterns) < MIN_RECOGNIZED:
            continue
        if not keys & _letter_keys(letters):  # otherwise two fonts would share an image
            keys |= _letter_keys(letters)
            face = _make_face(path, letters)
            faces.setdefault(face.name, face)
    pillow_face = _make_face(None, pillow_letters)
    faces.pop(pillow_face.name, None)
    return [pillow_face, *(faces[name] for name in sorted(faces))][:MAX_FONTS]


def _load_font(source: Path | None, size: float) -> ImageFont.FreeTypeFont:
    if source is not None:
        return ImageFont.truetype(source, size, layout_engine=ImageFont.Layout.BASIC)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _load_letters(source: Path | None) -> list[Mask] | None:
    """Return a font's capitals at the test size, each cut to its ink; None if the font cannot be used."""
    try:
        if source is not None and not (source.is_file() and 0 < source.stat().st_size <= MAX_FONT_BYTES):
            return None
        font = _load_font(source, _TEST_SIZE)
        if source is not None and (font.getname()[1] or "").lower() not in UPRIGHT_STYLES:
            return None
        masks = [_draw_letter(letter, font, 4 * _TEST_SIZE) for letter in LETTERS]
    except Exception:  # FreeType and Pillow raise exceptions of many types on a broken font
        return None
    letters = [mask for mask in masks if mask is not None and min(mask.shape) >= 2]
    if len(letters) < len(LETTERS) or len({key[1:] for key in _letter_keys(letters)}) < len(LETTERS):
        return None
    height = letters[LETTERS.index("H")].shape[0]
    # The widest letter must fit at the greatest height, weight and slant, with a margin.
    max_width = 1 / HEIGHTS[-1] - 2 * WEIGHTS[-1] - math.tan(math.radians(SLANTS[-1])) - 0.1
    fits = all(mask.shape[1] <= max_width * height and mask.shape[0] <= 1.5 * height for mask in letters)
    return letters if fits else None


def _make_face(source: Path | None, letters: list[Mask]) -> Face:
    family, style = _load_font(source, _TEST_SIZE).getname()
    # The name enters lists and file names, and may contain anything.
    name = "".join(character for character in (family or "unnamed") if character.isprintable())[:40]
    if (style or "").lower() not in REGULAR_STYLES:
        name = f"{name} {style}"[:60]
    digest = hashlib.sha256(b"".join(repr(mask.shape).encode() + mask.tobytes() for mask in letters)).hexdigest()
    return Face(name, source, _TEST_SIZE / letters[LETTERS.index("H")].shape[0], digest)


def _draw_letter(letter: str, font: ImageFont.FreeTypeFont, max_size: int) -> Mask | None:
    """Return a letter cut to its ink; None if it is empty, or larger than allowed, which is known before drawing."""
    x0, y0, x1, y1 = font.getbbox(letter)
    if not (0 < x1 - x0 <= max_size and 0 < y1 - y0 <= max_size):
        return None
    canvas = Image.new("L", (math.ceil(x1 - x0) + 2, math.ceil(y1 - y0) + 2))
    ImageDraw.Draw(canvas).text((1 - x0, 1 - y0), letter, fill=255, font=font)
    ink = np.asarray(canvas) > 127
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else None


def _letter_keys(letters: list[Mask]) -> set[tuple[int, tuple[int, ...], bytes]]:
    return {(number, mask.shape, mask.tobytes()) for number, mask in enumerate(letters)}


def _patterns(letters: list[Mask]) -> NDArray[np.float64]:
    """Return letters scaled to one size, (letters, points), for comparison."""
    size, box = (_PATTERN_SIZE, _PATTERN_SIZE), Image.Resampling.BOX
    patterns = [Image.fromarray(mask.astype(np.uint8) * 255).resize(size, box) for mask in letters]
    return np.stack([np.asarray(pattern, np.float64).ravel() / 255 for pattern in patterns])


def _recognized_share(patterns: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Return the share of letters whose nearest reference letter is the same one."""
    nearest = ((patterns[:, None] - reference) ** 2).sum(axis=2).argmin(axis=1)
    return float((nearest == np.arange(len(LETTERS))).mean())


def _draw_variants(letter: str, face: Face, size: int) -> NDArray[np.uint8]:
    """Return a letter in a font in all weights, slants and sizes, in that order: uint8 (images, 1, size, size)."""
    from scipy.ndimage import distance_transform_edt

    fine_size = size * SUPERSAMPLING
    masks = np.zeros((len(WEIGHTS), len(SLANTS), len(HEIGHTS), fine_size, fine_size), np.bool_)
    for k, relative_height in enumerate(HEIGHTS):
        height = relative_height * fine_size
        ink = _draw_letter(letter, _load_font(face.source, height * face.size_per_height), fine_size)
        if ink is None:
            raise UserError(f"the font {face.name} in {face.source} changed during the drawing; draw the set again")
        canvas = np.zeros((fine_size, fine_size), np.bool_)
        row, column = (fine_size - ink.shape[0]) // 2, (fine_size - ink.shape[1]) // 2
        canvas[row : row + ink.shape[0], column : column + ink.shape[1]] = ink
        distance = distance_transform_edt(~canvas)
        for i, weight in enumerate(WEIGHTS):
            for j, slant in enumerate(SLANTS):
                masks[i, j, k] = _shear(distance <= weight * height, slant)
    pixels = masks.reshape(-1, 1, size, SUPERSAMPLING, size, SUPERSAMPLING).mean(axis=(3, 5))
    return np.asarray(np.rint(255 * pixels), np.uint8)


def _shear(mask: Mask, degrees: int) -> Mask:
    """Shift each row sideways: the middle one not at all, those above it to the right."""
    size = len(mask)
    above = (size - 1) / 2 - np.arange(size)
    shift = np.rint(math.tan(math.radians(degrees)) * above).astype(np.int64)
    columns = np.arange(size) - shift[:, None]
    shifted = np.take_along_axis(mask, columns.clip(0, size - 1), axis=1)
    return np.asarray(shifted & (columns >= 0) & (columns < size))
