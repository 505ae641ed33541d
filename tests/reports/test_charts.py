"""Line charts: curves pass through their values, ticks are round numbers, and names stay text."""

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest

from infogan.reports.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MAX_POINTS,
    RIGHT,
    TOP,
    TREE_LEFT,
    WIDTH,
    Curve,
    loss_curves,
    select_curves,
    svg_line_chart,
    svg_merge_tree,
    training_charts,
)
from tests.helpers import small_model

PLOT_RIGHT, PLOT_BOTTOM = WIDTH - RIGHT, HEIGHT - BOTTOM


def chart(curves: dict[str, Curve], **references: float) -> Element:
    return ElementTree.fromstring(svg_line_chart(curves, title="Title", unit="nats", references=references))


def plot(figure: Element) -> Element:
    svg = figure.find("svg")
    assert svg is not None
    return svg


def points(polyline: Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in polyline.attrib["points"].split())]


def ticks(figure: Element, anchor: str) -> dict[float, float]:
    """Return the position of each tick by its number: x for the anchor "middle", y for "end"."""
    coordinate = "x" if anchor == "middle" else "y"
    labels = [text for text in plot(figure).iter("text") if text.attrib["text-anchor"] == anchor]
    numbers = [text for text in labels if re.fullmatch(r"-?[\d,.]+", text.text or "")]
    return {float((text.text or "").replace(",", "")): float(text.attrib[coordinate]) for text in numbers}


def test_curve_passes_through_its_values_between_the_ticks() -> None:
    figure = chart({"constant": ([0, 100], [0.7, 0.7]), "slope": ([0, 50, 100], [0, 0.5, 1])})
    constant, slope = (points(line) for line in plot(figure).findall("polyline"))
    y_ticks = ticks(figure, "end")
    assert list(y_ticks) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    unit = y_ticks[0] - y_ticks[1]
    baseline = y_ticks[0] - 4  # labels are below their line
    assert [y for _, y in constant] == pytest.approx([baseline - 0.7 * unit] * 2, abs=0.2)
    assert [y for _, y in slope] == pytest.approx([baseline, baseline - 0.5 * unit, baseline - unit], abs=0.2)
    assert [x for x, _ in slope] == [LEFT, (LEFT + PLOT_RIGHT) / 2, PLOT_RIGHT]
    assert TOP < slope[2][1] < slope[0][1] < PLOT_BOTTOM


def test_ticks_are_round_numbers_at_equal_distances() -> None:
    figure = chart({"curve": ([0, 20_000], [0.1, 0.35])})
    x_ticks = ticks(figure, "middle")
    assert list(x_ticks) == [0, 5_000, 10_000, 15_000, 20_000]
    assert np.diff(list(x_ticks.values())) == pytest.approx([(PLOT_RIGHT - LEFT) / 4] * 4, abs=0.2)
    assert list(ticks(figure, "end")) == [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]
    assert "10,000" in [text.text for text in plot(figure).iter("text")]
    assert list(ticks(chart({"curve": ([0, 2], [0, 1])}), "middle")) == [0, 1, 2]  # no half steps


def test_references_are_lines_at_their_heights_with_their_names() -> None:
    figure = chart({"slope": ([0, 1], [0, 1])}, **{"H(c)": 2.303, "H(d)": 2.303, "H(e)": 0.5})
    lines = [line for line in plot(figure).findall("line") if line.attrib["class"] == "reference"]
    names = [text for text in plot(figure).findall("text") if text.attrib["class"] == "name"]
    assert [text.text for text in names] == ["H(c), H(d): 2.3", "H(e): 0.5"]  # equal heights share a line
    y_ticks = ticks(figure, "end")
    expected = y_ticks[0] - 4 - 0.5 * (y_ticks[0] - y_ticks[1])
    assert float(lines[1].attrib["y1"]) == pytest.approx(expected, abs=0.2)
    assert TOP <= float(lines[0].attrib["y1"]) < float(lines[1].attrib["y1"])
    assert all(TOP < float(text.attrib["y"]) < PLOT_BOTTOM for text in names)


