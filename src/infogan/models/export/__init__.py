"""Export a trained model to run without this package: in another language or runtime, or in a browser.

`graphs` holds what all formats share. Each format is a module whose function ``write`` fills an empty folder.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from infogan.models.export import keras, onnx, program, site
from infogan.models.export.graphs import describe
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError, unknown_name
from infogan.utils.files import atomic_folder, write_json

# By format, the function that writes a model's files into an empty folder.
FORMATS: dict[str, Callable[..., object]] = {
    "onnx": onnx.write,
    "pt2": program.write,
    "site": site.write,
    "keras": keras.write,
}
INDEX = "export.json"  # lists the files of an export


def export(model: InfoGAN, format: str, out: str | Path, *, runtime: str | Path | None = None) -> list[Path]:
    """Export a model; on an error, the folder stays as it is.

    Args:
        model: The model.
        format: One of ``FORMATS``: ``onnx``, ``pt2``, ``site`` or ``keras``.
        out: Folder to write: a new or empty one, or an earlier export, which is replaced.
        runtime: For ``site``: the npm package onnxruntime-web, as a folder or .tgz; None = the cache, or npm.

    Returns:
        The paths of the files.

    Raises:
        UserError: an unknown format, a missing library, ``out`` is not an export or not writable, or the export does
            not compute what the model computes.

    Example:
        >>> export(model, "onnx", "digits-onnx")
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if runtime is not None and format != "site":
        raise UserError(f"a runtime is only used by the format site, not {format}")
    folder = Path(out).resolve()
    _check_replaceable(folder)
    with atomic_folder(folder) as temporary:
        FORMATS[format](model, temporary, **({"runtime": runtime} if format == "site" else {}))
        names = sorted(path.name for path in temporary.iterdir())
        hashes = {name: hashlib.sha256((temporary / name).read_bytes()).hexdigest() for name in names}
        description = describe(model, channels_last=format == "keras")
        write_json(temporary / INDEX, {"export": format, "files": hashes, "model": description})
    return [folder / name for name in [*names, INDEX]]


def _check_replaceable(folder: Path) -> None:
    """Raise UserError if the folder exists and holds anything but an export."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; an export is a folder: choose another destination")
    try:
        exported = {INDEX, *json.loads((folder / INDEX).read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        exported = set()
    if foreign := sorted({path.name for path in folder.iterdir()} - exported):
        raise UserError(f"{folder} holds {foreign[0]!r}, which is not part of an export: choose another destination")
