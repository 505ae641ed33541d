"""Evaluation of a model on images: the numbers in ``metrics.jsonl``. Labels serve for evaluation only."""

from collections.abc import Sequence
from typing import Any

from infogan.config.load import Number, to_plain, whole_number
from infogan.evaluation.metric_groups import METRICS, EvaluationInputs, MetricContext
from infogan.utils.determinism import neutral_state
from infogan.utils.errors import UserError, unknown_name

ALL = "all"  # stands for every metric that can be measured
MIN_SAMPLES = 100


@neutral_state()
def evaluate(
    inputs: EvaluationInputs,
    metrics: Sequence[str] | None = None,
    *,
    samples: Number = 10_000,
    bootstrap_draws: Number = 400,
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
    samples = whole_number(samples, "the number of samples", MIN_SAMPLES)
    bootstrap_draws = whole_number(bootstrap_draws, "the number of bootstrap draws", 2)
    metrics = to_plain(metrics) or ()
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
