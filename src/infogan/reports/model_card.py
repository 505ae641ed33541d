"""The card of a model: ``README.md`` for the Hugging Face Hub, with figures of generated images.

It describes what the model is, how to use it, and how its run was trained and evaluated; its text is in
``templates/model_card.md``. It contains no training images and of file paths only the last part.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from infogan.config.schema import CategoricalCode, Config
from infogan.evaluation.descriptions import current_code_names, latest_metrics, metric_rows
from infogan.models.infogan import InfoGAN
from infogan.models.results import Verdict
from infogan.models.serialization import README
from infogan.reports import figures, html_page
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

SAMPLES, N_SAMPLES = "samples.png", 64
SHEET_ROWS, SHEET_VALUES = 8, 20
_LICENSE = re.compile(r"[A-Za-z0-9.+-]{1,64}", re.ASCII)
_PATH = re.compile(r"[\"']?(~|[A-Za-z]:)?[/\\]|.*(^|[/\\])\.\.($|[/\\])")  # from a root, a home or a parent folder


def card_files(model: InfoGAN, *, repo_id: str | None = None, license: str | None = None) -> dict[str, bytes]:
    """Return the card of a model, ``README.md``, and its figures, by file name.

    Args:
        model: The model. The card describes its training if ``model.run_path`` is a run folder.
        repo_id: Name on the Hub, ``user/name``; None = not known.
        license: Short name of the license, such as ``mit``; None = not stated.

    Raises:
        UserError: an invalid license, or the run is damaged or belongs to another model.
    """
    if license is not None and not _LICENSE.fullmatch(license):
        raise UserError(f"the license {license!r} is not a short name such as mit, apache-2.0 or cc-by-4.0")
    run = RunFolder(model.run_path) if model.run_path is not None and RunFolder.is_at(model.run_path) else None
    result = latest_metrics(run.read_metrics()) if run else {}
    sheets = {code: f"traversal-{i}{_slug(code)}.png" for i, code in enumerate(model.layout.codes, 1)}
    card = html_page.render(
        "model_card.md",
        config=model.config,
        repo_id=repo_id,
        license=license,
        verdict=Verdict.parse(result["verdict"]) if "verdict" in result else None,
        sheets=sheets,
        example_codes={code.name: 0 if isinstance(code, CategoricalCode) else 0.5 for code in model.config.codes},
        reads_codes=model.networks.reads_codes,
        training=_training(model, run, result) if run else None,
        digest=model.digest(),
    )
    images = {SAMPLES: figures.image_grid(model.shown(model.sample(N_SAMPLES, seed=1).images), 8)}
    images |= {file: model.sheet(code, rows=SHEET_ROWS, limit=SHEET_VALUES) for code, file in sheets.items()}
    return {name: html_page.png_bytes(image) for name, image in images.items()} | {README: card.encode()}


def _training(model: InfoGAN, run: RunFolder, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the card contains about a run: facts, command, and the metrics with their protocol."""
    config = run.read_config()
    source, facts = config.data.source, _facts(model, run, config)
    return {
        "facts": [[name, value] for name, value in facts.items() if value],
        "command": " ".join(shlex.join(map(strip_folders, run.command())).split()),
        "protocol": result.get("protocol", "").replace(source, strip_folders(source)),
        "metrics": metric_rows(result, current_code_names(config, model.layout.codes)),
        "evaluated": bool(result),
    }


def _facts(model: InfoGAN, run: RunFolder, config: Config) -> dict[str, str]:
    sessions, stats, incidents = run.read_environment(), run.read_stats(), run.read_incidents()
    session: Mapping[str, Any] = sessions[-1] if sessions else {}
    train, steps = config.train, stats[-1]["step"] if stats else 0
    versions = [f"{name} {session[name]}" for name in ("infogan", "python", "torch", "numpy") if name in session]
    augmentations = [f"{name} {strength:g}" for name, strength in config.augment.strengths.items()]
    return {
        "images": f"{strip_folders(config.data.source)}: {model.config.image_summary}",
        "augmentation": ", ".join(augmentations),
        "codes": model.config.code_summary,
        "noise": f"{config.noise.size} numbers, {config.noise.distribution}",
        "networks": f"{config.networks.architecture}, {model.parameter_count:,} parameters",
        "length": f"{steps} of {train.steps} steps, {config.images_seen(steps)} images, seed {train.seed}",
        "stages": ", ".join(stage.name for stage in config.stages),
        "labels": "a few, to name the categories" if config.data.labels else "",
        "environment": ", ".join([*versions, str(session.get("device", ""))]).rstrip(", "),
        "sessions": str(len(sessions)) if len(sessions) > 1 else "",
        "incidents": str(len(incidents)) if incidents else "",
        "SHA-256 of the images": str(sessions[0].get("data_digest", "")).partition(" ")[0] if sessions else "",
        "SHA-256 of the weights": model.digest(),
    }


def strip_folders(word: str) -> str:
    """Return a word of a command, or a path, without the folders of the machine; relative paths stay."""
    key, equals, value = word.rpartition("=")
    return key + equals + (PureWindowsPath(value.strip("\"'")).name if _PATH.match(value) else value)


def _slug(name: str) -> str:
    """Return a code's name with a leading hyphen, reduced to letters that file names and URLs allow."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"-{slug}" if slug else ""
