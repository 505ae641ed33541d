"""A signal ends every command within two seconds, in every phase, and the same command then does what is missing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from PIL import Image

from infogan.training.run_dir import LOCK, RunFolder
from infogan.utils.files import TEMPORARY_NAME, is_locked
from tests.commands import ONE_THREAD, Command, infogan
from tests.phases import REACHED

LIMIT_S = 2.0
OVERHEAD_S = 1.0  # of a busy machine
SWEPT = ["--", "--recipe", "plain", "--steps", "2", "--set", "networks.width=4"]
PLAIN = ["train", "digits", "--recipe", "plain", "--out", "run"]


def end(command: Command, number: int) -> CompletedProcess[str]:
    """Send a signal to a command and check how it ends."""
    assert command.running, command.stderr
    sent = time.monotonic()
    command.signal(number)
    result = command.wait()
    assert time.monotonic() - sent < LIMIT_S + OVERHEAD_S
    assert result.returncode == 128 + number, result.stderr
    assert "Traceback" not in result.stderr
    assert "error" not in result.stderr
    return result


def end_in_phase(
    function: str, how: str, *arguments: str | Path, cwd: Path, number: int = signal.SIGTERM
) -> CompletedProcess[str]:
    """Send a signal to a command that is in a phase; check how it ends, and that it leaves no temporary files."""
    scratch = cwd / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch), "TORCHINDUCTOR_CACHE_DIR": str(cwd.parent)}
    command = Command(function, how, *arguments, cwd=cwd, env=environment, module="tests.phases")
    command.wait_for_output(REACHED)
    result = end(command, number)
    assert REACHED in result.stderr
    assert not list(scratch.iterdir())
    scratch.rmdir()
    assert not temporary_files(cwd)
    return result


def temporary_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if TEMPORARY_NAME.fullmatch(path.name)]


def ends_of(run: RunFolder) -> list[str]:
    return [session["ended"] for session in run.read_environment()]


def integration(*case: Any) -> Any:
    return pytest.param(*case, marks=pytest.mark.integration)


# Training.


@pytest.mark.parametrize(
    ("function", "how", "number"),
    [
        ("infogan.training.loop.run_stage_hooks", "waits", signal.SIGINT),
        ("infogan.api.train_run.evaluate_run", "computes", signal.SIGTERM),
        integration("infogan.training.loop.run_stage_hooks", "computes", signal.SIGTERM),
        integration("infogan.training.loop.update_networks", "waits", signal.SIGTERM),
        integration("infogan.training.loop.update_networks", "computes", signal.SIGINT),
        integration("infogan.training.checkpoint.CheckpointManager.save", "waits", signal.SIGTERM),
        integration("infogan.api.train_run.SampleGrids.on_sample", "waits", signal.SIGTERM),
        integration("infogan.api.train_run.evaluate_run", "waits", signal.SIGINT),
        integration("infogan.api.train_run.write_report", "waits", signal.SIGTERM),
    ],
)
def test_training_ends_in_every_phase_and_resumes(
    function: str, how: str, number: int, small: list[str], tmp_path: Path
) -> None:
    command = ["train", "digits", "--out", "run", *small]
    end_in_phase(function, how, *command, cwd=tmp_path, number=number)
    run = RunFolder(tmp_path / "run")
    assert ends_of(run) == ["interrupted"]
    assert infogan(*command, cwd=tmp_path).returncode == 0
    assert ends_of(run) == ["interrupted", "finished"]
    assert run.read_incidents() == []
    assert run.read_metrics()
    assert run.report.is_file()


@pytest.mark.parametrize(
    ("function", "how", "arguments"),
    [
        ("infogan.api.train_run.load", "waits", []),
        ("infogan.training.time_budget.train", "computes", ["--budget", "20m"]),  # in a temporary folder
        integration("infogan.data.download.fetch_missing", "waits", ["--set", "data.source=svhn"]),
        integration("infogan.training.first_stage.train", "waits", ["--categorical", "auto"]),
        integration("infogan.training.first_stage.train", "computes", ["--categorical", "auto"]),
        integration("infogan.training.time_budget.train", "waits", ["--budget", "20m"]),
    ],
)
def test_nothing_is_left_of_a_run_that_has_not_begun(
    function: str, how: str, arguments: list[str], tmp_path: Path
) -> None:
    end_in_phase(function, how, "train", "digits", *arguments, cwd=tmp_path, number=signal.SIGINT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, integration(signal.SIGTERM), integration(signal.SIGHUP)])
def test_training_makes_a_checkpoint_if_there_is_time(number: int, small: list[str], tmp_path: Path) -> None:
    command = Command(*PLAIN, *small, "--steps", "100000", "--set", "train.log_every=5", cwd=tmp_path)
    command.wait_for_output("step ")
    result = end(command, number)
    ((end_of_session, *_), run) = ends_of(RunFolder(tmp_path / "run")), tmp_path / "run"
    step = int(end_of_session.removeprefix("interrupted after step "))
    assert f"stopped after step {step} of 100000" in result.stderr
    assert (run / "checkpoints" / f"{step:08d}.safetensors").is_file()
    assert RunFolder(run).read_incidents() == []


# Other commands.


@pytest.mark.parametrize(
    ("function", "how", "arguments"),
    [
        ("infogan.models.infogan.InfoGAN.encode", "waits", ["encode", "RUN", "digits"]),
        ("infogan.api.evaluate_run.evaluate_run", "waits", ["evaluate", "RUN"]),
        ("infogan.api.evaluate_run.write_report", "waits", ["report", "RUN", "--out", "report.html"]),
        ("numpy.savez_compressed", "computes", ["data", "prepare", "digits", "digits.npz"]),  # has a temporary file
        integration("os.fsync", "waits", ["sample", "RUN", "--out", "samples.npz"]),
        integration("os.fsync", "computes", ["sample", "RUN", "--out", "samples.npz"]),
        integration("numpy.savez_compressed", "waits", ["data", "prepare", "digits", "digits.npz"]),
        integration("infogan.data.download.fetch_missing", "waits", ["data", "fetch", "svhn"]),
        integration("infogan.models.infogan.InfoGAN.sheet", "waits", ["traverse", "RUN"]),
        integration("infogan.models.export.export", "waits", ["export", "RUN", "--format", "pt2", "--out", "pt2"]),
        integration("infogan.models.hub.upload", "computes", ["push", "RUN", "user/name"]),
        integration("infogan.explorer.server.load_explorer", "waits", ["explore", "RUN"]),
        integration("infogan.api.sweep.choose", "waits", ["sweep", "digits", "--seeds", "0", "--out", "sweep", *SWEPT]),
    ],
)
def test_other_commands_end(function: str, how: str, arguments: list[str], run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "RUN")
    names = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    end_in_phase(function, how, *arguments, cwd=tmp_path, number=signal.SIGINT)
    new = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} - names
    assert not [path for path in new if path.parts[0] not in ("sweep", "traversals", ".codes.csv.parts")]


def test_encoding_resumes(run: Path, tmp_path: Path) -> None:
    end_in_phase("infogan.api.encode.atomic_write", "waits", "encode", run, "digits", cwd=tmp_path)
    assert infogan("encode", run, "digits", cwd=tmp_path).returncode == 0
    assert len((tmp_path / "codes.csv").read_text().splitlines()) == 1438


@pytest.fixture(scope="module")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images for two shards of the largest size, which take seconds to be decoded."""
    folder = tmp_path_factory.mktemp("many")
    Image.effect_noise((600, 600), 50).convert("RGB").save(folder / "0.png", compress_level=1)
    for number in range(1, 700):
        os.link(folder / "0.png", folder / f"{number}.png")
    return folder


