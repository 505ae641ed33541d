"""The protocol of trackers: what they receive, and that their errors do not end a run.

What TensorBoard, Weights & Biases and MLflow store is tested in `test_tracker_libraries`.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infogan.api.train_run import train_run
from infogan.cli.sweep import check_arguments
from infogan.config.schema import Config
from infogan.training.callbacks import EncodedSample, Figures, Interrupted, LogRecord, Status
from infogan.training.run_dir import RunFolder
from infogan.training.trackers import TRACKERS, Tracker, make_trackers, numbers_of
from infogan.utils import distributed
from infogan.utils.errors import UserError
from tests.api.test_train_run import incidents, plan_with_test_split
from tests.commands import ONE_THREAD
from tests.helpers import Hooks, small_config


class RecordingTracker(Tracker):
    """Records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        self.calls.append(("begin", run.path.name, config.train.steps, step))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append(("scalars", step, dict(values)))

    def images(self, step: int, images: Figures) -> None:
        self.calls.append(("images", step, list(images)))

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        self.calls.append(("evaluation", step, result))

    def codes(self, step: int, codes: EncodedSample) -> None:
        self.calls.append(("codes", step, codes))

    def end(self, status: Status) -> None:
        self.calls.append(("end", status))

    @property
    def methods(self) -> list[str]:
        return [call[0] for call in self.calls]


def test_tracker_receives_what_the_run_folder_holds(tmp_path: Path) -> None:
    planned, run, first = plan_with_test_split(tmp_path), RunFolder.at(tmp_path / "run"), RecordingTracker()
    with pytest.raises(Interrupted):
        train_run(planned, run, callbacks=[first, Hooks(stop=lambda: len(first.calls) == 4)])
    resumed = RecordingTracker()
    train_run(planned, run, trackers=[resumed])  # the name of version 0.1
    assert [call[:2] for call in first.calls] == [
        ("begin", "run"), ("scalars", 2), ("scalars", 4), ("images", 4), ("scalars", 5), ("end", "interrupted")
    ]  # fmt: skip
    assert [call[:2] for call in resumed.calls] == [
        ("begin", "run"), ("scalars", 6), ("images", 6), ("evaluation", 6), ("codes", 6), ("end", "finished")
    ]  # fmt: skip
    assert first.calls[0][2:] == (6, 0)
    assert resumed.calls[0][2:] == (6, 5)
    for _, step, values in (call for call in first.calls + resumed.calls if call[0] == "scalars"):
        assert {"step": step, "stage": "gan", **values} in run.read_stats()
    assert first.calls[3][2] == ["samples", "traversals/category", "traversals/knob1", "traversals/knob2"]
    assert json.loads(json.dumps({"step": 6, **resumed.calls[3][2]})) == json.loads(run.metrics.read_text())


def fail(*_: Any) -> None:
    raise ConnectionError("the line is dead\nand so on")


@pytest.mark.parametrize("method", ["scalars", "images", "evaluation", "codes", "end"])
def test_tracker_that_fails_is_not_called_again_and_others_are(tmp_path: Path, method: str) -> None:
    run = RunFolder.at(tmp_path)
    failing, other = RecordingTracker(), RecordingTracker()
    setattr(failing, method, fail)
    for tracker in (failing, other):
        tracker.on_train_begin(run, small_config(), 0)
        for step in (2, 4):
            tracker.on_log(LogRecord(step, {"step": step, "a/b": 0.5}))
            tracker.on_figures(step, {})
        tracker.on_evaluation(4, {})
        tracker.on_encoded(4, None)  # type: ignore[arg-type]
        tracker.on_train_end("finished")
    order = ["begin", "scalars", "images", "scalars", "images", "evaluation", "codes", "end"]
    assert other.methods == order
    assert failing.methods == order[: order.index(method)]
    (sentence,) = incidents(run)
    assert "RecordingTracker" in sentence
    assert sentence.endswith("the line is dead")
    assert (run.path / "log.txt").read_text().count("the line is dead") == 1


def test_run_finishes_although_a_tracker_fails(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path / "run")
    failing, other = RecordingTracker(), RecordingTracker()
    setattr(failing, "scalars", fail)  # noqa: B010
    train_run(plan_with_test_split(tmp_path), run, callbacks=[failing, other])
    assert len(incidents(run)) == 1
    assert failing.methods == ["begin"]
    assert other.methods[-1] == "end"
    assert run.read_environment()[-1]["ended"] == "finished"


def test_tracker_that_failed_is_called_again_in_the_next_session(tmp_path: Path) -> None:
    run, tracker = RunFolder.at(tmp_path), RecordingTracker()
    setattr(tracker, "images", fail)  # noqa: B010
    for step in (0, 2):
        tracker.on_train_begin(run, small_config(), step)
        tracker.on_figures(step, {})
        tracker.on_log(LogRecord(step, {}))
    del tracker.images
    tracker.on_train_begin(run, small_config(), 4)
    tracker.on_log(LogRecord(6, {}))
    assert tracker.methods == ["begin", "begin", "begin", "scalars"]


