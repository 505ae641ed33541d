"""The preset ``post`` against a plain implementation of the blog post's equations, in float64."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from infogan.api import resolve
from infogan.config.load import build, override
from infogan.data.batches import Batches, stream_seed
from infogan.data.dataset import ImageSet
from infogan.models.architectures import ImageShape
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.training.checkpoint import load_latest_checkpoint
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.state import INITIAL_STREAM, ORDER_STREAM, STEP_STREAM
from infogan.utils import determinism

STEPS = 3


@pytest.fixture
def double_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(determinism, "DTYPE", torch.float64)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class PlainAdam:
    """Kingma & Ba 2015, algorithm 1, with the learning rate of the post."""

    def __init__(self, weights: list[Tensor]) -> None:
        self.weights = weights
        self.first = [torch.zeros_like(w) for w in weights]
        self.second = [torch.zeros_like(w) for w in weights]
        self.time = 0

    def step(self, loss: Tensor) -> None:
        self.time += 1
        for i, gradient in enumerate(torch.autograd.grad(loss, self.weights)):
            self.first[i] = 0.9 * self.first[i] + 0.1 * gradient
            self.second[i] = 0.999 * self.second[i] + 0.001 * gradient**2
            first, second = self.first[i] / (1 - 0.9**self.time), self.second[i] / (1 - 0.999**self.time)
            with torch.no_grad():
                self.weights[i] -= 1e-3 * first / (second.sqrt() + 1e-8)


def perceptron(x: Tensor, weights: list[Tensor]) -> Tensor:
    """Return the output of a network with one hidden layer of rectifiers; the weights are (W1, b1, W2, b2)."""
    w1, b1, w2, b2 = weights
    return torch.relu(x @ w1.T + b1) @ w2.T + b2


@pytest.mark.usefixtures("double_precision")
def test_three_steps_give_the_weights_of_the_posts_equations(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = ImageSet(random.integers(0, 256, (64, 1, 28, 28), dtype=np.uint8), [str(i) for i in range(64)], "noise")
    options = resolve.compose(
        "post", [{"data": {"source": "noise", "size": 28, "channels": 1}, "train": {"precision": "fp32"}}]
    )
    config = build(override(options, f"train.steps={STEPS}"))
    train(config, images, run := RunFolder(tmp_path))

    # As in the post: z uniform on [-1, 1], c one-hot, images in [0, 1], X = sigmoid(G), D = sigmoid(D).
    seed = config.train.seed
    layout = CodeLayout(config.noise, config.codes)
    initial = build_networks(
        config.networks, layout, ImageShape(1, 28), kind="infogan", seed=stream_seed(seed, INITIAL_STREAM)
    ).state_dict()
    before = {name: weight.clone() for name, weight in initial.items()}
    layers = {
        "generator": ("0", "2"),
        "discriminator": ("trunk.2", "head"),
        "recognizer": ("trunk.2", "head"),
    }
    generator, discriminator, recognizer = (
        [initial[f"{network}.{layer}.{part}"] for layer in both for part in ("weight", "bias")]
        for network, both in layers.items()
    )
    assert [tuple(w.shape) for w in generator] == [(256, 26), (256,), (784, 256), (784,)]
    assert [tuple(w.shape) for w in discriminator] == [(128, 784), (128,), (1, 128), (1,)]
    assert [tuple(w.shape) for w in recognizer] == [(128, 784), (128,), (10, 128), (10,)]
    for weight in (*generator, *discriminator, *recognizer):
        weight.requires_grad_()
    d_solver, g_solver = PlainAdam(discriminator), PlainAdam(generator)
    q_solver = PlainAdam([*generator, *recognizer])

    batches = Batches(images, stream_seed(seed, ORDER_STREAM), rank=0, world_size=1, device=torch.device("cpu"))
    for step in range(STEPS):
        x = torch.from_numpy(images.images[batches.indices(0, step, 32).numpy()]).double().reshape(32, 784) / 255
        random_numbers = torch.Generator().manual_seed(stream_seed(seed, STEP_STREAM, 0, step))
        z = layout.sample_noise(32, random_numbers)
        c = one_hot(layout.sample_codes(32, random_numbers)["category"], 10).double()
        z_c = torch.cat([z, c], dim=1)

        g_sample = torch.sigmoid(perceptron(z_c, generator)).detach()
        d_real, d_fake = (torch.sigmoid(perceptron(images, discriminator)) for images in (x, g_sample))
        d_solver.step(-torch.mean(torch.log(d_real) + torch.log(1 - d_fake)))

        g_sample = torch.sigmoid(perceptron(z_c, generator))
        g_solver.step(-torch.mean(torch.log(torch.sigmoid(perceptron(g_sample, discriminator)))))

        g_sample = torch.sigmoid(perceptron(z_c, generator))
        q = torch.softmax(perceptron(g_sample, recognizer), dim=1)
        q_solver.step(torch.mean(-torch.sum(c * torch.log(q), dim=1)))

    checkpoint, _ = load_latest_checkpoint(run.checkpoints)
    assert checkpoint is not None
    trained = {
        name.removeprefix("networks."): w for name, w in checkpoint.tensors.items() if name.startswith("networks")
    }
    names = {id(weight): name for name, weight in initial.items()}
    for weight in (*generator, *discriminator, *recognizer):
        name = names[id(weight)]
        torch.testing.assert_close(trained[name], weight.detach(), rtol=1e-9, atol=1e-11)
        assert (trained[name] - before[name]).abs().max() > 1e-4, f"{name} did not move"


def test_initial_weights_have_the_variance_of_the_post() -> None:
    config = build(resolve.compose("post"))
    networks = build_networks(
        config.networks, CodeLayout(config.noise, config.codes), ImageShape(1, 28), kind="infogan", seed=0
    )
    weight = networks.discriminator.trunk.get_parameter("2.weight")
    assert weight.std().item() == pytest.approx((2 / 784) ** 0.5, rel=0.01)
    assert networks.discriminator.trunk.get_parameter("2.bias").abs().max().item() == 0
