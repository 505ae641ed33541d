"""What each named term of an update computes, from one step's images.

A `Play` holds the material of a step: reals, latents, and the fakes made of them. For each update a `Pass` gives its
terms what the networks say of those images. Everything is computed when a term first asks for it and then shared, so
that the terms of an update alone decide how much work a step is: fakes are made once for both players, and where both
reals and fakes are judged, one pass of the discriminator sees both.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from infogan.config.schema import Config, NetworkName
from infogan.data.augment import augment, shifted
from infogan.models.architectures import Features, Images
from infogan.models.latents import CodeLayout, Codes
from infogan.models.networks import Encoder, Networks
from infogan.training.losses import functions
from infogan.utils import distributed
from infogan.utils.random import BatchRandom

Weight = float | tuple[float, float]
Logits = Float[Tensor, "batch category"]
Condition = Float[Tensor, "batch condition"]

CONTRAST_TEMPERATURE = 0.35
CONSISTENCY_EXPONENT = 2.0  # targets are made so much surer before a transformed view is held to them
READING_TERMS = {"vat", "uda", "conditional_entropy", "marginal_kl"}  # which read reals as they are
MARGINAL_KEPT = 0.9  # of the running marginal, at each step


Pairing = Literal["sharing", "varying"]


class StepContext:
    """The material of one step.

    Args:
        networks: The players.
        layout: Of the latents and the posterior.
        config: The run's configuration.
        reals: In [-1, 1].
        noise: z of as many fakes.
        codes: c of those fakes; for a cgan the labels of the reals.
        randomness: Of transforms and probes, drawn from as terms ask for them.
        whole: How many samples the batch has, of which several workers have a share each; None = these are all.
        labelled: Some of the few images that a person has labelled, and the values that the encoder is to read in them.
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
        randomness: BatchRandom | torch.Generator,
        whole: int | None = None,
        generator_learns: bool,
        labelled: tuple[Images, Int64[Tensor, " labelled"]] | None = None,
    ) -> None:
        self.networks = networks
        self.layout = layout
        self.config = config
        self.reals = reals
        self.codes = codes
        self.noise = noise
        self.latents = layout.latents(noise, codes)
        self.randomness = BatchRandom.of(randomness)
        self.whole = len(reals) if whole is None else whole
        self.generator_learns = generator_learns
        self.labelled = labelled
        self._fakes: Images | None = None
        self._partners: dict[Pairing, Images] = {}
        self._partner_latents: dict[Pairing, Float[Tensor, "batch latent"]] = {}

    @cached_property
    def fake_condition(self) -> Condition | None:
        """What the discriminator is told of fakes, one-hot: the code they were made from. None = nothing."""
        if self.networks.discriminator.embedding is None:
            return None
        code = self.layout.categorical[0]
        return functional.one_hot(self.codes[code.name], code.size).to(self.reals.dtype)

    @cached_property
    def real_condition(self) -> Condition | None:
        """What the discriminator is told of reals: a cgan's their label, others' the value the encoder reads."""
        if self.config.objective.kind == "cgan" or self.networks.discriminator.embedding is None:
            return self.fake_condition  # fakes are made from the reals' labels
        encoder = self.networks.encoder
        assert encoder is not None
        with torch.no_grad():
            logits = encoder(self.reals)
        return functional.one_hot(logits.argmax(dim=1), logits.shape[1]).to(self.reals.dtype)

    def fakes(self, players: tuple[NetworkName, ...]) -> Images:
        """G(z, c), made once for all updates until the generator moves; detached where it does not learn."""
        if self._fakes is None:
            self._fakes = self._generated(self.latents, players)
        return self._fakes if "generator" in players else self._fakes.detach()

    @cached_property
    def singled(self) -> Int64[Tensor, " batch"]:
        """For each fake the number of the code that sets it and its partner apart from others, by chance."""
        return self.randomness.integers(0, len(self.layout.codes), len(self.reals))

    def partner_latents(self, pairing: Pairing) -> Float[Tensor, "batch latent"]:
        """Of images for the fakes to be compared with, drawn once until the generator moves.

        Args:
            pairing: ``sharing``, with the code that is singled out in common and all else their own, noise too; or
                ``varying``, with all in common but that code.
        """
        if pairing in self._partner_latents:
            return self._partner_latents[pairing]
        others = self.layout.sample_codes(len(self.reals), self.randomness)
        noise = self.noise if pairing == "varying" else self.layout.sample_noise(len(self.reals), self.randomness)
        codes = {}
        for number, name in enumerate(self.layout.codes):
            in_common = (self.singled == number) == (pairing == "sharing")
            codes[name] = torch.where(in_common, self.codes[name], others[name])
        self._partner_latents[pairing] = self.layout.latents(noise, codes)
        return self._partner_latents[pairing]

    def partners(self, pairing: Pairing, players: tuple[NetworkName, ...]) -> Images:
        """For each fake another to compare it with; made and kept as `fakes` are."""
        if pairing not in self._partners:
            self._partners[pairing] = self._generated(self.partner_latents(pairing), players)
        made = self._partners[pairing]
        return made if "generator" in players else made.detach()

    def _generated(self, latents: Float[Tensor, "batch latent"], players: tuple[NetworkName, ...]) -> Images:
        # The graph must lead to the generator's weights even if the first to ask is the discriminator.
        makers: tuple[NetworkName, ...] = ("generator",) if self.generator_learns else ()
        self.networks.set_trainable(makers)
        images = self.networks.generate(latents)
        self.networks.set_trainable(players)
        return images

    def begin(self, players: tuple[NetworkName, ...], terms: Mapping[str, Weight]) -> "ForwardCache":
        """Starts an update: these players learn, the others are frozen."""
        self.networks.set_trainable(players)
        return ForwardCache(self, players, terms)

    def end(self, players: tuple[NetworkName, ...]) -> None:
        """Ends an update: what a player that moved had made is outdated."""
        if "generator" in players:
            self.let_go()
            self._partner_latents.clear()

    def let_go(self) -> None:
        """Frees the fakes and what they were computed by; who asks for them next makes them again."""
        self._fakes = None
        self._partners.clear()


