"""Model folders: saving, loading, and files that are damaged, malicious or of another version."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from infogan.config.schema import NetworkSettings
from infogan.models import serialization
from infogan.models.infogan import InfoGAN
from infogan.models.networks import Networks
from infogan.models.serialization import ModelConfig
from infogan.utils.errors import UserError
from tests.helpers import bar_images, small_model

MODEL = small_model()


def change_config(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def model_with_encoder() -> InfoGAN:
    settings = NetworkSettings(width=4, encoder=True, encoder_width=2)
    config = MODEL.config.model_copy(update={"networks": settings})
    return InfoGAN(config, serialization.untrained_networks(config))


def change_weights(model: InfoGAN, folder: Path, kind: str, value: float) -> list[str]:
    """Save a model whose weights of one kind are a value, stored in double precision; return their names."""
    model.save(folder)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    names = [name for name in tensors if name.endswith(kind)]
    assert names
    changed = {name: torch.full(tensors[name].shape, value, dtype=torch.float64) for name in names}
    safetensors.torch.save_file(tensors | changed, folder / "model.safetensors")
    return names


@pytest.mark.parametrize("architecture", ["conv", "mlp", "paper", "post"])
def test_a_saved_model_loads_with_equal_bits(tmp_path: Path, architecture: str) -> None:
    model = small_model(architecture=architecture)
    model.name_codes({"category": [f"kind {i}" for i in range(10)]})
    model.save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    for path in (tmp_path, tmp_path / "model"):
        loaded = InfoGAN.load(path)
        assert loaded.config == model.config
        assert loaded.digest() == model.digest()
        assert np.array_equal(loaded.sample(20, seed=5).images, model.sample(20, seed=5).images)
        encoding, expected = loaded.encode(bar_images(10)), model.encode(bar_images(10))
        for code in expected.codes:
            assert np.array_equal(encoding.codes[code], expected.codes[code])


def test_a_large_model_loads(tmp_path: Path) -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 5000}])
    model.save(tmp_path)
    assert InfoGAN.load(tmp_path).digest() == model.digest()


def test_a_folder_without_a_model_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither a run folder .*config\.json"):
        InfoGAN.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"format": 2}'),
        ("config.json", b"[" * 100_000),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 100),
        ("model.safetensors", safetensors.torch.save({"other": torch.zeros(2)})),
    ],
)
def test_damage_is_reported_in_one_line(tmp_path: Path, file: str, content: bytes) -> None:
    MODEL.save(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError) as caught:
        InfoGAN.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e39], ids=str)
@pytest.mark.parametrize("kind", ["weight", "running_mean", "prior"])
def test_weights_that_are_not_finite_are_rejected(tmp_path: Path, kind: str, value: float) -> None:
    names = change_weights(model_with_encoder(), tmp_path / "model", kind, value)
    for path in (tmp_path, tmp_path / "model"):
        with pytest.raises(UserError, match="is NaN or infinite") as caught:
            InfoGAN.load(path)
        assert any(name in str(caught.value) for name in names)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "value"), [("running_var", -1e-3), ("prior", -1e-3), ("prior", 0.0)])
def test_weights_that_no_training_gives_are_rejected(tmp_path: Path, kind: str, value: float) -> None:
    change_weights(model_with_encoder(), tmp_path, kind, value)
    with pytest.raises(UserError, match="is negative or zero"):
        InfoGAN.load(tmp_path)


def test_large_and_small_finite_weights_load(tmp_path: Path) -> None:
    for kind, value in (("weight", 3e38), ("weight", 0.0), ("weight", 1e-45), ("running_var", 0.0), ("prior", 1e-45)):
        change_weights(model_with_encoder(), tmp_path, kind, value)
        InfoGAN.load(tmp_path).sample(2)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["weight", "deviation", "prior", "size", "width", "noise"])
def test_numbers_that_are_not_finite_are_rejected_in_the_configuration(tmp_path: Path, key: str, number: str) -> None:
    change_config(tmp_path, with_number(tmp_path, key))
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"NUMBER"', number))
    with pytest.raises(UserError, match=rf"{key}\b.*: Input should be") as caught:
        InfoGAN.load(tmp_path)
    assert "\n" not in str(caught.value)
    path.write_text(path.read_text().replace(number, {"prior": "0.5", "size": "8", "noise": "5"}.get(key, "4")))
    assert InfoGAN.load(tmp_path).digest()


@pytest.mark.parametrize("number", [10**30, 2**62, 2**40])
def test_widths_beyond_any_tensor_are_rejected(tmp_path: Path, number: int) -> None:
    change_config(tmp_path, with_number(tmp_path, "width"))
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"NUMBER"', str(number)))
    with pytest.raises(UserError, match="is damaged or not an infogan model") as caught:
        InfoGAN.load(tmp_path)
    assert "\n" not in str(caught.value)


def with_number(folder: Path, key: str) -> dict[str, Any]:
    """Save a model; return changes to its configuration that put "NUMBER" in the place of a number."""
    codes: list[dict[str, Any]] = [{"kind": "categorical", "size": 2}, {"kind": "continuous", "name": "b"}]
    model = small_model(codes=codes)
    model.save(folder)
    categorical, continuous = model.config.model_dump(mode="json")["codes"]
    networks = model.config.networks.model_dump(mode="json")
    changes: dict[str, dict[str, Any]] = {
        "weight": {"codes": [categorical, {**continuous, "weight": "NUMBER"}]},
        "deviation": {"codes": [categorical, {**continuous, "deviation": "NUMBER"}]},
        "prior": {"codes": [{**categorical, "prior": ["NUMBER", 0.5]}, continuous]},
        "size": {"size": "NUMBER"},
        "width": {"networks": {**networks, "width": "NUMBER"}},
        "noise": {"noise": {"size": "NUMBER"}},
    }
    return changes[key]


def test_names_that_are_not_unicode_are_escaped(tmp_path: Path) -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 2}])
    model.name_codes({"category": [os.fsdecode(b"caf\xe9"), "\ud800"]})
    model.save(tmp_path)
    assert InfoGAN.load(tmp_path).value_names("category") == ["caf\\udce9", "\\ud800"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode on this platform")
def test_a_folder_whose_name_is_not_utf_8_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    MODEL.save(folder)
    assert InfoGAN.load(folder).digest() == MODEL.digest()


@pytest.mark.parametrize("change", [{"names": {"category": ["a"]}}, {"order": {"category": [0, 0, 1]}}])
def test_names_and_orders_that_do_not_fit_are_rejected(tmp_path: Path, change: dict[str, Any]) -> None:
    small_model(codes=[{"kind": "categorical", "size": 3}]).save(tmp_path)
    change_config(tmp_path, change)
    with pytest.raises(UserError, match="category"):
        InfoGAN.load(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("size", 10**9), ("size", 7), ("channels", 0), ("channels", 10**9)])
def test_image_shapes_that_no_network_supports_are_rejected(tmp_path: Path, key: str, value: int) -> None:
    MODEL.save(tmp_path)
    change_config(tmp_path, {key: value})
    with pytest.raises(UserError, match=key):
        InfoGAN.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"networks": {"architecture": "mlp", "width": 10**6}},
        {"codes": [{"kind": "categorical", "name": "category", "size": 10_000}]},
    ],
)
def test_a_config_that_promises_huge_networks_allocates_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    original = serialization.untrained_networks

    def build_on_meta(config: ModelConfig) -> Networks:
        assert torch.empty(0).is_meta, "the networks would have tens of GiB"
        return original(config)

    monkeypatch.setattr(serialization, "untrained_networks", build_on_meta)
    MODEL.save(tmp_path)
    change_config(tmp_path, change)
    with pytest.raises(UserError, match=r"config\.json describes other networks"):
        InfoGAN.load(tmp_path)


def test_a_newer_format_is_rejected(tmp_path: Path) -> None:
    MODEL.save(tmp_path)
    change_config(tmp_path, {"format": 3})
    with pytest.raises(UserError, match=r"newer version .*format 3"):
        InfoGAN.load(tmp_path)


def test_a_folder_of_format_1_loads(tmp_path: Path) -> None:
    """Version 0.1 called the pair classifier comparer and saved training state with the encoder."""
    settings = NetworkSettings(width=4, pair_classifier=True, encoder=True, encoder_width=2)
    config = MODEL.config.model_copy(update={"networks": settings})
    model = InfoGAN(config, serialization.untrained_networks(config))
    model.save(tmp_path)
    networks = settings.model_dump(mode="json")
    networks["comparer"] = networks.pop("pair_classifier")
    change_config(tmp_path, {"format": 1, "networks": networks})
    tensors = {
        name.replace("pair_classifier.", "comparer."): tensor for name, tensor in model.networks.state_dict().items()
    }
    state = {"encoder.marginal": torch.ones(10), "encoder.radius": torch.tensor(1.0), "encoder.pace": torch.tensor(1.0)}
    safetensors.torch.save_file(
        {name: tensor.contiguous() for name, tensor in (tensors | state).items()}, tmp_path / "model.safetensors"
    )
    loaded = InfoGAN.load(tmp_path)
    assert loaded.digest() == model.digest()
    assert loaded.config.is_same_model(model.config)
    loaded.save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["format"] == 2


def test_models_with_other_names_are_the_same_model() -> None:
    model, other = small_model(), small_model()
    other.name_codes({"category": {1: "one"}})
    other.rename_code("knob1", "slant")
    other.order_values("category", list(range(9, -1, -1)))
    assert other.config.is_same_model(model.config)
    assert not small_model(size=9).config.is_same_model(model.config)
    other_run = model.config.model_copy(update={"trained_as": "0" * 16})
    assert not other_run.is_same_model(model.config)
    assert other_run.model_copy(update={"trained_as": ""}).is_same_model(model.config)
