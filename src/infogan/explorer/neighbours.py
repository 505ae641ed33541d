"""The generated images closest to a given one, each told so that it can be drawn again exactly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infogan.models.infogan import InfoGAN

BANK = 2000  # generated images among which neighbours are looked for
SEED = 1  # that they are drawn from


@dataclass(frozen=True)
class Generated:
    """Generated images, nearest first.

    Attributes:
        images: uint8 (count, channels, height, width).
        codes: Of each, a value a code in the layout's order; a category by its number.
        picks: Which noise of ``SEED`` each has.
    """

    images: NDArray[np.uint8]
    codes: list[list[float]]
    picks: list[int]


class Neighbours:
    """Samples of a model to look among; drawn when they are first asked for.

    Args:
        model: Draws them.
    """

    def __init__(self, model: InfoGAN) -> None:
        self._model = model
        self._bank: tuple[NDArray[np.uint8], NDArray[np.float32], list[list[float]]] | None = None

    def nearest(self, image: NDArray[np.uint8], count: int) -> Generated:
        """The ``count`` samples closest to an image of shape (1, channels, height, width).

        Closest in the encoder's features where the model has an encoder, else in pixels; among ``BANK`` samples.
        """
        if self._bank is None:
            samples = self._model.sample(BANK, seed=SEED)
            columns = [values.astype(np.float64) for values in samples.codes.values()]
            codes: list[list[float]] = np.stack(columns, axis=1).tolist() if columns else [[] for _ in range(BANK)]
            self._bank = samples.images, self._features(samples.images), codes
        images, features, codes_of = self._bank
        distances = ((features - self._features(image)) ** 2).sum(axis=1)
        picks = [int(pick) for pick in np.argsort(distances, kind="stable")[:count]]
        return Generated(images[picks], [codes_of[pick] for pick in picks], picks)

    def _features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._model.networks.encoder is not None:
            return self._model.features(images)
        return images.reshape(len(images), -1).astype(np.float32)
