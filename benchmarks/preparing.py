"""`infogan data prepare` against a plain loop over Pillow, on one folder of photographs, in turns.

    python -m benchmarks.preparing --out benchmarks/results/preparing.json

The pictures are smooth noise as JPEG, 256 pixels wide and 192 high, made and removed here. Each figure is of a process
of its own, from its start to its end. The loop does what is to be done and nothing else: it opens each picture, cuts
the centre out, scales it with the same filter, and keeps it in one array that it saves. `infogan` reads how pictures
are turned as well, writes shards with their checksums, and has the decoder leave out detail far below a pixel.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.accuracy import commit, machine

WIDTH, HEIGHT = 256, 192
LOOP = """
import os, sys
import numpy as np
from PIL import Image
folder, out, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
names = sorted(os.listdir(folder))
images = np.empty((len(names), 3, size, size), np.uint8)
for place, name in enumerate(names):
    with Image.open(os.path.join(folder, name)) as picture:
        picture = picture.convert("RGB")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
        images[place] = np.asarray(picture).transpose(2, 0, 1)
np.save(out, images)
"""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    given = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photos"
        save_pictures(given.images, folder)
        rounds = []
        for number in range(given.rounds):
            loop = seconds([sys.executable, "-c", LOOP, str(folder), f"{scratch}/loop.npy", str(given.size)])
            words = [sys.executable, "-m", "infogan", "data", "prepare", str(folder), f"{scratch}/{number}"]
            ours = seconds([*words, "--size", str(given.size), "--workers", str(given.workers)])
            shutil.rmtree(f"{scratch}/{number}")
            rounds.append((given.images / loop, given.images / ours))
            print(json.dumps(rounds[-1]), flush=True)
    ratios = [ours / loop for loop, ours in rounds]
    found: dict[str, Any] = {"commit": commit(), **machine(), "images": given.images, "size": given.size}
    found |= {
        "workers": given.workers,
        "loop_images_per_second": statistics.median(loop for loop, _ in rounds),
        "prepare_images_per_second": statistics.median(ours for _, ours in rounds),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


def save_pictures(count: int, folder: Path) -> None:
    """Saves so many JPEG files, of a few hundred different pictures."""
    folder.mkdir()
    random = np.random.default_rng(0)
    contents = []
    for number in range(min(count, 200)):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8))
        path = folder / f"{number}.jpg"
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(path, quality=90)
        contents.append(path.read_bytes())
    for number in range(len(contents), count):
        (folder / f"{number}.jpg").write_bytes(contents[number % len(contents)])


def seconds(command: list[str]) -> float:
    """What a command takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
