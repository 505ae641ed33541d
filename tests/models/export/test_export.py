"""Exports, run by what they are for: onnxruntime, PyTorch in a process without this package, the command line."""

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

from infogan.models.architectures import ARCHITECTURES, ImageShape
from infogan.models.export import export
from infogan.models.export.graphs import TOLERANCE, description, graphs_of, plain_names
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.models.serialization import ModelConfig
from infogan.utils.errors import UserError
from tests import ROOT
from tests.helpers import model_without_recognizer, pictures, small_config, small_model

# Names of codes that would be taken for another input or output, for an operation, or for nothing at all.
ODD = ["noise", "images", "view", "7 up", "Größe", "a b", "a_b", "a_b_mean", "value.3", "日本", "x" * 64]


def shaken(model: InfoGAN) -> InfoGAN:
    """The model with biases and moments of batch norm such as training leaves, where it has none yet."""
    source = torch.Generator().manual_seed(1)
    for name, tensor in model.networks.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.2, 3, generator=source)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.3, generator=source)
    return model


def model_of(preset: str, *, size: int, channels: int = 1, codes: Any = None, **sections: Any) -> InfoGAN:
    """An untrained model as a preset has it, but for these sections."""
    given = {"codes": codes} if codes else {}
    config = small_config(preset=preset, **given, **sections)
    shape, layout = ImageShape(channels, size), CodeLayout(config.noise, config.codes)
    networks = build_networks(config.networks, layout, shape, kind=config.objective.kind, seed=0)
    return InfoGAN(ModelConfig.of(config, shape), networks)


MODELS: dict[str, Callable[[], InfoGAN]] = {
    "mlp": lambda: small_model(architecture="mlp", channels=3),
    "conv": lambda: small_model(size=9, codes=[{"kind": "categorical", "size": 3, "name": name} for name in ODD]),
    "paper": lambda: small_model(architecture="paper", size=12, distribution="uniform"),
    "post": lambda: small_model(architecture="post", codes=[{"kind": "continuous", "deviation": 0.3, "name": "k"}]),
}


