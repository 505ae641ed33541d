"""`fit`: train a model from Python as ``infogan train`` does, and leave the same run folder."""

import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from infogan.api.features import embed_data, given_vectors
from infogan.api.progress import TrainingDisplay, log_plan
from infogan.api.resolve import compose, validate, without_none
from infogan.api.train_run import open_run, plan, train_run
from infogan.config.load import Number
from infogan.config.schema import DataSettings
from infogan.data.preprocess import ImageSpec
from infogan.data.readers.in_memory import is_path, stream_object
from infogan.data.shards import write_shards
from infogan.data.stream import Stream
from infogan.features import open_extractor, write_vectors
from infogan.models.infogan import InfoGAN
from infogan.training.callbacks import Callback
from infogan.training.run_dir import IMAGES
from infogan.utils.determinism import neutral_state
from infogan.utils.devices import pick_device
from infogan.utils.errors import UserError

VECTORS = "features.npz"  # in the run folder: of images, from a program


@neutral_state()
def fit(
    data: Any,
    *,
    out: str | Path | None = None,
    test: Any = None,
    recipe: str = "robust",
    categorical: Number | str | Sequence[Number | str] | None = None,
    continuous: Number | None = None,
    knobs: str | Iterable[str] = (),
    budget: Number | None = None,
    steps: Number | None = None,
    seed: Number = 0,
    features: Any = None,
    size: Number | None = None,
    channels: Number | None = None,
    shape: str = "crop",
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    verbose: bool = True,
    callbacks: Iterable[Callback] = (),
    watch: Callback | None = None,
    trackers: Sequence[Callback] = (),
) -> InfoGAN:
    """Train a model, or resume the run in ``out`` if the same call began it.

    Numbers may be NumPy's or torch's. What the program has switched on around the call, such as ``torch.no_grad()``,
    makes no difference.

    Args:
        data: A name, path or address as for ``infogan train``; or images in memory: an array or tensor, a list, a
            torch or Hugging Face ``Dataset``, a DataFrame with a column ``image``, an ``ImageSet``, a model's samples.
            Labels are used for evaluation only.
        out: The run folder. None: a new one, ``runs/NNNNN-NAME``.
        test: Images to evaluate on, for ``data`` in memory; None = the training images.
        recipe: ``robust``, ``plain``, ``paper``, ``post`` or ``disentangle``.
        categorical: Number of categories, one per categorical code; ``"auto"`` counts them. None: ten.
        continuous: Number of continuous codes that training finds; None = as in the recipe.
        knobs: Continuous codes that follow a property of the images, as for ``--knob``: ``["slant", "rotate=20"]``.
        budget: Seconds that the run may take; None = as in the recipe.
        steps: The length in steps instead.
        seed: Random seed.
        features: What finds the categories: the name of a pretrained encoder or a file, as for ``--features``; a
            PyTorch module or a function, see `infogan.features.open_extractor`; or vectors, (images, features), in the
            order of the images. None: the run learns its own features.
        size: Height and width of the images in pixels; None = their own if all agree, else 64.
        channels: 1 for grey, 3 for RGB, up to 16 for other bands; None = their own.
        shape: ``crop`` or ``pad`` images that are not square.
        options: Any other option by its dotted name, e.g. ``{"train.batch_size": 64}``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``, see `infogan.utils.devices.pick_device`.
        verbose: Show the progress on standard error.
        callbacks: Called as the run proceeds, see `infogan.training.callbacks.Callback`.
        watch: Another callback (the name of version 0.1).
        trackers: More callbacks (the name of version 0.1).

    Returns:
        The trained model.

    Warns:
        UserWarning: Some images cannot be used, or there are too few of them, or ``budget`` is too short on this
            machine, for a good model.

    Raises:
        UserError: Images, options or a folder that cannot be used.
        training.callbacks.Interrupted: A callback requested a stop; the same call resumes the run.

    Example:
        >>> model = infogan.fit("digits", categorical=10, budget=60)
        >>> model.sample(16, codes={"category": 3}).images.shape
        (16, 1, 8, 8)
    """
    source = str(data) if is_path(data) else None
    if source is not None and test is not None:
        raise UserError(f"test is for images in memory: give {source} a test split instead, such as a folder test")
    out = Path(out) if out is not None else None
    # The name of a data set has augmentations of its own; the path of images in memory is known once there is a run.
    layer = {
        "data": without_none({"source": source or IMAGES, "size": size, "channels": channels, "shape": shape}),
        "train": without_none({"seed": seed, "budget": budget, "steps": steps}),
    }
    if isinstance(features, str) and features == "none":
        features = None
    if features is not None:
        layer["features"] = {"source": features if isinstance(features, str) else VECTORS}
    composed = compose(
        recipe,
        [layer],
        (options or {}).items(),
        categorical=categorical,
        continuous=continuous,
        knobs=knobs,
        run=out,
    )
    config = validate(composed)
    device = pick_device(str(device))

    existed = out is not None and out.exists()
    run = open_run(out, Path(source).stem if source else "images")
    images = run.path / IMAGES
    had_images = images.exists()
    try:
        if source is None:
            _save_images(data, test, images, config.data)
            composed["data"] = {**composed["data"], "value_range": None}  # the saved values are scaled
        composed["data"] = {**composed["data"], "source": source or str(images)}
        if features is not None and not isinstance(features, str):
            vectors_path = run.path / VECTORS
            if not vectors_path.exists():
                if callable(features):
                    extractor = open_extractor(features, size=config.features.size, device=device)
                    vectors = embed_data(data, config.data, extractor)
                else:
                    vectors = given_vectors(features, len(features))
                write_vectors(vectors_path, vectors)
            composed["features"] = {**composed["features"], "source": str(vectors_path)}
        planned = plan(composed, run=run.path, device=device)
    except UserError:
        if not had_images:
            shutil.rmtree(images if existed else run.path, ignore_errors=True)
        raise
    for warning in planned.warnings:
        warnings.warn(warning, stacklevel=3)  # for the caller of the function that is decorated
    with ExitStack() as stack:
        if verbose:
            log_plan(planned, run)
            callbacks = [stack.enter_context(TrainingDisplay(planned.timing)), *callbacks]
        return train_run(planned, run, device=device, callbacks=callbacks, watch=watch, trackers=trackers)[0]


def _save_images(data: Any, test: Any, folder: Path, settings: DataSettings) -> None:
    """Save images in memory as shards, unless the folder has them; those that cannot be used are named there."""
    spec = ImageSpec(settings.size, settings.channels, settings.shape, settings.value_range)
    stream = stream_object(data, spec)
    sample = stream.read(0, 1)
    spec = replace(spec, size=sample.size, channels=sample.channels)
    streams = {"train": stream} | ({} if test is None else {"test": stream_object(test, spec)})
    splits = {name: partial(_open, stream) for name, stream in streams.items()}
    write_shards(splits, folder, (sample.channels, sample.size), strict=settings.strict, workers=1)


def _open(stream: Stream) -> AbstractContextManager[Stream]:
    return nullcontext(stream)
