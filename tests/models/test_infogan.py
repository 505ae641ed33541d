"""Generating and encoding with a model."""

import numpy as np
import pytest
import torch

from infogan.utils.errors import UserError
from tests.helpers import bar_images, small_model

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


def test_images_of_another_shape_are_rejected() -> None:
    for images in (bar_images(2, size=9), bar_images(2, channels=3), bar_images(2)[0]):
        with pytest.raises(UserError, match="this model reads uint8"):
            MODEL.encode(images)


def test_a_gan_cannot_encode() -> None:
    gan = small_model(kind="gan")
    for call in (gan.encode, gan.reconstruct):
        with pytest.raises(UserError, match="no recognizer"):
            call(bar_images(2))


def test_a_model_without_an_encoder_has_no_features() -> None:
    with pytest.raises(UserError, match="no encoder"):
        MODEL.features(bar_images(2))


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
