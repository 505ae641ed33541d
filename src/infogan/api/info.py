"""Facts about a run or a model, for programs and for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infogan.models.infogan import InfoGAN
from infogan.training.run_dir import RunFolder


def info(location: str | Path) -> dict[str, Any]:
    """Return what a run folder, a model folder or ``hf://user/name`` holds, as plain values.

    Raises:
        UserError: As `InfoGAN.load`.

    Example:
        >>> info("runs/00000-digits")["steps_done"]
        4482
    """
    path = Path(location)
    is_run = (path / "environment.json").is_file()
    model = InfoGAN.load(location) if not is_run or (path / "model").is_dir() else None
    facts: dict[str, Any] = {"path": str(location), "kind": "run" if is_run else "model"}
    if is_run:
        facts |= _run_facts(RunFolder.existing(path))
    if model is not None:
        facts |= _model_facts(model)
    return facts


def _run_facts(run: RunFolder) -> dict[str, Any]:
    config, stats, metrics = run.read_config(), run.read_stats(), run.read_metrics()
    return {
        "objective": config.objective.kind,
        "data": config.data.source,
        "steps": config.train.steps,
        "steps_done": stats[-1]["step"] if stats else 0,
        "seed": config.train.seed,
        "features": config.features.source or None,
        "information_to": sorted(config.information_to) if config.objective.kind == "infogan" else [],
        "last_report": stats[-1] if stats else None,
        "last_metrics": metrics[-1] if metrics else None,
    }


def _model_facts(model: InfoGAN) -> dict[str, Any]:
    config = model.config
    return {
        "objective": config.kind,
        "image": [config.channels, config.size, config.size],
        "noise": config.noise.model_dump(mode="json"),
        "codes": [code.model_dump(mode="json") for code in config.codes],
        "names": {code: list(names) for code, names in config.names.items()},
        "architecture": config.networks.architecture,
        "recognizer": config.networks.recognizer if model.networks.recognizer else None,
        "encoder": model.first_categorical().name if model.networks.encoder else None,
        "parameters": model.parameter_count,
    }


def info_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return `info` for people: one fact per line."""
    lines = []
    for name, value in facts.items():
        if name == "codes":
            for code in value:
                size = f", {code['size']} values" if code["kind"] == "categorical" else ", from -1 to 1"
                lines.append(f"code {code['name']}: {code['kind']}{size}")
        elif isinstance(value, dict):
            lines += [f"{name.replace('_', ' ')}: {key} {entry}" for key, entry in value.items()]
        elif value is not None:
            text = " x ".join(map(str, value)) if name == "image" else value
            lines.append(f"{name.replace('_', ' ')}: {', '.join(text) if isinstance(text, list) else text}")
    return lines
