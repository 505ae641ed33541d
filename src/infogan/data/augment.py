"""Random augmentations of batches of images: changes that the user declares irrelevant.

An augmentation has a strength, such as ``rotate=15``: a rotation by up to 15 degrees does not change what an image
shows. `augment` draws each of them independently for each image. Geometric ones are composed to a single sampling grid,
so that an image is interpolated only once. All are differentiable with respect to the images.
"""

import functools
import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from infogan.utils.random import BatchRandom

Images = Float[Tensor, "batch channel height width"]
Draw = Callable[[float, float], Float[Tensor, " batch"]]
"""Draws one uniform random number per image from a range."""
COLOURING = {"colour", "hue", "grey"}  # the augmentations that leave every pixel where it is
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
ELASTIC_GRID = 4  # displacements are drawn on a coarse grid with this many points per side, and interpolated


def augment(images: Images, strengths: Mapping[str, float], source: BatchRandom | torch.Generator) -> Images:
    """Return a random augmented view of each image.

    Args:
        images: Images in [-1, 1]. Pixels from outside an image take the value of its nearest border pixel.
        strengths: Name -> strength, see `config.schema.AugmentSettings`.
        source: The source of random numbers, on the device of the images.

    Returns:
        Images in [-1, 1], of the same shape.

    Example:
        >>> views = augment(images, {"shift": 0.1, "rotate": 15.0}, torch.Generator().manual_seed(0))
    """
    random = BatchRandom.of(source)

    def draw(low: float, high: float) -> Float[Tensor, " batch"]:
        return low + (high - low) * random.uniform(len(images))

    if strengths.keys() - COLOURING:
        matrix = _affine_matrix(strengths, len(images), random.device, draw)
        grid = affine_grid(matrix, list(images.shape))
        if "elastic" in strengths:
            # A side is 2 wide in grid units.
            coarse = random.normal(len(images), 2, ELASTIC_GRID, ELASTIC_GRID) * (2 * strengths["elastic"])
            rows, columns = (_bicubic_matrix(side, random.device) for side in images.shape[2:])
            grid = grid + torch.einsum("hi,nkij,wj->nhwk", rows, coarse, columns)
        images = bilinear_sample(images, grid.to(images.dtype))
    if "colour" in strengths:
        images = _jitter_colour(images, strengths["colour"], draw)
    if "hue" in strengths and images.shape[1] == 3:
        images = turn_hue(images, draw(-strengths["hue"], strengths["hue"]))
    if "grey" in strengths and images.shape[1] == 3:
        is_grey = (draw(0, 1) < strengths["grey"]).view(-1, 1, 1, 1)
        images = torch.where(is_grey, _luminance(images), images)
    return images


def affine_grid(matrix: Float[Tensor, "batch 2 3"], shape: list[int]) -> Float[Tensor, "batch height width 2"]:
    """Return for each pixel of images of a shape the point that a matrix maps it to, for `bilinear_sample`."""
    return functional.affine_grid(matrix, shape, align_corners=False)


