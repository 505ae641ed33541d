"""A map of a collection: each image is a point, and images that look alike lie close together."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors
import safetensors.numpy
import torch
from jaxtyping import Float32, UInt32
from numpy.typing import NDArray

from infogan.api.evaluate_run import check_images, data_of_run, load_images
from infogan.api.refine import refinable_space
from infogan.models.infogan import InfoGAN
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from infogan.utils.files import write_bytes

MAP = "map.safetensors"
PERPLEXITY = 30  # effective number of neighbours of a point, van der Maaten & Hinton 2008
MIN_IMAGES = 4

Method = Literal["pca", "tsne"]
METHODS: tuple[Method, ...] = ("pca", "tsne")


@dataclass(frozen=True, eq=False)
class CollectionMap:
    """Where the training images of a run lie on a map.

    Attributes:
        method: How the map was made.
        points: (images, 2), in [0, 1], in the order of the images; y points down.
        names: (images,), the CRC-32 of the name of each image, which shows that the images are still the same.
    """

    method: Method
    points: Float32[np.ndarray, "image 2"]
    names: UInt32[np.ndarray, " image"]


def map_run(path: str | Path, *, method: str = "tsne", data: str | Path | None = None) -> CollectionMap:
    """Draw the map of a run's training images, and keep it with the run for the explorer.

    Args:
        path: A run folder.
        method: ``tsne`` (van der Maaten & Hinton 2008; slow, shows neighbours) or ``pca`` (fast, shows distances).
        data: Where the training images are now; None = where they were.

    Raises:
        UserError: There is no such method, its package is missing, the images are gone or too few, or the model has no
            encoder.

    Example:
        >>> infogan.map_run("runs/00000-photos").points.shape
        (3068, 2)
    """
    if method not in METHODS:
        raise UserError(f"there is no method {method!r} for a map: choose {' or '.join(METHODS)}")
    run, model = RunFolder.existing(Path(path)), InfoGAN.load(path)
    settings = data_of_run(run, None if data is None else str(data))
    images = load_images(model, settings)
    check_images(run, images, settings.source)
    points = project(refinable_space(run, model, images.images)[1], method)
    arrays = {"points": points, "names": checksums(images.names)}
    write_bytes(run.path / MAP, safetensors.numpy.save(arrays, {"model": model.digest(), "method": method}))
    return CollectionMap(method, points, arrays["names"])


def checksums(names: Iterable[str]) -> UInt32[np.ndarray, " name"]:
    """Return the CRC-32 of each name."""
    return np.array([zlib.crc32(name.encode("utf-8", "surrogateescape")) for name in names], np.uint32)


def load_map(run: RunFolder, digest: str) -> CollectionMap | None:
    """Return the map that is kept with a run; None if there is none of this model.

    Args:
        run: The run.
        digest: Of the weights of its model.

    Raises:
        UserError: The file is damaged.
    """
    path = run.path / MAP
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, "np") as file:
            metadata, points, names = file.metadata() or {}, file.get_tensor("points"), file.get_tensor("names")
    except (OSError, LookupError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} is damaged; without this file, the explorer draws a simple map") from error
    method = next((name for name in METHODS if name == metadata.get("method")), None)
    if metadata.get("model") != digest or method is None:
        return None
    return CollectionMap(method, points, names)


def project(
    space: Float32[np.ndarray, "image dimension"], method: Method, *, seed: int = 0
) -> Float32[np.ndarray, "image 2"]:
    """Return the places of images in a space on a map, in [0, 1].

    Args:
        space: The images.
        method: As for `map_run`.
        seed: Random seed of t-SNE, which starts from the principal components.

    Raises:
        UserError: There are fewer than ``MIN_IMAGES`` images, or a package is missing.
    """
    if len(space) < MIN_IMAGES:
        raise UserError(f"a map needs at least {MIN_IMAGES} images, and there are {len(space)}")
    points = _principal_components(space)
    if method == "tsne":
        points = _tsne(space, points, seed)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled: NDArray[np.float64] = (points - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
    return scaled.astype(np.float32)


def _principal_components(space: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the images along the two directions in which they vary most, with the signs of their largest entries."""
    centred = space - space.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    directions = directions[:, :-3:-1]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(directions.shape[1])])
    points: NDArray[np.float64] = centred @ directions
    return points if points.shape[1] == 2 else np.concatenate([points, np.zeros_like(points)], axis=1)


def _tsne(space: NDArray[np.float32], start: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise UserError("--method tsne needs openTSNE: pip install 'infogan[map]', or use --method pca") from error
    perplexity = min(PERPLEXITY, (len(space) - 1) / 3)
    initial = start / max(start[:, 0].std() * 1e4, np.finfo(np.float64).tiny)  # small, so that neighbours decide
    tsne = TSNE(perplexity=perplexity, initialization=initial, n_jobs=torch.get_num_threads(), random_state=seed)
    points: NDArray[np.float64] = np.asarray(tsne.fit(space))
    return points
