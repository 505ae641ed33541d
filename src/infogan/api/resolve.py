"""From options to the configuration of a run: the one place that knows what options mean.

`compose` puts a recipe, files, flags and assignments together, `validate` checks all that is known before the images
are read, and `resolve` fills in what depends on the images, the device or a clock. The command line, `infogan.fit` and
the estimator use the same three steps.
"""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import infogan
from infogan.config import presets
from infogan.config.load import Assignment, Number, build, merge, override, to_plain, whole_number
from infogan.config.migrate import migrate_options
from infogan.config.presets import AUTO, PRESETS, STRENGTHS, Options
from infogan.config.schema import Config
from infogan.data.dataset import ImageSet
from infogan.data.labels import FewLabels, read_labels
from infogan.data.properties import TRANSFORMS
from infogan.features import NamedVectors
from infogan.models.architectures import ImageShape
from infogan.models.networks import check_size
from infogan.training.count_clusters import CategoryRange, count_categories
from infogan.training.losses import LOSSES, check_losses
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import CALIBRATE
from infogan.training.time_budget import Timing, measure, with_stages, within
from infogan.utils import distributed
from infogan.utils.errors import UserError, unknown_name

DEFAULT_KNOB: Options = {"kind": "continuous", "weight": 0.1}  # for recipes without a continuous code
MAX_KNOBS = 10_000
MIN_IMAGES = 8  # with fewer, nothing is trained
FEW_IMAGES = 500  # with fewer, categories are a matter of luck: docs/recipe.md has the measurement
SMALL_BATCH = 32  # below which batches of the GAN do not shrink as long as those of the encoder can
RATE_OF_LARGE = 3e-4  # learning rate of the robust preset's GAN stage for images of more than ``presets.SMALL`` pixels


def compose(
    recipe: str,
    layers: Iterable[Mapping[str, Any]] = (),
    assignments: Iterable[Assignment] = (),
    *,
    categorical: Number | str | Sequence[Number | str] | None = None,
    continuous: Number | None = None,
    knobs: str | Iterable[str] = (),
    run: Path | None = None,
) -> Options:
    """Return the options of a recipe with further options on top.

    For ``objective.kind`` gan and cgan the codes, the recognizer, the encoder and all losses that need them are left
    out. Without a categorical code the encoder and its stages are left out. Numbers may be NumPy's or torch's.

    Args:
        recipe: A name in `presets.PRESETS`.
        layers: Trees of options, each on top of the one before; names of version 0.1 are accepted.
        assignments: ``section.key=value`` each, or pairs of ``section.key`` and the value; applied last.
        categorical: Number of categories of each categorical code, or of the only one, or ``"auto"``; None = as in the
            recipe and layers.
        continuous: Number of continuous codes that training finds; None = as in the recipe and layers.
        knobs: Continuous codes that follow a property, such as ``slant`` or ``rotate=20``, see `parse_knobs`.
        run: A run folder that may exist. A run that another version of infogan began keeps the options that it began
            with, whatever the recipe has become.

    Raises:
        UserError: There is no such recipe, an assignment cannot be applied, or the number of continuous codes is none.

    Example:
        >>> compose("paper", [{"train": {"seed": 1}}], ["noise.size=8"])["noise"]["size"]
        8
    """
    recipe = str(recipe)
    if recipe not in PRESETS:
        raise unknown_name("recipe", recipe, PRESETS)
    options_of_old_run = distributed.broadcast_from_rank0(lambda: _options_of_old_run(run))
    options = options_of_old_run or PRESETS[recipe]
    for layer in map(migrate_options, map(to_plain, layers)):
        options = merge(_without_length(options, layer), layer)
    sizes, declared = to_plain(categorical), parse_knobs(knobs)
    count = None if continuous is None else whole_number(continuous, "the number of continuous codes", 0, MAX_KNOBS)
    if sizes is not None or count is not None or declared:
        sizes = sizes if sizes is None or isinstance(sizes, list) else [sizes]
        options = {**options, "codes": _codes(sizes, count, declared, options.get("codes"))}
    assignments = [item if isinstance(item, str) else (str(item[0]), to_plain(item[1])) for item in assignments]
    for assignment in assignments:
        if isinstance(assignment, str) or assignment[1] is not None:  # None is no length in another unit
            options = _without_length(options, override({}, assignment))
    for assignment in assignments:
        options = override(options, assignment)
    try:
        return _complete(options)
    except (TypeError, KeyError, AttributeError):  # of a wrong type, which `build` reports
        return options


