"""Sweeps: real runs in processes of their own, resumed, failed and interrupted, and the best of them chosen."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from typer.testing import CliRunner

from infogan.api.sweep import RunRecord, SweepFolder, Variation, choose, parse_seeds, run_all, variations
from infogan.cli.app import _grid, app
from infogan.models.infogan import InfoGAN
from infogan.training.checkpoint import latest_checkpoint_path
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from infogan.utils.files import file_lock, is_locked
from tests.helpers import bar_images

SMALL = [
    *("--recipe", "plain", "--steps", "6", "--categorical", "2", "--continuous", "0"),
    *("--set", "networks.width=4", "--set", "noise.size=4", "--set", "train.batch_size=16"),
]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, x_train=bar_images(128), y_train=np.arange(128) % 2)
    return path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "infogan", "sweep", *words]


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]


def test_the_best_of_all_runs_is_kept_and_one_that_fails_is_passed_over(bars: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    words = [str(bars), "--seeds", "0-1", "--vary", "train.batch_size=8,500", "--jobs", "2", "--out", str(out)]
    again = command(*words, "--", *SMALL)
    done = subprocess.run(again, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = {str(line["name"]): line for line in lines(out)}
    good, bad = (
        [f"train.batch_size-8-seed-{seed}" for seed in (0, 1)],
        [f"train.batch_size-500-seed-{seed}" for seed in (0, 1)],
    )
    assert sorted(records) == sorted(good + bad)
    assert [records[name]["exit_code"] for name in good + bad] == [0, 0, 2, 2]
    assert all("500" in str(records[name]["error"]) for name in bad)  # the sentence that the run ended with
    ranking = json.loads((out / "ranking.json").read_text())
    order = [place["name"] for place in ranking["places"]]
    assert sorted(order) == good
    assert sorted(ranking["failed"]) == sorted(bad)
    # What was chosen is there as a run of its own, all of it but what only resuming needs.
    best, first = RunFolder.existing(out / "best"), RunFolder.existing(out / order[0])
    assert best.read_config() == first.read_config()
    assert best.read_metrics() == first.read_metrics()
    assert not best.checkpoints.exists()
    assert (InfoGAN.load(best.path).sample(4).images == InfoGAN.load(first.path).sample(4).images).all()
    page = (out / "comparison.html").read_text()
    assert "Ranked without labels" in page
    assert all(name in page for name in good + bad)
    assert done.stdout.splitlines()[-3:] == [str(out / name) for name in ("ranking.json", "comparison.html", "best")]
    # Nothing is done twice, unless what failed is to be tried again. What was done with the best is kept.
    model = InfoGAN.load(best.path)
    model.name_codes({"category": {0: "lying"}})
    model.save_config(best.path / "model")
    options = again[: -len(SMALL) - 1]
    told = subprocess.run([*options, "--json", "--", *SMALL], capture_output=True, check=True, text=True).stdout
    assert [place["name"] for place in json.loads(told)["places"]] == order
    assert len(lines(out)) == 4
    assert InfoGAN.load(best.path).value_name("category", 0) == "lying"
    # A run that has gone is made again. Where another is the best by then, a changed best is not lost.
    shutil.rmtree(out / order[0])
    (out / order[1] / "metrics.jsonl").write_text(trusted((out / order[1] / "metrics.jsonl").read_text()))
    done = subprocess.run([*options, "--retry", "--", *SMALL], capture_output=True, text=True, check=True)
    assert sorted(str(line["name"]) for line in lines(out)[4:]) == sorted([*bad, order[0]])
    assert json.loads((out / "ranking.json").read_text())["places"][0]["name"] == order[1]
    assert InfoGAN.load(best.path).value_name("category", 0) == "0"
    assert InfoGAN.load(out / "best-before-1").value_name("category", 0) == "lying"
    assert "--retry tries again" in done.stderr


def trusted(metrics: str) -> str:
    """The evaluations of a run that a verdict trusts, and then one of something else."""
    line = json.loads(metrics)
    line["verdict"]["trust"] = True
    return "\n".join(map(json.dumps, [line, {"accuracy": 0.5, "protocol": "", "frechet_inception2048": 1.0}])) + "\n"


def begun(words: list[str], run: RunFolder) -> "subprocess.Popen[str]":
    """A sweep, once its first run has written a checkpoint."""
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    started = time.monotonic()
    while (
        latest_checkpoint_path(run.checkpoints) is None and process.poll() is None and time.monotonic() < started + 120
    ):
        time.sleep(0.1)
    return process


def test_an_interrupted_sweep_goes_on_where_it_stopped(bars: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    run, other = RunFolder(out / "seed-3"), out / "seed-4"
    endless = [*SMALL, "--steps", "100000", "--set", "train.save_every=10"]
    again = command(str(bars), "--seeds", "3,4", "--out", str(out), "--", *endless)
    process = begun(again, run)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "stopped with 0 of 2 runs; to go on: infogan sweep" in told
    assert not (out / "runs.jsonl").exists()
    assert not other.exists()  # no other was begun
    assert "stopped after step" in (out / "logs" / "seed-3.txt").read_text()  # it wrote its checkpoint
    # Shortened by hand to an end that can be waited for, the same run goes on from there.
    checkpoint = latest_checkpoint_path(run.checkpoints)
    assert checkpoint is not None
    settings = json.loads(run.config.read_text())
    settings["train"]["steps"] = int(checkpoint.stem) + 1  # one checkpoint more: this one is still kept
    run.config.write_text(json.dumps(settings))
    stopped_at = run.checkpoints / checkpoint.name
    before = stopped_at.stat().st_mtime_ns
    folder = SweepFolder(out)
    wanted = variations(str(bars), [3], {}, [*endless, "--steps", str(settings["train"]["steps"])])
    assert [record.exit_code for record in run_all(folder, wanted)] == [0]
    assert len(run.read_environment()) == 2
    assert stopped_at.stat().st_mtime_ns == before  # the steps up to there were not made again
    assert choose(folder).places[0].name == "seed-3"
    assert not (out / "comparison.html").exists()  # there is nothing to compare it with


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_run_that_a_killed_sweep_has_left_to_itself_is_waited_for(bars: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    run = RunFolder(out / "seed-3")
    longer = [*SMALL, "--steps", "400", "--set", "train.save_every=50"]
    again = command(str(bars), "--seeds", "3", "--out", str(out), "--", *longer)
    process = begun(again, run)
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
    orphan = json.loads((run.path / "writer.json").read_text())["pid"]
    try:
        assert is_locked(run.path / "writer.json")
        done = subprocess.run(again, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        assert f"waiting for the process that still trains {run.path}" in done.stderr
        assert [line["exit_code"] for line in lines(out)] == [0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)


def test_a_run_that_is_killed_is_said_to_have_been(bars: Path, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    run = RunFolder(folder.run_path("seed-3"))

    def kill() -> None:
        while latest_checkpoint_path(run.checkpoints) is None:
            time.sleep(0.1)
        os.kill(json.loads((run.path / "writer.json").read_text())["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    endless = [*SMALL, "--steps", "100000", "--set", "train.save_every=10"]
    (ended,) = run_all(folder, variations(str(bars), [3], {}, endless))
    assert ended.exit_code == -9
    assert ended.error.startswith("it was ended by SIGKILL")


def test_a_recorded_run_is_not_taken_for_another_of_its_name(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.add(RunRecord("seed-1", ("mnist", "--seed", "1"), 0, 1.0))
    with pytest.raises(UserError, match="with other arguments"):
        run_all(folder, [Variation("seed-1", ("digits", "--seed", "1"))])


def test_what_prevents_a_run_is_one_sentence(bars: Path, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    (folder.logs / "seed-1.txt").mkdir()
    with pytest.raises(UserError, match="seed-1 could not be run: Is a directory"):
        run_all(folder, variations(str(bars), [1], {}, SMALL))
    with file_lock(folder.path / "writer.json", "it"), pytest.raises(UserError, match="is being written by process"):
        run_all(folder, [])


@pytest.mark.slow
def test_runs_can_be_started_by_another_backend_of_joblib(bars: Path, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    with joblib.parallel_config(backend="loky"):  # processes, to which all that a run needs must be sent
        ended = run_all(folder, variations(str(bars), [7], {}, [*SMALL, "--steps", "3"]), jobs=2)
    assert [record.exit_code for record in ended] == [0], ended


def test_every_seed_meets_every_value() -> None:
    found = variations("mnist", [0, 2], {"recipe": ["plain", "paper"], "noise.size": ["4", "8"]}, ["--steps", "9"])
    assert len(found) == 8
    assert found[1].name == "recipe-plain-noise.size-4-seed-2"
    words = ("mnist", "--steps", "9", "--recipe", "plain", "--set", "noise.size=4", "--seed", "2")
    assert found[1].arguments == words
    assert variations("x", [1], {"invariance": ["../a b"]}, [])[0].name == "invariance--a-b-seed-1"
    signs = variations("x", [1], {"a.b": ["-1", "1"]}, [])
    assert [run.name for run in signs] == ["a.b--1-seed-1", "a.b-1-seed-1"]
    lists = variations("x", [1], {"codes": ["[{size=2}]"]}, [])
    assert lists[0].arguments == ("x", "--set", "codes=[{size=2}]", "--seed", "1")
    long = variations("x", [1], {"a.b": ["x" * 300 + "1", "x" * 300 + "2"]}, [])
    assert len({run.name for run in long}) == 2
    assert max(len(run.name) for run in long) < 150
    with pytest.raises(UserError, match="named twice"):
        variations("x", [1], {"a.b": ["Adam", "adam"]}, [])  # one folder on some systems


def test_seeds_and_grids_are_read_as_people_write_them() -> None:
    assert parse_seeds("0-3,7") == [0, 1, 2, 3, 7]
    assert _grid(["recipe=plain, paper", 'a.b=[[1,2],[3]],"x,y",{"k": [1]}', 'invariance="shift,rotate=9",none']) == {
        "recipe": ["plain", "paper"],
        "a.b": ["[[1,2],[3]]", '"x,y"', '{"k": [1]}'],
        "invariance": ["shift,rotate=9", "none"],
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "x"], "not of the form 0-9"),
        (["--seeds", "3-1"], "not of the form 0-9"),
        (["--seeds", "3-1,5"], "not of the form 0-9"),
        (["--seeds", "1,1"], "would be called seed-1"),
        (["--vary", "noise.size"], "not of the form key=a,b"),
        (["--vary", "noise.size=1,,2"], "not of the form key=a,b"),
        (["--vary", "seed=1,2"], "--seeds says which"),
        (["--vary", "data.source=mnist,digits"], "all of them the same data"),
        (["--vary", "train.seed=1,2"], "have their seeds from --seeds"),
        (["--vary", "steps=1,2", "--vary", "steps=3"], "steps is named twice"),
        (["--vary", "noise.sise=1,2"], "did you mean 'noise.size'"),
        (["--vary", "noise.size=1,x"], "noise.size"),
        (["--", "--out", "here"], "--out is not for the runs"),
        (["--", "--json"], "--json is not for the runs"),
        (["--", "--seed", "3"], "--seeds says which"),
        (["--", "--set", "train.seed=5"], "have their seeds from --seeds"),
        ([], "no file or folder 'nothing-there'"),
        (["--", "--recipe", "nope"], "unknown preset"),
        (["--", "--steps", "3", "--images", "4"], "given twice"),
    ],
)
def test_what_no_run_could_do_is_refused_before_any_begins(words: list[str], says: str, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    result = CliRunner().invoke(app, ["sweep", "nothing-there", "--out", str(out), *words])
    assert isinstance(result.exception, UserError), result.output
    assert says in str(result.exception)
    assert not out.exists()


def test_a_sweep_is_not_mixed_with_another_nor_with_other_files(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.begin("mnist", ["--steps", "5"])
    SweepFolder(folder.path).begin("mnist", ["--steps", "5"])
    with pytest.raises(UserError, match="holds a sweep of other runs"):
        SweepFolder(folder.path).begin("mnist", ["--steps", "6"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not the folder of a sweep"):
        SweepFolder(tmp_path / "other")
    with pytest.raises(UserError, match="is complete: none has ended yet"):
        choose(folder)


def test_torn_records_are_passed_over(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.begin("mnist", [])
    whole = {"name": "seed-1", "arguments": [], "exit_code": 0, "seconds": 1.5, "error": ""}
    folder.runs.write_text(f'{json.dumps(whole)}\n["seed-3"]\n{{"name": "seed-2", "exit')
    assert list(folder.records()) == ["seed-1"]
    folder.add(RunRecord("seed-4", (), 1, 2.0, "why"))  # after half a line
    assert list(folder.records()) == ["seed-1", "seed-4"]
    assert folder.records()["seed-1"].arguments == ()
