"""Factors belong to images, survive preparation, and are never used in training."""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infogan.api import resolve
from infogan.data import Factors, ImageSet, load, prepare
from infogan.data.dataset import NumberedNames
from infogan.data.factors import FactorGrid, held_out_mask
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.helpers import bar_images, small_config


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_grid_has_each_combination_once(sizes: list[int]) -> None:
    names = tuple(map(str, range(len(sizes))))
    grid = FactorGrid(names, tuple(tuple(map(str, range(size))) for size in sizes))
    values = grid.values(np.arange(len(grid)))
    assert len(np.unique(values, axis=0)) == len(grid) == math.prod(sizes)
    np.testing.assert_array_equal(grid.numbers(values), np.arange(len(grid)))


def test_inconsistent_factors_are_refused() -> None:
    values = np.zeros((2, 2), np.int64)
    with pytest.raises(UserError, match="1 names and 1 sizes"):
        Factors(("a",), (3,), values)
    with pytest.raises(UserError, match="from 0 to below"):
        Factors(("a", "b"), (3, 1), values + 1)
    with pytest.raises(UserError, match="int32"):
        Factors(("a", "b"), (3, 1), values.astype(np.int32))
    with pytest.raises(UserError, match="one name per value"):
        Factors(("a", "b"), (3, 1), values, (("x", "y"), ("z",)))


def test_subset_keeps_its_factors_and_the_digest_ignores_them() -> None:
    images, names = bar_images(4), list("abcd")
    factors = Factors(("bar",), (4,), np.arange(4)[:, None])
    with_factors, without = ImageSet(images, names, "bars", factors=factors), ImageSet(images, names, "bars")
    subset = with_factors.subset([3, 1]).factors
    assert subset is not None and subset.values.tolist() == [[3], [1]] and subset.sizes == (4,)
    assert with_factors.digest() == without.digest()
    assert without.subset([0]).factors is None


def test_a_tenth_is_held_out_and_groups_stay_together() -> None:
    numbers = np.arange(10_000)
    test = held_out_mask(numbers, 1)
    assert test.sum() == 1000
    # No stretch and no residue of the numbers is preferred.
    assert all(60 < part.sum() < 145 for part in [*test.reshape(10, 1000), *test.reshape(1000, 10).T])
    assert (held_out_mask(numbers, 2) != test).sum() > 1500
    grouped = held_out_mask(numbers // 4, 1).reshape(-1, 4)
    assert (grouped == grouped[:, :1]).all() and grouped.sum() == 1000
    # The same on every machine and with every version of numpy.
    assert hashlib.sha256(np.packbits(test).tobytes()).hexdigest()[:16] == "11333e5b2806b47e"


def test_prepare_keeps_factors(tmp_path: Path) -> None:
    values = np.stack([np.arange(6) % 3, np.arange(6) % 2], axis=1)
    np.savez(
        tmp_path / "a.npz",
        images=bar_images(6),
        factors=values,
        test_images=bar_images(4),
        test_factors=values[:4],
        factor_names=np.array(["a", "b"]),
        factor_sizes=np.array([3, 2]),
        factor_values=np.array(list("xyzlr")),
    )
    for split, images in prepare(tmp_path / "a.npz", tmp_path / "b.npz").items():
        loaded = load(tmp_path / "b.npz", split=split).factors
        assert loaded is not None and images.factors is not None
        np.testing.assert_array_equal(loaded.values, values if split == "train" else values[:4])
        assert (loaded.names, loaded.sizes) == (("a", "b"), (3, 2))
        assert loaded.value_names == (("x", "y", "z"), ("l", "r")) == images.factors.value_names


def test_prepare_keeps_factors_without_names_of_values(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.uint8)[:, None] * 51
    np.savez(tmp_path / "a.npz", images=bar_images(6), factors=values)
    prepare(tmp_path / "a.npz", tmp_path / "b.npz")
    factors = load(tmp_path / "b.npz").factors
    assert factors is not None and (factors.sizes, factors.value_names) == ((256,), ())
    np.testing.assert_array_equal(factors.values, values)


def test_factors_of_a_file_are_checked(tmp_path: Path) -> None:
    images, values = np.zeros((3, 8, 8), np.uint8), np.array([[0, 1], [2, 0], [1, 1]], np.uint8)
    np.savez(tmp_path / "a.npz", images=images, factors=values)
    factors = load(tmp_path / "a.npz").factors
    assert factors is not None and factors.names == ("factor0", "factor1") and factors.sizes == (3, 2)
    np.testing.assert_array_equal(factors.values, values)
    for change, message in (
        ({"factors": values[:2]}, "3 images.* 2"),
        ({"factors": values.astype(float)}, "float64"),
        ({"factor_names": np.array(["a"])}, "1 names"),
        ({"factor_sizes": np.array([2, 2])}, "from 0 to below"),
    ):
        np.savez(tmp_path / "b.npz", **{"images": images, "factors": values, **change})  # type: ignore[arg-type]
        with pytest.raises(UserError, match=message):
            load(tmp_path / "b.npz")


class HiddenFactors(ImageSet):
    """Images whose factors and labels must not be read."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("factors", "labels", "label_names"):
            raise AssertionError(f"the {name} were read")
        return super().__getattribute__(name)


@pytest.mark.parametrize("kind", ["infogan", "gan"])
def test_training_does_not_read_factors(tmp_path: Path, kind: str) -> None:
    factors = Factors(("bar",), (64,), np.arange(64)[:, None])
    images = HiddenFactors(bar_images(), [str(i) for i in range(64)], "bars", factors=factors)
    run = RunFolder.at(tmp_path)
    train(small_config(objective={"kind": kind}), images, run)
    assert run.read_stats()
    with pytest.raises(AssertionError, match="factors were read"):
        _ = images.factors


@pytest.mark.parametrize("name", ["dsprites", "shapes", "glyphs"])
def test_default_augmentations_keep_the_factors(name: str) -> None:
    options = resolve.compose("robust", [{"data": {"source": name}}])
    factors = Factors(("a",), (2,), np.zeros((300, 1), np.int64))
    images = ImageSet(np.zeros((300, 1, 8, 8), np.uint8), NumberedNames(300), name, factors=factors)
    assert set(resolve.resolve(options, images, timed=False).config.augment.strengths) == {"colour"}
