"""Tests of losses, and what they share: a backward pass of one update, and the networks that it reaches."""

from collections.abc import Mapping

import torch

from infogan.config.schema import NetworkName
from infogan.models.networks import Networks
from infogan.training.losses import LOSSES, StepContext
from tests.helpers import begin_update


def backward(context: StepContext, trained: tuple[NetworkName, ...], losses: Mapping[str, float]) -> None:
    """Compute the gradients of one update; nothing is changed by them."""
    forward = begin_update(context, trained, losses)
    total = sum((weight * LOSSES[name].compute(forward).mean() for name, weight in losses.items()), torch.zeros(()))
    if total.requires_grad:
        torch.autograd.backward(total)
    context.end_update(forward.update)


def parts_with_gradient(networks: Networks) -> set[str]:
    """Return the networks that have a nonzero gradient; the discriminator's trunk counts as a part of its own."""
    parts = set()
    for name, parameter in networks.named_parameters():
        if parameter.grad is not None and bool(parameter.grad.abs().sum() > 0):
            network, part = name.split(".")[:2]
            parts.add("trunk" if (network, part) == ("discriminator", "trunk") else network)
    return parts
