"""Reads exported models as whoever gets them does: with Keras and NumPy alone. tests/test_export_keras.py runs it.

python keras_reader.py FOLDER ...  tells by how much the models in each folder miss what its expected.npz says, as they
                                   are and with one wrong weight; runs the folder's guide.py, where there is one
"""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np


def missed_by(model: Any, inputs: Any, expected: Any) -> float:
    """The largest difference, of numbers beyond 1 as a share, for batches of 7 and of 1."""
    differences = []
    for size in (7, 1):
        batch = {key: values[:size] for key, values in inputs.items()}
        # What has one input takes it alone.
        found = model(batch if len(model.inputs) > 1 or isinstance(model.input, dict) else batch["images"])
        for key, values in expected.items():
            numbers = keras.ops.convert_to_numpy(found[key] if isinstance(found, dict) else found)
            assert numbers.shape == values[:size].shape, (key, numbers.shape)
            assert numbers.dtype == np.float32
            differences.append(np.abs(numbers - values[:size]) / np.maximum(1, np.abs(values[:size])))
    return float(max(difference.max() for difference in differences))


def results_of(folder: Path) -> dict[str, dict[str, float]]:
    with np.load(folder / "expected.npz", allow_pickle=False) as file:
        told = dict(file)
    results = {}
    for name, taken, given in (("generator", "latents", "drawn"), ("recognizer", "seen", "read")):
        if not (folder / f"{name}.keras").exists():
            continue
        model = keras.saving.load_model(folder / f"{name}.keras", safe_mode=True)
        inputs, expected = (
            {key.partition("/")[2]: values for key, values in told.items() if key.startswith(f"{part}/")}
            for part in (taken, given)
        )
        assert not isinstance(model.output, dict) or set(model.output) == set(expected)
        right = missed_by(model, inputs, expected)
        weights = model.get_weights()
        weights[-1].flat[0] += 0.01
        model.set_weights(weights)
        results[name] = {"right": right, "wrong": missed_by(model, inputs, expected)}
    return results


if __name__ == "__main__":
    results = {}
    for folder in map(Path, sys.argv[1:]):
        results[folder.name] = results_of(folder)
        if (folder / "guide.py").exists():
            os.chdir(folder)
            runpy.run_path("guide.py", run_name="__main__")
    imported = [name for name in ("infogan", "torch", "tensorflow", "jax") if name in sys.modules]
    print(json.dumps({"backend": keras.backend.backend(), "imported": imported, "results": results}))