def test_tracker_that_cannot_start_ends_the_run_before_its_first_step(tmp_path: Path) -> None:
    class NotLoggedIn(Tracker):
        def begin(self, *_: Any) -> None:
            raise PermissionError("no key")

    tracker, run, steps = RecordingTracker(), RunFolder.at(tmp_path / "run"), list[int]()
    callbacks = [Hooks(on_step=steps.append), tracker, NotLoggedIn()]
    with pytest.raises(UserError, match="NotLoggedIn cannot start: no key"):
        train_run(plan_with_test_split(tmp_path), run, callbacks=callbacks)
    assert steps == []
    assert not run.stats.exists()
    assert tracker.calls == [("begin", "run", 6, 0), ("end", "failed")]
    assert "no key" in run.read_environment()[-1]["ended"]


def test_tracker_that_did_not_start_is_not_called(tmp_path: Path) -> None:
    tracker = RecordingTracker()
    tracker.on_log(LogRecord(2, {}))
    tracker.on_train_end("failed")
    assert tracker.calls == []


def test_only_rank_0_calls_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    tracker = RecordingTracker()
    tracker.on_train_begin(RunFolder.at(tmp_path), small_config(), 0)
    tracker.on_train_end("failed")
    assert tracker.calls == []


def test_numbers_of_nested_mappings_are_returned() -> None:
    tree = {"a": 1, "b": {"c": 0.5, "d": {"e": True}, "f": "word"}, "g": [1, 2], "h": None}
    assert numbers_of(tree) == {"a": 1.0, "b/c": 0.5, "b/d/e": 1.0}


# Names.


def test_unknown_tracker_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"'tensorbord'.*'tensorboard'"):
        make_trackers(["mlflow", "tensorbord"])


@pytest.mark.parametrize("name", TRACKERS)
def test_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for module in ("torch.utils.tensorboard", "wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=re.escape(f"pip install 'infogan[{name}]'")):
        make_trackers([name])


def test_trackers_of_a_sweep_are_checked_before_its_first_run() -> None:
    with pytest.raises(UserError, match=r"'neptune'.*mlflow, tensorboard, wandb"):
        check_arguments(["digits", "--track", "neptune"], "digits", 0)
    check_arguments(["digits", "--track", "mlflow", "--track", "wandb", "--seed", "0"], "digits", 0)


# Libraries.


def test_tensorboard_writes_an_event_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # takes seconds to import
    (tracker,) = make_trackers(["tensorboard"])
    tracker.begin(RunFolder(tmp_path), small_config(), 0)
    tracker.scalars(2, {"encoder/nt_xent": 0.5})
    tracker.end("finished")
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert b"encoder/nt_xent" in path.read_bytes()


class FakeRun(SimpleNamespace):
    """A run of Weights & Biases that records what is logged."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__(id=arguments["id"] or "abc", arguments=arguments, rows=[], exit_codes=[])

    def log(self, values: dict[str, Any], step: int) -> None:
        self.rows.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)


def test_wandb_resumes_its_run_without_repeated_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[FakeRun] = []

    def init(**arguments: Any) -> FakeRun:
        sessions.append(FakeRun(arguments))
        return sessions[-1]

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    for first, status in ((0, "interrupted"), (2, "finished")):
        (tracker,) = make_trackers(["wandb"])
        tracker.begin(RunFolder(tmp_path), small_config(), first)
        for step in range(first + 1, first + 4):
            tracker.scalars(step, {"a/b": float(step)})
        tracker.end(status)  # type: ignore[arg-type]
    assert [session.arguments["id"] for session in sessions] == [None, "abc"]
    assert [session.arguments["resume"] for session in sessions] == [None, "allow"]
    assert [[step for step, _ in session.rows] for session in sessions] == [[1, 2, 3], [4, 5]]
    assert [session.exit_codes for session in sessions] == [[1], [0]]


# Several workers.

WORKER = """
from pathlib import Path
from infogan.api.resolve import compose
from infogan.api.train_run import plan, train_run
from infogan.training.run_dir import RunFolder
from infogan.training.trackers import Tracker
from infogan.utils import distributed

class Notes(Tracker):
    calls = ""

    def begin(self, *_):
        self.calls += "begin "

    def scalars(self, step, values):
        self.calls += f"{step} "

    def end(self, status):
        self.calls += status

with distributed.process_group("cpu"):
    train = {"steps": 4, "batch_size": 16, "log_every": 2}
    layer = {"data": {"source": "digits"}, "networks": {"width": 4}, "train": train}
    notes = Notes()
    train_run(plan(compose("plain", [layer])), RunFolder(Path("run")), callbacks=[notes])
    Path(f"calls-{distributed.rank()}").write_text(notes.calls)
"""


@pytest.mark.integration
def test_rank_0_of_several_workers_tracks_a_run(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    RunFolder.at(tmp_path / "run")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "worker.py"]
    environment = {**os.environ, **ONE_THREAD}
    process = subprocess.run(
        launch, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert process.returncode == 0, process.stderr
    assert [(tmp_path / f"calls-{rank}").read_text() for rank in range(2)] == ["begin 2 4 finished", ""]
