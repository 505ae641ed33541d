"""How fast it is: steps against a plain implementation and the machine's own ceilings, start-up, reading, memory.

    python -m benchmarks.speed --out benchmarks/results/speed.json
    python -m benchmarks.speed --only step --rounds 3

Everything that is compared is measured in turns in one run, because machines are noisy: a round measures each of the
compared once, and a ratio is the median of the rounds' ratios.

    step     the paper's networks at batch 128: `benchmarks.naive`, ours, ours in float32; a large matrix product and a
             copy of memory as ceilings
    starting `infogan --help`, `import infogan`, and a default training on MNIST until its first step is done
    reading  `infogan encode` of 70,000 images of MNIST's size, the whole command; images encoded and sampled a second
    memory   the most that a training on MNIST of 200 steps, all stages and the evaluation with it, holds resident
    compiled the paper's networks and the default recipe's game, eager and by `--compile`, and what compiling takes
    scores   all scores of disentanglement, of 50,000 images with 6 factors and 10 codes
    size     a step at one thousand, a hundred thousand and ten million images in a file, made and removed here
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.accuracy import commit, machine
from benchmarks.naive import NaiveInfoGAN
from infogan import InfoGAN
from infogan.config import presets
from infogan.config.schema import Config, build
from infogan.data import load
from infogan.data.dataset import ImageSet
from infogan.evaluation.metrics.disentanglement import disentanglement
from infogan.training.loop import Watcher, train
from infogan.training.run_dir import RunFolder

BATCH = 128
WARM_UP, TIMED = 5, 20  # steps
MATRIX = 2048  # rows and columns of the products
COPIED = 2**28  # bytes
SIZES = (1_000, 100_000, 10_000_000)
SHAPE = (1, 28, 28)
READ = 70_000
SCORED, VALUES, CODES = 50_000, (3, 4, 6, 8, 10, 15), 10  # images, of each factor, and as they are read


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scratch", type=Path, help="a folder for 8 GB; default: where temporary files go")
    given = parser.parse_args()
    found: dict[str, Any] = {"commit": commit(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    found |= machine()
    with TemporaryDirectory(dir=given.scratch) as folder:
        for part in given.only.split(","):
            found[part] = PARTS[part](given.rounds, Path(folder))
            print(json.dumps({part: found[part]}, indent=2), flush=True)
            if given.out:
                given.out.parent.mkdir(parents=True, exist_ok=True)
                given.out.write_text(json.dumps(found, indent=2) + "\n")


def steps(rounds: int, folder: Path) -> dict[str, Any]:
    """The paper's networks: naive, ours, and the ceilings."""
    images = load("mnist")
    naive = NaiveInfoGAN(images.images, BATCH)
    naive.train(WARM_UP)
    taken = in_turns(
        {
            "naive": lambda: timed(lambda: naive.train(TIMED)) / TIMED,
            "ours": lambda: a_step(paper("auto"), images, folder),
            "ours in fp32": lambda: a_step(paper("fp32"), images, folder),
            "fp32 matrix product": lambda: a_product(torch.float32),
            "bf16 matrix product": lambda: a_product(torch.bfloat16),
            "copy": a_copy,
        },
        rounds,
    )
    products = {name: [2 * MATRIX**3 / took for took in taken[f"{name} matrix product"]] for name in ("fp32", "bf16")}
    ours = flops_of(lambda: a_step(paper("fp32"), images, folder, 1))
    flops = {"naive": flops_of(lambda: naive.train(1)), "ours": ours, "ours in fp32": ours}
    rates = {name: [flops[name] / took for took in taken[name]] for name in NAMES}
    return {
        "images_per_second": {name: spread([BATCH / took for took in taken[name]]) for name in NAMES},
        "ours_over_naive": ratio(taken["naive"], taken["ours"]),
        "ours_in_fp32_over_naive": ratio(taken["naive"], taken["ours in fp32"]),
        "flops_per_image": {name: count / BATCH for name, count in flops.items()},
        "matrix_products_flops": {name: spread(rates_) for name, rates_ in products.items()},
        "share_of_bf16_products": ratio(rates["ours"], products["bf16"]),
        "share_of_fp32_products": {name: ratio(rates[name], products["fp32"]) for name in NAMES if name != "ours"},
        "copied_bytes_per_second": spread([2 * COPIED / took for took in taken["copy"]]),
    }


