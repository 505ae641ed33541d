"""The loss by which the reader learns to measure properties of images."""

import torch
from jaxtyping import Float
from torch import Tensor

from infogan.data.properties import transform
from infogan.training.losses.context import ForwardCache
from infogan.training.losses.registry import register

ORIGIN_WEIGHT = 0.05  # of the pull that places the origin of each image's measures at the image itself


@register("equivariance", "reader")
def equivariance_loss(forward: ForwardCache) -> Float[Tensor, " batch"]:
    """Hold the difference between a changed image and the image itself to the change (cf. Dangovski et al. 2022).

    T_t x is image x with its properties changed by t, and r what the reader measures:

        Σ_k [r_k(T_t x) - r_k(x) - t_k]² + ORIGIN_WEIGHT Σ_k [(r_k(T_t x) - t_k)² + r_k(x)²]

    The first sum makes each measure follow its own change and ignore the others. It leaves the origin of each kind of
    image open; the second sets it to the kind's mean, as congealing does (Learned-Miller 2006).
    """
    reader = forward.reader
    images = reader.resize(forward.reals)
    change = reader.random_change(len(images), forward.context.random)
    changed = transform(images, reader.amounts(change))
    after, before = reader.measure(torch.cat([changed, images])).chunk(2)
    excess = after - change[:, : len(reader.properties)]
    return ((excess - before).square() + ORIGIN_WEIGHT * (excess.square() + before.square())).sum(dim=1)
