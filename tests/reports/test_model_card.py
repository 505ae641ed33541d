"""The card of a model: it describes model and run, names stay text, and paths of the machine are left out."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from infogan.api import resolve, train_run
from infogan.models.infogan import InfoGAN
from infogan.reports.model_card import strip_folders
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.helpers import model_without_recognizer, small_config, small_model
from tests.reports.test_report import Page


def card_of(model: InfoGAN, **options: Any) -> str:
    return model.files(**options)["README.md"].decode()


def rendered(card: str) -> Page:
    """Return the card as the page that Markdown makes of it."""
    front, text = card.split("---\n", 2)[1:]
    assert isinstance(yaml.safe_load(front), dict)
    return Page(MarkdownIt("commonmark", {"xhtmlOut": False}).enable("table").render(text))


def rows(page: Page) -> dict[str, str]:
    """Return consecutive cells as pairs."""
    texts = [text for text in page.texts if text.strip()]
    return dict(itertools.pairwise(texts))


def copy_with_metrics(tmp_path: Path, digits_run: Path, **metrics: Any) -> RunFolder:
    run = RunFolder(Path(shutil.copytree(digits_run, tmp_path / "run")))
    if metrics:
        run.add_metrics(metrics)
    return run


def test_card_describes_the_run(digits_run: Path) -> None:
    run = RunFolder.existing(digits_run)
    (result,) = run.read_metrics()
    page = rendered(card_of(InfoGAN.load(digits_run), repo_id="user/digits"))
    facts = rows(page)
    text = "".join(page.texts)
    assert "user/digits" in page.texts
    assert facts["images"] == "digits: 8x8 grey images"
    assert facts["length"] == f"8 of 8 steps, {run.read_stats()[-1]['images']} images, seed 0"
    assert facts["codes"] == "category (10 values), knob1, knob2"
    assert facts["accuracy"].startswith(f"{result['accuracy']:.4f} (")
    assert facts["information of knob1"].startswith(f"{result['information']['knob1']:.3f} (")
    assert facts["SHA-256 of the weights"] == InfoGAN.load(digits_run).digest()
    assert facts["SHA-256 of the images"] == run.read_environment()[0]["data_digest"]
    assert "torch 2" in facts["environment"] and "infogan " in facts["environment"]
    verdict = result["verdict"]
    assert f"Rely on the groups of images: {verdict['groups']}." in text
    assert f"Rely on the generated pictures: {verdict['pictures']}." in text
    assert verdict["reasons"]
    assert all(reason[1:] in text for reason in verdict["reasons"])
    assert 'InfoGAN.from_pretrained("user/digits")' in text
    assert "infogan sample hf://user/digits" in text


def test_card_contains_the_training_command_of_the_command_line_only(tmp_path: Path, digits_run: Path) -> None:
    run = copy_with_metrics(tmp_path, digits_run)
    environment = run.path / "environment.json"
    sessions = json.loads(environment.read_text())
    for program, expected in (("/x/bin/infogan", True), ("/x/infogan/__main__.py", True), ("/x/ipykernel.py", False)):
        sessions[-1]["command"] = [program, "train", "/data/somebody/my photos", "--out=/scratch/run", "--seed", "0"]
        environment.write_text(json.dumps(sessions))
        card = card_of(InfoGAN.load(run.path))
        assert ("infogan train 'my photos' --out=run --seed 0" in card) == expected
        assert "somebody" not in card and "scratch" not in card and "/x" not in card


def test_card_contains_no_paths_of_the_machine(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path / "run")
    config = small_config(data={"source": "/data/somebody/photos", "labels": "/data/somebody/labels.csv"})
    run.begin(config, "0123")
    small_model().save(run.model)
    run.add_metrics({"step": 6, "accuracy": 0.5, "protocol": "/data/somebody/photos: 60 images, fitted on train"})
    card = card_of(InfoGAN.load(run.path))
    assert "somebody" not in card
    assert rows(rendered(card))["images"] == "photos: 8x8 grey images"
    assert "Photos: 60 images, fitted on train." in card


@pytest.mark.parametrize(
    ("word", "stripped"),
    [
        ("mnist", "mnist"),
        ("photos/2024", "photos/2024"),
        ("/data/somebody/photos", "photos"),
        ("~/photos", "photos"),
        ("../somebody/photos", "photos"),
        ("a/../../somebody/photos", "photos"),
        ("C:\\somebody\\photos", "photos"),
        ("--out=/data/run", "--out=run"),
        ('data.labels="/data/somebody/l.csv"', "data.labels=l.csv"),
        ("train.steps=100", "train.steps=100"),
        ("--seed", "--seed"),
        ("a..b", "a..b"),
    ],
)
def test_folders_are_stripped_from_words_of_a_command(word: str, stripped: str) -> None:
    assert strip_folders(word) == stripped


def test_card_of_a_model_without_run_describes_only_the_model(tmp_path: Path, digits_run: Path) -> None:
    shutil.copytree(digits_run / "model", tmp_path / "model")
    card = card_of(InfoGAN.load(tmp_path / "model"))
    assert "No verdict" in card
    assert "How and on what it was trained is unknown" in card
    assert "## Evaluation" not in card and "rusted**" not in card
    assert "No license is stated" in card and "license:" not in card
    assert "license" not in card_of(small_model(), license="mit").split("---", 2)[2]


def test_card_states_that_a_run_was_not_evaluated(tmp_path: Path, digits_run: Path) -> None:
    run = copy_with_metrics(tmp_path, digits_run)
    run.metrics.unlink()
    assert "The model was not evaluated." in card_of(InfoGAN.load(run.path))
    assert "No verdict" in card_of(InfoGAN.load(run.path))


@pytest.mark.parametrize("trust", [True, False])
def test_card_shows_the_latest_verdict(tmp_path: Path, digits_run: Path, trust: bool) -> None:
    old = {"trust": trust, "reason": "because *I* say so"}  # as in version 0.1
    run = copy_with_metrics(tmp_path, digits_run, step=9, verdict=old)
    run.add_metrics({"step": 9, "accuracy": 0.25, "intervals": {}})  # a later one without a verdict
    page = rendered(card_of(InfoGAN.load(run.path)))
    text = "".join(page.texts)
    answer = "yes" if trust else "no"
    assert f"Rely on the groups of images: {answer}. Rely on the generated pictures: {answer}." in text
    assert "ecause *I* say so." in text
    assert rows(page)["accuracy"] == "0.2500"


def test_card_shows_current_names_as_text(tmp_path: Path, digits_run: Path) -> None:
    run = copy_with_metrics(tmp_path, digits_run)
    model = InfoGAN.load(run.path)
    hostile = "<script>|*a*`_[x](y)"
    model.rename_code("knob1", hostile)
    model.name_codes({"category": {3: "a | b", 4: "<img src=x>", 5: "two\nlines"}})
    page = rendered(card_of(model))
    facts = rows(page)
    assert f"information of {hostile}" in facts
    assert (facts["3"], facts["4"], facts["5"]) == ("a | b", "<img src=x>", "two lines")
    assert "6" not in facts  # it has no name
    assert not page.all("script") and not page.all("a")
    sources = [str(image["src"]) for image in page.all("img")]
    assert sources[2] == "traversal-2-script-a-x-y.png"
    assert set(sources) == {name for name in model.files() if name.endswith(".png")}


@pytest.mark.parametrize("kind", ["gan", "cgan"])
def test_every_kind_of_model_has_a_card(kind: str) -> None:
    model = model_without_recognizer(kind)
    card = card_of(model)
    assert "trust" not in card and "encode" not in card
    assert len(rendered(card).all("img")) == 1 + (kind == "cgan")
    assert ModelCard(card).data.to_dict()["library_name"] == "infogan"


def test_card_after_training_describes_the_run_while_it_exists(tmp_path: Path) -> None:
    options = {
        "data": {"source": "digits"},
        "networks": {"width": 4},
        "train": {"steps": 4, "batch_size": 16, "sample_every": 100},
        "evaluation": {"samples": 100, "bootstrap_draws": 2},
    }
    planned = train_run.plan(resolve.compose("plain", [options]))
    model, _ = train_run.train_run(planned, RunFolder.at(tmp_path / "run"))
    assert "4 of 4 steps" in card_of(model)
    shutil.rmtree(tmp_path / "run")
    assert "How and on what it was trained is unknown" in card_of(model)


@pytest.mark.parametrize("license", ["", "my own", "mit\nx: y", "a" * 65])
def test_invalid_license_is_refused(license: str) -> None:
    with pytest.raises(UserError, match="is not a short name"):
        small_model().files(license=license)


@pytest.mark.parametrize("repo_id", ["bars", "<script>", "user/bars/x", "hf://user/bars"])
def test_invalid_name_on_the_hub_is_refused(repo_id: str) -> None:
    with pytest.raises(UserError, match="user/name"):
        small_model().files(repo_id=repo_id)
