"""The same bits again: on a CPU always, on a GPU if it is asked for, and what is recorded about it."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import infogan
from infogan.api.resolve import compose
from infogan.config.load import build
from infogan.data.augment import bilinear_sample
from infogan.evaluation.evaluate import evaluate
from infogan.evaluation.metric_groups import EvaluationInputs
from infogan.models.encoder import area_downsample
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils.determinism import deterministic_algorithms, neutral_state, reproducibility
from infogan.utils.errors import UserError
from tests.helpers import assert_same_tensors, bar_images, image_set, saved_tensors, small_config, train_at
from tests.utils.test_devices import DEVICES

# Those of the operations without a deterministic algorithm on a GPU (docs of `torch.use_deterministic_algorithms`) that
# work on images, classes or floats.
NONDETERMINISTIC = {
    *("_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "fractional_max_pool2d_backward"),
    *("max_unpool2d", "upsample_linear1d_backward", "upsample_bicubic2d_backward", "reflection_pad2d_backward"),
    *("nll_loss2d_forward", "_embedding_bag_backward", "put_", "histc", "median", "grid_sampler_2d_backward"),
    *("cumsum", "cumsum_", "scatter_reduce", "scatter_reduce_", "_upsample_bilinear2d_aa_backward"),
}


class OperationRecorder(TorchDispatchMode):
    """Collects the names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("preset", "size"), [("robust", 40), ("robust", 8), ("paper", 8), ("disentangle", 16)])
def test_training_uses_only_operations_that_a_gpu_can_repeat(preset: str, size: int, tmp_path: Path) -> None:
    sections = {
        "data": {"source": "bars", "size": size, "channels": 1},
        "networks": {"width": 2, "encoder_width": 2} if preset == "robust" else {"width": 2},
        "train": {"steps": 4, "batch_size": 4, "precision": "fp32"},
    }
    config = build(compose(preset, [sections], [f"stages.{i}.share=1" for i in range(4)] if preset == "robust" else []))
    with deterministic_algorithms(True), OperationRecorder() as recorder:
        train(config, image_set(24, size), RunFolder.at(tmp_path))
    assert {"convolution_backward", "_log_softmax_backward_data"} & recorder.names  # includes backward passes
    assert not sorted(NONDETERMINISTIC & recorder.names)


@pytest.mark.parametrize(("size", "side"), [(64, 32), (33, 32), (50, 32), (7, 3), (5, 5), (9, 1)])
def test_deterministic_downsampling_gives_the_same_averages(size: int, side: int) -> None:
    images = torch.randn(2, 3, size, size, dtype=torch.double, requires_grad=True)
    weights = torch.randn(2, 3, side, side, dtype=torch.double)
    results = []
    for enabled in (False, True):
        with deterministic_algorithms(enabled):
            smaller = area_downsample(images, side)
            results += [smaller, *torch.autograd.grad((smaller * weights).sum(), images)]
    torch.testing.assert_close(results[0], functional.adaptive_avg_pool2d(images, side))
    torch.testing.assert_close(results[2:], results[:2])
    assert not torch.equal(results[1], torch.zeros_like(images))


def test_deterministic_sampling_gives_the_same_images() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(3, 2, 7, 9, dtype=torch.double, generator=random, requires_grad=True)
    # Some points are far outside, some on the edges, some exactly on pixels.
    grid = torch.rand(3, 7, 9, 2, dtype=torch.double, generator=random) * 3 - 1.5
    grid[0, 0, :4] = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [1 / 9 - 1, 1 / 7 - 1]])
    grid.requires_grad_()
    weights = torch.rand(3, 2, 7, 9, dtype=torch.double, generator=random)
    results = []
    for enabled in (False, True):
        with deterministic_algorithms(enabled):
            sampled = bilinear_sample(images, grid)
            results.append([sampled, *torch.autograd.grad((sampled * weights).sum(), (images, grid))])
    torch.testing.assert_close(results[1][:2], results[0][:2])
    inside = ((grid.abs() < 0.8).all(dim=3)).unsqueeze(3)  # where the gradient of the grid is smooth
    torch.testing.assert_close(results[1][2] * inside, results[0][2] * inside)


@DEVICES
def test_two_deterministic_runs_are_the_same_bits(device: str, tmp_path: Path) -> None:
    layer = {
        "data": {"source": "bars", "size": 8, "channels": 1},
        "networks": {"width": 4, "encoder_width": 4},
        "train": {"steps": 8, "batch_size": 16, "precision": "auto"},
    }
    config = build(compose("robust", [layer], [f"stages.{stage}.share=2" for stage in range(4)]))
    tensors = []
    for name in "ab":
        run = RunFolder.at(tmp_path / name)
        with deterministic_algorithms(True):
            train(config, image_set(), run, device=device)
        tensors.append(saved_tensors(run))
    assert_same_tensors(*tensors)


def put() -> None:
    torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def test_operation_that_cannot_be_repeated_is_named() -> None:
    with pytest.raises(UserError, match=r"--deterministic.*put_"), deterministic_algorithms(True):
        put()
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic_algorithms(False):
        put()


