"""Presets: whole configurations as data, each with what it trains, how long that takes and what to expect.

A preset is a plain tree of options in the shape of `config.Config`, on which a configuration file and the command line
are laid. `resolve` turns it into the configuration of a run, and turns an infogan into its predecessors.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from infogan.config.schema import merge, override
from infogan.utils.errors import UserError, unknown_name

Options = dict[str, Any]

# In the place of a code's size: as many categories as the images are found to have. In that of a budget: ``BUDGET``,
# and beyond ``SMALL`` pixels in proportion to their number.
AUTO = "auto"

ADAM = {"learning_rate": 1e-3, "beta1": 0.5, "beta2": 0.99, "decay": "linear"}

# Continuous codes weigh little: at weight 1 they take hold of every image at once, as specks that are easy to read,
# before the categories have found anything. Where an encoder reads the category that can not be, but specks can.
KNOB: Options = {"kind": "continuous", "weight": 0.1}
HEAVIER_KNOB: Options = {**KNOB, "weight": 0.3}

# Chen et al.'s game as it is usually played today, on convolutions folded space-to-depth, with spectral norm. The
# information gradient reaches generator, recognizer and shared trunk.
GAME: Options = {
    "updates": [
        {"networks": ["discriminator", "recognizer"], "losses": {"adversarial": 1.0, "information": 1.0}, **ADAM},
        {"networks": ["generator"], "losses": {"adversarial": 1.0, "information": 1.0}, **ADAM},
    ]
}
PLAIN: Options = {
    "noise": {"size": 32},
    "codes": [{"kind": "categorical", "size": 10}, KNOB, KNOB],
    "networks": {"architecture": "conv", "recognizer": "shared", "spectral_norm": True},
    "stages": [GAME],
    "train": {"steps": 4000, "batch_size": 128},
}

# The default. An encoder reads the category, and learns it before there are fakes: features that do not change with
# what does not matter (Chen et al. 2020), clusters of them, and from there posteriors that are sure, smooth and the
# same for all views of an image (Hu et al. 2017), with all values used. Then it is taught by its own readings alone, on
# views of the images (Xie et al. 2020), and values need no longer be used alike; such a step costs half of what one of
# the classes costs. Then the generator plays against that encoder, which learns no more, and against a discriminator
# that is told what the encoder reads (Liu et al. 2020). Knobs are read from the discriminator's trunk, as in the plain
# game: the encoder has been taught to ignore what they are.
ENCODER_ADAM = {"learning_rate": 2e-3, "beta1": 0.9, "beta2": 0.99, "decay": "cosine"}
# Rates of the game on images of up to ``SMALL`` pixels, where a large one is what makes it fast, and beyond, where
# players have wider layers and lose their balance at such rates, or without spectral norm.
RATES = {"discriminator": 2e-3, "generator": 8e-3}
SMALL, RATE_OF_LARGE = 32, 3e-4
BUDGET = 240.0  # seconds, for images of up to ``SMALL`` pixels
LONGEST = 1.4  # times that, on machines that need it for so many steps as `budget.LEAST`
ROBUST: Options = {
    "objective": {"adversarial": "hinge", "shift": 0.036},
    "noise": {"size": 32},
    "codes": [{"kind": "categorical", "size": 10, "prior": "learned"}, HEAVIER_KNOB, HEAVIER_KNOB],
    "networks": {"architecture": "conv", "recognizer": "shared", "encoder": True, "conditional": True},
    "stages": [
        {
            "name": "pretrain",
            "share": 600,
            "scales_with_budget": False,
            "batch_factor": 4,
            "updates": [{"networks": ["encoder"], "losses": {"nt_xent": 1.0}, **ENCODER_ADAM}],
        },
        {
            "name": "cluster",
            "share": 600,
            "scales_with_budget": False,
            "batch_factor": 4,
            "on_start": ["cluster"],
            "updates": [
                {
                    "networks": ["encoder"],
                    "losses": {
                        "vat": 1.0,
                        "uda": [0.0, 1.5],
                        "conditional_entropy": 0.3,
                        "marginal_kl": 2.0,
                        "nt_xent": [0.5, 0.0],
                    },
                    **ENCODER_ADAM,
                    "decay": "linear",
                }
            ],
        },
        {
            # At half the rate: at the full one, an encoder that is taught by its own readings can turn a whole group
            # that it files rightly, but not surely, to the wrong class within 200 steps.
            "name": "self_train",
            "share": 700,
            "scales_with_budget": False,
            "batch_factor": 4,
            "on_start": ["freeze_if_diffuse"],
            "updates": [{"networks": ["encoder"], "losses": {"uda": 1.0}, **ENCODER_ADAM, "learning_rate": 1e-3}],
        },
        {
            "name": "gan",
            "share": 6400,
            "on_start": ["learn_prior"],
            "updates": [{**update, "learning_rate": RATES[update["networks"][0]]} for update in GAME["updates"]],
        },
    ],
    "train": {"budget": AUTO, "batch_size": 64, "precision": "auto"},
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
                    "networks": ["discriminator", "recognizer"],
                    "losses": {"adversarial": 1.0, "information": 1.0},
                    "learning_rate": 2e-4,
                },
                {
                    "networks": ["generator"],
                    "losses": {"adversarial": 1.0, "information": 1.0},
                    "learning_rate": 1e-3,
                },
            ]
        }
    ],
    "train": {"steps": 5000, "batch_size": 128, "ema_half_life": 0.0},
}

# Lin et al. 2020 (InfoGAN-CR) as their code has it for dSprites: five codes and as much noise, a fixed deviation of 1
# for Q with λ = 0.05, two moves of the generator for one of the discriminator, and over the last tenth of the steps a
# comparer, with weight 2. Networks are this project's own, and unlike theirs without spectral norm: with it this
# discriminator was still at chance after 3,000 steps. Rates fall at the end. Pairs differ in one code (Zhu et al. 2020)
# where theirs share one: that parts codes on every seed that was tried, and theirs did not (docs/evaluation.md).
CR_KNOB: Options = {"kind": "continuous", "deviation": 1.0, "weight": 0.05}
CR_TERMS: dict[str, float] = {"adversarial": 1.0, "information": 1.0}
CR_DISCRIMINATOR: Options = {"networks": ["discriminator", "recognizer"], "losses": CR_TERMS, "learning_rate": 2e-3}
CR_GENERATOR: Options = {"networks": ["generator"], "losses": CR_TERMS, "learning_rate": 1e-3}
DISENTANGLE: Options = {
    "noise": {"size": 5, "distribution": "uniform"},
    "codes": [CR_KNOB] * 5,
    "networks": {"architecture": "conv", "recognizer": "shared", "spectral_norm": False, "pair_classifier": True},
    "stages": [
        {"name": "gan", "share": 288_000, "updates": [CR_DISCRIMINATOR, CR_GENERATOR, CR_GENERATOR]},
        {
            "name": "disentangle",
            "share": 34_560,
            "updates": [
                {**CR_DISCRIMINATOR, "decay": "linear"},
                {
                    "networks": ["pair_classifier"],
                    "losses": {"variation_predictability": 2.0},
                    "learning_rate": 2e-3,
                    "decay": "linear",
                },
                *[{**CR_GENERATOR, "losses": {**CR_TERMS, "variation_predictability": 2.0}, "decay": "linear"}] * 2,
            ],
        },
    ],
    "train": {"steps": 322_560, "batch_size": 64, "precision": "auto"},
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
                    "networks": ["discriminator"],
                    "losses": {"adversarial": 1.0},
                    "learning_rate": 1e-3,
                    "beta1": 0.9,
                },
                {
                    "networks": ["generator"],
                    "losses": {"adversarial": 1.0},
                    "learning_rate": 1e-3,
                    "beta1": 0.9,
                },
                {
                    "networks": ["generator", "recognizer"],
                    "losses": {"information": 1.0},
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
        "sample_every": 1000,
        "sample_grid": "one-value",
    },
}

PRESETS: dict[str, Options] = {
    "robust": ROBUST,
    "plain": PLAIN,
    "paper": PAPER_MNIST,
    "paper-mnist": PAPER_MNIST,
    "post": POST,
    "disentangle": DISENTANGLE,
}
SUPERVISION = 0.5  # weight of a few labels where they are given
LENGTHS = {"steps", "images_seen", "budget"}  # options of `train` that say how long

# How much of each transform does not matter, where only its name is given.
STRENGTHS = {
    "shift": 0.1,
    "rotate": 15.0,
    "scale": 0.2,
    "shear": 15.0,
    "elastic": 0.05,
    "flip": 0.5,
    "crop": 0.4,
    "colour": 0.4,
}
HANDWRITING = {"shift": 0.11, "rotate": 20.0, "scale": 0.2, "shear": 15.0, "elastic": 0.055, "colour": 0.3}
# What does not matter in images of which more is known than that they are images. Nothing is ever mirrored or turned
# on a guess: elsewhere it is for the user to say.
INVARIANCES: dict[str, dict[str, float]] = {
    "mnist": HANDWRITING,
    "digits": HANDWRITING,
    "fashion-mnist": {"crop": 0.6, "flip": 0.5, "colour": 0.6},
    "svhn": {"shift": 0.08, "rotate": 10.0, "scale": 0.15, "shear": 10.0, "colour": 0.5},
    "cifar10": {"crop": 0.6, "flip": 0.5, "colour": 0.4},
    # Sets of which all factors are known, and wanted: a view that moved, turned or resized the object would teach the
    # encoder to ignore what a metric then asks for. Brightness, contrast and saturation are no factor of theirs (hue is
    # one of shapes, and stays as it is); an encoder needs views that differ in something. The position of a letter is
    # none either. With nothing else taken away the category is free to be any factor: for classes, say what does not
    # matter; for factors, leave out the encoder (`--preset plain`).
    "dsprites": {"colour": 0.4},
    "shapes": {"colour": 0.4},
    "glyphs": {"shift": 0.08, "colour": 0.4},
}
ANY_IMAGES = {"crop": 0.3, "shift": 0.08, "colour": 0.3}


def compose(preset: str, layers: Iterable[Mapping[str, Any]] = (), assignments: Iterable[str] = ()) -> Options:
    """A preset with further options laid on it, as the predecessor that ``objective.kind`` asks for, if it does.

    A gan and a cgan lose the codes, recognizer, encoder and all terms but the adversarial one. Without a category there
    is nothing for the encoder to read, and its stages go. A cgan's one code is the label, which
    `with_label_code` adds once the images, and so the labels, are known.

    Args:
        preset: A key of ``PRESETS``.
        layers: Trees of options, each laid on those before it.
        assignments: ``section.key=value`` each, applied last.

    Raises:
        UserError: there is no such preset, or an assignment that can not be applied.
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    options: Options = PRESETS[preset]
    for layer in layers:
        if isinstance(layer.get("train"), Mapping) and LENGTHS & layer["train"].keys():
            options = _without_length(options)
        options = merge(options, dict(layer))
    assignments = list(assignments)
    if LENGTHS & {assignment.partition("=")[0].strip().removeprefix("train.") for assignment in assignments}:
        options = _without_length(options)
    for assignment in assignments:
        options = override(options, assignment)
    try:
        return _completed(options)
    except (TypeError, KeyError, AttributeError):  # of another shape, which `config.build` will refuse in words
        return options


