"""The reader: measures properties of images, such as slant or brightness, as continuous codes."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from infogan.config.schema import ContinuousCode, Property
from infogan.data.properties import TRANSFORMS, transform
from infogan.models.architectures import AutocastModule, Images, ImageShape
from infogan.models.encoder import FEATURES, build_trunk, resize, trunk_side
from infogan.utils.random import BatchRandom

CONFUSABLE: tuple[Property, ...] = ("slant", "rotate")  # a straight stroke that is turned looks slanted


class Reader(AutocastModule):
    """Images -> the code of each property, nearly uniform on [-1, 1] over the training images.

    A network, trained by the loss ``equivariance``, measures the properties in units of their transforms. `calibrate`
    then sets a piecewise linear map of each output to the quantiles over the training images.

    Args:
        shape: Shape of the images.
        width: Channels of the first convolution.
        codes: The codes that follow a property, in the order of the outputs.

    Attributes:
        properties: Their properties.
        knots: (properties, KNOTS), where the slope of each map changes.
        bends: (properties, KNOTS), by how much.
        slopes: (properties,), of each map left of its knots.
        offsets: (properties,), the value of each map, extended from there, at 0.
    """

    KNOTS = 15
    TAIL = 0.02  # share of the images beyond the outer quantiles, on each side

    knots: Tensor
    bends: Tensor
    slopes: Tensor
    offsets: Tensor

    def __init__(self, shape: ImageShape, width: int, codes: Sequence[ContinuousCode]) -> None:
        super().__init__()
        self.properties = tuple(code.follows for code in codes if code.follows is not None)
        self._ranges = dict(zip(self.properties, (code.range for code in codes), strict=True))
        # What training changes: these properties, and others, which are to be ignored.
        others = [name for name in TRANSFORMS if name not in (*self.properties, *CONFUSABLE)]
        self._changed = [*self.properties, *(name for name in others if name != "hue" or shape.channels == 3)]
        self.side = trunk_side(shape)
        self.trunk = build_trunk(shape, width, nn.AvgPool2d)
        self.head = nn.Linear(FEATURES, len(codes))
        self.register_buffer("knots", torch.zeros(len(codes), self.KNOTS))
        self.register_buffer("bends", torch.zeros(len(codes), self.KNOTS))
        self.register_buffer("slopes", torch.ones(len(codes)))
        self.register_buffer("offsets", torch.zeros(len(codes)))

    def resize(self, images: Images) -> Float[Tensor, "batch channel side side"]:
        """Return images at the even side length that the trunk takes; resizing twice changes nothing."""
        return resize(images, self.side)

    def measure(self, images: Images) -> Float[Tensor, "batch property"]:
        """Return the properties, from an origin that training finds; 1 is the largest change in training."""
        measured: Tensor = self.head(self.forward_autocast(self.trunk, self.resize(images)))
        return measured

    def forward(self, images: Images) -> Float[Tensor, "batch property"]:
        """Return the code of each property."""
        measured = self.measure(images)
        bent = functional.relu(measured.unsqueeze(2) - self.knots) * self.bends
        return self.offsets + self.slopes * measured + bent.sum(dim=2)

    def posterior(self, images: Images) -> Float[Tensor, "batch parameter"]:
        """Return mean and raw deviation of each code's Q, side by side; the deviation is fixed, so it is 0."""
        mean = self(images)
        return torch.stack([mean, torch.zeros_like(mean)], dim=2).flatten(1)

    def random_change(self, count: int, random: BatchRandom) -> Float[Tensor, "batch change"]:
        """Draw changes of images, uniform on [-1, 1]: first of the properties, then of what is to be ignored."""
        return 2 * random.uniform(count, len(self._changed)) - 1

    def amounts(self, change: Float[Tensor, "batch change"]) -> Mapping[Property, Float[Tensor, " batch"]]:
        """Return the amounts, for `data.properties.transform`, of what `random_change` drew."""
        scales = [max(TRANSFORMS[name].usual, self._ranges.get(name, 0.0)) for name in self._changed]
        return {name: scale * column for name, scale, column in zip(self._changed, scales, change.T, strict=True)}

    def vary(self, images: Images, random: BatchRandom) -> Images:
        """Change images at random by the ranges of the codes."""
        ranges = {name: limit for name, limit in self._ranges.items() if limit}
        if not ranges:
            return images
        draws = 2 * random.uniform(len(images), len(ranges)) - 1
        return transform(
            images, {name: limit * draw for (name, limit), draw in zip(ranges.items(), draws.T, strict=True)}
        )

    def calibrate(self, measured: Float[Tensor, "image property"]) -> None:
        """Set the maps such that the codes of measured images are about uniform on [-1, 1]."""
        ranks = torch.linspace(self.TAIL, 1 - self.TAIL, self.KNOTS + 2, dtype=torch.float64)
        quantiles = torch.quantile(measured.cpu().double(), ranks, dim=0).T
        # A property that hardly varies gets a finite slope.
        steps = quantiles.diff(dim=1).clamp_min(1e-3)
        points = torch.cat([quantiles[:, :1], quantiles[:, :1] + steps.cumsum(dim=1)], dim=1)
        codes = torch.linspace(-1, 1, self.KNOTS + 2, dtype=torch.float64)
        slopes = codes.diff() / steps
        self.knots.copy_(points[:, 1:-1])
        self.bends.copy_(slopes.diff(dim=1))
        self.slopes.copy_(slopes[:, 0])
        self.offsets.copy_(-1 - slopes[:, 0] * points[:, 0])
