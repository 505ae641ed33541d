"""How well recipes take known factors apart: two recipes x seeds -> a JSON line a run, and a table of pairs.

    python -m benchmarks.disentangling --seeds 0-4 --jobs 2 --out benchmarks/results/dsprites.jsonl
    python -m benchmarks.disentangling --published --out benchmarks/results/dsprites-published.jsonl

Each recipe is a sweep (`infogan.sweep`): its runs are commands in processes of their own, and one that was stopped
goes on from its checkpoint. All learn from the images of dSprites that are not of the test split, with five continuous
codes and for as many steps; scores are those of `infogan evaluate`, on the test split, and of the recipe `disentangle`
the run is named that ModelCentrality chooses.

The scaled-down protocol is of smaller images and far fewer steps than published ones, and gives the paper's networks a
quarter of their width, which makes them about as large as the other recipe's; that has half of so few steps for its
second stage, where its own length gives it a tenth. ``--published`` is the protocol of Lin et al. 2020 (InfoGAN-CR),
64x64 and 322,560 steps, for a GPU.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import add, commit, lines_of, machine, seeds_of
from infogan.metrics.intervals import mean_interval
from infogan.runs import RunFolder
from infogan.sweep import Ended, SweepFolder, choose, run_all, variations

SCORES = {
    "mig": "MIG",
    "factorvae": "FactorVAE",
    "dci_disentanglement": "DCI",
    "sap": "SAP",
    "modularity": "modularity",
}
FIVE = "codes=[" + ", ".join(['{kind = "continuous"}'] * 5) + "]"
SCALED = {
    "disentangle": ["--size", "16", "--steps", "3000", "--set", "stages.0.share=1", "--set", "stages.1.share=1"],
    "paper": ["--size", "16", "--steps", "3000", "--set", FIVE, "--set", "networks.width=16"],
}
PUBLISHED = {"disentangle": ["--size", "64"]}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="dsprites", help="a data set with known factors")
    parser.add_argument("--seeds", default="0-4", help="such as 0-4 or 1,4")
    parser.add_argument("--jobs", type=int, default=1, help="how many runs at a time")
    parser.add_argument("--published", action="store_true", help="the published protocol, for a GPU")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="where the run folders go")
    parser.add_argument("--out", type=Path, required=True, help="the JSON lines to add to")
    given = parser.parse_args()
    for recipe, arguments in (PUBLISHED if given.published else SCALED).items():
        length = "published" if given.published else "scaled"
        folder = SweepFolder(given.runs / f"{given.data}-{recipe}-{length}")
        shared = ["--recipe", recipe, *arguments]
        folder.begin(given.data, shared)
        wanted = variations(given.data, seeds_of(given.seeds), {}, shared)
        about = {"recipe": recipe, "commit": commit(), "jobs": given.jobs}

        def record(ended: Ended, folder: SweepFolder = folder, about: dict[str, Any] = about) -> None:
            add(given.out, about | measured(folder, ended))

        records = run_all(folder, wanted, jobs=given.jobs, on_end=record)
        done = {line["name"]: line for line in lines_of(given.out) if line["recipe"] == recipe}
        if recipe == "disentangle" and sum(not ended.exit_code for ended in records) > 1:
            chosen = choose(folder, records).places[0].name
            if not any(line.get("chosen") == chosen for line in done.values()):
                add(given.out, {**done[chosen], "recipe": "chosen", "chosen": chosen})
        print(table(lines_of(given.out)), flush=True)


def measured(folder: SweepFolder, ended: Ended) -> dict[str, Any]:
    """What a run came to, failures included."""
    line: dict[str, Any] = {"name": ended.name, "command": list(ended.arguments), "seconds": ended.seconds, **machine()}
    if ended.exit_code:
        return line | {"failed": ended.error}
    return line | {"scores": RunFolder.existing(folder.of(ended.name)).read_metrics()[-1]["disentanglement"]}


def table(lines: list[dict[str, Any]]) -> str:
    """A row a run, then the mean of each recipe and the mean of what it is better by, with intervals of 95 %."""
    scores = {(line["recipe"], line["name"]): line["scores"] for line in lines if "scores" in line}
    rows = [f"| recipe | run | {' | '.join(SCORES.values())} | seconds |", "|" + "---|" * (len(SCORES) + 3)]
    for line in lines:
        cells = [f"{line['scores'][name]:.3f}" if "scores" in line else "-" for name in SCORES]
        rows.append(f"| {line['recipe']} | {line['name']} | {' | '.join(cells)} | {line['seconds']:.0f} |")
    for recipe in dict.fromkeys(recipe for recipe, _ in scores if recipe != "chosen"):
        values = np.array([[of[name] for name in SCORES] for (by, _), of in scores.items() if by == recipe])
        if len(values) > 1:
            rows.append(f"| {recipe} | mean | {' | '.join(map(_with_ends, values.T))} | |")
    pairs = [name for recipe, name in scores if recipe == "disentangle" and ("paper", name) in scores]
    apart = np.array([[scores["disentangle", of][name] - scores["paper", of][name] for name in SCORES] for of in pairs])
    if len(pairs) > 1:
        rows.append(f"| disentangle - paper | mean | {' | '.join(map(_with_ends, apart.T))} | |")
        worst = " | ".join(f"{value:+.3f}" for value in apart.min(axis=0))
        rows.append(f"| disentangle - paper | lowest | {worst} | |")
    return "\n".join(rows)


def _with_ends(values: np.ndarray[Any, Any]) -> str:
    found = mean_interval(values)
    return f"{found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    main()
