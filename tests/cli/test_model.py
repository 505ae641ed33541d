"""The commands ``name``, ``info`` and ``explore``; those on export and the Hub are tested with the models."""

import json
import shutil
from pathlib import Path

import pytest

from infogan.explorer import server
from tests.commands import invoke


def test_names_are_used_by_sample_and_encode(run: Path, tmp_path: Path) -> None:
    model = shutil.copytree(run / "model", tmp_path / "model")
    names = [f"{value}=kind{value}" for value in range(10)]
    assert invoke("name", model, *names).stdout.splitlines()[4] == "category 4: kind4"
    assert invoke("sample", model, "--code", "category=kind4", "--out", tmp_path / "a.npz").returncode == 0
    invoke("encode", model, "digits", "--split", "test", "--out", tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text().splitlines()[1].split(",")[1].startswith("kind")
    assert invoke("name", model, "--labels-of", "digits").returncode == 0
    renamed = invoke("name", model, "--rename", "category=digit", "--rename", "knob1=slant")
    assert renamed.stdout.splitlines() == ["category: digit", "knob1: slant"]
    codes = ["--code", "digit=4", "--code", "slant=1"]
    assert invoke("sample", model, *codes, "--out", tmp_path / "b.npz").returncode == 0
    invoke("encode", model, "digits", "--split", "test", "--out", tmp_path / "d.csv")
    assert (tmp_path / "d.csv").read_text().startswith("image,digit,digit_probability,slant,")


@pytest.mark.parametrize("arguments", [["--rename", "category=a=b"], ["three=seven"], ["3="], ["3"]])
def test_a_name_of_another_form_is_refused(run: Path, arguments: list[str]) -> None:
    before = (run / "model" / "config.json").read_bytes()
    result = invoke("name", run, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert (run / "model" / "config.json").read_bytes() == before


def test_info_is_one_json_object_or_a_fact_per_line(run: Path) -> None:
    facts = json.loads(invoke("info", run, "--json").stdout)
    assert facts["steps_done"] == 8
    assert facts["image"] == [1, 8, 8]
    assert "image: 1 x 8 x 8" in invoke("info", run / "model").stdout.splitlines()


@pytest.mark.parametrize(("arguments", "limit"), [([], 100_000), (["--limit", "50"], 50), (["--images", "50"], 50)])
def test_explore_reads_at_most_limit_images(
    run: Path, arguments: list[str], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []
    monkeypatch.setattr(server, "load_explorer", lambda path, limit, log, data: limits.append(limit))
    monkeypatch.setattr(server, "serve", lambda *_, announce, **__: [announce("first"), announce("second")])
    result = invoke("explore", run, *arguments)
    assert result.returncode == 0, result.stderr
    assert limits == [limit]
    assert result.stdout == "first\n"  # a script can read the address
    assert "second" in result.stderr
