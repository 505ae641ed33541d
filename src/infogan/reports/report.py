"""A run as one HTML page that needs nothing else: no network, no folder beside it.

In flow the run folder, the model, real images and the last evaluation; out flows text. Pictures are in it as PNG, the
knobs' traversals as strips of frames that a slider scrubs through.
"""

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
from infogan.training.run_dir import RunFolder
from infogan.utils.matching import contingency, hungarian_mapping

SHOWN = 64  # reals, and samples beside them
FRAMES = 21  # of a knob's traversal
SIDE = 6  # images along a side of a frame
CELL = 60  # pixels that smaller images are enlarged to there
LATTICE_ROWS = 7
READ = 10_000  # real images that the gallery and the confusion are of, at most
SUREST, UNSUREST = 10, 6  # real images of a category that are shown


def report_page(
    run: RunFolder, model: InfoGAN, config: Config, images: ImageSet, test: ImageSet | None, result: Mapping[str, Any]
) -> str:
    """The page.

    Args:
        run: Where statistics and environment are read.
        model: Of that run.
        config: Of that run.
        images: Its training images.
        test: Its test split, if there is one; the gallery and the confusion are of that.
        result: An evaluation, as `evaluation.evaluate` gives it.

    Raises:
        UserError: the model has other codes than its run.
    """
    kind = config.objective.kind
    reported = test or images
    sections = [
        _what(run, config, images),
        html_page.section("Real and generated", _reals_and_samples(model, images)),
        *(html_page.section(f"Code: {name}", _traversal(model, name)) for name in model.layout.codes),
    ]
    if lattice := _lattice(model):
        sections.append(html_page.section("Two codes at once", lattice))
    if model.networks.reads_codes and model.layout.categorical:
        sections.append(html_page.section("Real images by category", _filed(model, reported, config.train.seed)))
    called = current_code_names(config, model.layout.codes)
    sections += [
        html_page.section("Training", _curves(run, model, called)),
        html_page.section("Measured", _measured(result, called)),
    ]
    sections.append(html_page.section("Made with", _environment(run)))
    if incidents := run.read_incidents():
        sections.append(html_page.section("Incidents", _incidents(incidents)))
    verdict = result.get("verdict")
    said = ""
    if verdict:
        mood = "trusted" if verdict["trust"] else "doubted"
        said = f'<p class="verdict {mood}">{html.escape(html_page.sentence(verdict["reason"]))}</p>'
    return html_page.page(f"{kind} on {images.source}", sections, said)


def _what(run: RunFolder, config: Config, images: ImageSet) -> str:
    strengths = config.augment.strengths
    said = ", ".join(f"{name} {strength:g}" for name, strength in strengths.items()) or "nothing was said"
    codes = [
        f"{code.name} ({code.size} values)" if isinstance(code, CategoricalCode) else f"{code.name} (from -1 to 1)"
        for code in config.codes
    ]
    steps = config.train.steps
    rows = {
        "images": f"{images.source}: {len(images)} of {images.size}x{images.size}, "
        f"{'grey' if images.channels == 1 else 'colour'}",
        "codes": ", ".join(codes) or "none",
        "what does not matter": said,
        "length": f"{steps} steps, {config.images_seen(steps)} images, seed {config.train.seed}",
        "stages": ", ".join(stage.name for stage in config.stages),
        "command": shlex.join(run.command()),
    }
    return html_page.table([], [[name, value] for name, value in rows.items() if value])


def _reals_and_samples(model: InfoGAN, images: ImageSet) -> str:
    columns = math.isqrt(SHOWN)
    shown = np.linspace(0, len(images) - 1, min(SHOWN, len(images))).astype(int)
    reals = figures.image_grid(np.ascontiguousarray(images.images[shown]), columns)
    samples = figures.image_grid(model.sample(SHOWN, seed=1).images, columns)
    return (
        '<div class="beside">'
        + html_page.figure(reals, f"{len(shown)} real images", "Real images, evenly from the training set.")
        + html_page.figure(samples, f"{SHOWN} generated images", "Generated, with random noise and codes.")
        + "</div>"
    )


