"""The scikit-learn estimator, by scikit-learn's own checks and as people use it."""

import pickle
from pathlib import Path
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

SMALL = {"networks.width": 4, "train.report_every": 1}
BLOBS = "asks that points in a plane are clustered in two steps, and points in a plane are no images"
# What scikit-learn asks of estimators and this one can not do, and why.
EXPECTED = {
    "check_clustering": BLOBS,
    "check_clustering(readonly_memmap=True)": BLOBS,
    "check_methods_subset_invariance": "asks for 1e-7; float32 adds in another order for another number of images",
}


def small(**given: Any) -> InfoGANEstimator:
    usual: dict[str, Any] = {"n_categories": 3, "n_continuous": 1, "recipe": "plain", "steps": 4, "random_state": 0}
    return InfoGANEstimator(**{**usual, **given, "options": SMALL | given.get("options", {})})


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [small(pad=True, steps=2)], expected_failed_checks=lambda _: EXPECTED
)
def test_it_does_what_scikit_learn_asks_of_estimators(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def fitted() -> InfoGANEstimator:
    return small().fit(bar_images(60))


def test_methods_agree_with_the_model(fitted: InfoGANEstimator) -> None:
    images = bar_images(60)
    read = fitted.model_.encode(images)
    assert np.array_equal(fitted.predict(images), read.codes["category"])
    assert np.array_equal(fitted.labels_, fitted.predict(images))
    probabilities = fitted.predict_proba(images)
    np.testing.assert_allclose(probabilities, read.probabilities["category"], atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    codes = fitted.transform(images)
    assert codes.shape == (60, 4)
    np.testing.assert_allclose(codes[:, 3], read.codes["knob1"], atol=1e-6)
    assert list(fitted.get_feature_names_out()) == ["category_0", "category_1", "category_2", "knob1"]
    np.testing.assert_allclose(fitted.score_samples(images), np.log(probabilities.max(axis=1)))
    mean = probabilities.mean(axis=0)
    information = (probabilities * np.log(probabilities / mean)).sum(axis=1).mean()  # KL to the marginal, on average
    assert fitted.score(images) == pytest.approx(information, abs=1e-9)
    assert [line["step"] for line in fitted.history_] == [1, 2, 3, 4]


def test_codes_become_images_in_the_units_of_the_data(fitted: InfoGANEstimator) -> None:
    rows = fitted.inverse_transform(np.array([[0, 1, 0, 0.5], [1, 0, 0, 7]]))
    assert rows.shape == (2, 64)
    assert rows.dtype == np.uint8
    noise = fitted.model_.noise(1).repeat(2, 1)
    assert np.array_equal(rows, fitted.model_.generate(noise, {"category": [1, 0], "knob1": [0.5, 1]}).reshape(2, -1))
    digits = load_digits().data  # from 0 to 16
    other = small().fit(digits[:100])
    assert list(other.value_range_) == [0, 16]
    made = other.inverse_transform(other.transform(digits[:5]))
    assert made.shape == (5, 64)
    assert ((made >= 0) & (made <= 16)).all()
    drawn, values = other.sample(7)
    assert drawn.shape == (7, 64)
    assert set(values.tolist()) <= {0, 1, 2}
    assert np.array_equal(other.sample(7)[0], drawn)
    with pytest.raises(ValueError, match=r"\(5, 3\).*\(samples, 4\)"):
        other.inverse_transform(np.zeros((5, 3)))


@pytest.mark.parametrize("shape", [(-1, 64), (-1, 8, 8), (-1, 1, 8, 8), (-1, 8, 8, 1)])
def test_images_may_be_laid_out_as_they_are(shape: tuple[int, ...], fitted: InfoGANEstimator) -> None:
    images = bar_images(60)
    assert np.array_equal(small().fit(images.reshape(shape)).labels_, fitted.labels_)
    assert np.array_equal(fitted.predict(images.reshape(shape)), fitted.labels_)


def test_colour_images_and_rows_of_another_length() -> None:
    colour = np.random.default_rng(0).random((40, 3 * 64))
    assert small().fit(colour).image_shape_ == (3, 8, 8)
    padded = small(pad=True).fit(colour[:, :70])
    assert padded.image_shape_ == (1, 9, 9)
    assert padded.inverse_transform(padded.transform(colour[:2, :70])).shape == (2, 70)
    assert small(image_shape=(1, 8, 8)).fit(colour[:, :64]).image_shape_ == (1, 8, 8)


@pytest.mark.parametrize(
    ("images", "given", "sentence"),
    [
        (np.zeros((40, 70)), {}, "70 features.* 8 to 128 pixels"),
        (np.zeros((40, 64)), {"image_shape": (1, 9, 9)}, "64 features.* image_shape"),
        (np.zeros((40, 2, 8, 8)), {}, r"\(2, 8, 8\).* 1 or 3 channels"),
        (np.full((40, 64), np.nan), {}, "NaN"),
        (np.full((40, 64), 2.0), {"value_range": (0, 1)}, "X has values from 2 to 2; value_range allows 0 to 1"),
        (np.zeros((1, 64)), {}, "minimum of 2 is required"),
        (np.array([["a"] * 64] * 40), {}, "could not convert"),
        (np.zeros((40, 64)), {"recipe": "nothing"}, "unknown preset 'nothing'"),
        (np.zeros((40, 64)), {"options": {"train.nothing": 1}}, "nothing"),
    ],
)
def test_what_can_not_be_learned_from_is_refused(images: Any, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        small(**given).fit(images)


def test_other_images_than_it_saw_are_refused(fitted: InfoGANEstimator) -> None:
    with pytest.raises(ValueError, match=r"X has 81 features, but InfoGANEstimator is expecting 64"):
        fitted.predict(np.zeros((3, 81)))
    with pytest.raises(NotFittedError):
        small().predict(bar_images(3))


def test_learning_goes_on_bit_for_bit_as_one_run_would() -> None:
    images = bar_images(64)
    options = {"train.batch_size": 16, "train.ema_half_life": 0}
    parts, whole = small(options=options, steps=3), small(options=options, steps=6)
    parts.partial_fit(images).partial_fit(images)
    whole.partial_fit(images)
    for one, other in zip(parts.model_.networks.parameters(), whole.model_.networks.parameters(), strict=True):
        assert np.array_equal(one.numpy(), other.numpy())
    assert [line["step"] for line in parts.history_] == [1, 2, 3, 4, 5, 6]
    passes = small(options=options, steps=None).partial_fit(images).partial_fit(images[:32])
    assert passes.history_[-1]["step"] == 4 + 2
    with pytest.raises(AttributeError) as caught:
        InfoGANEstimator().partial_fit(images)
    assert "several stages" in str(caught.value.__cause__)
    assert parts.fit(images).history_[-1]["step"] == 3  # which begins anew


def test_pickles_clones_and_copies_do_the_same(fitted: InfoGANEstimator) -> None:
    state = pickle.dumps(fitted)
    assert b"torch" not in state  # what a pickle holds of a model are bytes and words
    again = pickle.loads(state)
    assert np.array_equal(again.transform(bar_images(9)), fitted.transform(bar_images(9)))
    begun = pickle.loads(pickle.dumps(small().partial_fit(bar_images(40))))
    assert begun.partial_fit(bar_images(40)).history_[-1]["step"] == 8
    fresh = clone(fitted)
    assert not hasattr(fresh, "model_")
    assert np.array_equal(fresh.fit(bar_images(60)).labels_, fitted.labels_)


def test_it_serves_in_pipelines_and_searches() -> None:
    images, labels = bar_images(80).reshape(80, -1), np.arange(80) % 2
    pipeline = make_pipeline(small().set_output(transform="default"), KNeighborsClassifier(3)).fit(images, labels)
    assert pipeline.predict(images[:4]).shape == (4,)
    search = GridSearchCV(small(), {"n_categories": [2, 3]}, cv=2).fit(images)
    assert search.best_params_["n_categories"] in (2, 3)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_steps_are_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    small(on_step=lambda done, whole: told.append((done, whole))).fit(bar_images(40))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_time_that_is_too_short_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infogan.training.time_budget._measure", lambda *_: (0.0, [0.1]))
    with pytest.warns(ConvergenceWarning, match=r"3 s leave 2\d steps .* good pictures want"):
        InfoGANEstimator(2, recipe="plain", budget=3, options={"networks.width": 4}).fit(bar_images(64))


@pytest.mark.slow
def test_digits_are_clustered_well() -> None:
    digits = load_digits()
    found = InfoGANEstimator(10, budget=60, random_state=0).fit(digits.data)
    assert adjusted_rand_score(digits.target, found.labels_) > 0.8
