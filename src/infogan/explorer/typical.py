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
        """Return typical images whose category is not known, those that tell most first.

        Args:
            known: Numbers of the images whose category is known.
            excluded: Numbers of further images that are not wanted.
            count: How many to return at most.

        Raises:
            UserError: The model has no encoder.
        """
        numbers, space = self._candidates()
        left = [number for number in self._found if number not in known and number not in excluded]
        if not left:
            place = {number: row for row, number in enumerate(numbers.tolist())}
            settled = {place[number] for number in {*known, *excluded} if number in place}
            typical = typical_images(space, FOUND, settled, seed=len(settled))
            self._found = numbers[typical].tolist()
            left = [number for number in self._found if number not in known]
        return left[:count]

    def _candidates(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the numbers of the candidates, and their place in the space of the categories."""
        if self._space is None:
            numbers = some_indices(len(self._images), CANDIDATES)
            _, space = refinable_space(self._run, self._model, self._images.images[numbers])
            if len(space) != len(numbers):  # of all training images, in pretrained features
                space = space[numbers if self._rows is None else self._rows[numbers]]
            self._space = numbers, space
        return self._space
