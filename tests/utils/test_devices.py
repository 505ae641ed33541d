"""The same on every device. CUDA is skipped where there is none; the CPU shows that the tests themselves can pass."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from infogan.api import resolve, train_run
from infogan.config.load import build
from infogan.config.schema import NetworkSettings, NoiseSettings
from infogan.models.architectures import ARCHITECTURES, ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.training import time_budget
from infogan.training.callbacks import Interrupted
from infogan.training.checkpoint import load_latest_checkpoint
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from tests.helpers import Hooks, bar_images, image_set, small_config, small_model

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_CUDA)])


@DEVICES
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_networks_compute_the_same(device: str, architecture: str) -> None:
    config = small_config(networks={"architecture": architecture})
    layout = CodeLayout(NoiseSettings(size=5), config.codes)
    settings = NetworkSettings.model_validate({"architecture": architecture, "width": 4, "encoder": True})
    made = [build_networks(settings, layout, ImageShape(1, 16), kind="infogan", seed=0).to(d) for d in ("cpu", device)]
    random = torch.Generator().manual_seed(0)
    latents = layout.latents(layout.sample_noise(8, random), layout.sample_codes(8, random))
    found: list[tuple[Tensor, ...]] = []
    for networks, where in zip(made, ("cpu", device), strict=True):
        images = networks.generate(latents.to(where))
        posterior = networks.posterior(images)
        posterior.square().mean().backward()
        gradient = next(networks.generator.parameters()).grad
        assert gradient is not None
        found.append(tuple(tensor.detach().cpu() for tensor in (images, posterior, gradient)))
    most = 1e-6 if device == "cpu" else 2e-2  # convolutions of a GPU may round their factors to 10 bits
    for reference, other in zip(*found, strict=True):
        torch.testing.assert_close(other, reference, rtol=most, atol=most)


@DEVICES
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_whole_run_with_everything_that_a_long_one_has(device: str, precision: str, tmp_path: Path) -> None:
    sections = {
        "data": {"source": "digits"},
        "networks": {"width": 4},
        "train": {"steps": 8, "batch_size": 16, "log_every": 2, "sample_every": 4, "precision": precision},
    }
    planned = train_run.plan(resolve.compose("robust", [sections]), device=device)
    run = RunFolder.at(tmp_path / "run")
    model, result = train_run.train_run(planned, run, device=device)
    assert model.device.type == device
    assert 0 < result["accuracy"] <= 1
    assert "reason" in result["verdict"]
    assert all(np.isfinite(bound) for bound in result["information"].values())
    assert (run.path / "report.html").is_file()
    loaded = InfoGAN.load(run.path)  # on the CPU
    assert np.array_equal(loaded.sample(8, seed=1).codes["category"], model.sample(8, seed=1).codes["category"])
    apart = np.abs(loaded.sample(8, seed=1).images.astype(int) - model.sample(8, seed=1).images.astype(int))
    assert apart.max() <= 2  # grey levels
    images = planned.images.images[:50]
    np.testing.assert_allclose(
        loaded.encode(images).probabilities["category"], model.encode(images).probabilities["category"], atol=5e-3
    )


@DEVICES
def test_a_run_that_was_interrupted_goes_on(device: str, tmp_path: Path) -> None:
    config = small_config(train={"steps": 6, "batch_size": 16, "save_every": 2})
    images = image_set()
    steps: list[int] = []

    def once(path: Path, stop: int | None) -> dict[str, Tensor]:
        run = RunFolder.at(path)
        run.begin(config, images.digest())
        steps.clear()
        watch = Hooks(on_step=steps.append, stop=lambda: len(steps) + 1 == stop)
        train(config, images, run, device=device, callbacks=[watch])
        checkpoint, complaints = load_latest_checkpoint(run.checkpoints)
        assert checkpoint is not None
        assert not complaints
        return checkpoint.tensors

    whole = once(tmp_path / "whole", None)
    with pytest.raises(Interrupted):
        once(tmp_path / "parts", 3)
    parts = once(tmp_path / "parts", None)
    assert steps == [4, 5, 6]
    # Sums of a GPU come in no fixed order; on the CPU the two are the same bits.
    rtol, atol = (0.0, 0.0) if device == "cpu" else (1e-2, 1e-3)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=rtol, atol=atol)


@DEVICES
def test_what_a_step_takes_is_timed_to_its_end(device: str) -> None:
    sections = {"data": {"source": "bars"}, "networks": {"width": 4, "encoder_width": 4}, "train": {"batch_size": 8}}
    config = build(resolve.compose("robust", [sections]))
    taken, encoder = time_budget.seconds_a_step(config, image_set(64), device)
    assert len(taken) == len(config.stages)
    assert all(1e-4 < seconds < 10 for seconds in taken)
    assert encoder is not None
    assert next(encoder.parameters()).device.type == device


@DEVICES
def test_an_image_is_read_where_the_weights_are(device: str) -> None:
    model = small_model()
    reference = model.encode(bar_images(5)).codes["knob1"]
    np.testing.assert_allclose(model.to(device).encode(bar_images(5)).codes["knob1"], reference, atol=1e-3)
    assert model.device.type == device
