"""The evidence of a run as plain values for the page: verdict, measurements, curves, and sample grids over training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infogan.evaluation.descriptions import current_code_names, latest_metrics, metric_rows
from infogan.models.infogan import InfoGAN
from infogan.reports.charts import training_charts
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError


def run_summary(run: RunFolder, model: InfoGAN) -> dict[str, Any]:
    """Return the evidence that a run folder holds now.

    Raises:
        UserError: the run's configuration is damaged or belongs to another run.
    """
    names = current_code_names(run.read_config(), model.layout.codes)
    result = latest_metrics(run.read_metrics())
    return {
        "verdict": result.get("verdict"),
        "measured": metric_rows(result, names),
        "charts": training_charts(run.read_stats(), model, names),  # as HTML
        "samples": sorted(sample_grids(run)),
        "traversals": {str(code): sorted(traversals(run, code)) for code in range(len(names))},
    }


def read_figure(run: RunFolder, step: int, code: int = -1) -> bytes:
    """Return a figure that training drew, as PNG; raises UserError if there is none.

    Args:
        run: The run.
        step: Training step.
        code: Position of the code for a traversal; -1 for the sample grid.
    """
    figures = sample_grids(run) if code == -1 else traversals(run, code)
    if step not in figures:
        raise UserError(f"there is no figure of step {step}")
    return figures[step].read_bytes()


def sample_grids(run: RunFolder) -> dict[int, Path]:
    """Return the sample grids drawn while training, by step."""
    return _inside(run, {path.stem: path for path in run.samples.glob("*.png")})


def traversals(run: RunFolder, code: int) -> dict[int, Path]:
    """Return the traversals of a code drawn while training, by step; raises UserError for an unknown code."""
    names = [spec.name for spec in run.read_config().codes]
    if not 0 <= code < len(names):
        raise UserError(f"there is no code {code}: the run has {len(names)}")
    folders = [path for path in run.traversals.glob("*") if path.is_dir()]
    return _inside(run, {path.name: path / f"{names[code]}.png" for path in folders})


def _inside(run: RunFolder, paths: Mapping[str, Path]) -> dict[int, Path]:
    """Return the files whose key is a step and which do not lie outside the run folder, e.g. behind a link."""
    root = run.path.resolve()
    files = {step: path for step, path in paths.items() if step.isdecimal() and path.is_file()}
    return {int(step): path for step, path in files.items() if path.resolve().is_relative_to(root)}
