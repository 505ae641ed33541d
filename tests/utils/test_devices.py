"""The same on every device. Without a GPU, the CPU is compared with itself, which shows that the tests can pass."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from infogan.api.resolve import compose
from infogan.api.train_run import plan, train_run
from infogan.config.load import build
from infogan.config.schema import NetworkSettings, NoiseSettings
from infogan.models.architectures import ARCHITECTURES, ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.training.callbacks import Interrupted
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.state import EncoderState
from infogan.training.time_budget import seconds_per_step
from infogan.utils.devices import pick_device
from infogan.utils.errors import UserError
from tests.helpers import Hooks, bar_images, image_set, make_context, saved_tensors, small_config, small_model

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
NEEDS_MPS = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no Apple GPU")
DEVICES = pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA), pytest.param("mps", marks=NEEDS_MPS)]
)


def test_unavailable_device_is_named() -> None:
    assert pick_device("cpu") == "cpu"
    with pytest.raises(UserError, match="nowhere"):
        pick_device("nowhere")


@pytest.mark.parametrize(("accelerator", "expected"), [("mps", "mps"), ("cuda", "cuda"), ("xpu", "xpu"), (None, "cpu")])
def test_an_accelerator_of_any_maker_is_chosen(
    accelerator: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = None if accelerator is None else torch.device(accelerator)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: device)
    assert pick_device("auto") == expected


@DEVICES
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_networks_compute_the_same(device: str, architecture: str) -> None:
    config = small_config(networks={"architecture": architecture})
    layout = CodeLayout(NoiseSettings(size=5), config.codes)
    settings = NetworkSettings.model_validate({"architecture": architecture, "width": 4, "encoder": True})
    random = torch.Generator().manual_seed(0)
    latents = layout.latents(layout.sample_noise(8, random), layout.sample_codes(8, random))
    results: list[tuple[Tensor, ...]] = []
    for name in ("cpu", device):
        networks = build_networks(settings, layout, ImageShape(1, 16), kind="infogan", seed=0).to(name)
        images = networks.generate(latents.to(name))
        posterior = networks.posterior(images)
        posterior.square().mean().backward()
        gradient = next(networks.generator.parameters()).grad
        assert gradient is not None
        results.append(tuple(tensor.detach().cpu() for tensor in (images, posterior, gradient)))
    tolerance = 1e-6 if device == "cpu" else 2e-2  # a GPU may round the factors of convolutions to 10 bits
    for reference, other in zip(*results, strict=True):
        torch.testing.assert_close(other, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", "bf16"),
        pytest.param("cuda", "fp32", marks=NEEDS_CUDA),
        pytest.param("cuda", "bf16", marks=NEEDS_CUDA),
        pytest.param("mps", "fp32", marks=NEEDS_MPS),
    ],
)
def test_run_with_everything_finishes(device: str, precision: str, tmp_path: Path) -> None:
    layer = {
        "data": {"source": "digits"},
        "networks": {"width": 4, "encoder_width": 4},
        "train": {"steps": 8, "batch_size": 16, "log_every": 2, "sample_every": 4, "precision": precision},
        "evaluation": {"samples": 200, "bootstrap_draws": 10},
    }
    options = compose("robust", [layer], [f"stages.{stage}.share=2" for stage in range(4)])
    planned, run = plan(options, device=device), RunFolder.at(tmp_path / "run")
    model, result = train_run(planned, run, device=device)
    assert model.device.type == device
    assert 0 < result["accuracy"] <= 1
    assert "reason" in result["verdict"]
    assert all(np.isfinite(bound) for bound in result["information"].values())
    assert (run.path / "report.html").is_file()
    loaded = InfoGAN.load(run.path)  # on the CPU
    expected, sample = model.sample(8, seed=1), loaded.sample(8, seed=1)
    assert np.array_equal(sample.codes["category"], expected.codes["category"])
    assert np.abs(sample.images.astype(int) - expected.images.astype(int)).max() <= 2  # grey levels
    images = planned.images.images[:50]
    np.testing.assert_allclose(
        loaded.encode(images).probabilities["category"], model.encode(images).probabilities["category"], atol=5e-3
    )


@DEVICES
def test_interrupted_run_is_resumed(device: str, tmp_path: Path) -> None:
    config, images, steps = small_config(), image_set(), list[int]()

    def session(path: Path, stop: int | None) -> dict[str, Tensor]:
        run = RunFolder.at(path)
        run.begin(config, images.digest())
        steps.clear()
        hooks = Hooks(on_step=steps.append, stop=lambda: len(steps) + 1 == stop)
        train(config, images, run, device=device, callbacks=[hooks])
        return saved_tensors(run)

    uninterrupted = session(tmp_path / "uninterrupted", None)
    with pytest.raises(Interrupted):
        session(tmp_path / "interrupted", 3)
    resumed = session(tmp_path / "interrupted", None)
    assert steps == [4, 5, 6]
    # Sums on a GPU have no fixed order; on the CPU the bits are the same.
    rtol, atol = (0.0, 0.0) if device == "cpu" else (1e-2, 1e-3)
    for name, tensor in uninterrupted.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=rtol, atol=atol)


@DEVICES
def test_steps_are_timed_to_their_end(device: str) -> None:
    sections = {"data": {"source": "bars"}, "networks": {"width": 4, "encoder_width": 4}, "train": {"batch_size": 8}}
    config = build(compose("plain", [sections]))
    (seconds,), _ = seconds_per_step(config, image_set(), device)
    assert 1e-4 < seconds < 10


@DEVICES
def test_state_of_the_encoder_is_where_it_is_read(device: str) -> None:
    _, networks = make_context(small_config(preset="robust"))
    state = EncoderState.for_networks(networks.to(device))
    assert {state.marginal.device.type, state.vat_radius.device.type} == {device}
    assert state.lr_scale.device.type == "cpu"  # a GPU would be waited for at every update


@DEVICES
def test_images_are_encoded_where_the_weights_are(device: str) -> None:
    model = small_model()
    reference = model.encode(bar_images(5)).codes["knob1"]
    np.testing.assert_allclose(model.to(device).encode(bar_images(5)).codes["knob1"], reference, atol=1e-3)
    assert model.device.type == device
