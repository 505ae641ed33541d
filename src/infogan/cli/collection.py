"""Commands about the images of a collection: ``duplicates``, ``outliers``, ``similar``, ``map`` and ``refine``."""

import csv
import io
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from infogan.cli.options import (
    SHAPE_HELP,
    DataOfRun,
    Device,
    FollowLinks,
    OnlyRun,
    Range,
    Source,
    Split,
    Threads,
    parse_range,
)
from infogan.cli.workers import join_workers
from infogan.utils.errors import UserError
from infogan.utils.names import KEEP_BYTES

commands = typer.Typer()

SHOWN = 3  # images that `outliers` names
COMPARED_BY_HELP = (
    "Pretrained encoder by whose features images are compared, as in embed. Default: that of the run, or lite0 without "
    "a run."
)
Out = Annotated[Path, typer.Option(help="CSV file, or - for standard output.")]
ComparedBy = Annotated[str | None, typer.Option(help=COMPARED_BY_HELP)]


@commands.command()
def duplicates(
    source: Source,
    split: Split = None,
    out: Out = Path("duplicates.csv"),
    move_to: Annotated[
        Path | None, typer.Option(help="Folder to move all copies to except the original of each group.")
    ] = None,
    shape: Annotated[str, typer.Option(help=SHAPE_HELP, show_default=False)] = "crop",
    value_range: Range = None,
    follow_links: FollowLinks = False,
    threads: Threads = None,
) -> None:
    """Find copies among images: the same, resized, compressed again, cropped a little, or mirrored."""
    from infogan.api.duplicates import find_duplicates, move_copies
    from infogan.api.progress import log, show_progress

    _check_table(out)
    with join_workers("cpu", threads), show_progress() as progress:
        reading: dict[str, Any] = {"shape": shape, "value_range": parse_range(value_range)}
        copies = find_duplicates(source, split=split, follow_links=follow_links, progress=progress, **reading)
    _write_table(out, ("group", "image", "kind", "similarity"), copies)
    groups = len({copy.group for copy in copies})
    log(f"{len(copies) - groups} copies of {groups} images" if copies else "no copies")
    if move_to is not None:
        log(f"moved {move_copies(copies, source, move_to)} copies to {move_to}")


@commands.command()
def outliers(
    source: Source,
    run: Annotated[Path | None, typer.Option(help="Run or model folder by whose features images are compared.")] = None,
    features: ComparedBy = None,
    split: Split = None,
    out: Out = Path("outliers.csv"),
    shape: Annotated[str | None, typer.Option(help=SHAPE_HELP, show_default=False)] = None,
    value_range: Range = None,
    follow_links: FollowLinks = False,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Rank images by how unlike all others they are, the most unusual one first."""
    from infogan.api.progress import log, show_progress
    from infogan.api.similar import find_outliers

    _check_table(out)
    with join_workers(device, threads) as own_device, show_progress() as progress:
        reading: dict[str, Any] = {"shape": shape, "value_range": parse_range(value_range)}
        options: dict[str, Any] = {"run": run, "features": features, "split": split, "follow_links": follow_links}
        ranked = find_outliers(source, device=own_device, progress=progress, **options, **reading)
    _write_table(out, ("image", "score"), ranked)
    most = ", ".join(f"{outlier.image} ({outlier.score:.2f})" for outlier in ranked[:SHOWN])
    log(f"most unusual of {len(ranked)} images, with 1 for a usual one: {most}")


@commands.command()
def similar(
    run: OnlyRun,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file.", show_default=False)],
    count: Annotated[int, typer.Option(help="Number of images.", min=1)] = 10,
    features: ComparedBy = None,
    data: DataOfRun = None,
    out: Out = Path("-"),
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Find the training images of a run that are most similar to an image."""
    from infogan.api.progress import show_progress
    from infogan.api.similar import find_similar

    _check_table(out)
    with join_workers(device, threads) as own_device, show_progress() as progress:
        options: dict[str, Any] = {"count": count, "data": data, "features": features}
        found = find_similar(run, image, device=own_device, progress=progress, **options)
    _write_table(out, ("image", "similarity"), found)


@commands.command("map")
def map_command(
    run: OnlyRun,
    method: Annotated[str, typer.Option(help="Method: tsne shows neighbours, pca is fast.")] = "tsne",
    data: DataOfRun = None,
    threads: Threads = None,
) -> None:
    """Draw a map of a run's training images, on which similar ones lie close together, for the explorer."""
    from infogan.api.collection_map import map_run
    from infogan.api.progress import log

    with join_workers("cpu", threads):
        points = map_run(run, method=method, data=data).points
    log(f"a map of {len(points)} images, in the tab Map of: infogan explore {shlex.quote(str(run))}")


@commands.command()
def refine(
    run: OnlyRun,
    data: DataOfRun = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back; corrections stay.")] = False,
    threads: Threads = None,
) -> None:
    """Let the corrections made in the explorer spread to similar images, wherever the run files images."""
    from infogan.api.refine import refine_run, unrefine_run

    if undo:
        typer.echo("the model files the images again" if unrefine_run(run) else "the run is not refined")
        return
    with join_workers("cpu", threads):
        refinement = refine_run(run, data=data)
    typer.echo(refinement.summary)


def _check_table(out: Path) -> None:
    """Raise UserError if a table cannot have this name, before images are compared for minutes."""
    if out.is_dir():
        raise UserError(f"{out} is a folder: name a file for the table")


def _write_table(out: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, and print its name."""
    from infogan.cli.output import log_replaced, print_results
    from infogan.utils.files import write_bytes

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"{value:.4f}" if isinstance(value, float) else value for value in row] for row in rows)
    with log_replaced([out]):
        write_bytes(out, text.getvalue().encode("utf-8", KEEP_BYTES))
    print_results(out, out=out)
