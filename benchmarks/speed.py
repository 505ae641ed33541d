"""Measure speed: steps compared with a plain implementation and the machine's limits, start-up, encoding, memory.

    python -m benchmarks.speed --out benchmarks/results/speed.json
    python -m benchmarks.speed --only step --rounds 3

Everything that is compared is measured in turns in one run, because machines are noisy: each round measures every
variant once, and a ratio is the median of the rounds' ratios.

    step     the paper's networks at batch size 128: `benchmarks.naive`, ours, ours in float32; a large matrix product
             and a copy of memory as limits
    starting `infogan --help`, `import infogan`, and a default training on MNIST up to its first step
    reading  the command `infogan encode` on 70,000 images of MNIST's size; images encoded and sampled per second
    memory   the peak resident memory of a training on MNIST of 200 steps, with all stages and the evaluation
    compiled the paper's networks and the GAN stage of the default recipe, eager and with `--compile`
    scores   all disentanglement scores of 50,000 images with 6 factors and 10 codes
    size     a step with one thousand, a hundred thousand and ten million images in a file, written and removed here
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
from infogan.api import resolve
from infogan.config.load import build
from infogan.config.schema import Config
from infogan.data import load
from infogan.data.dataset import ImageSet
from infogan.evaluation.metrics.disentanglement import disentanglement
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.time_budget import StepTimer

BATCH = 128
WARM_UP, TIMED = 5, 20  # steps
MATRIX = 2048  # rows and columns of the products
COPIED = 2**28  # bytes
SIZES = (1_000, 100_000, 10_000_000)
SHAPE = (1, 28, 28)
READ = 70_000
SCORED, VALUES, CODES = 50_000, (3, 4, 6, 8, 10, 15), 10  # images, values of each factor, codes


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scratch", type=Path, help="folder with 8 GB of space; default: that of temporary files")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"commit": commit(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    result |= machine()
    with TemporaryDirectory(dir=arguments.scratch) as folder:
        for part in arguments.only.split(","):
            result[part] = PARTS[part](arguments.rounds, Path(folder))
            print(json.dumps({part: result[part]}, indent=2), flush=True)
            if arguments.out:
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def steps(rounds: int, folder: Path) -> dict[str, Any]:
    """Measure steps of the paper's networks, naive and ours, and the limits."""
    images = load("mnist")
    naive = NaiveInfoGAN(images.images, BATCH)
    naive.train(WARM_UP)
    times = measure_in_turns(
        {
            "naive": lambda: seconds_of(lambda: naive.train(TIMED)) / TIMED,
            "ours": lambda: step_seconds(paper("auto"), images, folder),
            "ours in fp32": lambda: step_seconds(paper("fp32"), images, folder),
            "fp32 matrix product": lambda: product_seconds(torch.float32),
            "bf16 matrix product": lambda: product_seconds(torch.bfloat16),
            "copy": copy_seconds,
        },
        rounds,
    )
    products = {
        name: [2 * MATRIX**3 / seconds for seconds in times[f"{name} matrix product"]] for name in ("fp32", "bf16")
    }
    ours = flops_of(lambda: step_seconds(paper("fp32"), images, folder, 1))
    flops = {"naive": flops_of(lambda: naive.train(1)), "ours": ours, "ours in fp32": ours}
    rates = {name: [flops[name] / seconds for seconds in times[name]] for name in NAMES}
    return {
        "images_per_second": {name: spread([BATCH / seconds for seconds in times[name]]) for name in NAMES},
        "ours_over_naive": ratio(times["naive"], times["ours"]),
        "ours_in_fp32_over_naive": ratio(times["naive"], times["ours in fp32"]),
        "flops_per_image": {name: count / BATCH for name, count in flops.items()},
        "matrix_products_flops": {name: spread(rates_) for name, rates_ in products.items()},
        "share_of_bf16_products": ratio(rates["ours"], products["bf16"]),
        "share_of_fp32_products": {name: ratio(rates[name], products["fp32"]) for name in NAMES if name != "ours"},
        "copied_bytes_per_second": spread([2 * COPIED / seconds for seconds in times["copy"]]),
    }


