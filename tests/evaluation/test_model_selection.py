"""Selection of models without labels: agreement of categories, ModelCentrality, and the ranking."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import normalized_mutual_info_score

from infogan.evaluation import model_selection
from infogan.evaluation.model_selection import (
    Candidate,
    category_agreement,
    factor_agreement,
    mean_agreement,
    rank_candidates,
)
from infogan.models.infogan import InfoGAN
from infogan.models.results import Encoding
from infogan.utils.errors import UserError
from tests.helpers import bar_images, small_model


def test_mean_agreement_averages_both_directions_without_the_diagonal() -> None:
    agreement = np.array([[9.0, 0.8, 0.2], [0.6, 9.0, 0.1], [0.4, 0.3, 9.0]])
    expected = [(0.7 + 0.3) / 2, (0.7 + 0.2) / 2, (0.3 + 0.2) / 2]
    assert mean_agreement(agreement).tolist() == pytest.approx(expected)
    for invalid in (np.ones((1, 1)), np.ones((2, 3)), np.ones((0, 0))):
        with pytest.raises(ValueError, match="square"):
            mean_agreement(invalid)


def test_model_with_the_most_common_categories_agrees_most() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(5, size=2000)

    def categories(error: float) -> NDArray[np.int64]:
        noisy = np.where(random.random(2000) < error, random.integers(5, size=2000), truth)
        return np.asarray(random.permutation(5)[noisy])  # numbered differently by each model

    models = [categories(0.05), categories(0.3), categories(0.02), categories(0.9), categories(0.1)]
    agreement = category_agreement(models)
    assert agreement[0, 1] == pytest.approx(normalized_mutual_info_score(models[0], models[1]))
    assert np.allclose(np.diag(agreement), 1)
    assert np.argsort(-mean_agreement(agreement)).tolist() == [2, 0, 4, 1, 3]


def test_model_with_a_single_category_agrees_with_no_model() -> None:
    truth = np.random.default_rng(0).integers(4, size=500)
    noisy = np.where(np.random.default_rng(1).random(500) < 0.5, truth, 0)
    constant = np.zeros(500, dtype=np.int64)
    means = mean_agreement(category_agreement([noisy, constant, constant, constant, truth]))
    assert means[1:4].tolist() == [0, 0, 0]
    assert means[0] > 0


def test_factor_agreement_scores_a_model_on_images_and_codes_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}], seed=i) for i in (0, 1)]
    encoders = []
    original_encode = InfoGAN.encode

    def generate(self: InfoGAN, noise: object, codes: dict[str, list[float]]) -> NDArray[np.uint8]:
        """Images with the values of their codes in two pixels."""
        assert set(codes["category"]) == {0, 1, 2}
        assert len(set(codes["knob1"])) == 10
        images = np.zeros((len(codes["knob1"]), 1, 8, 8), np.uint8)
        images[:, 0, 0, 0] = codes["category"]
        images[:, 0, 0, 1] = [round(9 * (value + 1) / 2) for value in codes["knob1"]]
        return images

    def encode(self: InfoGAN, images: NDArray[np.uint8]) -> Encoding:
        """The first model recognises both codes; the second predicts the category from the knob."""
        encoders.append(self)
        encoding = original_encode(self, images)
        knob = images[:, 0, 0, 1].astype(np.float32)
        encoding.codes["knob1"] = knob
        categories = images[:, 0, 0, 0] if self is models[0] else (knob > 4).astype(int)
        encoding.probabilities["category"][:] = np.eye(3, dtype=np.float32)[categories]
        return encoding

    monkeypatch.setattr(InfoGAN, "generate", generate)
    monkeypatch.setattr(InfoGAN, "encode", encode)
    agreement = factor_agreement(models, samples=1500)
    assert agreement.shape == (2, 2)
    assert agreement[:, 0].min() > 0.95
    assert agreement[:, 1].max() < 0.8
    assert len(encoders) == 4


def test_models_without_recognizer_have_no_factor_agreement() -> None:
    gan = small_model(kind="gan")
    with pytest.raises(UserError):
        factor_agreement([gan, gan], samples=10)


def candidates(kind: str = "infogan", codes: list[dict[str, object]] | None = None) -> list[Candidate]:
    """Three models: the second is not trusted and has the best distance."""
    models = [small_model(seed=seed, kind=kind, codes=codes) for seed in range(3)]
    images, distances = bar_images(64), [3.0, 1.0, 2.0]
    return [
        Candidate(f"seed-{i}", model, images, trusted=i != 1, frechet=distances[i]) for i, model in enumerate(models)
    ]


def test_trusted_runs_come_first_then_agreement_counts() -> None:
    models = candidates()
    ranking = rank_candidates(models)
    categories = [candidate.model.encode(candidate.images).codes["category"] for candidate in models]
    agreement = mean_agreement(category_agreement(categories))
    assert ranking.scores == ("agreement",)
    order = [*sorted((0, 2), key=lambda i: -agreement[i]), 1]
    assert [run.name for run in ranking.places] == [f"seed-{i}" for i in order]
    assert [run.scores["agreement"] for run in ranking.places] == pytest.approx(agreement[order])


def test_models_without_categories_are_ranked_by_centrality(monkeypatch: pytest.MonkeyPatch) -> None:
    agreement = np.array([[1.0, 0.2, 0.3], [0.2, 1.0, 0.4], [0.3, 0.4, 1.0]])
    monkeypatch.setattr(model_selection, "factor_agreement", lambda models: agreement)
    ranking = rank_candidates(candidates(codes=[{"kind": "continuous"}, {"kind": "continuous"}]))
    assert ranking.scores == ("centrality",)
    scores = {run.name: run.scores["centrality"] for run in ranking.places}
    assert scores == pytest.approx({"seed-0": 0.25, "seed-1": 0.3, "seed-2": 0.35})
    assert [run.name for run in ranking.places] == ["seed-2", "seed-0", "seed-1"]  # seed-1 is not trusted


def test_models_without_comparable_codes_are_ranked_by_distance() -> None:
    for models in (candidates("gan"), candidates(codes=[{"kind": "continuous"}])):
        ranking = rank_candidates(models)
        assert ranking.scores == ("frechet",)
        assert [run.name for run in ranking.places] == ["seed-2", "seed-0", "seed-1"]
    single = rank_candidates(candidates()[:1])
    assert (single.scores, single.places[0].scores) == (("frechet",), {"frechet": 3.0})
    with pytest.raises(ValueError, match="no candidates"):
        rank_candidates([])


def test_images_of_different_shapes_are_compared_by_categories_only() -> None:
    small, large = small_model(), small_model(size=16)
    images = bar_images(64), np.repeat(np.repeat(bar_images(64), 2, axis=2), 2, axis=3)
    pair = [Candidate("small", small, images[0]), Candidate("large", large, images[1])]
    assert rank_candidates(pair).scores == ("agreement",)
    knobs: list[dict[str, object]] = [{"kind": "continuous"}] * 2
    models = small_model(codes=knobs), small_model(size=16, codes=knobs)
    pair = [Candidate("a", models[0], images[0], frechet=2.0), Candidate("b", models[1], images[1], frechet=1.0)]
    # Distances in feature spaces of different images are not comparable.
    assert [run.scores for run in rank_candidates(pair).places] == [{"frechet": None}] * 2


def test_models_without_a_verdict_rank_between_trusted_and_untrusted_ones() -> None:
    verdicts = (None, False, True)
    models = [replace(model, trusted=trust) for model, trust in zip(candidates("gan"), verdicts, strict=True)]
    assert [run.name for run in rank_candidates(models).places] == ["seed-2", "seed-0", "seed-1"]
