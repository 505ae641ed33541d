"""Pictures of a model beside its sheets (`InfoGAN.sheet`): what is drawn while it trains, and an animation."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from infogan.config.schema import Config, ContinuousCode
from infogan.models.infogan import InfoGAN, Values
from infogan.reports import figures


def samples_picture(model: InfoGAN, config: Config, step: int) -> Image.Image:
    """The picture of a training run at a step: always the same noise, so that pictures compare over time."""
    if config.train.sample_grid == "one-value" and model.layout.categorical:
        code = model.first_categorical()
        value = int(np.random.default_rng([config.train.seed, step]).integers(code.size))
        return figures.image_grid(model.sample(16, codes={code.name: value}, seed=step).images, 4)
    if model.layout.categorical:
        return model.sheet(model.first_categorical().name)
    return figures.image_grid(model.sample(100).images, 10)


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
    values = np.linspace(-1, 1, 25).tolist() if continuous else model.shown_values(code, most)
    images = model.traverse(code, values=values, rows=rows * rows, seed=seed, codes=codes)
    captions = [f"{code} {value:+.2f}" if continuous else f"{code} {model.value_name(code, value)}" for value in values]
    frames = figures.animation_frames(np.ascontiguousarray(images.swapaxes(0, 1)), rows, captions=captions)
    return figures.gif_bytes(frames, 60 if continuous else 700)