def test_legend_shows_names_and_last_values_in_order() -> None:
    figure = chart({"first": ([0, 1], [0, 1.23456]), "second": ([0, 1], [0, -2])})
    entries = figure.findall("div/span")
    assert ["".join(entry.itertext()) for entry in entries] == ["first 1.23", "second -2"]
    styles = [entry.find("svg/polyline") for entry in entries]
    for sample, curve in zip(styles, plot(figure).findall("polyline"), strict=True):
        assert sample is not None
        assert sample.attrib["class"] == curve.attrib["class"]


def test_sixteen_curves_look_different() -> None:
    lines = plot(chart({str(i): ([0, 1], [i, i]) for i in range(16)})).findall("polyline")
    assert len({(line.attrib["class"], line.attrib["stroke-dasharray"]) for line in lines}) == 16


def test_single_point_is_a_dot() -> None:
    (dot,) = plot(chart({"dot": ([5], [0])})).findall("circle")
    assert LEFT < float(dot.attrib["cx"]) < PLOT_RIGHT
    assert TOP < float(dot.attrib["cy"]) < PLOT_BOTTOM


def test_long_curves_are_thinned_without_losing_the_last_value() -> None:
    (line,) = plot(chart({"long": (range(10_001), range(10_001))})).findall("polyline")
    assert 0.9 * MAX_POINTS < len(points(line)) <= MAX_POINTS
    assert points(line)[-1][0] == PLOT_RIGHT


def test_names_stay_text() -> None:
    name = '</svg><script>"&'
    figure = chart({name: ([0, 1], [0, 1])}, **{name: 1.0})
    texts = "".join(figure.itertext())
    assert texts.count(name) == 2
    assert name in plot(figure).attrib["aria-label"]
    assert not list(figure.iter("script"))


def test_curves_are_selected_without_missing_and_infinite_values() -> None:
    stats = [{"step": 1, "a": 1.0, "b": float("nan")}, {"step": 2, "b": float("inf")}, {"step": 3, "a": 2.0}]
    assert select_curves(stats, {"first": "a", "second": "b", "third": "c"}) == {"first": ([1, 3], [1.0, 2.0])}


def test_losses_are_grouped_by_network() -> None:
    stats = [
        {"step": 1, "stage": "gan", "g/adversarial": 1.0, "g/information": 2.0, "d/adversarial": 3.0, "seconds": 1}
    ]
    curves = loss_curves(stats)
    assert {name: list(losses) for name, losses in curves.items()} == {
        "d": ["adversarial"],
        "g": ["adversarial", "information"],
    }


def test_training_charts_use_the_current_names_of_codes() -> None:
    model = small_model()
    model.rename_code("category", "digit")
    model.rename_code("knob1", "width")
    stats = [{"step": i, "information/category": 0.1 * i, "information/knob1": 0.0, "g/loss": 1.0} for i in range(3)]
    information, losses = training_charts(stats, model, {"category": "digit", "knob1": "width"})
    assert "entropy of digit: 2.3" in information
    assert "width" in information and "knob1" not in information
    assert "Losses of g" in losses
    assert training_charts([], model, {}) == []


TREE = [
    {"first": 1, "second": 3, "separation": 0.1},
    {"first": 0, "second": 2, "separation": 0.4},
    {"first": 0, "second": 1, "separation": 0.2},  # less separate than its parts
]


def test_a_tree_shows_each_merge_at_its_separation() -> None:
    svg = plot(ElementTree.fromstring(svg_merge_tree(TREE, ["a", "<b>", "c", "d"], title="Title")))
    nodes = [node for node in svg.iter() if node.attrib.get("class") == "merge"]
    assert [node.attrib["data-values"] for node in nodes] == ["1,3", "0,2", "0,2,1,3"]
    x = [float(node.attrib["cx"]) for node in nodes]
    assert x[1] == pytest.approx(PLOT_RIGHT)
    assert x[0] - TREE_LEFT == pytest.approx((PLOT_RIGHT - TREE_LEFT) / 4, abs=0.1)
    assert x[2] == x[1]  # a merge comes after those before it
    names = [text.text for text in svg.findall("text")][:4]
    assert names == ["a", "c", "<b>", "d"]  # in an order in which no branches cross
    rows = {text.text: float(text.attrib["y"]) - 4 for text in svg.findall("text")[:4]}
    assert float(nodes[0].attrib["cy"]) == pytest.approx((rows["<b>"] + rows["d"]) / 2)


def test_no_tree_is_no_figure() -> None:
    assert svg_merge_tree([], [], title="Title") == ""
