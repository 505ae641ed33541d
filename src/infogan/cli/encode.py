"""The command ``encode``."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from infogan.cli.options import Device, Model, Source
from infogan.cli.workers import join_workers

commands = typer.Typer()


@commands.command()
def encode(
    run: Model,
    data: Source,
    split: Annotated[
        str | None, typer.Option(help="Split: train or test. Default: train, which is everything without splits.")
    ] = None,
    out: Annotated[Path, typer.Option(help="CSV or .parquet file.")] = Path("codes.csv"),
    sort_into: Annotated[
        Path | None, typer.Option(help="Folder to sort the images into as well, with a folder per category.")
    ] = None,
    link: Annotated[bool, typer.Option(help="Links to the sorted images instead of copies.")] = False,
    device: Device = "cpu",
) -> None:
    """Predict the codes of images, and sort the images by category. Resumes where it was stopped."""
    from infogan.api.encode import Sorter, encode_dataset
    from infogan.cli.terminal import log, show_progress
    from infogan.data import streamed
    from infogan.models.infogan import InfoGAN
    from infogan.utils import distributed

    with join_workers(device) as own_device, show_progress() as progress, ExitStack() as stack:
        with distributed.all_or_none():
            model = InfoGAN.load(run).to(own_device)
            size, channels = model.config.size, model.config.channels
            images = stack.enter_context(streamed(data, size=size, channels=channels, split=split, progress=progress))
            sort = Sorter(model, sort_into, images.root, link=link) if sort_into and distributed.is_rank0() else None
        for skipped in encode_dataset(model, images, out, sort=sort, progress=progress):
            log(f"skipped {skipped}")
    typer.echo("\n".join(map(str, [out, *(sort.folders if sort else ())])))
