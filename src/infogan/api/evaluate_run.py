"""Evaluation of a run, and its report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infogan.config.schema import Config, DataSettings
from infogan.data import ImageSet, has_test_split, load
from infogan.evaluation.evaluate import evaluate
from infogan.evaluation.metric_groups import EvaluationInputs
from infogan.models.infogan import InfoGAN
from infogan.reports.report import report_page
from infogan.training.run_dir import RunFolder
from infogan.utils.files import write_bytes


def load_images(model: InfoGAN, data: DataSettings, *, split: str | None = None) -> ImageSet:
    """Load images in the size and channels of a model; raise UserError as `infogan.data.load`."""
    size, channels = model.config.size, model.config.channels
    return load(data.source, split=split, size=size, channels=channels, shape=data.shape, strict=data.strict)


def evaluation_inputs(model: InfoGAN, config: Config, train_images: ImageSet | None = None) -> EvaluationInputs:
    """Return what a run is evaluated on.

    Args:
        model: The model.
        config: Configuration of its run.
        train_images: The training images; None = load them.

    Raises:
        UserError: As `load_images`.
    """
    train = load_images(model, config.data) if train_images is None else train_images
    test = load_images(model, config.data, split="test") if has_test_split(config.data.source) else None
    return EvaluationInputs(model, train, test, config.train.seed, config.augment.strengths)


def evaluate_run(
    inputs: EvaluationInputs, config: Config, metrics: Sequence[str] | None = None, *, samples: int | None = None
) -> dict[str, Any]:
    """Evaluate a model on the test split of its data, or on its training images if there is none.

    Args:
        inputs: From `evaluation_inputs`.
        config: Configuration of the run.
        metrics: As `evaluation.evaluate`.
        samples: Number of generated images. Default: ``evaluation.samples`` of the run.

    Raises:
        UserError: As `evaluation.evaluate`.
    """
    samples = config.evaluation.samples if samples is None else samples
    return evaluate(inputs, metrics, samples=samples, bootstrap_draws=config.evaluation.bootstrap_draws)


def write_report(
    run: RunFolder, inputs: EvaluationInputs, config: Config, result: Mapping[str, Any], out: Path | None = None
) -> Path:
    """Write the HTML report of a run to ``report.html`` in its folder, or to ``out``; return the path.

    Raises:
        UserError: It cannot be written.
    """
    path = out or run.report
    write_bytes(path, report_page(run, inputs.model, config, inputs.train, inputs.test, result).encode())
    return path
