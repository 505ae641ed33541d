"""Compare `infogan data prepare` with a plain loop over Pillow, on one folder of photographs, in turns.

    python -m benchmarks.preparing --out benchmarks/results/preparing.json

The images are smooth noise as JPEG, 256 pixels wide and 192 high, which are written and removed here. Each number is
from a separate process, from its start to its end. The loop does only what is necessary: it opens each image, crops the
centre, resizes it with the same filter, and saves all of them as one array. `infogan` also applies the orientation in
the metadata, writes shards with checksums, and lets the decoder skip detail far below a pixel.
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
for index, name in enumerate(names):
    with Image.open(os.path.join(folder, name)) as image:
        image = image.convert("RGB")
        side = min(image.size)
        x, y = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.LANCZOS)
        images[index] = np.asarray(image).transpose(2, 0, 1)
np.save(out, images)
"""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photos"
        save_images(arguments.images, folder)
        rounds = []
        for number in range(arguments.rounds):
            loop = seconds([sys.executable, "-c", LOOP, str(folder), f"{scratch}/loop.npy", str(arguments.size)])
            command = [sys.executable, "-m", "infogan", "data", "prepare", str(folder), f"{scratch}/{number}"]
            ours = seconds([*command, "--size", str(arguments.size), "--workers", str(arguments.workers)])
            shutil.rmtree(f"{scratch}/{number}")
            rounds.append((arguments.images / loop, arguments.images / ours))
            print(json.dumps(rounds[-1]), flush=True)
    ratios = [ours / loop for loop, ours in rounds]
    result: dict[str, Any] = {"commit": commit(), **machine(), "images": arguments.images, "size": arguments.size}
    result |= {
        "workers": arguments.workers,
        "loop_images_per_second": statistics.median(loop for loop, _ in rounds),
        "prepare_images_per_second": statistics.median(ours for _, ours in rounds),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def save_images(count: int, folder: Path) -> None:
    """Save JPEG files of a few hundred different images."""
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
    """Return the seconds of a command."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