def for_size(options: Options, size: int) -> Options:
    """The options with what images of a size ask for, where they are as the robust preset has them."""
    if options.get("train", {}).get("budget") == AUTO:
        seconds = BUDGET * max(1.0, (size / SMALL) ** 2)
        options = {**options, "train": {**options["train"], "budget": seconds}}
    if size <= SMALL or not any(_is_robust(update) for stage in options["stages"] for update in stage["updates"]):
        return options
    networks = options["networks"]
    if networks.get("spectral_norm") is None:
        networks = {**networks, "spectral_norm": True}
    stages = [
        {
            **stage,
            "updates": [
                {**update, "learning_rate": RATE_OF_LARGE} if _is_robust(update) else update
                for update in stage["updates"]
            ],
        }
        for stage in options["stages"]
    ]
    return {**options, "networks": networks, "stages": stages}


def _is_robust(update: Options) -> bool:
    """Whether this update of the game has the optimiser of `ROBUST`, with the rate of `RATES`."""
    alike = update.get("beta2") == ADAM["beta2"]  # by the rate alone, other recipes would be taken for it
    return alike and update.get("learning_rate") == RATES.get(update["networks"][0])


def _without_length(options: Options) -> Options:
    """A length that is given takes the place of one that was given before, whatever its unit."""
    train = options.get("train")
    if not isinstance(train, Mapping):  # which `config.build` will refuse in words
        return options
    return {**options, "train": {key: value for key, value in train.items() if key not in LENGTHS}}


