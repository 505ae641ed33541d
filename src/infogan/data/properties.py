"""Properties of images that a declared knob follows: slant, thickness, size, position, angle, brightness and hue.

`transform` changes them by given amounts. The units are additive: a change by a and then by b is a change by a + b,
apart from interpolation, clipping and the order of different changes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from infogan.config.schema import Property
from infogan.data.augment import Images, affine_grid, bilinear_sample, rotation, shear, turn_hue, zoom


@dataclass(frozen=True)
class Transform:
    """How a property of images is changed.

    Attributes:
        usual: The amount by which training changes it, at most, both ways.
        most: The largest amount that can be asked for.
    """

    usual: float
    most: float


TRANSFORMS: dict[Property, Transform] = {
    "slant": Transform(20.0, 60.0),  # degrees that vertical lines lean to the right
    "thickness": Transform(0.02, 0.2),  # sides by which the border of what is drawn moves outwards
    "size": Transform(0.25, 1.0),  # factors of e
    "shift-x": Transform(0.12, 0.5),  # sides to the right
    "shift-y": Transform(0.12, 0.5),  # sides downwards
    "rotate": Transform(25.0, 180.0),  # degrees clockwise
    "brightness": Transform(0.7, 3.0),  # factors of e by which the exponent of the pixels' values shrinks
    "hue": Transform(0.15, 0.5),  # turns of the colour circle
}


def transform(images: Images, amounts: Mapping[Property, Float[Tensor, " batch"]]) -> Images:
    """Change properties of each image by amounts of its own; see `TRANSFORMS` for their units.

    Geometry is changed first, with one interpolation, then thickness, brightness and hue.

    Args:
        images: Images in [-1, 1]. Pixels from outside an image take the value of its nearest border pixel.
        amounts: By property, the amount for each image.

    Returns:
        Images in [-1, 1], of the same shape.

    Example:
        >>> leaning = transform(images, {"slant": torch.full((len(images),), 10.0)})
    """
    zero = images.new_zeros(len(images))
    moved = {name: amounts.get(name, zero) for name in TRANSFORMS}
    if amounts.keys() & {"slant", "size", "shift-x", "shift-y", "rotate"}:
        # A grid says where each pixel of the result comes from: the inverse of what happens to the image. What is drawn
        # is slanted, turned and scaled about its own centre, so that only the shifts move it.
        linear = zoom((-moved["size"]).exp()) @ rotation(-moved["rotate"]) @ shear(moved["slant"])
        centre = 2 * centre_of(ink(images)).to(linear.dtype).unsqueeze(2) - 1  # a side is 2 wide
        shift = 2 * torch.stack([moved["shift-x"], moved["shift-y"]], dim=1).unsqueeze(2)
        grid = affine_grid(torch.cat([linear, centre - linear @ (centre + shift)], dim=2), list(images.shape))
        images = bilinear_sample(images, grid.to(images.dtype))
    if "thickness" in amounts:
        images = _thicken(images, amounts["thickness"])
    if "brightness" in amounts:
        exponent = (-amounts["brightness"]).exp().view(-1, 1, 1, 1).to(images.dtype)
        images = 2 * ((images + 1) / 2).clamp(0, 1) ** exponent - 1
    if "hue" in amounts and images.shape[1] == 3:
        images = turn_hue(images, amounts["hue"])
    return images


def ink(images: Images) -> Float[Tensor, "batch height width"]:
    """Return how much each pixel differs from the ground, in the direction in which the image does; at least 0.

    The ground is the mean of the border: what is drawn is bright on dark, or dark on bright.
    """
    grey = images.mean(dim=1)
    ground = _ground(grey)[:, None, None]
    return (_sign(grey)[:, None, None] * (grey - ground)).clamp_min(0)


def centre_of(ink: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch 2"]:
    """Return the centre (x, y) of the ink in sides, from the upper left corner; of a blank image, the middle."""
    height, width = ink.shape[1:]
    x = (torch.arange(width, dtype=ink.dtype, device=ink.device) + 0.5) / width
    y = (torch.arange(height, dtype=ink.dtype, device=ink.device) + 0.5) / height
    mass = ink.sum(dim=(1, 2))
    centre = torch.stack([(ink.sum(dim=1) * x).sum(dim=1), (ink.sum(dim=2) * y).sum(dim=1)], dim=1) / mass[:, None]
    return torch.where(mass[:, None] > 0, centre, 0.5)


def _ground(grey: Float[Tensor, "batch height width"]) -> Float[Tensor, " batch"]:
    return torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], dim=1).mean(dim=1)


def _sign(grey: Float[Tensor, "batch height width"]) -> Float[Tensor, " batch"]:
    """Return 1 for images of bright things on a darker ground, and -1 for the others."""
    return torch.where(grey.mean(dim=(1, 2)) >= _ground(grey), 1.0, -1.0).to(grey.dtype)


def _thicken(images: Images, amounts: Float[Tensor, " batch"]) -> Images:
    """Dilate what is drawn by a share of the side, or erode it if the amount is negative.

    A radius between two whole numbers of pixels is interpolated between the images of these.
    """
    sign = _sign(images.mean(dim=1)).view(-1, 1, 1, 1)
    radius = (amounts * images.shape[-1]).view(-1, 1, 1, 1).to(images.dtype)
    is_dilated = radius >= 0
    polarity = torch.where(is_dilated, sign, -sign)  # erosion is dilation of the ground
    image = images * polarity
    result, radius = image, radius.abs()
    for pixels in range(1, math.ceil(float(radius.max())) + 1):
        dilated = functional.max_pool2d(functional.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        share = (radius - (pixels - 1)).clamp(0, 1)
        result = result + share * (dilated - image)
        image = dilated
    return result * polarity
