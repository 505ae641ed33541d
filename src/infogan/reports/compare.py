"""Runs side by side: a table of what was measured of each, and the same codes drawn by all of them."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infogan.evaluation.descriptions import metric_rows
from infogan.models.infogan import InfoGAN
from infogan.reports import figures, html_page
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

ROWS = 3  # of a code's sheet, for each run


@dataclass(frozen=True)
class ComparedRun:
    """A run that is to be compared.

    Attributes:
        name: Of its folder.
        model: What it made.
        result: Its last evaluation.
    """

    name: str
    model: InfoGAN
    result: dict[str, Any]


def read_runs(paths: Sequence[Path]) -> list[ComparedRun]:
    """The runs in these folders.

    Raises:
        UserError: fewer than two, one that is named twice, no run, or one that was not measured.
    """
    if len(paths) < 2:
        raise UserError(f"a comparison needs two runs or more, not {len(paths)}")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("a run is named twice: a comparison needs different ones")
    found, names = [], _names(paths)
    for path, name in zip(paths, names, strict=True):
        run = RunFolder.existing(path)
        measured = run.read_metrics()
        if not measured:
            raise UserError(f"{path} was not measured yet: infogan evaluate {path}")
        found.append(ComparedRun(name, InfoGAN.load(path), measured[-1]))
    return found


def metric_table(runs: Sequence[ComparedRun]) -> tuple[list[str], list[list[str]], dict[str, str]]:
    """What was measured: the head, a row for each number with one cell a run, and what each number means."""
    columns: list[dict[str, str]] = []
    meanings: dict[str, str] = {}
    for run in runs:
        # Intervals of single runs do not say whether two differ on the same images, and columns would be wide; the
        # second estimate of information stands in what a number means, which is told once for all runs.
        rows = metric_rows({**run.result, "intervals": {}, "information_estimate": {}}, {})
        columns.append({name: value for name, value, _ in rows})
        meanings |= {name: meaning for name, _, meaning in rows}
    lines = [[name, *(column.get(name, "") for column in columns)] for name in meanings]
    if any("verdict" in run.result for run in runs):
        trusted = [run.result.get("verdict", {}).get("trust") for run in runs]
        lines.append(["trust", *({True: "yes", False: "no"}.get(answer, "") for answer in trusted)])
        meanings["trust"] = "the verdict, which needs no labels"
    return ["", *(run.name for run in runs)], lines, meanings


def format_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table for the terminal."""
    rows = [head, *lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    told = []
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        told.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(told)


def comparison_page(runs: Sequence[ComparedRun], lead: Sequence[str] = ()) -> str:
    """The page: the table, why each run is trusted or not, and a sheet for each code that at least two runs share.

    Args:
        runs: Two or more.
        lead: Sections (HTML) that go before all others.
    """
    head, lines, meanings = metric_table(runs)
    told = [[*line, meanings[line[0]]] for line in lines]
    sections = [*lead, html_page.section("Measured", html_page.table([*head, "what it means"], told))]
    reasons = [
        f"<p><b>{html.escape(run.name)}</b>: {html.escape(html_page.sentence(run.result['verdict']['reason']))}</p>"
        for run in runs
        if "verdict" in run.result
    ]
    if reasons:
        sections.append(html_page.section("Verdicts", "".join(reasons)))
    for code in dict.fromkeys(name for run in runs for name in run.model.layout.codes):
        having = [run for run in runs if code in run.model.layout.codes]
        if len(having) > 1:
            figures = "".join(_sheet(group, code) for group in _alike(having, code))
            sections.append(html_page.section(f"Code: {code}", figures))
    return html_page.page(f"{len(runs)} runs compared", sections)


def _sheet(runs: Sequence[ComparedRun], code: str) -> str:
    """A code of runs whose images and values are alike: a column a value, and rows of each run."""
    values = runs[0].model.display_values(code)
    tables = [run.model.traverse(code, values=values, rows=ROWS) for run in runs]
    labels = [run.name for run in runs for _ in range(ROWS)]
    sheet = figures.labelled_sheet(
        np.concatenate(tables), column_labels=runs[0].model.value_labels(code, values), row_labels=labels
    )
    text = f"Each column is a value of {code}, along a row everything else is held; {ROWS} rows of each run."
    return html_page.figure(sheet, text, text)


def _alike(runs: Sequence[ComparedRun], code: str) -> list[list[ComparedRun]]:
    """The runs in groups that can share a sheet: of images of one shape, and as many values of the code."""
    groups: dict[tuple[object, ...], list[ComparedRun]] = {}
    for run in runs:
        key = (run.model.shape, len(run.model.values_of(code)), type(run.model.layout.code(code)))
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _names(paths: Sequence[Path]) -> list[str]:
    """The names of the folders, with as many of those above as it takes to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    longest = max(map(len, parts))
    for kept in range(1, longest + 1):
        names = ["/".join(of[-kept:]) for of in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
