"""Runs of pinned recipes give the losses and weights that version 0.1.0 gave, step by step."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Command
from tests.regression.pinned import RECIPES

# What was recorded under another name than it has now: a whole name, such as "encoder/smoothness" or
# "networks.recognizer.head.weight", or a word between the dots, slashes and plus signs of names, such as "recognizer".
OLD_TO_NEW: dict[str, str] = {}

RELATIVE, ABSOLUTE = 1e-6, 1e-9  # processors and threads differ by far less: see recipes/README.md
NAMES = sorted(path.name.removesuffix(".config.json") for path in RECIPES.glob("*.config.json"))


def renamed(name: str) -> str:
    """Give the present name of what was recorded under ``name``."""
    return OLD_TO_NEW.get(name) or re.sub(r"[^./+]+", lambda word: OLD_TO_NEW.get(word[0], word[0]), name)


def close(expected: float | None, found: float | None) -> bool:
    """Tell whether two numbers agree; None is a loss that the step does not have."""
    if expected is None or found is None:
        return expected is found
    return math.isclose(expected, found, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def by_present_name(recorded: dict[str, Any]) -> dict[str, Any]:
    """Rename the keys of what was recorded, each to a name of its own."""
    told = {renamed(name): value for name, value in recorded.items()}
    assert len(told) == len(recorded), "two names of old became one"
    return told


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_gives_what_it_gave(name: str, tmp_path: Path) -> None:
    recorded = json.loads((RECIPES / f"{name}.recorded.json").read_text(encoding="utf-8"))
    done = Command(name, tmp_path, module="tests.regression.pinned").ended()
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))

    assert found["stages"] == [renamed(stage) for stage in recorded["stages"]]
    losses = by_present_name(recorded["losses"])
    assert found["losses"].keys() == losses.keys()
    apart = [
        f"step {step}, {loss}: {expected} was recorded, {now} found"
        for step in range(1, len(found["stages"]) + 1)
        for loss in losses
        if not close(expected := losses[loss][step - 1], now := found["losses"][loss][step - 1])
    ]
    assert not apart, "\n".join([f"{len(apart)} losses differ; first:", *apart[:5]])

    norms = by_present_name(recorded["norms"])
    assert found["norms"].keys() == norms.keys()
    apart = [
        f"{weights}: {expected} was recorded, {found['norms'][weights]} found"
        for weights, expected in norms.items()
        if not close(expected, found["norms"][weights])
    ]
    assert not apart, "\n".join([f"the norms of {len(apart)} tensors differ; first:", *apart[:5]])
