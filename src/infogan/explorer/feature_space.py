"""The images of the explorer in the space of their categories: typical ones, and those most similar to one."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from infogan.api.refine import refinable_space
from infogan.data import ImageSet, some_indices
from infogan.models.infogan import InfoGAN
from infogan.training.refine import typical_images
from infogan.training.run_dir import RunFolder

CANDIDATES = 10_000  # images among which typical and similar ones are looked for
FOUND = 50  # typical images that are looked for at a time


class FeatureSpace:
    """Images of a run in the space of its categories, which is computed on first use.

    Args:
        run: The run.
        model: Its model, with an encoder.
        images: The images that the explorer shows.
        rows: Their numbers among the training images; None = they are all of them.
    """

    def __init__(self, run: RunFolder, model: InfoGAN, images: ImageSet, rows: NDArray[np.int64] | None) -> None:
        self._run, self._model, self._images, self._rows = run, model, images, rows
        self._candidates: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None
        self._typical: list[int] = []

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the place of some images in the space, (images, dimensions)."""
        rows = numbers if self._rows is None else self._rows[numbers]
        return refinable_space(self._run, self._model, self._images.images[numbers], rows)[1]

    def candidates(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the numbers of at most ``CANDIDATES`` images, and their place in the space."""
        if self._candidates is None:
            numbers = some_indices(len(self._images), CANDIDATES)
            self._candidates = numbers, self.of(numbers)
        return self._candidates

    def typical(self, known: Collection[int], excluded: Collection[int], count: int) -> list[int]:
        """Return images whose categories tell most of the others, those that tell most first; none if all are settled.

        Args:
            known: Numbers of the images whose category is known.
            excluded: Numbers of further images that are not wanted.
            count: How many to return at most.
        """
        settled = {*known, *excluded}
        self._typical = [number for number in self._typical if number not in settled]
        if not self._typical:
            numbers, space = self.candidates()
            rows = np.flatnonzero(np.isin(numbers, [*settled])).tolist()
            self._typical = numbers[typical_images(space, FOUND, rows, seed=len(rows))].tolist()
        return self._typical[:count]

    def nearest(self, number: int, members: NDArray[np.int64], count: int) -> list[int]:
        """Return the images among ``members`` that are most similar to an image, other than itself, by their cosine."""
        numbers, space = self.candidates()
        among = np.isin(numbers, members) & (numbers != number)
        is_candidate = numbers == number
        vector = space[is_candidate][0] if is_candidate.any() else self.of(np.array([number]))[0]
        lengths = np.linalg.norm(space[among], axis=1) * np.linalg.norm(vector)
        cosines = space[among] @ vector / np.maximum(lengths, np.finfo(np.float32).tiny)
        nearest: list[int] = numbers[among][np.argsort(-cosines, kind="stable")[:count]].tolist()
        return nearest
