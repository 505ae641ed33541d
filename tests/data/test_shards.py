"""Shards hold the images of their source, can be continued after an interruption, and report damage."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infogan.data import load, prepare_shards, shards
from infogan.utils import files
from infogan.utils.errors import UserError
from tests.helpers import bar_images, image_folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_SHARD_IMAGES", 7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 40 images of two classes in two splits; three of the images are broken."""

    def name(number: int) -> str:
        return f"{'test' if number % 4 == 3 else 'train'}/{('lying', 'upright')[number % 2]}/{number}.png"

    return image_folder(tmp_path / "pictures", name, 40, (2, 3, 20))


@pytest.mark.parametrize(("workers", "zipped"), [(1, False), (2, True)])
def test_shards_hold_the_images_of_a_folder_or_zip(folder: Path, workers: int, zipped: bool) -> None:
    source = Path(shutil.make_archive(str(folder), "zip", folder)) if zipped else folder
    target = folder.parent / "prepared"
    written = prepare_shards(source, target, workers=workers)
    for split in ("train", "test"):
        expected, loaded = load(source, split=split), load(target, split=split)
        np.testing.assert_array_equal(np.asarray(loaded.images), expected.images)
        assert list(loaded.names) == list(expected.names)
        np.testing.assert_array_equal(loaded.labels, expected.labels)
        assert loaded.labels is not None and loaded.label_names == expected.label_names
        assert written[split].images == len(expected) == len(loaded)
        assert written[split].skipped == expected.skipped
        assert loaded.digest() != expected.digest()
    names = [path.name for path in sorted(target.glob("train*.npy"))]
    assert names[:2] == ["train-00000.npy", "train-00001.npy"]


def test_shards_hold_arrays_without_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", bar_images(30))
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    loaded = load(tmp_path / "a")
    np.testing.assert_array_equal(np.asarray(loaded.images), bar_images(30))
    assert loaded.names[29] == "29" and loaded.labels is None


def test_shards_of_a_named_set_can_be_loaded_at_another_size(tmp_path: Path) -> None:
    prepare_shards("digits", tmp_path / "b", size=16)
    for split in ("train", "test"):
        expected, loaded = load("digits", split=split, size=16), load(tmp_path / "b", split=split)
        np.testing.assert_array_equal(loaded.images[5:9], expected.images[5:9])
        np.testing.assert_array_equal(loaded.labels, expected.labels)
    assert load(tmp_path / "b", size=8).images.shape == (1437, 1, 8, 8)


def test_shards_are_indexed_like_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", bar_images(30))
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    images, expected = load(tmp_path / "a").images, bar_images(30)
    random = np.random.default_rng(0)
    indices: list[Any] = [0, -1, np.int64(13), slice(None), slice(3, 25, 4), slice(20, 5, -3), slice(9, 9)]
    indices += [random.integers(0, 30, 50), random.random(30) < 0.5, np.array([], np.int64), np.array([-30, 29])]
    for index in indices:
        np.testing.assert_array_equal(images[index], expected[index])
    for index in (30, np.array([0, 30]), -31):
        with pytest.raises(IndexError):
            images[index]
    assert (len(images), images.shape, images.nbytes) == (30, expected.shape, expected.nbytes)


