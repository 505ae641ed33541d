"""Images to correct first: typical ones, whose categories tell most of the others."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from infogan.api.refine import refinable_space
from infogan.data import ImageSet, some_indices
from infogan.models.infogan import InfoGAN
from infogan.training.refine import typical_images
from infogan.training.run_dir import RunFolder

CANDIDATES = 10_000  # images among which typical ones are looked for
FOUND = 50  # typical images that are looked for at a time


class TypicalImages:
    """Typical images of a run; they are looked for on first use.

    Args:
        run: The run.
        model: Its model.
        images: The images that the explorer shows.
        rows: Their numbers among the training images; None = they are all of them.
    """

    def __init__(self, run: RunFolder, model: InfoGAN, images: ImageSet, rows: NDArray[np.int64] | None) -> None:
        self._run, self._model, self._images, self._rows = run, model, images, rows
        self._space: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None
        self._found: list[int] = []

    def next(self, known: Collection[int], excluded: Collection[int], count: int) -> list[int]:
        """Return typical images whose category is not known, those that tell most first; none if all are settled.

        Args:
            known: Numbers of the images whose category is known.
            excluded: Numbers of further images that are not wanted.
            count: How many to return at most.

        Raises:
            UserError: The model has no encoder.
        """
        settled = {*known, *excluded}
        self._found = [number for number in self._found if number not in settled]
        if not self._found:
            numbers, space = self._candidates()
            rows = np.flatnonzero(np.isin(numbers, [*settled])).tolist()
            self._found = numbers[typical_images(space, FOUND, rows, seed=len(rows))].tolist()
        return self._found[:count]

    def _candidates(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the numbers of the candidates, and their place in the space of the categories."""
        if self._space is None:
            numbers = some_indices(len(self._images), CANDIDATES)
            rows = numbers if self._rows is None else self._rows[numbers]
            self._space = numbers, refinable_space(self._run, self._model, self._images.images[numbers], rows)[1]
        return self._space
