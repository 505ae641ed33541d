"""Near copies are found among photographs, and only there: smooth random fields stand for photographs."""

from io import BytesIO

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from infogan.data import load
from infogan.data.duplicates import Pair, _align, _similarity, _warp, near_duplicates

Pixels = NDArray[np.uint8]
SIZE = 64


def scene(seed: int, size: int = 192) -> Image.Image:
    """Return a coloured random field with details of all sizes, as photographs have."""
    random = np.random.default_rng(seed)
    total = np.zeros((size, size, 3))
    for cells in (3, 6, 12, 24, 48):
        noise = random.normal(0, 12 / cells, (cells, cells, 3)).astype(np.float32)
        layers = [Image.fromarray(noise[..., k]).resize((size, size), Image.Resampling.BICUBIC) for k in range(3)]
        total += np.stack([np.asarray(layer) for layer in layers], axis=2)
    return Image.fromarray((128 + 30 * total).clip(0, 255).astype(np.uint8))


def pixels(image: Image.Image, size: int = SIZE) -> Pixels:
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BOX)).transpose(2, 0, 1)


def recompressed(image: Image.Image, quality: int = 40) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def cropped(image: Image.Image) -> Image.Image:
    side = image.width
    return image.crop((round(0.02 * side), round(0.05 * side), round(0.97 * side), side))


CHANGES = {
    "the same": lambda image: image,
    "resized": lambda image: image.resize((96, 96), Image.Resampling.BICUBIC),
    "recompressed": recompressed,
    "cropped": cropped,
    "mirrored": ImageOps.mirror,
    "mirrored and cropped": lambda image: ImageOps.mirror(cropped(image)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found(change: str) -> None:
    images = [pixels(scene(seed)) for seed in range(12)]
    images.append(pixels(CHANGES[change](scene(7))))
    (pair,) = near_duplicates(np.stack(images))
    assert pair[:2] == (7, 12)
    assert pair.similarity > 0.93
    assert pair.mirrored == change.startswith("mirrored")


def test_images_that_were_small_are_compared_at_their_own_detail() -> None:
    small = [scene(seed).resize((32, 32), Image.Resampling.BOX) for seed in range(12)]
    small.append(recompressed(small[7], 70))
    images = np.stack([pixels(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for image in small])
    assert near_duplicates(images) == []
    assert [pair[:2] for pair in near_duplicates(images, np.full(13, 32))] == [(7, 12)]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: ImageOps.flip(image),
        lambda image: Image.blend(image, scene(99), 0.5),
        lambda image: Image.merge("RGB", image.split()[::-1]),  # other colours
        lambda image: image.crop((0, 0, 120, 120)),
    ],
)
def test_another_image_is_none(change: object) -> None:
    images = [pixels(scene(seed)) for seed in range(12)]
    images.append(pixels(change(scene(7))))  # type: ignore[operator]
    assert near_duplicates(np.stack(images)) == []


def test_all_pairs_of_a_group_are_found_in_order() -> None:
    images = [pixels(scene(seed)) for seed in range(8)] + [pixels(cropped(scene(3))), pixels(recompressed(scene(3)))]
    assert [pair[:2] for pair in near_duplicates(np.stack(images))] == [(3, 8), (3, 9), (8, 9)]


def test_drawings_that_are_as_similar_as_copies_are_none() -> None:
    images = load("digits").images[:600]
    found = near_duplicates(np.concatenate([images, images[5:6]]))
    assert Pair(5, 600, 1.0, mirrored=False) in found
    assert len(found) < 20  # of some thousand pairs above the limit for photographs


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images_have_no_copies(count: int) -> None:
    assert near_duplicates(np.stack([pixels(scene(seed)) for seed in range(3)])[:count]) == []


def test_uniform_images_are_copies_of_images_of_the_same_colour_alone() -> None:
    images = np.stack([pixels(scene(seed)) for seed in range(8)])
    images[2], images[5], images[6] = 200, 200, 90
    assert [pair[:2] for pair in near_duplicates(images)] in ([], [(2, 5)])


def test_progress_counts_the_images() -> None:
    steps: list[tuple[int, int]] = []
    near_duplicates(np.stack([pixels(scene(seed)) for seed in range(4)]), None, lambda _, *step: steps.append(step))
    assert steps == [(4, 4)]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_alignment_recovers_a_known_warp(size: int) -> None:
    fixed = torch.from_numpy(np.stack([pixels(scene(seed), size) for seed in range(4)])).float() / 255
    known = torch.tensor(
        [[0.95, 1.0, 0.03, -0.02], [1.0, 1.0, 0.0, 0.0], [1.0, 0.94, 0.0, 0.04], [0.97, 0.97, 0.0, 0.0]]
    )
    warped = _warp(fixed, known)
    found = _align(warped, fixed, torch.tensor([[1.0, 1.0, 0.0, 0.0]]).repeat(4, 1))
    torch.testing.assert_close(found, known, atol=0.01, rtol=0)
    assert (_similarity(warped, _warp(fixed, found)) > 0.98).all()
    assert (_similarity(warped, _warp(fixed, known)) > 1 - 1e-5).all()


def test_similarity_is_the_smaller_of_two_measures() -> None:
    first = torch.from_numpy(np.stack([pixels(scene(0))])).float() / 255
    assert float(_similarity(first, first)) == pytest.approx(1)
    inner = torch.nn.functional.avg_pool2d(first[..., 4:-4, 4:-4], 2)
    # A brighter copy has the same gradients; what it shares of the variance follows from the difference of its means.
    expected = 1 - 0.1**2 / (2 * inner.flatten().var() + 1e-4)
    assert float(_similarity(first, first + 0.1)) == pytest.approx(float(expected), abs=1e-4)
    # The gradients of its negative are contrary.
    grey = first - inner.mean() + 0.5
    assert float(_similarity(grey, 1 - grey)) == pytest.approx(-1, abs=0.01)
