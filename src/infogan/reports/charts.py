"""Line charts of a training run, and the tree of its categories, as inline SVG, for the report and the explorer.

The page that contains a chart needs ``static/chart.css``, which defines the colours of both themes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from infogan.models.infogan import InfoGAN
from infogan.reports import html_page

Curve = tuple[Sequence[float], Sequence[float]]  # steps and values, equally many

WIDTH, HEIGHT = 560, 300  # of the drawing area, in SVG units
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 24, 38  # margins for ticks and labels
TREE_LEFT, LEAF = 150, 22  # margin for the names, and height of a category, in a tree
MAX_TICKS = 6  # per axis, about
Y_MARGIN = 0.04  # of the range of values, above and below the curves
LIMIT = 1e300  # larger values count as infinite, so that the range of an axis is finite
MAX_POINTS = 400  # per curve; longer curves are thinned
# Curves differ in colour and in dashes, for people who cannot distinguish the colours.
DASHES = ("none", "9 4", "2 4", "9 4 2 4", "16 5", "5 2", "1 2", "16 4 2 4 2 4")


def training_charts(stats: Sequence[Mapping[str, Any]], model: InfoGAN, code_names: Mapping[str, str]) -> list[str]:
    """Return charts of the information of the codes and of the losses of each network, see `svg_line_chart`.

    Args:
        stats: Records of ``stats.jsonl``.
        model: The model, for the entropy of its codes.
        code_names: Current name of each code by its name in ``stats``.
    """
    charts = []
    if information := select_curves(stats, {name: f"information/{code}" for code, name in code_names.items()}):
        entropies = {f"entropy of {name}": model.layout.entropy(name) for name in information}
        title = "Information about the codes in generated images"
        charts.append(svg_line_chart(information, title=title, unit="nats", references=entropies))
    for networks, curves in loss_curves(stats).items():
        charts.append(svg_line_chart(curves, title=f"Losses of {networks.replace('+', ' and ')}", unit="loss"))
    return charts


def loss_curves(stats: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Curve]]:
    """Return the curve of each loss, by the networks that it trains and by its name; see `select_curves`."""
    keys = sorted({key for record in stats for key in record if "/" in key and not key.startswith("information/")})
    by_network: dict[str, dict[str, Curve]] = {}
    for key, curve in select_curves(stats, {key: key for key in keys}).items():
        network, _, loss = key.partition("/")
        by_network.setdefault(network, {})[loss] = curve
    return by_network


def select_curves(stats: Sequence[Mapping[str, Any]], keys: Mapping[str, str]) -> dict[str, Curve]:
    """Return one curve per name from the records of ``stats.jsonl``, without those that have no finite value.

    Args:
        stats: Records with a ``step`` each.
        keys: Key in the records by name of the curve.
    """
    curves: dict[str, Curve] = {}
    for name, key in keys.items():
        records = [record for record in stats if key in record and abs(record[key]) < LIMIT]
        if records:
            curves[name] = ([record["step"] for record in records], [record[key] for record in records])
    return curves


def svg_line_chart(
    curves: Mapping[str, Curve], *, title: str, unit: str, references: Mapping[str, float] | None = None
) -> str:
    """Return an HTML figure with an SVG chart of curves over training steps and a legend with their last values.

    A curve of one point is drawn as a dot.

    Args:
        curves: Curve by name, at least one, all values finite.
        title: Heading of the figure.
        unit: Unit of the values, at the top of the y axis.
        references: Height by name of horizontal lines, e.g. the entropy of a code.
    """
    names_by_height: dict[float, list[str]] = {}
    for name, height in (references or {}).items():
        names_by_height.setdefault(height, []).append(name)
    steps = [x for xs, _ in curves.values() for x in xs]
    heights = [*(y for _, ys in curves.values() for y in ys), *names_by_height]
    x_axis = _Axis(min(steps), max(steps), LEFT, WIDTH - RIGHT)
    y_axis = _Axis(min(heights), max(heights), HEIGHT - BOTTOM, TOP, margin=Y_MARGIN)

    def position(x: float, y: float) -> tuple[str, str]:
        return f"{x_axis.position(x):.1f}", f"{y_axis.position(y):.1f}"

    return html_page.render(
        "chart.html",
        title=title,
        unit=unit,
        width=WIDTH,
        height=HEIGHT,
        x_axis=x_axis,
        y_axis=y_axis,
        curves={name: [position(x, y) for x, y in _thin(curve)] for name, curve in curves.items()},
        last_values={name: values[-1] for name, (_, values) in curves.items()},
        references=names_by_height,
        dashes=DASHES,
    )


def category_tree(model: InfoGAN, result: Mapping[str, Any]) -> str:
    """Return the tree of a model's categories in an evaluation, see `svg_merge_tree`; empty if there is none."""
    if not result.get("tree"):
        return ""
    code = model.first_categorical().name
    title = f"How the values of {code} could become fewer: similar ones merge first"
    return svg_merge_tree(result["tree"], model.value_names(code), title=title)


