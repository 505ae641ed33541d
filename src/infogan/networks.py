"""The players: generator, discriminator and recognizer, for square images of 8 to 128 pixels.

All of them take and give images in [-1, 1]. An *architecture* says how a generator, a trunk (images to features) and a
recognizer's head (features to posterior) are built; the rest is the same for all: the discriminator is a trunk and one
linear read-out, the recognizer a head on that trunk or on a trunk of its own. An `Encoder`, where there is one, reads
one categorical code in the recognizer's place; it is made to learn from real images as well.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from infogan.codes import CodeLayout
from infogan.config import NetworkSettings, Player
from infogan.errors import UserError

Images = Float[Tensor, "batch channel height width"]
Features = Float[Tensor, "batch feature"]
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class ImageShape:
    """Channels (1 or 3) and height = width in pixels."""

    channels: int
    size: int

    @property
    def values(self) -> int:
        """How many numbers an image is."""
        return self.channels * self.size**2


@dataclass(frozen=True)
class Architecture:
    """How the players of one family are built.

    Attributes:
        generator: (latent size, image shape, width) -> latents to images in [-1, 1].
        trunk: (image shape, width) -> (images to features, how many features).
        recognizer_head: (features, outputs) -> features to posterior.
        width: The width where the configuration names none.
        initialise: Sets the weights of one layer.
        size_multiple: What the image size must be a multiple of.
    """

    generator: Callable[[int, ImageShape, int], nn.Module]
    trunk: Callable[[ImageShape, int], tuple[nn.Module, int]]
    recognizer_head: Callable[[int, int], nn.Module]
    width: int
    initialise: Callable[[nn.Module], None]
    size_multiple: int = 1


def run(module: nn.Module, inputs: Tensor, *, bfloat16: bool) -> Tensor:
    """The module's output in float32, computed in bfloat16 where that loses little if ``bfloat16``."""
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=bfloat16):
        output: Tensor = module(inputs)
    return output.float() if bfloat16 else output


class Discriminator(nn.Module):
    """A trunk and a linear read-out: one logit an image, large for reals.

    Given a condition (the label of a cgan, one-hot), the logit gains the inner product of the features with a learned
    embedding of it: the projection discriminator of Miyato & Koyama 2018, equation 4.
    """

    autocasts: bool = False  # whether it computes in bfloat16

    def __init__(self, trunk: nn.Module, features: int, conditions: int = 0) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(features, 1)
        self.embedding = nn.Linear(conditions, features, bias=False) if conditions else None
        # Batch norm over reals and fakes together would tell the discriminator which is which by their mixture, and
        # show it another mixture in the generator's update: with batch norm the two go through separately.
        self.takes_mixed_batches = not any(
            isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in trunk.modules()
        )

    def features(self, images: Images) -> Features:
        """What the trunk sees in images."""
        return run(self.trunk, images, bfloat16=self.autocasts)

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

    autocasts: bool = False

    def __init__(self, head: nn.Module, trunk: nn.Module | None) -> None:
        super().__init__()
        self.head = head
        self.trunk = trunk

    def features(self, images: Images) -> Features:
        """What its own trunk sees in images."""
        assert self.trunk is not None
        return run(self.trunk, images, bfloat16=self.autocasts)


