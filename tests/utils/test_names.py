"""Names from outside as names of files and of columns."""

import os
import unicodedata
from pathlib import Path

import pytest

from infogan.utils.names import KEEP_BYTES, MAX_BYTES, FileNames, column_names

RESERVED = ["con", "CON.png", "nul.tar.gz", "Aux .png", "com1", "lpt9.jpg", "COM².png", "conin$"]


def file_names(*names: str) -> list[str]:
    taken = FileNames()
    return [taken.add(name) for name in names]


def as_written(names: list[str]) -> set[str]:
    """Return the names that a file system keeps apart which ignores case and Unicode normalisation."""
    return {unicodedata.normalize("NFC", name).casefold() for name in names}


def test_an_ordinary_name_stays_as_it_is() -> None:
    names = ["a.png", "b.tar.gz", "img 1 (2).JPG", "no ending", "été.png", "日本.png", "x" * 251 + ".png", "é" * 127]
    assert file_names(*names) == names


@pytest.mark.parametrize(
    "names",
    [
        ("a/b.png", "a_b.png", "a\\b.png", "a:b.png", "a?b.png", "a\nb.png", "a\0b.png"),
        ("c.png", " c.png", "..c.png", "c .png"),
        ("shot.1", "shot.1", "shot.1"),
        ("A.png", "a.png", "a.PNG"),
        ("\u00e9.png", "e\u0301.png", "\u00c9.png"),
        ("stra\u00dfe.png", "STRASSE.png"),
        ("", " ", ".", "..", "/", "_"),
        ("\udcff.png", "\udcfe.png", "\ud800.png", "_.png"),
        ("x" * 300 + "1.png", "x" * 300 + "2.png", "x" * 300, "x" * 255),
        ("é" * 200 + "1.png", "é" * 200 + "2.png"),
        ("a." + "x" * 300, "a." + "x" * 301),
        (*RESERVED, *RESERVED),
    ],
    ids=lambda names: ascii(names[0][:20]),
)
def test_names_that_agree_as_files_get_different_names(names: tuple[str, ...], tmp_path: Path) -> None:
    results = file_names(*names)
    assert len(as_written(results)) == len(names)
    assert results == file_names(*names)  # the same each time
    for number, result in enumerate(results):
        assert 0 < len(result.encode()) <= MAX_BYTES
        assert not set(result) & {*'/\\:*?"<>|\0\n'}
        assert result == result.strip(". ")
        (tmp_path / result).write_text(str(number))
    assert len(os.listdir(tmp_path)) == len(names)


def test_the_first_keeps_its_name_and_a_later_one_gets_a_hash_before_the_extension() -> None:
    first, second, third, fourth = file_names("a/b.png", "a_b.png", "a/b.png", "a/b.png")
    assert first == "a_b.png"
    # SHA-256 by `sha256sum`.
    assert second == "a_b-69682829.png"
    assert third == "a_b-88f7ec79.png"
    assert fourth == "a_b-88f7ec79-2.png"


def test_a_name_that_looks_like_a_hashed_one_is_not_replaced() -> None:
    names = file_names("a_b-69682829.png", "a/b.png", "a_b.png")
    assert len(set(names)) == 3
    assert names[0] == "a_b-69682829.png"


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_name_gets_a_hash(name: str) -> None:
    [result] = file_names(name)
    assert result.partition(".")[0].rstrip().lower() != name.partition(".")[0].rstrip().lower()


def test_a_long_name_keeps_its_begin_and_its_extension() -> None:
    [result] = file_names("photos/" + "é" * 300 + ".jpeg")
    assert result.startswith("photos_" + "é" * 100)
    assert result.endswith(".jpeg")
    assert MAX_BYTES - 1 <= len(result.encode()) <= MAX_BYTES


def test_a_stem_gets_the_extension_whatever_it_ends_in() -> None:
    names = FileNames()
    assert names.add("shot.1", stem="shot.1", extension=".png") == "shot.1.png"
    assert names.add("shot.2", stem="shot.2", extension=".png") == "shot.2.png"
    assert names.add("1.png", stem="1", extension=".png") == "1.png"
    assert names.add("1.jpg", stem="1", extension=".png").startswith("1-")
    assert names.add("", stem="", extension=".png").endswith(".png")
    assert names.add("x", stem="x" * 300, extension=".png").endswith(".png")


def test_columns_do_not_replace_one_another() -> None:
    names = column_names(["category", "image", "code image", "entropy"], ["image", "entropy"])
    assert names == {
        "category": "category",
        "image": "code image",
        "code image": "code code image",
        "entropy": "code entropy",
    }


def test_bytes_of_names_are_kept() -> None:
    assert os.fsdecode(b"a\xffb\xe9").encode("utf-8", KEEP_BYTES) == b"a\xffb\xe9"
    assert "é\ud800\udcff".encode("utf-8", KEEP_BYTES) == b"\xc3\xa9\\ud800\xff"
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", KEEP_BYTES)
