"""Evaluation: which metrics are measured, on which images, and how they are printed.

The metrics themselves have tests in `tests.evaluation.metrics`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.data import some_indices
from infogan.data.factors import Factors
from infogan.evaluation import metric_groups
from infogan.evaluation.descriptions import current_code_names, latest_metrics, metric_rows
from infogan.evaluation.evaluate import evaluate
from infogan.evaluation.metric_groups import IGNORED, METRICS, EvaluationInputs, MetricContext
from infogan.evaluation.metrics import clustering
from infogan.evaluation.metrics.disentanglement import disentanglement
from infogan.evaluation.metrics.fidelity import PCAFeatures
from infogan.evaluation.metrics.neighbours import precision_recall
from infogan.evaluation.summary import grade, summary
from infogan.models.infogan import InfoGAN
from infogan.models.results import Encoding
from infogan.utils.errors import UserError
from tests.helpers import image_set, model_without_recognizer, small_config, small_model

CODES: list[dict[str, Any]] = [{"kind": "categorical", "size": 2}, {"kind": "continuous"}]
FEW: dict[str, Any] = {"samples": 200, "bootstrap_draws": 20}


def encoding(categories: NDArray[np.int64], **knobs: NDArray[np.float32]) -> Encoding:
    """Return an encoding that is certain about the categories."""
    posterior = np.eye(2, dtype=np.float32)[categories]
    return Encoding(
        {"category": categories, **knobs}, {"category": posterior}, {}, np.zeros(len(posterior), np.float32)
    )


def mock_encode(monkeypatch: pytest.MonkeyPatch, encode: Callable[[NDArray[np.uint8]], Encoding]) -> None:
    monkeypatch.setattr(InfoGAN, "encode", lambda self, images: encode(images))


def ignored_codes(monkeypatch: pytest.MonkeyPatch, estimate: float = 0.0, **bounds: float) -> list[str]:
    """Return the ignored codes of a model with these bounds on information, and this estimate for the knob."""
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    entropies = {"category": math.log(3), "knob1": math.log(2)}

    def log_likelihoods(self: InfoGAN, images: NDArray[np.uint8], codes: object) -> dict[str, NDArray[np.float64]]:
        return {name: np.full(len(images), bound - entropies[name]) for name, bound in bounds.items()}

    monkeypatch.setattr(InfoGAN, "log_likelihoods", log_likelihoods)
    monkeypatch.setattr(metric_groups, "categorical_information", lambda *_: 0.0)
    monkeypatch.setattr(metric_groups, "continuous_information", lambda *_: estimate)
    result = evaluate(EvaluationInputs(model, image_set(), None, 0), ["information"], **FEW)
    assert result["information"] == pytest.approx(bounds, abs=1e-6)
    assert result["entropy"] == pytest.approx(entropies, abs=1e-6)
    ignored: list[str] = result["ignored"]
    assert [line.split()[0] for line in summary(result) if "is ignored" in line] == ignored
    return ignored


def test_code_with_almost_no_information_in_images_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ignored_codes(monkeypatch, category=1.0, knob1=0.7) == []
    assert ignored_codes(monkeypatch, category=1.0, knob1=IGNORED - 0.01) == ["knob1"]
    assert ignored_codes(monkeypatch, category=IGNORED + 0.01, knob1=-0.2) == ["knob1"]
    assert ignored_codes(monkeypatch, category=0.0, knob1=-0.2) == ["category", "knob1"]
    # Both are lower bounds: a recognizer that misjudges its certainty lowers only the first.
    assert ignored_codes(monkeypatch, category=1.0, knob1=-0.2, estimate=IGNORED + 0.01) == []
    assert ignored_codes(monkeypatch, category=1.0, knob1=-0.2, estimate=IGNORED - 0.01) == ["knob1"]


def test_every_metric_has_a_line_in_the_summary_and_a_meaning() -> None:
    inputs = EvaluationInputs(small_model(codes=CODES), image_set(200), image_set(120), 0)
    result = evaluate(inputs, samples=300, bootstrap_draws=20)
    space = "pca64"
    metrics = {"accuracy", "purity", "nmi", "ari", "calibration_error", "brier", "log_loss", f"kernel_{space}"}
    metrics |= {f"{name}_{space}" for name in ("frechet", "precision", "recall", "density", "coverage")}
    metrics |= {f"kernel_{space}_error", f"kernel_{space}_train_to_test", f"frechet_{space}_train_to_test"}
    groups = {"information", "information_estimate", "entropy", "ignored", "verdict", "tree", "example"}
    assert metrics | groups | {"protocol", "protocols", "intervals"} == set(result)
    rows = {row[0]: row[1:] for row in metric_rows(result, {"knob1": "width"})}
    for name in metrics:
        value, meaning = rows[name.replace("_", " ")]
        interval = result["intervals"].get(name)
        assert value == f"{result[name]:.4f}" + (f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else "")
        assert meaning
    assert {"accuracy", "purity", "nmi", "ari", "information/category", "information/knob1"} == set(result["intervals"])
    low, high = result["intervals"]["information/knob1"]
    value, meaning = rows["information of width"]
    assert value == f"{result['information']['knob1']:.3f} ({low:.3f} to {high:.3f}) nats"
    assert f"{result['information_estimate']['knob1']:.3f} nats" in meaning
    lines = "\n".join(summary(result))
    for name in ("brier", "log_loss", "calibration_error"):
        assert f"{result[name]:.4f}" in lines
    assert f"kernel pca64: {result['kernel_pca64']:.3g} +- {result['kernel_pca64_error']:.2g}" in lines
    multiple = result["frechet_pca64"] / result["frechet_pca64_train_to_test"]
    assert f"{multiple:.1f} times" in lines
    measured = summary(result)[: summary(result).index(f"({result['protocol']})")]
    judged = [line for line in measured if ": good" in line or ": fair" in line or ": poor" in line]
    assert len(judged) == len(measured) - 1  # all but the kernel distance
    assert f"density {result['density_pca64']:.3f}, coverage {result['coverage_pca64']:.3f}" in lines
    assert f"model-free estimate {result['information_estimate']['knob1']:.3f} nats" in lines
    assert "120 images, fitted on train" in lines


@pytest.mark.parametrize(
    ("value", "good", "fair", "word"),
    [
        (0.9, 0.9, 0.7, "good"),
        (0.89, 0.9, 0.7, "fair"),
        (0.7, 0.9, 0.7, "fair"),
        (0.69, 0.9, 0.7, "poor"),
        (3.0, 3, 10, "good"),
        (3.1, 3, 10, "fair"),
        (10.1, 3, 10, "poor"),
    ],
)
def test_numbers_are_graded_by_their_limits(value: float, good: float, fair: float, word: str) -> None:
    assert grade(value, good, fair) == word


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].by_default])
def test_each_group_can_be_measured_alone(name: str) -> None:
    values = np.random.default_rng(0).integers(3, size=(120, 2))
    images = replace(image_set(120), factors=Factors(("kind", "size"), (3, 3), values))
    result = evaluate(EvaluationInputs(small_model(codes=CODES), images, None, 0), [name], **FEW)
    assert len(result) > 3  # intervals and protocols are always present
    assert len(summary(result)) > 1
    assert list(result["protocols"]) == [name]
    assert "seed 0" in result["protocols"][name] or "120 images" in result["protocols"][name]


def test_all_lists_what_could_not_be_measured() -> None:
    inputs = EvaluationInputs(model_without_recognizer("gan"), image_set(120), None, 0)
    result = evaluate(inputs, ["kernel", "all"], **FEW)
    assert {"clusters", "information", "disentanglement", "trust"} <= set(result["left_out"])
    assert set(result["protocols"]) >= {"frechet", "kernel", "neighbours"}
    assert next(iter(result["protocols"])) == "kernel"
    assert any(line.startswith("clusters was not measured: ") for line in summary(result))
    with pytest.raises(UserError, match=r"clusters.*recognizer"):
        evaluate(inputs, ["clusters"])
    with pytest.raises(UserError, match="frechet"):
        evaluate(inputs, ["frechte"])


@pytest.mark.parametrize("counts", [{"samples": 99}, {"bootstrap_draws": 1}])
def test_too_small_counts_are_refused(counts: dict[str, int]) -> None:
    inputs = EvaluationInputs(small_model(codes=CODES), image_set(120), None, 0)
    with pytest.raises(UserError, match=str(next(iter(counts.values())))):
        evaluate(inputs, ["information"], **counts)


@pytest.mark.parametrize("name", ["samples", "bootstrap_draws"])
def test_counts_may_be_of_any_library_but_must_be_whole(name: str) -> None:
    inputs = EvaluationInputs(small_model(codes=CODES), image_set(120), None, 0)
    expected = evaluate(inputs, ["information"], **FEW)
    for number in (np.int64, np.float32, np.array):
        counts = FEW | {name: number(FEW[name])}
        assert evaluate(inputs, ("information",), **counts) == expected
    for wrong in (float("nan"), float("inf"), 200.5):
        with pytest.raises(UserError, match="must be a whole number"):
            evaluate(inputs, ["information"], **FEW | {name: wrong})


def test_intervals_have_the_width_of_sampling_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    images = image_set(2000)
    assert images.labels is not None
    random = np.random.default_rng(0)
    categories = np.where(random.random(2000) < 0.8, images.labels, 1 - images.labels)
    likelihoods = random.normal(-0.5, 0.3, 2000)

    def encode(images: NDArray[np.uint8]) -> Encoding:
        return encoding(categories[: len(images)], knob1=np.zeros(len(images), np.float32))

    def log_likelihoods(self: InfoGAN, images: NDArray[np.uint8], codes: object) -> dict[str, NDArray[np.float64]]:
        return {name: likelihoods[: len(images)] for name in ("category", "knob1")}

    mock_encode(monkeypatch, encode)
    monkeypatch.setattr(InfoGAN, "log_likelihoods", log_likelihoods)
    inputs = EvaluationInputs(small_model(codes=CODES), images, None, 0)
    result = evaluate(inputs, ["clusters", "information"], samples=2000)
    share = (categories == images.labels).mean()
    low, high = result["intervals"]["accuracy"]
    # The normal approximation of a share and of a mean: half an interval is 1.96 standard errors.
    assert (low + high) / 2 == pytest.approx(share, abs=0.003)
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(share * (1 - share) / 2000), rel=0.15)
    low, high = result["intervals"]["information/category"]
    assert (low + high) / 2 == pytest.approx(likelihoods.mean() + math.log(2), abs=0.002)
    assert (high - low) / 2 == pytest.approx(1.96 * likelihoods.std() / math.sqrt(2000), rel=0.15)
    for name in ("purity", "nmi", "ari"):
        low, high = result["intervals"][name]
        assert low < result[name] < high


def test_centred_intervals_of_few_images_in_many_classes_contain_the_estimate() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(26, size=156)
    predicted = np.where(random.random(156) < 0.4, labels, random.integers(26, size=156))
    inputs = EvaluationInputs(small_model(codes=CODES), image_set(), None, 0)
    context = MetricContext(**vars(inputs), samples=100, bootstrap_draws=400)
    for statistic, value in ((clustering.ari, 0.16), (clustering.nmi, 0.58), (clustering.purity, 0.45)):
        low, high = context.interval(statistic, predicted, labels, centred=True)
        assert statistic(predicted, labels) == pytest.approx(value, abs=0.1)
        assert low < statistic(predicted, labels) < high
        biased_low, _ = context.interval(statistic, predicted, labels)
        assert statistic(predicted, labels) < biased_low  # because drawn images recur


def test_categories_are_matched_with_labels_on_a_sample_of_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = image_set(1200), image_set(120)
    assert train.labels is not None and test.labels is not None
    sampled, labels, counts = train.labels[some_indices(1200, 1000)], test.labels, []

    def encode(images: NDArray[np.uint8]) -> Encoding:
        counts.append(len(images))
        return encoding(1 - (labels if len(images) == 120 else sampled))

    mock_encode(monkeypatch, encode)
    inputs = EvaluationInputs(small_model(codes=CODES[:1]), train, test, 0)
    result = evaluate(inputs, ["clusters"], samples=100, bootstrap_draws=2)
    assert sorted(counts) == [120, 1000]  # ten training images per sample
    assert result["accuracy"] == 1
    assert "on 1000 training images" in result["protocols"]["clusters"]
    counts.clear()
    evaluate(EvaluationInputs(small_model(codes=CODES[:1]), test, None, 0), ["clusters"], **FEW)
    assert counts == [120]  # encoded once for fitting and reporting


def test_some_indices_include_all_classes_and_have_no_period() -> None:
    indices = some_indices(60_000, 10_000)
    assert len(np.unique(indices)) == 10_000
    assert (np.diff(indices) > 0).all()
    assert (indices == some_indices(60_000, 10_000)).all()
    for groups in (indices // 6_000, indices % 10, indices % 6):  # class by class, or in turns
        counts = np.bincount(groups)
        assert counts.min() > 0.9 * counts.mean()
    assert some_indices(5, 10).tolist() == some_indices(5, 5).tolist() == [0, 1, 2, 3, 4]


def test_estimate_of_information_ignores_the_recognizers_certainty(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(codes=CODES)
    codes = model.sample(2000, seed=0).codes
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 2000).astype(np.float32)
    mock_encode(monkeypatch, lambda _: encoding(1 - codes["category"], knob1=-codes["knob1"] + noise))
    inputs = EvaluationInputs(model, image_set(), None, 0)
    result = evaluate(inputs, ["information"], samples=2000, bootstrap_draws=2)
    assert result["information_estimate"]["category"] == pytest.approx(math.log(2), abs=0.002)
    # Uniform noise of width 0.2 on a code of width 2: log 10 + 0.2 / 4.
    assert result["information_estimate"]["knob1"] == pytest.approx(math.log(10) + 0.05, abs=0.12)
    assert result["information"]["category"] < 0.5


def test_images_are_generated_and_projected_once_for_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, compared = [], []
    original_fit = PCAFeatures.fit

    def fit(images: NDArray[np.uint8]) -> PCAFeatures:
        fitted.append(len(images))
        return original_fit(images)

    def record_counts(reals: NDArray[np.float64], fakes: NDArray[np.float64]) -> object:
        compared.append((len(reals), len(fakes)))
        return precision_recall(reals, fakes)

    monkeypatch.setattr(PCAFeatures, "fit", fit)
    monkeypatch.setattr(metric_groups, "precision_recall", record_counts)
    inputs = EvaluationInputs(small_model(codes=CODES), image_set(150), image_set(120), 0)
    evaluate(inputs, ["frechet", "kernel", "neighbours"], samples=220)
    assert fitted == [150]
    assert compared == [(110, 110)]  # half of the samples


def test_calibration_is_reported_on_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    test = image_set(100)

    def encode(images: NDArray[np.uint8]) -> Encoding:
        # The categories of training images are certain and correct, those of test images certain, a quarter wrong.
        categories = np.arange(len(images)) % 2
        if images is test.images:
            categories[:25] = 1 - categories[:25]
        return encoding(categories)

    mock_encode(monkeypatch, encode)
    result = evaluate(EvaluationInputs(small_model(codes=CODES), image_set(120), test, 0), ["clusters"], **FEW)
    assert result["accuracy"] == 0.75
    assert result["calibration_error"] == pytest.approx(0.25, abs=1e-9)
    assert result["brier"] == pytest.approx(0.5, abs=1e-9)


def test_codes_are_compared_with_ground_truth_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    values = np.stack([random.integers(3, size=600), random.integers(5, size=600), np.zeros(600, int)], axis=1)
    table = Factors(("kind", "size", "constant"), (3, 5, 2), values, (("a", "b", "c"), tuple("01234"), ("0", "1")))
    images = replace(image_set(600), factors=table)

    def perfect(images: NDArray[np.uint8]) -> Encoding:
        kind, size = values[:, 0], values[:, 1]
        return Encoding(
            {"category": kind, "knob1": (size / 2 - 1).astype(np.float32)},
            {"category": np.eye(3, dtype=np.float32)[kind]},
            {"knob1": np.ones(600, np.float32)},
            np.zeros(600, np.float32),
        )

    calls: list[tuple[tuple[int, ...], list[int]]] = []

    def record_call(codes: NDArray[np.float64], factors: NDArray[np.int64], **options: Any) -> dict[str, float]:
        calls.append((factors.shape, options["nominal"]))
        return disentanglement(codes, factors, **options)

    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    mock_encode(monkeypatch, perfect)
    monkeypatch.setattr(metric_groups, "disentanglement", record_call)
    result = evaluate(EvaluationInputs(model, images, None, 0), ["disentanglement"])
    assert calls == [((600, 2), [0])]  # without the constant factor; letters have no order
    assert "kind, size (kind without an order)" in result["protocols"]["disentanglement"]
    scores = result["disentanglement"]
    assert scores["dci_disentanglement"] > 0.95
    assert scores["modularity"] > 0.95
    assert 0.4 < scores["mig"] < 0.7  # one code has all information about the size, but three about the kind
    assert f"MIG {scores['mig']:.3f}" in summary(result)[0]
    assert {row[0] for row in metric_rows(result, {})} >= {"mig", "dci disentanglement", "irs"}
    with pytest.raises(UserError, match="no known factors"):
        evaluate(EvaluationInputs(model, image_set(200), None, 0), ["disentanglement"])


def test_values_with_numeric_names_are_ordered() -> None:
    for names in (("0", "1"), ("-20°", "0°", "10°"), ("+0%", "+6%"), ("0.5", "3.142", "1")):
        assert metric_groups._are_numbers(names)
    for names in (("square", "1"), ("A", "B"), ("DejaVu Sans", "3D")):
        assert not metric_groups._are_numbers(names)


def test_latest_value_of_each_metric_counts() -> None:
    assert latest_metrics([{"accuracy": 0.1, "nmi": 0.2}, {"accuracy": 0.3}]) == {"accuracy": 0.3, "nmi": 0.2}
    assert latest_metrics([]) == {}


def test_codes_are_found_by_their_names_during_training() -> None:
    config = small_config()
    assert current_code_names(config, ["digit", "width", "knob2"])["knob1"] == "width"
    with pytest.raises(UserError, match=r"2 codes.*3"):
        current_code_names(config, ["digit", "width"])
