"""Progress on a terminal and in a file, and signals."""

import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from infogan.cli import terminal
from infogan.cli.terminal import Signals, TrainingDisplay, resume_command, show_progress
from infogan.training.callbacks import LogRecord
from infogan.training.run_dir import RunFolder
from tests.helpers import small_config


def output_of(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None], *, is_terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120, highlight=False, soft_wrap=True)
    monkeypatch.setattr(terminal, "ERR", console)
    action()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def show_training() -> None:
    with TrainingDisplay() as display:
        display.on_train_begin(RunFolder(Path("run")), small_config("train.steps=20"), 0)
        for step in range(1, 11):
            display.on_step_end(step)
        display.on_log(LogRecord(10, {"step": 10, "information/category": 1.5}))


def test_training_is_a_line_per_record_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = output_of(monkeypatch, show_training, is_terminal=False).splitlines()
    assert line.startswith("step 10/20 ")
    assert line.endswith("information in nats: category 1.50/2.30")


def test_training_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = output_of(monkeypatch, show_training, is_terminal=True)
    assert "step 10/20" in text
    assert "images/s" in text
    assert "━" in text


@pytest.mark.parametrize("is_terminal", [False, True])
def test_downloads_are_shown(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    def download() -> None:
        with show_progress() as progress:
            for size in (0, 50, 100):
                progress("mnist", size, 100)

    text = output_of(monkeypatch, download, is_terminal=is_terminal)
    assert "mnist" in text
    if not is_terminal:
        assert text == "mnist\n"


def test_the_first_signal_requests_a_stop_and_the_second_exits() -> None:
    signals = Signals()
    handler = signal.getsignal(signal.SIGTERM)
    with signals.catch():
        assert not signals.stop_requested()
        signal.raise_signal(signal.SIGINT)
        assert signals.stop_requested()
        with pytest.raises(SystemExit) as end:
            signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 143
    assert signals.received == signal.SIGINT
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_second_signal_is_ignored_under_torchrun() -> None:
    signals = Signals(exit_on_second=False)
    with signals.catch():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signals.received == signal.SIGINT


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["train", "my digits"], "infogan train 'my digits' --out run"),
        (["train", "digits", "--out=other"], "infogan train digits --out=other"),
        (["sweep", "digits", "--", "--size", "8"], "infogan sweep digits --out run -- --size 8"),
    ],
)
def test_the_resume_command_names_the_folder(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], command: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["__main__.py", *arguments])
    assert resume_command(Path("run")) == command
