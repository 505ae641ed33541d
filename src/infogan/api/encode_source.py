"""Encoding of the images at any source with the model of a run, as ``infogan encode`` does it."""

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from infogan.api.append import EarlierCodes, images_of_no_group, read_codes
from infogan.api.encode import encode_dataset
from infogan.api.filing import FiledByFeatures, corrections_of_run, open_filing
from infogan.api.progress import log
from infogan.api.sort import Sorter
from infogan.data import Progress, Stream, ValueRange, describe_skipped, resolve_source, streamed
from infogan.models.infogan import InfoGAN
from infogan.training.teacher import TEACHER
from infogan.utils import distributed
from infogan.utils.errors import UserError

MAX_NAMES = 20  # of images that are logged


def encode_source(
    run: str | Path,
    source: str | Path,
    out: Path,
    *,
    split: str | None = None,
    append: bool = False,
    sort_into: Path | None = None,
    link: bool = False,
    features: str | None = None,
    probabilities: bool = False,
    value_range: ValueRange | None = None,
    follow_links: bool = False,
    strict: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Path]:
    """Predict the codes of images, and write them to a table.

    Args:
        run: A run folder, model folder or address on the Hub.
        source: The images, as for `infogan.data.load`.
        out: The table, as for `api.encode.encode_dataset`.
        split: As for `infogan.data.load`.
        append: Whether ``out`` is a CSV file of earlier codes, which rows of the images that it lacks are added to.
        sort_into: Folder for copies of the images, sorted by category; None = none.
        link: Whether to link files in that folder instead of copying them.
        features: As for `api.filing.open_filing`.
        probabilities: Whether to write the probability of every category, as a file that is appended to may have it.
        value_range: As for `infogan.data.load`; None = that of the run, if it has one.
        follow_links: As for `infogan.data.load`.
        strict: As for `infogan.data.load`.
        device: The device to compute on.
        progress: Called with the number of images that are encoded.

    Returns:
        The folders that images were sorted into.

    Raises:
        UserError: As `api.encode.encode_dataset`, `infogan.data.streamed` and `api.append.read_codes`.
    """
    with ExitStack() as stack:
        with distributed.all_or_none():
            model = InfoGAN.load(run).to(device)
            source = resolve_source(source)
            earlier = read_codes(out) if append else None
            if out.is_file() and os.path.exists(source) and os.path.samefile(out, source):
                raise UserError(f"--out {out} is the file of the images: name another file for the codes")
            size, channels, known = model.config.size, model.config.channels, model.config.reading
            reading: dict[str, Any] = {"split": split, "shape": known.shape, "follow_links": follow_links}
            reading["value_range"] = value_range or known.value_range
            images = stack.enter_context(streamed(source, size=size, channels=channels, progress=progress, **reading))
            by_features = _open_features(model, images, source, features, device, stack, reading)
            if earlier is not None:
                images, by_features = _select_new(earlier, images, by_features)
                probabilities = probabilities or earlier.has_probabilities
                if not images.count:
                    return []
            corrections, sort = corrections_of_run(model, source, split), None
            if sort_into is not None and distributed.is_rank0():
                sort = Sorter(model, sort_into, images.root, link=link, labels=corrections.values())
        skipped = encode_dataset(
            model,
            images,
            out,
            features=by_features,
            sort=sort,
            corrections=corrections,
            all_probabilities=probabilities,
            earlier=earlier,
            strict=strict,
            progress=progress,
        )
        if earlier is not None and distributed.is_rank0():
            _log_unlike(model, images, by_features)
    if corrections:
        log(f"{len(corrections)} corrections of {model.run_path} are applied")
    if skipped:
        log(f"{len(skipped)} files are left out: {describe_skipped(skipped)}")
        for line in skipped[:MAX_NAMES]:
            log(f"skipped {line}")
    return [] if sort is None else sort.folders


def _open_features(
    model: InfoGAN,
    images: Stream,
    source: str,
    features: str | None,
    device: str,
    stack: ExitStack,
    reading: dict[str, Any],
) -> FiledByFeatures | None:
    """Open what files the images instead of the model, and log which of them does."""
    filing = open_filing(model, features, device)
    if filing is not None or (model.run_path is not None and (model.run_path / TEACHER).is_file()):
        name = "the model's own encoder" if filing is None else filing.extractor.name
        log(f"categories by {name}" + (", refined by corrections" if filing is not None and filing.is_refined else ""))
    if filing is None:
        return None
    if filing.is_own:
        return FiledByFeatures(filing.extractor, filing.head, images, is_own=True)
    form: dict[str, Any] = {"channels": 3, "for_encoder": True, "bands": model.config.reading.bands}
    stream = stack.enter_context(streamed(source, size=filing.extractor.size, **form, **reading))
    return FiledByFeatures(filing.extractor, filing.head, stream)


def _select_new(
    earlier: EarlierCodes, images: Stream, by_features: FiledByFeatures | None
) -> tuple[Stream, FiledByFeatures | None]:
    """Return the images that are not in a file of codes, and log how many are."""
    rows = earlier.new_rows(images)
    if len(rows) < images.count:
        log(f"{images.count - len(rows)} of {images.count} images are in {earlier.path} already, by their names")
    if by_features is not None:
        by_features = replace(by_features, stream=by_features.stream.select(rows))
    return images.select(rows), by_features


def _log_unlike(model: InfoGAN, images: Stream, by_features: FiledByFeatures | None) -> None:
    """Log how many of the images that were added fit no group, and their names."""
    try:
        unlike = images_of_no_group(model, images, by_features)
    except UserError as error:
        log(f"whether they fit a group is not known: {error}")
        return
    names = ", ".join(unlike[:MAX_NAMES]) + (", ..." if len(unlike) > MAX_NAMES else "")
    log(f"{len(unlike)} of {images.count} new images fit no group" + (f": {names}" if names else ""))
