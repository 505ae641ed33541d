"""The groups of metrics of an evaluation: what each measures, how, and what it needs.

Metrics that fit something (which category matches which label, the feature space of a distance) fit it on the training
split and are reported on the test split, if there is one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.config.schema import CategoricalCode
from infogan.data.dataset import ImageSet, some_indices
from infogan.data.factors import Factors
from infogan.evaluation import verdict
from infogan.evaluation.metrics import clustering, inception
from infogan.evaluation.metrics.disentanglement import disentanglement
from infogan.evaluation.metrics.fidelity import PCAFeatures, frechet_distance, kernel_distance
from infogan.evaluation.metrics.inception import InceptionFeatures
from infogan.evaluation.metrics.information import categorical_information, continuous_information
from infogan.evaluation.metrics.intervals import bootstrap
from infogan.evaluation.metrics.neighbours import density_coverage, precision_recall
from infogan.models.infogan import InfoGAN

MIN_IMAGES = 100  # for metrics that compare sets of images
IGNORED = 0.1  # nats; a code with less information in images is ignored by the generator
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?\W?")  # with an optional sign for its unit, such as 10° or +6%

Result = dict[str, Any]


@dataclass(frozen=True)
class EvaluationInputs:
    """A model and the images to evaluate it on.

    Attributes:
        model: The model.
        train: Images for fitting.
        test: Images for reporting; None = there is no test split, and the training images serve for both.
        seed: Random seed of generated images.
        augmentations: Strength of each augmentation that the categories should ignore.
    """

    model: InfoGAN
    train: ImageSet
    test: ImageSet | None
    seed: int
    augmentations: Mapping[str, float] = field(default_factory=dict)

    @property
    def reported(self) -> ImageSet:
        """The images that the metrics are reported on."""
        return self.test or self.train


@dataclass(frozen=True, eq=False)
class FeatureSets:
    """Sets of images in one feature space, (images, features) each and equally many.

    Attributes:
        space: Name of the feature space.
        generated: Generated images.
        real: Images that the metrics are reported on.
        train: Training images; None if the metrics are reported on them.
    """

    space: str
    generated: NDArray[np.float64]
    real: NDArray[np.float64]
    train: NDArray[np.float64] | None


@dataclass(frozen=True)
class MetricContext:
    """Inputs of an evaluation, its sample counts, and features that several metrics share.

    Attributes:
        inputs: The model and the images.
        samples: Number of generated images; the numbers of real images are proportional to it.
        bootstrap_draws: Number of draws for an interval.
    """

    inputs: EvaluationInputs
    samples: int
    bootstrap_draws: int

    @cached_property
    def pca_features(self) -> FeatureSets:
        """Features in the principal components of the training images."""
        return self._features(PCAFeatures.fit(self.inputs.train.images))

    @cached_property
    def inception_features(self) -> FeatureSets:
        """Features of the FID."""
        return self._features(InceptionFeatures())

    def _features(self, space: PCAFeatures | InceptionFeatures) -> FeatureSets:
        inputs = self.inputs
        real = some_indices(len(inputs.reported), self.samples)
        train = some_indices(len(inputs.train), len(real))
        return FeatureSets(
            space.name,
            generated=space(inputs.model.sample(len(real), seed=inputs.seed).images),
            real=space(inputs.reported.images[real]),
            train=None if inputs.test is None else space(inputs.train.images[train]),
        )

    @property
    def matched_indices(self) -> NDArray[np.int64]:
        """Training images whose labels determine which category matches which label."""
        return some_indices(len(self.inputs.train), 10 * self.samples)

    @property
    def neighbour_indices(self) -> NDArray[np.int64]:
        """Images in the search for neighbours, whose time grows with the square of their number."""
        return some_indices(len(self.pca_features.real), self.samples // 2)

    def interval(self, statistic: Callable[..., Any], *arrays: NDArray[Any], **options: Any) -> list[float]:
        """Return the ends of the 95 % bootstrap interval of a statistic over images."""
        interval = bootstrap(statistic, *arrays, draws=self.bootstrap_draws, **options)
        return [interval.low, interval.high]


@dataclass(frozen=True)
class Metric:
    """A group of metrics that are measured together.

    Attributes:
        measure: Returns the metrics by name; under ``intervals`` the ends of intervals of some of them.
        protocol: Describes how they are measured.
        obstacle: Explains why they cannot be measured; empty if they can.
        by_default: Whether they are measured unless metrics are named; False for slow ones.
    """

    measure: Callable[[MetricContext], Result]
    protocol: Callable[[MetricContext], str]
    obstacle: Callable[[EvaluationInputs], str]
    by_default: bool = True


def clusters(context: MetricContext) -> Result:
    """Measure how well the first categorical code agrees with labels, and whether its probabilities are calibrated."""
    inputs, model = context.inputs, context.inputs.model
    train, reported = inputs.train, inputs.reported
    assert train.labels is not None and reported.labels is not None
    code, classes = model.first_categorical(), len(train.label_names)
    encoding = model.encode(reported.images)
    predicted, labels = encoding.codes[code.name], reported.labels
    matched = context.matched_indices
    fitted = predicted[matched] if reported is train else model.encode(train.images[matched]).codes[code.name]
    mapping = clustering.hungarian_mapping(fitted, train.labels[matched], code.size, classes)
    calibration = clustering.calibration(mapping, encoding.probabilities[code.name], labels, classes)
    return {
        "intervals": {
            "accuracy": context.interval(lambda *drawn: clustering.accuracy(mapping, *drawn), predicted, labels),
            "purity": context.interval(clustering.purity, predicted, labels, centred=True),
            "nmi": context.interval(clustering.nmi, predicted, labels, centred=True),
            "ari": context.interval(clustering.ari, predicted, labels, centred=True),
        },
        "accuracy": clustering.accuracy(mapping, predicted, labels),
        "purity": clustering.purity(predicted, labels),
        "nmi": clustering.nmi(predicted, labels),
        "ari": clustering.ari(predicted, labels),
        "calibration_error": calibration.error,
        "brier": calibration.brier,
        "log_loss": calibration.log_loss,
    }


def _clusters_protocol(context: MetricContext) -> str:
    return (
        f"categories of {len(context.inputs.reported)} images; matched with labels, one to one, on "
        f"{len(context.matched_indices)} training images; 95 % intervals from {context.bootstrap_draws} draws of images"
    )


def _no_categories(inputs: EvaluationInputs) -> str:
    if not inputs.model.networks.reads_codes:
        return f"a {inputs.model.config.kind} has no recognizer to assign categories"
    return "" if inputs.model.layout.categorical else "the model has no categorical code"


def _no_clusters(inputs: EvaluationInputs) -> str:
    if obstacle := _no_categories(inputs):
        return obstacle
    unlabelled = inputs.train.labels is None or inputs.reported.labels is None
    return f"{inputs.train.source} has no labels to compare with" if unlabelled else ""


def information(context: MetricContext) -> Result:
    """Measure, in nats, how much information generated images contain about each code, and which codes are ignored.

    ``information`` is the variational lower bound L_I (Chen et al. 2016), ``information_estimate`` an estimate that
    uses only the predicted category or mean, not the recognizer's probabilities; see `metrics.information`. Neither
    exceeds the information of the images, apart from their errors.

    The information of a category is at most its entropy. The entropy of a continuous code is differential and no upper
    limit: the more precisely the code is recognised, the more nats, up to the floor of the predicted deviation.
    """
    model, seed = context.inputs.model, context.inputs.seed
    samples = model.sample(context.samples, seed=seed)
    likelihoods = model.log_likelihoods(samples.images, samples.codes)
    entropies = {name: model.layout.entropy(name) for name in model.layout.codes}
    bounds = {name: float(values.mean()) + entropies[name] for name, values in likelihoods.items()}
    predictions = model.encode(samples.images).codes
    estimates = {}
    for name, code in model.layout.codes.items():
        estimator = categorical_information if isinstance(code, CategoricalCode) else continuous_information
        estimates[name] = estimator(samples.codes[name], predictions[name])
    intervals = {
        f"information/{name}": context.interval(
            lambda drawn: drawn.mean(axis=-1), values + entropies[name], vectorised=True
        )
        for name, values in likelihoods.items()
    }
    return {
        "information": bounds,
        "information_estimate": estimates,
        "entropy": entropies,
        "ignored": [name for name, bound in bounds.items() if max(bound, estimates[name]) < IGNORED],
        "intervals": intervals,
    }


def _information_protocol(context: MetricContext) -> str:
    return (
        f"{context.samples} generated images of seed {context.inputs.seed}, in nats; "
        f"95 % intervals from {context.bootstrap_draws} draws of images"
    )


def _no_recognizer(inputs: EvaluationInputs) -> str:
    return "" if inputs.model.networks.reads_codes else f"a {inputs.model.config.kind} has no recognizer"


def frechet(context: MetricContext) -> Result:
    """Measure the Fréchet distance of generated, and of training images, to equally many reported images."""
    return _frechet(context.pca_features)


def kernel(context: MetricContext) -> Result:
    """Measure the kernel distance of the sets of images that `frechet` compares, with its standard error."""
    return _kernel(context.pca_features, context.inputs.seed)


def inception_distances(context: MetricContext) -> Result:
    """Measure FID and KID: both distances in the features of the Inception network."""
    return _frechet(context.inception_features) | _kernel(context.inception_features, context.inputs.seed)


def _frechet(features: FeatureSets) -> Result:
    result = {f"frechet_{features.space}": frechet_distance(features.generated, features.real)}
    if features.train is not None:
        result[f"frechet_{features.space}_train_to_test"] = frechet_distance(features.train, features.real)
    return result


def _kernel(features: FeatureSets, seed: int) -> Result:
    name, distance = f"kernel_{features.space}", kernel_distance(features.generated, features.real, seed=seed)
    result = {name: distance.value, f"{name}_error": distance.error}
    if features.train is not None:
        result[f"{name}_train_to_test"] = kernel_distance(features.train, features.real, seed=seed).value
    return result


def neighbours(context: MetricContext) -> Result:
    """Measure whether generated images lie among real ones and cover all of them."""
    features, indices = context.pca_features, context.neighbour_indices
    real, generated = features.real[indices], features.generated[indices]
    shares = {**precision_recall(real, generated)._asdict(), **density_coverage(real, generated)._asdict()}
    return {f"{name}_{features.space}": share for name, share in shares.items()}


def _distance_protocol(context: MetricContext) -> str:
    features = context.pca_features
    return _features_protocol(features, len(features.real), context) + " of the training images"


def _inception_protocol(context: MetricContext) -> str:
    features = context.inception_features
    return _features_protocol(features, len(features.real), context) + " of pytorch-fid"


def _neighbours_protocol(context: MetricContext) -> str:
    features = _features_protocol(context.pca_features, len(context.neighbour_indices), context)
    return f"{features} of the training images; 3 neighbours for precision and recall, 5 for density and coverage"


def _features_protocol(features: FeatureSets, count: int, context: MetricContext) -> str:
    return f"{count} generated images of seed {context.inputs.seed} and {count} real images, in {features.space}"


def _too_few_images(inputs: EvaluationInputs) -> str:
    count = min(len(inputs.train), len(inputs.reported))
    return "" if count >= MIN_IMAGES else f"{count} images are too few; at least {MIN_IMAGES} are needed"


def _no_inception(inputs: EvaluationInputs) -> str:
    return _too_few_images(inputs) or inception.obstacle()


def factors(context: MetricContext) -> Result:
    """Measure how well single codes, as predicted for real images, represent single ground-truth factors.

    A knob is one column, a category one column of probabilities per value. Factors with a single value are left out;
    factors whose values have names that are not numbers are unordered.
    """
    inputs, ground_truth = context.inputs, _ground_truth(context)
    codes = inputs.model.encode(inputs.reported.images[ground_truth.indices]).to_array()
    scores = disentanglement(codes, ground_truth.values, nominal=ground_truth.nominal, seed=inputs.seed)
    return {"disentanglement": scores}


@dataclass(frozen=True)
class _GroundTruth:
    """Factors that vary: the images, their values (images, factors), the names, and the columns without an order."""

    indices: NDArray[np.int64]
    values: NDArray[np.int64]
    names: list[str]
    nominal: list[int]


def _ground_truth(context: MetricContext) -> _GroundTruth:
    table = context.inputs.reported.factors
    assert table is not None
    indices = some_indices(len(table), 5 * context.samples)
    varying = np.flatnonzero(np.ptp(table.values[indices], axis=0) > 0)
    nominal = [column for column, factor in enumerate(varying) if not _is_ordered(table, int(factor))]
    return _GroundTruth(indices, table.values[indices][:, varying], [table.names[i] for i in varying], nominal)


def _is_ordered(table: Factors, factor: int) -> bool:
    return not table.value_names or _are_numbers(table.value_names[factor])


def _are_numbers(names: Sequence[str]) -> bool:
    return all(NUMBER.fullmatch(name.strip()) for name in names)


def _factors_protocol(context: MetricContext) -> str:
    ground_truth = _ground_truth(context)
    unordered = ", ".join(ground_truth.names[column] for column in ground_truth.nominal)
    return (
        f"codes predicted for {len(ground_truth.indices)} images against {', '.join(ground_truth.names)}"
        f"{f' ({unordered} without an order)' if unordered else ''}; the conventions of docs/evaluation.md"
    )


def _no_factors(inputs: EvaluationInputs) -> str:
    if obstacle := _no_recognizer(inputs):
        return obstacle
    table = inputs.reported.factors
    if table is None:
        return f"{inputs.reported.source} has no known factors to compare with"
    if len(table) < MIN_IMAGES or not np.ptp(table.values, axis=0).any():
        return f"there are fewer than {MIN_IMAGES} images, or no factor varies"
    return ""


def trust(context: MetricContext) -> Result:
    """Judge from images alone whether to trust the run; includes the evidence for the verdict."""
    inputs = context.inputs
    samples = min(verdict.SAMPLES, context.samples)
    evidence = verdict.collect_evidence(
        inputs.model, inputs.train.images, inputs.augmentations, inputs.seed, samples=samples
    )
    trusted, reason = verdict.judge(evidence, inputs.model.first_categorical().name)
    return {"verdict": {"trust": trusted, "reason": reason, **asdict(evidence)}}


def _trust_protocol(context: MetricContext) -> str:
    return f"{len(context.inputs.train)} training images and generated images of seed {context.inputs.seed}; no labels"


METRICS = {
    "clusters": Metric(clusters, _clusters_protocol, _no_clusters),
    "information": Metric(information, _information_protocol, _no_recognizer),
    "frechet": Metric(frechet, _distance_protocol, _too_few_images),
    "kernel": Metric(kernel, _distance_protocol, _too_few_images),
    "inception": Metric(inception_distances, _inception_protocol, _no_inception, by_default=False),
    "neighbours": Metric(neighbours, _neighbours_protocol, _too_few_images),
    "disentanglement": Metric(factors, _factors_protocol, _no_factors),
    "trust": Metric(trust, _trust_protocol, _no_categories),
}
