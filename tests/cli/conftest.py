"""A finished run, and a folder of images, for the tests of the command line."""

import json
from pathlib import Path

import pytest

from tests.commands import invoke
from tests.helpers import image_folder

SMALL = ["--set", "networks.width=4", "--set", "train.batch_size=16", "--steps", "8"]


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Arguments of `train` for a run of a second."""
    return SMALL


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on digits."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    result = invoke("train", "digits", "--out", folder, *SMALL, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["run"] == str(folder)
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 72 PNG files in two subfolders."""
    return image_folder(tmp_path_factory.mktemp("images"), lambda i: f"{('lying', 'upright')[i % 2]}/{i}.png", 72, ())


@pytest.fixture(scope="session")
def countable_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of enough images to count categories."""
    return image_folder(tmp_path_factory.mktemp("countable"), lambda i: f"{i}.png", 120, ())
