"""Exports to ONNX and torch.export, run by onnxruntime and by PyTorch without this package."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from infogan.cli.app import app
from infogan.models.architectures import ARCHITECTURES, ImageShape
from infogan.models.export import export
from infogan.models.export.graphs import TOLERANCE, describe, flatten, model_graphs, safe_names
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.models.serialization import ModelConfig
from infogan.utils.errors import UserError
from tests import ROOT
from tests.helpers import bar_images, model_without_recognizer, small_config, small_model

# Names of codes that collide with inputs, outputs or operations, or are not ASCII identifiers.
ODD_NAMES = ["noise", "images", "view", "7 up", "Größe", "a b", "a_b", "a_b_mean", "value.3", "日本", "x" * 64]


def randomised(model: InfoGAN) -> InfoGAN:
    """Return the model with random biases and batch-norm statistics, as after training."""
    source = torch.Generator().manual_seed(1)
    for name, tensor in model.networks.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.2, 3, generator=source)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.3, generator=source)
    return model


def model_of(preset: str, *, size: int, channels: int = 1, codes: Any = None, **sections: Any) -> InfoGAN:
    """Return an untrained model of a preset with some sections changed."""
    sections |= {"codes": codes} if codes else {}
    config = small_config(preset=preset, **sections)
    shape, layout = ImageShape(channels, size), CodeLayout(config.noise, config.codes)
    networks = build_networks(config.networks, layout, shape, kind=config.objective.kind, seed=0)
    return InfoGAN(ModelConfig.of(config, shape), networks)


MODELS: dict[str, Callable[[], InfoGAN]] = {
    "mlp": lambda: small_model(architecture="mlp", channels=3),
    "conv": lambda: small_model(size=9, codes=[{"kind": "categorical", "size": 3, "name": name} for name in ODD_NAMES]),
    "paper": lambda: small_model(architecture="paper", size=12, distribution="uniform"),
    "post": lambda: small_model(architecture="post", codes=[{"kind": "continuous", "deviation": 0.3, "name": "k"}]),
}


def run_onnx(path: Path, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the outputs of an ONNX file by name."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def sample_latents(model: InfoGAN, count: int) -> tuple[NDArray[Any], dict[str, NDArray[Any]], NDArray[Any]]:
    """Return noise, codes and the images that the original networks generate from them."""
    source = torch.Generator().manual_seed(count)
    noise, codes = model.layout.sample_noise(count, source), model.layout.sample_codes(count, source)
    with torch.no_grad():
        images = (model.networks.generator(model.layout.latents(noise, codes)).numpy() + 1) / 2
    return noise.numpy(), {name: values.numpy() for name, values in codes.items()}, images


def assert_exact(model: InfoGAN, folder: Path) -> None:
    """The ONNX files compute what the model computes, also at batch sizes that the export does not check."""
    names = safe_names(model.layout.codes)
    for count in (1, 3, 16):
        noise, codes, images = sample_latents(model, count)
        inputs = {"noise": noise, **{names[name]: values for name, values in codes.items()}}
        generated = run_onnx(folder / "generator.onnx", inputs)["images"]
        assert generated.shape == images.shape and generated.dtype == np.float32
        np.testing.assert_allclose(generated, images, rtol=0, atol=1e-5)
        if not model.networks.reads_codes:
            continue
        pixels = bar_images(count, model.shape.size, model.shape.channels)
        posterior = run_onnx(folder / "recognizer.onnx", {"images": (pixels / 255).astype(np.float32)})
        expected = model.encode(pixels)
        for name in codes:
            if name in expected.probabilities:
                probabilities = posterior.pop(f"{names[name]}_probabilities")
                np.testing.assert_allclose(probabilities, expected.probabilities[name], rtol=0, atol=1e-5)
                continue
            for parameter, values in (("mean", expected.codes[name]), ("deviation", expected.deviations[name])):
                output = posterior.pop(f"{names[name]}_{parameter}")
                np.testing.assert_allclose(output, values, rtol=1e-5, atol=1e-5)
        assert posterior == {}


@pytest.fixture(scope="module")
def example_folder(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the examples of docs/export.md were run, with a model of digits."""
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(digits_run / "model", folder / "runs" / "00000-mnist" / "model")
    (folder / "examples.py").write_text("\n".join(blocks))
    strict = ["-W", "error::UserWarning", "-W", "ignore:The given buffer is not writable"]  # by PyTorch 2.9
    result = subprocess.run([sys.executable, *strict, "examples.py"], cwd=folder, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
    assert re.fullmatch(rb"\[('\d', ){9}'\d'\]\n", result.stdout)
    return folder


# ONNX.


@pytest.mark.parametrize(
    "architecture", ["conv", "paper", *(pytest.param(name, marks=pytest.mark.integration) for name in ("mlp", "post"))]
)
def test_onnx_files_compute_what_the_model_computes(architecture: str, tmp_path: Path) -> None:
    model = randomised(MODELS[architecture]())
    assert model.config.networks.architecture == architecture
    paths = export(model, "onnx", tmp_path / "out")
    assert [path.name for path in paths] == ["generator.onnx", "recognizer.onnx", "export.json"]
    assert_exact(model, tmp_path / "out")
    for name, networks in (("generator", ["generator"]), ("recognizer", ["recognizer", "discriminator"])):
        file = onnx.load(tmp_path / "out" / f"{name}.onnx")
        assert [entry.version for entry in file.opset_import] == [18]
        assert json.loads(file.metadata_props[0].value) == describe(model)
        # Only its own weights, and no paths of this machine.
        weights = sum(p.numel() for n, p in model.networks.named_parameters() if n.startswith(tuple(networks)))
        assert 0 < sum(int(np.prod(weight.dims)) for weight in file.graph.initializer) < weights + 500
        assert not re.search(rb"site-packages|\.py\b|infogan/", file.SerializeToString())


@pytest.mark.integration
def test_the_default_preset_is_exported_with_its_encoder(digits_run: Path, example_folder: Path) -> None:
    model = InfoGAN.load(digits_run)
    assert model.networks.encoder is not None and model.networks.recognizer is not None
    assert_exact(model, example_folder / "mnist-onnx")


def test_an_encoder_without_recognizer_and_with_large_images_is_exported(tmp_path: Path) -> None:
    networks = {"width": 2, "encoder_width": 2, "spectral_norm": True}
    codes = [{"kind": "categorical", "size": 3, "prior": "learned"}]
    model = randomised(model_of("robust", size=41, channels=3, codes=codes, networks=networks))
    assert model.networks.recognizer is None
    export(model, "onnx", tmp_path / "out")
    assert_exact(model, tmp_path / "out")


def test_declared_knobs_are_exported_with_their_reader(tmp_path: Path) -> None:
    codes: list[dict[str, Any]] = [
        {"kind": "continuous", "follows": "slant", "deviation": 0.2},
        {"kind": "continuous"},
    ]
    model = randomised(small_model(codes=codes, size=12))
    reader = model.networks.reader
    assert reader is not None
    reader.calibrate(torch.randn(200, 1, generator=torch.Generator().manual_seed(0)))
    export(model, "onnx", tmp_path / "out")
    assert_exact(model, tmp_path / "out")


@pytest.mark.parametrize("kind", ["gan", "cgan"])
def test_a_model_without_recognizer_has_only_a_generator(kind: str, tmp_path: Path) -> None:
    model = model_without_recognizer(kind)
    paths = export(model, "onnx", tmp_path / "out")
    assert [path.name for path in paths] == ["generator.onnx", "export.json"]
    assert_exact(model, tmp_path / "out")
    assert all("outputs" not in code for code in describe(model)["codes"])


def test_spectral_norm_is_exported_as_plain_weights_and_the_model_is_unchanged() -> None:
    networks = {"architecture": "paper", "recognizer": "shared", "spectral_norm": True}
    model = randomised(model_of("paper", size=8, networks=networks, noise={"size": 0}))
    before = {name: tensor.clone() for name, tensor in model.networks.state_dict().items()}
    images, codes = model.sample(3).images, {name: np.zeros(3) for name in model.layout.codes}
    likelihoods = model.log_likelihoods(images, codes)
    graphs = model_graphs(model)
    for graph in graphs:
        graph.check(graph.trace().module())
    assert not [name for name in graphs[1].module.state_dict() if "parametrizations" in name]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.networks.state_dict().items())
    again = InfoGAN(model.config, model.networks).log_likelihoods(images, codes)
    assert all((again[name] == values).all() for name, values in likelihoods.items())


