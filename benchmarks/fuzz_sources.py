"""Inputs of `benchmarks.fuzz` that are no single file: folders, names, ranges of values, tables of a program.

Each is described by a text, which is damaged like a file; the reader makes the input from it first.
"""

import io
import json
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from infogan.data import has_test_split, load, streamed
from infogan.data.preprocess import ImageSpec
from infogan.data.readers.in_memory import stream_object
from infogan.utils.errors import UserError
from infogan.utils.names import FileNames

# One entry per line: its kind, its path and, of a link, where it leads to; or the content of a small file. Kinds:
# image, text, link, folder, pipe.
TREES = (
    b"i train/cat/1.png\ni train/dog/2.PNG\ni val/cat/3.png\ni Test/dog/4.jpg\nt readme.txt x\nt 5.heic x\ni scraped6",
    b"i a/1.png\nl a/up ..\nl loop loop\nl b a\nl c.png a/1.png\nl gone.png nowhere\np pipe.png\nl root /",
    b'i 00000/1.png\ni 00001/2.png\nt dataset.json {"labels": [["00000/1.png", 0], ["00001/2.png", 1]]}',
    b"i 1.png\nt runs/0/config.json {}\nt runs/0/environment.json []\ni runs/0/s/a.png\nt s/.infogan x\ni s/2.gif",
    "i Ä/ö.png\ni a\u0308/\u200b.png\ni  leading.png\ni con.png\ni x:y?.png\ni 😀/1.png".encode(),
)
NAMES = (b"a/b.png\na_b.png\nA_B.PNG\n\n \n..\ncon\naux.png\nshot.1\nshot.2", b"x" * 300 + b".png\n" + b"y/" * 200)
# A type, the values of black and white, and the numbers.
RANGES = tuple(
    f"{kind} {low} {high}\n".encode() + (np.arange(128) / divisor).astype(kind).tobytes()
    for kind, low, high, divisor in (
        ("uint8", 0, 1, 1),
        ("uint16", 0, 4095, 1),
        ("int16", -1000, 3000, 1),
        ("float32", 1, 0, 1),
        ("float64", "None", "None", 128),
        ("bool", 0, 1, 1),
    )
)
# The columns of a table; of images, their type, number and shape.
FRAMES = tuple(
    json.dumps(columns).encode()
    for columns in (
        {"image": ["float32", 2, 8, 8], "label": [0, 1]},
        {"image": ["uint8", 2, 1, 9, 8], "label": ["2024-01-01", "cat"], "index": [7, 5]},
        {"img": ["uint16", 2, 8, 8, 3], "label": [1e12, -1]},
        {"picture": ["bool", 3, 8, 8], "image": ["float64", 3, 8, 8], "label": [None, 2.5, 1]},
    )
)


def read_tree(at: Path) -> object:
    """Make the folder that a text describes, and read it in every way."""
    entries = [line.split(b" ", 2) for line in (at / "tree").read_bytes().split(b"\n")]
    root = at / "images"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for entry in entries:
        if len(entry) > 1:
            _make(root, *entry)
    results: list[object] = [has_test_split(root)]
    for follow_links in (False, True):
        results.append(load(root, size=8, channels=1, follow_links=follow_links))
    with streamed(root, size=8, channels=1) as stream:
        return [*results, stream.fingerprint, stream.read(0, stream.count)]


def _make(root: Path, kind: bytes, name: bytes, content: bytes = b"") -> None:
    """Make a file, folder or link below a folder; nothing if its name is impossible."""
    parts = [part[:200] for part in name.split(b"/") if part not in (b"", b".", b"..")]
    if not parts or any(b"\0" in part for part in parts):
        return
    path = os.path.join(os.fsencode(root), *parts[:20])
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if kind == b"i":
            Image.fromarray(np.full((8, 8), len(name), np.uint8)).save(buffer := io.BytesIO(), "PNG")
            content, kind = buffer.getvalue(), b"t"
        if kind == b"t":
            Path(os.fsdecode(path)).write_bytes(content)
        elif kind == b"l" and content[:1] != b"/":  # links to the whole system would be followed
            os.symlink(content, path)
        elif kind == b"p":
            os.mkfifo(path)
        elif kind == b"f":
            os.mkdir(path)
    except (OSError, ValueError):
        return


def read_names(at: Path) -> object:
    """Give every name a file name: they are valid and different, whatever the names are."""
    names = (at / "names").read_bytes().decode("utf-8", "surrogateescape").split("\n")
    file_names = FileNames()
    made = [file_names.add(name) for name in names]
    assert len({name.casefold() for name in made}) == len(names)
    for name in made:
        assert 0 < len(name.encode()) <= 255 and "/" not in name and name.strip(". ")
    return made


def read_range(at: Path) -> object:
    """Read an array of numbers with a range of values."""
    head, _, content = (at / "range").read_bytes().partition(b"\n")
    try:
        kind, *ends = head.decode().split(" ")
        dtype = np.dtype(kind)
        low, high = (None if end == "None" else float(end) for end in ends)
    except (ValueError, TypeError, SyntaxError) as error:
        raise UserError(f"no range: {error}".splitlines()[0]) from error
    if dtype.hasobject or not dtype.itemsize:
        raise UserError("no numbers")
    values = np.frombuffer(content[: len(content) // dtype.itemsize * dtype.itemsize], dtype)
    images = values[: len(values) // 64 * 64].reshape(-1, 8, 8)
    stream = stream_object(images, ImageSpec(8, 1, value_range=None if low is None or high is None else (low, high)))
    return stream.read(0, stream.count).images


def read_frame(at: Path) -> object:
    """Read the images of a DataFrame, and of a Series that was filtered."""
    import pandas

    try:
        columns = json.loads((at / "frame").read_bytes())
        index = columns.pop("index", None)
        frame = pandas.DataFrame({name: _column(values) for name, values in columns.items()}, index=index)
    except Exception as error:  # pandas raises many types
        raise UserError(f"no table: {error}".splitlines()[0]) from error
    results = []
    for data in (frame, frame[frame.columns[0]][1:] if len(frame.columns) else frame):
        stream = stream_object(data, ImageSpec(8, 1))
        results.append(stream.read(0, stream.count))
    return results


def _column(values: list[Any]) -> list[Any]:
    """Return a column as it is, or images of the type, number and shape that stand for it."""
    if not isinstance(values[0], str) or values[0] not in np.sctypeDict:
        return values
    dtype, shape = np.dtype(values[0]), [min(int(size), 12) for size in values[1:]]
    numbers = np.linspace(0, 1 if dtype.kind in "fb" else 200, int(np.prod(shape)))
    return [*numbers.astype(dtype).reshape(shape)]


READERS: dict[str, tuple[str, tuple[bytes, ...], Callable[[Path], object]]] = {
    "tree": ("tree", TREES, read_tree),
    "names": ("names", NAMES, read_names),
    "range": ("range", RANGES, read_range),
}
if find_spec("pandas"):
    READERS["frame"] = ("frame", FRAMES, read_frame)
