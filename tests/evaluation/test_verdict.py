"""The verdict: its evidence, its limits, its two answers, and that it needs no labels."""

import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from infogan.data.augment import augment
from infogan.data.batches import to_network
from infogan.data.dataset import ImageSet
from infogan.evaluation.evaluate import evaluate
from infogan.evaluation.group_evidence import GroupEvidence, Structure, differing_pair, measure_structure
from infogan.evaluation.metric_groups import EvaluationInputs
from infogan.evaluation.picture_evidence import PictureEvidence
from infogan.evaluation.summary import summary
from infogan.evaluation.verdict import NOT_JUDGED, THRESHOLDS, collect_group_evidence, judge
from infogan.models.architectures import ImageShape
from infogan.models.encoder import Encoder
from infogan.models.results import Verdict
from tests.helpers import bar_images, image_set, small_model
from tests.training.test_separation import kinds

STRUCTURE = Structure(
    predictable=0.97, agreement=0.96, halves=0.97, seeds=0.98, follows={"brightness": 0.1, "colour": 0.3}
)
GROUPS = GroupEvidence(views_apart=1.2, view_agreement=0.9, sureness=0.98, structure=STRUCTURE)
PICTURES = PictureEvidence(
    read_back=0.99, diversity=0.9, precision=0.9, recall=0.6, coverage=0.8, copies=0.02, ignored_share=0.0
)


def with_value(name: str, value: Any) -> tuple[GroupEvidence, PictureEvidence]:
    """Return good evidence but for one measurement."""
    if name == "follows":
        return replace(GROUPS, structure=replace(STRUCTURE, follows={"brightness": 0.1, "colour": value})), PICTURES
    if name in {field.name for field in fields(Structure)}:
        return replace(GROUPS, structure=replace(STRUCTURE, **{name: value})), PICTURES
    if name in {field.name for field in fields(GroupEvidence)}:
        return replace(GROUPS, **{name: value}), PICTURES
    return GROUPS, replace(PICTURES, **{"ignored_share" if name == "ignored" else name: value})


def test_run_with_good_evidence_is_relied_on() -> None:
    verdict = judge(GROUPS, PICTURES, "digit", 10)
    assert (verdict.groups, verdict.pictures, verdict.trust) == ("yes", "yes", True)
    assert verdict.reasons == ()
    assert verdict.advice == ""
    assert {trace.name for trace in verdict.evidence} == THRESHOLDS.keys()
    assert {trace.answer for trace in verdict.evidence} == {"yes"}


@pytest.mark.parametrize("name", sorted(THRESHOLDS))
def test_each_measurement_has_two_limits(name: str) -> None:
    threshold = THRESHOLDS[name]
    sign = 1 if "minimum" in threshold else -1
    care, no = threshold["minimum" if sign > 0 else "maximum"]
    part = threshold["concerns"]
    cases = {care: "yes"}
    if care != no:
        cases[care - sign * 0.001] = "with care"
    if name != "follows":  # which is no reason for "no"
        cases[no - sign * 0.001] = "no"
    for value, answer in cases.items():
        verdict = judge(*with_value(name, value), "digit", 10)
        answers = {"groups": verdict.groups, "pictures": verdict.pictures}
        assert answers.pop(part) == answer
        assert [*answers.values()] == ["yes"]
        assert verdict.trust == (answer != "no")
        assert len(verdict.reasons) == (answer != "yes")
        trace = next(trace for trace in verdict.evidence if trace.name == name)
        assert trace.value == pytest.approx(value)
        assert (trace.answer, trace.concerns) == (answer, part)


def test_stronger_reasons_come_first_and_advice_belongs_to_the_first() -> None:
    groups = replace(GROUPS, sureness=0.75, structure=replace(STRUCTURE, several=(1, 4), several_share=0.4))
    verdict = judge(groups, replace(PICTURES, diversity=0.01, uniform=(0, 2, 3)), "digit", 10)
    assert (verdict.groups, verdict.pictures) == ("no", "no")
    first, second, third = verdict.reasons
    assert "2 of 10" in first and "(1, 4)" in first
    assert "3 of 10" in second and "collapsed" in second
    assert "0.75" in third
    assert verdict.advice == THRESHOLDS["several_share"]["advice"]


def test_what_the_groups_follow_is_named() -> None:
    groups, pictures = with_value("follows", 0.95)
    (reason,) = judge(groups, pictures, "digit", 10).reasons
    assert "colour" in reason and "95%" in reason


def test_groups_without_known_features_are_relied_on_with_care_at_most() -> None:
    verdict = judge(replace(GROUPS, structure=None), PICTURES, "digit", 10)
    assert (verdict.groups, verdict.pictures) == ("with care", "yes")
    assert verdict.reasons == (NOT_JUDGED,)
    worse = judge(replace(GROUPS, structure=None, view_agreement=0.1), PICTURES, "digit", 10)
    assert worse.groups == "no"


def test_verdict_survives_json() -> None:
    verdict = judge(replace(GROUPS, sureness=0.1), PICTURES, "digit", 10)
    assert Verdict.parse(json.loads(json.dumps(verdict.to_dict()))) == verdict
    old = Verdict.parse({"trust": False, "reason": "not trusted: why", "sureness": 0.1})
    assert (old.groups, old.pictures, old.trust) == ("no", "no", False)


