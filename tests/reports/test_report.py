"""The report: one page that needs nothing else, and whose pictures and numbers are those of the run."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.api import train_run
from infogan.config import presets
from infogan.config.load import build
from infogan.config.schema import Config
from infogan.data.dataset import ImageSet
from infogan.evaluation.evaluate import EvaluationInputs, evaluate
from infogan.models.infogan import InfoGAN
from infogan.reports.report import FRAMES, SIDE, report_page
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from tests.helpers import image_set, small_config

HOSTILE = '<script>alert("1")</script> & $title'
NAMES = ("first <b>", "second & last")
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """The tags of a page with their attributes, its texts, and whether every tag that opens is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def pictures(self) -> list[Image.Image]:
        found: list[Image.Image] = []
        for attributes in self.all("img"):
            source = attributes["src"] or ""
            assert source.startswith("data:image/png;base64,")
            found.append(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
        return found


def reported(
    tmp_path: Path, images: ImageSet | None = None, **sections: Any
) -> tuple[Page, InfoGAN, dict[str, Any], RunFolder, Config]:
    images = images or image_set()
    config = small_config(**sections)
    if config.objective.kind == "cgan":
        config = build(presets.with_label_code(config.model_dump(), len(images.label_names)))
    run = RunFolder.at(tmp_path / "run")
    run.begin(config, images.digest())
    model = train(config, images, run)
    result = evaluate(EvaluationInputs(model, images, None, 0, config.augment.strengths))
    return Page(report_page(run, model, config, images, None, result)), model, result, run, config


def test_the_page_needs_nothing_else_and_says_what_its_pictures_show(tmp_path: Path) -> None:
    page = reported(tmp_path)[0]
    assert not page.all("link") and not page.all("a")
    assert [attributes for attributes in page.all("script") if "src" in attributes] == []
    policy = next(attributes["content"] for attributes in page.all("meta") if "http-equiv" in attributes)
    assert policy is not None and policy.startswith("default-src 'none'")
    pictures = page.pictures()
    assert len(pictures) >= 8
    for attributes in page.all("img"):
        assert attributes.get("alt") is not None
    windows = [attributes for attributes in page.all("div") if attributes.get("class") == "window"]
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in windows)


def test_it_tells_the_command_the_verdict_and_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somebody/infogan", "train", "two words", "--seed", "0"])
    page, _, result, _, _ = reported(tmp_path)
    text = "\n".join(page.texts)
    assert "infogan train 'two words' --seed 0" in text
    assert "/somebody" not in text
    reason = result["verdict"]["reason"]
    assert f"{reason[0].upper()}{reason[1:]}." in page.texts
    for name in ("accuracy", "nmi", "ari", "purity"):
        assert any(told.startswith(f"{result[name]:.4f} (") for told in page.texts)  # before its interval
    for name, bound in result["information"].items():
        assert page.texts[page.texts.index(f"information of {name}") + 1].startswith(f"{bound:.3f} (")


def test_a_slider_scrubs_through_the_frames_of_the_traversal(tmp_path: Path) -> None:
    page, model, _, _, _ = reported(tmp_path)
    sliders = page.all("input")
    assert len(sliders) == 2  # as many as knobs
    for slider in sliders:
        assert (slider["min"], slider["max"]) == ("0", str(FRAMES - 1))
        assert slider["data-values"] is not None
        assert slider["data-values"].split()[:: FRAMES - 1] == ["-1.0", "+1.0"]
    side = model.config.size
    frame = SIDE * (side + 1) + 1
    strips = [picture for picture in page.pictures() if picture.size == (FRAMES * frame, frame)]
    assert len(strips) == 2
    for name, strip in zip(("knob1", "knob2"), strips, strict=True):
        images = model.traverse(name, values=[-1.0, 1.0], rows=SIDE * SIDE, seed=1)
        pixels = np.asarray(strip.convert("L"))
        for place, column in ((0, 0), (FRAMES - 1, 1)):
            left = place * frame + 1
            assert np.array_equal(pixels[1 : 1 + side, left : left + side], images[0, column, 0])
            lower = frame - 1 - side
            assert np.array_equal(
                pixels[lower : lower + side, left + frame - 2 - side : left + frame - 2], images[-1, column, 0]
            )


def test_what_others_named_stays_text(tmp_path: Path) -> None:
    images = image_set()
    hostile = ImageSet(images.images, images.names, HOSTILE, images.labels, NAMES)
    page, model, result, run, config = reported(tmp_path, hostile, codes=[{"kind": "categorical", "size": 2}])
    assert len(page.all("script")) == 1
    assert f"infogan on {HOSTILE}" in page.texts
    assert NAMES[0] in page.texts and NAMES[1] in page.texts
    model.name_codes({"category": ["<i>one", '"two"']})
    named = Page(report_page(run, model, config, hostile, None, result))
    assert "<i>one" in named.texts and '"two"' in named.texts
    assert not named.all("i")


def test_the_confusion_counts_every_image_once(tmp_path: Path) -> None:
    page, model, _, _, _ = reported(tmp_path, codes=[{"kind": "categorical", "size": 3}])
    images = image_set()
    assert images.labels is not None
    found = model.encode(images.images).codes["category"]
    start = page.texts.index("lying")
    cells = [text for text in page.texts[start : page.texts.index("Training")] if re.fullmatch(r"\d+", text)]
    expected = []
    for value in range(3):
        expected += [value, *np.bincount(images.labels[found == value], minlength=2).tolist()]
    assert [int(cell) for cell in cells] == expected


@pytest.mark.parametrize(
    ("sections", "labelled", "sliders"),
    [
        ({"objective": {"kind": "gan"}}, True, 0),
        ({"objective": {"kind": "cgan"}}, True, 0),
        ({"codes": [{"kind": "continuous"}]}, False, 1),
        ({"codes": [{"kind": "categorical", "size": 2}, {"kind": "categorical", "size": 3}]}, False, 0),
    ],
)
def test_every_kind_of_model_has_a_report(
    tmp_path: Path, sections: dict[str, Any], labelled: bool, sliders: int
) -> None:
    page = reported(tmp_path, image_set(labelled=labelled), **sections)[0]
    assert len(page.all("input")) == sliders
    assert page.pictures()


def test_values_that_are_not_finite_leave_a_gap_in_a_curve(tmp_path: Path) -> None:
    _, model, result, run, config = reported(tmp_path)
    lines = [json.loads(line) for line in run.stats.read_text().splitlines()]
    for line in lines[:-1]:
        line["generator/adversarial"] = float("nan")
    run.stats.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert Page(report_page(run, model, config, image_set(), None, result)).pictures()


def test_training_ends_with_it_and_the_command_writes_it_again(tmp_path: Path) -> None:
    options = json.loads(small_config().model_dump_json())
    options["data"] = {"source": "digits"}
    run = RunFolder.at(tmp_path / "run")
    planned = train_run.plan(options)
    model, result = train_run.train_run(planned, run)
    first = run.report.read_text()
    assert Page(first).pictures()
    assert len(first) < 5_000_000
    elsewhere = train_run.write_report(run, model, planned.config, planned.images, result, tmp_path / "a" / "b.html")
    assert elsewhere.read_text() == first
