"""Random numbers of a training step, one row per sample of the batch, whichever rank computes them.

Ranks that share a batch must draw what a single process would: each draws the numbers of the whole batch from the same
seed and takes the rows of its own samples. Drawing costs little compared with the networks.
"""

from collections.abc import Callable

import torch
from torch import Tensor


class BatchRandom:
    """Draws rows of random numbers for the samples of a batch.

    Args:
        generator: The source.
        rows: The samples of this rank; None = all.
        batch_size: Samples of the whole batch; ignored if ``rows`` is None.

    Attributes:
        device: Where the numbers are.

    Example:
        >>> BatchRandom(torch.Generator().manual_seed(0), slice(2, 4), 8).uniform(2, 3).shape
        torch.Size([2, 3])
    """

    def __init__(self, generator: torch.Generator, rows: slice | None = None, batch_size: int = 0) -> None:
        self._generator, self._rows, self._batch_size = generator, rows, batch_size
        self.device = generator.device

    @classmethod
    def of(cls, source: "BatchRandom | torch.Generator") -> "BatchRandom":
        """Return the source itself, or one that draws from a generator for all samples."""
        return source if isinstance(source, BatchRandom) else cls(source)

    def uniform(self, count: int, *shape: int) -> Tensor:
        """Draw numbers in [0, 1), (count, *shape).

        Args:
            count: Samples of this rank, or a multiple: then the batch is repeated that often.
            shape: Shape of each row.
        """
        return self._draw(count, lambda n: torch.rand((n, *shape), generator=self._generator, device=self.device))

    def normal(self, count: int, *shape: int) -> Tensor:
        """Draw standard normal numbers, (count, *shape); see `uniform`."""
        return self._draw(count, lambda n: torch.randn((n, *shape), generator=self._generator, device=self.device))

    def integers(self, low: int, high: int, count: int, *shape: int) -> Tensor:
        """Draw integers from ``low`` to ``high - 1``, (count, *shape); see `uniform`."""
        generator, device = self._generator, self.device
        return self._draw(count, lambda n: torch.randint(low, high, (n, *shape), generator=generator, device=device))

    def multinomial(self, probabilities: Tensor, count: int) -> Tensor:
        """Draw indices with the given probabilities, (count,); see `uniform`."""
        weights = probabilities.to(self.device)
        return self._draw(count, lambda n: torch.multinomial(weights, n, replacement=True, generator=self._generator))

    def _draw(self, count: int, draw: Callable[[int], Tensor]) -> Tensor:
        if self._rows is None:
            return draw(count)
        samples = self._rows.stop - self._rows.start
        repeats, remainder = divmod(count, samples) if samples else (0, count)
        if remainder:
            raise ValueError(f"{count} rows are not a multiple of this rank's {samples} samples")
        numbers = draw(repeats * self._batch_size)
        return numbers.reshape(repeats, self._batch_size, *numbers.shape[1:])[:, self._rows].flatten(0, 1)
