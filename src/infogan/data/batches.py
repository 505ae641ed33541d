"""Endless shuffled batches of an image set.

The images of a step depend on (seed, stage, step) alone, so a resumed run needs no saved position. All images are
shuffled, shown in that order, and shuffled again; a batch may span two shuffles.

Images are kept as bytes on the device of the training. Those in mapped files that are large compared with the memory
stay in the files, and a thread reads the next batch during the current step. Large sets of shards are shuffled within
windows: the shards are shuffled, and then the images of each ``WINDOW`` consecutive shards, so that reads stay within a
few files for a while.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from infogan.data.dataset import ImageSet
from infogan.data.shards import Shards, as_shards, gather
from infogan.utils.distributed import micro_batch_slice_of_rank
from infogan.utils.errors import UserError
from infogan.utils.memory import usable_bytes

WINDOW = 32  # number of shards whose images are shuffled together
MAX_RESIDENT_SHARE = 0.25  # mapped images up to this share of the memory are loaded into it

Order = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Maps positions in a shuffled order to indices of images."""


def stream_seed(*parts: int) -> int:
    """Mix numbers such as (seed, rank, step) into one 63-bit seed; different numbers give unrelated random streams."""
    high, low = np.random.SeedSequence(parts).generate_state(2, np.uint32).tolist()
    return int(high << 31 ^ low)


def to_network(images: Tensor) -> Float[Tensor, "batch channel height width"]:
    """Convert uint8 pixels to the range [-1, 1] of the networks, in torch's default type."""
    return images.to(torch.get_default_dtype()).div_(127.5).sub_(1)


def to_pixels(images: Float[Tensor, "batch channel height width"]) -> NDArray[np.uint8]:
    """Convert images in [-1, 1] to uint8 pixels, rounded to nearest and clipped."""
    pixels: NDArray[np.uint8] = images.detach().float().add(1).mul(127.5).round().clamp(0, 255).byte().cpu().numpy()
    return pixels


def check_enough_images(images: ImageSet, batch_size: int, factor: int = 1) -> None:
    """Raise UserError if there are fewer images than a batch.

    Args:
        images: The training images.
        batch_size: The size of the largest batches.
        factor: The ratio of that size to ``train.batch_size``.
    """
    if len(images) < batch_size:
        largest = len(images) // factor
        hint = f" or pass --set train.batch_size={largest}" if largest > 1 else ""
        shortage = f"{len(images)} usable images, fewer than a batch of {batch_size}"
        raise UserError(f"{images.source} has {shortage}: add images{hint}")


class ShardTensor:
    """Images in shards with the interface of a tensor that is indexed by a tensor of indices or a slice."""

    device = torch.device("cpu")

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, indices: Tensor | slice) -> UInt8[Tensor, "image channel height width"]:
        return torch.from_numpy(self._shards[indices if isinstance(indices, slice) else indices.cpu().numpy()])


PixelSource = UInt8[Tensor, "image channel height width"] | ShardTensor
"""All images of a run, indexed by a tensor of indices or a slice."""


