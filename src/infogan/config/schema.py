"""The options of a training run, each once: data, codes, networks, losses, lengths.

A ``Config`` is built from a recipe (`config.presets`), a TOML or JSON file and assignments ``section.key=value``. It is
validated as a whole, immutable, and saved as ``config.json`` in the run folder, from which the run can be repeated.
Unknown keys are refused. Lengths are steps or images seen, never epochs.
"""

from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

BATCH_NORM_ARCHITECTURES = {"mlp", "conv", "paper"}

NetworkName = Literal["generator", "discriminator", "recognizer", "encoder", "reader", "pair_classifier"]
Property = Literal["slant", "thickness", "size", "shift-x", "shift-y", "rotate", "brightness", "hue"]
InformationTarget = Literal["generator", "recognizer", "trunk"]
Positive = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Base class of all sections: immutable, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Channel = Annotated[int, Field(ge=1, le=16)]


class DataSettings(Settings):
    """The images, and how they are brought to one shape."""

    source: str = ""  # a named data set, or the path of a folder, zip, npz, npy or IDX file
    size: Annotated[int, Field(ge=8, le=256)] | None = None  # height = width in pixels; None = the images' own, or 64
    channels: Annotated[int, Field(ge=1, le=16)] | None = None  # 1 grey, 3 RGB, other bands; None = the images' own
    # The channels, counted from 1, shown as red, green and blue if there are other bands; None = the first three.
    bands: tuple[Channel, Channel, Channel] | None = None
    shape: Literal["crop", "pad"] = "crop"  # how an image that is not square is made square
    # The values of black and white, e.g. 0 and 4095 for 12 bits; None = 0 and 255, 65,535 (16 bits) or 1 (floats).
    value_range: tuple[float, float] | None = None
    follow_links: bool = False  # follow symbolic links to folders, and those that lead out of the folder
    labels: str = ""  # path of a CSV file (image, label) with labels of a few training images; empty = none
    strict: bool = False  # refuse a source with unreadable images instead of skipping them

    @property
    def reading(self) -> dict[str, Any]:
        """The options for `infogan.data.load`, except size, channels and split."""
        return self.model_dump(include={"shape", "value_range", "follow_links", "strict"})

    @property
    def reading_for_encoder(self) -> dict[str, Any]:
        """The options for `infogan.data.streamed`, for a pretrained encoder, except size and split."""
        reading = {name: value for name, value in self.reading.items() if name != "strict"}
        return {**reading, "channels": 3, "for_encoder": True, "bands": self.bands}

    @field_validator("value_range")
    @classmethod
    def _check_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] == value[1]:
            raise ValueError("black and white have the same value")
        return value


class AugmentSettings(Settings):
    """The strength of each random augmentation; None = off. Categories ignore whatever the augmentations change."""

    shift: Annotated[float, Field(gt=0, le=0.5)] | None = None  # largest translation, as a share of the side
    rotate: Annotated[float, Field(gt=0, le=180)] | None = None  # largest rotation in degrees, both ways
    scale: Annotated[float, Field(gt=0, le=1)] | None = None  # s: zoom by a factor between 1 / (1 + s) and 1 + s
    shear: Annotated[float, Field(gt=0, le=60)] | None = None  # largest slant in degrees, both ways
    elastic: Annotated[float, Field(gt=0, le=0.2)] | None = None  # smooth warp; standard deviation, share of the side
    flip: Annotated[float, Field(gt=0, le=1)] | None = None  # probability of mirroring left to right
    crop: Annotated[float, Field(gt=0, le=0.9)] | None = None  # s: keep an area between 1 - s and 1, and enlarge it
    # s: brightness, contrast and saturation times a factor between 1 - s and 1 + s; 0 = off
    colour: Annotated[float, Field(ge=0, le=1)] | None = None
    hue: Annotated[float, Field(gt=0, le=0.5)] | None = None  # largest change of hue, as a share of a full turn
    grey: Annotated[float, Field(gt=0, le=1)] | None = None  # probability of losing all colour

    @property
    def strengths(self) -> dict[str, float]:
        """The augmentations that are on, by name."""
        return {name: value for name in AugmentSettings.model_fields if (value := getattr(self, name))}