NAMES = ("naive", "ours", "ours in fp32")


def starting(rounds: int, folder: Path) -> dict[str, Any]:
    """Measure the seconds until something happens."""
    load("mnist")  # so that it is downloaded
    runs = iter(range(10**6))
    times = measure_in_turns(
        {
            "help": lambda: seconds_of(lambda: call(["-m", "infogan", "--help"])),
            "import": lambda: seconds_of(lambda: call(["-c", "import infogan"])),
            "first step": lambda: seconds_to_first_step(folder / f"first-{next(runs)}"),
        },
        rounds,
    )
    return {name: spread(values) for name, values in times.items()}


def reading(rounds: int, folder: Path) -> dict[str, Any]:
    """Measure encoding and sampling by a default model of MNIST after a few steps; its weights do not matter."""
    run, images = folder / "run", load("mnist").images
    call(["-m", "infogan", "train", "mnist", "--steps", "8", "--out", str(run)])
    images = np.concatenate([images, images[: READ - len(images)]])
    np.save(folder / "images.npy", images[:, 0])
    model = InfoGAN.load(run)
    command = ["-m", "infogan", "encode", str(run), str(folder / "images.npy"), "--out", str(folder / "codes.csv")]
    times = measure_in_turns(
        {
            "command": lambda: seconds_of(lambda: call(command)),
            "encode": lambda: seconds_of(lambda: model.encode(images[:20_000])),
            "sample": lambda: seconds_of(lambda: model.sample(20_000)),
        },
        rounds,
    )
    return {
        "encode_command_seconds": spread(times["command"]),
        "encoded_per_second": spread([20_000 / seconds for seconds in times["encode"]]),
        "sampled_per_second": spread([20_000 / seconds for seconds in times["sample"]]),
    }


def memory(rounds: int, folder: Path) -> dict[str, Any]:
    """Measure the peak resident memory of a training in bytes."""
    command = ["-m", "infogan", "train", "mnist", "--steps", "200", "--out", str(folder / "memory")]
    return {"peak_bytes": peak_memory(command)}


