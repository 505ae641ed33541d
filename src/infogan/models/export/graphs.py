"""What all export formats share: a model's two networks with named inputs and outputs, and the check of an export.

Each exported network is a `Graph`: the generator, from noise and codes to images, or the recognizer, from images to the
posterior of each code. Images are float32 in [0, 1], as other software expects.
"""

import copy
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import infogan
from infogan.config.schema import CategoricalCode
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks, fuse_batchnorm
from infogan.utils.errors import UserError

FORMAT = 1  # version of the description
NOISE, IMAGES = "noise", "images"
PARAMETERS = {"categorical": ("probabilities",), "continuous": ("mean", "deviation")}  # of the posterior, by kind
TOLERANCE = 1e-5  # of an output; relative for values beyond 1
BATCH_SIZES = (1, 2, 7)  # with which an export is checked

Inputs = tuple[Tensor | dict[str, Tensor], ...]  # of a module: (noise, {code: values}) or (images,)
Outputs = Any  # images, {code: {parameter: values}} or a list of them: tensors or arrays


@dataclass(frozen=True)
class Graph:
    """A network to export.

    Attributes:
        name: ``generator`` or ``recognizer``.
        module: (noise, {code: values}) -> images, or images -> {code: {parameter: values}}. It computes in float32 on
            the CPU and holds only its own weights.
        inputs: Names of the flattened inputs, in order.
        outputs: Names of the flattened outputs, in order.
        sample_inputs: (batch size) -> inputs of the module, sampled from the prior.
        reference: Inputs of the module -> its outputs, as the model's own networks compute them.
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sample_inputs: Callable[[int], Inputs]
    reference: Callable[..., Outputs]

    @torch.inference_mode()
    def check(self, run: Callable[..., Outputs]) -> None:
        """Compare an export with the model at several batch sizes.

        Args:
            run: The export: inputs of the module -> outputs.

        Raises:
            UserError: an output differs by more than ``TOLERANCE``.
        """
        for batch_size in BATCH_SIZES:
            inputs = self.sample_inputs(batch_size)
            outputs = zip(self.outputs, flatten(self.reference(*inputs)), flatten(run(*inputs)), strict=True)
            for name, reference, output in outputs:
                difference = _max_difference(np.asarray(reference), np.asarray(output))
                if not difference <= TOLERANCE:  # also if it is NaN
                    raise UserError(
                        f"the export is not exact and was not written: for {batch_size} images, {name!r} of the "
                        f"{self.name} differs from PyTorch by {difference:.2g}; the tolerance is {TOLERANCE:g}"
                    )

    def trace(self) -> torch.export.ExportedProgram:
        """Return the network as a program with a dynamic batch size."""
        inputs, batch = self.sample_inputs(3), {0: torch.export.Dim("batch")}
        shapes = tuple(batch if isinstance(part, Tensor) else dict.fromkeys(part, batch) for part in inputs)
        return torch.export.export(self.module, inputs, dynamic_shapes=shapes, strict=False)


def _max_difference(reference: NDArray[Any], output: NDArray[Any]) -> float:
    if reference.shape != output.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        differences = np.abs(output - reference) / np.maximum(np.abs(reference), 1)
    return float(differences.max(initial=0))


class Generator(nn.Module):
    """Noise and codes to images in [0, 1].

    Args:
        networks: Networks with batch norm fused.
        layout: Columns of noise and codes.
    """

    def __init__(self, networks: Networks, layout: CodeLayout) -> None:
        super().__init__()
        self.generator = networks.generator
        self._layout = layout

    def forward(self, noise: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        """Map (batch, noise) and (batch,) per code to (batch, channels, height, width)."""
        images: Tensor = self.generator(self._layout.latents(noise, codes))
        return (images + 1) / 2


class Recognizer(nn.Module):
    """Images in [0, 1] to the posterior of each code.

    Args:
        networks: Networks with batch norm fused.
        layout: Columns of the posterior.
    """

    def __init__(self, networks: Networks, layout: CodeLayout) -> None:
        super().__init__()
        self._layout, self._join = layout, networks.join_posteriors
        self.recognizer: nn.Module | None = None
        if networks.recognizer is not None:
            trunk = networks.recognizer.trunk or networks.discriminator.trunk
            self.recognizer = nn.Sequential(trunk, networks.recognizer.head)
        self.encoder = networks.encoder
        if self.encoder is not None:
            del self.encoder.kinds, self.encoder.prior  # not needed for inference
        self.reader = networks.reader

    def forward(self, images: Tensor) -> dict[str, dict[str, Tensor]]:
        """Map (batch, channels, height, width) to (batch, size) for probabilities, (batch,) for other parameters."""
        signed = 2 * images - 1
        recognized = None if self.recognizer is None else self.recognizer(signed)
        encoded = None if self.encoder is None else self.encoder(signed)
        measured = None if self.reader is None else self.reader.posterior(signed)
        return self._layout.split_posterior(self._join(recognized, encoded, measured))


def float32_networks(model: InfoGAN) -> Networks:
    """Return a copy of the model's networks on the CPU that computes in float32 throughout."""
    networks = copy.deepcopy(model.networks).cpu().eval().requires_grad_(False)
    networks.compute_in_bfloat16(False)
    return networks


