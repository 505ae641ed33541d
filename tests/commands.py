"""Commands in processes of their own that begin at once: forked from one that has imported what most of them import.

Such a process has its arguments, folder and environment, is signalled and ends as any other. Only how Python begins is
left out, which the tests of installed packages and of copied blocks go through.
"""

import os
import runpy
import socket
import sys
import time
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from tempfile import TemporaryDirectory
from unittest import mock

FORKED = get_context("forkserver")
FORKED.set_forkserver_preload(["infogan.cli.app", "infogan.api.train_run", "torch._dynamo", "sklearn.decomposition"])
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
PATIENCE = 240.0  # seconds


class Command:
    """``infogan``, or another module's program, with some arguments, begun. It is to be waited for."""

    def __init__(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        module: str = "infogan",
    ) -> None:
        self.words = [*map(str, words)]
        self._folder = TemporaryDirectory()
        self._said = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        for path in self._said:
            path.touch()
        environment = {**(os.environ if env is None else env), "COLUMNS": "200", **ONE_THREAD}
        given = (module, self.words, str(cwd or Path.cwd()), environment, [*map(str, self._said)])
        self._process = FORKED.Process(target=_run, args=given)
        with mock.patch.dict(os.environ, ONE_THREAD):  # so that what is forked has no other threads
            self._process.start()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    @property
    def stdout(self) -> str:
        """What it has said until now."""
        return self._said[0].read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What it has said until now on standard error."""
        return self._said[1].read_text(encoding="utf-8")

    def until(self, said: str) -> None:
        """Waits until it has said this on standard error, or has ended."""
        limit = time.monotonic() + PATIENCE
        while self.running and said not in self.stderr and time.monotonic() < limit:
            time.sleep(0.005)

    def signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def ended(self) -> CompletedProcess[str]:
        """Waits for its end; the return code is -N where signal N ended it."""
        self._process.join(PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutExpired(self.words, PATIENCE, self.stdout, self.stderr)
        with self._folder:
            return CompletedProcess(self.words, self._process.exitcode, self.stdout, self.stderr)


def infogan(*words: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """What ``infogan`` with these arguments said, and its exit code."""
    return Command(*words, cwd=cwd, env=env).ended()


def infogan_of(
    workers: int, *words: str | Path, cwd: Path | None = None, module: str = "infogan"
) -> list[CompletedProcess[str]]:
    """The same of several workers, in the environments that torchrun would give them.

    Where a word or the folder says RANK, each has its own number in its place.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "none"}
    begun = []
    for rank in map(str, range(workers)):
        told = {**os.environ, **place, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(workers)}
        folder, *given = [str(word).replace("RANK", rank) for word in (cwd or Path.cwd(), *words)]
        begun.append(Command(*given, cwd=Path(folder), env={"INFOGAN_PATIENCE": "60", **told}, module=module))
    return [command.ended() for command in begun]


def _run(module: str, words: list[str], folder: str, environment: dict[str, str], said: list[str]) -> None:
    """Is ``python -m`` with a module, in a new process."""
    for number, path in enumerate(said, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__")
