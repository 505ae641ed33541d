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
    for strengths in (presets.STRENGTHS, presets.DEFAULT_AUGMENTATION, *presets.AUGMENTATIONS.values()):
        assert AugmentSettings(**strengths).strengths == strengths


def test_images_of_unknown_content_are_neither_mirrored_nor_rotated() -> None:
    strengths = build(compose("robust", [{"data": {"source": "some/folder"}}])).augment.strengths
    assert strengths
    assert not {"flip", "rotate"} & strengths.keys()


def test_digits_are_not_mirrored() -> None:
    for name in ("mnist", "digits", "svhn"):
        assert "flip" not in presets.AUGMENTATIONS[name]
