"""What the commands do, without the terminal: each function is a command's work, from its arguments to its files.

The command line (`cli.py`) parses, shows progress and names the files; a program can call these functions instead.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import infogan
from infogan.config import presets
from infogan.config.schema import Config, DataSettings, build
from infogan.data import ImageSet, Progress, has_test_split, load
from infogan.data.batches import check_enough_images
from infogan.data.labels import FewLabels, read_labels
from infogan.evaluation.evaluate import EvaluationInputs, evaluate
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN, Samples
from infogan.models.networks import check_size
from infogan.models.serialization import CONFIG, README, WEIGHTS
from infogan.reports import figures
from infogan.reports.figures import picture_of, save_picture
from infogan.reports.report import report
from infogan.reports.sheets import samples_picture
from infogan.training.clustering import ClusterCountScan
from infogan.training.count_clusters import count_categories
from infogan.training.loop import Interrupted, Watcher, train
from infogan.training.run_dir import RunFolder
from infogan.training.time_budget import Length, with_stages, within
from infogan.training.trackers import Several, Tracker, numbers_of, read_codes
from infogan.utils import distributed
from infogan.utils.determinism import deterministic_algorithms
from infogan.utils.errors import UserError
from infogan.utils.files import atomic_write, write_bytes, write_json
from infogan.utils.memory import report_memory_shortage


@dataclass(frozen=True)
class Plan:
    """A run that is about to be trained: its configuration with the data's shape filled in, and its images."""

    config: Config
    images: ImageSet
    counted: ClusterCountScan | None = None  # how the number of categories was found, if it was to be
    few: FewLabels | None = None  # what the file in ``data.labels`` says
    caution: str | None = None  # a sentence, where its time is too short for a good model


def trial(options: presets.Options) -> Config:
    """The configuration that options come to before the images are known; raises UserError where they come to none."""
    return build(presets.with_categories(options, 2) if presets.counts_categories(options) else options)


def plan(
    options: presets.Options,
    progress: Progress | None = None,
    *,
    run: Path | None = None,
    device: str = "cpu",
    images: ImageSet | None = None,
) -> Plan:
    """Loads the training images and completes the configuration with what only they, or a clock, can tell.

    Args:
        options: From `recipes.resolve`, with ``data.source``.
        progress: Told of what is fetched and read.
        images: Those to be trained on, if they are at hand; no source is then named, and none read.
        run: A run that may be there already; it keeps the steps that its budget was found to be.
        device: What the budget is for.

    Raises:
        UserError: options that are no configuration, no such data, a cgan without labels, or workers that were not
            given the same options.
    """
    versions = f"infogan {infogan.__version__}, torch {torch.__version__}, numpy {np.__version__}"
    distributed.assert_same_on_all_ranks("version of infogan, PyTorch or NumPy", versions)
    distributed.assert_same_on_all_ranks("configuration", json.dumps(options, default=str))
    counts = presets.counts_categories(options)
    with distributed.all_or_none():
        config = trial(options)  # before any data is fetched, so that a misspelt option does not wait for it
        if images is None and not config.data.source:
            raise UserError("no images are named: give a data set, a folder or a file, e.g. infogan train mnist")
        if images is None:
            images = _load(config.data, progress, run if distributed.is_rank0() else None)
        few = _few(config, images)
    # Categories are counted, and steps timed, as they will be trained.
    with deterministic_algorithms(config.train.deterministic):
        return _plan(options, config, counts, images, few, _known(run), device)


def _load(data: DataSettings, progress: Progress | None, run: Path | None) -> ImageSet:
    """The training images, those of a run that may be there; raises UserError as `load`."""
    with _kept_by(run, data.source):
        return load(
            data.source,
            size=data.size,
            channels=data.channels,
            shape=data.shape,
            strict=data.strict,
            progress=progress,
        )


