"""Training a run from options to report: what is checked first, what is recorded, and what callbacks receive."""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infogan.api import train_run as train_run_module
from infogan.api.resolve import Plan, compose
from infogan.api.train_run import encode_sample, plan, train_run
from infogan.config.schema import Config
from infogan.data import load
from infogan.data.labels import FewLabels
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.models.serialization import ModelConfig
from infogan.training.callbacks import Callback, EncodedSample, Figures, Interrupted, LogRecord, Status
from infogan.training.checkpoint import latest_checkpoint_path
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.helpers import (
    Hooks,
    NoLabelsAllowed,
    assert_same_tensors,
    bar_images,
    image_set,
    saved_tensors,
    small_config,
    small_model,
)


def incidents(run: RunFolder) -> list[str]:
    return [incident["what"] for incident in run.read_incidents()]


def plan_with_test_split(folder: Path, *assignments: str, **sections: Any) -> Plan:
    """Plan a run of six steps on images that have a test split."""
    source, labels = folder / "bars.npz", np.arange(64) % 2
    np.savez(source, x_train=bar_images(), y_train=labels, x_test=bar_images(40, seed=1), y_test=labels[:40])
    data = {"source": str(source), "size": 8, "channels": 1}
    return Plan(small_config("train.sample_every=4", *assignments, data=data, **sections), load(source))


def digits_plan(*assignments: str) -> Plan:
    return Plan(small_config("data.source=digits", *assignments), load("digits"))


# Planning.


def test_mistake_is_reported_before_any_image_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr(train_run_module, "load", fail)
    layer = {"data": {"source": "digits"}}
    for assignment in ("stages.0.updates.0.losses.nt_xnet=1", "train.stepz=3", "train.budget=0"):
        with pytest.raises(UserError):
            plan(compose("robust", [layer], [assignment]))
    with pytest.raises(AssertionError, match="images were read"):
        plan(compose("robust", [layer]))


def test_source_is_needed() -> None:
    with pytest.raises(UserError, match="infogan train mnist"):
        plan(compose("plain"))


def test_images_that_are_loaded_already_are_used() -> None:
    images = image_set()
    options = small_config("train.steps=3").model_dump(mode="json")
    planned = plan(options, images=images)
    assert planned.images is images
    assert (planned.config.data.size, planned.config.train.steps) == (8, 3)


# What a run records.


