"""Several workers compute what a single process computes, and end as one process does."""

import os
import re
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
from infogan.utils.errors import SilentError, UserError
from tests.commands import ONE_THREAD, Command, infogan, infogan_workers
from tests.phases import REACHED
from tests.workers import RUNS

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
ENVIRONMENT = {**os.environ, **ONE_THREAD, "INFOGAN_DIST_TIMEOUT": "60"}
SMALL = ["digits", "--recipe", "plain", "--set", "networks.width=4"]
SMALL += ["--set", "train.batch_size=17", "--set", "train.save_every=10"]


# A single process.


def test_single_process_exchanges_nothing() -> None:
    values = torch.ones(3, requires_grad=True)
    assert distributed.all_reduce_sum(values) is values
    assert distributed.all_gather(values, 3) is values
    assert distributed.shard_slice(5) == slice(0, 5)
    assert distributed.broadcast_from_rank0(lambda: "text") == "text"
    assert distributed.any_rank(True)
    assert distributed.batch_mean(values, 7) == distributed.partial_mean(values, 3) == 1
    assert distributed.partial_mean(values, 6) == 0.5
    with distributed.process_group("cpu") as device:
        assert (device, distributed.rank(), distributed.world_size()) == ("cpu", 0, 1)


def test_slices_cover_a_batch_without_overlap() -> None:
    for count, ranks, parts in ((17, 3, 4), (12, 2, 1), (5, 3, 2)):
        rows = [
            index
            for part in range(parts)
            for rank in range(ranks)
            for index in range(count)[distributed.micro_batch_slice_of_rank(count, part, parts, rank, ranks)]
        ]
        assert rows == list(range(count))
        sizes = [distributed.micro_batch_size(count, part, parts) for part in range(parts)]
        assert sum(sizes) == count
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("name", ["INFOGAN_DIST_TIMEOUT", "INFOGAN_PATIENCE"])
def test_timeout_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("INFOGAN_DIST_TIMEOUT", raising=False)
    monkeypatch.delenv("INFOGAN_PATIENCE", raising=False)
    assert distributed.timeout_seconds() == distributed.DEFAULT_TIMEOUT
    monkeypatch.setenv(name, "7.5")
    assert distributed.timeout_seconds() == 7.5
    for value in ("0", "-1", "soon", "nan", "inf", ""):
        monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=name):
            distributed.timeout_seconds()


def test_new_name_of_the_timeout_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFOGAN_DIST_TIMEOUT", "3")
    monkeypatch.setenv("INFOGAN_PATIENCE", "4")
    assert distributed.timeout_seconds() == 3


def test_lost_workers_are_reported_in_one_sentence() -> None:
    with (
        pytest.raises(UserError, match=r"^another worker ended, or did not answer in time: [^\n]*closed$"),
        distributed.report_lost_workers(),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed. More words\nand lines")
    with pytest.raises(RuntimeError, match="shapes"), distributed.report_lost_workers():
        raise RuntimeError("shapes differ")


def test_error_of_every_rank_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, kind in ((0, UserError), (1, SilentError)):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        with pytest.raises(UserError, match="no such file") as caught, distributed.errors_from_rank0():
            raise UserError("no such file")
        assert type(caught.value) is kind


# Several processes.


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.integration)])
def test_workers_compute_what_one_process_computes(workers: int) -> None:
    for process in infogan_workers(workers, "check", "7", module="tests.workers"):  # an uneven batch
        assert process.returncode == 0, process.stderr[-3000:]


def start(workers: int, *arguments: str, restarts: int = 0) -> "subprocess.Popen[str]":
    """Start workers with torchrun."""
    launch = [*LAUNCH, f"--nproc-per-node={workers}", f"--max-restarts={restarts}"]
    return subprocess.Popen([*launch, *arguments], env=ENVIRONMENT, stdout=-1, stderr=subprocess.PIPE, text=True)


def run_to_the_end(workers: int, *arguments: str) -> tuple[int, str]:
    """Return the exit code of torchrun, and what the workers wrote to standard error."""
    process = start(workers, *arguments)
    _, stderr = process.communicate(timeout=120)
    return process.returncode, stderr


def wait_for(run: Path, step: int) -> None:
    """Wait until there is a checkpoint of this step."""
    limit = time.monotonic() + 60
    while progress(run) < step and time.monotonic() < limit:
        time.sleep(0.01)
    assert progress(run) >= step


def errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("error: ")]


