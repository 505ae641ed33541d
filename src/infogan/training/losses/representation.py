"""The losses by which an encoder learns from real images: contrast of views, smoothness, self-training, balance.

The functions of tensors come first, each with its paper and equation; the losses that apply them to a step follow.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from infogan.training.losses.context import ForwardCache
from infogan.training.losses.registry import register
from infogan.utils import distributed

Categories = Float[Tensor, "batch category"]

NT_XENT_TEMPERATURE = 0.35
UDA_EXPONENT = 2.0  # by which targets are sharpened before an augmented view is held to them
FIXMATCH_THRESHOLD = 0.8  # probability of a category from which on an image teaches it
MARGINAL_DECAY = 0.9  # share of the running marginal that each step keeps


def nt_xent(
    first: Float[Tensor, "batch feature"],
    second: Float[Tensor, "batch feature"],
    temperature: float,
    anchors: slice = slice(None),
) -> Float[Tensor, " anchor"]:
    """Return NT-Xent, Chen et al. 2020 (SimCLR), equation 1: which other view in the batch shows the same image?

    Args:
        first: Unit features of one view of each image.
        second: Those of another view of the same images, in the same order.
        temperature: τ, by which the cosines are divided.
        anchors: The images to return values for; their candidates are all images.

    Returns:
        For each anchor the mean over its two views, each of which has 2 batch - 1 candidates.
    """
    count = len(first)
    features = torch.cat([first, second])
    candidates = torch.arange(2 * count, device=features.device)
    queries = candidates.view(2, count)[:, anchors].flatten()
    cosines = features[queries] @ features.T / temperature
    itself = queries.unsqueeze(1) == candidates  # a view is no candidate for itself
    partner = (queries + count) % (2 * count)
    losses = functional.cross_entropy(cosines.masked_fill(itself, -torch.inf), partner, reduction="none")
    of_first, of_second = losses.chunk(2)
    return (of_first + of_second) / 2


def kl_divergence(target: Categories, logits: Categories) -> Float[Tensor, " batch"]:
    """Return KL(target ‖ softmax(logits)) in nats."""
    summands: Tensor = torch.special.xlogy(target, target) - target * logits.log_softmax(dim=1)
    return summands.sum(dim=1)


def soft_cross_entropy(target: Categories, logits: Categories) -> Float[Tensor, " batch"]:
    """Return -Σ target log softmax(logits) in nats, for targets that are distributions."""
    return -(target * logits.log_softmax(dim=1)).sum(dim=1)


def entropy(logits: Categories) -> Float[Tensor, " batch"]:
    """Return H(softmax(logits)) in nats; 0 for a posterior that is certain."""
    return soft_cross_entropy(logits.softmax(dim=1), logits)


def marginal_kl(
    logits: Categories, marginal: Float[Tensor, " category"], prior: Float[Tensor, " category"]
) -> Float[Tensor, " batch"]:
    """Return Σ_k q_k(x) log(m_k / π_k), with m the running mean of q over many batches and π the prior.

    Its mean has the gradient of KL(m ‖ π), which for a uniform π is the negative entropy that RIM and IMSAT reward the
    marginal for (Krause et al. 2010, equation 5; Hu et al. 2017, equation 6). It is taken at the running mean because
    the marginal of a single batch is never balanced.
    """
    ratios = marginal.clamp_min(1e-6).log() - prior.clamp_min(1e-6).log()
    return (logits.softmax(dim=1) * ratios).sum(dim=1)


def adversarial_direction(
    logits_of: Callable[[Tensor], Categories],
    images: Float[Tensor, "batch channel height width"],
    target: Categories,
    start: Float[Tensor, "batch channel height width"],
    step: float = 0.1,
) -> Float[Tensor, "batch channel height width"]:
    """Return the direction in which a posterior changes most, by one power iteration: Miyato et al. 2018, equation 8.

    Args:
        logits_of: The classifier, images to logits.
        images: Where to look.
        target: The posterior there.
        start: A random direction per image.
        step: ξ, the length of the probe, as Euclidean distance in [-1, 1] pixels.

    Returns:
        Unit vectors, without a graph.
    """
    probe = unit(start).requires_grad_()
    with torch.enable_grad():
        change = kl_divergence(target, logits_of(images + step * probe)).sum()
        (gradient,) = torch.autograd.grad(change, probe)
    return unit(gradient)


def unit(directions: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
    """Scale each image's direction to Euclidean length 1; zero stays zero."""
    lengths: Tensor = torch.linalg.vector_norm(directions, dim=(1, 2, 3), keepdim=True)
    return directions / lengths.clamp_min(1e-12)


