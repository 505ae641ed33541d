"""The index of real images: groups, orders, labels and distances."""

import csv
import io

import numpy as np

from infogan.explorer.image_index import CONFIDENT, ImageIndex, Predictions
from infogan.models.groups import groups_of
from infogan.models.infogan import InfoGAN
from tests.helpers import image_set, small_model


def encoded_index(count: int = 90) -> tuple[InfoGAN, ImageIndex]:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    index = ImageIndex(model, image_set(count))
    while index.encode_next():
        pass
    return model, index


def test_groups_agree_with_encode_and_are_sorted_by_confidence() -> None:
    model, index = encoded_index()
    encoding = model.encode(index.images.images)
    p = encoding.probabilities["category"]
    groups, numbers = index.assignments(0)
    assert [group.name for group in groups] == ["0", "1", "2"]
    assert np.array_equal(numbers, encoding.codes["category"])
    for value in range(3):
        members = np.flatnonzero(numbers == value)
        surest = index.ranked(0, value, "surest")
        assert sorted(surest.tolist()) == members.tolist()
        assert (np.diff(p[surest, value]) <= 1e-6).all()
        assert index.ranked(0, value, "least").tolist()[:1] == surest.tolist()[-1:]
    between = index.ranked(0, 0, "between", 1)
    assert (np.diff(np.minimum(p[between, 0], p[between, 1])) <= 1e-6).all()
    entropy = -(p * np.log(p)).sum(axis=1)
    assert (np.diff(entropy[index.by_uncertainty()]) <= 1e-5).all()


def test_values_with_one_name_form_one_group_and_labels_are_certain() -> None:
    model, index = encoded_index()
    p = model.encode(index.images.images).probabilities["category"]
    model.name_codes({"category": {0: "owl", 2: "owl"}})
    groups, numbers = index.assignments(0)
    probabilities = index.group_probabilities(0)
    assert [(group.name, group.values, group.named) for group in groups] == [("owl", (0, 2), True), ("1", (1,), False)]
    np.testing.assert_allclose(probabilities, np.stack([p[:, 0] + p[:, 2], p[:, 1]], axis=1), atol=1e-6)
    owls = p.argmax(axis=1) != 1
    assert np.array_equal(numbers == 0, owls)
    assert index.count_confident() == int((owls & (probabilities.max(axis=1) >= CONFIDENT)).sum())
    image = int(np.flatnonzero(~owls)[0]) if (~owls).any() else 0
    index.labels[image] = "owl"
    assert index.assignments(0)[1][image] == 0
    assert index.ranked(0, 0, "surest").tolist().count(image) == 1
    assert image not in index.by_uncertainty()


def test_images_with_ungrouped_labels_are_in_no_group() -> None:
    _, index = encoded_index()
    index.labels[5] = "something else"
    assert index.assignments(0)[1][5] == -1
    assert index.describe([5])["items"][0]["group"] == "something else"
    assert index.ungrouped_labels() == {"something else": [5]}
    assert all(5 not in index.ranked(0, group, "surest") for group in range(3))
    assert index.count_confident() == 1
    rows = list(csv.DictReader(io.StringIO(index.codes_csv().decode())))
    row = rows[5]
    assert (row["category"], row["source"], float(row["category_probability"])) == ("something else", "corrected", 1)
    assert rows[6]["source"] == "model"


def test_distance_combines_hellinger_distances_and_half_the_differences() -> None:
    p = np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]], np.float32)
    predictions = Predictions((p, np.array([0.0, 0.0, 1.0], np.float32)))
    hellinger = np.sqrt(((np.sqrt(p) - np.sqrt(p[1])) ** 2).sum(axis=1) / 2)
    expected = np.sqrt(hellinger**2 + np.array([0, 0, 0.25]))
    np.testing.assert_allclose(predictions.distance(predictions[1:2]), expected, atol=1e-6)


def test_groups_follow_the_display_order() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}])
    model.order_values("category", [2, 0, 1])
    model.name_codes({"category": {1: "owl", 2: "owl"}})
    assert [(group.name, group.values) for group in groups_of(model, "category")] == [("owl", (2, 1)), ("0", (0,))]
