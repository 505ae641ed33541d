"""Shards hold what the source holds, are made by as many processes as one likes, and say what is wrong with them."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from infogan.data import batches, load, prepare_shards, shards
from infogan.data.batches import WINDOW, Batches, WindowedOrder
from infogan.data.shards import Shards
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils import files
from infogan.utils.errors import UserError
from tests.helpers import image_set, picture_folder, pictures, small_config

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 pictures of two classes in two splits, of which three are broken."""

    def place(number: int) -> str:
        return f"{'test' if number % 4 == 3 else 'train'}/{('lying', 'upright')[number % 2]}/{number}.png"

    return picture_folder(tmp_path / "pictures", place, 40, (2, 3, 20))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_or_zip_of_pictures_comes_back_as_it_is(folder: Path, workers: int, zipped: bool) -> None:
    source = folder
    if zipped:
        source = Path(shutil.make_archive(str(folder), "zip", folder))
    made = prepare_shards(source, folder.parent / "prepared", workers=workers)
    for split in ("train", "test"):
        expected, found = load(source, split=split), load(folder.parent / "prepared", split=split)
        assert np.array_equal(np.asarray(found.images), expected.images)
        assert list(found.names) == list(expected.names)
        assert expected.labels is not None
        assert found.labels is not None
        assert np.array_equal(found.labels, expected.labels)
        assert found.label_names == expected.label_names
        assert made[split].images == len(expected) == len(found)
        assert made[split].skipped == expected.skipped
        assert found.digest() != expected.digest()
    assert sorted(path.name for path in (folder.parent / "prepared").glob("train*.npy"))[:2] == [
        "train-00000.npy",
        "train-00001.npy",
    ]


def test_arrays_and_named_sets_come_back_as_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", pictures(30))
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    found = load(tmp_path / "a")
    assert np.array_equal(np.asarray(found.images), pictures(30))
    assert found.names[29] == "29"
    assert found.labels is None
    prepare_shards("digits", tmp_path / "b", size=16)
    for split in ("train", "test"):
        expected, found = load("digits", split=split, size=16), load(tmp_path / "b", split=split)
        assert np.array_equal(found.images[5:9], expected.images[5:9])
        assert expected.labels is not None
        assert found.labels is not None
        assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(load(tmp_path / "b", size=8).images[0], load(tmp_path / "b", size=8).images[:1][0])
    assert load(tmp_path / "b", size=8).images.shape == (1437, 1, 8, 8)


def test_they_are_indexed_like_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", pictures(30))
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    found, expected = load(tmp_path / "a").images, pictures(30)
    random = np.random.default_rng(0)
    wanted: list[Any] = [0, -1, np.int64(13), slice(None), slice(3, 25, 4), slice(20, 5, -3), slice(9, 9)]
    wanted += [random.integers(0, 30, 50), random.random(30) < 0.5, np.array([], np.int64), np.array([-30, 29])]
    for places in wanted:
        assert np.array_equal(found[places], expected[places])
    for far in (30, np.array([0, 30]), -31):
        with pytest.raises(IndexError):
            found[far]
    assert (len(found), found.shape, found.nbytes) == (30, expected.shape, expected.nbytes)


def test_what_was_stopped_goes_on_with_what_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, real = folder.parent / "prepared", files.write_bytes

    def full(path: Path, content: bytes) -> None:
        if path.name == "train-00002.json":
            raise UserError("the disk is full")
        real(path, content)

    monkeypatch.setattr(shards, "write_bytes", full)
    with pytest.raises(UserError, match="the disk is full"):
        prepare_shards(folder, target)
    with pytest.raises(UserError, match="not prepared to its end"):
        load(target)
    written: list[str] = []

    def noted(path: Path, content: bytes) -> None:
        written.append(path.name)
        real(path, content)

    monkeypatch.setattr(shards, "write_bytes", noted)
    with pytest.raises(UserError, match="other images, or in another form"):
        prepare_shards(folder, target, size=16)
    prepare_shards(folder, target)
    assert "train-00001.npy" not in written
    assert "train-00002.npy" in written
    assert np.array_equal(np.asarray(load(target).images), load(folder).images)


def test_what_is_wrong_with_shards_is_one_sentence(folder: Path) -> None:
    target = folder.parent / "prepared"
    prepare_shards(folder, target)
    shard, index = target / "train-00001.npy", target / "index.json"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=r"train-00001\.npy is damaged"):
        load(target).digest()
    for content in (whole[:-1], whole[:60], b"", b"x" * len(whole)):
        shard.write_bytes(content)
        with pytest.raises(UserError, match=r"train-00001\.npy"):
            load(target)
    shard.unlink()
    with pytest.raises(UserError, match=r"the shard .*train-00001\.npy is missing"):
        load(target)
    known = json.loads(index.read_text())
    for key, value in (("splits", {"train": [{"name": "../../x", "images": 1, "sha256": ""}]}), ("size", "a"),
                       ("format", "x"), ("splits", []), ("splits", {"train": [5]})):  # fmt: skip
        index.write_text(json.dumps(known | {key: value}))
        with pytest.raises(UserError, match=r"index\.json"):
            load(target)
    index.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"index\.json"):
        load(target)


