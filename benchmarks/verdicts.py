"""Compare verdicts on groups with labels, on the evidence that `benchmarks.verdict_runs` has measured.

    python -m benchmarks.verdicts benchmarks/results/verdicts.jsonl
    python -m benchmarks.verdicts benchmarks/results/verdicts.jsonl --draw docs/images/verdict-curves.png

The second command also draws the curves, for which it needs matplotlib.

A run is *right* if its accuracy, one category a label, is at least ``RIGHT`` of the best of its set, and *wrong* below
``WRONG`` of it; in between, any answer will do. The tables show the answers with the limits of the package, then with
limits that were fitted on the other half of the sets alone. The probability of right groups is a logistic regression
that has never seen the set that it judges.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import lines_of
from infogan.evaluation import verdict
from infogan.evaluation.group_evidence import GroupEvidence, Structure
from infogan.evaluation.picture_evidence import PictureEvidence
from infogan.evaluation.verdict import THRESHOLDS, judge

RIGHT, SMALLEST_RIGHT = 0.95, 0.6  # share of the best accuracy, and accuracy, from which on groups are right
WRONG, LARGEST_WRONG = 0.85, 0.5  # below which they are wrong
KNOWN_BEST = {"imbalanced": 0.987, "mnist": 0.987, "crops": 1.0}  # of full runs, if the grid has no better one
HALVES = (("digits", "fashion-mnist", "cifar10", "shapes"), ("mnist", "imbalanced", "clothing", "crops", "glyphs"))
BINS = 5  # of the probability, in the picture of its calibration
PROBABILITY_FILE = Path(verdict.__file__).with_name("probability.toml")
ANSWERS = ("yes", "with care", "no")
Limits = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Run:
    """A run with its evidence.

    Attributes:
        name: Set, condition, seed and number of categories.
        data: Name of the set.
        accuracy: One category a label.
        evidence: What its groups are judged by.
        size: Number of categories.
        is_right: None = any answer will do.
    """

    name: str
    data: str
    accuracy: float
    evidence: GroupEvidence
    size: int
    is_right: bool | None

    @property
    def traces(self) -> dict[str, float]:
        """The measurements by name."""
        judged = judge(self.evidence, PictureEvidence(read_back=1.0), "category", self.size)
        return {trace.name: trace.value for trace in judged.evidence if trace.concerns == "groups"}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="JSON lines of benchmarks.verdict_runs")
    parser.add_argument("--write", action="store_true", help="write the fitted probability into the package")
    parser.add_argument("--draw", type=Path, help="image file for the ROC curves and the calibration")
    arguments = parser.parse_args()
    runs = read_runs(arguments.results)
    if arguments.write:
        write_probability(runs)
    shipped = {name: limits_of(threshold) for name, threshold in THRESHOLDS.items()}
    print("With the limits of the package:\n")
    print(table(runs, [answer(run, shipped) for run in runs]))
    crossed: dict[str, str] = {}
    for fitted, reported in (HALVES, HALVES[::-1]):
        limits = fit_limits([run for run in runs if run.data in fitted])
        crossed |= {run.name: answer(run, limits) for run in runs if run.data in reported}
    print("\nWith limits that were fitted on the other half of the sets:\n")
    print(table(runs, [crossed[run.name] for run in runs]))
    probabilities = leave_one_set_out(runs)
    print("\nProbability of right groups, fitted on the other sets:\n")
    print(calibration_table(runs, probabilities))
    print("\nArea under the ROC curve, right against wrong:\n")
    print(area_table(runs, probabilities))
    if arguments.draw:
        draw(runs, probabilities, arguments.draw)


def read_runs(path: Path) -> list[Run]:
    """Return the runs in a file."""
    lines = lines_of(path)
    best = {line["data"]: KNOWN_BEST.get(line["data"], 0.0) for line in lines}
    for line in lines:
        best[line["data"]] = max(best[line["data"]], line["accuracy"])
    return [_read_run(line, best[line["data"]]) for line in lines]


def _read_run(line: dict[str, Any], best: float) -> Run:
    accuracy, structure = line["accuracy"], line["evidence"]["structure"]
    pairs = tuple((first, second) for first, second in structure["alike"])
    structure = Structure(**{**structure, "several": tuple(structure["several"]), "alike": pairs, "tree": ()})
    evidence = GroupEvidence(
        **{**line["evidence"], "unused": tuple(line["evidence"]["unused"]), "structure": structure}
    )
    is_right: bool | None = None
    if accuracy < WRONG * best or accuracy < LARGEST_WRONG:
        is_right = False
    elif accuracy >= RIGHT * best and accuracy >= SMALLEST_RIGHT:
        is_right = True
    name = f"{line['data']}, {line['condition']}, seed {line['seed']}, {line['categories']} categories"
    return Run(name, line["data"], accuracy, evidence, line["categories"], is_right)


def limits_of(threshold: dict[str, Any]) -> tuple[float, float]:
    """Return the limits of a threshold."""
    care, no = threshold.get("minimum") or threshold["maximum"]
    return float(care), float(no)


def answer(run: Run, limits: Limits) -> str:
    """Return the answer with some limits."""
    worst = 0
    for name, value in run.traces.items():
        sign = 1 if "minimum" in THRESHOLDS[name] else -1
        care, no = limits[name]
        worst = max(worst, 2 if sign * value < sign * no else 1 if sign * value < sign * care else 0)
    return ANSWERS[worst]


def fit_limits(runs: Sequence[Run]) -> Limits:
    """Return limits that every right run passes, with a margin.

    The limit of "with care" is the worst value of a right run, and that of "no" lies as far beyond it as the half of
    the distance to the median of the wrong runs that are worse.
    """
    limits: Limits = {}
    for name, threshold in THRESHOLDS.items():
        if threshold["concerns"] != "groups":
            continue
        sign = 1 if "minimum" in threshold else -1
        right = [sign * run.traces[name] for run in runs if run.is_right]
        worst = min(right)
        worse = [sign * run.traces[name] for run in runs if run.is_right is False and sign * run.traces[name] < worst]
        beyond = worst - (worst - float(np.median(worse))) / 2 if worse else worst
        limits[name] = sign * worst, sign * beyond
    return limits


def table(runs: Sequence[Run], answers: Sequence[str]) -> str:
    """Return the number of runs by answer, and every wrong call, as Markdown."""
    rows = ["| | " + " | ".join(ANSWERS) + " |", "|---|---|---|---|"]
    for title, is_right in (("right", True), ("in between", None), ("wrong", False)):
        of_kind = [given for run, given in zip(runs, answers, strict=True) if run.is_right is is_right]
        rows.append(f"| {title} | " + " | ".join(str(of_kind.count(given)) for given in ANSWERS) + " |")
    care = answers.count("with care") / len(answers)
    rows += ["", f"{len(runs)} runs; with care: {care:.0%}", ""]
    for run, given in zip(runs, answers, strict=True):
        if (run.is_right is True and given == "no") or (run.is_right is False and given == "yes"):
            rows.append(f"- {run.name}: accuracy {run.accuracy:.3f}, answer {given}")
    return "\n".join(rows)


def leave_one_set_out(runs: Sequence[Run]) -> NDArray[np.float64]:
    """Return the probability of each run to be right, from a regression on the runs of the other sets."""
    probabilities = np.empty(len(runs))
    for data in {run.data for run in runs}:
        model = fit_probability([run for run in runs if run.data != data])
        for row, run in enumerate(runs):
            if run.data == data:
                probabilities[row] = model.predict_proba([[*regressors(run).values()]])[0, 1]
    return probabilities


def regressors(run: Run) -> dict[str, float]:
    """Return the measurements that the probability depends on: those that every run has."""
    return {name: value for name, value in run.traces.items() if name != "views_apart"}


def fit_probability(runs: Iterable[Run]) -> Any:
    """Return a logistic regression from traces to whether groups are right."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    decided = [run for run in runs if run.is_right is not None]
    traces = [[*regressors(run).values()] for run in decided]
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(traces, [run.is_right for run in decided])


