"""Telling others of a run while it trains: TensorBoard, Weights & Biases, MLflow, or what a program brings along.

In flows what `workflows` writes into a run folder: reports, pictures, evaluations. A `Tracker` is told the same at the
same moments, and the folder is complete without any. There is one way from the loop to all of this: the loop tells its
`training.Watcher`, `workflows` is that watcher, and passes on what came of it. So a tracker gets numbers and arrays and
needs to know neither loop nor model; who wants every step, or to stop, gives a watcher.

Trackers are asked for by name, and not used wherever they can be imported: nobody wants a run uploaded because a
library happens to be there, and where TensorFlow is installed, TensorBoard's writer takes some seconds to load it.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from infogan.config.schema import Config, ContinuousCode
from infogan.data.dataset import ImageSet, some_indices
from infogan.evaluation.evaluate import as_numbers
from infogan.models.infogan import InfoGAN
from infogan.reports.figures import image_grid
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError, unknown_name
from infogan.utils.files import write_json

READ = 400  # images, at most, whose codes are told
EVALUATION = ".evaluation"  # ends the name of the event file that holds one
Status = Literal["finished", "interrupted", "failed"]
Pictures = Mapping[str, NDArray[np.uint8]]  # by name: (height, width, 3)


@dataclass(frozen=True, eq=False)
class ReadCodes:
    """What a model reads in some real images.

    Attributes:
        images: uint8 (count, channels, height, width).
        features: float32 (count, features): what the encoder sees in them, or else the codes as numbers.
        codes: By name, one an image: a category by its name, a continuous code as a number.
    """

    images: NDArray[np.uint8]
    features: NDArray[np.float32]
    codes: dict[str, list[str] | list[float]]


class Tracker:
    """Who is told of a run; each part does nothing unless it is overridden.

    What is raised in `begin` ends the run before it has begun. After that a tracker can not harm it: the first error
    becomes an incident, and the tracker is told no more in this session. Of several workers the first alone tells.
    """

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """A session begins, before its first step.

        Args:
            run: The run folder.
            config: Of the run.
            step: How many steps earlier sessions did. What they told of later ones is made, and told, again.
        """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers of a line of ``stats.jsonl``, by the same names."""

    def images(self, step: int, images: Pictures) -> None:
        """The pictures drawn at a step: ``samples``, and ``traversals/CODE`` for each code."""

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """A line of ``metrics.jsonl``; `numbers_of` it are its numbers."""

    def codes(self, step: int, codes: ReadCodes) -> None:
        """What the trained model reads in some test images, or training images where there is no test split."""

    def end(self, status: Status) -> None:
        """The session has ended."""


class Several(Tracker):
    """Trackers as one, which never fails once it has begun.

    Args:
        trackers: In the order in which they are told.
    """

    def __init__(self, trackers: Iterable[Tracker]) -> None:
        self._given, self._told = list(trackers), list[Tracker]()

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Begins all of them; raises UserError where one can not, such as one that is not logged in."""
        self._run = run
        for tracker in self._given:
            try:
                tracker.begin(run, config, step)
            except UserError:
                raise
            except Exception as error:
                raise UserError(f"{_name(tracker)} can not begin: {_reason(error)}") from error
            self._told.append(tracker)

    def __bool__(self) -> bool:
        return bool(self._told)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Tells all of them."""
        self._tell(lambda tracker: tracker.scalars(step, values))

    def images(self, step: int, images: Pictures) -> None:
        """Tells all of them."""
        self._tell(lambda tracker: tracker.images(step, images))

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """Tells all of them."""
        self._tell(lambda tracker: tracker.evaluation(step, result))

    def codes(self, step: int, codes: ReadCodes) -> None:
        """Tells all of them."""
        self._tell(lambda tracker: tracker.codes(step, codes))

    def end(self, status: Status) -> None:
        """Tells all of them, who hear no more after that."""
        self._tell(lambda tracker: tracker.end(status))
        self._told.clear()

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for tracker in [*self._told]:
            try:
                what(tracker)
            except Exception as error:
                self._told.remove(tracker)
                with suppress(UserError):  # the disk may be full, of which the run itself will tell
                    self._run.incident(f"{_name(tracker)} failed and is told no more: {_reason(error)}")


