"""Categories are counted from features that the first stages of a run learn."""

import numpy as np
import pytest
import torch

from infogan.api.resolve import compose
from infogan.config.load import build
from infogan.config.schema import Config
from infogan.data.augment import augment
from infogan.data.batches import to_pixels
from infogan.data.dataset import ImageSet
from infogan.training import count_clusters
from infogan.training.count_clusters import count_categories
from infogan.utils.errors import UserError
from tests.helpers import image_set, small_config


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


def test_groups_of_images_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count_clusters, "MIN_STEPS", 30)
    scan = count_categories(counting_config(30), three_groups(150))
    assert scan.best == 3
    assert np.argmax(scan.scores) == scan.counts.index(3)


def test_short_stages_are_lengthened(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def stop(config: Config, *_: object, **__: object) -> None:
        lengths.append(config.train.steps)
        raise InterruptedError

    monkeypatch.setattr(count_clusters, "train", stop)
    for steps in (1, 1000):
        with pytest.raises(InterruptedError):
            count_categories(counting_config(steps), image_set())
    assert lengths == [count_clusters.MIN_STEPS, 1000]


def test_recipe_without_features_cannot_count() -> None:
    with pytest.raises(UserError, match="recipe"):
        count_categories(build(compose("plain")), image_set())
