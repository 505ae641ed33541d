"""Comparison of runs: the table contains every metric, the page the codes, and invalid runs are refused."""

from pathlib import Path

import pytest

from infogan.models.infogan import InfoGAN
from infogan.reports.compare import comparison_page, format_table, metric_table, read_runs
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.commands import invoke
from tests.explorer_client import copy_run


@pytest.fixture
def two(digits_run: Path, tmp_path: Path) -> list[Path]:
    """Two runs in folders of equal name; the second has other metrics and a named category."""
    paths = [copy_run(digits_run, tmp_path / part / "run") for part in ("a", "b")]
    result = RunFolder.existing(paths[1]).read_metrics()[-1]
    result |= {"accuracy": 0.125, "verdict": {**result["verdict"], "trust": True, "reason": "trusted: <it> works"}}
    del result["purity"]
    RunFolder.existing(paths[1]).add_metrics(result)
    model = InfoGAN.load(paths[1])
    model.name_codes({"category": {3: "three"}})
    model.save_config(paths[1] / "model")
    return paths


def test_table_contains_every_metric_of_each_run(two: list[Path]) -> None:
    runs = read_runs(two)
    assert [run.name for run in runs] == ["a/run", "b/run"]
    head, rows, meanings = metric_table(runs)
    cells = {name: values for name, *values in rows}
    result = runs[0].result
    assert head == ["", "a/run", "b/run"]
    assert cells["accuracy"] == [f"{result['accuracy']:.4f}", "0.1250"]
    assert cells["purity"] == [f"{result['purity']:.4f}", ""]
    assert cells["information of knob1"][0] == f"{result['information']['knob1']:.3f} nats"
    assert cells["trust"] == ["yes" if result["verdict"]["trust"] else "no", "yes"]
    assert set(cells) == set(meanings)
    lines = format_table(head, rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["a/run", "b/run"]


def test_page_is_self_contained_and_shows_a_sheet_of_each_shared_code(two: list[Path]) -> None:
    page = comparison_page(read_runs(two))
    assert page.count("<h2>Code: ") == 3
    assert page.count("data:image/png;base64,") == 3
    assert "Trusted: &lt;it&gt; works." in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("src=") == page.count('src="data:')


def test_command_prints_the_table_and_writes_the_page(two: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "side-by-side.html"
    result = invoke("compare", two[0], two[1], "--out", out)
    assert "a/run" in result.stdout.splitlines()[0]
    assert result.stdout.splitlines()[-1] == str(out)
    assert out.read_text().startswith("<!doctype html>")


def test_invalid_runs_are_refused(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not 1"):
        read_runs(two[:1])
    with pytest.raises(UserError, match="twice"):
        read_runs([two[0], two[0] / ".." / "run"])
    with pytest.raises(UserError, match=str(tmp_path)):
        read_runs([two[0], tmp_path])
    (two[1] / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="infogan evaluate"):
        read_runs(two)
    result = invoke("compare", two[0])
    assert (result.returncode, result.stdout) == (2, "")
    assert "error: a comparison needs at least two runs" in result.stderr
