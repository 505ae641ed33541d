"""Letters in the fonts of this machine, drawn here: factors letter, font, weight, slant and size.

In flow font files, which are taken for the work of strangers; out flow white capitals on black, with antialiasing.
Fonts differ between machines, and the images with them: compare figures only where the names of the fonts are the same.
The one that is always there is Aileron, which Pillow brings along.

A weight thickens the font's strokes and a slant shears the letter, by the same rule for every font; files of bold and
slanted faces are left out, as they would be those factors under another name. A size is the height of the capitals.
"""

import hashlib
import math
import os
import string
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from infogan.data.factors import FactorGrid
from infogan.data.synthetic.cache import Rendering
from infogan.utils.errors import UserError

SIDE = 32  # pixels of an image unless asked for another
LETTERS = string.ascii_uppercase
WEIGHTS = (0.0, 0.03, 0.06)  # by how much a stroke grows to each side, in heights of a capital
SLANTS = (-20, -10, 0, 10, 20)  # degrees, to the right
HEIGHTS = (0.3, 0.36, 0.42, 0.48)  # of a capital, as shares of the side of the image
FINE = 4  # points a pixel is the mean of, along each axis
EDITION = "glyphs1"  # another one whenever a pixel changes

MOST_FONTS = 12
MOST_FILES = 500  # that are tried
MOST_BYTES = 8 * 2**20  # of a file that is opened
ENDINGS = (".ttf", ".otf", ".ttc")
ALIKE = 0.25  # the share of a font's capitals that must be nearest to the same one of Pillow's font; by chance 1/26 are
UPRIGHT = {"regular", "book", "roman", "normal", "medium", "text"}
_MASTER = 96  # pixels of the letters by which fonts are judged
_ALIKE = 12  # points along each axis by which letters are compared


@dataclass(frozen=True)
class Face:
    """A font that can be used.

    Attributes:
        name: Its family, and its style if that is not a usual one.
        source: Its file; None for the one of Pillow.
        per_height: Pillow's size of the font in heights of its capitals.
        digest: SHA-256 of its letters, in hex.
    """

    name: str
    source: Path | None
    per_height: float
    digest: str


def rendering(folder: Path) -> Rendering:
    """The set of this machine's fonts.

    Raises:
        UserError: there is no font that can be used.
    """
    faces = find_faces(font_files())
    state = hashlib.sha256("".join(face.digest for face in faces).encode()).hexdigest()[:12]
    return Rendering("glyphs", f"{EDITION}-{state}", grid(faces), 1, "letter", lambda size: draw(faces, size))


def grid(faces: Iterable[Face]) -> FactorGrid:
    """The factors, with the names of the fonts among those of the values."""
    weights = tuple(f"+{2 * weight:.0%}" for weight in WEIGHTS)
    slants, heights = tuple(f"{slant}°" for slant in SLANTS), tuple(f"{height:g}" for height in HEIGHTS)
    names = tuple(face.name for face in faces)
    return FactorGrid(("letter", "font", "weight", "slant", "size"), (tuple(LETTERS), names, weights, slants, heights))


def draw(faces: list[Face], size: int) -> Iterator[NDArray[np.uint8]]:
    """All images in the order of the grid, uint8 (some, 1, size, size)."""
    for letter in LETTERS:
        for face in faces:
            yield _variants(letter, face, size)


def font_files() -> Iterator[Path]:
    """Files that may be fonts, from the folders where this platform keeps them and from matplotlib, if it is there."""
    for folder in _folders():
        for place, folders, files in os.walk(folder):
            folders.sort()
            yield from (Path(place) / file for file in sorted(files) if file.lower().endswith(ENDINGS))


def find_faces(files: Iterable[Path]) -> list[Face]:
    """The fonts that can be used: Pillow's, then at most so many others, by name.

    A font can be used if it is upright and of usual weight, if its capitals are 26 different ones that fit the image,
    if no font before it has one of them, and if enough of them look like the letters that they are to be, which those
    of symbols do not.

    Raises:
        UserError: Pillow can draw no fonts.
    """
    if not features.check("freetype2"):
        raise UserError(
            "glyphs needs fonts, and this Pillow draws none, as it lacks FreeType: pip install --force-reinstall pillow"
        )
    own = _masters(None)
    assert own is not None
    known, taken = _patterns(own), _keys(own)
    found: dict[str, Face] = {}
    for _, path in zip(range(MOST_FILES), files, strict=False):
        letters = _masters(path)
        if letters is None or (_nearest(_patterns(letters), known) == np.arange(len(LETTERS))).mean() < ALIKE:
            continue
        if not taken & _keys(letters):  # else two fonts would share an image
            taken |= _keys(letters)
            face = _face(path, letters)
            found.setdefault(face.name, face)
    first = _face(None, own)
    return [first, *(found[name] for name in sorted(found) if name != first.name)][:MOST_FONTS]


