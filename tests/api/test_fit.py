"""`infogan.fit` trains as the command does, and leaves the same run folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import infogan
from infogan.api.resolve import compose
from infogan.config.load import build
from infogan.training.callbacks import Interrupted
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.commands import invoke
from tests.data.readers.test_in_memory import Items
from tests.helpers import Hooks, bar_images

OPTIONS = {
    "networks.width": 4,
    "train.batch_size": 16,
    "train.report_every": 2,  # the name of version 0.1
    "evaluation.samples": 100,
    "evaluation.bootstrap_draws": 5,
}
SMALL: dict[str, Any] = {"recipe": "plain", "steps": 6, "options": OPTIONS}


def test_images_in_memory_are_saved_with_the_run(tmp_path: Path) -> None:
    images = Items([(image, number % 2) for number, image in enumerate(bar_images(96))])
    test = Items(images.items[:40])
    model = infogan.fit(images, out=tmp_path / "run", test=test, categorical=3, continuous=1, **SMALL)
    assert [code.name for code in model.config.codes] == ["category", "knob1"]
    run = RunFolder(tmp_path / "run")
    (metrics,) = run.read_metrics()
    assert "accuracy" in metrics  # labels are used for evaluation
    assert (run.path / "report.html").is_file()
    # Commands can read the run without the program.
    result = invoke("evaluate", run.path, "--metrics", "clusters")
    assert "40 images" in result.stdout
    assert run.read_metrics()[-1]["accuracy"] == metrics["accuracy"]


def test_same_call_resumes_and_another_is_refused(tmp_path: Path) -> None:
    images = bar_images(96)
    with pytest.raises(Interrupted):
        infogan.fit(images, out=tmp_path / "run", callbacks=[Hooks(stop=lambda: True)], **SMALL)
    resumed = infogan.fit(images, out=tmp_path / "run", **SMALL)
    uninterrupted = infogan.fit(images, out=tmp_path / "uninterrupted", **SMALL)
    assert resumed.digest() == uninterrupted.digest()
    with pytest.raises(UserError, match="other images"):
        infogan.fit(255 - images, out=tmp_path / "run", **SMALL)
    with pytest.raises(UserError, match=r"train\.seed was 0, now 1"):
        infogan.fit(images, out=tmp_path / "run", seed=1, **SMALL)


def test_path_gives_the_run_that_the_command_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "bars.npy", bar_images(96))
    monkeypatch.chdir(tmp_path)
    model = infogan.fit("bars.npy", **SMALL)
    command = ["train", "bars.npy", "--recipe", "plain", "--steps", "6", "--out", "command"]
    for name, value in OPTIONS.items():
        command += ["--set", f"{name}={value}"]
    assert invoke(*command).returncode == 0
    assert infogan.InfoGAN.load("command").digest() == model.digest()
    assert infogan.InfoGAN.load("command").config.trained_as == model.config.trained_as
    assert (tmp_path / "runs" / "00000-bars" / "report.html").is_file()


def test_named_data_set_has_its_own_augmentations(tmp_path: Path) -> None:
    infogan.fit("digits", out=tmp_path / "run", **{**SMALL, "steps": 2})
    augment = json.loads((tmp_path / "run" / "config.json").read_text())["augment"]
    expected, default = (build(compose("plain", [layer])).augment for layer in ({"data": {"source": "digits"}}, {}))
    assert augment == expected.model_dump(mode="json")
    assert expected != default


def test_callbacks_of_every_name_are_called(tmp_path: Path) -> None:
    steps: list[list[int]] = [[], [], []]
    first, second, third = (Hooks(on_step=part.append) for part in steps)
    options = {**SMALL, "steps": 2}
    infogan.fit(bar_images(40), out=tmp_path / "run", callbacks=[first], trackers=[second], watch=third, **options)
    assert steps == [[1, 2]] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "nothing"}, "unknown recipe 'nothing'"),
        ({"options": {"train.nothing": 1}}, "train.nothing"),
        ({"options": {"stages.0.updates.0.losses.informations": 1}}, "'information'"),
        ({"size": 7}, "data.size is 7"),
        ({"device": "nowhere"}, "device 'nowhere'"),
    ],
)
def test_mistake_leaves_no_folder(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        infogan.fit(bar_images(96), out=tmp_path / "run", **{**SMALL, **arguments})
    assert not (tmp_path / "run").exists()


def test_refused_images_are_not_saved(tmp_path: Path) -> None:
    (tmp_path / "existing").mkdir()
    for name in ("new", "existing"):
        with pytest.raises(UserError, match="3 usable images"):
            infogan.fit(bar_images(3), out=tmp_path / name, **SMALL)
    assert [path.name for path in tmp_path.rglob("*")] == ["existing"]
    infogan.fit(bar_images(96), out=tmp_path / "existing", **SMALL)
    with pytest.raises(UserError, match="other images"):
        infogan.fit(bar_images(3), out=tmp_path / "existing", **SMALL)
    assert infogan.InfoGAN.load(tmp_path / "existing")
    assert (tmp_path / "existing" / "images" / "index.json").is_file()


def test_budget_that_is_too_short_is_a_warning_and_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infogan.training.time_budget._measure", lambda *_: (0.0, [0.1]))
    with pytest.warns(UserWarning, match=r"budget of 3 s leaves 2\d GAN steps"):
        infogan.fit(bar_images(64), out=tmp_path / "run", recipe="plain", budget=3, options=OPTIONS)
    assert "a budget of 3 s leaves" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
