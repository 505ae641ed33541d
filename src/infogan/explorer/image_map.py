"""The map of the images that the explorer shows."""

import numpy as np
from numpy.typing import NDArray

from infogan.api.collection_map import CollectionMap, load_map, project
from infogan.api.refine import refinable_space
from infogan.data import ImageSet, some_indices
from infogan.models.infogan import InfoGAN
from infogan.training.run_dir import RunFolder

MAPPED = 10_000  # images of a map that is drawn while a person waits


class ImageMap:
    """Where the images lie: on the map that `infogan map` has drawn, or else by their principal components.

    Args:
        run: The run.
        model: Its model.
        images: The images that the explorer shows.
        rows: Their numbers among the training images; None = they are all of them.
    """

    def __init__(self, run: RunFolder, model: InfoGAN, images: ImageSet, rows: NDArray[np.int64] | None) -> None:
        self._run, self._model, self._images, self._rows = run, model, images, rows
        self._simple: tuple[NDArray[np.int64], CollectionMap] | None = None

    def points(self) -> tuple[NDArray[np.int64], CollectionMap]:
        """Return the numbers of the images on the map, and the map.

        A map that the command has drawn has all images; another has at most ``MAPPED``.

        Raises:
            UserError: There are too few images, or the file of the map is damaged.
        """
        kept = load_map(self._run, self._model.digest())
        rows = np.arange(len(self._images)) if self._rows is None else self._rows
        if kept is not None and len(rows) and rows.max() < len(kept.points):
            return np.arange(len(rows)), CollectionMap(kept.method, kept.points[rows])
        if self._simple is None:
            numbers = some_indices(len(self._images), MAPPED)
            space = refinable_space(self._run, self._model, self._images.images[numbers], rows[numbers])[1]
            self._simple = numbers, project(space, "pca")
        return self._simple
