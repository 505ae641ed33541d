"""Samples as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infogan.models.infogan import InfoGAN
from infogan.models.results import Samples
from infogan.reports.figures import image_grid, save_image, to_image
from infogan.utils.files import atomic_write


def first_of_each(model: InfoGAN, seeds: Sequence[int], codes: Mapping[str, Any]) -> Samples:
    """Return the first image of each of several seeds; raise UserError as `InfoGAN.sample`."""
    samples = [model.sample(1, codes=codes, seed=seed) for seed in seeds]
    joined = {name: np.concatenate([sample.codes[name] for sample in samples]) for name in samples[0].codes}
    return Samples(np.concatenate([sample.images for sample in samples]), joined)


def save_samples(samples: Samples, out: Path, names: Sequence[str] | None = None) -> list[Path]:
    """Save samples as ``.npz`` (``images`` and one array per code), as a grid (any image format), or as single files.

    Args:
        samples: The samples.
        out: A path with an ending is a file; one without is a folder of numbered PNG files.
        names: Names of the files in the folder, without an ending; None = their numbers.

    Returns:
        The paths of the files.

    Raises:
        UserError: ``out`` cannot be written.

    Example:
        >>> save_samples(model.sample(16), Path("samples.png"))
        [PosixPath('samples.png')]
    """
    if out.suffix.lower() == ".npz":
        with atomic_write(out) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, images=samples.images, **samples.codes)
        return [out]
    if out.suffix:
        columns = min(len(samples.images), int(np.ceil(np.sqrt(len(samples.images)))))
        save_image(image_grid(samples.images, columns), out)
        return [out]
    digits = len(str(len(samples.images) - 1))
    names = names or [f"{number:0{digits}d}" for number in range(len(samples.images))]
    paths = [out / f"{name}.png" for name in names]
    for path, image in zip(paths, samples.images, strict=True):
        save_image(to_image(image), path)
    return paths
