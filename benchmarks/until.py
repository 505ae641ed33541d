"""How soon the default recipe finds the classes: seconds until the code reaches an accuracy on the test split.

    python -m benchmarks.until mnist --accuracy 0.95 --seeds 0-9 --out benchmarks/results/mnist-until.jsonl

The clock runs from the reading of the images, with the budget's measuring of steps and the clustering; it stands still
while accuracy is looked at, every 20 steps. Python's start, two or three seconds, is not counted. The matching of
values to labels is fitted on 10,000 training images.
"""

import argparse
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.accuracy import add, commit, machine
from infogan import InfoGAN
from infogan.api.sweep import seeds_of
from infogan.api.train_run import plan
from infogan.config.presets import compose
from infogan.data import load
from infogan.evaluation.metrics.clustering import hungarian_mapping
from infogan.training.loop import Interrupted, Watcher, train
from infogan.training.run_dir import RunFolder

LOOKED_AT = 10_000  # images of either split
EVERY = 20  # steps


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a named data set with labels and a test split")
    parser.add_argument("--accuracy", type=float, default=0.95)
    parser.add_argument("--seeds", default="0-9", help="such as 0-9 or 1,4")
    parser.add_argument("--out", type=Path, required=True, help="the JSON lines to add to")
    given = parser.parse_args()
    lines = []
    for seed in seeds_of(given.seeds):
        with TemporaryDirectory() as folder:
            line = {"data": given.data, "seed": seed, "accuracy": given.accuracy, "commit": commit()}
            line |= machine() | until(given.data, seed, given.accuracy, Path(folder) / "run")
        lines.append(line)
        add(given.out, line)
        print(line, flush=True)
    reached = [line["seconds"] if line["seconds"] is not None else np.inf for line in lines]
    print(f"median {np.median(reached):.1f} s, from {min(reached):.1f} to {max(reached):.1f} s, {len(reached)} seeds")


def until(data: str, seed: int, accuracy: float, folder: Path, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Trains until the accuracy is reached: the ``seconds`` that took, None if never, and the ``step``.

    ``assignments`` are ``section.key=value`` each, as for `recipes.resolve`.
    """
    started = time.monotonic()
    options = {"data": {"source": data}, "train": {"seed": seed, "sample_every": EVERY}}
    planned = plan(compose("robust", [options], assignments))
    _, _, before_classes = planned.config.stage_at(0)
    test = load(data, split="test")
    assert planned.images.labels is not None
    assert test.labels is not None
    test_images, test_labels = test.images[:LOOKED_AT], test.labels[:LOOKED_AT]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(planned.images))[:LOOKED_AT])
    train_images, train_labels = planned.images.images[chosen], planned.images.labels[chosen]
    looking, reached = 0.0, None

    def look(step: int, model: InfoGAN) -> None:
        nonlocal looking, reached
        if step <= before_classes or reached is not None:
            return
        now = time.monotonic()
        code = model.first_categorical()
        fitted = model.encode(train_images).codes[code.name]
        mapping = np.asarray(hungarian_mapping(fitted, train_labels, code.size, len(planned.images.label_names)))
        found = mapping[model.encode(test_images).codes[code.name]]
        if (found == test_labels).mean() >= accuracy:
            reached = {"seconds": round(now - started - looking, 1), "step": step}
        looking += time.monotonic() - now

    watcher = Watcher(on_picture=look, interrupted=lambda: reached is not None)
    with contextlib.suppress(Interrupted):
        train(planned.config, planned.images, RunFolder.at(folder), watch=watcher)
    return reached or {"seconds": None, "step": planned.config.train.steps}


if __name__ == "__main__":
    main()
