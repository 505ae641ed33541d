"""Feature extractors: what a module is given, what becomes of its output, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infogan.features import FeatureExtractor, from_module, open_extractor
from infogan.features.extractor import BATCH
from infogan.utils.errors import UserError

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)


def images(count: int = 5, size: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size)).astype(np.uint8)


class Flat(nn.Module):
    """Returns its input as vectors, or as maps or tokens."""

    def __init__(self, form: str = "vectors") -> None:
        super().__init__()
        self.form, self.scale = form, nn.Parameter(torch.ones(()))

    def forward(self, values: Tensor) -> Any:
        if self.form == "maps":
            return values * self.scale
        if self.form == "tokens":
            return values.flatten(2).transpose(1, 2)
        return values.flatten(1) if self.form == "vectors" else (values,)


def expected(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    normalised = (pixels / 255 - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    return np.asarray(normalised.reshape(len(pixels), -1))


@pytest.mark.parametrize("count", [1, BATCH, BATCH + 1])
def test_a_module_gets_normalised_colours(count: int) -> None:
    extractor = from_module(Flat(), size=8, mean=MEAN, std=STD)
    vectors = extractor(images(count))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(images(count)), atol=0.03)  # it may be computed in bfloat16


@pytest.mark.parametrize("form", ["maps", "tokens"])
def test_maps_and_tokens_are_averaged(form: str) -> None:
    vectors = from_module(Flat(form), size=8, mean=MEAN, std=STD)(images())
    np.testing.assert_allclose(vectors, expected(images()).reshape(5, 3, -1).mean(axis=2), atol=0.03)


class Cancelling(nn.Module):
    """Returns differences that bfloat16 rounds away."""

    def forward(self, values: Tensor) -> Tensor:
        ones = torch.ones(values[0].numel(), 4)
        return values.flatten(1) @ ones + 1e4 - 1e4 + (values.flatten(1) * 1e-3)[:, :4]


def test_bfloat16_is_not_used_where_it_changes_the_vectors() -> None:
    exact = from_module(Cancelling(), size=8, device="cpu")
    with torch.no_grad():
        normalised = (torch.from_numpy(images()).float() / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / (
            torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        )
        np.testing.assert_allclose(exact(images()), Cancelling()(normalised).numpy(), rtol=1e-3, atol=0.1)


def test_identity_changes_with_weights_and_settings() -> None:
    first, same, other_size = (from_module(Flat(), size=size).identity for size in (8, 8, 16))
    changed = Flat()
    changed.scale.data.mul_(2)
    identities = [first, other_size, from_module(changed, size=8).identity, from_module(Flat("maps"), size=8).identity]
    assert first == same
    assert len(set(identities[:3])) == 3


def test_a_function_is_an_extractor_whose_vectors_are_not_kept() -> None:
    extractor = open_extractor(lambda pixels: pixels.mean(axis=(2, 3)), size=8)
    assert (extractor.size, extractor.identity) == (8, "")
    np.testing.assert_allclose(extractor(images()), images().mean(axis=(2, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda pixels: np.full((len(pixels), 2), np.nan), "NaN"),
        (lambda pixels: np.zeros((len(pixels) - 1, 2)), "4 vectors.*5 images"),
        (lambda pixels: np.zeros(len(pixels)), "shape"),
        (lambda pixels: np.zeros((len(pixels), 0)), "shape"),
        (lambda pixels: np.zeros((len(pixels), 2), object), "type object"),
        (lambda pixels: 1 / 0, "division by zero"),
    ],
)
def test_what_is_not_a_vector_of_numbers_an_image_is_refused(compute: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FeatureExtractor("odd", 8, compute)(images())


def test_a_module_that_returns_no_tensor_is_refused() -> None:
    with pytest.raises(UserError, match="tuple"):
        from_module(Flat("tuple"), size=8)(images())
