"""Labels of a few images from a CSV file."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import pytest

from infogan.data.labels import LabelTable, read_labels
from infogan.utils.errors import UserError
from tests.helpers import image_set


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def test_labels_are_read_in_the_order_of_the_images(file: Path) -> None:
    file.write_text("image,label\n5,aster\n2, birch \n0,aster\n7,\n")
    labels = read_labels(file, image_set())
    assert labels.names == ("aster", "birch")
    assert labels.indices.tolist() == [0, 2, 5]
    assert labels.values.tolist() == [0, 1, 0]


def test_the_digest_depends_on_the_labels_alone(file: Path) -> None:
    digests = []
    for text in ("image,label\n0,a\n1,b\n", "note,label,image\nx,b,1\ny,a,0\n", "image,label\n0,a\n1,a\n"):
        file.write_text(text)
        digests.append(read_labels(file, image_set()).digest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,label\n0,a\n", "no column image"),
        ("image\n0\n", "no column label"),
        ("image,label\n0,a\n99,b\n", "line 3 .*'99'.* bars"),
        ("image,label\n0,a\n0,b\n", "line 3 .*'0'.* second time"),
        ("image,label\n0,\n", "labels no image"),
        ("", "no column image and no column label"),
    ],
)
def test_faulty_labels_are_refused(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        read_labels(file, image_set())


@pytest.mark.parametrize(
    ("delimiter", "encoding"),
    [(";", "utf-8"), ("\t", "utf-8"), (";", "utf-16"), (",", "utf-8-sig"), ("\t", "utf-16")],
)
def test_tables_of_a_spreadsheet_are_understood(file: Path, delimiter: str, encoding: str) -> None:
    rows = [("image", "note", "label"), ("5", 'a "b"', "Äpfel, grün"), ("2", "", "birch")]
    with file.open("w", encoding=encoding, newline="") as text:
        csv.writer(text, delimiter=delimiter).writerows(rows)
    labels = read_labels(file, image_set())
    assert labels.indices.tolist() == [2, 5]
    assert labels.names == ("birch", "Äpfel, grün")


def test_paths_may_have_backslashes(file: Path) -> None:
    images = replace(image_set(2), names=["cat/1.png", "cat\\2.png"])
    file.write_text("image,label\ncat\\1.png,a\ncat\\2.png,b\n")
    assert read_labels(file, images).values.tolist() == [0, 1]


def test_labels_that_are_no_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UserError, match="not a file"):
            read_labels(path, image_set())


def test_a_missing_file_of_labels_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.csv"):
        read_labels(file, image_set())


def test_a_changed_row_keeps_its_other_cells() -> None:
    table = LabelTable.read(b"note,image,label,date\nblurred,1.png,cat,May\n", "labels.csv")
    ((line, row),) = table.rows
    assert (line, table.cell(row, "image"), table.cell(row, "label")) == (2, "1.png", "cat")
    assert table.make_row("1.png", "dog", row) == ("blurred", "1.png", "dog", "May")
    assert table.make_row("2.png", "dog") == ("", "2.png", "dog", "")