@register("nt_xent", "encoder", "views")
def nt_xent_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Return `nt_xent` of two views of each real image, among the views of the whole batch."""
    batch_size = forward.context.batch_size
    first, second = (distributed.all_gather(features, batch_size) for features in forward.view_pairs)
    return nt_xent(first, second, NT_XENT_TEMPERATURE, distributed.shard_slice(batch_size))


@register("vat", "encoder", "real_posterior")
def vat_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Return KL between the posteriors of an image and of its worst neighbour: Miyato et al. 2018 (VAT), equation 5.

    The neighbour lies ``vat_radius`` away in the direction in which the posterior changes most.
    """
    images, target = forward.resized_reals.detach(), forward.target
    start = forward.context.random.normal(*images.shape)
    with forward.encoder.without_running_stats():  # the neighbours are not data
        direction = adversarial_direction(forward.encoder, images, target, start)
        neighbours = images + forward.context.encoder_state.vat_radius * direction
        return kl_divergence(target, forward.encoder(neighbours))


@register("uda", "encoder", "views", "real_posterior")
def uda_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Hold an augmented view to the sharpened posterior of its image: Xie et al. 2020 (UDA), equation 1."""
    sharpened = forward.target**UDA_EXPONENT
    sharpened = sharpened / sharpened.sum(dim=1, keepdim=True)
    return soft_cross_entropy(sharpened, forward.encoder.logits(forward.view_features))


@register("fixmatch", "encoder", "views", "real_posterior")
def fixmatch_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Hold an augmented view to the category of its image: Sohn et al. 2020 (FixMatch), equation 4.

    It is 0 for an image whose category has a probability below ``FIXMATCH_THRESHOLD``.
    """
    probability, category = forward.target.max(dim=1)
    losses = functional.cross_entropy(forward.encoder.logits(forward.view_features), category, reduction="none")
    return losses * (probability >= FIXMATCH_THRESHOLD)


@register("conditional_entropy", "encoder", "real_posterior")
def conditional_entropy_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Return H(c|x): every real image should have one category (Krause et al. 2010, equation 3)."""
    return entropy(forward.posterior_logits)


@register("marginal_kl", "encoder", "real_posterior")
def marginal_kl_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Return `marginal_kl`: all categories should be used as often as the prior has it.

    It depends on the whole batch through the running marginal, which all workers share.
    """
    marginal = forward.context.encoder_state.marginal
    if "encoder" in forward.trained:
        marginal.lerp_(distributed.batch_mean(forward.target, forward.context.batch_size), 1 - MARGINAL_DECAY)
    return marginal_kl(forward.posterior_logits, marginal, forward.encoder.prior)


@register("supervised", "encoder", "few_labels")
def supervised_loss(forward: ForwardCache) -> Float[Tensor, " labelled"]:
    """Return -log Q(label|x) of augmented images that a person has labelled: Spurr et al. 2017 (ss-InfoGAN)."""
    assert forward.context.labelled is not None
    images, labels = forward.context.labelled
    with forward.encoder.without_running_stats():  # a few images over and over are not the data
        logits = forward.encoder(forward.augment(forward.encoder.resize(images)))
    return functional.cross_entropy(logits, labels, reduction="none")


@register("distillation", "encoder", "targets")
def distillation_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Hold an augmented view to the category that pretrained features give its image: Hinton et al. 2015, section 2."""
    assert forward.context.targets is not None
    return soft_cross_entropy(forward.context.targets, forward.encoder.logits(forward.view_features))
