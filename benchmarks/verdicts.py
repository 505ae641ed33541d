"""Is the verdict right? Runs that are made to fail, and all that were measured, against what their labels say.

    python -m benchmarks.verdicts --out benchmarks/results/sabotaged.jsonl --beside benchmarks/results/*.jsonl

Each sabotaged run is a command with something wrong in it: another number of categories than there are kinds,
transforms that hardly change anything, two hundred steps, a recipe of old. Those that are in the file already are not
repeated. Then every run of these files is judged anew, from the traces that were recorded, by today's limits: the
verdict of a run is wrong where it trusts less than ``FAILED`` of its floor, or does not trust what
reaches the floor.
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
FAILED = 0.9  # of its floor: whatever is below has failed

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
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the JSON lines of sabotaged runs to add to")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="JSON lines of `benchmarks.accuracy`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="where the run folders go")
    parser.add_argument("--judge-only", action="store_true", help="run nothing, judge what is there")
    given = parser.parse_args()
    for number, words in enumerate([] if given.judge_only else SABOTAGED):
        command = ["infogan", "train", *words.split(), "--seed", str(given.seed)]
        if any(line["command"] == shlex.join(command) for line in lines_of(given.out)):
            continue
        data = words.split()[0]
        folder = given.runs / f"sabotaged-{number}-{time.strftime('%Y%m%d-%H%M%S')}"
        add(given.out, {"data": data, "seed": given.seed, "commit": commit()} | run(command, folder))
    files = dict.fromkeys([given.out, *given.beside])
    print(table([line for file in files for line in lines_of(file)]))


def table(lines: list[dict[str, Any]]) -> str:
    """The runs as Markdown, the verdict on each, and how many verdicts are wrong in either way."""
    rows = ["| command | accuracy | verdict | |", "|---|---|---|---|"]
    counts: dict[str, list[int]] = {"failed and not trusted": [0, 0], "reached the floor and trusted": [0, 0]}
    for line in lines:
        if "verdict" not in line or "accuracy" not in line:
            continue
        names = [field.name for field in fields(Evidence)]
        trusted, reason = judge(Evidence(**{name: line["verdict"].get(name) for name in names}), "category")
        floor = FLOOR_OF_IMBALANCED if "prior_distance" in line else FLOORS[line["data"]]
        wrong = ""
        if line["accuracy"] < FAILED * floor:
            kind, wrong = "failed and not trusted", "wrong" if trusted else ""
        elif line["accuracy"] >= floor:
            kind, wrong = "reached the floor and trusted", "" if trusted else "wrong"
        else:
            kind = None  # between the two, either verdict may be had
        if kind:
            counts[kind][0] += not wrong
            counts[kind][1] += 1
        command = line["command"].removeprefix("infogan train ")
        said = "trust" if trusted else reason
        rows.append(f"| `{command}` | {line['accuracy']:.4f} | {said} | {wrong} |")
    return "\n".join([*rows, "", *(f"{kind}: {right} of {all_}" for kind, (right, all_) in counts.items())])


if __name__ == "__main__":
    main()
