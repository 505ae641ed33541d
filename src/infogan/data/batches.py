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


def check_enough(images: ImageSet, batch_size: int, factor: int = 1) -> None:
    """Raises UserError where there are fewer images than a batch.

    Args:
        images: Of the training.
        batch_size: Of the largest batches.
        factor: How many times ``train.batch_size`` that is.
    """
    if len(images) < batch_size:
        raise UserError(
            f"{images.source} has {len(images)} usable images, fewer than a batch of {batch_size}: "
            f"add images or pass --set train.batch_size={max(1, len(images) // factor)}"
        )


class Batches:
    """The batches of a run.

    Args:
        images: uint8 images, kept on ``device`` as one tensor.
        seed: Of the order.
        rank: Which share of each batch is this worker's.
        world_size: Number of workers; must divide the batch sizes.
        device: Where the batches are wanted.
    """

    def __init__(self, images: ImageSet, seed: int, *, rank: int, world_size: int, device: torch.device) -> None:
        self.pixels = torch.from_numpy(np.ascontiguousarray(images.images)).to(device)
        self.seed = seed
        self._rank, self._world_size = rank, world_size
        self._orders: dict[tuple[int, int], NDArray[np.int64]] = {}

    def indices(self, stage: int, step: int, batch_size: int) -> Int[Tensor, " batch"]:
        """Which images this worker sees at a step of a stage, counted from the stage's first.

        Args:
            stage: Number of the stage; each goes through the images in an order of its own.
            step: Within the stage.
            batch_size: Of all steps of the stage, over all workers.
        """
        count = len(self.pixels)
        share = slice(self._rank * batch_size // self._world_size, (self._rank + 1) * batch_size // self._world_size)
        positions = np.arange(step * batch_size, (step + 1) * batch_size)[share]
        chosen = [self._order(stage, int(position) // count)[int(position) % count] for position in positions]
        return torch.tensor(chosen, device=self.pixels.device)

    def reals(self, indices: Int[Tensor, " batch"]) -> Float[Tensor, "batch channel height width"]:
        """Those images in [-1, 1]."""
        return to_network(self.pixels[indices])

    def _order(self, stage: int, shuffle: int) -> NDArray[np.int64]:
        key = (stage, shuffle)
        if key not in self._orders:
            # A batch spans at most a few shuffles; older ones are never asked for again.
            for old in [known for known in self._orders if known < (stage, shuffle - 1)]:
                del self._orders[old]
            order = np.random.default_rng(stream_seed(self.seed, stage, shuffle)).permutation(len(self.pixels))
            self._orders[key] = order
        return self._orders[key]
