"""The benchmark of accuracy: which runs are made, imbalanced data, and the classifier that judges samples."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.accuracy import imbalanced, judge_samples, prior_distance
from benchmarks.classifier import trained_classifier

from benchmarks import accuracy, classifier
from infogan.data import load
from tests.helpers import image_set, small_model


def main(monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run the command; return the lines of its file."""
    monkeypatch.setattr(sys, "argv", ["accuracy", "digits", "--out", str(out), *arguments])
    accuracy.main()
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_commands_in_the_file_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: list[str], folder: Path) -> dict[str, Any]:
        return {"command": " ".join(command), "seconds": 1.0, "failed": 1}

    monkeypatch.setattr(accuracy, "run", run)
    out = tmp_path / "lines.jsonl"
    first = main(monkeypatch, out, "--seeds", "1-2", "--", "--steps", "9")
    assert [line["command"] for line in first] == [
        f"infogan train digits --recipe robust --seed {seed} --steps 9" for seed in (1, 2)
    ]
    assert main(monkeypatch, out, "--seeds", "1-2", "--", "--steps", "9") == first
    assert len(main(monkeypatch, out, "--seeds", "1", "--", "--steps", "10")) == 3
    assert "| mean |" in capsys.readouterr().out


@pytest.mark.integration
def test_runs_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--seeds", "1", "--runs", str(tmp_path / "runs"), "--", "--recipe", "plain", "--steps", "9"]
    (line,) = main(monkeypatch, tmp_path / "lines.jsonl", *arguments, "--set", "networks.width=4")
    assert (line["seed"], line["steps"]) == (1, 9)
    assert {"accuracy", "verdict", "cores", "commit"} <= line.keys()


def test_imbalanced_set_has_as_many_images_of_a_class_as_its_seed_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "SMALLEST", 10)
    monkeypatch.setattr(accuracy, "LARGEST", 100)
    path = imbalanced("digits", 3, tmp_path)
    subset, digits = load(path, split="train"), load("digits", split="train")
    assert subset.labels is not None
    counts = np.random.default_rng(3).integers(10, 101, 10)
    assert np.bincount(subset.labels).tolist() == counts.tolist()
    assert np.array_equal(load(path, split="test").images, load("digits", split="test").images)
    assert {image.tobytes() for image in subset.images} <= {image.tobytes() for image in digits.images}
    model = small_model(codes=[{"kind": "categorical", "size": 10}])
    # A uniform prior is as far from the frequencies as they are from equal shares, whatever the mapping is.
    shares = np.bincount(subset.labels) / len(subset)
    assert prior_distance(model, subset) == pytest.approx(np.abs(shares - 0.1).sum(), abs=1e-6)


def test_classifier_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "STEPS", 5)
    images, cache = image_set(64, 16), tmp_path / "classifier.pt"
    judge, share = trained_classifier(images, images, cache)
    features, labels = judge.classify(images.images)
    assert features.shape == (64, 128)
    assert share == (labels == images.labels).mean()
    monkeypatch.setattr(classifier, "_fit", pytest.fail)
    loaded, _ = trained_classifier(images, images, cache)
    assert np.array_equal(loaded.classify(images.images)[0], features)


def test_small_images_have_no_classifier(tmp_path: Path) -> None:
    assert judge_samples(tmp_path, "digits") == {}
