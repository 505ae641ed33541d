"""How well a recipe finds the classes: data set x seeds -> a JSON line a run and a table, failures included.

    python -m benchmarks.accuracy mnist --seeds 0-9 --out benchmarks/results/mnist-robust.jsonl

Each run is the command itself in a process of its own. It trains on the training split alone; the Hungarian matching is
fitted there, and everything is reported on the test split. Labels touch evaluation only. A run that is in the file
already is not repeated, so that an interrupted measurement goes on.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.classifier import outside_classifier
from infogan import InfoGAN
from infogan.data import load
from infogan.metrics.clustering import hungarian_mapping
from infogan.metrics.fidelity import frechet_distance

SAMPLES = 10_000


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a named data set with labels and a test split")
    parser.add_argument("--recipe", default="robust")
    parser.add_argument("--seeds", default="0-9", help="such as 0-9 or 1,4")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="where the run folders go")
    parser.add_argument("--out", type=Path, required=True, help="the JSON lines to add to")
    parser.add_argument("more", nargs="*", help="after --, further arguments of infogan train")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.is_file() else []
    for seed in _seeds(given.seeds):
        if any(line["seed"] == seed for line in done):
            continue
        line = run(given.data, given.recipe, seed, given.runs, given.more)
        done.append(line)
        with open(given.out, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(table(done), flush=True)
    print(table(done))


def run(data: str, recipe: str, seed: int, runs: Path, more: list[str]) -> dict[str, Any]:
    """One training and what it came to."""
    folder = runs / f"{data}-{recipe}-{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    command = ["infogan", "train", data, "--recipe", recipe, "--seed", str(seed), *more]
    started = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", *command, "--out", str(folder), "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    seconds = time.monotonic() - started
    line = {"data": data, "recipe": recipe, "seed": seed, "seconds": round(seconds, 1), "command": shlex.join(command)}
    line |= {"cores": os.cpu_count(), "machine": platform.processor() or platform.machine()}
    if process.returncode != 0:
        return line | {"failed": process.returncode}
    result = json.loads(process.stdout.splitlines()[-1])
    kept = ("steps", "accuracy", "purity", "nmi", "ari", "information", "entropy", "verdict")
    return line | {name: result[name] for name in kept if name in result} | judged(folder, data)


def judged(folder: Path, data: str) -> dict[str, Any]:
    """What the outside classifier says of the run's generator."""
    train, test = load(data, split="train"), load(data, split="test")
    if train.size < 16:
        return {}
    judge, accuracy = outside_classifier(train, test, folder.parent / f"classifier-{data}.pt")
    model = InfoGAN.load(folder)
    samples = model.sample(SAMPLES, seed=1)
    features, labels = judge.read(samples.images)
    reals, others = judge.read(test.images[:SAMPLES])[0], judge.read(train.images[:SAMPLES])[0]
    codes = samples.codes[model.first_categorical().name]
    mapping = np.asarray(hungarian_mapping(codes, labels, model.first_categorical().size, len(train.label_names)))
    distance, base = frechet_distance(features, reals), frechet_distance(others, reals)
    return {
        "agreement": float((mapping[codes] == labels).mean()),
        "frechet": distance,
        "frechet_ratio": distance / base,
        "classifier_accuracy": accuracy,
    }


def table(lines: list[dict[str, Any]]) -> str:
    """The runs as Markdown, and under them mean, standard deviation and worst."""
    columns = {"accuracy": ".4f", "nmi": ".4f", "agreement": ".4f", "frechet_ratio": ".1f", "seconds": ".0f"}
    rows = ["| seed | " + " | ".join(columns) + " | trust |", "|" + "---|" * (len(columns) + 2)]
    for line in sorted(lines, key=lambda line: line["seed"]):
        cells = [format(line[name], form) if name in line else "-" for name, form in columns.items()]
        trusted = {True: "yes", False: "no", None: "-"}[line.get("verdict", {}).get("trust")]
        rows.append(f"| {line['seed']} | " + " | ".join(cells) + f" | {trusted} |")
    for title, measure in (("mean", np.mean), ("deviation", np.std), ("lowest", np.min), ("highest", np.max)):
        cells = []
        for name, form in columns.items():
            values = [line[name] for line in lines if name in line]
            cells.append(format(float(measure(values)), form) if values else "-")
        rows.append(f"| {title} | " + " | ".join(cells) + " | |")
    return "\n".join(rows)


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    return seeds


if __name__ == "__main__":
    main()
