"""``infogan refine``: corrections spread, wherever the run files images."""

import csv
from pathlib import Path

import numpy as np
import pytest

import infogan
from infogan.api import refine
from infogan.data import load
from infogan.models.infogan import InfoGAN
from tests.commands import invoke
from tests.explorer_client import copy_run, explorer_thread

CORRECTED = 80


@pytest.fixture
def corrected(run: Path, tmp_path: Path) -> Path:
    """A run whose categories are hardly digits, with the labels of some images as corrections."""
    folder, digits = copy_run(run, tmp_path / "run"), load("digits")
    assert digits.labels is not None
    rows = np.random.default_rng(0).permutation(len(digits))[:CORRECTED]
    lines = [f"{digits.names[row]},{digits.label_names[digits.labels[row]]}" for row in rows.tolist()]
    (folder / "labels.csv").write_text("\n".join(["image,label", *lines, f"{digits.names[0]},smudge"]) + "\n")
    return folder


def filed(run: Path, folder: Path, *options: str) -> list[dict[str, str]]:
    """Return the rows that `encode` writes."""
    result = invoke("encode", run, "digits", "--out", folder / "codes.csv", *options)
    assert result.returncode == 0, result.stderr
    with (folder / "codes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def accuracy(rows: list[dict[str, str]]) -> float:
    """Return how many images that nobody corrected are in the group of their digit."""
    digits = load("digits")
    assert digits.labels is not None
    truth = {name: digits.label_names[label] for name, label in zip(digits.names, digits.labels, strict=True)}
    return float(np.mean([row["category"] == truth[row["image"]] for row in rows if row["source"] == "model"]))


def test_corrections_spread_to_other_images_in_every_way_out(corrected: Path, tmp_path: Path) -> None:
    before = filed(corrected, tmp_path)
    result = invoke("refine", corrected)
    assert result.returncode == 0, result.stderr
    assert "1 labels are not the name of a group" in result.stdout
    after = filed(corrected, tmp_path)
    assert accuracy(before) < 0.4
    assert accuracy(after) > accuracy(before) + 0.3
    assert sum(row["source"] == "corrected" for row in after) == CORRECTED + 1
    with explorer_thread(corrected) as client:
        client.log_in()
        assert client.state()["refined"]
        _, _, content = client.request("/api/codes.csv", headers={"Cookie": client.cookie})
    rows = list(csv.DictReader(content.decode().splitlines()))
    assert [(row["image"], row["category"], row["source"]) for row in rows] == [
        (row["image"], row["category"], row["source"]) for row in after
    ]
    # The model itself files as before, and so does the run after all is taken back.
    assert accuracy(filed(corrected, tmp_path, "--features", "none")) == accuracy(before)
    assert invoke("refine", corrected, "--undo").stdout == "the model files the images again\n"
    assert filed(corrected, tmp_path) == before
    assert invoke("refine", corrected, "--undo").stdout == "the run is not refined\n"


def test_a_refinement_tells_how_good_it_is(corrected: Path, tmp_path: Path) -> None:
    refinement = infogan.refine_run(corrected)
    assert (refinement.corrections, refinement.left_out) == (CORRECTED, 1)
    assert refinement.before < refinement.after
    assert refinement.after == pytest.approx(accuracy(filed(corrected, tmp_path)), abs=0.15)
    assert 0 < refinement.changed <= len(load("digits"))


def test_a_model_that_was_trained_on_is_not_refined_any_more(corrected: Path, tmp_path: Path) -> None:
    infogan.refine_run(corrected)
    refined = filed(corrected, tmp_path)
    model = InfoGAN.load(corrected)
    assert model.networks.encoder is not None
    model.networks.encoder.directions.data.mul_(-1)
    model.save(corrected / "model")
    assert filed(corrected, tmp_path) != refined
    assert (corrected / "refined.safetensors").is_file()
    assert filed(corrected, tmp_path) == filed(corrected, tmp_path, "--features", "none")


def keep(run: Path, count: int) -> None:
    """Keep the first corrections of a run only."""
    lines = (run / "labels.csv").read_text().splitlines(keepends=True)
    (run / "labels.csv").write_text("".join(lines[: 1 + count]))


def test_few_corrections_are_refused(corrected: Path) -> None:
    keep(corrected, 9)
    result = invoke("refine", corrected)
    assert result.returncode == 2
    assert "9 corrections" in result.stderr
    (corrected / "labels.csv").unlink()
    assert invoke("refine", corrected).returncode == 2


@pytest.mark.parametrize(("after", "is_refused"), [(0.5, True), (0.7, True), (0.74, False), (0.9, False)])
def test_a_refinement_that_is_clearly_worse_is_refused(
    corrected: Path, monkeypatch: pytest.MonkeyPatch, after: float, is_refused: bool
) -> None:
    monkeypatch.setattr(refine, "held_out_accuracy", lambda *_: (0.78, after))  # the standard error of .74 is .049
    result = invoke("refine", corrected)
    assert (result.returncode == 2) == is_refused == ("do not help" in result.stderr)
    assert (corrected / "refined.safetensors").exists() != is_refused


def test_a_damaged_refinement_is_named(corrected: Path, tmp_path: Path) -> None:
    (corrected / "refined.safetensors").write_bytes(b"\x00" * 64)
    result = invoke("encode", corrected, "digits", "--out", tmp_path / "c.csv")
    assert result.returncode == 2
    assert "refined.safetensors is damaged" in result.stderr
