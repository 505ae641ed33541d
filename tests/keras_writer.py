"""Exports models of all architectures to Keras, as a process of tests/models/export/test_keras.py.

Usage: python -m tests.keras_writer FOLDER NAME ...

For each name, one of `MODELS` or a run folder, it writes a folder with the Keras models and PyTorch's outputs in
``expected.npz``. The name "rejected" tries to export models that have to be rejected.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infogan.config.schema import CategoricalCode
from infogan.models.architectures import ImageShape
from infogan.models.export import export
from infogan.models.export.graphs import safe_names
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks
from infogan.models.serialization import ModelConfig
from infogan.utils.errors import UserError
from tests.helpers import small_config

# Names that Keras does not accept, that its own layers have, or that are equal after invalid characters are replaced.
FIXED = "größe: 1"
CODES: list[dict[str, Any]] = [
    {"kind": "continuous", "name": "noise"},
    {"kind": "categorical", "name": "數字", "size": 4},
    {"kind": "continuous", "name": FIXED, "deviation": 0.5},
    {"kind": "categorical", "name": "gr e 1", "size": 2, "prior": [0.2, 0.8]},
    {"kind": "continuous", "name": "dense_1"},
]


def model_of(size: int, channels: int, *assignments: str, preset: str = "plain", **sections: Any) -> InfoGAN:
    """Return an untrained model in which no weight has its initial value."""
    config = small_config("networks.encoder_width=2", *assignments, preset=preset, **sections)
    if config.objective.kind == "cgan":  # its code is the label of the images
        config = config.model_copy(update={"codes": (CategoricalCode(name="label", size=3),)})
    shape = ImageShape(channels, size)
    layout = CodeLayout(config.noise, config.codes)
    networks = build_networks(config.networks, layout, shape, kind=config.objective.kind, seed=0)
    randomise(networks)
    return InfoGAN(ModelConfig.of(config, shape), networks)


def randomise(networks: Networks) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*networks.named_parameters(), *networks.named_buffers()]:
            random = torch.rand(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + random)
            elif name.endswith("running_mean") or isinstance(tensor, torch.nn.Parameter):
                tensor.add_(0.4 * random - 0.2)
        if networks.encoder is not None:
            networks.encoder.prior.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
        if networks.reader is not None:
            networks.reader.calibrate(torch.randn(50, len(networks.reader.properties), generator=generator))


DECLARED = [
    {"kind": "continuous", "follows": "shift-x", "deviation": 0.2},
    {"kind": "continuous", "follows": "hue", "range": 0.1, "deviation": 0.1},
]
LEARNED = {**CODES[1], "prior": "learned"}
# All architectures, kinds and numbers of channels; odd sizes, for which maps are cropped and edges replicated.
MODELS: dict[str, Callable[[], InfoGAN]] = {
    "mlp": lambda: model_of(9, 3, "networks.architecture=mlp", codes=CODES),
    "conv": lambda: model_of(17, 3, codes=CODES),
    "paper": lambda: model_of(8, 1, "networks.architecture=paper", codes=CODES),
    "post": lambda: model_of(9, 3, "networks.architecture=post", "noise.size=0", codes=CODES),
    "robust": lambda: model_of(
        17, 3, "networks.spectral_norm=true", preset="robust", codes=[CODES[0], LEARNED, *CODES[2:]]
    ),
    "robust, large": lambda: model_of(45, 1, preset="robust", codes=[LEARNED]),
    "declared": lambda: model_of(17, 3, codes=[*DECLARED, *CODES[:2]]),
    "gan": lambda: model_of(12, 3, "networks.architecture=paper", objective={"kind": "gan"}),
    "gan, post": lambda: model_of(8, 1, preset="post", objective={"kind": "gan"}),
    "cgan": lambda: model_of(8, 1, "networks.architecture=mlp", objective={"kind": "cgan"}),
}


def write_expected(model: InfoGAN, folder: Path, *, is_random: bool) -> None:
    """Write PyTorch's outputs for 7 random latents and 7 images of noise."""
    generator = torch.Generator().manual_seed(2)
    layout, networks, names = model.layout, model.networks, safe_names(model.layout.codes)
    noise, codes = layout.sample_noise(7, generator), layout.sample_codes(7, generator)
    arrays = {f"generator/inputs/{names[name]}": values for name, values in codes.items()}
    if layout.noise.size:
        arrays["generator/inputs/noise"] = noise
    images = (networks.generate(layout.latents(noise, codes)).permute(0, 2, 3, 1) + 1) / 2
    arrays["generator/outputs/images"] = images
    if networks.reads_codes:
        pixels = torch.rand(images.shape, generator=generator)
        arrays["recognizer/inputs/images"] = pixels
        posterior = networks.posterior(2 * pixels.permute(0, 3, 1, 2) - 1)
        for name, parameters in layout.split_posterior(posterior).items():
            for parameter, values in parameters.items():
                arrays[f"recognizer/outputs/{names[name]}_{parameter}"] = values
    fixed = tuple(f"/{names[code.name]}_deviation" for code in layout.continuous if code.deviation is not None)
    for key, values in arrays.items() if is_random else ():  # constant outputs would test nothing
        assert values.float().std(dim=0).mean() > 1e-3 or key.endswith(fixed), key
    np.savez(folder / "expected.npz", allow_pickle=False, **{key: values.numpy() for key, values in arrays.items()})


class DoubledReLU(torch.nn.ReLU):
    """A layer that the exporter converts as if it were a plain ReLU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


def with_layer(part: str, index: int, layer: torch.nn.Module) -> InfoGAN:
    """Return a model with one ReLU replaced."""
    model = MODELS["post"]()
    assert model.networks.recognizer is not None
    layers = {"generator": model.networks.generator, "trunk": model.networks.recognizer.trunk}[part]
    assert isinstance(layers, torch.nn.Sequential)
    assert isinstance(layers[index], torch.nn.ReLU)
    layers[index] = layer
    return model


def rejections(root: Path) -> list[str]:
    """Return the messages for models that cannot be exported; no files may be left."""
    with_nan = MODELS["cgan"]()
    with torch.no_grad():
        next(with_nan.networks.generator.parameters()).fill_(float("nan"))
    messages = []
    for model in (
        with_layer("generator", 1, DoubledReLU()),
        with_layer("trunk", 3, DoubledReLU()),
        with_layer("trunk", 3, torch.nn.Softsign()),
        with_nan,
    ):
        try:
            export(model, "keras", root)
        except UserError as error:
            messages.append(str(error))
        assert list(root.iterdir()) == []
        assert list(root.parent.glob(f".{root.name}*")) == []
    return messages


if __name__ == "__main__":
    root, messages = Path(sys.argv[1]), []
    for name in sys.argv[2:]:
        if name == "rejected":
            (root / name).mkdir()
            messages = rejections(root / name)
            continue
        folder = root / Path(name).name
        folder.mkdir()
        model = MODELS[name]() if name in MODELS else InfoGAN.load(name)
        export(model, "keras", folder)
        write_expected(model, folder, is_random=name in MODELS)
    import keras

    variable = os.environ.get("KERAS_BACKEND")
    print(json.dumps({"backend": keras.backend.backend(), "variable": variable, "rejected": messages}))
