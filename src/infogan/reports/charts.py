"""Line charts of a training run as inline SVG, for the report and the explorer.

The page that contains a chart needs ``static/chart.css``, which defines the colours of both themes.
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from infogan.models.infogan import InfoGAN

Curve = tuple[Sequence[float], Sequence[float]]  # steps and values, equally many

WIDTH, HEIGHT = 560, 300  # of the drawing area, in SVG units
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 24, 38  # margins for ticks and labels
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
    by_network: dict[str, dict[str, str]] = {}
    for key in keys:
        network, _, loss = key.partition("/")
        by_network.setdefault(network, {})[loss] = key
    curves = {network: select_curves(stats, losses) for network, losses in by_network.items()}
    return {network: losses for network, losses in curves.items() if losses}


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
    references = references or {}
    heights = [*(y for _, values in curves.values() for y in values), *references.values()]
    steps = [x for values, _ in curves.values() for x in values]
    x_axis = _Axis(min(steps), max(steps), LEFT, WIDTH - RIGHT)
    y_axis = _Axis(min(heights), max(heights), HEIGHT - BOTTOM, TOP, margin=Y_MARGIN)
    label = html.escape(f"{title}: {', '.join(curves)} over training steps")
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">',
        *(_horizontal_line(y_axis.position(y), "axis") for y in y_axis.ticks()),
        *(_text(LEFT - 6, y_axis.position(y) + 4, _number(y), "end") for y in y_axis.ticks()),
        *(_text(x_axis.position(x), HEIGHT - 20, _number(x), "middle") for x in x_axis.ticks() if x % 1 == 0),
        _text(WIDTH - RIGHT, HEIGHT - 4, "steps", "end"),
        _text(2, 11, unit, "start"),
    ]
    for index, curve in enumerate(curves.values()):
        points = [(x_axis.position(x), y_axis.position(y)) for x, y in _thin(curve)]
        parts.append(_polyline(" ".join(f"{x:.1f},{y:.1f}" for x, y in points), index))
        if len(points) == 1:
            parts.append(f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="2" class="k{index % 8}"/>')
    names_by_height: dict[float, list[str]] = {}
    for name, height in references.items():
        names_by_height.setdefault(height, []).append(name)
    for height, names in names_by_height.items():
        y = y_axis.position(height)
        text_y = y - 4 if y > TOP + 20 else y + 13  # below a line at the top of the chart
        text = f"{', '.join(names)}: {height:.3g}"
        parts += [_horizontal_line(y, "reference"), _text(WIDTH - RIGHT, text_y, text, "end", "name")]
    legend = [_legend_entry(name, values[-1], index) for index, (name, (_, values)) in enumerate(curves.items())]
    heading = f"<figcaption>{html.escape(title)}</figcaption>"
    return f'<figure class="chart">{heading}{"".join(parts)}</svg><div class="legend">{"".join(legend)}</div></figure>'


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


def _number(value: float) -> str:
    return f"{value:,.10g}"  # without the rounding errors of multiples of the tick distance


def _text(x: float, y: float, text: str, anchor: str, kind: str = "label") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{html.escape(text)}</text>'


def _horizontal_line(y: float, kind: str) -> str:
    return f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="{kind}"/>'


def _polyline(points: str, index: int) -> str:
    dashes = DASHES[(index + index // 8) % 8]
    return f'<polyline points="{points}" class="k{index % 8}" stroke-dasharray="{dashes}"/>'


def _legend_entry(name: str, value: float, index: int) -> str:
    sample = f'<svg viewBox="0 0 36 6" aria-hidden="true">{_polyline("0,3 36,3", index)}</svg>'
    return f"<span>{sample}{html.escape(name)} {value:.3g}</span>"
