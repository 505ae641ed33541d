"""Training from a program: `fit` takes what a program holds, and gives back the model.

It does what ``infogan train`` does, and leaves the same run folder. Images that are no file are kept in it first, as
shards, so that the run can go on, be measured and be explored without the program.
"""

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from infogan.api import train_run
from infogan.config import presets
from infogan.data.preprocess import ImageSpec
from infogan.data.readers.in_memory import is_path, stream_object
from infogan.data.shards import write_shards
from infogan.data.stream import Stream
from infogan.models.infogan import InfoGAN
from infogan.training.loop import Watcher
from infogan.training.run_dir import IMAGES, RunFolder
from infogan.training.trackers import Tracker
from infogan.utils.errors import UserError


def fit(
    data: Any,
    *,
    out: str | Path | None = None,
    test: Any = None,
    recipe: str = "robust",
    categorical: int | str | Sequence[int | str] | None = None,
    continuous: int | None = None,
    budget: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    shape: str = "crop",
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    watch: Watcher | None = None,
    trackers: Sequence[Tracker] = (),
) -> InfoGAN:
    """Trains a model, or goes on training it where ``out`` holds the run that the same call began.

    Args:
        data: What ``infogan train`` takes (a name, path or address), or images that the program holds
            (`data.objects.image_set_of`). Labels are for evaluation only.
        out: The run folder. None: a new one, ``runs/NNNNN-NAME``.
        test: Images that the model is measured on, for ``data`` that the program holds; None = those it learns from.
        recipe: ``robust``, ``plain``, ``paper``, ``post`` or ``disentangle``.
        categorical: How many categories, of each code if there are several; ``"auto"`` counts them. None: ten.
        continuous: How many continuous codes; None as in the recipe.
        budget: Seconds that the run may take; None as in the recipe.
        steps: Its length by steps instead.
        seed: Of everything random.
        size: Height and width to bring images to; None as they are.
        channels: 1 makes them grey, 3 RGB; None as they are.
        shape: ``crop`` or ``pad`` images that are not square.
        options: Any other option, by dotted name: ``{"train.batch_size": 64}``.
        device: ``auto``, ``cpu`` or ``cuda``.
        watch: Who hears of the progress.
        trackers: Who is told what goes into the run folder.

    Returns:
        The trained model.

    Warns:
        UserWarning: ``budget`` is too short for a good model on this machine.

    Raises:
        UserError: images, options or a folder that can not be used.
        training.Interrupted: ``watch.interrupted`` said so; the same call goes on.
    """
    named = str(data) if is_path(data) else None
    # A name brings its own invariances; where images are kept is known once there is a folder for the run.
    layer: dict[str, Any] = {
        "data": {"source": named or IMAGES, "size": size, "channels": channels, "shape": shape},
    }
    length = {"budget": budget, "steps": steps}
    layer["train"] = {"seed": seed, **{name: value for name, value in length.items() if value is not None}}
    layer["data"] = {name: value for name, value in layer["data"].items() if value is not None}
    if categorical is not None or continuous is not None:
        sizes = [categorical] if isinstance(categorical, int | str) else categorical
        layer["codes"] = presets.codes_of(sizes, continuous, [presets.PRESETS.get(recipe, {})])
    assignments = [f"{name}={json.dumps(value)}" for name, value in (options or {}).items()]
    resolved = presets.compose(recipe, [layer], assignments)
    train_run.trial(resolved)
    chosen = train_run.pick_device(device)

    there = out is not None and Path(out).exists()
    run = RunFolder.at(Path(out)) if out is not None else RunFolder.numbered(Path("runs"), _name(data))
    images = run.path / IMAGES
    with _nothing_left(images if there else run.path, new=not (there and images.exists())):
        source = named or _keep(data, test, images, ImageSpec(size, channels, shape))
        resolved["data"] = {**resolved["data"], "source": source}
        planned = train_run.plan(resolved, run=run.path, device=chosen)
    if planned.caution:
        warnings.warn(planned.caution, stacklevel=2)
    return train_run.train_run(planned, run, device=chosen, watch=watch, trackers=trackers)[0]


@contextmanager
def _nothing_left(folder: Path, *, new: bool) -> Iterator[None]:
    """Removes a folder that is new where what it is for is refused."""
    try:
        yield
    except UserError:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _keep(data: Any, test: Any, folder: Path, form: ImageSpec) -> str:
    """Keeps images as shards in a folder, or finds that they are there; returns its path."""
    first = stream_object(data, form)
    sample = first.read(0, 1)
    form = ImageSpec(sample.size, sample.channels, form.shape)
    streams = {"train": first} | ({} if test is None else {"test": stream_object(test, form)})
    splits = {name: partial(_same, stream) for name, stream in streams.items()}
    write_shards(splits, folder, (sample.channels, sample.size), strict=False, workers=1)
    return str(folder)


def _same(stream: Stream) -> AbstractContextManager[Stream]:
    return nullcontext(stream)


def _name(data: Any) -> str:
    return Path(str(data)).stem if is_path(data) else "images"