def validate(options: Options) -> Config:
    """Check options as far as that is possible before the images are known.

    Raises:
        UserError: An option is unknown or has a wrong value, or a loss is unknown or lacks something that it needs.
    """
    config = build(with_categories(options, 2) if counts_categories(options) else options)
    check_losses(config)
    return config


@dataclass(frozen=True)
class Plan:
    """A run that is ready to be trained.

    Attributes:
        config: The configuration, with the images' size and channels and the number of steps filled in.
        images: The training images.
        categories: How the number of categories was chosen, if it was to be.
        few_labels: The labels in the file ``data.labels``, if there is one.
        vectors: Of the images, from a pretrained encoder, if the options name one.
        timing: How long the run takes on this machine; None if that was not measured.
        warnings: Sentences: too few images, or too short a budget, for a good model.
        notes: Sentences on what was chosen.
    """

    config: Config
    images: ImageSet
    categories: CategoryRange | None = None
    few_labels: FewLabels | None = None
    vectors: NamedVectors | None = None
    timing: Timing | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def resolve(
    options: Options,
    images: ImageSet,
    device: str = "cpu",
    *,
    run: Path | None = None,
    timed: bool = True,
    vectors: NamedVectors | None = None,
) -> Plan:
    """Fill in what options leave to the images, the device and the clock.

    Args:
        options: From `compose`.
        images: The training images.
        device: The device whose speed turns a budget into steps.
        run: A run folder that may exist; such a run keeps its number of steps and of categories.
        timed: Whether to measure how long a run of the default length takes; a budget is always measured.
        vectors: Of the images, from a pretrained encoder.

    Raises:
        UserError: As `validate`; or the images do not fit the options.

    Example:
        >>> plan = resolve(compose("plain", [{"data": {"source": "digits"}}]), infogan.data.load("digits"))
        >>> plan.config.data.size
        8
    """
    with distributed.all_or_none():
        config = validate(options)
        few_labels = _check_images(config, images)
        options, warnings = _for_few_images(options, config, len(images))
    earlier = distributed.broadcast_from_rank0(lambda: _config_of_run(run))
    if config.objective.kind == "cgan":
        label = {"kind": "categorical", "name": "label", "size": len(images.label_names)}
        options = {**options, "codes": [label]}
    has_default_length = config.train.default_length
    options = _for_images(_with_augmentations(options, images, earlier), images)
    categories = None
    if counts_categories(options):
        if earlier is not None:
            count = earlier.category_sizes[0] if earlier.category_sizes else 2
        else:
            categories = count_categories(validate(options), images, device, vectors)
            # Two categories of one kind can be merged afterwards; one of two kinds cannot be split.
            count = max(categories.high, len(few_labels.names) if few_labels else 0)
        options = with_categories(options, count)
    with distributed.all_or_none():
        shape = {"size": images.size, "channels": images.channels}
        config = build({**options, "data": {**options.get("data", {}), **shape}})
        _check_categories(config, few_labels)
    timing = None
    if earlier is None and (config.train.budget is not None or (timed and has_default_length)):
        timing = measure(config, images, device, few_labels)
    if timing is not None and config.train.budget is not None:
        config, warning = within(config.train.budget, config, timing)
        warnings += [warning] if warning else []
    else:
        config = _with_length(config, earlier)
    return Plan(config, images, categories, few_labels, vectors, timing, tuple(warnings))


def counts_categories(options: Options) -> bool:
    """Return whether the number of categories is to be found."""
    codes = options.get("codes")
    return isinstance(codes, list) and any(map(_is_counted, codes))


def _is_counted(code: Any) -> bool:
    return isinstance(code, Mapping) and code.get("size") == AUTO


