"""Exports to Keras: written with PyTorch, run with each backend in a process without this package."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.models.architectures import ARCHITECTURES
from infogan.models.export import export
from infogan.models.export.graphs import describe
from infogan.utils.errors import UserError
from tests import ROOT
from tests.helpers import small_model
from tests.keras_writer import MODELS

GUIDE = ROOT / "docs" / "keras.md"
# TensorFlow and JAX compile every operation of every shape, which takes much longer than running it.
QUICK = ["paper", "post", "robust"]
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
}

needs_keras = pytest.mark.skipif(find_spec("keras") is None, reason="needs Keras")
Results = dict[str, Any]


def run(*arguments: str | Path, home: Path, backend: str | None, path: str = "") -> tuple[str, Results]:
    """Run Python in a process and return what it prints; its last line is parsed as JSON."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", "PYTHONPATH")}
    environment = inherited | ENVIRONMENT | {"KERAS_HOME": str(home), "PYTHONPATH": path}
    if backend is not None:
        environment["KERAS_BACKEND"] = backend
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    *lines, last = result.stdout.splitlines()
    return "\n".join(lines), json.loads(last)


def write(root: Path, *names: str, backend: str | None) -> Results:
    """Export models in a process whose Keras settings have another image layout and type."""
    home = root / "keras"
    home.mkdir()
    settings = {"backend": "tensorflow", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 1e-7}
    (home / "keras.json").write_text(json.dumps(settings))
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    return run("-m", "tests.keras_writer", root, *names, home=home, backend=backend, path=path)[1]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory, digits_run: Path) -> tuple[Path, Results]:
    """A folder with an export of each model and of a run; the run's also holds the examples of the guide."""
    root = tmp_path_factory.mktemp("exports")
    results = write(root, *MODELS, "rejected", str(digits_run), backend=None)
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    (root / digits_run.name / "guide.py").write_text("\n".join(blocks), encoding="utf-8")
    return root, results