class ForwardCache:
    """What the networks say of a step's images during one update, each computed once, when first asked for."""

    def __init__(self, play: StepContext, players: tuple[NetworkName, ...], terms: Mapping[str, Weight]) -> None:
        needs_real_gradient = "r1" in terms
        self.play = play
        self.players = players
        self.terms = terms
        self.networks = play.networks
        self.config = play.config
        self.reals = play.reals.detach().requires_grad_() if needs_real_gradient else play.reals

    @cached_property
    def fakes(self) -> Images:
        """G(z, c), with a graph if the generator learns."""
        return self.play.fakes(self.players)

    @cached_property
    def _both_features(self) -> tuple[Features, Features]:
        """The trunk's features of reals and fakes, from one pass over both."""
        both = self._shown(torch.cat([self.reals, self.fakes]))
        real, fake = self.networks.discriminator.features(both, parts=2).chunk(2)
        return real, fake

    @cached_property
    def real_features(self) -> Features:
        """The discriminator's trunk on the reals."""
        if "discriminator" in self.players:
            return self._both_features[0]
        return self.networks.discriminator.features(self._shown(self.reals))

    @cached_property
    def fake_features(self) -> Features:
        """The discriminator's trunk on the fakes."""
        if "discriminator" in self.players:
            return self._both_features[1]
        return self.networks.discriminator.features(self._shown(self.fakes))

    def _shown(self, images: Images) -> Images:
        """Images as the discriminator sees them."""
        most = round(self.config.objective.shift * images.shape[-1])
        return shifted(images, most, self.play.randomness) if most else images

    @cached_property
    def real_logits(self) -> Float[Tensor, " batch"]:
        """The discriminator's judgement of the reals."""
        return self.networks.discriminator.score(self.real_features, self.play.real_condition)

    @cached_property
    def fake_logits(self) -> Float[Tensor, " batch"]:
        """The discriminator's judgement of the fakes."""
        return self.networks.discriminator.score(self.fake_features, self.play.fake_condition)

    @cached_property
    def log_likelihoods(self) -> dict[str, Float[Tensor, " batch"]]:
        """Log Q(c|G(z, c)) of each code, with gradients to the parts that ``objective.information_to`` names.

        The code that the encoder reads is left out where neither the generator nor the encoder could learn from it.
        """
        read = self.play.layout.posterior_slices
        parts = {name: self._posterior_of_fakes[:, columns] for name, columns in read.items()}
        encoded = self.config.encoder_code
        if encoded is not None and self._encoder_is_idle:
            del parts[encoded]
        return self.play.layout.log_likelihoods_of(parts, self.play.codes)

    @property
    def _encoder_is_idle(self) -> bool:
        return not {"generator", "encoder"} & set(self.players)

    @cached_property
    def _posterior_of_fakes(self) -> Float[Tensor, "batch posterior"]:
        """Of codes that are left out, zeros."""
        informed = self.config.information_to
        recognizer, encoder = self.networks.recognizer, self.networks.encoder
        fakes = self.fakes if "generator" in informed else self.fakes.detach()
        read = encoded = None
        if recognizer is not None:
            if recognizer.trunk is None:
                # Of generator and trunk only one ever learns in an update, so cutting at the features cuts it alone.
                learns = "generator" if "generator" in self.players else "trunk"
                features = self.fake_features if learns in informed else self.fake_features.detach()
            else:
                features = recognizer.features(fakes)
            read = self.networks.posterior_of(features)
        if encoder is not None and self._encoder_is_idle:
            encoded = fakes.new_zeros(len(fakes), len(encoder.directions))
        elif encoder is not None:
            # Seen as the encoder was taught to see: what is read must survive what does not matter, and the generator
            # can not please it with details that do not.
            encoded = encoder(self._transformed(encoder.resize(fakes)))
        return self.networks.joined(read, encoded)

    # What the encoder sees of real images.

    @property
    def encoder(self) -> Encoder:
        """The networks' encoder; a configuration with terms for one has one."""
        assert self.networks.encoder is not None
        return self.networks.encoder

    def _transformed(self, images: Images) -> Images:
        return augment(images, self.config.augment.strengths, self.play.randomness)

    @cached_property
    def resized_reals(self) -> Images:
        """The reals at the encoder's size."""
        return self.encoder.resize(self.reals)

    @cached_property
    def plain_features(self) -> Features:
        """The encoder's features of the reals as they are."""
        return self.encoder.features(self.resized_reals)

    @cached_property
    def real_classes(self) -> Logits:
        """The encoder's logits of the reals as they are."""
        return self.encoder.logits(self.plain_features)

    @cached_property
    def target(self) -> Float[Tensor, "batch category"]:
        """The encoder's posterior of the reals, as something to be held to: without a graph."""
        return self.real_classes.detach().softmax(dim=1)

    @cached_property
    def view_features(self) -> Features:
        """The encoder's features of transformed reals.

        Where reals are read as they are, too, batch norm's running statistics are to be of those alone: they are what
        will be read in the end, and transforms can move the statistics far.
        """
        with self.encoder.without_running_stats() if self._reads_reals else nullcontext():
            return self.encoder.features(self._transformed(self.resized_reals))

    @cached_property
    def view_pairs(self) -> tuple[Features, Features]:
        """The encoder's features of two views of each real, one of them the real itself where that is read anyway."""
        if self._reads_reals:
            return self.plain_features, self.view_features
        first, second = self.encoder.features(self._transformed(torch.cat([self.resized_reals] * 2))).chunk(2)
        return first, second

    @property
    def _reads_reals(self) -> bool:
        return bool(self.terms.keys() & READING_TERMS)


