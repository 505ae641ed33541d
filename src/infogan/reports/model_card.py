"""The card of a model: ``README.md`` for the Hugging Face Hub, with figures of generated images.

It describes what the model is, how to use it, and how its run was trained and evaluated. It contains no training images
and of file paths only the last part.
"""

import html
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from infogan.config.schema import CategoricalCode, Config
from infogan.evaluation.descriptions import current_code_names, latest_metrics, metric_rows
from infogan.models.infogan import InfoGAN
from infogan.models.serialization import README
from infogan.reports import figures, html_page
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

SAMPLES, N_SAMPLES = "samples.png", 64
SHEET_ROWS, SHEET_VALUES = 8, 20
KINDS = {
    "infogan": "An InfoGAN of {images}. Its generator makes images from latent codes, and its recognizer predicts the "
    "codes of any image of that size. What the codes mean was learned without labels.",
    "cgan": "A conditional GAN of {images}. Its generator makes images of a given label; it was trained with labels.",
    "gan": "A GAN of {images}. Its generator makes images from noise.",
}
LIMITS = {
    "infogan": (
        "Which value of a code has which meaning is arbitrary and differs between runs.",
        "The categories are groups that the images form on their own. Look at the figures above to see whether they "
        "are the groups that you have in mind.",
        "The model knows images like its training images. It assigns codes to any other image as well, and may be "
        "certain about them.",
    ),
    "cgan": ("It cannot recognise images; it generates them by label.",),
    "gan": ("It cannot recognise images, and what it generates is random.",),
}
_LICENSE = re.compile(r"[A-Za-z0-9.+-]{1,64}", re.ASCII)
_PATH = re.compile(r"[\"']?(~|[A-Za-z]:)?[/\\]|.*(^|[/\\])\.\.($|[/\\])")  # from a root, a home or a parent folder
_MARKDOWN = re.compile(r"([\\`*_\[\]|#~$!])")


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
    sheets = {code: f"traversal-{i}{_slug(code)}.png" for i, code in enumerate(model.layout.codes, 1)}
    lines = [*_front_matter(model, license), *_lead(model, run, repo_id), *_codes(model, sheets)]
    lines += [*_usage(model, repo_id), *(_training(model, run) if run else ()), *_limits(model, run, license)]
    images = {SAMPLES: figures.image_grid(model.sample(N_SAMPLES, seed=1).images, 8)}
    images |= {file: model.sheet(code, rows=SHEET_ROWS, limit=SHEET_VALUES) for code, file in sheets.items()}
    files = {name: html_page.png_bytes(image) for name, image in images.items()}
    return files | {README: ("\n".join(lines) + "\n").encode()}


def _front_matter(model: InfoGAN, license: str | None) -> Iterator[str]:
    """Yield the YAML metadata that the Hub sorts by."""
    yield "---"
    if license is not None:
        yield f"license: {json.dumps(license)}"
    yield "library_name: infogan"
    yield "pipeline_tag: unconditional-image-generation"
    yield "tags:"
    tags = ["infogan", "gan", "image-generation"]
    tags += ["clustering", "unsupervised", "disentanglement"] if model.config.kind == "infogan" else []
    yield from (f"- {tag}" for tag in tags)
    yield "---"


def _lead(model: InfoGAN, run: RunFolder | None, repo_id: str | None) -> Iterator[str]:
    config = model.config
    yield f"\n# {_escape(repo_id) if repo_id else 'A model by infogan'}\n"
    yield KINDS[config.kind].format(images=config.image_summary)
    yield f"\n![generated images]({SAMPLES})\n"
    yield "*Generated images, noise and codes at random.*\n"
    verdict = latest_metrics(run.read_metrics()).get("verdict") if run else None
    if verdict:
        trusted = "Trusted" if verdict["trust"] else "Not trusted"
        reason = re.sub(r"^((do )?not )?trust(ed)?: ", "", verdict["reason"])  # also of version 0.1
        yield f"**{trusted}**, judged from images alone, without labels. {_escape(html_page.sentence(reason))}"
    elif config.kind == "infogan":
        yield "**It is unknown whether to trust this model**: the card was written without the evaluation of its run."


