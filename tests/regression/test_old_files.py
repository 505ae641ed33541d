"""Run folders, model folders and configurations of version 0.1.0 are read, evaluated and resumed as before.

``runs-0.1/`` has a finished run, one that was interrupted at step 18 of 24, a model folder, and the configuration of a
cgan. ``expected.json`` is what version 0.1.0 returned for them.
"""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import infogan as package
from infogan.config.load import build, read_options
from infogan.config.migrate import migrate_checkpoint, migrate_options, migrate_statistics
from infogan.training.run_dir import RunFolder
from tests.commands import infogan
from tests.regression.pinned import norms

OLD = Path(__file__).parent / "runs-0.1"
EXPECTED: dict[str, dict[str, Any]] = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(OLD / "finished", tmp_path / "finished")


def run_command(*words: str | Path) -> str:
    """Run a command that has to succeed; return its output."""
    process = infogan(*words)
    assert process.returncode == 0, process.stderr
    return process.stdout


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each plain value of a JSON tree and its path."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for key, part in items:
        yield from leaves(part, f"{path}/{key}")


def differences(expected: dict[str, Any], values: dict[str, Any], *, relative: float, absolute: float) -> list[str]:
    """Return what differs between two mappings of plain values, of those that are expected."""

    def agree(one: Any, other: Any) -> bool:
        if isinstance(one, float) and isinstance(other, float | int):
            return math.isclose(one, other, rel_tol=relative, abs_tol=absolute)
        return type(one) is type(other) and bool(one == other)

    return [
        f"{key}: {value} was expected, got {values.get(key)}"
        for key, value in expected.items()
        if not agree(value, values.get(key))
    ]


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("finished", {"category": ["round", "1", "straight", "3"], "slant": [], "knob2": []}),
        ("unfinished", {"category": ["0", "1", "2"], "knob1": [], "knob2": []}),
        ("model", {"category": ["0", "1", "2"], "knob1": []}),
    ],
)
def test_old_model_has_its_names_and_generates_images(name: str, codes: dict[str, list[str]]) -> None:
    model = package.InfoGAN.load(OLD / name)
    assert list(model.layout.codes) == list(codes)
    categories = [code.name for code in model.layout.categorical]
    assert {code: model.value_names(code) for code in categories} == {"category": codes["category"]}
    samples = model.sample(4, codes={"category": codes["category"][2]}, seed=1)
    assert samples.codes["category"].tolist() == [2] * 4
    assert samples.images.std() > 0


@pytest.mark.parametrize("name", ["finished", "model"])
def test_old_model_predicts_the_same_codes(name: str) -> None:
    images = package.data.load("digits").images[:50]
    codes = package.InfoGAN.load(OLD / name).encode(images).codes
    expected = EXPECTED[name]["codes"]
    assert list(codes) == list(expected)
    for code, values in expected.items():
        assert np.abs(codes[code] - np.array(values)).max() < 1e-4, code
        assert code != "category" or codes[code].tolist() == values


@pytest.mark.parametrize("name", ["finished", "model"])
def test_info_on_old_folder_is_the_same(name: str) -> None:
    values = json.loads(run_command("info", OLD / name, "--json"))
    expected = EXPECTED[name]["info"]
    if expected.get("last_report"):
        expected = expected | {"last_report": migrate_statistics(expected["last_report"])}
    expected_leaves = {key: value for key, value in leaves(expected) if "/verdict/reason" not in key}
    assert len(expected_leaves) > 15
    expected_leaves = {k: v for k, v in expected_leaves.items() if k.rpartition("/")[2] not in ("protocol", "path")}
    assert not differences(expected_leaves, dict(leaves(values)), relative=1e-9, absolute=0)


def test_old_run_is_evaluated_as_before(finished: Path) -> None:
    before = (finished / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    run_command("evaluate", finished)
    after = (finished / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert after[:-1] == before
    leaves_before = leaves(EXPECTED["finished"]["metrics"])
    # The verdict is based on other measurements now.
    expected = {key: value for key, value in leaves_before if not isinstance(value, str) and "/verdict/" not in key}
    assert len(expected) > 30
    # A single image with another category makes a difference of 0.003.
    assert not differences(expected, dict(leaves(json.loads(after[-1]))), relative=0.01, absolute=0.005)


def test_report_of_old_run_shows_its_names_and_numbers(finished: Path) -> None:
    run_command("report", finished)
    page = (finished / "report.html").read_text(encoding="utf-8")
    for text in ("round", "straight", "slant", "8.65"):  # the Fréchet distance
        assert text in page, text


def test_interrupted_old_run_resumes_to_the_same_end(tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(OLD / "unfinished", tmp_path / "unfinished"))
    facts = json.loads(run_command("info", run.path, "--json"))
    assert (facts["steps_done"], facts["steps"]) == (18, 24)
    run_command("train", "--config", run.config, "--out", run.path)
    assert run.read_incidents() == []
    assert [session["ended"] for session in run.read_environment()] == ["interrupted after step 18", "finished"]

    # The last six steps are computed again, in single precision.
    records, expected = run.read_stats(), EXPECTED["unfinished"]["stats"]
    assert [record["step"] for record in records] == [record["step"] for record in expected] == [*range(2, 25, 2)]
    for record, old in zip(records, map(migrate_statistics, expected), strict=True):
        assert not differences(old, record, relative=1e-3, absolute=1e-4)
    weights = migrate_checkpoint(EXPECTED["unfinished"]["norms"])
    assert not differences(weights, norms(run.path), relative=1e-3, absolute=1e-4)
    assert package.InfoGAN.load(run.path).encode(package.data.load("digits", size=16).images[:5]).entropy.shape == (5,)


def test_old_configuration_of_a_cgan_is_read() -> None:
    config = build(read_options(OLD / "cgan.config.json"))
    assert config.objective.kind == "cgan"
    assert [(code.name, code.kind) for code in config.codes] == [("label", "categorical")]
    assert config.category_sizes == (10,)
    assert [update.networks for update in config.stages[0].updates] == [("discriminator",), ("generator",)]
    assert (config.train.steps, config.train.budget) == (1000, None)


def test_migrated_configuration_is_not_migrated_again() -> None:
    options = read_options(OLD / "cgan.config.json")
    assert migrate_options(options) == options
