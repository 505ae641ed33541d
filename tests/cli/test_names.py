"""Files, labels and folders whose names are not UTF-8, through all commands of a run."""

import json
import os
import sys
from pathlib import Path

import pytest

from infogan.training.run_dir import RunFolder
from tests.commands import invoke
from tests.helpers import image_folder, small_config

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode on this platform")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / os.fsdecode(b"caf\xe9")


def test_a_run_is_trained_evaluated_and_reported(folder: Path, small: list[str]) -> None:
    images = image_folder(folder / "images", lambda i: f"{'ab'[i % 2]}/{i}{os.fsdecode(bytes([0xFF]))}.png", 300, ())
    labels = folder / "labels.csv"
    labels.write_bytes(b"image,label\na/0\xff.png,caf\xe9\nb/1\xff.png,tea\n")
    options: list[str | Path] = ["--labels", labels, "--size", "8", *small, "--out", folder / "run"]
    trained = invoke("train", images, *options)
    assert trained.returncode == 0, trained.stderr
    config = json.loads((folder / "run" / "config.json").read_bytes())
    assert config["data"]["source"] == str(images)
    for command in (["evaluate", "--metrics", "clusters"], ["report"], ["info"], ["info", "--json"]):
        result = invoke(command[0], folder / "run", *command[1:])
        assert result.returncode == 0, result.stderr
    assert "images" in (folder / "run" / "report.html").read_text(encoding="utf-8")
    # Other images in the place of the first ones: an error, which the log has too.
    labels.write_bytes(b"image,label\na/0\xff.png,caf\xe9\nb/3\xff.png,tea\n")
    for content in (labels.read_bytes(), b"image,label\na/0\xfe.png,caf\xe9\n"):
        labels.write_bytes(content)
        refused = invoke("train", images, *options)
        error = refused.stderr.splitlines()[-1]
        assert (refused.returncode, error.partition(" ")[0]) == (2, "error:")
        assert "\\udce9" in error
        error.encode()


def test_an_incident_is_logged_with_escapes(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path / "run")
    run.begin(small_config(data={"source": os.fsdecode(b"caf\xe9"), "size": 8, "channels": 1}), "")
    run.incident(f"a label is {os.fsdecode(bytes([0xFF]))}")
    assert "a label is \\udcff" in (run.path / "log.txt").read_text(encoding="utf-8")
    assert run.read_config().data.source == os.fsdecode(b"caf\xe9")
