"""The blocks of docs/first-picture.md do what the page says, but for what they install and how long they train."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from tests import ROOT

PAGE = (ROOT / "docs" / "first-picture.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TRAINING = "infogan train digits --out runs/digits\n"  # in all blocks of the shell; done once
BRIEFLY = "--recipe plain --steps 20 --set networks.width=4"
SMALL = 'recipe="plain", steps=20, options={"networks.width": 4}'
PARTS = {"terminal": 0, "scikit-learn": 1, "explorer": 2, "site": 3, "tensorflow": 4}


def shortened(block: str, *, trained: bool) -> str:
    """The block without what it installs, after a look at that, and with 20 steps of a small recipe or none."""
    first, _, rest = block.partition("\n")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    installed = re.fullmatch(r"pip install '?infogan(?:\[(\w+)\])?'?(?: tensorflow)?", first)
    assert installed and installed[1] in {None, *known}
    assert (TRAINING in rest) != ("random_state=0" in rest)
    rest = rest.replace(TRAINING, "" if trained else TRAINING.replace("\n", f" {BRIEFLY}\n"))
    return rest.replace("random_state=0", f"random_state=0, {SMALL}")


def begun(part: str, folder: Path, run: Path | None = None) -> "subprocess.Popen[str]":
    """A terminal into which the block has been copied; what is opened in a browser is written down in ``opened``.

    With a ``run``, the block's own is taken to be that one.
    """
    if run is not None:
        shutil.copytree(run, folder / "runs" / "digits")
    browser = folder / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened.new && mv opened.new opened\n')
    browser.chmod(0o755)
    paths = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    caches = {"KERAS_HOME": str(folder / "keras"), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    told = {**os.environ, **paths, **caches, "BROWSER": f"{browser} %s"}
    return subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", shortened(SHELL[PARTS[part]], trained=run is not None)],
        cwd=folder,
        env=told,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ran(part: str, folder: Path, run: Path | None = None) -> str:
    process = begun(part, folder, run)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def check_picture(path: Path, size: tuple[int, int] | None = None) -> None:
    with Image.open(path) as picture:
        assert size in (None, picture.size)
        assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_every_block_is_tried() -> None:
    assert sorted(PARTS.values()) == list(range(len(SHELL)))


def test_a_terminal(tmp_path: Path) -> None:
    ran("terminal", tmp_path)
    check_picture(tmp_path / "runs" / "digits" / "traversals" / "category.png")
    assert (tmp_path / "runs" / "digits" / "report.html").is_file()


def test_scikit_learn(tmp_path: Path) -> None:
    said = ran("scikit-learn", tmp_path)
    assert re.search(r"which it was not shown: -?\d\.\d+", said)
    check_picture(tmp_path / "categories.png")


@pytest.mark.skipif(find_spec("starlette") is None, reason="needs the extra [explorer]")
def test_the_explorer(tmp_path: Path, digits_run: Path) -> None:
    process = begun("explorer", tmp_path, digits_run)
    try:
        until = time.monotonic() + 120
        while not (tmp_path / "opened").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        address = (tmp_path / "opened").read_text().strip()
        visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with visitor.open(address) as answer:
            assert b"infogan" in answer.read()
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs the extra [onnx]")
def test_a_site(tmp_path: Path, digits_run: Path) -> None:
    ran("site", tmp_path, digits_run)
    assert (tmp_path / "opened").read_text().strip().endswith("page/index.html")
    assert (tmp_path / "page" / "index.html").is_file()


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow")
def test_tensorflow(tmp_path: Path, digits_run: Path) -> None:
    ran("tensorflow", tmp_path, digits_run)
    check_picture(tmp_path / "categories.png", (900, 450))


def test_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    (cell,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    first, _, rest = cell.partition("\n")
    assert first == "%pip install --quiet infogan"
    whole = 'out="runs/digits"'
    assert whole in rest
    rest = rest.replace(whole, f"{whole}, {SMALL}")
    (steered,) = re.findall(r"`(infogan\.notebook\.explore\(\w+\))`", PAGE)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (rest, steered)])
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, timeout=240, kernel_name="python3", resources=where).execute()
    for one in book.cells:
        (shown,) = [output for output in one.outputs if output.output_type == "execute_result"]
        assert "<img" in shown.data["text/html"]