def test_interrupted_preparation_continues_with_the_missing_shards(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, write_bytes = folder.parent / "prepared", files.write_bytes

    def fail(path: Path, content: bytes) -> None:
        if path.name == "train-00002.json":
            raise UserError("the disk is full")
        write_bytes(path, content)

    monkeypatch.setattr(shards, "write_bytes", fail)
    with pytest.raises(UserError, match="the disk is full"):
        prepare_shards(folder, target)
    with pytest.raises(UserError, match=r"incomplete.*infogan data prepare"):
        load(target)
    written: list[str] = []

    def record(path: Path, content: bytes) -> None:
        written.append(path.name)
        write_bytes(path, content)

    monkeypatch.setattr(shards, "write_bytes", record)
    with pytest.raises(UserError, match="other images or of another size"):
        prepare_shards(folder, target, size=16)
    prepare_shards(folder, target)
    assert "train-00001.npy" not in written
    assert "train-00002.npy" in written
    np.testing.assert_array_equal(np.asarray(load(target).images), load(folder).images)


def test_error_in_a_worker_process_ends_the_preparation(folder: Path) -> None:
    with pytest.raises(UserError, match=r"1 files of .*cannot be used: .*2\.png"):
        prepare_shards(folder, folder.parent / "prepared", size=8, channels=1, strict=True, workers=2)


def test_damaged_shards_are_reported_by_file(folder: Path) -> None:
    target = folder.parent / "prepared"
    prepare_shards(folder, target)
    shard = target / "train-00001.npy"
    intact = shard.read_bytes()
    shard.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    with pytest.raises(UserError, match=r"train-00001\.npy is damaged"):
        load(target).digest()
    for content in (intact[:-1], intact[:60], b"", b"x" * len(intact)):
        shard.write_bytes(content)
        with pytest.raises(UserError, match=r"train-00001\.npy"):
            load(target)
    shutil.copyfile(target / "test-00000.npy", shard)
    with pytest.raises(UserError, match=r"train-00001\.npy differs from index\.json"):
        load(target)
    shard.unlink()
    with pytest.raises(UserError, match=r"cannot read .*train-00001\.npy: No such file"):
        load(target)


def test_damaged_index_is_reported(folder: Path) -> None:
    target = folder.parent / "prepared"
    prepare_shards(folder, target)
    path = target / "index.json"
    index = json.loads(path.read_text())
    for key, value in (
        ("splits", {"train": [{"name": "../../x", "images": 1, "sha256": ""}]}),
        ("splits", []),
        ("splits", {"train": [5]}),
        ("size", "a"),
        ("format", "x"),
    ):
        path.write_text(json.dumps(index | {key: value}))
        with pytest.raises(UserError, match=rf"index\.json.*{key}"):
            load(target)
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"index\.json"):
        load(target)


@pytest.mark.parametrize("key", ["names", "labels"])
def test_damaged_sidecar_is_reported(folder: Path, key: str) -> None:
    target = folder.parent / "prepared"
    prepare_shards(folder, target)
    path = target / "train-00001.json"
    sidecar = json.loads(path.read_text())
    path.write_text(json.dumps(sidecar | {key: sidecar[key][1:]}))
    with pytest.raises(UserError, match=f"{folder.parent}/prepared.* damaged"):
        list(load(target).names)


def test_unsuitable_source_or_destination_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="holds no shards"):
        prepare_shards(folder, folder)
    with pytest.raises(UserError, match=r"files of .*cannot be used"):
        prepare_shards(folder, folder.parent / "strict", size=8, channels=1, strict=True)
    (folder.parent / "none").mkdir()
    (folder.parent / "none" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="no usable image"):
        prepare_shards(folder.parent / "none", folder.parent / "p", size=8, channels=1)


def test_missing_split_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", bar_images(10))
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    with pytest.raises(UserError, match="no test split"):
        load(tmp_path / "a", split="test")


def test_shards_hold_factors(tmp_path: Path) -> None:
    values = np.stack([np.arange(30) % 3, np.arange(30) % 2], axis=1)
    factors = {
        "factors": values,
        "factor_names": np.array(["shape", "side"]),
        "factor_sizes": np.array([3, 2]),
        "factor_values": np.array(["a", "b", "c", "left", "right"]),
    }
    np.savez(tmp_path / "images.npz", allow_pickle=False, images=bar_images(30), **factors)
    prepare_shards(tmp_path / "images.npz", tmp_path / "a", workers=2)
    loaded, expected = load(tmp_path / "a").factors, load(tmp_path / "images.npz").factors
    assert loaded is not None and expected is not None
    assert (loaded.names, loaded.sizes, loaded.value_names) == (expected.names, expected.sizes, expected.value_names)
    np.testing.assert_array_equal(loaded.values, values)
    sidecar = tmp_path / "a" / "train-00001.json"
    intact = sidecar.read_text()
    for damaged, message in (
        ("[2]", "2 factors"),
        (f"[{2**70}, 1]", r"train-00001\.json: factors"),
        ("[-1, 1]", "factors"),
    ):
        sidecar.write_text(intact.replace("[2, 1]", damaged))
        with pytest.raises(UserError, match=message):
            load(tmp_path / "a")
