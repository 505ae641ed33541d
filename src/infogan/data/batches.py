"""Image sets as endless batches.

Which images a step sees is a function of (seed, step), so that nothing has to be remembered to resume. All images are
shuffled, then shown in that order, then shuffled anew; a batch may span two shuffles.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from infogan.data.imageset import ImageSet
from infogan.errors import UserError


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


def check_enough(images: ImageSet, batch_size: int) -> None:
    """Raises UserError where there are fewer images than a batch."""
    if len(images) < batch_size:
        raise UserError(
            f"{images.source} has {len(images)} usable images, fewer than a batch of {batch_size}: "
            f"add images or pass --set train.batch_size={max(1, len(images))}"
        )


class Batches:
    """The batches of a run.

    Args:
        images: uint8 images, kept on ``device`` as one tensor.
        batch_size: Over all workers.
        seed: Of the order.
        rank: Which share of each batch is this worker's.
        world_size: Number of workers; must divide ``batch_size``.
        device: Where the batches are wanted.

    Raises:
        UserError: fewer images than a batch.
    """

    def __init__(
        self, images: ImageSet, batch_size: int, seed: int, *, rank: int, world_size: int, device: torch.device
    ) -> None:
        check_enough(images, batch_size)
        self.pixels = torch.from_numpy(np.ascontiguousarray(images.images)).to(device)
        self.batch_size = batch_size
        self.seed = seed
        self._share = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
        self._orders: dict[int, NDArray[np.int64]] = {}

    def indices(self, step: int) -> Int[Tensor, " batch"]:
        """Which images this worker sees at a step."""
        count = len(self.pixels)
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)[self._share]
        chosen = [self._order(int(position) // count)[int(position) % count] for position in positions]
        return torch.tensor(chosen, device=self.pixels.device)

    def reals(self, indices: Int[Tensor, " batch"]) -> Float[Tensor, "batch channel height width"]:
        """Those images in [-1, 1]."""
        return to_network(self.pixels[indices])

    def _order(self, shuffle: int) -> NDArray[np.int64]:
        if shuffle not in self._orders:
            # A batch spans at most a few shuffles; older ones are never asked for again.
            for old in [known for known in self._orders if known < shuffle - 1]:
                del self._orders[old]
            order = np.random.default_rng(stream_seed(self.seed, shuffle)).permutation(len(self.pixels))
            self._orders[shuffle] = order
        return self._orders[shuffle]
