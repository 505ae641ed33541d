"""The command ``train``."""

import json
import shlex
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from infogan.cli.options import (
    BANDS_HELP,
    CHANNELS_HELP,
    FEATURES_HELP,
    FEATURES_SIZE_HELP,
    KNOB_HELP,
    LINKS_HELP,
    RANGE_HELP,
    REQUIRE_TRUST_HELP,
    SHAPE_HELP,
    SIZE_HELP,
    SOURCE_HELP,
    STRICT_HELP,
    THREADS_HELP,
    RenamedOptions,
    exit_unless_trusted,
    parse_bands,
    parse_features,
    parse_range,
)
from infogan.cli.workers import join_workers
from infogan.utils.errors import UserError

commands = typer.Typer()

in_recipe, in_data, in_codes, in_length, in_output, in_hardware = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Recipe", "Data", "Codes", "Length", "Output", "Hardware")
)

OPTIONS = {  # by section of the configuration: the options that a parameter of `train_command` sets
    "data": ["source", "labels", "size", "channels", "bands", "shape", "value_range", "follow_links", "strict"],
    "objective": ["kind"],
    "train": ["seed", "budget", "steps", "images_seen", "precision", "compile", "deterministic"],
}


@commands.command("train", cls=RenamedOptions)
def train_command(
    context: typer.Context,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=SOURCE_HELP, show_default=False)] = None,
    recipe: Annotated[
        str | None, in_recipe(help="Recipe: robust, plain, paper, post or disentangle. Default: robust.")
    ] = None,
    config: Annotated[Path | None, in_recipe(help="TOML or JSON file of options on top of the recipe.")] = None,
    assignments: Annotated[
        list[str] | None, in_recipe("--set", help="Any option: section.key=value. Repeatable.")
    ] = None,
    objective: Annotated[str | None, in_recipe(help="Objective: infogan, gan or cgan (codes = labels).")] = None,
    augment: Annotated[
        str | None,
        in_recipe(help="Augmentations that categories ignore: shift,rotate=20,... Default: by what the images are."),
    ] = None,
    features: Annotated[str | None, in_recipe(help=FEATURES_HELP)] = None,
    features_size: Annotated[int | None, in_recipe(help=FEATURES_SIZE_HELP)] = None,
    seed: Annotated[int | None, in_recipe(help="Random seed. Default: 0.")] = None,
    labels: Annotated[str | None, in_data(help="CSV file (image, label) with labels of a few images.")] = None,
    size: Annotated[int | None, in_data(help=SIZE_HELP)] = None,
    channels: Annotated[int | None, in_data(help=CHANNELS_HELP)] = None,
    bands: Annotated[str | None, in_data(help=BANDS_HELP)] = None,
    shape: Annotated[str | None, in_data(help=SHAPE_HELP)] = None,
    value_range: Annotated[str | None, in_data("--range", help=RANGE_HELP)] = None,
    follow_links: Annotated[bool | None, in_data("--follow-links", help=LINKS_HELP)] = None,
    strict: Annotated[bool | None, in_data(help=STRICT_HELP)] = None,
    categorical: Annotated[
        list[str] | None, in_codes(help="Number of categories of a code, or auto to estimate it. Repeatable.")
    ] = None,
    continuous: Annotated[int | None, in_codes(help="Number of continuous codes that training finds.")] = None,
    knobs: Annotated[list[str] | None, in_codes("--knob", help=KNOB_HELP)] = None,
    budget: Annotated[
        str | None, in_length(help="Length in time: 90s, 5m, 2h. Default: a number of steps that suits the images.")
    ] = None,
    steps: Annotated[int | None, in_length(help="Length in steps.")] = None,
    images_seen: Annotated[int | None, in_length(help="Length in images seen.", min=1)] = None,
    out: Annotated[
        Path | None, in_output(help="Run folder: a new one, or one to resume. Default: runs/NNNNN-NAME.")
    ] = None,
    track: Annotated[
        list[str] | None, in_output(help="Experiment tracker: tensorboard, wandb or mlflow. Repeatable.")
    ] = None,
    print_config: Annotated[
        bool, in_output("--print-config", "--dry-run", "-n", help="Configuration as JSON, without training.")
    ] = False,
    as_json: Annotated[bool, in_output("--json", help="Output as one JSON object.")] = False,
    require_trust: Annotated[bool, in_output("--require-trust", help=REQUIRE_TRUST_HELP)] = False,
    device: Annotated[str, in_hardware(help="Device: auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[int | None, in_hardware(help=THREADS_HELP, min=1)] = None,
    precision: Annotated[
        str | None, in_hardware(help="Precision of the networks: auto, fp32 or bf16. Default: auto.")
    ] = None,
    compile_: Annotated[
        bool | None,
        in_hardware(
            "--compile/--no-compile",
            help="Compiled networks: a minute at the start, then faster steps if large.",
        ),
    ] = None,
    deterministic: Annotated[
        bool | None, in_hardware("--deterministic", help="Bitwise equal results on a GPU, too; slower.")
    ] = None,
) -> None:
    """Train a model, or resume a run: the same command with the same --out continues it."""
    from infogan.api import resolve

    options = parse_options(context.params)
    if print_config:
        if resolve.counts_categories(options):
            raise UserError("the number of categories is found by training: give a number to print the configuration")
        if resolve.features_are_chosen(options):
            raise UserError("the features are chosen by training: name them to print the configuration")
        typer.echo(resolve.validate(options).model_dump_json(indent=2))
        return
    with join_workers(device, threads) as own_device:
        result = _train(options, out, own_device, track or [], as_json)
    if require_trust and result is not None:
        exit_unless_trusted(result)


def parse_options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the parameters of `train_command` stand for, on top of the recipe and the file.

    Raises:
        UserError: A parameter has a wrong value.
    """
    from infogan.api import resolve
    from infogan.config.load import read_options

    renamed = {"source": parameters["data"], "kind": parameters["objective"], "compile": parameters["compile_"]}
    values = {**parameters, **renamed, "value_range": parse_range(parameters["value_range"])}
    values["bands"] = parse_bands(parameters["bands"])
    if values["budget"] is not None:
        values["budget"] = parse_seconds(values["budget"])
    if sum(values[length] is not None for length in ("budget", "steps", "images_seen")) > 1:
        raise UserError("the length is given twice: pass one of --budget, --steps and --images-seen")
    flags = {
        section: resolve.without_none({name: values[name] for name in names}) for section, names in OPTIONS.items()
    }
    if values["augment"] is not None:
        flags["augment"] = resolve.parse_augmentations(values["augment"])
    flags["features"] = parse_features(values["features"], values["features_size"])
    layers = [read_options(Path(values["config"]))] if values["config"] else []
    return resolve.compose(
        values["recipe"] or "robust",
        [*layers, flags],
        values["assignments"] or (),
        categorical=_parse_categories(values["categorical"]),
        continuous=values["continuous"],
        knobs=values["knobs"] or (),
        run=Path(values["out"]) if values["out"] else None,
    )


def _parse_categories(texts: Sequence[str] | None) -> list[int | str] | None:
    """Return numbers of categories, or ``auto``."""
    from infogan.config.presets import AUTO

    for text in texts or ():
        if text != AUTO and not text.isdecimal():
            raise UserError(f"--categorical {text!r} is neither a number of categories nor auto")
    return [text if text == AUTO else int(text) for text in texts] if texts else None


def parse_seconds(text: str) -> float:
    """Return the seconds in a time such as ``90s``, ``5m`` or ``2h``; raise UserError if it has another form.

    Example:
        >>> parse_seconds("5m")
        300.0
    """
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        seconds = float(text[:-1]) * units[text[-1:]]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"--budget {text!r} is not a time such as 90s, 5m or 2h")
    return seconds


def _train(
    options: dict[str, Any], out: Path | None, device: str, track: list[str], as_json: bool
) -> dict[str, Any] | None:
    """Train and print the results; return the evaluation, on rank 0."""
    from infogan.api.progress import TrainingDisplay, log, log_plan, show_progress
    from infogan.api.resolve import counts_categories
    from infogan.api.train_run import open_run, plan, train_run
    from infogan.cli.terminal import Signals, resume_command
    from infogan.evaluation.summary import summary
    from infogan.training.callbacks import Interrupted
    from infogan.training.trackers import make_trackers
    from infogan.utils import distributed

    with distributed.all_or_none():
        trackers = make_trackers(track) if distributed.is_rank0() else []
    if counts_categories(options) and not (out and (out / "config.json").is_file()):
        log("to count the categories, features of the images are learned first")
    with show_progress() as progress:
        planned = plan(options, progress, run=out, device=device)
    steps = planned.config.train.steps
    run = open_run(out, Path(planned.config.data.source).stem)
    log_plan(planned, run)
    display, signals = TrainingDisplay(planned.timing), Signals(exit_on_second=not distributed.is_distributed())
    try:
        with signals.catch(), display:
            _, result = train_run(planned, run, device=device, callbacks=[display, signals, *trackers])
    except Interrupted as interruption:
        log(f"stopped after step {interruption.step} of {steps}; to resume: {resume_command(run.path)}")
        raise typer.Exit(128 + (signals.received or signal.SIGINT)) from None
    if not distributed.is_rank0():
        return None
    if as_json:
        typer.echo(json.dumps({"run": str(run.path), "steps": steps, **result}))
        return result
    figures = [*sorted(run.samples.glob("*.png"))[-2:], *sorted(run.traversals.glob("*.png"))]
    paths = [f"model: {run.model}", *(f"figure: {path}" for path in figures), f"report: {run.report}"]
    typer.echo("\n".join([*summary(result), *paths]))
    for line in next_steps(run.path, planned.config.data.source, result):
        log(line)
    return result


def next_steps(run: Path, source: str, result: Mapping[str, Any]) -> list[str]:
    """Return what to do after a run on these images, with this evaluation, as lines."""
    from infogan.models.results import Verdict

    lines = [f"to look at it: infogan explore {shlex.quote(str(run))} --open"]
    if "verdict" not in result:
        return lines
    verdict = Verdict.parse(result["verdict"])
    if verdict.groups != "no":
        lines.append(f"to sort images: infogan encode {shlex.quote(str(run))} IMAGES --sort-into FOLDER")
    if verdict.advice:
        command = f"infogan train {shlex.quote(source)} {verdict.advice}"
        lines.append(f"for a better model, with the other options of this run: {command}")
    return lines