class Batches:
    """The batches of a run.

    Args:
        images: The training images. Those in mapped files or shards that exceed ``MAX_RESIDENT_SHARE`` of the memory
            stay in their files; all others are kept on ``device`` as one tensor.
        seed: The seed of the order.
        rank: The rank of this process.
        world_size: Number of processes that share each batch.
        device: The device of the training.
        accumulation_steps: Number of micro-batches of a batch; every process has a share of each.

    Attributes:
        pixels: All images, on ``device``, or on the CPU if they stay in their files.
    """

    def __init__(
        self,
        images: ImageSet,
        seed: int,
        *,
        rank: int,
        world_size: int,
        device: torch.device,
        accumulation_steps: int = 1,
    ) -> None:
        array = images.images
        shards, mapped = as_shards(array), isinstance(array, np.memmap)
        stays_in_file = (mapped or shards is not None) and array.nbytes > MAX_RESIDENT_SHARE * usable_bytes()
        self.pixels: PixelSource
        self._shard_starts: NDArray[np.int64] | None = None
        if not stays_in_file:
            in_memory = np.ascontiguousarray(array)
            self.pixels = torch.from_numpy(in_memory.copy() if mapped else in_memory).to(device)
        elif shards is None:
            self.pixels = torch.from_numpy(np.asarray(array))
        else:
            self.pixels = ShardTensor(shards)
            self._shard_starts = shards.starts
        self.seed = seed
        self._device = device
        self._rank, self._world_size, self._accumulation_steps = rank, world_size, accumulation_steps
        self._order = lru_cache(2)(self._shuffle)  # a batch spans at most two shuffles
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead") if stays_in_file else None
        self._pending: dict[tuple[int, int, int], Future[tuple[Tensor, Tensor]]] = {}

    def batch(
        self, stage: int, step: int, batch_size: int
    ) -> tuple[Int[Tensor, " batch"], Float[Tensor, "batch channel height width"]]:
        """Return the images of this process at a step of a stage.

        Args:
            stage: The index of the stage; each stage has its own order.
            step: The step, counted from the first one of the stage.
            batch_size: The size of the whole batch, the same in all steps of the stage.

        Returns:
            The indices of the images, and the images in [-1, 1], one micro-batch after the other.
        """
        if self._thread is None:
            indices = self.indices(stage, step, batch_size)
            return indices, self.reals(indices)
        request, following = (stage, step, batch_size), (stage, step + 1, batch_size)
        future = self._pending.get(request) or self._thread.submit(self._read, *request)
        indices, pixels = future.result()
        self._pending = {following: self._thread.submit(self._read, *following)}
        return indices.to(self._device), to_network(pixels.to(self._device, non_blocking=True))

    def indices(self, stage: int, step: int, batch_size: int) -> Int[Tensor, " batch"]:
        """Return the indices of the images of a `batch`, on the device of ``pixels``."""
        whole_batch = np.arange(step * batch_size, (step + 1) * batch_size)
        count = self._accumulation_steps
        slices = [
            micro_batch_slice_of_rank(batch_size, number, count, self._rank, self._world_size)
            for number in range(count)
        ]
        shuffles, positions = np.divmod(np.concatenate([whole_batch[rows] for rows in slices]), len(self.pixels))
        indices = [
            self._order(stage, shuffle)(positions[shuffles == shuffle]) for shuffle in np.unique(shuffles).tolist()
        ]
        return torch.from_numpy(np.concatenate(indices)).to(self.pixels.device)

    def reals(self, indices: Int[Tensor, " batch"]) -> Float[Tensor, "batch channel height width"]:
        """Return the real images with these indices, in [-1, 1]."""
        return to_network(self.pixels[indices.to(self.pixels.device)].to(self._device))

    def _read(self, stage: int, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        indices = self.indices(stage, step, batch_size)
        pixels = self.pixels[indices]
        return indices, pixels.pin_memory() if self._device.type == "cuda" else pixels

    def _shuffle(self, stage: int, shuffle: int) -> Order:
        seed = stream_seed(self.seed, stage, shuffle)
        if self._shard_starts is not None:
            return WindowedOrder(self._shard_starts, WINDOW, seed)
        return np.random.default_rng(seed).permutation(len(self.pixels)).__getitem__


class WindowedOrder:
    """A shuffled order of the images of shards: shards in random order, and images in random order within a window.

    Windows are drawn on demand, and the last two are kept: the order of a billion images would take 8 GB.

    The worst case is a set in which each shard holds images of a single class. The classes in a batch of B images then
    vary as in a batch of 1 / (1/B + 1/W - 1/(B W)) images that were drawn independently, where W is the window.

    Args:
        starts: (shards + 1,), the index of the first image of each shard, and the number of images.
        window: The number of shards that are shuffled together, W.
        seed: The seed of the order.
    """

    def __init__(self, starts: NDArray[np.int64], window: int, seed: int) -> None:
        shards = np.random.default_rng(seed).permutation(len(starts) - 1)
        self._starts, self._seed = starts, seed
        self._windows = np.split(shards, range(window, len(shards), window))
        sizes = [int((starts[members + 1] - starts[members]).sum()) for members in self._windows]
        self._window_starts = np.cumsum([0, *sizes])
        self._shuffled_window = lru_cache(2)(self._shuffle_window)

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of the images at these positions of the order."""
        indices = np.empty_like(positions)
        gather(self._window_starts, self._shuffled_window, positions, indices)
        return indices

    def _shuffle_window(self, window: int) -> NDArray[np.int64]:
        images = [np.arange(self._starts[shard], self._starts[shard + 1]) for shard in self._windows[window]]
        return np.random.default_rng(stream_seed(self._seed, window)).permutation(np.concatenate(images))
