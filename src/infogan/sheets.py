"""Pictures of a model: what is drawn while it trains, a sheet for each of its codes, and an animation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from infogan import plots
from infogan.config import Config, ContinuousCode
from infogan.model import InfoGAN, Values

ROWS = 10  # of a sheet
MOST_VALUES = 100  # of a category, that a picture shows


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
    """A sheet of one code: a column for each of the `shown_values`, along a row the same noise and other codes."""
    values = shown_values(model, code)
    images = model.traverse(code, values=values, rows=rows, seed=seed, codes=codes)
    return plots.labelled_sheet(images, column_labels=value_labels(model, code, values), title=code)


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
    values = np.linspace(-1, 1, 25).tolist() if continuous else shown_values(model, code, most)
    images = model.traverse(code, values=values, rows=rows * rows, seed=seed, codes=codes)
    captions = [f"{code} {value:+.2f}" if continuous else f"{code} {model.value_name(code, value)}" for value in values]
    frames = plots.animation_frames(np.ascontiguousarray(images.swapaxes(0, 1)), rows, captions=captions)
    return plots.gif_bytes(frames, 60 if continuous else 700)


def shown_values(model: InfoGAN, code: str, most: int | None = MOST_VALUES) -> list[Any]:
    """The values of a code in order; of a category with more than ``most`` of them so many, evenly chosen."""
    values = list(model.values_of(code))
    if most is None or len(values) <= most:
        return values
    return [values[place] for place in np.linspace(0, len(values) - 1, most).round().astype(int)]


def value_labels(model: InfoGAN, code: str, values: Sequence[Any]) -> list[str]:
    """What stands beside some values of a code: the names of categories, or the numbers."""
    if isinstance(model.layout.code(code), ContinuousCode):
        return [f"{value:+.2f}" for value in values]
    return [model.value_name(code, int(value)) for value in values]