def _codes(model: InfoGAN, sheets: Mapping[str, str]) -> Iterator[str]:
    if sheets:
        yield "\n## Codes"
    for code in model.config.codes:
        name = _escape(code.name)
        yield f"\n### {name}\n"
        yield f"![one column per value of {name}]({sheets[code.name]})\n"
        if isinstance(code, CategoricalCode):
            yield f"*A category of {code.size} values, one per column; all else is constant along a row.*"
            value_names = model.config.names.get(code.name, ())
            if rows := [[str(value), _escape(word)] for value, word in enumerate(value_names) if word]:
                yield from _table([f"value of {name}", "name"], rows)
        else:
            yield "*A knob that varies from -1 to 1 along the columns; all else is constant along a row.*"


def _usage(model: InfoGAN, repo_id: str | None) -> Iterator[str]:
    config = model.config
    values = {code.name: 0 if isinstance(code, CategoricalCode) else 0.5 for code in config.codes}
    codes = f"codes={json.dumps(values, ensure_ascii=False)}, " if values else ""
    shape = f"{config.channels}, {config.size}, {config.size}"
    yield "\n## Usage\n"
    yield "    pip install 'infogan[hub]'\n"
    yield "```python"
    yield "from infogan import InfoGAN\n"
    yield f"model = InfoGAN.from_pretrained({json.dumps(repo_id or 'path/to/this/folder')})"
    yield f"samples = model.sample(16, {codes}seed=1)"
    yield f"images = samples.images  # uint8 (16, {shape})"
    if model.networks.reads_codes:
        yield "encoding = model.encode(images)  # codes, probabilities, entropy"
    yield "```\n"
    if repo_id:
        yield f"Commands accept `hf://{repo_id}` instead of a folder: `infogan sample hf://{repo_id}`.\n"
    yield "The model consists of `config.json` and `model.safetensors`; loading it runs no code from these files."


def _training(model: InfoGAN, run: RunFolder) -> Iterator[str]:
    config, result = run.read_config(), latest_metrics(run.read_metrics())
    yield "\n## Training"
    facts = {name: value for name, value in _facts(model, run, config).items() if value}
    yield from _table(["", ""], [[name, _escape(value)] for name, value in facts.items()])
    if command := run.command():
        yield f"\n    {' '.join(shlex.join(map(strip_folders, command)).split())}"
    yield "\n## Evaluation\n"
    if not result:
        yield "The model was not evaluated."
        return
    if protocol := result.get("protocol"):
        source = config.data.source
        yield _escape(html_page.sentence(protocol.replace(source, strip_folders(source))))
    rows = metric_rows(result, current_code_names(config, model.layout.codes))
    yield from _table(["metric", "value", "meaning"], [list(map(_escape, row)) for row in rows])


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


def _limits(model: InfoGAN, run: RunFolder | None, license: str | None) -> Iterator[str]:
    yield "\n## Limits\n"
    for limit in LIMITS[model.config.kind]:
        yield f"- {limit}"
    yield f"- Images have {model.config.size}x{model.config.size} pixels, and knobs range from -1 to 1."
    if run is None:
        yield f"- How and on what it was trained is unknown. SHA-256 of the weights: {model.digest()}."
    if license is None:
        yield "- No license is stated: ask the owner before you use it."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _escape(text: str) -> str:
    """Return text on one line that Markdown shows literally."""
    return _MARKDOWN.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def strip_folders(word: str) -> str:
    """Return a word of a command, or a path, without the folders of the machine; relative paths stay."""
    key, equals, value = word.rpartition("=")
    return key + equals + (PureWindowsPath(value.strip("\"'")).name if _PATH.match(value) else value)


def _slug(name: str) -> str:
    """Return a code's name with a leading hyphen, reduced to letters that file names and URLs allow."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"-{slug}" if slug else ""
