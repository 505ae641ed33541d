"""Randomly damaged files are read or refused in one sentence; the benchmark gives readers many more of them."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fuzz
from infogan.utils.errors import UserError

FEW, MANY = 50, 200  # inputs for each reader
RARELY_REFUSED = {"stats", "tree", "names", "range"}  # whose readers leave out what they cannot use
NEED_EXPLORER = {"requests", "addresses"}  # which runs in another process


@pytest.fixture(scope="module")
def readers() -> dict[str, fuzz.Target]:
    return fuzz.targets()


def check(target: fuzz.Target, inputs: int, folder: Path, *, with_refusals: bool) -> None:
    """Check that a reader reads or refuses every input."""
    result = fuzz.try_reader(target, inputs, 0, folder)
    assert result["traces"] == []
    assert not with_refusals or result["refused"] > inputs / 5
    assert result["read"] + result["refused"] == inputs
    assert not any(folder.iterdir())


def test_damaged_files_are_read_or_refused(readers: dict[str, fuzz.Target], tmp_path: Path) -> None:
    for name, target in readers.items():
        if name not in NEED_EXPLORER:
            check(target, FEW, tmp_path, with_refusals=False)


@pytest.mark.integration
@pytest.mark.parametrize("name", list(fuzz.NAMES))
def test_many_damaged_files_are_read_or_refused(name: str, readers: dict[str, fuzz.Target], tmp_path: Path) -> None:
    check(readers[name], MANY, tmp_path, with_refusals=name not in RARELY_REFUSED)


def check_valid_files(name: str, target: fuzz.Target, folder: Path) -> None:
    assert target.corpus
    for number, content in enumerate(target.corpus):
        path = folder / f"{name}-{number}"
        for companion, companion_content in target.companions:
            fuzz.put(path / companion, companion_content)
        fuzz.put(path / target.path, content)
        if b"/api/undo" in content:  # the change to be undone has another number
            continue
        assert target.read(path) is not None


def test_valid_files_are_read(readers: dict[str, fuzz.Target], tmp_path: Path) -> None:
    for name, target in readers.items():
        if name not in NEED_EXPLORER:
            check_valid_files(name, target, tmp_path)


@pytest.mark.integration
def test_valid_requests_are_answered(readers: dict[str, fuzz.Target], tmp_path: Path) -> None:
    begin = readers["requests"].begin
    assert begin is not None
    with begin() as target:
        check_valid_files("requests", target, tmp_path)


def sleep_forever(path: Path) -> None:
    try:
        time.sleep(20)
    except Exception as error:  # as a reader might that takes any exception for a damaged file
        raise UserError("damaged") from error


def refuse_in_two_lines(path: Path) -> None:
    raise UserError("two\nlines")


@pytest.mark.parametrize(
    ("kind", "read", "findings"),
    [
        ("IndexError", lambda _: [][0], 2),
        ("TooLong", sleep_forever, 2),
        ("MemoryError", lambda _: np.ones(3 * fuzz.MEMORY // 8), 2),
        ("more than one line", refuse_in_two_lines, 0),
        ("more memory than", lambda _: np.ones(2**23), 0),  # more than was freed and can be used again
    ],
)
def test_faults_of_readers_are_found(
    kind: str, read: Callable[[Path], object], findings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 0.5)
    if kind == "more memory than" and not fuzz.RESET.exists():
        pytest.skip("the system does not know the peak of the memory")

    def strict(folder: Path) -> object:
        return (folder / "a").read_bytes() == b"content" or read(folder)

    result = fuzz.try_reader(fuzz.Target("a", (b"content",), strict), 2, 0, tmp_path / "findings")
    assert len(result["traces"]) == 1
    assert kind in result["traces"][0]
    assert result["findings"] == findings
    assert (tmp_path / "findings").exists() == (kind != "more than one line")


def test_names_are_those_of_the_readers(readers: dict[str, fuzz.Target]) -> None:
    assert list(readers) == list(fuzz.NAMES)
    assert set(fuzz.NAMES) >= NEED_EXPLORER
