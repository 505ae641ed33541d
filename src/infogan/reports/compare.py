"""Comparison of runs: a table of their metrics, and a page with the same codes drawn by each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from infogan.evaluation.descriptions import metric_rows
from infogan.models.infogan import InfoGAN
from infogan.reports import figures, html_page
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

ROWS = 3  # of a code's sheet, for each run


@dataclass(frozen=True)
class ComparedRun:
    """A run in a comparison.

    Attributes:
        name: Name of its folder, with parent folders if names are equal.
        model: Its model.
        result: Its last evaluation.
    """

    name: str
    model: InfoGAN
    result: dict[str, Any]


def read_runs(paths: Sequence[Path]) -> list[ComparedRun]:
    """Load runs for a comparison.

    Raises:
        UserError: fewer than two folders, a folder is listed twice, is not a run, or its run was not evaluated.
    """
    if len(paths) < 2:
        raise UserError(f"a comparison needs at least two runs, not {len(paths)}")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("a run is listed twice; a comparison needs different runs")
    runs = []
    for path, name in zip(paths, _distinct_names(paths), strict=True):
        evaluations = RunFolder.existing(path).read_metrics()
        if not evaluations:
            raise UserError(f"{path} was not evaluated; use infogan evaluate {path}")
        runs.append(ComparedRun(name, InfoGAN.load(path), evaluations[-1]))
    return runs


def metric_table(runs: Sequence[ComparedRun]) -> tuple[list[str], list[list[str]], dict[str, str]]:
    """Return the metrics of runs: the column headings, one row per metric with a cell per run, and their meanings."""
    columns: list[dict[str, str]] = []
    meanings: dict[str, str] = {}
    for run in runs:
        # The intervals of two runs do not show whether they differ on the same images. The second estimate of
        # information is part of a meaning, which all runs share.
        rows = metric_rows({**run.result, "intervals": {}, "information_estimate": {}}, {})
        columns.append({name: value for name, value, _ in rows})
        meanings |= {name: meaning for name, _, meaning in rows}
    table = [[name, *(column.get(name, "") for column in columns)] for name in meanings]
    if any("verdict" in run.result for run in runs):
        verdicts = [run.result.get("verdict", {}).get("trust") for run in runs]
        table.append(["trust", *({True: "yes", False: "no"}.get(trust, "") for trust in verdicts)])
        meanings["trust"] = "the verdict, from images alone"
    return ["", *(run.name for run in runs)], table, meanings


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text for the terminal, with aligned columns."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for first, *cells in [head, *rows]:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]))
    return "\n".join(lines)


def comparison_page(runs: Sequence[ComparedRun], ranking: Mapping[str, Any] | None = None) -> str:
    """Return an HTML page with the metrics and verdicts of runs, and a sheet for each code that several runs have.

    Args:
        runs: At least two.
        ranking: A table of the runs that comes first: its ``criterion`` in words, ``head`` and ``rows``.
    """
    head, rows, meanings = metric_table(runs)
    codes = {}
    for code in dict.fromkeys(name for run in runs for name in run.model.layout.codes):
        runs_with_code = [run for run in runs if code in run.model.layout.codes]
        if len(runs_with_code) > 1:
            codes[code] = [_sheet(group, code) for group in _comparable_groups(runs_with_code, code)]
    return html_page.render(
        "comparison.html",
        title=f"{len(runs)} runs compared",
        ranking=ranking,
        head=[*head, "meaning"],
        rows=[[*row, meanings[row[0]]] for row in rows],
        verdicts={run.name: run.result["verdict"]["reason"] for run in runs if "verdict" in run.result},
        codes=codes,
        rows_per_run=ROWS,
    )


def _sheet(runs: Sequence[ComparedRun], code: str) -> Image.Image:
    """Return the generated images of one code: a column per value, and rows of each run."""
    values = runs[0].model.display_values(code)
    images = [run.model.shown(run.model.traverse(code, values=values, rows=ROWS)) for run in runs]
    row_labels = [run.name for run in runs for _ in range(ROWS)]
    column_labels = runs[0].model.value_labels(code, values)
    return figures.labelled_sheet(np.concatenate(images), column_labels=column_labels, row_labels=row_labels)


def _comparable_groups(runs: Sequence[ComparedRun], code: str) -> list[list[ComparedRun]]:
    """Return the runs in groups that can share a sheet: equal shape of images and equally many values of the code."""
    groups: dict[tuple[object, ...], list[ComparedRun]] = {}
    for run in runs:
        key = (run.model.shape, len(run.model.values_of(code)), type(run.model.layout.code(code)))
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return the names of folders, with as many parent folders as it takes to make them different."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(folders[-depth:]) for folders in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
