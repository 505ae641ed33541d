"""Sessions of `infogan train` in processes of their own that begin at once, to be struck by faults.

Each is a process that the system forks from a server which has imported everything, so that a hundred of them cost a
hundred trainings and not a hundred imports. What happens in it is the command as users give it, from its arguments to
its exit code.
"""

import contextlib
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
import torch

from infogan.training.run_dir import RunFolder

# A run that saves at every step, so that much of what strikes it comes while something is being written.
SMALL = ["--set", "networks.width=4", "--set", "train.batch_size=16", "--set", "train.sample_every=100000"]
OFTEN = ["--set", "train.save_every=1", "--set", "train.log_every=7"]
COMMAND = ["digits", "--recipe", "plain", *SMALL, *OFTEN]
PATIENCE = 300.0  # seconds; a session that takes longer hangs

Fault = Callable[[], object]  # done in the process before the command; a function that can be imported, or a partial


@dataclass(frozen=True)
class Ended:
    """How a session ended.

    Attributes:
        code: Exit code; minus a signal's number.
        said: What it wrote to its standard error.
    """

    code: int
    said: str

    @property
    def refused(self) -> bool:
        """Whether it ended in one sentence, and without a traceback."""
        errors = [line for line in self.said.splitlines() if line.startswith("error: ")]
        return self.code == 2 and len(errors) == 1 and "Traceback" not in self.said


def server() -> ForkServerContext:
    """What forks the sessions. They compute on one thread."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    # With what is imported late as well: where memory is short, libraries may wait for ever while they are loaded.
    late = ["sklearn.datasets", "sklearn.neighbors", "sklearn.metrics", "scipy.special", "scipy.optimize"]
    context.set_forkserver_preload(
        ["benchmarks.sessions", "infogan.cli.app", "infogan.api.train_run", "infogan.cli.terminal", *late]
    )
    return context


@contextlib.contextmanager
def begun(run: Path, command: list[str], fault: Fault | None = None) -> Iterator[tuple[BaseProcess, Path]]:
    """Begins a session; yields its process, and the file that its standard error goes to."""
    with TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        said.touch()
        process = server().Process(target=_train, args=(["train", *command, "--out", str(run)], str(said), fault))
        process.start()
        try:
            yield process, said
        finally:
            process.kill()
            process.join()


def session(run: Path, command: list[str], fault: Fault | None = None) -> Ended:
    """A session to its end; one that hangs is killed."""
    with begun(run, command, fault) as (process, said):
        process.join(PATIENCE)
        code = process.exitcode
        return Ended(-9 if code is None else code, said.read_text(errors="replace"))


def _train(words: list[str], said: str, fault: Fault | None) -> None:
    from infogan.cli import app

    sys.argv = ["infogan", *words]
    with open(said, "wb") as file:
        os.dup2(file.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if fault is not None:
        fault()
    app.main()


def progress(run: Path) -> int:
    """Steps of the newest checkpoint; 0 where there is none."""
    last = RunFolder(run).last_checkpoint()
    return 0 if last is None else int(last.stem)


def wait_for(run: Path, step: int, process: BaseProcess) -> None:
    """Until a checkpoint of this step or a later one is there, or the session has ended."""
    while process.is_alive() and progress(run) < step:
        time.sleep(0.005)


def same(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, averages and moments, bit for bit."""
    states = []
    for run in (one, other):
        path = RunFolder(run).last_checkpoint()
        if path is None:
            return False
        states.append(safetensors.torch.load_file(path))
    return states[0].keys() == states[1].keys() and all(
        torch.equal(tensor, states[1][name]) for name, tensor in states[0].items()
    )


# Faults.


def no_number(term: str, step: int) -> None:
    """From its ``step``-th value on, a term of the loss is no number."""
    from infogan.training.losses.terms import LOSSES, Loss

    known, count = LOSSES[term], 0

    def compute(seen: Any) -> Any:
        nonlocal count
        count += 1
        values = known.compute(seen)
        return values * torch.nan if count >= step else values

    LOSSES[term] = Loss(compute, known.over)


def clock(first: float, later: float, after: int) -> None:
    """The clock is off by ``first`` seconds, and by ``later`` once it was looked at so many times."""
    real, local, form, looked = time.time, time.localtime, time.strftime, 0

    def now() -> float:
        nonlocal looked
        looked += 1
        return real() + (first if looked <= after else later)

    time.time = now
    time.localtime = lambda seconds=None: local(now() if seconds is None else seconds)
    time.strftime = lambda text, moment=None: form(text, local(now()) if moment is None else moment)


def little_memory(more: int) -> None:
    """The process may ask for so many bytes more than it has."""
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + more, resource.RLIM_INFINITY))


def address_space() -> int:
    """Bytes of it that this process has taken."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
