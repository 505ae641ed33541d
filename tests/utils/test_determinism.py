"""The same result twice: on a CPU always, on a GPU where it is asked for, and what is said of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from infogan.api import resolve, train_run
from infogan.config.load import build
from infogan.data.augment import bilinear_sample
from infogan.models.encoder import area_downsample
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils.determinism import deterministic_algorithms, reproducibility
from infogan.utils.errors import UserError
from tests.helpers import image_set, small_config
from tests.training.test_loop import assert_same, weights
from tests.utils.test_devices import DEVICES

# Of PyTorch's list of operations that have no deterministic algorithm on a GPU
# (docs of `torch.use_deterministic_algorithms`), those that work on images, classes or floats at all.
WITHOUT = {
    *("_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "fractional_max_pool2d_backward"),
    *("max_unpool2d", "upsample_linear1d_backward", "upsample_bicubic2d_backward", "reflection_pad2d_backward"),
    *("nll_loss2d_forward", "_embedding_bag_backward", "put_", "histc", "median", "grid_sampler_2d_backward"),
    *("cumsum", "cumsum_", "scatter_reduce", "scatter_reduce_", "_upsample_bilinear2d_aa_backward"),
}


class Recorded(TorchDispatchMode):
    """Keeps the names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("preset", "size"), [("robust", 64), ("robust", 8), ("paper-mnist", 8), ("disentangle", 16)])
def test_no_step_has_an_operation_that_a_gpu_can_not_repeat(preset: str, size: int, tmp_path: Path) -> None:
    sections = {
        "data": {"source": "bars", "size": size, "channels": 1},
        "networks": {"width": 2, "encoder_width": 2} if preset == "robust" else {"width": 2},
        "train": {"steps": 8, "batch_size": 4, "precision": "fp32"},
    }
    config = build(resolve.compose(preset, [sections]))
    images, run = image_set(24, size), RunFolder.at(tmp_path)
    run.begin(config, "")
    with deterministic_algorithms(True), Recorded() as recorded:
        train(config, images, run)
    assert {"convolution_backward", "_log_softmax_backward_data"} & recorded.names  # backward passes are in it
    assert not sorted(WITHOUT & recorded.names)


@pytest.mark.parametrize(("size", "side"), [(64, 32), (33, 32), (50, 32), (100, 32), (7, 3), (5, 5), (9, 1)])
def test_averaging_by_matrices_is_averaging(size: int, side: int) -> None:
    images = torch.randn(2, 3, size, size, dtype=torch.double, requires_grad=True)
    weights_ = torch.randn(2, 3, side, side, dtype=torch.double)
    found = []
    for wanted in (False, True):
        with deterministic_algorithms(wanted):
            smaller = area_downsample(images, side)
            found += [smaller, *torch.autograd.grad((smaller * weights_).sum(), images)]
    torch.testing.assert_close(found[0], functional.adaptive_avg_pool2d(images, side))
    torch.testing.assert_close(found[2:], found[:2])
    assert not torch.equal(found[1], torch.zeros_like(images))


def test_sampling_by_corners_is_sampling() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(3, 2, 7, 9, dtype=torch.double, generator=random, requires_grad=True)
    # Some points are far outside, some on the edges, some exactly on pixels.
    grid = torch.rand(3, 7, 9, 2, dtype=torch.double, generator=random) * 3 - 1.5
    grid[0, 0, :4] = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [1 / 9 - 1, 1 / 7 - 1]])
    grid.requires_grad_()
    weights_ = torch.rand(3, 2, 7, 9, dtype=torch.double, generator=random)
    found = []
    for wanted in (False, True):
        with deterministic_algorithms(wanted):
            looked = bilinear_sample(images, grid)
            found.append([looked, *torch.autograd.grad((looked * weights_).sum(), (images, grid))])
    torch.testing.assert_close(found[1][:2], found[0][:2])
    inside = ((grid.abs() < 0.8).all(dim=3)).unsqueeze(3)  # where it is smooth
    torch.testing.assert_close(found[1][2] * inside, found[0][2] * inside)


@DEVICES
def test_two_runs_are_the_same_bits(device: str, tmp_path: Path) -> None:
    sections = {
        "data": {"source": "digits"},
        "networks": {"width": 4},
        "train": {"steps": 40, "batch_size": 16, "log_every": 20, "deterministic": True, "precision": "auto"},
    }
    found = []
    for name in "ab":
        planned = train_run.plan(resolve.compose("robust", [sections]), device=device)
        run = RunFolder.at(tmp_path / name)
        train_run.train_run(planned, run, device=device)
        assert not torch.are_deterministic_algorithms_enabled()
        found.append(weights(run))
    assert_same(*found)


def test_what_can_not_be_repeated_is_refused_in_a_sentence() -> None:
    with (
        pytest.raises(UserError, match=r"^not deterministic here: put_ does not have a deterministic implementation$"),
        deterministic_algorithms(True),
    ):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="another"), deterministic_algorithms(True):
        raise RuntimeError("another")
    with deterministic_algorithms(False):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def test_the_record_says_what_it_takes_to_get_the_same_again(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config(), "")
    (session,) = run.read_environment()
    assert session["deterministic"] is False
    assert session["threads"] == torch.get_num_threads()
    assert session["device"] == f"CPU with {torch.backends.cpu.get_cpu_capability()}"
    assert session["same_again"].startswith("bit for bit with these versions, 1 threads")
    assert "clock" in reproducibility("cpu", deterministic=False, timed=True)["same_again"]
    json.dumps(session)


@pytest.mark.slow
def test_a_run_whose_length_a_clock_found_can_be_repeated(tmp_path: Path) -> None:
    def trained_by(*words: str, out: str) -> dict[str, torch.Tensor]:
        command = [sys.executable, "-m", "infogan", "train", *words, "--out", str(tmp_path / out)]
        subprocess.run(command, check=True, capture_output=True)
        return weights(RunFolder(tmp_path / out))

    narrow = ["--set", "networks.width=4", "--set", "networks.encoder_width=4"]
    first = trained_by("digits", "--budget", "60s", *narrow, out="first")
    known = tmp_path / "first" / "config.json"
    steps = json.loads(known.read_text())["train"]["steps"]
    assert_same(first, trained_by("--config", str(known), "--steps", str(steps), out="second"))