class Encoder(nn.Module):
    """Q(c|x) of one categorical code by the direction of features: images -> unit vectors -> cosines / TEMPERATURE.

    Its features may first be taught to ignore what does not matter in real images, by comparing views of them; then
    clusters of features become the directions of the code's values, and both learn on together.

    Args:
        shape: Of the images. Those smaller than ``SMALLEST`` are enlarged, so that transforms keep their detail; those
            larger than ``LARGEST`` are averaged down to it, for classes show at that size and cost a fraction.
        width: Channels of the first convolution; they double with each halving, up to eight times as many.
        classes: Values of the code.
    """

    FEATURES = 128
    TEMPERATURE = 0.1
    SMALLEST, ENLARGED = 16, 28
    LARGEST = 32

    autocasts: bool = False
    marginal: Tensor  # (classes,), the running mean of Q(c|x) over real images, for `terms.balance`
    radius: Tensor  # (), how far `terms.smoothness` looks, as Euclidean distance in [-1, 1] pixels
    pace: Tensor  # (), the share of its learning rate at which it learns
    kinds: Tensor  # (), how many kinds of image its features showed when the classes began; 0 where that was not clear
    # (classes,). While classes form, what the marginal is held to; then how often each value is found in the training
    # images, which is P(c) where that is learned.
    prior: Tensor

    def __init__(self, shape: ImageShape, width: int, classes: int) -> None:
        super().__init__()
        self.side = min(shape.size, self.LARGEST) if shape.size >= self.SMALLEST else self.ENLARGED
        channels, side = width, math.ceil(self.side / 2)
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), *_normed_conv(4 * shape.channels, width)]
        while side > 4:
            wider = min(2 * channels, 8 * width)
            layers += [nn.MaxPool2d(2, ceil_mode=True), *_normed_conv(channels, wider)]
            channels, side = wider, math.ceil(side / 2)
        layers += [*_normed_conv(channels, channels), nn.Flatten()]
        layers += [nn.Linear(channels * side**2, self.FEATURES, bias=False), nn.BatchNorm1d(self.FEATURES)]
        self.trunk = nn.Sequential(*layers)
        self.directions = nn.Parameter(torch.randn(classes, self.FEATURES))
        self.register_buffer("marginal", torch.full((classes,), 1 / classes))
        self.register_buffer("radius", torch.tensor(1.0))
        self.register_buffer("pace", torch.tensor(1.0))
        self.register_buffer("kinds", torch.tensor(0.0))
        self.register_buffer("prior", torch.full((classes,), 1 / classes))

    def resized(self, images: Images) -> Float[Tensor, "batch channel side side"]:
        """Images at the size that the trunk takes."""
        if images.shape[-1] == self.side + self.side % 2:
            return images
        if images.shape[-1] > self.side:
            images = functional.interpolate(images, (self.side, self.side), mode="area")
        if images.shape[-1] < self.side:
            images = functional.interpolate(images, (self.side, self.side), mode="bilinear", align_corners=False)
        # Space is folded two by two.
        return functional.pad(images, (0, self.side % 2, 0, self.side % 2), mode="replicate")

    def features(self, images: Images) -> Features:
        """Unit vectors."""
        return functional.normalize(run(self.trunk, self.resized(images), bfloat16=self.autocasts))

    def logits(self, features: Features) -> Float[Tensor, "batch category"]:
        """Of the code's values, from `features`."""
        return functional.linear(features, functional.normalize(self.directions)) / self.TEMPERATURE

    def forward(self, images: Images) -> Float[Tensor, "batch category"]:
        """Logits of the code's values."""
        return self.logits(self.features(images))

    def features_of_many(self, images: Images, batch_size: int = 500) -> Features:
        """`features` of any number of images, a batch at a time, in evaluation mode and without a graph."""
        learning = self.training
        self.eval()
        with torch.no_grad():
            features = torch.cat([self.features(batch) for batch in torch.split(images, batch_size)])
        self.train(learning)
        return features

    @contextmanager
    def unrecorded(self) -> Iterator[None]:
        """While this lasts, batch norm goes by the batch without adding it to the running statistics."""
        norms = [layer for layer in self.modules() if isinstance(layer, BATCH_NORMS)]
        before = [layer.track_running_stats for layer in norms]
        for layer in norms:
            layer.track_running_stats = False
        try:
            yield
        finally:
            for layer, tracked in zip(norms, before, strict=True):
                layer.track_running_stats = tracked


