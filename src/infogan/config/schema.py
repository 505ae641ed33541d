"""Every option of a training run, once: what is trained on what, with which codes, players, terms and lengths.

A ``Config`` comes from a preset (`recipes.py`), a TOML or JSON file, and overrides of the form ``section.key=value``;
it is checked as a whole, frozen, and saved as ``config.json`` in the run folder, from which the run can be repeated.
Unknown keys are refused. Lengths are steps or images seen, never epochs.
"""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from infogan.utils.errors import UserError, unknown_name

# Terms that only an encoder can be given, and those among them that compare transformed views of an image.
VIEW_TERMS = frozenset({"nt_xent", "uda"})
NORMED = {"mlp", "conv", "paper"}  # architectures with batch norm
ENCODER_TERMS = VIEW_TERMS | {"vat", "conditional_entropy", "marginal_kl", "supervised"}

NetworkName = Literal["generator", "discriminator", "recognizer", "encoder", "pair_classifier"]
InformationTarget = Literal["generator", "recognizer", "trunk"]
Positive = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Base of every section: immutable, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(Settings):
    """Which images, and how they are brought to one shape."""

    source: str = ""  # a named data set, or the path of a folder, zip, npz, npy or IDX file
    size: Annotated[int, Field(ge=8, le=128)] | None = None  # height = width in pixels; None = the images' own
    channels: Literal[1, 3] | None = None  # 1 grey, 3 RGB; None = the images' own
    shape: Literal["crop", "pad"] = "crop"  # how an image that is not square becomes one
    labels: str = ""  # path of a CSV file (image, label) with labels of a few training images; empty = none
    strict: bool = False  # refuse a source with unreadable images instead of skipping and naming them


class AugmentSettings(Settings):
    """What the user declares not to matter: a random transform of the images, with its strength; None = it matters."""

    shift: Annotated[float, Field(gt=0, le=0.5)] | None = None  # moves by up to this share of the side, both ways
    rotate: Annotated[float, Field(gt=0, le=180)] | None = None  # turns by up to so many degrees, both ways
    scale: Annotated[float, Field(gt=0, le=1)] | None = None  # s: scales by a factor between 1 / (1 + s) and 1 + s
    shear: Annotated[float, Field(gt=0, le=60)] | None = None  # slants by up to so many degrees, both ways
    elastic: Annotated[float, Field(gt=0, le=0.2)] | None = None  # smooth warp; standard deviation as share of the side
    flip: Annotated[float, Field(gt=0, le=1)] | None = None  # mirrors left to right with this probability
    crop: Annotated[float, Field(gt=0, le=0.9)] | None = None  # s: keeps an area between 1 - s and all, and enlarges it
    colour: Annotated[float, Field(gt=0, le=1)] | None = (
        None  # s: brightness, contrast, saturation times 1 - s to 1 + s
    )

    @property
    def strengths(self) -> dict[str, float]:
        """Those that are declared, by name."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


def is_code_name(name: str) -> bool:
    """Whether a code can be called so: up to 64 printable characters, no slash either way and no equals sign.

    Names are parts of assignments and of file names.
    """
    return 1 <= len(name) <= 64 and name == name.strip() and all(c not in "=/\\" and c.isprintable() for c in name)


def _code_name(name: str) -> str:
    if not is_code_name(name):
        raise ValueError(f"{name!r} can not be the name of a code: 1 to 64 characters, none of them = / \\")
    return name


CodeName = Annotated[str, AfterValidator(_code_name)]


class CategoricalCode(Settings):
    """A code that takes one of ``size`` values."""

    kind: Literal["categorical"] = "categorical"
    name: CodeName
    size: Annotated[int, Field(ge=2, le=10_000)]
    # uniform; one probability a value; or learned: how often the encoder finds each value in the training images.
    prior: Literal["uniform", "learned"] | tuple[Probability, ...] = "uniform"
    weight: Annotated[float, Field(ge=0)] = 1.0  # λ of this code in the information term

    @model_validator(mode="after")
    def _prior_is_a_distribution(self) -> Self:
        if not isinstance(self.prior, str):
            if len(self.prior) != self.size:
                raise ValueError(f"code {self.name!r} has {self.size} values but a prior of {len(self.prior)}")
            if abs(sum(self.prior) - 1) > 1e-6:
                raise ValueError(f"the prior of code {self.name!r} sums to {sum(self.prior):.6g}, not to 1")
        return self


class ContinuousCode(Settings):
    """A code that is uniform on [-1, 1]."""

    kind: Literal["continuous"] = "continuous"
    name: CodeName
    deviation: Annotated[float, Field(gt=0)] | None = None  # standard deviation of Q; None = learned, with a floor
    weight: Annotated[float, Field(ge=0)] = 1.0  # λ of this code in the information term


Code = Annotated[CategoricalCode | ContinuousCode, Field(discriminator="kind")]


class NoiseSettings(Settings):
    """The part z of the generator's input that carries no code."""

    size: Annotated[int, Field(ge=0, le=10_000)] = 62
    distribution: Literal["normal", "uniform"] = "normal"  # N(0, 1), or uniform on [-1, 1]


