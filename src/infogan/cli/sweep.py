"""The command ``sweep``."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from infogan.cli import train
from infogan.cli.options import Json, RenamedOptions, Source
from infogan.utils.errors import UserError

commands = typer.Typer()


@commands.command(cls=RenamedOptions, context_settings={"allow_extra_args": True})
def sweep(
    context: typer.Context,
    data: Source,
    seeds: Annotated[str, typer.Option(help="Random seeds such as 0-9 or 1,4.")] = "0-4",
    grid: Annotated[
        list[str] | None,
        typer.Option(help="KEY=A,B: values of an option (as for --set) or of a flag of train. Repeatable."),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Number of runs at a time.", min=1)] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Folder: a new one, or one to resume. Default: runs/NNNNN-NAME-sweep.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Second try for runs that failed.")] = False,
    as_json: Json = False,
) -> None:
    """Train a run for every seed and combination of options, rank the runs without labels, and copy the best to best/.

    Arguments of train for all runs go after --: infogan sweep mnist --seeds 0-9 -- --recipe paper
    """
    from infogan.api.progress import log
    from infogan.api.sweep import RunRecord, SweepFolder, choose, parse_seeds, ranking_table, run_all, variations
    from infogan.cli.terminal import Signals, resume_command
    from infogan.data import has_test_split, resolve_source
    from infogan.reports.compare import format_table
    from infogan.training.run_dir import RunFolder

    arguments = list(context.args)
    numbers, values = parse_seeds(seeds), parse_grid(grid or ())
    for run in variations(data, numbers[:1], values, arguments):
        check_arguments(run.arguments, data, numbers[0])
    runs = variations(data, numbers, values, arguments)
    has_test_split(resolve_source(data))  # raises UserError if there are no such images
    folder = SweepFolder(out or RunFolder.numbered(Path("runs"), f"{Path(data).stem}-sweep").path)
    folder.begin(data, arguments)
    log(f"{len(runs)} runs in {folder.path}, {jobs} at a time")

    def log_end(record: RunRecord) -> None:
        minutes = f"complete after {record.seconds / 60:.1f} minutes"
        log(f"{record.name}: {f'failed: {record.error}' if record.exit_code else minutes}")

    signals = Signals()
    with signals.catch():
        records = run_all(
            folder, runs, jobs=jobs, retry=retry, stop_requested=signals.stop_requested, on_wait=log, on_end=log_end
        )
    if signals.received is not None:
        log(f"stopped after {len(records)} of {len(runs)} runs; to resume: {resume_command(folder.path)}")
        raise typer.Exit(128 + signals.received)
    ranking = choose(folder)
    if as_json:
        typer.echo(json.dumps({"sweep": str(folder.path), **json.loads(folder.ranking.read_text(encoding="utf-8"))}))
        return
    typer.echo(format_table(*ranking_table(ranking)))
    if failed := [record.name for record in records if record.exit_code]:
        log(f"failed: {', '.join(failed)}; see {folder.logs} for the reasons, and use --retry to try again")
    paths = [folder.ranking, *([folder.page] if len(ranking.places) > 1 else []), folder.best]
    typer.echo("\n".join(map(str, paths)))


def check_arguments(arguments: Sequence[str], data: str, seed: int) -> None:
    """Check the arguments of one run.

    Args:
        arguments: Arguments of ``infogan train``.
        data: The data of the sweep.
        seed: The seed of the run.

    Raises:
        UserError: `train` would refuse them before it reads any image, or they set what the sweep sets.
    """
    from infogan.api import resolve
    from infogan.training import trackers

    command = typer.main.get_command(train.commands)
    parameters = command.make_context("infogan train", list(arguments)).params
    for name, flag in {"out": "--out", "as_json": "--json", "print_config": "--print-config"}.items():
        if parameters[name]:
            raise UserError(f"{flag} is not for the runs of a sweep")
    trackers.check_names(parameters["track"] or ())
    config = resolve.validate(train.parse_options(parameters))
    if arguments.count("--seed") > 1 or any(word.startswith("--seed=") for word in arguments):
        raise UserError("--seed is not for the runs of a sweep: use --seeds")
    if config.train.seed != seed or config.data.source != data:
        raise UserError("all runs of a sweep have the same data, and their seeds are from --seeds")


def parse_grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return texts such as ``key=a,b`` as a mapping; commas in brackets, braces or quotes belong to a value.

    Raises:
        UserError: A text has another form, or a key is given twice.

    Example:
        >>> parse_grid(["noise.size=16,32", "augment='shift,flip',none"])
        {'noise.size': ['16', '32'], 'augment': ['shift,flip', 'none']}
    """
    from infogan.api.sweep import is_option

    grid: dict[str, list[str]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        key = key.strip().removeprefix("--")
        parts = [part.strip() for part in _split(values)]
        if not key or not all(parts):
            raise UserError(f"--grid {text!r} is not of the form key=a,b")
        if key in grid:
            raise UserError(f"--grid {text!r}: {key} is given twice")
        # The value of an option is TOML, in which quotes are needed; that of a flag is plain text.
        grid[key] = parts if is_option(key) else [part.strip("\"'") for part in parts]
    return grid


def _split(text: str) -> list[str]:
    """Split a text at its commas, except those in brackets, braces or quotes."""
    parts: list[str] = []
    for piece in text.split(","):
        if parts and not _is_closed(parts[-1]):
            parts[-1] += f",{piece}"
        else:
            parts.append(piece)
    return parts


def _is_closed(text: str) -> bool:
    unquoted = re.sub(r"([\"']).*?\1", "", text)
    return not set(unquoted) & {'"', "'"} and sum(map(unquoted.count, "[{")) == sum(map(unquoted.count, "]}"))
