"""Every benchmark can be imported and has a command."""

import importlib
from pathlib import Path

import pytest

import benchmarks

HELPERS = {"classifier", "exploring", "faults", "fuzz_sources", "naive", "sessions"}  # of other benchmarks
NAMES = sorted(path.stem for path in Path(benchmarks.__path__[0]).glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", NAMES)
def test_benchmark_can_be_imported(name: str) -> None:
    if name == "explorer":
        pytest.importorskip("playwright")
    module = importlib.import_module(f"benchmarks.{name}")
    assert hasattr(module, "main") == (name not in HELPERS)
    assert module.__doc__
