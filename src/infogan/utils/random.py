"""Random numbers of a step, a row for each sample of the batch, whoever computes them.

Workers that share a batch must draw what one process would: each draws the numbers of the whole batch, from the same
seed, and takes the rows of its own samples. They are cheap beside what is done with them.
"""

from collections.abc import Callable

import torch
from torch import Tensor


class BatchRandom:
    """Draws rows of random numbers.

    Args:
        generator: Where they come from.
        share: Which samples of the batch are meant; None = all of them.
        whole: How many samples the batch has; of no matter without a share.

    Attributes:
        device: Where the numbers are.
    """

    def __init__(self, generator: torch.Generator, share: slice | None = None, whole: int = 0) -> None:
        self._generator, self._share, self._whole = generator, share, whole
        self.device = generator.device

    @classmethod
    def of(cls, source: "BatchRandom | torch.Generator") -> "BatchRandom":
        """Those of a generator, for all samples; chances are what they are."""
        return source if isinstance(source, BatchRandom) else cls(source)

    def uniform(self, count: int, *shape: int) -> Tensor:
        """Numbers in [0, 1), (count, *shape).

        Args:
            count: Samples of the share, or a multiple of that: then the batch comes so many times over.
            shape: Of each row.
        """
        return self._rows(count, lambda rows: torch.rand((rows, *shape), generator=self._generator, device=self.device))

    def normal(self, count: int, *shape: int) -> Tensor:
        """Standard normal numbers, (count, *shape); see `uniform`."""
        return self._rows(
            count, lambda rows: torch.randn((rows, *shape), generator=self._generator, device=self.device)
        )

    def integers(self, low: int, high: int, count: int, *shape: int) -> Tensor:
        """Integers from ``low`` to below ``high``, (count, *shape); see `uniform`."""
        return self._rows(
            count,
            lambda rows: torch.randint(low, high, (rows, *shape), generator=self._generator, device=self.device),
        )

    def multinomial(self, probabilities: Tensor, count: int) -> Tensor:
        """Places in ``probabilities``, as likely as these say, (count,); see `uniform`."""
        weights = probabilities.to(self.device)
        return self._rows(
            count, lambda rows: torch.multinomial(weights, rows, replacement=True, generator=self._generator)
        )

    def _rows(self, count: int, draw: Callable[[int], Tensor]) -> Tensor:
        if self._share is None:
            return draw(count)
        own = self._share.stop - self._share.start
        times, rest = divmod(count, own) if own else (0, count)
        if rest:
            raise ValueError(f"{count} rows are no multiple of the {own} samples of this share")
        numbers = draw(times * self._whole)
        return numbers.reshape(times, self._whole, *numbers.shape[1:])[:, self._share].flatten(0, 1)
