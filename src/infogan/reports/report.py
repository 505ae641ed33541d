"""The report of a run: one self-contained HTML page, with sliders to steer the knobs."""

import html
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.config.schema import CategoricalCode, Config
from infogan.data.dataset import ImageSet
from infogan.evaluation.descriptions import current_code_names, metric_rows
from infogan.models.infogan import InfoGAN
from infogan.models.naming import MAX_VALUES
from infogan.reports import figures, html_page
from infogan.reports.charts import training_charts
from infogan.training.run_dir import RunFolder
from infogan.utils.matching import contingency, hungarian_mapping

GRID_IMAGES = 64  # real images, and as many generated ones
FRAMES = 21  # per traversal
FRAME_SIDE = 6  # images along each side of a frame
FRAME_CELL = 60  # pixels to which smaller images are enlarged in a frame
LATTICE_ROWS = 7
SORTED_IMAGES = 10_000  # real images in the gallery and the confusion table, at most
MOST_CERTAIN, LEAST_CERTAIN = 10, 6  # real images of each category in the gallery


def report_page(
    run: RunFolder, model: InfoGAN, config: Config, images: ImageSet, test: ImageSet | None, result: Mapping[str, Any]
) -> str:
    """Return the report of a run as HTML.

    Args:
        run: The run folder, for its statistics and environment.
        model: The model of the run.
        config: The configuration of the run.
        images: The training images.
        test: The test split, which the gallery and the confusion table then show; None = there is none.
        result: An evaluation, as `evaluation.evaluate` returns it.

    Raises:
        UserError: the model has other codes than the run.
    """
    code_names = current_code_names(config, model.layout.codes)
    sorts_images = model.networks.reads_codes and model.layout.categorical
    charts = "".join(training_charts(run.read_stats(), model, code_names))
    sections = [
        ("Real and generated", _real_and_generated(model, images)),
        *((f"Code: {name}", _traversal(model, name)) for name in model.layout.codes),
        ("Two codes at once", _lattice(model)),
        (
            "Real images by category",
            _category_gallery(model, test or images, config.train.seed) if sorts_images else "",
        ),
        ("Training", f'<div class="charts">{charts}</div>' if charts else "<p>No statistics were recorded.</p>"),
        ("Evaluation", _evaluation(result, code_names)),
        ("Environment", _environment(run)),
        ("Incidents", _incidents(run.read_incidents())),
    ]
    parts = [_overview(run, config, images), *(html_page.section(*section) for section in sections if section[1])]
    return html_page.page(f"{config.objective.kind} on {images.source}", parts, _verdict(result.get("verdict")))


def _verdict(verdict: Mapping[str, Any] | None) -> str:
    if not verdict:
        return ""
    style = "trusted" if verdict["trust"] else "doubted"
    return f'<p class="verdict {style}">{html.escape(html_page.sentence(verdict["reason"]))}</p>'


def _overview(run: RunFolder, config: Config, images: ImageSet) -> str:
    augmentations = [f"{name} {strength:g}" for name, strength in config.augment.strengths.items()]
    codes = [
        f"{code.name} ({code.size} values)" if isinstance(code, CategoricalCode) else f"{code.name} (from -1 to 1)"
        for code in config.codes
    ]
    steps = config.train.steps
    colour = "grey" if images.channels == 1 else "colour"
    rows = {
        "images": f"{images.source}: {len(images)} of {images.size}x{images.size}, {colour}",
        "codes": ", ".join(codes) or "none",
        "augmentation": ", ".join(augmentations) or "none",
        "length": f"{steps} steps, {config.images_seen(steps)} images, seed {config.train.seed}",
        "stages": ", ".join(stage.name for stage in config.stages),
        "command": shlex.join(run.command()),
    }
    return html_page.table([], [[name, value] for name, value in rows.items() if value])


def _real_and_generated(model: InfoGAN, images: ImageSet) -> str:
    columns = math.isqrt(GRID_IMAGES)
    indices = np.linspace(0, len(images) - 1, min(GRID_IMAGES, len(images))).astype(int)
    real = figures.image_grid(np.ascontiguousarray(images.images[indices]), columns)
    generated = figures.image_grid(model.sample(GRID_IMAGES, seed=1).images, columns)
    return (
        '<div class="pair">'
        + html_page.figure(real, f"{len(indices)} real images", "Real images, evenly spaced in the training set.")
        + html_page.figure(generated, f"{GRID_IMAGES} generated images", "Generated images, noise and codes at random.")
        + "</div>"
    )


def _traversal(model: InfoGAN, name: str) -> str:
    if isinstance(model.layout.code(name), CategoricalCode):
        alt = f"One column per value of {name}; noise and other codes are constant along a row."
        return html_page.figure(model.sheet(name), alt, alt)
    values = np.linspace(-1, 1, FRAMES)
    images = model.traverse(name, values=values.tolist(), rows=FRAME_SIDE**2, seed=1)
    frames = [
        figures.image_grid(np.ascontiguousarray(step), FRAME_SIDE, padding=1, scale=1) for step in images.swapaxes(0, 1)
    ]
    return html_page.scrubber(
        [frames],
        sliders=[html_page.Control(name, [f"{value:+.1f}" for value in values.tolist()])],
        width=FRAME_SIDE * max(FRAME_CELL, model.config.size),
        alt=f"{FRAME_SIDE**2} generated images as {name} varies",
        caption=f"Drag the slider or use the arrow keys: {name} varies from -1 to 1, all else is constant.",
    )


