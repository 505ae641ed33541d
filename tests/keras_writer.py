"""Exports models of all architectures with what PyTorch makes of them. tests/test_export_keras.py runs it.

python -m tests.keras_writer FOLDER NAME ...  a folder for each of these `MODELS`, or runs, with its Keras models and
                                              expected.npz; "refused" tries what can not be exported
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
from infogan.models.export.graphs import plain_names
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks
from infogan.models.serialization import ModelConfig
from infogan.utils.errors import UserError
from tests.helpers import small_config

# Names that Keras could not have, that its own layers have, or that are the same but for what it could not have.
FIXED = "größe: 1"  # whose deviation is not learned
CODES: list[dict[str, Any]] = [
    {"kind": "continuous", "name": "noise"},
    {"kind": "categorical", "name": "數字", "size": 4},
    {"kind": "continuous", "name": FIXED, "deviation": 0.5},
    {"kind": "categorical", "name": "gr e 1", "size": 2, "prior": [0.2, 0.8]},
    {"kind": "continuous", "name": "dense_1"},
]


def model_of(size: int, channels: int, *assignments: str, preset: str = "plain", **sections: Any) -> InfoGAN:
    """An untrained model, none of whose weights is what it would be by default."""
    config = small_config("networks.encoder_width=2", *assignments, preset=preset, **sections)
    if config.objective.kind == "cgan":  # whose code is the label that its images have
        config = config.model_copy(update={"codes": (CategoricalCode(name="label", size=3),)})
    shape = ImageShape(channels, size)
    layout = CodeLayout(config.noise, config.codes)
    networks = build_networks(config.networks, layout, shape, kind=config.objective.kind, seed=0)
    stir(networks)
    return InfoGAN(ModelConfig.of(config, shape), networks)


def stir(networks: Networks) -> None:
    chances = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*networks.named_parameters(), *networks.named_buffers()]:
            drawn = torch.rand(tensor.shape, generator=chances)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + drawn)
            elif name.endswith("running_mean") or isinstance(tensor, torch.nn.Parameter):
                tensor.add_(0.4 * drawn - 0.2)
        if networks.encoder is not None:
            networks.encoder.prior.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))


LEARNED = {**CODES[1], "prior": "learned"}
# All architectures, kinds, channels; odd sizes, which are drawn larger and cut, and read with their edges repeated.
MODELS: dict[str, Callable[[], InfoGAN]] = {
    "mlp": lambda: model_of(9, 3, "networks.architecture=mlp", codes=CODES),
    "conv": lambda: model_of(17, 3, codes=CODES),
    "paper": lambda: model_of(8, 1, "networks.architecture=paper", codes=CODES),
    "post": lambda: model_of(9, 3, "networks.architecture=post", "noise.size=0", codes=CODES),
    "robust": lambda: model_of(
        17, 3, "networks.spectral_norm=true", preset="robust", codes=[CODES[0], LEARNED, *CODES[2:]]
    ),
    "robust, large": lambda: model_of(45, 1, preset="robust", codes=[LEARNED]),
    "gan": lambda: model_of(12, 3, "networks.architecture=paper", objective={"kind": "gan"}),
    "gan, post": lambda: model_of(8, 1, preset="post", objective={"kind": "gan"}),
    "cgan": lambda: model_of(8, 1, "networks.architecture=mlp", objective={"kind": "cgan"}),
}


def expect(model: InfoGAN, folder: Path, *, stirred: bool) -> None:
    """Writes what the model draws and reads, of 7 latents and of 7 images of noise."""
    chances = torch.Generator().manual_seed(2)
    layout, networks = model.layout, model.networks
    noise, codes = layout.sample_noise(7, chances), layout.sample_codes(7, chances)
    names = plain_names(layout.codes)
    told = {f"latents/{names[name]}": values for name, values in codes.items()}
    if layout.noise.size:
        told["latents/noise"] = noise
    told["drawn/"] = (networks.generate(layout.latents(noise, codes)).permute(0, 2, 3, 1) + 1) / 2
    if networks.reads_codes:
        seen = torch.rand(told["drawn/"].shape, generator=chances)
        told["seen/images"] = seen
        for name, reading in layout.read(networks.posterior(2 * seen.permute(0, 3, 1, 2) - 1)).items():
            if reading.probabilities is not None:
                told[f"read/{names[name]}_probabilities"] = reading.probabilities
            elif reading.mean is not None and reading.deviation is not None:
                told[f"read/{names[name]}_mean"] = reading.mean
                told[f"read/{names[name]}_deviation"] = reading.deviation
    for key, values in told.items() if stirred else ():  # what is the same for all inputs would prove nothing
        assert values.float().std(dim=0).mean() > 1e-3 or key == f"read/{names[FIXED]}_deviation", key
    np.savez(folder / "expected.npz", allow_pickle=False, **{key: values.numpy() for key, values in told.items()})


class Doubled(torch.nn.ReLU):
    """What the exporter takes for a plain rectifier."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


def spoilt(part: str, place: int, by: torch.nn.Module) -> InfoGAN:
    model = MODELS["post"]()
    assert model.networks.recognizer is not None
    parts = {"generator": model.networks.generator, "trunk": model.networks.recognizer.trunk}
    layers = parts[part]
    assert isinstance(layers, torch.nn.Sequential)
    assert isinstance(layers[place], torch.nn.ReLU)
    layers[place] = by
    return model


def refusals(root: Path) -> list[str]:
    """What is said of models that can not be exported; asserts that nothing is left of them."""
    nowhere = MODELS["cgan"]()
    with torch.no_grad():
        next(nowhere.networks.generator.parameters()).fill_(float("nan"))
    said = []
    tried = [spoilt("generator", 1, Doubled()), spoilt("trunk", 3, Doubled()), spoilt("trunk", 3, torch.nn.Softsign())]
    for model in [*tried, nowhere]:
        try:
            export(model, "keras", root)
        except UserError as error:
            said.append(str(error))
        assert list(root.iterdir()) == []
        assert list(root.parent.glob(f".{root.name}*")) == []
    return said


if __name__ == "__main__":
    root, said = Path(sys.argv[1]), []
    for name in sys.argv[2:]:
        if name == "refused":
            (root / name).mkdir()
            said = refusals(root / name)
            continue
        folder = root / Path(name).name
        folder.mkdir()
        model = MODELS[name]() if name in MODELS else InfoGAN.load(name)
        export(model, "keras", folder)
        expect(model, folder, stirred=name in MODELS)
    import keras

    print(json.dumps({"backend": keras.backend.backend(), "set": os.environ.get("KERAS_BACKEND"), "refused": said}))
