"""Presets: whole configurations as data, each with what it trains, how long that takes and what to expect.

A preset is a plain tree of options in the shape of `config.Config`, on which a configuration file and the command line
are laid. `resolve` turns it into the configuration of a run, and turns an infogan into its predecessors.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from infogan.config import merge, override
from infogan.errors import unknown

Options = dict[str, Any]

ADAM = {"learning_rate": 1e-3, "beta1": 0.5, "beta2": 0.99, "decay": "linear"}

# A continuous code as the default preset and the command line make it. Knobs weigh little: at weight 1 they take hold
# of every image at once, as specks that are easy to read, before the categories have found anything.
KNOB: Options = {"kind": "continuous", "weight": 0.1}

# Any images, minutes on two cores: Chen et al.'s game on convolutions folded space-to-depth, with spectral norm. The
# information gradient reaches generator, recognizer and shared trunk.
DEFAULT: Options = {
    "noise": {"size": 32},
    "codes": [
        {"kind": "categorical", "size": 10},
        KNOB,
        KNOB,
    ],
    "networks": {"architecture": "conv", "recognizer": "shared", "spectral_norm": True},
    "stages": [
        {
            "updates": [
                {"players": ["discriminator", "recognizer"], "terms": {"adversarial": 1.0, "information": 1.0}, **ADAM},
                {"players": ["generator"], "terms": {"adversarial": 1.0, "information": 1.0}, **ADAM},
            ]
        }
    ],
    "train": {"steps": 4000, "batch_size": 128},
}

# Chen et al. 2016, section 7.2 and appendix C.1: 62 noise, ten categories, two uniform codes. In their code the
# information gradient reaches the shared trunk as well, in the discriminator's update, and λ is 1 for all codes.
PAPER_MNIST: Options = {
    "noise": {"size": 62, "distribution": "normal"},
    "codes": [
        {"kind": "categorical", "size": 10},
        {"kind": "continuous"},
        {"kind": "continuous"},
    ],
    "networks": {"architecture": "paper", "recognizer": "shared"},
    "stages": [
        {
            "updates": [
                {
                    "players": ["discriminator", "recognizer"],
                    "terms": {"adversarial": 1.0, "information": 1.0},
                    "learning_rate": 2e-4,
                },
                {
                    "players": ["generator"],
                    "terms": {"adversarial": 1.0, "information": 1.0},
                    "learning_rate": 1e-3,
                },
            ]
        }
    ],
    "train": {"steps": 5000, "batch_size": 128, "ema_half_life": 0.0},
}

# The blog post: three small perceptrons, three updates with an Adam of their own each, no averaging, and every 1000
# steps a 4x4 picture of one random category.
POST: Options = {
    "noise": {"size": 16, "distribution": "uniform"},
    "codes": [{"kind": "categorical", "size": 10}],
    "networks": {"architecture": "post", "recognizer": "separate"},
    "stages": [
        {
            "updates": [
                {
                    "players": ["discriminator"],
                    "terms": {"adversarial": 1.0},
                    "learning_rate": 1e-3,
                    "beta1": 0.9,
                },
                {
                    "players": ["generator"],
                    "terms": {"adversarial": 1.0},
                    "learning_rate": 1e-3,
                    "beta1": 0.9,
                },
                {
                    "players": ["generator", "recognizer"],
                    "terms": {"information": 1.0},
                    "learning_rate": 1e-3,
                    "beta1": 0.9,
                },
            ]
        }
    ],
    "train": {
        "steps": 20_000,
        "batch_size": 32,
        "ema_half_life": 0.0,
        "picture_every": 1000,
        "picture": "one-value",
    },
}

PRESETS: dict[str, Options] = {"default": DEFAULT, "paper-mnist": PAPER_MNIST, "post": POST}


def resolve(preset: str, layers: Iterable[Mapping[str, Any]] = (), assignments: Iterable[str] = ()) -> Options:
    """A preset with further options laid on it, as the predecessor that ``objective.kind`` asks for, if it does.

    A gan and a cgan lose the codes, the recognizer and the information term. A cgan's one code is the label, which
    `with_label_code` adds once the images, and so the labels, are known.

    Args:
        preset: A key of ``PRESETS``.
        layers: Trees of options, each laid on those before it.
        assignments: ``section.key=value`` each, applied last.

    Raises:
        UserError: there is no such preset, or an assignment that can not be applied.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    options: Options = PRESETS[preset]
    for layer in layers:
        options = merge(options, dict(layer))
    for assignment in assignments:
        options = override(options, assignment)
    objective = options.get("objective")
    kind = objective.get("kind") if isinstance(objective, Mapping) else None
    try:
        return _predecessor(options) if kind in ("gan", "cgan") else options
    except (TypeError, KeyError, AttributeError):  # stages of another shape, which `config.build` will refuse in words
        return options


def with_label_code(options: Options, labels: int) -> Options:
    """A cgan's options with its one code, the label, of that many values."""
    return {**options, "codes": [{"kind": "categorical", "name": "label", "size": labels}]}


def _predecessor(options: Options) -> Options:
    """The options without everything that belongs to an infogan alone; updates that lose all their terms go too."""
    stages = []
    for stage in options["stages"]:
        updates = []
        for update in stage["updates"]:
            players = [player for player in update["players"] if player != "recognizer"]
            terms = {name: weight for name, weight in update["terms"].items() if name != "information"}
            if players and terms:
                updates.append({**update, "players": players, "terms": terms})
        if updates:
            stages.append({**stage, "updates": updates})
    return {**options, "codes": [], "stages": stages}
