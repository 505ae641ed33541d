"""Tests of the two programs in examples/: PyTorch in this process, Keras always in a process of its own."""

import ast
import gzip
import os
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PYTORCH, KERAS = EXAMPLES / "infogan_mnist.py", EXAMPLES / "infogan_mnist_keras.py"
NOISE, CATEGORIES, ROWS, CELL, BORDER = 16, 10, 8, 60, 2
Arrays = dict[str, NDArray[Any]]

# Not `pytest.importorskip`: importing Keras here would fix the backend for every other test in this process.
needs_tensorflow = pytest.mark.skipif(
    find_spec("keras") is None or find_spec("tensorflow") is None, reason="needs Keras and TensorFlow"
)

# Computes with the Keras program what `pytorch_results` computes with the PyTorch program.
KERAS_RESULTS = """
import sys
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np

spec = spec_from_file_location("infogan_mnist_keras", sys.argv[1])
program = module_from_spec(spec)
spec.loader.exec_module(program)
import keras

given = dict(np.load(sys.argv[2]))
x, z, c = (keras.ops.convert_to_tensor(given[name]) for name in "xzc")
G, D, Q = networks = program.build_networks(given["x"].shape[1])
for name, network in zip("GDQ", networks):
    network.set_weights([given[f"{name}{i}"].T for i in range(4)])  # Keras multiplies from the other side

fake = G(keras.ops.concatenate([z, c], axis=1))
found = {
    "discriminator_loss": program.discriminator_loss(D(x), D(fake)),
    "generator_loss": program.generator_loss(D(fake)),
    "information_loss": program.information_loss(Q(fake), c),
}
adam = program.build_optimizers(*networks)
found["adam"] = [[float(o.learning_rate), o.beta_1, o.beta_2, o.epsilon] for o in adam]
descents = [keras.optimizers.SGD(1.0) for _ in adam]
for descent, variables in zip(descents, (D.variables, G.variables, G.variables + Q.variables)):
    descent.build(variables)
found["step_losses"] = program.train_step(networks, descents, x, z, c)
for name, network in zip("GDQ", networks):
    found |= {f"{name}{i}": weight.T for i, weight in enumerate(network.get_weights())}
np.savez(sys.argv[3], **{name: np.asarray(value) for name, value in found.items()})
"""


def run(*arguments: str | Path, cwd: Path) -> str:
    """Run Python with these arguments in a new process and return what it prints."""
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "tensorflow",
        "KERAS_HOME": str(cwd),
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def cells(picture: Path) -> NDArray[np.uint8]:
    """Return the generated images in a picture, indexed by row, category and pixel, without their borders."""
    with Image.open(picture) as image:
        assert image.size == (CATEGORIES * CELL, ROWS * CELL)
        grid = np.asarray(image).reshape(ROWS, CELL, CATEGORIES, CELL).swapaxes(1, 2)
    return grid[:, :, BORDER:-BORDER, BORDER:-BORDER]


def assert_categories_differ(picture: Path) -> None:
    """Check that the picture shows another image for each category."""
    images = cells(picture)
    assert images.std() > 10
    for category in range(1, CATEGORIES):
        assert (images[:, category] != images[:, 0]).any()


def idx(images: NDArray[np.uint8]) -> bytes:
    """Return images in the format of the original MNIST files."""
    sizes = b"".join(size.to_bytes(4, "big") for size in images.shape)
    return b"\x00\x00\x08\x03" + sizes + images.tobytes()


