"""Generating and encoding with a model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import infogan
from infogan.data.preprocess import render
from infogan.models.architectures import ImageShape
from infogan.models.infogan import InfoGAN
from infogan.models.latents import CodeLayout
from infogan.models.networks import build_networks
from infogan.models.serialization import ModelConfig
from infogan.utils.errors import UserError
from tests.helpers import bar_images, image_folder, image_set, small_config, small_model

MODEL = small_model()


def assert_same_pixels(images: np.ndarray, expected: np.ndarray) -> None:
    """Images differ by one level at most: batches of another size sum in another order."""
    assert images.shape == expected.shape
    assert np.abs(images.astype(int) - expected.astype(int)).max() <= 1


# Generating.


def test_samples_have_the_documented_shapes_and_ranges() -> None:
    samples = small_model(channels=3, size=13).sample(7, seed=1)
    assert samples.images.shape == (7, 3, 13, 13)
    assert samples.images.dtype == np.uint8
    assert samples.codes["category"].dtype == np.int64
    assert set(samples.codes["category"].tolist()) <= set(range(10))
    assert np.abs(samples.codes["knob1"]).max() <= 1


def test_image_i_of_a_seed_does_not_depend_on_the_count() -> None:
    samples = MODEL.sample(130, seed=9)
    for count in (1, 3, 63, 64, 65, 129):
        fewer = MODEL.sample(count, seed=9)
        assert np.array_equal(fewer.images, samples.images[:count])
        assert np.array_equal(fewer.codes["knob2"], samples.codes["knob2"][:count])
    assert not np.array_equal(MODEL.sample(3, seed=8).images, samples.images[:3])


def test_samples_do_not_depend_on_the_rest_of_the_batch() -> None:
    model = small_model(architecture="mlp")
    samples = [model.sample(1, seed=seed) for seed in range(5)]
    noise = torch.cat([model.noise(1, seed=seed) for seed in range(5)])
    codes = {name: [sample.codes[name].item() for sample in samples] for name in model.layout.codes}
    assert_same_pixels(model.generate(noise, codes), np.concatenate([sample.images for sample in samples]))


def test_samples_and_encodings_follow_changed_weights() -> None:
    model, other = small_model(), small_model()
    before = model.sample(3, seed=1).images, model.encode(bar_images(3)).codes["knob1"]
    random = torch.Generator().manual_seed(0)
    for parameter, other_parameter in zip(model.networks.parameters(), other.networks.parameters(), strict=True):
        change = torch.randn(parameter.shape, generator=random)
        parameter.add_(change)
        other_parameter.add_(change)
    after = model.sample(3, seed=1).images, model.encode(bar_images(3)).codes["knob1"]
    assert not any(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    assert np.array_equal(after[0], other.sample(3, seed=1).images)
    assert np.array_equal(after[1], other.encode(bar_images(3)).codes["knob1"])


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (3, -1), (3, 2**63)])
def test_counts_and_seeds_out_of_range_are_rejected(count: int, seed: int) -> None:
    with pytest.raises(UserError, match=str(count if count < 1 else seed)):
        MODEL.sample(count, seed=seed)


@pytest.mark.parametrize("number", [np.int64, np.float32, np.array, torch.tensor, float])
def test_counts_and_seeds_may_be_numbers_of_any_library(number: Any) -> None:
    two, three = number(2), number(3)
    expected = MODEL.sample(3, seed=2).images
    assert np.array_equal(MODEL.sample(three, seed=two).images, expected)
    assert len(MODEL(three)) == 3
    assert torch.equal(MODEL.noise(three, seed=two), MODEL.noise(3, seed=2))
    assert np.array_equal(MODEL.interpolate(two, three, steps=three).images, MODEL.interpolate(2, 3, steps=3).images)
    grid = MODEL.traverse(
        "knob1", values=number([0.5, 1]) if number in (np.array, torch.tensor) else [0.5, 1], rows=two
    )
    assert np.array_equal(grid, MODEL.traverse("knob1", values=[0.5, 1], rows=2))
    lattice = MODEL.lattice("knob1", "category", columns=[number(1)], rows=[two, three], seed=two)
    assert np.array_equal(lattice, MODEL.lattice("knob1", "category", columns=[1], rows=[2, 3], seed=2))
    assert MODEL.sheet("category", rows=two, limit=three).size == MODEL.sheet("category", rows=2, limit=3).size
    images = bar_images(5)
    assert np.array_equal(
        MODEL.encode(images, batch_size=two).to_array(), MODEL.encode(images, batch_size=2).to_array()
    )
    assert np.array_equal(MODEL.reconstruct(images, seed=two), MODEL.reconstruct(images, seed=2))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1.5, np.float32("nan"), torch.tensor(0.5)])
def test_counts_and_seeds_that_are_not_whole_are_rejected(number: Any) -> None:
    for call in (
        lambda: MODEL.sample(number),
        lambda: MODEL.sample(1, seed=number),
        lambda: MODEL.traverse("category", rows=number),
        lambda: MODEL.interpolate(0, number),
        lambda: MODEL.interpolate(0, 1, steps=number),
        lambda: MODEL.encode(bar_images(2), batch_size=number),
        lambda: MODEL.sheet("category", limit=number),
    ):
        with pytest.raises(UserError, match="must be a whole number"):
            call()


def test_a_traversal_of_one_value_has_one_column() -> None:
    assert MODEL.traverse("knob1", values=np.array(0.5), rows=2).shape == (2, 1, 1, 8, 8)


def test_a_traversal_varies_one_code_by_column() -> None:
    grid = MODEL.traverse("category", rows=3, seed=4)
    assert grid.shape == (3, 10, 1, 8, 8)
    samples = MODEL.sample(3, seed=4)
    assert_same_pixels(grid[np.arange(3), samples.codes["category"]], samples.images)
    assert MODEL.traverse("knob1", values=[-1.0, 1.0], rows=2, codes={"category": 2}).shape == (2, 2, 1, 8, 8)


def test_a_lattice_varies_two_codes() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}, {"kind": "continuous"}])
    lattice = model.lattice("category", "knob2", rows=[-1.0, 0.25], codes={"knob1": 0.5}, seed=4)
    assert lattice.shape == (2, 3, 1, 8, 8)
    for row, knob in enumerate((-1.0, 0.25)):
        for value in range(3):
            sample = model.sample(1, codes={"category": value, "knob1": 0.5, "knob2": knob}, seed=4)
            assert_same_pixels(lattice[row, value], sample.images[0])
    assert model.lattice("knob1", "category").shape == (3, 10, 1, 8, 8)
    with pytest.raises(UserError, match="two different codes"):
        model.lattice("knob1", "knob1")


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_an_interpolation_goes_from_one_sample_to_the_other(distribution: str) -> None:
    model = small_model(distribution=distribution)
    samples = model.interpolate(3, 8, steps=6)
    assert_same_pixels(samples.images[0], model.sample(1, seed=3).images[0])
    assert_same_pixels(samples.images[-1], model.sample(1, seed=8).images[0])
    knob = samples.codes["knob1"]
    assert np.all(np.diff(knob) * (knob[-1] - knob[0]) >= 0)
    with pytest.raises(UserError, match="at least 2"):
        model.interpolate(0, 1, steps=1)


def test_generate_reproduces_samples_from_their_noise_and_codes() -> None:
    samples = MODEL.sample(3, seed=7)
    codes = {name: values.tolist() for name, values in samples.codes.items()}
    assert np.array_equal(MODEL.generate(MODEL.noise(3, seed=7), codes), samples.images)
    with pytest.raises(UserError, match="no value"):
        MODEL.generate(MODEL.noise(1), {"category": 1})


def test_noise_may_be_an_array_of_any_precision() -> None:
    codes: dict[str, Any] = {"category": [1, 2], "knob1": 0.5, "knob2": 0}
    noise = MODEL.noise(2, seed=7)
    expected = MODEL.generate(noise, codes)
    for same in (noise.numpy(), noise.double(), noise.double().numpy(), noise.tolist(), noise.clone().requires_grad_()):
        assert np.array_equal(MODEL.generate(same, codes), expected)
    blended = MODEL.blended_noise(noise.numpy(), noise.double(), np.array([0, 0.5]))
    torch.testing.assert_close(blended, noise)
    for wrong in (noise[:, 1:], noise[0], noise * float("nan"), noise / 0):
        with pytest.raises(UserError, match=r"finite numbers of shape \(count, 5\)"):
            MODEL.generate(wrong, codes)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_noise_is_blended_along_a_circle_or_a_line(distribution: str) -> None:
    model = small_model(distribution=distribution)
    start, end = model.noise(3, seed=7), model.noise(3, seed=8)
    way = torch.tensor([0.0, 0.5, 1.0])
    blended = model.blended_noise(start, end, way)
    torch.testing.assert_close(blended[0], start[0])
    torch.testing.assert_close(blended[2], end[2])
    if distribution == "uniform":
        expected = (start[1] + end[1]) / 2
    else:  # half way along the circle, both ends have the weight 1 / (2 cos(angle / 2))
        cosine = torch.dot(start[1], end[1]) / start[1].norm() / end[1].norm()
        expected = (start[1] + end[1]) / (2 * torch.cos(torch.arccos(cosine) / 2))
    torch.testing.assert_close(blended[1], expected)
    torch.testing.assert_close(model.blended_noise(start, start, way), start)


def test_a_call_returns_samples_in_the_requested_type() -> None:
    model = small_model(channels=3)
    images = model.sample(3, codes={"category": 2}).images
    pil = model(3, codes={"category": 2})
    assert [image.size for image in pil] == [(8, 8)] * 3
    assert np.array_equal(np.asarray(pil[1]), images[1].transpose(1, 2, 0))
    assert small_model()(1)[0].mode == "L"
    array, tensor = (model(3, codes={"category": 2}, output_type=kind) for kind in ("np", "pt"))
    np.testing.assert_allclose(array, images.transpose(0, 2, 3, 1) / 255, atol=1e-7)
    assert np.array_equal(tensor.numpy().transpose(0, 2, 3, 1), array)
    with pytest.raises(UserError, match="unknown output_type 'jpg'"):
        model(1, output_type="jpg")


def test_a_call_advances_its_generator() -> None:
    generator = torch.Generator().manual_seed(5)
    first, second = (MODEL(1, generator=generator, output_type="np") for _ in range(2))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, MODEL(1, generator=torch.Generator().manual_seed(5), output_type="np"))


# Encoding.


def test_an_encoding_has_probabilities_means_and_entropies() -> None:
    encoding = MODEL.encode(bar_images(12))
    probabilities = encoding.probabilities["category"].astype(np.float64)
    assert probabilities.shape == (12, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(encoding.codes["category"], probabilities.argmax(axis=1))
    entropy = -(probabilities * np.log(probabilities + 1e-30)).sum(axis=1)
    np.testing.assert_allclose(encoding.entropy, entropy, atol=1e-4)
    assert (encoding.deviations["knob1"] >= 0.1).all()


def test_the_batch_size_does_not_change_an_encoding() -> None:
    encoding, in_batches = MODEL.encode(bar_images(12)), MODEL.encode(bar_images(12), batch_size=5)
    np.testing.assert_allclose(encoding.codes["knob1"], in_batches.codes["knob1"], atol=1e-5)
    assert MODEL.encode(bar_images(1)).codes["category"].shape == (1,)
    assert MODEL.encode(bar_images(1)[:0]).codes["category"].shape == (0,)


def predictions(model: InfoGAN, images: Any) -> list[Any]:
    """Return what all methods that take images return."""
    zeros = {name: [0] * len(model.encode(images).entropy) for name in model.layout.codes}
    return [model.encode(images).to_array(), model.reconstruct(images), *model.log_likelihoods(images, zeros).values()]


def test_images_of_any_kind_are_encoded(tmp_path: Path) -> None:
    images = bar_images(5)
    expected = predictions(MODEL, images)
    floats = torch.from_numpy(images) / 255
    folder = image_folder(tmp_path / "folder", "{}.png".format, 5, ())
    for data in (
        images[:, 0],
        images / 255,
        images.transpose(0, 2, 3, 1),
        floats.bfloat16(),
        floats.half().requires_grad_(),
        torch.from_numpy(images),
        list(images),
        tuple(floats),
        [Image.fromarray(image[0]) for image in images],
        infogan.data.load(folder),
        folder,
        str(folder),
        sorted(folder.iterdir()),
    ):
        assert all(np.array_equal(*pair) for pair in zip(predictions(MODEL, data), expected, strict=True))
    one = predictions(MODEL, Image.fromarray(images[0, 0]))
    assert all(np.array_equal(*pair) for pair in zip(one, predictions(MODEL, images[:1]), strict=True))


def test_generated_images_are_encoded_as_they_are() -> None:
    samples = MODEL.sample(4, seed=1)
    assert np.array_equal(np.asarray(samples), samples.images)
    assert len(samples) == 4
    assert MODEL.encode(samples).to_array().tolist() == MODEL.encode(samples.images).to_array().tolist()
    assert MODEL.encode(MODEL(4)).codes["category"].shape == (4,)


def test_images_of_another_size_or_colour_are_converted() -> None:
    larger, colour = image_set(5, 11), image_set(5, 8, 3)
    for other in (larger, colour):
        expected = np.stack([render(image, 8, 1, "crop") for image in other.images])
        for data in (other, other.images, torch.from_numpy(other.images), list(other.images)):
            assert np.array_equal(MODEL.encode(data).to_array(), MODEL.encode(expected).to_array())


def test_unusable_images_are_rejected_and_named(tmp_path: Path) -> None:
    folder = image_folder(tmp_path, "{}.png".format, 5, {3})
    nan = bar_images(5) / 255
    nan[3] = np.nan
    for images in (folder, sorted(folder.iterdir()), nan, list(nan)):
        with pytest.raises(UserError, match="3"):
            MODEL.encode(images)
    wrongs: list[Any] = [np.zeros((2, 2, 8, 8), np.uint8), np.zeros((2, 8, 8), np.int64), np.zeros(5), [], None]
    for wrong in wrongs:
        for call in (MODEL.encode, MODEL.reconstruct):
            with pytest.raises(UserError):
                call(wrong)


def test_a_gan_cannot_encode() -> None:
    gan = small_model(kind="gan")
    for call in (gan.encode, gan.reconstruct):
        with pytest.raises(UserError, match="no recognizer"):
            call(bar_images(2))


def test_a_model_without_an_encoder_has_no_features() -> None:
    with pytest.raises(UserError, match="no encoder"):
        MODEL.features(bar_images(2))


def test_features_are_those_of_any_kind_of_images() -> None:
    config = small_config(preset="robust", networks={"width": 4, "encoder_width": 4})
    shape = ImageShape(1, 8)
    networks = build_networks(config.networks, CodeLayout(config.noise, config.codes), shape, kind="infogan", seed=0)
    model, images = InfoGAN(ModelConfig.of(config, shape), networks), bar_images(5)
    for data in (list(images), torch.from_numpy(images), [Image.fromarray(image[0]) for image in images]):
        assert np.array_equal(model.features(data), model.features(images))


def test_log_likelihoods_are_those_of_the_given_codes() -> None:
    codes = {"category": np.array([1, 9]), "knob1": np.array([0.0, 1.0]), "knob2": np.array([-1.0, 0.5])}
    likelihoods = MODEL.log_likelihoods(bar_images(2), codes)
    probabilities = MODEL.encode(bar_images(2)).probabilities["category"][[0, 1], [1, 9]]
    np.testing.assert_allclose(likelihoods["category"], np.log(probabilities), atol=1e-5)


def test_a_reconstruction_is_generated_from_the_predicted_codes() -> None:
    images = MODEL.sample(6, seed=3).images
    codes = MODEL.encode(images).codes
    clipped = {name: np.clip(values, -1, 1) if values.dtype == np.float32 else values for name, values in codes.items()}
    noise = MODEL.noise(1, seed=2).repeat(6, 1)
    expected = MODEL.generate(noise, {name: values.tolist() for name, values in clipped.items()})
    assert_same_pixels(MODEL.reconstruct(images, seed=2), expected)


def test_log_likelihoods_need_every_code() -> None:
    codes: dict[str, Any] = {"category": torch.tensor([1, 9]), "knob1": 0.5, "knob2": (np.float32(-1), 0.5)}
    assert MODEL.log_likelihoods(bar_images(2), codes)["knob1"].shape == (2,)
    with pytest.raises(UserError, match="'knob2' has no value"):
        MODEL.log_likelihoods(bar_images(2), {"category": 1, "knob1": 0})
