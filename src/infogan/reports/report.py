"""The report of a run: one self-contained HTML page, with sliders to steer the knobs."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infogan.config.schema import CategoricalCode, Config
from infogan.data.dataset import ImageSet
from infogan.evaluation.descriptions import current_code_names, metric_rows
from infogan.models.groups import NO_GROUP, Assignment
from infogan.models.infogan import InfoGAN
from infogan.models.naming import MAX_VALUES
from infogan.models.results import Verdict
from infogan.reports import figures, html_page
from infogan.reports.charts import category_tree, training_charts
from infogan.training.run_dir import RunFolder
from infogan.utils.matching import contingency, hungarian_mapping

GRID_IMAGES = 64  # real images, and as many generated ones
FRAMES = 21  # per traversal
FRAME_VALUES = np.linspace(-1, 1, FRAMES).tolist()
FRAME_SIDE = 6  # images along each side of a frame
FRAME_CELL = 60  # pixels to which smaller images are enlarged in a frame
LATTICE_ROWS = 7
SORTED_IMAGES = 10_000  # real images in the gallery and the confusion table, at most
MOST_CERTAIN, LEAST_CERTAIN = 10, 6  # real images of each category in the gallery


def report_page(
    run: RunFolder,
    model: InfoGAN,
    config: Config,
    images: ImageSet,
    test: ImageSet | None,
    result: Mapping[str, Any],
    *,
    filed: NDArray[np.float32] | None = None,
    corrections: Mapping[str, str] | None = None,
) -> str:
    """Return the report of a run as HTML.

    Args:
        run: The run folder, for its statistics and environment.
        model: The model of the run.
        config: The configuration of the run.
        images: The training images.
        test: The test split, which the gallery and the confusion table then show; None = there is none.
        result: An evaluation, as `evaluation.evaluate` returns it.
        filed: (images, categories), what pretrained features say of the training images, which are shown then; None =
            the model files the images.
        corrections: Labels that a person has given to training images, by name.

    Raises:
        UserError: the model has other codes than the run.
    """
    code_names = current_code_names(config, model.layout.codes)
    sorts_images = model.networks.reads_codes and model.layout.categorical
    uses_train = test is None or filed is not None or corrections  # of which more is known than the model says
    gallery = (images, config.train.seed, filed, corrections) if uses_train else (test, config.train.seed)
    ignored = {code_names.get(name, name) for name in result.get("ignored", ())}
    columns = math.isqrt(GRID_IMAGES)
    indices = np.linspace(0, len(images) - 1, min(GRID_IMAGES, len(images))).astype(int)
    return html_page.render(
        "report.html",
        title=f"{config.objective.kind} on {images.source}",
        model=model,
        verdict=Verdict.parse(result["verdict"]) if "verdict" in result else None,
        overview=_overview(run, config, model, images),
        codes=sorted(model.layout.codes, key=ignored.__contains__),  # in order; those that are ignored come last
        ignored=ignored,
        real=figures.image_grid(model.shown(images.images[indices]), columns),
        real_count=len(indices),
        generated=figures.image_grid(model.shown(model.sample(GRID_IMAGES, seed=1).images), columns),
        generated_count=GRID_IMAGES,
        frames={code.name: _frames(model, code.name) for code in model.layout.continuous},
        frame_labels=[f"{value:+.1f}" for value in FRAME_VALUES],
        frame_width=FRAME_SIDE * max(FRAME_CELL, model.config.size),
        frame_count=FRAME_SIDE**2,
        lattice=_lattice(model),
        gallery=_category_gallery(model, *gallery) if sorts_images else None,
        example=_example(model, images, result.get("example", [])),
        tree=category_tree(model, result),
        charts=training_charts(run.read_stats(), model, code_names),
        metrics=metric_rows(result, code_names),
        protocol=result.get("protocol", ""),
        environment=_environment(run),
        incidents=_incidents(run),
    )


def _overview(run: RunFolder, config: Config, model: InfoGAN, images: ImageSet) -> list[list[str]]:
    augmentations = [f"{name} {strength:g}" for name, strength in config.augment.strengths.items()]
    steps = config.train.steps
    rows = {
        "images": f"{images.source}: {len(images)} {model.config.image_summary}",
        "codes": model.config.code_summary,
        "augmentation": ", ".join(augmentations) or "none",
        "length": f"{steps} steps, {config.images_seen(steps)} images, seed {config.train.seed}",
        "stages": ", ".join(stage.name for stage in config.stages),
        "command": shlex.join(run.command()),
    }
    return [[name, value] for name, value in rows.items() if value]


def _example(model: InfoGAN, images: ImageSet, rows: Sequence[int]) -> Image.Image | None:
    """Return two images side by side that show what the categories follow; None if there are none."""
    if len(rows) != 2 or max(rows) >= len(images):
        return None
    return figures.image_grid(model.shown(images.images[np.array(rows)]), 2)


def _frames(model: InfoGAN, knob: str) -> list[Image.Image]:
    """Return a grid of images for each value of a knob."""
    images = model.shown(model.traverse(knob, values=FRAME_VALUES, rows=FRAME_SIDE**2, seed=1)).swapaxes(0, 1)
    return [figures.image_grid(np.ascontiguousarray(step), FRAME_SIDE, padding=1, scale=1) for step in images]


def _lattice(model: InfoGAN) -> dict[str, Any] | None:
    """Return images of one noise vector under the first category and a knob, or else a second category."""
    categories = [code.name for code in model.layout.categorical]
    names = [*categories[:1], *(code.name for code in model.layout.continuous), *categories[1:]]
    if len(names) < 2:
        return None
    across, down = names[:2]
    if isinstance(model.layout.code(down), CategoricalCode):
        rows = model.display_values(down)
        row_labels = model.value_labels(down, rows)
    else:
        rows = np.linspace(-1, 1, LATTICE_ROWS).round(2).tolist()
        row_labels = [f"{down} {row:+.2f}" for row in rows]
    columns = model.display_values(across)
    images = model.shown(model.lattice(across, down, columns=columns, rows=rows, seed=2))
    sheet = figures.labelled_sheet(images, column_labels=model.value_labels(across, columns), row_labels=row_labels)
    return {"sheet": sheet, "across": across, "down": down}


def _category_gallery(
    model: InfoGAN,
    images: ImageSet,
    seed: int,
    filed: NDArray[np.float32] | None = None,
    corrections: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a sheet of real images by category with its description, and the confusion table if they have labels."""
    code, corrections = model.first_categorical(), corrections or {}
    indices = np.sort(np.random.default_rng(seed).permutation(len(images))[:SORTED_IMAGES])
    pixels = np.ascontiguousarray(images.images[indices])
    probabilities = model.encode(pixels).probabilities[code.name] if filed is None else filed[indices]
    names = [images.names[index] for index in indices]
    labelled = {row: corrections[name] for row, name in enumerate(names) if name in corrections}
    assignment = Assignment.of(model, code.name, probabilities, labelled)
    rows, row_labels = [], []
    for number in _largest_groups(assignment):
        members = np.flatnonzero(assignment.numbers == number)
        by_probability = members[np.argsort(-assignment.confidence[members], kind="stable")]
        certain = by_probability[:MOST_CERTAIN]
        uncertain = by_probability[MOST_CERTAIN:][-LEAST_CERTAIN:]
        rows.append(np.concatenate([_pad(pixels[certain], MOST_CERTAIN), _pad(pixels[uncertain], LEAST_CERTAIN)]))
        row_labels.append(f"{assignment.groups[number].name} ({len(members)})")
    column_labels = ["certain"] * MOST_CERTAIN + ["uncertain"] * LEAST_CERTAIN
    sheet = figures.labelled_sheet(model.shown(np.stack(rows)), column_labels=column_labels, row_labels=row_labels)
    labels = None if images.labels is None else images.labels[indices]
    return {
        "sheet": sheet,
        "count": len(indices),
        "source": images.source,
        "code": code.name,
        "rows": "one row per " + (code.name if code.size <= MAX_VALUES else f"{code.name}, the {MAX_VALUES} largest"),
        "certain": MOST_CERTAIN,
        "uncertain": LEAST_CERTAIN,
        "label_names": images.label_names,
        "confusion": None if labels is None else _confusion(assignment, labels, images.label_names),
    }


