"""Exit codes, error messages and help of the ``infogan`` program, and terminals that go away."""

import errno
import fcntl
import io
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path
from typing import NoReturn

import pytest

import infogan
from infogan.cli import app
from infogan.utils.errors import SilentError, UserError
from tests.commands import infogan as infogan_process
from tests.commands import invoke

COMMANDS = ["train", "sample", "traverse", "encode", "evaluate", "report", "compare", "sweep", "name", "explore",
            "export", "push", "info", "data"]  # fmt: skip


def test_help_lists_every_command() -> None:
    result = invoke("--help")
    assert result.returncode == 0
    assert all(f" {command} " in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, "data list", "data fetch", "data prepare"])
def test_every_command_has_help(command: str) -> None:
    result = invoke(*command.split(), "--help")
    assert result.returncode == 0
    assert f"infogan {command}" in result.stdout


def test_options_of_train_are_grouped_and_old_names_are_hidden() -> None:
    text = invoke("train", "--help").stdout
    for panel in ("Recipe", "Data", "Codes", "Length", "Output", "Hardware"):
        assert f"─ {panel} ─" in text
    for name in ("--recipe", "--augment", "--shape", "--images-seen"):
        assert f"{name} " in text
    for name in ("--preset", "--invariance", "--fit", "--images "):
        assert name not in text


def test_the_version_is_printed() -> None:
    result = invoke("--version")
    assert (result.returncode, result.stdout) == (0, f"{infogan.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["train", "mnits"], ["mnits", "mnist"]),
        (["train"], ["no images are named"]),
        (["train", "digits", "--recipe", "papr-mnist"], ["papr-mnist", "paper"]),
        (["train", "digits", "--set", "train.stps=3"], ["train.stps", "train.steps"]),
        (["train", "digits", "--set", "stages.3.updates.0.losses.adversarail=1"], ["adversarail", "adversarial"]),
        (["train", "digits", "--categorical", "1"], ["codes.0.size"]),
        (["train", "digits", "--categorical", "many"], ["many", "auto"]),
        (["train", "digits", "--categorical", "auto", "--recipe", "plain"], ["encoder"]),
        (["train", "digits", "--categorical", "auto", "--print-config"], ["number of categories"]),
        (["train", "digits", "--device", "quantum"], ["quantum"]),
        (["train", "digits", "--track", "neptune"], ["neptune", "mlflow"]),
        (["train", "digits", "--config", "none.toml"], ["none.toml"]),
        (["train", "digits", "--recipe", "paper-mnist", "--size", "30"], ["30", "multiple of 4"]),
        (["train", "digits", "--augment", "rotat"], ["rotat", "rotate"]),
        (["train", "digits", "--augment", "none"], ["--augment"]),
        (["train", "digits", "--budget", "soon"], ["soon", "5m"]),
        (["train", "digits", "--budget", "1s"], ["1 s"]),
        (["train", "digits", "--budget", "5m", "--steps", "3"], ["--budget", "--steps"]),
        (["sample", "nowhere"], ["nowhere"]),
        (["sample", "nowhere", "--seeds", "5-2"], ["5-2"]),
        (["evaluate", "nowhere"], ["nowhere", "not a run folder"]),
        (["data", "fetch", "mnits"], ["mnits", "mnist"]),
        (["sample"], ["RUN"]),
        (["trian"], ["trian"]),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(tmp_path: Path, arguments: list[str], names: list[str]) -> None:
    result = invoke(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    for name in names:
        assert name in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (UserError("no such file"), 2, "error: no such file\n"),
        (SilentError("reported by rank 0"), 2, ""),
        (MemoryError(), 2, "not enough memory"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(143), 143, ""),
        (SystemExit(), 0, ""),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException,
    exit_code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(app, "app", fail)
    assert app.run(["info"]) == exit_code
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == bool(message)
    assert output.out == ""


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> NoReturn:
        raise RuntimeError("a bug")

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        app.run(["info"])


def test_a_process_ends_with_the_exit_code(tmp_path: Path) -> None:
    result = infogan_process("info", tmp_path / "missing")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert infogan_process("data", "list").returncode == 0


def test_output_to_a_closed_pipe_is_not_an_error() -> None:
    command = [sys.executable, "-m", "infogan", "data", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # before anything is printed
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


# Terminals and readers that go away.


class Broken(io.StringIO):
    """A stream that fails from its second write on."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        if self.getvalue():
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)

    def flush(self) -> None:
        self.write("")


@pytest.mark.parametrize(
    ("number", "is_result"),
    [(errno.EIO, True), (errno.EIO, False), (errno.EPIPE, False), (errno.ENOSPC, False)],
)
def test_what_cannot_be_written_is_dropped(number: int, is_result: bool) -> None:
    broken = Broken(number)
    stream = app.Output(broken, is_result=is_result)
    for text in ("first", "second"):
        assert stream.write(text) == len(text)
        stream.flush()
    assert broken.getvalue() == "first"
    assert not stream.isatty()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_results_that_cannot_be_written_are_an_error() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "infogan", "data", "list"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert result.stderr == "error: cannot write to standard output: No space left on device\n"


def train_in_terminal(folder: Path, steps: int, small: list[str], *, controlling: bool) -> int:
    """Train in a terminal that goes away when the run has begun; return the exit code.

    A process learns only of the end of its controlling terminal, by SIGHUP.
    """

    def take_control() -> None:
        if controlling:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "infogan", "train", "digits", "--recipe", "plain", "--out", "run", *small]
    with subprocess.Popen(
        [*command, "--steps", str(steps), "--set", "train.log_every=5"],
        cwd=folder, stdin=follower, stdout=follower, stderr=follower, preexec_fn=take_control, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(follower)
        shown = b""
        while b"images of 8x8" not in shown:
            shown += os.read(leader, 1000)
        os.close(leader)
        return process.wait(120)


def test_a_run_does_not_need_its_terminal(small: list[str], tmp_path: Path) -> None:
    assert train_in_terminal(tmp_path, 20, small, controlling=False) == 0
    assert (tmp_path / "run" / "report.html").is_file()
    assert not (tmp_path / "run" / "incidents.jsonl").exists()


@pytest.mark.integration
def test_a_run_stops_with_its_controlling_terminal(small: list[str], tmp_path: Path) -> None:
    assert train_in_terminal(tmp_path, 1_000_000, small, controlling=True) == 129  # SIGHUP
    assert not (tmp_path / "run" / "incidents.jsonl").exists()


@pytest.mark.integration
def test_a_run_does_not_need_a_reader_of_its_messages(small: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infogan", "train", "digits", "--recipe", "plain", "--out", "run", *small]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(120) == 0
    assert (tmp_path / "run" / "report.html").is_file()