def test_what_can_not_be_prepared_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="is not empty and holds no shards"):
        prepare_shards(folder, folder)
    with pytest.raises(UserError, match="files that cannot be used"):
        prepare_shards(folder, folder.parent / "strict", size=8, channels=1, strict=True)
    (folder.parent / "none").mkdir()
    (folder.parent / "none" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="no usable image"):
        prepare_shards(folder.parent / "none", folder.parent / "p", size=8, channels=1)


# Learning from them.


def test_an_order_through_a_window_is_any_order_of_nearby_shards() -> None:
    counts = [5, 7, 7, 2, 7, 6, 7]
    starts = np.concatenate([[0], np.cumsum(counts)])
    owner = np.repeat(np.arange(7), counts)
    firsts: Counter[int] = Counter()
    for seed in range(400):
        order = WindowedOrder(starts, 3, seed)(np.arange(41))
        assert sorted(order.tolist()) == list(range(41))
        shard_order: list[int] = list(dict.fromkeys(owner[order].tolist()))
        for window in (shard_order[:3], shard_order[3:6], shard_order[6:]):
            size = sum(counts[shard] for shard in window)
            assert set(owner[order[:size]].tolist()) == set(window)
            order = order[size:]
        firsts[int(WindowedOrder(starts, 3, seed)(np.array([0]))[0])] += 1
    # An image comes first as often as its shard is in the first window and it is drawn there: about once in 41.
    assert len(firsts) == 41
    assert max(firsts.values()) < 400 / 41 * 3


def test_kinds_vary_through_a_window_as_stated() -> None:
    shards_, each, window, batch = 4000, 40, 16, 64
    kind = np.random.default_rng(0).random(shards_) < 0.3  # of all images of a shard
    order = WindowedOrder(np.arange(shards_ + 1) * each, window, 1)(np.arange(shards_ * each))
    share = kind[order // each].reshape(-1, batch).mean(axis=1)  # ten batches a window
    chance = kind.mean() * (1 - kind.mean())
    assert share.var() == pytest.approx(chance * (1 / batch + 1 / window - 1 / (batch * window)), rel=0.1)
    assert share.var() > 3 * chance / batch  # as it is of images in any order


def test_large_shards_are_read_a_batch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "images.npy", pictures(200))
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    prepared = load(tmp_path / "a")
    monkeypatch.setattr(batches, "MAX_RESIDENT_SHARE", 0.0)

    def seen(rank: int, workers: int) -> list[NDArray[np.int64]]:
        source = Batches(prepared, 3, rank=rank, world_size=workers, device=CPU)
        assert isinstance(source.pixels, batches.ShardTensor)
        found = []
        for step in range(45):
            indices, reals = source.batch(0, step, 10)
            assert torch.equal(reals, torch.from_numpy(pictures(200)[indices.numpy()]) / 127.5 - 1)
            found.append(indices.numpy())
        return found

    alone = seen(0, 1)
    assert sorted(np.concatenate(alone[:20]).tolist()) == list(range(200))
    assert np.concatenate(alone[:20]).tolist() != np.concatenate(alone[20:40]).tolist()
    near = Counter((np.concatenate(alone[:20])[: 7 * WINDOW] // 7).tolist())
    assert len(near) <= WINDOW + 1  # with the last shard, which is smaller
    shared = [seen(rank, 3) for rank in range(3)]
    assert all(np.array_equal(np.concatenate(parts), whole) for *parts, whole in zip(*shared, alone, strict=True))


def test_a_run_on_shards_left_in_their_files_ends_like_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "images.npy", image_set(96).images)
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    monkeypatch.setattr(batches, "MAX_RESIDENT_SHARE", 0.0)
    length = {"steps": 12, "batch_size": 16, "save_every": 12, "log_every": 4, "budget": None}
    config = small_config(preset="robust", codes=[{"kind": "categorical", "size": 2}], train=length)
    run = RunFolder.at(tmp_path / "run")
    assert isinstance(load(tmp_path / "a").images, Shards)
    train(config, load(tmp_path / "a"), run)
    assert run.read_stats()[-1]["step"] == 12


def test_factors_are_kept(tmp_path: Path) -> None:
    values = np.stack([np.arange(30) % 3, np.arange(30) % 2], axis=1)
    known = {"factor_names": np.array(["shape", "side"]), "factor_values": np.array(["a", "b", "c", "left", "right"])}
    sizes = {"factor_sizes": np.array([3, 2])}
    np.savez(tmp_path / "images.npz", allow_pickle=False, images=pictures(30), factors=values, **known, **sizes)
    prepare_shards(tmp_path / "images.npz", tmp_path / "a", workers=2)
    found, expected = load(tmp_path / "a").factors, load(tmp_path / "images.npz").factors
    assert found is not None
    assert expected is not None
    assert (found.names, found.sizes, found.value_names) == (expected.names, expected.sizes, expected.value_names)
    assert np.array_equal(found.values, values)
    beside = tmp_path / "a" / "train-00001.json"
    beside.write_text(beside.read_text().replace("[2, 1]", "[2]"))
    with pytest.raises(UserError, match="factors that are none of its images'"):
        load(tmp_path / "a")
