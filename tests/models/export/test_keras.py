"""Models as Keras models: written beside PyTorch, read by each backend in a process of its own without this package."""

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
from infogan.models.export.graphs import description
from infogan.utils.errors import UserError
from tests import ROOT
from tests.helpers import small_model
from tests.keras_writer import MODELS

GUIDE = ROOT / "docs" / "keras.md"
# XLA compiles each operation of each shape, which takes far longer than to compute with it.
QUICK = ["paper", "post", "robust"]
ALONE = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "XLA_FLAGS": "--xla_backend_optimization_level=0"}

needs_keras = pytest.mark.skipif(find_spec("keras") is None, reason="needs Keras")
Results = dict[str, Any]


def ran(*arguments: str | Path, home: Path, backend: str | None, path: str = "") -> tuple[str, Results]:
    """What a process prints, and what the last line of it is as JSON."""
    known = {key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", "PYTHONPATH")}
    environment = known | ALONE | {"KERAS_HOME": str(home), "PYTHONPATH": path}
    if backend is not None:
        environment["KERAS_BACKEND"] = backend
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=home, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *printed, last = done.stdout.splitlines()
    return "\n".join(printed), json.loads(last)


def written(root: Path, *names: str, backend: str | None) -> Results:
    """Exports models by a process whose user has set Keras to other layouts and types."""
    home = root / "keras"
    home.mkdir()
    settings = {"backend": "tensorflow", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 1e-7}
    (home / "keras.json").write_text(json.dumps(settings))
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    return ran("-m", "tests.keras_writer", root, *names, home=home, backend=backend, path=path)[1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, digits_run: Path) -> tuple[Path, Results]:
    """A folder with a folder for each model and one for a run, which also has the guide's blocks as a program."""
    root = tmp_path_factory.mktemp("exported")
    told = written(root, *MODELS, "refused", str(digits_run), backend=None)
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    (root / digits_run.name / "guide.py").write_text("\n".join(blocks), encoding="utf-8")
    return root, told


@pytest.fixture(scope="module")
def read(exported: tuple[Path, Results], digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(backend, names of models) -> what a process of that backend prints and finds; once for each."""

    @cache
    def read_by(backend: str, names: tuple[str, ...]) -> tuple[str, Results]:
        if find_spec(backend) is None:
            pytest.skip(f"needs {backend}")
        folders = [exported[0] / name for name in names]
        home = tmp_path_factory.mktemp(backend)
        return ran(ROOT / "tests" / "keras_reader.py", *folders, home=home, backend=backend)

    return read_by


@pytest.fixture(scope="module")
def by_tensorflow(read: Callable[..., tuple[str, Results]], digits_run: Path) -> tuple[str, Results]:
    return read("tensorflow", (*QUICK, digits_run.name))


def check(found: Results, backend: str, names: list[str]) -> None:
    assert found["backend"] == backend
    assert "infogan" not in found["imported"]
    assert backend == "torch" or "torch" not in found["imported"]
    assert sorted(found["results"]) == sorted(names)
    for name, models in found["results"].items():
        assert list(models) == (["generator"] if "gan" in name else ["generator", "recognizer"])
        for model, differences in models.items():
            assert differences["right"] <= 1e-5, (name, model)
            assert differences["wrong"] > 1e-5, (name, model)


def test_models_are_of_all_architectures_kinds_and_channels() -> None:
    configs = [make().config for make in MODELS.values()]
    assert {config.networks.architecture for config in configs} == set(ARCHITECTURES)
    assert {config.kind for config in configs} == {"gan", "cgan", "infogan"}
    assert {config.channels for config in configs} == {1, 3}


@needs_keras
def test_tensorflow_gives_what_models_give(by_tensorflow: tuple[str, Results], digits_run: Path) -> None:
    check(by_tensorflow[1], "tensorflow", [*QUICK, digits_run.name])


@needs_keras
def test_torch_gives_what_the_models_give(read: Callable[..., tuple[str, Results]]) -> None:
    check(read("torch", tuple(MODELS))[1], "torch", list(MODELS))


@needs_keras
def test_jax_gives_what_a_model_gives(read: Callable[..., tuple[str, Results]]) -> None:
    check(read("jax", ("post",))[1], "jax", ["post"])


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_other_backends_give_what_all_models_give(backend: str, read: Callable[..., tuple[str, Results]]) -> None:
    check(read(backend, tuple(MODELS))[1], backend, list(MODELS))


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_another_backend_exports_the_same(backend: str, tmp_path: Path) -> None:
    told = written(tmp_path, *QUICK, backend=backend)
    assert (told["backend"], told["set"]) == (backend, backend)
    reader = ROOT / "tests" / "keras_reader.py"
    check(ran(reader, *[tmp_path / name for name in QUICK], home=tmp_path, backend="torch")[1], "torch", QUICK)


@needs_keras
def test_the_backend_of_nobodys_choice_is_torch_and_leaves_no_trace(exported: tuple[Path, Results]) -> None:
    assert (exported[1]["backend"], exported[1]["set"]) == ("torch", None)


@needs_keras
def test_what_does_not_compute_the_same_is_refused_and_leaves_nothing(exported: tuple[Path, Results]) -> None:
    drawn, seen, unknown, nowhere = exported[1]["refused"]
    assert re.search(r"refused: .* 'images' of the generator differs .* by [\d.e-]+, and allowed is 1e-05", drawn)
    assert re.search(r"refused: .* '.*' of the recognizer differs .* by [\d.e-]+, and allowed is 1e-05", seen)
    assert unknown == "a model with a Softsign can not be written as a Keras model"
    assert "by nan" in nowhere


@needs_keras
def test_the_description_is_that_of_every_export_with_channels_last(exported: tuple[Path, Results]) -> None:
    told = json.loads((exported[0] / "robust" / "export.json").read_text(encoding="utf-8"))
    model = MODELS["robust"]()
    expected = description(model)
    assert expected["images"] == {"name": "images", "shape": [3, 17, 17], "axes": "NCHW", "range": [0, 1]}
    expected["images"] |= {"shape": [17, 17, 3], "axes": "NHWC"}
    assert told["model"] == expected
    assert sorted(told["files"]) == ["generator.keras", "recognizer.keras"]
    assert sorted(path.name for path in (exported[0] / "gan").iterdir()) == [
        "expected.npz",
        "export.json",
        "generator.keras",
    ]


@needs_keras
def test_the_guide_does_what_it_says(exported: tuple[Path, Results], by_tensorflow: Any, digits_run: Path) -> None:
    printed, folder = by_tensorflow[0], exported[0] / digits_run.name
    assert re.search(r"^category read back: \d+\.\d%$", printed, re.MULTILINE)
    assert re.search(r"^information: -?\d+\.\d\d of \d\.\d\d nats$", printed, re.MULTILINE)
    assert re.search(r"^knob2 read back: correlation -?\d\.\d\d$", printed, re.MULTILINE)
    filed = re.findall(r"^(\d): (\d+) images, \d+% of them a \d$", printed, re.MULTILINE)
    assert [value for value, _ in filed] == [str(value) for value in range(10)]
    assert sum(int(count) for _, count in filed) == 1797
    for name in ("categories", "knob1", "filed"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.size == (
                400,
                400,
            )  # 10 by 10 images of 8 pixels in a frame of 1, four times as large
            assert np.ptp(np.asarray(picture)) > 100


def test_without_keras_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(UserError, match=r"pip install 'infogan\[keras\]'$"):
        export(small_model(), "keras", tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_keras
@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("numpyro", "KERAS_BACKEND is 'numpyro': allowed are jax, tensorflow and torch"),
        ("jax", "KERAS_BACKEND is 'jax', but jax is not installed"),
    ],
)
def test_a_backend_that_is_not_there_is_named(backend: str, said: str, tmp_path: Path) -> None:
    script = (
        "import json, sys\n"
        "sys.modules['jax'] = None\n"  # as if it were not installed
        "from infogan.errors import UserError\n"
        "from infogan.export import export\n"
        "from tests.helpers import small_model\n"
        "try:\n"
        "    export(small_model(), 'keras', 'out')\n"
        "except UserError as error:\n"
        "    print(json.dumps({'said': str(error)}))\n"
    )
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    assert ran("-c", script, home=tmp_path, backend=backend, path=path)[1] == {"said": said}
