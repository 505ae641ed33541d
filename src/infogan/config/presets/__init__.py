"""Presets: complete configurations as TOML files, in the format of ``--config``, and the strengths of augmentations.

`api.resolve` puts files, flags and assignments on top of a preset.
"""

import tomllib
from pathlib import Path
from typing import Any

Options = dict[str, Any]

AUTO = "auto"  # as the size of a code: as many categories as the images are found to have
SMALL = 32  # pixels, up to which the shares of the stages are their steps by default
STEPS_OF_LARGE = 1.5  # times as many GAN steps have larger images by default
STEPS_OF_COLOUR = 1.25  # and images in colour
# Sets with fewer values (images x channels x pixels), such as digits of 8x8 pixels, are learned in fewer steps.
TINY = 10**6
STEPS_OF_TINY, GAN_STEPS_OF_TINY = 0.4, 0.15
SAMPLES = 10_000  # images that an evaluation generates
SAMPLED_VALUES = 2**29  # values that they have at most: fewer images of more than 133 pixels in colour
LENGTHS = {"steps", "images_seen", "budget", "default_length"}  # options of `train` that give the length
DISTILLED_WIDTH = 32  # of the encoder that learns from pretrained features: photographs need more than drawings
DECLARED_KNOB = {"weight": 0.5, "deviation": 0.2}  # of a code that follows a property
SUPERVISED_WEIGHT = 0.5  # of the loss on a few labels, if there are any


def _read(name: str) -> Options:
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))


PRESETS: dict[str, Options] = {name: _read(name) for name in ("robust", "plain", "paper", "post", "disentangle")}
PRESETS["paper-mnist"] = PRESETS["paper"]  # its name in version 0.1
DISTILL: Options = _read("distill")
READ: Options = _read("read")

_augmentations = _read("augmentations")
STRENGTHS: dict[str, float] = _augmentations["strengths"]
USUAL_AUGMENTATIONS: dict[str, dict[str, float]] = _augmentations["usual"]  # by what images are


def usual_augmentations(channels: int, *, known_factors: bool = False) -> dict[str, float]:
    """Return the usual augmentations of images with a number of channels, or of which all factors are known."""
    if known_factors:
        return USUAL_AUGMENTATIONS["factors"]
    return USUAL_AUGMENTATIONS[{1: "grey", 3: "colour"}.get(channels, "bands")]
