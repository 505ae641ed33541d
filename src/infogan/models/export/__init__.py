"""A trained model for others to run: without this package, in another language, on another runtime, or in a browser.

`graphs` has what all formats share. Each format is a module with one function that writes its files into an empty
folder; ``FORMATS`` names them.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from infogan.models.export import keras, onnx, program, site
from infogan.models.export.graphs import description
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError, unknown_name
from infogan.utils.files import atomic_folder, write_json

# Each writes a model's files into an empty folder: (model, folder), and the site's (model, folder, runtime=...).
FORMATS: dict[str, Callable[..., object]] = {
    "onnx": onnx.write,
    "pt2": program.write,
    "site": site.write,
    "keras": keras.write,
}
INDEX = "export.json"  # of an export's files, and what it is of


def export(model: InfoGAN, format: str, out: str | Path, *, runtime: str | Path | None = None) -> list[Path]:
    """Exports a model, all or nothing.

    Args:
        model: What to export.
        format: A key of ``FORMATS``.
        out: The folder to write: a new one, an empty one, or an earlier export, which is replaced once the new one is
            whole.
        runtime: For a site: the package onnxruntime-web, as a folder or .tgz; None = from the cache or through npm.

    Returns:
        The files written.

    Raises:
        UserError: no such format, a library that it needs is missing, ``out`` is something else than an export or can
            not be written, or what is exported would not give what the model gives.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if runtime is not None and format != "site":
        raise UserError(f"a runtime is for a site, and there is none in the format {format}")
    folder = Path(out).resolve()
    _check_free(folder)
    with atomic_folder(folder) as temporary:
        FORMATS[format](model, temporary, **({"runtime": runtime} if format == "site" else {}))
        made = sorted(path.name for path in temporary.iterdir())
        told = description(model, channels_last=format == "keras")
        files = {name: hashlib.sha256((temporary / name).read_bytes()).hexdigest() for name in made}
        write_json(temporary / INDEX, {"export": format, "files": files, "model": told})
    return [folder / name for name in [*made, INDEX]]


def _check_free(folder: Path) -> None:
    """Raises UserError where an export would take the place of anything but an export."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, and an export is a folder: choose another destination")
    there = {path.name for path in folder.iterdir()}
    try:
        known = {INDEX, *json.loads((folder / INDEX).read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        known = set()
    if there and not known:
        raise UserError(f"{folder} is not empty and holds no export: choose another destination")
    if others := sorted(there - known):
        raise UserError(
            f"{folder} holds {others[0]!r}, which is no part of the export there: choose another destination"
        )
