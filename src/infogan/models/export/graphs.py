"""What every export shares: a model's two networks with named codes, what is told of them, and the check on a copy.

A network that is exported is a `Graph`: the generator, from noise and codes to images, or the recognizer, from images
to what is read of each code. Images are float32 in [0, 1] both ways, which is what their readers elsewhere expect.
"""

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

import infogan
from infogan.config.schema import CategoricalCode
from infogan.models.encoder import Encoder
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout, CodePosterior
from infogan.models.networks import Networks, build_networks, fuse_batchnorm
from infogan.utils.errors import UserError

FORMAT = 1  # of the description
NOISE, IMAGES = "noise", "images"
READ = {"categorical": ("probabilities",), "continuous": ("mean", "deviation")}  # kind of a code -> what is read of it
TOLERANCE = 1e-5  # of an output; relative to it where it is beyond 1
COUNTS = (1, 2, 7)  # images of the batches by which a copy is checked

Given = tuple[Tensor | dict[str, Tensor], ...]  # to a module: (noise, {code: values}), or (images,)


@dataclass(frozen=True)
class Graph:
    """A network of a model, as others are to run it.

    Attributes:
        name: ``generator`` or ``recognizer``.
        module: Of (noise, {code: values}) the images, or of images {code: {what is read: values}}. It computes in
            float32 on the CPU and has no weights but its own.
        inputs: A name for each of its inputs, in their order and without levels.
        outputs: The same for its outputs.
        draw: How many images -> what the module is given for them, drawn from the prior.
        expected: What the module is given -> what the model's own networks give, output by output.
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    draw: Callable[[int], Given]
    expected: Callable[..., list[Tensor]]

    def check(self, run: Callable[[Given], Sequence[NDArray[Any] | Tensor]]) -> None:
        """Compares an export with the model, at several batch sizes.

        Args:
            run: The export: from what the module is given to the outputs in their order.

        Raises:
            UserError: an output differs by more than ``TOLERANCE``.
        """
        for count in COUNTS:
            given = self.draw(count)
            for name, ours, theirs in zip(self.outputs, self.expected(*given), run(given), strict=True):
                expected, differs = ours.numpy(), float("inf")
                if expected.shape == tuple(theirs.shape):
                    with np.errstate(invalid="ignore"):
                        away = np.abs(np.asarray(theirs) - expected) / np.maximum(np.abs(expected), 1)
                    differs = float(away.max(initial=0))
                if not differs <= TOLERANCE:  # also where it is no number
                    raise UserError(
                        f"an export that would not be exact is refused: of {count} images, {name!r} of the {self.name} "
                        f"differs from what PyTorch gives by {differs:.2g}, and allowed is {TOLERANCE:g}"
                    )

    def traced(self) -> torch.export.ExportedProgram:
        """The network as a program for any number of images."""
        given, batch = self.draw(3), {0: torch.export.Dim("batch")}
        shapes = tuple(batch if isinstance(part, Tensor) else dict.fromkeys(part, batch) for part in given)
        return torch.export.export(self.module, given, dynamic_shapes=shapes, strict=False)


class Generator(nn.Module):
    """Noise and codes to images in [0, 1].

    Args:
        networks: As `folded`.
        layout: Of noise and codes.
    """

    def __init__(self, networks: Networks, layout: CodeLayout) -> None:
        super().__init__()
        self.generator = networks.generator
        self._layout = layout

    def forward(self, noise: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        """(batch, noise) and for each code (batch,) to (batch, channels, height, width)."""
        drawn: Tensor = self.generator(self._layout.latents(noise, codes))
        return (drawn + 1) / 2


class Recognizer(nn.Module):
    """Images in [0, 1] to what is read of each code.

    Args:
        networks: As `folded`.
        layout: Of noise and codes.
    """

    encoder: Encoder | None

    def __init__(self, networks: Networks, layout: CodeLayout) -> None:
        super().__init__()
        self._layout = layout
        self._encoded = layout.posterior_slices[layout.categorical[0].name] if networks.encoder else slice(0, 0)
        self.trunk: nn.Module | None = None
        self.head: nn.Module | None = None
        if networks.recognizer is not None:
            self.trunk = networks.recognizer.trunk or networks.discriminator.trunk
            self.head = networks.recognizer.head
        self.encoder = networks.encoder
        if self.encoder is not None:
            for name in [name for name, _ in self.encoder.named_buffers(recurse=False)]:
                delattr(self.encoder, name)  # what only training asks for

    def forward(self, images: Tensor) -> dict[str, dict[str, Tensor]]:
        """(batch, channels, height, width) to (batch, size) of a category's probabilities, (batch,) of the rest."""
        signed = 2 * images - 1
        pieces = []
        if self.trunk is not None and self.head is not None:
            read = self.head(self.trunk(signed))
            pieces = [read[:, : self._encoded.start], read[:, self._encoded.start :]]
        if self.encoder is not None:  # not by `Encoder.features`, which says in what it computes
            features = nn.functional.normalize(self.encoder.trunk(self.encoder.resize(signed)))
            pieces.insert(1, self.encoder.logits(features))
        readings = self._layout.read(torch.cat(pieces, dim=1))
        return {name: _parts(reading) for name, reading in readings.items()}


