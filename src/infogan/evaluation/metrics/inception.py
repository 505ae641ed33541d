"""The feature space of the FID: the Inception network of Heusel et al. 2017, from the package pytorch-fid.

The weights (91 MB) have their own license. They are not downloaded, but used if they are in torch's cache. Only tensors
are loaded from that file, whatever else it contains.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from infogan.data.preprocess import shown

WEIGHTS = "pt_inception-2015-12-05-6726825d.pth"  # as published by pytorch-fid
DIGEST = "6726825d"  # first digits of its SHA-256
FEATURES = 2048
BATCH = 32  # images, each resized to 299x299


class InceptionFeatures:
    """The 2048 features of the last pooling layer, whose distances are FID and KID.

    The features distinguish ImageNet's thousand kinds of photographs. On images unlike photographs, such as digits,
    cells or galaxies, distances may not follow what people see. Images of any size are resized bilinearly to 299x299,
    and grey ones are repeated in three channels, as in pytorch-fid; programs that resize differently give other values
    (Parmar et al. 2022). Compare values of the same program for equally many images only; most published FIDs use
    50,000.

    Raises:
        ValueError: the features are not available, see `obstacle`.
    """

    name = f"inception{FEATURES}"

    def __init__(self) -> None:
        if reason := obstacle():
            raise ValueError(reason)
        from pytorch_fid.inception import InceptionV3

        with _weights_only():
            self._network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[FEATURES]]).eval()

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the features of images, (images, 2048); takes about 0.1 s per image on a CPU.

        Args:
            images: uint8 (images, channels, height, width); of other than 1 or 3 channels, the first three are used.

        Raises:
            ValueError: images of another shape.
        """
        if images.ndim != 4:
            raise ValueError(f"images have shape {images.shape}; expected (images, channels, height, width)")
        images = shown(images)
        features = np.empty((len(images), FEATURES))
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).float() / 255
            (pooled,) = self._network(batch.expand(-1, 3, -1, -1))
            features[start : start + BATCH] = pooled.flatten(1).double().numpy()
        return features


def obstacle() -> str:
    """Return why the features are not available and what to do; empty if they are."""
    try:
        import pytorch_fid.inception  # noqa: F401 (only whether it can be imported)
    except ModuleNotFoundError:
        return "the features of the FID need pytorch-fid: pip install 'infogan[inception]'"
    except (ImportError, RuntimeError) as error:  # e.g. torchvision was built for another version of torch
        return f"pytorch-fid cannot be imported: {str(error).splitlines()[0]}"
    path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if not path.is_file():
        return f"the weights of the Inception network are missing: download {WEIGHTS} of pytorch-fid to {path}"
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(DIGEST):
        return f"{path} is not the file published by pytorch-fid: its SHA-256 is {digest}"
    return ""


@contextmanager
def _weights_only() -> Iterator[None]:
    """Make torch load nothing but tensors from files, whatever arguments `torch.load` gets."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    previous = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if previous is None:
            del os.environ[name]
        else:
            os.environ[name] = previous
