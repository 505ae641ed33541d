"""Measure whether declared knobs change their property: a JSON line for each data set and seed, and a table.

    python -m benchmarks.knobs mnist --knob slant,thickness,size --seeds 0-4 --out benchmarks/results/knobs.jsonl
    python -m benchmarks.knobs clothing.zip --knob brightness,hue,shift-x --seeds 0-4 --out ... -- --size 32

Each run is the command `infogan train` in a separate process; arguments after ``--`` are passed on. Each of 1,000
images is drawn with a knob at -1, 0 and 1 and everything else the same. The property is measured from the pixels,
without a network (`infogan.evaluation.properties`). An image counts if the property rises from -1 to 0 and from 0 to 1.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import add, commit, lines_of, machine, run
from infogan import InfoGAN
from infogan.api.sweep import parse_seeds
from infogan.config.schema import Property
from infogan.evaluation.properties import measure_property, turns_between

IMAGES = 1_000
SETTINGS = (-1.0, 0.0, 1.0)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="as for `infogan train`")
    parser.add_argument("--knob", required=True, help="as for `infogan train`")
    parser.add_argument("--seeds", default="1000")
    parser.add_argument("--runs", type=Path, default=Path("runs/knobs"), help="folder of the run folders")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to append to")
    parser.add_argument("options", nargs="*", help="further options of `infogan train`, after --")
    arguments = parser.parse_args()
    name = Path(arguments.data).stem
    for seed in parse_seeds(arguments.seeds):
        draw: dict[str, Any] = {"data": name, "knobs": arguments.knob, "options": arguments.options, "seed": seed}
        if any(draw.items() <= line.items() for line in lines_of(arguments.out)):
            continue
        folder = arguments.runs / f"{name}-{seed}"
        command = ["infogan", "train", arguments.data, "--knob", arguments.knob, "--seed", str(seed)]
        result = run([*command, *arguments.options], folder)
        model = InfoGAN.load(folder)
        shares: dict[str, float] = {}
        for code in model.layout.continuous:
            if code.follows is not None:
                shares[str(code.follows)] = monotone_share(model, code.follows, code.name)
        figures: dict[str, Any] = {name: result[name] for name in ("accuracy", "seconds", "steps") if name in result}
        add(arguments.out, draw | {"monotone": shares, "commit": commit(), **machine(), **figures})
        print(arguments.out.read_text().splitlines()[-1], flush=True)
    print(table(lines_of(arguments.out)))


def monotone_share(model: InfoGAN, name: Property, knob: str) -> float:
    """Return the share of images in which a property rises as its knob goes from -1 to 0 to 1."""
    images = [model.sample(IMAGES, codes={knob: setting}, seed=0).images for setting in SETTINGS]
    low, middle, high = (measure_property(np.ascontiguousarray(pixels), name) for pixels in images)
    if name == "hue":
        rises = (turns_between(low, middle) > 0) & (turns_between(middle, high) > 0)
    else:
        rises = (middle > low) & (high > middle)
    return float(rises.mean())


def table(lines: list[dict[str, Any]]) -> str:
    """Return the mean and the lowest share of each set and property as a Markdown table."""
    rows = ["| images | knob | seeds | rises in, mean | lowest |", "|---|---|---|---|---|"]
    groups: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        for name, share in line["monotone"].items():
            groups.setdefault((line["data"], name), []).append(share)
    for (data, name), shares in groups.items():
        rows.append(f"| {data} | {name} | {len(shares)} | {np.mean(shares):.3f} | {min(shares):.3f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
