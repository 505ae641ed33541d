"""The commands ``sample``, ``traverse`` and ``encode``."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from infogan.models.infogan import InfoGAN
from tests.commands import invoke


def test_samples_are_an_array_files_or_a_grid(run: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = ["sample", run, "--count", "5", "--seed", "2", "--code", "category=3", "--out"]
    result = invoke(*arguments, tmp_path / "s.npz")
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "s.npz", allow_pickle=False) as archive:
        assert archive["images"].shape == (5, 1, 8, 8)
        assert archive["images"].dtype == np.uint8
        assert archive["category"].tolist() == [3] * 5
        assert archive["knob1"].shape == (5,)
        first = archive["images"][0, 0].copy()
    assert invoke(*arguments, tmp_path / "files").stdout == f"5 images in {tmp_path / 'files'}\n"
    with Image.open(tmp_path / "files" / "0.png") as single:
        assert np.array_equal(np.asarray(single), first)
    assert len(list((tmp_path / "files").iterdir())) == 5
    assert invoke("sample", run, "--out", tmp_path / "grid.png").returncode == 0
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > 100


def test_seeds_give_one_image_each(run: Path, tmp_path: Path) -> None:
    assert invoke("sample", run, "--seeds", "2,5-6", "--out", tmp_path / "files").returncode == 0
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == ["seed2.png", "seed5.png", "seed6.png"]
    first = InfoGAN.load(run).sample(3, seed=5).images[0, 0]
    with Image.open(tmp_path / "files" / "seed5.png") as single:
        assert np.array_equal(np.asarray(single), first)


def test_a_fixed_code_needs_a_value(run: Path, tmp_path: Path) -> None:
    for code in ("category", "colour=1"):
        result = invoke("sample", run, "--code", code, "--out", tmp_path / "a.png")
        assert result.returncode == 2
        assert code.partition("=")[0] in result.stderr


def test_traversals_are_figures_and_animations(run: Path, tmp_path: Path) -> None:
    result = invoke("traverse", run, "--vary", "knob1", "--gif", "--rows", "2", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(tmp_path / "knob1.png"), str(tmp_path / "knob1.gif")]
    with Image.open(tmp_path / "knob1.gif") as animation:
        assert getattr(animation, "n_frames", 1) > 10
    invoke("traverse", run, "--rows", "1", "--out", tmp_path / "all")
    assert sorted(path.stem for path in (tmp_path / "all").iterdir()) == ["category", "knob1", "knob2"]


def test_codes_are_a_csv_file_and_images_are_sorted(run: Path, images: Path, tmp_path: Path) -> None:
    out, target = tmp_path / "codes.csv", tmp_path / "sorted"
    result = invoke("encode", run, images, "--out", out, "--sort-into", target)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(out), *(str(target / str(value)) for value in range(10))]
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert out.read_text().splitlines()[0] == "image,category,category_probability,knob1,knob2,entropy"
    assert len(rows) == 72
    assert rows[0]["image"] == "lying/0.png"
    assert all(0 <= float(row["category_probability"]) <= 1 for row in rows)
    assert sum(len(list(folder.iterdir())) for folder in target.iterdir()) == 72
    for row in rows:
        copy = target / row["category"] / row["image"].replace("/", "_")
        assert copy.read_bytes() == (images / row["image"]).read_bytes()


def test_a_named_data_set_is_encoded_by_split_and_index(run: Path, tmp_path: Path) -> None:
    assert invoke("encode", run, "digits", "--split", "test", "--out", tmp_path / "c.csv").returncode == 0
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert len(lines) == 361
    assert [line.split(",")[0] for line in lines[1:4]] == ["0", "1", "2"]
