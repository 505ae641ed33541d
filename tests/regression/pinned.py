"""Train a pinned recipe in double precision and record its losses and weights.

    python -m tests.regression.pinned NAME FOLDER

trains recipes/NAME.config.json in FOLDER and writes FOLDER/result.json, in the format of recipes/NAME.recorded.json.
It runs in a process of its own, because the package caches some tensors of the default type.
"""

import json
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from infogan.config.load import build, read_options
from infogan.data import load
from infogan.data.labels import read_labels
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils import determinism

RECIPES = Path(__file__).parent / "recipes"


def summary(folder: Path) -> dict[str, Any]:
    """Return the stages and losses by step, and the norms of the final weights, of a run that logs every step."""
    lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text(encoding="utf-8").splitlines()]
    names = dict.fromkeys(name for line in lines for name in line if "/" in name)
    return {
        "stages": [line["stage"] for line in lines],
        "losses": {name: [line.get(name) for line in lines] for name in names},
        "norms": norms(folder),
    }


def norms(folder: Path) -> dict[str, float]:
    """Return the Euclidean norm of each tensor of the networks, their average and the encoder's training state."""
    tensors = safetensors.torch.load_file(max((folder / "checkpoints").glob("*.safetensors")))
    return {
        name: float(tensor.double().norm()) for name, tensor in tensors.items() if not name.startswith("optimizers.")
    }


def train_pinned(name: str, folder: Path) -> Path:
    """Train a recipe from its first step to its last; return the run folder."""
    config = build(read_options(RECIPES / f"{name}.config.json"))
    images = load(config.data.source, size=config.data.size, channels=config.data.channels)
    few_labels = read_labels(RECIPES / config.data.labels, images) if config.data.labels else None
    run = RunFolder.at(folder / "run")
    train(config, images, run, few_labels=few_labels)
    return run.path


if __name__ == "__main__":
    torch.set_num_threads(1)
    determinism.DTYPE = torch.double
    torch.set_default_dtype(torch.double)
    result = summary(train_pinned(sys.argv[1], Path(sys.argv[2])))
    text = json.dumps(result, separators=(",", ":"))
    (Path(sys.argv[2]) / "result.json").write_text(text + "\n", encoding="utf-8")
