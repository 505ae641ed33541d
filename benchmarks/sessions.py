"""Sessions of `infogan train` in separate processes, into which faults are injected.

Each process is forked from a server that has imported everything, so that a hundred sessions do not cost a hundred
imports. Apart from that, a process runs the command as a user does, from its arguments to its exit code.
"""

import contextlib
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
import torch

from infogan.training.checkpoint import latest_checkpoint_path
from infogan.training.run_dir import RunFolder

# A run that saves at every step, so that many faults occur while something is being written.
SMALL = ["--set", "networks.width=4", "--set", "train.batch_size=16", "--set", "train.sample_every=100000"]
OFTEN = ["--set", "train.save_every=1", "--set", "train.log_every=7"]
COMMAND = ["digits", "--recipe", "plain", *SMALL, *OFTEN]
TIMEOUT_S = 300.0  # a session that takes longer hangs

Fault = Callable[[], object]  # is called in the process before the command; an importable function, or a partial


@dataclass(frozen=True)
class SessionResult:
    """How a session ended.

    Attributes:
        code: Exit code, or minus the number of the signal that ended it.
        stderr: Standard error.
    """

    code: int
    stderr: str

    @property
    def refused(self) -> bool:
        """Whether it ended with one error message and without a traceback."""
        errors = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        return self.code == 2 and len(errors) == 1 and "Traceback" not in self.stderr

    @property
    def last_lines(self) -> str:
        """The last two lines of standard error."""
        return " ".join(self.stderr.splitlines()[-2:])[-300:]


def server() -> ForkServerContext:
    """Return the context that forks sessions, which compute on one thread."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    # Including late imports: if memory is short, libraries may wait forever while they are loaded.
    late_imports = ["sklearn.datasets", "sklearn.neighbors", "sklearn.metrics", "scipy.special", "scipy.optimize"]
    context.set_forkserver_preload(
        ["benchmarks.sessions", "infogan.cli.app", "infogan.api.train_run", "infogan.cli.terminal", *late_imports]
    )
    return context


@contextlib.contextmanager
def started_session(run: Path, command: list[str], fault: Fault | None = None) -> Iterator[tuple[BaseProcess, Path]]:
    """Start a session; yield its process, and the file that receives its standard error. Kill it at the end."""
    with TemporaryDirectory() as folder:
        stderr = Path(folder) / "stderr"
        stderr.touch()
        process = server().Process(target=_train, args=(["train", *command, "--out", str(run)], str(stderr), fault))
        process.start()
        try:
            yield process, stderr
        finally:
            process.kill()
            process.join()


def session(run: Path, command: list[str], fault: Fault | None = None) -> SessionResult:
    """Run a session to its end; a session that hangs is killed."""
    with started_session(run, command, fault) as (process, stderr):
        process.join(TIMEOUT_S)
        code = process.exitcode
        return SessionResult(-9 if code is None else code, stderr.read_text(errors="replace"))


def _train(arguments: list[str], stderr: str, fault: Fault | None) -> None:
    from infogan.cli import app

    sys.argv = ["infogan", *arguments]
    with open(stderr, "wb") as file:
        os.dup2(file.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if fault is not None:
        fault()
    app.main()


def progress(run: Path) -> int:
    """Return the number of steps of the latest checkpoint; 0 if there is none."""
    path = latest_checkpoint_path(RunFolder(run).checkpoints)
    return 0 if path is None else int(path.stem)


def wait_for(run: Path, step: int, process: BaseProcess) -> None:
    """Wait until there is a checkpoint of this step or a later one, or the session has ended."""
    while process.is_alive() and progress(run) < step:
        time.sleep(0.005)


def same(first: Path, second: Path) -> bool:
    """Return whether two runs ended with the same weights, averages and moments, bit for bit."""
    states = []
    for run in (first, second):
        path = latest_checkpoint_path(RunFolder(run).checkpoints)
        if path is None:
            return False
        states.append(safetensors.torch.load_file(path))
    return states[0].keys() == states[1].keys() and all(
        torch.equal(tensor, states[1][name]) for name, tensor in states[0].items()
    )


# Faults.


def nan_loss(name: str, step: int) -> None:
    """Make a loss NaN, from its ``step``-th value on."""
    from infogan.training.losses import LOSSES

    loss, count = LOSSES[name], 0

    def compute(forward: Any) -> Any:
        nonlocal count
        count += 1
        values = loss.compute(forward)
        return values * torch.nan if count >= step else values

    LOSSES[name] = replace(loss, compute=compute)


def wrong_clock(first: float, later: float, reads: int) -> None:
    """Set the clock wrong by ``first`` seconds, and by ``later`` seconds after it was read ``reads`` times."""
    real, local, form, count = time.time, time.localtime, time.strftime, 0

    def now() -> float:
        nonlocal count
        count += 1
        return real() + (first if count <= reads else later)

    time.time = now
    time.localtime = lambda seconds=None: local(now() if seconds is None else seconds)
    time.strftime = lambda text, moment=None: form(text, local(now()) if moment is None else moment)


def limit_memory(extra: int) -> None:
    """Limit the address space of the process to ``extra`` bytes above the present."""
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + extra, resource.RLIM_INFINITY))


def address_space() -> int:
    """Return the size of this process's address space in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
