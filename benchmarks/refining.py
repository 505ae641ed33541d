"""Measure what corrections are worth: the accuracy on images that nobody corrected, before and after refining.

    python -m benchmarks.refining FOLDER/clothing.zip --seeds 0-4 --out benchmarks/results/refining.jsonl

The groups are those of the features `lite0` (`infogan train --features lite0`). Some images get the right group, from
their labels, in the order of the explorer: typical ones first, or those first that the head is least sure of. The
matching of groups to labels is fitted before.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import add, commit, lines_of, machine
from infogan.api.refine import refine_space
from infogan.api.sweep import parse_seeds
from infogan.data import load, streamed
from infogan.evaluation.metrics.clustering import hungarian_mapping
from infogan.features import embed, open_extractor
from infogan.training.feature_head import fit_head
from infogan.training.refine import typical_images
from infogan.utils.errors import UserError

SIZE = 192  # pixels of the images that the pretrained encoder sees
CORRECTIONS = (20, 50, 100)
ORDERS = ("typical", "uncertain")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="photographs with labels")
    parser.add_argument("--categorical", type=int, default=10, help="number of groups")
    parser.add_argument("--seeds", default="1000")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to append to")
    arguments = parser.parse_args()
    images = load(arguments.data, size=32)
    assert images.labels is not None
    extractor = open_extractor("lite0", size=SIZE)
    with streamed(arguments.data, size=SIZE, channels=3, for_encoder=True) as stream:
        vectors = embed(stream, extractor).of(images.names, "lite0")
    count = len(images.label_names)
    for seed in parse_seeds(arguments.seeds):
        head = fit_head(vectors.values, arguments.categorical, seed=seed, views=vectors.views)
        space = head.space(vectors.values)
        groups = head.of_space(space).argmax(axis=1)
        mapping = np.asarray(hungarian_mapping(groups, images.labels, arguments.categorical, count))
        group_of_label = {int(label): group for group, label in enumerate(mapping)}
        for number in CORRECTIONS:
            for order in ORDERS:
                corrected = choose(order, head.of_space(space), space, number, seed)
                known = {
                    row: group_of_label[label] for row in corrected if (label := int(images.labels[row])) in mapping
                }
                others = np.setdiff1d(np.arange(len(images)), corrected)
                before = float((mapping[groups[others]] == images.labels[others]).mean())
                line: dict[str, Any] = {"data": Path(arguments.data).stem, "seed": seed, "corrections": number}
                line |= {"order": order, "before": before, "after": before, "estimate": None}
                try:
                    refined, refinement = refine_space(head, space, known)
                except UserError:  # it would make the groups worse, and changes nothing
                    pass
                else:
                    found = refined.probabilities.argmax(axis=1)[others]
                    line["after"] = float((mapping[found] == images.labels[others]).mean())
                    line["estimate"] = refinement.after
                add(arguments.out, {**line, "commit": commit(), **machine()})
    print(table(lines_of(arguments.out)))


def choose(
    order: str, probabilities: NDArray[np.float32], space: NDArray[np.float32], count: int, seed: int
) -> list[int]:
    """Return the images that are corrected."""
    if order == "typical":
        return typical_images(space, count, (), seed=seed)
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1)
    return [int(row) for row in np.argsort(-entropy, kind="stable")[:count]]


def table(lines: list[dict[str, Any]]) -> str:
    """Return the means over seeds as Markdown."""
    rows = ["| images | corrections | first | accuracy before | after | gain | lowest gain |", "|" + "---|" * 7]
    keys = dict.fromkeys((line["data"], line["corrections"], line["order"]) for line in lines)
    for data, number, order in keys:
        chosen = [line for line in lines if (line["data"], line["corrections"], line["order"]) == (data, number, order)]
        before, after = (np.array([line[name] for line in chosen]) for name in ("before", "after"))
        gains = after - before
        cells = f"{before.mean():.3f} | {after.mean():.3f} | {gains.mean():+.3f} | {gains.min():+.3f}"
        rows.append(f"| {data} | {number} | {order} | {cells} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
