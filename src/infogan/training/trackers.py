"""Trackers: TensorBoard, Weights & Biases, MLflow, or a class of your own, as callbacks of a run.

A tracker gets numbers and arrays, and needs to know neither the loop nor the model; the run folder is complete without
one. Trackers are used only when they are asked for by name: a run should not be uploaded because a library happens to
be installed, and if TensorFlow is installed, importing TensorBoard's writer takes seconds.
"""

import csv
import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from infogan.config.schema import Config
from infogan.training.callbacks import Callback, EncodedSample, Figures, LogRecord, Status
from infogan.training.run_dir import RunFolder
from infogan.utils import distributed
from infogan.utils.errors import UserError, import_extra, unknown_name
from infogan.utils.files import write_json

Pixels = NDArray[np.uint8]
EVALUATION = ".evaluation"  # suffix of the event file that holds an evaluation


class Tracker(Callback):
    """Base class of trackers: a callback whose errors do not end the run.

    An error in `begin` ends the run before its first step. After that the first error becomes an incident, and the
    tracker is not called again in this session. Override the methods that you need. Rank 0 alone calls them.

    Example:
        >>> class Printer(Tracker):
        ...     def scalars(self, step, values):
        ...         print(step, values["generator/adversarial"])
        >>> model = infogan.fit(images, callbacks=[Printer()])
    """

    _folder_of_run: RunFolder | None = None  # None before the session and after a failure

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Start a session, ``step`` steps after the start of the run; later steps are made, and reported, again."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Handle the numbers of a line of ``stats.jsonl``, by the same names."""

    def images(self, step: int, images: Figures) -> None:
        """Handle the figures drawn at a step: ``samples``, and ``traversals/CODE`` for each code."""

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """Handle a line of ``metrics.jsonl``; `numbers_of` returns its numbers."""

    def codes(self, step: int, codes: EncodedSample) -> None:
        """Handle the codes of some test images, or of training images if there is no test split."""

    def end(self, status: Status) -> None:
        """End the session."""

    def on_train_begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Call `begin` on rank 0; raise UserError if it fails, e.g. for lack of a login."""
        if not distributed.is_rank0():
            return
        self._folder_of_run = run
        try:
            self.begin(run, config, step)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{type(self).__name__} cannot start: {_first_line(error)}") from error

    def on_log(self, record: LogRecord) -> None:
        """Call `scalars`."""
        numbers = numbers_of({name: value for name, value in record.values.items() if name != "step"})
        self._guarded(lambda: self.scalars(record.step, numbers))

    def on_figures(self, step: int, figures: Figures) -> None:
        """Call `images`."""
        self._guarded(lambda: self.images(step, figures))

    def on_evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """Call `evaluation`."""
        self._guarded(lambda: self.evaluation(step, result))

    def on_encoded(self, step: int, encoded: EncodedSample) -> None:
        """Call `codes`."""
        self._guarded(lambda: self.codes(step, encoded))

    def on_train_end(self, status: Status) -> None:
        """Call `end`."""
        self._guarded(lambda: self.end(status))

    def _guarded(self, call: Callable[[], None]) -> None:
        if self._folder_of_run is None:
            return
        try:
            call()
        except Exception as error:
            with suppress(UserError):  # the disk may be full, which the run itself reports
                message = f"{type(self).__name__} failed and is not called again: {_first_line(error)}"
                self._folder_of_run.incident(message)
            self._folder_of_run = None


class TensorBoard(Tracker):
    """Writes event files into ``tensorboard/`` in the run folder; ``tensorboard --logdir runs`` shows them."""

    def __init__(self) -> None:
        library = import_extra("torch.utils.tensorboard", "tensorboard", "the tracker TensorBoard needs")
        self._writer_to = library.SummaryWriter

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Open an event file; it voids what earlier ones hold of steps that are made again."""
        self._folder = run.path / "tensorboard"
        self._writer = self._writer_to(str(self._folder), purge_step=step + 1 if step else 0)
        if step == 0:
            self._writer.add_text("config", f"```json\n{config.model_dump_json(indent=2)}\n```", 0)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each number's chart."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # before a checkpoint says that this step is done

    def images(self, step: int, images: Figures) -> None:
        """Add the figures."""
        for name, figure in images.items():
            self._writer.add_image(name, figure, step, dataformats="HWC")
        self._writer.flush()

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """Write an event file of its own, which a later evaluation replaces."""
        for before in self._folder.glob(f"*{EVALUATION}"):
            before.unlink()
        with self._writer_to(str(self._folder), filename_suffix=EVALUATION) as writer:
            for name, value in numbers_of(result).items():
                writer.add_scalar(f"evaluation/{name}", value, step)

    def codes(self, step: int, codes: EncodedSample) -> None:
        """Add an embedding for the projector."""
        shutil.rmtree(self._folder / f"{step:05d}", ignore_errors=True)  # the writer refuses a folder that exists
        columns = [[" ".join(str(value).split()) for value in values] for values in codes.codes.values()]
        single = len(columns) == 1  # the format has no heading for one column
        self._writer.add_embedding(
            codes.features,
            metadata=columns[0] if single else [list(row) for row in zip(*columns, strict=True)],
            metadata_header=None if single else list(codes.codes),
            label_img=torch.from_numpy(codes.images) / 255,
            global_step=step,
            tag="codes",
        )

    def end(self, status: Status) -> None:
        """Close the event file."""
        self._writer.close()


