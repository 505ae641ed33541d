"""Measure what a choice without labels is worth: the accuracies of a sweep's runs, and that of the chosen run.

    infogan sweep mnist --seeds 0-9 --jobs 2 --out runs/paper-sweep -- --recipe paper --steps 500
    python -m benchmarks.choosing runs/paper-sweep --out benchmarks/results/choosing.json

The sweep ranks its runs from images alone; accuracies, of the test split with the matching fitted on the training
split, are used here for the first time. The sweep's own choice is the run with the highest agreement among the trusted
ones, or among all if none is trusted. It is compared with choices among the same runs by other numbers: the bound on
the information of the category, and the certainty of the categories of real images.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.accuracy import commit, machine
from infogan.evaluation.metrics.intervals import mean_interval
from infogan.training.run_dir import RunFolder


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path, help="the folder of a sweep of runs with a categorical code")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    arguments = parser.parse_args()
    result = evaluate_choices(arguments.sweep)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def evaluate_choices(sweep: Path) -> dict[str, Any]:
    """Return each run's accuracy, the numbers to choose by, and the accuracy of each choice."""
    ranking = json.loads((sweep / "ranking.json").read_text())
    runs = []
    for entry in ranking["places"]:
        result = RunFolder.existing(sweep / entry["name"]).read_metrics()[-1]
        verdict = result["verdict"]
        runs.append(
            {
                "name": entry["name"],
                "accuracy": result["accuracy"],
                "agreement": entry["scores"]["agreement"],
                "information": result["information"]["category"],
                "sureness": verdict["sureness"],
                "trusted": entry["trusted"],
            }
        )
    accuracy = np.array([run["accuracy"] for run in runs])
    mean = mean_interval(accuracy)
    choices = {}
    trusted = np.array([run["trusted"] is True for run in runs])
    eligible = trusted if trusted.any() else ~trusted
    for criterion in ("agreement", "information", "sureness"):
        values = np.array([run[criterion] for run in runs])
        choice = int(np.where(eligible, values, -np.inf).argmax())
        choices[criterion] = {
            "chosen": runs[choice]["name"],
            "accuracy": float(accuracy[choice]),
            "above_mean": float(accuracy[choice] - mean.estimate),
            "below_best": float(accuracy.max() - accuracy[choice]),
            "rank_correlation": float(spearmanr(values, accuracy).statistic),
        }
    return {
        "sweep": json.loads((sweep / "sweep.json").read_text()),
        "commit": commit(),
        **machine(),
        "runs": runs,
        "mean": [mean.estimate, mean.low, mean.high],
        "best": float(accuracy.max()),
        "choices": choices,
    }


def table(result: dict[str, Any]) -> str:
    """Return the runs in the sweep's order, and the choices, as Markdown."""
    rows = ["| run | accuracy | agreement | information | sureness |", "|---|---|---|---|---|"]
    for run in result["runs"]:
        cells = [f"{run[name]:.4f}" for name in ("accuracy", "agreement", "information", "sureness")]
        rows.append(f"| {run['name']} | {' | '.join(cells)} |")
    mean, low, high = result["mean"]
    rows += ["", f"mean accuracy {mean:.4f} (95 %: {low:.4f} to {high:.4f}), best {result['best']:.4f}", ""]
    rows += ["| chosen by | run | accuracy | above the mean | below the best | rank correlation |", "|" + "---|" * 6]
    for criterion, choice in result["choices"].items():
        cells = [f"{choice[name]:.4f}" for name in ("accuracy", "above_mean", "below_best", "rank_correlation")]
        rows.append(f"| {criterion} | {choice['chosen']} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