def _traversal(model: InfoGAN, name: str) -> str:
    spec = model.layout.code(name)
    if isinstance(spec, CategoricalCode):
        sheet = model.sheet(name)
        alt = f"A column for each value of {name}; along a row the same noise and other codes."
        return html_page.figure(sheet, alt, f"Each column is a value of {name}; along a row everything else is held.")
    values = np.linspace(-1, 1, FRAMES)
    images = model.traverse(name, values=values.tolist(), rows=SIDE * SIDE, seed=1)
    frames = [
        figures.image_grid(np.ascontiguousarray(step), SIDE, padding=1, scale=1) for step in images.swapaxes(0, 1)
    ]
    return html_page.scrubber(
        [frames],
        sliders=[html_page.Control(name, [f"{value:+.1f}" for value in values.tolist()])],
        width=SIDE * max(CELL, model.config.size),
        alt=f"{SIDE * SIDE} generated images as {name} varies",
        caption=f"Drag, or use the arrow keys: {name} goes from -1 to 1, everything else is held.",
    )


def _lattice(model: InfoGAN) -> str:
    """One noise, the values of the first category along x, those of a knob (or of a second category) along y."""
    names = list(model.layout.codes)
    categories = [code.name for code in model.layout.categorical]
    across = categories[0] if categories else names[0] if names else None
    others = [name for name in names if name != across]
    down = next((name for name in others if name not in categories), others[0] if others else None)
    if across is None or down is None:
        return ""
    spec = model.layout.code(down)
    if isinstance(spec, CategoricalCode):
        rows = model.display_values(down)
        labels = model.value_labels(down, rows)
    else:
        rows = np.linspace(-1, 1, LATTICE_ROWS).round(2).tolist()
        labels = [f"{down} {row:+.2f}" for row in rows]
    columns = model.display_values(across)
    table = model.lattice(across, down, columns=columns, rows=rows, seed=2)
    sheet = figures.labelled_sheet(table, column_labels=model.value_labels(across, columns), row_labels=labels)
    text = f"One noise; {across} varies along the columns, {down} along the rows."
    return html_page.figure(sheet, text, text)


def _filed(model: InfoGAN, images: ImageSet, seed: int) -> str:
    """The gallery, and the confusion with labels where there are any."""
    code = model.first_categorical()
    chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:READ])
    looked_at = np.ascontiguousarray(images.images[chosen])
    read = model.encode(looked_at)
    found, probabilities = read.codes[code.name], read.probabilities[code.name]
    values = _fullest(model, found)
    rows, labels = [], []
    blank = np.full(looked_at.shape[1:], 255, np.uint8)
    for value in values:
        members = np.flatnonzero(found == value)
        order = members[np.argsort(-probabilities[members, value], kind="stable")]
        surest, rest = order[:SUREST], order[SUREST:]
        picked = [*looked_at[surest], *[blank] * (SUREST - len(surest))]
        unsurest = rest[-UNSUREST:]
        picked += [*looked_at[unsurest], *[blank] * (UNSUREST - len(unsurest))]
        rows.append(np.stack(picked))
        labels.append(f"{model.value_name(code.name, value)} ({len(members)})")
    sheet = figures.labelled_sheet(
        np.stack(rows), column_labels=["surest"] * SUREST + ["least"] * UNSUREST, row_labels=labels
    )
    text = (
        f"{len(chosen)} images of {images.source}, a row for {_which(code.size)} {code.name} with how many were filed "
        "there: "
        f"{SUREST} of which the model is surest, then {UNSUREST} of which it is least sure."
    )
    page = html_page.figure(sheet, text, text)
    if images.labels is not None:
        page += _confusion(model, found, images.labels[chosen], images.label_names)
    return page


