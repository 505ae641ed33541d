"""Test set-up: the package's shapes are checked at run time, slow tests wait for --runslow, one thread computes."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before anything of the package is imported, so that every call is checked in what computes with arrays. An int may
# stand for a float, as it may for mypy.
CHECKED = """
    data.batches training.losses.functions models.latents models.architectures models.networks
    training.losses.terms evaluation.metrics models.serialization reports.model_card models.infogan
    reports.figures reports.charts evaluation.evaluate reports.report reports.notebook
    explorer.views explorer.neighbours explorer.collection
"""
BEARTYPE = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook([f"infogan.{name}" for name in CHECKED.split()], BEARTYPE)

import torch  # noqa: E402

torch.set_num_threads(1)  # the tests' networks are too small to share


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="also run the tests that take minutes")
    parser.addoption("--screenshots", help="the folder for the pictures of docs/explorer.md")
    parser.addoption("--run", help="the run folder that they are of")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--runslow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes; pass --runslow"))


@pytest.fixture(autouse=True)
def _same_weights_each_time() -> None:
    """Networks that a test makes without a seed: torch begins with another one in each process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on digits; whoever changes it takes a copy."""
    from benchmarks.exploring import small_plan

    from infogan.api.train_run import train_run
    from infogan.training.run_dir import RunFolder

    run = RunFolder.at(tmp_path_factory.mktemp("explored") / "run")
    train_run(small_plan(), run)
    return run.path
