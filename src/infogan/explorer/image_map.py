"""The map of the images that the explorer shows."""

import numpy as np
from numpy.typing import NDArray

from infogan.api.collection_map import Method, load_map, project
from infogan.explorer.feature_space import FeatureSpace
from infogan.training.run_dir import RunFolder

Places = NDArray[np.float32]


class ImageMap:
    """Where the images lie: on the map that `infogan map` has drawn, or else by their principal components.

    Args:
        run: The run.
        digest: Of the weights of its model.
        names: The checksum of the name of each image, see `api.collection_map.checksums`.
        rows: Their numbers among the training images.
        space: The images in the space of their categories.
    """

    def __init__(
        self, run: RunFolder, digest: str, names: NDArray[np.uint32], rows: NDArray[np.int64], space: FeatureSpace
    ) -> None:
        self._run, self._digest, self._names, self._rows, self._space = run, digest, names, rows, space
        self._simple: Places | None = None

    def points(self) -> tuple[Method, NDArray[np.int64], Places]:
        """Return how the map was made, the numbers of the images on it, and their places, (images, 2).

        A map that the command has drawn has all images; another has some of them. One of other images does not count.

        Raises:
            UserError: There are too few images, or the file of the map is damaged.
        """
        kept = load_map(self._run, self._digest)
        if kept is not None and self._rows.max(initial=-1) >= len(kept.points):
            kept = None  # of fewer images
        if kept is not None and np.array_equal(kept.names[self._rows], self._names):
            return kept.method, np.arange(len(self._rows)), kept.points[self._rows]
        numbers, space = self._space.candidates()
        if self._simple is None:
            self._simple = project(space, "pca")
        return "pca", numbers, self._simple
