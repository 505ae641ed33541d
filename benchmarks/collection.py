"""Measure how well copies and outliers are found: copies and foreign images are planted among photographs.

    python -m benchmarks.collection --photographs FOLDER --seeds 0-4 --out benchmarks/results/collection.jsonl

Copies: of 200 images each, one is planted that is resized, compressed again, cropped by 5 % or mirrored, among 10,000
images of CIFAR-10 and among all clothes. A pair that is found but was not planted may be a copy all the same: these
pairs are drawn for a person to look at. Outliers: 50 images of one set are planted among 3,000 of the other; labels are
not used.
"""

import argparse
import io
import time
import zipfile
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks.accuracy import add, commit, lines_of, machine
from infogan.api.duplicates import Copy, find_duplicates
from infogan.api.similar import find_outliers
from infogan.api.sweep import parse_seeds

SETS = {"cifar10": 10_000, "clothing": 3_068}  # images among which copies are planted
COPIES = 200
AMONG, FOREIGN = 3_000, 50  # images, of outliers
KINDS = ("resized", "recompressed", "cropped", "mirrored")
CROPPED = 0.05  # of each side
TILE = 64  # pixels of an image that is drawn


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True, help="folder with cifar10.zip and clothing.zip")
    parser.add_argument("--seeds", default="1000")
    parser.add_argument("--tasks", default="duplicates,outliers")
    parser.add_argument("--pairs", type=Path, help="folder for pictures of the pairs that were not planted")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to append to")
    arguments = parser.parse_args()
    for seed in parse_seeds(arguments.seeds):
        for task in arguments.tasks.split(","):
            for name in SETS:
                draw = {"task": task, "data": name, "seed": seed}
                if any(draw.items() <= line.items() for line in lines_of(arguments.out)):
                    continue
                measure = measure_duplicates if task == "duplicates" else measure_outliers
                with TemporaryDirectory() as folder:
                    result = measure(arguments.photographs, name, seed, Path(folder), arguments.pairs)
                add(arguments.out, {**draw, **result, "commit": commit(), **machine()})
                print(lines_of(arguments.out)[-1], flush=True)


def photographs(folder: Path, name: str, count: int, random: np.random.Generator) -> list[Image.Image]:
    """Return images of a set, drawn at random."""
    with zipfile.ZipFile(folder / f"{name}.zip") as archive:
        names = [entry for entry in archive.namelist() if entry.lower().endswith((".png", ".jpg", ".jpeg"))]
        drawn = random.permutation(len(names))[:count]
        return [Image.open(io.BytesIO(archive.read(names[row]))).convert("RGB") for row in drawn]


def measure_duplicates(source: Path, name: str, seed: int, folder: Path, pairs: Path | None) -> dict[str, Any]:
    """Plant copies; return how many are found, and how many pairs are found that were not planted."""
    random = np.random.default_rng(seed)
    images = photographs(source, name, SETS[name], random)
    for row, image in enumerate(images):
        image.save(folder / f"{row:05}.png")
    planted = {}
    for number, row in enumerate(random.permutation(len(images))[:COPIES].tolist()):
        kind = KINDS[number % len(KINDS)]
        copy, ending, options = change(images[row], kind, random)
        copy.save(folder / f"copy-{row:05}.{ending}", **options)
        planted[frozenset((f"{row:05}.png", f"copy-{row:05}.{ending}"))] = kind
    started = time.monotonic()
    found = pairs_of(find_duplicates(folder))
    seconds = time.monotonic() - started
    others = [pair for pair in found if pair not in planted]
    if pairs is not None:
        pairs.mkdir(parents=True, exist_ok=True)
        draw_pairs(folder, others, pairs / f"{name}-{seed}.png")
    missed: dict[str, int] = defaultdict(int)
    for pair, kind in planted.items():
        missed[kind] += pair not in found
    share = float(np.mean([pair in found for pair in planted]))
    return {"found": share, "missed": dict(missed), "others": len(others), "seconds": round(seconds, 1)}


def change(image: Image.Image, kind: str, random: np.random.Generator) -> tuple[Image.Image, str, dict[str, Any]]:
    """Return a changed copy of an image, the ending of its file, and how it is saved."""
    width, height = image.size
    if kind == "resized":
        factor = random.choice([0.5, 0.7, 1.5, 2.0])
        return image.resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC), "png", {}
    if kind == "recompressed":
        return image, "jpg", {"quality": int(random.integers(30, 80))}
    if kind == "cropped":
        left, top = random.uniform(0, CROPPED, 2)
        box = (left * width, top * height, (left + 1 - CROPPED) * width, (top + 1 - CROPPED) * height)
        return image.crop(tuple(round(edge) for edge in box)), "png", {}
    return ImageOps.mirror(image), "png", {}


def pairs_of(copies: list[Copy]) -> set[frozenset[str]]:
    """Return all pairs of images of one group."""
    groups = defaultdict(list)
    for copy in copies:
        groups[copy.group].append(copy.image)
    return {frozenset(pair) for images in groups.values() for pair in combinations(images, 2)}


def draw_pairs(folder: Path, pairs: list[frozenset[str]], path: Path) -> None:
    """Draw pairs of images next to each other, ten pairs a row."""
    rows = -(-len(pairs) // 10)
    sheet = Image.new("RGB", (10 * (2 * TILE + 12), max(1, rows) * (TILE + 6)), "white")
    for number, pair in enumerate(pairs):
        for place, name in enumerate(sorted(pair)):
            tile = Image.open(folder / name).convert("RGB").resize((TILE, TILE))
            sheet.paste(tile, ((number % 10) * (2 * TILE + 12) + place * (TILE + 2), number // 10 * (TILE + 6)))
    sheet.save(path)


def measure_outliers(source: Path, name: str, seed: int, folder: Path, _: Path | None) -> dict[str, Any]:
    """Plant images of the other set; return the average precision of the ranking."""
    from sklearn.metrics import average_precision_score

    random = np.random.default_rng(seed)
    other = next(set_name for set_name in SETS if set_name != name)
    for row, image in enumerate(photographs(source, name, AMONG, random)):
        image.save(folder / f"{row:05}.png")
    for row, image in enumerate(photographs(source, other, FOREIGN, random)):
        image.save(folder / f"foreign-{row:05}.png")
    started = time.monotonic()
    ranked = find_outliers(folder)
    is_foreign = [outlier.image.startswith("foreign") for outlier in ranked]
    precision = float(average_precision_score(is_foreign, [outlier.score for outlier in ranked]))
    return {"precision": round(precision, 4), "seconds": round(time.monotonic() - started, 1)}


if __name__ == "__main__":
    main()