def svg_merge_tree(tree: Sequence[Mapping[str, Any]], names: Sequence[str], *, title: str) -> str:
    """Return an HTML figure of how categories become fewer, as a tree whose merges lie at their separation.

    Args:
        tree: The merges, each with ``first``, ``second`` and ``separation``, in order; ``[]`` gives an empty text.
        names: The name of each category.
        title: Heading of the figure.
    """
    if not tree:
        return ""
    members: dict[int, list[int]] = {}
    for merge in tree:  # the members of the last group are in an order in which no branches cross
        first, second = (members.pop(merge[key], [merge[key]]) for key in ("first", "second"))
        members[merge["first"]] = first + second
    (order,) = [members[tree[-1]["first"]]]
    heights = {value: float(TOP + LEAF * row) for row, value in enumerate(order)}
    largest = max(merge["separation"] for merge in tree)
    tips = {value: (float(TREE_LEFT), heights[value], [value]) for value in order}
    nodes = []
    for merge in tree:
        branches = [tips[merge[key]] for key in ("first", "second")]
        position = TREE_LEFT + (WIDTH - RIGHT - TREE_LEFT) * merge["separation"] / max(largest, 1e-9)
        x = max(position, *(branch[0] for branch in branches))  # a merge comes after those before it
        y = sum(branch[1] for branch in branches) / 2
        values = [value for branch in branches for value in branch[2]]
        tips[merge["first"]] = x, y, values
        nodes.append(
            {
                "x": x,
                "y": y,
                "members": values,
                "names": list(dict.fromkeys(names[value] for value in values)),  # merged ones share a name
                "separation": merge["separation"],
                "branches": [branch[:2] for branch in branches],
            }
        )
    return html_page.render(
        "tree.html",
        title=title,
        width=WIDTH,
        height=TOP + LEAF * len(order) + BOTTOM - LEAF // 2,
        left=TREE_LEFT,
        right=RIGHT,
        leaves=[(names[value], height) for value, height in heights.items()],
        nodes=nodes,
        largest=largest,
    )


class _Axis:
    """Maps values to positions between two ends; ``margin`` is the share of the range to leave free at both."""

    def __init__(self, low: float, high: float, start: float, end: float, margin: float = 0) -> None:
        if low == high:
            low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
        padding = margin * (high - low)
        self.low, self.high, self.start, self.end = low - padding, high + padding, start, end

    def position(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return multiples of 1, 2 or 5 times a power of ten."""
        rough = (self.high - self.low) / MAX_TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        return [i * step for i in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def _thin(curve: Curve) -> list[tuple[float, float]]:
    points = list(zip(*curve, strict=True))
    stride = max(1, math.ceil(len(points) / MAX_POINTS))
    return points[-1::-stride][::-1]  # the last value is always shown
