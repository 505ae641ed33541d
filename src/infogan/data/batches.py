"""Image sets as endless batches.

Which images a step sees is a function of (seed, step), so that nothing has to be remembered to resume. All images are
shuffled, then shown in that order, then shuffled anew; a batch may span two shuffles.

Images are kept where the step wants them, as bytes. Those of mapped files that are large against the memory stay in the
files, and a thread reads the next step's while this step's are learned from. Large shards are read through a window:
their order is shuffled, and then the images of each ``WINDOW`` of them that follow on one another, so that what is read
lies together for a while. Within a window every order is equally likely.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from infogan.data.dataset import ImageSet
from infogan.data.shards import Shards, as_shards
from infogan.utils.distributed import micro_batch_slice_of_rank
from infogan.utils.errors import UserError
from infogan.utils.memory import usable_bytes

WINDOW = 32  # shards that are shuffled together
Order = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Gives the images at some places of an order."""

MAX_RESIDENT_SHARE = 0.25  # of the memory: mapped images up to this are read into it


def stream_seed(*parts: int) -> int:
    """Mixes numbers such as (seed, rank, step) into one 63-bit seed; different tuples give unrelated streams."""
    words = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    return int(words[0]) << 31 ^ int(words[1])


def to_network(images: Tensor) -> Float[Tensor, "batch channel height width"]:
    """uint8 pixels to the [-1, 1] of the networks, in torch's default type."""
    return images.to(torch.get_default_dtype()).div_(127.5).sub_(1)


def to_pixels(images: Float[Tensor, "batch channel height width"]) -> NDArray[np.uint8]:
    """The networks' [-1, 1] to uint8 pixels, rounded to the nearest; what lies outside is clipped."""
    pixels: NDArray[np.uint8] = images.detach().float().add(1).mul(127.5).round().clamp(0, 255).byte().cpu().numpy()
    return pixels


def check_enough_images(images: ImageSet, batch_size: int, factor: int = 1) -> None:
    """Raises UserError where there are fewer images than a batch.

    Args:
        images: Of the training.
        batch_size: Of the largest batches.
        factor: How many times ``train.batch_size`` that is.
    """
    if len(images) < batch_size:
        fitting = len(images) // factor
        hint = f" or pass --set train.batch_size={fitting}" if fitting > 1 else ""
        raise UserError(
            f"{images.source} has {len(images)} usable images, fewer than a batch of {batch_size}: add images{hint}"
        )


