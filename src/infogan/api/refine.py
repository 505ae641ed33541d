"""Refining the categories of a run by the corrections that a person has made in the explorer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infogan.api.evaluate_run import data_of_run, load_images
from infogan.api.filing import own_head
from infogan.data import some_indices
from infogan.data.labels import labels_by_name
from infogan.models.groups import groups_of
from infogan.models.infogan import InfoGAN
from infogan.training.feature_head import FeatureHead
from infogan.training.refine import held_out_accuracy, refine_head
from infogan.training.run_dir import RunFolder
from infogan.training.teacher import REFINED, FiledImages, load_teacher, save_refined
from infogan.utils.errors import UserError

MIN_CORRECTIONS = 10
GRAPH_IMAGES = 20_000  # that corrections spread to; a head files the others
BLOCK = 1_000


@dataclass(frozen=True)
class Refinement:
    """What refining has changed.

    Attributes:
        corrections: Number of the corrections that were used.
        left_out: Number of the labels that are not the name of a group.
        before: Share of the corrected images that were in the right group.
        after: Share of them that are, if each is filed by the corrections of the others.
        changed: Number of the training images that are in another group now.
    """

    corrections: int
    left_out: int
    before: float
    after: float
    changed: int

    @property
    def summary(self) -> str:
        """The result as one sentence."""
        left_out = f"; {self.left_out} labels are not the name of a group" if self.left_out else ""
        return (
            f"{self.changed} images have another group; of {self.corrections} corrected images, {self.before:.0%} were "
            f"right before and {self.after:.0%} would be by the corrections of the others{left_out}"
        )


def refine_run(path: str | Path, *, data: str | Path | None = None) -> Refinement:
    """Refine the categories of a run: its corrections spread to similar images, from now on wherever it files images.

    Nothing changes in the model, its encoder, and what its generator draws. Refining again starts from the model, with
    all corrections.

    Args:
        path: A run folder with corrections, from the explorer.
        data: Where the training images are now; None = where they were.

    Raises:
        UserError: There are fewer than `MIN_CORRECTIONS` corrections, they would make the groups worse, the images are
            gone, the model has no encoder, or the run cannot be written.

    Example:
        >>> infogan.refine_run("runs/00000-photos").summary
        '312 images have another group; of 50 corrected images, 52% were right before and 66% would be by ...'
    """
    run = RunFolder.existing(Path(path))
    model = InfoGAN.load(path)
    settings = data_of_run(run, None if data is None else str(data))
    images = load_images(model, settings)
    numbers = {name: row for row, name in enumerate(images.names)}
    labels = labels_by_name(run.labels) if run.labels.is_file() else {}
    head, space = refinable_space(run, model, images.images)
    corrections, left_out = categories_of(
        model, {numbers[n]: text for n, text in labels.items() if n in numbers}, head, space
    )
    refined, refinement = refine_space(head, space, corrections, left_out)
    save_refined(run, refined, model.digest())
    return refinement


def unrefine_run(path: str | Path) -> bool:
    """Take back what `refine_run` did, and return whether there was anything; corrections stay."""
    file = RunFolder.existing(Path(path)).path / REFINED
    existed = file.is_file()
    file.unlink(missing_ok=True)
    return existed


def refinable_space(
    run: RunFolder, model: InfoGAN, images: NDArray[np.uint8], rows: NDArray[np.int64] | None = None
) -> tuple[FeatureHead, NDArray[np.float32]]:
    """Return the head of a run that is not refined, and training images in its space.

    Args:
        run: The run.
        model: Its model.
        images: uint8 (images, channels, height, width), some training images.
        rows: Their numbers among all training images; None = they are all of them.

    Raises:
        UserError: The model has no encoder.
    """
    teacher = load_teacher(run)
    if teacher is not None:
        return teacher.head, teacher.space if rows is None else teacher.space[rows]
    if model.networks.encoder is None:
        raise UserError("this model has no encoder, in whose features corrections could spread")
    head, parts = own_head(model), []
    for start in range(0, len(images), BLOCK):
        parts.append(model.features(np.ascontiguousarray(images[start : start + BLOCK])))
    return head, head.space(np.concatenate(parts))


def categories_of(
    model: InfoGAN, labels: Mapping[int, str], head: FeatureHead, space: NDArray[np.float32]
) -> tuple[dict[int, int], int]:
    """Return the category of each labelled image, and the number of labels that are not the name of a group.

    Of a group of several categories, it is the one that the head finds most probable.
    """
    groups = {group.name: [*group.values] for group in groups_of(model, model.first_categorical().name)}
    corrections = {}
    for number, label in labels.items():
        if label in groups:
            values = groups[label]
            corrections[number] = values[int(head.of_space(space[[number]])[0, values].argmax())]
    return corrections, len(labels) - len(corrections)


def refine_space(
    head: FeatureHead, space: NDArray[np.float32], corrections: Mapping[int, int], left_out: int = 0
) -> tuple[FiledImages, Refinement]:
    """Return the refined head with what it says of the training images, and what has changed.

    Args:
        head: The head before.
        space: All training images in its space.
        corrections: The right category of some of them.
        left_out: As for `Refinement`.

    Raises:
        UserError: There are too few corrections, or they would make the groups worse.
    """
    if len(corrections) < MIN_CORRECTIONS:
        raise UserError(
            f"there are {len(corrections)} corrections with the name of a group; refining needs {MIN_CORRECTIONS}: "
            "label more images in the explorer, typical ones first"
        )
    rows = np.union1d(some_indices(len(space), GRAPH_IMAGES), [*corrections])
    of_rows = {int(np.searchsorted(rows, number)): value for number, value in corrections.items()}
    before, after = held_out_accuracy(head, space[rows], of_rows)
    if after < before - np.sqrt(after * (1 - after) / len(corrections)):  # by more than the standard error
        raise UserError(
            f"the corrections do not help yet: of {len(corrections)} corrected images, {before:.0%} are right now, and "
            f"{after:.0%} would be by the corrections of the others; label more images, typical ones first"
        )
    refined = refine_head(head, space[rows], of_rows)
    probabilities = refined.of_space(space)
    changed = int((probabilities.argmax(axis=1) != head.of_space(space).argmax(axis=1)).sum())
    return FiledImages(refined, probabilities), Refinement(len(corrections), left_out, before, after, changed)
