"""Commands that measure runs: ``evaluate``, ``report`` and ``compare``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from infogan.cli.options import DataOfRun, Device, Json, OnlyRun, RequireTrust, Threads, exit_unless_trusted
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
    data: DataOfRun = None,
    require_trust: RequireTrust = False,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Evaluate a run on the test split of its data. If the data has labels, they are used to evaluate only."""
    from infogan.api.evaluate_run import evaluate_run, inputs_of_run
    from infogan.evaluation.summary import summary
    from infogan.training.run_dir import RunFolder
    from infogan.utils import distributed

    names = [name.strip() for name in metrics.split(",")] if metrics else None
    with join_workers(device, threads) as own_device:
        with distributed.all_or_none():
            folder = RunFolder.existing(run)
            config = folder.read_config()
        model = load_sharded(run, own_device)
        with distributed.all_or_none():
            inputs = inputs_of_run(folder, model, data)
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
    if require_trust:
        exit_unless_trusted(result)


@commands.command()
def report(
    run: OnlyRun,
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file, or - for standard output. Default: report.html in the run folder."),
    ] = None,
    data: DataOfRun = None,
) -> None:
    """Write the HTML report of a run (also written at the end of training)."""
    from infogan.api.evaluate_run import evaluate_run, inputs_of_run, write_report
    from infogan.cli.output import log_replaced, print_results
    from infogan.models.infogan import InfoGAN
    from infogan.training.run_dir import RunFolder

    folder = RunFolder.existing(run)
    config, evaluations = folder.read_config(), folder.read_metrics()
    inputs = inputs_of_run(folder, InfoGAN.load(run), data)
    result = evaluations[-1] if evaluations else evaluate_run(inputs, config)
    with log_replaced([] if out is None else [out]):  # writing report.html again is what the command is for
        path = write_report(folder, inputs, config, result, out)
    print_results(path, out=out)


@commands.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders.", show_default=False)],
    out: Annotated[Path, typer.Option(help="HTML file, or - for standard output.")] = Path("comparison.html"),
) -> None:
    """Compare runs: print a table of their metrics, and write a page that draws the same codes with each run."""
    from infogan.cli.output import log_replaced, print_results
    from infogan.reports.compare import comparison_page, format_table, metric_table, read_runs
    from infogan.utils.files import write_bytes

    compared = read_runs(runs)
    head, lines, _ = metric_table(compared)
    with log_replaced([out]):
        write_bytes(out, comparison_page(compared).encode())
    print_results(format_table(head, lines), out, out=out)