def test_safe_names_are_ascii_identifiers_and_different() -> None:
    names = safe_names(ODD_NAMES)
    ends = [f"{name}{end}" for name in names.values() for end in ("", "_probabilities", "_mean", "_deviation")]
    assert len({*ends, "noise", "images"}) == len(ends) + 2
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) for name in names.values())
    assert safe_names(["category", "knob1"]) == {"category": "category", "knob1": "knob1"}
    assert (names["7 up"], names["a b"], names["a_b"]) == ("code_7_up", "a_b", "a_b_2")


def test_the_description_lists_codes_with_names_orders_and_priors() -> None:
    shape: dict[str, Any] = {"kind": "categorical", "size": 3, "prior": [0.5, 0.25, 0.25], "name": "shape"}
    codes = [shape, {"kind": "continuous"}]
    model = small_model(codes=codes)
    model.name_codes({"shape": {1: "ring"}})
    model.order_values("shape", [2, 1, 0])
    description = json.loads(json.dumps(describe(model)))
    assert description["codes"] == [
        {
            "name": "shape",
            "kind": "categorical",
            "input": "shape",
            "outputs": {"probabilities": "shape_probabilities"},
            "size": 3,
            "prior": [0.5, 0.25, 0.25],
            "values": ["0", "ring", "2"],
            "order": [2, 1, 0],
        },
        {
            "name": "knob1",
            "kind": "continuous",
            "input": "knob1",
            "outputs": {"mean": "knob1_mean", "deviation": "knob1_deviation"},
            "range": [-1, 1],
        },
    ]
    assert description["images"] == {"name": "images", "shape": [1, 8, 8], "axes": "NCHW", "range": [0, 1]}
    assert description["noise"] == {"input": "noise", "size": 5, "distribution": "normal"}
    assert (description["format"], description["kind"]) == (1, "infogan")


