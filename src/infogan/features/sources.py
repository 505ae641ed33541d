"""Where features come from: what a person writes after ``--features``."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from infogan.features.extractor import SIZE, FeatureExtractor, from_module
from infogan.features.providers import LITE0_PACKAGES, PROVIDERS
from infogan.features.vectors import is_vector_file
from infogan.utils.errors import UserError, unknown_name

FORMS = "a .npy, .npz or .parquet file of vectors, lite0, timm:NAME, hf:NAME, open_clip:NAME/TAG, or onnx:FILE"


def open_extractor(source: Any, *, size: int | None = None, device: str = "cpu") -> FeatureExtractor:
    """Open a pretrained encoder.

    Args:
        source: Its name, such as ``lite0``, ``timm:resnet18``, ``hf:facebook/dinov2-small``,
            ``open_clip:ViT-B-32/laion2b_s34b_b79k`` or ``onnx:encoder.onnx``; or a PyTorch module; or a function from
            uint8 images (images, 3, size, size) to vectors (images, features).
        size: Height and width in pixels of the images that it is given; None = its own.
        device: The device to compute on.

    Raises:
        UserError: There is no such encoder, a library is missing, or the weights are not to be had.

    Example:
        >>> extractor = open_extractor("onnx:encoder.onnx")
        >>> extractor(images).shape
        (100, 384)
    """
    if isinstance(source, FeatureExtractor):
        return source
    if isinstance(source, nn.Module):
        return from_module(source, size=size or SIZE, device=device)
    if callable(source):
        return FeatureExtractor(getattr(source, "__name__", type(source).__name__), size or SIZE, source)
    if not isinstance(source, str):
        raise UserError(
            f"features are given as {type(source).__name__}; expected an array, a module, a function or text"
        )
    prefix, _, name = source.partition(":")
    if prefix not in PROVIDERS:
        raise UserError(f"features {source!r} are none of: {FORMS}; {unknown_name('kind', prefix, PROVIDERS)}")
    try:
        return PROVIDERS[prefix](name, size, device)
    except UserError:
        raise
    except Exception as error:  # of any library
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"the features {source} cannot be opened: {reason}") from error


def absolute_source(source: str) -> str:
    """Return a source whose file, if it has one, is named by an absolute path, so that it means the same in any folder.

    Example:
        >>> absolute_source("onnx:encoder.onnx")
        'onnx:/home/me/encoder.onnx'
    """
    if is_vector_file(source):
        return os.path.abspath(os.path.expanduser(source))
    prefix, colon, name = source.partition(":")
    if prefix == "auto" and name:
        return f"{prefix}{colon}{absolute_source(name)}"
    if prefix == "onnx" and name:
        return f"{prefix}{colon}{os.path.abspath(os.path.expanduser(name))}"
    model, at, file = name.partition("@")
    return f"{prefix}{colon}{model}{at}{os.path.abspath(os.path.expanduser(file))}" if file else source


def is_at_hand(source: str) -> bool:
    """Return whether a pretrained encoder can be opened on this machine without a network."""
    prefix, _, name = source.partition(":")
    if prefix == "lite0":
        return all(map(find_spec, LITE0_PACKAGES))
    file = name if prefix == "onnx" else name.partition("@")[2]
    return bool(file) and Path(file).is_file() and find_spec({"onnx": "onnxruntime"}.get(prefix, prefix)) is not None
