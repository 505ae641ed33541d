"""Synthetic data sets are drawn into the cache once, completely, and split for good."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.data import DATASETS
from infogan.data.factors import FactorGrid
from infogan.data.synthetic import dsprites, glyphs, shapes
from infogan.data.synthetic.cache import Rendering, read_rendering, render_all
from infogan.utils import files
from infogan.utils.errors import UserError


def small_rendering(draw: Any = None) -> Rendering:
    """A set of 40 images of 8 x 8 pixels, whose pixels are their numbers."""
    grid = FactorGrid(("a", "b"), (("0", "1", "2", "3"), tuple(map(str, range(10)))))
    images = np.arange(40, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 8, 8), np.uint8)
    return Rendering("small", "small1", grid, 1, "a", draw or (lambda size: iter(np.split(images, 4))))


def failing_draw(error: BaseException) -> Any:
    def draw(size: int) -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((10, 1, 8, 8), np.uint8)
        raise error

    return draw


def test_interrupted_drawing_starts_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        render_all(small_rendering(failing_draw(KeyboardInterrupt())), tmp_path, 8)
    assert list(tmp_path.iterdir()) == []
    train = read_rendering(small_rendering(), tmp_path, "train", 8, None)
    test = read_rendering(small_rendering(), tmp_path, "test", 8, None)
    assert len(train.images) == 36 and len(test.images) == 4
    numbers = np.concatenate([train.images, test.images])[:, 0, 0, 0].tolist()
    assert sorted(numbers) == list(range(40)) and numbers[:36] != sorted(numbers[:36])
    for arrays in (train, test):
        assert arrays.factors is not None
        np.testing.assert_array_equal(arrays.factors.values @ (10, 1), arrays.images[:, 0, 3, 3])


def test_truncated_file_is_drawn_again(tmp_path: Path) -> None:
    path = render_all(small_rendering(), tmp_path, 8)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert render_all(small_rendering(), tmp_path, 8).read_bytes() == content


def test_only_old_temporary_files_are_removed(tmp_path: Path) -> None:
    old, new = tmp_path / ".small1-8.npy.killed_1.npy", tmp_path / ".small1-8.npy.active_1.npy"
    for path in (old, new):
        path.write_bytes(b"partial")
    timestamp = time.time() - 2 * files.TEMPORARY_LIFETIME_S
    os.utime(old, (timestamp, timestamp))
    render_all(small_rendering(), tmp_path, 8)
    assert not old.exists() and new.exists()


def test_full_disk_is_reported_before_and_during_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(UserError, match=r"small1-8\.npy: No space left on device"):
        render_all(small_rendering(failing_draw(disk_full)), tmp_path, 8)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"small at 8x8 pixels.*INFOGAN_CACHE"):
        render_all(small_rendering(), tmp_path, 8)
    assert list(tmp_path.iterdir()) == []


def test_table_describes_the_sets_as_they_are_drawn() -> None:
    renderings = {
        "dsprites": dsprites.rendering(Path("nowhere")),
        "shapes": shapes.rendering(Path("nowhere")),
        "glyphs": Rendering("", "", glyphs.grid(glyphs.find_faces([])), 1, "letter", lambda size: iter(())),
    }
    for name, rendering in renderings.items():
        dataset, grid = DATASETS[name], rendering.grid
        assert dataset.counts == {split: len(numbers) for split, numbers in rendering.splits().items()}
        assert dataset.classes == grid.value_names[grid.names.index(rendering.label_factor)]
        assert dataset.channels == rendering.channels
