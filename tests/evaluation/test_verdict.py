"""The verdict: its evidence, its thresholds, and that it needs no labels."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from infogan.data.augment import augment
from infogan.data.batches import to_network
from infogan.data.dataset import ImageSet
from infogan.evaluation.evaluate import evaluate
from infogan.evaluation.metric_groups import EvaluationInputs
from infogan.evaluation.summary import summary
from infogan.evaluation.verdict import THRESHOLDS, Evidence, collect_evidence, judge, merged_and_split
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.models.serialization import ModelConfig
from tests.helpers import bar_images, image_set, small_config, small_model

GOOD = Evidence(
    views_apart=1.2,
    view_agreement=0.9,
    sureness=0.98,
    smallest_class=0.9,
    read_back=0.99,
    neighbours=0.97,
    kinds=10,
    kinds_met=1.0,
)


def test_run_with_good_evidence_is_trusted() -> None:
    verdict = judge(GOOD, "digit")
    trusted, reason = verdict.trust, verdict.reason
    assert trusted
    assert reason.startswith("trusted: 90% of images keep their digit under augmentation, 99.0% of generated")
    # A model without an encoder lacks these.
    assert judge(replace(GOOD, neighbours=None, kinds=None, kinds_met=None), "digit").trust


@pytest.mark.parametrize("name", sorted(THRESHOLDS))
def test_run_is_not_trusted_if_one_measurement_is_below_its_threshold(name: str) -> None:
    minimum = THRESHOLDS[name]["minimum"]
    good, bad = (Evidence(**{**asdict(GOOD), name: value}) for value in (minimum, minimum - 0.01))
    assert judge(good, "digit").trust
    verdict = judge(bad, "digit")
    trusted, reason = verdict.trust, verdict.reason
    concerned = {"groups": verdict.groups, "pictures": verdict.pictures}
    assert concerned.pop(THRESHOLDS[name]["concerns"]) == "no"
    assert [*concerned.values()] == ["yes"]
    assert not trusted
    assert reason.startswith("not trusted: ")
    assert "digit" in reason


def test_evidence_is_measured_on_real_and_generated_images() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    images = bar_images(90)
    evidence = collect_evidence(model, images, {"flip": 1.0}, 5, samples=400)
    encoding = model.encode(images)
    categories, probabilities = encoding.codes["category"], encoding.probabilities["category"]
    assert evidence.smallest_class == pytest.approx(np.bincount(categories, minlength=3).min() / 30)
    assert evidence.sureness == pytest.approx(float(probabilities.max(axis=1).mean()), abs=1e-6)
    assert evidence.view_agreement == 1  # every view is mirrored, so both are equal
    generated = model.sample(400, seed=5)
    recognised = model.encode(generated.images).codes["category"] == generated.codes["category"]
    assert evidence.read_back == pytest.approx(float(recognised.mean()))
    assert evidence.neighbours is None
    strong = {"shift": 0.4, "rotate": 90.0}
    assert collect_evidence(model, images, strong, 5, samples=90).view_agreement < 1


def test_distance_of_views_is_relative_to_the_distance_of_neighbours() -> None:
    model, images, shift = small_model(), bar_images(40), {"shift": 0.3}

    def views_apart(augmentations: dict[str, float], count: int = 40) -> float:
        distance = collect_evidence(model, images[:count], augmentations, 5, samples=100).views_apart
        assert distance is not None
        return distance

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


def test_clusters_before_training_are_compared_with_the_number_of_categories() -> None:
    config = small_config("data.source=bars", preset="robust", codes=[{"kind": "categorical", "size": 4}])
    shape = ImageShape(1, 8)
    layout = CodeLayout(config.noise, config.codes)
    networks = build_networks(config.networks, layout, shape, kind="infogan", seed=0)
    model = InfoGAN(ModelConfig.of(config, shape), networks)
    assert networks.encoder is not None
    for kinds, ratio in ((0, None), (4, 1.0), (5, 0.8), (8, 0.5), (2, 0.5)):
        networks.encoder.kinds.zero_()[:, :kinds] = 0.1
        evidence = collect_evidence(model, bar_images(60), {"flip": 1.0}, 5, samples=60)
        assert (evidence.kinds, evidence.kinds_met) == (kinds or None, ratio)
    reason = judge(replace(GOOD, kinds=8, kinds_met=0.5), "digit").reason
    assert reason.startswith("not trusted: 8 kinds of image")


def test_merged_and_split_categories_are_named() -> None:
    diagonal = np.diag([30, 20, 40])
    assert merged_and_split(diagonal) == ((), ())
    assert merged_and_split(np.zeros((4, 0))) == ((), ())
    # The first category contains two kinds; the second and third share another one, with a few images in the last.
    kinds = np.array([[30, 20, 0], [0, 0, 15], [0, 2, 25], [1, 0, 4]])
    assert merged_and_split(kinds) == ((0,), ((1, 2),))
    assert merged_and_split(kinds / kinds.sum()) == ((0,), ((1, 2),))
    reason = judge(replace(GOOD, kinds=3, merged=(0,), split=((1, 2), (4, 5, 6))), "digit").reason
    assert "merged in digit 0; " in reason
    assert reason.endswith("split into digit 1 and 2, 4 and 5 and 6")
    assert not judge(replace(GOOD, kinds=3, kinds_met=0.5, merged=(0, 3)), "digit").trust


def test_verdict_uses_no_labels_and_is_the_last_line() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}])

    class Unlabelled(ImageSet):
        def __getattribute__(self, name: str) -> object:
            if name == "labels":
                raise AssertionError("the verdict used labels")
            return super().__getattribute__(name)

    images = image_set()
    guarded = Unlabelled(images.images, images.names, images.source, images.labels, images.label_names)
    result = evaluate(EvaluationInputs(model, guarded, None, 0, {"shift": 0.1}), ["trust"], samples=100)
    assert result["verdict"]["trust"] is False
    assert result["verdict"]["reason"] == summary(result)[-1]
    assert set(result["verdict"]) == {"trust", "groups", "pictures", "reason", "kinds", "merged", "split", *THRESHOLDS}
