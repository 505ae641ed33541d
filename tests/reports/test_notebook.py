"""Notebook output: frames are what the model generates, names stay text, and the example notebook runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infogan.models.infogan import InfoGAN
from infogan.models.results import MAX_DISPLAYED, Samples
from infogan.reports import figures, notebook
from infogan.reports.notebook import LAYOUTS, MAX_PIXEL_VALUES, explore, progress
from infogan.training.callbacks import LogRecord
from tests import ROOT
from tests.blocks import blocks
from tests.helpers import bar_images, model_without_recognizer, small_model
from tests.reports.test_report import Page

EXAMPLE = ROOT / "examples" / "first-steps.ipynb"
BARS = small_model()


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


def inserted(html: str) -> str:
    """Return the HTML that the script of an explorer inserts."""
    match = re.search(r"element\.innerHTML = (\".*\");", html)
    assert match
    text: str = json.loads(match[1])
    return text


def test_model_shows_a_sheet_and_a_description() -> None:
    bundle = BARS._repr_mimebundle_()
    count = sum(weights.numel() for weights in BARS.networks.parameters())
    line = f"InfoGAN of 8x8 grey images; category (10 values), knob1, knob2; {count:,} parameters on cpu"
    assert bundle["text/plain"] == repr(BARS) == f"<{line}>"
    page = Page(bundle["text/html"])
    (image,) = page.images()
    assert np.array_equal(rgb(image), rgb(BARS.sheet("category", rows=4)))
    assert any(line in text for text in page.texts)


@pytest.mark.parametrize(
    ("model", "description", "code"),
    [
        (small_model(codes=[{"kind": "continuous", "name": "<b>"}]), "<InfoGAN of 8x8 grey images; <b>; ", "<b>"),
        (model_without_recognizer("gan"), "<InfoGAN (gan) of 8x8 grey images; no codes; ", None),
        (model_without_recognizer("cgan"), "<InfoGAN (cgan) of 8x8 grey images; label (3 values); ", "label"),
        (small_model(channels=3, codes=[{"kind": "categorical", "size": 300}]), "8x8 colour", "category"),
    ],
)
def test_every_kind_of_model_shows_itself(model: InfoGAN, description: str, code: str | None) -> None:
    page = Page(model._repr_mimebundle_()["text/html"])
    (image,) = page.images()
    expected = figures.image_grid(model.sample(64).images, 8) if code is None else model.sheet(code, rows=4, limit=20)
    assert np.array_equal(rgb(image), rgb(expected))
    assert description in repr(model)
    assert "\n" not in repr(model)
    assert not page.all("b")
    assert image.width < 2000


def test_samples_show_a_grid_of_the_first_images() -> None:
    few = BARS.sample(10)
    assert repr(few) == "<Samples: 10 images, 1 x 8 x 8; codes: category, knob1, knob2>"
    (image,) = Page(few._repr_mimebundle_()["text/html"]).images()
    assert np.array_equal(rgb(image), rgb(figures.image_grid(few.images, 4)))
    page = Page(BARS.sample(MAX_DISPLAYED + 1)._repr_mimebundle_()["text/html"])
    assert f"The first {MAX_DISPLAYED} of {MAX_DISPLAYED + 1}." in page.texts
    assert np.array_equal(rgb(page.images()[0]), rgb(figures.image_grid(BARS.sample(MAX_DISPLAYED).images, 8)))
    empty = Samples(np.empty((0, 1, 8, 8), np.uint8), {})
    assert empty._repr_mimebundle_() == {"text/plain": "<Samples: 0 images, 1 x 8 x 8; codes: none>"}


def test_encoding_is_summarised_in_one_line() -> None:
    encoding = BARS.encode(bar_images(20))
    used = len(set(encoding.codes["category"].tolist()))
    probability = encoding.probabilities["category"].max(axis=1).mean()
    knobs = [f"{name} {encoding.codes[name].mean():+.2f} on average" for name in ("knob1", "knob2")]
    assert repr(encoding) == (
        f"<Encoding of 20 images: category of {used} values, mean probability {probability:.2f}; {'; '.join(knobs)}>"
    )
    assert repr(BARS.encode(bar_images(20)[:0])) == "<Encoding of 0 images: category of 0 values; knob1; knob2>"


@pytest.mark.parametrize("combined", [True, False])
def test_every_frame_matches_the_positions_of_its_controls(monkeypatch: pytest.MonkeyPatch, combined: bool) -> None:
    monkeypatch.setattr(notebook, "LAYOUTS", [(2, 5, combined)])
    page = Page(inserted(explore(BARS, seed=4)._repr_html_()))
    strips, values = page.images(), [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert len(strips) == len([control for control in page.all("input") if control["type"] == "radio"]) == 10
    independent = [(a, 0.0) for a in values] + [(0.0, b) for b in values]
    positions = [(a, b) for a in values for b in values] if combined else independent
    side = 2 * 9 + 1
    for category in (0, 7):
        strip = rgb(strips[category])
        assert strip.shape == (side, side * len(positions), 3)
        for index, (knob1, knob2) in enumerate(positions):
            codes = {"category": category, "knob1": knob1, "knob2": knob2}
            expected = figures.image_grid(BARS.sample(4, codes=codes, seed=4).images, 2, padding=1, scale=1)
            assert np.array_equal(strip[:, index * side : (index + 1) * side], rgb(expected))
    assert any("data-independent" in attributes for attributes in page.all("figure")) != combined


@pytest.mark.parametrize(
    ("codes", "size", "channels", "layout"),
    [
        ([{"kind": "categorical", "size": 10}, *[{"kind": "continuous"}] * 2], 28, 1, (3, 7, True)),
        ([{"kind": "categorical", "size": 10}, *[{"kind": "continuous"}] * 2], 64, 3, (1, 5, True)),
        ([{"kind": "continuous"}] * 12, 8, 1, (3, 11, False)),
        ([{"kind": "categorical", "size": 1000}, *[{"kind": "continuous"}] * 5], 128, 3, (1, 5, False)),
    ],
)
def test_output_stays_small(codes: list[dict[str, Any]], size: int, channels: int, layout: tuple[int, ...]) -> None:
    model = small_model(codes=codes, size=size, channels=channels)
    categories = min(20, codes[0].get("size", 1))
    knobs = sum(code["kind"] == "continuous" for code in codes)
    side, positions, combined = notebook._choose_layout(model, categories, knobs)
    assert (side, positions, combined) == layout

    def pixel_values(side: int, positions: int, combined: bool) -> int:
        frames: int = categories * (positions**knobs if combined else positions * knobs)
        return frames * side**2 * size**2 * channels

    larger_layouts = LAYOUTS[: LAYOUTS.index((side, positions, combined))]
    assert all(pixel_values(*larger) > MAX_PIXEL_VALUES for larger in larger_layouts)
    assert pixel_values(side, positions, combined) <= MAX_PIXEL_VALUES or layout == LAYOUTS[-1]


def test_names_cannot_end_the_script() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 2}])
    model.name_codes({"category": ["</script><script>alert(1)</script>", "<!--<script>"]})
    html = explore(model)._repr_html_()
    page = Page(html)
    assert len(page.all("script")) == 1
    assert html.count("<script") == html.count("</script") == 1
    script = html[html.index("element.innerHTML = ") :].partition(";\n")[0]
    assert "<" not in script
    figure = Page(inserted(html))
    assert not figure.all("script") and "</script><script>alert(1)</script>" in figure.texts


def test_sheet_is_shown_without_the_script() -> None:
    html = explore(BARS)._repr_html_()
    fallback = Page(re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL))
    assert not fallback.all("input") and not fallback.all("style")
    assert np.array_equal(rgb(fallback.images()[0]), rgb(BARS.sheet("category", rows=4)))
    ids = [re.search(r'id="(\S+)"', explore(BARS)._repr_html_()) for _ in range(2)]
    assert ids[0] and ids[1] and ids[0][1] != ids[1][1]  # each output steers only itself
    assert repr(explore(BARS)) == f"<Explorer of {repr(BARS)[1:-1]}>"


RECORD = LogRecord(
    3, {"step": 3, "stage": "gan", "information/category": 1.234, "information/knob1": 0.5, "seconds": 1.0}
)
TEXT = "gan, information in nats: category 1.23, knob1 0.50"


def test_progress_bar_follows_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    callback = progress(4)
    callback.on_step_end(2)  # resumed after step 1
    callback.on_step_end(3)
    callback.on_log(RECORD)
    callback.on_step_end(4)
    output = capsys.readouterr().err
    assert "4/4" in output and "100%" in output and TEXT in output


def test_progress_without_tqdm_prints_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    callback = progress(4)
    callback.on_step_end(3)
    callback.on_log(RECORD)
    callback.on_log(LogRecord(4, {"step": 4, "stage": "cluster"}))
    assert capsys.readouterr().out == f"step 3/4  {TEXT}\nstep 4/4  cluster\n"


@pytest.mark.integration
@pytest.mark.filterwarnings("default")  # Jupyter and ZeroMQ warn
def test_example_notebook_runs_and_shows_its_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("FIRST_STEPS", "60")
    example = nbformat.read(EXAMPLE, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in example.cells)  # committed clean
    nbformat.validate(example)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(example, timeout=240, kernel_name="python3", resources=resources).execute()
    outputs = {cell.id: cell.outputs for cell in example.cells if cell.cell_type == "code"}

    def text(cell: str) -> str:
        return "".join(output.get("text", "") for output in outputs[cell])

    def html(cell: str) -> str:
        (content,) = [output.data["text/html"] for output in outputs[cell] if "text/html" in output.get("data", {})]
        return str(content)

    assert "60/60" in text("train") and "groups: " in text("train")
    for cell in ("look", "draw", "keep"):
        (image,) = Page(html(cell)).images()
        assert len(np.unique(rgb(image))) > 20
    assert Page(html("steer")).images() and len(Page(inserted(html("steer"))).all("input")) == 12
    assert "image/png" in outputs["one-kind"][-1].data
    assert outputs["file"][0].data["text/plain"].startswith("<Encoding of 360 images: category of ")
    accuracy = re.match(r"(\d+)% of 360 images", text("name"))
    assert accuracy and 40 <= int(accuracy[1]) <= 100  # chance is 10
    assert "README.md\nconfig.json\nmodel.safetensors\n" in text("keep")
    model = InfoGAN.load(tmp_path / "digits-model")
    assert model.digest() == InfoGAN.load(tmp_path / "runs" / "00000-digits").digest()
    assert model.value_name("category", 0) in "0123456789"


@pytest.mark.integration
def test_blocks_of_the_page_on_notebooks_run(digits_run: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_run, tmp_path / "runs" / "00000-digits")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.blocks", "notebooks.md"]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout.splitlines()[-1]) == len(blocks("notebooks.md")) == 6
    assert "<Samples: 20 images, 1 x 8 x 8; codes: category, knob1, knob2>" in process.stdout
    assert (tmp_path / "runs" / "00001-digits" / "report.html").is_file()
