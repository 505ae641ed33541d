"""Ten million images, more than are read into memory: prepared as shards, and learned from.

    python -m benchmarks.large --out benchmarks/results/large.json

The images are drawn here, 32x32 grey: a disc, a bar or a ring at any place, of any size and brightness, so that there
is something to find. 10 GB are written twice, as a .npy file and as shards, and removed afterwards. What is measured of
each part is of a process of its own: the time, and the most memory that was its own, without what the system maps of
files and takes back at will.
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
LEARNS = ["--recipe", "plain", "--set", "networks.width=8", "--set", "train.log_every=50"]  # fast, to see reading


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--scratch", type=Path, help="a folder with 25 GB left; default: the system's for such things")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    given = parser.parse_args()
    found: dict[str, Any] = {"commit": commit(), **machine(), "images": given.images, "side": SIDE}
    infogan = [sys.executable, "-m", "infogan"]
    with TemporaryDirectory(dir=given.scratch) as scratch:
        drawn, shards, run = (Path(scratch) / name for name in ("images.npy", "shards", "run"))
        draw(given.images, drawn)
        found["bytes"] = drawn.stat().st_size
        parts = {
            "prepare": ["data", "prepare", str(drawn), str(shards), "--workers", "2"],
            "train": ["train", str(shards), "--out", str(run), *LEARNS, "--steps", str(given.steps)],
        }
        for name, words in parts.items():
            seconds, peak = measured([*infogan, *words])
            found[name] = {"seconds": seconds, "peak_bytes": peak}
            if name == "prepare":
                drawn.unlink()
                found[name]["images_per_second"] = given.images / seconds
            else:
                found[name] |= told(run)
            print(json.dumps({name: found[name]}), flush=True)
            if given.out:
                given.out.write_text(json.dumps(found, indent=1) + "\n")


def draw(count: int, path: Path) -> None:
    """Writes so many images, block after block."""
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, 1, SIDE, SIDE))
    down, across = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    for first in range(0, count, BLOCK):
        number = min(BLOCK, count - first)
        random = np.random.default_rng([0, first])
        kind = random.integers(0, 3, (number, 1, 1))
        x, y = random.uniform(10, 22, (2, number, 1, 1)).astype(np.float32)
        radius = random.uniform(4, 9, (number, 1, 1)).astype(np.float32)
        level = random.uniform(100, 255, (number, 1, 1)).astype(np.float32)
        distance = np.hypot(down - y, across - x)
        within = np.select(
            [kind == 0, kind == 1],
            [distance < radius, (abs(across - x) < radius) & (abs(down - y) < 2)],
            abs(distance - radius) < 1.5,
        )
        images[first : first + number, 0] = within * level
    images.flush()


def measured(command: list[str]) -> tuple[float, int]:
    """Seconds of a command, and the most memory of its own that it had, all its processes together, looked at often."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    peak, ended = 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not ended.wait(0.1):
            peak = max(peak, own_memory(process.pid))

    looking = threading.Thread(target=look)
    looking.start()
    code = process.wait()
    ended.set()
    looking.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    return time.perf_counter() - started, peak


def own_memory(session: int) -> int:
    """Bytes of memory that the processes of a session have for themselves, without mapped files (Linux)."""
    total = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getsid(int(folder.name)) == session:
                for line in (folder / "status").read_text().splitlines():
                    if line.startswith("RssAnon:"):
                        total += int(line.split()[1]) * 1024
        except (OSError, ProcessLookupError):  # it ended meanwhile
            continue
    return total


def told(run: Path) -> dict[str, Any]:
    """Images a second of a run, from its own clock, but for the first report, and how its session ended."""
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    images, seconds = (lines[-1][key] - lines[0][key] for key in ("images", "seconds"))
    return {"steps": lines[-1]["step"], "images_per_second_of_the_loop": images / seconds}


if __name__ == "__main__":
    main()
