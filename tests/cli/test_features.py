"""Pretrained features on the command line and from Python: ``embed``, ``train``, ``categories`` and ``encode``."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import infogan
from infogan.evaluation.metrics.clustering import ari
from infogan.features import open_extractor, read_vectors
from infogan.models.infogan import InfoGAN
from tests.commands import infogan_workers, invoke
from tests.features.test_providers import write_onnx

COLOURS = [(220, 30, 30), (30, 200, 40), (40, 50, 230)]
COUNT = 180
SMALL = ["--set", "networks.width=4", "--set", "networks.encoder_width=4", "--set", "train.batch_size=16"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images in three colours, with noise."""
    folder, random = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for number in range(COUNT):
        pixels = np.array(COLOURS[number % 3]) + random.normal(0, 12, 3) + random.normal(0, 20, (24, 24, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pretrained encoder that sees mean colours."""
    return f"onnx:{write_onnx(tmp_path_factory.mktemp('encoder') / 'means.onnx')}"


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFOGAN_CACHE", str(tmp_path_factory.getbasetemp() / "features-cache"))


@pytest.fixture(scope="module")
def trained(photos: Path, encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned its categories from the encoder."""
    run = tmp_path_factory.mktemp("trained") / "run"
    arguments = ["--size", "16", "--categorical", "3", "--features", encoder, "--steps", "150", *SMALL]
    result = invoke("train", photos, *arguments, "--out", run)
    assert result.returncode == 0, result.stderr
    return run


def colours_of(names: list[str]) -> NDArray[np.int64]:
    return np.array([int(Path(name).stem) % 3 for name in names])


@pytest.mark.parametrize("ending", [".npy", ".npz", ".parquet"])
def test_embed_writes_a_vector_for_each_image(photos: Path, encoder: str, ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"v{ending}"
    result = invoke("embed", photos, "--features", encoder, "--out", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{out}\n"
    vectors = read_vectors(out)
    assert vectors.values.shape == (COUNT, 3)
    names = vectors.names or [f"{number}.png" for number in range(COUNT)]
    expected = (np.array(COLOURS)[colours_of([*names])] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(vectors.values, expected, atol=0.6)


def test_a_run_learns_the_categories_of_the_features(photos: Path, trained: Path) -> None:
    names = [f"{number}.png" for number in range(COUNT)]
    images = infogan.data.load(photos, size=16)
    categories = InfoGAN.load(trained).encode(images.images).codes["category"]
    assert ari(categories, colours_of([*images.names])) > 0.9
    assert sorted(images.names) == sorted(names)
    verdict = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])["verdict"]
    assert {"halves", "several_share"} <= verdict["evidence"].keys()  # judged in the features
    config = json.loads((trained / "config.json").read_text())
    assert [stage["name"] for stage in config["stages"]] == ["distill", "gan"]


def test_a_run_goes_on_without_the_encoder(photos: Path, trained: Path, encoder: str) -> None:
    path = Path(encoder.removeprefix("onnx:"))
    content = path.read_bytes()
    path.unlink()
    try:
        arguments = ["--size", "16", "--categorical", "3", "--features", encoder, "--steps", "150", *SMALL]
        result = invoke("train", photos, *arguments, "--out", trained)
        assert result.returncode == 0, result.stderr
        other = invoke(
            "train", photos, "--size", "16", "--categorical", "3", "--steps", "150", *SMALL, "--out", trained
        )
        assert other.returncode == 2  # another configuration
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(("options", "eye"), [([], "means.onnx"), (["--features", "none"], "own encoder")])
def test_encode_says_which_encoder_finds_the_category(
    photos: Path, trained: Path, options: list[str], eye: str, tmp_path: Path
) -> None:
    result = invoke("encode", trained, photos, *options, "--out", tmp_path / "codes.csv")
    assert result.returncode == 0, result.stderr
    assert eye in result.stderr
    with (tmp_path / "codes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = np.array([int(row["category"]) for row in rows])
    assert ari(found, colours_of([row["image"] for row in rows])) > 0.9
    assert all(0 <= float(row["entropy"]) < 1.2 for row in rows)


def test_categories_are_counted_in_the_features(photos: Path, encoder: str) -> None:
    result = invoke("categories", photos, "--size", "16", "--features", encoder, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["low"] <= 3 <= found["high"]


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ("missing.npy", "missing.npy"),
        ("onnx:missing.onnx", "missing.onnx"),
        ("dinov2", "timm:NAME"),
        ("short.npy", "2 vectors, but there are 180 images"),
        ("nan.npy", "NaN"),
        ("others.npz", "no vectors for 180 of 180 images"),
    ],
)
def test_features_that_cannot_be_used_leave_nothing_behind(
    photos: Path, features: str, reason: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "short.npy", np.zeros((2, 3), np.float32))
    np.save(tmp_path / "nan.npy", np.full((COUNT, 3), np.nan))
    names = np.array([f"x{number}" for number in range(COUNT)])
    np.savez(tmp_path / "others.npz", features=np.zeros((COUNT, 3)), names=names)
    before = sorted(tmp_path.iterdir())
    result = invoke("train", photos, "--size", "16", "--features", features, "--out", "run", cwd=tmp_path)
    assert result.returncode == 2
    assert reason in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_recipes_without_an_encoder_have_no_use_for_features(photos: Path, encoder: str, tmp_path: Path) -> None:
    arguments = ["--recipe", "plain", "--size", "16", "--features", encoder]
    result = invoke("train", photos, *arguments, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert "encoder" in result.stderr


def test_encode_needs_a_run_that_was_trained_with_features(
    run: Path, images: Path, encoder: str, tmp_path: Path
) -> None:
    result = invoke("encode", run, images, "--features", encoder, "--out", tmp_path / "codes.csv")
    assert result.returncode == 2
    assert not (tmp_path / "codes.csv").exists()


@pytest.mark.parametrize("form", ["array", "function", "module"])
def test_features_are_given_in_python(photos: Path, form: str, tmp_path: Path) -> None:
    import torch

    images = infogan.data.load(photos, size=16)
    features = {
        "array": images.images.mean(axis=(2, 3)),
        "function": lambda pixels: pixels.mean(axis=(2, 3)),
        "module": torch.nn.AdaptiveAvgPool2d(1),
    }[form]
    options = {"networks.width": 4, "networks.encoder_width": 4, "train.batch_size": 16}
    model = infogan.fit(
        images, features=features, categorical=3, steps=150, options=options, out=tmp_path / "run", verbose=False
    )
    found = model.encode(images.images).codes["category"]
    assert ari(found, colours_of([*images.names])) > 0.9


def test_auto_takes_the_better_features_and_shows_the_scores(
    photos: Path, encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infogan.training.first_stage.MIN_STEPS", 1)
    arguments = ["--size", "16", "--categorical", "3", "--features", f"auto:{encoder}", "--steps", "150", *SMALL]
    result = invoke("train", photos, *arguments, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    (scores,) = [line for line in result.stderr.splitlines() if line.startswith("features: ")]
    chosen = json.loads((tmp_path / "run" / "config.json").read_text())["features"]["source"]
    assert (chosen in scores.partition(" (")[0]) if chosen else "the run's own" in scores.partition(" (")[0]
    again = invoke("train", photos, *arguments, "--out", tmp_path / "run")  # the choice is kept
    assert again.returncode == 0, again.stderr
    assert "features: " not in again.stderr


@pytest.fixture
def named_colours(photos: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained run whose encoder reads the words red, green and blue, and others."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    config = json.loads((run / "config.json").read_text())
    config["features"]["source"] = "open_clip:colours"
    (run / "config.json").write_text(json.dumps(config))
    means = open_extractor(json.loads((trained / "config.json").read_text())["features"]["source"], size=16)
    words = {"red": (2, -1, -1), "green": (-1, 2, -1), "blue": (-1, -1, 2), "grey": (0.1, 0.1, 0.1), "all": (1, 1, 1)}

    def embed_texts(texts: list[str]) -> NDArray[np.float32]:
        return np.array([words[text.split()[-1]] for text in texts], np.float32)

    extractor = replace(means, embed_texts=embed_texts)
    monkeypatch.setattr("infogan.api.suggest_names.open_extractor", lambda *_, **__: extractor)
    return run


def test_names_are_suggested_from_words(named_colours: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("grey\nblue\n\nall\nred\ngreen\nblue\n")
    result = invoke("name", named_colours, "--suggest-names", tmp_path / "words.txt")
    assert result.returncode == 0, result.stderr
    model = InfoGAN.load(named_colours)
    images = infogan.data.load(photos, size=16)
    found = model.encode(images.images).codes["category"]
    expected = np.array(["red", "green", "blue"])[colours_of([*images.names])]
    names = [model.value_name("category", int(value)) for value in found]
    assert np.mean(np.array(names) == expected) > 0.9


def test_names_are_suggested_by_models_of_text_alone(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("red\n")
    result = invoke("name", trained, "--suggest-names", tmp_path / "words.txt")
    assert result.returncode == 2
    assert "open_clip" in result.stderr
    for content in (b"", b"\xff\xfe"):
        (tmp_path / "words.txt").write_bytes(content)
        assert invoke("name", trained, "--suggest-names", tmp_path / "words.txt").returncode == 2
    assert invoke("name", trained, "--suggest-names", tmp_path / "missing.txt").returncode == 2


@pytest.mark.integration
def test_workers_share_the_images(photos: Path, encoder: str, tmp_path: Path) -> None:
    arguments = ["--size", "16", "--categorical", "3", "--features", encoder, "--steps", "40", *SMALL]
    results = infogan_workers(2, "train", photos, *arguments, "--out", tmp_path / "run")
    assert [result.returncode for result in results] == [0, 0], results[0].stderr
    results = infogan_workers(2, "embed", photos, "--features", encoder, "--out", tmp_path / "two.npz")
    assert [result.returncode for result in results] == [0, 0], results[0].stderr
    assert invoke("embed", photos, "--features", encoder, "--out", tmp_path / "one.npz").returncode == 0
    one, two = (read_vectors(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert one.names == two.names
    assert one.values.tolist() == two.values.tolist()
