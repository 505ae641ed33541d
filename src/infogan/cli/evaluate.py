"""Commands that measure runs: ``evaluate``, ``report`` and ``compare``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from infogan.cli.options import Device, Json, OnlyRun
from infogan.cli.workers import join_workers, load_sharded

commands = typer.Typer()


@commands.command()
def evaluate(
    run: OnlyRun,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics: all, or some of clusters,information,frechet,kernel,inception,neighbours,disentanglement,"
            "trust. Default: all except inception (FID and KID), which is slow."
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Number of generated images, at least 100; fewer are faster. Default: 10,000.")
    ] = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Evaluate a run on the test split of its data. If the data has labels, they are used to evaluate only."""
    from infogan.api.evaluate_run import evaluate_run, evaluation_inputs
    from infogan.evaluation.evaluate import summary
    from infogan.training.run_dir import RunFolder
    from infogan.utils import distributed

    names = [name.strip() for name in metrics.split(",")] if metrics else None
    with join_workers(device) as own_device:
        with distributed.all_or_none():
            folder = RunFolder.existing(run)
            config = folder.read_config()
        model = load_sharded(run, own_device)
        with distributed.all_or_none():
            inputs = evaluation_inputs(model, config)
            digest = inputs.train.digest() if distributed.is_distributed() else ""
        distributed.assert_same_on_all_ranks("set of images", digest)
        with distributed.errors_from_rank0():
            result = evaluate_run(inputs, config, names, samples=samples)
        if not distributed.is_rank0():
            return
    folder.add_metrics({"step": config.train.steps, **result})
    if as_json:
        typer.echo(json.dumps({"run": str(run), **result}))
    else:
        typer.echo("\n".join([*summary(result), str(folder.metrics)]))


@commands.command()
def report(
    run: OnlyRun,
    out: Annotated[Path | None, typer.Option(help="HTML file. Default: report.html in the run folder.")] = None,
) -> None:
    """Write the HTML report of a run (also written at the end of training)."""
    from infogan.api.evaluate_run import evaluate_run, evaluation_inputs, write_report
    from infogan.models.infogan import InfoGAN
    from infogan.training.run_dir import RunFolder

    folder = RunFolder.existing(run)
    config, evaluations = folder.read_config(), folder.read_metrics()
    inputs = evaluation_inputs(InfoGAN.load(run), config)
    result = evaluations[-1] if evaluations else evaluate_run(inputs, config)
    typer.echo(str(write_report(folder, inputs, config, result, out)))


@commands.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders.", show_default=False)],
    out: Annotated[Path, typer.Option(help="HTML file.")] = Path("comparison.html"),
) -> None:
    """Compare runs: print a table of their metrics, and write a page that draws the same codes with each run."""
    from infogan.reports.compare import comparison_page, format_table, metric_table, read_runs
    from infogan.utils.files import write_bytes

    compared = read_runs(runs)
    head, lines, _ = metric_table(compared)
    write_bytes(out, comparison_page(compared).encode())
    typer.echo(f"{format_table(head, lines)}\n{out}")
