"""The benchmarks of speed, memory and scaling, on tiny inputs."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from benchmarks.naive import NaiveInfoGAN

from benchmarks import filing, large, photographs, preparing, scaling, speed
from infogan.data import load
from infogan.data.dataset import ImageSet
from infogan.models.infogan import InfoGAN
from tests.helpers import image_set


def test_operations_per_image_are_those_that_others_count(tmp_path: Path) -> None:
    # With these networks, a step of 128 images takes 40.1 GFLOP if the generator's update also computes gradients of
    # the discriminator's weights, and 36.8 if it does not (counted for public implementations with the same counter).
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 28, 28), np.uint8)
    naive = NaiveInfoGAN(images, 2)
    assert speed.flops_of(lambda: naive.train(1)) / 2 == pytest.approx(40.1e9 / 128, rel=0.02)
    assert len(naive.history) == 1
    config = speed.paper("fp32").with_train(batch_size=2)
    flops = speed.flops_of(lambda: speed.step_seconds(config, ImageSet(images, [], "noise"), tmp_path, 1)) / 2
    assert flops == pytest.approx(36.8e9 / 128, rel=0.02)


def test_variants_are_measured_in_turns() -> None:
    calls = []

    def measure(name: str, value: float) -> float:
        calls.append(name)
        return value + len(calls)

    times = speed.measure_in_turns({"a": partial(measure, "a", 0.0), "b": partial(measure, "b", 10.0)}, 2)
    assert calls == ["a", "b", "a", "b"]
    assert times == {"a": [1.0, 3.0], "b": [12.0, 14.0]}
    expected = {"median": (12 + 14 / 3) / 2, "least": 14 / 3, "most": 12}
    assert speed.ratio(times["b"], times["a"]) == pytest.approx(expected)


def test_steps_of_workers_and_their_messages_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "load", lambda _: image_set())
    options = ["networks.width=4", "train.batch_size=16"]
    result = scaling.measure("plain", options, 4)
    assert result["images_per_second"] * result["seconds"] == pytest.approx(3 * 16)
    assert result["messages_per_step"] == 0  # of a single process


def test_inputs_of_the_encode_benchmark_are_written(tmp_path: Path) -> None:
    filing.save_images(30, tmp_path / "images.npy")
    images = load(tmp_path / "images.npy").images
    assert images.shape == (30, 1, 28, 28)
    filing.save_model("plain", tmp_path / "model")
    assert InfoGAN.load(tmp_path / "model").encode(images[:2]).codes["category"].shape == (2,)


@pytest.mark.integration
def test_encode_command_is_measured(tmp_path: Path) -> None:
    filing.save_images(30, tmp_path / "images.npy")
    filing.save_model("plain", tmp_path / "model")
    peak, seconds = filing.measure(tmp_path, "csv")
    assert 50 < peak < 2000
    assert seconds > 0
    assert not (tmp_path / "codes.csv").exists()


def test_images_are_drawn_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "BLOCK", 20)
    large.draw(50, tmp_path / "images.npy")
    images = load(tmp_path / "images.npy").images
    assert images.shape == (50, 1, 32, 32)
    assert (images.reshape(50, -1).max(axis=1) >= 100).all()


def test_speed_of_the_loop_is_that_after_the_first_record(tmp_path: Path) -> None:
    records = [{"step": step, "images": 64 * step, "seconds": 3.0 + step} for step in (1, 5, 9)]
    (tmp_path / "stats.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert large.loop_speed(tmp_path) == {"steps": 9, "images_per_second_of_the_loop": 64.0}


def test_photographs_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preparing.save_images(3, tmp_path / "noise")
    assert load(tmp_path / "noise", size=16).images.shape == (3, 3, 16, 16)
    monkeypatch.setattr(photographs, "CROPS", 2)
    monkeypatch.setattr("sys.argv", ["photographs", str(tmp_path / "crops")])
    photographs.main()
    crops = load(tmp_path / "crops", size=16)
    assert (len(crops), crops.label_names) == (4, ("china", "flower"))