class NetworkSettings(Settings):
    """The shape of the players."""

    architecture: Literal["mlp", "conv", "paper", "post"] = "conv"
    width: Positive | None = None  # units or channels of the narrowest hidden layer; None = the architecture's own
    recognizer: Literal["shared", "separate"] = "separate"  # Q on the discriminator's trunk, or with a trunk of its own
    # On every layer of the discriminator (Miyato et al. 2018). None = off, unless `recipes.for_size` turns it on.
    spectral_norm: bool | None = None
    # An encoder reads the first categorical code instead of the recognizer. It learns on real images too, in stages.
    encoder: bool = False
    encoder_width: Positive = 16  # channels of its first layer
    # The discriminator is told the encoder's code: of a fake what it was made from, of a real what the encoder reads.
    conditional: bool = False
    pair_classifier: bool = (
        False  # tells which code two fakes share, or differ in, for the terms `sharing` and `varying`
    )


class ObjectiveSettings(Settings):
    """What the players play for."""

    kind: Literal["gan", "cgan", "infogan"] = "infogan"
    adversarial: Literal["non-saturating", "hinge", "relativistic"] = "non-saturating"
    # Which parts the information gradient reaches. The trunk counts only where the recognizer shares the
    # discriminator's. None = every part there is, which is what Chen et al.'s own code does.
    information_to: tuple[InformationTarget, ...] | None = None
    # How far reals and fakes are moved by chance, as a share of their side, before the discriminator sees them (Zhao et
    # al. 2020). It learns no places by heart, neither those of a few images nor those of the generator's sub-pixels.
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0


