"""The encoder: reads one categorical code from the direction of an image's features."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from infogan.models.architectures import AutocastModule, Features, FlattenNHWC, Images, ImageShape
from infogan.models.batchnorm import BatchNorm1d, BatchNorm2d, track_running_stats

FEATURES = 128  # of a trunk
MIN_SIDE, ENLARGED_SIDE, MAX_SIDE = 16, 28, 32  # pixels


class Encoder(AutocastModule):
    """Q(c|x) of one categorical code: images -> unit feature vectors -> cosines with class directions / TEMPERATURE.

    The features can be trained first, on real images alone, to ignore augmentations. Clusters of features then become
    the directions of the code's values, and both are trained further. Images smaller than ``MIN_SIDE`` are enlarged so
    that augmentations keep their detail. Images larger than ``MAX_SIDE`` are averaged down to it: classes are visible
    at that size, at a fraction of the cost.

    Args:
        shape: Shape of the images.
        width: Channels of the first convolution; they double with each halving of the map, up to eight times as many.
        classes: Number of values of the code.

    Attributes:
        kinds: (classes, MAX_KINDS), the share of images in each class and density mode when the classes were
            initialised. Columns of modes that do not exist are 0, as are all columns if no modes were found.
        prior: (classes,). During training of the classes, the target of the marginal; afterwards the frequency of each
            value in the training images, which is P(c) if the prior is learned.
    """

    FEATURES = FEATURES
    TEMPERATURE = 0.1
    MAX_KINDS = 64

    kinds: Tensor
    prior: Tensor

    def __init__(self, shape: ImageShape, width: int, classes: int) -> None:
        super().__init__()
        self.side = trunk_side(shape)
        self.trunk = build_trunk(shape, width)
        self.directions = nn.Parameter(torch.randn(classes, FEATURES))
        self.register_buffer("kinds", torch.zeros(classes, self.MAX_KINDS))
        self.register_buffer("prior", torch.full((classes,), 1 / classes))

    def resize(self, images: Images) -> Float[Tensor, "batch channel side side"]:
        """Return images at the even side length that the trunk takes; resizing twice changes nothing."""
        return resize(images, self.side)

    def features(self, images: Images) -> Features:
        """Return one unit feature vector per image, (batch, FEATURES)."""
        return functional.normalize(self.forward_autocast(self.trunk, self.resize(images)))

    def logits(self, features: Features) -> Float[Tensor, "batch category"]:
        """Return the logits of the code's values, given unit features."""
        return functional.linear(features, functional.normalize(self.directions)) / self.TEMPERATURE

    def forward(self, images: Images) -> Float[Tensor, "batch category"]:
        """Return the logits of the code's values."""
        return self.logits(self.features(images))

    def features_in_batches(self, images: Images, batch_size: int = 500) -> Features:
        """Return the features of any number of images, in evaluation mode and without gradients."""
        was_training = self.training
        self.eval()
        with torch.no_grad():
            features = torch.cat([self.features(batch) for batch in torch.split(images, batch_size)])
        self.train(was_training)
        return features

    @contextmanager
    def without_running_stats(self) -> Iterator[None]:
        """Make batch norm use batch statistics without updating its running statistics inside this context."""
        track_running_stats(self, False)
        try:
            yield
        finally:
            track_running_stats(self, True)


def trunk_side(shape: ImageShape) -> int:
    """Return the side at which a trunk takes images of a shape."""
    return min(shape.size, MAX_SIDE) if shape.size >= MIN_SIDE else ENLARGED_SIDE


def build_trunk(shape: ImageShape, width: int, pool: type[nn.MaxPool2d | nn.AvgPool2d] = nn.MaxPool2d) -> nn.Sequential:
    """Return a network from images, as `resize` returns them, to FEATURES features.

    Args:
        shape: Shape of the images before they are resized.
        width: Channels of the first convolution; they double with each halving of the map, up to eight times as many.
        pool: What halves the map: the maximum finds what is there, the mean also keeps where it is.
    """
    channels, side = width, math.ceil(trunk_side(shape) / 2)
    layers: list[nn.Module] = [nn.PixelUnshuffle(2), *_normed_conv(4 * shape.channels, width)]
    while side > 4:
        outputs = min(2 * channels, 8 * width)
        layers += [pool(2, ceil_mode=True), *_normed_conv(channels, outputs)]
        channels, side = outputs, math.ceil(side / 2)
    layers += [*_normed_conv(channels, channels), FlattenNHWC()]
    layers += [nn.Linear(channels * side**2, FEATURES, bias=False), BatchNorm1d(FEATURES)]
    return nn.Sequential(*layers)


def resize(images: Images, side: int) -> Float[Tensor, "batch channel even even"]:
    """Return images at a side, or one pixel more to make it even; resizing twice changes nothing."""
    if images.shape[-1] == side + side % 2:
        return images
    if images.shape[-1] > side:
        images = area_downsample(images, side)
    if images.shape[-1] < side:
        images = functional.interpolate(images, (side, side), mode="bilinear", align_corners=False)
    # The trunk's first layer folds two by two pixels into channels.
    return functional.pad(images, (0, side % 2, 0, side % 2), mode="replicate")


def _normed_conv(inputs: int, outputs: int) -> list[nn.Module]:
    """Return a convolution that keeps the map's size, batch norm and a leaky ReLU."""
    # Batch norm's shift makes a bias redundant.
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), BatchNorm2d(outputs), nn.LeakyReLU(0.1)]


def area_downsample(images: Images, side: int) -> Float[Tensor, "batch channel side side"]:
    """Return images averaged down to ``side`` pixels: each output pixel is the mean of the inputs that it overlaps."""
    if not (torch.are_deterministic_algorithms_enabled() or torch.compiler.is_compiling()):
        return functional.interpolate(images, (side, side), mode="area")
    # The same as a product of matrices: on a GPU the gradient of the call above sums in no fixed order, and exporters
    # support it only if one side divides the other.
    size = images.shape[-1]
    inputs = torch.arange(size, device=images.device)
    outputs = torch.arange(side, device=images.device).unsqueeze(1)
    overlap = (inputs >= outputs * size // side) & (inputs < -(-(outputs + 1) * size // side))
    weights = (overlap / overlap.sum(dim=1, keepdim=True)).to(images.dtype)
    downsampled: Images = weights @ images @ weights.T
    return downsampled