def _few(config: Config, images: ImageSet) -> FewLabels | None:
    """The few labels of the images; raises UserError where either is not such as the configuration needs."""
    data = config.data
    few = read_labels(Path(data.labels), images) if data.labels else None
    check_enough_images(images, *config.largest_batch)
    check_size(config.networks, ImageShape(images.channels, images.size))
    if config.objective.kind == "cgan" and images.labels is None:
        raise UserError(f"a cgan needs a label for each image, and {images.source} has none")
    return few


def _known(run: Path | None) -> Config | None:
    """The configuration of a run that may be there already, as the first worker reads it; raises as `read_config`."""

    def read() -> str:
        there = run is not None and (run / "config.json").is_file()
        return RunFolder(run).read_config().model_dump_json() if run is not None and there else ""

    found = distributed.broadcast_from_rank0(read)
    return Config.model_validate_json(found) if found else None


def _plan(
    options: presets.Options,
    config: Config,
    counts: bool,
    images: ImageSet,
    few: FewLabels | None,
    known: Config | None,
    device: str,
) -> Plan:
    """`plan` from the options, what is known of their configuration, the images, and the run that is there already."""
    counted = None
    if config.objective.kind == "cgan":
        options = presets.with_label_code(options, len(images.label_names))
    unsaid = config.train.budget == presets.AUTO
    options = presets.for_size(options, images.size)
    if counts:
        if known is not None:
            found = known.category_sizes[0] if known.category_sizes else 2
        else:
            counted = count_categories(config, images, device)
            found = max(counted.best, len(few.names) if few else 0)
        options = presets.with_categories(options, found)
    with distributed.all_or_none():
        if config.networks.encoder and (most := config.category_sizes[0]) > len(images):
            raise UserError(f"{most} categories, but only {len(images)} images to be filed under them: ask for fewer")
        shape = {"size": images.size, "channels": images.channels}
        config = build({**options, "data": {**options.get("data", {}), **shape}})
        if few is not None and config.category_sizes and len(few.names) > config.category_sizes[0]:
            raise UserError(
                f"{config.data.labels} has {len(few.names)} labels, but the category only "
                f"{config.category_sizes[0]} values"
            )
    length = _length(config, images, known, device, few, unsaid)
    return Plan(length.config, images, counted, few, length.caution)


@contextmanager
def _kept_by(run: Path | None, source: str) -> Iterator[None]:
    """If these are the images of a run that is already there, that they are gone is an incident of that run."""
    try:
        yield
    except UserError as error:
        # What else may be wrong is the command's mistake, and another process may be at the run.
        with suppress(UserError):
            gone = run is not None and "://" not in source and not Path(source).exists()
            if run is not None and gone and (known := RunFolder.existing(run)).read_config().data.source == source:
                with known.held():
                    known.incident(str(error))
        raise


def _length(
    config: Config, images: ImageSet, known: Config | None, device: str, few: FewLabels | None, unsaid: bool
) -> Length:
    """The configuration with the steps that its budget, said by nobody or by the user, or its images come to."""
    train = config.train
    if train.images_seen is not None:
        whole = sum(stage.share for stage in config.stages)
        a_step = sum(stage.share * config.batch_size(i) for i, stage in enumerate(config.stages)) / whole
        steps = max(len(config.stages), math.ceil(train.images_seen / a_step))
    elif not isinstance(train.budget, float):
        return Length(config)
    elif known is None:
        longest = train.budget * presets.LONGEST if unsaid else None
        return within(train.budget, config, images, device, few, longest=longest)
    else:
        if len(known.stages) != len(config.stages):  # which `RunFolder.begin` will refuse in words
            return Length(config)
        if unsaid:
            config = config.model_copy(update={"train": train.model_copy(update={"budget": known.train.budget})})
        shares = (stage.share for stage in known.stages)
        stages = (stage.model_copy(update={"share": share}) for stage, share in zip(config.stages, shares, strict=True))
        return Length(with_stages(config, tuple(stages)))
    return Length(config.model_copy(update={"train": train.model_copy(update={"steps": steps})}))