def exact_networks(model: InfoGAN) -> Networks:
    """A copy of the model's networks on the CPU that computes in float32 throughout."""
    networks = copy.deepcopy(model.networks).cpu().eval().requires_grad_(False)
    networks.compute_in_bfloat16(False)
    return networks


def graphs_of(model: InfoGAN) -> list[Graph]:
    """The generator, and the recognizer where the model has one."""
    networks = exact_networks(model)
    small, layout, names = _plain(model, networks), model.layout, plain_names(model.layout.codes)

    def latents(count: int) -> tuple[Tensor, dict[str, Tensor]]:
        source = torch.Generator().manual_seed(0)
        return layout.sample_noise(count, source), dict(layout.sample_codes(count, source))

    @torch.inference_mode()
    def drawn(noise: Tensor, codes: dict[str, Tensor]) -> list[Tensor]:
        return [(networks.generate(layout.latents(noise, codes)) + 1) / 2]

    def pictures(count: int) -> tuple[Tensor]:
        """Generated images, and from the second on every other one of random pixels, as a file would have them."""
        images = drawn(*latents(count))[0].clone()
        images[1::2] = torch.rand(images[1::2].shape, generator=torch.Generator().manual_seed(0))
        return ((images * 255).round() / 255,)

    @torch.inference_mode()
    def read(images: Tensor) -> list[Tensor]:
        return leaves(_parts(reading) for reading in layout.read(networks.posterior(2 * images - 1)).values())

    graphs = [Graph("generator", Generator(small, layout), (NOISE, *names.values()), (IMAGES,), latents, drawn)]
    if networks.reads_codes:
        outputs = [output_of(names[name], what) for name, code in layout.codes.items() for what in READ[code.kind]]
        graphs.append(Graph("recognizer", Recognizer(small, layout), (IMAGES,), tuple(outputs), pictures, read))
    return graphs


def _plain(model: InfoGAN, networks: Networks) -> Networks:
    """The model's networks once more, with as few operations as there can be."""
    # What stays of spectral norm is the weight that it came to. It is not taken off a copy, whose layers have their
    # class in common with the model's own.
    settings = model.config.networks.model_copy(update={"spectral_norm": False})
    plain = build_networks(settings, model.layout, model.shape, kind=model.config.kind, seed=0)
    state = {name: tensor for name, tensor in networks.state_dict().items() if ".parametrizations." not in name}
    for name, module in networks.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            state[f"{name}.weight"] = module.weight
    plain.load_state_dict(state)
    plain = fuse_batchnorm(plain).requires_grad_(False)
    for parameter in plain.parameters():
        parameter.data = parameter.data.contiguous()  # and not in the layout that is fastest here
    return plain


def leaves(given: Iterable[Tensor | Mapping[str, Tensor]]) -> list[Tensor]:
    """Tensors and those in mappings, one after the other."""
    return [leaf for part in given for leaf in ([part] if isinstance(part, Tensor) else part.values())]


def _parts(reading: CodePosterior) -> dict[str, Tensor]:
    """What is read of a code, by the names in ``READ``."""
    return {what: value for what, value in vars(reading).items() if value is not None}


def plain_names(codes: Iterable[str]) -> dict[str, str]:
    """For each code a name that is safe anywhere: letters of English, digits and underscores, a letter first.

    No two are alike, not even with what is read of them (``READ``) behind them, and none is that of another input.
    """
    taken, names = {NOISE, IMAGES}, {}
    for code in codes:
        stem = re.sub(r"[^0-9A-Za-z_]", "_", code)
        stem = stem if stem[0].isalpha() else f"code_{stem}"
        number, name = 1, stem
        while taken & (own := {name, *(output_of(name, what) for read in READ.values() for what in read)}):
            number += 1
            name = f"{stem}_{number}"
        taken |= own
        names[code] = name
    return names


def output_of(name: str, what: str) -> str:
    """The output that has what is read of a code, from the code's plain name."""
    return f"{name}_{what}"


def description(model: InfoGAN, *, channels_last: bool = False) -> dict[str, Any]:
    """What is to be known of an export, as JSON: it goes with every file.

    Args:
        model: What is exported.
        channels_last: Images are (batch, height, width, channels), and not (batch, channels, height, width).
    """
    layout, config, names = model.layout, model.config, plain_names(model.layout.codes)
    codes: list[dict[str, Any]] = []
    for name, code in layout.codes.items():
        told: dict[str, Any] = {"name": name, "kind": code.kind, "input": names[name]}
        if model.networks.reads_codes:
            told["outputs"] = {what: output_of(names[name], what) for what in READ[code.kind]}
        if isinstance(code, CategoricalCode):
            shares = layout.prior(code).double()
            prior = (shares / shares.sum()).tolist()  # so that NumPy, which is strict, draws from it
            values, order = model.value_names(name), model.values_of(name)
            told |= {"size": code.size, "prior": prior, "values": values, "order": order}
        else:
            told |= {"range": [-1, 1]}
        codes.append(told)
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
