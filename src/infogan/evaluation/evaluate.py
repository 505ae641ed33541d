"""Evaluation of a model on images: the numbers in ``metrics.jsonl``. Labels serve for evaluation only."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infogan.evaluation.descriptions import with_interval
from infogan.evaluation.metric_groups import METRICS, EvaluationInputs, MetricContext
from infogan.utils.errors import UserError, unknown_name

ALL = "all"  # stands for every metric that can be measured
MIN_SAMPLES = 100
SHARES = ("precision", "recall", "density", "coverage")
PUBLISHED_SCORES = {"mig": "MIG", "factorvae": "FactorVAE", "dci_disentanglement": "DCI", "sap": "SAP"}


def evaluate(
    inputs: EvaluationInputs,
    metrics: Sequence[str] | None = None,
    *,
    samples: int = 10_000,
    bootstrap_draws: int = 400,
) -> dict[str, Any]:
    """Evaluate a model.

    Args:
        inputs: The model and the images.
        metrics: Names from ``METRICS``, or ``all`` for those that the model and the images allow. Default: all of
            these except slow ones.
        samples: Number of generated images, at least 100. The numbers of real images that are used for distances,
            neighbours, factors and the verdict are at most proportional to it.
        bootstrap_draws: Number of draws for an interval, at least 2.

    Returns:
        Plain values: the metrics by name; ``intervals`` with the ends of 95 % intervals over images (other training
        seeds would vary more); ``protocol`` and ``protocols``, how each group was measured; with ``all``,
        ``left_out``, why some could not be measured.

    Raises:
        UserError: an unknown metric, one that this model or these images do not allow, or too small a count.

    Example:
        >>> evaluate(EvaluationInputs(model, train_images, test_images, seed=0), ["clusters"])["accuracy"]
    """
    if samples < MIN_SAMPLES or bootstrap_draws < 2:
        raise UserError(
            f"evaluation with {samples} samples and {bootstrap_draws} bootstrap draws; use at least {MIN_SAMPLES} "
            "samples and 2 draws"
        )
    metrics = metrics or ()
    all_metrics, names = ALL in metrics, [name for name in metrics if name != ALL]
    for name in names:
        if name not in METRICS:
            raise unknown_name("metric", name, [ALL, *METRICS])
        if obstacle := METRICS[name].obstacle(inputs):
            raise UserError(f"metric {name!r} cannot be measured: {obstacle}")
    result: dict[str, Any] = {}
    if all_metrics or not names:
        obstacles = {
            name: metric.obstacle(inputs) for name, metric in METRICS.items() if all_metrics or metric.by_default
        }
        names = list(dict.fromkeys([*names, *(name for name, obstacle in obstacles.items() if not obstacle)]))
        if all_metrics:
            result["left_out"] = {name: obstacle for name, obstacle in obstacles.items() if obstacle}
    context = MetricContext(**vars(inputs), samples=samples, bootstrap_draws=bootstrap_draws)
    intervals: dict[str, list[float]] = {}
    protocols: dict[str, str] = {}
    for name in names:
        measured = METRICS[name].measure(context)
        protocols[name] = measured.pop("protocol")
        intervals |= measured.pop("intervals", {})
        result |= measured
    split = "fitted on train, reported on test" if inputs.test else "fitted and reported on the same images"
    protocol = f"{inputs.reported.source}: {len(inputs.reported)} images, {split}"
    return result | {"intervals": intervals, "protocol": protocol, "protocols": protocols}


def summary(result: Mapping[str, Any]) -> list[str]:
    """Return an evaluation as lines for the terminal; the last one is the reason of the verdict, if there is one."""
    lines = [*_cluster_lines(result), *_information_lines(result), *_distance_lines(result)]
    if scores := result.get("disentanglement"):
        text = ", ".join(f"{title} {scores[name]:.3f}" for name, title in PUBLISHED_SCORES.items())
        lines.append(f"disentanglement of known factors: {text}")
    lines += [f"{name} was not measured: {obstacle}" for name, obstacle in result.get("left_out", {}).items()]
    lines.append(f"({result['protocol']})")
    if "verdict" in result:
        lines.append(result["verdict"]["reason"])
    return lines


def _cluster_lines(result: Mapping[str, Any]) -> Iterator[str]:
    if "accuracy" in result:
        accuracy = with_interval(result, "accuracy", result["accuracy"], ".4f")
        agreement = "purity {purity:.4f}, NMI {nmi:.4f}, ARI {ari:.4f}".format_map(result)
        yield f"accuracy, one category per label: {accuracy}; {agreement}"
    if "calibration_error" in result:
        errors = "error {calibration_error:.4f}, Brier score {brier:.4f}, log loss {log_loss:.4f} nats"
        yield f"calibration of its probabilities: {errors.format_map(result)}"


def _information_lines(result: Mapping[str, Any]) -> Iterator[str]:
    for name, bound in result.get("information", {}).items():
        yield f"mutual information of {name}: {bound:.3f} nats (entropy of the code {result['entropy'][name]:.3f})"
    if estimates := result.get("information_estimate"):
        text = ", ".join(f"{name} {estimate:.3f}" for name, estimate in estimates.items())
        yield f"mutual information (model-free estimate): {text} nats"
    for name in result.get("ignored", ()):
        yield f"{name} is ignored: images contain almost no information about it"


def _distance_lines(result: Mapping[str, Any]) -> Iterator[str]:
    for name, value in result.items():
        if name.startswith("frechet"):
            yield f"{name.replace('_', ' ')}: {value:.3f}"
        elif name.startswith("kernel") and not name.endswith("error"):
            error = f" +- {result[f'{name}_error']:.2g}" if f"{name}_error" in result else ""
            yield f"{name.replace('_', ' ')}: {value:.3g}{error}"
        elif name.startswith("precision"):
            space = name.partition("_")[2]
            shares = (f"{share} {result[f'{share}_{space}']:.3f}" for share in SHARES)
            yield f"neighbours in {space}: {', '.join(shares)}"
