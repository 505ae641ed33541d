"""Commands that turn codes into images and back: ``sample``, ``traverse`` and ``encode``."""

from pathlib import Path
from typing import Annotated

import typer

from infogan.cli.options import (
    STRICT_HELP,
    Device,
    FixedCodes,
    FollowLinks,
    Model,
    Range,
    Seed,
    Source,
    Split,
    Threads,
    parse_codes,
    parse_range,
)
from infogan.cli.workers import join_workers, load_sharded
from infogan.utils.errors import UserError

commands = typer.Typer()

FILING_HELP = (
    "Pretrained encoder that finds the category, for a run that was trained with it; none: the model alone. Default: "
    "the run's, if it is on this machine."
)


@commands.command()
def sample(
    run: Model,
    count: Annotated[int, typer.Option(help="Number of images.")] = 64,
    seed: Seed = 0,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds such as 0,3,5-9: the first image of each, instead of --count images.")
    ] = None,
    code: FixedCodes = None,
    out: Annotated[
        Path, typer.Option(help="A .npz file, a grid such as .png, a folder, or - for standard output.")
    ] = Path("samples.png"),
    device: Device = "cpu",
) -> None:
    """Generate images with random codes, or with some codes fixed."""
    from infogan.api.samples import first_of_each, sample_paths, save_samples
    from infogan.api.sweep import parse_seeds
    from infogan.cli.output import log_replaced, print_results
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
    names = None if numbers is None else [f"seed{number}" for number in numbers]
    with log_replaced(sample_paths(samples.images.shape[:2], out, names)):
        paths = save_samples(samples, out, names, model.config.reading.bands)
    print_results(out if len(paths) == 1 else f"{len(paths)} images in {out}", out=out)


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
    from infogan.api.sort import mark_output_folder
    from infogan.cli.output import log_replaced, print_results
    from infogan.models.infogan import InfoGAN
    from infogan.reports.figures import save_image, traversal_gif
    from infogan.utils.files import write_bytes
    from infogan.utils.in_place import is_written_in_place
    from infogan.utils.names import figure_names

    if is_written_in_place(out):
        raise UserError(f"--out {out} is no folder: traverse writes a file per code, so name a folder")
    model = InfoGAN.load(run)
    fixed, file_names = parse_codes(code), figure_names(model.layout.codes)
    figures = {name: out / file_names[model.layout.code(name).name] for name in codes or model.layout.codes}
    paths = [*figures.values(), *(path.with_suffix(".gif") for path in figures.values() if gif)]
    with log_replaced(paths):
        mark_output_folder(out)
        for name, path in figures.items():
            save_image(model.sheet(name, rows=rows, seed=seed, codes=fixed), path)
            print_results(path)
            if gif:
                write_bytes(path.with_suffix(".gif"), traversal_gif(model, name, seed=seed, codes=fixed))
                print_results(path.with_suffix(".gif"))


@commands.command()
def encode(
    run: Model,
    data: Source,
    split: Split = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV or .parquet file, or - for standard output. Default: codes.csv.")
    ] = None,
    append: Annotated[
        Path | None, typer.Option(help="CSV file of earlier codes, to which those of the images it lacks are added.")
    ] = None,
    sort_into: Annotated[
        Path | None, typer.Option(help="Folder for sorted copies of the images, with a subfolder per category.")
    ] = None,
    link: Annotated[bool, typer.Option(help="With --sort-into: links to the images instead of copies.")] = False,
    features: Annotated[str | None, typer.Option(help=FILING_HELP)] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="The probability of every category, too.")
    ] = False,
    value_range: Range = None,
    follow_links: FollowLinks = False,
    strict: Annotated[bool, typer.Option(help=STRICT_HELP)] = False,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Predict the codes of images, and sort the images by category. The same command resumes it."""
    from infogan.api.encode_source import encode_source
    from infogan.api.progress import show_progress
    from infogan.cli.output import log_replaced, print_results

    if append is not None and out is not None:
        raise UserError("give --append to add to a file or --out to write one, not both")
    file = append or out or Path("codes.csv")
    with (
        join_workers(device, threads) as own_device,
        show_progress() as progress,
        log_replaced([] if append else [file]),
    ):
        folders = encode_source(
            run,
            data,
            file,
            split=split,
            append=append is not None,
            sort_into=sort_into,
            link=link,
            features=features,
            probabilities=probabilities,
            value_range=parse_range(value_range),
            follow_links=follow_links,
            strict=strict,
            device=own_device,
            progress=progress,
        )
    print_results(file, *folders, out=file)
