"""Architectures of generators, trunks and recognizer heads, for square images of 8 to 256 pixels in [-1, 1].

A generator maps latents to images, a trunk images to features, a recognizer head features to a posterior.
`infogan.models.networks` combines them.
"""

import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from infogan.models.batchnorm import BatchNorm1d, BatchNorm2d

Images = Float[Tensor, "batch channel height width"]
Maps = Float[Tensor, "batch filter row column"]  # feature maps
Features = Float[Tensor, "batch feature"]


class ImageShape(NamedTuple):
    """Shape of square images.

    Attributes:
        channels: 1 for grey, 3 for RGB, others for other bands.
        size: Height and width in pixels.
    """

    channels: int
    size: int

    @property
    def values(self) -> int:
        """Number of values of an image."""
        return self.channels * self.size**2


class Architecture(NamedTuple):
    """Functions that build the networks of one architecture.

    Attributes:
        generator: (latent size, image shape, width) -> module from latents to images in [-1, 1].
        trunk: (image shape, width) -> (module from images to features, number of features).
        recognizer_head: (features, outputs) -> module from features to a posterior.
        width: Default width.
        deviation: Standard deviation of the initial weights, see `initialise`.
        size_multiple: The image size must be a multiple of this.
    """

    generator: Callable[[int, ImageShape, int], nn.Module]
    trunk: Callable[[ImageShape, int], tuple[nn.Module, int]]
    recognizer_head: Callable[[int, int], nn.Module]
    width: int
    deviation: float | None = None
    size_multiple: int = 1


class AutocastModule(nn.Module):
    """A network with parts that can compute in bfloat16.

    Attributes:
        autocast_bfloat16: Whether they do.
    """

    autocast_bfloat16: bool = False

    def forward_autocast(self, part: nn.Module, inputs: Tensor) -> Tensor:
        """Return the output of a part in float32; in bfloat16, it computes only what loses little precision."""
        if inputs.ndim == 4:  # also with one channel: the memory format of later layers depends on it
            inputs = inputs.to(memory_format=torch.channels_last)
        with torch.autocast(inputs.device.type, torch.bfloat16) if self.autocast_bfloat16 else nullcontext():
            output: Tensor = part(inputs)
        return output.float() if self.autocast_bfloat16 else output


def initialise(module: nn.Module, deviation: float | None) -> None:
    """Initialise the weights of a layer with N(0, deviation²) and its biases with zeros.

    Args:
        module: The layer; one without weights stays as it is.
        deviation: None = √(2 / fan-in), as in He et al. 2015, equation 10; not for transposed convolutions.
    """
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        fan_in = math.prod(module.weight.shape[1:])
        nn.init.normal_(module.weight, std=deviation or math.sqrt(2 / fan_in))
        if isinstance(module, SubPixelConv):
            with torch.no_grad():
                module.weight.copy_(module.weight[::4].repeat_interleave(4, dim=0))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# Between maps and flat features. Convolutions are fastest in the channels-last memory format; flat features have the
# same order, so that no data is moved.


class FlattenNHWC(nn.Module):
    """Feature maps to flat features, with the channels of a position next to each other."""

    def forward(self, maps: Maps) -> Features:
        """Return (batch, row · column · filter)."""
        return maps.permute(0, 2, 3, 1).flatten(1)


