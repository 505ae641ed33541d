"""What a notebook shows: the pixels are the model's, names stay text, and the example runs."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from numpy.typing import NDArray
from PIL import Image

from infogan.models.infogan import InfoGAN
from infogan.models.results import MAX_DISPLAYED, Samples
from infogan.reports import figures, notebook
from infogan.reports.notebook import LAYOUTS, MOST_SAMPLES, explore, progress
from tests import ROOT
from tests.blocks import blocks
from tests.helpers import bar_images, model_without_recognizer, small_model
from tests.reports.test_report import Page

EXAMPLE = ROOT / "examples" / "first-steps.ipynb"
BARS = small_model()


def picture(data: str) -> NDArray[np.uint8]:
    """The pixels of a ``data:`` address, RGB."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))


def pixels(shown: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(shown.convert("RGB"))


def moving(html: str) -> str:
    """The part of an explorer that its script makes."""
    found = re.search(r"place\.innerHTML = (\".*\");", html)
    assert found
    text: str = json.loads(found[1])
    return text


def test_a_model_shows_a_sheet_and_says_what_it_is() -> None:
    bundle = BARS._repr_mimebundle_()
    count = sum(weights.numel() for weights in BARS.networks.parameters())
    line = f"InfoGAN of 8x8 grey images; category (10 values), knob1, knob2; {count:,} parameters on cpu"
    assert bundle["text/plain"] == repr(BARS) == f"<{line}>"
    page = Page(bundle["text/html"])
    (image,) = page.pictures()
    assert np.array_equal(pixels(image), pixels(BARS.sheet("category", rows=4)))
    assert any(line in text for text in page.texts)


@pytest.mark.parametrize(
    ("model", "told", "code"),
    [
        (small_model(codes=[{"kind": "continuous", "name": "<b>"}]), "<InfoGAN of 8x8 grey images; <b>; ", "<b>"),
        (model_without_recognizer("gan"), "<InfoGAN (gan) of 8x8 grey images; no codes; ", None),
        (model_without_recognizer("cgan"), "<InfoGAN (cgan) of 8x8 grey images; label (3 values); ", "label"),
        (small_model(channels=3, codes=[{"kind": "categorical", "size": 300}]), "8x8 colour", "category"),
    ],
)
def test_every_kind_of_model_shows_itself(model: InfoGAN, told: str, code: str | None) -> None:
    page = Page(model._repr_mimebundle_()["text/html"])
    (image,) = page.pictures()
    expected = figures.image_grid(model.sample(64).images, 8) if code is None else model.sheet(code, rows=4, limit=20)
    assert np.array_equal(pixels(image), pixels(expected))
    assert told in repr(model)
    assert "\n" not in repr(model)
    assert not page.all("b")
    assert image.width < 2000


def test_samples_show_a_grid_of_the_first() -> None:
    few = BARS.sample(10)
    assert repr(few) == "<Samples: 10 images, 1 x 8 x 8; codes: category, knob1, knob2>"
    (image,) = Page(few._repr_mimebundle_()["text/html"]).pictures()
    assert np.array_equal(pixels(image), pixels(figures.image_grid(few.images, 4)))
    page = Page(BARS.sample(MAX_DISPLAYED + 1)._repr_mimebundle_()["text/html"])
    assert f"The first {MAX_DISPLAYED} of {MAX_DISPLAYED + 1}." in page.texts
    assert np.array_equal(pixels(page.pictures()[0]), pixels(figures.image_grid(BARS.sample(MAX_DISPLAYED).images, 8)))
    none = Samples(np.empty((0, 1, 8, 8), np.uint8), {})
    assert none._repr_mimebundle_() == {"text/plain": "<Samples: 0 images, 1 x 8 x 8; codes: none>"}


def test_an_encoding_is_one_line() -> None:
    found = BARS.encode(bar_images(20))
    used = len(set(found.codes["category"].tolist()))
    sure = found.probabilities["category"].max(axis=1).mean()
    knobs = [f"{name} {found.codes[name].mean():+.2f} on average" for name in ("knob1", "knob2")]
    assert repr(found) == (
        f"<Encoding of 20 images: category of {used} values, mean probability {sure:.2f}; {'; '.join(knobs)}>"
    )
    assert repr(BARS.encode(bar_images(20)[:0])) == "<Encoding of 0 images: category of 0 values; knob1; knob2>"


@pytest.mark.parametrize("together", [True, False])
def test_every_frame_is_what_its_place_says(monkeypatch: pytest.MonkeyPatch, together: bool) -> None:
    monkeypatch.setattr(notebook, "LAYOUTS", [(2, 5, together)])
    page = Page(moving(explore(BARS, seed=4)._repr_html_()))
    strips, values = page.pictures(), [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert len(strips) == len([one for one in page.all("input") if one["type"] == "radio"]) == 10
    alone = [(a, 0.0) for a in values] + [(0.0, b) for b in values]
    places = [(a, b) for a in values for b in values] if together else alone
    side = 2 * 9 + 1
    for category in (0, 7):
        strip = pixels(strips[category])
        assert strip.shape == (side, side * len(places), 3)
        for number, (knob1, knob2) in enumerate(places):
            held = {"category": category, "knob1": knob1, "knob2": knob2}
            expected = figures.image_grid(BARS.sample(4, codes=held, seed=4).images, 2, padding=1, scale=1)
            assert np.array_equal(strip[:, number * side : (number + 1) * side], pixels(expected))
    assert bool([one for one in page.all("figure") if "data-alone" in one]) != together


@pytest.mark.parametrize(
    ("codes", "size", "channels", "layout"),
    [
        ([{"kind": "categorical", "size": 10}, *[{"kind": "continuous"}] * 2], 28, 1, (3, 7, True)),
        ([{"kind": "categorical", "size": 10}, *[{"kind": "continuous"}] * 2], 64, 3, (1, 5, True)),
        ([{"kind": "continuous"}] * 12, 8, 1, (3, 11, False)),
        ([{"kind": "categorical", "size": 1000}, *[{"kind": "continuous"}] * 5], 128, 3, (1, 5, False)),
    ],
)
def test_the_output_stays_small(codes: list[dict[str, Any]], size: int, channels: int, layout: tuple[int, ...]) -> None:
    model = small_model(codes=codes, size=size, channels=channels)
    categories = min(20, codes[0].get("size", 1))
    knobs = sum(code["kind"] == "continuous" for code in codes)
    side, places, together = notebook._layout(model, categories, knobs)
    assert (side, places, together) == layout

    def drawn(side: int, places: int, together: bool) -> int:
        frames: int = categories * (places**knobs if together else places * knobs)
        return frames * side**2 * size**2 * channels

    before = LAYOUTS[: LAYOUTS.index((side, places, together))]
    assert all(drawn(*larger) > MOST_SAMPLES for larger in before)
    assert drawn(side, places, together) <= MOST_SAMPLES or layout == LAYOUTS[-1]


def test_names_of_others_end_no_script() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 2}])
    model.name_codes({"category": ["</script><script>alert(1)</script>", "<!--<script>"]})
    html = explore(model)._repr_html_()
    page = Page(html)
    assert len(page.all("script")) == 1
    assert html.count("<script") == html.count("</script") == 1
    script = html[html.index("place.innerHTML = ") :].partition(";\n")[0]
    assert "<" not in script  # whatever is in there
    inner = Page(moving(html))
    assert not inner.all("script") and "</script><script>alert(1)</script>" in inner.texts