def _pad(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return ``count`` images, (count, channels, height, width); missing ones are white."""
    return np.pad(images, [(0, count - len(images)), (0, 0), (0, 0), (0, 0)], constant_values=255)


def _confusion(
    assignment: Assignment, labels: NDArray[np.int64], label_names: Sequence[str]
) -> list[tuple[str, list[int], int]]:
    """Return for each group its name, its number of images by label, and the label that it is matched with."""
    filed, count = assignment.numbers != NO_GROUP, len(assignment.groups)
    counts = contingency(assignment.numbers[filed], labels[filed], count, len(label_names))
    mapping = hungarian_mapping(assignment.numbers[filed], labels[filed], count, len(label_names))
    return [
        (assignment.groups[number].name, counts[number].tolist(), int(mapping[number]))
        for number in _largest_groups(assignment)
    ]


def _largest_groups(assignment: Assignment) -> list[int]:
    """Return the numbers of the groups in order of display; at most the ``MAX_VALUES`` with most images."""
    filed = assignment.numbers[assignment.numbers != NO_GROUP]
    counts = np.bincount(filed, minlength=len(assignment.groups))
    return sorted(np.argsort(-counts, kind="stable")[:MAX_VALUES].tolist())


def _environment(run: RunFolder) -> list[list[str]]:
    """Return a table of the last session; the overview shows its command, and it has not ended yet."""
    sessions = run.read_environment()
    if not sessions:
        return []
    session = {name: value for name, value in sessions[-1].items() if name not in ("command", "ended")}
    return [
        ["sessions", str(len(sessions))],
        *([name.replace("_", " "), str(value)] for name, value in session.items()),
    ]


def _incidents(run: RunFolder) -> list[list[str]]:
    return [
        [str(incident.get("when")), html_page.sentence(str(incident.get("what")))] for incident in run.read_incidents()
    ]
