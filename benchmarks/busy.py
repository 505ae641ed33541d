"""Measure training next to other programs that keep all cores busy, by how OpenMP's threads wait.

    python -m benchmarks.busy --out benchmarks/results/busy.json

Each measurement is a process of its own that trains with the default recipe on MNIST, for ``SECONDS`` in its first and
in its last stage, while ``--busy`` other processes compute. Settings alternate, in ``--rounds`` rounds. ``spinning`` is
OpenMP's default, ``passive`` never spins, and ``infogan`` is what the package sets. With ``infogan``, the time that the
whole run is expected to take is reported as well.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.accuracy import commit, machine
from infogan.api.resolve import compose, resolve
from infogan.data import load
from infogan.training.callbacks import Callback, Interrupted
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.time_budget import measure as measure_time
from infogan.training.time_budget import with_stages

SETTINGS: dict[str, dict[str, str]] = {
    "spinning": {"GOMP_SPINCOUNT": "300000"},  # libgomp's own number, if there are as many cores as threads
    "passive": {"GOMP_SPINCOUNT": "0"},
    "infogan": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"GOMP_SPINCOUNT": "10000"},
}
SECONDS = 8.0  # of training in each of the two stages


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 2, 4], help="numbers of other processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS))
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--planned", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.planned)))
        return
    rows = []
    for count in arguments.busy:
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.settings}
        for _ in range(arguments.rounds):
            for name in arguments.settings:
                with busy(count):
                    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"} | SETTINGS[name]
                    command = [sys.executable, "-m", "benchmarks.busy", "--child"]
                    command += ["--planned"] if name == "infogan" else []
                    measured[name].append(json.loads(subprocess.check_output(command, env=environment)))
        for name, results in measured.items():
            row: dict[str, object] = {"busy": count, "setting": name}
            for key in results[0]:
                values = [result[key] for result in results]
                row[key] = {"median": statistics.median(values), "least": min(values), "most": max(values)}
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps({"commit": commit(), **machine(), "rows": rows}, indent=1) + "\n")


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep some processes computing within the block."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


class Stopwatch(Callback):
    """Stops a run after ``SECONDS``, which begin with its second step.

    Attributes:
        rate: Steps per second.
    """

    def __init__(self) -> None:
        self._started: float | None = None
        self._steps = 0
        self.rate = 0.0

    def on_step_end(self, step: int) -> None:
        """Count the step."""
        if self._started is None:
            self._started = time.monotonic()
            return
        self._steps += 1
        self.rate = self._steps / (time.monotonic() - self._started)

    def stop_requested(self) -> bool:
        """Return whether the time is over."""
        return self._started is not None and time.monotonic() > self._started + SECONDS


def measure(planned: bool) -> dict[str, float]:
    """Return the images per second of the first and of the last stage, and the expected time of the whole run."""
    images = load("mnist")
    config = resolve(compose("robust", [{"data": {"source": "mnist"}}]), images, timed=False).config
    result: dict[str, float] = {}
    for stage in (config.stages[0], config.stages[-1]):
        alone = with_stages(config, (stage.model_copy(update={"share": 1e6, "on_start": ()}),))
        stopwatch = Stopwatch()
        with TemporaryDirectory() as folder, suppress(Interrupted):
            train(alone, images, RunFolder(Path(folder)), callbacks=[stopwatch])
        result[f"{stage.name}_images_per_second"] = stopwatch.rate * alone.batch_size(0)
    if planned:
        timing = measure_time(config, images)
        result["expected_seconds"] = timing.total(config)
    return result


if __name__ == "__main__":
    main()