class ViewSettings(AugmentSettings):
    """The augmentations that categories ignore. Grey images have the usual ``colour`` unless another is given."""

    usual: bool = False  # those of `config.presets.usual_augmentations`, once the images are known


class FeatureSettings(Settings):
    """Features from a pretrained encoder, in which the categories are found; without them, the run learns its own."""

    source: str = ""  # lite0, timm:NAME, hf:NAME, open_clip:NAME/TAG, onnx:FILE, or a file of vectors; empty = own
    size: Annotated[int, Field(ge=8, le=1024)] | None = None  # of the images that the encoder sees; None = its own


def is_code_name(name: str) -> bool:
    """Return whether a code can have this name: 1 to 64 printable characters, no slash, backslash or equals sign.

    Names are parts of assignments and of file names.
    """
    return 1 <= len(name) <= 64 and name == name.strip() and all(c not in "=/\\" and c.isprintable() for c in name)


def _code_name(name: str) -> str:
    if not is_code_name(name):
        raise ValueError(f"{name!r} cannot be the name of a code: use 1 to 64 characters without = / \\")
    return name


CodeName = Annotated[str, AfterValidator(_code_name)]


class CategoricalCode(Settings):
    """A code that takes one of ``size`` values, its categories."""

    kind: Literal["categorical"] = "categorical"
    name: CodeName
    size: Annotated[int, Field(ge=2, le=10_000)]
    # uniform; one probability per category; or learned: the frequency of each category in the training images, as the
    # encoder finds it.
    prior: Literal["uniform", "learned"] | tuple[Probability, ...] = "uniform"
    weight: Annotated[float, Field(ge=0)] = 1.0  # λ of this code in the information loss

    @model_validator(mode="after")
    def _check_prior(self) -> Self:
        if not isinstance(self.prior, str):
            if len(self.prior) != self.size:
                raise ValueError(f"code {self.name!r} has {self.size} values but a prior of {len(self.prior)}")
            if abs(sum(self.prior) - 1) > 1e-6:
                raise ValueError(f"the prior of code {self.name!r} sums to {sum(self.prior):.6g}, not to 1")
        return self


class ContinuousCode(Settings):
    """A code that is uniform on [-1, 1], a knob."""

    kind: Literal["continuous"] = "continuous"
    name: CodeName
    # A property of the images that the knob is to change, see `data.properties`; None = training finds one.
    follows: Property | None = None
    # By how much that property of the training images is changed at random, at most, both ways, for images that vary
    # too little in it, in the units of `data.properties.TRANSFORMS`; 0 = not.
    range: Annotated[float, Field(ge=0)] = 0.0
    deviation: Annotated[float, Field(gt=0)] | None = None  # standard deviation of Q; None = learned, with a floor
    weight: Annotated[float, Field(ge=0)] = 1.0  # λ of this code in the information loss

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.range and self.follows is None:
            raise ValueError(f"code {self.name!r} has a range but follows no property")
        return self


Code = Annotated[CategoricalCode | ContinuousCode, Field(discriminator="kind")]


class NoiseSettings(Settings):
    """The noise z, the part of the generator's input that is not a code."""

    size: Annotated[int, Field(ge=0, le=10_000)] = 62
    distribution: Literal["normal", "uniform"] = "normal"  # N(0, 1), or uniform on [-1, 1]


class NetworkSettings(Settings):
    """The shape of the networks."""

    architecture: Literal["mlp", "conv", "paper", "post"] = "conv"
    width: Positive | None = None  # units or channels of the narrowest hidden layer; None = the architecture's own
    recognizer: Literal["shared", "separate"] = "separate"  # Q on the discriminator's trunk, or on a trunk of its own
    # On every layer of the discriminator (Miyato et al. 2018). None = off, unless the size of the images turns it on.
    spectral_norm: bool | None = None
    # An encoder, instead of the recognizer, predicts the first categorical code. Stages train it on real images, too.
    encoder: bool = False
    encoder_width: Positive = 16  # channels of its first layer
    # The discriminator is conditioned on the encoder's code: the code of a fake, the prediction for a real.
    conditional: bool = False
    # Predicts which code two fakes share, or differ in; for `infogan_cr` and `variation_predictability`.
    pair_classifier: bool = False


