"""Measure how often the true number of classes lies in the range that `infogan categories` finds.

    python -m benchmarks.counting --seeds 0-9 --out benchmarks/results/counting.jsonl
    python -m benchmarks.counting --seeds 0-9 --imbalanced --out benchmarks/results/counting.jsonl

Each seed draws some classes of a set; the sets take turns. With ``--imbalanced`` it also draws the share of each
class's images that are kept, log-uniformly from 1/9 to 1. Labels are used for drawing and for evaluation only. A draw
that is in the file already is not repeated.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import add, commit, lines_of, machine
from infogan.api.resolve import compose
from infogan.api.sweep import parse_seeds
from infogan.api.train_run import plan
from infogan.data import ImageSet, load

SETS = ("mnist", "digits", "fashion-mnist", "glyphs", "shapes")
FEWEST, MOST = 4, 10  # classes, if the set has so many
SMALLEST_SHARE = 1 / 9  # of the images of a class


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0-9", help="such as 0-9 or 1,4")
    parser.add_argument("--sets", default=",".join(SETS), help="names of sets, separated by commas")
    parser.add_argument("--imbalanced", action="store_true", help="draw the sizes of the classes")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to append to")
    arguments = parser.parse_args()
    sets = arguments.sets.split(",")
    for seed in parse_seeds(arguments.seeds):
        draw = {"data": sets[seed % len(sets)], "seed": seed, "imbalanced": arguments.imbalanced}
        if any(draw.items() <= line.items() for line in lines_of(arguments.out)):
            continue
        images = draw_classes(load(draw["data"], split="train"), seed, imbalanced=arguments.imbalanced)
        started = time.monotonic()
        options = compose("robust", [{"data": {"source": draw["data"]}, "train": {"seed": seed}}], categorical="auto")
        found = plan(options, images=images, timed=False).categories
        assert found is not None
        seconds = round(time.monotonic() - started, 1)
        result = {name: getattr(found, name) for name in ("low", "best", "high", "is_clear", "several", "alike")}
        sizes = {"classes": len(images.label_names), "images": len(images)}
        add(arguments.out, draw | sizes | result | {"seconds": seconds, "commit": commit(), **machine()})
        print(table(lines_of(arguments.out)), flush=True)


def draw_classes(images: ImageSet, seed: int, *, imbalanced: bool) -> ImageSet:
    """Return the images of some classes, or a part of the images of each."""
    assert images.labels is not None
    random = np.random.default_rng(seed)
    count = int(random.integers(FEWEST, min(MOST, len(images.label_names)), endpoint=True))
    classes = np.sort(random.choice(len(images.label_names), count, replace=False))
    shares = np.exp(random.uniform(np.log(SMALLEST_SHARE), 0.0, count)) if imbalanced else np.ones(count)
    rows = [random.permutation(np.flatnonzero(images.labels == label)) for label in classes]
    kept = [row[: round(share * len(row))] for row, share in zip(rows, shares, strict=True)]
    subset = images.subset(np.sort(np.concatenate(kept)))
    assert subset.labels is not None
    labels, names = np.searchsorted(classes, subset.labels), tuple(images.label_names[label] for label in classes)
    return ImageSet(subset.images, subset.names, subset.source, labels, names)


def table(lines: list[dict[str, Any]]) -> str:
    """Return the draws as Markdown, and how many ranges contain the number of classes."""
    rows = ["| set | seed | classes | range (most probable) | clear | seconds |", "|---|---|---|---|---|---|"]
    for line in lines:
        kind = f"{line['data']}, unequal" if line["imbalanced"] else line["data"]
        found = f"{line['low']} to {line['high']} ({line['best']})"
        clear = "yes" if line["is_clear"] else "no"
        rows.append(f"| {kind} | {line['seed']} | {line['classes']} | {found} | {clear} | {line['seconds']:.0f} |")
    for title, imbalanced in (("equal", False), ("unequal", True)):
        of_kind = [line for line in lines if line["imbalanced"] is imbalanced]
        inside = sum(line["low"] <= line["classes"] <= line["high"] for line in of_kind)
        rows.append(f"\n{title} sizes: {inside} of {len(of_kind)} in the range")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