def write_probability(runs: Sequence[Run]) -> None:
    """Write the regression on all runs as an intercept and weights of the traces."""
    scaler, regression = fit_probability(runs)
    weights = regression.coef_[0] / scaler.scale_
    intercept = regression.intercept_[0] - float(weights @ scaler.mean_)
    lines = [f"# Written by `python -m benchmarks.verdicts RESULTS --write`, from {len(runs)} runs."]
    lines += [f"intercept = {intercept:.4f}", "", "[weights]"]
    lines += [f"{name} = {weight:.4f}" for name, weight in zip(regressors(runs[0]), weights, strict=True)]
    PROBABILITY_FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def calibration_table(runs: Sequence[Run], probabilities: NDArray[np.float64]) -> str:
    """Return how often runs of similar probability are right, as Markdown."""
    rows = ["| probability | runs | right |", "|---|---|---|"]
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.7), (0.7, 0.9), (0.9, 1.01)):
        inside = [run.is_right for run, p in zip(runs, probabilities, strict=True) if low <= p < high]
        decided = [is_right for is_right in inside if is_right is not None]
        share = f"{np.mean(decided):.0%}" if decided else "-"
        rows.append(f"| {low:.0%} to {min(high, 1.0):.0%} | {len(decided)} | {share} |")
    return "\n".join(rows)


