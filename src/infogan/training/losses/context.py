"""What losses read: the material of one step, and the networks' outputs on it, each computed once.

A `StepContext` holds the images, latents and fakes of a micro-batch. For each update a `ForwardCache` gives its losses
what the networks compute from them. Everything is computed when a loss first asks for it and then shared. So the
losses of an update alone decide how much work a step is: fakes are made once for all updates, and where reals and fakes
are both judged, one pass of the discriminator sees both.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from infogan.config.schema import Config, NetworkName, Update
from infogan.data.augment import augment, random_shift
from infogan.models.architectures import Features, Images
from infogan.models.encoder import Encoder
from infogan.models.latents import CodeLayout, Codes
from infogan.models.networks import Networks
from infogan.models.reader import Reader
from infogan.training.losses.registry import needs_of
from infogan.training.state import EncoderState
from infogan.utils.random import BatchRandom

Logits = Float[Tensor, "batch category"]
Condition = Float[Tensor, "batch condition"]
Trained = tuple[NetworkName, ...]

# Which codes the two images of a pair have in common: one code alone, or all but one.
Pairing = Literal["sharing", "varying"]


@dataclass(eq=False, kw_only=True)
class StepContext:
    """The material of one step for one micro-batch.

    Attributes:
        networks: The networks.
        layout: The layout of latents and posterior.
        config: The run's configuration.
        encoder_state: What training keeps about the encoder.
        reals: Real images in [-1, 1].
        noise: z of as many fakes.
        codes: c of those fakes; for a cgan the labels of the reals.
        latents: The generator's inputs, made of noise and codes.
        random: Random numbers for augmentations and probes, drawn as losses ask for them.
        batch_size: Samples of the micro-batch over all workers.
        trains_generator: Whether any update of the stage trains the generator; if none does, no graph is kept.
        labelled: Some of the real images that a person has labelled, and their categories.
        targets: The probability of each category of the real images, from pretrained features.
    """

    networks: Networks
    layout: CodeLayout
    config: Config
    encoder_state: EncoderState
    reals: Images
    noise: Float[Tensor, "batch noise"]
    codes: Codes
    random: BatchRandom
    batch_size: int
    trains_generator: bool
    labelled: tuple[Images, Int64[Tensor, " labelled"]] | None = None
    targets: Float[Tensor, "batch category"] | None = None

    def __post_init__(self) -> None:
        self.latents = self.layout.latents(self.noise, self.codes)
        self._images: dict[Pairing | None, Images] = {}  # the fakes, and their partners
        self._partner_latents: dict[Pairing, Float[Tensor, "batch latent"]] = {}

    @cached_property
    def fake_condition(self) -> Condition | None:
        """The one-hot code of each fake, for a conditional discriminator; None for one that gets no condition."""
        if self.networks.discriminator.embedding is None:
            return None
        code = self.layout.categorical[0]
        return functional.one_hot(self.codes[code.name], code.size).to(self.reals.dtype)

    @cached_property
    def real_condition(self) -> Condition | None:
        """The one-hot condition of each real: its label in a cgan, else the category that the encoder predicts."""
        if self.config.objective.kind == "cgan" or self.networks.discriminator.embedding is None:
            return self.fake_condition  # a cgan's fakes are made from the reals' labels
        encoder = self.networks.encoder
        assert encoder is not None
        with torch.no_grad():
            logits = encoder(self.reals)
        return functional.one_hot(logits.argmax(dim=1), logits.shape[1]).to(self.reals.dtype)

    @cached_property
    def varied_reals(self) -> Images:
        """The reals, changed at random by the ranges of declared knobs if the generator is trained."""
        reader = self.networks.reader
        return self.reals if reader is None or not self.trains_generator else reader.vary(self.reals, self.random)

    def fakes(self, trained: Trained) -> Images:
        """Return G(z, c), made once until the generator changes; detached unless the update trains the generator."""
        return self._generated(None, trained)

    def partners(self, pairing: Pairing, trained: Trained) -> Images:
        """Return each fake's partner; made, cached and detached as `fakes` are."""
        return self._generated(pairing, trained)

    def _generated(self, pairing: Pairing | None, trained: Trained) -> Images:
        if pairing not in self._images:
            latents = self.latents if pairing is None else self.partner_latents(pairing)
            # The graph must lead to the generator's weights even if the discriminator's update asks first.
            makers: Trained = ("generator",) if self.trains_generator else ()
            self.networks.set_trainable(makers)
            self._images[pairing] = self.networks.generate(latents)
            self.networks.set_trainable(trained)
        images = self._images[pairing]
        return images if "generator" in trained else images.detach()

    @cached_property
    def paired_code(self) -> Int64[Tensor, " batch"]:
        """For each pair of fakes the number of the code that they share, or differ in; drawn at random."""
        return self.random.integers(0, len(self.layout.codes), len(self.reals))

    def partner_latents(self, pairing: Pairing) -> Float[Tensor, "batch latent"]:
        """Return the latents of each fake's partner, drawn once until the generator changes.

        Args:
            pairing: ``sharing``: the partner shares `paired_code` and nothing else, not even the noise. ``varying``:
                the partner shares everything but that code.
        """
        if pairing not in self._partner_latents:
            other_codes = self.layout.sample_codes(len(self.reals), self.random)
            noise = self.noise if pairing == "varying" else self.layout.sample_noise(len(self.reals), self.random)
            codes = {}
            for number, name in enumerate(self.layout.codes):
                shared = (self.paired_code == number) == (pairing == "sharing")
                codes[name] = torch.where(shared, self.codes[name], other_codes[name])
            self._partner_latents[pairing] = self.layout.latents(noise, codes)
        return self._partner_latents[pairing]

    def begin_update(self, update: Update) -> "ForwardCache":
        """Make the update's networks trainable, freeze the others, and return an empty cache of their outputs."""
        self.networks.set_trainable(update.networks)
        return ForwardCache(self, update)

    def end_update(self, update: Update) -> None:
        """Drop what a network computed before it changed."""
        if "generator" in update.networks:
            self.free()
            self._partner_latents.clear()

    def free(self) -> None:
        """Free the fakes and their graphs; they are made again when a loss asks for them."""
        self._images.clear()