class Networks(nn.Module):
    """The players. ``recognizer`` is None for a gan and a cgan, and where the encoder reads the only code.

    Args:
        settings: Architecture, width, whether Q shares the trunk, spectral norm.
        layout: The sizes of latents and posterior.
        shape: Of the images.
        conditions: Values of the code that the discriminator is told; 0 = it is told none.
        recognized: Whether there is a recognizer.

    Raises:
        UserError: the architecture does not draw images of this size.
    """

    autocasts: bool = False

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
        return run(self.generator, latents, bfloat16=self.autocasts)

    def compute_in_bfloat16(self, on: bool) -> None:
        """Whether generator and trunks compute in bfloat16. Heads, and what is made of their outputs, stay float32."""
        self.autocasts = on
        for part in (self.discriminator, self.recognizer, self.encoder):
            if part is not None:
                part.autocasts = on

    def compile_parts(self) -> None:
        """Has generator and trunks compiled when they are first run, for each way of running them: `torch.compile`.

        Weights, their names and what is saved stay as they are; results differ in the last bits. A compiled trunk has
        no second derivative, which `objectives.r1` would need.
        """
        self.generator.compile()
        for part in (self.discriminator, self.recognizer, self.encoder):
            if part is not None and part.trunk is not None:
                part.trunk.compile()

    def posterior_of(self, features: Features) -> Float[Tensor, "batch some"]:
        """The recognizer's head alone: the posterior without the encoder's columns."""
        assert self.recognizer is not None
        posterior: Tensor = self.recognizer.head(features)
        return posterior

    def pace(self, players: Collection[Player]) -> float:
        """The share of an update's learning rate at which these players learn: the encoder's ``pace``, else 1."""
        return float(self.encoder.pace) if self.encoder is not None and "encoder" in players else 1.0

    def learners(self, players: Collection[Player]) -> Iterator[nn.Parameter]:
        """The parameters of these players; the shared trunk belongs to the discriminator."""
        for name, module in self._players():
            if name in players:
                yield from module.parameters()

    def set_learners(self, players: Collection[Player]) -> None:
        """Lets these players learn and freezes the others.

        A frozen player computes no gradients of its weights, and its batch norm goes by the batch without adding it
        to the running statistics. A frozen encoder goes by the running statistics, which are those of real images: it
        is to read fakes as it reads reals.
        """
        for name, module in self._players():
            learns = name in players
            module.requires_grad_(learns)
            for layer in module.modules():
                if isinstance(layer, BATCH_NORMS):
                    layer.track_running_stats = learns or name == "encoder"
            if name == "encoder":
                module.train(learns)

    def _players(self) -> Iterator[tuple[Player, nn.Module]]:
        yield "generator", self.generator
        yield "discriminator", self.discriminator
        if self.recognizer is not None:
            yield "recognizer", self.recognizer
        if self.encoder is not None:
            yield "encoder", self.encoder


def build_networks(
    settings: NetworkSettings, layout: CodeLayout, shape: ImageShape, *, kind: str, seed: int
) -> Networks:
    """The players of an objective, initialised from ``seed`` without touching the global random state."""
    conditions = layout.categorical[0].size if kind == "cgan" or settings.conditional else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Networks(settings, layout, shape, conditions=conditions, recognized=kind == "infogan")


def check_size(settings: NetworkSettings, shape: ImageShape) -> None:
    """Raises UserError where the architecture does not draw images of this size."""
    multiple = ARCHITECTURES[settings.architecture].size_multiple
    if shape.size % multiple:
        raise UserError(
            f"architecture {settings.architecture!r} draws images whose size is a multiple of {multiple}, "
            f"not {shape.size}: pass --size or --set networks.architecture=conv"
        )


# Initialisation.


def he_normal(module: nn.Module) -> None:
    """N(0, 2 / fan-in), He et al. 2015, equation 10; biases zero."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        # A transposed convolution of stride s sums fan-in / s² products into each of its outputs.
        inputs, per_output = (
            (module.weight.shape[0], math.prod(module.stride))
            if isinstance(module, nn.ConvTranspose2d)
            else (module.weight.shape[1], 1)
        )
        fan_in = inputs * math.prod(module.weight.shape[2:]) / per_output
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
        if isinstance(module, SubPixelConv):
            with torch.no_grad():
                module.weight.copy_(module.weight[::4].repeat_interleave(4, dim=0))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def small_normal(module: nn.Module) -> None:
    """N(0, 0.02²), as in Radford et al. 2016 and Chen et al.'s own code; biases zero."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# Multilayer perceptrons.


