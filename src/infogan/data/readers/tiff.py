"""TIFF files that Pillow does not read: with more than four bands, or of types that scientific instruments write."""

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from infogan.data.preprocess import MAX_CHANNELS, check_values

EXTENSIONS = (".tif", ".tiff")


def read_bands(file: BinaryIO) -> NDArray[Any]:
    """Return the first image of a TIFF as an array (channels, height, width).

    Raises:
        ImageTooLargeError: It has more than `preprocess.MAX_VALUES` values.
        ValueError: The library for such files is not installed, or the image has other axes than channels, height and
            width.
        Exception: The file is broken; the library raises exceptions of many types.
    """
    try:
        import tifffile
    except ImportError:
        raise ValueError("a TIFF of this kind needs tifffile (pip install 'infogan[tiff]')") from None
    with tifffile.TiffFile(file) as tiff:
        series = tiff.series[0]
        axes = [(name, size) for name, size in zip(series.axes, series.shape, strict=True) if name in "YX" or size > 1]
        others = [position for position, (name, _) in enumerate(axes) if name not in "YX"]
        sizes = dict(axes)
        if not {"Y", "X"} <= sizes.keys() or len(others) > 1:
            raise ValueError(f"it has the axes {series.axes} of {series.shape}, not channels, height and width")
        channels = axes[others[0]][1] if others else 1
        if channels > MAX_CHANNELS:
            raise ValueError(f"it has {channels} channels; at most {MAX_CHANNELS} are read")
        check_values(channels, sizes["Y"], sizes["X"])
        values: NDArray[Any] = np.asarray(series.asarray()).reshape([size for _, size in axes])
    return np.moveaxis(values, others[0], 0) if others else values[np.newaxis]
