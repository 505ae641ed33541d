"""The command ``categories``."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from infogan.cli.options import (
    CHANNELS_HELP,
    FEATURES_HELP,
    FEATURES_SIZE_HELP,
    SHAPE_HELP,
    SIZE_HELP,
    Device,
    FollowLinks,
    Json,
    Range,
    Source,
    Threads,
    parse_features,
    parse_range,
)
from infogan.cli.workers import join_workers

commands = typer.Typer()


@commands.command("categories")
def categories_command(
    source: Source,
    augment: Annotated[
        str | None,
        typer.Option(help="Augmentations that categories ignore, as in train. Default: by what the images are."),
    ] = None,
    features: Annotated[str | None, typer.Option(help=FEATURES_HELP)] = None,
    features_size: Annotated[int | None, typer.Option(help=FEATURES_SIZE_HELP)] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    size: Annotated[int | None, typer.Option(help=SIZE_HELP)] = None,
    channels: Annotated[int | None, typer.Option(help=CHANNELS_HELP)] = None,
    shape: Annotated[str, typer.Option(help=SHAPE_HELP, show_default=False)] = "crop",
    value_range: Range = None,
    follow_links: FollowLinks = False,
    out: Annotated[Path | None, typer.Option(help="JSON file, or - for standard output. Default: none.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Find how many categories images have, as a range, without training a generator."""
    from infogan.api.progress import log, show_progress
    from infogan.api.resolve import compose, parse_augmentations, without_none
    from infogan.api.train_run import plan
    from infogan.cli.output import log_replaced, print_results
    from infogan.utils.files import to_json, write_bytes

    data = {"source": source, "size": size, "channels": channels, "shape": shape, "follow_links": follow_links}
    layer = {
        "data": without_none({**data, "value_range": parse_range(value_range)}),
        "train": {"seed": seed},
        "features": parse_features(features, features_size),
        **({} if augment is None else {"augment": parse_augmentations(augment)}),
    }
    with join_workers(device, threads) as own_device, show_progress() as progress:
        options = compose("robust", [layer], categorical="auto")
        found = plan(options, progress, device=own_device, timed=False).categories
    assert found is not None
    if out is not None:
        with log_replaced([out]):
            write_bytes(out, to_json(found.to_dict()))
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    lines = [found.summary, "number  probability  of several kinds  alike"]
    rows = zip(found.counts, found.probabilities, found.several, found.alike, strict=True)
    for count, probability, several, alike in rows:
        if found.low - 2 <= count <= found.high + 2:
            lines.append(f"{count:6}  {probability:11.0%}  {several:16.0%}  {alike:5.0%}")
    print_results("\n".join(lines), *([] if out is None else [out]), out=out)
    log(f"to train: infogan train {shlex.quote(source)} --categorical {found.high}")