class WandB(Tracker):
    """A run of Weights & Biases, in the project that ``WANDB_PROJECT`` names, or ``infogan``."""

    def __init__(self) -> None:
        self._wandb = import_extra("wandb", "wandb", "the tracker Weights & Biases needs")

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Start a run, or resume the one that ``wandb.json`` in the run folder names."""
        self._file = run.path / "wandb.json"
        saved = _read(self._file)
        self._last_steps = saved.told if saved else {}
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "infogan"),
            name=run.path.name,
            dir=str(run.path),
            id=saved.id if saved else None,
            resume="allow" if saved else None,
            reinit="create_new",  # a program may have a run of its own
            config=config.model_dump(mode="json"),
            settings=self._wandb.Settings(console="off", quiet=True),
        )
        self._save()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers at the step."""
        self._log("scalars", step, values)

    def images(self, step: int, images: Figures) -> None:
        """Log the figures at the step."""
        # Image objects, here and below, because some versions change the brightness of arrays.
        self._log("images", step, {name: self._wandb.Image(Image.fromarray(array)) for name, array in images.items()})

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """Add the numbers to the run's summary."""
        self._run.summary.update({f"evaluation/{name}": value for name, value in numbers_of(result).items()})

    def codes(self, step: int, codes: EncodedSample) -> None:
        """Log a table with the images, for the embedding projector."""
        columns, rows = _table(codes)
        images = [self._wandb.Image(_to_rgb(image)) for image in codes.images]
        data = [[image, *row] for image, row in zip(images, rows, strict=True)]
        self._log("codes", step, {"codes": self._wandb.Table(columns=["image", *columns], data=data)})

    def end(self, status: Status) -> None:
        """Finish the run when everything is written or sent."""
        self._run.finish(exit_code=0 if status == "finished" else 1)

    def _log(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Log each kind of value once per step, because logged values cannot be replaced."""
        if step > self._last_steps.get(kind, -1):
            self._last_steps[kind] = step
            self._save()
            self._run.log(dict(values), step=step)

    def _save(self) -> None:
        write_json(self._file, {"id": self._run.id, "told": self._last_steps})


class MLflow(Tracker):
    """A run of MLflow, where ``MLFLOW_TRACKING_URI`` says, in the experiment ``MLFLOW_EXPERIMENT_NAME`` or infogan."""

    def __init__(self) -> None:
        self._mlflow = import_extra("mlflow", "mlflow", "the tracker MLflow needs")

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Start a run, or resume the one that ``mlflow.json`` in the run folder names."""
        path = run.path / "mlflow.json"
        self._client = self._mlflow.MlflowClient()
        if saved := _read(path):
            self._id = saved.id
            self._client.update_run(self._id, status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "infogan")
            self._id = self._client.create_run(self._experiment(name), run_name=run.path.name).info.run_id
            write_json(path, {"id": self._id})
            options = _leaves(config.model_dump(mode="json"), ".")
            params = [self._mlflow.entities.Param(name, _as_param(value)) for name, value in options]
            for first in range(0, len(params), 100):  # the most that it accepts at once
                self._client.log_batch(self._id, params=params[first : first + 100])
            self._client.log_dict(self._id, config.model_dump(mode="json"), "config.json")
        # Logged metrics cannot be replaced.
        self._evaluated = any(name.startswith("evaluation/") for name in self._client.get_run(self._id).data.metrics)
        history = self._client.get_metric_history(self._id, "images")
        self._last_step = max((metric.step for metric in history), default=-1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers, with ``-`` in place of characters such as ``+`` that MLflow refuses in names."""
        if step > self._last_step:
            self._log(step, values)

    def images(self, step: int, images: Figures) -> None:
        """Log the figures as artifacts, in the same folders as in the run folder."""
        for name, figure in images.items():
            folder, _, code = name.partition("/")
            path = f"{folder}/{step:08d}/{code}.png" if code else f"{folder}/{step:08d}.png"
            self._client.log_image(self._id, figure, artifact_file=path)

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """Log the numbers as metrics, once, and the evaluation as an artifact."""
        if not self._evaluated:
            self._log(step, {f"evaluation/{name}": value for name, value in numbers_of(result).items()})
        self._client.log_dict(self._id, dict(result), "evaluation.json")

    def codes(self, step: int, codes: EncodedSample) -> None:
        """Log a CSV table, and a grid of the images with twenty per row."""
        text = io.StringIO()
        columns, rows = _table(codes)
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        self._client.log_text(self._id, text.getvalue(), "codes/codes.csv")
        self._client.log_image(self._id, codes.grid, "codes/images.png")

    def end(self, status: Status) -> None:
        """Set the status of the run."""
        statuses = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
        self._client.set_terminated(self._id, statuses[status])

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        numbers = {re.sub(r"[^/\w.\- :]", "-", name): value for name, value in values.items()}
        self._client.log_batch(
            self._id, [self._mlflow.entities.Metric(name, value, now, step) for name, value in numbers.items()]
        )

    def _experiment(self, name: str) -> str:
        """Return the number of an experiment, which is created if it does not exist."""
        with suppress(self._mlflow.MlflowException):  # it exists, perhaps since a moment ago
            return str(self._client.create_experiment(name))
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise UserError(f"MLflow cannot start: the experiment {name!r} was deleted or cannot be created")
        return str(experiment.experiment_id)


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
TRACKER_FILES = ("wandb", "wandb.json", "mlflow.json")  # in a run folder, needed only to resume the run


def check_names(names: Iterable[str]) -> None:
    """Raise UserError for a name that is not in ``TRACKERS``."""
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)


def make_trackers(names: Sequence[str]) -> list[Tracker]:
    """Return a tracker for each name.

    Raises:
        UserError: A name is unknown, or the tracker's library is not installed.

    Example:
        >>> make_trackers(["tensorboard"])
        [<infogan.training.trackers.TensorBoard object at ...>]
    """
    check_names(names)
    return [TRACKERS[name]() for name in dict.fromkeys(names)]


def numbers_of(tree: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a record or an evaluation; those of nested mappings as ``outer/inner``, True as 1.

    Example:
        >>> numbers_of({"nmi": 0.9, "entropy": {"category": 2.3}, "note": "text"})
        {'nmi': 0.9, 'entropy/category': 2.3}
    """
    return {name: float(value) for name, value in _leaves(tree, "/") if isinstance(value, int | float)}


def _leaves(tree: Mapping[str, Any], separator: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}{separator}{rest}", leaf) for rest, leaf in _leaves(value, separator))
        else:
            yield name, value


def _as_param(value: Any) -> str:
    """Return an option as MLflow takes it: a text of up to 6,000 characters."""
    return (value if isinstance(value, str) else json.dumps(value))[:6000]


class _SavedRun(BaseModel):
    """What a tracker saves in the run folder to resume: the service's name of the run, and the last steps logged."""

    id: str
    told: dict[str, int] = {}


def _read(path: Path) -> _SavedRun | None:
    """Return what a tracker saved in the run folder, if anything; raise UserError if the file is damaged."""
    try:
        return _SavedRun.model_validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: remove it to track the run as a new one") from error


def _table(codes: EncodedSample) -> tuple[list[str], list[list[Any]]]:
    """Return the headings and the rows of a table of codes and features."""
    values = zip(*codes.codes.values(), codes.features.tolist(), strict=True)
    rows = [[*row, *features] for *row, features in values]
    return [*codes.codes, *(f"feature{i}" for i in range(codes.features.shape[1]))], rows


def _to_rgb(image: Pixels) -> Image.Image:
    """Return a (channels, height, width) image of 1 or 3 channels as RGB."""
    return Image.fromarray(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0).copy())


def _first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
