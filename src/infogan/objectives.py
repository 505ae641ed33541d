"""The objectives as pure functions: tensors in, one value per sample out.

Nothing here reduces, weights, logs or draws random numbers; `terms.py` says which player minimises what and over which
batch it is averaged. Everything takes logits, never probabilities, so that nothing saturates: with σ the logistic
function, -log σ(l) = softplus(-l) and -log(1 - σ(l)) = softplus(l), exactly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Logits = Float[Tensor, " batch"]


def non_saturating_discriminator(real: Logits, fake: Logits) -> Logits:
    """-log D(x) - log(1 - D(G)), Goodfellow et al. 2014, equation 1, with D = σ(logits)."""
    return functional.softplus(-real) + functional.softplus(fake)


def non_saturating_generator(fake: Logits) -> Logits:
    """-log D(G), Goodfellow et al. 2014, section 3: strong gradients also while the discriminator wins."""
    return functional.softplus(-fake)


def hinge_discriminator(real: Logits, fake: Logits) -> Logits:
    """max(0, 1 - l(x)) + max(0, 1 + l(G)), Lim & Ye 2017; Miyato et al. 2018, equation 16."""
    return functional.relu(1 - real) + functional.relu(1 + fake)


def hinge_generator(fake: Logits) -> Logits:
    """-l(G), Miyato et al. 2018, equation 17."""
    return -fake


def relativistic_discriminator(real: Logits, fake: Logits) -> Logits:
    """-log σ(l(x) - l(G)) over pairs, Jolicoeur-Martineau 2018, equation 5."""
    return functional.softplus(fake - real)


def relativistic_generator(real: Logits, fake: Logits) -> Logits:
    """-log σ(l(G) - l(x)) over pairs, Jolicoeur-Martineau 2018, equation 6."""
    return functional.softplus(real - fake)


@dataclass(frozen=True)
class AdversarialLoss:
    """The two sides of one adversarial game.

    Attributes:
        discriminator: (logits of reals, logits of fakes) -> one value per sample to minimise.
        generator: (logits of fakes) -> the same, or (logits of reals, logits of fakes) if ``generator_sees_reals``.
        generator_sees_reals: Whether the generator's update needs the discriminator's pass over the reals.
    """

    discriminator: Callable[[Logits, Logits], Logits]
    generator: Callable[..., Logits]
    generator_sees_reals: bool = False


ADVERSARIAL = {
    "non-saturating": AdversarialLoss(non_saturating_discriminator, non_saturating_generator),
    "hinge": AdversarialLoss(hinge_discriminator, hinge_generator),
    "relativistic": AdversarialLoss(relativistic_discriminator, relativistic_generator, generator_sees_reals=True),
}


def r1(images: Float[Tensor, "batch channel height width"], logits: Logits) -> Logits:
    """‖∇l(x)‖² / 2 at real images, Mescheder et al. 2018, equation 9 with γ = 1 (the weight is γ).

    Args:
        images: Reals that require a gradient.
        logits: The discriminator's logits of exactly those images.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)) / 2


def categorical_log_likelihood(
    logits: Float[Tensor, "batch category"], values: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Log Q(c|x) of a categorical code: the log-softmax of the recognizer's logits at the value that was put in."""
    return -functional.cross_entropy(logits, values, reduction="none")


def gaussian_log_likelihood(
    mean: Float[Tensor, " batch"], deviation: Float[Tensor, " batch"], values: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Log N(c; mean, deviation²), the recognizer's density of a continuous code (Chen et al. 2016, section 6)."""
    return -0.5 * ((values - mean) / deviation).square() - deviation.log() - 0.5 * math.log(2 * math.pi)
