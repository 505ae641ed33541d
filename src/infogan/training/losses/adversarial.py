"""The adversarial losses: what the discriminator and the generator minimise against each other.

Everything takes logits l, never probabilities, so that nothing saturates: with σ the logistic function,
-log σ(l) = softplus(-l) and -log(1 - σ(l)) = softplus(l), exactly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from infogan.training.losses.context import ForwardCache
from infogan.training.losses.registry import register
from infogan.utils import distributed

Logits = Float[Tensor, " batch"]

MIN_DIVERSITY = 0.9  # scatter of the fakes in a category, relative to that of the reals, from which on it suffices
TINY = 1e-4


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


def discriminator_loss(forward: ForwardCache) -> Logits:
    """Return the discriminator's side of the game that ``objective.adversarial`` names."""
    return ADVERSARIAL[forward.config.objective.adversarial].discriminator(forward.real_logits, forward.fake_logits)


def generator_loss(forward: ForwardCache) -> Logits:
    """Return the generator's side of the game that ``objective.adversarial`` names."""
    loss = ADVERSARIAL[forward.config.objective.adversarial]
    if loss.generator_sees_reals:
        return loss.generator(forward.real_logits, forward.fake_logits)
    return loss.generator(forward.fake_logits)


def category_scatter(
    images: Float[Tensor, "batch channel height width"], condition: Float[Tensor, "batch condition"]
) -> Float[Tensor, ""]:
    """Return the mean squared distance between two images of one category.

    Args:
        images: The images.
        condition: The category of each, one-hot.

    Returns:
        The mean over all pairs; 0 if no two images have the same category.
    """
    pixels = images.flatten(1)
    together = (condition @ condition.T).fill_diagonal_(0)
    squares = pixels.square().sum(dim=1)
    distances = (squares + squares.unsqueeze(1) - 2 * pixels @ pixels.T).clamp_min(0)
    return (together * distances).sum() / together.sum().clamp_min(1)


@register("adversarial")
def adversarial_loss(forward: ForwardCache) -> Logits:
    """Return the side of the network that the update trains; no update trains both."""
    return discriminator_loss(forward) if "discriminator" in forward.trained else generator_loss(forward)


@register("diversity")
def diversity_loss(forward: ForwardCache) -> Logits:
    """Return max(0, log(target / d)), with d the scatter of the fakes in a category relative to that of the reals.

    A generator that ignores its noise draws one picture per category. The discriminator does not tell it so: it sees
    one image at a time. Mao et al. 2019 (MSGAN), equation 4, push images of different noise apart without end. Here
    the reals say how far, and from there on the loss is zero.
    """
    context = forward.context
    reals, fakes = (distributed.all_gather(images, context.batch_size) for images in (context.reals, forward.fakes))
    conditions = [context.real_condition, context.fake_condition]
    of_reals, of_fakes = (
        fakes.new_ones(len(fakes), 1) if condition is None else distributed.all_gather(condition, context.batch_size)
        for condition in conditions
    )
    diversity = category_scatter(fakes, of_fakes) / category_scatter(reals, of_reals).clamp_min(TINY)
    forward.statistics["diversity"] = diversity.detach().expand(len(forward.fakes))
    return functional.relu(math.log(MIN_DIVERSITY) - (diversity + TINY).log()).expand(len(forward.fakes))


@register("r1", "second_derivatives")
def r1_loss(forward: ForwardCache) -> Logits:
    """Return the discriminator's gradient penalty at the reals."""
    return r1(forward.reals, forward.real_logits)
