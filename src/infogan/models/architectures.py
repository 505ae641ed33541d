"""How generators, trunks and recognizers' heads are built, for square images of 8 to 128 pixels in [-1, 1].

An *architecture* is the three of them: a generator makes images of latents, a trunk features of images, a head a
posterior of features. `infogan.models.networks` makes the players of them.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from infogan.models.batchnorm import BatchNorm1d, BatchNorm2d

Images = Float[Tensor, "batch channel height width"]
Maps = Float[Tensor, "batch filter row column"]  # made of images or of other maps; of a size of their own
Features = Float[Tensor, "batch feature"]


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


def forward_autocast(module: nn.Module, inputs: Tensor, *, bfloat16: bool) -> Tensor:
    """Return the module's output in float32; with ``bfloat16``, compute in bfloat16 where that loses little."""
    if inputs.ndim == 4:  # also with one channel: the memory format of later layers depends on it
        inputs = inputs.to(memory_format=torch.channels_last)
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=bfloat16):
        output: Tensor = module(inputs)
    return output.float() if bfloat16 else output


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


# Between maps and flat features. Convolutions are fastest where the channels of a position lie side by side; flat
# features keep that order, so that neither way anything is moved.


class FlattenNHWC(nn.Module):
    """Maps to flat features: position by position, the channels of each."""

    def forward(self, maps: Maps) -> Features:
        """(batch, row · column · filter)."""
        return maps.permute(0, 2, 3, 1).flatten(1)


class UnflattenNHWC(nn.Module):
    """Flat features in that order to square maps."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.channels, self.side = channels, side

    def forward(self, features: Features) -> Maps:
        """(batch, filter, side, side)."""
        return features.reshape(-1, self.side, self.side, self.channels).permute(0, 3, 1, 2)


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
# by pooling before a convolution of stride 1, not by strides, whose gradients were several times slower in bfloat16 as
# long as freed memory was given back (`infogan.utils.memory`); it has not been measured again since.


def with_edges(images: Images, before: int, after: int) -> Maps:
    """Images whose first row and column are repeated ``before`` times more, and the last ones ``after`` times."""
    if not torch.compiler.is_dynamo_compiling():
        return functional.pad(images, (before, after, before, after), mode="replicate")
    # Of the gradient of that operation torch's compiler expects other strides than it has.
    for axis in (2, 3):
        first, last = images.narrow(axis, 0, 1), images.narrow(axis, -1, 1)
        images = torch.cat([*[first] * before, images, *[last] * after], dim=axis)
    return images


class ReplicatePadConv2d(nn.Conv2d):
    """A 3x3 convolution that keeps the map's size and sees its edge repeated; zeros there would frame every image."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__(inputs, outputs, 3, bias=bias)

    def forward(self, input: Images) -> Maps:
        """Of the same height and width."""
        return functional.conv2d(with_edges(input, 1, 1), self.weight, self.bias)


class SubPixelConv(ReplicatePadConv2d):
    """One whose outputs, four for each channel, are sub-pixels for `nn.PixelShuffle`."""


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
            BatchNorm1d(channels[0] * base**2),
            nn.ReLU(),
            UnflattenNHWC(channels[0], base),
        )
        doublings: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(channels):
            doublings += [
                ReplicatePadConv2d(wide, narrow, bias=False),
                BatchNorm2d(narrow),
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.ReLU(),
            ]
        self.grow = nn.Sequential(*doublings)
        self.draw = nn.Sequential(
            SubPixelConv(channels[-1], 4 * shape.channels, bias=True),
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
            *layers, FlattenNHWC(), nn.Linear(channels[-1] * base**2, self.features), nn.LeakyReLU(0.2)
        )

    def forward(self, images: Images) -> Features:
        """Features of images, of which the last row and column are repeated up to the map's size."""
        if self.padding:
            images = with_edges(images, 0, self.padding)
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
        UnflattenNHWC(2 * width, side),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
        BatchNorm2d(width),
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
        BatchNorm2d(2 * width),
        nn.LeakyReLU(0.1),
        FlattenNHWC(),
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


def normed_conv(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution that keeps the map's size, batch norm and a leaky ReLU."""
    # The norm's own shift makes a bias before it redundant.
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), BatchNorm2d(outputs), nn.LeakyReLU(0.1)]


def _dense(inputs: int, outputs: int, activation: nn.Module) -> list[nn.Module]:
    # The norm's own shift makes a bias before it redundant.
    return [nn.Linear(inputs, outputs, bias=False), BatchNorm1d(outputs), activation]


ARCHITECTURES = {
    "mlp": Architecture(mlp_generator, mlp_trunk, nn.Linear, 256, he_normal),
    "conv": Architecture(ConvGenerator, conv_trunk, nn.Linear, 32, he_normal),
    "paper": Architecture(paper_generator, paper_trunk, paper_head, 64, small_normal, size_multiple=4),
    "post": Architecture(post_generator, post_trunk, nn.Linear, 128, he_normal),
}
