"""Precision, recall, density and coverage against brute force, closed forms, and the faults they detect."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from infogan.evaluation.metrics import neighbours as module
from infogan.evaluation.metrics.neighbours import density_coverage, precision_recall

Floats = NDArray[np.float64]


def cloud(count: int, features: int = 2, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, features))


def brute(reals: Floats, fakes: Floats, k: int) -> dict[str, float]:
    """Return all four metrics, by loops over pairs."""

    def radius(points: Floats, i: int) -> float:
        return sorted(float(np.linalg.norm(points[i] - points[j])) for j in range(len(points)) if j != i)[k - 1]

    real_radii = [radius(reals, i) for i in range(len(reals))]
    fake_radii = [radius(fakes, i) for i in range(len(fakes))]
    distances = [[float(np.linalg.norm(fake - real)) for real in reals] for fake in fakes]
    balls = [[d <= r for d, r in zip(row, real_radii, strict=True)] for row in distances]
    return {
        "precision": sum(map(any, balls)) / len(fakes),
        "recall": sum(any(row[i] <= r for row, r in zip(distances, fake_radii, strict=True)) for i in range(len(reals)))
        / len(reals),
        "density": sum(map(sum, balls)) / (k * len(fakes)),
        "coverage": sum(any(row[i] for row in balls) for i in range(len(reals))) / len(reals),
    }


def measured(reals: Floats, fakes: Floats, k: int) -> dict[str, float]:
    return {
        **precision_recall(reals, fakes, neighbours=k)._asdict(),
        **density_coverage(reals, fakes, neighbours=k)._asdict(),
    }


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 12), st.integers(4, 12), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_metrics_equal_brute_force(n_reals: int, n_fakes: int, features: int, k: int, seed: int) -> None:
    reals, fakes = cloud(n_reals, features, seed), 0.7 * cloud(n_fakes, features, seed + 100) + 0.5
    assert measured(reals, fakes, k) == pytest.approx(brute(reals, fakes, k), abs=1e-12)


def test_metrics_match_an_example_by_hand() -> None:
    # Reals at 0, 1, 3 with balls of radius 1, 1, 2; fakes at 0.5, 6 with balls of radius 5.5.
    reals, fakes = np.array([[0.0], [1], [3]]), np.array([[0.5], [6]])
    assert precision_recall(reals, fakes, neighbours=1) == (1 / 2, 1)
    # 0.5 is in the balls of 0 and 1, 6 in none.
    assert density_coverage(reals, fakes, neighbours=1) == (2 / 2, 2 / 3)


def test_block_size_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    reals, fakes = cloud(60, 4), cloud(50, 4, seed=1) + 0.4
    expected = measured(reals, fakes, 3)
    monkeypatch.setattr(module, "BLOCK", 7 * 60)
    assert measured(reals, fakes, 3) == expected


def test_equal_sets_overlap_completely_and_distant_sets_not_at_all() -> None:
    points = cloud(80, 5)
    assert measured(points, points[::-1], 3) == {"precision": 1, "recall": 1, "density": pytest.approx(4 / 3, abs=1e-9),
                                                 "coverage": 1}  # fmt: skip
    assert measured(points, points + 100, 3) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


@pytest.mark.parametrize("k", [1, 3, 5])
def test_coverage_and_density_of_equal_distributions_have_closed_forms(k: int) -> None:
    results = [density_coverage(cloud(300, 3, s), cloud(300, 3, s + 1000), neighbours=k) for s in range(10)]
    order = np.arange(1, k + 1)
    expected = 1 - np.prod((300 - order) / (600 - order))
    assert np.mean([result.coverage for result in results]) == pytest.approx(expected, abs=0.02)
    assert np.mean([result.density for result in results]) == pytest.approx(1, abs=0.06)


def test_missing_kinds_lower_only_recall_and_coverage() -> None:
    reals = np.vstack([cloud(200, 2, 0), cloud(200, 2, 1) + 20])
    fakes = cloud(400, 2, 2)
    result = measured(reals, fakes, 5)
    assert result["precision"] > 0.95
    assert result["density"] > 0.9
    assert 0.4 < result["recall"] < 0.55
    assert 0.4 < result["coverage"] < 0.55


def test_bad_images_lower_only_precision_and_density() -> None:
    reals = cloud(400, 2, 0)
    fakes = np.vstack([cloud(400, 2, 1), cloud(400, 2, 2) + 20])
    result = measured(reals, fakes, 5)
    assert 0.45 < result["precision"] < 0.52
    assert 0.4 < result["density"] < 0.6
    assert result["recall"] > 0.95
    assert result["coverage"] > 0.95


def test_real_outlier_raises_precision_but_not_density() -> None:
    reals = np.vstack([cloud(300, 2), [[30.0, 0]]])
    fakes = np.random.default_rng(1).normal([20, 0], 1, (300, 2))
    assert precision_recall(reals, fakes).precision == 1
    assert density_coverage(reals, fakes).density < 0.25


def test_rotation_shift_and_scale_do_not_matter() -> None:
    reals, fakes = cloud(70, 6), cloud(60, 6, seed=1) + 0.3
    rotation = np.linalg.qr(cloud(6, 6, seed=2))[0]
    moved = measured(3 * reals @ rotation + 1000, 3 * fakes @ rotation + 1000, 3)
    assert moved == pytest.approx(measured(reals, fakes, 3), abs=1e-12)


def test_identical_images_are_neighbours() -> None:
    points = np.repeat(cloud(1, 9) * 1000, 8, axis=0)
    both = np.vstack([points, cloud(3, 9)])
    assert precision_recall(both, points).precision == 1
    assert density_coverage(both, points[:2], neighbours=3).coverage >= 8 / 11


def test_float32_features_are_computed_in_float64() -> None:
    reals, fakes = cloud(50, 3), cloud(50, 3, seed=1)
    far = [(points + 1000).astype(np.float32) for points in (reals, fakes)]
    results: Any = [precision_recall(far[0], far[1]), density_coverage(far[0], far[1])]
    assert results[0] == pytest.approx(precision_recall(reals, fakes), abs=0.03)
    assert results[1] == pytest.approx(density_coverage(reals, fakes), abs=0.05)


def test_invalid_features_are_refused() -> None:
    with pytest.raises(ValueError, match=r"neighbours is 3.*1 to 2"):
        precision_recall(cloud(9), cloud(3))
    with pytest.raises(ValueError, match="neighbours is 0"):
        density_coverage(cloud(9), cloud(9), neighbours=0)
    with pytest.raises(ValueError, match="2 and 3"):
        precision_recall(cloud(9), cloud(9, 3))
    with pytest.raises(ValueError, match="finite"):
        density_coverage(cloud(9), np.full((9, 2), np.nan))