class TensorBoard(Tracker):
    """Writes event files into ``tensorboard/`` in the run folder; ``tensorboard --logdir runs`` shows them."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("TensorBoard", "tensorboard") from error
        self._writer_to = SummaryWriter

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Opens a file; of what earlier ones tell of steps that are made again, it says that it is void."""
        self._folder = run.path / "tensorboard"
        self._writer = self._writer_to(str(self._folder), purge_step=step + 1 if step else 0)
        if step == 0:
            self._writer.add_text("config", f"```json\n{config.model_dump_json(indent=2)}\n```", 0)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Each in a chart of its own."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # before a checkpoint says that this step is done

    def images(self, step: int, images: Pictures) -> None:
        """As they are."""
        for name, picture in images.items():
            self._writer.add_image(name, picture, step, dataformats="HWC")
        self._writer.flush()

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """In a file of its own, which another evaluation replaces."""
        for before in self._folder.glob(f"*{EVALUATION}"):
            before.unlink()
        with self._writer_to(str(self._folder), filename_suffix=EVALUATION) as writer:
            for name, value in numbers_of(result).items():
                writer.add_scalar(f"evaluation/{name}", value, step)

    def codes(self, step: int, codes: ReadCodes) -> None:
        """For the projector."""
        shutil.rmtree(self._folder / f"{step:05d}", ignore_errors=True)  # where the writer would complain of it
        columns = [[" ".join(str(value).split()) for value in values] for values in codes.codes.values()]
        single = len(columns) == 1  # for which the format has no heading
        self._writer.add_embedding(
            codes.features,
            metadata=columns[0] if single else [list(row) for row in zip(*columns, strict=True)],
            metadata_header=None if single else list(codes.codes),
            label_img=torch.from_numpy(codes.images) / 255,
            global_step=step,
            tag="codes",
        )

    def end(self, status: Status) -> None:
        """Closes the file."""
        self._writer.close()


