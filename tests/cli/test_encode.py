"""The command ``encode``."""

import csv
from pathlib import Path

from tests.commands import invoke


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