def _folders() -> Iterator[Path]:
    home = Path.home()
    if sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts")
    elif sys.platform == "win32":
        yield Path(os.environ.get("WINDIR") or "C:/Windows") / "Fonts"
        yield Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "Microsoft" / "Windows" / "Fonts"
    else:
        yield from (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts")
        yield home / ".fonts"
    # Looked for, not imported: its fonts are wanted, not its code.
    yield from (Path(entry) / "matplotlib" / "mpl-data" / "fonts" / "ttf" for entry in sys.path if entry)


def _font(source: Path | None, size: float) -> ImageFont.FreeTypeFont:
    if source is not None:
        return ImageFont.truetype(source, size, layout_engine=ImageFont.Layout.BASIC)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _masters(source: Path | None) -> list[NDArray[np.bool_]] | None:
    """A font's capitals, each cut out, at a size that all are judged at; None if the font can not be used."""
    try:
        if source is not None and not (source.is_file() and 0 < source.stat().st_size <= MOST_BYTES):
            return None
        font = _font(source, _MASTER)
        if source is not None and (font.getname()[1] or "").lower() not in UPRIGHT:
            return None
        letters = [_drawn(letter, font, 4 * _MASTER, 4 * _MASTER) for letter in LETTERS]
    except Exception:  # FreeType and Pillow raise nearly anything on a broken font
        return None
    if any(letter is None or min(letter.shape) < 2 for letter in letters):
        return None
    cut = [letter for letter in letters if letter is not None]
    height = cut[LETTERS.index("H")].shape[0]
    # The widest must fit at the greatest height, weight and slant, with a margin.
    room = 1 / HEIGHTS[-1] - 2 * WEIGHTS[-1] - math.tan(math.radians(SLANTS[-1])) - 0.1
    if max(letter.shape[1] for letter in cut) > room * height or max(letter.shape[0] for letter in cut) > 1.5 * height:
        return None
    return cut if len({key[1:] for key in _keys(cut)}) == len(LETTERS) else None


def _face(source: Path | None, letters: list[NDArray[np.bool_]]) -> Face:
    family, style = _font(source, _MASTER).getname()
    # A name goes into lists and file names, and may be anything.
    name = "".join(letter for letter in (family or "unnamed") if letter.isprintable())[:40]
    usual = (style or "").lower() in ("regular", "book", "roman", "normal")
    state = hashlib.sha256(b"".join(repr(letter.shape).encode() + letter.tobytes() for letter in letters))
    return Face(
        name if usual else f"{name} {style}"[:60],
        source,
        _MASTER / letters[LETTERS.index("H")].shape[0],
        state.hexdigest(),
    )


def _drawn(letter: str, font: ImageFont.FreeTypeFont, width: int, height: int) -> NDArray[np.bool_] | None:
    """A letter, cut out; None if it is empty or larger than it may be, which is found before it is drawn."""
    left, top, right, bottom = font.getbbox(letter)
    if not (0 < right - left <= width and 0 < bottom - top <= height):
        return None
    canvas = Image.new("L", (math.ceil(right - left) + 2, math.ceil(bottom - top) + 2))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), letter, fill=255, font=font)
    ink = np.asarray(canvas) > 127
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else None


def _keys(letters: list[NDArray[np.bool_]]) -> set[tuple[int, tuple[int, ...], bytes]]:
    return {(number, letter.shape, letter.tobytes()) for number, letter in enumerate(letters)}


def _patterns(letters: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Letters brought to one size, (letters, points), for comparing."""
    boxes = [
        Image.fromarray(letter.astype(np.uint8) * 255).resize((_ALIKE, _ALIKE), Image.Resampling.BOX)
        for letter in letters
    ]
    return np.stack([np.asarray(box, np.float64).ravel() / 255 for box in boxes])


def _nearest(patterns: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.asarray(((patterns[:, None] - known) ** 2).sum(axis=2).argmin(axis=1), np.int64)


def _variants(letter: str, face: Face, size: int) -> NDArray[np.uint8]:
    """One letter in one font in all weights, slants and sizes, in that order: uint8 (some, 1, size, size)."""
    from scipy.ndimage import distance_transform_edt

    fine = size * FINE
    images = np.zeros((len(WEIGHTS), len(SLANTS), len(HEIGHTS), fine, fine), np.bool_)
    for k, share in enumerate(HEIGHTS):
        height = share * fine
        ink = _drawn(letter, _font(face.source, height * face.per_height), fine, fine)
        if ink is None:
            raise UserError(f"the font {face.name} in {face.source} changed while it was drawn from")
        canvas = np.zeros((fine, fine), np.bool_)
        top, left = (fine - ink.shape[0]) // 2, (fine - ink.shape[1]) // 2
        canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
        distance = distance_transform_edt(~canvas)
        for i, weight in enumerate(WEIGHTS):
            heavy = distance <= weight * height
            for j, slant in enumerate(SLANTS):
                images[i, j, k] = _slanted(heavy, slant)
    pixels = images.reshape(-1, 1, size, FINE, size, FINE).mean(axis=(3, 5))
    return np.asarray(np.rint(255 * pixels), np.uint8)


def _slanted(ink: NDArray[np.bool_], degrees: int) -> NDArray[np.bool_]:
    """Moves each row sideways, the middle one not at all and those above it to the right."""
    side = len(ink)
    above = (side - 1) / 2 - np.arange(side)
    by = np.rint(math.tan(math.radians(degrees)) * above).astype(np.int64)
    columns = np.arange(side) - by[:, None]
    moved = np.take_along_axis(ink, columns.clip(0, side - 1), axis=1)
    return np.asarray(moved & (columns >= 0) & (columns < side))
