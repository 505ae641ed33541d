"""Measure the accuracy of a recipe: a JSON line for each data set and seed, and a table, failures included.

    python -m benchmarks.accuracy mnist --seeds 0-9 --out benchmarks/results/mnist.jsonl
    python -m benchmarks.accuracy mnist --imbalanced uniform --seeds 0-9 --out benchmarks/results/mnist-imbalanced.jsonl
    python -m benchmarks.accuracy mnist --anonymous --seeds 0-4 --out benchmarks/results/mnist-anonymous.jsonl
    python -m benchmarks.accuracy digits --seeds 0-9 --out benchmarks/results/digits.jsonl -- --budget 55s

Each run is the command in a separate process. It trains on the training split alone; the Hungarian matching is fitted
there, and everything is reported on the test split. Labels are used for evaluation only. A command that is in the file
already is not repeated, so that an interrupted measurement continues; after a change of the code, name another file.
With ``--imbalanced`` each seed also draws the number of training images of each class: 685 to 6300, or all; the
numbers or their logarithms are uniform. With ``--anonymous`` the images are in a file, so that no name tells what they
are.
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

from benchmarks.classifier import trained_classifier
from infogan import InfoGAN
from infogan.api.sweep import parse_seeds
from infogan.data import ImageSet, load
from infogan.evaluation.metrics.clustering import hungarian_mapping
from infogan.evaluation.metrics.fidelity import frechet_distance

SAMPLES = 10_000
SMALLEST, LARGEST = 685, 6300  # of an imbalanced class


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a named data set with labels and a test split")
    parser.add_argument("--recipe", default="robust")
    parser.add_argument("--seeds", default="0-9", help="such as 0-9 or 1,4")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="folder of the run folders")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to append to")
    parser.add_argument("--imbalanced", choices=("uniform", "log"), help="draw the sizes of the classes for each seed")
    parser.add_argument("--anonymous", action="store_true", help="train on a file instead of the named set")
    parser.epilog = "After --: further arguments of infogan train."
    argv = sys.argv[1:]
    end = argv.index("--") if "--" in argv else len(argv)
    arguments, train_arguments = parser.parse_args(argv[:end]), argv[end + 1 :]
    lines = lines_of(arguments.out)
    for seed in parse_seeds(arguments.seeds):
        source = arguments.data
        if arguments.imbalanced:
            source = imbalanced(arguments.data, seed, arguments.runs, logarithmic=arguments.imbalanced == "log")
        elif arguments.anonymous:
            source = anonymous(arguments.data, arguments.runs)
        command = ["infogan", "train", source, "--recipe", arguments.recipe, "--seed", str(seed)]
        command += train_arguments
        if any(line["command"] == shlex.join(command) for line in lines):
            continue
        folder = arguments.runs / f"{Path(source).stem}-{arguments.recipe}-{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
        line = {"data": arguments.data, "recipe": arguments.recipe, "seed": seed, "commit": commit()}
        line |= run(command, folder)
        if "accuracy" in line:
            line |= judge_samples(folder, arguments.data)
        if arguments.imbalanced and "accuracy" in line:
            line["prior_distance"] = prior_distance(InfoGAN.load(folder), load(source, split="train"))
        lines.append(line)
        add(arguments.out, line)
        print(table(lines), flush=True)
    print(table(lines))


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the runs in a file; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def add(path: Path, line: dict[str, Any]) -> None:
    """Append a run to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def anonymous(data: str, runs: Path) -> str:
    """Write a data set into a file, and return its path."""
    return _write(load(data, split="train"), load(data, split="test"), runs / "images.npz")


def imbalanced(data: str, seed: int, runs: Path, *, logarithmic: bool = False) -> str:
    """Write a file with as many training images of each class as the seed draws, and return its path."""
    train, test = load(data, split="train"), load(data, split="test")
    assert train.labels is not None
    random = np.random.default_rng(seed)
    if logarithmic:
        counts = np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST), len(train.label_names))).astype(int)
    else:
        counts = random.integers(SMALLEST, LARGEST + 1, len(train.label_names))
    classes = [random.permutation(np.flatnonzero(train.labels == k))[:count] for k, count in enumerate(counts)]
    subset = train.subset(np.sort(np.concatenate(classes)))
    kind = "log" if logarithmic else "uniform"
    return _write(subset, test, runs / f"{data}-imbalanced-{kind}-{seed}.npz")


