"""Compare training with several processes to training with one: images per second, and the time in messages.

    python -m benchmarks.scaling --out benchmarks/results/scaling.json
    python -m benchmarks.scaling --recipe plain --rounds 3

One process with as many threads as there are cores, and as many processes with one thread each, train on the same
batches of MNIST in turns. A ratio is the median of the rounds' ratios. The time in messages includes the time that
workers wait for one another.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed

from benchmarks.accuracy import commit, machine
from infogan.api import resolve
from infogan.config.load import build
from infogan.data import load
from infogan.training.callbacks import Callback
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils import distributed

WARM_UP = 5  # steps that are not measured


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--set", action="append", default=[], help="options of the run, as for `infogan train --set`")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--here", action="store_true", help="be one of the measured processes")
    arguments = parser.parse_args()
    if arguments.here:
        with distributed.process_group("cpu"):
            result = measure(arguments.recipe, arguments.set, arguments.steps)
            if distributed.is_rank0():
                print(json.dumps(result))
        return
    rounds = []
    for _ in range(arguments.rounds):
        rounds.append([launch(1, arguments.workers), launch(arguments.workers, 1)])
        print(json.dumps(rounds[-1]), flush=True)
    single, several = zip(*rounds, strict=True)
    ratios = [many["images_per_second"] / one["images_per_second"] for one, many in rounds]
    summary: dict[str, Any] = {"commit": commit(), "torch": torch.__version__, **machine(), "recipe": arguments.recipe}
    summary |= {
        "workers": arguments.workers,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "share_in_messages": statistics.median(many["seconds_in_messages"] / many["seconds"] for many in several),
        "one_process": _median(single),
        "several": _median(several),
    }
    print(json.dumps(summary, indent=1))
    if arguments.out:
        results = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
        results[" ".join([arguments.recipe, *arguments.set])] = summary
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def launch(workers: int, threads: int) -> dict[str, float]:
    """Return what some processes measure."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    command = ["-m", "benchmarks.scaling", "--here", *sys.argv[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    process = subprocess.run([*launcher, *command], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return result


def measure(recipe: str, assignments: list[str], steps: int) -> dict[str, float]:
    """Train together with the other processes; return what this process measures."""
    length = {"steps": WARM_UP + steps, "budget": None, "save_every": 10**9, "sample_every": 10**9}
    config = build(resolve.compose(recipe, [{"data": {"source": "mnist"}, "train": length}], assignments))
    messages = Messages()
    for name in ("all_reduce", "all_gather", "broadcast"):
        messages.wrap(name)
    marks = Marks(messages, (WARM_UP, WARM_UP + steps - 1))  # the last step includes saving the model
    with TemporaryDirectory() as folder:
        train(config, load("mnist"), RunFolder.at(Path(folder)), callbacks=[marks])
    seconds, in_messages, count, size = (end - start for start, end in zip(*marks.values, strict=True))
    images = config.images_seen(WARM_UP + steps - 1) - config.images_seen(WARM_UP)
    return {
        "images_per_second": images / seconds,
        "seconds": seconds,
        "seconds_in_messages": in_messages,
        "messages_per_step": count / (steps - 1),
        "bytes_per_step": size / (steps - 1),
    }


class Messages:
    """Measures the collectives of torch.distributed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.count = self.bytes = 0

    def wrap(self, name: str) -> None:
        """Measure every call of a collective from now on."""
        original = getattr(torch.distributed, name)

        def timed(tensor: Any, *rest: Any, **options: Any) -> Any:
            started = time.perf_counter()
            result = original(tensor, *rest, **options)
            self.seconds += time.perf_counter() - started
            self.count += 1
            self.bytes += (rest[0] if isinstance(tensor, list) else tensor).nbytes
            return result

        setattr(torch.distributed, name, timed)


class Marks(Callback):
    """Records the time and the messages up to some steps.

    Attributes:
        values: For each of the steps the time, the seconds in messages, their number and their bytes.
    """

    def __init__(self, messages: Messages, steps: tuple[int, ...]) -> None:
        self._messages, self._steps = messages, steps
        self.values: list[tuple[float, float, int, int]] = []

    def on_step_end(self, step: int) -> None:
        """Record the values after one of the steps."""
        if step in self._steps:
            messages = self._messages
            self.values.append((time.perf_counter(), messages.seconds, messages.count, messages.bytes))


def _median(results: tuple[dict[str, float], ...]) -> dict[str, float]:
    return {key: statistics.median(result[key] for result in results) for key in results[0]}


if __name__ == "__main__":
    main()
