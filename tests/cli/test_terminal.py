"""Signals while a run trains, and the command that resumes it."""

import signal
import sys
from pathlib import Path

import pytest

from infogan.cli import signals
from infogan.cli.terminal import Signals, resume_command
from infogan.training.run_dir import RunFolder
from tests.helpers import small_config


def test_the_first_signal_requests_a_stop_and_the_second_exits() -> None:
    received = Signals()
    handler = signal.getsignal(signal.SIGTERM)
    with received.catch():
        assert not received.stop_requested()
        signal.raise_signal(signal.SIGINT)
        assert received.stop_requested()
        with pytest.raises(SystemExit) as end:
            signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 143
    assert received.received == signal.SIGINT
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_second_signal_is_ignored_under_torchrun_until_the_first_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    received = Signals(exit_on_second=False)
    with received.catch():
        assert signals.WATCH.patience == signals.WORKER_PATIENCE_S < 30  # which torchrun waits
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert received.received == signal.SIGINT
        monkeypatch.setattr(signals.WATCH, "overdue", True)
        with pytest.raises(SystemExit, match="143"):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # would interrupt what ends
    assert signals.WATCH.patience == signals.PATIENCE_S


def test_signals_end_the_process_at_once_when_there_is_no_step_to_finish(tmp_path: Path) -> None:
    config, run = small_config("train.steps=3"), RunFolder(tmp_path)
    for first in (0, 3):  # a new run, and a trained one
        received = Signals()
        with received.catch():
            received.on_train_begin(run, config, first)
            for step in range(first + 1, 4):
                received.on_step_end(step)
            with pytest.raises(SystemExit, match="130"):
                signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)  # while it ends


@pytest.mark.parametrize("step", [2, 3])
def test_a_signal_during_the_last_step_is_not_lost(step: int, tmp_path: Path) -> None:
    received = Signals()
    with received.catch():
        received.on_train_begin(RunFolder(tmp_path), small_config("train.steps=3"), 2)
        signal.raise_signal(signal.SIGTERM)
        if step == 2:
            received.on_step_end(step)
            assert received.stop_requested()
        else:
            with pytest.raises(SystemExit, match="143"):
                received.on_step_end(step)


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        received = Signals()
        with received.catch():
            signal.raise_signal(signal.SIGHUP)
            assert not received.stop_requested()
            signal.raise_signal(signal.SIGINT)
            assert received.stop_requested()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_end_of_a_run_is_recorded_before_the_process_is_ended(tmp_path: Path) -> None:
    config, run, received = small_config("train.steps=3"), RunFolder.at(tmp_path / "run"), Signals()
    run.begin(config, "a digest")
    received.on_train_begin(run, config, 0)
    signals.WATCH.last_action()
    assert run.read_environment()[-1]["ended"] == "interrupted"
    run.end("finished")
    received.on_train_end("finished")
    signals.WATCH.last_action()
    assert run.read_environment()[-1]["ended"] == "finished"


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
