"""What the page asks to see, as images: a table of one or two codes, or of noises, around a centre.

The page describes a view by numbers alone: codes go by their place in the layout, so that a view outlives a new name.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infogan.config.schema import CategoricalCode
from infogan.models.infogan import InfoGAN, Values
from infogan.utils.errors import UserError

NOISE = -1  # as an axis: other noise in each cell, the codes held
MOST_IMAGES = 256  # of a table
MOST_NOISES = 10_000  # of a seed that can be walked to
LARGEST_SEED = 2**53 - 1  # the largest whole number that a page can write

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Axis = Annotated[int, Field(ge=NOISE, lt=1000)]
Count = Annotated[int, Field(ge=1, le=MOST_IMAGES)]


class View(BaseModel):
    """A table of images and the centre it is built around.

    Attributes:
        codes: Of the centre, a value a code in the layout's order; a category by its number.
        seed: Of its noise.
        pick: Which noise of the seed.
        towards: Another seed, to whose noise the first one is blended.
        way: How far: 0 to 1.
        across: The code along the columns by its place, or ``NOISE``.
        down: The code along the rows, or ``NOISE``.
        columns: How many; of a category no more than it has values.
        rows: How many.
        zoom: 1 shows all of a continuous code from -1 to 1, z a z-th of it around the centre.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    codes: tuple[float, ...] = ()
    seed: Seed = 0
    pick: Annotated[int, Field(ge=0, lt=MOST_NOISES)] = 0
    towards: Seed = 1
    way: Annotated[float, Field(ge=0, le=1)] = 0.0
    across: Axis = NOISE
    down: Axis = NOISE
    columns: Count = 1
    rows: Count = 1
    zoom: Annotated[float, Field(ge=1, le=64)] = 1.0

    @classmethod
    def read(cls, words: dict[str, str]) -> "View":
        """The view that an address asks for; ``codes`` are numbers with commas between.

        Raises:
            UserError: a value that is none, or out of its range.
        """
        given: dict[str, object] = {**words, "codes": [word for word in words.get("codes", "").split(",") if word]}
        try:
            view = cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{first['loc'][0]}: {first['msg']}") from None
        if view.columns * view.rows > MOST_IMAGES:
            raise UserError(f"{view.columns} x {view.rows} images are more than {MOST_IMAGES}")
        return view


@dataclass(frozen=True)
class Table:
    """The images of a view.

    Attributes:
        images: uint8 (rows, columns, channels, height, width).
        across: What varies along the columns: a value of the code each, or the number of a noise.
        down: The same along the rows.
    """

    images: NDArray[np.uint8]
    across: list[float]
    down: list[float]


def draw(model: InfoGAN, view: View) -> Table:
    """Draws a view.

    Raises:
        UserError: it does not fit the model: an unknown code, another number of values, a category out of range.
    """
    names = list(model.layout.codes)
    if len(view.codes) != len(names):
        raise UserError(f"the model has {len(names)} codes, and {len(view.codes)} values were given")
    for axis in (view.across, view.down):
        if axis >= len(names):
            raise UserError(f"there is no code {axis}: the model has {len(names)}")
    if view.across == view.down != NOISE:
        raise UserError("the columns and the rows can not be the same code")
    across, down = values_along(model, view, view.across, view.columns), values_along(model, view, view.down, view.rows)
    wide, high = len(across), len(down)
    codes: dict[str, Values] = {}
    for place, name in enumerate(names):
        if place == view.across:
            codes[name] = across * high
        elif place == view.down:
            codes[name] = [value for value in down for _ in across]
        else:
            codes[name] = view.codes[place]
    picks = torch.full((high, wide), view.pick)
    if view.down == NOISE:
        picks += torch.arange(high).unsqueeze(1) * (wide if view.across == NOISE else 1)
    if view.across == NOISE:
        picks += torch.arange(wide)
    images = model.generate(noise_of(model, view, picks.flatten()), codes)
    noises = [float(pick) for pick in picks[0].tolist()], [float(pick) for pick in picks[:, 0].tolist()]
    return Table(
        images.reshape(high, wide, *images.shape[1:]),
        noises[0] if view.across == NOISE else across,
        noises[1] if view.down == NOISE else down,
    )


def values_along(model: InfoGAN, view: View, axis: int, count: int) -> list[float]:
    """The values of a code along an axis, around the centre; of ``NOISE`` so many zeros."""
    if axis == NOISE:
        return [0.0] * count
    name = list(model.layout.codes)[axis]
    spec, centre = model.layout.code(name), view.codes[axis]
    if isinstance(spec, CategoricalCode):
        shown = [float(value) for value in model.values_of(name)]
        if centre not in shown:
            raise UserError(f"code {name!r} takes 0 to {spec.size - 1}, not {centre:g}")
        place = shown.index(centre)
        first = min(max(place - count // 2, 0), max(len(shown) - count, 0))
        return shown[first : first + count]
    if abs(centre) > 1:
        raise UserError(f"code {name!r} takes numbers from -1 to 1, not {centre:g}")
    half = 1 / view.zoom
    middle = min(max(centre, half - 1), 1 - half)
    if count == 1:
        return [centre]
    return [round(float(value), 4) for value in np.linspace(middle - half, middle + half, count)]


def noise_of(model: InfoGAN, view: View, picks: torch.Tensor) -> torch.Tensor:
    """The noises of a view's seeds at ``picks``, blended: (count, noise)."""
    count = int(picks.max()) + 1
    start = model.noise(count, seed=view.seed)[picks]
    if view.way == 0:
        return start
    return model.blended_noise(start, model.noise(count, seed=view.towards)[picks], torch.full((len(picks),), view.way))
