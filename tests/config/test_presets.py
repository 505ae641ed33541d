"""Presets: each is a complete configuration, and augmentations never change what may be a class."""

import pytest

from infogan.api.resolve import compose
from infogan.config import presets
from infogan.config.load import build
from infogan.config.schema import AugmentSettings, Config


@pytest.mark.parametrize("name", presets.PRESETS)
def test_preset_is_a_configuration_and_survives_json(name: str) -> None:
    config = build(compose(name))
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_every_augmentation_has_a_usual_strength_in_its_range() -> None:
    assert set(presets.STRENGTHS) == set(AugmentSettings.model_fields)
    for strengths in (presets.STRENGTHS, *presets.USUAL_AUGMENTATIONS.values()):
        assert AugmentSettings.model_validate(strengths).strengths == strengths


def test_no_images_are_mirrored_without_being_asked() -> None:
    assert not any("flip" in strengths for strengths in presets.USUAL_AUGMENTATIONS.values())


def test_usual_augmentations_follow_what_images_are() -> None:
    assert presets.usual_augmentations(1) == presets.USUAL_AUGMENTATIONS["grey"]
    assert presets.usual_augmentations(3) == presets.USUAL_AUGMENTATIONS["colour"]
    assert presets.usual_augmentations(2) == presets.usual_augmentations(16) == presets.USUAL_AUGMENTATIONS["bands"]
    assert presets.usual_augmentations(1, known_factors=True) == presets.USUAL_AUGMENTATIONS["factors"]
