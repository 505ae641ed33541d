"""Categories are counted, as a range, from features that the first stages of a run learn."""

import numpy as np
import pytest
import torch

from infogan.api.resolve import compose
from infogan.config.load import build
from infogan.config.schema import Config
from infogan.data.augment import augment
from infogan.data.batches import to_pixels
from infogan.data.dataset import ImageSet
from infogan.training import first_stage
from infogan.training.count_clusters import count_categories, count_groups, likely_range
from infogan.utils.errors import UserError
from tests.helpers import image_set, small_config
from tests.training.test_separation import kinds, noise


def three_groups(count: int) -> ImageSet:
    """Return three images, each many times and each time a little shifted and rotated."""
    random = torch.Generator().manual_seed(0)
    originals = torch.rand(3, 1, 4, 4, generator=random)
    originals = 2 * torch.nn.functional.interpolate(originals, (16, 16), mode="bilinear") - 1
    images = augment(originals.repeat(count // 3, 1, 1, 1), {"shift": 0.1, "rotate": 10.0}, random)
    return ImageSet(to_pixels(images), [str(i) for i in range(count)], "groups", None, ())


def counting_config(steps: float) -> Config:
    """Return a configuration that learns features for some steps."""
    config = small_config(
        preset="robust",
        codes=[{"kind": "categorical", "size": 2}],
        networks={"width": 4, "encoder_width": 8},
        augment={"shift": 0.1, "rotate": 10.0},
        train={"steps": 9, "batch_size": 16},
        data={"source": "groups"},
    )
    stages = (config.stages[0].model_copy(update={"share": steps}), *config.stages[1:])
    return config.model_copy(update={"stages": stages})


@pytest.mark.parametrize("sizes", [(200,) * 5, (500, 300, 120, 100), (300,) * 8])
def test_the_range_contains_the_number_of_groups_and_is_narrow(sizes: tuple[int, ...]) -> None:
    points, _ = kinds(sizes)
    found = count_groups(points, seed=0, max_count=15)
    assert found.low <= len(sizes) <= found.high
    assert found.high - found.low <= 3
    assert found.is_clear
    assert found.best == found.counts[int(np.argmax(found.probabilities))]
    assert sum(found.probabilities) == pytest.approx(1, abs=0.01)
    assert found.several[found.counts.index(len(sizes))] == 0
    assert found.low <= len(found.tree) + 1 <= found.high


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.0, 1.0, 0.0], (1, 1, 1)),
        ([0.04, 0.5, 0.42, 0.04], (1, 1, 2)),  # 4 % lie below the range, and above it
        ([0.06, 0.5, 0.38, 0.06], (0, 1, 3)),
        ([0.04] * 24 + [0.041], (1, 24, 24)),  # the most probable number is always in the range
    ],
)
def test_the_range_covers_nine_tenths_of_the_probability(
    probabilities: list[float], expected: tuple[int, int, int]
) -> None:
    assert likely_range(np.array(probabilities)) == expected


def test_points_without_groups_have_no_clear_number() -> None:
    found = count_groups(noise(1500), seed=0, max_count=12)
    assert not found.is_clear
    assert "no clear groups" in found.summary


def test_groups_of_images_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_stage, "MIN_STEPS", 30)
    found = count_categories(counting_config(30), three_groups(300))
    assert found.low <= 3 <= found.high


def test_short_stages_are_lengthened(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def stop(config: Config, *_: object, **__: object) -> None:
        lengths.append(config.train.steps)
        raise InterruptedError

    monkeypatch.setattr(first_stage, "train", stop)
    for steps in (1, 1000):
        with pytest.raises(InterruptedError):
            count_categories(counting_config(steps), image_set())
    assert lengths == [first_stage.MIN_STEPS, 1000]


def test_recipe_without_features_cannot_count() -> None:
    with pytest.raises(UserError, match="recipe"):
        count_categories(build(compose("plain")), image_set())


def test_too_few_points_are_refused() -> None:
    with pytest.raises(UserError, match="40 images are too few"):
        count_groups(noise(40), seed=0)