def train_run(
    planned: Plan,
    run: RunFolder,
    *,
    device: str = "cpu",
    watch: Watcher | None = None,
    trackers: Sequence[Tracker] = (),
) -> tuple[InfoGAN, dict[str, Any]]:
    """Trains or resumes a run to its end, draws its pictures and measures it.

    Of several workers the first alone does all but the training.

    Args:
        planned: From `plan`.
        run: Where everything goes.
        device: What to compute on.
        watch: Who hears of steps, and may stop them.
        trackers: Who is told what goes into the run folder; of several workers, those of the first.

    Returns:
        The model and the evaluation, which are in the run folder too; in workers but the first the evaluation is empty.

    Raises:
        UserError: as `training.train`, or ``run`` was begun with another configuration or other images, or another
            process is training it, or workers have other images than the first, or a tracker can not begin.
        Interrupted: as `training.train`.
    """
    with distributed.all_or_none():
        digest = planned.images.digest()
    if planned.few is not None:
        digest += f" {planned.few.digest()}"
    distributed.assert_same_on_all_ranks("set of images or labels", digest)
    # A worker that was cut off may hold the run until it notices.
    patience = distributed.timeout_seconds() if distributed.is_distributed() else 0.0
    told = Several(trackers)
    with ExitStack() as session:

        def begin() -> None:
            session.enter_context(run.held(patience))
            run.begin(planned.config, digest, device)
            session.enter_context(_session(run, told))

        distributed.on_rank0(begin)
        with (
            report_memory_shortage(),
            distributed.report_lost_workers(),
            deterministic_algorithms(planned.config.train.deterministic),
        ):
            return _train_run(planned, run, device, watch or Watcher(), told)


@contextmanager
def _session(run: RunFolder, told: Several) -> Iterator[None]:
    """Keeps in the run folder, and tells, how what happens within ended; an error is an incident."""
    try:
        yield
        told.end("finished")
        run.end("finished")
    except Interrupted as stop:
        told.end("interrupted")
        run.end(str(stop))
        raise
    except BaseException as error:
        told.end("failed")
        sentence = str(error) if isinstance(error, UserError) else f"ended by {type(error).__name__}: {error}"
        with suppress(UserError):  # the error may be that nothing can be written
            run.incident(sentence)
            run.end(sentence)
        raise


def _train_run(
    planned: Plan, run: RunFolder, device: str, watch: Watcher, told: Several
) -> tuple[InfoGAN, dict[str, Any]]:
    """`train_run` by the only writer of the folder, within a session that has begun."""
    config, images, few = planned.config, planned.images, planned.few
    distributed.on_rank0(partial(_record_data, planned, run, device))

    def begin(step: int) -> None:
        told.begin(run, config, step)
        watch.on_begin(step)

    def report(line: dict[str, Any]) -> None:
        told.scalars(line["step"], numbers_of({name: value for name, value in line.items() if name != "step"}))
        watch.on_report(line)

    def draw(step: int, model: InfoGAN) -> None:
        samples = samples_picture(model, config, step)
        sheets = {name: model.sheet(name) for name in model.layout.codes}
        save_picture(samples, run.samples / f"{step:08d}.png")
        for name, sheet in sheets.items():
            save_picture(sheet, run.traversals_at(step) / f"{name}.png")
        pictures = {"samples": samples} | {f"traversals/{name}": sheet for name, sheet in sheets.items()}
        told.images(step, {name: np.asarray(picture) for name, picture in pictures.items()})
        watch.on_picture(step, model)

    passing_on = replace(watch, on_begin=begin, on_report=report, on_picture=draw)
    model = train(config, images, run, device=device, watch=passing_on, few=few)
    if not distributed.is_rank0():
        return model, {}
    model.adopt(InfoGAN.load(run.model).config)  # with the names that it was given while it trained
    if few is not None and model.networks.reads_codes and model.layout.categorical and not model.config.names:
        model.name_codes_by_labels(images.images[few.indices], few.values, few.names)
        model.save(run.model)
    for name in model.layout.codes:
        save_picture(model.sheet(name), run.traversals / f"{name}.png")
    result = evaluate_run(model, config, images)
    run.add_metrics({"step": config.train.steps, **result})
    told.evaluation(config.train.steps, result)
    if told and model.networks.reads_codes:
        told.codes(config.train.steps, read_codes(model, _test_images(model, config) or images))
    write_report(run, model, config, images, result)
    model.run = run
    run.log("finished")
    return model, result


