"""The feature space of the FID: the Inception network that Heusel et al. 2017 took, by the package pytorch-fid.

Its weights are 91 MB that belong to others. They are used where they are at hand, in torch's own cache, and are not
fetched. What is read from that file is weights alone, whatever else it may hold.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

WEIGHTS = "pt_inception-2015-12-05-6726825d.pth"  # as pytorch-fid publishes it
DIGEST = "6726825d"  # what its SHA-256 begins with, and its name ends with
FEATURES = 2048
CHUNK = 32  # images at a time, each brought to 299x299


class InceptionFeatures:
    """2048 numbers an image: the network's last pooling, of which FID and KID are distances.

    What it sees: what tells ImageNet's thousand kinds of photographs apart. It knows nothing of strokes, cells or
    galaxies: on images unlike photographs its distances may not follow what a person sees. Images of any size are
    brought to 299x299 bilinearly, grey ones in three equal channels, as pytorch-fid does; other programs resize
    otherwise and come to other numbers (Parmar et al. 2022). Compare only within one program, and over equally many
    images: most published FIDs are over 50,000.

    Raises:
        ValueError: `obstacle` says why.
    """

    name = f"inception{FEATURES}"

    def __init__(self) -> None:
        if why := obstacle():
            raise ValueError(why)

    @cached_property
    def _network(self) -> Any:
        from pytorch_fid.inception import InceptionV3

        with _weights_alone():
            return InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[FEATURES]]).eval()

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The images' features; about a tenth of a second each on a processor.

        Args:
            images: uint8 (images, channels, height, width), of 1 or 3 channels.

        Returns:
            (images, 2048).

        Raises:
            ValueError: images of another shape.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"images of shape {images.shape}: (images, 1 or 3 channels, height, width) is needed")
        features = np.empty((len(images), FEATURES))
        for start in range(0, len(images), CHUNK):
            part = torch.from_numpy(np.ascontiguousarray(images[start : start + CHUNK])).float() / 255
            (maps,) = self._network(part.expand(-1, 3, -1, -1))
            features[start : start + CHUNK] = maps.flatten(1).double().numpy()
        return features


def obstacle() -> str:
    """Why the features can not be had here, in words; empty if they can."""
    try:
        import pytorch_fid.inception  # noqa: F401 (whether it can be had)
    except ModuleNotFoundError:
        return "the features of the FID need pytorch-fid: pip install 'infogan[inception]'"
    except (ImportError, RuntimeError) as error:  # torchvision, on which it stands, made for another torch
        return f"pytorch-fid can not be used here: {str(error).splitlines()[0]}"
    path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if not path.is_file():
        return f"the weights of the FID's network are not at hand: pytorch-fid publishes them, to be put at {path}"
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(DIGEST):
        return f"{path} is not the file that pytorch-fid publishes: its SHA-256 is {digest}"
    return ""


@contextmanager
def _weights_alone() -> Iterator[None]:
    """While this lasts, torch loads nothing from a file but weights, whatever it is asked for."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