def _confusion(model: InfoGAN, found: NDArray[np.int64], labels: NDArray[np.int64], names: Sequence[str]) -> str:
    code = model.first_categorical()
    values = _fullest(model, found)
    counts = contingency(found, labels, code.size, len(names))
    mapping = hungarian_mapping(found, labels, code.size, len(names))
    head = ["", *names]
    rows = []
    for value in values:
        cells = [
            f"<b>{count}</b>" if mapping[value] == label else str(count)
            for label, count in enumerate(counts[value].tolist())
        ]
        rows.append([html.escape(model.value_name(code.name, value)), *cells])
    which = f"{_which(code.size)} {code.name}"
    caption = f"How many images of each label (columns) are filed under {which} (rows); bold: matched."
    table = html_page.table(head, rows, escaped=True)
    return f'<figure class="wide">{table}<figcaption>{html.escape(caption)}</figcaption></figure>'


def _fullest(model: InfoGAN, found: NDArray[np.int64]) -> list[int]:
    """The values of the first category in order; of more than ``MAX_VALUES`` those that hold most images."""
    code = model.first_categorical()
    counts = np.bincount(found, minlength=code.size)
    kept = set(np.argsort(-counts, kind="stable")[:MAX_VALUES].tolist())
    return [int(value) for value in model.values_of(code.name) if int(value) in kept]


def _which(size: int) -> str:
    return "each value of" if size <= MAX_VALUES else f"each of the {MAX_VALUES} fullest values of"


def _curves(run: RunFolder, model: InfoGAN, called: Mapping[str, str]) -> str:
    stats = run.read_stats()
    page = ""
    informed = select_curves(stats, {name: f"information/{code}" for code, name in called.items()})
    if informed:
        entropies = {f"entropy of {name}": model.layout.entropy(name) for name in informed}
        chart = figures.line_chart(
            informed,
            title="Information of the codes in the images",
            x_label="steps",
            y_label="nats",
            reference_lines=entropies,
        )
        page += html_page.figure(
            chart,
            "Curves of the information of each code over the steps.",
            "Lower bound of the mutual information of each code and the generated image, while training. Of a "
            "continuous code it may exceed the entropy, which is differential.",
        )
    for players, terms in loss_curves(stats).items():
        chart = figures.line_chart(terms, title=f"Losses of {players}", x_label="steps", y_label="loss")
        page += html_page.figure(chart, f"Curves of the losses of {players} over the steps.", "")
    return page or "<p>No statistics were kept.</p>"


def loss_curves(stats: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, figures.Curve]]:
    """The terms of each group of players over the steps, as `curves_of`."""
    keys = sorted({key for line in stats for key in line if "/" in key and not key.startswith("information/")})
    found = {}
    for players in dict.fromkeys(key.partition("/")[0] for key in keys):
        terms = {key.partition("/")[2]: key for key in keys if key.startswith(f"{players}/")}
        if curves := select_curves(stats, terms):
            found[players] = curves
    return found


def select_curves(stats: Sequence[Mapping[str, Any]], keys: Mapping[str, str]) -> dict[str, figures.Curve]:
    """By name, steps and what was reported of its key at them, where that is a finite number anywhere."""
    curves: dict[str, figures.Curve] = {}
    for name, key in keys.items():
        points = [(line["step"], line[key]) for line in stats if key in line and math.isfinite(line[key])]
        if points:
            curves[name] = ([step for step, _ in points], [value for _, value in points])
    return curves


def _measured(result: Mapping[str, Any], called: Mapping[str, str]) -> str:
    protocol = f"<p>{html.escape(html_page.sentence(result.get('protocol', '')))}</p>"
    return html_page.table(["", "", "what it means"], metric_rows(result, called)) + protocol


def _environment(run: RunFolder) -> str:
    sessions = run.read_environment()
    if not sessions:
        return "<p>Nothing was recorded.</p>"
    # The command is told above; the session that writes this has not ended yet.
    last = {name: value for name, value in sessions[-1].items() if name not in ("command", "ended")}
    rows = [[name.replace("_", " "), str(value)] for name, value in last.items()]
    return html_page.table([], [["sessions", str(len(sessions))], *rows])


def _incidents(incidents: Sequence[Mapping[str, Any]]) -> str:
    rows = [[str(incident.get("when")), html_page.sentence(str(incident.get("what")))] for incident in incidents]
    return "<p>What went wrong, or was mended, while the run was trained.</p>" + html_page.table([], rows)
