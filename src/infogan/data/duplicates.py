"""Copies among images: resized, compressed again, cropped a little, or mirrored.

Thumbnails propose pairs. Each pair is aligned, and the aligned images are compared at growing resolutions.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from infogan.data.preprocess import Progress

Pixels = UInt8[np.ndarray, "image channel size size"]
Batch = Float[Tensor, "pair channel height width"]
Warps = Float[Tensor, "pair 4"]  # horizontal and vertical scale, horizontal and vertical shift in half images

COMPARED_SIZE = 64  # pixels, up to which images are compared
THUMBNAIL = 8  # pixels
PROPOSED, MIN_THUMBNAIL_COSINE = 5, 0.88  # for each image and each of its forms
CROPPED = 0.92  # share of each side in the form that proposes crops
ROWS, PAIRS = 500, 1_000  # that are compared at once
RESOLUTIONS = {16: 0.6, 32: 0.8, 64: 1.0}  # in pixels, with the similarity from which on the next one is used
STEPS = 6  # of the alignment at each resolution
MAX_STEP, MAX_SCALE, MAX_SHIFT = 0.05, 1.18, 0.2  # of a warp
BORDER = 1 / 16  # of each side that is not compared, because a copy may lack it
SIMILAR, SIMILAR_SMALL = 0.93, 0.9  # from which on pairs are copies: at 64 pixels, and of smaller images
# Drawings can be as similar as copies. So copies differ by at most a tenth of what an image and the third most similar
# one differ by, in three of four images.
RANK, QUANTILE, RELATIVE_DIFFERENCE = 3, 0.75, 0.1


class Pair(NamedTuple):
    """Two images of which one is a copy of the other.

    Attributes:
        first: Index of the first image.
        second: Index of the second image, which is larger.
        similarity: Of the aligned images, 1 at most.
        mirrored: Whether one is the mirror image of the other.
    """

    first: int
    second: int
    similarity: float
    mirrored: bool


def near_duplicates(
    images: Pixels, sides: NDArray[np.int64] | None = None, progress: Progress | None = None
) -> list[Pair]:
    """Return the pairs of near copies among images, in the order of their indices.

    The similarity of two aligned images is the smaller one of the correlation of their gradients, and of the share of
    the variance of their pixels that they have in common. Unlike a perceptual hash, it tells apart different things on
    similar backgrounds, and the same shape in other colours.

    Args:
        images: Images of one size, which is at most ``COMPARED_SIZE``.
        sides: (images,), height or width in pixels, whichever is smaller, that each image had before it was brought to
            this size: enlarged images have less detail to compare. None = this size.
        progress: Called with the number of images whose pairs are known.

    Example:
        >>> near_duplicates(np.stack([photo, other, photo[:, :, ::-1]]))
        [Pair(first=0, second=2, similarity=1.0, mirrored=True)]
    """
    if not len(images):
        return []
    sides = np.minimum(images.shape[2], images.shape[2] if sides is None else sides)
    sides = np.broadcast_to(sides, len(images))
    proposed = sorted({pair for block in _propose(images, progress) for pair in block})
    if not proposed:
        return []
    parts = [proposed[start : start + PAIRS] for start in range(0, len(proposed), PAIRS)]
    similarities = torch.cat([_compare(images, sides, pairs) for pairs in parts]).clamp(max=1).numpy()
    relative = RELATIVE_DIFFERENCE * _usual_difference(len(images), proposed, similarities)
    best: dict[tuple[int, int], Pair] = {}
    for (first, second, mirrored), similarity in zip(proposed, similarities.round(4).tolist(), strict=True):
        known = best.get((first, second))
        least = SIMILAR if min(sides[first], sides[second]) >= COMPARED_SIZE else SIMILAR_SMALL
        if similarity >= max(least, 1 - relative) and (known is None or similarity > known.similarity):
            best[first, second] = Pair(first, second, similarity, mirrored)
    return [*best.values()]


def _usual_difference(count: int, pairs: list[tuple[int, int, bool]], similarities: NDArray[np.float32]) -> float:
    """Return how much an image differs from another one that is similar to it, see ``RANK``."""
    rows, values = np.array(pairs)[:, :2].T.ravel(), np.tile(similarities, 2)
    order = np.lexsort((-values, rows))  # image by image, the highest similarity first
    rows, values = rows[order], values[order]
    places = np.searchsorted(rows, np.arange(count)) + RANK - 1
    has_rank = places < np.searchsorted(rows, np.arange(count), side="right")
    differences = np.ones(count)
    differences[has_rank] -= values[places[has_rank]].clip(min=0)
    return float(np.quantile(differences, QUANTILE))


def _propose(images: Pixels, progress: Progress | None) -> Iterator[list[tuple[int, int, bool]]]:
    """Yield pairs with similar thumbnails, and whether one is mirrored, for some images at a time."""
    forms = [_thumbnails(images, cropped=cropped, mirrored=mirrored) for cropped, mirrored in np.ndindex(2, 2)]
    for start in range(0, len(images), ROWS):
        rows = torch.arange(start, min(start + ROWS, len(images)))
        pairs = []
        for number, form in enumerate(forms):
            cosines = forms[0][rows] @ form.T
            cosines[rows - start, rows] = -1
            values, columns = cosines.topk(min(PROPOSED, len(images)), dim=1)
            for row, place in (values >= MIN_THUMBNAIL_COSINE).nonzero().tolist():
                first, second = sorted((start + row, int(columns[row, place])))
                if first < second:
                    pairs.append((first, second, number % 2 == 1))
        if progress is not None:
            progress("comparing images", int(rows[-1]) + 1, len(images))
        yield pairs


def _thumbnails(images: Pixels, *, cropped: bool, mirrored: bool) -> Float[Tensor, "image value"]:
    """Return the thumbnail of a form of each image as a unit vector of mean 0."""
    parts = []
    for start in range(0, len(images), ROWS):
        batch = _to_float(images[start : start + ROWS])
        if mirrored:
            batch = batch.flip(3)
        if cropped:
            batch = _warp(batch, torch.tensor([[CROPPED, CROPPED, 0.0, 0.0]]).expand(len(batch), 4))
        values = F.adaptive_avg_pool2d(batch, THUMBNAIL).flatten(1)
        parts.append(F.normalize(values - values.mean(dim=1, keepdim=True), dim=1))
    return torch.cat(parts)


def _compare(images: Pixels, sides: NDArray[np.int64], pairs: list[tuple[int, int, bool]]) -> Float[Tensor, " pair"]:
    """Return the similarity of the images of each pair after alignment, at the last resolution that it reached."""
    first, second, mirrored = (torch.tensor(column) for column in zip(*pairs, strict=True))
    warps = torch.tensor([[1.0, 1.0, 0.0, 0.0]]).repeat(len(pairs), 1)
    similarities, own = torch.zeros(len(pairs)), torch.tensor(sides)
    smaller = torch.minimum(own[first], own[second])
    left = torch.arange(len(pairs))
    for size, least in RESOLUTIONS.items():
        if size > min(RESOLUTIONS):
            left = left[smaller[left] >= size]
        if not len(left):
            break
        fixed, moving = (_to_float(images[rows[left].numpy()]) for rows in (first, second))
        moving = torch.where(mirrored[left, None, None, None], moving.flip(3), moving)
        fixed, moving = (F.adaptive_avg_pool2d(batch, min(size, images.shape[2])) for batch in (fixed, moving))
        warps[left] = _align(fixed, moving, warps[left])
        similarities[left] = _similarity(fixed, _warp(moving, warps[left]))
        left = left[similarities[left] >= least]
    return similarities


def _to_float(images: NDArray[np.uint8]) -> Batch:
    return torch.from_numpy(np.ascontiguousarray(images)).float() / 255


def _warp(images: Batch, warps: Warps) -> Batch:
    """Scale and shift images; places outside an image have the colour of its border."""
    matrices = torch.zeros(len(images), 2, 3)
    matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, :, 2] = warps[:, 0], warps[:, 1], warps[:, 2:]
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


def _align(fixed: Batch, moving: Batch, warps: Warps) -> Warps:
    """Return warps that make moving images most similar to fixed ones.

    Each step solves a linear least-squares problem: Gauss-Newton, as Lucas and Kanade 1981 (Baker & Matthews 2004,
    International Journal of Computer Vision 56(3)).
    """
    size = fixed.shape[2]
    x = ((torch.arange(size) + 0.5) / size * 2 - 1).view(1, 1, 1, size)
    fixed, moving = _smooth(fixed), _smooth(moving)
    fixed = fixed - fixed.mean(dim=(1, 2, 3), keepdim=True)
    for _ in range(STEPS):
        warped = _warp(moving, warps)
        warped = warped - warped.mean(dim=(1, 2, 3), keepdim=True)
        slopes = [slope * (size / 2) / warps[:, axis].view(-1, 1, 1, 1) for axis, slope in enumerate(_slopes(warped))]
        jacobian = torch.stack([slopes[0] * x, slopes[1] * x.mT, slopes[0], slopes[1]]).flatten(2)  # (4, pairs, values)
        hessian = torch.einsum("ipv,jpv->pij", jacobian, jacobian)
        gradient = torch.einsum("ipv,pv->pi", jacobian, (fixed - warped).flatten(1))
        damping = 1e-4 * hessian.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-8
        step = torch.linalg.solve(hessian + damping.view(-1, 1, 1) * torch.eye(4), gradient)
        warps = warps + step.clamp(-MAX_STEP, MAX_STEP)
        scales, shifts = warps[:, :2].clamp(1 / MAX_SCALE, MAX_SCALE), warps[:, 2:].clamp(-MAX_SHIFT, MAX_SHIFT)
        warps = torch.cat([scales, shifts], dim=1)
    return warps


def _smooth(images: Batch) -> Batch:
    return F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _slopes(images: Batch) -> tuple[Batch, Batch]:
    """Return the horizontal and the vertical slope at each pixel, per pixel; 0 at the border."""
    horizontal, vertical = torch.zeros_like(images), torch.zeros_like(images)
    horizontal[..., 1:-1] = (images[..., 2:] - images[..., :-2]) / 2
    vertical[..., 1:-1, :] = (images[..., 2:, :] - images[..., :-2, :]) / 2
    return horizontal, vertical


def _similarity(fixed: Batch, warped: Batch) -> Float[Tensor, " pair"]:
    """Return the similarity of aligned images, see `near_duplicates`."""
    border = round(BORDER * fixed.shape[2])
    inner = slice(border, fixed.shape[2] - border)
    first, second = (F.avg_pool2d(batch[..., inner, inner], 2) for batch in (fixed, warped))
    edges = [
        torch.cat([batch.diff(dim=3)[..., :-1, :], batch.diff(dim=2)[..., :-1]], dim=1).flatten(1)
        for batch in (first, second)
    ]
    edges = [values - values.mean(dim=1, keepdim=True) for values in edges]
    norms = edges[0].norm(dim=1) * edges[1].norm(dim=1)
    correlation = torch.where(norms > 0, (edges[0] * edges[1]).sum(dim=1) / norms.clamp(min=1e-12), 1.0)
    first, second = first.flatten(1), second.flatten(1)
    variance = first.var(dim=1) + second.var(dim=1)
    shared = 1 - ((first - second) ** 2).mean(dim=1) / (variance + 1e-4)
    return torch.minimum(correlation, shared)
