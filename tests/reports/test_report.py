"""The report: a self-contained page whose images and numbers are those of the run."""

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
from infogan.api.evaluate_run import evaluation_inputs, write_report
from infogan.config.load import build
from infogan.config.schema import Config
from infogan.data.dataset import ImageSet
from infogan.evaluation.evaluate import evaluate
from infogan.evaluation.metric_groups import EvaluationInputs
from infogan.models.infogan import InfoGAN
from infogan.reports.report import FRAME_SIDE, FRAMES, report_page
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from tests.helpers import image_set, small_config

HOSTILE = '<script>alert("1")</script> & $title'
LABELS = ("first <b>", "second & last")
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """The tags of a page with their attributes, and its texts; checks that every tag is closed."""

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

    def images(self) -> list[Image.Image]:
        images: list[Image.Image] = []
        for attributes in self.all("img"):
            source = attributes["src"] or ""
            assert source.startswith("data:image/png;base64,")
            images.append(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
        return images


def trained(
    tmp_path: Path, images: ImageSet | None = None, **sections: Any
) -> tuple[Page, InfoGAN, dict[str, Any], RunFolder, Config]:
    """Train and evaluate a small run; return its report and what it is made from."""
    images = images or image_set()
    config = small_config(**sections)
    if config.objective.kind == "cgan":
        label = {"name": "label", "kind": "categorical", "size": len(images.label_names)}
        config = build({**config.model_dump(), "codes": [label]})
    run = RunFolder.at(tmp_path / "run")
    run.begin(config, images.digest())
    model = train(config, images, run)
    inputs = EvaluationInputs(model, images, None, 0, config.augment.strengths)
    result = evaluate(inputs, samples=200, bootstrap_draws=10)
    return Page(report_page(run, model, config, images, None, result)), model, result, run, config


def test_page_is_self_contained_and_describes_its_images(tmp_path: Path) -> None:
    page = trained(tmp_path)[0]
    sections = [f"#{attributes['id']}" for attributes in page.all("section")]
    assert not page.all("link") and [attributes["href"] for attributes in page.all("a")] == sections
    assert [attributes for attributes in page.all("script") if "src" in attributes] == []
    policy = next(attributes["content"] for attributes in page.all("meta") if "http-equiv" in attributes)
    assert policy is not None and policy.startswith("default-src 'none'")
    assert len(page.images()) >= 6
    for attributes in page.all("img"):
        assert attributes.get("alt") is not None
    windows = [attributes for attributes in page.all("div") if attributes.get("class") == "window"]
    charts = [attributes for attributes in page.all("svg") if "aria-hidden" not in attributes]
    assert len(windows) == 2
    assert len(charts) == 3  # information, and the losses of two updates
    for attributes in windows + charts:
        assert attributes["role"] == "img" and attributes["aria-label"]


def test_page_contains_command_verdict_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somebody/infogan", "train", "two words", "--seed", "0"])
    page, _, result, _, _ = trained(tmp_path)
    text = "\n".join(page.texts)
    assert "infogan train 'two words' --seed 0" in text
    assert "/somebody" not in text
    verdict = result["verdict"]
    assert f"Rely on the groups of images: {verdict['groups']}." in text
    assert verdict["reasons"]
    assert all(f"{reason[0].upper()}{reason[1:]}." in page.texts for reason in verdict["reasons"])
    for name in ("accuracy", "nmi", "ari", "purity"):
        assert any(cell.startswith(f"{result[name]:.4f} (") for cell in page.texts)  # followed by its interval
    for name, bound in result["information"].items():
        assert page.texts[page.texts.index(f"information of {name}") + 1].startswith(f"{bound:.3f} (")


def test_slider_selects_frames_of_a_traversal(tmp_path: Path) -> None:
    page, model, _, _, _ = trained(tmp_path)
    sliders = page.all("input")
    assert len(sliders) == 2  # one per knob
    for slider in sliders:
        assert (slider["min"], slider["max"]) == ("0", str(FRAMES - 1))
        assert slider["data-values"] is not None
        assert slider["data-values"].split()[:: FRAMES - 1] == ["-1.0", "+1.0"]
    side = model.config.size
    frame = FRAME_SIDE * (side + 1) + 1
    strips = [image for image in page.images() if image.size == (FRAMES * frame, frame)]
    assert len(strips) == 2
    for name, strip in zip(("knob1", "knob2"), strips, strict=True):
        images = model.traverse(name, values=[-1.0, 1.0], rows=FRAME_SIDE**2, seed=1)
        pixels = np.asarray(strip.convert("L"))
        for index, column in ((0, 0), (FRAMES - 1, 1)):
            left = index * frame + 1
            assert np.array_equal(pixels[1 : 1 + side, left : left + side], images[0, column, 0])
            right, lower = left + frame - 2, frame - 1 - side
            assert np.array_equal(pixels[lower : lower + side, right - side : right], images[-1, column, 0])


def test_names_of_data_labels_and_categories_stay_text(tmp_path: Path) -> None:
    images = image_set()
    hostile = ImageSet(images.images, images.names, HOSTILE, images.labels, LABELS)
    page, model, result, run, config = trained(tmp_path, hostile, codes=[{"kind": "categorical", "size": 2}])
    assert len(page.all("script")) == 1
    assert f"infogan on {HOSTILE}" in page.texts
    assert LABELS[0] in page.texts and LABELS[1] in page.texts
    model.name_codes({"category": ["<i>one", '"two"']})
    named = Page(report_page(run, model, config, hostile, None, result))
    assert "<i>one" in named.texts and '"two"' in named.texts
    assert not named.all("i")


def test_sections_are_in_the_order_of_their_interest(tmp_path: Path) -> None:
    _, model, result, run, config = trained(
        tmp_path, codes=[{"kind": "continuous"}, {"kind": "categorical", "size": 3}]
    )
    ignored = {**result, "ignored": ["knob1"]}
    assert list(model.layout.codes) == ["knob1", "category"]
    page = Page(report_page(run, model, config, image_set(), None, ignored))
    titles = [text for text in page.texts if text.startswith(("Real images by", "Code: ", "Real and", "Evaluation"))]
    assert titles[len(titles) // 2 :] == [
        "Real images by category",
        "Real and generated",
        "Code: category",
        "Code: knob1, which the generator ignores",
        "Evaluation",
    ]
    row = page.texts.index("view agreement")  # of the verdict
    assert re.fullmatch(r"[\d.]+: (good|in doubt|bad) \(limit 0.75\)", page.texts[row + 1])


def test_confusion_table_counts_every_image_once(tmp_path: Path) -> None:
    page, model, _, _, _ = trained(tmp_path, codes=[{"kind": "categorical", "size": 3}])
    images = image_set()
    assert images.labels is not None
    categories = model.encode(images.images).codes["category"]
    start = page.texts.index("lying")
    cells = [
        text for text in page.texts[start : page.texts.index("Real and generated", start)] if re.fullmatch(r"\d+", text)
    ]
    expected = []
    for value in range(3):
        expected += [value, *np.bincount(images.labels[categories == value], minlength=2).tolist()]
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
    page = trained(tmp_path, image_set(labelled=labelled), **sections)[0]
    assert len(page.all("input")) == sliders
    assert page.images()


def test_report_skips_infinite_losses_and_lists_incidents(tmp_path: Path) -> None:
    _, model, result, run, config = trained(tmp_path)
    records = [json.loads(line) for line in run.stats.read_text().splitlines()]
    for record in records[:-1]:
        record["generator/adversarial"] = float("nan")
    run.stats.write_text("".join(json.dumps(record) + "\n" for record in records))
    run.incident("the disk was full")
    page = Page(report_page(run, model, config, image_set(), None, result))
    assert page.images()
    assert "The disk was full." in page.texts


def test_training_writes_the_report_and_it_can_be_written_again(tmp_path: Path) -> None:
    options = json.loads(small_config().model_dump_json())
    options["data"] = {"source": "digits"}
    run = RunFolder.at(tmp_path / "run")
    plan = train_run.plan(options)
    model, result = train_run.train_run(plan, run)
    content = run.report.read_text()
    assert Page(content).images()
    assert len(content) < 5_000_000
    inputs = evaluation_inputs(model, plan.config, plan.images)
    path = write_report(run, inputs, plan.config, result, tmp_path / "a" / "b.html")
    assert path.read_text() == content
