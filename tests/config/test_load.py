"""Reading, merging and overriding options: whatever is passed gives a configuration or one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infogan.api import resolve
from infogan.config import presets
from infogan.config.load import build, merge, override, read_options, to_plain, whole_number
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
        ("stages.².share=1", ["'²'", "below 1"]),
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
        ("data.size=300", "at most 256"),
        ("train.budget=often", "a number"),
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


# Arguments of a program.

PLAIN_VALUES = [
    (np.int64(5), 5),
    (np.float32(0.5), 0.5),
    (np.longdouble(0.5), 0.5),
    (np.bool_(True), True),
    (np.str_("a"), "a"),
    (np.array(5), 5),
    (np.array([[1, 2]]), [[1, 2]]),
    (torch.tensor(5), 5),
    (torch.tensor([0.5]).bfloat16().requires_grad_(), [0.5]),
    (Path("a/b"), "a/b"),
    ((1, np.int8(2)), [1, 2]),
    (range(3), [0, 1, 2]),
    ({np.str_("a"): {"b": (np.int64(1), Path("c"))}, np.int64(2): None}, {"a": {"b": [1, "c"]}, 2: None}),
    ((number for number in (1, 2)), [1, 2]),
    ("text", "text"),
    (None, None),
]


@pytest.mark.parametrize(("value", "plain"), PLAIN_VALUES, ids=lambda value: type(value).__name__)
def test_values_of_libraries_become_plain(value: Any, plain: Any) -> None:
    result = to_plain(value)
    assert result == plain
    assert type(result) is type(plain)
    if not isinstance(plain, dict):
        assert json.loads(json.dumps(result)) == plain


def test_unknown_objects_stay_as_they_are() -> None:
    for value in (object(), b"bytes", {1, 2}, torch.Generator(), np.random.RandomState(0)):
        assert to_plain(value) is value


@pytest.mark.parametrize("number", [5, 5.0, np.int64(5), np.uint8(5), np.float32(5), np.array(5), torch.tensor(5.0)])
def test_whole_numbers_of_any_type_are_ints(number: Any) -> None:
    result = whole_number(number, "the number", 5, 5)
    assert result == 5
    assert type(result) is int


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (4, "from 5 to 7, not 4"),
        (np.int64(8), "from 5 to 7, not 8"),
        (5.5, "not 5.5"),
        (float("nan"), "not nan"),
        (np.float64("inf"), "not inf"),
        (None, "not None"),
        ("5", "not '5'"),
        ([5], r"not \[5\]"),
        (np.array([5, 6]), r"not \[5, 6\]"),
    ],
)
def test_other_numbers_are_refused_in_one_sentence(number: Any, shown: str) -> None:
    with pytest.raises(UserError, match=f"^the number must be a whole number .*{shown}$"):
        whole_number(number, "the number", 5, 7)
    assert whole_number(2**70, "the number", 5) == 2**70


def test_options_can_be_set_to_values_of_any_type() -> None:
    options = override(PLAIN, ("stages.0.updates", [{"networks": ["generator"], "losses": {"adversarial": 1}}]))
    assert options["stages"][0]["updates"][0]["networks"] == ["generator"]
    assert override({}, ("train.pieces", None)) == {"train": {"accumulation_steps": None}}
    assert override({}, ("data.source", "a = 3")) == {"data": {"source": "a = 3"}}
    with pytest.raises(UserError, match=r"option 'train\.\.steps' is not of the form section\.key"):
        override({}, ("train..steps", 3))
    with pytest.raises(UserError, match=r"option 'stages\.7\.share': '7' does not exist there"):
        override(PLAIN, ("stages.7.share", 1))


def test_values_of_libraries_are_options() -> None:
    size, share = np.int64(4), torch.tensor(0.5)
    pairs = [("train.batch_size", size), ("augment", {"shift": share}), ("train.compile", np.True_)]
    composed = resolve.compose(
        "plain",
        [{"train": {"seed": np.int64(7), "steps": np.array(9)}, "data": {"source": Path("photos")}}],
        pairs,
        categorical=np.array([3, 4]),
        continuous=np.int8(1),
    )
    json.dumps(composed)
    config = build(composed)
    train = config.train
    assert (train.batch_size, train.compile, train.seed, train.steps) == (4, True, 7, 9)
    assert (config.category_sizes, len(config.codes), config.augment.shift) == ((3, 4), 3, 0.5)
    assert config.data.source == "photos"
    for categorical in (np.int64(3), torch.tensor(3), (3,), 3.0, [np.int64(3)]):
        assert build(resolve.compose("plain", categorical=categorical)).category_sizes == (3,)


def test_option_without_a_value_does_not_replace_the_length() -> None:
    composed = resolve.compose("plain", [{"train": {"steps": 7}}], [("train.budget", None)])
    assert build(composed).train.steps == 7
    other_unit = resolve.compose("plain", [{"train": {"steps": 7}}], [("train.budget", 60.0)])
    assert "steps" not in other_unit["train"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1, 1.5, 10_001, "one"])
def test_impossible_number_of_knobs_is_refused(number: Any) -> None:
    with pytest.raises(UserError, match=r"number of continuous codes .*from 0 to 10000"):
        resolve.compose("plain", continuous=number)


@pytest.mark.parametrize(
    "option", ["train.budget", "train.seed", "train.steps", "noise.size", "stages.0.updates.0.learning_rate"]
)
def test_numbers_that_are_not_finite_are_refused(option: str) -> None:
    for number in (float("nan"), np.float32("inf"), torch.tensor(float("nan"))):
        with pytest.raises(UserError, match=f"^option {option} is (nan|inf): .*finite"):
            build(resolve.compose("plain", [], [(option, number)]))
