"""Train on few images, and compare the categories with the labels of the test images.

    python -m benchmarks.few --counts 30 100 255 500 --seeds 0 --out benchmarks/results/few.jsonl

Each run is the default recipe on an even draw of the digits; the draw depends on the seed.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.accuracy import commit, machine
from infogan.api.fit import fit
from infogan.data import load
from infogan.training.run_dir import RunFolder


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[30, 100, 255, 500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, help="the file to add lines to")
    arguments = parser.parse_args()
    train, test = load("digits"), load("digits", split="test")
    for count in arguments.counts:
        for seed in arguments.seeds:
            drawn = train.subset(np.sort(np.random.default_rng(seed).choice(len(train), count, replace=False)))
            with TemporaryDirectory() as folder:
                run = Path(folder) / "run"
                options = {"augment": {"shift": 0.11, "rotate": 20.0, "scale": 0.2, "shear": 15.0, "elastic": 0.055}}
                fit(drawn, test=test, out=run, seed=seed, options=options, verbose=False)
                result = RunFolder(run).read_metrics()[-1]
            line = {"images": count, "seed": seed, "accuracy": result["accuracy"], "trust": result["verdict"]["trust"]}
            print(json.dumps(line), flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps({**line, "commit": commit(), **machine()}) + "\n")


if __name__ == "__main__":
    main()
