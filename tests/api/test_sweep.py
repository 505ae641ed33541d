"""Sweeps: runs that are trained, resumed, failed and interrupted, and the choice of the best one."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import joblib
import numpy as np
import pytest

import infogan.sweep
from infogan.api import sweep
from infogan.api.sweep import RunRecord, SweepFolder, Variation, choose, parse_seeds, run_all, variations
from infogan.models.infogan import InfoGAN
from infogan.training.checkpoint import latest_checkpoint_path
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from infogan.utils.files import file_lock, is_locked
from tests.commands import FORKSERVER, _run_module, invoke
from tests.helpers import bar_images

SMALL = [
    *("--recipe", "plain", "--steps", "6", "--categorical", "2", "--continuous", "0"),
    *("--set", "networks.width=4", "--set", "noise.size=4", "--set", "train.batch_size=16"),
]
ENDLESS = [*SMALL, "--steps", "100000", "--set", "train.save_every=10"]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, x_train=bar_images(128), y_train=np.arange(128) % 2)
    return path


class ForkedProcess:
    """Stands in for `subprocess.Popen` of ``python -m infogan``, without the time that importing PyTorch takes."""

    def __init__(self, arguments: list[str], *, stdout: IO[bytes], env: Mapping[str, str], **_: Any) -> None:
        assert arguments[:3] == [sys.executable, "-m", "infogan"]
        process_arguments = ("infogan", arguments[3:], os.getcwd(), dict(env), [stdout.name, stdout.name])
        self._process = FORKSERVER.Process(target=_run_module, args=process_arguments)
        self._process.start()
        self.terminate = self._process.terminate

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes of runs."""
    monkeypatch.setattr(sweep, "subprocess", SimpleNamespace(Popen=ForkedProcess, DEVNULL=subprocess.DEVNULL))


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]


def run_names(places: list[dict[str, Any]]) -> list[str]:
    return [entry["name"] for entry in places]


def trust(metrics: Path) -> None:
    """Make the verdict of a run trust it, and append an evaluation without a verdict."""
    line = json.loads(metrics.read_text())
    line["verdict"]["trust"] = True
    other = {"accuracy": 0.5, "protocol": "", "frechet_inception2048": 1.0}
    metrics.write_text("\n".join(map(json.dumps, [line, other])) + "\n")


def test_the_best_run_is_copied_and_failed_runs_are_passed_over(bars: Path, tmp_path: Path, forked: None) -> None:
    out = tmp_path / "sweep"
    options = [str(bars), "--seeds", "0-1", "--grid", "train.accumulation_steps=1,99", "--jobs", "2", "--out", str(out)]
    result = invoke("sweep", *options, "--", *SMALL)
    assert result.returncode == 0, result.stderr
    complete = ["train.accumulation_steps-1-seed-0", "train.accumulation_steps-1-seed-1"]
    failed = ["train.accumulation_steps-99-seed-0", "train.accumulation_steps-99-seed-1"]
    by_name = {record["name"]: record for record in records(out)}
    assert sorted(by_name) == sorted(complete + failed)
    assert [by_name[name]["exit_code"] for name in complete + failed] == [0, 0, 2, 2]
    assert all("99 accumulation" in by_name[name]["error"] for name in failed)  # the message that the run ended with
    ranking = json.loads((out / "ranking.json").read_text())
    order = run_names(ranking["places"])
    assert sorted(order) == complete
    assert sorted(ranking["failed"]) == sorted(failed)
    # The copy is a run, without what only resuming needs.
    best, first = RunFolder.existing(out / "best"), RunFolder.existing(out / order[0])
    assert best.read_config() == first.read_config()
    assert best.read_metrics() == first.read_metrics()
    assert not best.checkpoints.exists()
    assert (InfoGAN.load(best.path).sample(4).images == InfoGAN.load(first.path).sample(4).images).all()
    page = (out / "comparison.html").read_text()
    assert "Ranked without labels" in page
    assert all(name in page for name in complete + failed)
    assert result.stdout.splitlines()[-3:] == [str(out / name) for name in ("ranking.json", "comparison.html", "best")]
    assert "--retry" in result.stderr

    # The same command trains nothing again, and keeps names that were given to the best run.
    model = InfoGAN.load(best.path)
    model.name_codes({"category": {0: "lying"}})
    model.save_config(best.path / "model")
    again = invoke("sweep", *options, "--json", "--", *SMALL)
    assert run_names(json.loads(again.stdout)["places"]) == order
    assert len(records(out)) == 4
    assert InfoGAN.load(best.path).value_name("category", 0) == "lying"

    # A run whose folder was removed is trained again, with --retry failed runs, too. If another run is the best then,
    # the copy with the names is kept.
    shutil.rmtree(out / order[0])
    trust(out / order[1] / "metrics.jsonl")
    assert invoke("sweep", *options, "--retry", "--", *SMALL).returncode == 0
    assert sorted(record["name"] for record in records(out)[4:]) == sorted([*failed, order[0]])
    assert json.loads((out / "ranking.json").read_text())["places"][0]["name"] == order[1]
    assert InfoGAN.load(best.path).value_name("category", 0) == "0"
    assert InfoGAN.load(out / "best-before-1").value_name("category", 0) == "lying"


