"""Names, order and values of codes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError
from tests.helpers import bar_images, small_model

MODEL = small_model()


def categorical(size: int) -> InfoGAN:
    return small_model(codes=[{"kind": "categorical", "size": size}])


def value_names(model: InfoGAN) -> list[str]:
    names = model.value_names("category")
    assert names == [model.value_name("category", value) for value in range(len(names))]
    return names


# Values.


def test_codes_are_fixed_by_number_or_name() -> None:
    model = small_model()
    model.name_codes({"category": {3: "three"}})
    assert model.sample(5, codes={"category": "three"}).codes["category"].tolist() == [3] * 5
    assert model.sample(5, codes={"category": 4, "knob1": 0.5}).codes["knob1"].tolist() == [0.5] * 5
    assert model.sample(2, codes={"category": [1, 2]}).codes["category"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ({"kategory": 1}, ["'kategory'", "'category'"]),
        ({"category": 10}, ["0 to 9", "10"]),
        ({"category": -1}, ["0 to 9"]),
        ({"category": "seven"}, ["0 to 9", "'seven'"]),
        ({"category": 1.5}, ["0 to 9", "1.5"]),
        ({"category": float("inf")}, ["0 to 9", "inf"]),
        ({"category": float("nan")}, ["0 to 9", "nan"]),
        ({"knob1": 1.01}, ["-1 to 1", "1.01"]),
        ({"knob1": 10**400}, ["-1 to 1"]),
        ({"knob1": float("nan")}, ["-1 to 1"]),
        ({"knob1": "left"}, ["-1 to 1", "'left'"]),
        ({"category": [1, 2]}, ["2 values", "3 images"]),
        ({"knob1": np.array([0, np.nan, 1])}, ["-1 to 1", "nan"]),
        ({"knob1": torch.tensor(float("nan"))}, ["-1 to 1", "nan"]),
        ({"knob1": np.zeros((3, 1))}, ["-1 to 1"]),
        ({"category": np.zeros((3, 1))}, ["0 to 9"]),
    ],
)
def test_invalid_values_are_rejected(codes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        MODEL.sample(3, codes=codes)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("code", ["category", "knob1"])
def test_objects_that_are_no_values_are_rejected(code: str) -> None:
    for value in (None, object(), {"a": 1}, [None] * 3, [[1]] * 3):
        with pytest.raises(UserError, match=f"code '{code}' takes"):
            MODEL.parse_codes({code: value}, 3)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "value", [np.int64(1), np.float32(1), np.array(1), torch.tensor(1), torch.tensor(1.0, requires_grad=True), np.True_]
)
def test_one_value_may_be_a_number_of_any_library(value: Any) -> None:
    samples = MODEL.sample(3, codes={"category": value, "knob1": value})
    assert samples.codes["category"].tolist() == [1] * 3
    assert samples.codes["knob1"].tolist() == [1.0] * 3


@pytest.mark.parametrize(
    "values",
    [
        (1, 0),
        np.array([1, 0], np.uint8),
        torch.tensor([1.0, 0.0]).bfloat16(),
        [torch.tensor(1), np.int8(0)],
        range(1, -1, -1),
        {"a": 1, "b": 0}.values(),
    ],
    ids=lambda values: type(values).__name__,
)
def test_values_per_image_may_be_of_any_library(values: Any) -> None:
    samples = MODEL.sample(2, codes={"category": values, "knob1": values})
    assert samples.codes["category"].tolist() == [1, 0]
    assert samples.codes["knob1"].tolist() == [1.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["category", "knob1"]), st.integers() | st.floats() | st.text(max_size=6))
def test_any_value_is_accepted_or_rejected_with_the_name_of_the_code(code: str, value: Any) -> None:
    try:
        MODEL.sample(2, codes={code: value})
    except UserError as error:
        assert code in str(error)


def test_values_with_the_same_name_take_turns() -> None:
    model = categorical(4)
    model.name_codes({"category": {1: "owl", 3: "owl"}})
    assert model.sample(5, codes={"category": "owl"}).codes["category"].tolist() == [1, 3, 1, 3, 1]
    assert model.sample(3, codes={"category": "owl"}).codes["category"].tolist() == [1, 3, 1]


# Names.


def test_a_value_without_a_name_has_its_number_unless_that_is_another_values_name() -> None:
    model = categorical(4)
    model.name_codes({"category": {0: "3"}})
    assert value_names(model) == ["3", "1", "2", "category 3"]
    assert [model.is_named("category", value) for value in range(4)] == [True, False, False, False]
    for name, value in (("3", 0), ("category 3", 3), (3, 3), ("1", 1)):
        assert model.sample(1, codes={"category": name}).codes["category"] == [value]
    model.name_codes({"category": {0: ""}})
    assert value_names(model) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    "names",
    [
        {"category": ["a"]},
        {"category": {10: "a"}},
        {"category": {-1: "a"}},
        {"category": {1.5: "a"}},
        {"category": {float("nan"): "a"}},
        {"category": {"1": "a"}},
        {"category": {1: 7}},
        {"category": "abcdefghij"},
        {"knob1": ["a"]},
        {"none": ["a"]},
        {"category": ["a"] * 11},
    ],
)
def test_names_that_do_not_fit_are_rejected(names: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        small_model().name_codes(names)


def test_values_to_name_may_be_numbers_of_any_library() -> None:
    model = categorical(4)
    model.name_codes({"category": {np.int64(1): np.str_("one"), torch.tensor(2): "two", 3.0: "three"}})
    assert value_names(model) == ["0", "one", "two", "three"]
    for value in (np.int64(1), torch.tensor(1), 1.0):
        assert model.value_name("category", value) == "one"
        assert model.is_named("category", value)
    model.name_codes({"category": np.array(["a", "b", "c", ""])})
    assert value_names(model) == ["a", "b", "c", "3"]
    for wrong in (4, -1, float("nan")):
        with pytest.raises(UserError, match="from 0 to 3"):
            model.value_name("category", wrong)


def test_names_by_labels_are_matched_one_to_one() -> None:
    model, images = categorical(3), bar_images(60)
    categories = model.encode(images).codes["category"]
    model.name_codes_by_labels(images, (categories + 1) % 3, ["b", "c", "a"])
    for value in set(categories.tolist()):
        assert model.value_name("category", value) == "cab"[value]


def test_labels_may_be_of_any_library_but_must_fit() -> None:
    images = bar_images(20)
    labels = np.arange(20) % 2
    expected = categorical(3)
    expected.name_codes_by_labels(images, labels, ["a", "b"])
    for same in (labels.tolist(), torch.from_numpy(labels), labels.astype(np.float32), tuple(labels)):
        model = categorical(3)
        model.name_codes_by_labels(list(images), same, ("a", "b"))
        assert value_names(model) == value_names(expected)
    for wrong in (labels[:-1], labels + 1, labels - 1, labels + 0.5, np.full(20, np.nan)):
        with pytest.raises(UserError, match="label"):
            categorical(3).name_codes_by_labels(images, wrong, ["a", "b"])


def test_labels_that_are_numbers_do_not_name_other_values() -> None:
    model, images = categorical(3), bar_images(60)
    categories = model.encode(images).codes["category"]
    value = int(np.bincount(categories).argmax())
    images = images[categories == value]
    label = str((value + 1) % 3)  # the number of another value
    model.name_codes_by_labels(images, np.zeros(len(images), np.int64), [label])
    names = value_names(model)
    assert names[value] == label
    assert names[(value + 1) % 3] == f"category {label}"
    assert len(set(names)) == 3


def test_a_label_names_only_values_with_images_of_it() -> None:
    model, images = categorical(3), bar_images(60)
    categories = model.encode(images).codes["category"]
    images = images[categories == int(np.bincount(categories).argmax())]  # all of one category, with two labels
    model.name_codes_by_labels(images, np.arange(len(images)) % 2, ["owl", "elk"])
    assert sum(name in ("owl", "elk") for name in value_names(model)) == 1


# Codes and their order.


def test_a_renamed_code_keeps_its_meaning(tmp_path: Path) -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    model.name_codes({"category": ["a", "b", "c"]})
    before = model.sample(6, codes={"category": "b", "knob1": 0.5}, seed=3)
    model.rename_code("category", "digit")
    model.rename_code("knob1", "slant (°)")
    model.save(tmp_path)
    for renamed in (model, InfoGAN.load(tmp_path)):
        after = renamed.sample(6, codes={"digit": "b", "slant (°)": 0.5}, seed=3)
        assert np.array_equal(after.images, before.images)
        assert list(after.codes) == ["digit", "slant (°)"]
        assert renamed.value_name("digit", 2) == "c"
        with pytest.raises(UserError, match="category"):
            renamed.sample(1, codes={"category": 0})
    model.rename_code("digit", "digit")
    assert list(model.layout.codes) == ["digit", "slant (°)"]


@pytest.mark.parametrize(("code", "name"), [("category", "knob1"), ("none", "x")])
def test_renaming_an_unknown_code_or_to_a_name_in_use_fails(code: str, name: str) -> None:
    with pytest.raises(UserError, match=name if code == "category" else code):
        small_model().rename_code(code, name)


@pytest.mark.parametrize("name", ["", "a=b", "../a", " a", "a\n", "x" * 65])
def test_invalid_names_of_codes_are_rejected(name: str) -> None:
    with pytest.raises(UserError, match="cannot be the name of a code"):
        small_model().rename_code("category", name)


def test_an_order_is_used_for_display_and_saved(tmp_path: Path) -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    before = model.traverse("category", rows=2)
    model.order_values("category", [2, 0, 1])
    assert model.values_of("category") == [2, 0, 1]
    assert np.array_equal(model.traverse("category", rows=2), before[:, [2, 0, 1]])
    model.rename_code("category", "kind")
    model.save(tmp_path)
    assert InfoGAN.load(tmp_path).values_of("kind") == [2, 0, 1]


def test_an_order_may_be_of_any_library(tmp_path: Path) -> None:
    for order in (np.array([2, 0, 1]), torch.tensor([2, 0, 1]), (2.0, 0.0, 1.0)):
        model = categorical(3)
        model.order_values("category", order)
        model.save(tmp_path)
        assert InfoGAN.load(tmp_path).values_of("category") == [2, 0, 1]
    wrongs: list[Any] = [["a", 0, 1], [0.5, 1, 2], [float("nan"), 0, 1]]
    for wrong in wrongs:
        with pytest.raises(UserError, match="a value of code 'category'"):
            categorical(3).order_values("category", wrong)


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [0, 1, 3]])
def test_an_order_must_list_each_value_once(order: list[int]) -> None:
    with pytest.raises(UserError, match="each of its values"):
        categorical(3).order_values("category", order)


def test_a_continuous_code_has_no_order() -> None:
    with pytest.raises(UserError, match="continuous"):
        small_model().order_values("knob1", [0])


def test_names_are_not_saved_over_changes_of_another_process(tmp_path: Path) -> None:
    model = categorical(3)
    model.save(tmp_path)
    since = model.config
    model.name_codes({"category": ["a", "b", "c"]})
    model.save_names(tmp_path, since)
    assert InfoGAN.load(tmp_path).value_names("category") == ["a", "b", "c"]
    model.name_codes({"category": ["d", "e", "f"]})
    with pytest.raises(UserError, match="changed by another process"):
        model.save_names(tmp_path, since)
    assert InfoGAN.load(tmp_path).value_names("category") == ["a", "b", "c"]


def test_many_values_are_displayed_at_equal_distances() -> None:
    model = categorical(250)
    values = model.display_values("category", 50)
    assert (len(values), values[0], values[-1]) == (50, 0, 249)
    assert set(np.diff(values).tolist()) == {5, 6}
    assert model.display_values("category", None) == list(range(250))
    assert MODEL.value_labels("knob1", [-1.0, 0.5]) == ["-1.00", "+0.50"]
