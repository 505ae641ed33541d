"""The networks of a model: generator, discriminator and recognizer, for square images of 8 to 256 pixels in [-1, 1].

An architecture (`infogan.models.architectures`) builds a generator, a trunk (images to features) and a recognizer's
head (features to posterior). The discriminator is a trunk with a linear head. The recognizer is a head on that trunk,
or on a trunk of its own. Instead of the recognizer, an optional `Encoder` predicts one categorical code, and a `Reader`
the codes that follow a property.
"""

import copy
from collections.abc import Collection, Iterator
from functools import partial
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import fusion, parametrizations, parametrize

from infogan.config.schema import NetworkName, NetworkSettings
from infogan.models.architectures import ARCHITECTURES, AutocastModule, Features, Images, ImageShape, initialise
from infogan.models.batchnorm import BATCH_NORMS, SplitBatchNorm, track_running_stats
from infogan.models.encoder import Encoder
from infogan.models.latents import CodeLayout
from infogan.models.reader import Reader
from infogan.utils.errors import UserError


class Discriminator(AutocastModule):
    """A trunk and a linear head: one logit per image, large for real images.

    With a condition (a one-hot category), the inner product of the features and a learned embedding of it is added to
    the logit: the projection discriminator of Miyato & Koyama 2018, equation 4.

    Args:
        trunk: Images to features.
        features: Number of features.
        conditions: Number of categories of the condition; 0 = unconditional.
    """

    def __init__(self, trunk: nn.Module, features: int, conditions: int = 0) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(features, 1)
        self.embedding = nn.Linear(conditions, features, bias=False) if conditions else None
        self._norms = [module for module in trunk.modules() if isinstance(module, SplitBatchNorm)]

    def features(self, images: Images, *, parts: int = 1) -> Features:
        """Return the trunk's features; batch norm treats each of ``parts`` equal parts of the batch separately."""
        for norm in self._norms:
            norm.parts = parts
        return self.forward_autocast(self.trunk, images)

    def score(
        self, features: Features, condition: Float[Tensor, "batch condition"] | None = None
    ) -> Float[Tensor, " batch"]:
        """Return one logit per image from the trunk's features."""
        logits: Tensor = self.head(features).squeeze(1)
        if self.embedding is not None and condition is not None:
            logits = logits + (features * self.embedding(condition)).sum(dim=1)
        return logits


class Recognizer(AutocastModule):
    """Q(c|x): a head on the discriminator's features (``trunk`` is None), or on those of a trunk of its own."""

    def __init__(self, head: nn.Module, trunk: nn.Module | None) -> None:
        super().__init__()
        self.head = head
        self.trunk = trunk

    def features(self, images: Images) -> Features:
        """Return the features of the recognizer's own trunk."""
        assert self.trunk is not None
        return self.forward_autocast(self.trunk, images)


