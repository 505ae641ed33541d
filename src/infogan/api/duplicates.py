"""Copies among the images of a collection, and moving them out of it."""

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Hashable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from infogan.api.sort import is_output_folder, mark_output_folder
from infogan.data import ImageSet, Progress, ValueRange, load, resolve_source
from infogan.data.duplicates import COMPARED_SIZE, near_duplicates
from infogan.data.preprocess import open_image
from infogan.utils.errors import UserError

Kind = Literal["original", "exact", "near", "mirrored"]


class Copy(NamedTuple):
    """An image that has copies, or is one.

    Attributes:
        group: Number of the group of copies, from 1, in the order of the images.
        image: Name of the image.
        kind: ``original``, which is the one to keep; ``exact``: the same file as another one of the group, or without
            files the same pixels; ``near``; or ``mirrored``.
        similarity: To the most similar image of the group, 1 at most.
    """

    group: int
    image: str
    kind: Kind
    similarity: float


class _Link(NamedTuple):
    """A pair of copies, and how similar they are."""

    similarity: float
    kind: Kind


def find_duplicates(
    source: str | Path,
    *,
    split: str | None = None,
    shape: str = "crop",
    value_range: ValueRange | None = None,
    follow_links: bool = False,
    progress: Progress | None = None,
) -> list[Copy]:
    """Find copies among images: the same, resized, compressed again, cropped a little, or mirrored.

    The original of a group of copies is its largest file, or without files the first image. Links are left out.

    Args:
        source: A folder, file or named data set, as for `infogan.data.load`.
        split: As for `infogan.data.load`, like the arguments below.
        shape: As for `infogan.data.load`.
        value_range: As for `infogan.data.load`.
        follow_links: As for `infogan.data.load`.
        progress: Called with the number of images that are read or compared.

    Returns:
        The images of all groups of copies, in the order of the groups, each group's original first.

    Raises:
        UserError: As `infogan.data.load`.

    Example:
        >>> for copy in infogan.find_duplicates("photos"):
        ...     print(copy.group, copy.kind, copy.image)
        1 original beach.jpg
        1 near small/beach.jpg
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    source = resolve_source(source)
    reading: dict[str, Any] = {"shape": shape, "value_range": value_range, "follow_links": follow_links}
    images = load(source, split=split, max_size=COMPARED_SIZE, progress=progress, **reading)
    if Path(source).is_dir():  # a link is the same file, and no copy
        is_link = [(Path(source) / name).is_symlink() for name in images.names]
        images = images.subset(np.flatnonzero(~np.array(is_link)))
    if not len(images):
        return []
    root = Path(source) if Path(source).is_dir() and (Path(source) / images.names[0]).is_file() else None
    sizes = [0 if root is None else (root / name).stat().st_size for name in images.names]
    same = _same_content(images, root, sizes)
    repeated = np.flatnonzero(same != np.arange(len(same))).tolist()
    edges = [(int(same[row]), row, _Link(1.0, "exact")) for row in repeated]
    rows = np.unique(same)
    sides = None if root is None else np.array([_smaller_side(root / images.names[row]) for row in rows.tolist()])
    for pair in near_duplicates(np.ascontiguousarray(images.images[rows]), sides, progress):
        link = _Link(pair.similarity, "mirrored" if pair.mirrored else "near")
        edges.append((int(rows[pair.first]), int(rows[pair.second]), link))
    if not edges:
        return []
    firsts, seconds, _ = zip(*edges, strict=True)
    graph = coo_matrix((np.ones(len(edges)), (firsts, seconds)), (len(images), len(images)))
    components = connected_components(graph, directed=False)[1]
    best: dict[int, _Link] = {}  # of each image
    for first, second, link in edges:
        for row in (first, second):
            best[row] = max(link, best.get(row, link))
    groups: dict[int, list[int]] = defaultdict(list)
    for row in sorted(best):
        groups[int(components[row])].append(row)
    copies = []
    for number, members in enumerate(groups.values(), start=1):
        original = max(members, key=lambda row: (sizes[row], -row))
        copies.append(Copy(number, images.names[original], "original", best[original].similarity))
        others = (row for row in members if row != original)
        copies += [Copy(number, images.names[row], best[row].kind, best[row].similarity) for row in others]
    return copies


def _same_content(images: ImageSet, root: Path | None, sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return for each image the number of the first one with the same content."""
    first: dict[Hashable, int] = {}
    is_unique = dict(zip(*np.unique(sizes, return_counts=True), strict=True))
    numbers = []
    for row, name in enumerate(images.names):
        key: Hashable
        if root is None:
            key = hashlib.sha256(images.images[row].tobytes()).digest()
        else:
            key = row if is_unique[sizes[row]] == 1 else (sizes[row], _digest(root / name))
        numbers.append(first.setdefault(key, row))
    return np.array(numbers, np.int64)


def _smaller_side(path: Path) -> int:
    """Return the height or the width of an image file in pixels, whichever is smaller."""
    with path.open("rb") as file, suppress(UnidentifiedImageError), open_image(file) as image:
        return min(image.size)
    return COMPARED_SIZE  # of bands that Pillow does not read


def _digest(path: Path) -> bytes:
    """Return the digest of a file; raise UserError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def move_copies(copies: Sequence[Copy], source: str | Path, folder: Path) -> int:
    """Move all copies but the originals to a folder, where they keep their paths; return their number.

    Args:
        copies: From `find_duplicates`.
        source: The folder of the images.
        folder: The destination, which is created if it is missing.

    Raises:
        UserError: The images are not the files of a folder; or the destination is a part of that folder with other
            files, or a file of that name is there already, in which case nothing is moved; or a file cannot be moved.
    """
    root = Path(resolve_source(source))
    if not root.is_dir():
        raise UserError(f"copies cannot be moved out of {source}: only the files of a folder can be moved")
    if folder.resolve().is_relative_to(root.resolve()) and not is_output_folder(folder):
        raise UserError(f"{folder} is a part of {source}: choose a folder outside it, or a new one inside it")
    moves = [(root / copy.image, folder / copy.image) for copy in copies if copy.kind != "original"]
    for path, target in moves:
        if target.exists():
            raise UserError(f"{target} exists already: choose another folder for the copies")
        if not path.is_file():
            raise UserError(f"copies cannot be moved out of {source}: {path} is not a file")
    if moves:
        mark_output_folder(folder)
    for number, (path, target) in enumerate(moves):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"cannot move {path} to {target}: {reason}; {number} copies were moved") from error
    return len(moves)
