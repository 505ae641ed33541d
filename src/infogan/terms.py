"""What each named term of an update computes, from one step's images.

A `Play` holds the material of a step: reals, latents, and the fakes made of them. For each update a `Pass` gives its
terms what the networks say of those images. Everything is computed when a term first asks for it and then shared, so
that the terms of an update alone decide how much work a step is: fakes are made once for both players, and where both
reals and fakes are judged, one pass of the discriminator sees both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from infogan import objectives
from infogan.codes import CodeLayout, Codes
from infogan.config import Config, Player
from infogan.networks import Features, Images, Networks


class Play:
    """The material of one step.

    Args:
        networks: The players.
        layout: Of the latents and the posterior.
        config: The run's configuration.
        reals: In [-1, 1].
        noise: z of as many fakes.
        codes: c of those fakes; for a cgan the labels of the reals.
        generator_learns: Whether any update of the stage trains the generator; if none does, no graph is kept.
    """

    def __init__(
        self,
        networks: Networks,
        layout: CodeLayout,
        config: Config,
        *,
        reals: Images,
        noise: Float[Tensor, "batch noise"],
        codes: Codes,
        generator_learns: bool,
    ) -> None:
        self.networks = networks
        self.layout = layout
        self.config = config
        self.reals = reals
        self.codes = codes
        self.latents = layout.latents(noise, codes)
        self.generator_learns = generator_learns
        self._fakes: Images | None = None

    def condition(self) -> Float[Tensor, "batch condition"] | None:
        """What a cgan's discriminator is told of reals and fakes: the label, one-hot. None for the others."""
        if self.config.objective.kind != "cgan":
            return None
        (code,) = self.layout.categorical
        return functional.one_hot(self.codes[code.name], code.size).to(self.reals.dtype)

    def fakes(self, players: tuple[Player, ...]) -> Images:
        """G(z, c), made once for all updates until the generator moves; detached where it does not learn."""
        if self._fakes is None:
            # The graph must lead to the generator's weights even if the first to ask is the discriminator.
            makers: tuple[Player, ...] = ("generator",) if self.generator_learns else ()
            self.networks.set_learners(makers)
            self._fakes = self.networks.generator(self.latents)
            self.networks.set_learners(players)
        return self._fakes if "generator" in players else self._fakes.detach()

    def begin(self, players: tuple[Player, ...], terms: dict[str, float]) -> "Pass":
        """Starts an update: these players learn, the others are frozen."""
        self.networks.set_learners(players)
        return Pass(self, players, needs_real_gradient="r1" in terms)

    def end(self, players: tuple[Player, ...]) -> None:
        """Ends an update: what a player that moved had made is outdated."""
        if "generator" in players:
            self._fakes = None


class Pass:
    """What the networks say of a step's images during one update, each computed once, when first asked for."""

    def __init__(self, play: Play, players: tuple[Player, ...], *, needs_real_gradient: bool) -> None:
        self.play = play
        self.players = players
        self.networks = play.networks
        self.config = play.config
        self.reals = play.reals.detach().requires_grad_() if needs_real_gradient else play.reals

    @cached_property
    def fakes(self) -> Images:
        """G(z, c), with a graph if the generator learns."""
        return self.play.fakes(self.players)

    @cached_property
    def _mixed_features(self) -> tuple[Features, Features] | None:
        """The trunk's features of reals and fakes from one pass over both, if both are wanted and may be mixed."""
        discriminator = self.networks.discriminator
        if "discriminator" not in self.players or not discriminator.takes_mixed_batches:
            return None
        real, fake = discriminator.trunk(torch.cat([self.reals, self.fakes])).chunk(2)
        return real, fake

    @cached_property
    def real_features(self) -> Features:
        """The discriminator's trunk on the reals."""
        mixed = self._mixed_features
        features: Tensor = mixed[0] if mixed else self.networks.discriminator.trunk(self.reals)
        return features

    @cached_property
    def fake_features(self) -> Features:
        """The discriminator's trunk on the fakes."""
        mixed = self._mixed_features
        features: Tensor = mixed[1] if mixed else self.networks.discriminator.trunk(self.fakes)
        return features

    @cached_property
    def real_logits(self) -> Float[Tensor, " batch"]:
        """The discriminator's judgement of the reals."""
        return self.networks.discriminator.score(self.real_features, self.play.condition())

    @cached_property
    def fake_logits(self) -> Float[Tensor, " batch"]:
        """The discriminator's judgement of the fakes."""
        return self.networks.discriminator.score(self.fake_features, self.play.condition())

    @cached_property
    def log_likelihoods(self) -> dict[str, Float[Tensor, " batch"]]:
        """Log Q(c|G(z, c)) of each code, with gradients to the parts that ``objective.information_to`` names."""
        informed = self.config.information_to
        recognizer = self.networks.recognizer
        assert recognizer is not None
        if recognizer.trunk is None:
            # Of generator and trunk only one ever learns in an update, so cutting at the features cuts it alone.
            learns = "generator" if "generator" in self.players else "trunk"
            features = self.fake_features if learns in informed else self.fake_features.detach()
        else:
            features = recognizer.trunk(self.fakes if "generator" in informed else self.fakes.detach())
        return self.play.layout.log_likelihoods(self.networks.posterior_of(features), self.play.codes)


def adversarial(seen: Pass) -> Float[Tensor, " batch"]:
    """The discriminator's or the generator's side of the game, by who learns in this update."""
    loss = objectives.ADVERSARIAL[seen.config.objective.adversarial]
    if "discriminator" in seen.players:
        return loss.discriminator(seen.real_logits, seen.fake_logits)
    logits = (seen.real_logits, seen.fake_logits) if loss.generator_sees_reals else (seen.fake_logits,)
    return loss.generator(*logits)


def information(seen: Pass) -> Float[Tensor, " batch"]:
    """-Σ_i λ_i log Q(c_i|G(z, c)): up to the constant H(c), minus the bound L_I (Chen et al. 2016, equation 5)."""
    likelihoods = seen.log_likelihoods
    return -torch.stack([code.weight * likelihoods[code.name] for code in seen.config.codes]).sum(dim=0)


def r1(seen: Pass) -> Float[Tensor, " batch"]:
    """The discriminator's squared gradient at the reals."""
    return objectives.r1(seen.reals, seen.real_logits)


@dataclass(frozen=True)
class Term:
    """A term of an update.

    Attributes:
        compute: One value per sample, to be minimised.
        over: What one value depends on. ``"sample"``: its own sample alone, so that a mean over any part of the batch,
            such as one worker's, is an unbiased share of the whole. ``"batch"``: the whole batch, which several
            workers must therefore gather, with gradients, before they compute it.
    """

    compute: Callable[[Pass], Float[Tensor, " batch"]]
    over: Literal["sample", "batch"]


TERMS = {
    "adversarial": Term(adversarial, over="sample"),
    "information": Term(information, over="sample"),
    "r1": Term(r1, over="sample"),
}