def latest_tensors(run: RunFolder) -> dict[str, torch.Tensor]:
    path = latest_checkpoint_path(run.checkpoints)
    assert path is not None
    return safetensors.torch.load_file(path)


def relative_difference(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    assert first.dtype == second.dtype
    scale = first.double().abs().max().item() if first.numel() else 0.0
    return (first.double() - second.double()).abs().max().item() / scale if scale else 0.0


@pytest.mark.integration
def test_run_of_several_workers_equals_that_of_one(tmp_path: Path) -> None:
    same_runs = [name for name in RUNS if not name.startswith("accumulated")]
    runs = {2: ["robust", "unsynchronised", "accumulated-2"], 3: same_runs}
    assert Command("train", tmp_path / "1", *RUNS, module="tests.workers").wait().returncode == 0
    code, stderr = run_to_the_end(2, "-m", "tests.workers", "train", str(tmp_path / "2"), *runs[2])
    assert code == 0, stderr[-3000:]
    for process in infogan_workers(3, "train", tmp_path / "3", *same_runs, module="tests.workers"):
        assert process.returncode == 0, process.stderr
    for name in same_runs:
        single = RunFolder(tmp_path / "1" / name)
        expected = latest_tensors(single)
        assert len(expected) > 50
        for run in (RunFolder(tmp_path / str(workers) / name) for workers in runs if name in runs[workers]):
            tensors = latest_tensors(run)
            weights = max(relative_difference(tensor, tensors[key]) for key, tensor in expected.items())
            records = zip(single.read_stats(), run.read_stats(), strict=True)
            losses = [abs(one[key] - other[key]) for one, other in records for key in one if "/" in key]
            assert len(losses) >= 4 * 2
            if name == "unsynchronised":  # batch norm sees each worker's shard alone
                assert weights > 1e-3
                assert max(losses) > 1e-3
            else:  # double precision adds in another order
                assert weights < 1e-10, name
                assert max(losses) < 1e-12, name

    # Workers with batch norm of their own compute what fewer workers compute with gradient accumulation, apart from
    # running statistics.
    for accumulated, workers, name in (("accumulated-3", 3, "unsynchronised"), ("accumulated-4", 2, "accumulated-2")):
        expected, tensors = (
            latest_tensors(RunFolder(tmp_path / path)) for path in (f"{workers}/{name}", f"1/{accumulated}")
        )
        trained = [key for key in expected if "running" not in key and "batches" not in key]
        assert len(trained) > 50
        assert max(relative_difference(expected[key], tensors[key]) for key in trained) < 1e-10, accumulated


@pytest.mark.integration
def test_killed_worker_costs_nothing(tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    command = ["train", *SMALL, "--steps", "60"]
    assert [process.returncode for process in infogan_workers(2, *command, "--out", undisturbed)] == [0, 0]
    launcher = start(2, "-m", "infogan", *command, "--out", str(disturbed), restarts=1)
    wait_for(disturbed, 20)
    pattern = f"infogan {shlex.join(command)} --out {disturbed}"
    workers = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=True).stdout.split()
    os.kill(max(int(number) for number in workers), signal.SIGKILL)
    _, stderr = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, stderr[-3000:]
    assert same(disturbed, undisturbed)
    (incident,) = RunFolder(disturbed).read_incidents()
    assert incident["what"].startswith(("another worker ended", "the session that started"))


@pytest.mark.integration
def test_signal_stops_all_workers_and_another_number_of_them_resumes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", *SMALL, "--out", str(run), "--steps", "120"]
    launcher = start(2, "-m", "infogan", *command)
    wait_for(run, 20)
    launcher.send_signal(signal.SIGTERM)
    _, stderr = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    assert stderr.count("stopped after step") == 1
    assert 20 <= progress(run) < 120
    ends = [session["ended"] for session in RunFolder(run).read_environment()]
    assert ends == [f"interrupted after step {progress(run)}"]
    assert [process.returncode for process in infogan_workers(3, *command)] == [0, 0, 0]
    assert progress(run) == 120
    assert RunFolder(run).read_incidents() == []
    assert [record["step"] for record in RunFolder(run).read_stats()][-2:] == [110, 120]
    assert [session["workers"] for session in RunFolder(run).read_environment()] == [2, 3]


HERE = "/proc/self/cwd"  # the same path, but other files in the folder of each worker


def write_arrays(folder: Path) -> None:
    """Write images for three workers, each in a folder of its own."""
    for number in range(3):
        (folder / str(number)).mkdir()
        np.save(folder / str(number) / "images.npy", np.full((200, 8, 8), number, np.uint8))
        np.save(folder / str(number) / "few.npy", np.zeros((3, 8, 8), np.uint8))
    np.save(folder / "0" / "on-first.npy", np.zeros((200, 8, 8), np.uint8))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "workers", "message"),
    [
        ("digits --recipe plain --set train.seed=RANK", 2, "worker 1 has another configuration than worker 0"),
        (f"{HERE}/images.npy --recipe plain", 2, "worker 1 has another set of images or labels than worker 0"),
        (f"{HERE}/on-first.npy --recipe plain", 2, "on-first.npy"),
        (f"{HERE}/few.npy --recipe plain", 2, "3 images"),
        ("digits --recipe plain --set train.batch_size=2", 3, "train.batch_size is 2; with 3 worker(s)"),
        ("digits --recipe plain --out images.npy", 2, "a file has that name"),
    ],
)
def test_error_of_workers_is_printed_once(arguments: str, workers: int, message: str, tmp_path: Path) -> None:
    write_arrays(tmp_path)
    started = time.monotonic()
    processes = infogan_workers(workers, "train", *arguments.split(), "--steps", "2", cwd=tmp_path / "RANK")
    assert time.monotonic() - started < 60  # no worker waited until its timeout
    assert [process.returncode for process in processes] == [2] * workers
    (line,) = errors("".join(process.stderr for process in processes))
    assert message in line
    assert not list(tmp_path.glob("*/runs/*/checkpoints"))