def start_sweep(arguments: list[str], run: RunFolder) -> "subprocess.Popen[str]":
    """Start a sweep, and wait for the first checkpoint of a run."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infogan", "sweep", *arguments], stderr=subprocess.PIPE, text=True
    )
    limit = time.monotonic() + 120
    while latest_checkpoint_path(run.checkpoints) is None and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.1)
    return process


def test_an_interrupted_sweep_resumes(bars: Path, tmp_path: Path, forked: None) -> None:
    out = tmp_path / "sweep"
    run = RunFolder(out / "seed-3")
    process = start_sweep([str(bars), "--seeds", "3,4", "--out", str(out), "--", *ENDLESS], run)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "stopped after 0 of 2 runs; to resume: infogan sweep" in errors
    assert not (out / "runs.jsonl").exists()
    assert not (out / "seed-4").exists()
    assert "stopped after step" in (out / "logs" / "seed-3.txt").read_text()  # so it wrote a checkpoint
    # With fewer steps, which one can wait for, the run is resumed from there.
    checkpoint = latest_checkpoint_path(run.checkpoints)
    assert checkpoint is not None
    settings = json.loads(run.config.read_text())
    settings["train"]["steps"] = int(checkpoint.stem) + 1  # one checkpoint more, so that this one is kept
    run.config.write_text(json.dumps(settings))
    before = checkpoint.stat().st_mtime_ns
    runs = variations(str(bars), [3], {}, [*ENDLESS, "--steps", str(settings["train"]["steps"])])
    assert [record.exit_code for record in run_all(SweepFolder(out), runs)] == [0]
    assert len(run.read_environment()) == 2
    assert checkpoint.stat().st_mtime_ns == before
    assert choose(SweepFolder(out)).places[0].name == "seed-3"
    assert not (out / "comparison.html").exists()  # a single run is compared with nothing


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be orphaned there")
def test_a_run_that_a_killed_sweep_left_behind_is_waited_for(bars: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    run = RunFolder(out / "seed-3")
    longer = [*SMALL, "--steps", "400", "--set", "train.save_every=50"]
    arguments = [str(bars), "--seeds", "3", "--out", str(out), "--", *longer]
    process = start_sweep(arguments, run)
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
    orphan = json.loads((run.path / "writer.json").read_text())["pid"]
    try:
        assert is_locked(run.path / "writer.json")
        result = invoke("sweep", *arguments)
        assert result.returncode == 0, result.stderr
        assert f"waiting for the process that still trains {run.path}" in result.stderr
        assert [record["exit_code"] for record in records(out)] == [0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)


def test_the_signal_that_killed_a_run_is_recorded(bars: Path, tmp_path: Path, forked: None) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    run = RunFolder(folder.run_path("seed-3"))

    def kill() -> None:
        while latest_checkpoint_path(run.checkpoints) is None:
            time.sleep(0.05)
        os.kill(json.loads((run.path / "writer.json").read_text())["pid"], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    (record,) = run_all(folder, variations(str(bars), [3], {}, ENDLESS))
    assert record.exit_code == -9
    assert record.error.startswith("ended by SIGKILL")


def test_a_stop_before_the_first_run_starts_none(bars: Path, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    assert run_all(folder, variations(str(bars), [1], {}, SMALL), stop_requested=lambda: True) == []
    assert not folder.run_path("seed-1").exists()


def test_a_record_with_other_arguments_is_refused(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.add(RunRecord("seed-1", ("mnist", "--seed", "1"), 0, 1.0))
    with pytest.raises(UserError, match="mnist --seed 1"):
        run_all(folder, [Variation("seed-1", ("digits", "--seed", "1"))])


def test_a_run_that_cannot_start_is_one_message(bars: Path, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    (folder.logs / "seed-1.txt").mkdir()
    with pytest.raises(UserError, match="seed-1 could not be run: Is a directory"):
        run_all(folder, variations(str(bars), [1], {}, SMALL))
    with file_lock(folder.path / "writer.json", "it"), pytest.raises(UserError, match=f"process {os.getpid()}"):
        run_all(folder, [])


@pytest.mark.slow
def test_another_backend_of_joblib_can_start_runs(bars: Path, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    with joblib.parallel_config(backend="loky"):  # processes, to which everything that a run needs is sent
        ended_runs = run_all(folder, variations(str(bars), [7], {}, [*SMALL, "--steps", "3"]), jobs=2)
    assert [record.exit_code for record in ended_runs] == [0], ended_runs


def test_every_seed_is_combined_with_every_value() -> None:
    runs = variations("mnist", [0, 2], {"recipe": ["plain", "paper"], "noise.size": ["4", "8"]}, ["--steps", "9"])
    assert len(runs) == 8
    assert runs[1].name == "recipe-plain-noise.size-4-seed-2"
    arguments = ("mnist", "--steps", "9", "--recipe", "plain", "--set", "noise.size=4", "--seed", "2")
    assert runs[1].arguments == arguments
    assert variations("x", [1], {"codes": ["[{size=2}]"]}, [])[0].arguments[1:3] == ("--set", "codes=[{size=2}]")


def test_names_of_runs_are_short_and_different() -> None:
    def names(key: str, *values: str) -> list[str]:
        return [run.name for run in variations("x", [1], {key: values}, [])]

    assert names("augment", "../a b") == ["augment--a-b-seed-1"]
    assert names("a.b", "-1", "1") == ["a.b--1-seed-1", "a.b-1-seed-1"]
    long = names("a.b", "x" * 300 + "1", "x" * 300 + "2")
    assert len(set(long)) == 2
    assert max(map(len, long)) < 150
    with pytest.raises(UserError, match="given twice"):
        names("a.b", "Adam", "adam")  # the same folder on some systems


def test_seeds_are_parsed_as_people_write_them() -> None:
    assert parse_seeds("0-3,7") == [0, 1, 2, 3, 7]
    for text in ("", "x", "3-1", "1,", "-1"):
        with pytest.raises(UserError, match="0-9 or 1,4"):
            parse_seeds(text)


def test_a_sweep_is_not_mixed_with_other_runs_or_files(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.begin("mnist", ["--steps", "5"])
    SweepFolder(folder.path).begin("mnist", ["--steps", "5"])
    with pytest.raises(UserError, match="holds a sweep of other runs"):
        SweepFolder(folder.path).begin("mnist", ["--steps", "6"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not the folder of a sweep"):
        SweepFolder(tmp_path / "other")
    with pytest.raises(UserError, match="none has ended"):
        choose(folder)


def test_invalid_records_are_ignored(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.begin("mnist", [])
    record = {"name": "seed-1", "arguments": [], "exit_code": 0, "seconds": 1.5, "error": ""}
    folder.runs.write_text(f'{json.dumps(record)}\n["seed-3"]\n{{"name": "seed-2", "exit')
    assert list(folder.records()) == ["seed-1"]
    folder.add(RunRecord("seed-4", (), 1, 2.0, "why"))  # after a torn line
    assert list(folder.records()) == ["seed-1", "seed-4"]
    assert folder.records()["seed-1"].arguments == ()


def test_the_public_module_has_what_the_docs_import() -> None:
    for name in ("SweepFolder", "choose", "run_all", "variations"):
        assert getattr(infogan.sweep, name) is getattr(sweep, name)