class Batches:
    """The batches of a run.

    Args:
        images: uint8 images. Mapped ones and shards of more than ``RESIDENT`` of the memory are left where they are;
            all others are kept on ``device`` as one tensor.
        seed: Of the order.
        rank: Which share of each batch is this worker's.
        world_size: Number of workers.
        device: Where the batches are wanted.
        pieces: Parts of a batch, of each of which a worker has a share.

    Attributes:
        pixels: All images, on ``device`` or, where they are left in their files, on the CPU.
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
        held = images.images
        mapped = isinstance(held, np.memmap)
        shards = as_shards(held)
        in_file = (mapped or shards is not None) and held.nbytes > MAX_RESIDENT_SHARE * usable_bytes()
        self._starts: NDArray[np.int64] | None = None
        self.pixels: Tensor
        if in_file and shards is not None:
            self._starts = shards.starts
            self.pixels = cast(Tensor, ShardTensor(shards))
        else:
            kept = np.asarray(held) if in_file else np.ascontiguousarray(held)
            self.pixels = torch.from_numpy(kept.copy() if mapped and not in_file else kept)
            if not in_file:
                self.pixels = self.pixels.to(device)
        self.seed = seed
        self._device = device
        self._rank, self._world_size, self._pieces = rank, world_size, accumulation_steps
        self._orders: dict[tuple[int, int], Order] = {}
        self._ahead = _ReadAhead(self._read) if in_file else None

    def batch(
        self, stage: int, step: int, batch_size: int
    ) -> tuple[Int[Tensor, " batch"], Float[Tensor, "batch channel height width"]]:
        """The images that this worker sees at a step of a stage, counted from the stage's first.

        Args:
            stage: Number of the stage; each goes through the images in an order of its own.
            step: Within the stage.
            batch_size: Of all steps of the stage, over all workers.

        Returns:
            Their places, and the images in [-1, 1], piece after piece.
        """
        if self._ahead is None:
            indices = self.indices(stage, step, batch_size)
            return indices, self.reals(indices)
        indices, pixels = self._ahead.get(stage, step, batch_size)
        return indices.to(self._device), to_network(pixels.to(self._device, non_blocking=True))

    def indices(self, stage: int, step: int, batch_size: int) -> Int[Tensor, " batch"]:
        """The places of the images of a `batch`, where ``pixels`` are."""
        count = len(self.pixels)
        batch = np.arange(step * batch_size, (step + 1) * batch_size)
        rows = [
            micro_batch_slice_of_rank(batch_size, piece, self._pieces, self._rank, self._world_size)
            for piece in range(self._pieces)
        ]
        positions = np.concatenate([batch[some] for some in rows])
        shuffles, places = np.divmod(positions, count)
        chosen = [self._order(stage, shuffle)(places[shuffles == shuffle]) for shuffle in np.unique(shuffles).tolist()]
        return torch.from_numpy(np.concatenate(chosen)).to(self.pixels.device)

    def reals(self, indices: Int[Tensor, " batch"]) -> Float[Tensor, "batch channel height width"]:
        """The images in these places, in [-1, 1]."""
        return to_network(self.pixels[indices.to(self.pixels.device)].to(self._device))

    def _read(self, stage: int, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        indices = self.indices(stage, step, batch_size)
        pixels = self.pixels[indices]
        return indices, pixels.pin_memory() if self._device.type == "cuda" else pixels

    def _order(self, stage: int, shuffle: int) -> Order:
        key = (stage, shuffle)
        if key not in self._orders:
            # A batch spans at most a few shuffles; older ones are never asked for again.
            for old in [known for known in self._orders if known < (stage, shuffle - 1)]:
                del self._orders[old]
            seed = stream_seed(self.seed, stage, shuffle)
            if self._starts is None:
                self._orders[key] = np.random.default_rng(seed).permutation(len(self.pixels)).__getitem__
            else:
                self._orders[key] = WindowedOrder(self._starts, WINDOW, seed)
        return self._orders[key]


class ShardTensor:
    """Images in shards that pass for a tensor where one is indexed by a tensor of places, or a slice."""

    device = torch.device("cpu")

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, places: Tensor | slice) -> UInt8[Tensor, "image channel height width"]:
        return torch.from_numpy(self._shards[places if isinstance(places, slice) else places.cpu().numpy()])


class WindowedOrder:
    """An order of the images of shards: shards in any order, and images in any order among so many of them.

    Only the windows that are asked for are drawn, the last two of which are kept: the whole order of a billion images
    would be 8 GB.

    Of a set whose shards each hold another kind of image, which is the worst that there is, the kinds in a batch of B
    images vary as in one of 1 / (1/B + 1/W - 1/(B W)) images that were drawn one by one, where W is the window.

    Args:
        starts: (shards + 1,), the place of each shard's first image, and the number of all.
        window: Shards that are shuffled together, W.
        seed: What the order comes from.
    """

    def __init__(self, starts: NDArray[np.int64], window: int, seed: int) -> None:
        shards = np.random.default_rng(seed).permutation(len(starts) - 1)
        self._starts, self._seed = starts, seed
        self._windows = np.split(shards, range(window, len(shards), window))
        sizes = [int((starts[some + 1] - starts[some]).sum()) for some in self._windows]
        self._ends = np.cumsum(sizes)
        self._drawn = lru_cache(2)(self._draw)

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The images at these places of the order."""
        found = np.empty_like(positions)
        owners = np.searchsorted(self._ends, positions, side="right")
        for owner in np.unique(owners).tolist():
            here = owners == owner
            begun = self._ends[owner - 1] if owner else 0
            found[here] = self._drawn(owner)[positions[here] - begun]
        return found

    def _draw(self, window: int) -> NDArray[np.int64]:
        images = [np.arange(self._starts[shard], self._starts[shard + 1]) for shard in self._windows[window]]
        return np.random.default_rng(stream_seed(self._seed, window)).permutation(np.concatenate(images))


class _ReadAhead:
    """Reads a batch in a thread before it is asked for: after each one, that of the next step."""

    def __init__(self, read: Callable[[int, int, int], tuple[Tensor, Tensor]]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._next: tuple[tuple[int, int, int], Future[tuple[Tensor, Tensor]]] | None = None

    def get(self, stage: int, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """What ``read`` gives; errors that it raised are raised here."""
        wanted = (stage, step, batch_size)
        if self._next is None or self._next[0] != wanted:
            self._submit(*wanted)
        assert self._next is not None
        result = self._next[1].result()
        self._submit(stage, step + 1, batch_size)
        return result

    def _submit(self, stage: int, step: int, batch_size: int) -> None:
        self._next = (stage, step, batch_size), self._thread.submit(self._read, stage, step, batch_size)
