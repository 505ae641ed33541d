"""Commands that turn codes into images and back: ``sample``, ``traverse`` and ``encode``."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

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
MAX_SKIPPED_LINES = 20  # names of images that were left out that `encode` lists


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
    out: Annotated[Path, typer.Option(help="CSV or .parquet file, or - for standard output.")] = Path("codes.csv"),
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
    from infogan.api.encode import FiledByFeatures, corrections_of_run, encode_dataset, filing_features
    from infogan.api.progress import log, show_progress
    from infogan.api.sort import Sorter
    from infogan.cli.output import log_replaced, print_results
    from infogan.data import describe_skipped, resolve_source, streamed
    from infogan.models.infogan import InfoGAN
    from infogan.training.teacher import TEACHER
    from infogan.utils import distributed

    with join_workers(device, threads) as own_device, show_progress() as progress, ExitStack() as stack:
        with distributed.all_or_none():
            model = InfoGAN.load(run).to(own_device)
            size, channels = model.config.size, model.config.channels
            known, values = model.config.reading, parse_range(value_range)
            reading: dict[str, Any] = {"shape": known.shape, "value_range": values or known.value_range}
            reading["follow_links"] = follow_links
            source = resolve_source(data)
            if out.is_file() and os.path.exists(source) and os.path.samefile(out, source):
                raise UserError(f"--out {out} is the file of the images: name another file for the codes")
            images = stack.enter_context(
                streamed(source, size=size, channels=channels, split=split, progress=progress, **reading)
            )
            filed = filing_features(model, features, own_device)
            by_features = None
            if filed is not None:
                extractor, head = filed
                form: dict[str, Any] = {"channels": 3, "for_encoder": True, "bands": known.bands}
                large = streamed(source, size=extractor.size, split=split, **form, **reading)
                by_features = FiledByFeatures(extractor, head, stack.enter_context(large))
            if model.run_path is not None and (model.run_path / TEACHER).is_file():
                log(f"categories by {extractor.name}" if filed else "categories by the model's own encoder")
            corrections, sort = corrections_of_run(model, source, split), None
            if sort_into and distributed.is_rank0():
                sort = Sorter(model, sort_into, images.root, link=link, labels=corrections.values())
        with log_replaced([out]):
            skipped = encode_dataset(
                model,
                images,
                out,
                features=by_features,
                sort=sort,
                corrections=corrections,
                all_probabilities=probabilities,
                strict=strict,
                progress=progress,
            )
        if corrections:
            log(f"{len(corrections)} corrections of {model.run_path} are applied")
    if skipped:
        log(f"{len(skipped)} files are left out: {describe_skipped(skipped)}")
        for line in skipped[:MAX_SKIPPED_LINES]:
            log(f"skipped {line}")
    print_results(out, *(sort.folders if sort else ()), out=out)