def adversarial(seen: ForwardCache) -> Float[Tensor, " batch"]:
    """The discriminator's or the generator's side of the game, by who learns in this update."""
    loss = functions.ADVERSARIAL[seen.config.objective.adversarial]
    if "discriminator" in seen.players:
        return loss.discriminator(seen.real_logits, seen.fake_logits)
    logits = (seen.real_logits, seen.fake_logits) if loss.generator_sees_reals else (seen.fake_logits,)
    return loss.generator(*logits)


def information(seen: ForwardCache) -> Float[Tensor, " batch"]:
    """-Σ_i λ_i log Q(c_i|G(z, c)): up to the constant H(c), minus the bound L_I (Chen et al. 2016, equation 5)."""
    weights = {code.name: code.weight for code in seen.config.codes}
    weighted = [weights[name] * likelihood for name, likelihood in seen.log_likelihoods.items()]
    return -torch.stack(weighted).sum(dim=0) if weighted else seen.reals.new_zeros(len(seen.reals))


def sharing(seen: ForwardCache) -> Float[Tensor, " batch"]:
    """-log H(i|x, x') of two fakes that share code i alone: Lin et al. 2020 (InfoGAN-CR), section 3.

    Generator and comparer minimise it together: what one code changes is to be told from what the others change.
    """
    return _singled_out(seen, "sharing")