def _completed(options: Options) -> Options:
    """The options with what follows from them: invariances of the data, and no parts that nothing is left for."""
    if "augment" not in options:
        source = options.get("data", {}).get("source", "")
        options = {**options, "augment": INVARIANCES.get(source, ANY_IMAGES)}
    kind = options.get("objective", {}).get("kind", "infogan")
    categories = [code for code in options["codes"] if code["kind"] == "categorical"]
    if kind != "infogan":
        return {**_without(options, {"recognizer", "encoder", "pair_classifier"}, {"adversarial", "r1"}), "codes": []}
    if not options["networks"].get("encoder"):
        return options
    if not categories:
        return _without(
            options, {"encoder"}, {"adversarial", "r1", "information", "infogan_cr", "variation_predictability"}
        )
    if options.get("data", {}).get("labels"):
        options = {**options, "stages": [_supervised(stage) for stage in options["stages"]]}
    # The encoder's code has a learned prior if it is not given another.
    learned = [{"prior": "learned", **code} if code is categories[0] else code for code in options["codes"]]
    return {**options, "codes": learned}


def _supervised(stage: Options) -> Options:
    """The stage, with the few labels heeded if classes begin in it or are refined."""
    if not {"cluster", "freeze_if_diffuse"} & set(stage.get("on_start", ())):
        return stage
    first, *others = stage["updates"]
    return {**stage, "updates": [{**first, "losses": {"supervised": SUPERVISION, **first["losses"]}}, *others]}


