"""The scikit-learn estimator: scikit-learn's own checks, and what its methods return."""

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from infogan import InfoGANEstimator
from tests.helpers import bar_images

OPTIONS = {"networks.width": 4, "train.report_every": 1}
BLOBS = "expects that points in a plane are clustered after two steps; they are not images"
# Checks of scikit-learn that the estimator cannot pass, and why.
EXPECTED_FAILURES = {
    "check_clustering": BLOBS,
    "check_clustering(readonly_memmap=True)": BLOBS,
    "check_methods_subset_invariance": "expects 1e-7; float32 sums depend on the number of images",
}


def small(**arguments: Any) -> InfoGANEstimator:
    defaults: dict[str, Any] = {"n_categories": 3, "n_continuous": 1, "recipe": "plain", "steps": 4, "random_state": 0}
    return InfoGANEstimator(**{**defaults, **arguments, "options": OPTIONS | arguments.get("options", {})})


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [small(pad=True, steps=2)], expected_failed_checks=lambda _: EXPECTED_FAILURES
)
def test_checks_of_scikit_learn_pass(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def fitted() -> InfoGANEstimator:
    return small().fit(bar_images(60))


def test_methods_return_what_the_model_returns(fitted: InfoGANEstimator) -> None:
    images = bar_images(60)
    encoding = fitted.model_.encode(images)
    assert np.array_equal(fitted.predict(images), encoding.codes["category"])
    assert np.array_equal(fitted.labels_, fitted.predict(images))
    probabilities = fitted.predict_proba(images)
    np.testing.assert_allclose(probabilities, encoding.probabilities["category"], atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    codes = fitted.transform(images)
    assert codes.shape == (60, 4)
    np.testing.assert_allclose(codes[:, 3], encoding.codes["knob1"], atol=1e-6)
    assert list(fitted.get_feature_names_out()) == ["category_0", "category_1", "category_2", "knob1"]


def test_scores_are_certainty_and_information(fitted: InfoGANEstimator) -> None:
    images = bar_images(60)
    probabilities = fitted.predict_proba(images)
    np.testing.assert_allclose(fitted.score_samples(images), np.log(probabilities.max(axis=1)))
    mean = probabilities.mean(axis=0)
    information = (probabilities * np.log(probabilities / mean)).sum(axis=1).mean()  # mean KL to the marginal
    assert fitted.score(images) == pytest.approx(information, abs=1e-9)


def test_history_has_the_records_of_training(fitted: InfoGANEstimator) -> None:
    assert [record["step"] for record in fitted.history_] == [1, 2, 3, 4]
    assert "generator/adversarial" in fitted.history_[0]


def test_codes_are_transformed_to_images(fitted: InfoGANEstimator) -> None:
    rows = fitted.inverse_transform(np.array([[0, 1, 0, 0.5], [1, 0, 0, 7]]))
    assert rows.shape == (2, 64)
    assert rows.dtype == np.uint8
    noise = fitted.model_.noise(1).repeat(2, 1)
    expected = fitted.model_.generate(noise, {"category": [1, 0], "knob1": [0.5, 1]})
    assert np.array_equal(rows, expected.reshape(2, -1))


def test_images_have_the_units_of_the_data() -> None:
    digits = load_digits().data  # from 0 to 16
    estimator = small().fit(digits[:100])
    assert list(estimator.value_range_) == [0, 16]
    images = estimator.inverse_transform(estimator.transform(digits[:5]))
    assert images.shape == (5, 64)
    assert ((images >= 0) & (images <= 16)).all()
    samples, categories = estimator.sample(7)
    assert samples.shape == (7, 64)
    assert set(categories.tolist()) <= {0, 1, 2}
    assert np.array_equal(estimator.sample(7)[0], samples)
    with pytest.raises(ValueError, match=r"\(5, 3\).*\(samples, 4\)"):
        estimator.inverse_transform(np.zeros((5, 3)))


@pytest.mark.parametrize("shape", [(-1, 64), (-1, 8, 8), (-1, 8, 8, 1)])
def test_layouts_of_images_are_equivalent(shape: tuple[int, ...], fitted: InfoGANEstimator) -> None:
    images = bar_images(60)
    assert np.array_equal(fitted.predict(images.reshape(shape)), fitted.labels_)
    assert np.array_equal(small().fit(images.reshape(shape)).labels_, fitted.labels_)


def test_shapes_of_rows_are_recognised_or_passed() -> None:
    colour = np.random.default_rng(0).random((40, 3 * 64))
    assert small(steps=1).fit(colour).image_shape_ == (3, 8, 8)
    padded = small(steps=1, pad=True).fit(colour[:, :70])
    assert padded.image_shape_ == (1, 9, 9)
    assert padded.inverse_transform(padded.transform(colour[:2, :70])).shape == (2, 70)
    assert small(steps=1, image_shape=(1, 8, 8)).fit(colour[:, :64]).image_shape_ == (1, 8, 8)


@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (np.zeros((40, 70)), {}, "70 features.*image_shape.*pad=True"),
        (np.zeros((40, 64)), {"image_shape": (1, 9, 9)}, r"64 features.*\(1, 9, 9\)"),
        (np.zeros((40, 2, 8, 8)), {}, r"\(2, 8, 8\).*1 or 3 channels"),
        (np.full((40, 64), np.nan), {}, "NaN"),
        (np.full((40, 64), 2.0), {"value_range": (0, 1)}, "from 2 to 2.*allows 0 to 1"),
        (np.zeros((1, 64)), {}, "minimum of 2 is required"),
        (np.array([["a"] * 64] * 40), {}, "could not convert"),
        (np.zeros((40, 64)), {"recipe": "nothing"}, "unknown recipe 'nothing'"),
        (np.zeros((40, 64)), {"options": {"train.nothing": 1}}, "train.nothing"),
    ],
)
def test_invalid_images_and_arguments_are_refused(images: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**arguments).fit(images)


