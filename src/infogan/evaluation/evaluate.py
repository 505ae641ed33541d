"""A model and labelled images in, numbers out: the lines of ``metrics.jsonl``.

Labels serve for evaluation only. Where there is a test split, everything that needs fitting (which code means which
label, the feature space of the distance) is fitted on the training split and reported on the test split.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.config.schema import CategoricalCode, Code
from infogan.data.dataset import ImageSet, some_indices
from infogan.data.factors import Factors
from infogan.evaluation import verdict
from infogan.evaluation.descriptions import with_interval
from infogan.evaluation.metrics import clustering
from infogan.evaluation.metrics.disentanglement import disentanglement
from infogan.evaluation.metrics.fidelity import PCAFeatures, frechet_distance, kernel_distance
from infogan.evaluation.metrics.inception import InceptionFeatures
from infogan.evaluation.metrics.inception import obstacle as no_inception
from infogan.evaluation.metrics.information import categorical_information, continuous_information
from infogan.evaluation.metrics.intervals import bootstrap
from infogan.evaluation.metrics.neighbours import density_coverage, precision_recall
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError, unknown_name

MATCHED = 100_000  # training images, at most, whose labels say which category stands for which
FACTORED = 50_000  # images, at most, whose factors are compared with what is read in them
SAMPLES = 10_000  # generated images that information and distances are measured on
NEIGHBOURS = 5_000  # of them, those that are looked for among their neighbours: that takes the square of the time
SHARES = ("precision", "recall", "density", "coverage")
ALL = "all"  # in the place of names of metrics
DRAWS = 400  # of images, for an interval
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?\W?")  # with a sign for its unit, such as 10° or +6%
SCORES = {"mig": "MIG", "factorvae": "FactorVAE", "dci_disentanglement": "DCI", "sap": "SAP"}  # that papers report
IGNORED = 0.1  # nats: images that tell less of a code are drawn without heeding it


@dataclass(frozen=True, eq=False)
class Clouds:
    """Images as points of one feature space, (images, features) each and equally many.

    Attributes:
        space: The feature space's name.
        fakes: Generated images.
        reals: Of those that the numbers are of.
        others: Of the training images, where these are others; else None.
    """

    space: str
    fakes: NDArray[np.float64]
    reals: NDArray[np.float64]
    others: NDArray[np.float64] | None


@dataclass(frozen=True)
class EvaluationInputs:
    """What the metrics look at.

    Attributes:
        model: To be measured.
        train: Images for fitting.
        test: Images for reporting; None = there is no test split, and the training images serve for both.
        seed: Of the generated images.
        augmentations: What was declared not to matter, with strengths.
    """

    model: InfoGAN
    train: ImageSet
    test: ImageSet | None
    seed: int
    augmentations: Mapping[str, float] = field(default_factory=dict)

    @property
    def reported(self) -> ImageSet:
        """The images that the numbers are of."""
        return self.test or self.train

    @cached_property
    def clouds(self) -> Clouds:
        """In the components of the training images' pixels."""
        return self._clouds(PCAFeatures.fit(self.train.images))

    @cached_property
    def inception_clouds(self) -> Clouds:
        """In the features of the FID."""
        return self._clouds(InceptionFeatures())

    def _clouds(self, features: PCAFeatures | InceptionFeatures) -> Clouds:
        """As many samples, training images and images that are reported on as there are of the latter, or 10,000."""
        chosen = some_indices(len(self.reported), SAMPLES)
        others = some_indices(len(self.train), len(chosen))
        return Clouds(
            features.name,
            fakes=features(self.model.sample(len(chosen), seed=self.seed).images),
            reals=features(self.reported.images[chosen]),
            others=None if self.test is None else features(self.train.images[others]),
        )