class ObjectiveSettings(Settings):
    """The objective."""

    kind: Literal["gan", "cgan", "infogan"] = "infogan"
    adversarial: Literal["non-saturating", "hinge", "relativistic"] = "non-saturating"
    # The parts that the gradient of the information loss reaches. The trunk counts only if the recognizer shares the
    # discriminator's. None = all parts, as in Chen et al.'s own code.
    information_to: tuple[InformationTarget, ...] | None = None
    # Largest random shift of reals and fakes before the discriminator sees them, as a share of their side (Zhao et al.
    # 2020). It keeps the discriminator from memorising positions of a few images or of the generator's sub-pixels.
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    # Augmentations of both (ibid.), which keep a generator of few images from collapsing. The generated images are not
    # augmented for it: the discriminator sees reals and fakes through the same ones.
    augment: AugmentSettings = AugmentSettings()


class Update(Settings):
    """One optimizer step within a training step: some networks are trained on some losses, the others are frozen."""

    networks: Annotated[tuple[NetworkName, ...], Field(min_length=1)]
    # Name in `training.losses.LOSSES` -> weight, or (first, last): a linear schedule over the stage.
    losses: Annotated[dict[str, float | tuple[float, float]], Field(min_length=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    # linear: to zero over the second half of the stage; cosine: to a twentieth over the whole stage.
    decay: Literal["none", "linear", "cosine"] = "none"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the stage, in which the rate rises from a twentieth

    @property
    def name(self) -> str:
        """The networks' names joined by ``+``; the prefix of the losses' names in the statistics."""
        return "+".join(self.networks)

    @model_validator(mode="after")
    def _check_networks(self) -> Self:
        if len(set(self.networks)) < len(self.networks):
            raise ValueError(f"an update names a network twice: {', '.join(self.networks)}")
        if {"generator", "discriminator"} <= set(self.networks):
            raise ValueError("the generator and the discriminator minimise opposite losses and need an update each")
        return self


class Stage(Settings):
    """A part of the training in which every step makes the same updates, in order."""

    name: str = "gan"
    share: Annotated[float, Field(gt=0)] = 1.0  # of `train.steps`, relative to the other stages' shares
    # Whether a budget lengthens it. A stage that does not scale takes `share` steps, or fewer if time is short.
    scales_with_budget: bool = True
    batch_factor: Positive = 1  # the stage's batches are this many times `train.batch_size`
    # Hooks that run once, before the first step. cluster: cluster the training images by the encoder's features and
    # start its categories from the clusters; freeze_if_diffuse: freeze the encoder if its clusters were not compact;
    # learn_prior: set learned priors to the encoder's frequencies; calibrate: scale the reader's outputs so that they
    # are uniform on [-1, 1] over the training images.
    on_start: tuple[Literal["cluster", "freeze_if_diffuse", "learn_prior", "calibrate"], ...] = ()
    updates: Annotated[tuple[Update, ...], Field(min_length=1)]


class TrainSettings(Settings):
    """Length, batch size, seed, precision, and how often to log and save."""

    steps: Positive = 4000  # of all stages together
    # Three other ways to give the length, from which the steps are computed before the run starts. default_length: the
    # stages' shares are steps, times factors for the number, size and channels of the images (`api.resolve`). budget:
    # seconds for the whole run on this machine. images_seen: of all stages together.
    default_length: bool = False
    budget: Annotated[float, Field(gt=0)] | None = None
    images_seen: Positive | None = None
    batch_size: Positive = 128  # over all workers
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    ema_half_life: Annotated[float, Field(ge=0)] = 10_000.0  # in images; 0 = no averaging
    # Of the networks' products; losses, weights and moments are float32. auto: bfloat16 if the hardware has it.
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False  # compile the networks with torch.compile
    deterministic: bool = False  # the same bits each time on a GPU, too
    # Micro-batches per batch, computed one after another in less memory; their gradients are added. Batch norm,
    # nt_xent, marginal_kl and diversity see one micro-batch at a time. A run can be resumed with another number.
    accumulation_steps: Positive = 1
    sync_batchnorm: bool = True  # batch norm over the samples of all workers, or of each worker alone
    log_every: Positive = 100  # steps
    save_every: Positive = 1000  # steps between checkpoints; the last two are kept
    sample_every: Positive = 1000  # steps between sample grids
    # random: 100 images of random codes; one-value: the post's figure, 4x4 images of one random category.
    sample_grid: Literal["random", "one-value"] = "random"


class EvaluationSettings(Settings):
    """How thoroughly a finished run is evaluated."""

    samples: Annotated[int, Field(ge=100)] = (
        10_000  # generated images for distances and information; fewer if they are large
    )
    bootstrap_draws: Annotated[int, Field(ge=2)] = 400  # for the intervals


# Options that say how a run is computed, or where its images are, not what it is: a run can be resumed with others. The
# images and labels themselves are compared.
RUNTIME_OPTIONS: dict[str, Any] = {
    "data": {"source", "labels"},
    "train": {"accumulation_steps"},
    "evaluation": True,
    "format": True,
}


class Config(Settings):
    """A complete training run as data."""

    format: Literal[2] = 2  # of config.json; files of version 0.1 have none
    data: DataSettings = DataSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    features: FeatureSettings = FeatureSettings()
    noise: NoiseSettings = NoiseSettings()
    codes: tuple[Code, ...] = ()
    augment: ViewSettings = ViewSettings()
    networks: NetworkSettings = NetworkSettings()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @field_validator("codes", mode="before")
    @classmethod
    def _fill_in_names(cls, codes: Any) -> Any:
        """Name codes that have no name by the property that they follow, or category, category2, ... and knob1, ..."""
        if not isinstance(codes, list | tuple):
            return codes
        named, counts = [], {"categorical": 0, "continuous": 0}
        for code in codes:
            if isinstance(code, dict) and code.get("follows"):
                code = {"name": code["follows"], **code}
            elif isinstance(code, dict) and isinstance(code.get("kind"), str) and code["kind"] in counts:
                counts[code["kind"]] += 1
                number = counts[code["kind"]]
                default = f"knob{number}" if code["kind"] == "continuous" else f"category{number if number > 1 else ''}"
                code = {"name": default, **code}
            named.append(code)
        return named

    @model_validator(mode="after")
    def _check_codes(self) -> Self:
        kind, names = self.objective.kind, [code.name for code in self.codes]
        if len(set(names)) < len(names):
            raise ValueError(f"two codes have the same name: {', '.join(names)}")
        followed = [code.follows for code in self.declared]
        if len(set(followed)) < len(followed):
            raise ValueError(f"two codes follow the same property: {', '.join(map(str, followed))}")
        if kind == "gan" and self.codes:
            raise ValueError("a gan has no codes: use --objective infogan")
        if kind == "cgan" and (len(self.codes) > 1 or len(self.category_sizes) < len(self.codes)):
            raise ValueError("a cgan has one code, the label of each image")
        if kind == "infogan" and not self.codes:
            raise ValueError("an infogan needs at least one code, e.g. --categorical 10")
        if self.noise.size == 0 and not self.codes and kind != "cgan":
            raise ValueError("the generator needs an input: noise.size is 0 and there is no code")
        learned = [code.name for code in self.codes if isinstance(code, CategoricalCode) and code.prior == "learned"]
        if learned and learned != [self.encoder_code]:
            raise ValueError(f"the prior of {learned[-1]!r} cannot be learned: the encoder does not predict that code")
        return self

    @model_validator(mode="after")
    def _check_networks(self) -> Self:
        networks, kind = self.networks, self.objective.kind
        trained = {name for stage in self.stages for update in stage.updates for name in update.networks}
        hooks = {hook for stage in self.stages for hook in stage.on_start}
        if kind != "infogan" and (trained & {"recognizer", "encoder"} or networks.encoder):
            raise ValueError(f"a {kind} has no recognizer and no encoder, but networks or stages name one")
        if "pair_classifier" in trained and not networks.pair_classifier:
            raise ValueError("a stage trains the pair classifier, but networks.pair_classifier is false")
        if networks.pair_classifier and len(self.codes) < 2:
            raise ValueError("networks.pair_classifier needs at least two codes to distinguish")
        if networks.conditional and not networks.encoder:
            raise ValueError("networks.conditional needs networks.encoder, which predicts the category of real images")
        if networks.encoder and not self.category_sizes:
            raise ValueError("networks.encoder needs a categorical code to predict, e.g. --categorical 10")
        if not networks.encoder and (hooks - {"calibrate"} or "encoder" in trained):
            raise ValueError("a stage needs an encoder, but networks.encoder is false")
        if not self.declared and ("calibrate" in hooks or "reader" in trained):
            raise ValueError("a stage needs a reader, but no code follows a property: use --knob")
        if self.declared and "calibrate" not in hooks:
            raise ValueError("a code follows a property, but no stage has the hook calibrate: use --knob")
        return self

    @model_validator(mode="after")
    def _check_training(self) -> Self:
        information_to = self.objective.information_to
        lengths = {name: getattr(self.train, name) for name in ("default_length", "budget", "images_seen")}
        if len(given := [f"train.{name}" for name, value in lengths.items() if value]) > 1:
            raise ValueError(f"the length is given twice, as {' and as '.join(given)}: choose one")
        needs_two = self.networks.architecture in BATCH_NORM_ARCHITECTURES or self.networks.encoder
        if self.train.batch_size < 2 and needs_two:
            raise ValueError("train.batch_size is 1; batch norm needs at least 2")
        if "trunk" in (information_to or ()) and self.networks.recognizer == "separate":
            raise ValueError("objective.information_to names the trunk, but networks.recognizer=separate shares none")
        if information_to is not None and "recognizer" not in information_to:
            raise ValueError("objective.information_to must name the recognizer, which predicts the codes")
        return self

    @property
    def category_sizes(self) -> tuple[int, ...]:
        """The number of categories of each categorical code."""
        return tuple(code.size for code in self.codes if isinstance(code, CategoricalCode))

    @property
    def encoder_code(self) -> str | None:
        """The name of the code that the encoder predicts; None without an encoder."""
        names = [code.name for code in self.codes if isinstance(code, CategoricalCode)]
        return names[0] if self.networks.encoder and names else None

    @property
    def declared(self) -> tuple[ContinuousCode, ...]:
        """The continuous codes that follow a property of the images; the reader predicts them."""
        return tuple(code for code in self.codes if isinstance(code, ContinuousCode) and code.follows is not None)

    def batch_size(self, stage: int) -> int:
        """Return the batch size of a stage, over all workers."""
        return self.train.batch_size * self.stages[stage].batch_factor

    @property
    def largest_batch(self) -> tuple[int, int]:
        """The largest batch size of all stages, and how many times ``train.batch_size`` it is."""
        factor = max(stage.batch_factor for stage in self.stages)
        return self.train.batch_size * factor, factor

    def with_train(self, **options: Any) -> Self:
        """Return a copy with other options in the section ``train``, which are not validated."""
        return self.model_copy(update={"train": self.train.model_copy(update=options)})

    def images_seen(self, steps: int) -> int:
        """Return the number of images that a run has seen after some steps."""
        stages = enumerate(pairwise((0, *self._stage_ends)))
        return sum(self.batch_size(stage) * max(0, min(end, steps) - start) for stage, (start, end) in stages)

    @property
    def information_to(self) -> frozenset[InformationTarget]:
        """The parts that the gradient of the information loss reaches, with the default filled in."""
        if self.objective.information_to is not None:
            return frozenset(self.objective.information_to)
        return frozenset({"generator", "recognizer", "trunk"})

    def stage_at(self, step: int) -> tuple[int, int, int]:
        """Return the index of the stage that a step is in, the stage's first step, and the step after its last.

        Raises:
            IndexError: The step is past the last one.
        """
        for index, (start, end) in enumerate(pairwise((0, *self._stage_ends))):
            if step < end:
                return index, start, end
        raise IndexError(f"step {step} is past the last of {self.train.steps}")

    @property
    def stage_steps(self) -> list[int]:
        """The number of steps of each stage."""
        return [end - start for start, end in pairwise((0, *self._stage_ends))]

    @property
    def _stage_ends(self) -> list[int]:
        """The step after the last one of each stage."""
        shares = list(accumulate(stage.share for stage in self.stages))
        return [round(self.train.steps * share / shares[-1]) for share in shares[:-1]] + [self.train.steps]