def varying(seen: ForwardCache) -> Float[Tensor, " batch"]:
    """-log H(i|x, x') of two fakes that differ in code i alone: Zhu et al. 2020 (variation predictability), section 3.

    To the same end as `sharing`, and learned in a fraction of the steps: all that differs is that code's doing.
    """
    return _singled_out(seen, "varying")


def _singled_out(seen: ForwardCache, pairing: Pairing) -> Float[Tensor, " batch"]:
    assert seen.networks.pair_classifier is not None
    logits = seen.networks.pair_classifier(seen.fakes, seen.play.partners(pairing, seen.players))
    return functional.cross_entropy(logits, seen.play.singled, reduction="none")


def r1(seen: ForwardCache) -> Float[Tensor, " batch"]:
    """The discriminator's squared gradient at the reals."""
    return functions.r1(seen.reals, seen.real_logits)


def contrast(seen: ForwardCache) -> Float[Tensor, " batch"]:
    """Two views of an image find each other among all others (`objectives.contrast`)."""
    whole = seen.play.whole
    first, second = (distributed.all_gather(features, whole) for features in seen.view_pairs)
    own = distributed.shard_slice(whole) if distributed.is_distributed() else None
    return functions.contrast(first, second, CONTRAST_TEMPERATURE, own)


def smoothness(seen: ForwardCache) -> Float[Tensor, " batch"]:
    """KL between the posterior of an image and that of its worst neighbour: Miyato et al. 2018 (VAT), equation 5.

    The neighbour lies the encoder's ``radius`` away in the direction in which the posterior changes most.
    """
    images, target = seen.resized_reals.detach(), seen.target
    start = seen.play.randomness.normal(*images.shape)
    with seen.encoder.without_running_stats():  # these images are not of the data
        direction = functions.adversarial_direction(seen.encoder, images, target, start)
        return functions.divergence(target, seen.encoder(images + seen.encoder.radius * direction))


def consistency(seen: ForwardCache) -> Float[Tensor, " batch"]:
    """A transformed view is held to what is read in the image as it is, made surer (Xie et al. 2020, equation 1)."""
    sharp = seen.target**CONSISTENCY_EXPONENT
    sharp = sharp / sharp.sum(dim=1, keepdim=True)
    return functions.cross_entropy(sharp, seen.encoder.logits(seen.view_features))


def confidence(seen: ForwardCache) -> Float[Tensor, " batch"]:
    """H(c|x): every real image is to be filed under one value (Krause et al. 2010, equation 3)."""
    return functions.entropy(seen.real_classes)


def balance(seen: ForwardCache) -> Float[Tensor, " batch"]:
    """How far the running marginal is from the encoder's prior: all values are to be used (`objectives.balance`)."""
    marginal = seen.encoder.marginal
    if "encoder" in seen.players:
        marginal.lerp_(distributed.batch_mean(seen.target, seen.play.whole), 1 - MARGINAL_KEPT)
    return functions.balance(seen.real_classes, marginal, seen.encoder.prior)


def supervision(seen: ForwardCache) -> Float[Tensor, " labelled"]:
    """-log Q(label|x) of transformed images that a person has labelled: Spurr et al. 2017 (ss-InfoGAN)."""
    assert seen.play.labelled is not None
    images, values = seen.play.labelled
    with seen.encoder.without_running_stats():  # a few images over and over are not the data
        logits = seen.encoder(seen._transformed(seen.encoder.resize(images)))
    return functional.cross_entropy(logits, values, reduction="none")


@dataclass(frozen=True)
class Loss:
    """A term of an update.

    Attributes:
        compute: One value per sample, to be minimised.
        over: What one value depends on, but for batch norm. ``"sample"``: its own sample alone. ``"batch"``: the whole
            batch, of which several workers gather what they need, with gradients.
    """

    compute: Callable[[ForwardCache], Float[Tensor, " batch"]]
    over: Literal["sample", "batch"]


LOSSES = {
    "adversarial": Loss(adversarial, over="sample"),
    "information": Loss(information, over="sample"),
    "infogan_cr": Loss(sharing, over="sample"),
    "variation_predictability": Loss(varying, over="sample"),
    "r1": Loss(r1, over="sample"),
    "nt_xent": Loss(contrast, over="batch"),
    "vat": Loss(smoothness, over="sample"),
    "uda": Loss(consistency, over="sample"),
    "conditional_entropy": Loss(confidence, over="sample"),
    "supervised": Loss(supervision, over="sample"),
    "marginal_kl": Loss(balance, over="batch"),  # through the running marginal, which all workers must share
}