def _write(train: ImageSet, test: ImageSet, path: Path) -> str:
    assert train.labels is not None
    assert test.labels is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x_train=train.images, y_train=train.labels, x_test=test.images, y_test=test.labels)
    return str(path)


def prior_distance(model: InfoGAN, train: ImageSet) -> float:
    """Return the L1 distance of the learned prior to the frequencies of the classes."""
    assert train.labels is not None
    code = model.first_categorical()
    categories = model.encode(train.images).codes[code.name]
    mapping = np.asarray(hungarian_mapping(categories, train.labels, code.size, len(train.label_names)))
    learned = np.bincount(mapping, weights=model.layout.prior(code).numpy(), minlength=len(train.label_names))
    frequencies = np.bincount(train.labels, minlength=len(train.label_names)) / len(train)
    return float(np.abs(learned - frequencies).sum())


def run(command: list[str], folder: Path) -> dict[str, Any]:
    """Train; return what the command reports."""
    started = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", *command, "--out", str(folder), "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    line: dict[str, Any] = {"seconds": round(time.monotonic() - started, 1), "command": shlex.join(command)}
    line |= machine()
    if process.returncode != 0:
        return line | {"failed": process.returncode}
    result = json.loads(process.stdout.splitlines()[-1])
    names = ("steps", "accuracy", "purity", "nmi", "ari", "information", "entropy", "verdict")
    return line | {name: result[name] for name in names if name in result}


def judge_samples(folder: Path, data: str) -> dict[str, Any]:
    """Return what a classifier trained with labels finds in samples of a run's generator."""
    train, test = load(data, split="train"), load(data, split="test")
    if train.size < 16:
        return {}
    classifier, accuracy = trained_classifier(train, test, folder.parent / f"classifier-{data}.pt")
    model = InfoGAN.load(folder)
    samples = model.sample(SAMPLES, seed=1)
    features, labels = classifier.classify(samples.images)
    reals, train_reals = (classifier.classify(split.images[:SAMPLES])[0] for split in (test, train))
    codes = samples.codes[model.first_categorical().name]
    mapping = np.asarray(hungarian_mapping(codes, labels, model.first_categorical().size, len(train.label_names)))
    distance, base = frechet_distance(features, reals), frechet_distance(train_reals, reals)
    return {
        "agreement": float((mapping[codes] == labels).mean()),
        "frechet": distance,
        "frechet_ratio": distance / base,
        "classifier_accuracy": accuracy,
    }


def table(lines: list[dict[str, Any]]) -> str:
    """Return the runs as Markdown, with mean, standard deviation and extremes."""
    columns = {"accuracy": ".4f", "nmi": ".4f", "agreement": ".4f", "frechet_ratio": ".1f", "seconds": ".0f"}
    if any("prior_distance" in line for line in lines):
        columns["prior_distance"] = ".3f"
    rows = ["| seed | " + " | ".join(columns) + " | trust |", "|" + "---|" * (len(columns) + 2)]
    for line in sorted(lines, key=lambda line: line["seed"]):
        cells = [format(line[name], form) if name in line else "-" for name, form in columns.items()]
        trust = {True: "yes", False: "no", None: "-"}[line.get("verdict", {}).get("trust")]
        rows.append(f"| {line['seed']} | " + " | ".join(cells) + f" | {trust} |")
    for title, measure in (("mean", np.mean), ("deviation", np.std), ("lowest", np.min), ("highest", np.max)):
        cells = []
        for name, form in columns.items():
            values = [line[name] for line in lines if name in line]
            cells.append(format(float(measure(values)), form) if values else "-")
        rows.append(f"| {title} | " + " | ".join(cells) + " | |")
    return "\n".join(rows)


def commit() -> str:
    """Return the commit, with ``-dirty`` if the working copy differs from it in more than results."""
    command = ["git", "describe", "--always"]
    name = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip() or "unknown"
    difference = ["git", "diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)benchmarks/results"]
    return name + ("-dirty" if subprocess.run(difference, check=False).returncode == 1 else "")


def machine() -> dict[str, Any]:
    """Return the number of cores, the processor and its widest vectors."""
    name = platform.processor() or platform.machine()
    return {"cores": os.cpu_count(), "machine": name, "vectors": torch.backends.cpu.get_cpu_capability()}


if __name__ == "__main__":
    main()
