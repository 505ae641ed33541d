"""Samples as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infogan.api.sort import mark_output_folder
from infogan.data.preprocess import Bands, shown
from infogan.models.infogan import InfoGAN
from infogan.models.results import Samples
from infogan.reports.figures import image_grid, pixels_extension, save_image, save_pixels
from infogan.utils.files import atomic_write
from infogan.utils.in_place import is_written_in_place
from infogan.utils.names import FileNames, column_names

NPZ_NAMES = ("images", "file", "allow_pickle")  # arrays, and arguments of NumPy, that no array of a code may replace


def first_of_each(model: InfoGAN, seeds: Sequence[int], codes: Mapping[str, Any]) -> Samples:
    """Return the first image of each of several seeds; raise UserError as `InfoGAN.sample`."""
    samples = [model.sample(1, codes=codes, seed=seed) for seed in seeds]
    joined = {name: np.concatenate([sample.codes[name] for sample in samples]) for name in samples[0].codes}
    return Samples(np.concatenate([sample.images for sample in samples]), joined)


def save_samples(
    samples: Samples, out: Path, names: Sequence[str] | None = None, bands: Bands | None = None
) -> list[Path]:
    """Save samples as ``.npz`` (``images`` and one array per code), as a grid (any image format), or as single files.

    Args:
        samples: The samples.
        out: A path with an ending is a file; one without is a folder of numbered PNG files (TIFF if images are neither
            grey nor RGB), unless it is a pipe, a device, or ``-`` for standard output. In an ``.npz``, a code named
            like another array is ``code NAME``.
        names: Names of the files in the folder, without an ending; None = their numbers.
        bands: The channels that a grid shows, as for `preprocess.shown`.

    Returns:
        The paths of the files.

    Raises:
        UserError: ``out`` cannot be written.

    Example:
        >>> save_samples(model.sample(16), Path("samples.png"))
        [PosixPath('samples.png')]
    """
    if out.suffix.lower() == ".npz":
        name_of = column_names(samples.codes, NPZ_NAMES)
        arrays = {name_of[code]: values for code, values in samples.codes.items()}
        with atomic_write(out) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, images=samples.images, **arrays)
        return [out]
    if out.suffix or is_written_in_place(out):
        columns = min(len(samples.images), int(np.ceil(np.sqrt(len(samples.images)))))
        save_image(image_grid(shown(samples.images, bands), columns), out)
        return [out]
    paths = sample_paths(samples.images.shape[:2], out, names)
    mark_output_folder(out)
    for path, image in zip(paths, samples.images, strict=True):
        save_pixels(image, path)
    return paths


def sample_paths(form: tuple[int, ...], out: Path, names: Sequence[str] | None = None) -> list[Path]:
    """Return where `save_samples` saves samples of a number and of channels, with the same arguments."""
    count, channels = form
    if out.suffix or is_written_in_place(out):
        return [out]
    digits, file_names = len(str(count - 1)), FileNames()
    names = names or [f"{number:0{digits}d}" for number in range(count)]
    return [out / file_names.add(name, stem=name, extension=pixels_extension(channels)) for name in names]
