"""Search for the generated images that are most similar to a given image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.explorer.render import tiled_data_url
from infogan.models.infogan import InfoGAN
from infogan.models.results import Samples

BANK_SIZE = 2000  # generated images that are searched
BANK_SEED = 1


class Neighbours:
    """A bank of generated images to search; it is generated on first use.

    Args:
        model: Generates the images.
    """

    def __init__(self, model: InfoGAN) -> None:
        self._model = model
        self._bank: tuple[Samples, NDArray[np.float32]] | None = None  # with features

    def nearest(self, image: NDArray[np.uint8], count: int) -> dict[str, Any]:
        """Return the ``count`` generated images closest to an image of shape (1, channels, height, width).

        Distances are Euclidean: between features if the model has an encoder, else between pixels.

        Returns:
            For the page: ``image``, all images in one row, nearest first, as a data URL; and what is needed to generate
            each again: ``codes``, one value per code in the layout's order with categories as numbers, and ``picks``,
            the index of its noise within ``seed``.
        """
        if self._bank is None:
            samples = self._model.sample(BANK_SIZE, seed=BANK_SEED)
            self._bank = samples, self._features(samples.images)
        samples, features = self._bank
        distances = ((features - self._features(image)) ** 2).sum(axis=1)
        picks = np.argsort(distances, kind="stable")[:count].tolist()
        codes = [[float(values[pick]) for values in samples.codes.values()] for pick in picks]
        url = tiled_data_url(self._model.shown(samples.images[np.newaxis, picks]))
        return {"image": url, "codes": codes, "picks": picks, "seed": BANK_SEED}

    def _features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._model.networks.encoder is not None:
            return self._model.features(images)
        return images.reshape(len(images), -1).astype(np.float32)
