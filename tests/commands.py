"""Run ``infogan`` in tests: in this process (`invoke`), or in processes that start at once (`infogan`, `Command`).

Processes are forked from one that has imported what most commands import. Their arguments, folder, environment,
signals and exit codes are those of any process. Only the start of Python itself is left out; the tests of installed
packages and of the code blocks in the docs cover it.
"""

import contextlib
import io
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

from infogan.cli.app import run

FORKSERVER = get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    ["infogan.cli.app", "infogan.api.train_run", "torch._dynamo", "sklearn.decomposition"]
)
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
WIDE = {"COLUMNS": "200"}
TIMEOUT_S = 240.0


def invoke(*arguments: str | Path, cwd: Path | None = None) -> CompletedProcess[str]:
    """Run ``infogan`` with these arguments in this process; return its exit code and output."""
    command = [*map(str, arguments)]
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["infogan", *command]),
        mock.patch.dict(os.environ, WIDE),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        exit_code = run(command)
    return CompletedProcess(command, exit_code, stdout.getvalue(), stderr.getvalue())


class Command:
    """A process of ``infogan``, or of another module, that has been started; call `wait` at the end."""

    def __init__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        module: str = "infogan",
    ) -> None:
        self.command = [*map(str, arguments)]
        self._folder = TemporaryDirectory()
        self._outputs = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        for path in self._outputs:
            path.touch()
        environment = {**(os.environ if env is None else env), **WIDE, **ONE_THREAD}
        process_arguments = (module, self.command, str(cwd or Path.cwd()), environment, [*map(str, self._outputs)])
        self._process = FORKSERVER.Process(target=_run_module, args=process_arguments)
        with mock.patch.dict(os.environ, ONE_THREAD):  # so that the fork server has one thread
            self._process.start()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    @property
    def stdout(self) -> str:
        """The standard output so far."""
        return self._outputs[0].read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """The standard error so far."""
        return self._outputs[1].read_text(encoding="utf-8")

    def wait_for_output(self, text: str) -> None:
        """Wait until standard error contains a text, or the process ends."""
        limit = time.monotonic() + TIMEOUT_S
        while self.running and text not in self.stderr and time.monotonic() < limit:
            time.sleep(0.005)

    def signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self) -> CompletedProcess[str]:
        """Wait for the end; the exit code is -N if signal N ended the process."""
        self._process.join(TIMEOUT_S)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutExpired(self.command, TIMEOUT_S, self.stdout, self.stderr)
        with self._folder:
            return CompletedProcess(self.command, self._process.exitcode, self.stdout, self.stderr)

    def wait_for_bytes(self) -> CompletedProcess[bytes]:
        """Wait for the end like `wait`; return the output as bytes."""
        self._process.join(TIMEOUT_S)
        with self._folder:
            assert self._process.exitcode is not None
            return CompletedProcess(
                self.command, self._process.exitcode, *(path.read_bytes() for path in self._outputs)
            )


def infogan(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run ``infogan`` with these arguments in a process; return its exit code and output."""
    return Command(*arguments, cwd=cwd, env=env).wait()


def infogan_workers(
    workers: int, *arguments: str | Path, cwd: Path | None = None, module: str = "infogan"
) -> list[CompletedProcess[str]]:
    """Run a command on several workers, in the environment that torchrun would give them.

    RANK in a word or in the folder is replaced by the rank.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "none"}
    commands = []
    for rank in map(str, range(workers)):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(workers)}
        environment = {"INFOGAN_DIST_TIMEOUT": "60", **os.environ, **address, **ranks}
        folder, *command = [str(word).replace("RANK", rank) for word in (cwd or Path.cwd(), *arguments)]
        commands.append(Command(*command, cwd=Path(folder), env=environment, module=module))
    return [command.wait() for command in commands]


def _run_module(
    module: str, arguments: list[str], folder: str, environment: dict[str, str], outputs: list[str]
) -> None:
    """Be ``python -m MODULE`` in a new process."""
    for number, path in enumerate(outputs, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")