def model_graphs(model: InfoGAN) -> list[Graph]:
    """Return the generator, and the recognizer if the model has one."""
    networks = float32_networks(model)
    inference, layout, names = _inference_networks(model, networks), model.layout, safe_names(model.layout.codes)
    generator = Generator(networks, layout)

    def sample_latents(batch_size: int) -> tuple[Tensor, dict[str, Tensor]]:
        source = torch.Generator().manual_seed(0)
        return layout.sample_noise(batch_size, source), dict(layout.sample_codes(batch_size, source))

    def sample_images(batch_size: int) -> tuple[Tensor]:
        """Return generated images, every second one of random pixels, rounded to 256 levels as in a file."""
        images = generator(*sample_latents(batch_size))
        images[1::2] = torch.rand(images[1::2].shape, generator=torch.Generator().manual_seed(0))
        return ((images * 255).round() / 255,)

    def recognize(images: Tensor) -> dict[str, dict[str, Tensor]]:
        return layout.split_posterior(networks.posterior(2 * images - 1))

    inputs = (NOISE, *names.values())
    graphs = [Graph("generator", Generator(inference, layout), inputs, (IMAGES,), sample_latents, generator)]
    if networks.reads_codes:
        outputs = tuple(name for code in layout.codes.values() for name in output_names(names[code.name], code.kind))
        module = Recognizer(inference, layout)
        graphs.append(Graph("recognizer", module, (IMAGES,), outputs, sample_images, recognize))
    return graphs


def _inference_networks(model: InfoGAN, networks: Networks) -> Networks:
    """Return a copy of the networks with the fewest operations: no spectral norm, batch norm fused."""
    # The weights that spectral norm has computed are copied to new layers. It cannot be removed from a copy, whose
    # layers share their (parametrized) class with the model's.
    settings = model.config.networks.model_copy(update={"spectral_norm": False})
    plain = build_networks(settings, model.layout, model.shape, kind=model.config.kind, seed=0)
    plain.load_state_dict({name: attrgetter(name)(networks) for name in plain.state_dict()})
    plain = fuse_batchnorm(plain).requires_grad_(False)
    for parameter in plain.parameters():
        parameter.data = parameter.data.contiguous()  # exports need the default memory format
    return plain


def flatten(values: Any) -> list[Any]:
    """Return the tensors or arrays in nested tuples, lists and dictionaries, in order."""
    if isinstance(values, Mapping):
        values = values.values()
    elif not isinstance(values, tuple | list):
        return [values]
    return [leaf for part in values for leaf in flatten(part)]


def safe_names(codes: Iterable[str]) -> dict[str, str]:
    """Return a name for each code that every format accepts: ASCII letters, digits and underscores, a letter first.

    Names of inputs and outputs, which add the parameter (``NAME_mean``), are all different.

    Example:
        >>> safe_names(["category", "7 up"])
        {'category': 'category', '7 up': 'code_7_up'}
    """
    reserved, names = {NOISE, IMAGES}, dict[str, str]()
    for code in codes:
        stem = re.sub(r"[^0-9A-Za-z_]", "_", code)
        stem = stem if stem[0].isalpha() else f"code_{stem}"
        candidates = (stem if number == 1 else f"{stem}_{number}" for number in itertools.count(1))
        names[code] = next(name for name in candidates if not reserved & _derived_names(name))
        reserved |= _derived_names(names[code])
    return names


def _derived_names(name: str) -> set[str]:
    return {name, *(output for kind in PARAMETERS for output in output_names(name, kind))}


def output_names(name: str, kind: str) -> tuple[str, ...]:
    """Return the outputs with the posterior of a code, from its safe name and its kind."""
    return tuple(f"{name}_{parameter}" for parameter in PARAMETERS[kind])


def describe(model: InfoGAN, *, channels_last: bool = False) -> dict[str, Any]:
    """Return the description of inputs and outputs that every export contains, for JSON.

    Args:
        model: The exported model.
        channels_last: Whether images are (batch, height, width, channels) instead of (batch, channels, height, width).
    """
    layout, config, names = model.layout, model.config, safe_names(model.layout.codes)
    codes: list[dict[str, Any]] = []
    for name, code in layout.codes.items():
        entry: dict[str, Any] = {"name": name, "kind": code.kind, "input": names[name]}
        if model.networks.reads_codes:
            outputs = output_names(names[name], code.kind)
            entry["outputs"] = dict(zip(PARAMETERS[code.kind], outputs, strict=True))
        if isinstance(code, CategoricalCode):
            prior = layout.prior(code).double()
            entry |= {
                "size": code.size,
                "prior": (prior / prior.sum()).tolist(),  # NumPy samples only if the sum is exactly 1
                "values": model.value_names(name),
                "order": model.values_of(name),
            }
        else:
            entry |= {"range": [-1, 1]}
        codes.append(entry)
    sides = [config.size, config.size]
    shape = [*sides, config.channels] if channels_last else [config.channels, *sides]
    return {
        "format": FORMAT,
        "infogan": infogan.__version__,
        "kind": config.kind,
        "noise": {"input": NOISE, "size": config.noise.size, "distribution": config.noise.distribution},
        "codes": codes,
        "images": {"name": IMAGES, "shape": shape, "axes": "NHWC" if channels_last else "NCHW", "range": [0, 1]},
    }