def with_categories(options: Options, count: int) -> Options:
    """Return the options with a number of categories in place of ``auto``.

    Raises:
        UserError: ``auto`` stands at another code than the first categorical one.
    """
    sized = [code for code in options["codes"] if isinstance(code, Mapping) and "size" in code]
    if any(map(_is_counted, sized[1:])):
        raise UserError("only the first categorical code can be auto: give the number of categories of the others")
    codes = [{**code, "size": count} if _is_counted(code) else code for code in options["codes"]]
    return {**options, "codes": codes}


def without_none(options: Options) -> Options:
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def parse_augmentations(text: str) -> dict[str, float]:
    """Return the strengths in a text such as ``shift,rotate=20``; without a number, the usual strength.

    Args:
        text: Names, or name=strength, separated by commas; ``none`` for no augmentation.

    Raises:
        UserError: A name is unknown, or a strength is not a number.

    Example:
        >>> parse_augmentations("shift,rotate=30")
        {'shift': 0.1, 'rotate': 30.0}
    """
    if text.strip() == "none":
        return {}
    strengths = {}
    for part in text.split(","):
        name, equals, number = (word.strip() for word in part.partition("="))
        if name not in STRENGTHS:
            raise unknown_name("augmentation", name, STRENGTHS)
        try:
            strengths[name] = float(number) if equals else STRENGTHS[name]
        except ValueError:
            raise UserError(f"the strength of {name!r} must be a number, not {number!r}") from None
    return strengths


def parse_knobs(texts: str | Iterable[str]) -> list[Options]:
    """Return codes that follow properties, from texts such as ``slant,rotate=20``; their names are the properties.

    Args:
        texts: Names of properties, or name=range, separated by commas; see `data.properties.TRANSFORMS`.

    Raises:
        UserError: A property is unknown or named twice, or a range is not a number or out of bounds.

    Example:
        >>> [code["name"] for code in parse_knobs(["slant,thickness", "rotate=20"])]
        ['slant', 'thickness', 'rotate']
    """
    codes: dict[str, Options] = {}
    for part in ",".join([texts] if isinstance(texts, str) else map(str, texts)).split(","):
        name, equals, number = (word.strip() for word in part.partition("="))
        if not name and not equals:
            continue
        if name not in TRANSFORMS:
            raise unknown_name("property", name, TRANSFORMS)
        if name in codes:
            raise UserError(f"the knob {name!r} is named twice")
        most = TRANSFORMS[name].most
        try:
            limit = float(number) if equals else 0.0
        except ValueError:
            limit = -1.0
        if not 0 <= limit <= most:
            raise UserError(f"the range of the knob {name!r} must be a number from 0 to {most:g}, not {number!r}")
        codes[name] = {"kind": "continuous", "name": name, "follows": name, "range": limit}
    return [*codes.values()]


# What `compose` completes.


def _complete(options: Options) -> Options:
    """Ask for the usual augmentations, and leave out what the objective and the codes have no use for."""
    if "augment" not in options:
        options = {**options, "augment": {"usual": True}}
    kind = options.get("objective", {}).get("kind", "infogan")
    declared = [code for code in options["codes"] if code.get("follows")]
    if declared and kind != "infogan":
        raise UserError(f"a {kind} has no knobs: leave out --knob, or use --objective infogan")
    if declared:
        codes = [{**presets.DECLARED_KNOB, **code} if code in declared else code for code in options["codes"]]
        options = {**options, "codes": codes, "stages": _with_reader(options["stages"])}
    categories = [code for code in options["codes"] if code["kind"] == "categorical"]
    features = options.get("features", {}).get("source")
    if features and not (kind == "infogan" and categories and options["networks"].get("encoder")):
        raise UserError(
            "pretrained features find the categories of an encoder: use --features with --recipe robust, and with "
            "categories"
        )
    if kind != "infogan":
        return {**_without_networks(options, {"recognizer", "encoder", "pair_classifier"}), "codes": []}
    if not options["networks"].get("encoder"):
        return options
    if not categories:
        return _without_networks(options, {"encoder"})
    if features and not features_are_chosen(options):
        options = with_features(options, features)
    if options.get("data", {}).get("labels"):
        options = {**options, "stages": [_supervised(stage) for stage in options["stages"]]}
    # The encoder's code has a learned prior unless it is given another.
    codes = [{"prior": "learned", **code} if code is categories[0] else code for code in options["codes"]]
    return {**options, "codes": codes}