@pytest.fixture(scope="module")
def program() -> Any:
    """The PyTorch program as a module."""
    spec = spec_from_file_location("infogan_mnist", PYTORCH)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def given() -> Arrays:
    """A batch x, z, c of 4x4 images and the weights of G, D and Q: W1, b1, W2, b2, in the layout of PyTorch."""
    random = np.random.default_rng(0)
    arrays = {
        "x": random.uniform(0, 1, (24, 16)),
        "z": random.uniform(-1, 1, (24, NOISE)),
        "c": np.eye(CATEGORIES)[random.integers(0, CATEGORIES, 24)],
    }
    for name, inputs, hidden, outputs in (("G", 26, 256, 16), ("D", 16, 128, 1), ("Q", 16, 128, 10)):
        for i, shape in enumerate(((hidden, inputs), (hidden,), (outputs, hidden), (outputs,))):
            arrays[f"{name}{i}"] = random.normal(0, 0.2, shape)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def pytorch_results(program: Any, given: Arrays) -> Arrays:
    """Return the PyTorch program's losses for these weights, and the losses and weights of a step of plain descent."""
    x, z, c = (torch.from_numpy(given[name]) for name in "xzc")
    G, D, Q = networks = program.build_networks(given["x"].shape[1])
    for name, network in zip("GDQ", networks, strict=True):
        for i, parameter in enumerate(network.parameters()):
            parameter.data.copy_(torch.from_numpy(given[f"{name}{i}"]))
    fake = G(torch.cat([z, c], dim=1))
    found = {
        "discriminator_loss": program.discriminator_loss(D(x), D(fake)),
        "generator_loss": program.generator_loss(D(fake)),
        "information_loss": program.information_loss(Q(fake), c),
    }
    adam = program.build_optimizers(*networks)
    settings = [[o.defaults["lr"], *o.defaults["betas"], o.defaults["eps"]] for o in adam]
    descents = [torch.optim.SGD(o.param_groups[0]["params"], lr=1.0) for o in adam]
    found["step_losses"] = torch.stack(program.train_step(networks, descents, x, z, c))
    for name, network in zip("GDQ", networks, strict=True):
        found |= {f"{name}{i}": parameter for i, parameter in enumerate(network.parameters())}
    return {"adam": np.array(settings)} | {name: value.detach().numpy() for name, value in found.items()}


def test_program_trains_on_a_gzipped_idx_file_and_saves_a_picture(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(images)))
    printed = run(PYTORCH, "images.gz", "--steps", "3", "--out", "picture.png", cwd=tmp_path)
    assert "step 3: D " in printed
    assert_categories_differ(tmp_path / "picture.png")


def test_program_trains_on_digits_and_saves_a_picture(tmp_path: Path) -> None:
    assert "step 3: D " in run(PYTORCH, "--digits", "--steps", "3", cwd=tmp_path)
    assert_categories_differ(tmp_path / "infogan_mnist.png")


@pytest.mark.integration
@needs_tensorflow
def test_keras_program_trains_on_digits_and_saves_a_picture(tmp_path: Path) -> None:
    assert "step 3: D " in run(KERAS, "--digits", "--steps", "3", cwd=tmp_path)
    assert_categories_differ(tmp_path / "infogan_mnist.png")


def test_every_data_format_gives_the_same_images(program: Any, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    (tmp_path / "images").write_bytes(idx(images))
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(images)))
    np.savez(tmp_path / "images.npz", x_train=images, y_train=np.zeros(5))
    for name in ("images", "images.gz", "images.npz"):
        loaded = program.load_images(str(tmp_path / name))
        assert loaded.dtype == np.float32
        np.testing.assert_allclose(loaded, images.reshape(5, 784) / 255, rtol=1e-6)


def test_noise_is_uniform_and_categories_are_one_hot(program: Any) -> None:
    z, c = program.sample_latents(5000)
    assert z.shape == (5000, NOISE) and c.shape == (5000, CATEGORIES)
    assert -1 <= z.min() < -0.99 and 0.99 < z.max() <= 1
    assert z.var().item() == pytest.approx(1 / 3, rel=0.02)
    assert (c.sum(dim=1) == 1).all() and set(c.unique().tolist()) == {0, 1}
    torch.testing.assert_close(c.mean(dim=0), torch.full((CATEGORIES,), 0.1), rtol=0, atol=0.02)


def test_columns_of_the_picture_are_categories(program: Any, tmp_path: Path) -> None:
    def draw_category(zc: Tensor) -> Tensor:
        return (zc[:, NOISE:] @ torch.arange(CATEGORIES).float() / 9)[:, None].expand(-1, 16)

    program.save_picture(draw_category, str(tmp_path / "picture.png"))
    expected = (255 * np.arange(CATEGORIES) / 9).reshape(1, CATEGORIES, 1, 1)
    assert np.abs(cells(tmp_path / "picture.png") - expected).max() <= 1


def test_rows_of_the_picture_share_their_noise(program: Any, tmp_path: Path) -> None:
    program.save_picture(lambda zc: (zc[:, :16] + 1) / 2, str(tmp_path / "picture.png"))
    images = cells(tmp_path / "picture.png")
    assert (images == images[:, :1]).all()
    assert (images[1:] != images[:1]).any(axis=(1, 2, 3)).all()


