"""The map of the images that the explorer shows."""

import numpy as np
from numpy.typing import NDArray

from infogan.api.collection_map import CollectionMap, load_map, project
from infogan.explorer.feature_space import FeatureSpace
from infogan.training.run_dir import RunFolder


class ImageMap:
    """Where the images lie: on the map that `infogan map` has drawn, or else by their principal components.

    Args:
        run: The run.
        digest: Of the weights of its model.
        rows: The numbers of the images among the training images.
        space: The images in the space of their categories.
    """

    def __init__(self, run: RunFolder, digest: str, rows: NDArray[np.int64], space: FeatureSpace) -> None:
        self._run, self._digest, self._rows, self._space = run, digest, rows, space
        self._simple: CollectionMap | None = None

    def points(self) -> tuple[NDArray[np.int64], CollectionMap]:
        """Return the numbers of the images on the map, and the map.

        A map that the command has drawn has all images; another has some of them.

        Raises:
            UserError: There are too few images, or the file of the map is damaged.
        """
        kept = load_map(self._run, self._digest)
        if kept is not None and self._rows.max(initial=-1) < len(kept.points):
            return np.arange(len(self._rows)), CollectionMap(kept.method, kept.points[self._rows])
        numbers, space = self._space.candidates()
        if self._simple is None:
            self._simple = project(space, "pca")
        return numbers, self._simple
