"""Pictures of a model: what is drawn while it trains, a sheet for each of its codes, and an animation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from infogan import plots
from infogan.config import Config, ContinuousCode
from infogan.model import InfoGAN, Values

ROWS = 10  # of a sheet


def samples_picture(model: InfoGAN, config: Config, step: int) -> Image.Image:
    """The picture of a training run at a step: always the same noise, so that pictures compare over time."""
    if config.train.picture == "one-value" and model.layout.categorical:
        code = model.first_categorical()
        value = int(np.random.default_rng([config.train.seed, step]).integers(code.size))
        return plots.image_grid(model.sample(16, codes={code.name: value}, seed=step).images, 4)
    if model.layout.categorical:
        return traversal_sheet(model, model.first_categorical().name)
    return plots.image_grid(model.sample(100).images, 10)


def traversal_sheet(
    model: InfoGAN, code: str, *, rows: int = ROWS, seed: int = 0, codes: Mapping[str, Values] | None = None
) -> Image.Image:
    """A sheet of one code: a column for each of its values, and along a row the same noise and other codes."""
    images = model.traverse(code, rows=rows, seed=seed, codes=codes)
    return plots.labelled_sheet(images, column_labels=column_labels(model, code), title=code)


def traversal_gif(
    model: InfoGAN,
    code: str,
    *,
    rows: int = 4,
    seed: int = 0,
    codes: Mapping[str, Values] | None = None,
    most: int | None = None,
) -> bytes:
    """A GIF of ``rows`` by ``rows`` images that goes through the values of one code, there and back.

    Of a category with more than ``most`` values, so many are shown, evenly chosen.
    """
    continuous = isinstance(model.layout.code(code), ContinuousCode)
    values: Sequence[Any] = np.linspace(-1, 1, 25).tolist() if continuous else model.values_of(code)
    if most is not None and len(values) > most:
        values = [values[place] for place in np.linspace(0, len(values) - 1, most).round().astype(int)]
    images = model.traverse(code, values=values, rows=rows * rows, seed=seed, codes=codes)
    captions = [f"{code} {value:+.2f}" if continuous else f"{code} {model.value_name(code, value)}" for value in values]
    frames = plots.animation_frames(np.ascontiguousarray(images.swapaxes(0, 1)), rows, captions=captions)
    return plots.gif_bytes(frames, 60 if continuous else 700)


def column_labels(model: InfoGAN, code: str) -> list[str]:
    """What stands above the columns of a traversal: the names of categories, or the values."""
    values = model.values_of(code)
    if isinstance(model.layout.code(code), ContinuousCode):
        return [f"{value:+.2f}" for value in values]
    return [model.value_name(code, int(value)) for value in values]