@pytest.fixture(scope="module")
def read(exports: tuple[Path, Results], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(backend, names of models) -> output and results of a process with that backend; cached."""

    @cache
    def read_with(backend: str, names: tuple[str, ...]) -> tuple[str, Results]:
        if find_spec(backend) is None:
            pytest.skip(f"needs {backend}")
        folders = [exports[0] / name for name in names]
        home = tmp_path_factory.mktemp(backend)
        return run(ROOT / "tests" / "keras_reader.py", *folders, home=home, backend=backend)

    return read_with


@pytest.fixture(scope="module")
def with_tensorflow(read: Callable[..., tuple[str, Results]], digits_run: Path) -> tuple[str, Results]:
    return read("tensorflow", (*QUICK, digits_run.name))


def check(results: Results, backend: str, names: list[str]) -> None:
    assert results["backend"] == backend
    assert "infogan" not in results["imported"]
    assert backend == "torch" or "torch" not in results["imported"]
    assert sorted(results["results"]) == sorted(names)
    for name, models in results["results"].items():
        assert list(models) == (["generator"] if "gan" in name else ["generator", "recognizer"])
        for model, differences in models.items():
            assert differences["exported"] <= 1e-5, (name, model)
            assert differences["changed"] > 1e-5, (name, model)


def test_models_cover_all_architectures_kinds_and_channels() -> None:
    configs = [build().config for build in MODELS.values()]
    assert {config.networks.architecture for config in configs} == set(ARCHITECTURES)
    assert {config.kind for config in configs} == {"gan", "cgan", "infogan"}
    assert {config.channels for config in configs} == {1, 3}


def test_missing_keras_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(UserError, match=r"pip install 'infogan\[keras\]'$"):
        export(small_model(), "keras", tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_keras
@pytest.mark.integration
def test_tensorflow_computes_what_the_models_compute(with_tensorflow: tuple[str, Results], digits_run: Path) -> None:
    check(with_tensorflow[1], "tensorflow", [*QUICK, digits_run.name])


@needs_keras
@pytest.mark.integration
def test_torch_computes_what_the_models_compute(read: Callable[..., tuple[str, Results]]) -> None:
    check(read("torch", tuple(MODELS))[1], "torch", list(MODELS))


@needs_keras
@pytest.mark.integration
def test_jax_computes_what_a_model_computes(read: Callable[..., tuple[str, Results]]) -> None:
    check(read("jax", ("post",))[1], "jax", ["post"])


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_other_backends_compute_what_all_models_compute(backend: str, read: Callable[..., tuple[str, Results]]) -> None:
    check(read(backend, tuple(MODELS))[1], backend, list(MODELS))


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_other_backends_export_the_same(backend: str, tmp_path: Path) -> None:
    results = write(tmp_path, *QUICK, backend=backend)
    assert (results["backend"], results["variable"]) == (backend, backend)
    reader = ROOT / "tests" / "keras_reader.py"
    check(run(reader, *[tmp_path / name for name in QUICK], home=tmp_path, backend="torch")[1], "torch", QUICK)


@needs_keras
@pytest.mark.integration
def test_torch_is_the_default_backend_and_the_environment_is_unchanged(exports: tuple[Path, Results]) -> None:
    assert (exports[1]["backend"], exports[1]["variable"]) == ("torch", None)


@needs_keras
@pytest.mark.integration
def test_models_that_cannot_be_exported_are_rejected(exports: tuple[Path, Results]) -> None:
    generator, recognizer, unknown_layer, with_nan = exports[1]["rejected"]
    assert re.search(
        r"not exact .* 'images' of the generator differs .* by [\d.e-]+; the tolerance is 1e-05", generator
    )
    assert re.search(r"not exact .* '.*' of the recognizer differs .* by [\d.e-]+; the tolerance is 1e-05", recognizer)
    assert "Softsign" in unknown_layer
    assert "by nan" in with_nan


@needs_keras
@pytest.mark.integration
def test_the_description_has_channels_last(exports: tuple[Path, Results]) -> None:
    index = json.loads((exports[0] / "robust" / "export.json").read_text(encoding="utf-8"))
    expected = describe(MODELS["robust"]())
    assert expected["images"] == {"name": "images", "shape": [3, 17, 17], "axes": "NCHW", "range": [0, 1]}
    expected["images"] |= {"shape": [17, 17, 3], "axes": "NHWC"}
    assert index["model"] == expected
    assert sorted(index["files"]) == ["generator.keras", "recognizer.keras"]
    files = sorted(path.name for path in (exports[0] / "gan").iterdir())
    assert files == ["expected.npz", "export.json", "generator.keras"]


@needs_keras
@pytest.mark.integration
def test_the_examples_of_the_guide_work(
    exports: tuple[Path, Results], with_tensorflow: tuple[str, Results], digits_run: Path
) -> None:
    output, folder = with_tensorflow[0], exports[0] / digits_run.name
    assert re.search(r"^category recognised: \d+\.\d%$", output, re.MULTILINE)
    assert re.search(r"^information: -?\d+\.\d\d of \d\.\d\d nats$", output, re.MULTILINE)
    assert re.search(r"^knob2 recognised: correlation -?\d\.\d\d$", output, re.MULTILINE)
    categories = re.findall(r"^(\d): (\d+) images, \d+% of them a \d$", output, re.MULTILINE)
    assert [value for value, _ in categories] == [str(value) for value in range(10)]
    assert sum(int(count) for _, count in categories) == 1797
    for name in ("categories", "knob1", "sorted"):
        with Image.open(folder / f"{name}.png") as figure:
            assert figure.size == (400, 400)  # 10 x 10 images of 8 pixels with a frame of 1, four times enlarged
            assert np.ptp(np.asarray(figure)) > 100


@needs_keras
@pytest.mark.integration
@pytest.mark.parametrize(
    ("backend", "message"),
    [("numpyro", "allowed are jax, tensorflow and torch"), ("jax", "KERAS_BACKEND is 'jax', but jax is not installed")],
)
def test_a_missing_backend_is_reported(backend: str, message: str, tmp_path: Path) -> None:
    script = (
        "import json, sys\n"
        "sys.modules['jax'] = None\n"  # as if it were not installed
        "from infogan.errors import UserError\n"
        "from infogan.export import export\n"
        "from tests.helpers import small_model\n"
        "try:\n"
        "    export(small_model(), 'keras', 'out')\n"
        "except UserError as error:\n"
        "    print(json.dumps(str(error)))\n"
    )
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    assert message in run("-c", script, home=tmp_path, backend=backend, path=path)[1]