def features_are_chosen(options: Options) -> bool:
    """Return whether it is to be found out if pretrained features are better than the run's own."""
    return str(options.get("features", {}).get("source", "")).partition(":")[0] == AUTO


def with_features(options: Options, source: str) -> Options:
    """Return the options of a run that uses pretrained features, or its own if ``source`` is empty."""
    options = {**options, "features": {**options["features"], "source": source}}
    if not source:
        return options
    networks = {"encoder_width": presets.DISTILLED_WIDTH, **options["networks"]}
    return {**options, "networks": networks, "stages": _distilled(options["stages"])}


def _distilled(stages: Iterable[Options]) -> list[Options]:
    """Return stages in which the encoder learns from pretrained features instead of training itself."""
    others = [stage for stage in stages if any(update["networks"] != ["encoder"] for update in stage["updates"])]
    return [presets.DISTILL, *others]


def _with_reader(stages: Sequence[Options]) -> list[Options]:
    """Return the stages with one in which the reader learns, before the first that trains the generator."""

    def trains(network: str, stage: Options) -> bool:
        return any(network in update["networks"] for update in stage["updates"])

    first = next((number for number, stage in enumerate(stages) if trains("generator", stage)), None)
    if first is None or any(trains("reader", stage) for stage in stages):
        return [*stages]
    generating = stages[first]
    read = {**presets.READ, "share": presets.READ["share"] * generating.get("share", 1.0)}
    calibrated = {**generating, "on_start": [*generating.get("on_start", ()), CALIBRATE]}
    return [*stages[:first], read, calibrated, *stages[first + 1 :]]


def _supervised(stage: Options) -> Options:
    """Return the stage with the loss on a few labels if categories start or are refined in it."""
    if not {"cluster", "freeze_if_diffuse"} & set(stage.get("on_start", ())):
        return stage
    first, *others = stage["updates"]
    losses = {"supervised": presets.SUPERVISED_WEIGHT, **first["losses"]}
    return {**stage, "updates": [{**first, "losses": losses}, *others]}


def _without_networks(options: Options, networks: Set[str]) -> Options:
    """Return the options without some networks and the losses that need them; empty updates and stages go, too."""
    needs = networks | ({"codes"} if "recognizer" in networks else set())
    lost = {name for name, loss in LOSSES.items() if loss.needs & needs}
    stages: list[Options] = []
    for stage in options["stages"]:
        updates = []
        for update in stage["updates"]:
            trained = [name for name in update["networks"] if name not in networks]
            losses = {name: weight for name, weight in update["losses"].items() if name not in lost}
            if trained and losses:
                updates.append({**update, "networks": trained, "losses": losses})
        if updates:
            hooks = [hook for hook in stage.get("on_start", ()) if hook == CALIBRATE]  # the others need an encoder
            stages.append({**stage, "on_start": hooks, "updates": updates})
    settings = {**options["networks"], "encoder": False, "conditional": False}
    if "pair_classifier" in networks:
        settings["pair_classifier"] = False
    return {**options, "networks": settings, "stages": stages}


def _without_length(options: Options, layer: Mapping[str, Any]) -> Options:
    """Return the options without their length if a layer has a length, whose unit may be another one."""
    train, changes = options.get("train"), layer.get("train")
    if not isinstance(train, Mapping) or not isinstance(changes, Mapping) or not presets.LENGTHS & changes.keys():
        return options
    return {**options, "train": {key: value for key, value in train.items() if key not in presets.LENGTHS}}


