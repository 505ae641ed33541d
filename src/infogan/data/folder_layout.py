"""What the paths of image files imply: which files are images, and their splits and classes.

Hidden files are ignored. If the top-level folders are named like splits, ``train`` with ``test`` or ``val`` in any
capitalisation, they are the splits; otherwise all images are "train". The next level of folders are the classes, if
every image is in one and there are at least two. Folders that contain everything else are skipped over. Images are in
natural order of their paths (2.png before 10.png).
"""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from infogan.data.preprocess import image_extensions

SPLIT_NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation"),
}
# Endings and names of files that people keep next to images; any other file that is not read is reported.
DOCUMENTS = {
    *(".txt", ".md", ".rst", ".html", ".htm", ".css", ".js", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml"),
    *(".yml", ".toml", ".ini", ".cfg", ".log", ".py", ".ipynb", ".sh", ".bat", ".db", ".lock", ".pdf", ".xmp", ".aae"),
}
DOCUMENT_NAMES = {"readme", "license", "licence", "copying", "authors", "changelog", "makefile", "attributes"}
OUTPUT_MARKER = ".infogan"  # a file in folders that infogan fills with copies of images
LABELS_FILE = "dataset.json"  # of StyleGAN's data sets
MAX_LABELS_BYTES = 2**26


@dataclass(frozen=True)
class Layout:
    """Splits and classes of a set of images.

    Attributes:
        splits: The names of the images of each split, ``"train"`` and perhaps ``"test"``.
        class_of: The class of each image by name; None if it has none.
        classes: All classes, in the order of their labels, which is the same in every split.
    """

    splits: dict[str, list[str]]
    class_of: dict[str, str | None]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a folder, zip or Parquet table.

    Attributes:
        layout: Their splits and classes. Names are POSIX paths in natural order, or those in a table.
        open: Returns the content of an image by name. It raises UserError if the whole source cannot be read, and
            exceptions of many types if that image cannot.
        version: Returns a text that changes when the content of a file does: sizes, times or checksums.
        skipped: One line ``"name: reason"`` for each file that was left out.
    """

    layout: Layout
    open: Callable[[str], BinaryIO]
    version: Callable[[], str]
    skipped: Sequence[str] = ()


def layout_from_paths(names: Sequence[str], labels: Mapping[str, str] | None = None) -> tuple[Layout, dict[str, str]]:
    """Return the splits and classes that the paths of images imply, and the reason of each image that is in no split.

    Args:
        names: The paths, in natural order.
        labels: The class of images by path, which then replaces the folders as classes.
    """
    folders = {name: tuple(name.split("/")[:-1]) for name in names}
    depth = _common_depth(folders.values(), 0)
    top_of = {name: parts[depth] if len(parts) > depth else "" for name, parts in folders.items()}
    splits_of_folders = {top: split_of(top) for top in set(top_of.values())}
    found = {*splits_of_folders.values()} - {None}
    splits, left_out = {"train": list(names)}, {}
    if "train" in found and len(found) > 1:
        split_by_found = {"train": "train", "test" if "test" in found else "validation": "test"}
        splits = {"train": [], "test": []}
        for name, top in top_of.items():
            split = split_by_found.get(splits_of_folders[top] or "")
            if split is not None:
                splits[split].append(name)
            else:
                left_out[name] = f"in {top}/, which is no split that is used" if top else "in no split"
        folders = {name: folders[name] for members in splits.values() for name in members}
        depth = _common_depth(folders.values(), depth + 1)
    elif len(splits_of_folders) > 1 and None not in splits_of_folders.values():  # a test and a validation split
        depth = _common_depth(folders.values(), depth + 1)
    if labels is None:
        class_of = {name: parts[depth] if len(parts) > depth else None for name, parts in folders.items()}
    else:
        class_of = {name: labels.get(name) for name in folders}
    classes = sorted({name for name in class_of.values() if name is not None}, key=natural_key)
    return Layout(splits, class_of, tuple(classes)), left_out


def _common_depth(folders: Iterable[tuple[str, ...]], start: int) -> int:
    """Return the first level of folders, from ``start`` on, that differs between the images."""
    columns = zip(*(parts[start:] for parts in folders), strict=False)
    return start + sum(1 for _ in itertools.takewhile(lambda column: len({*column}) == 1, columns))


def split_of(folder: str) -> str | None:
    """Return the split that a folder of this name holds: ``train``, ``test``, ``validation``, or None.

    Example:
        >>> split_of("Valid")
        'validation'
    """
    return next((split for split, names in SPLIT_NAMES.items() if folder.lower() in names), None)


def parse_labels(content: bytes) -> dict[str, str] | None:
    """Return the class of each image in a ``dataset.json`` as StyleGAN has it; None if the file is something else.

    Without labels the result is empty: the folders of such a data set are not classes.
    """
    try:
        labels = json.loads(content)["labels"] or []
        pairs = [(name, label) for name, label in labels]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if all(isinstance(name, str) and type(label) is int for name, label in pairs):
        return {name.replace("\\", "/"): str(label) for name, label in pairs}
    return {}


def is_output_folder(files: Iterable[str]) -> bool:
    """Return whether a folder with these files was written by infogan: a run, a model, or sorted copies of images."""
    names = {*files}
    is_run_or_model = "config.json" in names and bool(names & {"environment.json", "model.safetensors"})
    return is_run_or_model or OUTPUT_MARKER in names


def without_output_folders(names: Sequence[str]) -> list[str]:
    """Return the paths that are not in a folder that infogan wrote, unless that is the top-level folder."""
    files_of: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        files_of.setdefault(folder, []).append(file)
    outputs = tuple(f"{folder}/" for folder, files in files_of.items() if folder and is_output_folder(files))
    return [name for name in names if not name.startswith(outputs)] if outputs else list(names)


def is_hidden(path: str) -> bool:
    """Return whether a file at this relative path is ignored."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def has_image_extension(name: str) -> bool:
    """Return whether a file of this name counts as an image."""
    return os.path.splitext(name)[1].lower() in image_extensions()


def unread_reason(name: str) -> str | None:
    """Return why a file without an image extension is left out; None for documents, which nobody expects to be read."""
    stem, ending = os.path.splitext(name.lower())
    if ending in DOCUMENTS or (not ending and stem in DOCUMENT_NAMES):
        return None
    if ending in (".heic", ".heif"):
        return f"{ending} needs pillow-heif (pip install 'infogan[heif]')"
    return f"{ending} is not read" if ending else "no file ending"


def natural_key(path: str) -> tuple[list[list[Any]], str]:
    """Return the key that sorts paths folder by folder and runs of digits as numbers, and 01.png before 1.png."""

    def split_numbers(part: str) -> list[Any]:
        texts: list[Any] = re.split("([0-9]+)", part)
        # Numbers compare by length, then by digits, because int() refuses very long ones.
        texts[1::2] = [(len(digits), digits) for digits in (number.lstrip("0") for number in texts[1::2])]
        return texts

    return [split_numbers(part) for part in path.split("/")], path
