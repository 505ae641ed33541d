"""TIFF files of scientific instruments and satellites, written by another library."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.data import load, preprocess
from infogan.data.readers import tiff
from infogan.utils.errors import UserError

tifffile = pytest.importorskip("tifffile", reason="needs the extra [tiff]")

BANDS = np.random.default_rng(0).integers(0, 65536, (7, 12, 12)).astype(np.uint16)


def as_bytes(bands: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return np.rint(bands / 257).astype(np.uint8)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (BANDS, {"photometric": "minisblack", "planarconfig": "separate"}),
        (BANDS.transpose(1, 2, 0), {"photometric": "minisblack", "planarconfig": "contig"}),
        (BANDS, {"photometric": "minisblack"}),  # pages
        (BANDS, {"photometric": "minisblack", "imagej": True, "metadata": {"axes": "CYX"}}),
        (BANDS.transpose(1, 2, 0), {"photometric": "minisblack", "planarconfig": "contig", "compression": "lzw"}),
    ],
)
def test_bands_are_read_in_every_layout(values: NDArray[Any], options: dict[str, Any], tmp_path: Path) -> None:
    if "compression" in options:
        pytest.importorskip("imagecodecs", reason="needs the extra [tiff]")
    for number in range(2):
        tifffile.imwrite(tmp_path / f"{number}.tif", values, **options)
    images = load(tmp_path, strict=True)
    assert images.images.shape == (2, 7, 12, 12)
    np.testing.assert_array_equal(images.images[1], as_bytes(BANDS))


def test_stacks_of_several_axes_are_left_out_with_a_reason(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", BANDS[:6].reshape(2, 3, 12, 12), photometric="minisblack", planarconfig="contig"
    )
    tifffile.imwrite(
        tmp_path / "b.tif", np.zeros((8, 9, 20), np.uint8), planarconfig="contig", photometric="minisblack"
    )
    with pytest.raises(UserError, match=r"it has 20 channels.*b\.tif"):
        load(tmp_path, strict=True, size=8, channels=5)


def test_files_that_are_too_large_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "pages.tif", BANDS, photometric="minisblack")
    tifffile.imwrite(tmp_path / "bands.tif", BANDS.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig")
    monkeypatch.setattr(preprocess, "MAX_VALUES", BANDS.size)
    assert len(load(tmp_path)) == 2
    monkeypatch.setattr(preprocess, "MAX_VALUES", BANDS.size - 1)
    with pytest.raises(UserError, match=r"7x12x12 values, more than 1,007"):
        load(tmp_path, size=8, channels=7)


def test_a_damaged_file_is_left_out(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, BANDS.transpose(1, 2, 0), planarconfig="contig", photometric="minisblack")
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:300])
    with pytest.warns(match="1 file"):
        assert list(load(tmp_path).names) == ["b.tif"]


def test_the_extra_is_named_if_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", BANDS.transpose(1, 2, 0), planarconfig="contig", photometric="minisblack")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with open(tmp_path / "a.tif", "rb") as file, pytest.raises(ValueError, match=r"infogan\[tiff\]"):
        tiff.read_bands(file)
