"""Shares by nearest neighbours against brute force on tiny clouds, closed forms, and what they are made to see."""

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
    """All four by loops over pairs."""

    def radius(points: Floats, i: int) -> float:
        return sorted(float(np.linalg.norm(points[i] - points[j])) for j in range(len(points)) if j != i)[k - 1]

    of_reals = [radius(reals, i) for i in range(len(reals))]
    of_fakes = [radius(fakes, i) for i in range(len(fakes))]
    near = [[float(np.linalg.norm(fake - real)) for real in reals] for fake in fakes]
    balls = [[d <= r for d, r in zip(row, of_reals, strict=True)] for row in near]
    return {
        "precision": sum(map(any, balls)) / len(fakes),
        "recall": sum(any(row[i] <= r for row, r in zip(near, of_fakes, strict=True)) for i in range(len(reals)))
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
def test_equals_brute_force(n_reals: int, n_fakes: int, features: int, k: int, seed: int) -> None:
    reals, fakes = cloud(n_reals, features, seed), 0.7 * cloud(n_fakes, features, seed + 100) + 0.5
    assert measured(reals, fakes, k) == pytest.approx(brute(reals, fakes, k), abs=1e-12)


def test_by_hand_on_a_line() -> None:
    # Reals at 0, 1, 3 with balls of radius 1, 1, 2; fakes at 0.5, 6 with balls of radius 5.5.
    reals, fakes = np.array([[0.0], [1], [3]]), np.array([[0.5], [6]])
    assert precision_recall(reals, fakes, neighbours=1) == (1 / 2, 1)
    # 0.5 is in the balls of 0 and 1, 6 in none.
    assert density_coverage(reals, fakes, neighbours=1) == (2 / 2, 2 / 3)


def test_rows_at_a_time_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    reals, fakes = cloud(60, 4), cloud(50, 4, seed=1) + 0.4
    whole = measured(reals, fakes, 3)
    monkeypatch.setattr(module, "BLOCK", 7 * 60)
    assert measured(reals, fakes, 3) == whole


def test_a_cloud_lies_in_itself_and_far_clouds_apart() -> None:
    points = cloud(80, 5)
    assert measured(points, points[::-1], 3) == {"precision": 1, "recall": 1, "density": pytest.approx(4 / 3, abs=1e-9),
                                                 "coverage": 1}  # fmt: skip
    assert measured(points, points + 100, 3) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


@pytest.mark.parametrize("k", [1, 3, 5])
def test_coverage_and_density_of_equal_distributions_have_closed_forms(k: int) -> None:
    found = [density_coverage(cloud(300, 3, s), cloud(300, 3, s + 1000), neighbours=k) for s in range(10)]
    places = np.arange(1, k + 1)
    expected = 1 - np.prod((300 - places) / (600 - places))
    assert np.mean([one.coverage for one in found]) == pytest.approx(expected, abs=0.02)
    assert np.mean([one.density for one in found]) == pytest.approx(1, abs=0.06)


def test_missing_kinds_lower_recall_and_coverage_alone() -> None:
    reals = np.vstack([cloud(200, 2, 0), cloud(200, 2, 1) + 20])
    fakes = cloud(400, 2, 2)
    found = measured(reals, fakes, 5)
    assert found["precision"] > 0.95
    assert found["density"] > 0.9
    assert 0.4 < found["recall"] < 0.55
    assert 0.4 < found["coverage"] < 0.55


def test_spoiled_images_lower_precision_and_density_alone() -> None:
    reals = cloud(400, 2, 0)
    fakes = np.vstack([cloud(400, 2, 1), cloud(400, 2, 2) + 20])
    found = measured(reals, fakes, 5)
    assert 0.45 < found["precision"] < 0.52
    assert 0.4 < found["density"] < 0.6
    assert found["recall"] > 0.95
    assert found["coverage"] > 0.95


def test_one_outlier_among_reals_fools_precision_and_hardly_density() -> None:
    reals = np.vstack([cloud(300, 2), [[30.0, 0]]])
    fakes = np.random.default_rng(1).normal([20, 0], 1, (300, 2))
    assert precision_recall(reals, fakes).precision == 1
    assert density_coverage(reals, fakes).density < 0.25


def test_turns_shifts_and_scales_do_not_matter() -> None:
    reals, fakes = cloud(70, 6), cloud(60, 6, seed=1) + 0.3
    turn = np.linalg.qr(cloud(6, 6, seed=2))[0]
    moved = measured(3 * reals @ turn + 1000, 3 * fakes @ turn + 1000, 3)
    assert moved == pytest.approx(measured(reals, fakes, 3), abs=1e-12)


def test_images_that_coincide_are_near_though_their_balls_have_no_size() -> None:
    points = np.repeat(cloud(1, 9) * 1000, 8, axis=0)
    both = np.vstack([points, cloud(3, 9)])
    assert precision_recall(both, points).precision == 1
    assert density_coverage(both, points[:2], neighbours=3).coverage >= 8 / 11


def test_narrow_features_are_computed_in_float64() -> None:
    reals, fakes = cloud(50, 3), cloud(50, 3, seed=1)
    far = [(points + 1000).astype(np.float32) for points in (reals, fakes)]
    found: Any = [precision_recall(far[0], far[1]), density_coverage(far[0], far[1])]
    assert found[0] == pytest.approx(precision_recall(reals, fakes), abs=0.03)
    assert found[1] == pytest.approx(density_coverage(reals, fakes), abs=0.05)


def test_bad_clouds_are_named() -> None:
    with pytest.raises(ValueError, match="3 neighbours among 3 images: allowed are 1 to 2"):
        precision_recall(cloud(9), cloud(3))
    with pytest.raises(ValueError, match="0 neighbours among 9 images"):
        density_coverage(cloud(9), cloud(9), neighbours=0)
    with pytest.raises(ValueError, match="2 features against 3"):
        precision_recall(cloud(9), cloud(9, 3))
    with pytest.raises(ValueError, match="not finite"):
        density_coverage(cloud(9), np.full((9, 2), np.nan))
