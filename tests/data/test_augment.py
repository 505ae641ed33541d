"""Augmentations change images at random, within their strengths."""

import math

import pytest
import torch
from torch import Tensor

from infogan.config.presets import STRENGTHS
from infogan.config.schema import AugmentSettings
from infogan.data.augment import augment, random_shift, turn_hue

COUNT = 300


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(side: int = 32) -> Tensor:
    """An image whose pixels are their own horizontal positions, from -1 to 1 at its borders."""
    positions = (torch.arange(side) + 0.5) / side * 2 - 1
    return positions.expand(COUNT, 1, side, side).contiguous()


def blob(side: int = 41, width: float = 3.0, height: float = 3.0) -> Tensor:
    """A bright Gaussian in the centre of a black image."""
    along = torch.arange(side) - side // 2
    bump = torch.exp(-(along**2) / (2 * width**2)).view(1, -1) * torch.exp(-(along**2) / (2 * height**2)).view(-1, 1)
    return (2 * bump - 1).expand(COUNT, 1, side, side).contiguous()


def moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Centre (x, y) and second moments (xx, yy, xy) of the brightness, in pixels."""
    mass = (images[:, 0] + 1) / 2
    mass = mass / mass.sum(dim=(1, 2), keepdim=True)
    along = torch.arange(images.shape[-1]) - images.shape[-1] // 2
    x, y = (mass * along).sum(dim=(1, 2)), (mass * along.view(-1, 1)).sum(dim=(1, 2))
    dx, dy = along.view(1, 1, -1) - x.view(-1, 1, 1), along.view(1, -1, 1) - y.view(-1, 1, 1)
    return x, y, *((mass * a * b).sum(dim=(1, 2)) for a, b in ((dx, dx), (dy, dy), (dx, dy)))  # type: ignore[return-value]


def assert_between(values: Tensor, low: float, high: float, slack: float) -> None:
    """Assert that all values lie in the range and that they come close to both of its ends."""
    assert low - slack <= float(values.min()) <= low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) <= float(values.max()) <= high + slack


def test_no_augmentation_changes_nothing() -> None:
    images = blob()
    assert torch.equal(augment(images, {}, generator()), images)


def test_shift_moves_images_by_up_to_its_share_of_the_side() -> None:
    x, y, *_ = moments(augment(blob(), {"shift": 0.1}, generator()))
    assert_between(x, -4.1, 4.1, 0.1)
    assert_between(y, -4.1, 4.1, 0.1)
    assert abs(float(torch.corrcoef(torch.stack([x, y]))[0, 1])) < 0.2  # the axes are independent


def test_rotate_turns_images_by_up_to_its_degrees() -> None:
    *_, xx, yy, xy = moments(augment(blob(width=6, height=2), {"rotate": 20.0}, generator()))
    assert_between(torch.atan2(2 * xy, xx - yy) / 2 * 180 / math.pi, -20, 20, 0.5)


def test_scale_shrinks_as_often_as_it_enlarges() -> None:
    *_, xx, yy, _ = moments(augment(blob(), {"scale": 0.5}, generator()))
    assert torch.allclose(xx, yy, rtol=0.02)
    assert_between((xx / 9).sqrt().log(), -math.log(1.5), math.log(1.5), 0.05)


def test_shear_slants_images_by_up_to_its_degrees() -> None:
    *_, yy, xy = moments(augment(blob(), {"shear": 15.0}, generator()))
    assert_between(xy / yy, -math.tan(math.radians(15)), math.tan(math.radians(15)), 0.03)


def test_flip_mirrors_images_with_its_probability() -> None:
    images = ramp()
    torch.testing.assert_close(augment(images, {"flip": 1.0}, generator()), images.flip(3), atol=1e-5, rtol=0)
    mirrored = augment(images, {"flip": 0.3}, generator())[:, 0, 0, 0] > 0
    assert 0.2 < float(mirrored.float().mean()) < 0.4


def test_crop_keeps_a_random_area_inside_the_image() -> None:
    cropped = augment(ramp(), {"crop": 0.75}, generator())[:, 0, 16]
    side = (cropped[:, 20] - cropped[:, 12]) / (ramp()[0, 0, 0, 20] - ramp()[0, 0, 0, 12])
    assert_between(side**2, 0.25, 1, 0.01)
    middle = (cropped[:, 15] + cropped[:, 16]) / 2
    assert bool((middle.abs() <= 1 - side + 1e-4).all())
    assert float(middle.std()) > 0.1


def test_elastic_displaces_pixels_smoothly_by_its_standard_deviation() -> None:
    images = ramp()
    moved = augment(images, {"elastic": 0.03}, generator()) - images
    inner = moved[:, 0, 4:-4, 4:-4]
    # The ramp is 2 wide. Between the points of the coarse grid the field is a mean of several and deviates less.
    assert 0.6 * 0.06 < float(inner.std()) < 1.0 * 0.06
    assert abs(float(inner.mean())) < 0.005
    rough = (inner[:, :, 1:] - inner[:, :, :-1]).std()
    assert float(rough) < 0.3 * float(inner.std())  # smooth


def test_colour_changes_brightness_contrast_and_saturation_but_keeps_grey() -> None:
    grey = ((torch.arange(64).view(8, 8) / 63) * 0.5 - 0.25).expand(COUNT, 3, 8, 8)
    changed = augment(grey, {"colour": 0.4}, generator())
    torch.testing.assert_close(changed[:, 0], changed[:, 2], atol=1e-6, rtol=0)
    contrast = (changed[:, 0].std(dim=(1, 2))) / grey[:, 0].std(dim=(1, 2))
    assert 0.36 - 0.01 < float(contrast.min()) < 0.5  # 0.6 of brightness times 0.6 of contrast
    assert 1.6 < float(contrast.max()) < 1.96 + 0.01
    red = torch.full((COUNT, 3, 8, 8), -0.5)
    red[:, 0] = 0.3
    saturation = augment(red, {"colour": 0.4}, generator())
    assert float((saturation[:, 0] - saturation[:, 1]).std()) > 0.1


@pytest.mark.parametrize("name", sorted(STRENGTHS))
def test_images_are_augmented_independently_and_repeatably_within_the_range(name: str) -> None:
    images = torch.rand(16, 3, 12, 12, generator=generator(5)) * 2 - 1
    same = images[:1].expand(16, 3, 12, 12)
    assert STRENGTHS[name] == AugmentSettings.model_validate({name: STRENGTHS[name]}).strengths[name]
    a, b, c = (augment(same, {name: STRENGTHS[name]}, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert len({tuple(image.flatten().tolist()) for image in a}) > 1
    assert float(augment(images, {name: STRENGTHS[name]}, generator()).abs().max()) <= 1 + 1e-6


def test_all_augmentations_together_are_differentiable() -> None:
    # Double precision, and values so small that none is clipped.
    images = (torch.rand(2, 3, 9, 9, generator=generator(), dtype=torch.float64) - 0.5).requires_grad_()
    strengths = {**STRENGTHS, "colour": 0.1}
    assert torch.autograd.gradcheck(lambda x: augment(x, strengths, generator(3)), images, eps=1e-4, atol=1e-4)


def test_random_shifts_are_whole_pixels_up_to_the_limit_and_repeat_the_border() -> None:
    images = torch.rand(COUNT, 3, 9, 7, generator=generator(1))
    moved = random_shift(images, 2, generator())
    shifts = set()
    for before, after in zip(images, moved, strict=True):
        rows, columns = torch.arange(9), torch.arange(7)
        matches = {
            (dy, dx)
            for dy in range(-3, 4)
            for dx in range(-3, 4)
            if torch.equal(after, before[:, (rows + dy).clamp(0, 8)][:, :, (columns + dx).clamp(0, 6)])
        }
        assert len(matches) == 1
        shifts |= matches
    assert shifts == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}


def test_random_shifts_pass_gradients_back_to_the_original_pixels() -> None:
    images = torch.zeros(50, 1, 6, 6, requires_grad=True)
    moved = random_shift(images, 1, generator())
    torch.autograd.backward(moved[:, :, 2, 3].sum())
    assert images.grad is not None
    assert (images.grad.sum(dim=(1, 2, 3)) == 1).all()
    assert set(images.grad.sum(dim=0).nonzero()[:, 1:].flatten().tolist()) == {1, 2, 3, 4}


# Hue and grey.


def coloured(count: int = 64) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=generator()) * 0.4 - 0.2  # far from the ends, where nothing is clipped


def luminance(images: Tensor) -> Tensor:
    return 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]


def test_a_third_of_a_turn_exchanges_the_colours() -> None:
    images = coloured()
    turned = turn_hue(images, torch.full((64,), 1 / 3))
    difference = images - luminance(images).unsqueeze(1)
    expected = difference.roll(1, dims=1)  # red becomes green, green blue, and blue red
    expected = expected - luminance(expected).unsqueeze(1) + luminance(images).unsqueeze(1)
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-5)


def test_hue_keeps_luminance_and_turns_by_up_to_its_strength() -> None:
    images = coloured()
    changed = augment(images, {"hue": 0.1}, generator())
    torch.testing.assert_close(luminance(changed), luminance(images), rtol=0, atol=1e-5)
    difference, before = changed - changed.mean(1, True), images - images.mean(1, True)
    cosines = (difference * before).sum(1) / (difference.norm(dim=1) * before.norm(dim=1))
    angles = cosines.clamp(-1, 1).acos().flatten(1).mean(dim=1) / (2 * torch.pi)
    assert angles.max() <= 0.1 + 1e-3
    assert 0.03 < angles.mean() < 0.07  # half of the largest on average


def test_grey_takes_all_colour_from_some_images() -> None:
    images = coloured(1000)
    changed = augment(images, {"grey": 0.2}, generator())
    is_grey = (changed.amax(1) - changed.amin(1)).flatten(1).amax(1) < 1e-6
    assert 0.15 < float(is_grey.float().mean()) < 0.25
    torch.testing.assert_close(changed[is_grey][:, 0], luminance(images[is_grey]), rtol=0, atol=1e-6)
    assert torch.equal(changed[~is_grey], images[~is_grey])


def test_grey_images_have_no_hue() -> None:
    grey = torch.rand(8, 1, 4, 4, generator=generator()) * 2 - 1
    first, second = generator(), generator()
    assert torch.equal(augment(grey, {"hue": 0.5, "grey": 1.0}, first), grey)
    assert torch.equal(torch.rand(3, generator=first), torch.rand(3, generator=second))  # nothing was drawn
    as_colour = grey.expand(-1, 3, -1, -1)
    torch.testing.assert_close(augment(as_colour, {"hue": 0.5}, generator()), as_colour, rtol=0, atol=1e-6)
