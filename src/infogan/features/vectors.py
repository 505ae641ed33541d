"""Files of vectors, one for each image, and which image each belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from infogan.data.dataset import NumberedNames
from infogan.data.preprocess import wrap_read_errors
from infogan.data.readers.arrays import check_expansion, check_npy_header, open_npz, read_members
from infogan.data.readers.parquet import import_parquet
from infogan.features.extractor import check_vectors
from infogan.utils.errors import UserError
from infogan.utils.files import atomic_write

ENDINGS = (".npy", ".npz", ".parquet")
FEATURES, NAMES, VIEWS = "features", "names", "views"  # the arrays in a .npz file, and the columns in a .parquet file
MISSING_SHOWN = 3


@dataclass(frozen=True, eq=False)
class NamedVectors:
    """Vectors of images.

    Attributes:
        values: (images, features), finite.
        names: The name of each image; None = they are in the order of the images.
        views: Vectors of augmented views of some of the images; None = not known.
        skipped: One line ``"name: reason"`` for each image that could not be used.
        origin: Where they come from, for people, with the licence of the weights.
    """

    values: Float32[np.ndarray, "image feature"]
    names: Sequence[str] | None = None
    views: Float32[np.ndarray, "view image feature"] | None = None
    skipped: tuple[str, ...] = ()
    origin: str = ""

    def of(self, names: Sequence[str], source: str) -> "NamedVectors":
        """Return the vectors of images in their order, found by their names if both have names.

        Args:
            names: Of the images.
            source: Where the vectors come from, for errors.

        Raises:
            UserError: An image has no vector, or without names there are more or fewer vectors than images.
        """
        if self.names is None or isinstance(names, NumberedNames):
            if len(self.values) != len(names):
                raise UserError(f"{source} has {len(self.values)} vectors, but there are {len(names)} images")
            return replace(self, names=None)
        if list(self.names) == list(names):
            return replace(self, names=None)
        rows = {name: row for row, name in enumerate(self.names)}
        if missing := [name for name in names if name not in rows]:
            some = ", ".join(missing[:MISSING_SHOWN]) + (", ..." if len(missing) > MISSING_SHOWN else "")
            raise UserError(f"{source} has no vectors for {len(missing)} of {len(names)} images: {some}")
        return replace(self, values=self.values[[rows[name] for name in names]], names=None)


def is_vector_file(source: str) -> bool:
    """Return whether a name is that of a file of vectors."""
    return source.lower().endswith(ENDINGS)


def read_vectors(path: Path) -> NamedVectors:
    """Read a file of vectors.

    Args:
        path: A .npy file (images, features); a .npz file with one such array, or with ``features``, ``names`` and
            ``views`` (views, images, features); or a .parquet file with a column of lists of numbers, or ``features``,
            and a column ``names`` if there is one.

    Raises:
        UserError: The file is missing, damaged or has another content, or a number is not finite.
    """
    if not path.is_file():
        raise UserError(f"no file {str(path)!r} with vectors")
    with wrap_read_errors(path):
        arrays = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_numpy(path)
        values = arrays.get(FEATURES)
        names, views = arrays.get(NAMES), arrays.get(VIEWS)
        if values is None:
            others = [array for name, array in arrays.items() if name != NAMES and array.ndim == 2]
            if len(others) != 1:
                raise UserError(f"{path} has {', '.join(arrays) or 'nothing'}; expected {FEATURES!r} and {NAMES!r}")
            values = others[0]
    check_vectors(values, len(values), f"the vectors in {path}")
    if views is not None:
        if views.ndim != 3 or views.shape[2] != values.shape[1]:
            raise UserError(f"{path} has views of shape {views.shape}; expected (views, images, {values.shape[1]})")
        check_vectors(views.reshape(-1, views.shape[2]), views.shape[0] * views.shape[1], f"the views in {path}")
        views = np.asarray(views, np.float32)
    if names is None:
        return NamedVectors(np.asarray(values, np.float32), None, views)
    if len(names) != len(values) or len(set(names.tolist())) < len(names):
        raise UserError(f"{path} has {len(names)} names for {len(values)} vectors; expected as many, all different")
    return NamedVectors(np.asarray(values, np.float32), [str(name) for name in names.tolist()], views)


def check_destination(path: Path) -> str:
    """Return the ending of a file of vectors that is to be written; raise UserError if it has another one."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UserError(f"cannot write vectors to {path}: its name must end in .npy, .npz or .parquet")
    return ending


def write_vectors(path: Path, vectors: NamedVectors) -> None:
    """Write a file that `read_vectors` reads; a .npy file has no names.

    Raises:
        UserError: The name has another ending, or the file cannot be written.
    """
    ending = check_destination(path)
    names = [*(vectors.names or map(str, range(len(vectors.values))))]
    if ending == ".parquet":
        parquet = import_parquet()
        import pyarrow as pa

        table = pa.table({NAMES: names, FEATURES: pa.array([*vectors.values], pa.list_(pa.float32()))})
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if ending == ".npy":
            np.save(file, vectors.values, allow_pickle=False)
        elif ending == ".npz":
            views = {} if vectors.views is None else {VIEWS: vectors.views}
            arrays = {FEATURES: vectors.values, **({} if vectors.names is None else {NAMES: np.array(names)}), **views}
            np.savez(file, allow_pickle=False, **arrays)
        else:
            parquet.write_table(table, file)


def _read_numpy(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix.lower() == ".npy":
        check_npy_header(path)
        return {FEATURES: np.array(np.lib.format.open_memmap(path, mode="r"))}
    with open_npz(path) as archive:
        return read_members(archive, path, {key: key for key in archive.files})


def _read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    parquet = import_parquet()
    groups = parquet.ParquetFile(path).metadata
    check_expansion(path, sum(groups.row_group(number).total_byte_size for number in range(groups.num_row_groups)))
    table = parquet.read_table(path)
    arrays = {}
    for name in table.column_names:
        values = table[name].to_numpy(zero_copy_only=False)
        is_list = values.dtype == object and len(values) and isinstance(values[0], np.ndarray)
        arrays[name] = np.stack(values.tolist()) if is_list else values
    return arrays
