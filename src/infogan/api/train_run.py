"""Training a run from options to report: what ``infogan train`` and `infogan.fit` do."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import infogan
from infogan.api.evaluate_run import evaluate_run, evaluation_inputs, write_report
from infogan.api.features import choose_features, load_vectors
from infogan.api.resolve import Plan, features_are_chosen, resolve, validate, with_features
from infogan.config.presets import Options
from infogan.config.schema import Config, ContinuousCode, DataSettings
from infogan.data import ImageSet, Progress, describe_skipped, load, resolve_source, some_indices
from infogan.data.preprocess import shown
from infogan.features import NamedVectors, absolute_source
from infogan.models.infogan import InfoGAN
from infogan.reports.figures import image_grid, sample_grid, save_image
from infogan.training.callbacks import Callback, CallbackList, EncodedSample, Interrupted
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.teacher import Teacher, fit_teacher, load_teacher, save_teacher
from infogan.utils import distributed
from infogan.utils.determinism import deterministic_algorithms
from infogan.utils.errors import UserError
from infogan.utils.files import write_json
from infogan.utils.memory import report_memory_shortage
from infogan.utils.names import figure_names

MAX_ENCODED = 400  # images whose codes are given to callbacks


def plan(
    options: Options,
    progress: Progress | None = None,
    *,
    run: Path | None = None,
    device: str = "cpu",
    images: ImageSet | None = None,
    timed: bool = True,
    vectors: NamedVectors | None = None,
) -> Plan:
    """Load the training images and resolve the options.

    Args:
        options: From `compose`, with ``data.source``.
        progress: Called with what is downloaded and read.
        run: A run folder that may exist; such a run keeps its number of steps.
        device: The device whose speed turns a budget into steps.
        images: Training images that are already loaded; ``data.source`` is then not read.
        timed: As for `resolve`.
        vectors: Of these images, from a pretrained encoder; None = as ``features.source`` says.

    Raises:
        UserError: As `resolve`; or there is no such data, or workers were given different options.

    Example:
        >>> plan(compose("plain", [{"data": {"source": "digits"}}])).config.train.steps
        4000
    """
    options = _with_absolute_source(options)
    versions = f"infogan {infogan.__version__}, torch {torch.__version__}, numpy {np.__version__}"
    distributed.assert_same_on_all_ranks("version of infogan, PyTorch or NumPy", versions)
    distributed.assert_same_on_all_ranks("configuration", json.dumps(options, default=str))
    with distributed.all_or_none():
        config = validate(options)  # before any data is downloaded, so that a misspelt option is reported at once
        if images is None:
            images = _load(config.data, progress, run if distributed.is_rank0() else None)
    notes: tuple[str, ...] = ()
    # Categories are counted, features compared and steps timed with the algorithms of the training.
    with deterministic_algorithms(config.train.deterministic):
        if features_are_chosen(options):
            choice = choose_features(config, images, device, run, progress)
            options, notes = with_features(options, choice.source), (choice.note,) if choice.note else ()
            config = validate(options)
        if vectors is None:
            vectors = load_vectors(config, images, device, run, progress)
        if vectors is not None and vectors.origin:
            notes += (f"categories by the features of {vectors.origin}",)
        plan = resolve(options, images, device, run=run, timed=timed, vectors=vectors)
    return replace(plan, notes=notes)


def _with_absolute_source(options: Options) -> Options:
    """Return the options with paths that mean the same in any folder, because a run may be evaluated from another one.

    Raises:
        UserError: As `resolve_source`.
    """
    data = options.get("data")
    if not isinstance(data, dict):  # which `validate` reports
        return options
    data = dict(data)
    if isinstance(source := data.get("source"), str) and source:
        data["source"] = resolve_source(source)
    if isinstance(labels := data.get("labels"), str) and labels:
        data["labels"] = os.path.abspath(labels)
    options = {**options, "data": data}
    features = options.get("features")
    if isinstance(features, dict) and isinstance(source := features.get("source"), str) and source:
        options["features"] = {**features, "source": absolute_source(source)}
    return options


def _load(data: DataSettings, progress: Progress | None, run: Path | None) -> ImageSet:
    """Load the training images; if those of an existing run are missing, that is an incident of the run."""
    if not data.source:
        raise UserError("no images are named: give a data set, a folder or a file, e.g. infogan train mnist")
    try:
        return load(data.source, size=data.size, channels=data.channels, **data.reading, progress=progress)
    except UserError as error:
        is_missing = "://" not in data.source and not Path(data.source).exists()
        with suppress(UserError):  # there may be no run, or another process may train it
            if run is not None and is_missing and RunFolder.existing(run).read_config().data.source == data.source:
                with RunFolder(run).lock():
                    RunFolder(run).incident(str(error))
        raise


def open_run(out: Path | None, name: str) -> RunFolder:
    """Return the run folder at ``out``, or a new one, ``runs/NNNNN-NAME``, the same on all ranks.

    Raises:
        UserError: It holds something other than a run, or cannot be created.
    """
    return distributed.broadcast_from_rank0(
        lambda: RunFolder.numbered(Path("runs"), name) if out is None else RunFolder.at(out)
    )


def train_run(
    plan: Plan,
    run: RunFolder,
    *,
    device: str = "cpu",
    callbacks: Iterable[Callback] = (),
    watch: Callback | None = None,
    trackers: Sequence[Callback] = (),
) -> tuple[InfoGAN, dict[str, Any]]:
    """Train or resume a run to its end, draw its figures, evaluate it and write its report.

    If there are several workers, rank 0 alone does everything but the training.

    Args:
        plan: From `plan`.
        run: The run folder.
        device: The device to compute on.
        callbacks: Called as the run proceeds, see `Callback`.
        watch: Another callback (the name of version 0.1).
        trackers: More callbacks (the name of version 0.1).

    Returns:
        The model and the evaluation, which are saved in the run folder, too. Other ranks get an empty evaluation.

    Raises:
        UserError: As `training.loop.train`; or the run began with another configuration or other images, another
            process trains it, workers have different images, or a tracker cannot start.
        Interrupted: A callback requested a stop; the same call resumes the run.
    """
    callbacks = [*callbacks, *trackers, *([watch] if watch is not None else [])]
    with distributed.all_or_none():
        digest = plan.images.digest()
    if plan.few_labels is not None:
        digest += f" {plan.few_labels.digest()}"
    distributed.assert_same_on_all_ranks("set of images or labels", digest)
    # A worker that lost its connection may hold the lock until it notices.
    timeout = distributed.timeout_seconds() if distributed.is_distributed() else 0.0
    with ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(run.lock(timeout))
            run.begin(plan.config, digest, device)
            stack.enter_context(_session(run, CallbackList(callbacks)))

        distributed.on_rank0(begin)
        stack.enter_context(report_memory_shortage())
        stack.enter_context(distributed.report_lost_workers())
        stack.enter_context(deterministic_algorithms(plan.config.train.deterministic))
        return _train_and_evaluate(plan, run, device, CallbackList(callbacks))


@contextmanager
def _session(run: RunFolder, callbacks: CallbackList) -> Iterator[None]:
    """Record how the session ends, in the run folder and for the callbacks; an error is an incident."""
    try:
        yield
        callbacks.call("on_train_end", "finished")
        run.end("finished")
    except (Interrupted, KeyboardInterrupt, SystemExit) as end:
        with suppress(UserError):  # the disk may be full
            run.end(str(end) if isinstance(end, Interrupted) else "interrupted")
        callbacks.call("on_train_end", "interrupted")  # last, because a tracker may take longer than there is time
        raise
    except BaseException as error:
        callbacks.call("on_train_end", "failed")
        sentence = str(error) if isinstance(error, UserError) else f"ended by {type(error).__name__}: {error}"
        with suppress(UserError):  # the error may be that nothing can be written
            run.incident(sentence)
            run.end(sentence)
        raise


class SampleGrids(Callback):
    """Draws the sample grid and the traversals of every code, saves them, and gives them to other callbacks."""

    def __init__(self, others: CallbackList) -> None:
        self._others = others

    def on_train_begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Remember the run."""
        self._run, self._config = run, config

    def on_sample(self, step: int, model: InfoGAN) -> None:
        """Draw, save and pass on."""
        samples = sample_grid(model, self._config, step)
        save_image(samples, self._run.samples / f"{step:08d}.png")
        figures = {"samples": np.asarray(samples)}
        for name, file_name in figure_names(model.layout.codes).items():
            sheet = model.sheet(name)
            save_image(sheet, self._run.traversals_at(step) / file_name)
            figures[f"traversals/{name}"] = np.asarray(sheet)
        self._others.call("on_figures", step, figures)