def scores(runs: Sequence[Run], probabilities: NDArray[np.float64]) -> tuple[list[bool], dict[str, list[float]]]:
    """Return which decided runs are right, and their scores by name: each measurement, and the probability."""
    decided = [(run, float(p)) for run, p in zip(runs, probabilities, strict=True) if run.is_right is not None]
    by_name = {"probability": [p for _, p in decided]}
    for name in runs[0].traces:
        sign = 1 if "minimum" in THRESHOLDS[name] else -1
        by_name[name] = [sign * run.traces[name] for run, _ in decided]
    return [bool(run.is_right) for run, _ in decided], by_name


def area_table(runs: Sequence[Run], probabilities: NDArray[np.float64]) -> str:
    """Return the area under the ROC curve of each measurement and of the probability, as Markdown."""
    from sklearn.metrics import roc_auc_score

    is_right, by_name = scores(runs, probabilities)
    areas = {name: float(roc_auc_score(is_right, values)) for name, values in by_name.items()}
    rows = [f"| `{name}` | {area:.2f} |" for name, area in sorted(areas.items(), key=lambda item: -item[1])]
    return "\n".join(["| measurement | area |", "|---|---|", *rows])


def draw(runs: Sequence[Run], probabilities: NDArray[np.float64], path: Path) -> None:
    """Draw the ROC curves, and how often runs of similar probability are right."""
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve

    is_right, by_name = scores(runs, probabilities)
    figure = Figure(figsize=(11, 5), layout="constrained")
    curves, calibration = figure.subplots(1, 2)
    for name, values in by_name.items():
        wrong, right, _ = roc_curve(is_right, values)
        curves.plot(wrong, right, label=name, linewidth=3 if name == "probability" else 1.2)
    curves.set(xlabel="share of the wrong runs above a limit", ylabel="share of the right runs above it")
    curves.legend(fontsize=8, loc="lower right")
    bins = np.clip((np.array(by_name["probability"]) * BINS).astype(int), 0, BINS - 1)
    for number in np.unique(bins):
        inside = np.flatnonzero(bins == number)
        x = np.mean([by_name["probability"][row] for row in inside])
        y = np.mean([is_right[row] for row in inside])
        calibration.plot(x, y, "o", color="C0", markersize=4 + 2 * np.sqrt(len(inside)), alpha=0.7)
        calibration.annotate(str(len(inside)), (x, y), textcoords="offset points", xytext=(12, -4))
    calibration.plot([0, 1], [0, 1], color="grey", linewidth=1)
    calibration.set(xlabel="probability of right groups (fitted on the other sets)", ylabel="share that is right")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