def mlp_generator(latent: int, shape: ImageShape, width: int) -> nn.Module:
    """Two hidden layers with batch norm."""
    return nn.Sequential(
        *_dense(latent, 2 * width, nn.ReLU()),
        *_dense(2 * width, 2 * width, nn.ReLU()),
        nn.Linear(2 * width, shape.values),
        nn.Tanh(),
        nn.Unflatten(1, (shape.channels, shape.size, shape.size)),
    )


def mlp_trunk(shape: ImageShape, width: int) -> tuple[nn.Module, int]:
    """Two hidden layers without norm."""
    layers = [nn.Linear(shape.values, 2 * width), nn.LeakyReLU(0.2), nn.Linear(2 * width, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(nn.Flatten(), *layers), width


# Convolutions with the image folded space-to-depth: a convolution from or to one channel would leave most of a
# processor's arithmetic idle, so two by two pixels become channels at the image end of every network. Maps are halved
# by pooling before a convolution of stride 1, not by strides, whose gradients are several times slower in bfloat16.


class SubPixelConv(nn.Conv2d):
    """A convolution whose outputs, four for each channel, are sub-pixels for `nn.PixelShuffle`."""


class ConvGenerator(nn.Module):
    """Latents -> a small map -> doublings by convolution and interpolation -> four sub-pixels a position -> image.

    Transposed convolutions in the place of the doublings leave a weave that small networks never lose (Odena et al.
    2016). The sub-pixels begin alike for the same reason (Aitken et al. 2017).
    """

    def __init__(self, latent: int, shape: ImageShape, width: int) -> None:
        super().__init__()
        levels, base = _pyramid(shape.size)
        channels = [width * min(2 ** (levels - 1 - level), 8) for level in range(levels)]
        self.size = shape.size
        self.base = base
        self.project = nn.Sequential(
            nn.Linear(latent, channels[0] * base**2, bias=False),
            nn.BatchNorm1d(channels[0] * base**2),
            nn.ReLU(),
            nn.Unflatten(1, (channels[0], base, base)),
        )
        doublings: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(channels):
            doublings += [
                nn.Conv2d(wide, narrow, 3, padding=1, padding_mode="replicate", bias=False),
                nn.BatchNorm2d(narrow),
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.ReLU(),
            ]
        self.grow = nn.Sequential(*doublings)
        self.draw = nn.Sequential(
            SubPixelConv(channels[-1], 4 * shape.channels, 3, padding=1, padding_mode="replicate"),
            nn.PixelShuffle(2),
            nn.Tanh(),
        )

    def forward(self, latents: Float[Tensor, "batch latent"]) -> Images:
        """Draws images; of a map larger than the image the corner is kept."""
        images: Tensor = self.draw(self.grow(self.project(latents)))
        return images[:, :, : self.size, : self.size]


class ConvTrunk(nn.Module):
    """Image -> four sub-pixels a position -> halvings by pooling -> one dense layer -> flat features.

    Without the dense layer a linear read-out would add up what is seen in each place: whether strokes that are right
    one by one belong together would escape it.
    """

    def __init__(self, shape: ImageShape, width: int) -> None:
        super().__init__()
        levels, base = _pyramid(shape.size)
        self.padding = base * 2**levels - shape.size
        channels = [width * min(2**level, 8) for level in range(levels)]
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * shape.channels, channels[0], 3, padding=1),
            nn.LeakyReLU(0.2),
        ]
        for narrow, wide in itertools.pairwise(channels):
            layers += [nn.AvgPool2d(2), nn.Conv2d(narrow, wide, 3, padding=1), nn.LeakyReLU(0.2)]
        self.features = 4 * width
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(channels[-1] * base**2, self.features), nn.LeakyReLU(0.2)
        )

    def forward(self, images: Images) -> Features:
        """Features of images, of which the last row and column are repeated up to the map's size."""
        if self.padding:
            images = functional.pad(images, (0, self.padding, 0, self.padding), mode="replicate")
        features: Tensor = self.layers(images)
        return features


