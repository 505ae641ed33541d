"""Batches: the order of the images, shares of workers, images that stay in files, and conversion of pixels."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from infogan.data import batches, load, prepare_shards, shards
from infogan.data.batches import (
    WINDOW,
    Batches,
    ShardTensor,
    WindowedOrder,
    check_enough_images,
    stream_seed,
    to_network,
    to_pixels,
)
from infogan.data.dataset import ImageSet
from infogan.data.shards import Shards
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.helpers import bar_images, image_set, small_config

CPU = torch.device("cpu")


@pytest.fixture
def images_stay_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_SHARD_IMAGES", 7)
    monkeypatch.setattr(batches, "MAX_RESIDENT_SHARE", 0.0)


def batches_of(images: ImageSet, rank: int = 0, world_size: int = 1) -> Batches:
    return Batches(images, 3, rank=rank, world_size=world_size, device=CPU)


def mapped(path: Path, images: NDArray[Any]) -> ImageSet:
    np.save(path, images)
    return load(path)


def test_every_image_is_used_once_before_any_is_used_twice() -> None:
    source = batches_of(image_set(10))
    order = torch.cat([source.indices(0, step, 4) for step in range(5)]).tolist()
    assert sorted(order[:10]) == list(range(10))
    assert sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]
    assert source.indices(0, 1, 4).tolist() == order[4:8]  # also out of order


def test_workers_share_a_batch_without_overlap() -> None:
    single = batches_of(image_set(20))
    shares = [batches_of(image_set(20), rank, 3) for rank in range(3)]
    for step in range(6):
        shared = torch.cat([share.indices(1, step, 7) for share in shares])
        assert shared.tolist() == single.indices(1, step, 7).tolist()


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1)], ids=["channels first", "channels last"])
def test_images_in_a_mapped_file_give_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: tuple[int, ...]
) -> None:
    images = image_set(20, channels=3)
    file = mapped(tmp_path / "a.npy", images.images.transpose(axes))
    in_memory, loaded = batches_of(images), batches_of(file)
    monkeypatch.setattr(batches, "MAX_RESIDENT_SHARE", 0.0)
    in_file = batches_of(file)
    assert torch.equal(in_file.pixels[:], in_memory.pixels[:])
    # Consecutive steps, a repeated one, one out of order and other stages: whatever the reader has prepared.
    for stage, step, size in [(0, 0, 6), (0, 1, 6), (0, 2, 6), (0, 2, 6), (0, 9, 6), (1, 0, 12), (1, 1, 12), (0, 1, 6)]:
        expected_indices, expected_reals = in_memory.batch(stage, step, size)
        for source in (in_file, loaded):
            indices, reals = source.batch(stage, step, size)
            assert torch.equal(indices, expected_indices)
            assert torch.equal(reals, expected_reals)
    # Images that were loaded no longer follow the file; those that stay in it do.
    np.lib.format.open_memmap(tmp_path / "a.npy", mode="r+")[:] = 0
    assert (in_file.pixels[:] == 0).all()
    assert torch.equal(loaded.pixels[:], in_memory.pixels[:])


@pytest.mark.usefixtures("images_stay_in_files")
def test_errors_of_the_background_reader_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = batches_of(mapped(tmp_path / "a.npy", image_set(20).images))
    source.batch(0, 0, 4)  # the next batch is read meanwhile

    class FailingImages:
        device = CPU

        def __len__(self) -> int:
            return 20

        def __getitem__(self, _: object) -> None:
            raise OSError("the disk is gone")

    monkeypatch.setattr(source, "pixels", FailingImages())
    with pytest.raises(OSError, match="the disk is gone"):
        for step in (1, 2, 3):
            source.batch(0, step, 4)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"10 .*16.*train\.batch_size=5"):
        check_enough_images(image_set(10), 16, 2)
    check_enough_images(image_set(16), 16)


def test_pixels_survive_the_conversion_to_the_networks_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    images = to_network(pixels)
    assert (images.min().item(), images.max().item()) == (-1.0, 1.0)
    assert np.array_equal(to_pixels(images), pixels.numpy())
    assert to_pixels(torch.tensor([[[[-3.0, 7.0]]]])).tolist() == [[[[0, 255]]]]


def test_seeds_of_random_streams_differ() -> None:
    seeds = {stream_seed(seed, rank, step) for seed in range(5) for rank in range(5) for step in range(50)}
    assert len(seeds) == 1250
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed(1, 2) != stream_seed(2, 1)


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


@pytest.mark.usefixtures("images_stay_in_files")
def test_large_shards_are_read_batch_by_batch(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", bar_images(200))
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    images = load(tmp_path / "a")

    def batch_indices(rank: int, world_size: int) -> list[NDArray[np.int64]]:
        source = batches_of(images, rank, world_size)
        assert isinstance(source.pixels, ShardTensor)
        indices_of_steps = []
        for step in range(45):
            indices, reals = source.batch(0, step, 10)
            assert torch.equal(reals, torch.from_numpy(bar_images(200)[indices.numpy()]) / 127.5 - 1)
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


@pytest.mark.usefixtures("images_stay_in_files")
def test_run_on_shards_in_files_finishes(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", image_set(96).images)
    prepare_shards(tmp_path / "images.npy", tmp_path / "a")
    assert isinstance(load(tmp_path / "a").images, Shards)
    length = {"steps": 12, "batch_size": 16, "save_every": 12, "log_every": 4, "budget": None}
    config = small_config(preset="robust", codes=[{"kind": "categorical", "size": 2}], train=length)
    run = RunFolder.at(tmp_path / "run")
    train(config, load(tmp_path / "a"), run)
    assert run.read_stats()[-1]["step"] == 12
