"""Evaluation of a finished run: the images that it was trained on are found again, and no others are taken for them."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import infogan
from infogan.api.evaluate_run import inputs_of_run
from infogan.data import resolve_source
from infogan.models.infogan import InfoGAN
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.commands import invoke
from tests.helpers import bar_images, image_folder

SMALL = ["--recipe", "plain", "--set", "networks.width=4", "--set", "train.batch_size=16", "--steps", "4"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with images, photos/, and a run on them, run/, that was started there."""
    image_folder(tmp_path / "home" / "photos", lambda i: f"{i}.png", 40, ())
    result = invoke("train", "photos", "--out", "run", *SMALL, cwd=tmp_path / "home")
    assert result.returncode == 0, result.stderr
    return tmp_path / "home"


def evaluated_images(run: Path, *arguments: str, cwd: Path) -> int | str:
    """Return the number of images that a run is evaluated on, or the error."""
    result = invoke("evaluate", run, "--metrics", "information", "--json", *arguments, cwd=cwd)
    if result.returncode:
        assert result.returncode == 2
        return result.stderr
    return int(json.loads(result.stdout)["protocol"].split(": ")[1].split()[0])


def test_images_are_found_from_any_folder(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    image_folder(tmp_path / "elsewhere" / "photos", lambda i: f"{i}.png", 10, ())  # which the run never saw
    for cwd in (home, tmp_path, tmp_path / "elsewhere"):
        assert evaluated_images(home / "run", cwd=cwd) == 40
    assert invoke("report", home / "run", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_other_images_are_refused(home: Path, tmp_path: Path, command: str) -> None:
    (home / "photos" / "5.png").write_bytes((home / "photos" / "6.png").read_bytes())
    result = invoke(command, home / "run", cwd=home)
    assert result.returncode == 2
    assert "not those" in result.stderr
    (home / "photos" / "5.png").unlink()
    assert invoke(command, home / "run", cwd=home).returncode == 2


def test_images_that_were_moved_are_given_with_data(home: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (home / "photos").rename(moved)
    missing = evaluated_images(home / "run", cwd=home)
    assert isinstance(missing, str)
    assert str(home / "photos") in missing
    assert "--data" in missing
    assert evaluated_images(home / "run", "--data", "moved", cwd=tmp_path) == 40
    image_folder(home / "photos", lambda i: f"{i}.png", 39, ())
    assert "not those" in str(evaluated_images(home / "run", "--data", "photos", cwd=home))
    # The run itself goes on with the images at their new place, and remembers it.
    resumed = invoke("train", "moved", "--out", home / "run", *SMALL, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert evaluated_images(home / "run", cwd=home) == 40


def test_images_of_a_program_are_found_in_a_run_that_was_moved(tmp_path: Path) -> None:
    options = {"networks.width": 4, "train.batch_size": 16}
    infogan.fit(bar_images(40), out=tmp_path / "run", recipe="plain", steps=2, options=options)
    moved = tmp_path / "moved"
    (tmp_path / "run").rename(moved)
    assert len(inputs_of_run(RunFolder(moved), InfoGAN.load(moved)).train) == 40
    # A copy next to the original has images of its own.
    copy = shutil.copytree(moved, tmp_path / "copy")
    shutil.rmtree(moved / "images")
    assert len(inputs_of_run(RunFolder(copy), InfoGAN.load(copy)).train) == 40


def test_a_source_means_the_same_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_source("mnist") == "mnist"
    assert resolve_source("s3://bucket/photos") == "s3://bucket/photos"
    assert resolve_source("photos") == str(tmp_path / "photos")
    assert resolve_source(Path("mnist")) == str(tmp_path / "mnist")
    assert resolve_source("~/photos") == os.path.join(os.path.expanduser("~"), "photos")
    for make in (Path("mnist").mkdir, lambda: Path("digits").write_bytes(b""), lambda: Path("svhn").symlink_to("x")):
        make()
    for name in ("mnist", "digits", "svhn"):
        with pytest.raises(UserError, match=rf"\./{name}"):
            resolve_source(name)
        assert resolve_source(f"./{name}") == str(tmp_path / name)


def test_real_images_of_a_sorted_set_are_drawn_evenly(tmp_path: Path) -> None:
    """The grid of real images shows all of the set, not its first class."""
    images = np.repeat(np.array([0, 255], np.uint8), 500)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8)
    options = {"networks.width": 4, "train.batch_size": 16}
    infogan.fit(images, out=tmp_path / "run", recipe="plain", steps=1, options=options)
    from PIL import Image

    with Image.open(tmp_path / "run" / "samples" / "reals.png") as grid:
        shown = np.asarray(grid.convert("L"), np.float64)
    assert 0.3 < (shown > 128).mean() < 0.7