class UnflattenNHWC(nn.Module):
    """Flat features in the order of `FlattenNHWC` to square feature maps."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.shape = (side, side, channels)

    def forward(self, features: Features) -> Maps:
        """Return (batch, filter, side, side)."""
        return features.reshape(-1, *self.shape).permute(0, 3, 1, 2)


# Multilayer perceptrons.


def mlp_generator(latent: int, shape: ImageShape, width: int) -> nn.Module:
    """Return an MLP with two hidden layers and batch norm."""
    return nn.Sequential(
        *_dense(latent, 2 * width, nn.ReLU()),
        *_dense(2 * width, 2 * width, nn.ReLU()),
        nn.Linear(2 * width, shape.values),
        nn.Tanh(),
        nn.Unflatten(1, (shape.channels, shape.size, shape.size)),
    )


def mlp_trunk(shape: ImageShape, width: int) -> tuple[nn.Module, int]:
    """Return an MLP with two hidden layers and no normalisation."""
    layers = [nn.Linear(shape.values, 2 * width), nn.LeakyReLU(0.2), nn.Linear(2 * width, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(nn.Flatten(), *layers), width


# Convolutions. A convolution from or to one channel uses a fraction of a processor's arithmetic units, so two by two
# pixels are folded into channels at the image end of every network (space-to-depth). Maps are halved by pooling, not by
# strided convolutions: their gradients were several times slower in bfloat16 when that was measured, which was before
# `infogan.utils.memory` kept freed memory.


def replicate_pad(images: Images, before: int, after: int) -> Maps:
    """Repeat the first row and column ``before`` times and the last row and column ``after`` times."""
    if not torch.compiler.is_dynamo_compiling():
        return functional.pad(images, (before, after, before, after), mode="replicate")
    # torch.compile expects other strides of the gradient of that operation than it has.
    for axis in (2, 3):
        first, last = images.narrow(axis, 0, 1), images.narrow(axis, -1, 1)
        images = torch.cat([*[first] * before, images, *[last] * after], dim=axis)
    return images


class ReplicatePadConv2d(nn.Conv2d):
    """A 3x3 convolution that keeps the map's size and replicates its edge; zero padding would draw a frame."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, bias=bias)

    def forward(self, input: Images) -> Maps:
        """Return maps of the same height and width."""
        return functional.conv2d(replicate_pad(input, 1, 1), self.weight, self.bias)


class SubPixelConv(ReplicatePadConv2d):
    """A convolution whose outputs, four per channel, are the sub-pixels of `nn.PixelShuffle`."""


class ConvGenerator(nn.Module):
    """Latents -> small map -> doublings by convolution and interpolation -> four sub-pixels per position -> image.

    Transposed convolutions instead of the doublings leave checkerboard artefacts that small networks never unlearn
    (Odena et al. 2016). The four sub-pixels start equal for the same reason (Aitken et al. 2017).
    """

    def __init__(self, latent: int, shape: ImageShape, width: int) -> None:
        super().__init__()
        levels, base = _pyramid(shape.size)
        channels = [width * min(2 ** (levels - 1 - level), 8) for level in range(levels)]
        self.size = shape.size
        dense = _dense(latent, channels[0] * base**2, nn.ReLU())
        self.project = nn.Sequential(*dense, UnflattenNHWC(channels[0], base))
        doublings: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(channels):
            doublings += [ReplicatePadConv2d(inputs, outputs, bias=False), BatchNorm2d(outputs)]
            doublings += [nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReLU()]
        self.grow = nn.Sequential(*doublings)
        self.draw = nn.Sequential(SubPixelConv(channels[-1], 4 * shape.channels), nn.PixelShuffle(2), nn.Tanh())

    def forward(self, latents: Float[Tensor, "batch latent"]) -> Images:
        """Return images; a larger map is cropped to its upper left corner."""
        images: Tensor = self.draw(self.grow(self.project(latents)))
        return images[:, :, : self.size, : self.size]


class ConvTrunk(nn.Module):
    """Image -> four sub-pixels per position -> halvings by pooling -> one dense layer -> flat features.

    Without the dense layer, a linear head would only sum evidence over positions; it could not judge whether strokes
    fit together.
    """

    def __init__(self, shape: ImageShape, width: int) -> None:
        super().__init__()
        levels, base = _pyramid(shape.size)
        self.padding = base * 2**levels - shape.size
        channels = [width * min(2**level, 8) for level in range(levels)]
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        for inputs, outputs in itertools.pairwise([4 * shape.channels, *channels]):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.2), nn.AvgPool2d(2)]
        dense = nn.Linear(channels[-1] * base**2, 4 * width)
        self.layers = nn.Sequential(*layers[:-1], FlattenNHWC(), dense, nn.LeakyReLU(0.2))

    def forward(self, images: Images) -> Features:
        """Return features; the last row and column of the images are repeated up to the map's size."""
        if self.padding:
            images = replicate_pad(images, 0, self.padding)
        features: Tensor = self.layers(images)
        return features