class ForwardCache:
    """The networks' outputs on a step's images during one update, each computed when first asked for.

    Attributes:
        context: The images.
        update: The update.
        trained: The networks that the update trains.
        statistics: Values per sample that losses add for the log, by name.
    """

    def __init__(self, context: StepContext, update: Update) -> None:
        self.context, self.update = context, update
        self.trained = update.networks
        self.networks = context.networks
        self.config = context.config
        self.statistics: dict[str, Float[Tensor, " batch"]] = {}
        needs = needs_of(update.losses)
        self._reads_reals = "real_posterior" in needs
        # Only the generator is trained by what the encoder and the reader say of fakes.
        self._skips_encoder = not {"generator", "encoder"} & set(self.trained)
        self._skips_reader = not {"generator", "reader"} & set(self.trained)
        self.reals = context.varied_reals
        if "second_derivatives" in needs:
            self.reals = self.reals.detach().requires_grad_()

    @cached_property
    def fakes(self) -> Images:
        """G(z, c), with a graph if the generator is trained."""
        return self.context.fakes(self.trained)

    @cached_property
    def _features_of_both(self) -> tuple[Features, Features]:
        """The trunk's features of reals and fakes, from one pass over both."""
        both = self._discriminator_input(torch.cat([self.reals, self.fakes]))
        real, fake = self.networks.discriminator.features(both, parts=2).chunk(2)
        return real, fake

    @cached_property
    def real_features(self) -> Features:
        """The features of the reals in the discriminator's trunk."""
        if "discriminator" in self.trained:
            return self._features_of_both[0]
        return self.networks.discriminator.features(self._discriminator_input(self.reals))

    @cached_property
    def fake_features(self) -> Features:
        """The features of the fakes in the discriminator's trunk."""
        if "discriminator" in self.trained:
            return self._features_of_both[1]
        return self.networks.discriminator.features(self._discriminator_input(self.fakes))

    def _discriminator_input(self, images: Images) -> Images:
        """Augment images by ``objective.augment``, and shift them by up to ``objective.shift`` of their side."""
        settings = self.config.objective
        if strengths := settings.augment.strengths:
            images = augment(images, strengths, self.context.random)
        most = round(settings.shift * images.shape[-1])
        return random_shift(images, most, self.context.random) if most else images

    @cached_property
    def real_logits(self) -> Float[Tensor, " batch"]:
        """The discriminator's logits of the reals."""
        return self.networks.discriminator.score(self.real_features, self.context.real_condition)

    @cached_property
    def fake_logits(self) -> Float[Tensor, " batch"]:
        """The discriminator's logits of the fakes."""
        return self.networks.discriminator.score(self.fake_features, self.context.fake_condition)

    @cached_property
    def log_likelihoods(self) -> dict[str, Float[Tensor, " batch"]]:
        """Log Q(c|G(z, c)) of each code, with gradients to the parts that ``objective.information_to`` names.

        The code that the encoder predicts is left out if the update trains neither the generator nor the encoder, and
        likewise those of the reader.
        """
        skipped = {self.config.encoder_code} if self.config.encoder_code and self._skips_encoder else set[str]()
        if self._skips_reader:
            skipped |= {code.name for code in self.config.declared}
        return self.context.layout.log_likelihoods(self._posterior_of_fakes, self.context.codes, exclude=skipped)

    @cached_property
    def _posterior_of_fakes(self) -> Float[Tensor, "batch posterior"]:
        """The posterior of the fakes; the columns of encoder and reader are zeros if they are not used."""
        informed = self.config.information_to
        recognizer, encoder, reader = self.networks.recognizer, self.networks.encoder, self.networks.reader
        fakes = self.fakes if "generator" in informed else self.fakes.detach()
        recognized = encoded = measured = None
        if recognizer is not None:
            if recognizer.trunk is None:
                # An update never trains both generator and trunk, so detaching the features affects the trained one.
                target = "generator" if "generator" in self.trained else "trunk"
                features = self.fake_features if target in informed else self.fake_features.detach()
            else:
                features = recognizer.features(fakes)
            recognized = recognizer.head(features)
        if encoder is not None and self._skips_encoder:
            encoded = fakes.new_zeros(len(fakes), len(encoder.directions))
        elif encoder is not None:
            # Augmented as in the encoder's own training: the category must survive the augmentations, and the
            # generator cannot please the encoder with details that do not.
            encoded = encoder(self.augment(encoder.resize(fakes)))
        if reader is not None and self._skips_reader:
            measured = fakes.new_zeros(len(fakes), 2 * len(reader.properties))
        elif reader is not None:
            measured = reader.posterior(fakes)
        return self.networks.join_posteriors(recognized, encoded, measured)

    # Encoder and reader on real images.

    @property
    def reader(self) -> Reader:
        """The reader; a configuration with losses for one has one."""
        assert self.networks.reader is not None
        return self.networks.reader

    @property
    def encoder(self) -> Encoder:
        """The encoder; a configuration with losses for one has one."""
        assert self.networks.encoder is not None
        return self.networks.encoder

    def augment(self, images: Images) -> Images:
        """Apply the run's augmentations at random."""
        return augment(images, self.config.augment.strengths, self.context.random)

    @cached_property
    def resized_reals(self) -> Images:
        """The reals at the encoder's size."""
        return self.encoder.resize(self.reals)

    @cached_property
    def plain_features(self) -> Features:
        """The encoder's features of the reals without augmentation."""
        return self.encoder.features(self.resized_reals)

    @cached_property
    def posterior_logits(self) -> Logits:
        """The encoder's logits of the reals without augmentation."""
        return self.encoder.logits(self.plain_features)

    @cached_property
    def target(self) -> Float[Tensor, "batch category"]:
        """The encoder's posterior of the reals, without a graph: the target of other losses."""
        return self.posterior_logits.detach().softmax(dim=1)

    @cached_property
    def view_features(self) -> Features:
        """The encoder's features of one augmented view of each real.

        If the encoder also reads the reals without augmentation, only those update batch norm's running statistics.
        After training the encoder reads such images, and augmented ones can have very different statistics.
        """
        with self.encoder.without_running_stats() if self._reads_reals else nullcontext():
            return self.encoder.features(self.augment(self.resized_reals))

    @cached_property
    def view_pairs(self) -> tuple[Features, Features]:
        """The encoder's features of two views of each real; one is the real itself if that is read anyway."""
        if self._reads_reals:
            return self.plain_features, self.view_features
        first, second = self.encoder.features(self.augment(torch.cat([self.resized_reals] * 2))).chunk(2)
        return first, second
