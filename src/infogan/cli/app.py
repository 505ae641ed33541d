"""The command line: each command parses, calls `workflows`, and ends by naming the files it wrote.

Exit codes: 0 success, 2 a user's mistake, 130 and 143 a signal, 1 a fault of ours. Standard output is for results, and
with ``--json`` for one JSON object alone; everything else goes to standard error. Whatever is slow to import is
imported inside the commands.
"""

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from infogan.utils.errors import SilentError, UserError
from infogan.utils.memory import report_memory_shortage

if TYPE_CHECKING:
    from infogan.models.infogan import InfoGAN

app = typer.Typer(
    help="Learn, from images nobody has labelled, which categories and which knobs are in them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Data sets: list, fetch, prepare.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Run = Annotated[Path, typer.Argument(help="A run folder or a model folder.", show_default=False)]
Model = Annotated[str, typer.Argument(help="A run folder, a model folder or hf://user/name.", show_default=False)]
Source = Annotated[
    str, typer.Argument(help="A named data set, a folder, zip, parquet, npz, npy or IDX file, or s3://...")
]
Split = Annotated[str | None, typer.Option(help="train or test; the whole source if it has no splits.")]
FixedCodes = Annotated[list[str] | None, typer.Option("--code", help="Hold a code: category=3 or knob1=-0.5.")]
Seed = Annotated[int, typer.Option(help="Of noise and codes.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object last.")]


@app.command()
def train(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Argument(help="A named data set, a folder, zip, parquet, npz, npy or IDX file, or s3://...")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder, new or to resume. Default: runs/NNNNN-NAME.")] = None,
    preset: Annotated[
        str, typer.Option("--preset", "--recipe", help="robust, plain, paper, post or disentangle.")
    ] = "robust",
    config: Annotated[Path | None, typer.Option(help="TOML or JSON file laid on the preset.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random. Default: 0.")] = None,
    objective: Annotated[str | None, typer.Option(help="infogan, gan or cgan (codes = labels).")] = None,
    categorical: Annotated[
        list[str] | None, typer.Option(help="A code of so many categories, or auto: counts them. Repeatable.")
    ] = None,
    continuous: Annotated[int | None, typer.Option(help="How many continuous codes.")] = None,
    invariance: Annotated[
        str | None, typer.Option(help="What does not matter: shift,rotate=20,... Default: by data set.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Length by time: 90s, 5m, 2h. Default: 4m to 6m; beyond 32 pixels more.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Length by steps.")] = None,
    images: Annotated[int | None, typer.Option(help="Length by images seen.", min=1)] = None,
    labels: Annotated[str | None, typer.Option(help="CSV file (image, label) of a few labelled images.")] = None,
    size: Annotated[int | None, typer.Option(help="Bring images to this height and width, 8 to 128.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 makes images grey, 3 RGB.")] = None,
    fit: Annotated[str | None, typer.Option(help="crop or pad images that are not square.")] = None,
    strict: Annotated[bool, typer.Option(help="Refuse unreadable images instead of skipping them.")] = False,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="Any option: section.key=value.")] = None,
    device: Device = "auto",
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32 or bf16, in which networks multiply. Default: auto for robust.")
    ] = None,
    compile_: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the networks: a minute, then faster steps.")
    ] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="On a GPU, too, the same bits each time; slower.")
    ] = None,
    track: Annotated[
        list[str] | None, typer.Option(help="Tell tensorboard, wandb or mlflow of the run, too. Repeatable.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", "--dry-run", "-n", help="Print the configuration as JSON and stop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model, or resume it: the same command with the same --out goes on where it stopped."""
    from infogan.api import resolve
    from infogan.config import presets
    from infogan.config import load as options_of

    options = _options(context.params)  # all of the above but what is named below; a sweep checks its runs by them
    if print_config:
        if resolve.counts_categories(options):
            raise UserError(
                "how many categories there are is found in training: give a number to print a configuration"
            )
        typer.echo(options_of.build(options).model_dump_json(indent=2))
        return
    with _workers(device) as own:
        _train(options, out, own, track or [], as_json)


@contextmanager
def _workers(device: str) -> Iterator[str]:
    """Joins the other workers, if torchrun started any; all but the first are silent. Yields this one's device."""
    from infogan.api import evaluate_run, info as information, push as pushing, resolve, samples as sampling, train_run
    from infogan.cli import terminal
    from infogan.utils import distributed

    with distributed.process_group(resolve.pick_device(device)) as own:
        if distributed.is_rank0():
            yield own
            return
        terminal.ERR.quiet = True
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield own


def _shared_model(run: str | Path, device: str) -> "InfoGAN":
    """A run's model, for several workers to draw and read with; raises UserError as `InfoGAN.load`."""
    from infogan.models.infogan import InfoGAN
    from infogan.utils import distributed

    with distributed.all_or_none():
        model = InfoGAN.load(run).to(device)
    distributed.assert_same_on_all_ranks("model", model.digest())
    model.sharded = distributed.is_distributed()
    return model


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of options that the parameters of `train` come to, from preset, file and flags."""
    from infogan.api import resolve
    from infogan.config import presets
    from infogan.config import load as options_of

    preset, file = given["preset"], given["config"]
    layers = [options_of.read_options(Path(file))] if file else []  # a context has parameters as they were typed, or converted
    flags = _flags(given)
    if given["categorical"] or given["continuous"] is not None:
        pass
    return resolve.compose(preset, [*layers, flags], given["assignments"] or (), categorical=_sizes(given["categorical"]), continuous=given["continuous"], run=given["out"])


def _flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of `train` that were given and name one option each, as a tree of options."""
    from infogan.api import resolve
    from infogan.config import presets

    length = _length(given["budget"], given["steps"], given["images"])
    sections: dict[str, dict[str, Any]] = {
        "data": {
            "source": given["data"],
            "strict": given["strict"] or None,
            "shape": given["fit"],
            **{name: given[name] for name in ("size", "channels", "labels")},
        },
        "train": {
            "compile": given["compile_"],
            **{name: given[name] for name in ("seed", "precision", "deterministic")},
            **length,
        },
        "objective": {"kind": given["objective"]},
    }
    told = {name: {k: v for k, v in keys.items() if v is not None} for name, keys in sections.items()}
    options: dict[str, Any] = {name: keys for name, keys in told.items() if keys}
    if given["invariance"] is not None:
        options["augment"] = resolve.parse_augmentations(given["invariance"])
    return options


def _sizes(categorical: list[str] | None) -> list[int | str] | None:
    """Numbers of categories, or ``auto``, as they were written."""
    from infogan.api import resolve
    from infogan.config import presets

    if wrong := [size for size in categorical or () if size != presets.AUTO and not size.isdecimal()]:
        raise UserError(f"--categorical {wrong[0]!r} is neither a number of categories nor auto")
    return [size if size == presets.AUTO else int(size) for size in categorical] if categorical else None


def _length(budget: str | None, steps: int | None, images: int | None) -> dict[str, Any]:
    """The length that was given, as options of the training."""
    given = {"budget": None if budget is None else _seconds(budget), "steps": steps, "images_seen": images}
    if sum(value is not None for value in given.values()) > 1:
        raise UserError("the length is given twice: pass one of --budget, --steps and --images")
    return given


def _seconds(text: str) -> float:
    """``90s``, ``5m`` and ``2h`` in seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        seconds = float(text[:-1]) * units[text[-1:]]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"--budget {text!r} is not a time such as 90s, 5m or 2h")
    return seconds


def _train(options: dict[str, Any], out: Path | None, device: str, track: list[str], as_json: bool) -> None:
    """The work of `train` between the options and the exit."""
    from infogan.api import evaluate_run, info as information, push as pushing, resolve, samples as sampling, train_run
    from infogan.cli.terminal import Signals, TrainingDisplay, fetching, say
    from infogan.api import resolve
    from infogan.config import presets
    from infogan.evaluation.evaluate import summary
    from infogan.models.latents import CodeLayout
    from infogan.training import trackers
    from infogan.training.callbacks import Interrupted
    from infogan.training.run_dir import RunFolder
    from infogan.utils import distributed

    with distributed.all_or_none():
        told = trackers.make_trackers(track) if distributed.is_rank0() else []
    if resolve.counts_categories(options) and not (out and (out / "config.json").is_file()):
        say("to count the categories, features of the images are learned first")
    with fetching() as progress:
        planned = train_run.plan(options, progress, run=out, device=device)
    config, images = planned.config, planned.images
    for skipped in images.skipped[:10]:
        say(f"skipped {skipped}")
    if len(images.skipped) > 10:
        say(f"skipped {len(images.skipped)} images in all; log.txt names them")

    def folder() -> str:
        made = RunFolder.at(out) if out else RunFolder.numbered(Path("runs"), Path(config.data.source).stem)
        return str(made.path)

    run = RunFolder(Path(distributed.broadcast_from_rank0(folder)))
    kind, side = config.objective.kind, images.size
    say(f"{kind} on {images.source}: {len(images)} images of {side}x{side}, in {run.path}")
    if planned.scan:
        say(f"{planned.scan.best} categories were found; {run.path / 'categories.json'} says how clearly")
    layout = CodeLayout(config.noise, config.codes)
    entropies = {name: layout.entropy(name) for name in layout.codes}
    if isinstance(config.train.budget, float):
        say(f"{config.train.steps} steps, which take about {config.train.budget / 60:.1f} minutes here")
    if planned.warning:
        say(planned.warning)
    display, signals = TrainingDisplay(config, entropies), Signals(insisted=not distributed.is_distributed())
    try:
        with signals.caught(), display:
            _, result = train_run.train_run(planned, run, device=device, callbacks=[display, signals, *told])
    except Interrupted as stop:
        say(f"stopped after step {stop.step} of {config.train.steps}; to go on: {_resume_command(run.path)}")
        raise typer.Exit(128 + (signals.received or signal.SIGINT)) from None
    if not distributed.is_rank0():
        return
    pictures = sorted([*run.samples.glob("*.png")])[-2:] + sorted(run.traversals.glob("*.png"))
    if as_json:
        typer.echo(json.dumps({"run": str(run.path), "steps": config.train.steps, **result}))
        return
    made = [f"model: {run.model}", *(f"picture: {path}" for path in pictures), f"report: {run.report}"]
    typer.echo("\n".join([*summary(result), *made]))


def _resume_command(run: Path) -> str:
    """The command that was given, with the run folder in it."""
    words = ["infogan", *sys.argv[1:]]
    named = any(word == "--out" or word.startswith("--out=") for word in words)
    return shlex.join(words if named else [*words, "--out", str(run)])


@app.command()
def sample(
    run: Model,
    count: Annotated[int, typer.Option(help="How many images.")] = 64,
    seed: Seed = 0,
    seeds: Annotated[str | None, typer.Option(help="Such as 0,3,5-9: instead, the first image of each seed.")] = None,
    code: FixedCodes = None,
    out: Annotated[Path, typer.Option(help=".npz, a grid such as .png, or a folder.")] = Path("samples.png"),
    device: Device = "cpu",
) -> None:
    """Draw images, at random or with some codes held."""
    from infogan.api import evaluate_run, info as information, push as pushing, resolve, samples as sampling, train_run
    from infogan.api.sweep import seeds_of
    from infogan.utils import distributed

    wanted = seeds_of(seeds) if seeds is not None else None
    with _workers(device) as own:
        model = _shared_model(run, own)
        with distributed.errors_from_rank0():
            if wanted is None:
                samples = model.sample(count, codes=_codes(code), seed=seed)
            else:
                samples = sampling.first_of_each(model, wanted, _codes(code))
        if not distributed.is_rank0():
            return
    written = sampling.save_samples(samples, out, None if wanted is None else [f"seed{seed}" for seed in wanted])
    typer.echo(str(out) if len(written) == 1 else f"{len(written)} images in {out}")


@app.command()
def traverse(
    run: Model,
    codes: Annotated[list[str] | None, typer.Option("--vary", help="Which code; repeatable. Default: all.")] = None,
    code: FixedCodes = None,
    rows: Annotated[int, typer.Option(help="Rows of a sheet, each with its own noise.", min=1, max=100)] = 10,
    seed: Seed = 0,
    gif: Annotated[bool, typer.Option(help="An animation as well as the sheet.")] = False,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("traversals"),
) -> None:
    """Show what each code does: a sheet per code, its values along the columns, all else held along a row."""
    from infogan.models.infogan import InfoGAN
    from infogan.reports import sheets
    from infogan.reports.figures import save_picture
    from infogan.utils.files import write_bytes

    model = InfoGAN.load(run)
    held = _codes(code)
    for name in codes or list(model.layout.codes):
        path = out / f"{name}.png"
        save_picture(model.sheet(name, rows=rows, seed=seed, codes=held), path)
        typer.echo(str(path))
        if gif:
            write_bytes(path.with_suffix(".gif"), sheets.traversal_gif(model, name, seed=seed, codes=held))
            typer.echo(str(path.with_suffix(".gif")))


@app.command()
def encode(
    run: Model,
    data: Source,
    split: Split = None,
    out: Annotated[Path, typer.Option(help="The CSV to write, or .parquet.")] = Path("codes.csv"),
    sort_into: Annotated[Path | None, typer.Option(help="File the images here too, a folder a category.")] = None,
    link: Annotated[bool, typer.Option(help="Link instead of copying the sorted images.")] = False,
    device: Device = "cpu",
) -> None:
    """Read the codes of real images: a CSV, and on request folders by category. Goes on where it was stopped."""
    from infogan.api.encode import Sorter, encode_dataset
    from infogan.cli.terminal import fetching, say
    from infogan.data import streamed
    from infogan.models.infogan import InfoGAN
    from infogan.utils import distributed

    with _workers(device) as own, fetching() as progress, ExitStack() as source:
        with distributed.all_or_none():
            model = InfoGAN.load(run).to(own)
            read = streamed(
                data, size=model.config.size, channels=model.config.channels, split=split, progress=progress
            )
            images = source.enter_context(read)
            sort = Sorter(model, sort_into, images.root, link=link) if sort_into and distributed.is_rank0() else None
        for skipped in encode_dataset(model, images, out, sort=sort, progress=progress):
            say(f"skipped {skipped}")
    typer.echo(str(out))
    for folder in sort.folders if sort else ():
        typer.echo(str(folder))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    metrics: Annotated[
        str | None,
        typer.Option(
            help="all, or of clusters,information,frechet,kernel,inception,neighbours,disentanglement,trust. "
            "Default: all but inception (the FID), which takes long."
        ),
    ] = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure a run on the test split of its data; labels, where there are any, serve for this alone."""
    from infogan.api import evaluate_run, info as information, push as pushing, resolve, samples as sampling, train_run
    from infogan.evaluation.evaluate import summary
    from infogan.training.run_dir import RunFolder
    from infogan.utils import distributed

    names = [name.strip() for name in metrics.split(",")] if metrics else None
    with _workers(device) as own:
        with distributed.all_or_none():
            folder = RunFolder.existing(run)
            config = folder.read_config()
        model = _shared_model(run, own)
        with distributed.all_or_none():
            images = evaluate_run.load_images(model, config.data)
        distributed.assert_same_on_all_ranks("set of images", images.digest() if distributed.is_distributed() else "")
        with distributed.errors_from_rank0():
            result = evaluate_run.evaluate_run(model, config, images, names)
        if not distributed.is_rank0():
            return
    folder.add_metrics({"step": config.train.steps, **result})
    as_text = "\n".join([*summary(result), str(folder.metrics)])
    typer.echo(json.dumps({"run": str(run), **result}) if as_json else as_text)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: report.html in the run.")] = None,
) -> None:
    """Tell of a run on one HTML page that needs nothing else; training writes it, and this again."""
    from infogan.api import evaluate_run, info as information, push as pushing, resolve, samples as sampling, train_run
    from infogan.models.infogan import InfoGAN
    from infogan.training.run_dir import RunFolder

    folder = RunFolder.existing(run)
    config, model = folder.read_config(), InfoGAN.load(run)
    images = evaluate_run.load_images(model, config.data)
    known = folder.read_metrics()
    result = known[-1] if known else evaluate_run.evaluate_run(model, config, images)
    typer.echo(str(evaluate_run.write_report(folder, model, config, images, result, out)))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two run folders or more.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("comparison.html"),
) -> None:
    """Put runs side by side: a table of what was measured, and a page with the same codes drawn by each."""
    from infogan.reports import compare
    from infogan.utils.files import write_bytes

    compared = compare.read_runs(runs)
    head, lines, _ = compare.table(compared)
    write_bytes(out, compare.comparison(compared).encode())
    typer.echo(f"{compare.as_text(head, lines)}\n{out}")