def test_images_of_another_shape_are_refused(fitted: InfoGANEstimator) -> None:
    with pytest.raises(ValueError, match=r"81 features.*expecting 64"):
        fitted.predict(np.zeros((3, 81)))
    with pytest.raises(ValueError, match=r"192 features.*expecting 64"):
        fitted.predict(np.zeros((3, 3, 8, 8)))
    with pytest.raises(NotFittedError):
        small().predict(bar_images(3))


PARTIAL = {"train.batch_size": 16, "train.ema_half_life": 0}


def test_partial_fits_equal_one_run_bit_for_bit() -> None:
    images = bar_images(64)
    parts, once = small(options=PARTIAL, steps=3), small(options=PARTIAL, steps=6)
    parts.partial_fit(images).partial_fit(images)
    once.partial_fit(images)
    for first, second in zip(parts.model_.networks.parameters(), once.model_.networks.parameters(), strict=True):
        assert np.array_equal(first.numpy(), second.numpy())
    assert [record["step"] for record in parts.history_] == [1, 2, 3, 4, 5, 6]
    assert parts.fit(images).history_[-1]["step"] == 3  # fit starts again


def test_partial_fit_passes_once_over_its_images_by_default() -> None:
    images = bar_images(64)
    estimator = small(options=PARTIAL, steps=None).partial_fit(images).partial_fit(images[:32])
    assert estimator.history_[-1]["step"] == 4 + 2


def test_partial_fit_needs_a_recipe_of_one_stage() -> None:
    with pytest.raises(AttributeError) as caught:
        InfoGANEstimator().partial_fit(bar_images(64))
    assert "several stages" in str(caught.value.__cause__)


def test_pickled_estimator_predicts_the_same(fitted: InfoGANEstimator) -> None:
    content = pickle.dumps(fitted)
    assert b"torch" not in content  # the model is text and bytes in it
    loaded = pickle.loads(content)
    assert np.array_equal(loaded.transform(bar_images(9)), fitted.transform(bar_images(9)))


def test_pickled_estimator_continues_partial_fit() -> None:
    estimator = pickle.loads(pickle.dumps(small().partial_fit(bar_images(40))))
    assert estimator.partial_fit(bar_images(40)).history_[-1]["step"] == 8


def test_clone_is_not_fitted_and_trains_the_same(fitted: InfoGANEstimator) -> None:
    copy = clone(fitted)
    assert not hasattr(copy, "model_")
    assert np.array_equal(copy.fit(bar_images(60)).labels_, fitted.labels_)


def test_estimator_works_in_pipelines_and_searches() -> None:
    images, labels = bar_images(80).reshape(80, -1), np.arange(80) % 2
    pipeline = make_pipeline(small().set_output(transform="default"), KNeighborsClassifier(3)).fit(images, labels)
    assert pipeline.predict(images[:4]).shape == (4,)
    search = GridSearchCV(small(), {"n_categories": [2, 3]}, cv=2).fit(images)
    assert search.best_params_["n_categories"] in (2, 3)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_callback_is_called_after_every_step() -> None:
    calls: list[tuple[int, int]] = []
    small(on_step=lambda step, steps: calls.append((step, steps))).fit(bar_images(40))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_budget_that_is_too_short_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infogan.training.time_budget._measure", lambda *_: (0.0, [0.1]))
    with pytest.warns(ConvergenceWarning, match=r"budget of 3 s leaves 2\d GAN steps"):
        InfoGANEstimator(2, recipe="plain", budget=3, options={"networks.width": 4}).fit(bar_images(64))


def test_default_batch_is_made_small_enough_for_the_images() -> None:
    estimator = small(steps=1).fit(bar_images(20))
    assert estimator.history_[0]["images"] == 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a budget of 120 s")  # a slow machine has few GAN steps, but the same categories
def test_digits_are_clustered_well() -> None:
    digits = load_digits()
    estimator = InfoGANEstimator(10, budget=120, random_state=0).fit(digits.data)
    assert adjusted_rand_score(digits.target, estimator.labels_) > 0.8