def run_onnx(content: bytes | Path, given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What onnxruntime makes of a file, by the names of its outputs."""
    source = content if isinstance(content, bytes) else str(content)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


def asked(model: InfoGAN, count: int) -> tuple[NDArray[Any], dict[str, NDArray[Any]], NDArray[Any]]:
    """Noise and codes, and the images that the networks make of them, unfolded."""
    source = torch.Generator().manual_seed(count)
    noise, codes = model.layout.sample_noise(count, source), model.layout.sample_codes(count, source)
    with torch.no_grad():
        images = (model.networks.generator(model.layout.latents(noise, codes)).numpy() + 1) / 2
    return noise.numpy(), {name: values.numpy() for name, values in codes.items()}, images


def assert_exact(model: InfoGAN, folder: Path) -> None:
    """The ONNX files give what the model gives, at sizes of a batch that they were not checked with as well."""
    names = plain_names(model.layout.codes)
    for count in (1, 3, 16):
        noise, codes, images = asked(model, count)
        given = {"noise": noise, **{names[name]: values for name, values in codes.items()}}
        found = run_onnx(folder / "generator.onnx", given)["images"]
        assert found.shape == images.shape and found.dtype == np.float32
        np.testing.assert_allclose(found, images, rtol=0, atol=1e-5)
        if not model.networks.reads_codes:
            continue
        pixels = pictures(count, model.shape.size, model.shape.channels)
        read = run_onnx(folder / "recognizer.onnx", {"images": (pixels / 255).astype(np.float32)})
        expected = model.encode(pixels)
        for name in codes:
            plain = names[name]
            if name in expected.probabilities:
                np.testing.assert_allclose(
                    read.pop(f"{plain}_probabilities"), expected.probabilities[name], rtol=0, atol=1e-5
                )
            else:
                np.testing.assert_allclose(read.pop(f"{plain}_mean"), expected.codes[name], rtol=1e-5, atol=1e-5)
                deviations = expected.deviations[name]
                np.testing.assert_allclose(read.pop(f"{plain}_deviation"), deviations, rtol=1e-5, atol=1e-5)
        assert read == {}


@pytest.fixture(scope="module")
def shown(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything that docs/export.md shows was run, of a run on digits."""
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    folder = tmp_path_factory.mktemp("shown")
    shutil.copytree(digits_run / "model", folder / "runs" / "00000-mnist" / "model")
    (folder / "shown.py").write_text("\n".join(blocks))
    strict = ["-W", "error::UserWarning", "-W", "ignore:The given buffer is not writable"]  # which PyTorch 2.9 says
    done = subprocess.run([sys.executable, *strict, "shown.py"], cwd=folder, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.fullmatch(rb"\[('\d', ){9}'\d'\]\n", done.stdout)
    return folder


# ONNX.


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_onnxruntime_gives_what_the_model_gives(architecture: str, tmp_path: Path) -> None:
    model = shaken(MODELS[architecture]())
    assert model.config.networks.architecture == architecture
    made = export(model, "onnx", tmp_path / "out")
    assert [path.name for path in made] == ["generator.onnx", "recognizer.onnx", "export.json"]
    assert_exact(model, tmp_path / "out")
    for name, players in (("generator", ["generator"]), ("recognizer", ["recognizer", "discriminator"])):
        file = onnx.load(tmp_path / "out" / f"{name}.onnx")
        assert [entry.version for entry in file.opset_import] == [18]
        assert json.loads(file.metadata_props[0].value) == description(model)
        # No weights but its own, and nothing of the machine it was made on.
        own = sum(p.numel() for n, p in model.networks.named_parameters() if n.startswith(tuple(players)))
        assert 0 < sum(int(np.prod(weight.dims)) for weight in file.graph.initializer) < own + 500
        assert not re.search(rb"site-packages|\.py\b|infogan/", file.SerializeToString())


def test_the_default_recipe_is_exported_with_its_encoder(digits_run: Path, shown: Path) -> None:
    model = InfoGAN.load(digits_run)
    assert model.networks.encoder is not None and model.networks.recognizer is not None
    assert_exact(model, shown / "mnist-onnx")


def test_an_encoder_alone_reads_images_of_a_side_that_is_averaged_down(tmp_path: Path) -> None:
    networks = {"width": 2, "encoder_width": 2, "spectral_norm": True}
    codes = [{"kind": "categorical", "size": 3, "prior": "learned"}]
    model = shaken(model_of("robust", size=41, channels=3, codes=codes, networks=networks))
    assert model.networks.recognizer is None
    export(model, "onnx", tmp_path / "out")
    assert_exact(model, tmp_path / "out")


def test_a_gan_without_noise_or_codes_of_its_kind(tmp_path: Path) -> None:
    for kind in ("gan", "cgan"):
        model = model_without_recognizer(kind)
        made = export(model, "onnx", tmp_path / "out")
        assert [path.name for path in made] == ["generator.onnx", "export.json"]
        assert_exact(model, tmp_path / "out")
        assert all("outputs" not in code for code in description(model)["codes"])


def test_a_shared_trunk_under_spectral_norm_becomes_plain_weights() -> None:
    networks = {"architecture": "paper", "recognizer": "shared", "spectral_norm": True}
    model = shaken(model_of("paper", size=8, networks=networks, noise={"size": 0}))
    before = {name: tensor.clone() for name, tensor in model.networks.state_dict().items()}
    images, codes = model.sample(3).images, {name: np.zeros(3) for name in model.layout.codes}
    read = model.log_likelihoods(images, codes)
    generator, recognizer = graphs_of(model)
    for graph in (generator, recognizer):
        module = graph.traced().module()
        graph.check(lambda given, run=module: outputs(run(*given)))  # type: ignore[misc]
    assert not [name for name in recognizer.module.state_dict() if "parametrizations" in name]
    # The model is as it was, and works.
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.networks.state_dict().items())
    again = InfoGAN(model.config, model.networks).log_likelihoods(images, codes)
    assert all((again[name] == values).all() for name, values in read.items())


def outputs(found: Any) -> list[Any]:
    return [found] if isinstance(found, torch.Tensor) else [v for read in found.values() for v in read.values()]


def test_plain_names_are_safe_and_no_two_are_alike() -> None:
    names = plain_names(ODD)
    ends = [f"{name}{end}" for name in names.values() for end in ("", "_probabilities", "_mean", "_deviation")]
    assert len({*ends, "noise", "images"}) == len(ends) + 2
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) for name in names.values())
    assert plain_names(["category", "knob1"]) == {"category": "category", "knob1": "knob1"}
    assert (names["7 up"], names["a b"], names["a_b"]) == ("code_7_up", "a_b", "a_b_2")


