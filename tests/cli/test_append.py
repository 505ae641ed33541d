"""``infogan encode --append``: new images are filed into the groups that exist."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infogan.data import load
from tests.commands import invoke

KNOWN, NEW = 60, 20


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of digits, the first 60 in one folder and 20 in another."""
    folder, images = tmp_path_factory.mktemp("album"), load("digits").images
    for number in range(KNOWN + NEW):
        path = folder / ("old" if number < KNOWN else "new") / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(images[number, 0]).save(path)
    return folder


@pytest.mark.parametrize("options", [[], ["--probabilities"]])
def test_rows_of_new_images_are_added(run: Path, album: Path, options: list[str], tmp_path: Path) -> None:
    codes, whole = tmp_path / "codes.csv", tmp_path / "whole.csv"
    shutil.copytree(album / "old", tmp_path / "images")
    assert invoke("encode", run, tmp_path / "images", "--out", codes, *options).returncode == 0
    before = codes.read_bytes()
    shutil.copytree(album / "new", tmp_path / "images", dirs_exist_ok=True)
    result = invoke("encode", run, tmp_path / "images", "--append", codes)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{codes}\n"
    assert codes.read_bytes().startswith(before)
    assert f"{KNOWN} of {KNOWN + NEW} images are in {codes} already" in result.stderr
    assert f"of {NEW} new images fit no group" in result.stderr
    assert invoke("encode", run, tmp_path / "images", "--out", whole, *options).returncode == 0
    assert codes.read_bytes() == whole.read_bytes()  # with the columns that the file has
    again = invoke("encode", run, tmp_path / "images", "--append", codes)
    assert again.returncode == 0
    assert codes.read_bytes() == whole.read_bytes()


def test_images_that_fit_no_group_are_named(run: Path, album: Path, tmp_path: Path) -> None:
    codes = tmp_path / "codes.csv"
    assert invoke("encode", run, album / "old", "--out", codes).returncode == 0
    shutil.copytree(album / "new", tmp_path / "new")
    random = np.random.default_rng(0)
    for number in range(3):
        noise = np.kron(random.integers(0, 2, (4, 4)), np.ones((2, 2))) * 255
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "new" / f"foreign{number}.png")
    result = invoke("encode", run, tmp_path / "new", "--append", codes)
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "fit no group" in line]
    assert all(f"foreign{number}.png" in line for number in range(3))
    assert int(line.split()[0]) <= 6  # one in a hundred others is expected
    with codes.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == KNOWN + NEW + 3


def test_a_model_folder_does_not_know_whether_images_fit(run: Path, album: Path, tmp_path: Path) -> None:
    codes = tmp_path / "codes.csv"
    shutil.copytree(run / "model", tmp_path / "model")
    assert invoke("encode", tmp_path / "model", album / "old", "--out", codes).returncode == 0
    result = invoke("encode", tmp_path / "model", album / "new", "--append", codes)
    assert result.returncode == 0
    assert "is not known" in result.stderr
    assert len(codes.read_text().splitlines()) == 1 + KNOWN + NEW


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (None, [], ["cannot read", "codes.csv"]),
        ("", [], ["no file of codes"]),
        ("name,category\na.png,3\n", [], ["no file of codes"]),
        ("image,category\na.png\n", [], ["no file of codes"]),
        ("image,kind\na.png,3\n", [], ["other columns", "kind", "category_probability"]),
        ("image,category\na.png,3\n", ["--probabilities"], ["other columns", "category_number_0"]),
        ("image,kind\na.png,3\n", ["--out", "other.csv"], ["--append", "--out", "not both"]),
    ],
)
def test_another_file_is_refused_and_kept(
    run: Path, album: Path, content: str | None, options: list[str], words: list[str], tmp_path: Path
) -> None:
    codes = tmp_path / "codes.csv"
    if content is not None:
        codes.write_text(content)
    result = invoke("encode", run, album / "new", "--append", codes, *options, cwd=tmp_path)
    assert result.returncode == 2
    assert all(word in result.stderr for word in words)
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == [codes] * (content is not None)
    assert content is None or codes.read_text() == content


def test_rows_stay_as_a_person_has_written_them(run: Path, album: Path, tmp_path: Path) -> None:
    codes = tmp_path / "codes.csv"
    assert invoke("encode", run, album / "old", "--out", codes).returncode == 0
    lines = codes.read_text().splitlines()
    lines[3] = lines[3].replace(lines[3].split(",")[1], "a dog", 1)
    codes.write_text("\n".join(lines))  # without a line break at the end
    assert invoke("encode", run, album / "new", "--append", codes).returncode == 0
    assert codes.read_text().splitlines()[: len(lines)] == lines
    assert len(codes.read_text().splitlines()) == len(lines) + NEW
