"""Measure the seconds until the default recipe reaches an accuracy on the test split.

    python -m benchmarks.until mnist --accuracy 0.95 --seeds 0-9 --out benchmarks/results/mnist-until.jsonl

The clock starts when the images are read, and includes the measurement for the budget and the clustering. It is stopped
while the accuracy is measured, every 20 steps. The start of Python, two or three seconds, is not counted. The matching
of categories to labels is fitted on 10,000 training images.
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
from infogan.api.resolve import Plan, compose
from infogan.api.sweep import parse_seeds
from infogan.api.train_run import plan
from infogan.data import ImageSet, load
from infogan.evaluation.metrics.clustering import hungarian_mapping
from infogan.training.callbacks import Callback, Interrupted
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder

MEASURED_IMAGES = 10_000  # of either split
INTERVAL = 20  # steps between measurements


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a named data set with labels and a test split")
    parser.add_argument("--accuracy", type=float, default=0.95)
    parser.add_argument("--seeds", default="0-9", help="such as 0-9 or 1,4")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to append to")
    arguments = parser.parse_args()
    lines = []
    for seed in parse_seeds(arguments.seeds):
        with TemporaryDirectory() as folder:
            line = {"data": arguments.data, "seed": seed, "accuracy": arguments.accuracy, "commit": commit()}
            line |= machine() | until(arguments.data, seed, arguments.accuracy, Path(folder) / "run")
        lines.append(line)
        add(arguments.out, line)
        print(line, flush=True)
    seconds = [line["seconds"] if line["seconds"] is not None else np.inf for line in lines]
    print(f"median {np.median(seconds):.1f} s, from {min(seconds):.1f} to {max(seconds):.1f} s, {len(seconds)} seeds")


def until(data: str, seed: int, accuracy: float, folder: Path, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Train until the accuracy is reached; return the ``seconds`` (None if it is not reached) and the ``step``.

    ``assignments`` are ``section.key=value`` each, as for `compose`.
    """
    started = time.monotonic()
    options = {"data": {"source": data}, "train": {"seed": seed, "sample_every": INTERVAL}}
    planned = plan(compose("robust", [options], assignments))
    check = AccuracyCheck(planned, load(data, split="test"), accuracy, started)
    with contextlib.suppress(Interrupted):
        train(planned.config, planned.images, RunFolder.at(folder), callbacks=[check])
    return check.result or {"seconds": None, "step": planned.config.train.steps}


class AccuracyCheck(Callback):
    """Stops a run when its category reaches an accuracy.

    Args:
        plan: The run.
        test: The test split.
        accuracy: The accuracy to reach.
        started: When the clock started.

    Attributes:
        result: The ``seconds`` and the ``step`` at which the accuracy was reached; None until then.
    """

    def __init__(self, plan: Plan, test: ImageSet, accuracy: float, started: float) -> None:
        self.result: dict[str, Any] | None = None
        self._accuracy, self._started, self._measuring = accuracy, started, 0.0
        _, _, self._pretraining_end = plan.config.stage_at(0)
        assert plan.images.labels is not None
        assert test.labels is not None
        shuffled = np.random.default_rng(plan.config.train.seed).permutation(len(plan.images))
        sample = np.sort(shuffled[:MEASURED_IMAGES])
        self._train_images, self._train_labels = plan.images.images[sample], plan.images.labels[sample]
        self._test_images, self._test_labels = test.images[:MEASURED_IMAGES], test.labels[:MEASURED_IMAGES]
        self._classes = len(plan.images.label_names)

    def on_sample(self, step: int, model: InfoGAN) -> None:
        """Measure the accuracy; the time that it takes is not counted."""
        if step <= self._pretraining_end or self.result is not None:
            return
        now = time.monotonic()
        code = model.first_categorical()
        categories = model.encode(self._train_images).codes[code.name]
        mapping = np.asarray(hungarian_mapping(categories, self._train_labels, code.size, self._classes))
        predicted = mapping[model.encode(self._test_images).codes[code.name]]
        if (predicted == self._test_labels).mean() >= self._accuracy:
            self.result = {"seconds": round(now - self._started - self._measuring, 1), "step": step}
        self._measuring += time.monotonic() - now

    def stop_requested(self) -> bool:
        """Stop when the accuracy is reached."""
        return self.result is not None


if __name__ == "__main__":
    main()
