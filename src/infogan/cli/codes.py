"""Commands that turn codes into images and back: ``sample``, ``traverse`` and ``encode``."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from infogan.cli.options import Device, FixedCodes, Model, Seed, Source, parse_codes
from infogan.cli.workers import join_workers, load_sharded

commands = typer.Typer()


@commands.command()
def sample(
    run: Model,
    count: Annotated[int, typer.Option(help="Number of images.")] = 64,
    seed: Seed = 0,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds such as 0,3,5-9: the first image of each, instead of --count images.")
    ] = None,
    code: FixedCodes = None,
    out: Annotated[Path, typer.Option(help="A .npz file, a grid such as .png, or a folder.")] = Path("samples.png"),
    device: Device = "cpu",
) -> None:
    """Generate images with random codes, or with some codes fixed."""
    from infogan.api.samples import first_of_each, save_samples
    from infogan.api.sweep import parse_seeds
    from infogan.utils import distributed

    numbers = parse_seeds(seeds) if seeds is not None else None
    with join_workers(device) as own_device:
        model = load_sharded(run, own_device)
        with distributed.errors_from_rank0():
            if numbers is None:
                samples = model.sample(count, codes=parse_codes(code), seed=seed)
            else:
                samples = first_of_each(model, numbers, parse_codes(code))
        if not distributed.is_rank0():
            return
    paths = save_samples(samples, out, None if numbers is None else [f"seed{number}" for number in numbers])
    typer.echo(str(out) if len(paths) == 1 else f"{len(paths)} images in {out}")


@commands.command()
def traverse(
    run: Model,
    codes: Annotated[list[str] | None, typer.Option("--vary", help="Code to vary. Repeatable. Default: all.")] = None,
    code: FixedCodes = None,
    rows: Annotated[int, typer.Option(help="Number of rows, each with other noise.", min=1, max=100)] = 10,
    seed: Seed = 0,
    gif: Annotated[bool, typer.Option(help="Animation in addition to the figure.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("traversals"),
) -> None:
    """Draw a figure per code: its values along the columns, everything else fixed along a row."""
    from infogan.models.infogan import InfoGAN
    from infogan.reports.figures import save_image, traversal_gif
    from infogan.utils.files import write_bytes

    model = InfoGAN.load(run)
    fixed = parse_codes(code)
    for name in codes or list(model.layout.codes):
        path = out / f"{name}.png"
        save_image(model.sheet(name, rows=rows, seed=seed, codes=fixed), path)
        typer.echo(str(path))
        if gif:
            write_bytes(path.with_suffix(".gif"), traversal_gif(model, name, seed=seed, codes=fixed))
            typer.echo(str(path.with_suffix(".gif")))


@commands.command()
def encode(
    run: Model,
    data: Source,
    split: Annotated[
        str | None, typer.Option(help="Split: train or test. Default: train, or all images if there are no splits.")
    ] = None,
    out: Annotated[Path, typer.Option(help="CSV or .parquet file.")] = Path("codes.csv"),
    sort_into: Annotated[
        Path | None, typer.Option(help="Folder for sorted copies of the images, with a subfolder per category.")
    ] = None,
    link: Annotated[bool, typer.Option(help="With --sort-into: links to the images instead of copies.")] = False,
    device: Device = "cpu",
) -> None:
    """Predict the codes of images, and sort the images by category. The same command resumes it."""
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
