"""Distances against closed forms, scipy and brute force; PCA features against their definition."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from sklearn.datasets import load_digits

from infogan.evaluation.metrics import fidelity
from infogan.evaluation.metrics.fidelity import BATCH, PCAFeatures, frechet_distance, kernel_distance


def cloud(count: int, features: int, seed: int) -> NDArray[np.float64]:
    """Return correlated Gaussian points."""
    rng = np.random.default_rng(seed)
    points: NDArray[np.float64] = rng.normal(size=(count, features)) @ rng.normal(size=(features, features))
    return points + rng.normal(size=features)


def whitened(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points with exactly zero mean and unit covariance."""
    centred = points - points.mean(axis=0)
    root = np.linalg.cholesky(np.linalg.inv(np.cov(centred, rowvar=False)))
    return np.asarray(centred @ root)


def test_equal_sets_have_distance_zero() -> None:
    points = cloud(200, 16, seed=0)
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(points, points[::-1]) == pytest.approx(0, abs=1e-9)


def test_shift_has_its_squared_length_as_distance() -> None:
    points, shift = cloud(300, 5, seed=1), np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    assert frechet_distance(points, points + shift) == pytest.approx(1 + 4 + 0.25 + 9, abs=1e-9)


def test_distance_of_axis_aligned_gaussians_has_a_closed_form() -> None:
    # Commuting covariances: Σ (σ_a - σ_b)², plus the shift.
    points = whitened(cloud(500, 3, seed=2))
    spread_a, spread_b, shift = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 0.1]), np.array([0.0, 1.0, 0.0])
    expected = np.square(spread_a - spread_b).sum() + 1
    assert frechet_distance(points * spread_a, points * spread_b + shift) == pytest.approx(expected, abs=1e-9)


def test_distance_in_one_feature_has_a_closed_form() -> None:
    points = whitened(cloud(50, 2, seed=3))[:, :1]
    assert frechet_distance(points, 4 * points + 2) == pytest.approx((4 - 1) ** 2 + 2**2, abs=1e-9)


def test_distance_agrees_with_the_general_matrix_root() -> None:
    a, b = cloud(400, 8, seed=4), cloud(150, 8, seed=5)
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = np.trace(sqrtm(covariance_a @ covariance_b)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_distance_is_exact_for_singular_covariances() -> None:
    # Two lines at a right angle in 40 dimensions: nothing overlaps, so the distance is the sum of the variances.
    line = np.linspace(-1, 1, 11)
    a, b = np.zeros((11, 40)), np.zeros((11, 40))
    a[:, 0], b[:, 1] = line, line
    assert frechet_distance(a, b) == pytest.approx(2 * line.var(ddof=1), abs=1e-12)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_distance_is_exact_for_fewer_images_than_features() -> None:
    points = cloud(10, 50, seed=6)
    assert frechet_distance(points, points + 1) == pytest.approx(50, rel=1e-9)


def test_distance_is_symmetric_and_invariant_under_rotation() -> None:
    a, b = cloud(90, 6, seed=7), cloud(80, 6, seed=8)
    rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(6, 6)))[0]
    distance = frechet_distance(a, b)
    assert distance > 1
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * distance, rel=1e-9)


