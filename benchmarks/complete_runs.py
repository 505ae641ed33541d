"""Train complete runs, with recipes and sets that make generators collapse, and compare their verdicts with labels.

    python -m benchmarks.complete_runs --photographs FOLDER --seeds 1001 --out benchmarks/results/complete-runs.jsonl

`benchmarks.verdict_runs` trains encoders alone. Here each run is the command `infogan train`: with the recipes `plain`
and `paper`, which have no encoder; and with the default recipe on few images, with and without its loss `diversity`,
without which generators of few images collapse. Each run has fewer steps than the default. Labels are used for
evaluation only.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import add, commit, lines_of, run
from benchmarks.verdict_runs import list_sets, load_set
from infogan.api.sweep import parse_seeds

FEW = 300  # images of a small set
CONDITIONS: dict[str, tuple[str, ...]] = {
    "plain": ("--recipe", "plain", "--steps", "1000"),
    "paper": ("--recipe", "paper", "--steps", "1000"),
    "few": ("--steps", "2900"),
    "few without diversity": ("--steps", "2900", "--set", "stages.3.updates.1.losses.diversity=0"),
}
IMAGES = 10_000  # of a larger set, so that a run takes minutes


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, help="folder with cifar10.zip and clothing.zip")
    parser.add_argument("--sets", default="", help="names of sets, separated by commas; default: all")
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument("--seeds", default="1000")
    parser.add_argument("--runs", type=Path, default=Path("runs/complete"), help="folder of the run folders")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to append to")
    arguments = parser.parse_args()
    sets = arguments.sets.split(",") if arguments.sets else list_sets(arguments.photographs)
    for seed in parse_seeds(arguments.seeds):
        for name in sets:
            for condition in arguments.conditions.split(","):
                draw = {"data": name, "condition": condition, "seed": seed}
                if any(draw.items() <= line.items() for line in lines_of(arguments.out)):
                    continue
                count = FEW if condition.startswith("few") else IMAGES
                file = write_images(name, seed, count, arguments.runs, arguments.photographs)
                command = ["infogan", "train", str(file), "--categorical", "10", "--seed", str(seed)]
                folder = arguments.runs / f"{file.stem}-{condition.replace(' ', '-')}"
                result = run([*command, *CONDITIONS[condition]], folder)
                add(arguments.out, {**draw, "commit": commit(), **result})
                print(table(lines_of(arguments.out)), flush=True)


def write_images(name: str, seed: int, count: int, runs: Path, photographs: Path | None) -> Path:
    """Write some images of a set and their labels into a file, and return its path."""
    images, _ = load_set(name, seed, photographs)
    rows = np.random.default_rng(seed).choice(len(images), min(count, len(images)), replace=False)
    subset = images.subset(np.sort(rows))
    assert subset.labels is not None
    path = runs / f"{name}-{count}-{seed}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, images=subset.images, labels=subset.labels)
    return path


def table(lines: list[dict[str, Any]]) -> str:
    """Return the runs as Markdown."""
    names = ("recall", "diversity", "read_back")
    rows = [f"| set | run | accuracy | groups | {' | '.join(names)} | pictures |", "|" + "---|" * (len(names) + 5)]
    for line in lines:
        verdict = line.get("verdict", {})
        values = {name: trace["value"] for name, trace in verdict.get("evidence", {}).items()}
        cells = [f"{values[name]:.3f}" if name in values else "-" for name in names]
        accuracy = f"{line['accuracy']:.3f}" if "accuracy" in line else "-"
        answers = verdict.get("groups", "failed"), verdict.get("pictures", "failed")
        rows.append(
            f"| {line['data']} | {line['condition']} | {accuracy} | {answers[0]} | {' | '.join(cells)} | {answers[1]} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