def test_other_errors_are_not_changed() -> None:
    with pytest.raises(RuntimeError, match="another"), deterministic_algorithms(True):
        raise RuntimeError("another")
    assert not torch.are_deterministic_algorithms_enabled()


def test_condition_for_the_same_bits_is_recorded() -> None:
    facts = reproducibility("cpu", deterministic=False, timed=False)
    assert facts["deterministic"] is False
    assert facts["threads"] == torch.get_num_threads()
    assert facts["device"] == f"CPU with {torch.backends.cpu.get_cpu_capability()}"
    assert facts["same_again"].startswith("bit for bit")
    assert f"{torch.get_num_threads()} thread" in facts["same_again"]
    assert "clock" not in facts["same_again"]
    assert "clock" in reproducibility("cpu", deterministic=False, timed=True)["same_again"]
    json.dumps(facts)


# The state of the calling program.


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "default_dtype": default_dtype,
    "default_device": default_device,
    "device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast without a cache": lambda: torch.autocast("cpu", torch.bfloat16, cache_enabled=False),
}


def state() -> dict[str, Any]:
    """Return what a program can switch on around a call."""
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.ones(1).dtype,
        "device": torch.ones(1).device.type,
        "autocast": torch.is_autocast_enabled("cpu"),
        "depth": depth,
        "cache": torch.is_autocast_cache_enabled(),
    }


@pytest.mark.parametrize("names", [[name] for name in SURROUNDINGS] + [list(SURROUNDINGS)], ids="+".join)
def test_neutral_state_is_that_of_a_new_process_and_is_left_again(names: list[str]) -> None:
    new = state()
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(SURROUNDINGS[name]())
        around = state()
        assert around != new
        with neutral_state():
            assert state() == new
            with neutral_state():
                assert state() == new
        assert state() == around
        with pytest.raises(ZeroDivisionError), neutral_state():
            _ = 1 / 0
        assert state() == around
    assert state() == new


def digests(out: Path) -> dict[str, Any]:
    """Return the bits of everything that is trained, read, generated, encoded and evaluated."""
    options = {
        **{"networks.width": 4, "networks.encoder_width": 4, "train.batch_size": 16, "train.precision": "bf16"},
        **{"evaluation.samples": 100, "evaluation.bootstrap_draws": 5},
    }
    images = bar_images(64)
    model = infogan.fit(images, out=out, categorical=2, steps=8, options=options, verbose=False)
    samples = model.sample(3, codes={"knob1": 0.3})
    encoding = model.encode(images)
    plain = {name: value for name, value in options.items() if name != "networks.encoder_width"}
    estimator = infogan.InfoGANEstimator(2, recipe="plain", steps=3, random_state=0, options=plain).fit(images)
    inputs = EvaluationInputs(model, image_set(120), None, 0)
    return {
        "run": model.digest(),
        "loaded": infogan.InfoGAN.load(out).encode(images).to_array().tobytes(),
        "pickled": pickle.loads(pickle.dumps(model)).encode(images).to_array().tobytes(),
        "encoding": [encoding.to_array().tobytes(), encoding.entropy.tobytes()],
        "features": model.features(images).tobytes(),
        "samples": samples.images.tobytes(),
        "likelihoods": [values.tobytes() for values in model.log_likelihoods(samples, samples.codes).values()],
        "interpolation": model.interpolate(0, 1, steps=4).images.tobytes(),
        "reconstruction": model.reconstruct(images).tobytes(),
        "blend": model.blended_noise(model.noise(2), model.noise(2, seed=2), np.array([0.2, 0.5])).numpy().tobytes(),
        "evaluation": evaluate(inputs, samples=100, bootstrap_draws=5),
        "estimator": [estimator.model_.digest(), estimator.transform(images).tobytes()],
        "partly": estimator.partial_fit(images).partial_fit(images).model_.digest(),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return digests(tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.mark.parametrize("around", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_surroundings_do_not_change_a_bit(
    around: Callable[[], AbstractContextManager[Any]], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    with around():
        assert digests(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("around", [nullcontext, *SURROUNDINGS.values()])
def test_training_alone_ignores_its_surroundings(
    around: Callable[[], AbstractContextManager[Any]], tmp_path: Path
) -> None:
    config = small_config()
    expected = saved_tensors(train_at(tmp_path / "undisturbed", config))
    with around():
        run = train_at(tmp_path / "disturbed", config)
    assert_same_tensors(saved_tensors(run), expected)


@pytest.mark.slow
def test_run_whose_length_a_clock_decided_can_be_repeated(tmp_path: Path) -> None:
    def train_by_command(*arguments: str, out: str) -> dict[str, torch.Tensor]:
        command = [sys.executable, "-m", "infogan", "train", *arguments, "--out", str(tmp_path / out)]
        subprocess.run(command, check=True, capture_output=True)
        return saved_tensors(RunFolder(tmp_path / out))

    narrow = ["--set", "networks.width=4", "--set", "networks.encoder_width=4"]
    first = train_by_command("digits", "--budget", "60s", *narrow, out="first")
    config = tmp_path / "first" / "config.json"
    steps = json.loads(config.read_text())["train"]["steps"]
    second = train_by_command("--config", str(config), "--steps", str(steps), out="second")
    assert_same_tensors(first, second)
