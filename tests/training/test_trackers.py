"""What trackers are told: real event files, a real offline folder, a real store, read back with what reads them."""

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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infogan.api.resolve import Plan
from infogan.api.train_run import encode_sample, train_run
from infogan.cli.sweep import check_arguments
from infogan.config.schema import Config
from infogan.data import load
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.models.serialization import ModelConfig
from infogan.training.callbacks import EncodedSample, Interrupted
from infogan.training.run_dir import RunFolder
from infogan.training.trackers import TRACKERS, Tracker, make_trackers, numbers_of
from infogan.utils.errors import UserError
from tests import ROOT
from tests.commands import infogan
from tests.helpers import Hooks, bar_images, image_set, small_config, small_model

ALL = ["tensorboard", "wandb", "mlflow"]
STEPS, KILLED_AT, CHECKPOINT = 8, 7, 4


@pytest.fixture(scope="module", autouse=True)
def _nothing_leaves_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", None)  # takes long to load, and most have TensorBoard alone
        from tensorboard.compat import tf

        assert tf.__version__ == "stub"  # for the rest of this process
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_TRACKING_URI", tmp_path_factory.mktemp("mlflow").as_uri())
        yield


def bars(folder: Path, *assignments: str, **sections: Any) -> Plan:
    """A run of six steps on images with a test split."""
    source, labels = folder / "bars.npz", np.arange(64) % 2
    test = bar_images(40, seed=1)
    np.savez(source, x_train=bar_images(), y_train=labels, x_test=test, y_test=labels[:40])
    data = {"source": str(source), "size": 8, "channels": 1}
    return Plan(small_config("train.sample_every=4", *assignments, data=data, **sections), load(source))


def often(folder: Path) -> Plan:
    """A run of eight steps, of which each is reported."""
    told = ("train.log_every=1", "train.sample_every=2", f"train.save_every={CHECKPOINT}")
    return bars(folder, f"train.steps={STEPS}", *told)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that all trackers were told of, and that was begun again when it was finished."""
    folder = tmp_path_factory.mktemp("whole")
    run = RunFolder.at(folder / "run")
    for _ in range(2):
        train_run(often(folder), run, trackers=make_trackers(ALL))
    assert run.read_incidents() == []
    return run


KILLED = f"""
import os, signal, sys
sys.modules["tensorflow"] = None
from tests.training.test_trackers import *
folder = Path(sys.argv[1])
stop = Hooks(on_step=lambda step: step == {KILLED_AT} and os.kill(os.getpid(), signal.SIGKILL))
train_run(often(folder), RunFolder.at(folder / "run"), watch=stop, trackers=make_trackers(ALL))
"""


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was killed after a checkpoint and some steps, and then taken to its end."""
    folder = tmp_path_factory.mktemp("resumed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("WANDB_SERVICE", None)  # which is this process's
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, folder], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = RunFolder.existing(folder / "run")
    assert [line["step"] for line in run.read_stats()] == list(range(1, KILLED_AT + 1))
    train_run(often(folder), run, trackers=make_trackers(ALL))
    assert len(run.read_incidents()) == 1  # that the session ended without a word
    return run


