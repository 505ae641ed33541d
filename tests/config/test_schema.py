"""The schema: a mistake in a configuration is one sentence that names the option."""

import itertools
from typing import Any

import pytest

from infogan.config import presets
from infogan.config.load import build, merge
from infogan.config.schema import is_code_name
from infogan.utils.errors import UserError
from tests.helpers import small_config


def options(**sections: Any) -> dict[str, Any]:
    return merge(presets.PRESETS["plain"], sections)


def test_codes_without_names_are_numbered_by_kind() -> None:
    kinds = ["categorical", "continuous", "categorical", "continuous", "categorical"]
    codes = [{"kind": kind, **({"size": 3} if kind == "categorical" else {})} for kind in kinds]
    names = [code.name for code in build(options(codes=codes)).codes]
    assert names == ["category", "knob1", "category2", "knob2", "category3"]


def test_names_of_codes_are_not_replaced() -> None:
    codes = [{"kind": "categorical", "size": 3, "name": "digit"}, {"kind": "categorical", "size": 4}]
    assert [code.name for code in build(options(codes=codes)).codes] == ["digit", "category2"]


@pytest.mark.parametrize("name", ["", "a=b", "../up", "a\\b", " a", "a\n", "x" * 65])
def test_names_of_codes_must_fit_file_names_and_assignments(name: str) -> None:
    assert not is_code_name(name)
    with pytest.raises(UserError, match="cannot be the name of a code"):
        build(options(codes=[{"kind": "continuous", "name": name}]))


def test_names_of_codes_may_have_spaces_and_other_letters() -> None:
    assert build(options(codes=[{"kind": "continuous", "name": "how wide, Ünïcode"}])).codes[0].name[-1] == "e"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"train": {"stepz": 3}}, ["train.stepz", "train.steps"]),
        ({"trian": {}}, ["trian", "train"]),
        ({"codes": [{"kind": "categorical", "size": 1}]}, ["codes.0.size", "1", "2"]),
        ({"codes": [{"kind": "categorical", "size": 3, "prior": [0.5, 0.5]}]}, ["'category'", "3", "2"]),
        ({"codes": [{"kind": "categorical", "size": 2, "prior": [0.5, 0.4]}]}, ["'category'", "0.9"]),
        ({"codes": [{"kind": "categorical", "size": 2, "prior": "learned"}]}, ["'category'", "encoder"]),
        ({"codes": [{"kind": "kategorical", "size": 2}]}, ["kategorical", "categorical"]),
        ({"codes": [{"kind": [0.1, 0.2]}, {"kind": {"a": 1}}]}, ["kind"]),
        ({"codes": [{"kind": "continuous", "name": "a"}] * 2}, ["two codes", "a, a"]),
        ({"codes": []}, ["at least one code"]),
        ({"networks": {"conditional": True}}, ["networks.conditional", "networks.encoder"]),
        ({"networks": {"encoder": True}, "codes": [{"kind": "continuous"}]}, ["networks.encoder", "categorical"]),
        ({"networks": {"pair_classifier": True}, "codes": [{"kind": "continuous"}]}, ["pair_classifier", "two codes"]),
        ({"networks": {"architecture": "resnet"}}, ["networks.architecture", "resnet", "conv"]),
        ({"data": {"size": 300}}, ["data.size", "300", "256"]),
        ({"train": {"batch_size": float("nan")}}, ["train.batch_size"]),
        ({"train": {"batch_size": 1}}, ["train.batch_size", "2"]),
        ({"train": {"seed": -1}}, ["train.seed", "-1", "0"]),
        ({"train": {"budget": 0}}, ["train.budget", "0", "greater than 0"]),
        ({"train": {"budget": 5.0, "images_seen": 7}}, ["train.budget", "train.images_seen"]),
        ({"objective": {"kind": "gan"}}, ["gan", "no codes"]),
        ({"objective": {"kind": "cgan"}}, ["cgan", "one code"]),
        ({"objective": {"kind": "gan"}, "codes": []}, ["gan", "no recognizer"]),
        ({"objective": {"information_to": ["generator"]}}, ["information_to", "recognizer"]),
        (
            {"objective": {"information_to": ["recognizer", "trunk"]}, "networks": {"recognizer": "separate"}},
            ["trunk", "separate"],
        ),
        ({"stages": []}, ["stages"]),
        ({"format": 3}, ["format", "3"]),
    ],
)
def test_mistake_is_one_sentence_that_names_the_option(change: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build(options(**change))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def update(*networks: str, **settings: Any) -> dict[str, Any]:
    return {"networks": networks, "losses": {"adversarial": 1.0}, "learning_rate": 1e-3, **settings}


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ({"updates": [update("generator", "discriminator")]}, ["generator", "discriminator", "an update each"]),
        ({"updates": [update("generator", "generator")]}, ["twice", "generator"]),
        ({"updates": [update("pair_classifier")]}, ["networks.pair_classifier"]),
        ({"updates": [update("encoder")]}, ["networks.encoder"]),
        ({"updates": [update("generator")], "on_start": ["cluster"]}, ["networks.encoder"]),
        ({"updates": [update("generator")], "on_start": ["nothing"]}, ["stages.0.on_start.0", "nothing", "cluster"]),
        ({"updates": [update("generator", losses={})]}, ["stages.0.updates.0.losses"]),
        ({"updates": [update("generator", learning_rate=0)]}, ["stages.0.updates.0.learning_rate", "0"]),
        ({"updates": [update("generator")], "share": 0}, ["stages.0.share", "0"]),
    ],
)
def test_mistake_in_a_stage_is_named(stage: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build(options(stages=[stage]))
    for part in parts:
        assert part in str(caught.value)


def test_stages_share_the_steps_without_gap_or_overlap() -> None:
    stage = {"updates": [update("generator")]}
    config = small_config(stages=[{**stage, "share": share} for share in (1, 2, 1e-9, 3)], train={"steps": 30})
    stages = [config.stage_at(step) for step in range(30)]
    edges = sorted({(start, end) for _, start, end in stages})
    assert edges[0][0] == 0
    assert edges[-1][1] == 30
    assert all(first[1] == second[0] for first, second in itertools.pairwise(edges))
    assert all(start <= step < end for step, (_, start, end) in enumerate(stages))
    assert [index for index, _, _ in stages] == [0] * 5 + [1] * 10 + [3] * 15  # the third has no step
    with pytest.raises(IndexError):
        config.stage_at(30)


def test_images_seen_count_the_batches_of_each_stage() -> None:
    stages = [
        {"updates": [update("generator")], "share": share, "batch_factor": factor} for share, factor in ((1, 4), (2, 1))
    ]
    config = small_config(stages=stages, train={"steps": 9, "batch_size": 16})
    assert [config.batch_size(stage) for stage in range(2)] == [64, 16]
    assert config.largest_batch == (64, 4)
    assert [config.images_seen(steps) for steps in (0, 2, 3, 9)] == [0, 128, 192, 288]


def test_information_reaches_all_parts_by_default() -> None:
    assert build(options()).information_to == {"generator", "recognizer", "trunk"}
    config = build(options(objective={"information_to": ["recognizer"]}))
    assert config.information_to == {"recognizer"}
