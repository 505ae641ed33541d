"""Sweeps: real runs in processes of their own, resumed, failed and interrupted, and the best of them chosen."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from typer.testing import CliRunner

from infogan.cli import _grid, _seeds, app
from infogan.errors import UserError
from infogan.model import InfoGAN
from infogan.runs import RunFolder
from infogan.sweep import SweepFolder, choose, run_all, variations
from tests.helpers import pictures

SMALL = [
    *("--recipe", "plain", "--steps", "6", "--categorical", "2", "--continuous", "0"),
    *("--set", "networks.width=4", "--set", "noise.size=4", "--set", "train.batch_size=16"),
]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, x_train=pictures(128), y_train=np.arange(128) % 2)
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
    good, bad = [f"batch-size-8-seed-{seed}" for seed in (0, 1)], [f"batch-size-500-seed-{seed}" for seed in (0, 1)]
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
    # Nothing is done twice, unless what failed is to be tried again.
    assert subprocess.run([*again[: -len(SMALL) - 1], "--json", "--", *SMALL], capture_output=True, check=True).stdout
    assert len(lines(out)) == 4
    subprocess.run([*again[: -len(SMALL) - 1], "--retry", "--", *SMALL], capture_output=True, check=True)
    assert sorted(str(line["name"]) for line in lines(out)[4:]) == sorted(bad)


def test_an_interrupted_sweep_goes_on_where_it_stopped(bars: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    longer = [*SMALL, "--steps", "100000", "--set", "train.save_every=10"]
    again = command(str(bars), "--seeds", "3,4", "--out", str(out), "--", *longer)
    process = subprocess.Popen(again, stderr=subprocess.PIPE, text=True)
    started, run = time.monotonic(), RunFolder(out / "seed-3")
    while run.last_checkpoint() is None and time.monotonic() < started + 120:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "stopped with 0 of 2 runs; to go on: infogan sweep" in told
    assert not (out / "runs.jsonl").exists()
    assert not (out / "seed-4").exists()  # no other was begun
    stopped = "stopped after step"
    assert stopped in (out / "logs" / "seed-3.txt").read_text()  # it wrote its checkpoint
    # A sweep that was killed outright leaves the same: here its last checkpoint is made the end of the run.
    checkpoint = run.last_checkpoint()
    assert checkpoint is not None
    settings = json.loads(run.config.read_text())
    settings["train"]["steps"] = int(checkpoint.stem) + 5
    run.config.write_text(json.dumps(settings))
    shorter = [*SMALL, "--steps", str(settings["train"]["steps"]), "--set", "train.save_every=10"]
    wanted = variations(str(bars), [3], {}, shorter)
    folder = SweepFolder(out)
    ended = run_all(folder, wanted)
    assert [record.exit_code for record in ended] == [0]
    assert run.read_stats()[0]["step"] <= int(checkpoint.stem)  # what was done before is still there
    assert choose(folder, ended).places[0].name == "seed-3"


def test_runs_can_be_started_by_another_backend_of_joblib(bars: Path, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    with joblib.parallel_config(backend="loky"):  # processes, to which all that a run needs must be sent
        ended = run_all(folder, variations(str(bars), [7], {}, [*SMALL, "--steps", "3"]), jobs=2)
    assert [record.exit_code for record in ended] == [0], ended


def test_every_seed_meets_every_value() -> None:
    found = variations("mnist", [0, 2], {"recipe": ["plain", "paper"], "noise.size": ["4", "8"]}, ["--steps", "9"])
    assert len(found) == 8
    assert found[1].name == "recipe-plain-size-4-seed-2"
    words = ("mnist", "--steps", "9", "--recipe", "plain", "--set", "noise.size=4", "--seed", "2")
    assert found[1].arguments == words
    assert variations("x", [1], {"invariance": ["../a b"]}, [])[0].name == "invariance-a-b-seed-1"


def test_seeds_and_grids_are_read_as_people_write_them() -> None:
    assert _seeds("0-3,7") == [0, 1, 2, 3, 7]
    assert _grid(["recipe=plain, paper", 'a.b=[1,2],"x,y",{"k": [1]}']) == {
        "recipe": ["plain", "paper"],
        "a.b": ["[1,2]", '"x,y"', '{"k": [1]}'],
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "x"], "not of the form 0-9"),
        (["--seeds", "3-1"], "not of the form 0-9"),
        (["--seeds", "1,1"], "would both be called seed-1"),
        (["--vary", "noise.size"], "not of the form key=a,b"),
        (["--vary", "noise.size=1,,2"], "not of the form key=a,b"),
        (["--vary", "seed=1,2"], "seeds are for --seeds"),
        (["--vary", "steps=1,2", "--vary", "steps=3"], "steps is named twice"),
        (["--vary", "noise.sise=1,2"], "did you mean 'noise.size'"),
        (["--vary", "noise.size=1,x"], "noise.size"),
        (["--", "--out", "here"], "--out is not for the runs"),
        (["--", "--json"], "--json is not for the runs"),
        (["--", "--seed", "3"], "--seeds says which"),
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
        choose(folder, [])


def test_torn_records_are_passed_over(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.begin("mnist", [])
    whole = {"name": "seed-1", "arguments": [], "exit_code": 0, "seconds": 1.5, "error": ""}
    folder.runs.write_text(f'{json.dumps(whole)}\n{{"name": "seed-2", "exit\n["seed-3"]\n')
    assert list(folder.ended()) == ["seed-1"]
    assert folder.ended()["seed-1"].arguments == ()
