"""The blocks of docs/first-picture.md do what the page says, without what they install and with short trainings."""

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

import numpy as np
import pytest
from PIL import Image

from tests import ROOT
from tests.docs.pages import Page

pytestmark = pytest.mark.integration

PAGE = Page.read("docs/first-picture.md")
SHELL_BLOCKS = [block.text for block in PAGE.blocks if block.language == "sh"]
PARTS = {"terminal": 0, "scikit-learn": 1, "explorer": 2, "site": 3, "tensorflow": 4}
TRAINING = "infogan train digits --out runs/digits\n"  # in every block of the shell except scikit-learn's
SHORT_OPTIONS = "--recipe plain --steps 20 --set networks.width=4"
SHORT_ARGUMENTS = 'recipe="plain", steps=20, options={"networks.width": 4}'


def shorten(block: str, *, trained: bool) -> str:
    """Return a block without its first line, which installs infogan, and with a short training or none."""
    install, _, rest = block.partition("\n")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    match = re.fullmatch(r"pip install '?\.(?:\[(\w+)\])?'?(?: tensorflow)?", install)
    assert match and match[1] in {None, *extras}
    assert (TRAINING in rest) != ("random_state=0" in rest)
    rest = rest.replace(TRAINING, "" if trained else TRAINING.replace("\n", f" {SHORT_OPTIONS}\n"))
    return rest.replace("random_state=0", f"random_state=0, {SHORT_ARGUMENTS}")


def start(part: str, folder: Path, run: Path | None = None) -> "subprocess.Popen[str]":
    """Start a shell with a block; the address that it opens in a browser is written to ``opened``.

    Args:
        part: Name of the block.
        folder: Current folder of the shell.
        run: Run folder that replaces the training.
    """
    if run is not None:
        shutil.copytree(run, folder / "runs" / "digits")
    browser = folder / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened.new && mv opened.new opened\n')
    browser.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "KERAS_HOME": str(folder / "keras"),
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "BROWSER": f"{browser} %s",
    }
    return subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", shorten(SHELL_BLOCKS[PARTS[part]], trained=run is not None)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_block(part: str, folder: Path, run: Path | None = None) -> str:
    """Run a block to its end and return its output."""
    process = start(part, folder, run)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def check_figure(path: Path, size: tuple[int, int] | None = None) -> None:
    with Image.open(path) as figure:
        assert size in (None, figure.size)
        assert np.ptp(np.asarray(figure.convert("L"))) > 100


def test_every_shell_block_is_tested() -> None:
    assert sorted(PARTS.values()) == list(range(len(SHELL_BLOCKS)))


def test_terminal_block_draws_a_traversal_and_a_report(tmp_path: Path) -> None:
    run_block("terminal", tmp_path)
    check_figure(tmp_path / "runs" / "digits" / "traversals" / "category.png")
    assert (tmp_path / "runs" / "digits" / "report.html").is_file()


def test_scikit_learn_block_draws_the_categories(tmp_path: Path) -> None:
    output = run_block("scikit-learn", tmp_path)
    assert re.search(r"not used in training: -?\d\.\d+", output)
    check_figure(tmp_path / "categories.png")


@pytest.mark.skipif(find_spec("starlette") is None, reason="needs the extra [explorer]")
def test_explorer_block_opens_the_page(tmp_path: Path, digits_run: Path) -> None:
    process = start("explorer", tmp_path, digits_run)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "opened").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        address = (tmp_path / "opened").read_text().strip()
        client = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with client.open(address) as response:
            assert b"infogan" in response.read()
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs the extra [onnx]")
def test_site_block_opens_the_exported_page(tmp_path: Path, digits_run: Path) -> None:
    run_block("site", tmp_path, digits_run)
    assert (tmp_path / "opened").read_text().strip().endswith("page/index.html")
    assert (tmp_path / "page" / "index.html").is_file()


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow")
def test_tensorflow_block_draws_the_categories(tmp_path: Path, digits_run: Path) -> None:
    run_block("tensorflow", tmp_path, digits_run)
    check_figure(tmp_path / "categories.png", (900, 450))


@pytest.mark.filterwarnings("default")  # Jupyter and ZeroMQ have warnings of their own
def test_notebook_block_shows_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    (cell,) = (block.text for block in PAGE.blocks if block.language == "python")
    install, _, rest = cell.partition("\n")
    assert install == "%pip install --quiet ."
    folder = 'out="runs/digits"'
    assert folder in rest
    rest = rest.replace(folder, f"{folder}, {SHORT_ARGUMENTS}")
    (controls,) = re.findall(r"`(infogan\.notebook\.explore\(\w+\))`", PAGE.text)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (rest, controls)])
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, timeout=240, kernel_name="python3", resources=resources).execute()
    for executed in book.cells:
        (result,) = [output for output in executed.outputs if output.output_type == "execute_result"]
        assert "<img" in result.data["text/html"]
