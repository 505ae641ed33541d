"""What TensorBoard, Weights & Biases and MLflow store, read back with their own readers, is what the run folder holds.

Nothing leaves this machine: event files, an offline folder and a local store.
"""

import csv
import io
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infogan.api.resolve import Plan
from infogan.api.train_run import encode_sample, train_run
from infogan.config.schema import Config
from infogan.models.infogan import InfoGAN
from infogan.training.run_dir import RunFolder
from infogan.training.trackers import make_trackers
from infogan.utils.errors import UserError
from tests import ROOT
from tests.api.test_train_run import incidents, plan_with_test_split
from tests.commands import ONE_THREAD, infogan
from tests.helpers import Hooks, bar_images, image_set, small_config, small_model

pytestmark = pytest.mark.integration

ALL = ["tensorboard", "wandb", "mlflow"]
STEPS, KILLED_AT, CHECKPOINT = 8, 7, 4


@pytest.fixture(scope="module", autouse=True)
def _offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", None)  # takes seconds to import, and most people do not have it
        from tensorboard.compat import tf

        assert tf.__version__ == "stub"  # for the rest of this process
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_TRACKING_URI", tmp_path_factory.mktemp("mlflow").as_uri())
        yield


def logging_plan(folder: Path) -> Plan:
    """Plan a run of eight steps that logs each of them."""
    frequencies = ("train.log_every=1", "train.sample_every=2", f"train.save_every={CHECKPOINT}")
    return plan_with_test_split(folder, f"train.steps={STEPS}", *frequencies)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return a run that all trackers logged, and that was started again when it was finished."""
    folder = tmp_path_factory.mktemp("finished")
    run = RunFolder.at(folder / "run")
    for _ in range(2):
        train_run(logging_plan(folder), run, callbacks=make_trackers(ALL))
    assert run.read_incidents() == []
    return run


KILLED = f"""
import os, signal, sys
sys.modules["tensorflow"] = None
from tests.training.test_tracker_libraries import *
folder = Path(sys.argv[1])
kill = Hooks(on_step=lambda step: step == {KILLED_AT} and os.kill(os.getpid(), signal.SIGKILL))
train_run(logging_plan(folder), RunFolder.at(folder / "run"), callbacks=[kill, *make_trackers(ALL)])
"""


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return a run that was killed some steps after a checkpoint, and then resumed to its end."""
    folder = tmp_path_factory.mktemp("resumed")
    environment = {**os.environ, **ONE_THREAD}
    environment.pop("WANDB_SERVICE", None)  # that of this process
    command = [sys.executable, "-c", KILLED, str(folder)]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    run = RunFolder.existing(folder / "run")
    assert [record["step"] for record in run.read_stats()] == list(range(1, KILLED_AT + 1))
    train_run(logging_plan(folder), run, callbacks=make_trackers(ALL))
    assert len(incidents(run)) == 1  # the session without a recorded end
    return run