def curves(run: RunFolder, *, told_once: bool = False) -> dict[str, list[tuple[int, float]]]:
    """What ``stats.jsonl`` says, by name; without the clock's, where what was told first stays."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in run.read_stats():
        for name, value in line.items():
            if name not in ("step", "stage", *(["seconds"] if told_once else [])):
                found.setdefault(name, []).append((line["step"], value))
    assert {"images", "information/category", "generator+recognizer/adversarial"} <= found.keys()
    return found


def drawn(run: RunFolder) -> dict[str, dict[int, NDArray[np.uint8]]]:
    """The pictures of the run folder, by name and step."""
    found: dict[str, dict[int, NDArray[np.uint8]]] = {"samples": {}}
    for path in sorted(run.samples.glob("0*.png")):
        found["samples"][int(path.stem)] = np.asarray(Image.open(path))
    for path in sorted(run.traversals.glob("0*/*.png")):
        found.setdefault(f"traversals/{path.stem}", {})[int(path.parent.name)] = np.asarray(Image.open(path))
    assert list(found) == ["samples", *(f"traversals/{name}" for name in ("category", "knob1", "knob2"))]
    assert all(list(steps) == [2, 4, 6, 8] for steps in found.values())
    return found


def measured(run: RunFolder, which: int = -1) -> dict[str, float]:
    """The numbers of the last evaluation, or another, found otherwise than `numbers_of` finds them."""
    line = json.loads(run.metrics.read_text().splitlines()[which])
    assert line.pop("step") == STEPS
    found: dict[str, float] = {}

    def look(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                look(inner, f"{name}/{key}")
        elif isinstance(value, bool | int | float):
            found[name] = float(value)

    look(line, "evaluation")
    assert {"evaluation/accuracy", "evaluation/information/knob1", "evaluation/verdict/trust"} <= found.keys()
    return found


def read_by_model(run: RunFolder) -> tuple[NDArray[np.uint8], list[list[str]], NDArray[np.float32]]:
    """The test images, what the model says their codes are, and these as numbers."""
    images = bar_images(40, seed=1)
    read = InfoGAN.load(run.path).encode(images)
    rows = [list(map(str, row)) for row in zip(*(values.tolist() for values in read.codes.values()), strict=True)]
    knobs = np.stack([read.codes["knob1"], read.codes["knob2"]], axis=1)
    return images, rows, np.concatenate([read.probabilities["category"], knobs], axis=1)


# TensorBoard.


def accumulated(run: RunFolder) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()


@pytest.mark.parametrize("which", ["whole", "resumed"])
def test_event_files_tell_what_the_run_folder_does(which: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(which)
    events = accumulated(run)
    expected = curves(run)
    evaluated = {name: [(STEPS, value)] for name, value in measured(run).items()}
    assert set(events.Tags()["scalars"]) == expected.keys() | evaluated.keys()
    for name, points in (expected | evaluated).items():
        told = [(event.step, event.value) for event in events.Scalars(name)]
        assert told == [(step, float(np.float32(value))) for step, value in points], name
    for name, pictures_by_step in drawn(run).items():
        shown = events.Images(name)
        assert [event.step for event in shown] == list(pictures_by_step)
        for event in shown:
            decoded = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
            assert np.array_equal(decoded, pictures_by_step[event.step])
    (config,) = events.Tensors("config/text_summary")
    assert (
        Config.model_validate_json(config.tensor_proto.string_val[0].decode().split("```")[1][5:]) == run.read_config()
    )


def test_what_is_told_again_stood_in_the_files_twice(resumed: RunFolder) -> None:
    """So that the test above can fail."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(resumed.path / "tensorboard"), {"scalars": 0}, purge_orphaned_data=False).Reload()
    again = [*range(1, KILLED_AT + 1), *range(CHECKPOINT + 1, STEPS + 1)]
    assert [event.step for event in events.Scalars("images")] == again


