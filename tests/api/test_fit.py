"""Training from a program leaves what the command leaves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import infogan
from infogan.api import resolve
from infogan.config.load import build
from infogan.training.callbacks import Interrupted
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests import commands
from tests.data.readers.test_in_memory import Items
from tests.helpers import Hooks, bar_images

SMALL: dict[str, Any] = {
    "recipe": "plain",
    "steps": 6,
    "options": {"networks.width": 4, "train.batch_size": 16, "train.report_every": 2},
}


def test_what_a_program_holds_is_kept_with_the_run(tmp_path: Path) -> None:
    held = Items([(image, number % 2) for number, image in enumerate(bar_images(96))])
    model = infogan.fit(held, out=tmp_path / "run", test=Items(held.items[:40]), categorical=3, continuous=1, **SMALL)
    assert [code.name for code in model.config.codes] == ["category", "knob1"]
    run = RunFolder(tmp_path / "run")
    (metrics,) = run.read_metrics()
    assert "accuracy" in metrics  # labels are there to measure by
    assert (run.path / "report.html").is_file()
    # Without the program it is a run like any other.
    assert "40 images" in commands.infogan("evaluate", run.path, "--metrics", "clusters").stdout
    assert run.read_metrics()[-1]["accuracy"] == metrics["accuracy"]


def test_the_same_call_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    images = bar_images(96)
    stop = Hooks(stop=lambda: True)
    with pytest.raises(Interrupted):
        infogan.fit(images, out=tmp_path / "run", watch=stop, **SMALL)
    gone_on = infogan.fit(images, out=tmp_path / "run", **SMALL)
    whole = infogan.fit(images, out=tmp_path / "whole", **SMALL)
    assert gone_on.digest() == whole.digest()
    with pytest.raises(UserError, match="holds shards of other images"):
        infogan.fit(255 - images, out=tmp_path / "run", **SMALL)
    with pytest.raises(UserError, match=r"another configuration \(train.seed was 0, now 1\)"):
        infogan.fit(images, out=tmp_path / "run", seed=1, **SMALL)


def test_a_name_or_path_is_what_the_command_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "bars.npy", bar_images(96))
    monkeypatch.chdir(tmp_path)
    model = infogan.fit("bars.npy", **SMALL)
    words = ["train", "bars.npy", "--recipe", "plain", "--steps", "6", "--out", "told"]
    for name, value in SMALL["options"].items():
        words += ["--set", f"{name}={value}"]
    assert commands.infogan(*words).returncode == 0
    assert infogan.InfoGAN.load("told").config.trained_as == model.config.trained_as
    assert (tmp_path / "runs" / "00000-bars" / "report.html").is_file()


def test_a_named_set_brings_its_invariances(tmp_path: Path) -> None:
    infogan.fit("digits", out=tmp_path / "run", **{**SMALL, "steps": 2})
    told = json.loads((tmp_path / "run" / "config.json").read_text())
    own, usual = (build(resolve.compose("plain", [layer])).augment for layer in ({"data": {"source": "digits"}}, {}))
    assert told["augment"] == own.model_dump(mode="json")
    assert own != usual


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"recipe": "nothing"}, "unknown preset 'nothing'"),
        ({"options": {"train.nothing": 1}}, "nothing"),
        ({"size": 7}, "option data.size is 7"),
        ({"device": "nowhere"}, "device 'nowhere' can not be used"),
    ],
)
def test_what_can_not_be_asked_for_is_refused(tmp_path: Path, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        infogan.fit(bar_images(96), out=tmp_path / "run", **{**SMALL, **given})
    assert not (tmp_path / "run").exists()


def test_of_images_that_are_refused_nothing_is_kept_so_that_others_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("new", "mine"):
        with pytest.raises(UserError, match="3 usable images, fewer than a batch"):
            infogan.fit(bar_images(3), out=tmp_path / name, **SMALL)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    infogan.fit(bar_images(96), out=tmp_path / "mine", **SMALL)
    with pytest.raises(UserError, match="holds shards of other images"):
        infogan.fit(bar_images(3), out=tmp_path / "mine", **SMALL)
    assert infogan.InfoGAN.load(tmp_path / "mine")
    assert (tmp_path / "mine" / "images" / "index.json").is_file()


def test_a_time_that_is_too_short_is_a_warning_and_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infogan.training.time_budget._measure", lambda *_: (0.0, [0.1]))
    with pytest.warns(UserWarning, match=r"3 s leave 2\d steps .* good pictures want"):
        infogan.fit(bar_images(64), out=tmp_path / "run", recipe="plain", budget=3, options=SMALL["options"])
    assert "good pictures want" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
