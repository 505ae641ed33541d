"""Measure `infogan encode` on few and on many images: peak memory, and images per second.

    python -m benchmarks.filing --out benchmarks/results/filing.json
    python -m benchmarks.filing --counts 10000,100000 --formats csv

The images are noise of MNIST's size in a .npy file, which is written and removed here. The model is untrained, with the
networks of a recipe. Each number is from a separate process.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.accuracy import commit, machine
from benchmarks.speed import peak_memory
from infogan.api import resolve
from infogan.config.load import build
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.models.serialization import ModelConfig

SHAPE = (1, 28, 28)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", default="10000,1000000", help="numbers of images, the smallest first")
    parser.add_argument("--formats", default="csv,parquet")
    parser.add_argument("--recipe", default="robust")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of the smallest number")
    parser.add_argument("--scratch", type=Path, help="folder for the images; default: that of temporary files")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.counts.split(",")]
    result: dict[str, Any] = {"commit": commit(), **machine(), "recipe": arguments.recipe, "measured": []}
    with TemporaryDirectory(dir=arguments.scratch) as scratch:
        folder = Path(scratch)
        save_model(arguments.recipe, folder / "model")
        for count in counts:
            save_images(count, folder / "images.npy")
            for form in arguments.formats.split(","):
                rounds = arguments.rounds if count == counts[0] else 1
                measured = [measure(folder, form) for _ in range(rounds)]
                line = {
                    "images": count,
                    "format": form,
                    "peak_mb": max(peak for peak, _ in measured),
                    "images_per_second": count / min(seconds for _, seconds in measured),
                }
                result["measured"].append(line)
                print(json.dumps(line), flush=True)
    result["peak_of_most_over_fewest"] = {
        form: peaks[-1] / peaks[0]
        for form in arguments.formats.split(",")
        if (peaks := [line["peak_mb"] for line in result["measured"] if line["format"] == form])
    }
    print(json.dumps(result["peak_of_most_over_fewest"]))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def save_images(count: int, path: Path) -> None:
    """Write noise in parts, because a process starts with the peak memory of its parent."""
    random = np.random.default_rng(0)
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *SHAPE)}
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, count, 10_000):
            file.write(random.integers(0, 256, (min(10_000, count - first), *SHAPE), np.uint8).tobytes())


def save_model(recipe: str, folder: Path) -> None:
    """Save an untrained model."""
    config = build(resolve.compose(recipe, [{"data": {"source": "noise"}}]))
    shape = ImageShape(SHAPE[0], SHAPE[1])
    networks = build_networks(config.networks, CodeLayout(config.noise, config.codes), shape, kind="infogan", seed=0)
    InfoGAN(ModelConfig.of(config, shape, {}), networks).save(folder)


def measure(folder: Path, form: str) -> tuple[float, float]:
    """Return the peak memory in MB and the seconds of one command."""
    out = folder / f"codes.{form}"
    started = time.perf_counter()
    arguments = ["encode", str(folder / "model"), str(folder / "images.npy"), "--out", str(out)]
    peak = peak_memory(["-m", "infogan", *arguments])
    seconds = time.perf_counter() - started
    out.unlink()
    return peak / 2**20, seconds


if __name__ == "__main__":
    main()