# The check of exactness.


@pytest.mark.parametrize("name", ["generator", "recognizer"])
def test_an_output_beyond_the_tolerance_is_rejected(name: str) -> None:
    graph = next(graph for graph in model_graphs(small_model()) if graph.name == name)

    def reference(*inputs: Any) -> list[Any]:
        return flatten(graph.reference(*inputs))

    def shifted(by: float) -> Callable[..., list[Any]]:
        return lambda *inputs: [output.double() + by * output.abs().clamp(min=1) for output in reference(*inputs)]

    graph.check(shifted(0.9 * TOLERANCE))
    with pytest.raises(UserError, match=rf"not exact .* 1 images, .* of the {name} .* by 1\.1e-05"):
        graph.check(shifted(1.1 * TOLERANCE))
    for value in (float("nan"), float("inf")):
        with pytest.raises(UserError, match="not exact"):
            graph.check(shifted(value))
    with pytest.raises(UserError, match="by inf"):
        graph.check(lambda *inputs: [output[:1, None] for output in reference(*inputs)])


def test_a_larger_batch_is_checked_as_well() -> None:
    graph = model_graphs(small_model())[0]
    with pytest.raises(UserError, match="for 7 images"):
        graph.check(lambda *inputs: graph.reference(*inputs) + (len(inputs[0]) > 2))


def test_an_export_that_is_not_exact_leaves_the_folder_unchanged(tmp_path: Path) -> None:
    model = small_model(architecture="post")
    export(model, "pt2", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    next(model.networks.generator.parameters()).data[0] = float("nan")
    with pytest.raises(UserError, match="'images' of the generator differs from PyTorch by nan"):
        export(model, "pt2", tmp_path / "out")
    with pytest.raises(UserError, match="by nan"):
        export(model, "onnx", tmp_path / "new")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert os.listdir(tmp_path) == ["out"]


# torch.export.

RUN_PROGRAMS = """
import json, sys
import numpy as np, torch
folder, = sys.argv[1:]
files = {"infogan.json": ""}
generator = torch.export.load(f"{folder}/generator.pt2", extra_files=files).module()
recognizer = torch.export.load(f"{folder}/recognizer.pt2").module()
outputs = {}
inputs = np.load(f"{folder}/../inputs.npz")
for count in (1, 3, 16):
    names = [code["name"] for code in json.loads(files["infogan.json"])["codes"]]
    codes = {name: torch.from_numpy(inputs[name][:count]) for name in names}
    torch.set_grad_enabled(False)  # PyTorch 2.9 loads weights with gradients
    images = generator(torch.from_numpy(inputs["noise"][:count]), codes)
    outputs[f"images {count}"] = images.numpy()
    for name, posterior in recognizer(torch.from_numpy(inputs["pixels"][:count])).items():
        outputs |= {f"{parameter} of {name} {count}": values.numpy() for parameter, values in posterior.items()}
assert not any(name.startswith(("infogan", "jaxtyping")) for name in sys.modules)
np.savez(f"{folder}/../outputs.npz", **outputs)
"""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_programs_compute_what_the_model_computes(architecture: str) -> None:
    for graph in model_graphs(randomised(MODELS[architecture]())):
        graph.check(graph.trace().module())


@pytest.mark.integration
def test_pytorch_runs_programs_without_this_package(digits_run: Path, example_folder: Path, tmp_path: Path) -> None:
    model, out = InfoGAN.load(digits_run), tmp_path / "out"
    shutil.copytree(example_folder / "mnist-pt2", out)
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "generator.pt2", "recognizer.pt2"]
    noise, codes, images = sample_latents(model, 16)
    pixels = bar_images(16)
    inputs = {"noise": noise, "pixels": (pixels / 255).astype(np.float32), **codes}
    np.savez(tmp_path / "inputs.npz", allow_pickle=False, **inputs)
    command = [sys.executable, "-W", "ignore", "-c", RUN_PROGRAMS, str(out)]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    outputs, encoding = np.load(tmp_path / "outputs.npz"), model.encode(pixels)
    for count in (1, 3, 16):
        expected = {"images": images}
        expected |= {f"probabilities of {name}": values for name, values in encoding.probabilities.items()}
        expected |= {f"mean of {name}": encoding.codes[name] for name in encoding.deviations}
        expected |= {f"deviation of {name}": values for name, values in encoding.deviations.items()}
        for name, values in expected.items():
            np.testing.assert_allclose(outputs[f"{name} {count}"], values[:count], rtol=1e-5, atol=1e-5)


