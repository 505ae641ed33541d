"""Files that were broken by chance are read or refused in a sentence; the benchmark gives readers many more of them."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fuzz
from infogan.utils.errors import UserError

INPUTS = 100  # for each reader: more than 2,000 in all


@pytest.fixture(scope="module")
def readers() -> dict[str, fuzz.Target]:
    return fuzz.targets()


@pytest.mark.parametrize("name", list(fuzz.targets()))
def test_whatever_is_in_a_file_it_is_read_or_refused(
    name: str, readers: dict[str, fuzz.Target], tmp_path: Path
) -> None:
    found = fuzz.tried(readers[name], INPUTS, 0, tmp_path)
    assert found["traces"] == []
    assert found["refused"] > INPUTS / 5 or name == "stats"  # of those, lines that are none are left out
    assert found["read"] + found["refused"] == INPUTS
    assert not any(tmp_path.iterdir())


def test_valid_files_are_read(readers: dict[str, fuzz.Target], tmp_path: Path) -> None:
    for name, known in readers.items():
        if name == "addresses":  # which are those of the requests
            continue
        with known.begin() if known.begin else contextlib.nullcontext(known) as target:
            assert target.corpus
            for number, content in enumerate(target.corpus):
                folder = tmp_path / f"{name}-{number}"
                for place, beside in target.beside:
                    fuzz.put(folder / place, beside)
                fuzz.put(folder / target.place, content)
                if (name, number) == ("labels", 1):  # of another separator: refused, and there for the splices
                    continue
                if b"/api/undo" in content:  # there is something to undo, but it has another number
                    continue
                assert target.read(folder) is not None


def test_faults_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 4.0)

    def endless(at: Path) -> None:
        try:
            time.sleep(20)
        except Exception as error:  # as a reader might that takes all for a broken file
            raise UserError("broken") from error

    def refuse(at: Path) -> None:
        raise UserError("two\nlines")

    faulty: dict[str, Callable[[Path], object]] = {
        "IndexError": lambda at: [][0],
        "TooLong": endless,
        "MemoryError": lambda at: np.ones(3 * fuzz.MEMORY // 8),
        "more than one line": refuse,
        "more memory than": lambda at: np.ones(2**23),  # more than was freed and may be used again
    }
    for kind, read in faulty.items():

        def strict(at: Path, read: Callable[[Path], object] = read) -> object:
            return (at / "a").read_bytes() == b"content" or read(at)

        found = fuzz.tried(fuzz.Target("a", (b"content",), strict), 2, 0, tmp_path / kind)
        assert len(found["traces"]) == 1
        assert kind in found["traces"][0]
        assert (found["findings"] == 2) == (not kind.startswith("more"))
        assert (tmp_path / kind).exists() == (kind != "more than one line")
