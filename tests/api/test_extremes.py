"""Runs on images and with options that no recipe was made for: finite numbers and no trust, or one message."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.api.resolve import compose
from infogan.api.train_run import plan, train_run
from infogan.config.load import build
from infogan.config.schema import BATCH_NORM_ARCHITECTURES
from infogan.evaluation.metrics.information import categorical_information
from infogan.models.architectures import ARCHITECTURES
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from infogan.utils.matching import contingency
from tests.helpers import image_set, small_config, small_model

NOISE = np.random.default_rng(0).integers(0, 256, (48, 1, 8, 8)).astype(np.uint8)


def train_on(
    images: NDArray[np.uint8],
    folder: Path,
    recipe: str,
    codes: list[dict[str, Any]] | None = None,
    samples: int = 200,
    **settings: Any,
) -> tuple[RunFolder, dict[str, Any]]:
    """Train some steps in bfloat16, and evaluate."""
    np.savez(folder / "images.npz", images=images)
    sections: dict[str, Any] = {
        "data": {"source": str(folder / "images.npz")},
        "networks": {"width": 4} | ({"encoder_width": 4} if recipe == "robust" else {}),
        "train": {"steps": 8, "batch_size": 8, "precision": "bf16", "log_every": 1, **settings},
        "evaluation": {"samples": samples, "bootstrap_draws": 10},
    } | ({"codes": codes} if codes else {})
    # Each stage of the robust recipe has two steps.
    assignments = [f"stages.{stage}.share=1" for stage in range(4)] if recipe == "robust" else []
    run = RunFolder.at(folder / "run")
    return run, train_run(plan(compose(recipe, [sections], assignments)), run)[1]


def assert_finite(value: Any) -> None:
    """Check all numbers in a tree."""
    if isinstance(value, dict | list | tuple):
        for entry in value.values() if isinstance(value, dict) else value:
            assert_finite(entry)
    elif isinstance(value, float):
        assert math.isfinite(value)


ONE_IMAGE, BLACK = np.repeat(NOISE[:1], 48, axis=0), np.zeros_like(NOISE)


@pytest.mark.parametrize(
    ("recipe", "images"),
    [("robust", ONE_IMAGE), ("robust", BLACK), ("paper", BLACK), ("post", ONE_IMAGE)],
    ids=["robust-one", "robust-black", "paper-black", "post-one"],
)
def test_images_without_content_are_trained_on_and_not_trusted(
    recipe: str, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    run, result = train_on(images, tmp_path, recipe)
    assert len(run.read_stats()) == 8
    assert_finite(run.read_stats())
    assert_finite(result)
    assert result["verdict"]["trust"] is False
    assert run.report.is_file()


MANY: list[dict[str, Any]] = [{"kind": "categorical", "size": 10_000}, {"kind": "continuous"}]


@pytest.mark.parametrize(
    ("recipe", "samples"), [("plain", 200), ("post", 200), pytest.param("plain", 10_000, marks=pytest.mark.slow)]
)
def test_ten_thousand_categories_are_trained(recipe: str, samples: int, tmp_path: Path) -> None:
    run, result = train_on(NOISE, tmp_path, recipe, MANY, samples, steps=2)
    assert_finite(run.read_stats())
    assert_finite(result)
    assert result["entropy"]["category"] == pytest.approx(math.log(10_000))
    assert result["verdict"]["trust"] is False
    assert run.report.stat().st_size < 20e6


def test_more_categories_than_images_are_refused_by_the_encoder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="48 images; at least 20000 are needed for 10000 categories"):
        train_on(NOISE, tmp_path, "robust", MANY)


def test_one_category_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="size is 1"):
        train_on(NOISE, tmp_path, "plain", [{"kind": "categorical", "size": 1}])


@pytest.mark.parametrize("recipe", ["robust", "plain", "paper", "disentangle"])
def test_batch_norm_refuses_batches_of_one(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.batch_size is 1"):
        train_on(NOISE, tmp_path, recipe, batch_size=1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_networks_without_batch_norm_train_on_batches_of_one(architecture: str, tmp_path: Path) -> None:
    config = small_config("train.batch_size=2", networks={"architecture": architecture, "width": 4})
    single = config.with_train(batch_size=1)
    if architecture in BATCH_NORM_ARCHITECTURES:
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            train(single, image_set(), RunFolder.at(tmp_path))
    else:
        train(build(single.model_dump()), image_set(), RunFolder.at(tmp_path))


@pytest.mark.parametrize(("recipe", "batch_size"), [("post", 1), ("paper", 2), ("robust", 2)])
def test_the_smallest_batches_train(recipe: str, batch_size: int, tmp_path: Path) -> None:
    run, result = train_on(NOISE, tmp_path, recipe, batch_size=batch_size)
    assert_finite(run.read_stats())
    assert_finite(result)


def test_a_single_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 images; at least 8 are needed"):
        train_on(NOISE[:1], tmp_path, "plain")


@pytest.mark.parametrize("size", [8, pytest.param(128, marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", ["robust", "paper", "disentangle"])
def test_the_smallest_and_the_largest_images_train(recipe: str, size: int, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (40, 3, size, size)).astype(np.uint8)
    run, result = train_on(images, tmp_path, recipe, steps=4, batch_size=4)
    assert_finite(run.read_stats())
    assert_finite(result)


# The cost of many categories.


def test_figures_show_a_hundred_of_many_categories() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 1001}, {"kind": "continuous"}])
    values = model.display_values("category")
    assert (len(values), values[0], values[-1]) == (100, 0, 1000)
    steps = np.diff(values)
    assert steps.max() - steps.min() <= 1
    hundred = small_model(codes=[{"kind": "categorical", "size": 100}]).sheet("category", rows=2)
    assert model.sheet("category", rows=2).size == hundred.size
    assert model.display_values("knob1") == list(model.values_of("knob1"))


def test_information_does_not_need_the_table_of_all_categories() -> None:
    random = np.random.default_rng(0)
    code = random.integers(0, 40, 500)
    reading = (code + random.integers(0, 3, 500)) % 50
    table = contingency(code, reading, 40, 50) / 500
    cells = table * np.log(np.where(table > 0, table, 1) / np.maximum(np.outer(table.sum(1), table.sum(0)), 1e-300))
    assert categorical_information(code, reading, corrected=False) == pytest.approx(cells.sum())
    sparse = code * 10_000_000  # a table of these would exceed any memory
    assert categorical_information(sparse, reading) == pytest.approx(categorical_information(code, reading))