@pytest.mark.integration
@pytest.mark.parametrize("repetition", range(3))
@pytest.mark.parametrize("arguments", ["digits --seed $RANK", f"{HERE}/images.npy", f"{HERE}/few.npy"])
def test_refused_workers_end_with_2_under_torchrun(arguments: str, repetition: int, tmp_path: Path) -> None:
    """Neither the threads of a process group nor torchrun, once one worker has failed, end a worker otherwise."""
    write_arrays(tmp_path)
    command = f"cd {tmp_path}/$RANK && exec {sys.executable} -m infogan train {arguments} --recipe plain --steps 2"
    code, stderr = run_to_the_end(2, "--no-python", "sh", "-c", command)
    assert code == 1  # of torchrun
    assert re.findall(r"exitcode *: (-?\d+) ", stderr) == ["2", "2"], stderr
    assert len(errors(stderr)) == 1


@pytest.mark.integration
@pytest.mark.parametrize(
    "function",
    [
        "infogan.api.train_run.evaluate_run",
        pytest.param("infogan.training.loop.update_networks", marks=pytest.mark.slow),  # waits for a step in vain
    ],
)
def test_signal_ends_workers_in_every_phase(function: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    launcher = start(2, "-m", "tests.phases", function, "waits", "train", *SMALL, "--out", str(run), "--steps", "20")
    assert launcher.stderr is not None
    stderr = next(line for line in launcher.stderr if REACHED in line)
    launcher.send_signal(signal.SIGTERM)
    _, rest = launcher.communicate(timeout=60)
    assert "error: " not in stderr + rest
    assert [session["ended"] for session in RunFolder(run).read_environment()] == ["interrupted"]
    assert RunFolder(run).read_incidents() == []


@pytest.mark.integration
def test_workers_sample_and_evaluate_as_one_process_does(digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    evaluate = ["evaluate", str(run), "--metrics", "clusters,information,trust", "--json"]
    sample = ["sample", str(run), "--count", "70", "--out"]
    assert infogan(*sample, tmp_path / "1.npz").returncode == 0
    expected = infogan(*evaluate).stdout
    assert [process.returncode for process in infogan_workers(3, *sample, tmp_path / "3.npz")] == [0, 0, 0]
    single, several = (np.load(tmp_path / f"{workers}.npz") for workers in (1, 3))
    assert all(np.array_equal(single[name], several[name]) for name in single)
    before = RunFolder(run).read_metrics()
    processes = infogan_workers(3, *evaluate)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [process.stdout for process in processes] == [expected, "", ""]
    assert len(RunFolder(run).read_metrics()) == len(before) + 1
    code, stderr = run_to_the_end(
        2, "-m", "infogan", "sample", str(run), "--code", "category=x", "--out", str(tmp_path / "x")
    )
    assert code == 1
    (line,) = errors(stderr)
    assert "category" in line