class WandB(Tracker):
    """A run of Weights & Biases, in the project that ``WANDB_PROJECT`` names, or ``infogan``."""

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _missing("Weights & Biases", "wandb") from error
        self._wandb = wandb

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Begins a run, or goes on with the one that ``wandb.json`` in the run folder names."""
        self._file = run.path / "wandb.json"
        known = _read(self._file)
        self._before: dict[str, int] = known.get("told", {})
        self._told = dict(self._before)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "infogan"),
            name=run.path.name,
            dir=str(run.path),
            id=known.get("id"),
            resume="allow" if known else None,
            reinit="create_new",  # a program may have a run of its own
            config=config.model_dump(mode="json"),
            settings=self._wandb.Settings(console="off", quiet=True),
        )
        self._keep()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """At the step."""
        self._log("scalars", step, values)

    def images(self, step: int, images: Pictures) -> None:
        """At the step."""
        # From a picture, here and below, as some versions change the brightness of arrays.
        self._log("images", step, {name: self._wandb.Image(Image.fromarray(array)) for name, array in images.items()})

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """In the run's summary."""
        self._run.summary.update({f"evaluation/{name}": value for name, value in numbers_of(result).items()})

    def codes(self, step: int, codes: ReadCodes) -> None:
        """As a table with the images, which its embedding projector takes."""
        pictures = [self._wandb.Image(image_grid(image[None], 1, padding=0, scale=1)) for image in codes.images]
        features = [[*row] for row in codes.features.tolist()]
        rows = zip(pictures, *codes.codes.values(), features, strict=True)
        table = self._wandb.Table(
            columns=["image", *codes.codes, *(f"feature{i}" for i in range(codes.features.shape[1]))],
            data=[[*row[:-1], *row[-1]] for row in rows],
        )
        self._log("codes", step, {"codes": table})

    def end(self, status: Status) -> None:
        """Ends the run there, once everything is written or sent."""
        self._run.finish(exit_code=0 if status == "finished" else 1)

    def _log(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Tells each kind of thing once for each step: what was told can not be taken back there."""
        if step > self._before.get(kind, -1):
            self._told[kind] = step
            self._keep()
            self._run.log(dict(values), step=step)

    def _keep(self) -> None:
        write_json(self._file, {"id": self._run.id, "told": self._told})


class MLflow(Tracker):
    """A run of MLflow, where ``MLFLOW_TRACKING_URI`` says, in the experiment ``MLFLOW_EXPERIMENT_NAME`` or infogan."""

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise _missing("MLflow", "mlflow") from error
        self._mlflow = mlflow

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Begins a run, or goes on with the one that ``mlflow.json`` in the run folder names."""
        path = run.path / "mlflow.json"
        self._client = self._mlflow.MlflowClient()
        if known := _read(path):
            self._id: str = known["id"]
            self._client.update_run(self._id, status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "infogan")
            self._id = self._client.create_run(self._experiment(name), run_name=run.path.name).info.run_id
            write_json(path, {"id": self._id})
            params = [self._mlflow.entities.Param(name, value) for name, value in _params(config)]
            for first in range(0, len(params), 100):  # as many as it takes at once
                self._client.log_batch(self._id, params=params[first : first + 100])
            self._client.log_dict(self._id, config.model_dump(mode="json"), "config.json")
        # What was told can not be taken back there.
        self._evaluated = any(name.startswith("evaluation/") for name in self._client.get_run(self._id).data.metrics)
        history = self._client.get_metric_history(self._id, "images")
        self._before = max((metric.step for metric in history), default=-1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """By the same names, but for ``+``, which it does not take."""
        if step > self._before:
            self._log(step, values)

    def images(self, step: int, images: Pictures) -> None:
        """As artifacts, in the folders of the run folder."""
        for name, picture in images.items():
            folder, _, code = name.partition("/")
            place = f"{folder}/{step:08d}/{code}.png" if code else f"{folder}/{step:08d}.png"
            self._client.log_image(self._id, picture, artifact_file=place)

    def evaluation(self, step: int, result: Mapping[str, Any]) -> None:
        """As metrics, once."""
        if not self._evaluated:
            self._log(step, {f"evaluation/{name}": value for name, value in numbers_of(result).items()})
        self._client.log_dict(self._id, dict(result), "evaluation.json")

    def codes(self, step: int, codes: ReadCodes) -> None:
        """As a table and a picture of the images, twenty to a row."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow([*codes.codes, *(f"feature{i}" for i in range(codes.features.shape[1]))])
        for *read, features in zip(*codes.codes.values(), codes.features.tolist(), strict=True):
            table.writerow([*read, *features])
        self._client.log_text(self._id, text.getvalue(), "codes/codes.csv")
        self._client.log_image(self._id, image_grid(codes.images, 20, padding=0, scale=1), "codes/images.png")

    def end(self, status: Status) -> None:
        """Says how the run ended."""
        said = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}[status]
        self._client.set_terminated(self._id, said)

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        taken = {re.sub(r"[^/\w.\- :]", "-", name): value for name, value in values.items()}
        self._client.log_batch(
            self._id, [self._mlflow.entities.Metric(name, value, now, step) for name, value in taken.items()]
        )

    def _experiment(self, name: str) -> str:
        """The number of an experiment, which another process may be making just now."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            with suppress(self._mlflow.MlflowException):
                return str(self._client.create_experiment(name))
            found = self._client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise UserError(f"MLflow can not begin: the experiment {name!r} was deleted or can not be made")
        return str(found.experiment_id)


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
OWN_FILES = ("wandb", "wandb.json", "mlflow.json")  # in a run folder, which only the resuming of a run needs


def check_names(names: Iterable[str]) -> None:
    """Raises UserError for a name that is not one of ``TRACKERS``."""
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)


def called(names: Sequence[str]) -> list[Tracker]:
    """The trackers of these names, each once; raises UserError for one that is unknown or whose library is missing."""
    check_names(names)
    return [TRACKERS[name]() for name in dict.fromkeys(names)]


def read_codes(model: InfoGAN, images: ImageSet) -> ReadCodes:
    """What a model reads in some of these images, evenly chosen; their labels are not looked at.

    Raises:
        UserError: it reads no codes.
    """
    chosen = images.images[some_indices(len(images), READ)]
    read = model.encode(chosen)
    codes: dict[str, list[str] | list[float]] = {}
    for name, values in read.codes.items():
        continuous = isinstance(model.layout.code(name), ContinuousCode)
        codes[name] = values.tolist() if continuous else [model.value_name(name, value) for value in values.tolist()]
    seen = as_numbers(read).astype(np.float32) if model.networks.encoder is None else model.features(chosen)
    return ReadCodes(chosen, seen, codes)


def numbers_of(tree: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a report or an evaluation, those of mappings within it as ``outer/inner``; yes is 1 and no 0."""
    return {name: float(value) for name, value in _leaves(tree, "/") if isinstance(value, int | float)}


def _leaves(tree: Mapping[str, Any], joint: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}{joint}{rest}", leaf) for rest, leaf in _leaves(value, joint))
        else:
            yield name, value


def _params(config: Config) -> Iterator[tuple[str, str]]:
    """A configuration as MLflow takes it: texts, of up to 6,000 characters."""
    for name, value in _leaves(config.model_dump(mode="json"), "."):
        yield name, (value if isinstance(value, str) else json.dumps(value))[:6000]


def _read(path: Path) -> dict[str, Any]:
    """What a tracker kept in the run folder, if it did; raises UserError where that is damaged."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(known["id"], str) and all(isinstance(step, int) for step in known.get("told", {}).values()):
            return dict(known)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    raise UserError(f"{path} is damaged: remove it to track the run as a new one")


def _missing(what: str, extra: str) -> UserError:
    return UserError(f"{what} needs another library: pip install 'infogan[{extra}]'")


def _name(tracker: Tracker) -> str:
    return type(tracker).__name__


def _reason(error: Exception) -> str:
    """The first line of an error, or what it is called."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