def _record_data(planned: Plan, run: RunFolder, device: str) -> None:
    images = planned.images
    workers = f", {distributed.world_size()} workers" if distributed.is_distributed() else ""
    run.log(f"training on {images.source}: {len(images)} images of {images.size}x{images.size}, on {device}{workers}")
    if planned.caution:
        run.log(planned.caution)
    if planned.counted:
        write_json(run.path / "categories.json", asdict(planned.counted))
    for skipped in images.skipped:
        run.log(f"skipped {skipped}")
    save_picture(figures.image_grid(np.ascontiguousarray(images.images[:100]), 10), run.samples / "reals.png")


def evaluate_run(
    model: InfoGAN, config: Config, train_images: ImageSet, metrics: Sequence[str] | None = None
) -> dict[str, Any]:
    """Measures a model on the test split of its data, or on its training images where there is none.

    Raises:
        UserError: as `evaluation.evaluate`.
    """
    test = _test_images(model, config)
    return evaluate(EvaluationInputs(model, train_images, test, config.train.seed, config.augment.strengths), metrics)


def write_report(
    run: RunFolder,
    model: InfoGAN,
    config: Config,
    train_images: ImageSet,
    result: Mapping[str, Any],
    out: Path | None = None,
) -> Path:
    """Writes the page that tells of a run, to ``report.html`` in its folder or elsewhere, and says where.

    Raises:
        UserError: it can not be written.
    """
    page = report(run, model, config, train_images, _test_images(model, config), result)
    path = out or run.report
    write_bytes(path, page.encode())
    return path


def _test_images(model: InfoGAN, config: Config) -> ImageSet | None:
    return load_for(model, config.data, split="test") if has_test_split(config.data.source) else None


def load_for(
    model: InfoGAN, data: DataSettings, *, split: str | None = None, progress: Progress | None = None
) -> ImageSet:
    """Images in the shape that a model reads; raises UserError as `data.load`."""
    size, channels = model.config.size, model.config.channels
    return load(
        data.source, split=split, size=size, channels=channels, shape=data.shape, strict=data.strict, progress=progress
    )


# Samples as files.


def first_of_each(model: InfoGAN, seeds: Sequence[int], codes: Mapping[str, Any]) -> Samples:
    """The first image of each of some seeds; raises UserError as `InfoGAN.sample`."""
    drawn = [model.sample(1, codes=codes, seed=seed) for seed in seeds]
    together = {name: np.concatenate([one.codes[name] for one in drawn]) for name in drawn[0].codes}
    return Samples(np.concatenate([one.images for one in drawn]), together)


def save_samples(samples: Samples, out: Path, names: Sequence[str] | None = None) -> list[Path]:
    """Writes samples as ``.npz`` (``images`` and an array a code), as a grid (any picture format), or as single files.

    Args:
        samples: What to write.
        out: A path with an ending names a file; one without is a folder, whose files are numbered.
        names: Of the files in a folder, without an ending; None = their numbers.

    Returns:
        The files written.

    Raises:
        UserError: ``out`` can not be written.
    """
    if out.suffix.lower() == ".npz":
        arrays = {"images": samples.images} | samples.codes
        with atomic_write(out) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        return [out]
    if out.suffix:
        columns = min(len(samples.images), int(np.ceil(np.sqrt(len(samples.images)))))
        save_picture(figures.image_grid(samples.images, columns), out)
        return [out]
    digits = len(str(len(samples.images) - 1))
    named = names or [f"{number:0{digits}d}" for number in range(len(samples.images))]
    paths = [out / f"{name}.png" for name in named]
    for path, image in zip(paths, samples.images, strict=True):
        save_picture(picture_of(image), path)
    return paths