def conv_trunk(shape: ImageShape, width: int) -> tuple[nn.Module, int]:
    """A `ConvTrunk` and how many features it gives."""
    trunk = ConvTrunk(shape, width)
    return trunk, trunk.features


def _pyramid(size: int) -> tuple[int, int]:
    """How often a map is halved, and the side that is left: 4 to 7 for the sizes from 8 to 128."""
    levels = int(math.log2(size / 4))
    return levels, math.ceil(size / 2**levels)


# Chen et al. 2016, appendix C.1 (MNIST), for any size that halves twice.


def paper_generator(latent: int, shape: ImageShape, width: int) -> nn.Module:
    """FC 1024, FC 7x7x128, upconv 64, upconv out; batch norm and ReLU in between (with width 64)."""
    side = shape.size // 4
    return nn.Sequential(
        *_dense(latent, 16 * width, nn.ReLU()),
        *_dense(16 * width, 2 * width * side**2, nn.ReLU()),
        nn.Unflatten(1, (2 * width, side, side)),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, shape.channels, 4, stride=2, padding=1),
        nn.Tanh(),
    )


def paper_trunk(shape: ImageShape, width: int) -> tuple[nn.Module, int]:
    """Conv 64, conv 128 with batch norm, FC 1024 with batch norm; leaky ReLU 0.1 (with width 64)."""
    side = shape.size // 4
    layers = [
        nn.Conv2d(shape.channels, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        *_dense(2 * width * side**2, 16 * width, nn.LeakyReLU(0.1)),
    ]
    return nn.Sequential(*layers), 16 * width


def paper_head(features: int, outputs: int) -> nn.Module:
    """FC 128, batch norm, leaky ReLU 0.1, FC."""
    return nn.Sequential(*_dense(features, 128, nn.LeakyReLU(0.1)), nn.Linear(128, outputs))


# The networks of the blog post, which sees pixels in [0, 1].


class UnitPixels(nn.Module):
    """[-1, 1] to [0, 1]."""

    def forward(self, images: Images) -> Images:
        """(x + 1) / 2."""
        return (images + 1) / 2


class SignedPixels(nn.Module):
    """[0, 1] to [-1, 1]."""

    def forward(self, images: Images) -> Images:
        """2 x - 1."""
        return 2 * images - 1


def post_generator(latent: int, shape: ImageShape, width: int) -> nn.Module:
    """One hidden layer (256 units with width 128), sigmoid out."""
    return nn.Sequential(
        nn.Linear(latent, 2 * width),
        nn.ReLU(),
        nn.Linear(2 * width, shape.values),
        nn.Sigmoid(),
        nn.Unflatten(1, (shape.channels, shape.size, shape.size)),
        SignedPixels(),
    )


def post_trunk(shape: ImageShape, width: int) -> tuple[nn.Module, int]:
    """One hidden layer (128 units)."""
    return nn.Sequential(UnitPixels(), nn.Flatten(), nn.Linear(shape.values, width), nn.ReLU()), width


def _normed_conv(inputs: int, outputs: int) -> list[nn.Module]:
    # The norm's own shift makes a bias before it redundant.
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)]


def _dense(inputs: int, outputs: int, activation: nn.Module) -> list[nn.Module]:
    # The norm's own shift makes a bias before it redundant.
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), activation]


ARCHITECTURES = {
    "mlp": Architecture(mlp_generator, mlp_trunk, nn.Linear, 256, he_normal),
    "conv": Architecture(ConvGenerator, conv_trunk, nn.Linear, 32, he_normal),
    "paper": Architecture(paper_generator, paper_trunk, paper_head, 64, small_normal, size_multiple=4),
    "post": Architecture(post_generator, post_trunk, nn.Linear, 128, he_normal),
}
