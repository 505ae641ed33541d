"""How well recipes take known factors apart: recipes x seeds -> a JSON line a run, and a table of pairs.

    python -m benchmarks.disentangling --seeds 0-4 --jobs 2 --out benchmarks/results/dsprites.jsonl
    python -m benchmarks.disentangling --published --out benchmarks/results/dsprites-published.jsonl

Each recipe is a sweep (`infogan.api.sweep`): its runs are commands in processes of their own, and one that was stopped
goes on from its checkpoint. All learn from the images of dSprites that are not of the test split, with five continuous
codes and for as many steps; scores are those of `infogan evaluate`, on the test split, and of `disentangle` the run is
named that ModelCentrality chooses. ``sharing`` is `disentangle` with the pairs of InfoGAN-CR, which share one code
instead of differing in one.

The scaled-down protocol is of smaller images and far fewer steps than published ones, and gives the paper's networks a
quarter of their width, which makes them about as large as the other recipe's; that has half of so few steps for its
second stage, where its own length gives it a tenth. ``--published`` is the protocol of Lin et al. 2020 (InfoGAN-CR),
64x64 and 322,560 steps, for a GPU.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import add, commit, lines_of, machine
from infogan.api.sweep import RunRecord, SweepFolder, choose, run_all, parse_seeds, variations
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
FIVE = "codes=[" + ", ".join(['{kind = "continuous"}'] * 5) + "]"
SMALL = ["--size", "16", "--steps", "3000"]
HALVES = ["--set", "stages.0.share=1", "--set", "stages.1.share=1"]
ADVERSARIAL, SHARING = "adversarial = 1.0, information = 1.0, ", "sharing = 2.0"
PAIRS = [
    *("--set", f"stages.1.updates.1.losses={{{SHARING}}}"),
    *("--set", f"stages.1.updates.2.losses={{{ADVERSARIAL}{SHARING}}}"),
    *("--set", f"stages.1.updates.3.losses={{{ADVERSARIAL}{SHARING}}}"),
]
SCALED = {
    "disentangle": ["--recipe", "disentangle", *SMALL, *HALVES],
    "paper": ["--recipe", "paper", *SMALL, "--set", FIVE, "--set", "networks.width=16"],
    "sharing": ["--recipe", "disentangle", *SMALL, *HALVES, *PAIRS],
}
PUBLISHED = {"disentangle": ["--recipe", "disentangle", "--size", "64"]}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="dsprites", help="a data set with known factors")
    parser.add_argument("--seeds", default="0-4", help="such as 0-4 or 1,4")
    parser.add_argument("--recipes", help="some of disentangle,paper,sharing; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="how many runs at a time")
    parser.add_argument("--published", action="store_true", help="the published protocol, for a GPU")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="where the run folders go")
    parser.add_argument("--out", type=Path, required=True, help="the JSON lines to add to")
    given = parser.parse_args()
    protocol = PUBLISHED if given.published else SCALED
    signals = Signals()
    for recipe in given.recipes.split(",") if given.recipes else protocol:
        length = "published" if given.published else "scaled"
        folder = SweepFolder(given.runs / f"{given.data}-{recipe}-{length}")
        folder.begin(given.data, protocol[recipe])
        wanted = variations(given.data, parse_seeds(given.seeds), {}, protocol[recipe])
        with signals.catch():
            records = run_all(folder, wanted, jobs=given.jobs, stop_requested=lambda: signals.received is not None)
        if signals.received is not None:
            sys.exit(128 + signals.received)
        known = {(line["recipe"], line["name"]) for line in lines_of(given.out)}
        for record in records:
            if (recipe, record.name) not in known:
                add(given.out, {"recipe": recipe, "commit": commit(), "jobs": given.jobs, **measured(folder, record)})
        if recipe == "disentangle" and sum(not record.exit_code for record in records) > 1:
            print(f"chosen without labels: {choose(folder).places[0].name}")
        print(table(lines_of(given.out)), flush=True)


def measured(folder: SweepFolder, ended: RunRecord) -> dict[str, Any]:
    """What a run came to, failures included."""
    line: dict[str, Any] = {"name": ended.name, "command": list(ended.arguments), "seconds": ended.seconds, **machine()}
    if ended.exit_code:
        return line | {"failed": ended.error}
    return line | {"scores": RunFolder.existing(folder.run_path(ended.name)).read_metrics()[-1]["disentanglement"]}


def table(lines: list[dict[str, Any]]) -> str:
    """A row a run, then the mean of each recipe and the mean of what it is better by, with intervals of 95 %."""
    scores = {(line["recipe"], line["name"]): line["scores"] for line in lines if "scores" in line}
    rows = [f"| recipe | run | {' | '.join(SCORES.values())} | seconds |", "|" + "---|" * (len(SCORES) + 3)]
    for line in lines:
        cells = [f"{line['scores'][name]:.3f}" if "scores" in line else "-" for name in SCORES]
        rows.append(f"| {line['recipe']} | {line['name']} | {' | '.join(cells)} | {line['seconds']:.0f} |")
    for recipe in dict.fromkeys(recipe for recipe, _ in scores):
        values = np.array([[of[name] for name in SCORES] for (by, _), of in scores.items() if by == recipe])
        if len(values) > 1:
            rows.append(f"| {recipe} | mean of {len(values)} | {' | '.join(map(_with_ends, values.T))} | |")
    pairs = [name for recipe, name in scores if recipe == "disentangle" and ("paper", name) in scores]
    apart = np.array([[scores["disentangle", of][name] - scores["paper", of][name] for name in SCORES] for of in pairs])
    if len(pairs) > 1:
        rows.append(f"| disentangle - paper | mean of {len(pairs)} | {' | '.join(map(_with_ends, apart.T))} | |")
        worst = " | ".join(f"{value:+.3f}" for value in apart.min(axis=0))
        rows.append(f"| disentangle - paper | lowest | {worst} | |")
    return "\n".join(rows)


def _with_ends(values: np.ndarray[Any, Any]) -> str:
    found = mean_interval(values)
    return f"{found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    main()