def test_float32_features_are_computed_in_float64() -> None:
    # In float32 the mean of squares around 10,000 keeps no digit of a spread of 0.01.
    a = (whitened(cloud(4_000, 2, seed=10)) + 10_000).astype(np.float32)
    b = (a.astype(np.float64) + 1).astype(np.float32)
    assert frechet_distance(a, b) == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros(4), np.zeros((4, 1)), r"\(4,\)"),
        (np.zeros((4, 2)), np.zeros((1, 2)), r"\(1, 2\)"),
        (np.zeros((4, 2)), np.zeros((4, 3)), "2 and 3"),
        (np.full((4, 2), np.nan), np.zeros((4, 2)), "finite"),
    ],
)
def test_invalid_features_are_refused(a: NDArray[np.float64], b: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def brute_discrepancy(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the unbiased squared discrepancy, by loops over pairs of points."""

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float((sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3)

    def mean(pairs: list[float]) -> float:
        return sum(pairs) / len(pairs)

    within_a = mean([kernel(a[i], a[j]) for i in range(len(a)) for j in range(len(a)) if i != j])
    within_b = mean([kernel(b[i], b[j]) for i in range(len(b)) for j in range(len(b)) if i != j])
    return within_a + within_b - 2 * mean([kernel(x, y) for x in a for y in b])


def test_kernel_distance_equals_brute_force_on_its_subsets() -> None:
    a, b = cloud(40, 3, seed=11), cloud(40, 3, seed=12)
    random = np.random.default_rng(5)
    subsets = [np.split(random.permutation(40), 10) for _ in range(2)]
    values = [brute_discrepancy(a[rows_a], b[rows_b]) for rows_a, rows_b in zip(*subsets, strict=True)]
    distance = kernel_distance(a, b, seed=5)
    assert distance.value == pytest.approx(np.mean(values), rel=1e-9)
    assert distance.error == pytest.approx(np.std(values, ddof=1) / np.sqrt(10), rel=1e-9)


def test_kernel_distance_of_equal_distributions_is_within_its_error_of_zero() -> None:
    ratios = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        distance = kernel_distance(random.normal(size=(400, 4)), random.normal(size=(400, 4)))
        ratios.append(distance.value / distance.error)
    # Student's t of nine degrees: a deviation of 1.13, and a mean of 0 within three times 1.13 / √60.
    assert abs(np.mean(ratios)) < 0.45
    assert 0.85 < np.std(ratios) < 1.5


def test_kernel_distance_of_shifted_points_has_a_closed_form() -> None:
    # In one dimension (xy + 1)³ compares moments: 3 (Δ E x)² + 3 (Δ E x²)² + (Δ E x³)². N(0, 1) and N(1, 1) differ by
    # 1, 1 and 4 in them: 3 + 3 + 16.
    random = np.random.default_rng(0)
    a, b = random.normal(size=(20_000, 1)), random.normal(size=(20_000, 1)) + 1
    distance = kernel_distance(a, b)
    assert abs(distance.value - 22) < 3 * distance.error
    assert 0.1 < distance.error < 1


def test_few_images_bias_the_frechet_distance_but_not_the_kernel_distance() -> None:
    def both(count: int) -> tuple[float, float]:
        random = np.random.default_rng(count)
        values = []
        for _ in range(40):
            a, b = random.normal(size=(2, count, 8))
            values.append((kernel_distance(a, b).value, frechet_distance(a, b)))
        kernel, frechet = np.mean(values, axis=0)
        return float(kernel), float(frechet)

    few, many = both(40), both(400)
    assert few[1] > 5 * many[1]
    assert abs(few[0]) < 0.1 * few[1]


def test_kernel_distance_divides_all_images_into_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def count(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        sizes.append((len(a), len(b)))
        return 0.0

    monkeypatch.setattr(fidelity, "_squared_discrepancy", count)
    kernel_distance(np.zeros((14_500, 1)), np.zeros((20_000, 1)))
    assert sizes == [(1035, 1035)] * 14
    sizes.clear()
    kernel_distance(np.zeros((205, 1)), np.zeros((300, 1)))
    assert sizes == [(20, 20)] * 10


def test_kernel_distance_varies_with_the_seed_within_its_error() -> None:
    a, b = cloud(1000, 4, seed=13), cloud(1000, 4, seed=14)
    first, repeated, other = (kernel_distance(a, b, seed=seed) for seed in (0, 0, 1))
    assert first == repeated
    assert first != other
    assert abs(first.value - other.value) < 4 * first.error


def test_too_few_images_have_no_kernel_distance() -> None:
    with pytest.raises(ValueError, match=r"19.*20"):
        kernel_distance(np.zeros((19, 2)), np.zeros((40, 2)))
    with pytest.raises(ValueError, match="2 and 3"):
        kernel_distance(np.zeros((40, 2)), np.zeros((40, 3)))


def digits() -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = (load_digits().images * 15.9375).round().astype(np.uint8)[:, None]
    return images


def test_pca_features_are_the_eigenvectors_of_the_pixel_covariance() -> None:
    images = digits()
    space = PCAFeatures.fit(images, components=10)
    pixels = images.reshape(len(images), -1) / 255
    values = np.linalg.eigvalsh(np.cov(pixels, rowvar=False))[::-1]
    features = space(images)
    assert features.shape == (len(images), 10)
    assert features.mean(axis=0) == pytest.approx(np.zeros(10), abs=1e-5)
    assert np.cov(features, rowvar=False) == pytest.approx(np.diag(values[:10]), abs=1e-4)
    assert space.basis.T @ space.basis == pytest.approx(np.eye(10), abs=1e-5)


def test_all_components_preserve_distances_between_images() -> None:
    images = digits()[:500]
    space = PCAFeatures.fit(images)
    assert space.name == "pca64"
    features, pixels = space(images), images.reshape(500, -1) / 255
    assert np.linalg.norm(features[:-1] - features[1:], axis=1) == pytest.approx(
        np.linalg.norm(pixels[:-1] - pixels[1:], axis=1), abs=1e-5
    )


def test_components_of_large_images_capture_as_much_variance_as_exact_ones() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (150, 3, 4, 4))
    images = (np.kron(coarse, np.ones((1, 1, 12, 12))) + rng.integers(-9, 10, (150, 3, 48, 48))).astype(np.uint8)
    space = PCAFeatures.fit(images, components=16)
    captured = space(images).var(axis=0, ddof=1).sum()
    pixels = images.reshape(150, -1) / 255
    exact = np.square(np.linalg.svd(pixels - pixels.mean(axis=0), compute_uv=False))[:16].sum() / 149
    assert 0.999 * exact < captured < 1.0001 * exact


def test_same_images_give_the_same_space_in_any_batches() -> None:
    images = digits()
    space, repeated = PCAFeatures.fit(images), PCAFeatures.fit(images)
    assert (space.basis == repeated.basis).all()
    assert (space.mean == repeated.mean).all()
    features = space(images)
    assert len(images) > BATCH
    assert features[BATCH - 1 : BATCH + 1] == pytest.approx(space(images[BATCH - 1 : BATCH + 1]), abs=1e-12)


def test_fit_uses_images_from_the_whole_set(monkeypatch: pytest.MonkeyPatch) -> None:
    # In a set sorted by class, the first images contain only some classes.
    monkeypatch.setattr("infogan.evaluation.metrics.fidelity.PCA_IMAGES", 10)
    images = np.zeros((100, 1, 8, 8), dtype=np.uint8)
    images[50:] = 255
    assert PCAFeatures.fit(images, components=1).mean == pytest.approx(np.full((1, 8, 8), 0.5))


def test_few_images_give_fewer_components_and_another_name() -> None:
    assert PCAFeatures.fit(digits()[:20]).name == "pca19"


def test_no_images_give_empty_features() -> None:
    images = digits()[:100]
    assert PCAFeatures.fit(images, components=5)(images[:0]).shape == (0, 5)


def test_missing_mode_raises_the_distance() -> None:
    labels = load_digits().target
    space = PCAFeatures.fit(digits())
    features = space(digits())
    first, second = features[::2], features[1::2]
    floor = frechet_distance(first, second)
    assert frechet_distance(first, second[labels[1::2] != 0]) > 2 * floor


def test_invalid_images_are_refused() -> None:
    images = digits()[:100]
    with pytest.raises(ValueError, match=r"\(1, 1, 8, 8\)"):
        PCAFeatures.fit(images[:1])
    with pytest.raises(ValueError, match=r"\(100, 8, 8\)"):
        PCAFeatures.fit(images[:, 0])
    with pytest.raises(ValueError, match=r"\(1, 4, 8\).*pca3.*\(1, 8, 8\)"):
        PCAFeatures.fit(images, components=3)(images[:, :, :4])