class PairClassifier(AutocastModule):
    """H(x, x'): which code two images have in common (Lin et al. 2020), or differ in (Zhu et al. 2020).

    Args:
        trunk: Pairs, as images of twice as many channels, to features.
        features: Number of features.
        codes: Number of codes.
    """

    def __init__(self, trunk: nn.Module, features: int, codes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(features, codes)

    def forward(self, first: Images, second: Images) -> Float[Tensor, "batch code"]:
        """Return one logit per code, in the order of the codes."""
        logits: Tensor = self.head(self.forward_autocast(self.trunk, torch.cat([first, second], dim=1)))
        return logits


class Networks(AutocastModule):
    """All networks of a model.

    ``recognizer`` is None for a gan and a cgan, and if encoder and reader predict all codes. ``encoder`` and
    ``pair_classifier`` are None unless the settings enable them, ``reader`` unless a code follows a property.

    Args:
        settings: Architecture, width, whether recognizer and discriminator share a trunk, spectral norm.
        layout: Sizes of latents and posterior.
        shape: Shape of the images.
        kind: The objective: only an ``infogan`` has networks that read codes in images; the discriminator of a ``cgan``
            has the code as its condition.

    Raises:
        UserError: the architecture does not support images of this size.
    """

    def __init__(self, settings: NetworkSettings, layout: CodeLayout, shape: ImageShape, kind: str) -> None:
        super().__init__()
        check_size(settings, shape)
        architecture = ARCHITECTURES[settings.architecture]
        width, predicts_codes = settings.width or architecture.width, kind == "infogan"
        self.generator = architecture.generator(layout.latent_size, shape, width)
        trunk, features = architecture.trunk(shape, width)
        conditions = layout.categorical[0].size if kind == "cgan" or settings.conditional else 0
        self.discriminator = Discriminator(trunk, features, conditions)
        self.recognizer: Recognizer | None = None
        self.encoder: Encoder | None = None
        self.reader: Reader | None = None
        predictors: dict[str, str] = {}  # by code, the network that predicts it, if it is not the recognizer
        if settings.encoder:
            code = layout.categorical[0]
            predictors[code.name] = "encoder"
            self.encoder = Encoder(shape, settings.encoder_width, code.size)
        if declared := [code for code in layout.continuous if code.follows is not None]:
            predictors |= {code.name: "reader" for code in declared}
            self.reader = Reader(shape, settings.encoder_width, declared)
        # The columns of the posterior, in order: who predicts them, and how many there are.
        self._columns = [
            (predictors.get(name, "recognizer"), columns.stop - columns.start)
            for name, columns in layout.posterior_slices.items()
        ]
        recognizer_size = sum(size for network, size in self._columns if network == "recognizer")
        if predicts_codes and recognizer_size:
            own_trunk = architecture.trunk(shape, width)[0] if settings.recognizer == "separate" else None
            self.recognizer = Recognizer(architecture.recognizer_head(features, recognizer_size), own_trunk)
        self.pair_classifier: PairClassifier | None = None
        if settings.pair_classifier and predicts_codes:
            pair_trunk = architecture.trunk(ImageShape(2 * shape.channels, shape.size), width)
            self.pair_classifier = PairClassifier(*pair_trunk, len(layout.codes))
        self.apply(partial(initialise, deviation=architecture.deviation))
        for parameter in self.parameters():
            if parameter.ndim == 4:  # the memory format in which convolutions are fastest
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if settings.spectral_norm:
            for module in list(self.discriminator.modules()):
                if isinstance(module, nn.Linear | nn.Conv2d):
                    parametrizations.spectral_norm(module)

    @property
    def reads_codes(self) -> bool:
        """Whether a network predicts codes from images."""
        return self.recognizer is not None or self.encoder is not None or self.reader is not None

    def generate(self, latents: Float[Tensor, "batch latent"]) -> Images:
        """Return G(z, c)."""
        return self.forward_autocast(self.generator, latents)

    def posterior(self, images: Images) -> Float[Tensor, "batch posterior"]:
        """Return the parameters of Q(c|x); `CodeLayout.split_posterior` converts them to probabilities."""
        recognized = None
        if self.recognizer is not None:
            trunk_owner = self.discriminator if self.recognizer.trunk is None else self.recognizer
            recognized = self.recognizer.head(trunk_owner.features(images))
        encoded = None if self.encoder is None else self.encoder(images)
        measured = None if self.reader is None else self.reader.posterior(images)
        return self.join_posteriors(recognized, encoded, measured)

    def join_posteriors(
        self,
        recognizer: Float[Tensor, "batch recognized"] | None,
        encoder: Float[Tensor, "batch category"] | None,
        reader: Float[Tensor, "batch measured"] | None,
    ) -> Float[Tensor, "batch posterior"]:
        """Return the outputs of recognizer, encoder and reader in the layout's order; None for an absent network."""
        outputs = {"recognizer": recognizer, "encoder": encoder, "reader": reader}
        starts = dict.fromkeys(outputs, 0)
        parts = []
        for network, size in self._columns:
            output = outputs[network]
            assert output is not None
            parts.append(output[:, starts[network] : starts[network] + size])
            starts[network] += size
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def compute_in_bfloat16(self, on: bool) -> None:
        """Set whether generator and trunks compute in bfloat16. Heads and losses stay in float32."""
        for module in self.modules():
            if isinstance(module, AutocastModule):
                module.autocast_bfloat16 = on

    def sync_batchnorm(self, on: bool) -> None:
        """Set whether batch norm uses the statistics of all workers, or of each worker separately."""
        for module in self.modules():
            if isinstance(module, SplitBatchNorm):
                module.synchronised = on

    def compile_parts(self) -> None:
        """Compile generator and trunks with `torch.compile` when they are first called.

        Weights and their names do not change; results differ in the last bits. A compiled trunk has no second
        derivatives, which the loss r1 needs.
        """
        self.generator.compile()
        for network in (self.discriminator, self.recognizer, self.encoder, self.reader, self.pair_classifier):
            if network is not None and network.trunk is not None:
                network.trunk.compile()

    def parameters_of(self, networks: Collection[NetworkName]) -> Iterator[nn.Parameter]:
        """Yield the parameters of some networks; a shared trunk belongs to the discriminator."""
        for name, module in self._named_networks():
            if name in networks:
                yield from module.parameters()

    def set_trainable(self, networks: Collection[NetworkName]) -> None:
        """Make some networks trainable and freeze the others.

        A frozen network gets no gradients of its weights, and its batch norm does not update the running statistics. A
        frozen encoder or reader normalises by the running statistics, which come from real images, so that it reads
        fakes as it reads reals.
        """
        for name, module in self._named_networks():
            trainable, learns_from_reals = name in networks, name in ("encoder", "reader")
            module.requires_grad_(trainable)
            track_running_stats(module, trainable or learns_from_reals)
            if learns_from_reals:
                module.train(trainable)

    def _named_networks(self) -> list[tuple[NetworkName, nn.Module]]:
        return [(name, module) for name in get_args(NetworkName) if (module := getattr(self, name)) is not None]


def build_networks(
    settings: NetworkSettings, layout: CodeLayout, shape: ImageShape, *, kind: str, seed: int
) -> Networks:
    """Build the networks of an objective, initialised from ``seed``; the global random state does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Networks(settings, layout, shape, kind)


def fuse_batchnorm(networks: Networks) -> Networks:
    """Return a faster copy for inference, whose results differ in the last bits.

    Batch norm with running statistics is a scale and a shift; they are merged into the preceding layer, unless that has
    spectral norm.
    """
    fused = copy.deepcopy(networks).eval().requires_grad_(False)
    for sequence in [module for module in fused.modules() if isinstance(module, nn.Sequential)]:
        for index in reversed(range(len(sequence) - 1)):
            layer, norm = sequence[index], sequence[index + 1]
            if not isinstance(norm, BATCH_NORMS) or parametrize.is_parametrized(layer):
                continue
            if isinstance(layer, nn.Linear):
                sequence[index] = fusion.fuse_linear_bn_eval(layer, norm)
            elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                transposed = isinstance(layer, nn.ConvTranspose2d)
                sequence[index] = fusion.fuse_conv_bn_eval(layer, norm, transpose=transposed)
            else:
                continue
            del sequence[index + 1]
    return fused


def check_size(settings: NetworkSettings, shape: ImageShape) -> None:
    """Raise UserError if the architecture does not support images of this size."""
    multiple = ARCHITECTURES[settings.architecture].size_multiple
    if shape.size % multiple:
        raise UserError(
            f"architecture {settings.architecture!r} needs an image size that is a multiple of {multiple}, "
            f"not {shape.size}: pass --size or --set networks.architecture=conv"
        )
