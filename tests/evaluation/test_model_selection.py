"""Who agrees with the others is found without a label, by each kind of agreement."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import normalized_mutual_info_score

from infogan.evaluation.model_selection import (
    Candidate,
    category_agreement,
    factor_agreement,
    mean_agreement,
    rank_candidates,
    udr,
)
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError
from tests.helpers import bar_images, small_model


def test_centrality_is_the_mean_agreement_with_the_others_both_ways() -> None:
    agreement = np.array([[9.0, 0.8, 0.2], [0.6, 9.0, 0.1], [0.4, 0.3, 9.0]])
    expected = [(0.7 + 0.3) / 2, (0.7 + 0.2) / 2, (0.3 + 0.2) / 2]
    assert mean_agreement(agreement).tolist() == pytest.approx(expected)
    for wrong in (np.ones((1, 1)), np.ones((2, 3)), np.ones((0, 0))):
        with pytest.raises(ValueError, match="a square of two models or more"):
            mean_agreement(wrong)


def test_the_model_that_files_as_most_do_comes_first_whatever_its_numbers_mean() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(5, size=2000)

    def filing(wrong: float) -> NDArray[np.int64]:
        kept = np.where(random.random(2000) < wrong, random.integers(5, size=2000), truth)
        return np.asarray(random.permutation(5)[kept])

    filings = [filing(0.05), filing(0.3), filing(0.02), filing(0.9), filing(0.1)]
    agreement = category_agreement(filings)
    assert agreement[0, 1] == pytest.approx(normalized_mutual_info_score(filings[0], filings[1]))
    assert np.allclose(np.diag(agreement), 1)
    assert np.argsort(-mean_agreement(agreement)).tolist() == [2, 0, 4, 1, 3]


def codes(mixing: float, seed: int, order: tuple[int, ...] = (0, 1, 2)) -> NDArray[np.float64]:
    """Three factors as three codes, each with so much of the next one in it, in an order of its own."""
    factors = np.random.default_rng(0).uniform(-1, 1, (3000, 3))
    mixed = factors + mixing * np.roll(factors, 1, axis=1)
    noisy = mixed + 0.05 * np.random.default_rng(seed).normal(size=mixed.shape)
    return np.asarray(noisy[:, order] * [1, -2, 3])


@pytest.mark.parametrize("similarity", ["spearman", "lasso"])
def test_codes_that_are_alike_one_to_one_rank_above_codes_that_are_mixed(similarity: str) -> None:
    read = [codes(0, 1), codes(0, 2, (2, 0, 1)), codes(0, 3, (1, 0, 2)), codes(0.9, 4)]
    scores = udr(read, similarity=similarity)  # type: ignore[arg-type]  # one of the two
    assert scores[3] < 0.8 * scores[:3].min()
    if similarity == "spearman":
        # Of two models that read the same factors, each code is like one other alone.
        assert scores[:3] == pytest.approx(np.full(3, 0.97), abs=0.05)


def test_the_ranking_counts_what_is_said_to_be_informative() -> None:
    random = np.random.default_rng(1)
    noisy = [np.concatenate([codes(0, seed), random.normal(size=(3000, 2))], axis=1) for seed in (1, 2, 3)]
    informative = [np.array([True, True, True, False, False])] * 3
    told = udr(noisy, informative=informative, similarity="spearman")
    assert told.min() > 0.85
    assert udr(noisy, similarity="spearman").max() < 0.75  # the noise is like nothing, and counts
    nothing = [np.zeros(5, dtype=bool)] * 3
    assert udr(noisy, informative=nothing).tolist() == [0, 0, 0]


def test_hand_computed_ranking_of_two_models() -> None:
    # Ranks of the two codes are equal or reversed, or have correlation 0.
    one = np.array([[1.0, 1], [2, 4], [3, 2], [4, 3]])
    alike = np.array([[1.0, 0.4], [0.4, 1.0]])  # Spearman: 1 - 6 * 6 / 60 = 0.4 between the columns
    expected = (2 * (1 / 1.4) * 2) / 4
    assert udr([one, one * [1, -1]], similarity="spearman").tolist() == pytest.approx([expected] * 2)
    assert alike.sum() == pytest.approx(2.8)


def test_wrong_readings_are_refused() -> None:
    with pytest.raises(ValueError, match="of 1 models"):
        udr([np.zeros((5, 2))])
    with pytest.raises(ValueError, match="of the same images"):
        udr([np.zeros((5, 2)), np.zeros((4, 2))])


def test_model_centrality_takes_one_models_codes_for_the_truth_of_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}], seed=i) for i in (0, 1)]
    asked = []

    def generate(self: InfoGAN, noise: object, given: dict[str, list[float]]) -> NDArray[np.uint8]:
        """Images that show their codes in two pixels."""
        assert set(given["category"]) == {0, 1, 2}
        assert len(set(given["knob1"])) == 10
        images = np.zeros((len(given["knob1"]), 1, 8, 8), np.uint8)
        images[:, 0, 0, 0] = given["category"]
        images[:, 0, 0, 1] = [round(9 * (value + 1) / 2) for value in given["knob1"]]
        return images

    plain = InfoGAN.encode

    def encode(self: InfoGAN, images: NDArray[np.uint8]) -> object:
        """The first model reads them; the second reads the knob everywhere."""
        asked.append(self)
        found = plain(self, images)
        knob = images[:, 0, 0, 1].astype(np.float32)
        found.codes["knob1"] = knob
        kinds = images[:, 0, 0, 0] if self is models[0] else (knob > 4).astype(int)
        found.probabilities["category"][:] = np.eye(3, dtype=np.float32)[kinds]
        return found

    monkeypatch.setattr(InfoGAN, "generate", generate)
    monkeypatch.setattr(InfoGAN, "encode", encode)
    agreement = factor_agreement(models, samples=1500)
    assert agreement.shape == (2, 2)
    assert agreement[:, 0].min() > 0.95  # who reads both codes tells which was held, whoever made the images
    assert agreement[:, 1].max() < 0.8
    assert len(asked) == 4


def test_a_model_without_a_recognizer_can_not_be_compared() -> None:
    gan = small_model(kind="gan")
    with pytest.raises(UserError):
        factor_agreement([gan, gan], samples=10)


def candidates(kind: str = "infogan", codes: list[dict[str, object]] | None = None) -> list[Candidate]:
    """Three models, the second not trusted, the first not the best liked, and the third of another seed."""
    models = [small_model(seed=seed, kind=kind, codes=codes) for seed in range(3)]
    images, distances = bar_images(64), [3.0, 1.0, 2.0]
    return [
        Candidate(f"seed-{at}", model, images, trusted=at != 1, frechet=distances[at])
        for at, model in enumerate(models)
    ]


def test_a_ranking_begins_with_those_that_are_trusted_and_goes_by_agreement() -> None:
    known = candidates()
    ranking = rank_candidates(known)
    filings = [each.model.encode(each.images).codes["category"] for each in known]
    agreement = mean_agreement(category_agreement(filings))
    assert ranking.scores == ("agreement",)
    trusted = sorted((0, 2), key=lambda at: -agreement[at])
    assert [place.name for place in ranking.places] == [f"seed-{at}" for at in [*trusted, 1]]
    assert [place.scores["agreement"] for place in ranking.places] == pytest.approx(agreement[[*trusted, 1]])


def test_models_without_categories_are_ranked_by_their_knobs() -> None:
    known = candidates(codes=[{"kind": "continuous"}, {"kind": "continuous"}])
    ranking = rank_candidates(known)
    expected = mean_agreement(factor_agreement([each.model for each in known]))
    assert ranking.scores == ("centrality",)
    assert {place.name: place.scores["centrality"] for place in ranking.places} == pytest.approx(
        {f"seed-{at}": score for at, score in enumerate(expected)}
    )
    assert ranking.places[-1].name == "seed-1"


def test_models_that_read_nothing_alike_are_ranked_by_what_they_draw() -> None:
    for known in (candidates("gan"), candidates(codes=[{"kind": "continuous"}]), candidates()[:1]):
        ranking = rank_candidates(known)
        assert ranking.scores == ("frechet",)
        assert [place.name for place in ranking.places] == ["seed-2", "seed-0", "seed-1"][-len(known) :] or len(
            known
        ) == 1
    with pytest.raises(ValueError, match="no candidates"):
        rank_candidates([])


def test_images_of_different_shapes_compare_by_filing_and_not_by_centrality() -> None:
    small, large = small_model(), small_model(size=16)
    images = bar_images(64), np.repeat(np.repeat(bar_images(64), 2, axis=2), 2, axis=3)
    pair = [Candidate("small", small, images[0]), Candidate("large", large, images[1])]
    assert rank_candidates(pair).scores == ("agreement",)
    knobs: list[dict[str, object]] = [{"kind": "continuous"}] * 2
    models = small_model(codes=knobs), small_model(size=16, codes=knobs)
    pair = [Candidate("a", models[0], images[0], frechet=2.0), Candidate("b", models[1], images[1], frechet=1.0)]
    assert [place.scores for place in rank_candidates(pair).places] == [
        {"frechet": None}
    ] * 2  # spaces have nothing in common


def test_a_model_that_files_everything_alike_agrees_with_nobody() -> None:
    truth = np.random.default_rng(0).integers(4, size=500)
    noisy = np.where(np.random.default_rng(1).random(500) < 0.5, truth, 0)
    nothing = np.zeros(500, dtype=np.int64)
    agreement = category_agreement([noisy, nothing, nothing, nothing, truth])
    assert mean_agreement(agreement)[1:4].tolist() == [0, 0, 0]
    assert mean_agreement(agreement)[0] > 0


def test_models_without_a_verdict_come_between() -> None:
    known = [replace(each, trusted=trust) for each, trust in zip(candidates("gan"), (None, False, True), strict=True)]
    assert [place.name for place in rank_candidates(known).places] == ["seed-2", "seed-0", "seed-1"]
