"""The registry of losses: what each one computes, from which paper, and what it needs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float
from torch import Tensor

from infogan.config.schema import Config
from infogan.utils.errors import UserError, unknown_name

if TYPE_CHECKING:
    from infogan.training.losses.context import ForwardCache

# codes: an infogan, whose images have codes. encoder, reader, pair_classifier: that network. real_posterior: the
# encoder's posterior of the real images as they are. views: augmented views of the real images. few_labels: labels of
# some real images. targets: categories of the real images from pretrained features. second_derivatives: gradients of
# the real images that can be differentiated again.
Need = Literal[
    "codes",
    "encoder",
    "reader",
    "real_posterior",
    "views",
    "few_labels",
    "targets",
    "pair_classifier",
    "second_derivatives",
]
Compute = Callable[["ForwardCache"], Float[Tensor, " batch"]]


@dataclass(frozen=True)
class Loss:
    """A named loss of an update.

    Attributes:
        compute: Return one value per sample, to be minimised.
        needs: What a configuration and a step must provide.
    """

    compute: Compute
    needs: frozenset[Need] = frozenset()


LOSSES: dict[str, Loss] = {}


def register(name: str, *needs: Need) -> Callable[[Compute], Compute]:
    """Register a function as the loss ``name``; see `Loss`.

    Example:
        >>> @register("logit_norm", "encoder", "real_posterior")
        ... def logit_norm_loss(forward):
        ...     return forward.posterior_logits.square().mean(dim=1)
    """

    def add(compute: Compute) -> Compute:
        LOSSES[name] = Loss(compute, frozenset(needs))
        return compute

    return add


def needs_of(names: Iterable[str]) -> frozenset[Need]:
    """Return everything that the losses of these names need together."""
    return frozenset[Need]().union(*(LOSSES[name].needs for name in names))


def check_losses(config: Config) -> None:
    """Check that every loss of a configuration exists and has what it needs.

    Raises:
        UserError: A loss is unknown (the message names the nearest one), or something that it needs is missing.
    """
    for stage in config.stages:
        names = {name for update in stage.updates for name in update.losses}
        for name in sorted(names):
            if name not in LOSSES:
                raise unknown_name("loss", name, LOSSES)
            if missing := _missing(config, LOSSES[name].needs):
                raise UserError(f"the loss {name!r} of stage {stage.name!r} needs {missing}")
        if {"infogan_cr", "variation_predictability"} <= names:
            raise UserError(
                f"stage {stage.name!r} has the losses 'infogan_cr' and 'variation_predictability'; choose one: "
                "the pair classifier learns either"
            )


def _missing(config: Config, needs: frozenset[Need]) -> str | None:
    """Return what a configuration lacks, and how to provide it."""
    if "codes" in needs and config.objective.kind != "infogan":
        return f"codes, which a {config.objective.kind} has not: use --objective infogan"
    if "encoder" in needs and not config.networks.encoder:
        return "an encoder: set networks.encoder=true"
    if "reader" in needs and not config.declared:
        return "a code that follows a property of the images: name one with --knob"
    if "pair_classifier" in needs and not config.networks.pair_classifier:
        return "a pair classifier: set networks.pair_classifier=true"
    if "few_labels" in needs and not config.data.labels:
        return "a few labels: name their CSV file with --labels"
    if "targets" in needs and not config.features.source:
        return "pretrained features: name them with --features"
    if "views" in needs and not (config.augment.strengths or config.augment.usual):
        return "augmented views: pass --augment, e.g. --augment shift,rotate"
    if "second_derivatives" in needs and config.train.compile:
        return "second derivatives, which compiled networks do not have: leave out --compile"
    return None
