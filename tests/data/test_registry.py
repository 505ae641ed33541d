"""The table of named data sets is consistent, and the cache folder follows the environment."""

import sys
from pathlib import Path

import pytest

from infogan.data.registry import DATASETS, cache_folder, dataset_note, dataset_status, fetch
from infogan.utils.errors import UserError

READ, DRAWN = ["mnist", "fashion-mnist", "digits", "svhn", "cifar10"], ["dsprites", "shapes", "glyphs"]


@pytest.mark.parametrize("name", READ + DRAWN)
def test_data_set_is_described_completely(name: str) -> None:
    dataset = DATASETS[name]
    assert set(dataset.counts) == {"train", "test"}
    assert len(dataset.classes) == 10 or name in DRAWN
    assert (dataset.read is None) == (dataset.rendering is not None) == (name in DRAWN)
    if dataset.origin:
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in dataset.origin.files.values())
        assert all(mirror.format("NAME") != mirror for mirror in dataset.origin.mirrors)


def test_no_other_data_sets_exist() -> None:
    assert list(DATASETS) == READ + DRAWN


def test_unknown_name_is_refused_with_the_nearest_one() -> None:
    for function in (fetch, dataset_status, dataset_note):
        with pytest.raises(UserError, match=r"'digit'.*'digits'"):
            function("digit")


def test_status_names_where_a_set_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFOGAN_CACHE", str(tmp_path))
    assert dataset_status("digits") == "built in" and fetch("digits") == []
    assert dataset_status("svhn") == "to be fetched"
    (tmp_path / "svhn").mkdir()
    for file in ("train_32x32.mat", "test_32x32.mat"):
        (tmp_path / "svhn" / file).write_bytes(b"")
    assert dataset_status("svhn") == "cached"
    assert dataset_status("shapes") == "to be drawn"


@pytest.mark.skipif(sys.platform != "linux", reason="the folders of Linux")
def test_cache_folder_stays_where_it_was_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFOGAN_CACHE", "/elsewhere")
    assert cache_folder("mnist") == Path("/elsewhere/mnist")
    monkeypatch.delenv("INFOGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder("mnist") == Path("/x/infogan/mnist")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert cache_folder("mnist") == Path("/h/.cache/infogan/mnist")
