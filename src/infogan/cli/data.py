"""Commands for data sets: ``data list``, ``data fetch`` and ``data prepare``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from infogan.cli.options import (
    CHANNELS_HELP,
    SHAPE_HELP,
    SIZE_HELP,
    STRICT_HELP,
    FollowLinks,
    Range,
    RenamedOptions,
    Source,
    parse_range,
)
from infogan.utils.errors import UserError

commands = typer.Typer(help="List, fetch and prepare data sets.", no_args_is_help=True)


@commands.command("list")
def list_data() -> None:
    """List the named data sets and where each is or would be downloaded from."""
    from infogan.data import DATASETS, dataset_note, dataset_status

    for name, dataset in DATASETS.items():
        note = dataset_note(name)
        typer.echo(f"{name:15}{dataset_status(name):15}{dataset.description}{f'; {note}' if note else ''}")


@commands.command("fetch")
def fetch_data(
    names: Annotated[list[str], typer.Argument(help="Names of data sets.", show_default=False)],
) -> None:
    """Download data sets into the cache; synthetic ones are drawn."""
    from infogan.api.progress import show_progress
    from infogan.data import cache_folder, fetch

    for name in names:
        with show_progress() as progress:
            fetch(name, progress)
        typer.echo(str(cache_folder(name)))


@commands.command("prepare", cls=RenamedOptions)
def prepare_data(
    source: Source,
    destination: Annotated[
        Path | None, typer.Argument(help="A .npz file, or a folder for shards.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The destination, as in other commands.")] = None,
    size: Annotated[int | None, typer.Option(help=SIZE_HELP)] = None,
    channels: Annotated[int | None, typer.Option(help=CHANNELS_HELP)] = None,
    shape: Annotated[str, typer.Option(help=SHAPE_HELP, show_default=False)] = "crop",
    value_range: Range = None,
    follow_links: FollowLinks = False,
    strict: Annotated[bool, typer.Option(help=STRICT_HELP)] = False,
    workers: Annotated[int, typer.Option(help="Number of processes that write shards.", min=1)] = 1,
) -> None:
    """Convert a source to images of one size: a .npz file, which loads fast, or shards, which may exceed the memory."""
    from infogan.api.progress import log, show_progress
    from infogan.data import describe_skipped, prepare, prepare_shards, resolve_source

    if (destination is None) == (out is None):
        raise UserError("give the destination once: a .npz file, or a folder for shards, e.g. --out photos.npz")
    destination = destination or out
    assert destination is not None
    source = resolve_source(source)
    with show_progress() as progress:
        options: dict[str, Any] = {"size": size, "channels": channels, "shape": shape, "strict": strict}
        options |= {"value_range": parse_range(value_range), "follow_links": follow_links}
        results: dict[str, tuple[str, Sequence[str]]] = {}
        if destination.suffix:
            for split, images in prepare(source, destination, progress=progress, **options).items():
                form = f"{images.channels} x {images.size} x {images.size}"
                results[split] = f"{len(images)} images, {form}", images.skipped
        else:
            shards = prepare_shards(source, destination, workers=workers, progress=progress, **options)
            results = {split: (f"{written.images} images", written.skipped) for split, written in shards.items()}
    for split, (summary, skipped) in results.items():
        if skipped:
            log(f"{split}: {len(skipped)} files are left out: {describe_skipped(skipped)}")
        log(f"{split}: {summary}")
    typer.echo(str(destination))