def peak_memory(arguments: list[str]) -> int:
    """Run Python with some arguments and return its peak resident memory in bytes."""
    # Started by a small process, because the memory of a large one at the time of its fork would count as the child's.
    script = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    process = subprocess.run([sys.executable, "-c", script, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return int(process.stdout) * 1024  # Linux counts in KiB


def compiled(rounds: int, folder: Path) -> dict[str, Any]:
    """Compare compiled steps with eager ones."""
    images, results = load("mnist"), {}
    gan = build(resolve.compose("robust", [{"data": {"source": "mnist"}, "train": {"steps": 1}}]))
    gan = gan.model_copy(update={"stages": (gan.stages[-1].model_copy(update={"on_start": ()}),)})
    for name, config in {"paper": paper("auto"), "game": gan}.items():  # as in the results
        fast_config = config.with_train(compile=True)
        first = seconds_of(partial(step_seconds, fast_config, images, folder, 2))
        eager, fast = (partial(step_seconds, variant, images, folder) for variant in (config, fast_config))
        times = measure_in_turns({"eager": eager, "compiled": fast}, rounds)
        results[name] = {
            "seconds_to_compile": first,
            "eager_seconds_a_step": spread(times["eager"]),
            "eager_over_compiled": ratio(times["eager"], times["compiled"]),
        }
    return results


def scores(rounds: int, folder: Path) -> dict[str, Any]:
    """Measure all scores of codes that each follow a factor, mixed with other factors and noise."""
    random = np.random.default_rng(0)
    factors = np.stack([random.integers(count, size=SCORED) for count in VALUES], axis=1)
    mixing = np.eye(CODES, len(VALUES)) + random.normal(0, 0.2, (CODES, len(VALUES)))
    codes = factors / np.array(VALUES) @ mixing.T + random.normal(0, 0.1, (SCORED, CODES))
    times = measure_in_turns(
        {"suite": lambda: seconds_of(lambda: disentanglement(codes, factors, nominal=[0]))}, rounds
    )
    return {"seconds": spread(times["suite"])}


def sizes(rounds: int, folder: Path) -> dict[str, Any]:
    """Measure a step of the recipe `plain` on files of different lengths."""
    data_sets = {}
    for count in SIZES:
        path = folder / f"{count}.npy"
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, *SHAPE))
        block = np.random.default_rng(0).integers(0, 256, (1_000, *SHAPE), np.uint8)
        for start in range(0, count, len(block)):
            file[start : start + len(block)] = block
        file.flush()
        data_sets[count] = load(path)
    config = build(resolve.compose("plain", [{"data": {"source": "synthetic"}}]))
    times = measure_in_turns(
        {str(count): partial(step_seconds, config, images, folder) for count, images in data_sets.items()}, rounds
    )
    middle = times[str(SIZES[1])]
    return {
        "seconds_a_step": {name: spread(values) for name, values in times.items()},
        f"over_{SIZES[1]}": {name: ratio(values, middle) for name, values in times.items()},
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


def measure_in_turns(measurements: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the result of each measurement in each round."""
    times: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(rounds):
        for name, measure in measurements.items():
            times[name].append(measure())
    return times


def spread(values: list[float]) -> dict[str, float]:
    """Return the median, the smallest and the largest value."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratio(numerators: list[float], denominators: list[float]) -> dict[str, float]:
    """Return the spread of the rounds' ratios."""
    return spread([a / b for a, b in zip(numerators, denominators, strict=True)])


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds of a function."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def call(arguments: list[str]) -> None:
    """Run Python in a separate process."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def paper(precision: str) -> Config:
    """Return the configuration of the recipe `paper` for MNIST."""
    options = {"data": {"source": "mnist"}, "train": {"precision": precision, "batch_size": BATCH}}
    return build(resolve.compose("paper", [options]))


def step_seconds(config: Config, images: ImageSet, folder: Path, timed_steps: int = TIMED) -> float:
    """Return the seconds of a step in the training loop, without the steps that warm up."""
    never, warm_up = 2**31, WARM_UP if timed_steps > 1 else 0
    steps = warm_up + timed_steps
    short = config.with_train(steps=steps, log_every=never, save_every=never, sample_every=never)
    timer = StepTimer("cpu")
    with TemporaryDirectory(dir=folder) as run:
        train(short, images, RunFolder(Path(run)), callbacks=[timer])
    lengths = np.diff(timer.times)
    # The last step includes the checkpoint and is not counted.
    return float(lengths[warm_up:-1].mean()) if timed_steps > 1 else float(lengths[0])


def flops_of(work: Callable[[], object]) -> int:
    """Return the floating-point operations of a function's matrix products and convolutions, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def product_seconds(kind: torch.dtype) -> float:
    """Return the seconds of a product of square matrices, the median of a few."""
    a, b = (torch.randn(MATRIX, MATRIX).to(kind) for _ in range(2))
    return statistics.median(seconds_of(lambda: a @ b) for _ in range(5))


def copy_seconds() -> float:
    """Return the seconds of a copy of ``COPIED`` bytes, which are read and written."""
    source = torch.zeros(COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    return statistics.median(seconds_of(lambda: target.copy_(source)) for _ in range(5))


def seconds_to_first_step(run: Path) -> float:
    """Return the seconds from the start of a default training on MNIST to the log of its first step, and stop it."""
    command = ["-m", "infogan", "train", "mnist", "--out", str(run), "--set", "train.log_every=1"]
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (run / "stats.jsonl").is_file() or not (run / "stats.jsonl").stat().st_size:
        time.sleep(0.01)
    seconds = time.perf_counter() - started
    process.send_signal(signal.SIGINT)
    process.wait()
    return seconds


if __name__ == "__main__":
    main()
