"""Runs side by side: every number of each, the same codes in one picture, and mistakes in a sentence."""

from pathlib import Path

import pytest

from infogan.models.infogan import InfoGAN
from infogan.reports.compare import comparison_page, format_table, metric_table, read_runs
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.commands import infogan
from tests.explorer_client import copy_run


@pytest.fixture
def two(digits_run: Path, tmp_path: Path) -> list[Path]:
    """A run and another that was measured otherwise, calls a value by a name, and is in a folder of the same name."""
    paths = [copy_run(digits_run, tmp_path / part / "run") for part in ("a", "b")]
    result = RunFolder.existing(paths[1]).read_metrics()[-1]
    result |= {"accuracy": 0.125, "verdict": {**result["verdict"], "trust": True, "reason": "trust: <it> well"}}
    del result["purity"]
    RunFolder.existing(paths[1]).add_metrics(result)
    model = InfoGAN.load(paths[1])
    model.name_codes({"category": {3: "three"}})
    model.save_config(paths[1] / "model")
    return paths


def test_every_number_of_each_run_is_in_the_table(two: list[Path]) -> None:
    runs = read_runs(two)
    assert [run.name for run in runs] == ["a/run", "b/run"]
    head, lines, meanings = metric_table(runs)
    found = {name: cells for name, *cells in lines}
    first = runs[0].result
    assert head == ["", "a/run", "b/run"]
    assert found["accuracy"] == [f"{first['accuracy']:.4f}", "0.1250"]
    assert found["purity"] == [f"{first['purity']:.4f}", ""]
    assert found["information of knob1"][0] == f"{first['information']['knob1']:.3f} nats"
    assert found["trust"] == ["yes" if first["verdict"]["trust"] else "no", "yes"]
    assert set(found) == set(meanings)
    text = format_table(head, lines).splitlines()
    assert len({len(line) for line in text}) == 1
    assert text[0].split() == ["a/run", "b/run"]


def test_the_page_shows_the_same_codes_of_all_and_needs_nothing_else(two: list[Path]) -> None:
    page = comparison_page(read_runs(two))
    assert page.count("<h2>Code: ") == 3
    assert page.count("data:image/png;base64,") == 3  # one sheet a code, for both
    assert "Trust: &lt;it&gt; well." in page
    assert "http" not in page.replace("http-equiv", "")
    assert "src=" in page and 'src="data:' in page


def test_the_command_prints_the_table_and_writes_the_page(two: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "side-by-side.html"
    done = infogan("compare", two[0], two[1], "--out", out)
    assert "a/run" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[-1] == str(out)
    assert out.read_text().startswith("<!doctype html>")


def test_what_can_not_be_compared_is_one_sentence(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two runs or more, not 1"):
        read_runs(two[:1])
    with pytest.raises(UserError, match="named twice"):
        read_runs([two[0], two[0] / ".." / "run"])
    with pytest.raises(UserError, match="is not a run folder"):
        read_runs([two[0], tmp_path])
    (two[1] / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="infogan evaluate"):
        read_runs(two)
    done = infogan("compare", two[0])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: a comparison needs two runs")
