"""Set-up of the tests: array shapes are checked at run time, and one thread computes."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

# Installed before the package is imported, so that the shapes of every call are checked. An int may stand for a float,
# as it may for mypy.
CHECKED = """
    data.augment data.batches training.losses training.step training.stage_hooks models.latents models.architectures
    models.encoder models.networks models.infogan models.results models.serialization evaluation.metric_groups
    evaluation.metrics reports.figures reports.charts reports.model_card reports.report reports.notebook
    explorer.render explorer.neighbours explorer.image_index
"""
BEARTYPE = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook([f"infogan.{name}" for name in CHECKED.split()], BEARTYPE)

import torch  # noqa: E402

torch.set_num_threads(1)  # the tests' networks are too small to share

# Tests in the background, or under nohup, begin with ignored signals, which infogan would rightly leave ignored.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", help="folder for the screenshots of docs/explorer.md")
    parser.addoption("--run", help="run folder to take them of")


@pytest.fixture(autouse=True)
def _fixed_global_seed() -> None:
    """Give networks that a test makes without a seed the same weights in every process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on digits; tests that change it take a copy."""
    from benchmarks.exploring import small_plan

    from infogan.api.train_run import train_run
    from infogan.training.run_dir import RunFolder

    run = RunFolder.at(tmp_path_factory.mktemp("digits") / "run")
    train_run(small_plan(), run)
    return run.path


@pytest.fixture(scope="module")  # not longer: `asyncio.run` fails while Playwright runs
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    from tests.browser import chromium

    with chromium() as browser:
        yield browser
