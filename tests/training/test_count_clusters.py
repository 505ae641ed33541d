"""Categories are counted from features that were learned on the images, and by recipes that learn some."""

import numpy as np
import pytest
import torch

from infogan.api import resolve
from infogan.config.load import build
from infogan.data.augment import augment
from infogan.data.batches import to_pixels
from infogan.data.dataset import ImageSet
from infogan.training.count_clusters import count_categories
from infogan.utils.errors import UserError
from tests.helpers import image_set, small_config


def kinds(count: int) -> ImageSet:
    """Three pictures, each many times over and each time a little elsewhere."""
    random = torch.Generator().manual_seed(0)
    drawn = torch.nn.functional.interpolate(torch.rand(3, 1, 4, 4, generator=random), (16, 16), mode="bilinear")
    images = to_pixels(augment((2 * drawn - 1).repeat(count // 3, 1, 1, 1), {"shift": 0.1, "rotate": 10.0}, random))
    return ImageSet(images, [str(i) for i in range(len(images))], "kinds", None, ())


def test_kinds_of_pictures_are_counted() -> None:
    config = small_config(
        preset="robust",
        codes=[{"kind": "categorical", "size": 2}],
        networks={"width": 4, "encoder_width": 8},
        augment={"shift": 0.1, "rotate": 10.0},
        train={"steps": 9, "batch_size": 16},
        data={"source": "kinds"},
    )
    stages = (config.stages[0].model_copy(update={"share": 60.0}), *config.stages[1:])
    found = count_categories(config.model_copy(update={"stages": stages}), kinds(300))
    assert found.best == 3
    assert np.argmax(found.scores) == found.counts.index(3)


def test_a_recipe_without_such_features_can_not_count() -> None:
    with pytest.raises(UserError, match="only a recipe whose encoder learns"):
        count_categories(build(resolve.compose("plain")), image_set())


def test_only_the_first_category_is_counted_wherever_it_stands() -> None:
    knob, counted, other = (
        {"kind": "continuous"},
        {"kind": "categorical", "size": "auto"},
        {"kind": "categorical", "size": 3},
    )
    options = {"codes": [knob, counted, other]}
    assert resolve.counts_categories(options)
    assert resolve.with_categories(options, 7) == {"codes": [knob, {**counted, "size": 7}, other]}
    assert not resolve.counts_categories({"codes": [other]})
    with pytest.raises(UserError, match="only the first category"):
        resolve.with_categories({"codes": [other, counted]}, 7)