NAMES = ("naive", "ours", "ours in fp32")


def starting(rounds: int, folder: Path) -> dict[str, Any]:
    """Seconds until something happens."""
    load("mnist")  # so that it is fetched
    runs = iter(range(10**6))
    taken = in_turns(
        {
            "help": lambda: timed(lambda: call(["-m", "infogan", "--help"])),
            "import": lambda: timed(lambda: call(["-c", "import infogan"])),
            "first step": lambda: until_first_step(folder / f"first-{next(runs)}"),
        },
        rounds,
    )
    return {name: spread(values) for name, values in taken.items()}


def reading(rounds: int, folder: Path) -> dict[str, Any]:
    """Encoding and sampling by a default model of MNIST, of a few steps: what weights are costs no time."""
    run, images = folder / "run", load("mnist").images
    call(["-m", "infogan", "train", "mnist", "--steps", "8", "--out", str(run)])
    more = np.concatenate([images, images[: READ - len(images)]])
    np.save(folder / "images.npy", more[:, 0])
    model = InfoGAN.load(run)
    command = ["-m", "infogan", "encode", str(run), str(folder / "images.npy"), "--out", str(folder / "codes.csv")]
    taken = in_turns(
        {
            "command": lambda: timed(lambda: call(command)),
            "encode": lambda: timed(lambda: model.encode(more[:20_000])),
            "sample": lambda: timed(lambda: model.sample(20_000)),
        },
        rounds,
    )
    return {
        "encode_command_seconds": spread(taken["command"]),
        "encoded_per_second": spread([20_000 / took for took in taken["encode"]]),
        "sampled_per_second": spread([20_000 / took for took in taken["sample"]]),
    }


def memory(rounds: int, folder: Path) -> dict[str, Any]:
    """The largest resident set of a training, in bytes."""
    # Started by a small process: what a large one, like this, held when it forked would be counted as the child's.
    script = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    words = ["-m", "infogan", "train", "mnist", "--steps", "200", "--out", str(folder / "memory")]
    done = subprocess.run([sys.executable, "-c", script, *words], check=True, stdout=subprocess.PIPE, text=True)
    return {"peak_bytes": int(done.stdout) * 1024}  # Linux counts in KiB


def compiled(rounds: int, folder: Path) -> dict[str, Any]:
    """Steps that are compiled over those that are not."""
    images, found = load("mnist"), {}
    game = build(presets.compose("robust", [{"data": {"source": "mnist"}, "train": {"steps": 1}}]))
    game = game.model_copy(update={"stages": (game.stages[-1].model_copy(update={"on_start": ()}),)})
    for name, config in {"paper": paper("auto"), "game": game}.items():
        fast = config.model_copy(update={"train": config.train.model_copy(update={"compile": True})})
        first = timed(partial(a_step, fast, images, folder, 2))
        eager, quick = partial(a_step, config, images, folder), partial(a_step, fast, images, folder)
        taken = in_turns({"eager": eager, "compiled": quick}, rounds)
        found[name] = {
            "seconds_to_compile": first,
            "eager_seconds_a_step": spread(taken["eager"]),
            "eager_over_compiled": ratio(taken["eager"], taken["compiled"]),
        }
    return found


def scores(rounds: int, folder: Path) -> dict[str, Any]:
    """The suite on codes that each follow a factor, with some of the others and noise in them."""
    random = np.random.default_rng(0)
    factors = np.stack([random.integers(count, size=SCORED) for count in VALUES], axis=1)
    mixing = np.eye(CODES, len(VALUES)) + random.normal(0, 0.2, (CODES, len(VALUES)))
    codes = factors / np.array(VALUES) @ mixing.T + random.normal(0, 0.1, (SCORED, CODES))
    taken = in_turns({"suite": lambda: timed(lambda: disentanglement(codes, factors, nominal=[0]))}, rounds)
    return {"seconds": spread(taken["suite"])}