@app.command(context_settings={"allow_extra_args": True})
def sweep(
    context: typer.Context,
    data: Source,
    seeds: Annotated[str, typer.Option(help="Such as 0-9 or 1,4.")] = "0-4",
    vary: Annotated[
        list[str] | None,
        typer.Option(help="KEY=A,B: every seed with each value of an option of train or of its --set. Repeatable."),
    ] = None,
    jobs: Annotated[int, typer.Option(help="How many runs at a time.", min=1)] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Folder, new or to go on in. Default: runs/NNNNN-NAME-sweep.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try again the runs that failed.")] = False,
    as_json: Json = False,
) -> None:
    """Train many runs, rank them without labels, and keep the best as best/.

    After -- come arguments of train for all of them: infogan sweep mnist --seeds 0-9 -- --recipe paper
    """
    from infogan.api import sweep as sweeping
    from infogan.cli.terminal import Signals, say
    from infogan.data import has_test_split
    from infogan.reports import compare
    from infogan.training.run_dir import RunFolder

    arguments = list(context.args)
    numbers, grid = sweeping.seeds_of(seeds), _grid(vary or ())
    for variation in sweeping.variations(data, numbers[:1], grid, arguments):
        _check_arguments(variation.arguments, data, numbers[0])
    wanted = sweeping.variations(data, numbers, grid, arguments)
    has_test_split(data)  # which says so if there are no such images
    folder = sweeping.SweepFolder(out or RunFolder.numbered(Path("runs"), f"{Path(data).stem}-sweep").path)
    folder.begin(data, arguments)
    say(f"{len(wanted)} runs in {folder.path}, {jobs} at a time")
    signals = Signals()

    def tell(ended: sweeping.Ended) -> None:
        said = f"failed: {ended.error}" if ended.exit_code else f"complete after {ended.seconds / 60:.1f} minutes"
        say(f"{ended.name}: {said}")

    with signals.caught():
        records = sweeping.run_all(
            folder,
            wanted,
            jobs=jobs,
            retry=retry,
            interrupted=lambda: signals.received is not None,
            on_wait=say,
            on_end=tell,
        )
    if signals.received is not None:
        words = ["infogan", *sys.argv[1:]]
        again = words if out else [*words[:2], "--out", str(folder.path), *words[2:]]
        say(f"stopped with {len(records)} of {len(wanted)} runs; to go on: {shlex.join(again)}")
        raise typer.Exit(128 + signals.received)
    ranking = sweeping.choose(folder)
    if as_json:
        typer.echo(json.dumps({"sweep": str(folder.path), **json.loads(folder.ranking.read_text(encoding="utf-8"))}))
        return
    typer.echo(compare.as_text(*sweeping.ranking_table(ranking)))
    if failed := [record.name for record in records if record.exit_code]:
        say(f"failed: {', '.join(failed)}; {folder.logs} says why, and --retry tries again")
    written = [folder.ranking, *([folder.page] if len(ranking.places) > 1 else []), folder.best]
    typer.echo("\n".join(map(str, written)))


