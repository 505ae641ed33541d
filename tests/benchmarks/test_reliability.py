"""The benchmark of reliability: faults are injected, handled and counted. `make reliability` injects many."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.faults import KILLED, FaultCounts
from benchmarks.reliability import PARTS, checkpoints, failed, is_skipped, table
from benchmarks.sessions import COMMAND, SessionResult, nan_loss, progress, same, session

from benchmarks import soak
from infogan.training.checkpoint import latest_checkpoint_path
from infogan.training.losses import LOSSES
from infogan.training.run_dir import RunFolder
from tests.helpers import begin_update, make_context, small_config, train_at

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="faults are injected in ways that only Linux allows")
FINISHED, REFUSED = SessionResult(0, "step 6/6\n"), SessionResult(2, "error: one\n")


# Counting.


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Return two runs with different weights."""
    return train_at(tmp_path / "a", small_config()).path, train_at(tmp_path / "b", small_config("train.seed=1")).path


def test_sessions_and_runs_are_compared(runs: tuple[Path, Path]) -> None:
    run, other = runs
    assert same(run, run)
    assert not same(run, other)
    assert (progress(run), progress(run / "nothing")) == (6, 0)
    assert not same(run, run / "nothing")
    assert [result.refused for result in (FINISHED, REFUSED, SessionResult(2, "error: one\nerror: two\n"))] == [
        False, True, False
    ]  # fmt: skip


def test_everything_that_goes_wrong_is_counted(runs: tuple[Path, Path]) -> None:
    run, other = runs
    counts = FaultCounts()
    counts.add(run, run, FINISHED, FINISHED)
    counts.add(run, run, REFUSED, FINISHED)
    assert counts.problems == []
    counts.add(run, run, SessionResult(1, "Traceback (most recent call last):\n..."), FINISHED)
    counts.add(run, run, SessionResult(2, "error: one\nerror: two"), FINISHED)
    counts.add(run, run, FINISHED, FINISHED, KILLED)  # there is no such incident
    counts.add(run, other, FINISHED, FINISHED)  # other weights
    counts.add(run, run, FINISHED, SessionResult(2, "error: and then"))
    shutil.rmtree(other / "checkpoints")
    counts.add(other, run, FINISHED, FINISHED)
    result = counts.result()
    assert (result["cases"], result["one_sentence_or_went_on"]) == (8, 6)
    assert (result["told_by_the_run"], result["bit_equal_in_the_end"]) == (7, 5)
    assert len(result["odd"]) == 6
    assert failed({"disk": result}) == ["disk"]


def test_incidents_are_counted(runs: tuple[Path, Path]) -> None:
    run, _ = runs
    RunFolder(run).begin(
        small_config(), RunFolder(run).read_environment()[0]["data_digest"]
    )  # after a session without end
    counts = FaultCounts()
    counts.add(run, run, FINISHED, FINISHED, KILLED)
    assert counts.result()["told_by_the_run"] == 1
    assert failed({"clock": counts.result()}) == []
    assert "| clock | 1 | 1 | 1 | 1 |" in table({"clock": counts.result()})


def test_broken_guarantees_of_other_parts_are_named() -> None:
    load: dict[str, Any] = {"failures": [], "tracebacks": 0, "memory_growth": 0.0, "statuses": {"200": 60, "409": 1}}
    assert failed({"soak": load}) == []
    assert failed({"soak": load | {"memory_growth": 0.06}}) == ["soak"]
    assert failed({"soak": load | {"statuses": {"500": 1}}}) == ["soak"]
    reader = {"findings": 0, "traces": []}
    assert failed({"fuzz": {"readers": {"npy": reader}}, "disk": {"skipped": "why"}}) == []
    assert failed({"fuzz": {"readers": {"npy": reader | {"findings": 1}}}}) == ["fuzz"]
    assert failed({"checkpoints": {"bytes": 9, "cut": {"changed": 2, "noticed": 1}}}) == ["checkpoints"]


def test_skipped_checkpoints_are_recognised(runs: tuple[Path, Path]) -> None:
    run = RunFolder(runs[0])
    path = latest_checkpoint_path(run.checkpoints)
    assert path is not None
    content = path.read_bytes()
    assert not is_skipped(run, path)
    path.write_bytes(content[:-1])
    assert is_skipped(run, path)


def test_losses_can_be_made_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "adversarial", LOSSES["adversarial"])  # is restored after the test
    nan_loss("adversarial", 2)
    context, _ = make_context(small_config())
    forward = begin_update(context, ("generator",), {"adversarial": 1.0})
    values = [LOSSES["adversarial"].compute(forward) for _ in range(3)]
    assert [bool(value.isfinite().all()) for value in values] == [True, False, False]


# Injecting.


@LINUX
@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("kills", 2),
        *(pytest.param(name, 1, marks=pytest.mark.slow) for name in ("disk", "readonly", "data", "clock", "terms")),
        pytest.param("memory", 2, marks=pytest.mark.slow),
    ],
)
def test_run_survives_faults(name: str, count: int, tmp_path: Path) -> None:
    result = PARTS[name][0](tmp_path, count, np.random.default_rng(1))
    if "skipped" in result:
        pytest.skip(result["skipped"])
    assert result["cases"] == count
    assert failed({name: result}) == [], result
    for column in ("one_sentence_or_went_on", "told_by_the_run", "bit_equal_in_the_end"):
        assert result[column] == count, result
    assert result.get("changed_while_read_only", 0) == 0
    assert f"| {name} | {count} | {count} | {count} | {count} |" in table({name: result})


@LINUX
@pytest.mark.integration
def test_sessions_run_the_command(tmp_path: Path) -> None:
    result = session(tmp_path / "run", [*COMMAND, "--steps", "2"])
    assert (result.code, result.refused) == (0, False)
    assert progress(tmp_path / "run") == 2
    assert session(tmp_path / "run", [*COMMAND, "--steps", "3"]).refused


@pytest.mark.integration
def test_damaged_checkpoints_are_noticed(tmp_path: Path) -> None:
    result = checkpoints(tmp_path, 2, np.random.default_rng(0))
    kinds = [result[kind] for kind in ("header", "between", "end", "cut")]
    assert sum(kind["changed"] for kind in kinds) > 150
    assert all(kind["changed"] == kind["noticed"] > 0 for kind in kinds)
    assert failed({"checkpoints": result}) == []


@LINUX
@pytest.mark.slow
def test_explorer_survives_load(tmp_path: Path) -> None:
    result = soak.soak(tmp_path, 8, seed=0)
    assert result["failures"] == []
    assert result["tracebacks"] == 0
    assert result["requests"] > 50
    assert {"200"} <= result["statuses"].keys() <= {"200", "400", "409"}
    assert failed({"soak": result | {"memory_growth": 0.0}}) == []  # a few seconds show no growth
