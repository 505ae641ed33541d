"""Labels of a few images from a CSV file."""

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


def test_a_missing_file_of_labels_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.csv"):
        read_labels(file, image_set())


def test_a_changed_row_keeps_its_other_cells() -> None:
    table = LabelTable.read(b"note,image,label,date\nblurred,1.png,cat,May\n", "labels.csv")
    ((line, row),) = table.rows
    assert (line, table.cell(row, "image"), table.cell(row, "label")) == (2, "1.png", "cat")
    assert table.make_row("1.png", "dog", row) == ("blurred", "1.png", "dog", "May")
    assert table.make_row("2.png", "dog") == ("", "2.png", "dog", "")
