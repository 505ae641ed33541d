"""The command ``embed``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from infogan.cli.options import (
    FEATURES_HELP,
    FEATURES_SIZE_HELP,
    SHAPE_HELP,
    STRICT_HELP,
    Bands,
    Device,
    FollowLinks,
    Range,
    Source,
    Split,
    Threads,
    parse_bands,
    parse_range,
)
from infogan.cli.workers import join_workers
from infogan.utils.errors import UserError

commands = typer.Typer()


@commands.command("embed")
def embed_command(
    source: Source,
    features: Annotated[str, typer.Option(help=FEATURES_HELP)] = "lite0",
    features_size: Annotated[int | None, typer.Option(help=FEATURES_SIZE_HELP)] = None,
    split: Split = None,
    out: Annotated[Path, typer.Option(help="A .npy, .npz (with names) or .parquet file (with names).")] = Path(
        "embeddings.npy"
    ),
    shape: Annotated[str, typer.Option(help=SHAPE_HELP, show_default=False)] = "crop",
    value_range: Range = None,
    follow_links: FollowLinks = False,
    bands: Bands = None,
    strict: Annotated[bool, typer.Option(help=STRICT_HELP)] = False,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Compute a vector for each image with a pretrained encoder. The same command resumes it."""
    from infogan.api.progress import log, show_progress
    from infogan.cli.output import log_replaced, print_results
    from infogan.data import describe_skipped, resolve_source, streamed
    from infogan.features import check_destination, embed, is_vector_file, open_extractor, write_vectors
    from infogan.utils import distributed

    with join_workers(device, threads) as own_device, show_progress() as progress:
        with distributed.all_or_none():
            check_destination(out)
            if is_vector_file(features):
                raise UserError(f"--features {features} has vectors already: name a pretrained encoder to compute them")
            extractor = open_extractor(features, size=features_size, device=own_device)
            reading: dict[str, Any] = {
                "shape": shape,
                "value_range": parse_range(value_range),
                "follow_links": follow_links,
                "bands": parse_bands(bands),
            }
            images = streamed(
                resolve_source(source), size=extractor.size, channels=3, split=split, for_encoder=True, **reading
            )
        with images as stream:
            vectors = embed(stream, extractor, strict=strict, progress=progress)
            left_out = stream.count + len(stream.skipped) - len(vectors.values)
        if not distributed.is_rank0():
            return
        with log_replaced([out]):
            write_vectors(out, vectors)
    count, length = vectors.values.shape
    log(f"{count} vectors of {length} numbers from {extractor.description}")
    if left_out:
        log(f"{left_out} files are left out: {describe_skipped(vectors.skipped)}")
    print_results(out)
