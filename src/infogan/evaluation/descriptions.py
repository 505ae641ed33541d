"""What the metrics of an evaluation mean, in words, for tables in reports, model cards and the explorer."""

import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infogan.config.schema import Config
from infogan.utils.errors import UserError

_WORDS = {"yes": "good", "with care": "in doubt", "no": "bad"}  # by the best answer that a measurement allows
NO_LABELS = " (no labels needed)"
_MEANINGS: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def metric_rows(result: Mapping[str, Any], code_names: Mapping[str, str]) -> list[list[str]]:
    """Return a table of an evaluation: name, value and meaning of each metric.

    Args:
        result: An evaluation, as `evaluation.evaluate` returns it.
        code_names: Current name of each code by its name in ``result``.
    """

    def rows(group: str, values: Mapping[str, Any], form: str) -> list[list[str]]:
        return [
            [name.replace("_", " "), with_interval(result, name, values[name], form), meaning]
            for name, meaning in _MEANINGS[group].items()
            if values.get(name) is not None
        ]

    return [
        *rows("metrics", result, ".4f"),
        *rows("disentanglement", result.get("disentanglement", {}), ".4f"),
        *_information_rows(result, code_names),
        *(
            [
                name.replace("_", " "),
                f"{trace['value']:.4g}: {_WORDS[trace['answer']]} (limit {trace['limit']:g})",
                trace["meaning"] + NO_LABELS,
            ]
            for name, trace in result.get("verdict", {}).get("evidence", {}).items()
        ),
    ]


def _information_rows(result: Mapping[str, Any], code_names: Mapping[str, str]) -> Iterator[list[str]]:
    for name, bound in result.get("information", {}).items():
        value = f"{with_interval(result, f'information/{name}', bound, '.3f')} nats"
        meaning = f"information of images about the code, whose entropy is {result['entropy'][name]:.3f}"
        estimate = result.get("information_estimate", {}).get(name)  # missing in old evaluations
        if estimate is not None:
            meaning += f"; model-free estimate {estimate:.3f} nats"
        yield [f"information of {code_names.get(name, name)}", value, meaning]
    for name in result.get("ignored", ()):
        yield [code_names.get(name, name), "ignored", "images contain almost no information about this code"]


def with_interval(result: Mapping[str, Any], name: str, value: float, form: str) -> str:
    """Return a number as text, followed by its interval if there is one, e.g. "0.9812 (0.9785 to 0.9838)".

    Args:
        result: An evaluation.
        name: Key of the interval.
        value: The number.
        form: Format of the number and of the ends, e.g. ``.4f``.
    """
    interval = result.get("intervals", {}).get(name)
    return format(value, form) + (f" ({interval[0]:{form}} to {interval[1]:{form}})" if interval else "")


def latest_metrics(evaluations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the latest value of each metric; a later evaluation may contain only some metrics."""
    result: dict[str, Any] = {}
    for evaluation in evaluations:
        result |= evaluation
    return result


def current_code_names(config: Config, codes: Collection[str]) -> dict[str, str]:
    """Return the current name of each code by its name during training, which the files of the run contain.

    Args:
        config: Configuration of the run.
        codes: Current names of the codes, in order.

    Raises:
        UserError: the model has another number of codes than its run.
    """
    if len(config.codes) != len(codes):
        raise UserError(f"the model has {len(codes)} codes but its run has {len(config.codes)}: they do not match")
    return {code.name: name for code, name in zip(config.codes, codes, strict=True)}
