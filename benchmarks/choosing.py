"""What choosing without labels is worth: a sweep's runs by accuracy, and where the chosen one stands among them.

    infogan sweep mnist --seeds 0-9 --jobs 2 --out runs/paper-sweep -- --recipe paper --steps 500
    python -m benchmarks.choosing runs/paper-sweep --out benchmarks/results/choosing.json

The sweep ranks its runs from images alone. Accuracy, of the test split with the matching fitted on the training split,
is looked at here for the first time. Beside the sweep's own choice, which is by agreement in filing among those that
are trusted, if any are, what choosing among the same by other numbers would have come to: the bound on the information
of the category, and how surely real images are filed.
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
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path, help="the folder of a sweep of runs with a categorical code")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    given = parser.parse_args()
    result = examined(given.sweep)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def examined(sweep: Path) -> dict[str, Any]:
    """Each run's accuracy beside what it could be chosen by, and what each choice comes to."""
    ranking = json.loads((sweep / "ranking.json").read_text())
    runs = []
    for place in ranking["places"]:
        result = RunFolder.existing(sweep / place["name"]).read_metrics()[-1]
        verdict = result["verdict"]
        runs.append(
            {
                "name": place["name"],
                "accuracy": result["accuracy"],
                "agreement": place["scores"]["agreement"],
                "information": result["information"]["category"],
                "sureness": verdict["sureness"],
                "trusted": place["trusted"],
            }
        )
    accuracy = np.array([run["accuracy"] for run in runs])
    mean = mean_interval(accuracy)
    choices = {}
    trusted = np.array([run["trusted"] is True for run in runs])
    eligible = trusted if trusted.any() else ~trusted
    for by in ("agreement", "information", "sureness"):
        values = np.array([run[by] for run in runs])
        chosen = int(np.where(eligible, values, -np.inf).argmax())
        choices[by] = {
            "chosen": runs[chosen]["name"],
            "accuracy": float(accuracy[chosen]),
            "above_mean": float(accuracy[chosen] - mean.estimate),
            "below_best": float(accuracy.max() - accuracy[chosen]),
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
    """The runs in the sweep's order, and the choices, as Markdown."""
    rows = ["| run | accuracy | agreement | information | sureness |", "|---|---|---|---|---|"]
    for run in result["runs"]:
        cells = [f"{run[name]:.4f}" for name in ("accuracy", "agreement", "information", "sureness")]
        rows.append(f"| {run['name']} | {' | '.join(cells)} |")
    mean, low, high = result["mean"]
    rows += ["", f"mean accuracy {mean:.4f} (95 %: {low:.4f} to {high:.4f}), best {result['best']:.4f}", ""]
    rows += ["| chosen by | run | accuracy | above the mean | below the best | rank correlation |", "|" + "---|" * 6]
    for by, choice in result["choices"].items():
        cells = [f"{choice[name]:.4f}" for name in ("accuracy", "above_mean", "below_best", "rank_correlation")]
        rows.append(f"| {by} | {choice['chosen']} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
