"""Where numbers could silently rot: the ends of their ranges, in every function and in whole runs.

Losses and bounds stay finite, and so do their gradients, whatever networks say in bfloat16; runs on images that no
recipe was made for end with finite numbers and a verdict that does not trust them, or are refused in a sentence.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from infogan.api import resolve, train_run
from infogan.config.load import build
from infogan.config.schema import NORMED, CategoricalCode, ContinuousCode, NoiseSettings
from infogan.evaluation.metrics.information import categorical_information
from infogan.models.architectures import ARCHITECTURES
from infogan.models.latents import CodeLayout, categorical_log_likelihood
from infogan.training.loop import train
from infogan.training.losses import functions
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from infogan.utils.matching import contingency
from tests.helpers import image_set, small_config, small_model

# What a network that multiplies in bfloat16 can say, given back as float32; not the largest, of which a sum overflows.
EXTREMES = torch.tensor([0.0, 1e-30, 1.0, 88.7, 1e4, 1e30], dtype=torch.bfloat16).float()
LOGITS = torch.cat([EXTREMES, -EXTREMES])


def finite(values: Tensor, *inputs: Tensor) -> None:
    """Values and their gradients are finite."""
    assert torch.isfinite(values).all()
    for gradient in torch.autograd.grad(values.sum(), inputs):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", functions.ADVERSARIAL)
def test_adversarial_losses_are_finite_at_any_logits(name: str) -> None:
    loss = functions.ADVERSARIAL[name]
    real, fake = (part.reshape(-1).clone().requires_grad_() for part in torch.meshgrid(LOGITS, LOGITS, indexing="ij"))
    finite(loss.discriminator(real, fake), real, fake)
    if loss.generator_sees_reals:
        finite(loss.generator(real, fake), real, fake)
    else:
        finite(loss.generator(fake), fake)


def test_saturated_losses_are_what_they_tend_to() -> None:
    logits = torch.tensor([-1e4, 1e4])
    assert functions.non_saturating_generator(logits).tolist() == [1e4, 0.0]
    assert functions.non_saturating_discriminator(logits, logits).tolist() == [1e4, 1e4]


@pytest.mark.parametrize("classes", [1, 2, 10_000])
@pytest.mark.parametrize("batch", [1, 12])
def test_losses_of_categories_are_finite_for_any_number_of_them(classes: int, batch: int) -> None:
    random = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(LOGITS), (batch, classes), generator=random)
    logits = LOGITS[chosen].clamp(-1e30, 1e30).requires_grad_()
    values = torch.randint(classes, (batch,), generator=random)
    target = LOGITS[chosen.flip(1)].softmax(dim=1)
    marginal = torch.nn.functional.one_hot(torch.tensor(0), classes).float()  # all in one value
    prior = torch.full((classes,), 1 / classes)
    finite(categorical_log_likelihood(logits, values), logits)
    finite(functions.divergence(target, logits), logits)
    finite(functions.cross_entropy(target, logits), logits)
    finite(functions.entropy(logits), logits)
    finite(functions.balance(logits, marginal, prior), logits)
    if classes == 1:  # nothing to be known, and nothing is lost
        assert functions.entropy(logits).tolist() == [0.0] * batch
        assert categorical_log_likelihood(logits, values).abs().tolist() == [0.0] * batch


def test_a_single_image_has_no_other_to_be_told_from() -> None:
    feature = torch.nn.functional.normalize(torch.randn(1, 8), dim=1).requires_grad_()
    loss = functions.contrast(feature, feature * 1.0, 0.35)
    assert loss.tolist() == [0.0]
    finite(loss, feature)


def test_features_and_directions_of_nothing_are_finite() -> None:
    nothing = torch.zeros(3, 8, requires_grad=True)
    unit = torch.nn.functional.normalize(nothing)
    finite(functions.contrast(unit, unit * 1.0, 0.35), nothing)
    assert functions.unit(torch.zeros(2, 1, 4, 4)).abs().max() == 0
    black = torch.zeros(2, 1, 8, 8, requires_grad=True)
    assert functions.r1(black, (black * 0).sum(dim=(1, 2, 3))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("batch", [1, 6])
def test_bounds_of_codes_are_finite_whatever_the_recognizer_says(batch: int) -> None:
    codes = (CategoricalCode(name="category", size=10_000), ContinuousCode(name="knob"))
    layout = CodeLayout(NoiseSettings(size=3), codes)
    drawn = layout.sample_codes(batch, torch.Generator().manual_seed(0))
    width = max(columns.stop for columns in layout.posterior_slices.values())
    for extreme in (*EXTREMES[:5].tolist(), -1e4, -88.7):
        posterior = torch.full((batch, width), extreme)
        posterior[:, ::2] *= -1
        posterior.requires_grad_()
        for name, likelihood in layout.log_likelihoods(posterior, drawn).items():
            finite(likelihood, posterior)
            assert math.isfinite(layout.entropy(name))


# Whole runs.


def run_on(
    images: NDArray[np.uint8], folder: Path, preset: str, codes: list[dict[str, Any]] | None = None, **train: Any
) -> tuple[RunFolder, dict[str, Any]]:
    """A run of some steps in bfloat16, from the file to the report."""
    np.savez(folder / "images.npz", images=images)
    sections: dict[str, Any] = {
        "data": {"source": str(folder / "images.npz")},
        "networks": {"width": 4} | ({"encoder_width": 4} if preset == "robust" else {}),
        # Each stage of the robust recipe has two steps.
        "train": {"steps": 8, "batch_size": 8, "precision": "bf16", "log_every": 1, **train},
    }
    assignments = [f"stages.{stage}.share=1" for stage in range(4)] if preset == "robust" else []
    planned = train_run.plan(resolve.compose(preset, [sections | ({"codes": codes} if codes else {})], assignments))
    run = RunFolder.at(folder / "run")
    return run, train_run.train_run(planned, run)[1]


def all_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(all_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(all_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


NOISE = np.random.default_rng(0).integers(0, 256, (48, 1, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize("preset", ["robust", "paper", "post"])
@pytest.mark.parametrize("kind", ["one image repeated", "all black"])
def test_images_that_say_nothing_are_learned_from_and_not_trusted(preset: str, kind: str, tmp_path: Path) -> None:
    images = np.repeat(NOISE[:1], 48, axis=0) if kind == "one image repeated" else np.zeros_like(NOISE)
    run, result = run_on(images, tmp_path, preset)
    assert len(run.read_stats()) == 8
    assert all_finite(run.read_stats())
    assert all_finite(result)
    assert result["verdict"]["trust"] is False
    assert run.report.is_file()


@pytest.mark.parametrize("preset", ["robust", "plain", "post"])
def test_ten_thousand_categories(preset: str, tmp_path: Path) -> None:
    codes: list[dict[str, Any]] = [{"kind": "categorical", "size": 10_000}, {"kind": "continuous"}]
    if preset == "robust":
        with pytest.raises(UserError, match=r"^10000 categories, but only 48 images to be filed under them: ask for"):
            run_on(NOISE, tmp_path, preset, codes)
        return
    run, result = run_on(NOISE, tmp_path, preset, codes, steps=2)
    assert all_finite(run.read_stats())
    assert all_finite(result)
    assert result["entropy"]["category"] == pytest.approx(math.log(10_000))
    assert result["verdict"]["trust"] is False
    assert run.report.stat().st_size < 20e6


def test_one_category_is_no_category(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="size is 1: input should be greater than or equal to 2"):
        run_on(NOISE, tmp_path, "plain", [{"kind": "categorical", "size": 1}])


@pytest.mark.parametrize("preset", ["robust", "plain", "paper", "disentangle"])
def test_a_batch_of_one_is_refused_where_batches_are_normed(preset: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size is 1, but batch norm needs two images"):
        run_on(NOISE, tmp_path, preset, batch_size=1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batches_of_one_train_what_has_no_batch_norm(architecture: str, tmp_path: Path) -> None:
    config = small_config("train.batch_size=2", networks={"architecture": architecture, "width": 4})
    alone = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": 1})})
    if architecture in NORMED:
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            train(alone, image_set(), RunFolder.at(tmp_path))
    else:
        train(build(alone.model_dump()), image_set(), RunFolder.at(tmp_path))


@pytest.mark.parametrize(("preset", "batch"), [("post", 1), ("paper", 2), ("robust", 2)])
def test_the_smallest_batches(preset: str, batch: int, tmp_path: Path) -> None:
    run, result = run_on(NOISE, tmp_path, preset, batch_size=batch)
    assert all_finite(run.read_stats())
    assert all_finite(result)


def test_a_single_image_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 1 usable images, fewer than a batch of 8: add images$"):
        run_on(NOISE[:1], tmp_path, "plain")


@pytest.mark.parametrize("size", [8, pytest.param(128, marks=pytest.mark.slow)])
@pytest.mark.parametrize("preset", ["robust", "paper", "disentangle"])
def test_the_smallest_and_the_largest_images(preset: str, size: int, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (40, 3, size, size)).astype(np.uint8)
    run, result = run_on(images, tmp_path, preset, steps=4, batch_size=4)
    assert all_finite(run.read_stats())
    assert all_finite(result)


# What a great many values cost.


def test_pictures_show_a_hundred_of_many_values() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 1001}, {"kind": "continuous"}])
    values = model.display_values("category")
    assert (len(values), values[0], values[-1]) == (100, 0, 1000)
    steps = np.diff(values)
    assert steps.max() - steps.min() <= 1  # evenly
    few = small_model(codes=[{"kind": "categorical", "size": 100}]).sheet("category", rows=2)
    assert model.sheet("category", rows=2).size == few.size
    assert model.display_values("knob1") == list(model.values_of("knob1"))


def test_information_of_many_categories_is_that_of_the_table() -> None:
    random = np.random.default_rng(0)
    code = random.integers(0, 40, 500)
    reading = (code + random.integers(0, 3, 500)) % 50
    table = contingency(code, reading, 40, 50) / 500
    cells = table * np.log(np.where(table > 0, table, 1) / np.maximum(np.outer(table.sum(1), table.sum(0)), 1e-300))
    assert categorical_information(code, reading, corrected=False) == pytest.approx(cells.sum())
    spread = code * 10_000_000  # a table of these would be larger than any memory
    assert categorical_information(spread, reading) == pytest.approx(categorical_information(code, reading))
