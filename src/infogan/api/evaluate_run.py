"""Evaluation of a run, and its report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infogan.api.features import filed_by_features
from infogan.config.schema import Config, DataSettings
from infogan.data import DATASETS, ImageSet, has_test_split, load, resolve_source
from infogan.data.labels import labels_by_name
from infogan.evaluation.evaluate import evaluate
from infogan.evaluation.metric_groups import EvaluationInputs
from infogan.models.infogan import InfoGAN
from infogan.reports.report import report_page
from infogan.training.checkpoint import load_first_stage
from infogan.training.run_dir import IMAGES, RunFolder
from infogan.training.teacher import load_teacher
from infogan.utils.errors import UserError
from infogan.utils.files import write_bytes


def load_images(model: InfoGAN, data: DataSettings, *, split: str | None = None) -> ImageSet:
    """Load images in the size and channels of a model; raise UserError as `infogan.data.load`."""
    size, channels = model.config.size, model.config.channels
    return load(data.source, split=split, size=size, channels=channels, **data.reading)


def evaluation_inputs(
    model: InfoGAN, config: Config, train_images: ImageSet, run: RunFolder | None = None
) -> EvaluationInputs:
    """Return what a run is evaluated on: its training images and, if its data has one, the test split.

    Args:
        model: The model.
        config: The configuration of the run.
        train_images: The training images.
        run: The run folder, with the encoder as it was before its categories formed; None = there is none.

    Raises:
        UserError: As `load_images`, or the run is damaged.
    """
    has_test = has_test_split(config.data.source, follow_links=config.data.follow_links)
    test = load_images(model, config.data, split="test") if has_test else None
    first_stage = load_first_stage(run, model.config.shape) if run is not None else None
    teacher = load_teacher(run) if run is not None else None
    return EvaluationInputs(
        model,
        train_images,
        test,
        config.train.seed,
        config.augment.strengths,
        first_stage,
        None if teacher is None else teacher.space,
    )


def data_of_run(run: RunFolder, source: str | None = None) -> DataSettings:
    """Return where the images of a run are.

    Args:
        run: The run.
        source: Where they are now; None = where they were.

    Raises:
        UserError: They are there no longer, or the run is damaged.
    """
    data = run.read_config().data
    if source is not None:
        return data.model_copy(update={"source": resolve_source(source)})
    if data.source in DATASETS or "://" in data.source or Path(data.source).exists():
        return data
    if (run.path / IMAGES).is_dir():  # of a program; the run was moved
        return data.model_copy(update={"source": str(run.path / IMAGES)})
    raise UserError(f"the images of {run.path} are no longer at {data.source}: give their new place with --data")


def inputs_of_run(run: RunFolder, model: InfoGAN, source: str | None = None) -> EvaluationInputs:
    """Load what a finished run is evaluated on, and check that it was trained on these images.

    Args:
        run: The run.
        model: Its model.
        source: As for `data_of_run`.

    Raises:
        UserError: As `data_of_run` and `load_images`, or the images are others.
    """
    data = data_of_run(run, source)
    images = load_images(model, data)
    check_images(run, images, data.source)
    return evaluation_inputs(model, run.read_config().model_copy(update={"data": data}), images, run)


def check_images(run: RunFolder, images: ImageSet, source: str) -> None:
    """Raise UserError unless a run was trained on these images; nothing is known of runs without a digest."""
    digest = run.data_digest()
    if digest is not None and digest != images.digest(verify=False):
        raise UserError(
            f"the {len(images)} images at {source} are not those that {run.path} was trained on: restore them, or give "
            "the place of the right ones with --data"
        )


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
    corrections = labels_by_name(run.labels) if run.labels.is_file() else {}
    filed = filed_by_features(run, inputs.model.digest())
    page = report_page(
        run, inputs.model, config, inputs.train, inputs.test, result, filed=filed, corrections=corrections
    )
    write_bytes(path, page.encode())
    return path
