"""Progress on a terminal and in a file."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from infogan.api import progress
from infogan.api.progress import TrainingDisplay, format_seconds, show_progress
from infogan.training.callbacks import LogRecord
from infogan.training.run_dir import RunFolder
from infogan.training.time_budget import Timing
from tests.helpers import small_config


def output_of(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None], *, is_terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120, highlight=False, soft_wrap=True)
    monkeypatch.setattr(progress, "ERR", console)
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


def test_time_left_counts_the_stages_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config("train.steps=4")
    (stage,) = config.stages
    config = config.model_copy(update={"stages": (stage, stage)})  # two steps each
    now = [100.0]
    monkeypatch.setattr("infogan.api.progress.time.monotonic", lambda: now[0])
    left = []
    for timing in (Timing(0.0, (1.0, 3.0)), None):
        display = TrainingDisplay(timing)
        display.on_train_begin(RunFolder(Path("run")), config, 1)  # resumed after the first step
        now[0] += 2.0  # which is twice as slow as an idle machine
        display.on_step_end(2)
        left.append(display._bar.tasks[0].fields["left"])
    assert left == ["12 s", "4 s"]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (101, "1.7 min"), (7200, "2.0 h")])
def test_times_are_short(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
