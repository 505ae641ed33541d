"""Train a pinned recipe in double precision, and tell what came of it.

python -m tests.regression.pinned NAME FOLDER    trains recipes/NAME.config.json in FOLDER and writes FOLDER/told.json

The first line of ``told.json`` is what ``recipes/NAME.recorded.json`` holds, so a recipe is recorded anew by a copy.
This runs in a process of its own: some tensors are kept between calls, and they are of the default type.
"""

import json
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from infogan.runs import RunFolder

from infogan.config import build, read
from infogan.data import load
from infogan.data.labels import read_labels
from infogan.training import train

RECIPES = Path(__file__).parent / "recipes"


def told_of(run: RunFolder) -> dict[str, Any]:
    """Give the stages and losses by step, and the norms of the final weights, of a run that reports each step."""
    lines = run.read_stats()
    names = dict.fromkeys(name for line in lines for name in line if "/" in name)
    return {
        "stages": [line["stage"] for line in lines],
        "losses": {name: [line.get(name) for line in lines] for name in names},
        "norms": norms(run),
    }


def norms(run: RunFolder) -> dict[str, float]:
    """Give the Euclidean norm of each tensor of the networks and of their average, at the last checkpoint."""
    path = latest_checkpoint_path(run.checkpoints)
    assert path is not None
    tensors = safetensors.torch.load_file(path)
    parts = ("networks.", "average.")
    return {name: float(tensor.double().norm()) for name, tensor in tensors.items() if name.startswith(parts)}


def train_pinned(name: str, folder: Path) -> RunFolder:
    """Train a recipe of ``recipes/`` from its first step to its last."""
    config = build(read(RECIPES / f"{name}.config.json"))
    images = load(config.data.source, size=config.data.size, channels=config.data.channels)
    few = read_labels(RECIPES / config.data.labels, images) if config.data.labels else None
    run = RunFolder.at(folder / "run")
    train(config, images, run, few=few)
    return run


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.double)
    run = train_pinned(sys.argv[1], Path(sys.argv[2]))
    told = json.dumps(told_of(run), separators=(",", ":"))
    (Path(sys.argv[2]) / "told.json").write_text(told + "\n", encoding="utf-8")
