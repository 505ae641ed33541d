"""Files of vectors: what is written is read, vectors find their images, and everything else is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infogan.data.dataset import NumberedNames
from infogan.features import NamedVectors, read_vectors, write_vectors
from infogan.utils.errors import UserError

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)
NAMES = ["a.png", "b/c.png", "ü.png", "d.png"]


@pytest.mark.parametrize("ending", [".npy", ".npz", ".parquet"])
def test_a_file_that_is_written_is_read(ending: str, tmp_path: Path) -> None:
    path, views = tmp_path / f"v{ending}", np.ones((2, 2, 3), np.float32)
    write_vectors(path, NamedVectors(VALUES, NAMES, views))
    vectors = read_vectors(path)
    assert vectors.values.tolist() == VALUES.tolist()
    assert vectors.names == (None if ending == ".npy" else NAMES)
    assert (vectors.views is not None) == (ending == ".npz")


def test_vectors_are_found_by_name() -> None:
    vectors = NamedVectors(VALUES, NAMES)
    assert vectors.of(["d.png", "a.png"], "v").values.tolist() == VALUES[[3, 0]].tolist()
    assert vectors.of(NumberedNames(4), "v").values.tolist() == VALUES.tolist()  # numbers are no names
    assert NamedVectors(VALUES).of(["w", "x", "y", "z"], "v").values.tolist() == VALUES.tolist()


def test_vectors_of_other_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"2 of 3 images: x\.png, y\.png"):
        NamedVectors(VALUES, NAMES).of(["x.png", "a.png", "y.png"], "v")
    with pytest.raises(UserError, match="4 vectors, but there are 3 images"):
        NamedVectors(VALUES).of(["a", "b", "c"], "v")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": np.zeros((2, 3)), "names": np.array(["a"])}, "1 names for 2"),
        ({"features": np.zeros((2, 3)), "names": np.array(["a", "a"])}, "all different"),
        ({"features": np.full((2, 3), np.inf)}, "infinity in 2 of 2"),
        ({"features": np.zeros((2, 3)), "views": np.zeros((2, 1, 4))}, "views of shape"),
        ({"x": np.zeros((2, 3)), "y": np.zeros((2, 3))}, "x, y"),
        ({"names": np.array(["a"])}, "names"),
        ({"features": np.array(["a", "b"])}, "type <U1"),
    ],
)
def test_odd_arrays_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=message):
        read_vectors(path)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("ending", [".npy", ".npz", ".parquet"])
def test_damaged_files_are_refused(ending: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"v{ending}"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot read"):
        read_vectors(path)


def test_missing_files_and_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        read_vectors(tmp_path / "missing.npy")
    with pytest.raises(UserError, match=r"\.csv"):
        write_vectors(tmp_path / "v.csv", NamedVectors(VALUES))
    assert not list(tmp_path.iterdir())


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([{}, {}], object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot read"):
        read_vectors(tmp_path / "v.npy")


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_files_that_claim_gigabytes_are_refused_before_they_are_unpacked(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"v{ending}"
    if ending == ".npz":
        np.savez_compressed(path, features=np.zeros((200_000, 500), np.float32))
    else:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 3)}"
        path.write_bytes(b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + bytes(99))
    with pytest.raises(UserError, match=r"claims to unpack|cannot read"):
        read_vectors(path)