def _codes(
    categorical: Sequence[int | str] | None, continuous: int | None, declared: list[Options], codes: Any
) -> list[Options]:
    """Return the codes with other categorical or continuous ones; None or [] leaves those of a kind as they are."""
    codes = [code for code in codes if isinstance(code, dict)] if isinstance(codes, list) else []
    categories = [code for code in codes if code.get("kind") == "categorical"]
    if categorical is not None:
        categories = [{"kind": "categorical", "size": size} for size in categorical]
    knobs = [code for code in codes if code.get("kind") == "continuous"]
    declared = declared or [code for code in knobs if code.get("follows")]
    knobs = [code for code in knobs if not code.get("follows")]
    if continuous is not None:  # each like the first one
        settings = {key: value for key, value in (knobs[0] if knobs else DEFAULT_KNOB).items() if key != "name"}
        knobs = [settings] * continuous
    return categories + declared + knobs


def _config_of_run(run: Path | None) -> Config | None:
    """Return the configuration of a run that may exist."""
    return RunFolder(run).read_config() if run is not None and (run / "config.json").is_file() else None


def _options_of_old_run(run: Path | None) -> Options | None:
    """Return the options of a run if another version of infogan began it."""
    config = _config_of_run(run)
    sessions = RunFolder(run).read_environment() if run is not None and config is not None else []
    is_old = bool(sessions) and sessions[0].get("infogan") != infogan.__version__
    return config.model_dump(mode="json", exclude_none=True) if is_old and config is not None else None


# What `resolve` fills in.


def _check_images(config: Config, images: ImageSet) -> FewLabels | None:
    """Check the number, size and labels of the images; return the few labels that a person gave."""
    few_labels = read_labels(Path(config.data.labels), images) if config.data.labels else None
    categories = config.category_sizes[0] if config.networks.encoder else 0  # which start as clusters of images
    if len(images) < (least := max(MIN_IMAGES, 2 * categories)):
        needed = f"at least {least} are needed" + (f" for {categories} categories" if least > MIN_IMAGES else "")
        raise UserError(f"{images.source} has {len(images)} images; {needed}")
    check_size(config.networks, ImageShape(images.channels, images.size))
    if (bands := config.data.bands) and images.channels not in (1, 3) and max(bands) > images.channels:
        raise UserError(f"the bands are {bands}, but the images of {images.source} have {images.channels} channels")
    for code in config.declared:
        if code.follows is not None and code.range > (most := TRANSFORMS[code.follows].most):
            raise UserError(f"the range of the knob {code.name!r} is {code.range:g}, but at most {most:g} is possible")
    if images.channels != 3 and any(code.follows == "hue" for code in config.declared):
        raise UserError(f"the images of {images.source} are not in colour, so that no knob can follow their hue")
    if config.objective.kind == "cgan" and images.labels is None:
        raise UserError(f"a cgan needs a label for each image, but {images.source} has none")
    return few_labels


