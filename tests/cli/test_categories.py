"""The command ``categories``."""

import json
from pathlib import Path

import pytest

from infogan.config.schema import Config, Stage
from infogan.training import first_stage
from tests.commands import invoke


@pytest.fixture(autouse=True)
def _short_first_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_stage, "_stages_before_clustering", _ten_steps)


def _ten_steps(config: Config) -> tuple[Stage, ...]:
    return (config.stages[0].model_copy(update={"share": 10.0}),)


def test_the_range_is_printed_and_written(countable_images: Path, tmp_path: Path) -> None:
    result = invoke("categories", countable_images, "--out", tmp_path / "found.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["low"] <= found["best"] <= found["high"]
    summary, head, *rows, path = result.stdout.splitlines()
    assert f"most probably {found['best']}" in summary
    assert head.startswith("number")
    assert [int(row.split()[0]) for row in rows] == found["counts"]
    assert path == str(tmp_path / "found.json")
    assert f"infogan train {countable_images} --categorical {found['high']}" in result.stderr


def test_json_has_standard_output_to_itself(countable_images: Path) -> None:
    result = invoke("categories", countable_images, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["counts"][0] == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["missing"], "missing"), (["digits", "--augment", "rotat"], "rotate"), (["digits", "--size", "5"], "8")],
)
def test_bad_input_is_named(arguments: list[str], reason: str, tmp_path: Path) -> None:
    result = invoke("categories", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert reason in result.stderr
    assert result.stdout == ""


def test_too_few_images_are_refused(images: Path) -> None:
    result = invoke("categories", images)
    assert result.returncode == 2
    assert "72 images are too few" in result.stderr
