"""Names from outside, such as those of images and codes, as names of files and of columns."""

import codecs
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

MAX_BYTES = 255  # of a file name in UTF-8
KEEP_BYTES = "infogan.keep_bytes"  # error handler of `str.encode`, see `_keep_bytes`
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,15}")
_INVALID = re.compile('[\x00-\x1f/\\\\:*?"<>|\ud800-\udfff]')  # on some system; surrogates stand for no character
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)  # on Windows


class FileNames:
    """Gives names from outside a file name each, for one folder: valid on any file system, and all different.

    Names differ only if every file system tells them apart: regardless of case and of Unicode normalisation.

    Example:
        >>> names = FileNames()
        >>> [names.add(name) for name in ("a/b.png", "a_b.png", "c.png")]
        ['a_b.png', 'a_b-69682829.png', 'c.png']
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()

    def add(self, name: str, stem: str | None = None, extension: str = "") -> str:
        """Return a file name for a name; no other call returns the same.

        It is the name itself, with underscores for characters that are not allowed. If that is taken, too long,
        reserved or empty, a hash of the name comes before the extension, and a number if that is taken as well.

        Args:
            name: Any text, such as the path of an image.
            stem: The file name without its extension, if it is not made of ``name``.
            extension: The extension, if ``stem`` is given.
        """
        if stem is None:
            stem, extension = os.path.splitext(name)
        if not _EXTENSION.fullmatch(extension):
            stem, extension = stem + extension, ""
        stem = _INVALID.sub("_", stem).strip(". ")
        plain = stem + extension
        if _RESERVED.fullmatch(plain):
            stem = f"_{stem}"
        elif stem and len(plain.encode()) <= MAX_BYTES and self._take(plain):
            return plain
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        while True:
            self._numbers[name] += 1
            number = f"-{self._numbers[name]}" if self._numbers[name] > 1 else ""
            ending = f"{'-' if stem else ''}{digest}{number}{extension}"
            candidate = stem.encode()[: MAX_BYTES - len(ending)].decode(errors="ignore") + ending
            if self._take(candidate):
                return candidate

    def _take(self, file_name: str) -> bool:
        """Take a file name; return False if it is taken already."""
        key = file_name.lower()
        if not file_name.isascii():
            key = unicodedata.normalize("NFD", unicodedata.normalize("NFD", file_name).casefold())
        is_free = key not in self._taken
        self._taken.add(key)
        return is_free


def figure_names(codes: Iterable[str]) -> dict[str, str]:
    """Return the file name of each code's figure, a PNG; pass all codes, so that the names are always the same.

    Example:
        >>> figure_names(["category", "a:b"])
        {'category': 'category.png', 'a:b': 'a_b.png'}
    """
    file_names = FileNames()
    return {code: file_names.add(code, stem=code, extension=".png") for code in codes}


def column_names(codes: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """Return the name of each code's column next to other columns: its own name or, if that is taken, ``code NAME``.

    Example:
        >>> column_names(["category", "image"], ["image", "entropy"])
        {'category': 'category', 'image': 'code image'}
    """
    names, used = dict[str, str](), {*taken}
    for code in codes:
        name = code
        while name in used:
            name = f"code {name}"
        names[code] = name
        used.add(name)
    return names


def _keep_bytes(error: UnicodeError) -> tuple[bytes, int]:
    """Encode what UTF-8 cannot: a byte of a name that is not UTF-8 as itself, any other surrogate as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    numbers = map(ord, error.object[error.start : error.end])
    parts = [bytes([n - 0xDC00]) if 0xDC80 <= n <= 0xDCFF else f"\\u{n:04x}".encode() for n in numbers]
    return b"".join(parts), error.end


codecs.register_error(KEEP_BYTES, _keep_bytes)
