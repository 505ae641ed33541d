"""Commands for a trained model: ``name``, ``export``, ``push``, ``info`` and ``explore``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from infogan.cli.options import DataOfRun, Json, Model, RenamedOptions, Run
from infogan.utils.errors import UserError

commands = typer.Typer()


@commands.command()
def name(
    run: Run,
    names: Annotated[list[str] | None, typer.Argument(help="VALUE=NAME, e.g. 3=seven.", show_default=False)] = None,
    labels_of: Annotated[
        str | None, typer.Option(help="Data set whose labels become the names, matched one to one.")
    ] = None,
    suggest_names: Annotated[
        Path | None,
        typer.Option(help="Text file of words, one a line: each category gets the one that suits its images best."),
    ] = None,
    code: Annotated[str | None, typer.Option(help="Code to name. Default: the first categorical one.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="CODE=NAME, e.g. knob1=slant. Repeatable.")] = None,
) -> None:
    """Name codes and their categories, for use in sample, traverse, encode and report."""
    from infogan.api.evaluate_run import load_images
    from infogan.api.progress import show_progress
    from infogan.api.suggest_names import read_words
    from infogan.api.suggest_names import suggest_names as suggest
    from infogan.config.schema import DataSettings
    from infogan.models.infogan import InfoGAN
    from infogan.models.serialization import model_folder
    from infogan.training.run_dir import RunFolder

    model = InfoGAN.load(run)
    before = model.config
    for text in rename or ():
        old, _, new = text.partition("=")
        model.rename_code(old, new)
        typer.echo(f"{old}: {new}")
    if suggest_names is not None:
        if code is not None and code != model.first_categorical().name:
            raise UserError(f"names can be suggested for {model.first_categorical().name} only, not for {code}")
        with show_progress() as progress:
            words = suggest(RunFolder.existing(Path(run)), read_words(suggest_names), progress)
        model.name_codes({model.first_categorical().name: words})
    if names or labels_of is not None or not rename:
        code = code or model.first_categorical().name
        if labels_of is not None:
            images = load_images(model, DataSettings(source=labels_of))
            if images.labels is None:
                raise UserError(f"{images.source} has no labels: choose another source for --labels-of")
            model.name_codes_by_labels(images.images, images.labels, images.label_names, code)
        model.name_codes({code: dict(map(_parse_name, names or ()))})
        for value in model.values_of(code):
            typer.echo(f"{code} {value}: {model.value_name(code, int(value))}")
    model.save_names(model_folder(run), before)


def _parse_name(text: str) -> tuple[int, str]:
    value, _, value_name = text.partition("=")
    if not value.strip().isdigit() or not value_name:
        raise UserError(f"{text!r} is not of the form VALUE=NAME with a number as the value, e.g. 3=seven")
    return int(value), value_name


@commands.command(cls=RenamedOptions)
def explore(
    run: Run,
    port: Annotated[int, typer.Option(help="Port on this machine; 0 = any free port.", min=0, max=65535)] = 0,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    limit: Annotated[int, typer.Option(help="Maximum number of real images to sort.", min=1)] = 100_000,
    data: DataOfRun = None,
) -> None:
    """Vary and name the codes of a model, and sort and correct real images, in the browser. Ctrl-C ends it."""
    try:
        from infogan.explorer import server
    except ModuleNotFoundError as error:
        raise UserError(f"the explorer needs {error.name}: pip install 'infogan[explorer]'") from None
    from infogan.api.progress import log

    explorer = server.load_explorer(run, limit, log, data)
    addresses: list[str] = []

    def announce(address: str) -> None:
        if addresses:
            log(f"opened; for another browser: {address}")
        else:
            print(address, flush=True)
        addresses.append(address)

    server.serve(explorer, port, open_browser=open_, announce=announce)


@commands.command()
def export(
    run: Run,
    format_: Annotated[
        str, typer.Option("--format", help="Format: onnx, pt2 (torch.export), keras or site (a web page).")
    ],
    out: Annotated[Path, typer.Option(help="Folder: a new one, or an earlier export to replace.")],
    runtime: Annotated[
        Path | None, typer.Option(help="For a site: onnxruntime-web as a folder or .tgz. Default: downloaded with npm.")
    ] = None,
) -> None:
    """Export a model for ONNX runtimes, Keras, PyTorch without this package, or as a page that runs in the browser."""
    from infogan.api.progress import log
    from infogan.models import export as exporting
    from infogan.models.infogan import InfoGAN

    paths = exporting.export(InfoGAN.load(run), format_, out, runtime=runtime)
    if format_ == "site":
        log(f"open {out / 'index.html'}, or copy the folder to a web server")
    typer.echo("\n".join(str(out / path.name) for path in paths))


@commands.command()
def push(
    run: Run,
    name: Annotated[
        str, typer.Argument(help="user/name on the Hugging Face Hub, or hf://user/name@branch.", show_default=False)
    ],
    private: Annotated[bool, typer.Option("--private", help="Private repository.")] = False,
    license_: Annotated[
        str | None, typer.Option("--license", help="License for the model card: mit, apache-2.0, ...")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Files written to --out instead of uploaded.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --dry-run: folder for the files.")] = None,
) -> None:
    """Upload a model, its card and figures in one commit. A model folder with a README.md is uploaded as it is."""
    from infogan.api.push import files_to_push
    from infogan.models import hub
    from infogan.models.serialization import write_model_files

    if dry_run != (out is not None):
        raise UserError("--dry-run and --out FOLDER go together: pass both, or neither to upload the model")
    repository = hub.HubName.parse(name)
    files = files_to_push(run, repository.repo_id, license_)
    if out is not None:
        typer.echo("\n".join(map(str, write_model_files(out, files))))
        return
    typer.echo(hub.upload(repository.repo_id, files, private=private or None, branch=repository.revision))


@commands.command()
def info(run: Model, as_json: Json = False) -> None:
    """Print the images, codes, networks and number of steps of a run or a model."""
    from infogan.api import info as facts_of

    facts = facts_of.info(run)
    typer.echo(json.dumps(facts) if as_json else "\n".join(facts_of.info_lines(facts)))
