"""How well a recipe finds the classes: data set x seeds -> a JSON line a run and a table, failures included.

    python -m benchmarks.accuracy mnist --seeds 0-9 --out benchmarks/results/mnist.jsonl
    python -m benchmarks.accuracy mnist --imbalanced --seeds 0-9 --out benchmarks/results/mnist-imbalanced.jsonl
    python -m benchmarks.accuracy digits --seeds 0-9 --out benchmarks/results/digits.jsonl -- --budget 55s

Each run is the command itself in a process of its own. It trains on the training split alone; the Hungarian matching is
fitted there, and everything is reported on the test split. Labels touch evaluation only. A run of the same command that
is in the file already is not repeated, so that an interrupted measurement goes on; after a change of the code, name
another file. With ``--imbalanced`` each seed also draws the number of training images of a class, 685 to 6300, or
all there are.
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
import torch

from benchmarks.classifier import outside_classifier
from infogan import InfoGAN
from infogan.api.sweep import seeds_of
from infogan.config.presets import INVARIANCES
from infogan.data import ImageSet, load
from infogan.evaluation.metrics.clustering import hungarian_mapping
from infogan.evaluation.metrics.fidelity import frechet_distance

SAMPLES = 10_000
SMALLEST, LARGEST = 685, 6300  # of an imbalanced class


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a named data set with labels and a test split")
    parser.add_argument("--recipe", default="robust")
    parser.add_argument("--seeds", default="0-9", help="such as 0-9 or 1,4")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="where the run folders go")
    parser.add_argument("--out", type=Path, required=True, help="the JSON lines to add to")
    parser.add_argument("--imbalanced", action="store_true", help="draw the sizes of the classes anew for each seed")
    parser.epilog = "After --: further arguments of infogan train."
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    given, more = parser.parse_args(words[:end]), words[end + 1 :]
    done = lines_of(given.out)
    for seed in seeds_of(given.seeds):
        source, needed = imbalanced(given.data, seed, given.runs) if given.imbalanced else (given.data, [])
        command = ["infogan", "train", source, "--recipe", given.recipe, "--seed", str(seed), *needed, *more]
        if any(line["command"] == shlex.join(command) for line in done):
            continue
        folder = given.runs / f"{Path(source).stem}-{given.recipe}-{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
        line = {"data": given.data, "recipe": given.recipe, "seed": seed, "commit": commit()}
        line |= run(command, folder)
        if "accuracy" in line:
            line |= judged(folder, given.data)
        if given.imbalanced and "accuracy" in line:
            line["prior_distance"] = prior_distance(InfoGAN.load(folder), load(source, split="train"))
        done.append(line)
        add(given.out, line)
        print(table(done), flush=True)
    print(table(done))


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The runs that are in a file; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def add(path: Path, line: dict[str, Any]) -> None:
    """Adds a run to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def imbalanced(data: str, seed: int, runs: Path) -> tuple[str, list[str]]:
    """A file with so many training images of each class as the seed draws, and what the command must say of it."""
    train, test = load(data, split="train"), load(data, split="test")
    assert train.labels is not None
    random = np.random.default_rng(seed)
    counts = random.integers(SMALLEST, LARGEST + 1, len(train.label_names))
    classes = [random.permutation(np.flatnonzero(train.labels == k))[:count] for k, count in enumerate(counts)]
    kept = train.subset(np.sort(np.concatenate(classes)))
    assert kept.labels is not None
    assert test.labels is not None
    path = runs / f"{data}-imbalanced-{seed}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x_train=kept.images, y_train=kept.labels, x_test=test.images, y_test=test.labels)
    strengths = ",".join(f"{name}={strength}" for name, strength in INVARIANCES[data].items())
    return str(path), ["--invariance", strengths]


def prior_distance(model: InfoGAN, train: ImageSet) -> float:
    """L1 distance of the learned prior to the frequencies of the classes; the labels serve this measurement alone."""
    assert train.labels is not None
    code = model.first_categorical()
    found = model.encode(train.images).codes[code.name]
    mapping = np.asarray(hungarian_mapping(found, train.labels, code.size, len(train.label_names)))
    learned = np.bincount(mapping, weights=model.layout.prior(code).numpy(), minlength=len(train.label_names))
    frequencies = np.bincount(train.labels, minlength=len(train.label_names)) / len(train)
    return float(np.abs(learned - frequencies).sum())


def run(command: list[str], folder: Path) -> dict[str, Any]:
    """One training and what it came to by its own account."""
    started = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", *command, "--out", str(folder), "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    line: dict[str, Any] = {"seconds": round(time.monotonic() - started, 1), "command": shlex.join(command)}
    line |= machine()
    if process.returncode != 0:
        return line | {"failed": process.returncode}
    result = json.loads(process.stdout.splitlines()[-1])
    kept = ("steps", "accuracy", "purity", "nmi", "ari", "information", "entropy", "verdict")
    return line | {name: result[name] for name in kept if name in result}


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
    if any("prior_distance" in line for line in lines):
        columns["prior_distance"] = ".3f"
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


def commit() -> str:
    """What was measured: the commit, and whether the working copy differs from it but for the results."""
    words = ["git", "describe", "--always"]
    name = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False).stdout.strip() or "unknown"
    changed = ["git", "diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)benchmarks/results"]
    return name + ("-dirty" if subprocess.run(changed, check=False).returncode == 1 else "")


def machine() -> dict[str, Any]:
    """What it was measured on, with the widest vectors that torch computes in."""
    name = platform.processor() or platform.machine()
    return {"cores": os.cpu_count(), "machine": name, "vectors": torch.backends.cpu.get_cpu_capability()}


if __name__ == "__main__":
    main()
