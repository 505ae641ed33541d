"""The losses by name. A loss is a function with a `register` line in one of these modules."""

from infogan.training.losses import (  # each registers its losses
    adversarial,  # noqa: F401
    equivariance,  # noqa: F401
    information,  # noqa: F401
    representation,  # noqa: F401
)
from infogan.training.losses.context import ForwardCache, StepContext
from infogan.training.losses.registry import LOSSES, Loss, check_losses, needs_of, register

__all__ = ["LOSSES", "ForwardCache", "Loss", "StepContext", "check_losses", "needs_of", "register"]