class Update(Settings):
    """One optimiser's move within a step: these players learn on these terms, everybody else is frozen."""

    networks: Annotated[tuple[NetworkName, ...], Field(min_length=1)]
    # Name in `terms.TERMS` -> weight, or (first, last): a weight that goes straight from one to the other.
    losses: Annotated[dict[str, float | tuple[float, float]], Field(min_length=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    # linear: to zero, over the second half of the stage; cosine: to a twentieth, over all of it.
    decay: Literal["none", "linear", "cosine"] = "none"

    @property
    def name(self) -> str:
        """The players' names joined by ``+``; what the statistics are filed under."""
        return "+".join(self.networks)

    @model_validator(mode="after")
    def _players_differ(self) -> Self:
        if len(set(self.networks)) < len(self.networks):
            raise ValueError(f"an update names a player twice: {', '.join(self.networks)}")
        if {"generator", "discriminator"} <= set(self.networks):
            raise ValueError("the generator and the discriminator want opposite things and need an update each")
        return self


class Stage(Settings):
    """A part of the training in which every step makes the same updates, in order."""

    name: str = "gan"
    share: Annotated[float, Field(gt=0)] = 1.0  # of `train.steps`, relative to the other stages' shares
    # Whether a budget makes it longer. A stage that does not stretch takes `share` steps, or fewer where time is short.
    scales_with_budget: bool = True
    batch_factor: Positive = 1  # the stage's batches are so many times `train.batch_size`
    # What is done once, before the first step. cluster: the training images are clustered by the encoder's features,
    # and its classes put where the clusters are; refine: an encoder whose clusters were not compact rests from here on;
    # prior: learned priors are set to the encoder's frequencies.
    on_start: tuple[Literal["cluster", "freeze_if_diffuse", "learn_prior"], ...] = ()
    updates: Annotated[tuple[Update, ...], Field(min_length=1)]


class TrainSettings(Settings):
    """Length, batch, seed and how often the run tells of itself."""

    steps: Positive = 4000  # of all stages together
    # A length in other words, from which the steps are worked out before the run begins; None = `steps` is meant.
    # Seconds for the whole run on this machine. auto: what images of their size need, by `recipes.for_size`.
    budget: Annotated[float, Field(gt=0)] | Literal["auto"] | None = None
    images_seen: Positive | None = None  # to be seen
    batch_size: Positive = 128  # over all workers
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    ema_half_life: Annotated[float, Field(ge=0)] = 10_000.0  # images until old weights count half; 0 = no averaging
    # What networks multiply in; losses, weights and moments are float32. auto: bfloat16 where the hardware has it.
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    compile: bool = False  # whether the networks' trunks and the generator are compiled to kernels of their own
    deterministic: bool = False  # whether a GPU, too, is to give the same bits each time
    # Parts that a batch is learned from one after another, in less memory: batch norm, contrast and balance look at one
    # at a time, and gradients are added up. A way to run a run, in which it may go on with another number.
    accumulation_steps: Positive = 1
    sync_batchnorm: bool = True  # whether batch norm goes by all workers' samples, or by each worker's own
    log_every: Positive = 100  # steps
    save_every: Positive = 1000  # steps between checkpoints; the last two are kept
    sample_every: Positive = 1000  # steps between sample grids
    # sheet: a column for each value of the first category, the same noise along a row; one-value: the post's picture,
    # 4x4 images of one category drawn at random.
    sample_grid: Literal["sheet", "one-value"] = "sheet"


# Options that say how to run a run and not what it is: it may go on with others.
RUNTIME_OPTIONS: dict[str, set[str]] = {"train": {"accumulation_steps"}}


class Config(Settings):
    """A whole training run as data."""

    data: DataSettings = DataSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    noise: NoiseSettings = NoiseSettings()
    codes: tuple[Code, ...] = ()
    augment: AugmentSettings = AugmentSettings()
    networks: NetworkSettings = NetworkSettings()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    train: TrainSettings = TrainSettings()

    @field_validator("codes", mode="before")
    @classmethod
    def _fill_in_names(cls, codes: Any) -> Any:
        """Codes without a name are called category, category2, ... and knob1, knob2, ..."""
        named, counts = [], {"categorical": 0, "continuous": 0}
        for code in codes if isinstance(codes, (list, tuple)) else []:
            if isinstance(code, dict) and isinstance(code.get("kind"), str) and code["kind"] in counts:
                counts[code["kind"]] += 1
                number = counts[code["kind"]]
                default = f"knob{number}" if code["kind"] == "continuous" else f"category{number if number > 1 else ''}"
                code = {"name": default, **code}
            named.append(code)
        return named if isinstance(codes, (list, tuple)) else codes

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.train.budget is not None and self.train.images_seen is not None:
            raise ValueError("the length is given as a budget and as images: one of them decides")
        names = [code.name for code in self.codes]
        if len(set(names)) < len(names):
            raise ValueError(f"two codes share a name: {', '.join(names)}")
        kind = self.objective.kind
        if kind == "gan" and self.codes:
            raise ValueError("a gan has no codes; use --objective infogan")
        if kind == "cgan" and (len(self.codes) > 1 or any(code.kind != "categorical" for code in self.codes)):
            raise ValueError("a cgan has one code, the label that comes with the images")
        if kind == "infogan" and not self.codes:
            raise ValueError("an infogan needs at least one code, e.g. --categorical 10")
        if self.noise.size == 0 and not self.codes and kind != "cgan":
            raise ValueError("the generator needs an input: noise.size is 0 and there is no code")
        uses = {term for stage in self.stages for update in stage.updates for term in update.losses}
        plays = {player for stage in self.stages for update in stage.updates for player in update.networks}
        if kind != "infogan" and ("information" in uses or plays & {"recognizer", "encoder"} or self.networks.encoder):
            raise ValueError(f"a {kind} has no recognizer, no encoder and no information term; its stages name one")
        for stage in self.stages:
            if {"infogan_cr", "variation_predictability"} <= {
                term for update in stage.updates for term in update.losses
            }:
                raise ValueError(f"stage {stage.name!r}: a comparer is told of codes in common or of others, not both")
        if (
            {"infogan_cr", "variation_predictability"} & uses or "pair_classifier" in plays
        ) and not self.networks.pair_classifier:
            raise ValueError("a stage needs a comparer, but networks.comparer is false")
        if self.networks.pair_classifier and len(self.codes) < 2:
            raise ValueError("networks.comparer tells several codes from one another: there must be two")
        if self.networks.conditional and not self.networks.encoder:
            raise ValueError("networks.conditional needs an encoder that reads a category in real images")
        if self.networks.encoder and not any(isinstance(code, CategoricalCode) for code in self.codes):
            raise ValueError("networks.encoder needs a categorical code to read, e.g. --categorical 10")
        if self.train.batch_size < 2 and (self.networks.architecture in NORMED or self.networks.encoder):
            raise ValueError("train.batch_size is 1, but batch norm needs two images or more to go by")
        begins = {action for stage in self.stages for action in stage.on_start}
        if not self.networks.encoder and (begins or uses & ENCODER_TERMS or "encoder" in plays):
            raise ValueError("a stage needs an encoder, but networks.encoder is false")
        if "supervised" in uses and not self.data.labels:
            raise ValueError("a term learns from a few labels, but data.labels names no file of them")
        if uses & VIEW_TERMS and not self.augment.strengths:
            raise ValueError("a term compares views of an image, but no invariance says how they may differ")
        if "r1" in uses and self.train.compile:
            raise ValueError("the term r1 needs second derivatives, which compiled networks do not have")
        learned = [code.name for code in self.codes if isinstance(code, CategoricalCode) and code.prior == "learned"]
        if learned and (not self.networks.encoder or learned != [self.encoder_code]):
            raise ValueError(f"the prior of {learned[-1]!r} can not be learned: the encoder does not read that code")
        if "trunk" in (self.objective.information_to or ()) and self.networks.recognizer == "separate":
            raise ValueError("objective.information_to names the trunk, but the separate recognizer shares none")
        if self.objective.information_to is not None and "recognizer" not in self.objective.information_to:
            raise ValueError("objective.information_to must name the recognizer: nobody else reads the codes")
        return self

    @property
    def category_sizes(self) -> tuple[int, ...]:
        """How many values each categorical code has."""
        return tuple(code.size for code in self.codes if isinstance(code, CategoricalCode))

    @property
    def encoder_code(self) -> str | None:
        """The name of the code that the encoder reads; None without an encoder."""
        names = [code.name for code in self.codes if isinstance(code, CategoricalCode)]
        return names[0] if self.networks.encoder and names else None

    def batch_size(self, stage: int) -> int:
        """The size of a stage's batches, over all workers."""
        return self.train.batch_size * self.stages[stage].batch_factor

    @property
    def largest_batch(self) -> tuple[int, int]:
        """The size of the largest batches, and how many times ``train.batch_size`` that is."""
        factor = max(stage.batch_factor for stage in self.stages)
        return self.train.batch_size * factor, factor

    def images_seen(self, steps: int) -> int:
        """How many images a run has looked at after so many steps."""
        seen, step = 0, 0
        while step < steps:
            stage, _, end = self.stage_at(step)
            seen += (min(end, steps) - step) * self.batch_size(stage)
            step = end
        return seen

    @property
    def information_to(self) -> frozenset[InformationTarget]:
        """The parts that the information gradient reaches, with the default filled in."""
        if self.objective.information_to is not None:
            return frozenset(self.objective.information_to)
        return frozenset({"generator", "recognizer", "trunk"})

    def stage_at(self, step: int) -> tuple[int, int, int]:
        """Where a step falls: (index of the stage, its first step, the step after its last)."""
        whole, done, start = sum(stage.share for stage in self.stages), 0.0, 0
        for index, stage in enumerate(self.stages):
            done += stage.share
            end = self.train.steps if index == len(self.stages) - 1 else round(self.train.steps * done / whole)
            if step < end:
                return index, start, end
            start = end
        raise IndexError(f"step {step} is past the last of {self.train.steps}")


def build(values: dict[str, Any]) -> Config:
    """Checks a tree of plain values and freezes it.

    Raises:
        UserError: the first thing that is wrong, named by its dotted key.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _as_user_error(error, Config) from error


def read(path: Path) -> dict[str, Any]:
    """Reads a TOML or JSON file of options as plain values, unchecked.

    Raises:
        UserError: the file is missing, not TOML / JSON, or not a table of options.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        language = "JSON" if path.suffix == ".json" else "TOML"
        raise UserError(f"the configuration {path} is not valid {language}: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"the configuration {path} holds a {type(values).__name__}, not a table of options")
    return values


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid on it: tables are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def override(values: dict[str, Any], assignment: str) -> dict[str, Any]:
    """Applies one ``section.key=value``; list items go by number (``stages.0.share=2``), values are written as in TOML.

    Raises:
        UserError: no ``=`` in it, or a path through something that is not a table or list.
    """
    path, equals, text = assignment.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise UserError(f"--set {assignment!r} is not of the form section.key=value")
    changed: dict[str, Any] = _assign(values, keys, _toml_value(text.strip()), assignment)
    return changed


def _assign(node: Any, keys: list[str], value: Any, assignment: str) -> Any:
    key, rest = keys[0], keys[1:]
    if isinstance(node, dict):
        return {**node, key: _assign(node.get(key, {}), rest, value, assignment) if rest else value}
    if isinstance(node, (list, tuple)) and key.isdigit() and int(key) < len(node):
        items = list(node)
        items[int(key)] = _assign(items[int(key)], rest, value, assignment) if rest else value
        return items
    allowed = f"a number below {len(node)}" if isinstance(node, (list, tuple)) else "nothing below it"
    raise UserError(f"--set {assignment!r}: there is no {key!r} at that place, which takes {allowed}")


def _toml_value(text: str) -> Any:
    # What is not TOML is taken as a plain string, so that nobody has to quote twice for the shell.
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _as_user_error(error: ValidationError, model: type[BaseModel]) -> UserError:
    """Pydantic's first complaint as one sentence, with the nearest valid name for an unknown key."""
    first = error.errors()[0]
    # Pydantic puts the tag of a discriminated union into the path; it is no key of ours.
    location = [str(part) for part in first["loc"] if part not in ("categorical", "continuous")]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        return unknown_name("option", key, _sibling_keys(model, location))
    if first["type"] == "missing":
        return UserError(f"option {key} is missing")
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return UserError(message)
    given = repr(first["input"])
    shown = f"{given[:60]}…" if len(given) > 60 else given
    return UserError(f"option {key} is {shown}: {message[0].lower()}{message[1:]}")


def _sibling_keys(model: type[BaseModel], location: list[str]) -> list[str]:
    """The dotted keys that would have been valid in place of ``location``."""
    fields: set[str] = set(model.model_fields)
    for depth, part in enumerate(location[:-1]):
        if part.isdigit():
            continue
        models = [found for found in _models_in(model.model_fields[part].annotation)]
        fields = set().union(*(found.model_fields for found in models))
        if not models:
            return [".".join(location[:depth])]
        model = models[0]
    return [".".join([*location[:-1], name]) for name in fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
