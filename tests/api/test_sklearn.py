"""The scikit-learn estimator: scikit-learn's own checks, and what its methods return."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from infogan import InfoGANEstimator
from infogan.models.results import Samples
from infogan.training.time_budget import Timing
from tests.helpers import bar_images, image_set

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


@pytest.mark.parametrize(
    "images",
    [
        list(bar_images(60)),
        tuple(bar_images(60)[:, 0]),
        torch.from_numpy(bar_images(60)),
        list(torch.from_numpy(bar_images(60))),
        [Image.fromarray(image[0]) for image in bar_images(60)],
        [(image, 1) for image in bar_images(60)],
        Samples(bar_images(60), {}),
        image_set(60),
    ],
    ids=lambda images: type(images).__name__,
)
def test_images_of_any_kind_are_taken(images: Any, fitted: InfoGANEstimator) -> None:
    assert np.array_equal(small().fit(images).labels_, fitted.labels_)
    assert np.array_equal(fitted.predict(images), fitted.labels_)
    assert np.array_equal(fitted.transform(images), fitted.transform(bar_images(60)))


def test_columns_of_tables_are_pixels_or_images(fitted: InfoGANEstimator) -> None:
    pandas = pytest.importorskip("pandas", reason="needs the extra [integration]")
    table = pandas.DataFrame({"image": list(bar_images(60)) * 2, "part": np.arange(120) // 60})
    for images in (table[table["part"] == 1], table[table["part"] == 1]["image"]):
        assert np.array_equal(fitted.predict(images), fitted.labels_)
    pixels = pandas.DataFrame(bar_images(60).reshape(60, -1), columns=[f"pixel{number}" for number in range(64)])
    estimator = small().fit(pixels)
    assert np.array_equal(estimator.predict(pixels), fitted.labels_)
    assert list(estimator.feature_names_in_)[:2] == ["pixel0", "pixel1"]


def test_half_precision_has_the_range_of_its_numbers() -> None:
    floats = torch.from_numpy(bar_images(60)) / 255
    assert small().fit(floats.bfloat16()).value_range_ == (0, float(floats.bfloat16().max()))


def test_unusable_images_are_refused_and_named(fitted: InfoGANEstimator) -> None:
    images: list[Any] = [Image.fromarray(image[0]) for image in bar_images(3)]
    with pytest.raises(ValueError, match="item 1"):
        fitted.predict([images[0], "nowhere.png", images[2]])
    with pytest.raises(ValueError, match="different shapes"):
        small().fit([np.zeros((8, 8)), np.zeros((9, 9))])


def test_shapes_of_rows_are_recognised_or_passed() -> None:
    colour = np.random.default_rng(0).random((40, 3 * 64))
    assert small(steps=1).fit(colour).image_shape_ == (3, 8, 8)
    padded = small(steps=1, pad=True).fit(colour[:, :70])
    assert padded.image_shape_ == (1, 9, 9)
    assert padded.inverse_transform(padded.transform(colour[:2, :70])).shape == (2, 70)
    for shape in ((1, 8, 8), (8, 8), np.array([8, 8]), torch.tensor([1, 8, 8]), [np.int64(8), 8.0]):
        assert small(steps=1, image_shape=shape).fit(colour[:, :64]).image_shape_ == (1, 8, 8)


def test_range_may_be_reversed() -> None:
    images = bar_images(60)
    reversed_, plain = small(value_range=(255, 0)).fit(images), small().fit(255 - images)
    assert reversed_.model_.digest() == plain.model_.digest()
    assert np.array_equal(reversed_.predict(images), plain.labels_)
    assert np.array_equal(
        reversed_.inverse_transform(reversed_.transform(images)),
        255 - plain.inverse_transform(plain.transform(255 - images)),
    )
    with pytest.raises(ValueError, match=r"from -1 to 256.*allows 0 to 255"):
        reversed_.predict(np.array([[-1.0] * 32 + [256.0] * 32]))


def test_values_of_another_range_are_a_warning() -> None:
    images = bar_images(60)
    floats = images / 255
    on_bytes, on_floats = small().fit(images), small().fit(floats)
    with pytest.warns(UserWarning, match=r"from 0 to 0\.9.*black is 0 and white is 255"):
        on_bytes.predict(floats)
    with pytest.warns(UserWarning, match=r"from 0 to 230.*white is 0\.9"):
        on_floats.predict(images)
    with pytest.warns(UserWarning, match="from 0 to 14.*white is 255"):
        small().fit(images // 16)
    with pytest.warns(UserWarning, match=r"from 0 to 0\.9.*black is 255 and white is 0"):
        small(value_range=(255, 0)).fit(floats)
    # Neither dark images, nor the same values of another type, nor values a little outside the range.
    for same in (images.astype(np.float64), images // 16, np.zeros((2, 8, 8)), np.full((2, 8, 8), 31.9)):
        on_bytes.predict(same)
    for same in (floats, floats.astype(np.float32), floats * 7.9, floats - 6):
        on_floats.predict(same)


@pytest.mark.parametrize("largest", [31, 32])
def test_range_is_narrow_below_an_eighth_of_it(largest: int, fitted: InfoGANEstimator) -> None:
    images = np.full((2, 64), float(largest))
    if largest / 255 < 1 / 8:
        with pytest.warns(UserWarning, match="white is 255"):
            fitted.predict(images)
    else:
        fitted.predict(images)


def test_arguments_may_be_numbers_of_any_library(fitted: InfoGANEstimator) -> None:
    for number in (np.int64, np.float32, np.array, torch.tensor):
        options = {"train.batch_size": number(60)}
        arguments = {"n_categories": number(3), "n_continuous": number(1), "steps": number(4), "options": options}
        estimator = small(**arguments, random_state=0 if number is np.float32 else number(0), pad=np.True_)
        estimator.fit(bar_images(60))
        assert np.array_equal(estimator.labels_, fitted.labels_)
        assert np.array_equal(estimator.transform(bar_images(9)), fitted.transform(bar_images(9)))
        assert len(estimator.sample(number(2))[0]) == len(estimator.get_feature_names_out()) / 2 == 2
        partial = small(**arguments).partial_fit(bar_images(60)).partial_fit(bar_images(60))
        assert partial.history_[-1]["step"] == 8


@pytest.mark.parametrize("count", [30, 100, 255])
def test_few_images_are_enough_to_train(count: int) -> None:
    options = {"networks.width": 4, "networks.encoder_width": 4}
    estimator = InfoGANEstimator(5, steps=8, random_state=0, options=options).fit(bar_images(count))
    assert estimator.labels_.shape == (count,)


@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (np.zeros((40, 70)), {}, "70 features.*image_shape.*pad=True"),
        (np.zeros((40, 64)), {"image_shape": (1, 9, 9)}, r"64 features.*\(1, 9, 9\)"),
        (np.zeros((40, 17, 20, 20)), {}, r"\(17, 20, 20\).*1 to 16 channels"),
        (np.full((40, 64), np.nan), {}, "NaN"),
        (np.full((40, 64), 2.0), {"value_range": (0, 1)}, "from 2 to 2.*allows 0 to 1"),
        (np.zeros((1, 64)), {}, "minimum of 2 is required"),
        (bar_images(6), {"n_categories": 5}, "X has 6 images; at least"),
        (bar_images(40), {"image_shape": (9, 9)}, r"\(1, 8, 8\); image_shape is \(1, 9, 9\)"),
        (bar_images(40), {"image_shape": (8,)}, r"image_shape is \(8,\)"),
        (bar_images(40), {"image_shape": (8.5, 8)}, "whole number .*not 8.5"),
        (bar_images(40), {"value_range": (255, 255)}, r"\[255, 255\]"),
        (bar_images(40), {"value_range": (0, float("nan"))}, "nan"),
        (bar_images(40), {"value_range": (0, float("inf"))}, "inf"),
        (bar_images(40), {"value_range": 255}, "value_range is 255"),
        (bar_images(40), {"n_categories": float("nan")}, "nan"),
        (bar_images(40), {"n_continuous": np.float32("nan")}, "nan"),
        (bar_images(40), {"steps": float("nan")}, "nan"),
        (bar_images(40), {"random_state": float("nan")}, "nan"),
        (iter(bar_images(40)), {}, "is not a set of images"),
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
    monkeypatch.setattr("infogan.api.resolve.measure", lambda *_: Timing(0.0, (0.01,)))
    with pytest.warns(ConvergenceWarning, match=r"budget of 3 s leaves 25\d GAN steps"):
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


def test_fit_sets_a_verdict() -> None:
    options = {"networks.width": 4, "networks.encoder_width": 4}
    estimator = InfoGANEstimator(2, steps=8, options=options, random_state=0).fit(bar_images(300))
    assert estimator.verdict_.trust == ("no" not in (estimator.verdict_.groups, estimator.verdict_.pictures))
    # The features of the first stage are known, so that categories can be judged.
    assert {"halves", "several_share"} <= {trace.name for trace in estimator.verdict_.evidence}


@pytest.mark.parametrize("form", ["array", "file"])
def test_pretrained_features_find_the_categories(form: str, tmp_path: Path) -> None:
    random, labels = np.random.default_rng(0), np.arange(150) % 3
    images = random.integers(0, 60, (150, 8, 8)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 1 : 2 * label + 3] = 230
    features: Any = np.eye(3)[labels] @ random.normal(0, 1, (3, 4)) + random.normal(0, 0.05, (150, 4))
    if form == "file":
        np.save(tmp_path / "features.npy", features)
        features = str(tmp_path / "features.npy")
    options = {"networks.width": 4, "networks.encoder_width": 4, "train.batch_size": 16, "augment.shift": None}
    estimator = InfoGANEstimator(3, features=features, steps=400, options=options, random_state=0).fit(images)
    assert adjusted_rand_score(labels, estimator.labels_) > 0.9
    assert estimator.verdict_.groups in ("yes", "with care")
    with pytest.raises(ValueError, match="150 vectors, but there are 100 images"):
        clone(estimator).fit(images[:100])
