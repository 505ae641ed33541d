"""For notebooks: a model to be steered with buttons and sliders, and a bar that moves while one is trained.

What is steered was drawn before: every place of the controls is a frame of a picture in the output, so that a saved
notebook, or a page made of one, can be steered where no Python runs. Nothing is needed beside infogan; the bar is
tqdm's, where that is installed.
"""

import itertools
import json
import secrets
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infogan.models.infogan import InfoGAN
from infogan.reports import figures, html_page
from infogan.training.callbacks import Callback, LogRecord

MOST_VALUES = 20  # of the category, that have a button
WIDTH = 320  # pixels that a frame is shown in
MOST_SAMPLES = 4_000_000  # brightness values of all frames together: some megabytes as PNG
# What is drawn, the first that is within that: images along a side of a frame, places of a slider, and whether every
# place of one goes with every place of the others.
LAYOUTS = (
    *((side, places, True) for side in (3, 2, 1) for places in (9, 7, 5)),
    *((side, places, False) for side in (3, 2, 1) for places in (11, 7, 5)),
)


@dataclass(frozen=True)
class Explorer:
    """What `explore` gives: shown as the last line of a cell, it can be steered.

    Attributes:
        figure: The figure with its controls, in HTML; needs ``scrub.js``.
        fallback: What is seen where scripts are not run, in HTML.
        summary: What it is of.
    """

    figure: str
    fallback: str
    summary: str

    def __repr__(self) -> str:
        return f"<Explorer of {self.summary}>"

    def _repr_html_(self) -> str:
        # Everything that moves is in the script: where that is removed, as from a notebook that is not trusted, the
        # still picture is left and nothing that does not work.
        place = f"infogan-{secrets.token_hex(8)}"
        moving = f"<style>{html_page.static('scrub.css')}</style>{self.figure}"
        # No "</script>", nor the beginning of a comment, may stand in a script.
        content = json.dumps(moving).replace("<", "\\u003c")
        return (
            f'<div id="{place}">{self.fallback}</div>\n<script>\n(() => {{\n{html_page.static("scrub.js")}'
            f"const place = document.getElementById('{place}');\nplace.innerHTML = {content};\n"
            "place.querySelectorAll('.scrubbed').forEach(scrub);\n})();\n</script>"
        )


def explore(model: InfoGAN, *, seed: int = 0) -> Explorer:
    """Draws a model at every place of a button for each category and a slider for each knob.

    Of the first categorical code up to twenty values have a button. Where frames for all places of all sliders together
    would be too many, each slider moves alone, and the others rest at 0. Other categories are those of the samples of
    ``seed``, as is the noise.

    Args:
        model: Which; one without codes gives its samples.
        seed: Of noise and codes.

    Raises:
        UserError: as `InfoGAN.sample`.
    """
    category = model.layout.categorical[0].name if model.layout.categorical else None
    knobs = [code.name for code in model.layout.continuous]
    values: list[Any] = model.display_values(category, MOST_VALUES) if category is not None else [None]
    side, places, together = _layout(model, len(values), len(knobs))
    positions = _positions(len(knobs), places, together)
    strips = []
    for value in values:
        held = {} if category is None else {category: value}
        strips.append(list(_frames(model, seed, side, held, knobs, positions)))
    alone = not together and len(knobs) > 1
    others = "; a slider that is moved puts the others at 0" if alone else ""
    figure = html_page.scrubber(
        strips,
        sliders=[html_page.Control(name, [f"{place:+.2f}" for place in _places(places)]) for name in knobs],
        buttons=None if category is None else html_page.Control(category, model.value_labels(category, values)),
        alone=alone,
        width=max(WIDTH, strips[0][0].width),
        alt=f"{side * side} generated images",
        caption=f"Noise and all other codes are held{others}." if model.layout.codes else "",
    )
    still: str = model._repr_mimebundle_()["text/html"]
    return Explorer(figure, still, repr(model)[1:-1])


def _layout(model: InfoGAN, values: int, knobs: int) -> tuple[int, int, bool]:
    """The first of ``LAYOUTS`` that is small enough, or else the last."""
    samples = model.config.channels * model.config.size**2
    for side, places, together in LAYOUTS:
        frames = values * (places**knobs if together else places * knobs)
        if frames * side**2 * samples <= MOST_SAMPLES:
            break
    return side, places, together


def _places(count: int) -> NDArray[np.float64]:
    return np.linspace(-1, 1, count).round(3)


def _positions(knobs: int, places: int, together: bool) -> NDArray[np.float64]:
    """The knobs' values in each frame of a strip, (frames, knobs), in the order that ``scrub.js`` tells."""
    if together:
        return np.array(list(itertools.product(_places(places).tolist(), repeat=knobs)))
    return np.concatenate([np.outer(_places(places), row) for row in np.eye(knobs)])


def _frames(
    model: InfoGAN, seed: int, side: int, held: dict[str, Any], knobs: Sequence[str], positions: NDArray[np.float64]
) -> Iterator[Image.Image]:
    """A frame for each position of the knobs: the same noises, and codes held."""
    count = side * side
    drawn = model.sample(count, codes=held, seed=seed).codes
    noise = model.noise(count, seed=seed).repeat(len(positions), 1)
    codes: dict[str, Any] = {name: np.tile(values, len(positions)).tolist() for name, values in drawn.items()}
    codes |= {name: positions[:, i].repeat(count).tolist() for i, name in enumerate(knobs)}
    images = model.generate(noise, codes)
    for frame in images.reshape(len(positions), count, *images.shape[1:]):
        yield figures.image_grid(frame, side, padding=1, scale=1)


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
        self._steps, self._bar = steps, _bar(steps)

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


def _bar(steps: int) -> Any:
    """A bar of tqdm, or None."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")  # and then it is a bar of text
            from tqdm.auto import tqdm
    except ModuleNotFoundError:
        return None
    return tqdm(total=steps, unit="step")