def _without(options: Options, players: Set[str], terms: Set[str]) -> Options:
    """The options without these players and with these terms alone; updates and stages that lose all go too."""
    stages: list[Options] = []
    for stage in options["stages"]:
        updates = []
        for update in stage["updates"]:
            left = [player for player in update["networks"] if player not in players]
            kept = {name: weight for name, weight in update["losses"].items() if name in terms}
            if left and kept:
                updates.append({**update, "networks": left, "losses": kept})
        if updates:
            stages.append({**stage, "on_start": [], "updates": updates})
    networks = {**options["networks"], "encoder": False, "conditional": False}
    if "pair_classifier" in players:
        networks["pair_classifier"] = False
    return {**options, "networks": networks, "stages": stages}


def invariances(text: str) -> dict[str, float]:
    """What ``shift,rotate=20`` declares not to matter: strengths by name; one without a number is of usual strength.

    Args:
        text: Names, or name=strength, with commas between; ``none`` declares nothing.

    Raises:
        UserError: an unknown name, or a strength that is no number.
    """
    if text.strip() == "none":
        return {}
    strengths = {}
    for part in text.split(","):
        name, given, number = (word.strip() for word in part.partition("="))
        if name not in STRENGTHS:
            raise unknown_name("augment", name, STRENGTHS)
        try:
            strengths[name] = float(number) if given else STRENGTHS[name]
        except ValueError:
            raise UserError(f"the strength of invariance {name!r} is a number, not {number!r}") from None
    return strengths


def codes_of(
    categorical: Sequence[int | str] | None, continuous: int | None, layers: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The codes that are asked for, and of the kind that is not spoken of those of the last layer that has any.

    Args:
        categorical: How many values each category has, or ``auto``; None = not spoken of.
        continuous: How many continuous codes; None = not spoken of.
        layers: Trees of options, the last of which counts.
    """
    last: Any = next((layer["codes"] for layer in reversed(layers) if "codes" in layer), [])
    known = [code for code in last if isinstance(code, dict)] if isinstance(last, list) else []
    categories = [code for code in known if code.get("kind") == "categorical"]
    if categorical is not None:
        categories = [{"kind": "categorical", "size": size} for size in categorical]
    knobs = [code for code in known if code.get("kind") == "continuous"]
    if continuous is not None:  # as many as asked for, each like the first
        alike = {key: value for key, value in (knobs[0] if knobs else KNOB).items() if key != "name"}
        knobs = [alike] * continuous
    return categories + knobs


def counts_categories(options: Options) -> bool:
    """Whether a code is to have as many categories as the images are found to have."""
    codes = options.get("codes")
    return isinstance(codes, list) and any(isinstance(code, dict) and code.get("size") == AUTO for code in codes)


def with_categories(options: Options, count: int) -> Options:
    """The options with so many categories where they are to be counted.

    Raises:
        UserError: a category that is not the first is to be counted.
    """
    codes = [
        {**code, "size": count} if isinstance(code, dict) and code.get("size") == AUTO else code
        for code in options["codes"]
    ]
    counted = [code["size"] == AUTO for code in options["codes"] if isinstance(code, dict) and "size" in code]
    if any(counted[1:]):
        raise UserError("only the first category can be counted: say how many values the others have")
    return {**options, "codes": codes}


def with_label_code(options: Options, labels: int) -> Options:
    """A cgan's options with its one code, the label, of that many values."""
    return {**options, "codes": [{"kind": "categorical", "name": "label", "size": labels}]}
