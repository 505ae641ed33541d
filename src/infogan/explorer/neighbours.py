"""Search for the generated images that are most similar to a given image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infogan.models.infogan import InfoGAN

BANK_SIZE = 2000  # generated images that are searched
BANK_SEED = 1


@dataclass(frozen=True)
class GeneratedImages:
    """Generated images, nearest first, with what is needed to generate each again.

    Attributes:
        images: uint8 (count, channels, height, width).
        codes: For each image, one value per code in the layout's order; categories as numbers.
        picks: For each image, the index of its noise within the seed ``BANK_SEED``.
    """

    images: NDArray[np.uint8]
    codes: list[list[float]]
    picks: list[int]


class Neighbours:
    """A bank of generated images to search; it is generated on first use.

    Args:
        model: Generates the images.
    """

    def __init__(self, model: InfoGAN) -> None:
        self._model = model
        self._bank: tuple[NDArray[np.uint8], NDArray[np.float32], list[list[float]]] | None = None

    def nearest(self, image: NDArray[np.uint8], count: int) -> GeneratedImages:
        """Return the ``count`` generated images closest to an image of shape (1, channels, height, width).

        Distances are Euclidean: between features if the model has an encoder, else between pixels.
        """
        if self._bank is None:
            samples = self._model.sample(BANK_SIZE, seed=BANK_SEED)
            columns = [values.astype(np.float64) for values in samples.codes.values()]
            codes: list[list[float]] = np.stack(columns, axis=1).tolist() if columns else [[] for _ in range(BANK_SIZE)]
            self._bank = samples.images, self._features(samples.images), codes
        images, features, codes = self._bank
        distances = ((features - self._features(image)) ** 2).sum(axis=1)
        picks = [int(pick) for pick in np.argsort(distances, kind="stable")[:count]]
        return GeneratedImages(images[picks], [codes[pick] for pick in picks], picks)

    def _features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._model.networks.encoder is not None:
            return self._model.features(images)
        return images.reshape(len(images), -1).astype(np.float32)
