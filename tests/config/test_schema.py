import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infogan.api import resolve
from infogan.config import presets
from infogan.config.load import build, merge, override, read_options
from infogan.config.schema import Config
from infogan.utils.errors import UserError
from tests.helpers import small_config


def options(**more: Any) -> dict[str, Any]:
    return merge(presets.PRESETS["plain"], more)


def test_every_preset_is_a_configuration_and_survives_json() -> None:
    for name in presets.PRESETS:
        config = build(resolve.compose(name))
        assert Config.model_validate_json(config.model_dump_json()) == config


def test_unnamed_codes_are_numbered_by_kind() -> None:
    kinds = ["categorical", "continuous", "categorical", "continuous", "categorical"]
    codes = [{"kind": kind, **({"size": 3} if kind == "categorical" else {})} for kind in kinds]
    named = [code.name for code in build(options(codes=codes)).codes]
    assert named == ["category", "knob1", "category2", "knob2", "category3"]


def test_a_given_name_is_kept() -> None:
    codes = [{"kind": "categorical", "size": 3, "name": "digit"}, {"kind": "categorical", "size": 4}]
    assert [code.name for code in build(options(codes=codes)).codes] == ["digit", "category2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"stepz": 3}}, ["train.stepz", "train.steps"]),
        ({"trian": {}}, ["trian", "train"]),
        ({"codes": [{"kind": "categorical", "size": 1}]}, ["codes.0.size", "1", "greater than or equal to 2"]),
        ({"codes": [{"kind": "categorical", "size": 3, "prior": [0.5, 0.5]}]}, ["'category'", "3 values", "2"]),
        ({"codes": [{"kind": "categorical", "size": 2, "prior": [0.5, 0.4]}]}, ["sums to 0.9"]),
        ({"codes": [{"kind": "kategorical", "size": 2}]}, ["kategorical", "categorical"]),
        ({"codes": [{"kind": "continuous", "name": "a"}] * 2}, ["share a name", "a"]),
        ({"networks": {"conditional": True}}, ["networks.conditional", "encoder"]),
        ({"codes": []}, ["at least one code"]),
        ({"data": {"size": 200}}, ["data.size", "200", "128"]),
        ({"train": {"batch_size": float("nan")}}, ["train.batch_size"]),
        ({"train": {"seed": -1}}, ["train.seed", "-1"]),
        ({"objective": {"kind": "gan"}}, ["gan", "no codes"]),
        ({"objective": {"information_to": ["generator"]}}, ["information_to", "recognizer"]),
        (
            {"objective": {"information_to": ["recognizer", "trunk"]}, "networks": {"recognizer": "separate"}},
            ["trunk", "separate"],
        ),
        ({"stages": []}, ["stages"]),
        ({"networks": {"architecture": "resnet"}}, ["networks.architecture", "resnet", "conv"]),
    ],
)
def test_mistakes_are_one_sentence_that_names_the_thing(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build(options(**change))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_one_update_cannot_train_both_sides_of_the_game() -> None:
    update = {"networks": ["generator", "discriminator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3}
    with pytest.raises(UserError, match="an update each"):
        build(options(stages=[{"updates": [update]}]))


def test_assignments_take_toml_values_lists_by_number_and_plain_strings() -> None:
    tree = options()
    tree = override(tree, "train.steps=12")
    tree = override(tree, "stages.0.updates.1.learning_rate = 1e-2")
    tree = override(tree, "networks.architecture=mlp")
    tree = override(tree, 'objective.information_to=["generator", "recognizer"]')
    config = build(tree)
    assert config.train.steps == 12
    assert config.stages[0].updates[1].learning_rate == 0.01
    assert config.networks.architecture == "mlp"
    assert config.information_to == {"generator", "recognizer"}
    assert presets.PRESETS["plain"]["train"]["steps"] != 12  # the preset itself is untouched


@pytest.mark.parametrize("text", ["train.steps", "=3", "train..steps=3", "stages.7.share=1", "train.steps.x=1"])
def test_bad_assignments_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        build(override(options(train={"steps": 5}), text))


@given(st.text(max_size=40))
def test_any_assignment_gives_a_configuration_or_one_sentence(text: str) -> None:
    try:
        build(override(options(), text))
    except UserError as error:
        assert str(error)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@given(TREES, st.sampled_from(["data", "objective", "noise", "codes", "networks", "stages", "train"]))
def test_any_tree_gives_a_configuration_or_one_sentence(value: Any, section: str) -> None:
    try:
        build(options(**{section: value}))
        build(resolve.compose("plain", [{"objective": {"kind": "gan"}}, {section: value}]))
    except UserError as error:
        assert str(error)


def test_files_are_read_as_toml_or_json(tmp_path: Path) -> None:
    toml, as_json = tmp_path / "a.toml", tmp_path / "a.json"
    toml.write_text('[train]\nsteps = 7\n[[codes]]\nkind = "categorical"\nsize = 4\n')
    as_json.write_text(json.dumps({"train": {"steps": 7}, "codes": [{"kind": "categorical", "size": 4}]}))
    assert read_options(toml) == read_options(as_json)


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", "x = "), ("a.json", "{"), ("a.json", "[1]"), ("b.json", "[" * 100_000)]
)
def test_damaged_files_are_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        read_options(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        read_options(tmp_path / "nowhere.toml")


def test_stages_share_the_steps_without_gap_or_overlap() -> None:
    stage = {"updates": [{"networks": ["generator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3}]}
    config = small_config(stages=[{**stage, "share": share} for share in (1, 2, 1e-9, 3)], train={"steps": 30})
    where = [config.stage_at(step) for step in range(30)]
    edges = sorted({(start, end) for _, start, end in where})
    assert edges[0][0] == 0
    assert edges[-1][1] == 30
    assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))
    assert all(start <= step < end for step, (_, start, end) in enumerate(where))
    assert [index for index, _, _ in where] == [0] * 5 + [1] * 10 + [3] * 15  # a share of no step is passed over
    with pytest.raises(IndexError):
        config.stage_at(30)


def test_predecessors_lose_codes_recognizer_and_information() -> None:
    for preset in presets.PRESETS:
        for kind in ("gan", "cgan"):
            config = build(resolve.compose(preset, [{"objective": {"kind": kind}}]))
            assert config.codes == ()
            updates = [update for stage in config.stages for update in stage.updates]
            assert {update.networks for update in updates} == {("discriminator",), ("generator",)}
            assert all(set(update.losses) == {"adversarial"} for update in updates)


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown preset 'pots': did you mean 'post'\?"):
        resolve.compose("pots")


def test_large_images_get_spectral_norm_and_smaller_rates_unless_these_were_given() -> None:
    def game(options: presets.Options) -> list[float]:
        return [update["learning_rate"] for update in options["stages"][-1]["updates"]]

    options = resolve.compose("robust", [], ["train.budget=100"])
    assert resolve._for_size(options, 32) == options
    large = resolve._for_size(options, 33)
    assert build(large).networks.spectral_norm
    assert game(large) == [resolve.RATE_OF_LARGE] * 2
    assert large["stages"][:3] == options["stages"][:3]
    gan = resolve._for_size(resolve.compose("robust", [{"objective": {"kind": "gan"}}]), 64)
    assert game(gan) == [resolve.RATE_OF_LARGE] * 2
    for preset in ("plain", "paper", "post", "disentangle"):
        assert resolve._for_size(resolve.compose(preset), 64) == resolve.compose(preset)
    given = resolve._for_size(resolve.compose("robust", [], ["networks.spectral_norm=false"]), 64)
    assert not build(given).networks.spectral_norm
    assert game(given) == [resolve.RATE_OF_LARGE] * 2
    given = resolve._for_size(resolve.compose("robust", [], ["stages.3.updates.0.learning_rate=0.1"]), 64)
    assert game(given) == [0.1, resolve.RATE_OF_LARGE]
    # What is printed, laid on the preset again, is the same run.
    printed = json.loads(build(options).model_dump_json())
    assert build(resolve._for_size(resolve.compose("robust", [printed]), 64)) == build(resolve._for_size(options, 64))


@pytest.mark.parametrize("name", ["", "a=b", "../up", "a\\b", " a", "a\n", "x" * 65])
def test_names_of_codes_are_fit_for_files_and_assignments(name: str) -> None:
    with pytest.raises(UserError, match="can not be the name of a code"):
        build(options(codes=[{"kind": "continuous", "name": name}]))
    assert build(options(codes=[{"kind": "continuous", "name": "how wide, Ünïcode"}])).codes[0].name


def test_a_kind_that_is_no_name_is_refused() -> None:
    with pytest.raises(UserError, match="kind"):
        build(resolve.compose("plain", [{"codes": [{"kind": [0.1, 0.2]}, {"kind": {"a": 1}}]}]))


def test_a_length_takes_the_place_of_one_in_another_unit() -> None:
    file = {"train": {"steps": 300, "budget": 60.0, "images": None, "seed": 3}}
    train = {"steps": 7}
    assert build(resolve.compose("robust", [file, {"train": train}])).train.model_dump(
        include={"steps", "budget", "images", "seed"}
    ) == {"steps": 7, "budget": None, "images": None, "seed": 3}
    assigned = build(resolve.compose("robust", [file], ["train.images_seen=5000"])).train
    assert (assigned.images_seen, assigned.budget) == (5000, None)
    alone = build(resolve.compose("robust", [file, {"train": {"seed": 4}}])).train
    assert (alone.steps, alone.budget, alone.seed) == (300, 60.0, 4)
    with pytest.raises(UserError):
        build(resolve.compose("robust", [{"train": {"steps": 1}}, {"train": 3}], ["train.steps=1"]))
