"""The card of a model: a page in Markdown that says what it is and does, how it was made, and whether to trust it.

In flow what the model knows of itself and, where it is at hand, the run that made it; out flow ``README.md``, as the
Hugging Face Hub shows it, and the pictures that it names. All of them are generated ones: no image of the training set
is shown, and of paths of the machine only the last part.
"""

import html
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from infogan.config.schema import CategoricalCode, Config
from infogan.evaluation.descriptions import current_code_names, metric_rows
from infogan.models.infogan import InfoGAN
from infogan.models.serialization import README
from infogan.reports import figures, html_page
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

SAMPLES, N_SAMPLES = "samples.png", 64
SHEET_ROWS, SHEET_VALUES = 8, 20
KINDS = {
    "infogan": "An InfoGAN of {images}. A generator draws them from codes, and a recognizer reads the codes in any "
    "image of that size; which kinds of image the codes stand for, it has learned without labels.",
    "cgan": "A conditional GAN of {images}: a generator that draws them by labels, which it was given in training.",
    "gan": "A GAN of {images}: a generator that draws them from noise.",
}
LIMITS = {
    "infogan": (
        "Which value of a code stands for what is arbitrary, and another run will have it otherwise.",
        "The categories are kinds that the images fall into on their own. Whether they are the kinds that you have in "
        "mind, the pictures above say, and no number does.",
        "It knows images like those that it was trained on. Of any other image it says something all the same, and may "
        "be sure of it.",
    ),
    "cgan": ("It can not read images: it draws them by label.",),
    "gan": ("It can not read images, and nothing but chance says what it draws.",),
}
_LICENSE = re.compile(r"[A-Za-z0-9.+-]{1,64}", re.ASCII)
_PATH = re.compile(r"[\"']?(~|[A-Za-z]:)?[/\\]|.*(^|[/\\])\.\.($|[/\\])")  # from a root, a home or a folder above
_MARKS = re.compile(r"([\\`*_\[\]|#~$!])")  # of Markdown


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
    lines += [*_use(model, repo_id), *(_training(model, run) if run else ()), *_limits(model, run, license)]
    pictures = {SAMPLES: figures.image_grid(model.sample(N_SAMPLES, seed=1).images, 8)}
    pictures |= {file: model.sheet(code, rows=SHEET_ROWS, limit=SHEET_VALUES) for code, file in sheets.items()}
    files = {name: html_page.png_bytes(picture) for name, picture in pictures.items()}
    return files | {README: ("\n".join(lines) + "\n").encode()}


def _front_matter(model: InfoGAN, license: str | None) -> Iterator[str]:
    """What the Hub sorts by, as YAML."""
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
    yield f"\n# {_text(repo_id) if repo_id else 'A model by infogan'}\n"
    yield KINDS[config.kind].format(images=config.image_summary)
    yield f"\n![generated images]({SAMPLES})\n"
    yield "*Generated, with random noise and codes.*\n"
    verdict = _result(run).get("verdict") if run else None
    if verdict:
        trusted = "Trusted" if verdict["trust"] else "Not trusted"
        reason = re.sub(r"^(do not )?trust: ", "", verdict["reason"])
        yield f"**{trusted}**, by what images alone tell, without labels. {_text(html_page.sentence(reason))}"
    elif config.kind == "infogan":
        yield "**Nothing is known of whether to trust it**: its run was not at hand when this was written."


def _codes(model: InfoGAN, sheets: Mapping[str, str]) -> Iterator[str]:
    if sheets:
        yield "\n## What its codes do"
    for code in model.config.codes:
        name = _text(code.name)
        yield f"\n### {name}\n"
        yield f"![a column for each value of {name}]({sheets[code.name]})\n"
        if isinstance(code, CategoricalCode):
            yield f"*A category of {code.size} values, one a column; along a row everything else is held.*"
            called = model.config.names.get(code.name, ())
            if named := [[str(value), _text(word)] for value, word in enumerate(called) if word]:
                yield from _table([f"value of {name}", "called"], named)
        else:
            yield "*A knob from -1 to 1 along the columns; along a row everything else is held.*"


