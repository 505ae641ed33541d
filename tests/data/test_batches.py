"""Batches of images that stay in shards are the same on any number of workers, in a windowed order."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from infogan.data import batches, load, prepare_shards, shards
from infogan.data.batches import WINDOW, Batches, ShardTensor, WindowedOrder
from infogan.data.shards import Shards
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from tests.helpers import image_set, pictures, small_config

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def shards_that_stay_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_SHARD_IMAGES", 7)
    monkeypatch.setattr(batches, "MAX_RESIDENT_SHARE", 0.0)


def test_windowed_order_shuffles_nearby_shards_uniformly() -> None:
    counts = [5, 7, 7, 2, 7, 6, 7]
    starts = np.concatenate([[0], np.cumsum(counts)])
    shard_of_image = np.repeat(np.arange(7), counts)
    first_images: Counter[int] = Counter()
    for seed in range(400):
        order = WindowedOrder(starts, 3, seed)(np.arange(41))
        assert sorted(order.tolist()) == list(range(41))
        first_images[int(order[0])] += 1
        shard_order: list[int] = list(dict.fromkeys(shard_of_image[order].tolist()))
        for window in (shard_order[:3], shard_order[3:6], shard_order[6:]):
            size = sum(counts[shard] for shard in window)
            assert set(shard_of_image[order[:size]].tolist()) == set(window)
            order = order[size:]
    # Each image is the first one about once in 41 orders.
    assert len(first_images) == 41
    assert max(first_images.values()) < 400 / 41 * 3


def test_windowed_order_varies_classes_as_documented() -> None:
    n_shards, shard_size, window, batch = 4000, 40, 16, 64
    is_first_class = np.random.default_rng(0).random(n_shards) < 0.3  # one class per shard
    order = WindowedOrder(np.arange(n_shards + 1) * shard_size, window, 1)(np.arange(n_shards * shard_size))
    share = is_first_class[order // shard_size].reshape(-1, batch).mean(axis=1)  # ten batches per window
    variance = is_first_class.mean() * (1 - is_first_class.mean())
    assert share.var() == pytest.approx(variance * (1 / batch + 1 / window - 1 / (batch * window)), rel=0.1)
    assert share.var() > 3 * variance / batch  # that of an unrestricted order


def test_large_shards_are_read_batch_by_batch(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", pictures(200))
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    images = load(tmp_path / "a")

    def batch_indices(rank: int, world_size: int) -> list[NDArray[np.int64]]:
        source = Batches(images, 3, rank=rank, world_size=world_size, device=CPU)
        assert isinstance(source.pixels, ShardTensor)
        indices_of_steps = []
        for step in range(45):
            indices, reals = source.batch(0, step, 10)
            assert torch.equal(reals, torch.from_numpy(pictures(200)[indices.numpy()]) / 127.5 - 1)
            indices_of_steps.append(indices.numpy())
        return indices_of_steps

    single = batch_indices(0, 1)
    first_epoch, second_epoch = np.concatenate(single[:20]), np.concatenate(single[20:40])
    assert sorted(first_epoch.tolist()) == list(range(200))
    assert first_epoch.tolist() != second_epoch.tolist()
    assert len(set((first_epoch[: 7 * WINDOW] // 7).tolist())) <= WINDOW + 1  # the last shard is smaller
    shares = [batch_indices(rank, 3) for rank in range(3)]
    for *parts, batch in zip(*shares, single, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), batch)


def test_run_on_shards_in_files_finishes(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", image_set(96).images)
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    assert isinstance(load(tmp_path / "a").images, Shards)
    length = {"steps": 12, "batch_size": 16, "save_every": 12, "log_every": 4, "budget": None}
    config = small_config(preset="robust", codes=[{"kind": "categorical", "size": 2}], train=length)
    run = RunFolder.at(tmp_path / "run")
    train(config, load(tmp_path / "a"), run)
    assert run.read_stats()[-1]["step"] == 12
