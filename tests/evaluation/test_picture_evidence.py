"""Evidence on pictures: collapse, copies and spread, on sets of points whose faults are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.evaluation.metrics.neighbours import nearest_distances
from infogan.evaluation.picture_evidence import category_spreads, picture_evidence, share_of_copies

Points = NDArray[np.float64]


def points(count: int, *, spread: float = 1.0, seed: int = 0) -> tuple[Points, NDArray[np.int64]]:
    """Return points around three places, and the place of each."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return 10 * np.eye(3, 8)[labels] + spread * random.normal(size=(count, 8)), labels


def test_good_pictures() -> None:
    (generated, intended), (real, filed), (train, _) = points(600), points(600, seed=1), points(600, seed=2)
    evidence = picture_evidence(generated, intended, intended, real, filed, train)
    assert evidence.read_back == 1
    assert evidence.diversity == pytest.approx(1, abs=0.15)
    assert evidence.uniform == ()
    assert min(evidence.precision or 0, evidence.recall or 0, evidence.coverage or 0) > 0.85
    assert evidence.copies is not None
    assert evidence.copies < 0.04


def test_one_picture_per_category_is_a_collapse() -> None:
    (generated, intended), (real, filed) = points(600, spread=0.01), points(600, seed=1)
    evidence = picture_evidence(generated, intended, intended, real, filed, None)
    assert evidence.diversity == pytest.approx(0.0001, rel=0.2)
    assert evidence.uniform == (0, 1, 2)
    assert evidence.recall == 0


def test_only_collapsed_categories_are_uniform() -> None:
    (generated, intended), (real, filed) = points(600), points(600, seed=1)
    generated[intended == 1] = generated[intended == 1].mean(axis=0)
    assert picture_evidence(generated, intended, intended, real, filed, None).uniform == (1,)
    spreads = category_spreads(generated, intended, real, filed)
    assert spreads[1] == pytest.approx(0)
    assert spreads[0] == pytest.approx(generated[intended == 0].var(axis=0).sum() / real[filed == 0].var(axis=0).sum())
    few = filed.copy()
    few[few == 2] = 0
    assert category_spreads(generated, intended, real, few).keys() == {0, 1}


def test_copies_of_training_images_are_noticed() -> None:
    (generated, _), (real, _), (train, _) = points(600), points(600, seed=1), points(600, seed=2)
    generated[:300] = train[:300] + 0.01
    assert share_of_copies(generated, real, train) == pytest.approx(0.5, abs=0.03)
    assert share_of_copies(generated, real, None) < 0.05  # these were not trained on
    generated[:300] = real[:300] + 0.01
    assert share_of_copies(generated, real, None) == pytest.approx(0.5, abs=0.03)


def test_pictures_that_are_not_read_back() -> None:
    (generated, intended), (real, filed) = points(300), points(300, seed=1)
    assert picture_evidence(generated, intended, (intended + (intended == 0)) % 3, real, filed, None).read_back == (
        pytest.approx(2 / 3)
    )


def test_nearest_distances_by_hand() -> None:
    (first, _), (second, _) = points(50), points(40, seed=1)
    expected = np.linalg.norm(first[:, None] - second[None], axis=2).min(axis=1)
    assert nearest_distances(first, second) == pytest.approx(expected)
    own = np.linalg.norm(first[:, None] - first[None], axis=2)
    np.fill_diagonal(own, np.inf)
    assert nearest_distances(first, first, itself=True) == pytest.approx(own.min(axis=1))