def curves(run: RunFolder, *, with_seconds: bool = True) -> dict[str, list[tuple[int, float]]]:
    """Return the points of ``stats.jsonl`` by name.

    Where logged values cannot be replaced, the seconds of a step are those of the first time that it was made.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for record in run.read_stats():
        for name, value in record.items():
            if name not in ("step", "stage", *([] if with_seconds else ["seconds"])):
                points.setdefault(name, []).append((record["step"], value))
    assert {"images", "information/category", "generator+recognizer/adversarial"} <= points.keys()
    return points


def saved_figures(run: RunFolder) -> dict[str, dict[int, NDArray[np.uint8]]]:
    """Return the figures in the run folder by name and step."""
    figures: dict[str, dict[int, NDArray[np.uint8]]] = {"samples": {}}
    for path in sorted(run.samples.glob("0*.png")):
        figures["samples"][int(path.stem)] = np.asarray(Image.open(path))
    for path in sorted(run.traversals.glob("0*/*.png")):
        figures.setdefault(f"traversals/{path.stem}", {})[int(path.parent.name)] = np.asarray(Image.open(path))
    assert list(figures) == ["samples", *(f"traversals/{name}" for name in ("category", "knob1", "knob2"))]
    assert all(list(steps) == [2, 4, 6, 8] for steps in figures.values())
    return figures


def evaluation(run: RunFolder, index: int = -1) -> dict[str, float]:
    """Return the numbers of an evaluation, independently of `numbers_of`."""
    result = json.loads(run.metrics.read_text().splitlines()[index])
    assert result.pop("step") == STEPS
    numbers: dict[str, float] = {}

    def collect(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                collect(inner, f"{name}/{key}")
        elif isinstance(value, bool | int | float):
            numbers[name] = float(value)

    collect(result, "evaluation")
    assert {"evaluation/accuracy", "evaluation/information/knob1", "evaluation/verdict/trust"} <= numbers.keys()
    return numbers


def encoded_test_images(run: RunFolder) -> tuple[NDArray[np.uint8], list[list[str]], NDArray[np.float32]]:
    """Return the test images, the codes that the model predicts for them, and these as numbers."""
    images = bar_images(40, seed=1)
    encoding = InfoGAN.load(run.path).encode(images)
    rows = [list(map(str, row)) for row in zip(*(values.tolist() for values in encoding.codes.values()), strict=True)]
    knobs = np.stack([encoding.codes["knob1"], encoding.codes["knob2"]], axis=1)
    return images, rows, np.concatenate([encoding.probabilities["category"], knobs], axis=1)


# TensorBoard.


@pytest.mark.parametrize("name", ["finished", "resumed"])
def test_event_files_hold_what_the_run_folder_holds(name: str, request: pytest.FixtureRequest) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run: RunFolder = request.getfixturevalue(name)
    events: Any = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()
    expected = curves(run)
    evaluated = {name: [(STEPS, value)] for name, value in evaluation(run).items()}
    assert set(events.Tags()["scalars"]) == expected.keys() | evaluated.keys()
    for curve, points in (expected | evaluated).items():
        logged = [(event.step, event.value) for event in events.Scalars(curve)]
        assert logged == [(step, float(np.float32(value))) for step, value in points], curve
    for figure, by_step in saved_figures(run).items():
        logged_figures = events.Images(figure)
        assert [event.step for event in logged_figures] == list(by_step)
        for event in logged_figures:
            decoded = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
            assert np.array_equal(decoded, by_step[event.step])
    (config,) = events.Tensors("config/text_summary")
    text = config.tensor_proto.string_val[0].decode().split("```")[1][5:]
    assert Config.model_validate_json(text) == run.read_config()


def test_event_files_hold_repeated_steps_twice(resumed: RunFolder) -> None:
    """The readers drop them; without that, the test above would fail."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(resumed.path / "tensorboard"), {"scalars": 0}, purge_orphaned_data=False).Reload()
    steps = [*range(1, KILLED_AT + 1), *range(CHECKPOINT + 1, STEPS + 1)]
    assert [event.step for event in events.Scalars("images")] == steps


