"""Prepare ten million images as shards, more than fit into memory, and train on them.

    python -m benchmarks.large --out benchmarks/results/large.json

The images are drawn here: a grey disc, bar or ring of 32x32 pixels, at any position and of any size and brightness.
10 GB are written twice, as a .npy file and as shards, and removed afterwards. Each part is measured in a separate
process: its time, and its peak memory without files that the system maps and can drop.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.accuracy import commit, machine

SIDE, BLOCK = 32, 50_000
TRAINING = ["--recipe", "plain", "--set", "networks.width=8", "--set", "train.log_every=50"]  # fast, to see reading


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--scratch", type=Path, help="folder with 25 GB of space; default: that of temporary files")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"commit": commit(), **machine(), "images": arguments.images, "side": SIDE}
    infogan = [sys.executable, "-m", "infogan"]
    with TemporaryDirectory(dir=arguments.scratch) as scratch:
        images, shards, run = (Path(scratch) / name for name in ("images.npy", "shards", "run"))
        draw(arguments.images, images)
        result["bytes"] = images.stat().st_size
        parts = {
            "prepare": ["data", "prepare", str(images), str(shards), "--workers", "2"],
            "train": ["train", str(shards), "--out", str(run), *TRAINING, "--steps", str(arguments.steps)],
        }
        for name, command in parts.items():
            seconds, peak = measure([*infogan, *command])
            result[name] = {"seconds": seconds, "peak_bytes": peak}
            if name == "prepare":
                images.unlink()
                result[name]["images_per_second"] = arguments.images / seconds
            else:
                result[name] |= loop_speed(run)
            print(json.dumps({name: result[name]}), flush=True)
            if arguments.out:
                arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def draw(count: int, path: Path) -> None:
    """Write images, block after block."""
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, 1, SIDE, SIDE))
    down, across = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    for first in range(0, count, BLOCK):
        number = min(BLOCK, count - first)
        random = np.random.default_rng([0, first])
        shape = random.integers(0, 3, (number, 1, 1))
        x, y = random.uniform(10, 22, (2, number, 1, 1)).astype(np.float32)
        radius = random.uniform(4, 9, (number, 1, 1)).astype(np.float32)
        level = random.uniform(100, 255, (number, 1, 1)).astype(np.float32)
        distance = np.hypot(down - y, across - x)
        within = np.select(
            [shape == 0, shape == 1],
            [distance < radius, (abs(across - x) < radius) & (abs(down - y) < 2)],
            abs(distance - radius) < 1.5,
        )
        images[first : first + number, 0] = within * level
    images.flush()


def measure(command: list[str]) -> tuple[float, int]:
    """Return the seconds of a command and the peak memory of all its processes, sampled ten times a second."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    peak, finished = 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not finished.wait(0.1):
            peak = max(peak, private_memory(process.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    code = process.wait()
    finished.set()
    sampler.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    return time.perf_counter() - started, peak


def private_memory(session: int) -> int:
    """Return the bytes of memory of a session's processes, without mapped files (Linux)."""
    total = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getsid(int(folder.name)) == session:
                for line in (folder / "status").read_text().splitlines():
                    if line.startswith("RssAnon:"):
                        total += int(line.split()[1]) * 1024
        except (OSError, ProcessLookupError):  # the process has ended
            continue
    return total


def loop_speed(run: Path) -> dict[str, Any]:
    """Return the images per second of a run after its first log record, by its own clock."""
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    images, seconds = (lines[-1][key] - lines[0][key] for key in ("images", "seconds"))
    return {"steps": lines[-1]["step"], "images_per_second_of_the_loop": images / seconds}


if __name__ == "__main__":
    main()
