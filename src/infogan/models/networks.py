"""The players: generator, discriminator and recognizer, for square images of 8 to 128 pixels.

All of them take and give images in [-1, 1]. An architecture (`infogan.models.architectures`) says how a generator, a
trunk (images to features) and a recognizer's head (features to posterior) are built; the rest is the same for all: the
discriminator is a trunk and one linear read-out, the recognizer a head on that trunk or on a trunk of its own. An
`Encoder`, where there is one, reads one categorical code in the recognizer's place; it is made to learn from real
images as well.
"""

import copy
from collections.abc import Collection, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import fusion, parametrizations, parametrize

from infogan.config.schema import NetworkName, NetworkSettings
from infogan.models.architectures import ARCHITECTURES, Features, Images, ImageShape, forward_autocast
from infogan.models.batchnorm import BATCH_NORMS, SplitBatchNorm
from infogan.models.encoder import Encoder
from infogan.models.latents import CodeLayout
from infogan.utils.errors import UserError


class Discriminator(nn.Module):
    """A trunk and a linear read-out: one logit an image, large for reals.

    Given a condition (the label of a cgan, one-hot), the logit gains the inner product of the features with a learned
    embedding of it: the projection discriminator of Miyato & Koyama 2018, equation 4.
    """

    autocast_bfloat16: bool = False  # whether the trunk computes in bfloat16

    def __init__(self, trunk: nn.Module, features: int, conditions: int = 0) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(features, 1)
        self.embedding = nn.Linear(conditions, features, bias=False) if conditions else None
        self._norms = [module for module in trunk.modules() if isinstance(module, SplitBatchNorm)]

    def features(self, images: Images, *, parts: int = 1) -> Features:
        """What the trunk sees in images, of which so many equal parts are normed apart."""
        for norm in self._norms:
            norm.parts = parts
        return forward_autocast(self.trunk, images, bfloat16=self.autocast_bfloat16)

    def score(
        self, features: Features, condition: Float[Tensor, "batch condition"] | None = None
    ) -> Float[Tensor, " batch"]:
        """The logits of images, from the trunk's features of them."""
        logits: Tensor = self.head(features).squeeze(1)
        if self.embedding is not None and condition is not None:
            logits = logits + (features * self.embedding(condition)).sum(dim=1)
        return logits


class Recognizer(nn.Module):
    """Q(c|x): a head on the discriminator's features, or on those of a trunk of its own."""

    autocast_bfloat16: bool = False

    def __init__(self, head: nn.Module, trunk: nn.Module | None) -> None:
        super().__init__()
        self.head = head
        self.trunk = trunk

    def features(self, images: Images) -> Features:
        """What its own trunk sees in images."""
        assert self.trunk is not None
        return forward_autocast(self.trunk, images, bfloat16=self.autocast_bfloat16)