def _train_and_evaluate(
    plan: Plan, run: RunFolder, device: str, callbacks: CallbackList
) -> tuple[InfoGAN, dict[str, Any]]:
    """Do what `train_run` does within a session."""
    config, images, few_labels = plan.config, plan.images, plan.few_labels
    distributed.on_rank0(partial(_record_data, plan, run, device))
    hooks = [SampleGrids(callbacks), *callbacks.callbacks]
    teacher = _teacher(plan, run)
    targets = None if teacher is None else teacher.probabilities
    model = train(config, images, run, device=device, callbacks=hooks, few_labels=few_labels, targets=targets)
    if not distributed.is_rank0():
        return model, {}
    model.replace_config(InfoGAN.load(run.model).config)  # names may have been given while it trained
    has_categories = model.networks.reads_codes and bool(model.layout.categorical)
    if few_labels is not None and has_categories and not model.config.names:
        model.name_codes_by_labels(images.images[few_labels.indices], few_labels.values, few_labels.names)
        model.save(run.model)
    for name, file_name in figure_names(model.layout.codes).items():
        save_image(model.sheet(name), run.traversals / file_name)
    inputs = evaluation_inputs(model, config, images, run)
    result = evaluate_run(inputs, config)
    run.add_metrics({"step": config.train.steps, **result})
    callbacks.call("on_evaluation", config.train.steps, result)
    if callbacks.callbacks and model.networks.reads_codes:
        callbacks.call("on_encoded", config.train.steps, encode_sample(model, inputs.reported))
    write_report(run, inputs, config, result)
    model.run_path = run.path
    run.log("finished")
    return model, result


