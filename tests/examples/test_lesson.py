"""The notebook of the lesson runs from its first to its last cell, and its figures are right."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infogan.data import dataset_status

LESSON = Path(__file__).resolve().parents[2] / "examples" / "lesson.ipynb"


def executed(folder: Path, monkeypatch: pytest.MonkeyPatch, data: str, steps: int) -> dict[str, str]:
    """Execute the notebook; return the text that each cell shows."""
    import nbformat
    from nbclient import NotebookClient

    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(folder / "jupyter"))
    monkeypatch.setenv("LESSON_DATA", data)
    monkeypatch.setenv("LESSON_STEPS", str(steps))
    notebook = nbformat.read(LESSON, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)  # committed clean
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources=resources).execute()
    return {cell.id: "".join(map(text_of, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"}


def text_of(output: Any) -> str:
    return str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))


def check(texts: dict[str, str], size: int) -> None:
    """Check what the cells show."""
    assert texts["train-gan"] == f"<Samples: 40 images, 1 x {size} x {size}; codes: none>"
    assert "cgan" in texts["train-cgan"]
    assert texts["threes"].startswith("<Samples: 10 images")
    joint = np.array([[0.25, 0.05, 0.03], [0.05, 0.22, 0.06], [0.03, 0.06, 0.25]])
    entropies = [-(p * np.log(p)).sum() for p in (joint.sum(axis=0), joint.sum(axis=1), joint)]
    information = entropies[0] + entropies[1] - entropies[2]
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", texts["bound"])]
    # The bound is tight for the true posterior; a guess has H(c) - log 3, which is hardly anything.
    assert numbers == pytest.approx([information, information, entropies[1] - np.log(3)], abs=1e-3)
    for cell in ("measure", "train-robust"):
        line = re.search(r"bound (\S+) of 2.30 nats, accuracy (\S+)", texts[cell])
        assert line is not None
        assert float(line[1]) <= 2.31
        assert 0 <= float(line[2]) <= 1
    assert texts["verdict"].count("groups: ") == 2


@pytest.mark.integration
@pytest.mark.filterwarnings("default")  # Jupyter and ZeroMQ warn
def test_the_lesson_runs_on_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(executed(tmp_path, monkeypatch, "digits", 240), 8)
    assert sorted(os.listdir(tmp_path / "runs")) == [f"{number:05}-digits" for number in range(4)]


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(dataset_status("mnist") not in ("cached", "on this system"), reason="MNIST is not on this machine")
def test_the_lesson_runs_on_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(executed(tmp_path, monkeypatch, "mnist", 240), 28)


def test_the_lesson_names_the_post_and_has_one_exercise_for_each_part() -> None:
    import json

    texts = ["".join(cell["source"]) for cell in json.loads(LESSON.read_text(encoding="utf-8"))["cells"]]
    parts = [text.splitlines()[0] for text in texts if text.startswith("## ")]
    assert len(parts) == 5
    exercises = [text for text in texts if text.startswith("**Exercise")]
    assert [text[: len("**Exercise 1.")] for text in exercises] == [f"**Exercise {n}." for n in range(1, 6)]
    assert "Agustinus Kristiadi" in texts[0]
