"""What speaks for a run and against it, as plain values for the page: verdict, numbers, curves, pictures over time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infogan.evaluation.descriptions import measured_rows, names_today
from infogan.models.infogan import InfoGAN
from infogan.reports.figures import Curve
from infogan.reports.report import curves_of, loss_curves
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

POINTS = 400  # of a curve at most


def evidence(run: RunFolder, model: InfoGAN) -> dict[str, Any]:
    """The evidence that a run folder holds by now; raises UserError where its configuration is damaged or another's."""
    stats, metrics = run.read_stats(), run.read_metrics()
    called = names_today(run.read_config(), model.layout.codes)
    information = curves_of(stats, {name: f"information/{code}" for code, name in called.items()})
    result: dict[str, Any] = {}
    for line in metrics:  # a later evaluation may be of some metrics alone
        result |= line
    charts = [
        {
            "title": "Information of the codes in the images",
            "unit": "nats",
            "curves": _told(information),
            "references": {f"entropy of {name}": model.layout.entropy(name) for name in information},
        }
    ]
    for players, curves in loss_curves(stats).items():
        charts.append({"title": f"Losses of {players}", "unit": "loss", "curves": _told(curves), "references": {}})
    return {
        "verdict": result.get("verdict"),
        "measured": measured_rows(result, called),
        "charts": [chart for chart in charts if chart["curves"]],
        "pictures": sorted(pictures(run)),
        "traversals": {str(place): sorted(traversals(run, place)) for place in range(len(called))},
    }


def picture(run: RunFolder, step: int, code: int = -1) -> bytes:
    """The picture that was drawn at a step, as PNG; raises UserError where there is none.

    Args:
        run: Where it was drawn.
        step: Of the training.
        code: The place of a code, for its traversal; -1 for samples.
    """
    found = pictures(run) if code == -1 else traversals(run, code)
    if step not in found:
        raise UserError(f"no such picture was drawn at step {step}")
    return found[step].read_bytes()


def pictures(run: RunFolder) -> dict[int, Path]:
    """The pictures of samples that were drawn while training, by step."""
    return _inside(run, {path.stem: path for path in run.samples.glob("*.png")})


def traversals(run: RunFolder, place: int) -> dict[int, Path]:
    """The traversals of a code that were drawn while training, by step; raises UserError for no code."""
    names = [code.name for code in run.read_config().codes]
    if not 0 <= place < len(names):
        raise UserError(f"code {place} was not trained: there are {len(names)}")
    folders = [path for path in run.traversals.glob("*") if path.is_dir()]
    return _inside(run, {path.name: path / f"{names[place]}.png" for path in folders})


def _inside(run: RunFolder, found: Mapping[str, Path]) -> dict[int, Path]:
    """Files that are named after a step, by that; none that lies elsewhere."""
    root = run.path.resolve()
    files = {step: path for step, path in found.items() if step.isdecimal() and path.is_file()}
    return {int(step): path for step, path in files.items() if path.resolve().is_relative_to(root)}


def _told(curves: Mapping[str, Curve]) -> dict[str, dict[str, list[float]]]:
    """Curves of at most ``POINTS`` points."""
    told = {}
    for name, (steps, values) in curves.items():
        kept = np.linspace(0, len(steps) - 1, min(POINTS, len(steps))).astype(int).tolist()
        told[name] = {"x": [float(steps[i]) for i in kept], "y": [float(values[i]) for i in kept]}
    return told