def test_programs_contain_no_pickles_and_no_paths(tmp_path: Path) -> None:
    for path in export(small_model(architecture="post"), "pt2", tmp_path / "out")[:-1]:
        with zipfile.ZipFile(path) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        # Neither pickles nor archives that contain them, such as PyTorch's own.
        assert not [name for name, content in contents.items() if content[:1] == b"\x80" or b".pkl" in content]
        payloads = [json.loads(content) for name, content in contents.items() if name.endswith("_config.json")]
        assert payloads
        assert not any(entry["use_pickle"] for payload in payloads for entry in payload["config"].values())
        assert not re.search(rb"site-packages|\.py\b|infogan/", path.read_bytes())


# The folder.


def test_only_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    model, out = small_model(architecture="post"), tmp_path / "a" / "out"
    out.mkdir(parents=True)  # an empty folder can be used
    export(model, "pt2", out)
    (out / "generator.pt2").unlink()  # an incomplete export can be replaced
    export(model_without_recognizer("gan"), "pt2", out)
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "generator.pt2"]
    index = json.loads((out / "export.json").read_text())
    assert (index["export"], list(index["files"]), index["model"]["kind"]) == ("pt2", ["generator.pt2"], "gan")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'notes\.txt', which is not part of an export"):
        export(model, "pt2", out)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name, content in (("thesis.txt", "mine"), ("export.json", "[" * 100_000), ("export.json", '{"files": 3}')):
        (foreign / name).write_text(content)
        with pytest.raises(UserError, match="which is not part of an export"):
            export(model, "pt2", foreign)
    with pytest.raises(UserError, match="is a file"):
        export(model, "pt2", foreign / "thesis.txt")
    with pytest.raises(UserError, match=r"cannot write .*out: "):
        export(model, "pt2", foreign / "thesis.txt" / "out")
    assert sorted(os.listdir(tmp_path)) == ["a", "foreign"] and os.listdir(tmp_path / "a") == ["out"]
    assert (foreign / "thesis.txt").read_text() == (out / "notes.txt").read_text() == "mine"


def test_an_export_stays_if_it_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    export(small_model(architecture="post"), "pt2", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if source.suffix == ".tmp":  # the earlier export has been moved by then
            assert not out.exists()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr("infogan.utils.files.os.rename", fail)
    with pytest.raises(UserError, match=r"cannot write .*out: Input/output error"):
        export(model_without_recognizer("gan"), "pt2", out)
    assert os.listdir(tmp_path) == ["out"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_folder_has_the_usual_permissions(tmp_path: Path) -> None:
    export(small_model(architecture="post"), "pt2", tmp_path / "out")
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_unknown_formats_and_unused_options_are_rejected(tmp_path: Path) -> None:
    model = small_model(architecture="post")
    with pytest.raises(UserError, match="unknown format 'onx': did you mean 'onnx'"):
        export(model, "onx", tmp_path / "out")
    with pytest.raises(UserError, match="only used by the format site"):
        export(model, "pt2", tmp_path / "out", runtime=tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_missing_library_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'infogan\[onnx\]'"):
        export(small_model(architecture="post"), "onnx", tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_the_command_exports_and_prints_the_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_model(architecture="post").save("model")
    result = CliRunner().invoke(app, ["export", "model", "--format", "pt2", "--out", "x"])
    assert result.exit_code == 0, result.exception
    assert result.stdout.splitlines() == ["x/generator.pt2", "x/recognizer.pt2", "x/export.json"]
    assert result.stderr == "" and all((tmp_path / line).is_file() for line in result.stdout.splitlines())
