"""What an evaluation says beyond the metrics it is made of, which have tests of their own."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.data import some_indices
from infogan.data.factors import Factors
from infogan.evaluation import evaluate as evaluation
from infogan.evaluation.descriptions import metric_rows
from infogan.evaluation.evaluate import IGNORED, METRICS, EvaluationInputs, evaluate, summary
from infogan.evaluation.metrics import clustering
from infogan.evaluation.metrics.disentanglement import disentanglement
from infogan.evaluation.metrics.fidelity import PCAFeatures
from infogan.evaluation.metrics.neighbours import precision_recall
from infogan.models.infogan import InfoGAN
from infogan.models.results import Encoding
from infogan.utils.errors import UserError
from tests.helpers import image_set, small_model


def informed(monkeypatch: pytest.MonkeyPatch, estimate: float = 0.0, **bounds: float) -> list[str]:
    """The codes that are ignored by a model whose images tell so many nats of each, and of the knob by another way."""
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    entropies = {"category": math.log(3), "knob1": math.log(2)}

    def told(self: InfoGAN, images: NDArray[np.uint8], codes: object) -> dict[str, NDArray[np.float64]]:
        return {name: np.full(len(images), bound - entropies[name]) for name, bound in bounds.items()}

    monkeypatch.setattr(InfoGAN, "log_likelihoods", told)
    monkeypatch.setattr(evaluation, "categorical_information", lambda *_: 0.0)
    monkeypatch.setattr(evaluation, "continuous_information", lambda *_: estimate)
    result = evaluate(EvaluationInputs(model, image_set(), None, 0), ["information"])
    assert result["information"] == pytest.approx(bounds, abs=1e-6)
    assert result["entropy"] == pytest.approx(entropies, abs=1e-6)
    lines = summary(result)
    assert all(any(line.startswith(f"{name} is ignored") for line in lines) for name in result["ignored"])
    ignored: list[str] = result["ignored"]
    return ignored


def test_a_code_that_images_tell_nothing_of_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert informed(monkeypatch, category=1.0, knob1=0.7) == []
    assert informed(monkeypatch, category=1.0, knob1=IGNORED - 0.01) == ["knob1"]
    assert informed(monkeypatch, category=IGNORED + 0.01, knob1=-0.2) == ["knob1"]
    assert informed(monkeypatch, category=0.0, knob1=-0.2) == ["category", "knob1"]
    # Either is a lower bound: a recognizer that is wrong about its deviations leaves the first below.
    assert informed(monkeypatch, category=1.0, knob1=-0.2, estimate=IGNORED + 0.01) == []
    assert informed(monkeypatch, category=1.0, knob1=-0.2, estimate=IGNORED - 0.01) == ["knob1"]


CODES: list[dict[str, Any]] = [{"kind": "categorical", "size": 2}, {"kind": "continuous"}]


def test_every_number_has_a_line_and_a_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "SAMPLES", 300)
    result = evaluate(EvaluationInputs(small_model(codes=CODES), image_set(200), image_set(120), 0))
    space = "pca64"
    numbers = {"accuracy", "purity", "nmi", "ari", "calibration_error", "brier", "log_loss", f"kernel_{space}"}
    numbers |= {f"{name}_{space}" for name in ("frechet", "precision", "recall", "density", "coverage")}
    numbers |= {f"kernel_{space}_error", f"kernel_{space}_train_to_test", f"frechet_{space}_train_to_test"}
    others = {"information", "information_estimate", "entropy", "ignored", "verdict"}
    assert numbers | others | {"protocol", "protocols", "intervals"} == set(result)
    rows = {row[0]: row[1:] for row in metric_rows(result, {})}
    for name in numbers:
        value, meaning = rows[name.replace("_", " ")]
        ends = result["intervals"].get(name)
        assert value == f"{result[name]:.4f}" + (f" ({ends[0]:.4f} to {ends[1]:.4f})" if ends else "")
        assert meaning
    assert {"accuracy", "purity", "nmi", "ari", "information/category", "information/knob1"} == set(result["intervals"])
    ends = result["intervals"]["information/knob1"]
    assert rows["information of knob1"][0] == (
        f"{result['information']['knob1']:.3f} ({ends[0]:.3f} to {ends[1]:.3f}) nats"
    )
    assert (
        f"{result['information_estimate']['knob1']:.3f} nats by what is read alone" in rows["information of knob1"][1]
    )
    lines = "\n".join(summary(result))
    for value in (result["brier"], result["log_loss"], result["calibration_error"]):
        assert f"{value:.4f}" in lines
    assert f"kernel pca64: {result['kernel_pca64']:.3g} +- {result['kernel_pca64_error']:.2g}" in lines
    assert f"density {result['density_pca64']:.3f}, coverage {result['coverage_pca64']:.3f}" in lines
    assert f"knob1 {result['information_estimate']['knob1']:.3f} nats" in lines


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].by_default])
def test_every_group_can_be_asked_for_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "SAMPLES", 200)
    values = np.random.default_rng(0).integers(3, size=(120, 2))
    images = replace(image_set(120), factors=Factors(("kind", "size"), (3, 3), values))
    result = evaluate(EvaluationInputs(small_model(codes=CODES), images, None, 0), [name])
    assert len(result) > 3  # intervals and both accounts of the protocol are always there
    assert len(summary(result)) > 1
    assert list(result["protocols"]) == [name]
    assert "seed 0" in result["protocols"][name] or "120 images" in result["protocols"][name]


def test_intervals_are_as_wide_as_chance_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    images = image_set(2000)
    assert images.labels is not None
    random = np.random.default_rng(0)
    found = np.where(random.random(2000) < 0.8, images.labels, 1 - images.labels)
    likelihoods = random.normal(-0.5, 0.3, 2000)

    def read(self: InfoGAN, of: NDArray[np.uint8]) -> Encoding:
        posterior = np.eye(2, dtype=np.float32)[found[: len(of)]]
        knob = np.zeros(len(of), np.float32)
        return Encoding({"category": found[: len(of)], "knob1": knob}, {"category": posterior}, {}, knob)

    def told(self: InfoGAN, of: NDArray[np.uint8], codes: object) -> dict[str, NDArray[np.float64]]:
        return {name: likelihoods[: len(of)] for name in ("category", "knob1")}

    monkeypatch.setattr(evaluation, "SAMPLES", 2000)
    monkeypatch.setattr(InfoGAN, "encode", read)
    monkeypatch.setattr(InfoGAN, "log_likelihoods", told)
    result = evaluate(EvaluationInputs(small_model(codes=CODES), images, None, 0), ["clusters", "information"])
    share = (found == images.labels).mean()
    low, high = result["intervals"]["accuracy"]
    # The normal approximation of a share, and of a mean: half an interval is 1.96 standard errors.
    assert (low + high) / 2 == pytest.approx(share, abs=0.003)
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(share * (1 - share) / 2000), rel=0.15)
    low, high = result["intervals"]["information/category"]
    assert (low + high) / 2 == pytest.approx(likelihoods.mean() + math.log(2), abs=0.002)
    assert (high - low) / 2 == pytest.approx(1.96 * likelihoods.std() / math.sqrt(2000), rel=0.15)
    for name in ("purity", "nmi", "ari"):
        low, high = result["intervals"][name]
        assert low < result[name] < high


def test_few_images_of_many_classes_have_intervals_with_their_own_numbers_in_them() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(26, size=156)
    found = np.where(random.random(156) < 0.4, labels, random.integers(26, size=156))
    for statistic, value in ((clustering.ari, 0.16), (clustering.nmi, 0.58), (clustering.purity, 0.45)):
        low, high = evaluation._interval(statistic, found, labels, centred=True)
        assert statistic(found, labels) == pytest.approx(value, abs=0.1)
        assert low < statistic(found, labels) < high
        wrong = evaluation._interval(statistic, found, labels)
        assert statistic(found, labels) < wrong[0]  # what images that recur do


def test_values_are_matched_with_the_labels_of_some_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MATCHED", 60)
    train, test = image_set(200), image_set(120)
    assert train.labels is not None and test.labels is not None
    some, labels, seen = train.labels[some_indices(200, 60)], test.labels, []

    def read(self: InfoGAN, images: NDArray[np.uint8]) -> Encoding:
        seen.append(len(images))
        found = np.array([1 - label for label in (labels if len(images) == 120 else some)])
        posterior = np.eye(2, dtype=np.float32)[found]
        return Encoding({"category": found}, {"category": posterior}, {}, np.zeros(len(images), np.float32))

    monkeypatch.setattr(InfoGAN, "encode", read)
    result = evaluate(EvaluationInputs(small_model(codes=CODES[:1]), train, test, 0), ["clusters"])
    assert sorted(seen) == [60, 120]
    assert result["accuracy"] == 1
    assert "on 60 training images" in result["protocols"]["clusters"]
    whole = evaluate(EvaluationInputs(small_model(codes=CODES[:1]), test, None, 0), ["clusters"])
    assert "on 60 training images" in whole["protocols"]["clusters"]


def test_some_images_are_of_all_classes_and_of_no_period() -> None:
    chosen = some_indices(60_000, 10_000)
    assert len(np.unique(chosen)) == 10_000
    assert (np.diff(chosen) > 0).all()
    assert (chosen == some_indices(60_000, 10_000)).all()
    for parts in (chosen // 6_000, chosen % 10, chosen % 6):  # class by class, or in turns
        counts = np.bincount(parts)
        assert counts.min() > 0.9 * counts.mean()
    assert some_indices(5, 10).tolist() == some_indices(5, 5).tolist() == [0, 1, 2, 3, 4]


def test_the_estimate_is_of_what_is_read_and_not_of_how_surely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "SAMPLES", 2000)
    model = small_model(codes=CODES)
    put_in = model.sample(2000, seed=0).codes
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 2000).astype(np.float32)

    def read(self: InfoGAN, images: NDArray[np.uint8]) -> Encoding:
        assert len(images) == 2000
        codes = {"category": 1 - put_in["category"], "knob1": -put_in["knob1"] + noise}
        return Encoding(codes, {}, {}, np.zeros(2000, np.float32))

    monkeypatch.setattr(InfoGAN, "encode", read)
    result = evaluate(EvaluationInputs(model, image_set(), None, 0), ["information"])
    assert result["information_estimate"]["category"] == pytest.approx(math.log(2), abs=0.002)
    # Uniform noise of width 0.2 under a code of width 2: log 10 + 0.2 / 4.
    assert result["information_estimate"]["knob1"] == pytest.approx(math.log(10) + 0.05, abs=0.12)
    assert result["information"]["category"] < 0.5


def test_images_are_generated_and_projected_once_for_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "NEIGHBOURS", 110)
    fitted, seen = [], []
    fit = PCAFeatures.fit

    def counted(images: NDArray[np.uint8]) -> PCAFeatures:
        fitted.append(len(images))
        return fit(images)

    def watched(reals: NDArray[np.float64], fakes: NDArray[np.float64]) -> object:
        seen.append((len(reals), len(fakes)))
        return precision_recall(reals, fakes)

    monkeypatch.setattr(PCAFeatures, "fit", counted)
    monkeypatch.setattr(evaluation, "precision_recall", watched)
    evaluate(
        EvaluationInputs(small_model(codes=CODES), image_set(150), image_set(120), 0),
        ["frechet", "kernel", "neighbours"],
    )
    assert fitted == [150]
    assert seen == [(110, 110)]


def test_calibration_is_of_the_images_reported_on(monkeypatch: pytest.MonkeyPatch) -> None:
    test = image_set(100)

    def read(self: InfoGAN, images: NDArray[np.uint8]) -> Encoding:
        # The training images are filed without a doubt, the test images as surely, and wrongly in a quarter.
        labels = np.arange(len(images)) % 2
        found = labels.copy()
        if images is test.images:
            found[:25] = 1 - found[:25]
        probabilities = np.eye(2, dtype=np.float32)[found]
        return Encoding({"category": found}, {"category": probabilities}, {}, np.zeros(len(images), np.float32))

    monkeypatch.setattr(InfoGAN, "encode", read)
    result = evaluate(EvaluationInputs(small_model(codes=CODES), image_set(120), test, 0), ["clusters"])
    assert result["accuracy"] == 0.75
    assert result["calibration_error"] == pytest.approx(0.25, abs=1e-9)
    assert result["brier"] == pytest.approx(0.5, abs=1e-9)


def test_codes_are_compared_with_the_factors_that_images_are_known_to_have(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    values = np.stack([random.integers(3, size=600), random.integers(5, size=600), np.zeros(600, int)], axis=1)
    known = Factors(("kind", "size", "still"), (3, 5, 2), values, (("a", "b", "c"), tuple("01234"), ("0", "1")))
    images = replace(image_set(600), factors=known)

    def perfect(self: InfoGAN, shown: NDArray[np.uint8]) -> Encoding:
        kind, size = values[:, 0], values[:, 1]
        return Encoding(
            {"category": kind, "knob1": (size / 2 - 1).astype(np.float32)},
            {"category": np.eye(3, dtype=np.float32)[kind]},
            {"knob1": np.ones(600, np.float32)},
            np.zeros(600, np.float32),
        )

    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    monkeypatch.setattr(InfoGAN, "encode", perfect)
    asked: list[tuple[tuple[int, ...], list[int]]] = []

    def measured(codes: NDArray[np.float64], factors: NDArray[np.int64], **given: Any) -> dict[str, float]:
        asked.append((factors.shape, given["nominal"]))
        return disentanglement(codes, factors, **given)

    monkeypatch.setattr(evaluation, "disentanglement", measured)
    result = evaluate(EvaluationInputs(model, images, None, 0), ["disentanglement"])
    assert asked == [((600, 2), [0])]  # the factor that stands still is left out, letters are in no order
    scores = result["disentanglement"]
    assert scores["dci_disentanglement"] > 0.95
    assert scores["modularity"] > 0.95
    assert 0.4 < scores["mig"] < 0.7  # all of the size is in one code, but the kind is in three
    assert f"MIG {scores['mig']:.3f}" in summary(result)[0]
    assert {row[0] for row in metric_rows(result, {})} >= {"mig", "dci disentanglement", "irs"}
    with pytest.raises(UserError, match="no known factors"):
        evaluate(EvaluationInputs(model, image_set(200), None, 0), ["disentanglement"])


def test_values_that_are_numbers_are_in_an_order_whatever_their_unit() -> None:
    for names in (("0", "1"), ("-20°", "0°", "10°"), ("+0%", "+6%"), ("0.5", "3.142", "1")):
        assert not evaluation._in_no_order(names)
    for names in (("square", "1"), ("A", "B"), ("DejaVu Sans", "3D")):
        assert evaluation._in_no_order(names)