@pytest.fixture
def image_options(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a folder of images, and the options of a run on them."""
    source = tmp_path / "bars"
    source.mkdir()
    for number, image in enumerate(bar_images(32)):
        Image.fromarray(image[0]).save(source / f"{number}.png")
    options = small_config("train.steps=4").model_dump(mode="json")
    return source, {**options, "data": {"source": str(source)}}


def test_changed_or_missing_images_are_incidents(tmp_path: Path, image_options: tuple[Path, dict[str, Any]]) -> None:
    source, options = image_options
    run = RunFolder.at(tmp_path / "run")
    train_run(plan(options), run)
    tensors = saved_tensors(run)
    original = (source / "3.png").read_bytes()
    Image.fromarray(bar_images(1)[0, 0]).save(source / "3.png")
    with pytest.raises(UserError, match="are not those that"):
        train_run(plan(options, run=run.path), run)
    source.rename(tmp_path / "away")
    with pytest.raises(UserError, match="bars"):
        plan(options, run=run.path)
    with pytest.raises(UserError, match="elsewhere"):  # another command, which is no incident of this run
        plan({**options, "data": {"source": "elsewhere"}}, run=run.path)
    assert len(incidents(run)) == 2
    assert "are not those that" in incidents(run)[0]
    assert "bars" in incidents(run)[1]
    # When the images are as before, the run can be resumed.
    (tmp_path / "away").rename(source)
    (source / "3.png").write_bytes(original)
    train_run(plan(options, run=run.path), run)
    assert_same_tensors(saved_tensors(run), tensors)
    assert len(incidents(run)) == 2
    assert html.escape("are not those that") in run.report.read_text()


def test_end_of_every_session_is_recorded(tmp_path: Path) -> None:
    planned, run = digits_plan(), RunFolder.at(tmp_path)
    errors: list[BaseException] = [UserError("the disk is full"), MemoryError(), KeyError("x")]
    for error in [*errors, SystemExit(143), KeyboardInterrupt()]:

        def fail(step: int, error: BaseException = error) -> None:
            if step == 3:
                raise error

        with pytest.raises(UserError if isinstance(error, MemoryError) else type(error)):
            train_run(planned, run, callbacks=[Hooks(on_step=fail)])
    with pytest.raises(Interrupted):
        train_run(planned, run, callbacks=[Hooks(stop=lambda: True)])
    train_run(planned, run)
    ends = [session["ended"] for session in run.read_environment()]
    assert ends[0] == "the disk is full"
    assert ends[1].startswith("there is not enough memory")
    assert ends[2:] == ["ended by KeyError: 'x'", *["interrupted"] * 2, "interrupted after step 3", "finished"]
    assert incidents(run) == ends[:3]
    assert "Incidents" in run.report.read_text()


def test_interruption_is_recorded_before_trackers_end(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    statuses = []

    class Tracker(Callback):
        def on_step_end(self, step: int) -> None:
            raise KeyboardInterrupt

        def on_train_end(self, status: Status) -> None:  # which may take longer than there is time
            statuses.append((status, run.read_environment()[-1]["ended"]))

    with pytest.raises(KeyboardInterrupt):
        train_run(digits_plan(), run, callbacks=[Tracker()])
    assert statuses == [("interrupted", "interrupted")]


def test_run_without_incidents_does_not_mention_them(digits_run: Path) -> None:
    assert RunFolder(digits_run).read_incidents() == []
    assert "Incidents" not in (digits_run / "report.html").read_text()


def test_finished_run_is_evaluated_as_configured(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path / "run")
    model, result = train_run(plan_with_test_split(tmp_path, "evaluation.samples=150"), run)
    assert "150" in result["protocols"]["information"]
    assert json.loads(json.dumps({"step": 6, **result})) == json.loads(run.metrics.read_text())
    assert model.run_path == run.path
    paths = ["log.txt", "report.html", "samples/reals.png", "samples/00000004.png", "samples/00000006.png"]
    paths += ["traversals/knob1.png", "traversals/00000004/category.png", "model/config.json"]
    for path in paths:
        assert (run.path / path).is_file(), path


def test_run_that_another_process_trains_is_left_alone(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    with run.lock(), pytest.raises(UserError, match="is being written by process"):
        train_run(Plan(small_config(), image_set()), run)
    assert [entry.name for entry in tmp_path.iterdir()] == ["writer.json"]


def test_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path / "run")
    train_run(digits_plan("train.steps=2"), run)
    other = RunFolder.at(tmp_path / "other")
    train_run(digits_plan("train.steps=2", "networks.width=8"), other)
    path = latest_checkpoint_path(other.checkpoints)
    assert path is not None
    path.replace(run.checkpoints / "00000001.safetensors")
    (run.checkpoints / "00000002.safetensors").unlink()
    with pytest.raises(UserError, match="does not belong to this run"):
        train_run(digits_plan("train.steps=2"), run)


def test_few_labels_name_the_categories(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    groups = np.arange(90) % 3
    pixels = (random.integers(0, 256, (3, 1, 8, 8))[groups] + random.integers(-9, 10, (90, 1, 8, 8))).clip(0, 255)
    np.savez(tmp_path / "groups.npz", images=pixels.astype(np.uint8))
    images = load(tmp_path / "groups.npz")
    (tmp_path / "labels.csv").write_text("".join(f"{images.names[i]},{label}\n" for i, label in ((2, "a"), (0, "b"))))
    config = small_config(
        *("stages.0.share=5", "stages.1.share=5", "stages.2.share=5", "stages.3.share=5", "train.steps=20"),
        preset="robust",
        codes=[{"kind": "categorical", "size": 3}],
        networks={"width": 4, "encoder_width": 4},
        data={"source": str(tmp_path / "groups.npz"), "labels": str(tmp_path / "labels.csv")},
    )
    few_labels = FewLabels(np.array([0, 2, 3, 5]), np.array([1, 0, 1, 0]), ("a", "b"))
    model, _ = train_run(Plan(config, images, few_labels=few_labels), RunFolder.at(tmp_path / "run"))
    names = [model.value_name("category", value) for value in range(3)]
    assert {"a", "b"} <= set(names)
    assert InfoGAN.load(tmp_path / "run").value_name("category", names.index("a")) == "a"


# Callbacks.


class Recorder(Callback):
    """Records all calls that concern results."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_train_begin(self, run: RunFolder, config: Config, step: int) -> None:
        self.calls.append(("begin", run.path.name, config.train.steps, step))

    def on_log(self, record: LogRecord) -> None:
        self.calls.append(("log", record.step))

    def on_figures(self, step: int, figures: Figures) -> None:
        assert all(figure.shape[2] == 3 and figure.dtype == np.uint8 for figure in figures.values())
        self.calls.append(("figures", step, list(figures)))

    def on_evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        self.calls.append(("evaluation", step, "accuracy" in result))

    def on_encoded(self, step: int, encoded: EncodedSample) -> None:
        self.calls.append(("encoded", step, len(encoded.images)))

    def on_train_end(self, status: Status) -> None:
        self.calls.append(("end", status))


def test_callbacks_receive_figures_evaluation_and_codes(tmp_path: Path) -> None:
    planned, run, recorder = plan_with_test_split(tmp_path), RunFolder.at(tmp_path / "run"), Recorder()
    with pytest.raises(Interrupted):
        train_run(planned, run, callbacks=[recorder, Hooks(stop=lambda: ("log", 4) in recorder.calls)])
    names = ["samples", "traversals/category", "traversals/knob1", "traversals/knob2"]
    assert recorder.calls == [
        ("begin", "run", 6, 0), ("log", 2), ("log", 4), ("figures", 4, names), ("log", 5), ("end", "interrupted")
    ]  # fmt: skip
    resumed = Recorder()
    train_run(planned, run, watch=resumed)  # the name of version 0.1
    assert resumed.calls == [
        ("begin", "run", 6, 5), ("log", 6), ("figures", 6, names),
        ("evaluation", 6, True), ("encoded", 6, 40), ("end", "finished"),
    ]  # fmt: skip


def test_callbacks_learn_that_a_session_failed(tmp_path: Path) -> None:
    recorder = Recorder()
    stages = [{"updates": [{"networks": ["discriminator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e30}]}]
    with pytest.raises(UserError, match="NaN or infinite"):
        train_run(plan_with_test_split(tmp_path, stages=stages), RunFolder.at(tmp_path / "run"), trackers=[recorder])
    assert recorder.calls[-1] == ("end", "failed")


def test_model_without_a_recognizer_has_no_codes_to_hand_over(tmp_path: Path) -> None:
    recorder = Recorder()
    stage = {"updates": [{"networks": ["generator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3}]}
    sections = {"objective": {"kind": "gan"}, "codes": [], "stages": [stage]}
    train_run(plan_with_test_split(tmp_path, **sections), RunFolder.at(tmp_path / "run"), callbacks=[recorder])
    assert recorder.calls[1:] == [
        ("log", 2), ("log", 4), ("figures", 4, ["samples"]), ("log", 6), ("figures", 6, ["samples"]),
        ("evaluation", 6, False), ("end", "finished"),
    ]  # fmt: skip


# Samples of codes.


def test_encoded_sample_has_codes_and_features() -> None:
    model = small_model()
    model.name_codes({"category": ["a\tb", *[""] * 9]})
    encoded = encode_sample(model, image_set(500, labelled=False))
    assert encoded.images.shape == (400, 1, 8, 8)
    assert encoded.grid.shape == (20 * 8, 20 * 8, 3)
    encoding = model.encode(encoded.images)
    assert encoded.features.shape == (400, 12)  # ten probabilities and two means
    np.testing.assert_array_equal(encoded.features[:, 11], encoding.codes["knob2"])
    names = ["a\tb", *map(str, range(1, 10))]
    assert encoded.codes["category"] == [names[value] for value in encoding.codes["category"]]
    assert encoded.codes["knob1"] == encoding.codes["knob1"].tolist()


def test_encoded_sample_has_the_features_of_the_encoder() -> None:
    config = small_config(preset="robust", networks={"width": 4})
    shape, layout = ImageShape(1, 8), CodeLayout(config.noise, config.codes)
    model = InfoGAN(
        ModelConfig.of(config, shape), build_networks(config.networks, layout, shape, kind="infogan", seed=0)
    )
    encoded = encode_sample(model, image_set(30))
    assert encoded.features.shape == (30, 128)
    np.testing.assert_array_equal(encoded.features, model.features(encoded.images))


def test_encoded_sample_does_not_read_labels() -> None:
    names = [str(number) for number in range(64)]
    hidden = NoLabelsAllowed(bar_images(), names, "bars", np.zeros(64, np.int64), ("a",))
    assert len(encode_sample(small_model(), hidden).codes["category"]) == 64


def test_training_settings_are_restored(tmp_path: Path) -> None:
    train_run(digits_plan("train.deterministic=true", "train.steps=1"), RunFolder.at(tmp_path))
    assert not torch.are_deterministic_algorithms_enabled()