def _teacher(plan: Plan, run: RunFolder) -> Teacher | None:
    """Return the teacher of a run with pretrained features; that of a run that is resumed is kept."""
    if not plan.config.features.source:
        return None

    def make() -> Teacher:
        teacher = load_teacher(run)
        if teacher is None:
            assert plan.vectors is not None
            teacher = fit_teacher(plan.vectors, plan.config.category_sizes[0], plan.config.train.seed)
            save_teacher(run, teacher)
        return teacher

    return distributed.broadcast_from_rank0(make)


def _record_data(plan: Plan, run: RunFolder, device: str) -> None:
    images = plan.images
    workers = f", {distributed.world_size()} workers" if distributed.is_distributed() else ""
    run.log(f"training on {images.source}: {len(images)} images of {images.size}x{images.size}, on {device}{workers}")
    for sentence in (*plan.notes, *plan.warnings):
        run.log(sentence)
    if plan.categories:
        write_json(run.path / "categories.json", plan.categories.to_dict())
    if images.skipped:
        run.log(f"{len(images.skipped)} files are left out: {describe_skipped(images.skipped)}")
    for skipped in images.skipped:
        run.log(f"skipped {skipped}")
    reals = images.images[some_indices(len(images), 100)]
    save_image(image_grid(shown(reals, plan.config.data.bands), 10), run.samples / "reals.png")


def encode_sample(model: InfoGAN, images: ImageSet) -> EncodedSample:
    """Return what a model predicts for some of the images; their labels are not used.

    Raises:
        UserError: The model predicts no codes.
    """
    sample = images.images[some_indices(len(images), MAX_ENCODED)]
    encoding = model.encode(sample)
    codes: dict[str, list[str] | list[float]] = {}
    for name, values in encoding.codes.items():
        is_knob = isinstance(model.layout.code(name), ContinuousCode)
        codes[name] = values.tolist() if is_knob else [model.value_name(name, value) for value in values.tolist()]
    features = encoding.to_array().astype(np.float32) if model.networks.encoder is None else model.features(sample)
    grid = np.asarray(image_grid(model.shown(sample), 20, padding=0, scale=1))
    return EncodedSample(sample, grid, features, codes)
