"""Runs exported models with Keras and NumPy alone, as a process of tests/models/export/test_keras.py.

Usage: python keras_reader.py FOLDER ...

For each folder it prints how much the models differ from ``expected.npz``, as exported and with one changed weight. It
also runs the folder's ``guide.py``, if there is one.
"""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np


def max_difference(model: Any, inputs: Any, expected: Any) -> float:
    """Return the largest difference, relative for values beyond 1, for batches of 7 and of 1."""
    differences = []
    for size in (7, 1):
        batch = {key: values[:size] for key, values in inputs.items()}
        # A model with one input takes it without a name.
        outputs = model(batch if len(model.inputs) > 1 or isinstance(model.input, dict) else batch["images"])
        for key, values in expected.items():
            numbers = keras.ops.convert_to_numpy(outputs[key] if isinstance(outputs, dict) else outputs)
            assert numbers.shape == values[:size].shape, (key, numbers.shape)
            assert numbers.dtype == np.float32
            differences.append(np.abs(numbers - values[:size]) / np.maximum(1, np.abs(values[:size])))
    return float(max(difference.max() for difference in differences))


def compare(folder: Path) -> dict[str, dict[str, float]]:
    with np.load(folder / "expected.npz", allow_pickle=False) as file:
        arrays = dict(file)
    results = {}
    for name in ("generator", "recognizer"):
        if not (folder / f"{name}.keras").exists():
            continue
        model = keras.saving.load_model(folder / f"{name}.keras", safe_mode=True)
        inputs, expected = (
            {key.split("/")[2]: values for key, values in arrays.items() if key.startswith(f"{name}/{part}/")}
            for part in ("inputs", "outputs")
        )
        assert not isinstance(model.output, dict) or set(model.output) == set(expected)
        exported = max_difference(model, inputs, expected)
        weights = model.get_weights()
        weights[-1].flat[0] += 0.01
        model.set_weights(weights)
        results[name] = {"exported": exported, "changed": max_difference(model, inputs, expected)}
    return results


if __name__ == "__main__":
    results = {}
    for folder in map(Path, sys.argv[1:]):
        results[folder.name] = compare(folder)
        if (folder / "guide.py").exists():
            os.chdir(folder)
            runpy.run_path("guide.py", run_name="__main__")
    imported = [name for name in ("infogan", "torch", "tensorflow", "jax") if name in sys.modules]
    print(json.dumps({"backend": keras.backend.backend(), "imported": imported, "results": results}))