def test_losses_equal_the_formulas_of_the_papers_in_numpy(program: Any, given: Arrays) -> None:
    def network(inputs: NDArray[Any], name: str) -> NDArray[Any]:
        w1, b1, w2, b2 = (given[f"{name}{i}"].astype(np.float64) for i in range(4))
        outputs: NDArray[Any] = np.maximum(inputs @ w1.T + b1, 0) @ w2.T + b2
        return outputs

    def sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(1 / (1 + np.exp(-logits)))

    fake = sigmoid(network(np.concatenate([given["z"], given["c"]], axis=1), "G"))
    d_real, d_fake = sigmoid(network(given["x"], "D")), sigmoid(network(fake, "D"))
    exponentials = np.exp(network(fake, "Q"))
    posterior = exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = {
        "discriminator_loss": -np.mean(np.log(d_real) + np.log(1 - d_fake)),
        "generator_loss": -np.mean(np.log(d_fake)),
        "information_loss": -np.mean(np.sum(given["c"] * np.log(posterior), axis=1)),
    }
    found = pytorch_results(program, given)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-5), name


def test_losses_of_extreme_logits_are_finite(program: Any) -> None:
    low, high = torch.full((4, 1), -200.0), torch.full((4, 1), 200.0)
    assert program.discriminator_loss(low, high).item() == 400
    assert program.generator_loss(low).item() == 200
    posterior = torch.tensor([[200.0, *[0.0] * 9]])
    assert program.information_loss(posterior, torch.eye(CATEGORIES)[1:2]).item() == 200


def test_a_step_updates_d_then_g_then_g_and_q(program: Any, given: Arrays) -> None:
    weights = {name: torch.from_numpy(array).double().requires_grad_() for name, array in given.items()}
    g, d, q = ([weights[f"{name}{i}"] for i in range(4)] for name in "GDQ")
    zc = torch.cat([weights["z"], weights["c"]], dim=1)

    def network(inputs: Tensor, layers: list[Tensor]) -> Tensor:
        return torch.relu(inputs @ layers[0].T + layers[1]) @ layers[2].T + layers[3]

    def descend(loss: Tensor, parameters: list[Tensor]) -> None:
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= gradient

    d_real, d_fake = network(weights["x"], d).sigmoid(), network(network(zc, g).sigmoid(), d).sigmoid()
    descend(-(d_real.log() + (1 - d_fake).log()).mean(), d)
    descend(-network(network(zc, g).sigmoid(), d).sigmoid().log().mean(), g)
    descend(-(weights["c"] * network(network(zc, g).sigmoid(), q).log_softmax(dim=1)).sum(dim=1).mean(), g + q)

    found = pytorch_results(program, given)
    for name in (f"{player}{i}" for player in "GDQ" for i in range(4)):
        np.testing.assert_allclose(found[name], weights[name].detach(), rtol=1e-5, atol=1e-6, err_msg=name)
        assert np.abs(found[name] - given[name]).max() > 1e-4, f"{name} did not move"


@pytest.mark.integration
@needs_tensorflow
def test_both_programs_compute_the_same_losses_and_gradients(program: Any, given: Arrays, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {**given}
    np.savez(tmp_path / "given.npz", **arrays)
    (tmp_path / "results.py").write_text(KERAS_RESULTS, encoding="utf-8")
    run("results.py", KERAS, "given.npz", "found.npz", cwd=tmp_path)
    expected = pytorch_results(program, given)
    with np.load(tmp_path / "found.npz") as found:
        assert set(found.files) == set(expected)
        for name in ("discriminator_loss", "generator_loss", "information_loss", "step_losses", "adam"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
        # The step has rate 1, so weights that agree mean that gradients agree.
        for name in (f"{player}{i}" for player in "GDQ" for i in range(4)):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_both_programs_have_the_same_functions() -> None:
    def functions(path: Path) -> list[tuple[str, str | None]]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return [(node.name, ast.get_docstring(node)) for node in tree.body if isinstance(node, ast.FunctionDef)]

    names, twin_names = ([name for name, _ in functions(path)] for path in (PYTORCH, KERAS))
    assert names == twin_names
    losses = [(name, text) for name, text in functions(PYTORCH) if name.endswith("_loss")]
    assert len(losses) == 3 and losses == [(name, text) for name, text in functions(KERAS) if name.endswith("_loss")]
