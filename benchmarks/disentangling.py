"""Measure how well recipes disentangle known factors: a JSON line per recipe and seed, and a table of pairs.

    python -m benchmarks.disentangling --seeds 0-4 --jobs 2 --out benchmarks/results/dsprites.jsonl
    python -m benchmarks.disentangling --published --out benchmarks/results/dsprites-published.jsonl

Each recipe is a sweep (`infogan.api.sweep`): its runs are commands in separate processes, and a run that was stopped
continues from its checkpoint. All train on the images of dSprites outside the test split, with five continuous codes
and the same number of steps. Scores are those of `infogan evaluate` on the test split. For `disentangle`, the run that
ModelCentrality chooses is printed. ``sharing`` is `disentangle` with the pairs of InfoGAN-CR, which share one code
instead of differing in one. ``declared`` is the default recipe with a declared knob for each factor but the shape.

The scaled-down protocol has smaller images and far fewer steps than published ones. It gives the paper's networks a
quarter of their width, so that they are about as large as those of the other recipe, whose second stage has half of the
steps instead of a tenth. ``--published`` is the protocol of Lin et al. 2020 (InfoGAN-CR), 64x64 and 322,560 steps, for
a GPU.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import add, commit, lines_of, machine
from infogan.api.sweep import RunRecord, SweepFolder, choose, parse_seeds, run_all, variations
from infogan.cli.terminal import Signals
from infogan.evaluation.metrics.intervals import mean_interval
from infogan.training.run_dir import RunFolder

SCORES = {
    "mig": "MIG",
    "factorvae": "FactorVAE",
    "dci_disentanglement": "DCI",
    "sap": "SAP",
    "modularity": "modularity",
}
FIVE_KNOBS = "codes=[" + ", ".join(['{kind = "continuous"}'] * 5) + "]"
SMALL = ["--size", "16", "--steps", "3000"]
EQUAL_STAGES = ["--set", "stages.0.share=1", "--set", "stages.1.share=1"]
GAN, SHARING = "adversarial = 1.0, information = 1.0, ", "infogan_cr = 2.0"
PAIRS = [
    *("--set", f"stages.1.updates.1.losses={{{SHARING}}}"),
    *("--set", f"stages.1.updates.2.losses={{{GAN}{SHARING}}}"),
    *("--set", f"stages.1.updates.3.losses={{{GAN}{SHARING}}}"),
]
SCALED = {
    "disentangle": ["--recipe", "disentangle", *SMALL, *EQUAL_STAGES],
    "paper": ["--recipe", "paper", *SMALL, "--set", FIVE_KNOBS, "--set", "networks.width=16"],
    "sharing": ["--recipe", "disentangle", *SMALL, *EQUAL_STAGES, *PAIRS],
    "declared": ["--size", "16", "--categorical", "3", "--continuous", "0", "--knob", "shift-x,shift-y,size,rotate"],
}
PUBLISHED = {"disentangle": ["--recipe", "disentangle", "--size", "64"]}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="dsprites", help="a data set with known factors")
    parser.add_argument("--seeds", default="0-4", help="such as 0-4 or 1,4")
    parser.add_argument("--recipes", help="some of disentangle,paper,sharing; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="number of runs at a time")
    parser.add_argument("--published", action="store_true", help="the published protocol, for a GPU")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="folder of the run folders")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to append to")
    arguments = parser.parse_args()
    protocol = PUBLISHED if arguments.published else SCALED
    signals = Signals()
    for recipe in arguments.recipes.split(",") if arguments.recipes else protocol:
        length = "published" if arguments.published else "scaled"
        folder = SweepFolder(arguments.runs / f"{arguments.data}-{recipe}-{length}")
        folder.begin(arguments.data, protocol[recipe])
        runs = variations(arguments.data, parse_seeds(arguments.seeds), {}, protocol[recipe])
        with signals.catch():
            records = run_all(folder, runs, jobs=arguments.jobs, stop_requested=lambda: signals.received is not None)
        if signals.received is not None:
            sys.exit(128 + signals.received)
        recorded = {(line["recipe"], line["name"]) for line in lines_of(arguments.out)}
        for record in records:
            if (recipe, record.name) not in recorded:
                line = {"recipe": recipe, "commit": commit(), "jobs": arguments.jobs}
                add(arguments.out, line | result_of(folder, record))
        if recipe == "disentangle" and sum(not record.exit_code for record in records) > 1:
            print(f"chosen without labels: {choose(folder).places[0].name}")
        print(table(lines_of(arguments.out)), flush=True)


def result_of(folder: SweepFolder, record: RunRecord) -> dict[str, Any]:
    """Return the scores of a run, or its error."""
    line = {"name": record.name, "command": list(record.arguments), "seconds": record.seconds, **machine()}
    if record.exit_code:
        return line | {"failed": record.error}
    return line | {"scores": RunFolder.existing(folder.run_path(record.name)).read_metrics()[-1]["disentanglement"]}


def table(lines: list[dict[str, Any]]) -> str:
    """Return a row per run, the mean of each recipe, and the mean difference of recipes, with 95 % intervals."""
    scores = {(line["recipe"], line["name"]): line["scores"] for line in lines if "scores" in line}
    rows = [f"| recipe | run | {' | '.join(SCORES.values())} | seconds |", "|" + "---|" * (len(SCORES) + 3)]
    for line in lines:
        cells = [f"{line['scores'][name]:.3f}" if "scores" in line else "-" for name in SCORES]
        rows.append(f"| {line['recipe']} | {line['name']} | {' | '.join(cells)} | {line['seconds']:.0f} |")
    for recipe in dict.fromkeys(recipe for recipe, _ in scores):
        values = np.array([[run[name] for name in SCORES] for (key, _), run in scores.items() if key == recipe])
        if len(values) > 1:
            rows.append(f"| {recipe} | mean of {len(values)} | {' | '.join(map(_with_interval, values.T))} | |")
    runs = [run for recipe, run in scores if recipe == "disentangle" and ("paper", run) in scores]
    pairs = [(scores["disentangle", run], scores["paper", run]) for run in runs]
    differences = np.array([[first[name] - second[name] for name in SCORES] for first, second in pairs])
    if len(pairs) > 1:
        means = " | ".join(map(_with_interval, differences.T))
        rows.append(f"| disentangle - paper | mean of {len(pairs)} | {means} | |")
        lowest = " | ".join(f"{value:+.3f}" for value in differences.min(axis=0))
        rows.append(f"| disentangle - paper | lowest | {lowest} | |")
    return "\n".join(rows)


def _with_interval(values: np.ndarray[Any, Any]) -> str:
    interval = mean_interval(values)
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"


if __name__ == "__main__":
    main()
