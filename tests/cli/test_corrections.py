"""One truth: names, merges and corrections give an image the same category in every way out."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from infogan.api.evaluate_run import inputs_of_run
from infogan.explorer.server import load_explorer
from infogan.models.infogan import InfoGAN
from infogan.reports import report
from infogan.training.run_dir import RunFolder
from tests.commands import invoke

Rows = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def corrected(images: Path, small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose values 0 and 1 are one, and of which five images are corrected: two of them to a new name."""
    folder = tmp_path_factory.mktemp("corrected")
    result = invoke("train", images, "--categorical", "4", "--out", folder / "run", *small)
    assert result.returncode == 0, result.stderr
    assert invoke("name", folder / "run", "0=bar", "1=bar", "2=rest").returncode == 0
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    labels = [f"{name},{label}" for name, label in zip(names[::15], ("bar", "rest", "3", "new", "new"), strict=True)]
    (folder / "run" / "labels.csv").write_text("\n".join(["image,label", *labels]) + "\n")
    return folder / "run"


def read(content: str) -> Rows:
    return {row["image"]: row for row in csv.DictReader(io.StringIO(content))}


def test_all_ways_out_agree(corrected: Path, images: Path, tmp_path: Path) -> None:
    result = invoke("encode", corrected, images, "--out", tmp_path / "a.csv", "--sort-into", tmp_path / "sorted")
    assert result.returncode == 0, result.stderr
    encoded = read((tmp_path / "a.csv").read_text())
    assert len(encoded) == 72
    assert sum(row["source"] == "corrected" for row in encoded.values()) == 5
    assert {row["category"] for row in encoded.values() if row["source"] == "corrected"} == {"bar", "rest", "3", "new"}
    merged = next(row for row in encoded.values() if row["category"] == "bar" and row["source"] == "model")
    assert merged["category_number"] in ("0", "1")

    folders = {path.name: path.parent.name for path in (tmp_path / "sorted").glob("*/*.png")}
    assert folders == {name.replace("/", "_"): row["category"] for name, row in encoded.items()}

    index = load_explorer(corrected, 100_000, print).session.images()
    while index.encode_next():
        pass
    from_explorer = read(index.codes_csv().decode())
    for name, row in encoded.items():
        other = from_explorer[name]
        for column in ("category", "category_number", "source"):
            assert row[column] == other[column]
        for column in ("category_probability", "knob1", "entropy"):
            assert float(row[column]) == pytest.approx(float(other[column]), abs=1e-5)
    table = index.describe(range(72))["items"]
    assert {item["name"]: item["group"] for item in table} == {name: row["category"] for name, row in encoded.items()}
    assert {item["name"]: item["confidence"] for item in table} == pytest.approx(
        {name: float(row["category_probability"]) for name, row in encoded.items()}, abs=1e-5
    )


def test_the_report_shows_images_where_encode_files_them(corrected: Path, images: Path, tmp_path: Path) -> None:
    invoke("encode", corrected, images, "--out", tmp_path / "a.csv")
    encoded = read((tmp_path / "a.csv").read_text())
    run, model = RunFolder.existing(corrected), InfoGAN.load(corrected)
    inputs = inputs_of_run(run, model)
    corrections = {name: row["category"] for name, row in encoded.items() if row["source"] == "corrected"}
    gallery = report._category_gallery(model, inputs.train, 0, None, corrections)
    counts = {name: sum(row["category"] == name for row in encoded.values()) for name in ("bar", "rest", "3")}
    assert {name: sum(numbers) for name, numbers, _ in gallery["confusion"]} == counts
    assert invoke("report", corrected, "--out", tmp_path / "report.html").returncode == 0
    page = (tmp_path / "report.html").read_text()
    assert all(str(count) in page for count in counts.values())


def test_corrections_belong_to_the_images_of_the_run(corrected: Path, images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "copy")
    result = invoke("encode", corrected, tmp_path / "copy", "--out", tmp_path / "a.csv")
    assert result.returncode == 0
    assert {row["source"] for row in read((tmp_path / "a.csv").read_text()).values()} == {"model"}


def test_damaged_labels_are_refused(corrected: Path, images: Path, tmp_path: Path) -> None:
    run = shutil.copytree(corrected, tmp_path / "run")
    (run / "labels.csv").write_text("image\na.png\n")
    result = invoke("encode", run, images, "--out", tmp_path / "a.csv")
    assert result.returncode == 2
    assert "labels.csv has no column label" in result.stderr


def test_all_probabilities_are_written_if_asked_for(run: Path, tmp_path: Path) -> None:
    assert invoke("encode", run, "digits", "--probabilities", "--out", tmp_path / "a.csv").returncode == 0
    rows = read((tmp_path / "a.csv").read_text())
    first = rows["0"]
    values = [float(first[f"category_number_{value}"]) for value in range(10)]
    assert sum(values) == pytest.approx(1, abs=1e-4)
    assert max(values) == pytest.approx(float(first["category_probability"]), abs=1e-6)
    assert int(np.argmax(values)) == int(first["category_number"])
