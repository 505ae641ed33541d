"""A model and labelled images in, numbers out: the lines of ``metrics.jsonl``.

Labels serve for evaluation only. Where there is a test split, everything that needs fitting (which code means which
label, the feature space of the distance) is fitted on the training split and reported on the test split.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from infogan import verdict
from infogan.data.imageset import ImageSet
from infogan.errors import UserError, unknown
from infogan.metrics import clustering
from infogan.metrics.fidelity import PCAFeatures, frechet_distance
from infogan.model import InfoGAN

SAMPLES = 10_000  # generated images that information and distance are measured on
IGNORED = 0.1  # nats: images that tell less of a code are drawn without heeding it


@dataclass(frozen=True)
class Evidence:
    """What the metrics look at.

    Attributes:
        model: To be measured.
        train: Images for fitting.
        test: Images for reporting; None = there is no test split, and the training images serve for both.
        seed: Of the generated images.
        invariances: What was declared not to matter, with strengths.
    """

    model: InfoGAN
    train: ImageSet
    test: ImageSet | None
    seed: int
    invariances: Mapping[str, float] = field(default_factory=dict)

    @property
    def reported(self) -> ImageSet:
        """The images that the numbers are of."""
        return self.test or self.train


def evaluate(evidence: Evidence, metrics: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures a model.

    Args:
        evidence: The model and the images.
        metrics: Names from ``METRICS``; None = all that the model and the labels allow.

    Returns:
        Plain values: the numbers by name, and under ``protocol`` what they were measured on.

    Raises:
        UserError: an unknown metric, or one that this model or these images do not allow.
    """
    for name in metrics or ():
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        if obstacle := METRICS[name].obstacle(evidence):
            raise UserError(f"metric {name!r} can not be measured: {obstacle}")
    chosen = metrics or [name for name, metric in METRICS.items() if not metric.obstacle(evidence)]
    split = "fitted on train, reported on test" if evidence.test else "fitted and reported on the same images"
    result: dict[str, Any] = {}
    for name in chosen:
        result |= METRICS[name].measure(evidence)
    return result | {"protocol": f"{evidence.reported.source}: {len(evidence.reported)} images, {split}"}


def clusters(evidence: Evidence) -> dict[str, Any]:
    """How the first categorical code files real images, against their labels."""
    model, fitted, reported = evidence.model, evidence.train, evidence.reported
    assert fitted.labels is not None and reported.labels is not None
    code = model.first_categorical()
    found = model.encode(reported.images).codes[code.name]
    learned = found if reported is fitted else model.encode(fitted.images).codes[code.name]
    mapping = clustering.hungarian_mapping(learned, fitted.labels, code.size, len(fitted.label_names))
    return {
        "accuracy": clustering.accuracy(mapping, found, reported.labels),
        "purity": clustering.purity(found, reported.labels),
        "nmi": clustering.nmi(found, reported.labels),
        "ari": clustering.ari(found, reported.labels),
    }


def information(evidence: Evidence) -> dict[str, Any]:
    """The bound L_I of each code on fresh samples, in nats, beside its entropy, and which codes are ignored.

    A category's information can not exceed its entropy. The entropy of a continuous code is a differential one and no
    ceiling: the better it is read, the more nats, up to what the floor of the deviation allows.
    """
    model = evidence.model
    samples = model.sample(SAMPLES, seed=evidence.seed)
    likelihoods = model.log_likelihoods(samples.images, samples.codes)
    entropies = {name: model.layout.entropy(name) for name in model.layout.codes}
    bounds = {name: float(values.mean()) + entropies[name] for name, values in likelihoods.items()}
    ignored = [name for name, bound in bounds.items() if bound < IGNORED]
    return {"information": bounds, "entropy": entropies, "ignored": ignored}


def frechet(evidence: Evidence) -> dict[str, Any]:
    """The Fréchet distance of as many samples as there are reported images to them, and of the training images too."""
    model, reported = evidence.model, evidence.reported
    features = PCAFeatures.fit(evidence.train.images)
    count = min(SAMPLES, len(reported))
    reals = features(np.ascontiguousarray(reported.images[:count]))
    fakes = features(model.sample(count, seed=evidence.seed).images)
    result = {f"frechet_{features.name}": frechet_distance(fakes, reals)}
    if evidence.test is not None:
        others = features(np.ascontiguousarray(evidence.train.images[:count]))
        result[f"frechet_{features.name}_train_to_test"] = frechet_distance(others, reals)
    return result


def trust(evidence: Evidence) -> dict[str, Any]:
    """The verdict on the run, from images alone, and the traces it was found by."""
    model = evidence.model
    traces = verdict.measure(model, evidence.train.images, evidence.invariances, evidence.seed)
    trusted, reason = verdict.judge(traces, model.first_categorical().name)
    return {"verdict": {"trust": trusted, "reason": reason, **asdict(traces)}}


@dataclass(frozen=True)
class Metric:
    """A group of numbers that are measured together.

    Attributes:
        measure: The numbers by name.
        obstacle: Why they can not be measured here, in words; empty if they can.
    """

    measure: Callable[[Evidence], dict[str, Any]]
    obstacle: Callable[[Evidence], str]


def _no_categories(evidence: Evidence) -> str:
    model = evidence.model
    if not model.networks.reads_codes:
        return f"a {model.config.kind} has no recognizer to file images with"
    return "" if model.layout.categorical else "the model has no categorical code"


def _no_clusters(evidence: Evidence) -> str:
    if obstacle := _no_categories(evidence):
        return obstacle
    if evidence.train.labels is None or evidence.reported.labels is None:
        return f"{evidence.train.source} has no labels to compare with"
    return ""


def _no_information(evidence: Evidence) -> str:
    return "" if evidence.model.networks.reads_codes else f"a {evidence.model.config.kind} has no recognizer"


def _too_few(evidence: Evidence) -> str:
    fewest = min(len(evidence.train), len(evidence.reported))
    return "" if fewest >= 100 else f"{fewest} images are too few for a covariance; 100 are needed"


METRICS = {
    "clusters": Metric(clusters, _no_clusters),
    "information": Metric(information, _no_information),
    "frechet": Metric(frechet, _too_few),
    "trust": Metric(trust, _no_categories),
}


def summary(result: dict[str, Any]) -> list[str]:
    """An evaluation's numbers as lines for people."""
    lines = []
    if "accuracy" in result:
        lines.append(
            f"accuracy of the code {result['accuracy']:.4f} (one category a label), purity {result['purity']:.4f}, "
            f"NMI {result['nmi']:.4f}, ARI {result['ari']:.4f}"
        )
    for name, bound in result.get("information", {}).items():
        lines.append(
            f"mutual information of {name}: {bound:.3f} nats (entropy of the code {result['entropy'][name]:.3f})"
        )
    for name in result.get("ignored", ()):
        lines.append(f"{name} is ignored: images hardly tell which value of it they were made from")
    for name, value in result.items():
        if name.startswith("frechet"):
            lines.append(f"{name.replace('_', ' ')}: {value:.3f}")
    lines.append(f"({result['protocol']})")
    if "verdict" in result:
        lines.append(result["verdict"]["reason"])
    return lines