def _lattice(model: InfoGAN) -> str:
    """Return a figure of one noise vector under the first category and a knob, or else a second category."""
    names = list(model.layout.codes)
    if len(names) < 2:
        return ""
    categories = [code.name for code in model.layout.categorical]
    across = categories[0] if categories else names[0]
    candidates = [name for name in names if name != across]
    down = next((name for name in candidates if name not in categories), candidates[0])
    if isinstance(model.layout.code(down), CategoricalCode):
        rows = model.display_values(down)
        row_labels = model.value_labels(down, rows)
    else:
        rows = np.linspace(-1, 1, LATTICE_ROWS).round(2).tolist()
        row_labels = [f"{down} {row:+.2f}" for row in rows]
    columns = model.display_values(across)
    images = model.lattice(across, down, columns=columns, rows=rows, seed=2)
    sheet = figures.labelled_sheet(images, column_labels=model.value_labels(across, columns), row_labels=row_labels)
    text = f"{across} varies along the columns, {down} along the rows; the noise is the same everywhere."
    return html_page.figure(sheet, text, text)


def _category_gallery(model: InfoGAN, images: ImageSet, seed: int) -> str:
    """Return a figure of real images by category, and the confusion table if they have labels."""
    code = model.first_categorical()
    indices = np.sort(np.random.default_rng(seed).permutation(len(images))[:SORTED_IMAGES])
    pixels = np.ascontiguousarray(images.images[indices])
    encoding = model.encode(pixels)
    categories, probabilities = encoding.codes[code.name], encoding.probabilities[code.name]
    rows, row_labels = [], []
    for value in _largest_categories(model, categories):
        members = np.flatnonzero(categories == value)
        by_probability = members[np.argsort(-probabilities[members, value], kind="stable")]
        certain = by_probability[:MOST_CERTAIN]
        uncertain = by_probability[MOST_CERTAIN:][-LEAST_CERTAIN:]
        rows.append(np.concatenate([_pad(pixels[certain], MOST_CERTAIN), _pad(pixels[uncertain], LEAST_CERTAIN)]))
        row_labels.append(f"{model.value_name(code.name, value)} ({len(members)})")
    column_labels = ["certain"] * MOST_CERTAIN + ["uncertain"] * LEAST_CERTAIN
    sheet = figures.labelled_sheet(np.stack(rows), column_labels=column_labels, row_labels=row_labels)
    text = (
        f"{len(indices)} images of {images.source}: {_rows_in_words(code)}, with its number of images. The first "
        f"{MOST_CERTAIN} images have the highest probability of their category, the last {LEAST_CERTAIN} the lowest."
    )
    gallery = html_page.figure(sheet, text, text)
    if images.labels is None:
        return gallery
    return gallery + _confusion(model, categories, images.labels[indices], images.label_names)


def _pad(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return ``count`` images, (count, channels, height, width); missing ones are white."""
    return np.pad(images, [(0, count - len(images)), (0, 0), (0, 0), (0, 0)], constant_values=255)


def _confusion(
    model: InfoGAN, categories: NDArray[np.int64], labels: NDArray[np.int64], label_names: Sequence[str]
) -> str:
    code = model.first_categorical()
    counts = contingency(categories, labels, code.size, len(label_names))
    mapping = hungarian_mapping(categories, labels, code.size, len(label_names))
    rows = []
    for value in _largest_categories(model, categories):
        cells = [
            f"<b>{count}</b>" if mapping[value] == label else str(count)
            for label, count in enumerate(counts[value].tolist())
        ]
        rows.append([html.escape(model.value_name(code.name, value)), *cells])
    table = html_page.table(["", *label_names], rows, escaped=True)
    caption = f"Number of images of each label (columns) in each {code.name}: {_rows_in_words(code)}; bold: matched."
    return f'<figure class="wide">{table}<figcaption>{html.escape(caption)}</figcaption></figure>'


def _largest_categories(model: InfoGAN, categories: NDArray[np.int64]) -> list[int]:
    """Return the values of the first category in order of display; at most the ``MAX_VALUES`` with most images."""
    code = model.first_categorical()
    counts = np.bincount(categories, minlength=code.size)
    largest = set(np.argsort(-counts, kind="stable")[:MAX_VALUES].tolist())
    return [int(value) for value in model.values_of(code.name) if int(value) in largest]


def _rows_in_words(code: CategoricalCode) -> str:
    return "one row per " + (code.name if code.size <= MAX_VALUES else f"{code.name}, the {MAX_VALUES} largest")


def _evaluation(result: Mapping[str, Any], code_names: Mapping[str, str]) -> str:
    protocol = f"<p>{html.escape(html_page.sentence(result.get('protocol', '')))}</p>"
    return html_page.table(["metric", "value", "meaning"], metric_rows(result, code_names)) + protocol


def _environment(run: RunFolder) -> str:
    sessions = run.read_environment()
    if not sessions:
        return "<p>No environment was recorded.</p>"
    # The overview shows the command; the session that writes this page has not ended yet.
    session = {name: value for name, value in sessions[-1].items() if name not in ("command", "ended")}
    rows = [[name.replace("_", " "), str(value)] for name, value in session.items()]
    return html_page.table([], [["sessions", str(len(sessions))], *rows])


def _incidents(incidents: Sequence[Mapping[str, Any]]) -> str:
    if not incidents:
        return ""
    rows = [[str(incident.get("when")), html_page.sentence(str(incident.get("what")))] for incident in incidents]
    return "<p>Errors and repairs during training.</p>" + html_page.table([], rows)
