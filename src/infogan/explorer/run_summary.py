"""The evidence of a run as plain values for the page: verdict, measurements, curves, and sample grids over training."""

from pathlib import Path
from typing import Any

from infogan.evaluation.descriptions import current_code_names, latest_metrics, metric_rows
from infogan.models.infogan import InfoGAN
from infogan.reports.charts import category_tree, training_charts
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from infogan.utils.names import figure_names


def run_summary(run: RunFolder, model: InfoGAN) -> dict[str, Any]:
    """Return the evidence that a run folder holds now.

    Raises:
        UserError: the run's configuration is damaged or belongs to another run.
    """
    names = current_code_names(run.read_config(), model.layout.codes)
    result = latest_metrics(run.read_metrics())
    return {
        "verdict": result.get("verdict"),
        "tree": category_tree(model, result),  # as HTML
        "measured": metric_rows(result, names),
        "charts": training_charts(run.read_stats(), model, names),  # as HTML
        "samples": sorted(drawn_figures(run, None)),
        "traversals": {str(code): sorted(drawn_figures(run, code)) for code in range(len(names))},
    }


def read_figure(run: RunFolder, step: int, code: int | None = None) -> bytes:
    """Return a figure that training drew, as PNG; raises UserError if there is none.

    Args:
        run: The run.
        step: Training step.
        code: Position of the code for a traversal; None for the sample grid.
    """
    figures = drawn_figures(run, code)
    if step not in figures:
        raise UserError(f"there is no figure of step {step}")
    return figures[step].read_bytes()


def drawn_figures(run: RunFolder, code: int | None) -> dict[int, Path]:
    """Return the figures that training drew, by step: traversals of a code, or sample grids if ``code`` is None.

    Files outside the run folder, e.g. behind a link, are left out. Raises UserError for an unknown code.
    """
    if code is None:
        paths = {path.stem: path for path in run.samples.glob("*.png")}
    else:
        names = [spec.name for spec in run.read_config().codes]
        if not 0 <= code < len(names):
            raise UserError(f"there is no code {code}: the run has {len(names)}")
        file_name = figure_names(names)[names[code]]
        paths = {folder.name: folder / file_name for folder in run.traversals.glob("*")}
    root = run.path.resolve()
    files = {step: path for step, path in paths.items() if step.isdecimal() and path.is_file()}
    return {int(step): path for step, path in files.items() if path.resolve().is_relative_to(root)}
