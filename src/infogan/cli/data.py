"""Commands for data sets: ``data list``, ``data fetch`` and ``data prepare``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from infogan.cli.options import CHANNELS_HELP, SHAPE_HELP, SIZE_HELP, STRICT_HELP, RenamedOptions, Source

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
    from infogan.cli.terminal import show_progress
    from infogan.data import cache_folder, fetch

    for name in names:
        with show_progress() as progress:
            fetch(name, progress)
        typer.echo(str(cache_folder(name)))


@commands.command("prepare", cls=RenamedOptions)
def prepare_data(
    source: Source,
    destination: Annotated[Path, typer.Argument(help="A .npz file, or a folder for shards.", show_default=False)],
    size: Annotated[int | None, typer.Option(help=SIZE_HELP)] = None,
    channels: Annotated[int | None, typer.Option(help=CHANNELS_HELP)] = None,
    shape: Annotated[str, typer.Option(help=SHAPE_HELP, show_default=False)] = "crop",
    strict: Annotated[bool, typer.Option(help=STRICT_HELP)] = False,
    workers: Annotated[int, typer.Option(help="Number of processes that write shards.", min=1)] = 1,
) -> None:
    """Convert a source to images of one size: a .npz file, which loads fast, or shards, which may exceed the memory."""
    from infogan.cli.terminal import log, show_progress
    from infogan.data import prepare, prepare_shards

    with show_progress() as progress:
        options: dict[str, Any] = {"size": size, "channels": channels, "shape": shape, "strict": strict}
        results: dict[str, tuple[str, Sequence[str]]] = {}
        if destination.suffix:
            for split, images in prepare(source, destination, progress=progress, **options).items():
                form = f"{images.channels} x {images.size} x {images.size}"
                results[split] = f"{len(images)} images, {form}", images.skipped
        else:
            shards = prepare_shards(source, destination, workers=workers, progress=progress, **options)
            results = {split: (f"{written.images} images", written.skipped) for split, written in shards.items()}
    for split, (summary, skipped) in results.items():
        for line in skipped:
            log(f"skipped {line}")
        log(f"{split}: {summary}")
    typer.echo(str(destination))
