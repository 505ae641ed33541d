"""The groups of metrics of an evaluation: what each measures and what it needs.

Metrics that fit something (which category matches which label, the feature space of a distance) fit it on the training
split and are reported on the test split, if there is one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.config.schema import CategoricalCode
from infogan.data.dataset import ImageSet, some_indices
from infogan.evaluation import verdict
from infogan.evaluation.metrics import clustering, inception
from infogan.evaluation.metrics.disentanglement import disentanglement
from infogan.evaluation.metrics.fidelity import PCAFeatures, frechet_distance, kernel_distance
from infogan.evaluation.metrics.inception import InceptionFeatures
from infogan.evaluation.metrics.information import categorical_information, continuous_information
from infogan.evaluation.metrics.intervals import bootstrap
from infogan.evaluation.metrics.neighbours import density_coverage, precision_recall
from infogan.evaluation.picture_evidence import PictureEvidence, picture_evidence
from infogan.models.encoder import Encoder
from infogan.models.infogan import InfoGAN
from infogan.models.results import Samples

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
        first_stage: The encoder as it was before its categories formed, in whose features these are judged; None = not
            known.
        space: (training images, dimensions), features of a pretrained encoder, which these are judged in if there are
            some.
    """

    model: InfoGAN
    train: ImageSet
    test: ImageSet | None
    seed: int
    augmentations: Mapping[str, float] = field(default_factory=dict)
    first_stage: Encoder | None = None
    space: NDArray[np.float32] | None = None

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
        protocol: The numbers of images and the feature space, in words.
    """

    space: str
    generated: NDArray[np.float64]
    real: NDArray[np.float64]
    train: NDArray[np.float64] | None
    protocol: str


@dataclass(frozen=True, eq=False)
class CodeInformation:
    """What generated images contain about each code, in nats.

    Attributes:
        gains: (images,) by code, whose mean is the variational bound.
        estimates: By code, the estimate that uses only the predicted category or mean.
    """

    gains: dict[str, NDArray[np.floating[Any]]]
    estimates: dict[str, float]

    @property
    def bounds(self) -> dict[str, float]:
        """The variational bound of each code."""
        return {name: float(gains.mean()) for name, gains in self.gains.items()}

    @property
    def ignored(self) -> list[str]:
        """The codes that the generator ignores: both lower bounds are almost 0."""
        return [name for name, bound in self.bounds.items() if max(bound, self.estimates[name]) < IGNORED]


@dataclass(frozen=True, kw_only=True)
class MetricContext(EvaluationInputs):
    """Inputs of an evaluation with its sample counts, and features that several metrics share.

    Attributes:
        samples: Number of generated images; the numbers of real images are at most proportional to it.
        bootstrap_draws: Number of draws for an interval.
    """

    samples: int
    bootstrap_draws: int

    @cached_property
    def compared(self) -> NDArray[np.intp]:
        """Indices of the real images that generated ones are compared with."""
        return some_indices(len(self.reported), self.samples)

    @cached_property
    def generated(self) -> Samples:
        """As many generated images."""
        return self.model.sample(len(self.compared), seed=self.seed)

    @cached_property
    def pca_features(self) -> FeatureSets:
        """Features in the principal components of the training images."""
        return self._features(PCAFeatures.fit(self.train.images), "of the training images")

    @cached_property
    def inception_features(self) -> FeatureSets:
        """Features of the FID."""
        return self._features(InceptionFeatures(), "of pytorch-fid")

    def _features(self, space: PCAFeatures | InceptionFeatures, origin: str) -> FeatureSets:
        count = len(self.compared)
        return FeatureSets(
            space.name,
            generated=space(self.generated.images),
            real=space(self.reported.images[self.compared]),
            train=None if self.test is None else space(self.train.images[some_indices(len(self.train), count)]),
            protocol=f"{count} images generated with seed {self.seed}, {count} real images, in {space.name} {origin}",
        )

    @cached_property
    def code_information(self) -> "CodeInformation":
        """What generated images contain about each code."""
        samples = self.model.sample(self.samples, seed=self.seed)
        likelihoods = self.model.log_likelihoods(samples.images, samples.codes)
        predictions = self.model.encode(samples.images).codes
        estimates = {}
        for name, code in self.model.layout.codes.items():
            estimator = categorical_information if isinstance(code, CategoricalCode) else continuous_information
            estimates[name] = estimator(samples.codes[name], predictions[name])
        gains = {name: values + self.model.layout.entropy(name) for name, values in likelihoods.items()}
        return CodeInformation(gains, estimates)

    def interval(self, statistic: Callable[..., Any], *arrays: NDArray[Any], **options: Any) -> list[float]:
        """Return the ends of the 95 % bootstrap interval of a statistic over images."""
        interval = bootstrap(statistic, *arrays, draws=self.bootstrap_draws, **options)
        return [interval.low, interval.high]


@dataclass(frozen=True)
class Metric:
    """A group of metrics that are measured together.

    Attributes:
        measure: Returns the metrics by name; under ``protocol`` how they were measured, in words; optionally under
            ``intervals`` the ends of intervals of some of them.
        obstacle: Explains why they cannot be measured; empty if they can.
        by_default: Whether they are measured unless metrics are named; False for slow ones.
    """

    measure: Callable[[MetricContext], Result]
    obstacle: Callable[[EvaluationInputs], str]
    by_default: bool = True


def clusters(context: MetricContext) -> Result:
    """Measure how well the first categorical code agrees with labels, and whether its probabilities are calibrated."""
    model, train, reported = context.model, context.train, context.reported
    assert train.labels is not None and reported.labels is not None
    code, classes = model.first_categorical(), len(train.label_names)
    encoding = model.encode(reported.images)
    predicted, labels = encoding.codes[code.name], reported.labels
    matched = some_indices(len(train), 10 * context.samples)
    fitted = predicted[matched] if reported is train else model.encode(train.images[matched]).codes[code.name]
    mapping = clustering.hungarian_mapping(fitted, train.labels[matched], code.size, classes)
    statistics: dict[str, Callable[..., float]] = {
        "accuracy": partial(clustering.accuracy, mapping),
        "purity": clustering.purity,
        "nmi": clustering.nmi,
        "ari": clustering.ari,
    }
    calibration = clustering.calibration(mapping, encoding.probabilities[code.name], labels, classes)
    return {
        **{name: statistic(predicted, labels) for name, statistic in statistics.items()},
        "calibration_error": calibration.error,
        "brier": calibration.brier,
        "log_loss": calibration.log_loss,
        "intervals": {
            # Only the accuracy is not biased by images that recur in a draw.
            name: context.interval(statistic, predicted, labels, centred=name != "accuracy")
            for name, statistic in statistics.items()
        },
        "protocol": f"categories of {len(reported)} images; matched with labels, one to one, on {len(matched)} "
        f"training images; 95 % intervals from {context.bootstrap_draws} draws of images",
    }


def information(context: MetricContext) -> Result:
    """Measure, in nats, how much information generated images contain about each code, and which codes are ignored.

    ``information`` is the variational lower bound L_I (Chen et al. 2016), ``information_estimate`` an estimate that
    uses only the predicted category or mean, not the recognizer's probabilities; see `metrics.information`. Neither
    exceeds the information of the images, apart from their errors.

    The information of a category is at most its entropy. The entropy of a continuous code is differential and no upper
    limit: the more precisely the code is recognised, the more nats, up to the floor of the predicted deviation.
    """
    measured = context.code_information
    intervals = {
        f"information/{name}": context.interval(partial(np.mean, axis=-1), gains, vectorised=True)
        for name, gains in measured.gains.items()
    }
    return {
        "information": measured.bounds,
        "information_estimate": measured.estimates,
        "entropy": {name: context.model.layout.entropy(name) for name in measured.bounds},
        "ignored": measured.ignored,
        "intervals": intervals,
        "protocol": f"{context.samples} images generated with seed {context.seed}, in nats; 95 % intervals from "
        f"{context.bootstrap_draws} draws of images",
    }


def frechet(context: MetricContext) -> Result:
    """Measure the Fréchet distance of generated, and of training images, to equally many reported images."""
    return _frechet(context.pca_features)


def kernel(context: MetricContext) -> Result:
    """Measure the kernel distance of the sets of images that `frechet` compares, with its standard error."""
    return _kernel(context.pca_features, context.seed)


def inception_distances(context: MetricContext) -> Result:
    """Measure FID and KID: both distances in the features of the Inception network."""
    return _frechet(context.inception_features) | _kernel(context.inception_features, context.seed)


def _frechet(features: FeatureSets) -> Result:
    name = f"frechet_{features.space}"
    result: Result = {name: frechet_distance(features.generated, features.real), "protocol": features.protocol}
    if features.train is not None:
        result[f"{name}_train_to_test"] = frechet_distance(features.train, features.real)
    return result


def _kernel(features: FeatureSets, seed: int) -> Result:
    name, distance = f"kernel_{features.space}", kernel_distance(features.generated, features.real, seed=seed)
    result: Result = {name: distance.value, f"{name}_error": distance.error, "protocol": features.protocol}
    if features.train is not None:
        result[f"{name}_train_to_test"] = kernel_distance(features.train, features.real, seed=seed).value
    return result


def neighbours(context: MetricContext) -> Result:
    """Measure whether generated images lie among real ones and cover all of them."""
    features = context.pca_features
    indices = some_indices(len(features.real), context.samples // 2)  # the time grows with the square of their number
    real, generated = features.real[indices], features.generated[indices]
    shares = {**precision_recall(real, generated)._asdict(), **density_coverage(real, generated)._asdict()}
    return {
        **{f"{name}_{features.space}": share for name, share in shares.items()},
        "protocol": f"{len(indices)} of {features.protocol}; 3 neighbours for precision and recall, 5 for "
        "density and coverage",
    }


def factors(context: MetricContext) -> Result:
    """Measure how well single codes, as predicted for real images, represent single ground-truth factors.

    A knob is one column, a category one column of probabilities per value. Factors with a single value are left out;
    factors whose values have names that are not numbers are unordered.
    """
    table = context.reported.factors
    assert table is not None
    indices = some_indices(len(table), 5 * context.samples)
    values = table.values[indices]
    varying = np.flatnonzero(np.ptp(values, axis=0) > 0)
    names, value_names = [table.names[factor] for factor in varying], table.value_names
    nominal = [i for i, factor in enumerate(varying) if value_names and not _are_numbers(value_names[factor])]
    codes = context.model.encode(context.reported.images[indices]).to_array()
    unordered = f" ({', '.join(names[i] for i in nominal)} without an order)" if nominal else ""
    return {
        "disentanglement": disentanglement(codes, values[:, varying], nominal=nominal, seed=context.seed),
        "protocol": f"codes predicted for {len(indices)} images against {', '.join(names)}{unordered}; the conventions "
        "of docs/evaluation.md",
    }


def _are_numbers(names: Sequence[str]) -> bool:
    return all(NUMBER.fullmatch(name.strip()) for name in names)


def trust(context: MetricContext) -> Result:
    """Judge from images alone whether to rely on the groups and on the pictures of a run."""
    model, images, count = context.model, context.train.images, min(verdict.SAMPLES, context.samples)
    code = model.first_categorical()
    groups = verdict.collect_group_evidence(
        model, images, context.augmentations, context.seed, context.first_stage, context.space, samples=count
    )
    judged = verdict.judge(groups, _picture_evidence(context), code.name, code.size)
    structure = groups.structure
    follows = any(trace.name == "follows" and trace.answer != "yes" for trace in judged.evidence)
    return {
        "verdict": judged.to_dict(),
        "tree": [merge._asdict() for merge in structure.tree] if structure is not None else [],
        "example": list(structure.example) if structure is not None and structure.example and follows else [],
        "protocol": f"groups of {min(len(images), count)} training images; pictures: {len(context.compared)} images "
        f"generated with seed {context.seed} and as many real ones; no labels",
    }


def _picture_evidence(context: MetricContext) -> PictureEvidence:
    """Measure the pictures; without enough real images to compare with, whether their codes are read back alone."""
    model, code = context.model, context.model.first_categorical().name
    intended, recognised = context.generated.codes[code], model.encode(context.generated.images).codes[code]
    if _too_few_images(context):
        evidence = PictureEvidence(read_back=float((recognised == intended).mean()))
    else:
        features, rows = context.pca_features, slice(0, context.samples // 2)  # the time grows with their square
        filed = model.encode(context.reported.images[context.compared]).codes[code]
        evidence = picture_evidence(
            features.generated[rows], intended[rows], recognised[rows], features.real[rows], filed[rows], features.train
        )
    ignored = tuple(context.code_information.ignored)
    return replace(evidence, ignored=ignored, ignored_share=len(ignored) / len(model.layout.codes))


# Obstacles.


def _no_recognizer(inputs: EvaluationInputs) -> str:
    return "" if inputs.model.networks.reads_codes else f"a {inputs.model.config.kind} has no recognizer"


def _no_categories(inputs: EvaluationInputs) -> str:
    return _no_recognizer(inputs) or ("" if inputs.model.layout.categorical else "the model has no categorical code")


def _no_clusters(inputs: EvaluationInputs) -> str:
    unlabelled = inputs.train.labels is None or inputs.reported.labels is None
    return _no_categories(inputs) or (f"{inputs.train.source} has no labels to compare with" if unlabelled else "")


def _too_few_images(inputs: EvaluationInputs) -> str:
    count = min(len(inputs.train), len(inputs.reported))
    return "" if count >= MIN_IMAGES else f"{count} images are too few; at least {MIN_IMAGES} are needed"


def _no_inception(inputs: EvaluationInputs) -> str:
    return _too_few_images(inputs) or inception.obstacle()


def _no_factors(inputs: EvaluationInputs) -> str:
    table = inputs.reported.factors
    if obstacle := _no_recognizer(inputs):
        return obstacle
    if table is None:
        return f"{inputs.reported.source} has no known factors to compare with"
    varies = len(table) >= MIN_IMAGES and np.ptp(table.values, axis=0).any()
    return "" if varies else f"there are fewer than {MIN_IMAGES} images, or no factor varies"


METRICS = {
    "clusters": Metric(clusters, _no_clusters),
    "information": Metric(information, _no_recognizer),
    "frechet": Metric(frechet, _too_few_images),
    "kernel": Metric(kernel, _too_few_images),
    "inception": Metric(inception_distances, _no_inception, by_default=False),
    "neighbours": Metric(neighbours, _too_few_images),
    "disentanglement": Metric(factors, _no_factors),
    "trust": Metric(trust, _no_categories),
}
