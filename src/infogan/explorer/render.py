"""Rendering of generated images: a table in which one or two codes, or the noise, vary around a centre.

A view refers to codes by their position in the layout, so that it stays valid when codes are renamed.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infogan.config.schema import CategoricalCode
from infogan.models.infogan import InfoGAN
from infogan.models.naming import CodeValues
from infogan.reports.html_page import png_data_url
from infogan.utils.errors import UserError

NOISE = -1  # as an axis: different noise in each cell, fixed codes
MAX_IMAGES = 256  # in one table
MAX_NOISES = 10_000  # per seed
MAX_SEED = 2**53 - 1  # largest integer that JavaScript represents exactly

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
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

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    codes: tuple[float, ...] = ()
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

    @classmethod
    def from_query(cls, query: dict[str, str]) -> "View":
        """Parse the parameters of a URL; ``codes`` is a comma-separated list of numbers.

        Raises:
            UserError: a value is malformed or out of range.
        """
        values: dict[str, object] = {**query, "codes": [text for text in query.get("codes", "").split(",") if text]}
        try:
            view = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{first['loc'][0]}: {first['msg']}") from None
        if view.columns * view.rows > MAX_IMAGES:
            raise UserError(f"{view.columns} x {view.rows} images: at most {MAX_IMAGES} are allowed")
        return view

    def of_centre(self) -> "View":
        """Return the view of the image of the centre alone."""
        alone = {"pick": self.centre, "across": NOISE, "down": NOISE, "columns": 1, "rows": 1}
        return self.model_copy(update=alone)

    def named_codes(self, model: InfoGAN) -> dict[str, float]:
        """Return the codes of the centre by name; raises UserError if their number is not the model's."""
        names = list(model.layout.codes)
        if len(self.codes) != len(names):
            raise UserError(f"{len(self.codes)} code values: this model has {len(names)} codes")
        return dict(zip(names, self.codes, strict=True))


@dataclass(frozen=True)
class Table:
    """The images of a view.

    Attributes:
        images: uint8 (rows, columns, channels, height, width).
        across: For each column, the value of the code that varies, or the index of the noise.
        down: The same for each row.
    """

    images: NDArray[np.uint8]
    across: list[float]
    down: list[float]


def render_table(model: InfoGAN, view: View) -> Table:
    """Generate the images of a view.

    Raises:
        UserError: an unknown code, a wrong number of values, or a value out of range.
    """
    centre = view.named_codes(model)
    names = list(centre)
    for axis in (view.across, view.down):
        if axis >= len(names):
            raise UserError(f"there is no code {axis}: the model has {len(names)}")
    if view.across == view.down != NOISE:
        raise UserError("the columns and the rows cannot show the same code")
    across, down = axis_values(model, view, view.across, view.columns), axis_values(model, view, view.down, view.rows)
    columns, rows = len(across), len(down)
    codes: dict[str, CodeValues] = dict(centre)
    if view.across != NOISE:
        codes[names[view.across]] = across * rows
    if view.down != NOISE:
        codes[names[view.down]] = [value for value in down for _ in across]
    picks = torch.full((rows, columns), view.pick)
    if view.down == NOISE:
        picks += torch.arange(rows).unsqueeze(1) * (columns if view.across == NOISE else 1)
    if view.across == NOISE:
        picks += torch.arange(columns)
    images = model.generate(view_noise(model, view, picks.flatten()), codes)
    return Table(
        images.reshape(rows, columns, *images.shape[1:]),
        [float(pick) for pick in picks[0].tolist()] if view.across == NOISE else across,
        [float(pick) for pick in picks[:, 0].tolist()] if view.down == NOISE else down,
    )


def axis_values(model: InfoGAN, view: View, axis: int, count: int) -> list[float]:
    """Return up to ``count`` values of a code along an axis around the centre; zeros for ``NOISE``."""
    if axis == NOISE:
        return [0.0] * count
    name = list(model.layout.codes)[axis]
    spec, centre = model.layout.code(name), view.codes[axis]
    if isinstance(spec, CategoricalCode):
        values = [float(value) for value in model.values_of(name)]
        if centre not in values:
            raise UserError(f"code {name!r} is {centre:g}: choose a whole number from 0 to {spec.size - 1}")
        first = min(max(values.index(centre) - count // 2, 0), max(len(values) - count, 0))
        return values[first : first + count]
    if abs(centre) > 1:
        raise UserError(f"code {name!r} is {centre:g}: choose a number from -1 to 1")
    half = 1 / view.zoom
    middle = min(max(centre, half - 1), 1 - half)
    if count == 1:
        return [centre]
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
    name = list(model.layout.codes)[axis]
    if isinstance(model.layout.code(name), CategoricalCode):
        return [model.value_name(name, int(value)) for value in values]
    return [f"{name} {value:+.2f}" for value in values]


def tiled_data_url(images: NDArray[np.uint8], columns: int) -> str:
    """Return images (count, channels, height, width) side by side in a table without gaps, as the data URL of a PNG."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    table = np.zeros((rows * columns, channels, height, width), np.uint8)
    table[:count] = images
    tiled = table.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = np.ascontiguousarray(tiled).reshape(rows * height, columns * width, channels)
    return png_data_url(Image.fromarray(pixels[..., 0] if channels == 1 else pixels), optimize=False)
