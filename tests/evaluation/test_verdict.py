"""The verdict needs no labels, and names what went wrong."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from infogan.data.augment import augment
from infogan.data.batches import to_network
from infogan.data.dataset import ImageSet
from infogan.evaluation import verdict
from infogan.evaluation.evaluate import EvaluationInputs, evaluate, summary
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


def test_a_run_without_fault_is_trusted_and_says_why() -> None:
    trusted, reason = judge(GOOD, "digit")
    assert trusted
    assert reason.startswith("trust: 90% of images keep their digit")
    # Nothing to say of these without an encoder.
    assert judge(replace(GOOD, neighbours=None, kinds=None, kinds_met=None), "digit")[0]


@pytest.mark.parametrize("name", sorted(THRESHOLDS))
def test_each_trace_beyond_its_limit_is_a_reason_not_to_trust(name: str) -> None:
    least = THRESHOLDS[name].minimum
    good, bad = (Evidence(**{**asdict(GOOD), name: value}) for value in (least, least - 0.01))
    assert judge(good, "digit")[0]
    trusted, reason = judge(bad, "digit")
    assert not trusted
    assert reason.startswith("do not trust: ")
    assert "digit" in reason


def test_traces_are_what_they_say() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    images = bar_images(90)
    found = collect_evidence(model, images, {"flip": 1.0}, 5)
    filed = model.encode(images)
    assert found.smallest_class == pytest.approx(np.bincount(filed.codes["category"], minlength=3).min() / 30)
    assert found.sureness == pytest.approx(float(filed.probabilities["category"].max(axis=1).mean()), abs=1e-6)
    assert found.view_agreement == 1  # every view is mirrored, so both are the same
    fakes = model.sample(verdict.LOOKED_AT, seed=5)
    read = model.encode(fakes.images).codes["category"]
    assert found.read_back == pytest.approx(float((read == fakes.codes["category"]).mean()))
    assert found.neighbours is None
    assert collect_evidence(model, images, {"shift": 0.4, "rotate": 90.0}, 5).view_agreement < 1


def test_how_far_views_are_apart_is_measured_in_distances_to_neighbours() -> None:
    model, images, shift = small_model(), bar_images(40), {"shift": 0.3}
    found = collect_evidence(model, images, shift, 5).views_apart
    # The same views again, drawn after those that agreement is measured on; the rest in another way.
    draws = torch.Generator().manual_seed(5)
    batch = to_network(torch.from_numpy(images))
    views = [augment(batch, shift, draws).flatten(1).numpy() for _ in range(5)][2:]
    closest = np.min([np.sqrt(((views[i] - views[j]) ** 2).sum(axis=1)) for i, j in ((0, 1), (0, 2), (1, 2))], axis=0)
    pixels = batch.flatten(1).numpy().astype(np.float64)
    distances = np.sqrt(((pixels[:, None] - pixels[None]) ** 2).sum(axis=2))
    tenth = np.sort(distances, axis=1)[:, 10].mean()
    assert found == pytest.approx(np.sort(closest)[19] / tenth, rel=1e-4)  # torch's median is the lower one
    # Of three views, two are flipped alike.
    assert collect_evidence(model, images, {"flip": 0.5}, 5).views_apart == 0
    assert collect_evidence(model, images, {}, 5).views_apart == 0
    assert collect_evidence(model, images[:1], shift, 5).views_apart is not None


def test_kinds_that_the_features_showed_are_compared_with_the_values_of_the_code() -> None:
    config = small_config("data.source=bars", preset="robust", codes=[{"kind": "categorical", "size": 4}])
    shape = ImageShape(1, 8)
    layout = CodeLayout(config.noise, config.codes)
    networks = build_networks(config.networks, layout, shape, kind="infogan", seed=0)
    model = InfoGAN(ModelConfig.of(config, shape), networks)
    assert networks.encoder is not None
    for kinds, met in ((0, None), (4, 1.0), (5, 0.8), (8, 0.5), (2, 0.5)):
        networks.encoder.kinds.zero_()[:, :kinds] = 0.1
        found = collect_evidence(model, bar_images(60), {"flip": 1.0}, 5)
        assert (found.kinds, found.kinds_met) == (kinds or None, met)
    reason = judge(replace(GOOD, kinds=8, kinds_met=0.5), "digit")[1]
    assert reason.startswith("do not trust: 8 kinds of image stand apart")


def test_values_that_hold_several_kinds_or_share_one_are_named() -> None:
    one_each = np.diag([30, 20, 40])
    assert merged_and_split(one_each) == ((), ())
    assert merged_and_split(np.zeros((4, 0))) == ((), ())
    # The first value holds two kinds; the second and third share another, of which the last has a few.
    kinds = np.array([[30, 20, 0], [0, 0, 15], [0, 2, 25], [1, 0, 4]])
    assert merged_and_split(kinds) == ((0,), ((1, 2),))
    assert merged_and_split(kinds / kinds.sum()) == ((0,), ((1, 2),))
    reason = judge(replace(GOOD, kinds=3, merged=(0,), split=((1, 2), (4, 5, 6))), "digit")[1]
    assert "; several kinds seem to be merged in digit 0; " in reason
    assert reason.endswith("; one kind seems to be split into digit 1 and 2, 4 and 5 and 6")
    assert not judge(replace(GOOD, kinds=3, kinds_met=0.5, merged=(0, 3)), "digit")[0]


def test_the_verdict_is_reached_without_labels_and_goes_last() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}])

    class Unlabelled(ImageSet):
        def __getattribute__(self, name: str) -> object:
            if name == "labels":
                raise AssertionError("the verdict looked at labels")
            return super().__getattribute__(name)

    images = image_set()
    hidden = Unlabelled(images.images, images.names, images.source, images.labels, images.label_names)
    result = evaluate(EvaluationInputs(model, hidden, None, 0, {"shift": 0.1}), ["trust"])
    assert result["verdict"]["trust"] is False
    assert result["verdict"]["reason"] == summary(result)[-1]
    assert set(result["verdict"]) == {"trust", "reason", "kinds", "merged", "split", *THRESHOLDS}
