"""Feature extractors: pretrained encoders that turn images into vectors."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from infogan.utils.devices import multiplies_bfloat16
from infogan.utils.errors import UserError

Images = UInt8[np.ndarray, "image 3 size size"]
Vectors = Float32[np.ndarray, "image feature"]
Colours = tuple[float, float, float]

SIZE = 224  # pixels, of an encoder that does not say
IMAGENET_MEAN: Colours = (0.485, 0.456, 0.406)
IMAGENET_STD: Colours = (0.229, 0.224, 0.225)
BATCH = 50  # images that are computed at once: more need more memory, and are not faster
MAX_ROUNDING = 0.1  # of vectors in bfloat16, relative to how images differ, up to which bfloat16 will do


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """A pretrained encoder of images.

    Attributes:
        name: What a person calls it, e.g. ``timm:resnet18``.
        size: Height and width of the images that it takes, in pixels.
        compute: uint8 RGB images (images, 3, size, size) to vectors (images, features).
        identity: Another string for every other set of weights; empty = unknown, so that its vectors are not cached.
        licence: Of its weights, as far as known.
        embed_texts: Texts to vectors in the space of the images', for models of images and text.

    Example:
        >>> histogram = FeatureExtractor("brightness", 32, lambda images: images.mean(axis=(1, 2, 3))[:, None])
    """

    name: str
    size: int
    compute: Callable[[Images], Any]
    identity: str = ""
    licence: str = ""
    embed_texts: Callable[[list[str]], NDArray[np.float32]] | None = None

    @property
    def description(self) -> str:
        """Its name, size and licence, for people."""
        licence = f" (licence of the weights: {self.licence})" if self.licence else ""
        return f"{self.name} at {self.size} pixels{licence}"

    def __call__(self, images: Images) -> Vectors:
        """Return the vectors of images of the extractor's size.

        Raises:
            UserError: It fails, or returns something other than one vector of finite numbers an image.
        """
        try:
            with torch.no_grad():
                vectors = _as_array(self.compute(images))
        except UserError:
            raise
        except Exception as error:  # of any library
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(f"the features {self.name} cannot be computed: {reason}") from error
        check_vectors(vectors, len(images), f"the features {self.name}")
        return np.ascontiguousarray(vectors, np.float32)


def check_vectors(vectors: NDArray[Any], count: int, name: str) -> None:
    """Raise UserError unless there is one vector of finite numbers for each of ``count`` images."""
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] == 0:
        raise UserError(f"{name} have shape {vectors.shape} and type {vectors.dtype}; expected (images, features)")
    if len(vectors) != count:
        raise UserError(f"{name} are {len(vectors)} vectors, but there are {count} images")
    if broken := int((~np.isfinite(vectors)).any(axis=1).sum()):
        raise UserError(f"{name} have NaN or infinity in {broken} of {count} vectors")


def from_module(
    module: nn.Module,
    *,
    name: str = "",
    size: int = SIZE,
    mean: Colours = IMAGENET_MEAN,
    std: Colours = IMAGENET_STD,
    device: str = "cpu",
    forward: Callable[[Tensor], Any] | None = None,
    licence: str = "",
) -> FeatureExtractor:
    """Return an extractor that applies a PyTorch module to normalised images.

    The output may be vectors, or maps or tokens, whose mean is taken. It is computed in bfloat16 where the processor
    has it, if the vectors of the first images are almost the same then.

    Args:
        module: The encoder; it is put into evaluation mode.
        name: What a person calls it.
        size: Height and width of its images in pixels.
        mean: Of each colour, subtracted from values in [0, 1].
        std: Of each colour, by which they are divided then.
        device: The device to compute on.
        forward: What to call; None = the module itself.
        licence: Of its weights.
    """
    module = module.eval().requires_grad_(False).to(device)
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in PyTorch's types
    compute = _ModuleFeatures(forward or module, mean, std, torch.device(device))
    settings = f"{size} {mean} {std}"
    identity = hashlib.sha256(settings.encode())
    identity.update(repr(module).encode())
    for key, tensor in module.state_dict().items():
        identity.update(key.encode())
        identity.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return FeatureExtractor(name or type(module).__name__, size, compute, identity.hexdigest(), licence)


class _ModuleFeatures:
    """Computes a module's vectors, batch by batch."""

    def __init__(self, forward: Callable[[Tensor], Any], mean: Colours, std: Colours, device: torch.device) -> None:
        self._forward, self._device = forward, device
        self._mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(std, device=device).view(3, 1, 1)
        self._in_bfloat16: bool | None = None if multiplies_bfloat16(device) else False

    def __call__(self, images: Images) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).to(self._device)
            values = (batch.float() / 255 - self._mean) / self._std
            values = values.contiguous(memory_format=torch.channels_last)
            if self._in_bfloat16 is None:
                self._in_bfloat16 = self._agrees_in_bfloat16(values)
            parts.append(self._pooled(values, self._in_bfloat16).cpu().numpy())
        return np.concatenate(parts)

    def _pooled(self, values: Tensor, in_bfloat16: bool) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=in_bfloat16):
            output = self._forward(values)
        if not isinstance(output, Tensor):
            raise UserError(f"the encoder returns {type(output).__name__} instead of a tensor of features")
        output = output.float()
        if output.ndim == 4:  # maps
            return output.mean(dim=(2, 3))
        return output.mean(dim=1) if output.ndim == 3 else output  # tokens

    def _agrees_in_bfloat16(self, values: Tensor) -> bool:
        exact, rounded = (self._pooled(values, in_bfloat16) for in_bfloat16 in (False, True))
        differences = exact - exact.mean(dim=0) if len(exact) > 1 else exact
        return bool((exact - rounded).norm() <= MAX_ROUNDING * differences.norm())


def _as_array(vectors: Any) -> NDArray[Any]:
    if isinstance(vectors, Tensor):
        vectors = vectors.detach().float().cpu().numpy()
    return np.asarray(vectors)