def test_projector_shows_the_codes_of_test_images(finished: RunFolder) -> None:
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    folder = finished.path / "tensorboard"
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    images, rows, features = encoded_test_images(finished)
    head, *metadata = (folder / embedding.metadata_path).read_text().splitlines()
    assert head == "category\tknob1\tknob2"
    assert [line.split("\t") for line in metadata] == rows
    np.testing.assert_allclose(np.loadtxt(folder / embedding.tensor_path), features, atol=1e-6)
    assert list(embedding.sprite.single_image_dim) == [8, 8]
    sprite = np.asarray(Image.open(folder / embedding.sprite.image_path))
    assert sprite.shape == (7 * 8, 7 * 8, 3)  # 40 images in a square
    for index in range(40):
        row, column = divmod(index, 7)
        cell = sprite[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        assert np.array_equal(cell, np.repeat(images[index, 0, :, :, np.newaxis], 3, axis=2)), index


def test_a_single_code_with_an_odd_name_fits_the_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, run = small_model(codes=[{"kind": "categorical", "size": 2}]), RunFolder.at(tmp_path / "run")
    model.name_codes({"category": ["lying\tdown\n", "up"]})
    (tracker,) = make_trackers(["tensorboard"])
    tracker.begin(run, small_config(), 0)
    for _ in range(2):
        tracker.codes(3, encode_sample(model, image_set(40)))
    tracker.end("finished")
    assert capsys.readouterr().out == ""  # standard output is for the object of --json
    lines = (run.path / "tensorboard" / "00003" / "codes" / "metadata.tsv").read_text().splitlines()
    assert set(lines) <= {"lying down", "up"}
    assert len(lines) == 40  # no heading


# Weights & Biases.


def wandb_records(path: Path) -> Iterator[Any]:
    """Yield the records of a ``.wandb`` file: parts with checksum, length and type, in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    protocol: Any = wandb_internal_pb2
    content, position, record_bytes = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        remaining = 2**15 - position % 2**15
        if remaining < 7:
            position += remaining
            continue
        _, length, part_type = struct.unpack("<IHB", content[position : position + 7])
        record_bytes += content[position + 7 : position + 7 + length]
        position += 7 + length
        if part_type in (1, 4):  # a complete record, or the last part of one
            record = protocol.Record()
            record.ParseFromString(record_bytes)
            record_bytes = b""
            yield record


def wandb_sessions(run: RunFolder) -> tuple[list[dict[str, Any]], dict[str, Any], list[str], list[int]]:
    """Return the rows of all sessions, the last summary, the sessions' ids, and the exit codes that were recorded."""
    rows, summary, ids, exit_codes = [], dict[str, Any](), [], []
    for path in sorted((run.path / "wandb").glob("offline-run-*/*.wandb")):
        for record in wandb_records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    ids.append(record.run.run_id)
                case "exit":
                    exit_codes.append(record.exit.exit_code)
                case "history":
                    row: dict[str, Any] = {}
                    for item in record.history.item:
                        keys = [item.key] if item.key else list(item.nested_key)
                        row["//".join(keys)] = json.loads(item.value_json)
                    rows.append(row)
                case "summary":
                    for item in record.summary.update:
                        summary["//".join([item.key] if item.key else item.nested_key)] = json.loads(item.value_json)
    return rows, summary, ids, exit_codes


def test_wandb_holds_what_the_run_folder_holds(finished: RunFolder) -> None:
    rows, summary, ids, exit_codes = wandb_sessions(finished)
    for name, points in curves(finished).items():
        assert [(row["_step"], row[name]) for row in rows if name in row] == points, name
    assert len(set(ids)) == 1
    assert exit_codes == [0, 0]
    for name, value in evaluation(finished).items():
        assert summary[name] == value, name
    folder = min((finished.path / "wandb").glob("offline-run-*"))
    for name, by_step in saved_figures(finished).items():
        logged = {row["_step"]: row[f"{name}//path"] for row in rows if f"{name}//path" in row}
        assert list(logged) == list(by_step)
        for step, path in logged.items():
            assert np.array_equal(np.asarray(Image.open(folder / "files" / path)), by_step[step])
    (table,) = (row["codes//path"] for row in rows if "codes//path" in row)
    content = json.loads((folder / "files" / table).read_text())
    _, codes, features = encoded_test_images(finished)
    assert content["columns"][:5] == ["image", "category", "knob1", "knob2", "feature0"]
    assert [[str(value) for value in row[1:4]] for row in content["data"]] == codes
    np.testing.assert_allclose([row[4:] for row in content["data"]], features, atol=1e-6)


def test_killed_run_is_resumed_under_its_wandb_id_without_repeated_steps(resumed: RunFolder) -> None:
    rows, summary, ids, exit_codes = wandb_sessions(resumed)
    assert len(list((resumed.path / "wandb").glob("offline-run-*"))) == 2
    assert set(ids) == {json.loads((resumed.path / "wandb.json").read_text())["id"]}
    assert exit_codes == [0]
    expected = {name: dict(points) for name, points in curves(resumed, with_seconds=False).items()}
    for name, points in expected.items():
        logged = [(row["_step"], row[name]) for row in rows if name in row]
        # Rows that were not written yet at the kill are missing.
        assert logged == sorted(dict(logged).items())
        assert all(points[step] == value for step, value in logged)
    assert [row["_step"] for row in rows if "images" in row][-1] == STEPS
    assert all(summary[name] == value for name, value in evaluation(resumed).items())


def test_wandb_logs_no_step_twice(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path / "run")
    for first, steps in ((0, range(1, 8)), (4, range(5, 10))):
        (tracker,) = make_trackers(["wandb"])
        tracker.begin(run, small_config(), first)
        for step in steps:
            tracker.scalars(step, {"value": step + first / 10})
        tracker.end("interrupted" if first == 0 else "finished")
        time.sleep(1)  # the folders are named by the second in which they are made
    rows, _, ids, exit_codes = wandb_sessions(run)
    assert [(row["_step"], row["value"]) for row in rows] == [*((n, n) for n in range(1, 8)), (8, 8.4), (9, 9.4)]
    assert len(set(ids)) == 1
    assert exit_codes == [1, 0]


def test_command_without_a_login_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    for name in ("WANDB_API_KEY", "WANDB_SERVICE"):
        environment.pop(name, None)
    run = RunFolder(tmp_path / "run")
    command = ["train", "digits", "--recipe", "plain", "--steps", "4", "--track", "wandb"]
    process = infogan(*command, "--out", run.path, env=environment)
    assert (process.returncode, process.stdout) == (2, "")
    assert re.search(r"^error: WandB cannot start: .*wandb[ .]login", process.stderr, re.MULTILINE)
    assert not run.stats.exists()


# MLflow.


@pytest.mark.parametrize("name", ["finished", "resumed"])
def test_mlflow_holds_what_the_run_folder_holds(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    import mlflow

    run: RunFolder = request.getfixturevalue(name)
    client: Any = mlflow.MlflowClient()
    identity = json.loads((run.path / "mlflow.json").read_text())["id"]
    stored = client.get_run(identity)
    assert stored.info.status == "FINISHED"
    assert stored.data.params["train.steps"] == "8"
    assert client.get_experiment(stored.info.experiment_id).name == "infogan"
    expected = curves(run, with_seconds=name == "finished")
    expected |= {name: [(STEPS, value)] for name, value in evaluation(run, 0).items()}
    for metric, points in expected.items():
        history = client.get_metric_history(identity, metric.replace("+", "-"))
        assert [(entry.step, entry.value) for entry in history] == points, metric
    names = {metric.replace("+", "-") for metric in expected}
    assert set(stored.data.metrics) - {"seconds"} == names - {"seconds"}
    for figure, by_step in saved_figures(run).items():
        for step, pixels in by_step.items():
            folder, _, code = figure.partition("/")
            path = f"{folder}/{step:08d}/{code}.png" if code else f"{folder}/{step:08d}.png"
            assert np.array_equal(np.asarray(Image.open(client.download_artifacts(identity, path, tmp_path))), pixels)
    config = Path(client.download_artifacts(identity, "config.json", tmp_path)).read_text()
    assert Config.model_validate_json(config) == run.read_config()
    with open(client.download_artifacts(identity, "codes/codes.csv", tmp_path), newline="") as file:
        head, *rows = csv.reader(file)
    images, codes, features = encoded_test_images(run)
    assert head[:4] == ["category", "knob1", "knob2", "feature0"]
    assert [row[:3] for row in rows] == codes
    np.testing.assert_allclose(np.array([row[3:] for row in rows], float), features, atol=1e-6)
    thumbnails = np.asarray(Image.open(client.download_artifacts(identity, "codes/images.png", tmp_path)))
    assert np.array_equal(thumbnails[8:16, :8, 0], images[20, 0])


def test_run_finishes_although_the_store_disappears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.as_uri())
    run = RunFolder.at(tmp_path / "run")

    def remove_store(step: int) -> None:
        if step == 3:
            store.rename(tmp_path / "gone")

    callbacks = [Hooks(on_step=remove_store), *make_trackers(["mlflow"])]
    train_run(plan_with_test_split(tmp_path), run, callbacks=callbacks)
    (sentence,) = incidents(run)
    assert re.match("MLflow failed and is not called again: .*store' does not exist", sentence)
    assert sentence in (run.path / "log.txt").read_text()
    assert run.read_environment()[-1]["ended"] == "finished"


# Any of them.


def test_repeated_names_make_one_tracker() -> None:
    assert len(make_trackers(["mlflow", "mlflow"])) == 1


@pytest.mark.parametrize(
    "content", ["", "[]", '{"id": 3}', '{"told": {}}', '{"id": "a", "told": {"x": "y"}}', "[" * 9999]
)
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    run = RunFolder.at(tmp_path / "run")
    run.path.joinpath(f"{name}.json").write_text(content)
    (tracker,) = make_trackers([name])
    with pytest.raises(UserError, match=rf"{name}\.json is damaged: remove it"):
        tracker.begin(run, small_config(), 0)


@pytest.mark.slow
def test_examples_of_the_documentation_run(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "trackers.md").read_text()
    ((shell,), (python,)) = (re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) for language in ("sh", "python"))
    environment = {**os.environ, **ONE_THREAD}
    without_tensorflow = "import sys; sys.modules['tensorflow'] = None; from infogan.cli import main; main()"
    (line,) = shell.splitlines()
    arguments = shlex.split(line)[1:]
    for command in ([sys.executable, "-c", without_tensorflow, *arguments], [sys.executable, "-c", python]):
        process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
    assert len(list((tmp_path / "runs" / "digits" / "tensorboard").glob("events*"))) == 2
    assert re.fullmatch(r"finished \(-?[0-9.]+, [1-4]0\)\n", process.stdout)
