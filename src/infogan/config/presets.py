"""Presets: complete configurations as data, each with what it trains and where it comes from.

A preset is a plain tree of options with the sections of `config.schema.Config`. `api.resolve` puts files, flags and
assignments on top of it.
"""

from typing import Any

Options = dict[str, Any]

# As the size of a code: as many categories as the images are found to have. As a budget: ``BUDGET`` seconds, and beyond
# ``SMALL`` pixels in proportion to the number of pixels.
AUTO = "auto"

ROBUST_ADAM = {"learning_rate": 1e-3, "beta1": 0.5, "beta2": 0.99, "decay": "linear"}

# Continuous codes have a low weight: at weight 1 the generator soon encodes them as specks that are easy to read,
# before the categories mean anything. If an encoder predicts the category, the category is safe and the weight can be
# higher.
KNOB: Options = {"kind": "continuous", "weight": 0.1}
HEAVIER_KNOB: Options = {**KNOB, "weight": 0.3}

# Chen et al.'s game as it is usually played today, on convolutions with space-to-depth, with spectral norm. The
# gradient of the information loss reaches generator, recognizer and shared trunk.
GAN_STAGE: Options = {
    "updates": [
        {
            "networks": ["discriminator", "recognizer"],
            "losses": {"adversarial": 1.0, "information": 1.0},
            **ROBUST_ADAM,
        },
        {"networks": ["generator"], "losses": {"adversarial": 1.0, "information": 1.0}, **ROBUST_ADAM},
    ]
}
PLAIN: Options = {
    "noise": {"size": 32},
    "codes": [{"kind": "categorical", "size": 10}, KNOB, KNOB],
    "networks": {"architecture": "conv", "recognizer": "shared", "spectral_norm": True},
    "stages": [GAN_STAGE],
    "train": {"steps": 4000, "batch_size": 128},
}

# The default. An encoder predicts the category, and learns it from real images before there are fakes:
# - pretrain: features that ignore the augmentations (Chen et al. 2020);
# - cluster: clusters of them, and from there posteriors that are certain, smooth and the same for all views of an image
#   (Hu et al. 2017), with all categories used;
# - self_train: the encoder's own predictions as targets, on augmented views (Xie et al. 2020); categories need no
#   longer be used equally, and a step costs half of one before;
# - gan: the generator plays against the encoder, which is frozen, and against a discriminator that is conditioned on
#   the encoder's category (Liu et al. 2020). The recognizer, on the discriminator's trunk, predicts the knobs: the
#   encoder has learned to ignore them.
ENCODER_ADAM = {"learning_rate": 2e-3, "beta1": 0.9, "beta2": 0.99, "decay": "cosine"}
# Learning rates of the GAN stage for images of up to ``SMALL`` pixels, where high ones make it fast, and for larger
# images, whose wider networks become unstable at such rates and without spectral norm.
RATES = {"discriminator": 2e-3, "generator": 8e-3}
SMALL, RATE_OF_LARGE = 32, 3e-4
BUDGET = 240.0  # seconds, for images of up to ``SMALL`` pixels
LONGEST_BUDGET_FACTOR = 1.4  # by which the default budget grows on machines too slow for enough GAN steps
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
            # At half the rate: at the full one, self-training can move a whole group that is right but uncertain to a
            # wrong category within 200 steps.
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
            "updates": [{**update, "learning_rate": RATES[update["networks"][0]]} for update in GAN_STAGE["updates"]],
        },
    ],
    "train": {"budget": AUTO, "batch_size": 64, "precision": "auto"},
}

# Chen et al. 2016, section 7.2 and appendix C.1: 62 noise, ten categories, two uniform codes. In their code the
# gradient of the information loss reaches the shared trunk as well, in the discriminator's update, and λ is 1.
PAPER: Options = {
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
# for Q with λ = 0.05, two updates of the generator per update of the discriminator, and over the last tenth of the
# steps a pair classifier, with weight 2. The networks are this project's own, without spectral norm: with it this
# discriminator was still at chance after 3,000 steps. Learning rates fall at the end. Pairs differ in one code (Zhu et
# al. 2020) where theirs share one: that disentangles the codes on every seed that was tried, and theirs did not
# (docs/evaluation.md).
CR_KNOB: Options = {"kind": "continuous", "deviation": 1.0, "weight": 0.05}
CR_LOSSES: dict[str, float] = {"adversarial": 1.0, "information": 1.0}
CR_DISCRIMINATOR: Options = {
    "networks": ["discriminator", "recognizer"],
    "losses": CR_LOSSES,
    "learning_rate": 2e-3,
}
CR_GENERATOR: Options = {"networks": ["generator"], "losses": CR_LOSSES, "learning_rate": 1e-3}
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
                *[{**CR_GENERATOR, "losses": {**CR_LOSSES, "variation_predictability": 2.0}, "decay": "linear"}] * 2,
            ],
        },
    ],
    "train": {"steps": 322_560, "batch_size": 64, "precision": "auto"},
}

# The blog post: three small perceptrons, three updates with an Adam of their own each, no averaging, and every 1000
# steps a 4x4 figure of one random category.
POST_ADAM = {"learning_rate": 1e-3, "beta1": 0.9}
POST: Options = {
    "noise": {"size": 16, "distribution": "uniform"},
    "codes": [{"kind": "categorical", "size": 10}],
    "networks": {"architecture": "post", "recognizer": "separate"},
    "stages": [
        {
            "updates": [
                {"networks": ["discriminator"], "losses": {"adversarial": 1.0}, **POST_ADAM},
                {"networks": ["generator"], "losses": {"adversarial": 1.0}, **POST_ADAM},
                {"networks": ["generator", "recognizer"], "losses": {"information": 1.0}, **POST_ADAM},
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
    "paper": PAPER,
    "paper-mnist": PAPER,
    "post": POST,
    "disentangle": DISENTANGLE,
}
SUPERVISED_WEIGHT = 0.5  # of the loss on a few labels, if there are any
LENGTHS = {"steps", "images_seen", "budget"}  # options of `train` that give the length

# The usual strength of each augmentation, if only its name is given.
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
# The augmentations of data sets whose content is known. Other images are never mirrored or rotated without being asked.
AUGMENTATIONS: dict[str, dict[str, float]] = {
    "mnist": HANDWRITING,
    "digits": HANDWRITING,
    "fashion-mnist": {"crop": 0.6, "flip": 0.5, "colour": 0.6},
    "svhn": {"shift": 0.08, "rotate": 10.0, "scale": 0.15, "shear": 10.0, "colour": 0.5},
    "cifar10": {"crop": 0.6, "flip": 0.5, "colour": 0.4},
    # All factors of these sets are known and wanted: a view that is shifted, rotated or resized would teach the encoder
    # to ignore what a metric then asks for. Brightness, contrast and saturation are not among the factors (hue is one
    # of shapes, and stays), nor is the position of a letter in glyphs; the encoder needs views that differ in
    # something. The category can become any factor. Use more augmentations to get classes, or no encoder
    # (`--recipe plain`) to get factors.
    "dsprites": {"colour": 0.4},
    "shapes": {"colour": 0.4},
    "glyphs": {"shift": 0.08, "colour": 0.4},
}
DEFAULT_AUGMENTATION = {"crop": 0.3, "shift": 0.08, "colour": 0.3}
