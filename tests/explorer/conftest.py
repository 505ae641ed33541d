"""Fixtures for the tests of the explorer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.explorer_client import ExplorerClient, copy_run, explorer_thread


@pytest.fixture(scope="package")
def _client(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExplorerClient]:
    with explorer_thread(copy_run(digits_run, tmp_path_factory.mktemp("explorer") / "run")) as client:
        client.log_in()
        client.state()
        yield client


@pytest.fixture
def client(_client: ExplorerClient) -> Iterator[ExplorerClient]:
    """The explorer of a trained run, with all images read; changes are undone after the test."""
    yield _client
    _client.undo_all()