def test_evidence_is_measured_on_real_images() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    images = bar_images(90)
    evidence = collect_group_evidence(model, images, {"flip": 1.0}, 5, samples=400)
    encoding = model.encode(images)
    categories, probabilities = encoding.codes["category"], encoding.probabilities["category"]
    counts = np.bincount(categories, minlength=3)
    assert evidence.unused == tuple(np.flatnonzero(counts < 3).tolist())
    assert evidence.sureness == pytest.approx(float(probabilities.max(axis=1).mean()), abs=1e-6)
    assert evidence.view_agreement == 1  # every view is mirrored, so both are equal
    assert evidence.structure is None
    strong = {"shift": 0.4, "rotate": 90.0}
    assert collect_group_evidence(model, images, strong, 5, samples=90).view_agreement < 1


def test_categories_are_judged_in_the_features_of_the_first_stage() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}])
    images = bar_images(120)
    torch.manual_seed(1)
    encoder = Encoder(ImageShape(1, images.shape[2]), width=4, classes=1)
    structure = collect_group_evidence(model, images, {"shift": 0.1}, 0, encoder).structure  # all images, in order
    features = encoder.features_in_batches(to_network(torch.from_numpy(images))).numpy()
    expected = measure_structure(features, images, model.encode(images).codes["category"], 3, seed=0)
    assert structure == expected


def test_structure_of_right_merged_and_split_categories() -> None:
    points, labels = kinds((300, 300, 300), spread=0.1)
    images = np.zeros((900, 3, 16, 16), np.uint8)
    images[:, 0] = 100 * labels[:, None, None]
    right = measure_structure(points, images, labels, 3, seed=0)
    assert min(right.predictable, right.agreement, right.halves, right.seeds) > 0.99
    assert (right.several_share, right.alike_share) == (0, 0)
    assert right.follows["colour"] == pytest.approx(1)
    assert len(right.tree) == 2
    merged = measure_structure(points, images, np.minimum(labels, 1), 2, seed=0)
    assert merged.several == (1,)
    assert merged.several_share == pytest.approx(2 / 3)
    random = np.random.default_rng(0)
    split = measure_structure(
        points, images, np.where((labels == 2) & (random.random(900) < 0.5), 3, labels), 4, seed=0
    )
    assert split.alike == ((2, 3),)
    assert split.alike_share == pytest.approx(1 / 6, abs=0.02)
    other = measure_structure(points, random.integers(0, 256, images.shape, dtype=np.uint8), labels, 3, seed=0)
    assert max(other.follows.values()) < 0.2


def test_clusterings_of_images_without_kinds_disagree() -> None:
    points = np.random.default_rng(0).standard_normal((800, 16)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels = np.random.default_rng(1).integers(0, 8, 800)
    structure = measure_structure(points, np.zeros((800, 1, 8, 8), np.uint8), labels, 8, seed=0)
    assert max(structure.seeds, structure.halves) < 0.7


def test_two_images_show_what_the_groups_follow() -> None:
    features, _ = kinds((8, 8), spread=0.01)
    reference = np.concatenate([np.arange(8), np.arange(8) + 0.1])[:, np.newaxis].astype(np.float32)
    # Images 0 and 8 agree in the reference and differ in the features; so do 0 and 15 in the features alone.
    categories = np.arange(16)
    categories[[8, 15]] = 0
    assert differing_pair(reference, features, categories) in ((0, 8), (8, 0))
    assert differing_pair(reference, features, np.arange(16)) is None


def test_unused_categories_do_not_count_against_the_others() -> None:
    points, labels = kinds((300, 300, 300), spread=0.1)
    structure = measure_structure(points, np.zeros((900, 1, 8, 8), np.uint8), labels, 7, seed=0)
    assert min(structure.agreement, structure.halves) > 0.99


def test_distance_of_views_is_relative_to_the_distance_of_neighbours() -> None:
    model, images, shift = small_model(), bar_images(40), {"shift": 0.3}

    def views_apart(augmentations: dict[str, float], count: int = 40) -> float:
        measured = collect_group_evidence(model, images[:count], augmentations, 5, samples=100).views_apart
        assert measured is not None
        return measured

    # The same views, drawn after the two that the agreement is measured on; distances computed differently.
    generator = torch.Generator().manual_seed(5)
    batch = to_network(torch.from_numpy(images))
    views = [augment(batch, shift, generator).flatten(1).numpy() for _ in range(5)][2:]
    closest = np.min([np.sqrt(((views[i] - views[j]) ** 2).sum(axis=1)) for i, j in ((0, 1), (0, 2), (1, 2))], axis=0)
    pixels = batch.flatten(1).numpy().astype(np.float64)
    distances = np.sqrt(((pixels[:, None] - pixels[None]) ** 2).sum(axis=2))
    tenth = np.sort(distances, axis=1)[:, 10].mean()
    assert views_apart(shift) == pytest.approx(np.sort(closest)[19] / tenth, rel=1e-4)  # torch takes the lower median
    assert views_apart({"flip": 0.5}) == 0  # two of three views are flipped alike
    assert views_apart({}) == 0
    assert np.isfinite(views_apart(shift, count=1))


def test_verdict_uses_no_labels_and_is_at_the_end_of_the_summary() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}])

    class Unlabelled(ImageSet):
        def __getattribute__(self, name: str) -> object:
            if name == "labels":
                raise AssertionError("the verdict used labels")
            return super().__getattribute__(name)

    images = image_set()
    guarded = Unlabelled(images.images, images.names, images.source, images.labels, images.label_names)
    result = evaluate(EvaluationInputs(model, guarded, None, 0, {"shift": 0.1}), ["trust"], samples=100)
    verdict = Verdict.parse(result["verdict"])
    assert not verdict.trust
    assert [line.removeprefix("- ") for line in summary(result)[-len(verdict.reasons) :]] == [*verdict.reasons]
    assert result["tree"] == []
