"""Notebook output: a model with buttons and sliders, and a progress bar for training.

All positions of the controls are drawn beforehand and embedded in the output, so that a saved notebook, or a page made
from one, can be steered without Python. The progress bar needs tqdm.
"""

import itertools
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infogan.models.infogan import InfoGAN
from infogan.reports import figures, html_page
from infogan.training.callbacks import Callback, LogRecord

MAX_BUTTONS = 20  # values of the category
WIDTH = 320  # pixels of a frame on the page
MAX_PIXEL_VALUES = 4_000_000  # in all frames together: some megabytes as PNG
# Images along a side of a frame, positions of a slider, and whether all combinations of the sliders' positions have a
# frame. The first layout within ``MAX_PIXEL_VALUES`` is used.
LAYOUTS = (
    *((side, positions, True) for side in (3, 2, 1) for positions in (9, 7, 5)),
    *((side, positions, False) for side in (3, 2, 1) for positions in (11, 7, 5)),
)


@dataclass(frozen=True)
class Explorer:
    """An interactive figure of a model; make it the last line of a cell, see `explore`.

    Attributes:
        figure: HTML of the figure with its controls, which need ``scrub.js``.
        fallback: HTML that is shown if scripts do not run.
        summary: Description of the model.
    """

    figure: str
    fallback: str
    summary: str

    def __repr__(self) -> str:
        return f"<Explorer of {self.summary}>"

    def _repr_html_(self) -> str:
        element = f"infogan-{secrets.token_hex(8)}"
        return html_page.render("notebook.html", element=element, figure=self.figure, fallback=self.fallback)


def explore(model: InfoGAN, *, seed: int = 0) -> Explorer:
    """Return an interactive figure: a button for each category and a slider for each knob of a model.

    At most 20 values of the first categorical code have a button; further categorical codes and the noise are random.
    If all combinations of the sliders' positions would be too many frames, moving one slider resets the others to 0.

    Args:
        model: The model; one without codes shows samples.
        seed: Random seed of noise and codes.

    Raises:
        UserError: as `InfoGAN.sample`.

    Example:
        >>> infogan.notebook.explore(model)
    """
    buttons = {code.name: model.display_values(code.name, MAX_BUTTONS) for code in model.layout.categorical[:1]}
    fixed_codes = [{name: value} for name, values in buttons.items() for value in values] or [{}]
    knobs = [code.name for code in model.layout.continuous]
    side, positions, combined = _choose_layout(model, len(fixed_codes), len(knobs))
    slider_values = np.linspace(-1, 1, positions).round(3)
    knob_values = _knob_values(slider_values, len(knobs), combined)
    strips = [_frames(model, seed, side, codes, knobs, knob_values) for codes in fixed_codes]
    independent = not combined and len(knobs) > 1
    reset = "; moving a slider resets the others to 0" if independent else ""
    figure = html_page.scrubber(
        strips,
        sliders={name: [f"{value:+.2f}" for value in slider_values] for name in knobs},
        buttons={name: model.value_labels(name, values) for name, values in buttons.items()},
        independent=independent,
        width=max(WIDTH, strips[0][0].width),
        alt=f"{side * side} generated images",
        caption=f"Noise and all other codes are constant{reset}." if model.layout.codes else "",
    )
    fallback: str = model._repr_mimebundle_()["text/html"]
    return Explorer(figure, fallback, repr(model)[1:-1])


def _choose_layout(model: InfoGAN, values: int, knobs: int) -> tuple[int, int, bool]:
    """Return the first of ``LAYOUTS`` that is small enough, or else the last."""
    pixel_values = model.config.channels * model.config.size**2
    for side, positions, combined in LAYOUTS:
        frames = values * (positions**knobs if combined else positions * knobs)
        if frames * side**2 * pixel_values <= MAX_PIXEL_VALUES:
            break
    return side, positions, combined


def _knob_values(values: NDArray[np.float64], knobs: int, combined: bool) -> NDArray[np.float64]:
    """Return the values of the knobs in each frame of a strip, (frames, knobs), in the order of ``scrub.js``."""
    if combined:
        return np.array(list(itertools.product(values.tolist(), repeat=knobs)))
    return np.concatenate([np.outer(values, row) for row in np.eye(knobs)])


def _frames(
    model: InfoGAN, seed: int, side: int, codes: dict[str, Any], knobs: Sequence[str], knob_values: NDArray[np.float64]
) -> list[Image.Image]:
    """Return a frame for each row of ``knob_values``, with the same noise and the fixed ``codes``."""
    count, frames = side * side, len(knob_values)
    sampled = model.sample(count, codes=codes, seed=seed).codes
    noise = model.noise(count, seed=seed).repeat(frames, 1)
    all_codes: dict[str, Any] = {name: np.tile(values, frames).tolist() for name, values in sampled.items()}
    all_codes |= {name: knob_values[:, i].repeat(count).tolist() for i, name in enumerate(knobs)}
    images = model.shown(model.generate(noise, all_codes))
    images = images.reshape(frames, count, *images.shape[1:])
    return [figures.image_grid(frame, side, padding=1, scale=1) for frame in images]


def progress(steps: int) -> Callback:
    """Return a callback that shows a progress bar of tqdm if that is installed, else a line per log record.

    Args:
        steps: Steps of the whole training.

    Example:
        >>> infogan.fit(images, steps=200, callbacks=[infogan.notebook.progress(200)])
    """
    return _Progress(steps)


class _Progress(Callback):
    def __init__(self, steps: int) -> None:
        self._steps, self._bar = steps, _tqdm_bar(steps)

    def on_step_end(self, step: int) -> None:
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            if step >= self._steps:
                self._bar.close()

    def on_log(self, record: LogRecord) -> None:
        bounds = [f"{key.partition('/')[2]} {x:.2f}" for key, x in record.values.items() if "information/" in key]
        stage = str(record.values["stage"])
        text = f"{stage}, information in nats: {', '.join(bounds)}" if bounds else stage
        if self._bar is None:
            print(f"step {record.step}/{self._steps}  {text}")
        else:
            self._bar.set_postfix_str(text)


def _tqdm_bar(steps: int) -> Any:
    """Return a progress bar of tqdm; None if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")  # the bar is then plain text
            from tqdm.auto import tqdm
    except ModuleNotFoundError:
        return None
    return tqdm(total=steps, unit="step")