def evaluate(evidence: EvaluationInputs, metrics: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures a model.

    Args:
        evidence: The model and the images.
        metrics: Names from ``METRICS``, or ``all`` for those that the model and the images allow; None = all of
            these but those that take long.

    Returns:
        Plain values: the numbers by name; under ``intervals`` the ends of those of 95 % that other images would have
        given (other seeds of the training would move the numbers further); under ``protocol`` what was measured on,
        and under ``protocols`` how, for each metric; with ``all``, under ``left_out`` why some could not be measured.

    Raises:
        UserError: an unknown metric, or one that this model or these images do not allow.
    """
    named = [name for name in metrics or () if name != ALL]
    for name in named:
        if name not in METRICS:
            raise unknown_name("metric", name, [ALL, *METRICS])
        if obstacle := METRICS[name].obstacle(evidence):
            raise UserError(f"metric {name!r} can not be measured: {obstacle}")
    everything = ALL in (metrics or ())
    others = [name for name, metric in METRICS.items() if everything or (not metrics and metric.by_default)]
    obstacles = {name: METRICS[name].obstacle(evidence) for name in others}
    chosen = list(dict.fromkeys([*named, *(name for name, why in obstacles.items() if not why)]))
    split = "fitted on train, reported on test" if evidence.test else "fitted and reported on the same images"
    result: dict[str, Any] = {}
    intervals: dict[str, list[float]] = {}
    if everything:
        result["left_out"] = {name: why for name, why in obstacles.items() if why}
    for name in chosen:
        measured = METRICS[name].measure(evidence)
        intervals |= measured.pop("intervals", {})
        result |= measured
    return result | {
        "intervals": intervals,
        "protocol": f"{evidence.reported.source}: {len(evidence.reported)} images, {split}",
        "protocols": {name: METRICS[name].protocol(evidence) for name in chosen},
    }


def _interval(statistic: Callable[..., Any], *arrays: NDArray[Any], **options: Any) -> list[float]:
    """The ends of the interval of 95 %, of what other images would have given."""
    found = bootstrap(statistic, *arrays, draws=DRAWS, **options)
    return [found.low, found.high]


def clusters(evidence: EvaluationInputs) -> dict[str, Any]:
    """How the first categorical code files real images, against their labels, and if its probabilities are true."""
    model, fitted, reported = evidence.model, evidence.train, evidence.reported
    assert fitted.labels is not None and reported.labels is not None
    code = model.first_categorical()
    read = model.encode(reported.images)
    found = read.codes[code.name]
    chosen = some_indices(len(fitted), MATCHED)
    learned = found[chosen] if reported is fitted else model.encode(fitted.images[chosen]).codes[code.name]
    classes = len(fitted.label_names)
    mapping = clustering.hungarian_mapping(learned, fitted.labels[chosen], code.size, classes)
    believed = clustering.calibration(mapping, read.probabilities[code.name], reported.labels, classes)
    compared = (found, reported.labels)
    return {
        "intervals": {
            "accuracy": _interval(lambda *drawn: clustering.accuracy(mapping, *drawn), *compared),
            "purity": _interval(clustering.purity, *compared, centred=True),
            "nmi": _interval(clustering.nmi, *compared, centred=True),
            "ari": _interval(clustering.ari, *compared, centred=True),
        },
        "accuracy": clustering.accuracy(mapping, found, reported.labels),
        "purity": clustering.purity(found, reported.labels),
        "nmi": clustering.nmi(found, reported.labels),
        "ari": clustering.ari(found, reported.labels),
        "calibration_error": believed.error,
        "brier": believed.brier,
        "log_loss": believed.log_loss,
    }


def information(evidence: EvaluationInputs) -> dict[str, Any]:
    """The bound L_I of each code on fresh samples, in nats, beside its entropy, and which codes are ignored.

    Beside the bound, an estimate that does not need the recognizer's probabilities: of the code and the category, or
    the mean, that is read. Both are below what images tell of the code.

    A category's information can not exceed its entropy. The entropy of a continuous code is a differential one and no
    ceiling: the better it is read, the more nats, up to what the floor of the deviation allows.
    """
    model = evidence.model
    samples = model.sample(SAMPLES, seed=evidence.seed)
    likelihoods = model.log_likelihoods(samples.images, samples.codes)
    entropies = {name: model.layout.entropy(name) for name in model.layout.codes}
    bounds = {name: float(values.mean()) + entropies[name] for name, values in likelihoods.items()}
    readings = model.encode(samples.images).codes
    estimates = {
        name: _estimated(code, samples.codes[name], readings[name]) for name, code in model.layout.codes.items()
    }
    ignored = [name for name, bound in bounds.items() if max(bound, estimates[name]) < IGNORED]
    intervals = {
        f"information/{name}": _interval(lambda drawn: drawn.mean(axis=-1), values + entropies[name], vectorised=True)
        for name, values in likelihoods.items()
    }
    return {
        "information": bounds,
        "information_estimate": estimates,
        "entropy": entropies,
        "ignored": ignored,
        "intervals": intervals,
    }


def _estimated(code: Code, values: NDArray[Any], readings: NDArray[Any]) -> float:
    estimate = categorical_information if isinstance(code, CategoricalCode) else continuous_information
    return estimate(values, readings)


def frechet(evidence: EvaluationInputs) -> dict[str, Any]:
    """The Fréchet distance of as many samples as there are reported images to them, and of the training images too."""
    return _frechet(evidence.clouds)


def kernel(evidence: EvaluationInputs) -> dict[str, Any]:
    """The kernel distance, with its standard error, where `frechet` has the Fréchet distance."""
    return _kernel(evidence.clouds, evidence.seed)


def inception(evidence: EvaluationInputs) -> dict[str, Any]:
    """Both distances in the features of the FID, where they are the FID and the KID."""
    return _frechet(evidence.inception_clouds) | _kernel(evidence.inception_clouds, evidence.seed)


def _frechet(clouds: Clouds) -> dict[str, Any]:
    result = {f"frechet_{clouds.space}": frechet_distance(clouds.fakes, clouds.reals)}
    if clouds.others is not None:
        result[f"frechet_{clouds.space}_train_to_test"] = frechet_distance(clouds.others, clouds.reals)
    return result


def _kernel(clouds: Clouds, seed: int) -> dict[str, Any]:
    name, found = f"kernel_{clouds.space}", kernel_distance(clouds.fakes, clouds.reals, seed=seed)
    result = {name: found.value, f"{name}_error": found.error}
    if clouds.others is not None:
        result[f"{name}_train_to_test"] = kernel_distance(clouds.others, clouds.reals, seed=seed).value
    return result


def neighbours(evidence: EvaluationInputs) -> dict[str, Any]:
    """Whether samples lie among real images and reach all of them, of at most 5,000 of either."""
    clouds = evidence.clouds
    chosen = some_indices(len(clouds.reals), NEIGHBOURS)
    reals, fakes = clouds.reals[chosen], clouds.fakes[chosen]
    shares = {**precision_recall(reals, fakes)._asdict(), **density_coverage(reals, fakes)._asdict()}
    return {f"{name}_{clouds.space}": share for name, share in shares.items()}


def factors(evidence: EvaluationInputs) -> dict[str, Any]:
    """How well single codes, as they are read in real images, stand for single factors that these are known to have.

    A knob is one number, a category one a value: how probable it is. Factors of which the images show one value alone
    are left out; those whose values have names that are no numbers are taken to be in no order.
    """
    known, chosen, varying, nominal = _factors_of(evidence)
    read = evidence.model.encode(evidence.reported.images[chosen]).to_array()
    compared = known.values[chosen][:, varying]
    return {"disentanglement": disentanglement(read, compared, nominal=nominal, seed=evidence.seed)}


def _factors_of(evidence: EvaluationInputs) -> tuple[Factors, NDArray[np.int64], NDArray[np.int64], list[int]]:
    """What is known of factors, the images that are looked at, the factors that vary, and which have no order."""
    known = evidence.reported.factors
    assert known is not None
    chosen = some_indices(len(known), FACTORED)
    varying = np.flatnonzero(np.ptp(known.values[chosen], axis=0) > 0)
    nominal = [at for at, factor in enumerate(varying) if known.value_names and _in_no_order(known.value_names[factor])]
    return known, chosen, varying, nominal


def _in_no_order(names: Sequence[str]) -> bool:
    return not all(NUMBER.fullmatch(name.strip()) for name in names)


def trust(evidence: EvaluationInputs) -> dict[str, Any]:
    """The verdict on the run, from images alone, and the traces it was found by."""
    model = evidence.model
    traces = verdict.collect_evidence(model, evidence.train.images, evidence.augmentations, evidence.seed)
    trusted, reason = verdict.judge(traces, model.first_categorical().name)
    return {"verdict": {"trust": trusted, "reason": reason, **asdict(traces)}}


# How each is measured, in words.


def _clusters_protocol(evidence: EvaluationInputs) -> str:
    matched = min(len(evidence.train), MATCHED)
    return (
        f"{len(evidence.reported)} images filed; values matched with labels, one to one, on {matched} "
        f"training images; intervals of 95 % from {DRAWS} draws of images"
    )


def _information_protocol(evidence: EvaluationInputs) -> str:
    return f"{SAMPLES} samples of seed {evidence.seed}, in nats; intervals of 95 % from {DRAWS} draws of samples"


def _clouds_protocol(evidence: EvaluationInputs) -> str:
    count = len(evidence.clouds.reals)
    return (
        f"{count} samples of seed {evidence.seed} and {count} images, in {evidence.clouds.space} of the training images"
    )


def _inception_protocol(evidence: EvaluationInputs) -> str:
    count, space = len(evidence.inception_clouds.reals), evidence.inception_clouds.space
    return f"{count} samples of seed {evidence.seed} and {count} images, in {space} of pytorch-fid"


def _neighbours_protocol(evidence: EvaluationInputs) -> str:
    count = min(NEIGHBOURS, len(evidence.clouds.reals))
    return (
        f"{count} samples and {count} images, in {evidence.clouds.space} of the training images; 3 neighbours for "
        "precision and recall, 5 for density and coverage"
    )


def _factors_protocol(evidence: EvaluationInputs) -> str:
    known, chosen, varying, nominal = _factors_of(evidence)
    names = [known.names[factor] for factor in varying]
    without = f" ({', '.join(names[at] for at in nominal)} in no order)" if nominal else ""
    return (
        f"codes read in {len(chosen)} images against {', '.join(names)}{without}; the conventions of docs/evaluation.md"
    )


def _trust_protocol(evidence: EvaluationInputs) -> str:
    return f"{len(evidence.train)} images of the training and samples of seed {evidence.seed}; no labels"


@dataclass(frozen=True)
class Metric:
    """A group of numbers that are measured together.

    Attributes:
        measure: The numbers by name; under ``intervals`` the ends of an interval for some of them.
        protocol: How they are measured here, in words.
        obstacle: Why they can not be measured here, in words; empty if they can.
        by_default: Whether they are measured where nobody names them; if not, they take long.
    """

    measure: Callable[[EvaluationInputs], dict[str, Any]]
    protocol: Callable[[EvaluationInputs], str]
    obstacle: Callable[[EvaluationInputs], str]
    by_default: bool = True


def _no_categories(evidence: EvaluationInputs) -> str:
    model = evidence.model
    if not model.networks.reads_codes:
        return f"a {model.config.kind} has no recognizer to file images with"
    return "" if model.layout.categorical else "the model has no categorical code"


def _no_clusters(evidence: EvaluationInputs) -> str:
    if obstacle := _no_categories(evidence):
        return obstacle
    if evidence.train.labels is None or evidence.reported.labels is None:
        return f"{evidence.train.source} has no labels to compare with"
    return ""


def _no_information(evidence: EvaluationInputs) -> str:
    return "" if evidence.model.networks.reads_codes else f"a {evidence.model.config.kind} has no recognizer"


def _too_few(evidence: EvaluationInputs) -> str:
    fewest = min(len(evidence.train), len(evidence.reported))
    return "" if fewest >= 100 else f"{fewest} images are too few to compare with generated ones; 100 are needed"


def _no_inception(evidence: EvaluationInputs) -> str:
    return _too_few(evidence) or no_inception()


def _no_factors(evidence: EvaluationInputs) -> str:
    if obstacle := _no_information(evidence):
        return obstacle
    known = evidence.reported.factors
    if known is None:
        return f"{evidence.reported.source} has no known factors to compare with"
    enough = len(known) >= 100 and np.ptp(known.values, axis=0).any()
    return "" if enough else "there are fewer than 100 images, or no factor that varies"


METRICS = {
    "clusters": Metric(clusters, _clusters_protocol, _no_clusters),
    "information": Metric(information, _information_protocol, _no_information),
    "frechet": Metric(frechet, _clouds_protocol, _too_few),
    "kernel": Metric(kernel, _clouds_protocol, _too_few),
    "inception": Metric(inception, _inception_protocol, _no_inception, by_default=False),
    "neighbours": Metric(neighbours, _neighbours_protocol, _too_few),
    "disentanglement": Metric(factors, _factors_protocol, _no_factors),
    "trust": Metric(trust, _trust_protocol, _no_categories),
}


def summary(result: dict[str, Any]) -> list[str]:
    """An evaluation's numbers as lines for people."""
    lines = []
    if "accuracy" in result:
        accuracy = with_interval(result, "accuracy", result["accuracy"], ".4f")
        lines.append(
            f"accuracy of the code, one category a label: {accuracy}; purity {result['purity']:.4f}, "
            f"NMI {result['nmi']:.4f}, ARI {result['ari']:.4f}"
        )
    if "calibration_error" in result:
        lines.append(
            f"its probabilities: calibration error {result['calibration_error']:.4f}, Brier score "
            f"{result['brier']:.4f}, log loss {result['log_loss']:.4f} nats"
        )
    for name, bound in result.get("information", {}).items():
        lines.append(
            f"mutual information of {name}: {bound:.3f} nats (entropy of the code {result['entropy'][name]:.3f})"
        )
    if estimates := result.get("information_estimate"):
        told = ", ".join(f"{name} {estimate:.3f}" for name, estimate in estimates.items())
        lines.append(f"the same by what is read alone: {told} nats")
    for name in result.get("ignored", ()):
        lines.append(f"{name} is ignored: images hardly tell which value of it they were made from")
    for name, value in result.items():
        if name.startswith("frechet"):
            lines.append(f"{name.replace('_', ' ')}: {value:.3f}")
        elif name.startswith("kernel") and not name.endswith("error"):
            error = f" +- {result[f'{name}_error']:.2g}" if f"{name}_error" in result else ""
            lines.append(f"{name.replace('_', ' ')}: {value:.3g}{error}")
        elif name.startswith("precision"):
            space = name.partition("_")[2]
            shares = (f"{kind} {result[f'{kind}_{space}']:.3f}" for kind in SHARES)
            lines.append(f"among neighbours in {space}: {', '.join(shares)}")
    if "disentanglement" in result:
        scores = result["disentanglement"]
        told = ", ".join(f"{called} {scores[name]:.3f}" for name, called in SCORES.items())
        lines.append(f"codes beside known factors: {told}")
    lines += [f"{name} was not measured: {why}" for name, why in result.get("left_out", {}).items()]
    lines.append(f"({result['protocol']})")
    if "verdict" in result:
        lines.append(result["verdict"]["reason"])
    return lines