def _use(model: InfoGAN, repo_id: str | None) -> Iterator[str]:
    config = model.config
    held = {code.name: 0 if isinstance(code, CategoricalCode) else 0.5 for code in config.codes}
    codes = f"codes={json.dumps(held, ensure_ascii=False)}, " if held else ""
    shape = f"{config.channels}, {config.size}, {config.size}"
    yield "\n## How to use it\n"
    yield "    pip install 'infogan[hub]'\n"
    yield "```python"
    yield "from infogan import InfoGAN\n"
    yield f"model = InfoGAN.from_pretrained({json.dumps(repo_id or 'path/to/this/folder')})"
    yield f"samples = model.sample(16, {codes}seed=1)"
    yield f"images = samples.images  # uint8 (16, {shape})"
    if model.networks.reads_codes:
        yield "found = model.encode(images)  # codes, probabilities, entropy"
    yield "```\n"
    if repo_id:
        yield f"On the command line, `hf://{repo_id}` stands for a folder: `infogan sample hf://{repo_id}`.\n"
    yield "It is a `config.json` and a `model.safetensors`: nothing that is loaded can run code."


def _training(model: InfoGAN, run: RunFolder) -> Iterator[str]:
    config, result = run.read_config(), _result(run)
    yield "\n## How it was trained"
    yield from _table(["", ""], [[name, _text(value)] for name, value in _facts(model, run, config).items() if value])
    if command := run.command():
        yield f"\n    {' '.join(shlex.join(map(strip_folders, command)).split())}"
    yield "\n## Measured\n"
    if not result:
        yield "It was not measured."
        return
    if told := result.get("protocol"):
        yield _text(html_page.sentence(told.replace(config.data.source, strip_folders(config.data.source))))
    rows = metric_rows(result, current_code_names(config, model.layout.codes))
    yield from _table(["", "", "what it means"], [list(map(_text, row)) for row in rows])


def _facts(model: InfoGAN, run: RunFolder, config: Config) -> dict[str, str]:
    sessions, stats, incidents = run.read_environment(), run.read_stats(), run.read_incidents()
    last: Mapping[str, Any] = sessions[-1] if sessions else {}
    done, whole = (stats[-1]["step"] if stats else 0), config.train.steps
    versions = [f"{name} {last[name]}" for name in ("infogan", "python", "torch", "numpy") if name in last]
    strengths = [f"{name} {strength:g}" for name, strength in config.augment.strengths.items()]
    return {
        "images": f"{strip_folders(config.data.source)}: {model.config.image_summary}",
        "what does not matter": ", ".join(strengths),
        "codes": model.config.code_summary,
        "noise": f"{config.noise.size} numbers, {config.noise.distribution}",
        "networks": f"{config.networks.architecture}, {model.parameter_count:,} parameters",
        "length": f"{done} of {whole} steps, {config.images_seen(done)} images, seed {config.train.seed}",
        "stages": ", ".join(stage.name for stage in config.stages),
        "labels": "a few, by which categories were named" if config.data.labels else "",
        "made with": ", ".join([*versions, str(last.get("device", ""))]).rstrip(", "),
        "sessions": str(len(sessions)) if len(sessions) > 1 else "",
        "incidents": str(len(incidents)) if incidents else "",
        "SHA-256 of the images": str(sessions[0].get("data_digest", "")).partition(" ")[0] if sessions else "",
        "SHA-256 of the weights": model.digest(),
    }


def _limits(model: InfoGAN, run: RunFolder | None, license: str | None) -> Iterator[str]:
    yield "\n## Limits\n"
    for limit in LIMITS[model.config.kind]:
        yield f"- {limit}"
    yield f"- It draws and reads images of {model.config.size}x{model.config.size} pixels, and knobs from -1 to 1."
    if run is None:
        yield f"- How it was trained, and on what, is not known here. SHA-256 of the weights: {model.digest()}."
    if license is None:
        yield "- No license was given: ask whose it is before you use it."


def _result(run: RunFolder) -> dict[str, Any]:
    """What was measured; a later evaluation may be of some metrics alone."""
    result: dict[str, Any] = {}
    for line in run.read_metrics():
        result |= line
    return result


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _text(words: str) -> str:
    """Words that Markdown shows as they are."""
    return _MARKS.sub(r"\\\1", html.escape(" ".join(words.split()), quote=False))


def strip_folders(word: str) -> str:
    """A word of a command, or a path, without the folders of somebody's machine."""
    key, equals, value = word.rpartition("=")
    return key + equals + (PureWindowsPath(value.strip("\"'")).name if _PATH.match(value) else value)


def _slug(name: str) -> str:
    """What of a code's name can stand in a file name and an address."""
    kept = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"-{kept}" if kept else ""
