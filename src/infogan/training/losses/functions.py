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


# What an encoder learns from real images alone.


def contrast(
    first: Float[Tensor, "batch feature"],
    second: Float[Tensor, "batch feature"],
    temperature: float,
    own: slice | None = None,
) -> Float[Tensor, " own"]:
    """NT-Xent, Chen et al. 2020 (SimCLR), equation 1: of all other views in the batch, which one is of my image?

    Args:
        first: Unit features of one view of each image.
        second: Those of another view of the same images, in the same order.
        temperature: τ, by which the cosines are divided.
        own: The images that are asked about, among all of which they look; None = all.

    Returns:
        For each image the mean over its two views, each looking for the other among 2 batch - 1.
    """
    features = torch.cat([first, second])
    looking = features if own is None else torch.cat([first[own], second[own]])
    count = len(first)
    cosines = looking @ features.T / temperature
    places = torch.arange(count, device=features.device)[own or slice(None)]
    places = torch.cat([places, places + count])
    # A view is no candidate for itself.
    itself = places.unsqueeze(1) == torch.arange(2 * count, device=features.device)
    partner = (places + count) % (2 * count)
    losses = functional.cross_entropy(cosines.masked_fill(itself, -torch.inf), partner, reduction="none")
    one, other = losses.chunk(2)
    return (one + other) / 2


def divergence(
    target: Float[Tensor, "batch category"], logits: Float[Tensor, "batch category"]
) -> Float[Tensor, " batch"]:
    """KL(target ‖ softmax(logits)) in nats."""
    terms: Tensor = torch.special.xlogy(target, target) - target * logits.log_softmax(dim=1)
    return terms.sum(dim=1)


def cross_entropy(
    target: Float[Tensor, "batch category"], logits: Float[Tensor, "batch category"]
) -> Float[Tensor, " batch"]:
    """-Σ target log softmax(logits) in nats, of distributions, not of values."""
    return -(target * logits.log_softmax(dim=1)).sum(dim=1)


def entropy(logits: Float[Tensor, "batch category"]) -> Float[Tensor, " batch"]:
    """H(softmax(logits)) in nats: 0 where the posterior is sure."""
    return cross_entropy(logits.softmax(dim=1), logits)


def balance(
    logits: Float[Tensor, "batch category"],
    marginal: Float[Tensor, " category"],
    prior: Float[Tensor, " category"],
) -> Float[Tensor, " batch"]:
    """Σ_k q_k(x) log(m_k / π_k), with m the running mean of q over many batches.

    Its mean has the gradient of KL(m ‖ π), which for a uniform π is the negative entropy that RIM and IMSAT reward the
    marginal for (Krause et al. 2010, equation 5; Hu et al. 2017, equation 6). It is taken at the running mean instead
    of at one batch's, which by chance is never balanced.
    """
    ratios = marginal.clamp_min(1e-6).log() - prior.clamp_min(1e-6).log()
    return (logits.softmax(dim=1) * ratios).sum(dim=1)


def adversarial_direction(
    logits_of: Callable[[Tensor], Float[Tensor, "batch category"]],
    images: Float[Tensor, "batch channel height width"],
    target: Float[Tensor, "batch category"],
    start: Float[Tensor, "batch channel height width"],
    step: float = 0.1,
) -> Float[Tensor, "batch channel height width"]:
    """The direction in which a posterior changes most, by one power iteration: Miyato et al. 2018 (VAT), equation 8.

    Args:
        logits_of: What is probed, of images.
        images: Where.
        target: The posterior there.
        start: A random direction an image.
        step: ξ, how far the probe goes, as Euclidean distance in [-1, 1] pixels.

    Returns:
        Unit vectors, without a graph.
    """
    probe = unit(start).requires_grad_()
    with torch.enable_grad():
        change = divergence(target, logits_of(images + step * probe)).sum()
        (gradient,) = torch.autograd.grad(change, probe)
    return unit(gradient)


def unit(directions: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
    """Each image's direction at Euclidean length 1; zero stays zero."""
    lengths: Tensor = torch.linalg.vector_norm(directions, dim=(1, 2, 3), keepdim=True)
    return directions / lengths.clamp_min(1e-12)