def sizes(rounds: int, folder: Path) -> dict[str, Any]:
    """A step of the plain recipe on files of different lengths."""
    sets = {}
    for count in SIZES:
        path = folder / f"{count}.npy"
        written = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, *SHAPE))
        block = np.random.default_rng(0).integers(0, 256, (1_000, *SHAPE), np.uint8)
        for start in range(0, count, len(block)):
            written[start : start + len(block)] = block
        written.flush()
        sets[count] = load(path)
    config = build(presets.compose("plain", [{"data": {"source": "synthetic"}}]))
    taken = in_turns({str(count): partial(a_step, config, images, folder) for count, images in sets.items()}, rounds)
    middle = taken[str(SIZES[1])]
    return {
        "seconds_a_step": {name: spread(values) for name, values in taken.items()},
        f"over_{SIZES[1]}": {name: ratio(values, middle) for name, values in taken.items()},
    }


PARTS: dict[str, Callable[[int, Path], dict[str, Any]]] = {
    "step": steps,
    "starting": starting,
    "reading": reading,
    "memory": memory,
    "compiled": compiled,
    "scores": scores,
    "size": sizes,
}


# Measuring.


def in_turns(measured: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each gives in each round."""
    taken: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, measure in measured.items():
            taken[name].append(measure())
    return taken


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratio(over: list[float], under: list[float]) -> dict[str, float]:
    """Of the rounds' ratios."""
    return spread([a / b for a, b in zip(over, under, strict=True)])


def timed(work: Callable[[], object]) -> float:
    """Seconds that it took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def call(words: list[str]) -> None:
    """Runs Python in a process of its own."""
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def paper(precision: str) -> Config:
    """The paper's recipe for MNIST."""
    options = {"data": {"source": "mnist"}, "train": {"precision": precision, "batch_size": BATCH}}
    return build(presets.compose("paper", [options]))


def a_step(config: Config, images: ImageSet, folder: Path, timed_steps: int = TIMED) -> float:
    """Seconds of a step of the training itself, in its own loop; those that warm up are not counted."""
    never, warm = 2**31, WARM_UP if timed_steps > 1 else 0
    quiet = {"steps": warm + timed_steps, "log_every": never, "save_every": never, "sample_every": never}
    short = config.model_copy(update={"train": config.train.model_copy(update=quiet)})
    clock = [time.perf_counter()]
    # The last step's end is that of the checkpoint: it is left out.
    with TemporaryDirectory(dir=folder) as run:
        train(short, images, RunFolder(Path(run)), watch=Watcher(on_step=lambda _: clock.append(time.perf_counter())))
    lengths = np.diff(clock)
    return float(lengths[warm:-1].mean()) if timed_steps > 1 else float(lengths[0])


def flops_of(work: Callable[[], object]) -> int:
    """Floating-point operations of its matrix products and convolutions, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def a_product(kind: torch.dtype) -> float:
    """Seconds of a product of square matrices, the median of a few."""
    a, b = (torch.randn(MATRIX, MATRIX).to(kind) for _ in range(2))
    return statistics.median(timed(lambda: a @ b) for _ in range(5))


def a_copy() -> float:
    """Seconds of a copy of ``COPIED`` bytes, which are read and written."""
    source = torch.zeros(COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    return statistics.median(timed(lambda: target.copy_(source)) for _ in range(5))


def until_first_step(run: Path) -> float:
    """Seconds from the command of a default training on MNIST to the report of its first step; then it is stopped."""
    words = ["-m", "infogan", "train", "mnist", "--out", str(run), "--set", "train.log_every=1"]
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (run / "stats.jsonl").is_file() or not (run / "stats.jsonl").stat().st_size:
        time.sleep(0.01)
    took = time.perf_counter() - started
    process.send_signal(signal.SIGINT)
    process.wait()
    return took


if __name__ == "__main__":
    main()
