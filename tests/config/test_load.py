"""Reading, merging and overriding options: whatever is passed gives a configuration or one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infogan.api import resolve
from infogan.config import presets
from infogan.config.load import build, merge, override, read_options
from infogan.utils.errors import UserError

PLAIN = presets.PRESETS["plain"]


def test_merge_goes_into_tables_and_replaces_everything_else() -> None:
    base: dict[str, Any] = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merge(base, {"a": {"c": [4]}, "d": {"e": 5}}) == {"a": {"b": 1, "c": [4]}, "d": {"e": 5}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_assignments_take_toml_values_numbers_of_items_and_plain_strings() -> None:
    options = PLAIN
    options = override(options, "train.steps=12")
    options = override(options, "stages.0.updates.1.learning_rate = 1e-2")
    options = override(options, "networks.architecture=mlp")
    options = override(options, 'objective.information_to=["generator", "recognizer"]')
    config = build(options)
    assert config.train.steps == 12
    assert config.stages[0].updates[1].learning_rate == 0.01
    assert config.networks.architecture == "mlp"
    assert config.information_to == {"generator", "recognizer"}
    assert presets.PRESETS["plain"]["train"]["steps"] != 12  # the preset itself is unchanged


def test_assignments_accept_the_names_of_version_0_1() -> None:
    assert override({}, "train.pieces=2") == {"train": {"accumulation_steps": 2}}
    options = override(PLAIN, "stages.0.updates.0.terms.contrast=0.5")
    assert options["stages"][0]["updates"][0]["losses"]["nt_xent"] == 0.5


@pytest.mark.parametrize(
    ("assignment", "parts"),
    [
        ("train.steps", ["section.key=value"]),
        ("=3", ["section.key=value"]),
        ("train..steps=3", ["section.key=value"]),
        ("stages.7.share=1", ["'7'", "below 1"]),
        ("stages.first.share=1", ["'first'", "below 1"]),
        ("train.steps.x=1", ["'x'", "no options of its own"]),
    ],
)
def test_bad_assignment_is_refused(assignment: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        override(PLAIN, assignment)
    for part in [repr(assignment), *parts]:
        assert part in str(caught.value)


def test_files_are_read_as_toml_or_json(tmp_path: Path) -> None:
    toml, as_json = tmp_path / "a.toml", tmp_path / "a.json"
    toml.write_text('[train]\nsteps = 7\n[[codes]]\nkind = "categorical"\nsize = 4\n')
    as_json.write_text(json.dumps({"train": {"steps": 7}, "codes": [{"kind": "categorical", "size": 4}]}))
    assert read_options(toml) == read_options(as_json)


def test_files_of_version_0_1_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[train]\nreport_every = 7\n[invariance]\nflip = 0.5\n")
    options = read_options(tmp_path / "a.toml")
    assert options["train"] == {"log_every": 7}
    assert options["augment"] == {"flip": 0.5}


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", "x = "), ("a.json", "{"), ("a.json", "[1]"), ("b.json", "[" * 100_000)]
)
def test_damaged_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        read_options(tmp_path / name)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        read_options(tmp_path / "nowhere.toml")


@given(st.text(max_size=40))
def test_any_assignment_gives_a_configuration_or_one_sentence(text: str) -> None:
    try:
        build(override(PLAIN, text))
    except UserError as error:
        assert str(error)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@given(TREES, st.sampled_from(["data", "objective", "noise", "codes", "networks", "stages", "train", "augment"]))
def test_any_tree_gives_a_configuration_or_one_sentence(value: Any, section: str) -> None:
    try:
        build(merge(PLAIN, {section: value}))
        build(resolve.compose("plain", [{"objective": {"kind": "gan"}}, {section: value}]))
    except UserError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.steps=0", "at least 1"),
        ("train.steps=1.5", "a whole number"),
        ("train.steps=many", "a whole number"),
        ("data.size=200", "at most 128"),
        ("train.budget=often", "a number or 'auto'"),
        ("networks.pair_classifier=maybe", "true or false"),
        ("data.source=3", "text"),
        ("stages.0.updates.0.losses.adversarial=x", "a number or a list"),
        ("train=3", "a table"),
        ("codes=3", "a list"),
    ],
)
def test_errors_are_in_the_words_of_a_configuration(assignment: str, expected: str) -> None:
    with pytest.raises(UserError, match=rf": must be {expected}$"):
        build(override(PLAIN, assignment))
