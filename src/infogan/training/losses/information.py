"""The losses on codes: the bound on the mutual information, and pairs of images that share or vary one code."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from infogan.training.losses.context import ForwardCache, Pairing
from infogan.training.losses.registry import register


@register("information", "codes")
def information_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Return -Σ_i λ_i log Q(c_i|G(z, c)): up to the constant H(c), minus the bound L_I (Chen et al. 2016, equation 5).

    The bound of each code, log Q(c_i|G(z, c)) + H(c_i), goes into the statistics as ``information/CODE``.
    """
    for name, log_likelihood in forward.log_likelihoods.items():
        entropy = forward.context.layout.entropy(name)
        forward.statistics[f"information/{name}"] = log_likelihood.detach() + entropy
    weights = {code.name: code.weight for code in forward.config.codes}
    weighted = [weights[name] * log_likelihood for name, log_likelihood in forward.log_likelihoods.items()]
    return -torch.stack(weighted).sum(dim=0) if weighted else forward.reals.new_zeros(len(forward.reals))


@register("infogan_cr", "codes", "pair_classifier")
def infogan_cr_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Return -log H(i|x, x') of two fakes that share code i alone: Lin et al. 2020 (InfoGAN-CR), section 3.

    Generator and pair classifier minimise it together: what one code changes must be distinguishable from what the
    others change.
    """
    return _pair_cross_entropy(forward, "sharing")


@register("variation_predictability", "codes", "pair_classifier")
def variation_predictability_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Return -log H(i|x, x') of two fakes that differ in code i alone: Zhu et al. 2020, section 3.

    It has the same aim as `infogan_cr_loss` and is learned in a fraction of the steps, because every difference
    between the two fakes is due to that code.
    """
    return _pair_cross_entropy(forward, "varying")


def _pair_cross_entropy(forward: ForwardCache, pairing: Pairing) -> Float[Tensor, " batch"]:
    assert forward.networks.pair_classifier is not None
    partners = forward.context.partners(pairing, forward.trained)
    logits = forward.networks.pair_classifier(forward.fakes, partners)
    return functional.cross_entropy(logits, forward.context.paired_code, reduction="none")