def test_the_projector_finds_what_was_read_in_test_images(whole: RunFolder) -> None:
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    folder = whole.path / "tensorboard"
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    images, rows, features = read_by_model(whole)
    head, *metadata = (folder / embedding.metadata_path).read_text().splitlines()
    assert head == "category\tknob1\tknob2"
    assert [line.split("\t") for line in metadata] == rows
    np.testing.assert_allclose(np.loadtxt(folder / embedding.tensor_path), features, atol=1e-6)
    assert list(embedding.sprite.single_image_dim) == [8, 8]
    sprite = np.asarray(Image.open(folder / embedding.sprite.image_path))
    assert sprite.shape == (7 * 8, 7 * 8, 3)  # 40 images in a square
    for place in range(40):
        row, column = divmod(place, 7)
        cell = sprite[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        assert np.array_equal(cell, np.repeat(images[place, 0, :, :, np.newaxis], 3, axis=2)), place


# Weights & Biases.


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a ``.wandb`` file: a log in blocks of 32 KiB, of pieces with checksum, length and kind."""
    from wandb.proto import wandb_internal_pb2

    protocol: Any = wandb_internal_pb2
    content, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            record = protocol.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def wandb_rows(run: RunFolder) -> tuple[list[dict[str, Any]], dict[str, Any], list[str], list[int]]:
    """The rows of all sessions, the last summary, the sessions' ids, and how those that ended did."""
    rows, summary, ids, ended = [], dict[str, Any](), [], []
    for path in sorted((run.path / "wandb").glob("offline-run-*/*.wandb")):
        for record in wandb_records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    ids.append(record.run.run_id)
                case "exit":
                    ended.append(record.exit.exit_code)
                case "history":
                    row: dict[str, Any] = {}
                    for item in record.history.item:
                        keys = [item.key] if item.key else list(item.nested_key)
                        row["//".join(keys)] = json.loads(item.value_json)
                    rows.append(row)
                case "summary":
                    for item in record.summary.update:
                        summary["//".join([item.key] if item.key else item.nested_key)] = json.loads(item.value_json)
    return rows, summary, ids, ended


def test_wandb_has_what_the_run_folder_has(whole: RunFolder) -> None:
    rows, summary, ids, ended = wandb_rows(whole)
    for name, points in curves(whole).items():
        assert [(row["_step"], row[name]) for row in rows if name in row] == points, name
    assert len(set(ids)) == 1
    assert ended == [0, 0]
    for name, value in measured(whole).items():
        assert summary[name] == value, name
    folder = min((whole.path / "wandb").glob("offline-run-*"))
    for name, pictures_by_step in drawn(whole).items():
        told = {row["_step"]: row[f"{name}//path"] for row in rows if f"{name}//path" in row}
        assert list(told) == list(pictures_by_step)
        for step, path in told.items():
            assert np.array_equal(np.asarray(Image.open(folder / "files" / path)), pictures_by_step[step])
    (table,) = (row["codes//path"] for row in rows if "codes//path" in row)
    content = json.loads((folder / "files" / table).read_text())
    _, codes, features = read_by_model(whole)
    assert content["columns"][:5] == ["image", "category", "knob1", "knob2", "feature0"]
    assert [[str(value) for value in row[1:4]] for row in content["data"]] == codes
    np.testing.assert_allclose([row[4:] for row in content["data"]], features, atol=1e-6)


def test_a_killed_run_goes_on_under_its_id_and_no_step_comes_twice(resumed: RunFolder) -> None:
    rows, summary, ids, ended = wandb_rows(resumed)
    assert len(list((resumed.path / "wandb").glob("offline-run-*"))) == 2
    known = json.loads((resumed.path / "wandb.json").read_text())
    assert set(ids) == {known["id"]}
    assert ended == [0]
    expected = {name: dict(points) for name, points in curves(resumed, told_once=True).items()}
    for name, points in expected.items():
        told = [(row["_step"], row[name]) for row in rows if name in row]
        # What it had not written yet when it was killed is missing.
        assert told == sorted(dict(told).items())
        assert all(points[step] == value for step, value in told)
    assert [row["_step"] for row in rows if "images" in row][-1] == STEPS
    assert all(summary[name] == value for name, value in measured(resumed).items())


def test_wandb_is_told_no_step_twice(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path / "run")
    for step, steps in ((0, range(1, 8)), (4, range(5, 10))):
        (tracker,) = make_trackers(["wandb"])
        tracker.begin(run, small_config(), step)
        for number in steps:
            tracker.scalars(number, {"value": number + step / 10})
        tracker.end("interrupted" if step == 0 else "finished")
        time.sleep(1)  # the folders of both are named by the second at which they begin
    rows, _, ids, ended = wandb_rows(run)
    assert [(row["_step"], row["value"]) for row in rows] == [*((n, n) for n in range(1, 8)), (8, 8.4), (9, 9.4)]
    assert len(set(ids)) == 1
    assert ended == [1, 0]


# MLflow.


@pytest.mark.parametrize("which", ["whole", "resumed"])
def test_mlflow_has_what_the_run_folder_has(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    import mlflow

    run: RunFolder = request.getfixturevalue(which)
    client: Any = mlflow.MlflowClient()
    identity = json.loads((run.path / "mlflow.json").read_text())["id"]
    told = client.get_run(identity)
    assert told.info.status == "FINISHED"
    assert told.data.params["train.steps"] == "8"
    assert client.get_experiment(told.info.experiment_id).name == "infogan"
    expected = curves(run, told_once=which == "resumed")
    expected |= {name: [(STEPS, value)] for name, value in measured(run, 0).items()}
    for name, points in expected.items():
        history = client.get_metric_history(identity, name.replace("+", "-"))
        assert [(metric.step, metric.value) for metric in history] == points, name
    assert {name for name in told.data.metrics if name != "seconds"} == {
        name.replace("+", "-") for name in expected if name != "seconds"
    }
    for name, pictures_by_step in drawn(run).items():
        for step, picture in pictures_by_step.items():
            folder, _, code = name.partition("/")
            place = f"{folder}/{step:08d}/{code}.png" if code else f"{folder}/{step:08d}.png"
            assert np.array_equal(np.asarray(Image.open(client.download_artifacts(identity, place, tmp_path))), picture)
    config = Path(client.download_artifacts(identity, "config.json", tmp_path)).read_text()
    assert Config.model_validate_json(config) == run.read_config()
    with open(client.download_artifacts(identity, "codes/codes.csv", tmp_path), newline="") as file:
        head, *rows = csv.reader(file)
    images, codes, features = read_by_model(run)
    assert head[:4] == ["category", "knob1", "knob2", "feature0"]
    assert [row[:3] for row in rows] == codes
    np.testing.assert_allclose(np.array([row[3:] for row in rows], float), features, atol=1e-6)
    thumbnails = np.asarray(Image.open(client.download_artifacts(identity, "codes/images.png", tmp_path)))
    assert np.array_equal(thumbnails[8:16, :8, 0], images[20, 0])


def test_a_store_that_goes_away_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.as_uri())
    run = RunFolder.at(tmp_path / "run")

    def leave(step: int) -> None:
        if step == 3:
            store.rename(tmp_path / "gone")

    train_run(bars(tmp_path), run, callbacks=[Hooks(on_step=leave)], trackers=make_trackers(["mlflow"]))
    (incident,) = run.read_incidents()
    assert re.match("MLflow failed and is told no more: .*store' does not exist", incident["what"])
    assert incident["what"] in (run.path / "log.txt").read_text()
    assert run.read_environment()[-1]["ended"] == "finished"


# The protocol.


class Notes(Tracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        self.told.append(("on_start", run.path.name, config.train.steps, step))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.told.append(("scalars", step, dict(values)))

    def images(self, step: int, images: Mapping[str, NDArray[np.uint8]]) -> None:
        assert all(picture.shape[2] == 3 and picture.dtype == np.uint8 for picture in images.values())
        self.told.append(("images", step, list(images)))

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        self.told.append(("evaluation", step, result))

    def codes(self, step: int, codes: EncodedSample) -> None:
        self.told.append(("codes", step, codes))

    def end(self, status: str) -> None:
        self.told.append(("end", status))


def test_a_program_may_bring_its_own_and_hears_what_is_written(tmp_path: Path) -> None:
    notes, run = Notes(), RunFolder.at(tmp_path / "mine")
    with pytest.raises(Interrupted):
        train_run(bars(tmp_path), run, callbacks=[Hooks(stop=lambda: len(notes.told) == 4)], trackers=[notes])
    first, notes.told = notes.told, []
    train_run(bars(tmp_path), run, trackers=[notes])
    assert [(event[0], event[1]) for event in first] == [
        ("on_start", "mine"), ("scalars", 2), ("scalars", 4), ("images", 4), ("scalars", 5), ("end", "interrupted")
    ]  # fmt: skip
    assert [(event[0], event[1]) for event in notes.told] == [
        ("on_start", "mine"), ("scalars", 6), ("images", 6), ("evaluation", 6), ("codes", 6), ("end", "finished")
    ]  # fmt: skip
    assert first[0][2:] == (6, 0)
    assert notes.told[0][2:] == (6, 5)
    for _, step, values in (event for event in first + notes.told if event[0] == "scalars"):
        assert {"step": step, "stage": "gan", **values} in run.read_stats()
    assert first[3][2] == ["samples", "traversals/category", "traversals/knob1", "traversals/knob2"]
    assert json.loads(json.dumps({"step": 6, **notes.told[3][2]})) == json.loads(run.metrics.read_text())


@pytest.mark.parametrize("part", ["scalars", "images", "evaluation", "codes", "end"])
def test_a_tracker_that_fails_is_told_no_more_and_the_others_are(tmp_path: Path, part: str) -> None:
    class Fails(Notes):
        pass

    def fail(*_: Any) -> None:
        raise ConnectionError("the line is dead\nand so on")

    setattr(Fails, part, fail)
    fails, notes, run = Fails(), Notes(), RunFolder.at(tmp_path / "run")
    train_run(bars(tmp_path), run, trackers=[fails, notes])
    assert [i["what"] for i in run.read_incidents()] == ["Fails failed and is told no more: the line is dead"]
    assert (run.path / "log.txt").read_text().count("the line is dead") == 1
    assert notes.told[-1] == ("end", "finished")
    order = ["on_start", "scalars", "scalars", "images", "scalars", "images", "evaluation", "codes", "end"]
    assert [event[0] for event in notes.told] == order
    assert [event[0] for event in fails.told] == order[: order.index(part)]


def test_one_that_can_not_begin_ends_the_run_before_its_first_step(tmp_path: Path) -> None:
    class NotLoggedIn(Tracker):
        def begin(self, *_: Any) -> None:
            raise PermissionError("no key")

    notes, run, steps = Notes(), RunFolder.at(tmp_path / "run"), list[int]()
    with pytest.raises(UserError, match="NotLoggedIn can not begin: no key"):
        train_run(bars(tmp_path), run, callbacks=[Hooks(on_step=steps.append)], trackers=[notes, NotLoggedIn()])
    assert steps == []
    assert not run.stats.exists()
    assert notes.told == [("on_start", "run", 6, 0), ("end", "failed")]
    assert run.read_environment()[-1]["ended"] == "NotLoggedIn can not begin: no key"


def test_a_training_that_fails_says_so(tmp_path: Path) -> None:
    notes = Notes()
    endless = {"train": {"steps": 6, "batch_size": 16, "save_every": 2, "log_every": 2, "sample_every": 100}}
    updates = [{"networks": ["discriminator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e30}]
    with pytest.raises(UserError, match="stopped being finite"):
        train_run(
            bars(tmp_path, stages=[{"updates": updates}], **endless), RunFolder.at(tmp_path / "run"), trackers=[notes]
        )
    assert notes.told[-1] == ("end", "failed")


def test_what_reads_no_codes_has_none_to_tell(tmp_path: Path) -> None:
    notes = Notes()
    stage = {"updates": [{"networks": ["generator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3}]}
    sections = {"objective": {"kind": "gan"}, "codes": [], "stages": [stage]}
    train_run(bars(tmp_path, **sections), RunFolder.at(tmp_path / "run"), trackers=[notes])
    assert [event[0] for event in notes.told] == ["on_start", *["scalars"] * 2, "images", "scalars", "images",
                                                  "evaluation", "end"]  # fmt: skip
    assert notes.told[3][2] == ["samples"]


def test_features_are_what_the_encoder_sees_and_names_are_told() -> None:
    model = small_model(architecture="conv")
    model.name_codes({"category": ["a\tb", *[""] * 9]})
    told = encode_sample(model, image_set(500, labelled=False))
    assert told.images.shape == (400, 1, 8, 8)
    read = model.encode(told.images)
    assert told.features.shape == (400, 12)  # ten probabilities and two means
    np.testing.assert_array_equal(told.features[:, 11], read.codes["knob2"])
    names = ["a\tb", *map(str, range(1, 10))]
    assert told.codes["category"] == [names[value] for value in read.codes["category"]]
    config = small_config(preset="robust", networks={"width": 4})
    networks = build_networks(
        config.networks, CodeLayout(config.noise, config.codes), ImageShape(1, 8), kind="infogan", seed=0
    )
    seeing = InfoGAN(ModelConfig.of(config, ImageShape(1, 8)), networks)
    told = encode_sample(seeing, image_set(30))
    assert told.features.shape == (30, 128)
    np.testing.assert_array_equal(told.features, seeing.features(told.images))


def test_labels_are_not_looked_at() -> None:
    from tests.training.test_loop import Unlabelled

    hidden = Unlabelled(bar_images(), [str(i) for i in range(64)], "bars", np.zeros(64, np.int64), ("a",))
    assert len(encode_sample(small_model(), hidden).codes["category"]) == 64


def test_a_single_code_and_odd_names_fit_the_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, run = small_model(codes=[{"kind": "categorical", "size": 2}]), RunFolder.at(tmp_path / "run")
    model.name_codes({"category": ["lying\tdown\n", "up"]})
    (board,) = make_trackers(["tensorboard"])
    board.begin(run, small_config(), 0)
    for _ in range(2):
        board.codes(3, encode_sample(model, image_set(40)))
    board.end("finished")
    assert capsys.readouterr().out == ""  # where --json has its object
    lines = (run.path / "tensorboard" / "00003" / "codes" / "metadata.tsv").read_text().splitlines()
    assert set(lines) <= {"lying down", "up"}
    assert len(lines) == 40  # no heading


def test_numbers_are_found_within_and_words_left_out() -> None:
    tree = {"a": 1, "b": {"c": 0.5, "d": {"e": True}, "f": "word"}, "g": [1, 2], "h": None}
    assert numbers_of(tree) == {"a": 1.0, "b/c": 0.5, "b/d/e": 1.0}


# Bad input.


def test_unknown_names_and_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown tracker 'tensorbord': did you mean 'tensorboard'"):
        make_trackers(["mlflow", "tensorbord"])
    assert len(make_trackers(["mlflow", "mlflow"])) == 1
    for module in ("torch.utils.tensorboard", "wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in TRACKERS:
        with pytest.raises(UserError, match=re.escape(f"needs another library: pip install 'infogan[{name}]'")):
            make_trackers([name])


@pytest.mark.parametrize(
    "content", ["", "[]", '{"id": 3}', '{"told": {}}', '{"id": "a", "told": {"x": "y"}}', "[" * 9999]
)
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    run = RunFolder.at(tmp_path / "run")
    run.path.joinpath(f"{name}.json").write_text(content)
    (tracker,) = make_trackers([name])
    with pytest.raises(UserError, match=rf"{name}\.json is damaged: remove it"):
        tracker.begin(run, small_config(), 0)


# The command, and several workers.


def test_the_command_refuses_who_is_not_logged_in(tmp_path: Path) -> None:
    environment = {**os.environ, "WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    for name in ("WANDB_API_KEY", "WANDB_SERVICE"):
        environment.pop(name, None)
    run = RunFolder(tmp_path / "run")
    words = ["train", "digits", "--recipe", "plain", "--steps", "4", "--track", "wandb"]
    refused = infogan(*words, "--out", run.path, env=environment)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.search(r"^error: WandB can not begin: .*wandb[ .]login", refused.stderr, re.MULTILINE)
    assert not run.stats.exists()


def test_a_sweep_refuses_an_unknown_one_before_its_first_run() -> None:
    with pytest.raises(UserError, match="unknown tracker 'neptune': allowed are mlflow, tensorboard, wandb"):
        check_arguments(["digits", "--track", "neptune"], "digits", 0)
    check_arguments(["digits", "--track", "mlflow", "--track", "wandb", "--seed", "0"], "digits", 0)


@pytest.mark.slow
def test_the_examples_of_the_documentation_run(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "trackers.md").read_text()
    ((shell,), (python,)) = (re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) for language in ("sh", "python"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone = "import sys; sys.modules['tensorflow'] = None; from infogan.cli import main; main()"
    (command,) = shell.splitlines()
    for words in ([sys.executable, "-c", alone, *shlex.split(command)[1:]], [sys.executable, "-c", python]):
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "digits" / "tensorboard").glob("events*"))) == 2
    assert re.fullmatch(r"finished \(-?[0-9.]+, [1-4]0\)\n", done.stdout)


WORKER = """
import sys
import time
from pathlib import Path
from infogan import distributed, recipes, workflows
from infogan.runs import RunFolder
from infogan.trackers import Tracker

class Notes(Tracker):
    told = ""

    def begin(self, *_):
        self.told += "begin "

    def scalars(self, step, values):
        self.told += f"{step} "

    def end(self, status):
        self.told += status

with distributed.joined("cpu"):
    train = {"steps": 4, "batch_size": 16, "log_every": 2}
    layers = [{"data": {"source": "digits"}, "networks": {"width": 4}, "train": train}]
    notes = Notes()
    workflows.train_run(workflows.plan(recipes.resolve("plain", layers)), RunFolder(Path("run")), trackers=[notes])
    Path(f"told-{distributed.rank()}").write_text(notes.told)
"""


def test_of_several_workers_the_first_alone_tells(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    RunFolder.at(tmp_path / "run")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "worker.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        launch, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"told-{rank}").read_text() for rank in range(2)] == ["begin 2 4 finished", ""]
