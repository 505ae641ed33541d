"""Several processes, as torchrun starts them on this machine, compute what one would, and end as one would."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from benchmarks.sessions import progress, same

from infogan.training.checkpoint import latest_checkpoint_path
from infogan.training.run_dir import RunFolder
from infogan.utils import distributed
from tests.commands import Command, infogan, infogan_workers
from tests.workers import TRAINED

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "INFOGAN_PATIENCE": "60"}
IN_PIECES = ["thirds", "quarters", "halves"]
SMALL = ["digits", "--recipe", "plain", "--set", "networks.width=4"]
SMALL += ["--set", "train.batch_size=17", "--set", "train.save_every=10"]


def begun(workers: int, *words: str, restarts: int = 0) -> "subprocess.Popen[str]":
    """So many workers that have just begun."""
    launch = [*LAUNCH, f"--nproc-per-node={workers}", f"--max-restarts={restarts}"]
    return subprocess.Popen([*launch, *words], env=ENVIRONMENT, stdout=-1, stderr=subprocess.PIPE, text=True)


def ended(workers: int, *words: str) -> tuple[int, str]:
    """The exit code of so many workers, and what they said on standard error."""
    process = begun(workers, *words)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def wait_for(run: Path, step: int) -> None:
    """Until there is a checkpoint of this step."""
    until = time.monotonic() + 60
    while progress(run) < step and time.monotonic() < until:
        time.sleep(0.01)
    assert progress(run) >= step


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_compute_what_one_process_does(workers: int) -> None:
    code, said = ended(workers, "-m", "tests.workers", "check", "7")  # which neither two nor three share evenly
    assert code == 0, said[-3000:]


def test_a_run_of_several_workers_is_that_of_one(tmp_path: Path) -> None:
    alike = [name for name in TRAINED if name not in IN_PIECES]
    trained = {2: ["robust", "apart", "halves"], 3: alike}
    assert Command("train", tmp_path / "1", *TRAINED, module="tests.workers").wait().returncode == 0
    code, said = ended(2, "-m", "tests.workers", "train", str(tmp_path / "2"), *trained[2])
    assert code == 0, said[-3000:]
    for done in infogan_workers(3, "train", tmp_path / "3", *alike, module="tests.workers"):
        assert done.returncode == 0, done.stderr
    for name in alike:
        one = RunFolder(tmp_path / "1" / name)
        others = [RunFolder(tmp_path / str(workers) / name) for workers in trained if name in trained[workers]]
        expected = _tensors(one)
        assert len(expected) > 50
        for run in others:
            found = _tensors(run)
            furthest = max(_apart(tensor, found[key]) for key, tensor in expected.items())
            lines = zip(one.read_stats(), run.read_stats(), strict=True)
            losses = [abs(line[key] - other[key]) for line, other in lines for key in line if "/" in key]
            assert len(losses) >= 4 * 2
            if name == "apart":  # batch norm by what each worker sees is another game
                assert furthest > 1e-3
                assert max(losses) > 1e-3
            else:  # double precision adds in another order; in `robust` a hundred times more than in the others
                assert furthest < 1e-10, name
                assert max(losses) < 1e-12, name

    # What several workers with batch norm of their own compute, fewer do in pieces, but for running statistics.
    for pieces, workers, name in ((IN_PIECES[0], 3, "apart"), (IN_PIECES[1], 2, "halves")):
        expected, found = (_tensors(RunFolder(tmp_path / at)) for at in (f"{workers}/{name}", f"1/{pieces}"))
        learned = [key for key in expected if "running" not in key and "batches" not in key]
        assert len(learned) > 50
        assert max(_apart(expected[key], found[key]) for key in learned) < 1e-10, pieces


def _tensors(run: RunFolder) -> dict[str, torch.Tensor]:
    path = latest_checkpoint_path(run.checkpoints)
    assert path is not None
    return safetensors.torch.load_file(path)


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert one.dtype == other.dtype
    scale = one.double().abs().max().item() if one.numel() else 0.0
    return (one.double() - other.double()).abs().max().item() / scale if scale else 0.0


def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    calm, struck = tmp_path / "calm", tmp_path / "struck"
    command = ["train", *SMALL, "--steps", "60"]
    assert [done.returncode for done in infogan_workers(2, *command, "--out", calm)] == [0, 0]
    process = begun(2, "-m", "infogan", *command, "--out", str(struck), restarts=1)
    wait_for(struck, 20)
    inside = f"infogan {shlex.join(command)} --out {struck}"
    workers = subprocess.run(["pgrep", "-f", inside], capture_output=True, text=True, check=True).stdout.split()
    os.kill(max(int(number) for number in workers), signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said[-3000:]
    assert same(struck, calm)
    (incident,) = RunFolder(struck).read_incidents()
    assert incident["what"].startswith(("another worker ended", "the session begun"))


def test_a_signal_ends_all_workers_and_others_go_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", *SMALL, "--out", str(run), "--steps", "120"]
    process = begun(2, "-m", "infogan", *command)
    wait_for(run, 20)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert said.count("stopped after step") == 1
    assert 20 <= progress(run) < 120
    ends = [session["ended"] for session in RunFolder(run).read_environment()]
    assert ends == [f"interrupted after step {progress(run)}"]
    assert [done.returncode for done in infogan_workers(3, *command)] == [0, 0, 0]
    assert progress(run) == 120
    assert RunFolder(run).read_incidents() == []
    assert [line["step"] for line in RunFolder(run).read_stats()][-2:] == [110, 120]
    workers = [session["workers"] for session in RunFolder(run).read_environment()]
    assert workers == [2, 3]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("digits --recipe plain --set train.seed=RANK", "worker 1 has another configuration than worker 0"),
        ("images.npy --recipe plain", "worker 1 has another set of images or labels than worker 0"),
        ("of-one.npy --recipe plain", "of-one.npy"),
        ("digits --recipe plain --set train.batch_size=2", "a batch of 2 can not be shared by 3 workers"),
        ("digits --recipe plain --set train.batch_size=2000", "fewer than a batch of 2000"),
        ("digits --recipe plain --out images.npy", "there is a file in its place"),
    ],
)
def test_workers_that_can_not_go_on_say_so_once(given: str, sentence: str, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        np.save(tmp_path / str(number) / "images.npy", np.full((200, 8, 8), number, np.uint8))
    np.save(tmp_path / "0" / "of-one.npy", np.zeros((200, 8, 8), np.uint8))
    workers = 3 if "3 workers" in sentence else 2
    started = time.monotonic()
    done = infogan_workers(workers, "train", *given.split(), "--steps", "2", cwd=tmp_path / "RANK")
    assert time.monotonic() - started < 60  # nobody waited for what will not come
    assert [one.returncode for one in done] == [2] * workers
    (line,) = errors("".join(one.stderr for one in done))
    assert sentence in line
    assert not list(tmp_path.glob("*/runs/*/checkpoints"))


def test_alone_nothing_is_exchanged() -> None:
    values = torch.ones(3, requires_grad=True)
    assert distributed.all_reduce_sum(values) is values
    assert distributed.all_gather(values, 3) is values
    assert distributed.shard_slice(5) == slice(0, 5)
    assert distributed.broadcast_from_rank0(lambda: "mine") == "mine"
    assert distributed.any_rank(True)
    assert distributed.batch_mean(values, 7) == distributed.partial_mean(values, 3) == 1
    assert distributed.partial_mean(values, 6) == 0.5
    with distributed.process_group("cpu") as device:
        assert (device, distributed.rank(), distributed.world_size()) == ("cpu", 0, 1)


def test_workers_draw_and_measure_what_one_does(digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    measured = ["evaluate", str(run), "--metrics", "clusters,information,trust", "--json"]
    sampled = ["sample", str(run), "--count", "70", "--out"]
    assert infogan(*sampled, tmp_path / "1.npz").returncode == 0
    expected = infogan(*measured).stdout
    assert [done.returncode for done in infogan_workers(3, *sampled, tmp_path / "3.npz")] == [0, 0, 0]
    one, several = (np.load(tmp_path / f"{workers}.npz") for workers in (1, 3))
    assert all(np.array_equal(one[name], several[name]) for name in one)
    before = RunFolder(run).read_metrics()
    told = infogan_workers(3, *measured)
    assert [done.returncode for done in told] == [0, 0, 0]
    assert [done.stdout for done in told] == [expected, "", ""]
    assert len(RunFolder(run).read_metrics()) == len(before) + 1
    code, said = ended(2, "-m", "infogan", "sample", str(run), "--code", "category=x", "--out", str(tmp_path / "x"))
    assert code == 1
    (line,) = errors(said)
    assert "takes 0 to" in line