class PairClassifier(nn.Module):
    """H(x, x'): which code two images share (Lin et al. 2020), or differ in (Zhu et al. 2020).

    Args:
        trunk: Of pairs as images of twice the channels.
        features: That it gives.
        codes: How many there are.
    """

    autocast_bfloat16: bool = False

    def __init__(self, trunk: nn.Module, features: int, codes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(features, codes)

    def forward(self, first: Images, second: Images) -> Float[Tensor, "batch code"]:
        """The logits of the codes, in their order."""
        logits: Tensor = self.head(
            forward_autocast(self.trunk, torch.cat([first, second], dim=1), bfloat16=self.autocast_bfloat16)
        )
        return logits


class Networks(nn.Module):
    """The players. ``recognizer`` is None for a gan and a cgan, and where the encoder reads the only code.

    ``encoder`` and ``comparer`` are None unless the settings ask for them.

    Args:
        settings: Architecture, width, whether Q shares the trunk, spectral norm.
        layout: The sizes of latents and posterior.
        shape: Of the images.
        conditions: Values of the code that the discriminator is told; 0 = it is told none.
        recognized: Whether there is a recognizer.

    Raises:
        UserError: the architecture does not draw images of this size.
    """

    autocast_bfloat16: bool = False

    def __init__(
        self, settings: NetworkSettings, layout: CodeLayout, shape: ImageShape, *, conditions: int, recognized: bool
    ) -> None:
        super().__init__()
        check_size(settings, shape)
        family = ARCHITECTURES[settings.architecture]
        width = settings.width or family.width
        self.generator = family.generator(layout.latent_size, shape, width)
        trunk, features = family.trunk(shape, width)
        self.discriminator = Discriminator(trunk, features, conditions)
        self.recognizer: Recognizer | None = None
        self.encoder: Encoder | None = None
        self._encoded = slice(0, 0)  # the encoder's columns of the posterior
        if settings.encoder:
            code = layout.categorical[0]
            self._encoded = layout.posterior_slices[code.name]
            self.encoder = Encoder(shape, settings.encoder_width, code.size)
        read_by_recognizer = layout.posterior_size - (self._encoded.stop - self._encoded.start)
        if recognized and read_by_recognizer:
            own_trunk = family.trunk(shape, width)[0] if settings.recognizer == "separate" else None
            self.recognizer = Recognizer(family.recognizer_head(features, read_by_recognizer), own_trunk)
        self.pair_classifier: PairClassifier | None = None
        if settings.pair_classifier and recognized:
            pairs = family.trunk(ImageShape(2 * shape.channels, shape.size), width)
            self.pair_classifier = PairClassifier(*pairs, len(layout.codes))
        self.apply(family.initialise)
        for parameter in self.parameters():
            if parameter.ndim == 4:  # the layout that processors convolve fastest in
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if settings.spectral_norm:
            for module in list(self.discriminator.modules()):
                if isinstance(module, nn.Linear | nn.Conv2d):
                    parametrizations.spectral_norm(module)

    @property
    def reads_codes(self) -> bool:
        """Whether anybody reads codes in images; in a gan and a cgan nobody does."""
        return self.recognizer is not None or self.encoder is not None

    def posterior(self, images: Images) -> Float[Tensor, "batch posterior"]:
        """What is read in images; `CodeLayout.read` makes probabilities of it."""
        return self.joined(
            self.posterior_of(self.recognizer_features(images)) if self.recognizer else None,
            self.encoder(images) if self.encoder else None,
        )

    def joined(
        self, read: Float[Tensor, "batch some"] | None, encoded: Float[Tensor, "batch category"] | None
    ) -> Float[Tensor, "batch posterior"]:
        """The recognizer's and the encoder's outputs in the layout's order; what is None is not there."""
        if encoded is None:
            assert read is not None
            return read
        if read is None:
            return encoded
        return torch.cat([read[:, : self._encoded.start], encoded, read[:, self._encoded.start :]], dim=1)

    def recognizer_features(self, images: Images) -> Features:
        """What the recognizer's head reads: its own trunk's features, or the discriminator's where it shares them."""
        assert self.recognizer is not None
        return (
            self.discriminator.features(images) if self.recognizer.trunk is None else self.recognizer.features(images)
        )

    def generate(self, latents: Float[Tensor, "batch latent"]) -> Images:
        """G(z, c)."""
        return forward_autocast(self.generator, latents, bfloat16=self.autocast_bfloat16)

    def compute_in_bfloat16(self, on: bool) -> None:
        """Whether generator and trunks compute in bfloat16. Heads, and what is made of their outputs, stay float32."""
        self.autocast_bfloat16 = on
        for part in (self.discriminator, self.recognizer, self.encoder, self.pair_classifier):
            if part is not None:
                part.autocast_bfloat16 = on

    def sync_batchnorm(self, on: bool) -> None:
        """Whether batch norm goes by what all workers see of a batch, or by what each of them does."""
        for module in self.modules():
            if isinstance(module, SplitBatchNorm):
                module.synchronised = on

    def compile_parts(self) -> None:
        """Has generator and trunks compiled when they are first run, for each way of running them: `torch.compile`.

        Weights, their names and what is saved stay as they are; results differ in the last bits. A compiled trunk has
        no second derivative, which `objectives.r1` would need.
        """
        self.generator.compile()
        for part in (self.discriminator, self.recognizer, self.encoder, self.pair_classifier):
            if part is not None and part.trunk is not None:
                part.trunk.compile()

    def posterior_of(self, features: Features) -> Float[Tensor, "batch some"]:
        """The recognizer's head alone: the posterior without the encoder's columns."""
        assert self.recognizer is not None
        posterior: Tensor = self.recognizer.head(features)
        return posterior

    def lr_scale(self, players: Collection[NetworkName]) -> float:
        """The share of an update's learning rate at which these players learn: the encoder's ``pace``, else 1."""
        return float(self.encoder.pace) if self.encoder is not None and "encoder" in players else 1.0

    def parameters_of(self, players: Collection[NetworkName]) -> Iterator[nn.Parameter]:
        """The parameters of these players; the shared trunk belongs to the discriminator."""
        for name, module in self._named_networks():
            if name in players:
                yield from module.parameters()

    def set_trainable(self, players: Collection[NetworkName]) -> None:
        """Lets these players learn and freezes the others.

        A frozen player computes no gradients of its weights, and its batch norm goes by the batch without adding it
        to the running statistics. A frozen encoder goes by the running statistics, which are those of real images: it
        is to read fakes as it reads reals.
        """
        for name, module in self._named_networks():
            learns = name in players
            module.requires_grad_(learns)
            for layer in module.modules():
                if isinstance(layer, BATCH_NORMS):
                    layer.track_running_stats = learns or name == "encoder"
            if name == "encoder":
                module.train(learns)

    def _named_networks(self) -> Iterator[tuple[NetworkName, nn.Module]]:
        yield "generator", self.generator
        yield "discriminator", self.discriminator
        if self.recognizer is not None:
            yield "recognizer", self.recognizer
        if self.encoder is not None:
            yield "encoder", self.encoder
        if self.pair_classifier is not None:
            yield "pair_classifier", self.pair_classifier


def build_networks(
    settings: NetworkSettings, layout: CodeLayout, shape: ImageShape, *, kind: str, seed: int
) -> Networks:
    """The players of an objective, initialised from ``seed`` without touching the global random state."""
    conditions = layout.categorical[0].size if kind == "cgan" or settings.conditional else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Networks(settings, layout, shape, conditions=conditions, recognized=kind == "infogan")


def fuse_batchnorm(networks: Networks) -> Networks:
    """A copy for inference alone, with fewer operations: what it gives differs in the last bits.

    Batch norm by running statistics is a scale and a shift, which become part of the layer before it, unless that is
    under spectral norm.
    """
    copied = copy.deepcopy(networks).eval().requires_grad_(False)
    for sequence in [module for module in copied.modules() if isinstance(module, nn.Sequential)]:
        for place in reversed(range(len(sequence) - 1)):
            layer, norm = sequence[place], sequence[place + 1]
            if not isinstance(norm, BATCH_NORMS) or parametrize.is_parametrized(layer):
                continue
            if isinstance(layer, nn.Linear):
                sequence[place] = fusion.fuse_linear_bn_eval(layer, norm)
            elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                transposed = isinstance(layer, nn.ConvTranspose2d)
                sequence[place] = fusion.fuse_conv_bn_eval(layer, norm, transpose=transposed)
            else:
                continue
            del sequence[place + 1]
    return copied


def check_size(settings: NetworkSettings, shape: ImageShape) -> None:
    """Raises UserError where the architecture does not draw images of this size."""
    multiple = ARCHITECTURES[settings.architecture].size_multiple
    if shape.size % multiple:
        raise UserError(
            f"architecture {settings.architecture!r} draws images whose size is a multiple of {multiple}, "
            f"not {shape.size}: pass --size or --set networks.architecture=conv"
        )