def test_the_description_has_names_orders_and_priors() -> None:
    shape: dict[str, Any] = {"kind": "categorical", "size": 3, "prior": [0.5, 0.25, 0.25], "name": "shape"}
    codes = [shape, {"kind": "continuous"}]
    model = small_model(codes=codes)
    model.name_codes({"shape": {1: "ring"}})
    model.order_values("shape", [2, 1, 0])
    told = json.loads(json.dumps(description(model)))
    assert told["codes"] == [
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
    assert told["images"] == {"name": "images", "shape": [1, 8, 8], "axes": "NCHW", "range": [0, 1]}
    assert told["noise"] == {"input": "noise", "size": 5, "distribution": "normal"}
    assert (told["format"], told["kind"]) == (1, "infogan")


# What would not be exact is refused.


@pytest.mark.parametrize("name", ["generator", "recognizer"])
def test_the_check_has_two_sides(name: str) -> None:
    graph = next(graph for graph in graphs_of(small_model()) if graph.name == name)

    def off(by: float) -> Callable[..., list[Any]]:
        return lambda given: [output.double() + by * output.abs().clamp(min=1) for output in graph.expected(*given)]

    graph.check(off(0.9 * TOLERANCE))
    with pytest.raises(UserError, match=rf"not be exact .* of 1 images, .* of the {name} .* by 1\.1e-05"):
        graph.check(off(1.1 * TOLERANCE))
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(UserError, match="would not be exact"):
            graph.check(off(wrong))
    with pytest.raises(UserError, match="by inf"):
        graph.check(lambda given: [output[:1, None] for output in graph.expected(*given)])


def test_a_larger_batch_is_checked_too() -> None:
    graph = graphs_of(small_model())[0]
    with pytest.raises(UserError, match="of 7 images"):
        graph.check(lambda given: [output + (len(output) > 2) for output in graph.expected(*given)])


def test_an_export_that_would_not_be_exact_leaves_nothing(tmp_path: Path) -> None:
    model = small_model(architecture="post")
    export(model, "pt2", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    next(model.networks.generator.parameters()).data[0] = float("nan")
    with pytest.raises(UserError, match="'images' of the generator differs from what PyTorch gives by nan"):
        export(model, "pt2", tmp_path / "out")
    with pytest.raises(UserError, match="by nan"):
        export(model, "onnx", tmp_path / "new")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert os.listdir(tmp_path) == ["out"]


# torch.export.

READ_ALONE = """
import json, sys
import numpy as np, torch
folder, = sys.argv[1:]
told = {"infogan.json": ""}
generator = torch.export.load(f"{folder}/generator.pt2", extra_files=told).module()
recognizer = torch.export.load(f"{folder}/recognizer.pt2").module()
found = {}
given = np.load(f"{folder}/../given.npz")
for count in (1, 3, 16):
    names = [code["name"] for code in json.loads(told["infogan.json"])["codes"]]
    codes = {name: torch.from_numpy(given[name][:count]) for name in names}
    torch.set_grad_enabled(False)  # PyTorch 2.9 loads weights as if to be trained
    images = generator(torch.from_numpy(given["noise"][:count]), codes)
    found[f"images {count}"] = images.numpy()
    for name, read in recognizer(torch.from_numpy(given["pixels"][:count])).items():
        found |= {f"{what} of {name} {count}": values.numpy() for what, values in read.items()}
assert not any(name.startswith(("infogan", "jaxtyping")) for name in sys.modules)
np.savez(f"{folder}/../found.npz", **found)
"""


def test_pytorch_runs_a_program_without_this_package(digits_run: Path, shown: Path, tmp_path: Path) -> None:
    model, out = InfoGAN.load(digits_run), tmp_path / "out"
    shutil.copytree(shown / "mnist-pt2", out)
    made = sorted(out.iterdir())
    assert [path.name for path in made] == ["export.json", "generator.pt2", "recognizer.pt2"]
    noise, codes, images = asked(model, 16)
    pixels = pictures(16)
    given = {"noise": noise, "pixels": (pixels / 255).astype(np.float32), **codes}
    np.savez(tmp_path / "given.npz", allow_pickle=False, **given)
    command = [sys.executable, "-W", "ignore", "-c", READ_ALONE, str(out)]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    found, read = np.load(tmp_path / "found.npz"), model.encode(pixels)
    for count in (1, 3, 16):
        np.testing.assert_allclose(found[f"images {count}"], images[:count], rtol=0, atol=1e-5)
        for name, shares in read.probabilities.items():
            np.testing.assert_allclose(found[f"probabilities of {name} {count}"], shares[:count], rtol=0, atol=1e-5)
        for name, deviations in read.deviations.items():
            means = read.codes[name][:count]
            np.testing.assert_allclose(found[f"mean of {name} {count}"], means, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found[f"deviation of {name} {count}"], deviations[:count], rtol=1e-5, atol=1e-5)
    for path in made[1:]:
        with zipfile.ZipFile(path) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        # No pickle: neither what starts like one nor what holds one, such as PyTorch's own archives.
        assert not [name for name, content in contents.items() if content[:1] == b"\x80" or b".pkl" in content]
        payloads = [json.loads(content) for name, content in contents.items() if name.endswith("_config.json")]
        assert payloads and not any(entry["use_pickle"] for told in payloads for entry in told["config"].values())
        assert not re.search(rb"site-packages|\.py\b|infogan/", path.read_bytes())


# Where it goes.


def test_only_an_export_is_replaced(tmp_path: Path) -> None:
    model, out = small_model(architecture="post"), tmp_path / "a" / "out"
    out.mkdir(parents=True)  # an empty folder is free
    export(model, "pt2", out)
    (out / "generator.pt2").unlink()  # some of it is still of it
    export(model_without_recognizer("gan"), "pt2", out)
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "generator.pt2"]
    index = json.loads((out / "export.json").read_text())
    assert (index["export"], list(index["files"]), index["model"]["kind"]) == ("pt2", ["generator.pt2"], "gan")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'notes\.txt', which is no part of the export there"):
        export(model, "pt2", out)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name, content in (("thesis.txt", "mine"), ("export.json", "[" * 100_000), ("export.json", '{"files": 3}')):
        (foreign / name).write_text(content)
        with pytest.raises(UserError, match="is not empty and holds no export"):
            export(model, "pt2", foreign)
    with pytest.raises(UserError, match="is a file, and an export is a folder"):
        export(model, "pt2", foreign / "thesis.txt")
    with pytest.raises(UserError, match=r"cannot write .*out: "):
        export(model, "pt2", foreign / "thesis.txt" / "out")
    assert sorted(os.listdir(tmp_path)) == ["a", "foreign"] and os.listdir(tmp_path / "a") == ["out"]
    assert (foreign / "thesis.txt").read_text() == (out / "notes.txt").read_text() == "mine"


def test_an_export_stays_where_a_new_one_can_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export(small_model(architecture="post"), "pt2", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if source.suffix == ".tmp":  # by then the earlier one has been moved aside
            assert not out.exists()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr("infogan.utils.files.os.rename", fail)
    with pytest.raises(UserError, match=r"cannot write .*out: Input/output error"):
        export(model_without_recognizer("gan"), "pt2", out)
    assert os.listdir(tmp_path) == ["out"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_is_readable_as_any_other(tmp_path: Path) -> None:
    export(small_model(architecture="post"), "pt2", tmp_path / "out")
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    model = small_model(architecture="post")
    with pytest.raises(UserError, match=r"unknown format 'onx': did you mean 'onnx'\? allowed are keras, onnx"):
        export(model, "onx", tmp_path / "out")
    with pytest.raises(UserError, match="a runtime is for a site"):
        export(model, "pt2", tmp_path / "out", runtime=tmp_path)
    assert os.listdir(tmp_path) == []


# The command.


def test_the_command_exports_and_names_its_files(tmp_path: Path) -> None:
    small_model(architecture="post").save(tmp_path / "model")
    command = [sys.executable, "-W", "error::UserWarning", "-m", "infogan", "export", "model", "--format"]
    done = subprocess.run([*command, "pt2", "--out", "x"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["x/generator.pt2", "x/recognizer.pt2", "x/export.json"]
    assert done.stderr == "" and all((tmp_path / line).is_file() for line in done.stdout.splitlines())


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    small_model(architecture="post").save(tmp_path / "model")
    script = "import sys; sys.modules['onnxscript'] = None; from infogan.cli import main; main()"
    command = [sys.executable, "-c", script, "export", "model", "--format", "onnx", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: ONNX files need other libraries: pip install 'infogan[onnx]'\n"
    assert os.listdir(tmp_path) == ["model"]
