"""Training by several processes against one: images a second, and what of a step goes into messages.

    python -m benchmarks.scaling --out benchmarks/results/scaling.json
    python -m benchmarks.scaling --recipe plain --rounds 3

One process of as many threads as there are cores, and as many processes of one thread each, have the same batches of
MNIST in turns; a ratio is the median of the rounds' ratios. The time in messages includes what workers wait for one
another.
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
from infogan.config import presets
from infogan.config.schema import build
from infogan.data import load
from infogan.training.loop import Watcher, train
from infogan.training.run_dir import RunFolder
from infogan.utils import distributed

WARM_UP = 5  # steps that do not count


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--set", action="append", default=[], help="options of the run, as `infogan train` takes them")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--here", action="store_true", help="be one of the processes that are measured")
    given = parser.parse_args()
    if given.here:
        with distributed.process_group("cpu"):
            found = measured(given.recipe, given.set, given.steps)
            if distributed.is_rank0():
                print(json.dumps(found))
        return
    rounds = []
    for _ in range(given.rounds):
        rounds.append([launched(1, given.workers), launched(given.workers, 1)])
        print(json.dumps(rounds[-1]), flush=True)
    alone, together = zip(*rounds, strict=True)
    ratios = [two["images_per_second"] / one["images_per_second"] for one, two in rounds]
    result: dict[str, Any] = {"commit": commit(), "torch": torch.__version__, **machine(), "recipe": given.recipe}
    result |= {
        "workers": given.workers,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "share_in_messages": statistics.median(two["seconds_in_messages"] / two["seconds"] for two in together),
        "one_process": _median(alone),
        "several": _median(together),
    }
    print(json.dumps(result, indent=1))
    if given.out:
        known = json.loads(given.out.read_text()) if given.out.is_file() else {}
        given.out.write_text(json.dumps(known | {" ".join([given.recipe, *given.set]): result}, indent=1) + "\n")


def launched(workers: int, threads: int) -> dict[str, float]:
    """What so many processes measured."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    words = ["-m", "benchmarks.scaling", "--here", *sys.argv[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([*command, *words], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(recipe: str, assignments: list[str], steps: int) -> dict[str, float]:
    """What this process saw of a training with the others."""
    length = {"steps": WARM_UP + steps, "budget": None, "save_every": 10**9, "sample_every": 10**9}
    config = build(presets.compose(recipe, [{"data": {"source": "mnist"}, "train": length}], assignments))
    clock: list[float] = []
    messages = Messages()
    with TemporaryDirectory() as folder:
        for name in ("all_reduce", "all_gather", "broadcast"):
            messages.watch(name)

        def look(done: int) -> None:
            if done in (WARM_UP, WARM_UP + steps - 1):  # the last step ends with the model being saved
                clock.append(time.perf_counter())
                messages.marks.append((messages.seconds, messages.count, messages.bytes))

        train(config, load("mnist"), RunFolder.at(Path(folder)), watch=Watcher(on_step=look))
    seconds = clock[1] - clock[0]
    in_messages, count, size = (end - start for start, end in zip(*messages.marks, strict=True))
    images = config.images_seen(WARM_UP + steps - 1) - config.images_seen(WARM_UP)
    return {
        "images_per_second": images / seconds,
        "seconds": seconds,
        "seconds_in_messages": in_messages,
        "messages_per_step": count / (steps - 1),
        "bytes_per_step": size / (steps - 1),
    }


class Messages:
    """Times what is asked of torch.distributed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.count = self.bytes = 0
        self.marks: list[tuple[float, int, int]] = []

    def watch(self, name: str) -> None:
        """From here on, each call of a collective counts."""
        real = getattr(torch.distributed, name)

        def timed(tensor: Any, *rest: Any, **options: Any) -> Any:
            started = time.perf_counter()
            result = real(tensor, *rest, **options)
            self.seconds += time.perf_counter() - started
            self.count += 1
            self.bytes += (rest[0] if isinstance(tensor, list) else tensor).nbytes
            return result

        setattr(torch.distributed, name, timed)


def _median(found: tuple[dict[str, float], ...]) -> dict[str, float]:
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


if __name__ == "__main__":
    main()