def _check_arguments(arguments: Sequence[str], data: str, seed: int) -> None:
    """Refuses what `train` would refuse before it looks at any image, and what a sweep says itself."""
    from infogan.api import resolve
    from infogan.config import presets
    from infogan.config import load as options_of
    from infogan.training import trackers

    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    given = command.make_context("infogan train", list(arguments)).params
    own = {"out": "--out", "as_json": "--json", "print_config": "--print-config"}
    if taken := [flag for name, flag in own.items() if given[name]]:
        raise UserError(f"{taken[0]} is not for the runs of a sweep")
    trackers.check_names(given["track"] or ())
    options = _options(given)
    config = options_of.build(resolve.with_categories(options, 2) if resolve.counts_categories(options) else options)
    if arguments.count("--seed") > 1 or any(word.startswith("--seed=") for word in arguments):
        raise UserError("--seed is not for the runs of a sweep: --seeds says which they have")
    if config.train.seed != seed or config.data.source != data:
        raise UserError("runs of a sweep have their seeds from --seeds, and all of them the same data")


def _grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """``key=a,b`` and the like as a mapping; commas within brackets, braces or quotes belong to a value."""
    from infogan.api.sweep import is_option

    grid: dict[str, list[str]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        key = key.strip().removeprefix("--")
        parts = [part.strip() for part in _parted(values)]
        if not key or not all(parts):
            raise UserError(f"--vary {text!r} is not of the form key=a,b")
        if key in grid:
            raise UserError(f"--vary {text!r}: {key} is named twice")
        # A flag's value is text as it stands; that of an option is read as TOML, which has quotes of its own.
        grid[key] = parts if is_option(key) else [part.strip("\"'") for part in parts]
    return grid


def _parted(text: str) -> list[str]:
    """A text between its commas, but for those within brackets, braces or quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        if letter == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


@app.command()
def name(
    run: Run,
    names: Annotated[list[str] | None, typer.Argument(help="VALUE=NAME, e.g. 3=seven.", show_default=False)] = None,
    labels_of: Annotated[str | None, typer.Option(help="Match the values with this source's labels instead.")] = None,
    code: Annotated[str | None, typer.Option(help="Which code. Default: the first categorical one.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="CODE=NAME, e.g. knob1=slant. Repeatable.")] = None,
) -> None:
    """Give codes and their categories names, which then serve in sample, traverse, encode and report."""
    from infogan.api import evaluate_run, info as information, push as pushing, resolve, samples as sampling, train_run
    from infogan.config.schema import DataSettings
    from infogan.models.infogan import InfoGAN
    from infogan.models.serialization import model_folder

    model = InfoGAN.load(run)
    since = model.config
    for text in rename or ():
        old, _, new = text.partition("=")
        model.rename_code(old, new)
        typer.echo(f"{old}: {new}")
    if names or labels_of is not None or not rename:
        spec = code or model.first_categorical().name
        if labels_of is not None:
            images = evaluate_run.load_images(model, DataSettings(source=labels_of))
            if images.labels is None:
                raise UserError(f"{images.source} has no labels to name categories after")
            model.name_codes_by_labels(images.images, images.labels, images.label_names, spec)
        model.name_codes({spec: {_category(text): text.partition("=")[2] for text in names or ()}})
        for value in model.values_of(spec):
            typer.echo(f"{spec} {value}: {model.value_name(spec, int(value))}")
    model.save_names(model_folder(run), since)


@app.command()
def explore(
    run: Run,
    port: Annotated[int, typer.Option(help="On this machine; 0 = any that is free.", min=0, max=65535)] = 0,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    images: Annotated[int, typer.Option(help="How many real images to file at most.", min=1)] = 100_000,
) -> None:
    """Steer a model and sort, name and correct real images, on a page in the browser; Ctrl-C ends it."""
    try:
        from infogan.explorer import server
    except ModuleNotFoundError as error:
        raise UserError(f"the explorer needs {error.name}: pip install 'infogan[explorer]'") from None
    from infogan.cli.terminal import say

    explorer = server.explorer_of(run, images, say)
    addresses = 0

    def announce(address: str) -> None:
        nonlocal addresses
        addresses += 1
        if addresses == 1:
            print(address, flush=True)
        else:
            say(f"opened; for another browser: {address}")

    server.serve(explorer, port, open_browser=open_, announce=announce)


@app.command()
def export(
    run: Run,
    format_: Annotated[str, typer.Option("--format", help="onnx, pt2 (torch.export), keras or site (a page).")],
    out: Annotated[Path, typer.Option(help="The folder to write, new or of an earlier export.")],
    runtime: Annotated[
        Path | None, typer.Option(help="For a site: onnxruntime-web as a folder or .tgz. Default: through npm.")
    ] = None,
) -> None:
    """Export a model: for ONNX runtimes, for PyTorch without this package, or as a page that runs it in the browser."""
    from infogan.cli.terminal import say
    from infogan.models import export as exporting
    from infogan.models.infogan import InfoGAN

    written = exporting.export(InfoGAN.load(run), format_, out, runtime=runtime)
    if format_ == "site":
        say(f"open {out / 'index.html'}, or put the folder where files are served from")
    typer.echo("\n".join(str(out / path.name) for path in written))


@app.command()
def push(
    run: Run,
    name: Annotated[
        str, typer.Argument(help="user/name on the Hugging Face Hub, or hf://user/name@branch.", show_default=False)
    ],
    private: Annotated[bool, typer.Option("--private", help="For nobody else to see.")] = False,
    license_: Annotated[str | None, typer.Option("--license", help="For the card: mit, apache-2.0, ...")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the folder to --out, and ask nobody.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --dry-run: the folder to write.")] = None,
) -> None:
    """Share a model: one commit of model, card and pictures. A model folder with a README.md goes as it is."""
    from infogan.api import evaluate_run, info as information, push as pushing, resolve, samples as sampling, train_run
    from infogan.models import hub
    from infogan.models.serialization import write_model_files

    if dry_run != (out is not None):
        raise UserError("--dry-run and --out FOLDER go together: without them the model is pushed")
    there = hub.HubName.parse(name)
    files = pushing.files_to_push(run, there.repo_id, license_)
    if out is not None:
        typer.echo("\n".join(map(str, write_model_files(out, files))))
        return
    typer.echo(hub.upload(there.repo_id, files, private=private or None, branch=there.revision))


@app.command()
def info(run: Model, as_json: Json = False) -> None:
    """Tell what a run or model is: images, codes, players, and how far it got."""
    from infogan.api import evaluate_run, info as information, push as pushing, resolve, samples as sampling, train_run

    facts = information.info(run)
    typer.echo(json.dumps(facts) if as_json else "\n".join(information.info_lines(facts)))


@data_app.command("list")
def list_data() -> None:
    """Name the data sets and say where each would come from."""
    from infogan.data import DATASETS, dataset_note, dataset_status

    for key, dataset in DATASETS.items():
        note = dataset_note(key)
        typer.echo(f"{key:15}{dataset_status(key):15}{dataset.description}{f'; {note}' if note else ''}")


@data_app.command("fetch")
def fetch_data(names: Annotated[list[str], typer.Argument(help="Named data sets.")]) -> None:
    """Fetch data sets into the cache, or draw them there."""
    from infogan.cli.terminal import fetching
    from infogan.data import cache_folder, fetch

    for key in names:
        with fetching() as progress:
            fetch(key, progress)
        typer.echo(str(cache_folder(key)))


@data_app.command("prepare")
def prepare_data(
    source: Source,
    destination: Annotated[Path, typer.Argument(help="The .npz file to write, or a folder for shards.")],
    size: Annotated[int | None, typer.Option(help="Height and width, 8 to 128. Default: the images' own.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 RGB. Default: the images' own.")] = None,
    fit: Annotated[str, typer.Option(help="crop or pad images that are not square.")] = "crop",
    strict: Annotated[bool, typer.Option(help="Refuse unreadable images instead of skipping them.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that make shards.", min=1)] = 1,
) -> None:
    """Bring any source to one shape, once: a .npz that loads fast, or shards that may be larger than memory."""
    from infogan.cli.terminal import fetching, say
    from infogan.data import prepare, prepare_shards

    if not destination.suffix:
        with fetching() as progress:
            made = prepare_shards(
                source,
                destination,
                size=size,
                channels=channels,
                shape=fit,
                strict=strict,
                workers=workers,
                progress=progress,
            )
        for split, known in made.items():
            for skipped in known.skipped:
                say(f"skipped {skipped}")
            say(f"{split}: {known.images} images")
        typer.echo(str(destination))
        return
    with fetching() as progress:
        written = prepare(
            source, destination, size=size, channels=channels, shape=fit, strict=strict, progress=progress
        )
    for split, images in written.items():
        for skipped in images.skipped:
            say(f"skipped {skipped}")
        say(f"{split}: {len(images)} images, {images.channels} x {images.size} x {images.size}")
    typer.echo(str(destination))


def _codes(assignments: list[str] | None) -> dict[str, str]:
    """``category=3`` and the like as a mapping."""
    fixed = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UserError(f"--code {assignment!r} is not of the form name=value")
        fixed[name.strip()] = value.strip()
    return fixed


def _category(text: str) -> int:
    number, equals, called = text.partition("=")
    if not number.strip().isdigit() or not equals or not called:
        raise UserError(f"{text!r} is not of the form VALUE=NAME with a number for the value, e.g. 3=seven")
    return int(number)


def main() -> NoReturn:
    """Runs a command and exits with its code."""

    def terminate(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)  # an exception, so that temporary files are removed on the way out

    signal.signal(signal.SIGTERM, terminate)
    try:
        with report_memory_shortage():
            app()
    except UserError as error:
        if not isinstance(error, SilentError):
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(0)
