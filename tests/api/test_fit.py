"""`infogan.fit` trains as the command does, and leaves the same run folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import infogan
from infogan.config.presets import usual_augmentations
from infogan.data import load
from infogan.models.results import Samples
from infogan.training.callbacks import Interrupted
from infogan.training.run_dir import RunFolder
from infogan.training.time_budget import Timing
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


def test_images_have_the_same_augmentations_under_any_name(tmp_path: Path) -> None:
    for name, data in (("named", "digits"), ("array", load("digits").images)):
        infogan.fit(data, out=tmp_path / name, **{**SMALL, "steps": 2})
        config = RunFolder.existing(tmp_path / name).read_config()
        assert config.augment.strengths == usual_augmentations(1)


def test_callbacks_of_every_name_are_called(tmp_path: Path) -> None:
    steps: list[list[int]] = [[], [], []]
    first, second, third = (Hooks(on_step=part.append) for part in steps)
    options = {**SMALL, "steps": 2}
    infogan.fit(bar_images(40), out=tmp_path / "run", callbacks=[first], trackers=[second], watch=third, **options)
    assert steps == [[1, 2]] * 3


def test_numbers_may_be_of_any_library(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"categorical": 3, "continuous": 1, "seed": 5, "size": 8, "channels": 1, "steps": 2}
    options = OPTIONS | {"train.seed": 7, "augment": {"shift": 0.25}, "data.shape": "pad"}
    expected = infogan.fit(bar_images(64), out=tmp_path / "python", recipe="plain", options=options, **arguments)
    for number in (np.int64, torch.tensor, np.array, np.float32):
        others: dict[str, Any] = {name: number(value) for name, value in arguments.items()}
        given = options | {"train.batch_size": number(16), "train.seed": number(7), "augment": {"shift": number(0.25)}}
        if number is np.int64:
            given["augment"] = {"shift": np.float64(0.25)}
        model = infogan.fit(
            bar_images(64),
            out=tmp_path / number.__name__,
            recipe=np.str_("plain"),
            options={np.str_(name): value for name, value in given.items()},
            device=torch.device("cpu"),  # type: ignore[arg-type]
            **others,
        )
        assert model.digest() == expected.digest()
        assert model.config == expected.config


def test_budget_may_be_a_number_of_any_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infogan.api.resolve.measure", lambda *_: Timing(0.0, (0.5,)))
    for budget in (np.float32(3), np.int64(3), torch.tensor(3)):
        with pytest.raises(UserError, match="a budget of 3 s is too short"):
            infogan.fit(bar_images(64), out=tmp_path / "run", recipe="plain", budget=budget, options=OPTIONS)


@pytest.mark.parametrize(
    "images",
    [
        torch.from_numpy(bar_images(64)).div(255).bfloat16(),
        Samples(bar_images(64), {}),
        tuple(bar_images(64)),
        [Image.fromarray(image[0]) for image in bar_images(64)],
    ],
    ids=lambda images: type(images).__name__,
)
def test_images_of_any_kind_train_the_same_model(images: Any, tmp_path: Path) -> None:
    expected = infogan.fit(bar_images(64), out=tmp_path / "array", **SMALL)
    assert infogan.fit(images, out=tmp_path / "other", **SMALL).digest() == expected.digest()


@pytest.mark.parametrize("target", [torch.zeros(40), float("inf"), 10**12, "cat"])
def test_targets_that_are_no_labels_are_not_used(target: Any, tmp_path: Path) -> None:
    images = Items([(image, target) for image in bar_images(64)])
    infogan.fit(images, out=tmp_path / "run", **SMALL)
    (metrics,) = RunFolder(tmp_path / "run").read_metrics()
    assert "accuracy" not in metrics
    assert infogan.data.load(tmp_path / "run" / "images").labels is None


def test_images_left_out_are_recorded_or_refused(tmp_path: Path) -> None:
    images: list[Any] = [*bar_images(64), np.full((1, 8, 8), np.nan)]
    infogan.fit(images, out=tmp_path / "run", size=8, channels=1, **SMALL)
    (skipped,) = infogan.data.load(tmp_path / "run" / "images").skipped
    assert skipped.startswith("64: ")
    assert "skipped 64: " in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    strict = SMALL | {"options": OPTIONS | {"data.strict": True}}
    with pytest.raises(UserError, match=r"e\.g\. 64"):
        infogan.fit(images, out=tmp_path / "strict", size=8, channels=1, **strict)
    assert not (tmp_path / "strict").exists()


def test_values_are_scaled_once(tmp_path: Path) -> None:
    images = bar_images(64).astype(np.uint16) * 16
    options = OPTIONS | {"data.value_range": np.array([0, 4080])}
    model = infogan.fit(images, out=tmp_path / "run", **SMALL | {"options": options})
    assert np.array_equal(infogan.data.load(tmp_path / "run" / "images").images[:], bar_images(64))
    assert model.digest() == infogan.fit(bar_images(64), out=tmp_path / "bytes", **SMALL).digest()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"categorical": float("nan")}, r"codes\.0\.size is nan"),
        ({"continuous": np.float32("nan")}, "number of continuous codes .*not nan"),
        ({"seed": float("nan")}, r"train\.seed is nan"),
        ({"budget": np.float64("inf")}, r"train\.budget is inf"),
        ({"size": torch.tensor(float("nan"))}, r"data\.size is nan"),
        ({"options": {"noise.size": float("nan")}}, r"noise\.size is nan"),
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


def test_images_to_evaluate_on_are_refused_with_a_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give digits a test split"):
        infogan.fit("digits", out=tmp_path / "run", test=bar_images(9), **SMALL)
    with pytest.raises(UserError, match="is not a set of images"):
        infogan.fit(bar_images(96), out=tmp_path / "run", test="digits", **SMALL)
    assert not (tmp_path / "run").exists()


def test_refused_images_are_not_saved(tmp_path: Path) -> None:
    (tmp_path / "existing").mkdir()
    for name in ("new", "existing"):
        with pytest.raises(UserError, match="has 3 images; at least 8"):
            infogan.fit(bar_images(3), out=tmp_path / name, **SMALL)
    assert [path.name for path in tmp_path.rglob("*")] == ["existing"]
    infogan.fit(bar_images(96), out=tmp_path / "existing", **SMALL)
    with pytest.raises(UserError, match="other images"):
        infogan.fit(bar_images(3), out=tmp_path / "existing", **SMALL)
    assert infogan.InfoGAN.load(tmp_path / "existing")
    assert (tmp_path / "existing" / "images" / "index.json").is_file()


def test_budget_that_is_too_short_is_a_warning_and_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infogan.api.resolve.measure", lambda *_: Timing(0.0, (0.01,)))
    with pytest.warns(UserWarning, match=r"budget of 3 s leaves 25\d GAN steps"):
        infogan.fit(bar_images(64), out=tmp_path / "run", recipe="plain", budget=3, options=OPTIONS)
    assert "a budget of 3 s leaves" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")


def test_model_has_the_verdict_of_its_run(tmp_path: Path) -> None:
    model = infogan.fit(bar_images(120), out=tmp_path / "run", recipe="plain", steps=2, options=OPTIONS)
    (line,) = (json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert model.verdict is not None
    assert (model.verdict.trust, model.verdict.reason) == (line["verdict"]["trust"], line["verdict"]["reason"])
    assert infogan.InfoGAN.load(tmp_path / "run").verdict == model.verdict
    RunFolder(tmp_path / "run").add_metrics({"step": 2, "verdict": {"trust": True, "reason": "of version 0.1"}})
    assert model.verdict.trust
    assert model.verdict.groups == model.verdict.pictures == "yes"
    model.save(tmp_path / "model")
    assert infogan.InfoGAN.load(tmp_path / "model").verdict is None


def test_progress_is_shown_unless_it_is_not_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (True, False):
        run = tmp_path / str(verbose)
        infogan.fit(bar_images(64), out=run, recipe="plain", steps=2, options=OPTIONS, verbose=verbose)
        output = capsys.readouterr()
        assert output.out == ""
        assert ("step 2/2" in output.err) == verbose
