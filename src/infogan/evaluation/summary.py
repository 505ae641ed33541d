"""An evaluation as lines for the terminal: each number, whether it is good, and what it means."""

from collections.abc import Iterator, Mapping
from typing import Any

from infogan.evaluation.descriptions import with_interval
from infogan.models.results import Verdict

SHARES = ("precision", "recall", "density", "coverage")
PUBLISHED_SCORES = {"mig": "MIG", "factorvae": "FactorVAE", "dci_disentanglement": "DCI", "sap": "SAP"}


def summary(result: Mapping[str, Any]) -> list[str]:
    """Return an evaluation as lines, the verdict last, if there is one.

    Args:
        result: From `evaluation.evaluate`.

    Example:
        >>> summary(evaluate(inputs))[0]
        'accuracy, one category per label: 0.9871 (0.9851 to 0.9890): good; purity 0.9871, NMI 0.9640, ARI 0.9715'
    """
    lines = [*_cluster_lines(result), *_information_lines(result), *_distance_lines(result)]
    if scores := result.get("disentanglement"):
        text = ", ".join(f"{title} {scores[name]:.3f}" for name, title in PUBLISHED_SCORES.items())
        lines.append(f"disentanglement of known factors (1 is best): {text}")
    lines += [f"{name} was not measured: {obstacle}" for name, obstacle in result.get("left_out", {}).items()]
    lines.append(f"({result['protocol']})")
    return [*lines, *_verdict_lines(result)]


def _verdict_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each part of the verdict, and for each of its reasons."""
    if "verdict" not in result:
        return
    verdict = Verdict.parse(result["verdict"])
    if not verdict.evidence:  # of version 0.1
        yield verdict.reason
        return
    chance = f" (probability of right groups: {verdict.probability:.0%})" if verdict.probability is not None else ""
    yield f"rely on the groups of images: {verdict.groups}{chance}"
    yield f"rely on the generated pictures: {verdict.pictures}"
    yield from (f"- {reason}" for reason in verdict.reasons)


def grade(value: float, good: float, fair: float) -> str:
    """Return ``good``, ``fair`` or ``poor`` for a value that should be large, or small if ``good`` is below ``fair``.

    Example:
        >>> grade(0.95, good=0.9, fair=0.7), grade(4.0, good=3, fair=10)
        ('good', 'fair')
    """
    sign = 1 if good > fair else -1
    if sign * value >= sign * good:
        return "good"
    return "fair" if sign * value >= sign * fair else "poor"


def _cluster_lines(result: Mapping[str, Any]) -> Iterator[str]:
    if "accuracy" in result:
        accuracy = with_interval(result, "accuracy", result["accuracy"], ".4f")
        agreement = "purity {purity:.4f}, NMI {nmi:.4f}, ARI {ari:.4f}".format_map(result)
        word = grade(result["accuracy"], good=0.9, fair=0.7)
        yield f"accuracy, one category per label: {accuracy}: {word}; {agreement}"
    if "calibration_error" in result:
        errors = "Brier score {brier:.4f}, log loss {log_loss:.4f} nats".format_map(result)
        word = grade(result["calibration_error"], good=0.05, fair=0.15)
        yield f"probabilities differ from accuracy by {result['calibration_error']:.4f}: {word}; {errors}"


def _information_lines(result: Mapping[str, Any]) -> Iterator[str]:
    estimates = result.get("information_estimate", {})
    for name, bound in result.get("information", {}).items():
        if name in result.get("ignored", ()):
            yield f"{name} is ignored: images contain almost no information about it: poor"
            continue
        entropy = result["entropy"][name]
        best = max(bound, estimates.get(name, bound))  # both are lower bounds
        word = grade(best, good=0.9 * entropy, fair=0.5 * entropy)
        estimate = f"; model-free estimate {estimates[name]:.3f} nats" if name in estimates else ""
        yield f"mutual information of {name}: {bound:.3f} nats (entropy of the code {entropy:.3f}): {word}{estimate}"


def _distance_lines(result: Mapping[str, Any]) -> Iterator[str]:
    for name, value in result.items():
        if name.startswith(("frechet", "kernel")) and not name.endswith(("error", "train_to_test")):
            limit = result.get(f"{name}_train_to_test")
            error = f" +- {result[f'{name}_error']:.2g}" if f"{name}_error" in result else ""
            compared = ""
            if limit and limit > 0 and name.startswith("frechet"):
                multiple = value / limit
                compared = f", {multiple:.1f} times that of test images: {grade(multiple, good=3, fair=10)}"
            yield f"distance of generated to real images, {name.replace('_', ' ')}: {value:.3g}{error}{compared}"
        elif name.startswith("precision"):
            space = name.partition("_")[2]
            shares = (f"{share} {result[f'{share}_{space}']:.3f}" for share in SHARES)
            word = grade(min(value, result[f"recall_{space}"]), good=0.5, fair=0.2)
            yield f"generated among real images, in {space}: {', '.join(shares)}: {word}"