def _for_few_images(options: Options, config: Config, count: int) -> tuple[Options, list[str]]:
    """Return the options with batches of at most ``count`` images, and sentences about what few images mean.

    The batches of the encoder, which are several times as large as the GAN's, shrink first.
    """
    few = f"{count} images are few: do not rely on a model of fewer than {FEW_IMAGES} images"
    warnings = [few] if count < FEW_IMAGES else []
    (batch_size, factor), of_gan = config.largest_batch, config.train.batch_size
    if count >= batch_size:
        return options, warnings
    if config.networks.encoder or count < of_gan:
        factor = max(1, min(factor, count // SMALL_BATCH))
        of_gan = count // factor
        reason = f"{count} images are fewer than a batch of {batch_size}"
        warnings = [f"{reason}: batches have {of_gan * factor} images", *warnings]
    else:  # a reader alone has larger batches than there are images
        factor = count // of_gan
    stages = [{**stage, "batch_factor": min(factor, stage.get("batch_factor", 1))} for stage in options["stages"]]
    return {**options, "stages": stages, "train": {**options["train"], "batch_size": of_gan}}, warnings


def _check_categories(config: Config, few_labels: FewLabels | None) -> None:
    """Check that there are categories for all labels."""
    if not config.category_sizes:
        return
    categories = config.category_sizes[0]
    if few_labels is not None and len(few_labels.names) > categories:
        raise UserError(
            f"{config.data.labels} has {len(few_labels.names)} different labels, but there are only {categories} "
            "categories: ask for more categories"
        )


def _with_augmentations(options: Options, images: ImageSet, earlier: Config | None) -> Options:
    """Return the options with the usual augmentations if these are asked for, and contrast in all views of grey images.

    A run that began without contrast, in an earlier version, goes on without.
    """
    usual = presets.usual_augmentations(images.channels, known_factors=images.factors is not None)
    augment = {name: value for name, value in options["augment"].items() if value is not None}
    if augment.pop("usual", False):
        augment = usual
    elif augment and images.channels == 1 and (earlier is None or earlier.augment.colour is not None):
        augment = {"colour": usual["colour"], **augment}
    return {**options, "augment": augment}


def _for_images(options: Options, images: ImageSet) -> Options:
    """Return the options with the length, spectral norm, learning rates and evaluation that images of a form need.

    The default length depends on nothing else, so that the same command trains the same model on every machine.
    Learning rates and spectral norm change only where they are those of the robust recipe.
    """
    is_large = images.size > presets.SMALL
    evaluation, samples = options.get("evaluation", {}), presets.SAMPLED_VALUES // (images.channels * images.size**2)
    if evaluation.get("samples", presets.SAMPLES) == presets.SAMPLES > samples:
        options = {**options, "evaluation": {**evaluation, "samples": samples}}
    if options.get("train", {}).get("default_length"):
        encoder_factor, gan_factor = _length_factors(images)
        stages = [
            {**stage, "share": max(1, round(stage["share"] * (gan_factor if scales else encoder_factor)))}
            for stage in options["stages"]
            for scales in [stage.get("scales_with_budget", True)]
        ]
        length = {"steps": sum(stage["share"] for stage in stages), "default_length": False}
        options = {**options, "stages": stages, "train": {**options["train"], **length}}
    updates = [update for stage in options["stages"] for update in stage["updates"]]
    if not is_large or not any(map(_is_robust, updates)):
        return options
    networks = options["networks"]
    if networks.get("spectral_norm") is None:
        networks = {**networks, "spectral_norm": True}
    stages = [{**stage, "updates": [*map(_for_large, stage["updates"])]} for stage in options["stages"]]
    return {**options, "networks": networks, "stages": stages}


def _length_factors(images: ImageSet) -> tuple[float, float]:
    """Return the factors on the recipe's steps, of the encoder and of the GAN, for images of this number and form."""
    if len(images) * images.channels * images.size**2 < presets.TINY:
        return presets.STEPS_OF_TINY, presets.GAN_STEPS_OF_TINY
    factor = presets.STEPS_OF_LARGE if images.size > presets.SMALL else 1.0
    return 1.0, factor * (presets.STEPS_OF_COLOUR if images.channels > 1 else 1.0)


def _for_large(update: Options) -> Options:
    return {**update, "learning_rate": RATE_OF_LARGE} if _is_robust(update) else update


def _is_robust(update: Options) -> bool:
    """Return whether an update has the optimizer of the robust recipe's GAN stage for the same network."""

    def settings(update: Options) -> tuple[Any, ...]:
        return update["networks"][0], update.get("learning_rate"), update.get("beta2")

    return settings(update) in map(settings, PRESETS["robust"]["stages"][-1]["updates"])


def _with_length(config: Config, earlier: Config | None) -> Config:
    """Return the configuration with the steps of its number of images, or with those of the run that is resumed."""
    if config.train.images_seen is not None:
        total = sum(stage.share for stage in config.stages)
        per_step = sum(stage.share * config.batch_size(i) for i, stage in enumerate(config.stages)) / total
        return config.with_train(steps=max(len(config.stages), math.ceil(config.train.images_seen / per_step)))
    if config.train.budget is None or earlier is None:
        return config
    if len(earlier.stages) != len(config.stages):  # which `RunFolder.begin` reports
        return config
    shares = (stage.share for stage in earlier.stages)
    stages = (stage.model_copy(update={"share": share}) for stage, share in zip(config.stages, shares, strict=True))
    return with_stages(config, tuple(stages))
