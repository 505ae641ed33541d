"""Fixtures of the tests of synthetic data sets."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("INFOGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
