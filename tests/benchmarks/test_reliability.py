"""Faults injected for real, a few of each: `make reliability` injects many. And what counts them can count."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.reliability import PARTS, checkpoints, failed, table
from benchmarks.sessions import COMMAND, Ended, session

from benchmarks import faults, soak

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="faults are injected as Linux allows it")


@LINUX
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("kills", 2),
        *(pytest.param(name, 1, marks=pytest.mark.slow) for name in ("disk", "readonly", "data", "clock", "terms")),
        pytest.param("memory", 2, marks=pytest.mark.slow),
    ],
)
def test_a_run_survives(name: str, count: int, tmp_path: Path) -> None:
    found = PARTS[name][0](tmp_path, count, np.random.default_rng(1))
    if "skipped" in found:
        pytest.skip(found["skipped"])
    assert found["cases"] == count
    assert failed({name: found}) == [], found
    for what in ("one_sentence_or_went_on", "told_by_the_run", "bit_equal_in_the_end"):
        assert found[what] == count, found
    assert found.get("changed_while_read_only", 0) == 0
    assert f"| {name} | {count} | {count} | {count} | {count} |" in table({name: found})


@LINUX
def test_what_went_wrong_is_counted(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    fine = session(one, [*COMMAND, "--steps", "2"])
    assert (fine.code, fine.refused) == (0, False)
    session(other, [*COMMAND, "--steps", "2", "--set", "train.seed=1"])
    tally = faults.Tally()
    tally.add(one, one, fine, fine)
    assert tally.odd == []
    tally.add(one, one, Ended(1, "Traceback (most recent call last):\n..."), fine)
    tally.add(one, one, Ended(2, "error: one\nerror: two"), fine)
    tally.add(one, one, fine, fine, "was killed")  # which it does not tell
    tally.add(one, other, fine, fine)  # other weights
    tally.add(one, one, fine, Ended(2, "error: and then"))
    shutil.rmtree(other / "checkpoints")
    tally.add(other, one, fine, fine)
    found = tally.found()
    assert (found["cases"], found["one_sentence_or_went_on"]) == (7, 5)
    assert (found["told_by_the_run"], found["bit_equal_in_the_end"]) == (6, 4)
    assert len(found["odd"]) == 6
    assert failed({"disk": found}) == ["disk"]


@LINUX
@pytest.mark.slow
def test_the_explorer_under_load_for_seconds(tmp_path: Path) -> None:
    found = soak.soaked(tmp_path, 8, seed=0)
    assert found["failures"] == []
    assert found["tracebacks"] == 0
    assert found["requests"] > 50
    assert {"200"} <= found["statuses"].keys() <= {"200", "400", "409"}
    found["memory_growth"] = 0.0  # of seconds it says nothing
    assert failed({"soak": found}) == []
    assert failed({"soak": found | {"memory_growth": 0.06}}) == ["soak"]
    assert failed({"soak": found | {"statuses": {"500": 1}}}) == ["soak"]


def test_damaged_checkpoints_are_passed_over(tmp_path: Path) -> None:
    found = checkpoints(tmp_path, 2, np.random.default_rng(0))
    kinds = [found[kind] for kind in ("header", "between", "end", "cut")]
    assert sum(kind["changed"] for kind in kinds) > 150
    assert all(kind["changed"] == kind["noticed"] > 0 for kind in kinds)