@pytest.fixture
def preparing(many_images: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A command, not forked as those of `Command` are, of which two processes write shards; and these processes."""
    options = ["--size", "128", "--channels", "3", "--workers", "2"]
    command = [sys.executable, "-m", "infogan", "data", "prepare", str(many_images), "shards", *options]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        workers: list[int] = []
        limit = time.monotonic() + 60
        while len(workers) < 2 and process.poll() is None and time.monotonic() < limit:
            # Python starts a process of its own beside them.
            children = ["pgrep", "-P", str(process.pid), "-f", "spawn_main"]
            found = subprocess.run(children, capture_output=True, text=True)
            workers = [int(number) for number in found.stdout.split()]
        assert len(workers) == 2
        time.sleep(4)  # until both decode images
        yield process, workers
        process.kill()


def wait_for_end(processes: list[int]) -> None:
    limit = time.monotonic() + LIMIT_S + OVERHEAD_S
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, integration(signal.SIGTERM), integration(signal.SIGHUP)])
def test_processes_that_write_shards_end_with_the_command(
    preparing: tuple[subprocess.Popen[str], list[int]], number: int, tmp_path: Path
) -> None:
    process, workers = preparing
    process.send_signal(number)
    _, stderr = process.communicate(timeout=LIMIT_S + OVERHEAD_S)
    assert process.returncode == 128 + number
    assert "Traceback" not in stderr
    wait_for_end(workers)
    assert {path.name for path in (tmp_path / "shards").iterdir()} == {"plan.json", "writer.json"}


@pytest.mark.integration
def test_processes_that_write_shards_end_when_the_command_is_killed(
    preparing: tuple[subprocess.Popen[str], list[int]], many_images: Path, tmp_path: Path
) -> None:
    process, workers = preparing
    process.kill()
    wait_for_end(workers)  # with the lock of the folder
    (tmp_path / "shards" / ".train-00000.npy.abcdefgh.npy").touch()  # as a killed process leaves it
    result = infogan(*process.args[3:], cwd=tmp_path)  # type: ignore[index]
    assert result.returncode == 0, result.stderr
    assert not temporary_files(tmp_path)
    assert (tmp_path / "shards" / "index.json").is_file()


@pytest.mark.integration
def test_a_killed_process_is_reported(preparing: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, workers = preparing
    os.kill(workers[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert "worker process" in line and "--workers" in line
    wait_for_end(workers)


@pytest.mark.integration
def test_the_runs_of_a_sweep_end_with_it(small: list[str], tmp_path: Path) -> None:
    arguments = ["sweep", "digits", "--seeds", "0-2", "--jobs", "2", "--out", "sweep", "--"]
    arguments += ["--recipe", "plain", *small, "--steps", "1000000", "--set", "train.log_every=5"]
    command, logs = Command(*arguments, cwd=tmp_path), tmp_path / "sweep" / "logs"
    limit = time.monotonic() + 60
    while sum("step " in log.read_text() for log in logs.glob("*.txt")) < 2 and time.monotonic() < limit:
        time.sleep(0.05)
    assert "stopped after 0 of 3 runs" in end(command, signal.SIGINT).stderr
    for number in range(2):
        run = RunFolder(tmp_path / "sweep" / f"seed-{number}")
        assert not is_locked(run.path / LOCK)
        assert ends_of(run)[0].startswith("interrupted after step ")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 128 + signal.SIGTERM)]
)
def test_the_explorer_ends(number: int, exit_code: int, run: Path, tmp_path: Path) -> None:
    command = Command("explore", run, cwd=tmp_path)
    limit = time.monotonic() + 60
    while "http" not in command.stdout and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(0.5)  # until it serves
    sent = time.monotonic()
    command.signal(number)
    result = command.wait()
    assert time.monotonic() - sent < LIMIT_S + OVERHEAD_S
    assert (result.returncode, result.stderr) == (exit_code, "")


# Signals that are ignored.


@pytest.mark.integration
def test_signals_that_are_ignored_at_the_start_stay_ignored(small: list[str], tmp_path: Path) -> None:
    def ignore() -> None:  # as `nohup command &` does in a script
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    command = [sys.executable, "-m", "infogan", *PLAIN, *small, "--steps", "1000000", "--set", "train.log_every=5"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log, env={**os.environ, **ONE_THREAD}, preexec_fn=ignore
        )
    steps = 0
    for _ in range(3):
        limit, before = time.monotonic() + 60, steps
        while steps == before and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)
            steps = (tmp_path / "log").read_text().count("step ")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
    assert steps > 0
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S + OVERHEAD_S) == 143


# Signals without memory for the thread that watches them.


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits the address space")
def test_a_command_starts_without_memory_for_the_watching_thread() -> None:
    program = """
import os, resource, signal
from infogan.cli import signals

size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
signals.install()
os.kill(os.getpid(), signal.SIGTERM)
"""
    result = subprocess.run([sys.executable, "-c", program], timeout=30, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (143, "")