def bilinear_sample(images: Images, grid: Float[Tensor, "batch height width 2"]) -> Images:
    """Interpolate images bilinearly at the points of a grid, with the border repeated outside.

    Unlike `torch.nn.functional.grid_sample`, which it calls otherwise, it has a deterministic gradient if deterministic
    algorithms are enabled.

    Args:
        images: The images to sample.
        grid: The point (x, y) of each pixel of the result; an image extends from -1 to 1 between its outer edges.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    sides = torch.tensor([images.shape[3], images.shape[2]], device=images.device)
    points = torch.minimum((((grid + 1) * sides - 1) / 2).clamp_min(0), sides - 1)
    corners = points.detach().floor()
    (x_share, y_share), pixels = (points - corners).unbind(3), images.flatten(2)
    total = torch.zeros_like(images)
    for dy, y_weights in ((0, 1 - y_share), (1, y_share)):
        for dx, x_weights in ((0, 1 - x_share), (1, x_share)):
            x, y = torch.minimum(corners.long() + torch.tensor([dx, dy], device=images.device), sides - 1).unbind(3)
            index = (y * sides[0] + x).flatten(1).unsqueeze(1).expand(-1, pixels.shape[1], -1)
            total = total + pixels.gather(2, index).view_as(images) * (y_weights * x_weights).unsqueeze(1)
    return total


def random_shift(images: Images, max_pixels: int, source: BatchRandom | torch.Generator) -> Images:
    """Shift each image by a random whole number of pixels along each axis.

    Nothing is interpolated, so no detail is lost. Pixels from outside take the value of the nearest border pixel.

    Args:
        images: The images to shift.
        max_pixels: The largest shift in each direction.
        source: The source of random numbers, on the device of the images.
    """
    height, width = images.shape[2:]
    random = BatchRandom.of(source)

    def shift_matrix(side: int) -> Float[Tensor, "batch side side"]:
        offset = random.integers(-max_pixels, max_pixels + 1, len(images), 1)
        origin = (torch.arange(side, device=images.device) + offset).clamp(0, side - 1)
        return functional.one_hot(origin, side).to(images.dtype)

    # Products with matrices of zeros and ones need no synchronisation with the device, unlike indexing.
    shifted: Images = shift_matrix(height).unsqueeze(1) @ images @ shift_matrix(width).unsqueeze(1).transpose(2, 3)
    return shifted


@functools.cache
def _bicubic_matrix(side: int, device: torch.device) -> Float[Tensor, "side coarse"]:
    """Return bicubic interpolation from the coarse grid to a side, along one axis, as a matrix, which is fast."""
    unit = torch.eye(ELASTIC_GRID, device=device).view(1, ELASTIC_GRID, ELASTIC_GRID, 1)
    return functional.interpolate(unit, (side, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T.contiguous()


def _affine_matrix(
    strengths: Mapping[str, float], count: int, device: torch.device, draw: Draw
) -> Float[Tensor, "batch 2 3"]:
    """Return the map from points of each result to points of its original, for ``count`` images."""
    zero, one = torch.zeros(count, device=device), torch.ones(count, device=device)
    linear = _matrix(one, zero, zero, one)
    offset_x, offset_y = zero, zero
    if "rotate" in strengths:
        degrees = strengths["rotate"]
        linear = linear @ rotation(draw(-degrees, degrees))
    if "shear" in strengths:
        degrees = strengths["shear"]
        linear = linear @ shear(draw(-degrees, degrees))
    if "scale" in strengths:
        log_limit = math.log(1 + strengths["scale"])
        linear = linear @ zoom(draw(-log_limit, log_limit).exp())
    if "crop" in strengths:
        side = draw(1 - strengths["crop"], 1).sqrt()
        linear = linear @ zoom(side)
        margin = 1 - side  # the crop lies inside the image
        offset_x, offset_y = margin * draw(-1, 1), margin * draw(-1, 1)
    if "flip" in strengths:
        sign = torch.where(draw(0, 1) < strengths["flip"], -one, one)
        linear = linear @ _matrix(sign, zero, zero, one)
    if "shift" in strengths:
        limit = 2 * strengths["shift"]  # a side is 2 wide in grid units
        offset_x, offset_y = offset_x + draw(-limit, limit), offset_y + draw(-limit, limit)
    return torch.cat([linear, torch.stack([offset_x, offset_y], dim=1).unsqueeze(2)], dim=2)


def rotation(degrees: Float[Tensor, " batch"]) -> Float[Tensor, "batch 2 2"]:
    """Return rotations of points (x, y), clockwise as seen, since y points down."""
    angle = degrees * (math.pi / 180)
    cosine, sine = angle.cos(), angle.sin()
    return _matrix(cosine, -sine, sine, cosine)


def shear(degrees: Float[Tensor, " batch"]) -> Float[Tensor, "batch 2 2"]:
    """Return shears of points (x, y) along x."""
    zero, one = torch.zeros_like(degrees), torch.ones_like(degrees)
    return _matrix(one, (degrees * (math.pi / 180)).tan(), zero, one)


def zoom(factor: Float[Tensor, " batch"]) -> Float[Tensor, "batch 2 2"]:
    """Return scalings of points (x, y)."""
    zero = torch.zeros_like(factor)
    return _matrix(factor, zero, zero, factor)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Float[Tensor, "batch 2 2"]:
    return torch.stack([torch.stack([a, b], dim=1), torch.stack([c, d], dim=1)], dim=1)


def _jitter_colour(images: Images, strength: float, draw: Draw) -> Images:
    """Scale brightness, contrast and saturation by random factors; pixels are taken as values in [0, 1]."""
    pixels = (images + 1) / 2

    def factor() -> Tensor:
        return draw(1 - strength, 1 + strength).view(-1, 1, 1, 1).to(images.dtype)

    pixels = pixels * factor()
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = mean + (pixels - mean) * factor()
    if images.shape[1] == 3:
        grey = pixels.mean(dim=1, keepdim=True)
        pixels = grey + (pixels - grey) * factor()
    return (2 * pixels - 1).clamp(-1, 1)


def _luminance(images: Images) -> Float[Tensor, "batch 1 height width"]:
    """Return the luminance of images in colour, in [-1, 1]."""
    weights = torch.tensor(LUMINANCE, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def turn_hue(images: Images, turns: Float[Tensor, " batch"]) -> Images:
    """Turn the hue of images in colour, as a rotation about the grey axis that keeps each pixel's luminance.

    Args:
        images: The images.
        turns: By how much of a full turn, for each image.
    """
    angle = (2 * math.pi * turns).view(-1, 1, 1, 1).to(images.dtype)
    luminance = _luminance(images)
    red, green, blue = (images - luminance).unbind(1)
    # Rodrigues' rotation about (1, 1, 1) / √3 of the difference to grey; the axis product is linear in the colours.
    difference = torch.stack([red, green, blue], dim=1)
    crossed = torch.stack([blue - green, red - blue, green - red], dim=1) / math.sqrt(3)
    along = difference.mean(dim=1, keepdim=True)
    turned = along + (difference - along) * angle.cos() + crossed * angle.sin()
    return (luminance + turned - _luminance(turned)).clamp(-1, 1)
