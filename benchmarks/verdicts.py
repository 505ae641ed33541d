"""Compare verdicts with labels: of runs that are made to fail, and of all runs that were measured.

    python -m benchmarks.verdicts --out benchmarks/results/sabotaged.jsonl --beside benchmarks/results/*.jsonl

Each sabotaged run is a command with a mistake in it: another number of categories than there are classes,
augmentations that change almost nothing, two hundred steps, an old recipe. Runs that are in the file already are not
repeated. Then every run of these files is judged again, from the recorded evidence and with today's thresholds. A
verdict is wrong if it trusts a run below ``FAILED`` of its floor, or does not trust a run that reaches its floor.
"""

import argparse
import shlex
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.accuracy import add, commit, lines_of, run
from infogan.evaluation.verdict import Evidence, judge

FLOORS = {"mnist": 0.983, "fashion-mnist": 0.65, "digits": 0.93}
FLOOR_OF_IMBALANCED = 0.9
FAILED = 0.9  # share of the floor; a run below has failed

# As in the recorded results, where --augment had its old name.
SABOTAGED = [
    "mnist --categorical 5",
    "mnist --categorical 7",
    "mnist --categorical 15",
    "mnist --categorical 20",
    "mnist --invariance colour=0.05",
    "mnist --invariance flip=0.5",
    "mnist --steps 200",
    "mnist --recipe paper --budget 4m",  # its own 5000 steps take half an hour
    "mnist --recipe post",
    "mnist --recipe plain",
    "fashion-mnist --categorical 5",
    "fashion-mnist --categorical 20",
    "digits --categorical 6 --budget 55s",
    "digits --categorical 20 --budget 55s",
]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file of sabotaged runs to append to")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="JSON lines of `benchmarks.accuracy`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="where the run folders go")
    parser.add_argument("--judge-only", action="store_true", help="train nothing, judge the recorded runs")
    arguments = parser.parse_args()
    for number, text in enumerate([] if arguments.judge_only else SABOTAGED):
        command = ["infogan", "train", *text.split(), "--seed", str(arguments.seed)]
        if any(line["command"] == shlex.join(command) for line in lines_of(arguments.out)):
            continue
        data = text.split()[0]
        folder = arguments.runs / f"sabotaged-{number}-{time.strftime('%Y%m%d-%H%M%S')}"
        add(arguments.out, {"data": data, "seed": arguments.seed, "commit": commit()} | run(command, folder))
    files = dict.fromkeys([arguments.out, *arguments.beside])
    print(table([line for file in files for line in lines_of(file)]))


def table(lines: list[dict[str, Any]]) -> str:
    """Return the runs as Markdown with their verdicts, and the number of right verdicts of either kind."""
    rows = ["| command | accuracy | verdict | |", "|---|---|---|---|"]
    counts: dict[str, list[int]] = {"failed and not trusted": [0, 0], "reached the floor and trusted": [0, 0]}
    for line in lines:
        if "verdict" not in line or "accuracy" not in line:
            continue
        names = [field.name for field in fields(Evidence)]
        verdict = judge(Evidence(**{name: line["verdict"].get(name) for name in names}), "category")
        is_trusted, reason = verdict.trust, verdict.reason
        floor = FLOOR_OF_IMBALANCED if "prior_distance" in line else FLOORS[line["data"]]
        kind, is_wrong = None, False  # between the two, either verdict is right
        if line["accuracy"] < FAILED * floor:
            kind, is_wrong = "failed and not trusted", is_trusted
        elif line["accuracy"] >= floor:
            kind, is_wrong = "reached the floor and trusted", not is_trusted
        if kind:
            counts[kind][0] += not is_wrong
            counts[kind][1] += 1
        command = line["command"].removeprefix("infogan train ")
        words = "trust" if is_trusted else reason
        rows.append(f"| `{command}` | {line['accuracy']:.4f} | {words} | {'wrong' if is_wrong else ''} |")
    return "\n".join([*rows, "", *(f"{kind}: {right} of {total}" for kind, (right, total) in counts.items())])


if __name__ == "__main__":
    main()