def conv_trunk(shape: ImageShape, width: int) -> tuple[nn.Module, int]:
    """Return a `ConvTrunk` and its number of features."""
    return ConvTrunk(shape, width), 4 * width


def _pyramid(size: int) -> tuple[int, int]:
    """Return how often a map is halved, and the remaining side: 4 to 7 for image sizes from 8 to 256."""
    levels = int(math.log2(size / 4))
    return levels, math.ceil(size / 2**levels)


# Chen et al. 2016, appendix C.1 (MNIST), for any size that is a multiple of 4.


def paper_generator(latent: int, shape: ImageShape, width: int) -> nn.Module:
    """Return FC 1024, FC 7x7x128, upconv 64, upconv; batch norm and ReLU in between (sizes for width 64)."""
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
    """Return conv 64, conv 128 and FC 1024, the last two with batch norm; leaky ReLU 0.1 (sizes for width 64)."""
    side = shape.size // 4
    layers: list[nn.Module] = [nn.Conv2d(shape.channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.1)]
    layers += [nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False), BatchNorm2d(2 * width)]
    layers += [nn.LeakyReLU(0.1), FlattenNHWC(), *_dense(2 * width * side**2, 16 * width, nn.LeakyReLU(0.1))]
    return nn.Sequential(*layers), 16 * width


def paper_head(features: int, outputs: int) -> nn.Module:
    """Return FC 128, batch norm, leaky ReLU 0.1, FC."""
    return nn.Sequential(*_dense(features, 128, nn.LeakyReLU(0.1)), nn.Linear(128, outputs))


# The networks of the blog post, which uses pixels in [0, 1].


class UnitPixels(nn.Module):
    """Pixels in [-1, 1] to [0, 1]."""

    def forward(self, images: Images) -> Images:
        """Return (x + 1) / 2."""
        return (images + 1) / 2


class SignedPixels(nn.Module):
    """Pixels in [0, 1] to [-1, 1]."""

    def forward(self, images: Images) -> Images:
        """Return 2 x - 1."""
        return 2 * images - 1


def post_generator(latent: int, shape: ImageShape, width: int) -> nn.Module:
    """Return an MLP with one hidden layer (256 units for width 128) and sigmoid output."""
    return nn.Sequential(
        nn.Linear(latent, 2 * width),
        nn.ReLU(),
        nn.Linear(2 * width, shape.values),
        nn.Sigmoid(),
        nn.Unflatten(1, (shape.channels, shape.size, shape.size)),
        SignedPixels(),
    )


def post_trunk(shape: ImageShape, width: int) -> tuple[nn.Module, int]:
    """Return an MLP with one hidden layer (128 units for width 128)."""
    return nn.Sequential(UnitPixels(), nn.Flatten(), nn.Linear(shape.values, width), nn.ReLU()), width


def _dense(inputs: int, outputs: int, activation: nn.Module) -> list[nn.Module]:
    # Batch norm's shift makes a bias redundant.
    return [nn.Linear(inputs, outputs, bias=False), BatchNorm1d(outputs), activation]


ARCHITECTURES = {
    "mlp": Architecture(mlp_generator, mlp_trunk, nn.Linear, 256),
    "conv": Architecture(ConvGenerator, conv_trunk, nn.Linear, 32),
    # Radford et al. 2016 and the code of Chen et al. initialise with 0.02.
    "paper": Architecture(paper_generator, paper_trunk, paper_head, 64, deviation=0.02, size_multiple=4),
    "post": Architecture(post_generator, post_trunk, nn.Linear, 128),
}
