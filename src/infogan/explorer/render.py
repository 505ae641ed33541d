"""Rendering of generated images: a table in which one or two codes, or the noise, vary around a centre.

A view refers to codes by their position in the layout, so that it stays valid when codes are renamed.
"""

from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from infogan.config.schema import CategoricalCode
from infogan.data.preprocess import shown
from infogan.models.infogan import InfoGAN
from infogan.models.naming import CodeValues
from infogan.reports.figures import to_image
from infogan.reports.html_page import png_data_url
from infogan.utils.errors import UserError

NOISE = -1  # as an axis: different noise in each cell, fixed codes
MAX_IMAGES = 256  # in one table
MAX_NOISES = 10_000  # per seed
MAX_INTEGER = 2**53 - 1  # largest integer that JavaScript represents exactly


def split_list(codes: object) -> object:
    """Split a comma-separated list, as the query of a URL has it."""
    return [text for text in codes.split(",") if text] if isinstance(codes, str) else codes


Codes = Annotated[tuple[float, ...], BeforeValidator(split_list)]
Seed = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Pick = Annotated[int, Field(ge=0, lt=MAX_NOISES)]
Axis = Annotated[int, Field(ge=NOISE, lt=1000)]
Count = Annotated[int, Field(ge=1, le=MAX_IMAGES)]


class View(BaseModel):
    """A table of images and the centre around which it is built.

    Attributes:
        codes: Codes of the centre, one value per code in the layout's order; categories as numbers.
        seed: Seed of the noise.
        pick: Index of the first noise within the seed.
        centre: Index of the noise of a separate image of the centre; None = no such image.
        towards: Seed of a second noise, with which the first is blended.
        way: Share of the second noise, 0 to 1.
        across: Position of the code that varies along the columns, or ``NOISE``.
        down: Position of the code that varies along the rows, or ``NOISE``.
        columns: Number of columns; at most the number of values of a category.
        rows: Number of rows; at most the number of values of a category.
        zoom: 1 shows a continuous code from -1 to 1; z shows 1/z of that range around the centre.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    codes: Codes = ()
    seed: Seed = 0
    pick: Pick = 0
    centre: Pick | None = None
    towards: Seed = 1
    way: Annotated[float, Field(ge=0, le=1)] = 0.0
    across: Axis = NOISE
    down: Axis = NOISE
    columns: Count = 1
    rows: Count = 1
    zoom: Annotated[float, Field(ge=1, le=64)] = 1.0

    def named_codes(self, model: InfoGAN) -> dict[str, float]:
        """Return the codes of the centre by name; raises UserError if their number is not the model's."""
        names = list(model.layout.codes)
        if len(self.codes) != len(names):
            raise UserError(f"{len(self.codes)} code values: this model has {len(names)} codes")
        return dict(zip(names, self.codes, strict=True))


class Table(NamedTuple):
    """The images of a view.

    Attributes:
        images: uint8 (rows, columns, channels, height, width), grey or RGB.
        across: For each column, the value of the code that varies, or the index of the noise.
        down: The same for each row.
    """

    images: NDArray[np.uint8]
    across: list[float]
    down: list[float]


def render_table(model: InfoGAN, view: View) -> Table:
    """Generate the images of a view.

    Raises:
        UserError: an unknown code, a wrong number of values, a value out of range, or too many images.
    """
    if view.columns * view.rows > MAX_IMAGES:
        raise UserError(f"{view.columns} x {view.rows} images: at most {MAX_IMAGES} are allowed")
    if view.across == view.down != NOISE:
        raise UserError("the columns and the rows cannot show the same code")
    codes: dict[str, CodeValues] = dict(view.named_codes(model))
    model.parse_codes(codes, 1)  # raises UserError for a value out of range
    across, down = axis_values(model, view, view.across, view.columns), axis_values(model, view, view.down, view.rows)
    columns, rows = len(across), len(down)
    if view.across != NOISE:
        codes[code_name(model, view.across)] = across * rows
    if view.down != NOISE:
        codes[code_name(model, view.down)] = [value for value in down for _ in across]
    picks = torch.full((rows, columns), view.pick)
    if view.down == NOISE:
        picks += torch.arange(rows).unsqueeze(1) * (columns if view.across == NOISE else 1)
    if view.across == NOISE:
        picks += torch.arange(columns)
    images = model.generate(view_noise(model, view, picks.flatten()), codes)
    return Table(
        model.shown(images.reshape(rows, columns, *images.shape[1:])),
        [float(pick) for pick in picks[0]] if view.across == NOISE else across,
        [float(pick) for pick in picks[:, 0]] if view.down == NOISE else down,
    )


def code_name(model: InfoGAN, position: int) -> str:
    """Return the name of the code at a position; raises UserError if there is none."""
    names = list(model.layout.codes)
    if not 0 <= position < len(names):
        raise UserError(f"there is no code {position}: the model has {len(names)}")
    return names[position]


def axis_values(model: InfoGAN, view: View, axis: int, count: int) -> list[float]:
    """Return up to ``count`` values of a code along an axis around the centre; zeros for ``NOISE``."""
    if axis == NOISE:
        return [0.0] * count
    name = code_name(model, axis)
    centre = view.codes[axis]
    if isinstance(model.layout.code(name), CategoricalCode):
        values = [float(value) for value in model.values_of(name)]
        first = min(max(values.index(centre) - count // 2, 0), max(len(values) - count, 0))
        return values[first : first + count]
    if count == 1:
        return [centre]
    half = 1 / view.zoom
    middle = min(max(centre, half - 1), 1 - half)
    return [round(float(value), 4) for value in np.linspace(middle - half, middle + half, count)]


def view_noise(model: InfoGAN, view: View, picks: torch.Tensor) -> torch.Tensor:
    """Return the noises of a view's seeds at the indices ``picks``, blended: (count, noise)."""
    count = int(picks.max()) + 1
    start = model.noise(count, seed=view.seed)[picks]
    if view.way == 0:
        return start
    return model.blended_noise(start, model.noise(count, seed=view.towards)[picks], torch.full((len(picks),), view.way))


def axis_labels(model: InfoGAN, axis: int, values: list[float]) -> list[str]:
    """Return a heading for each value along an axis."""
    if axis == NOISE:
        return [f"noise {value:.0f}" for value in values]
    name = code_name(model, axis)
    labels = model.value_labels(name, values)
    return labels if isinstance(model.layout.code(name), CategoricalCode) else [f"{name} {label}" for label in labels]


def tiled_data_url(table: NDArray[np.uint8]) -> str:
    """Return a table of images without gaps, (rows, columns, channels, height, width), as the data URL of a PNG."""
    table = shown(table)
    rows, columns, channels, height, width = table.shape
    pixels = table.transpose(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
    return png_data_url(to_image(pixels), optimize=False)