def test_without_its_script_the_sheet_is_left() -> None:
    html = explore(BARS)._repr_html_()
    still = Page(re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL))
    assert not still.all("input") and not still.all("style")
    assert np.array_equal(pixels(still.pictures()[0]), pixels(BARS.sheet("category", rows=4)))
    ids = [re.search(r'id="(\S+)"', explore(BARS)._repr_html_()) for _ in range(2)]
    assert ids[0] and ids[1] and ids[0][1] != ids[1][1]  # shown twice, each moves its own
    assert repr(explore(BARS)) == f"<Explorer of {repr(BARS)[1:-1]}>"


REPORT = {"step": 3, "stage": "gan", "information/category": 1.234, "information/knob1": 0.5, "seconds": 1.0}
TOLD = "game, information in nats: category 1.23, knob1 0.50"


def test_a_bar_moves_with_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    watch = progress(4)
    watch.on_step(2)  # resumed after one
    watch.on_step(3)
    watch.on_report(REPORT)
    watch.on_step(4)
    seen = capsys.readouterr().err
    assert "4/4" in seen and "100%" in seen and TOLD in seen
    assert not watch.interrupted()


def test_without_tqdm_reports_are_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    watch = progress(4)
    watch.on_step(3)
    watch.on_report(REPORT)
    watch.on_report({"step": 4, "stage": "cluster"})
    assert capsys.readouterr().out == f"step 3/4  {TOLD}\nstep 4/4  classes\n"


@pytest.mark.filterwarnings("default")  # what Jupyter and ZeroMQ warn of is not about us
def test_the_example_runs_and_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("FIRST_STEPS", "60")
    example = nbformat.read(EXAMPLE, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in example.cells)  # clean as committed
    nbformat.validate(example)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(example, timeout=240, kernel_name="python3", resources=where).execute()
    outputs = {cell.id: cell.outputs for cell in example.cells if cell.cell_type == "code"}

    def text(cell: str) -> str:
        return "".join(output.get("text", "") for output in outputs[cell])

    def html(cell: str) -> str:
        (found,) = [output.data["text/html"] for output in outputs[cell] if "text/html" in output.get("data", {})]
        return str(found)

    assert "60/60" in text("train") and "trust: " in text("train")
    for cell in ("look", "draw", "keep"):
        (image,) = Page(html(cell)).pictures()
        assert len(np.unique(pixels(image))) > 20
    assert Page(html("steer")).pictures() and len(Page(moving(html("steer"))).all("input")) == 12
    assert "image/png" in outputs["one-kind"][-1].data
    assert outputs["file"][0].data["text/plain"].startswith("<Encoding of 360 images: category of ")
    right = re.match(r"(\d+)% of 360 images", text("name"))
    assert right and 40 <= int(right[1]) <= 100  # by chance 10
    assert "README.md\nconfig.json\nmodel.safetensors\n" in text("keep")
    kept = InfoGAN.load(tmp_path / "digits-model")
    assert kept.digest() == InfoGAN.load(tmp_path / "runs" / "00000-digits").digest()
    assert kept.value_name("category", 0) in "0123456789"


def test_the_page_on_it_does_what_it_says(digits_run: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_run, tmp_path / "runs" / "00000-digits")
    told = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.blocks", "notebooks.md"]
    done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == len(blocks("notebooks.md")) == 6
    assert "<Samples: 20 images, 1 x 8 x 8; codes: category, knob1, knob2>" in done.stdout
    assert (tmp_path / "runs" / "00001-digits" / "report.html").is_file()