# Sharing.


def files_to_share(path: Path, repo_id: str, license: str | None) -> dict[str, bytes]:
    """What is committed of a run or model folder, by name of the file.

    A model folder with a card is shared as it is, with the pictures beside the card, for a person may have written in
    it. Else it is `InfoGAN.files`.

    Raises:
        UserError: as `InfoGAN.load` and `InfoGAN.files`, or a license for a card that has been written, or a link.
    """
    model = InfoGAN.load(path)
    if model.run is not None or not (path / README).is_file():
        return model.files(repo_id=repo_id, license=license)
    if license is not None:
        raise UserError(f"{path / README} is shared as it is: write its license there")
    found = [path / CONFIG, path / WEIGHTS, path / README, *sorted(path.glob("*.png"))]
    if links := [file for file in found if file.is_symlink()]:
        raise UserError(f"{links[0]} is a link, and what it leads to may not be meant to be shared: put a file there")
    return {file.name: file.read_bytes() for file in found}


# Facts.


def facts_about(where: str | Path) -> dict[str, Any]:
    """What a run or model folder, or ``hf://user/name``, holds, as plain values; raises UserError as `InfoGAN.load`."""
    path = Path(where)
    is_run = (path / "environment.json").is_file()
    model = InfoGAN.load(where) if not is_run or (path / "model").is_dir() else None
    facts: dict[str, Any] = {"path": str(where), "kind": "run" if is_run else "model"}
    if is_run:
        run = RunFolder.existing(path)
        config, stats, metrics = run.read_config(), run.read_stats(), run.read_metrics()
        facts |= {
            "objective": config.objective.kind,
            "data": config.data.source,
            "steps": config.train.steps,
            "steps_done": stats[-1]["step"] if stats else 0,
            "seed": config.train.seed,
            "information_to": sorted(config.information_to) if config.objective.kind == "infogan" else [],
            "last_report": stats[-1] if stats else None,
            "last_metrics": metrics[-1] if metrics else None,
        }
    if model is not None:
        facts |= {
            "objective": model.config.kind,
            "image": [model.config.channels, model.config.size, model.config.size],
            "noise": model.config.noise.model_dump(mode="json"),
            "codes": [code.model_dump(mode="json") for code in model.config.codes],
            "names": {code: list(names) for code, names in model.config.names.items()},
            "architecture": model.config.networks.architecture,
            "recognizer": model.config.networks.recognizer if model.networks.recognizer else None,
            "encoder": model.first_categorical().name if model.networks.encoder else None,
            "parameters": model.parameter_count,
        }
    return facts


def facts_as_lines(facts: Mapping[str, Any]) -> list[str]:
    """`facts_about` for people: a fact a line."""
    lines = []
    for name, value in facts.items():
        if name == "codes":
            for code in value:
                size = f", {code['size']} values" if code["kind"] == "categorical" else ", from -1 to 1"
                lines.append(f"code {code['name']}: {code['kind']}{size}")
        elif isinstance(value, dict):
            lines += [f"{name.replace('_', ' ')}: {key} {entry}" for key, entry in value.items()]
        elif value is not None:
            shown = " x ".join(map(str, value)) if name == "image" else value
            lines.append(f"{name.replace('_', ' ')}: {', '.join(shown) if isinstance(shown, list) else shown}")
    return lines


def pick_device(name: str) -> str:
    """``auto`` is the first CUDA device if there is one; raises UserError for a device that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} can not be used: {str(error).splitlines()[0]}") from error
    return name
