"""Where images are filed: groups of values that share a name, and corrections."""

from typing import Any

import numpy as np
import pytest

from infogan.models.groups import NO_GROUP, Assignment, code_columns, group_probabilities, groups_of, text_rows
from tests.helpers import bar_images, small_model

CODES: list[dict[str, Any]] = [
    {"kind": "categorical", "size": 4},
    {"kind": "continuous"},
    {"kind": "categorical", "name": "tone", "size": 2},
]
P = np.array([[0.1, 0.6, 0.1, 0.2], [0.35, 0.05, 0.25, 0.35], [0.0, 0.3, 0.3, 0.4]], np.float32)


def test_an_image_is_in_the_group_of_its_most_probable_value() -> None:
    model = small_model(codes=CODES)
    model.name_codes({"category": {1: "owl", 2: "owl"}})
    assignment = Assignment.of(model, "category", P)
    assert [group.name for group in assignment.groups] == ["0", "owl", "3"]
    assert assignment.names == ["owl", "0", "3"]  # the third, although an owl is as probable as both values together
    assert assignment.values.tolist() == [1, 0, 3]
    np.testing.assert_allclose(assignment.confidence, [0.7, 0.35, 0.4])
    assert not assignment.corrected.any()
    np.testing.assert_allclose(group_probabilities(groups_of(model, "category"), P)[2], [0, 0.6, 0.4])


def test_a_correction_is_certain() -> None:
    model = small_model(codes=CODES)
    model.name_codes({"category": {1: "owl", 2: "owl"}})
    assignment = Assignment.of(model, "category", P, {0: "owl", 1: "owl", 2: "something else"})
    assert assignment.names == ["owl", "owl", "something else"]
    assert assignment.values.tolist() == [1, 1, NO_GROUP]  # the first stays; the second gets the first of the group
    assert assignment.numbers.tolist() == [1, 1, NO_GROUP]
    assert assignment.confidence.tolist() == [1, 1, 1]
    assert assignment.corrected.all()


def test_columns_follow_the_corrections_of_the_first_category_alone() -> None:
    model = small_model(codes=CODES)
    encoding = model.encode(bar_images(5))
    columns = code_columns(model, list("abcde"), encoding, {3: "odd"}, all_probabilities=True)
    assert [*columns] == [
        "image",
        "category",
        "category_probability",
        "knob1",
        "tone",
        "tone_probability",
        "entropy",
        "category_number",
        "tone_number",
        "source",
        *(f"category_number_{value}" for value in range(4)),
        "tone_number_0",
        "tone_number_1",
    ]
    rows = [dict(zip(columns, row, strict=True)) for row in text_rows(columns)]
    assert (rows[3]["category"], rows[3]["category_number"], rows[3]["source"]) == ("odd", "", "corrected")
    assert rows[3]["tone"] == str(encoding.codes["tone"][3])
    assert (rows[2]["category_number"], rows[2]["source"]) == (str(encoding.codes["category"][2]), "model")
    assert sum(float(rows[2][f"category_number_{value}"]) for value in range(4)) == pytest.approx(1, abs=1e-5)


def test_new_columns_give_way_to_codes_of_their_names() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 2}, {"kind": "continuous", "name": "source"}])
    columns = code_columns(model, ["a"], model.encode(bar_images(1)))
    assert [*columns][2:] == ["category_probability", "source", "entropy", "category_number", "code source"]
