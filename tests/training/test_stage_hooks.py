"""Stage hooks: how categories start from clusters, when the encoder is slowed down or frozen, and learned priors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from infogan.api.resolve import compose
from infogan.config.load import build
from infogan.config.schema import Config
from infogan.data.batches import to_network
from infogan.data.dataset import ImageSet
from infogan.data.labels import FewLabels
from infogan.models.architectures import ImageShape
from infogan.models.encoder import Encoder
from infogan.models.infogan import InfoGAN
from infogan.training.stage_hooks import DIFFUSE_LR_SCALE, STAGE_HOOKS, VAT_RADIUS, run_stage_hooks, sample_pixels
from infogan.training.state import EncoderState, TrainState
from tests.helpers import bar_images, image_set, saved_tensors, small_config, train_at
from tests.training.test_loop import with_encoder


def noise_images(count: int) -> ImageSet:
    """Return images without groups."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    return ImageSet(pixels, [str(i) for i in range(count)], "noise", None, ())


def noisy_copies(*counts: int) -> torch.Tensor:
    """Return as many noisy copies of a random image each."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (len(counts), 1, 8, 8))
    pixels = np.repeat(images, counts, axis=0) + random.integers(-9, 10, (sum(counts), 1, 8, 8))
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))


def predicted(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
    encoder.eval()
    with torch.no_grad():
        categories: torch.Tensor = encoder(to_network(pixels)).argmax(dim=1)
    return categories


def test_categories_start_at_clusters_of_the_features() -> None:
    encoder, state = Encoder(ImageShape(1, 8), 8, 2), EncoderState(2)
    pixels = torch.from_numpy(bar_images(200))
    STAGE_HOOKS["cluster"](encoder, state, pixels, 5, None)
    shares = torch.bincount(predicted(encoder, pixels), minlength=2) / 200
    assert shares.min() > 0.05
    assert encoder.directions.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert float(state.marginal.sum()) == pytest.approx(1, abs=1e-6)
    # A share of the distance of images to their tenth neighbours, at the size of the encoder.
    images = encoder.resize(to_network(pixels)).flatten(1)
    distances = torch.cdist(images, images).sort(dim=1).values[:, 10]
    assert float(state.vat_radius) == pytest.approx(VAT_RADIUS * float(distances.mean()), rel=1e-4)


def test_prior_is_that_of_the_modes_unless_their_sizes_are_about_equal() -> None:
    encoder, state = Encoder(ImageShape(1, 8), 8, 2), EncoderState(2)

    def prior_of(*counts: int) -> list[float]:
        STAGE_HOOKS["cluster"](encoder, state, noisy_copies(*counts), 5, None)
        assert float(state.lr_scale) == 1
        return sorted(encoder.prior.tolist())

    assert prior_of(150, 50) == pytest.approx([0.95 / 4 + 0.025, 0.95 * 3 / 4 + 0.025])
    assert prior_of(120, 80) == [0.5, 0.5]


def test_encoder_is_slowed_down_if_clusters_are_not_compact() -> None:
    encoder, state = Encoder(ImageShape(1, 8), 8, 4), EncoderState(4)
    STAGE_HOOKS["cluster"](encoder, state, torch.from_numpy(noise_images(300).images), 5, None)
    assert float(state.lr_scale) == pytest.approx(DIFFUSE_LR_SCALE)
    assert encoder.prior.tolist() == [0.25] * 4


@pytest.mark.parametrize(("before", "after"), [(1.0, 1.0), (DIFFUSE_LR_SCALE, 0.0)])
def test_encoder_is_frozen_if_its_clusters_were_not_compact(before: float, after: float) -> None:
    encoder, state = Encoder(ImageShape(1, 8), 4, 2), EncoderState(2)
    state.lr_scale.fill_(before)
    STAGE_HOOKS["freeze_if_diffuse"](encoder, state, torch.from_numpy(bar_images(8)), 0, None)
    assert float(state.lr_scale) == after


def test_learned_prior_is_the_smoothed_frequency_of_predictions() -> None:
    encoder, state = Encoder(ImageShape(1, 8), 4, 3), EncoderState(3)
    pixels = torch.from_numpy(bar_images(100))
    STAGE_HOOKS["learn_prior"](encoder, state, pixels, 5, None)
    counts = torch.bincount(predicted(encoder, pixels), minlength=3)
    torch.testing.assert_close(encoder.prior, 0.95 * counts / 100 + 0.05 / 3)


def test_few_labels_order_the_categories() -> None:
    pixels = noisy_copies(50, 50, 50)
    encoder, state = Encoder(ImageShape(1, 8), 8, 3), EncoderState(3)
    # The first label is of images of the third group, the second of the first group; the second group has none.
    few_labels = FewLabels(np.array([0, 1, 120, 130]), np.array([1, 1, 0, 0]), ("aster", "birch"))
    STAGE_HOOKS["cluster"](encoder, state, pixels, 5, few_labels)
    assert predicted(encoder, pixels).tolist() == [1] * 50 + [2] * 50 + [0] * 50
    assert (state.marginal > 0.3).all()


def test_sampled_pixels_keep_their_order() -> None:
    pixels = torch.arange(100, dtype=torch.uint8).reshape(100, 1, 1, 1)
    sample = sample_pixels(pixels, 30, seed=1).flatten()
    assert len(sample.unique()) == 30
    assert torch.equal(sample, sample.sort().values)
    assert torch.equal(sample_pixels(pixels, 30, seed=1).flatten(), sample)
    assert not torch.equal(sample_pixels(pixels, 30, seed=2).flatten(), sample)
    assert torch.equal(sample_pixels(pixels, 200, seed=1), pixels)


# In a run.


def test_hooks_change_the_averaged_encoder_and_the_prior_of_the_model() -> None:
    config = with_encoder()
    state = TrainState.create(config, image_set(), torch.device("cpu"))
    encoder, average = state.networks.encoder, state.averaged_model.networks.encoder
    assert encoder is not None
    assert average is not None
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.add_(0.01)  # the average of the stage before
    run_stage_hooks(state, 3, torch.from_numpy(image_set().images))
    for name, tensor in average.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], tensor), name
    assert not torch.equal(encoder.prior, torch.full((2,), 0.5))
    entropy = -(encoder.prior * encoder.prior.log()).sum()
    assert state.model.layout.entropy("category") == pytest.approx(float(entropy), abs=1e-6)


def stages_on_noise(folder: Path, last: int) -> dict[str, torch.Tensor]:
    """Train one step of each stage from the second to another one, on images without groups."""
    codes = [{"kind": "categorical", "size": 4}]
    networks = {"width": 4, "encoder_width": 4}
    length = {"steps": last, "ema_half_life": 0.0, "batch_size": 16}
    config: Config = small_config(preset="robust", codes=codes, networks=networks, train=length)
    stages = tuple(stage.model_copy(update={"share": 1.0}) for stage in config.stages[1 : last + 1])
    run = train_at(folder, config.model_copy(update={"stages": stages}), noise_images(300))
    names = [name for name in saved_tensors(run) if name.startswith(("networks.encoder.", "encoder_state."))]
    return {name: saved_tensors(run)[name] for name in names}


def test_encoder_with_diffuse_clusters_is_slow_and_then_frozen(tmp_path: Path) -> None:
    slow, frozen = stages_on_noise(tmp_path / "slow", 1), stages_on_noise(tmp_path / "frozen", 2)
    assert float(slow.pop("encoder_state.lr_scale")) == pytest.approx(DIFFUSE_LR_SCALE)
    assert float(frozen.pop("encoder_state.lr_scale")) == 0
    assert slow.keys() == frozen.keys()
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in slow.items())


def test_codes_are_drawn_from_the_learned_prior_after_saving(tmp_path: Path) -> None:
    model = InfoGAN.load(train_at(tmp_path / "run", with_encoder()).path)
    assert model.networks.encoder is not None
    model.networks.encoder.prior.copy_(torch.tensor([0.2, 0.8]))
    model.save(tmp_path / "model")
    loaded = InfoGAN.load(tmp_path / "model")
    assert 0.77 < loaded.sample(2000).codes["category"].mean() < 0.83
    assert loaded.layout.entropy("category") == pytest.approx(-0.2 * np.log(0.2) - 0.8 * np.log(0.8), abs=1e-6)


def test_reader_is_calibrated_to_the_training_images_and_in_the_model() -> None:
    codes = [{"kind": "continuous", "follows": "shift-x"}]
    config = build(compose("plain", [{"codes": codes, "networks": {"width": 4}, "train": {"batch_size": 16}}]))
    images = image_set(400)
    state = TrainState.create(config, images, torch.device("cpu"))
    run_stage_hooks(state, [stage.name for stage in config.stages].index("gan"), torch.from_numpy(images.images))
    reader = state.averaged_model.networks.reader
    assert reader is not None
    assert state.networks.reader is not None
    for name, tensor in state.networks.reader.state_dict().items():
        assert torch.equal(reader.state_dict()[name], tensor), name
    with torch.no_grad():
        measured = reader(to_network(torch.from_numpy(images.images)))
    assert torch.quantile(measured, torch.tensor([0.26, 0.5, 0.74])).tolist() == pytest.approx([-0.5, 0, 0.5], abs=0.05)
