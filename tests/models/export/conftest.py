"""Fixtures for the tests of exports."""

import pytest

from infogan.models.export.runtime import read_runtime
from infogan.utils.errors import UserError


@pytest.fixture(scope="session")
def runtime() -> None:
    """The runtime in the cache; tests are skipped if it cannot be downloaded."""
    try:
        read_runtime()
    except UserError as error:
        pytest.skip(str(error))
