"""The commands ``evaluate``, ``report`` and ``compare``."""

import json
import shutil
from pathlib import Path

import pytest

from tests.commands import Command, invoke


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return shutil.copytree(run, tmp_path / "copy")


def test_an_evaluation_is_one_json_object(copy: Path) -> None:
    result = invoke("evaluate", copy, "--metrics", "clusters", "--json")
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    assert 0 < values["accuracy"] <= 1
    assert values["run"] == str(copy)
    saved = json.loads((copy / "metrics.jsonl").read_text().splitlines()[-1])
    assert saved["accuracy"] == values["accuracy"]


def test_an_evaluation_for_people_ends_with_the_file(copy: Path) -> None:
    result = invoke("evaluate", copy, "--metrics", "trust")
    assert result.returncode == 0, result.stderr
    *lines, path = result.stdout.splitlines()
    assert any("images, fitted" in line for line in lines)
    assert path == str(copy / "metrics.jsonl")


def test_an_evaluation_can_be_quick(copy: Path) -> None:
    result = invoke("evaluate", copy, "--metrics", "information", "--samples", "150", "--json")
    assert result.returncode == 0, result.stderr
    assert "150" in json.loads(result.stdout)["protocols"]["information"]
    refused = invoke("evaluate", copy, "--samples", "50")
    assert refused.returncode == 2
    assert "50" in refused.stderr


def test_an_unknown_metric_is_answered_with_the_nearest_one(run: Path) -> None:
    result = invoke("evaluate", run, "--metrics", "cluster")
    assert result.returncode == 2
    assert "'clusters'" in result.stderr


def test_a_report_and_a_comparison_are_written(run: Path, copy: Path, tmp_path: Path) -> None:
    (copy / "report.html").unlink()
    assert invoke("report", copy).stdout == f"{copy / 'report.html'}\n"
    assert (copy / "report.html").read_text().startswith("<!doctype html>")
    result = invoke("compare", run, copy, "--out", tmp_path / "page.html")
    assert result.returncode == 0, result.stderr
    *table, path = result.stdout.splitlines()
    assert any(line.startswith("accuracy") for line in table)
    assert path == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").is_file()


def test_pages_that_are_replaced_are_reported(run: Path, copy: Path, tmp_path: Path) -> None:
    pages: dict[str, list[str | Path]] = {
        "a.html": ["report", copy, "--out", "a.html"],
        "comparison.html": ["compare", run, copy],
    }
    for page, arguments in pages.items():
        first, second = (invoke(*arguments, cwd=tmp_path) for _ in range(2))
        assert (first.returncode, second.returncode) == (0, 0)
        assert "replaced" not in first.stderr
        assert [line for line in second.stderr.splitlines() if "replaced" in line] == [f"replaced {page}"]
    assert "replaced" not in invoke("report", copy).stderr  # its own report, as the command says


def test_standard_output_gets_the_page_and_nothing_else(run: Path, copy: Path, tmp_path: Path) -> None:
    words: list[list[str | Path]] = [["report", copy], ["compare", run, copy]]
    for arguments in words:
        result = Command(*arguments, "--out", "-", cwd=tmp_path).wait_for_bytes()
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(b"<!doctype html>")
        assert result.stdout.rstrip().endswith(b"</html>")
        assert (b"frechet" in result.stderr) == (arguments[0] == "compare")  # the table
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
