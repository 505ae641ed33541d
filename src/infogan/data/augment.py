"""Random image transforms in batches: what a user declares not to matter.

An *invariance* is a transform with a strength, such as ``rotate=15``: rotating an image by up to 15 degrees changes
nothing about what is in it. `augment` draws every named transform anew for each image. Geometric ones are composed to
one sampling grid, so that an image is interpolated once whatever their number; all are differentiable in the images.
"""

import functools
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from infogan.utils.random import BatchRandom

Images = Float[Tensor, "batch channel height width"]
ELASTIC_GRID = 4  # displacements are drawn on a grid of so many points a side, and smooth in between


def augment(images: Images, strengths: Mapping[str, float], source: BatchRandom | torch.Generator) -> Images:
    """Transforms each image by chance.

    Args:
        images: In [-1, 1]. What comes in from outside an image is its nearest border pixel.
        strengths: Name -> strength, as in `config.InvarianceSettings`.
        source: Of the random numbers; on the images' device.

    Returns:
        Images in [-1, 1], of the same shape.
    """
    draw = _Draw(len(images), BatchRandom.of(source))
    matrix = _affine(strengths, draw)
    if matrix is not None or "elastic" in strengths:
        if matrix is None:
            matrix = torch.eye(2, 3, device=draw.device).expand(len(images), 2, 3)
        grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
        if "elastic" in strengths:
            # The side is 2 wide in grid units.
            coarse = draw.normal(2, ELASTIC_GRID, ELASTIC_GRID) * (2 * strengths["elastic"])
            down, along = (_bicubic(side, draw.device) for side in images.shape[2:])
            grid = grid + torch.einsum("hi,nkij,wj->nhwk", down, coarse, along)
        images = bilinear_sample(images, grid.to(images.dtype))
    if "colour" in strengths:
        images = _colour(images, strengths["colour"], draw)
    return images


def bilinear_sample(images: Images, grid: Float[Tensor, "batch height width 2"]) -> Images:
    """Images at the points of a grid, bilinear; what is outside an image is its nearest border pixel.

    Args:
        images: What is looked at.
        grid: Of each pixel of the result, (x, y) of each point, from -1 to 1 between the outer edges of an image.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    # The same by four pixels a point: the gradient of what is above has no fixed order of its sums on a GPU.
    sides = torch.tensor([images.shape[3], images.shape[2]], device=images.device)
    places = torch.minimum((((grid + 1) * sides - 1) / 2).clamp_min(0), sides - 1)
    low = places.detach().floor()
    (right, below), flat = (places - low).unbind(3), images.flatten(2)
    total = torch.zeros_like(images)
    for down, rows in ((0, 1 - below), (1, below)):
        for along, columns in ((0, 1 - right), (1, right)):
            x, y = torch.minimum(low.long() + torch.tensor([along, down], device=low.device), sides - 1).unbind(3)
            corner = (y * sides[0] + x).flatten(1).unsqueeze(1).expand(-1, flat.shape[1], -1)
            total = total + flat.gather(2, corner).view_as(images) * (rows * columns).unsqueeze(1)
    return total


def random_shift(images: Images, max_pixels: int, source: BatchRandom | torch.Generator) -> Images:
    """Moves each image by a whole number of pixels, at most so many, along each axis.

    Nothing is interpolated: no detail is lost. What comes in from outside an image is its nearest border pixel.
    """
    height, width = images.shape[2:]
    chances = BatchRandom.of(source)

    def selection(side: int) -> Float[Tensor, "batch side side"]:
        by = chances.integers(-max_pixels, max_pixels + 1, len(images), 1)
        places = (torch.arange(side, device=images.device) + by).clamp(0, side - 1)
        return functional.one_hot(places, side).to(images.dtype)

    # As products with matrices of zeros and ones, which any device does without waiting for the numbers.
    moved: Images = selection(height).unsqueeze(1) @ images @ selection(width).unsqueeze(1).transpose(2, 3)
    return moved


@functools.cache
def _bicubic(side: int, device: torch.device) -> Float[Tensor, "side coarse"]:
    """Bicubic interpolation from the coarse grid to a side, along one axis, as a matrix: products are fast."""
    unit = torch.eye(ELASTIC_GRID, device=device).view(1, ELASTIC_GRID, ELASTIC_GRID, 1)
    return functional.interpolate(unit, (side, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T.contiguous()


class _Draw:
    """Random numbers, one row an image."""

    def __init__(self, count: int, chances: BatchRandom) -> None:
        self.count, self.chances, self.device = count, chances, chances.device

    def uniform(self, low: float, high: float) -> Float[Tensor, " batch"]:
        return low + (high - low) * self.chances.uniform(self.count)

    def normal(self, *shape: int) -> Tensor:
        return self.chances.normal(self.count, *shape)


def _affine(invariances: Mapping[str, float], draw: _Draw) -> Float[Tensor, "batch 2 3"] | None:
    """For each image the map from a place in the result to the place in the original; None = the identity."""
    if not invariances.keys() & {"shift", "rotate", "scale", "shear", "flip", "crop"}:
        return None
    zero, one = torch.zeros(draw.count, device=draw.device), torch.ones(draw.count, device=draw.device)
    linear = torch.eye(2, device=draw.device).expand(draw.count, 2, 2)
    offset_x, offset_y = zero, zero
    if "rotate" in invariances:
        degrees = invariances["rotate"]
        angle = draw.uniform(-degrees, degrees) * (math.pi / 180)
        cosine, sine = angle.cos(), angle.sin()
        linear = linear @ _matrix(cosine, -sine, sine, cosine)
    if "shear" in invariances:
        degrees = invariances["shear"]
        linear = linear @ _matrix(one, (draw.uniform(-degrees, degrees) * (math.pi / 180)).tan(), zero, one)
    if "scale" in invariances:
        most = math.log(1 + invariances["scale"])
        factor = draw.uniform(-most, most).exp()
        linear = linear @ _matrix(factor, zero, zero, factor)
    if "crop" in invariances:
        side = draw.uniform(1 - invariances["crop"], 1).sqrt()
        linear = linear @ _matrix(side, zero, zero, side)
        room = 1 - side  # a crop lies inside the image
        offset_x, offset_y = room * draw.uniform(-1, 1), room * draw.uniform(-1, 1)
    if "flip" in invariances:
        mirrored = torch.where(draw.uniform(0, 1) < invariances["flip"], -one, one)
        linear = linear @ _matrix(mirrored, zero, zero, one)
    if "shift" in invariances:
        most = 2 * invariances["shift"]  # the side is 2 wide in grid units
        offset_x, offset_y = offset_x + draw.uniform(-most, most), offset_y + draw.uniform(-most, most)
    return torch.cat([linear, torch.stack([offset_x, offset_y], dim=1).unsqueeze(2)], dim=2)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Float[Tensor, "batch 2 2"]:
    return torch.stack([torch.stack([a, b], dim=1), torch.stack([c, d], dim=1)], dim=1)


def _colour(images: Images, strength: float, draw: _Draw) -> Images:
    """Brightness, contrast and saturation, as factors on the pixels in [0, 1]."""
    pixels = (images + 1) / 2

    def factor() -> Tensor:
        return draw.uniform(1 - strength, 1 + strength).view(-1, 1, 1, 1).to(images.dtype)

    pixels = pixels * factor()
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = mean + (pixels - mean) * factor()
    if images.shape[1] == 3:
        grey = pixels.mean(dim=1, keepdim=True)
        pixels = grey + (pixels - grey) * factor()
    return (2 * pixels - 1).clamp(-1, 1)
