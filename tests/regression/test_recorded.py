"""Runs of pinned recipes have the losses and weights that commit ae825d6 recorded, step by step."""

import json
import math
from pathlib import Path

import pytest

from infogan.config.migrate import STAGE_NAMES, migrate_checkpoint, migrate_statistics
from tests.commands import Command
from tests.regression.pinned import RECIPES

RELATIVE, ABSOLUTE = 1e-6, 1e-9  # processors and threads differ by far less: see recipes/README.md
NAMES = sorted(path.name.removesuffix(".config.json") for path in RECIPES.glob("*.config.json"))


def is_close(expected: float | None, value: float | None) -> bool:
    """Return whether two numbers agree; None is a loss that the step does not have."""
    if expected is None or value is None:
        return expected is value
    return math.isclose(expected, value, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_has_the_recorded_losses_and_weights(name: str, tmp_path: Path) -> None:
    recorded = json.loads((RECIPES / f"{name}.recorded.json").read_text(encoding="utf-8"))
    process = Command(name, tmp_path, module="tests.regression.pinned").wait()
    assert process.returncode == 0, process.stderr
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))

    assert result["stages"] == [STAGE_NAMES.get(stage, stage) for stage in recorded["stages"]]
    losses = migrate_statistics(recorded["losses"])
    assert result["losses"].keys() == losses.keys()
    different = [
        f"step {step}, {loss}: {expected} was recorded, now {value}"
        for step in range(1, len(result["stages"]) + 1)
        for loss in losses
        if not is_close(expected := losses[loss][step - 1], value := result["losses"][loss][step - 1])
    ]
    assert not different, "\n".join([f"{len(different)} losses differ; first:", *different[:5]])

    norms = migrate_checkpoint(recorded["norms"])
    assert result["norms"].keys() >= norms.keys()
    assert all(key.startswith("encoder_state.") for key in result["norms"].keys() - norms.keys())
    different = [key for key, expected in norms.items() if not is_close(expected, result["norms"][key])]
    assert not different, f"the norms of {len(different)} tensors differ; first: {different[:5]}"
