"""Codes of any number of images, block by block: into one file, and on request into folders by category.

In flow a model and a `Stream` of images that need not fit into memory; out flows a CSV or Parquet file with a row an
image, in the images' order. Blocks are kept in a folder beside the file until all of them are there: what was stopped
goes on where it was, and several workers share the blocks. The first of them writes the file.
"""

import csv
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.data import Progress
from infogan.data.readers.parquet import import_parquet
from infogan.data.stream import Stream
from infogan.models.infogan import InfoGAN
from infogan.reports.figures import picture_of, save_picture
from infogan.utils import distributed
from infogan.utils.errors import UserError
from infogan.utils.files import atomic_write, file_lock, make_output_folder, write_json

BLOCK = 5_000  # images
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class EncodeJob:
    """What was read in images, and where it is kept meanwhile.

    Attributes:
        model: That reads.
        stream: The images.
        out: The file to write; Parquet if its name ends so, else CSV.
    """

    model: InfoGAN
    stream: Stream
    out: Path

    @property
    def parts(self) -> Path:
        """The folder of the blocks."""
        return self.out.parent / f".{self.out.name}.parts"

    @property
    def blocks(self) -> range:
        """The numbers of the blocks."""
        return range(-(-self.stream.count // BLOCK))

    def part(self, block: int) -> Path:
        """Where a block is kept."""
        return self.parts / f"{block:08d}.npz"


def encode_dataset(
    model: InfoGAN,
    stream: Stream,
    out: Path,
    *,
    sort: "Sorter | None" = None,
    progress: Progress | None = None,
) -> list[str]:
    """Writes the codes of images to a file, a row an image, in the data's order.

    The columns are ``image``, then for each code in order its value (a category by its name if it has one, else by its
    number) and, after a category, its probability; last ``entropy``, of the categories together, in nats.

    Args:
        model: That reads them.
        stream: The images.
        out: The file, replaced if it exists; Parquet if its name ends in ``.parquet``, else CSV.
        sort: What files the images under their category as well.
        progress: Told of the images read.

    Returns:
        A line ``"name: why"`` for each image that could not be used.

    Raises:
        UserError: a model that reads no codes, no usable image, a file or folder that can not be written, Parquet
            without its library, or another process that writes the same file.
    """
    filing = EncodeJob(model, stream, out)
    with distributed.all_or_none():
        model.require_recognizer()
        write = _write_parquet if out.suffix.lower() == ".parquet" else _write_csv
        if write is _write_parquet:
            import_parquet()
    with ExitStack() as stack:

        def begin() -> None:
            make_output_folder(filing.parts)
            stack.enter_context(file_lock(filing.parts / "writer.json", str(out)))
            _begin(filing)

        distributed.on_rank0(begin)
        with distributed.all_or_none():
            mine = range(distributed.rank(), len(filing.blocks), distributed.world_size())
            for block in mine:
                if not filing.part(block).is_file():
                    _read(filing, block)
                if progress is not None:
                    done = min((block + distributed.world_size()) * BLOCK, stream.count)
                    progress(f"reading codes in {stream.source}", done, stream.count)
        skipped: list[str] = [*stream.skipped]

        def end() -> None:
            rows = 0
            for _, part in _parts(filing):
                skipped.extend(part["skipped"].tolist())
                rows += len(part["names"])
            if not rows:
                raise UserError(f"{stream.source} has no usable image: {'; '.join(skipped[:3]) or 'it is empty'}")
            write(filing)
            if sort is not None:
                category = _column(list(model.layout.codes).index(model.first_categorical().name))
                for block, part in _parts(filing):
                    sort.file(part[category], part["names"].tolist(), partial(_images, filing, block))

        distributed.on_rank0(end)
    if distributed.is_rank0():
        shutil.rmtree(filing.parts, ignore_errors=True)
    return skipped


def _begin(filing: EncodeJob) -> None:
    """Keeps the blocks that are there if they are of the same model and images, and removes them otherwise."""
    stream = filing.stream
    what = {"model": filing.model.digest(), "images": stream.fingerprint, "count": stream.count, "block": BLOCK}
    what_path = filing.parts / "what.json"
    known = None
    with suppress(OSError, ValueError):
        known = json.loads(what_path.read_text())
    if known != what:
        for old in filing.parts.glob("*.npz"):
            old.unlink(missing_ok=True)
        write_json(what_path, what)


def _images(filing: EncodeJob, block: int) -> NDArray[np.uint8]:
    return filing.stream.read(block * BLOCK, (block + 1) * BLOCK).images


def _read(filing: EncodeJob, block: int) -> None:
    """Reads the codes of a block and keeps them."""
    images = filing.stream.read(block * BLOCK, (block + 1) * BLOCK)
    read = filing.model.encode(images.images)
    arrays: dict[str, NDArray[Any]] = {"names": np.array(list(images.names), np.str_), "entropy": read.entropy}
    arrays["skipped"] = np.array(images.skipped, np.str_)
    for place, name in enumerate(read.codes):
        arrays[_column(place)] = read.codes[name]
        if name in read.probabilities:
            arrays[f"{_column(place)}_probability"] = read.probabilities[name].max(axis=1)
    with atomic_write(filing.part(block)) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def _column(place: int) -> str:
    return f"code_{place}"  # a code's name may be any text


def _parts(filing: EncodeJob) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """The blocks with what was read in them, in order.

    Raises:
        UserError: one can not be read any more; it is removed, so that the same command reads it anew.
    """
    for block in filing.blocks:
        path = filing.part(block)
        try:
            with open(path, "rb") as content, np.load(content, allow_pickle=False) as file:
                part = dict(file)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            path.unlink(missing_ok=True)
            raise UserError(f"{path} can not be read any more: give the same command again") from error
        yield block, part


def _columns(filing: EncodeJob, part: dict[str, NDArray[Any]]) -> Columns:
    """A block as columns; categories by their names, numbers as they are."""
    model = filing.model
    columns: Columns = {"image": part["names"].tolist()}
    for place, name in enumerate(model.layout.codes):
        values = part[_column(place)].tolist()
        if f"{_column(place)}_probability" in part:
            columns[name] = [model.value_name(name, value) for value in values]
            columns[f"{name}_probability"] = part[f"{_column(place)}_probability"].tolist()
        else:
            columns[name] = values
    return columns | {"entropy": part["entropy"].tolist()}


def _write_csv(filing: EncodeJob) -> None:
    with (
        atomic_write(filing.out) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        for block, part in _parts(filing):
            columns = _columns(filing, part)
            if block == 0:
                writer.writerow(columns)
            texts = [
                [f"{value:.6f}" if isinstance(value, float) else value for value in values]
                for values in columns.values()
            ]
            writer.writerows(zip(*texts, strict=True))


def _write_parquet(filing: EncodeJob) -> None:
    parquet = import_parquet()
    import pyarrow as pa

    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_write(filing.out))
        writer = None
        for _, part in _parts(filing):
            columns = _columns(filing, part)
            # Parquet's text is UTF-8; a name that is none on this system is not either there.
            columns["image"] = [
                name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in columns["image"]
            ]
            fields = {
                name: pa.string() if values and isinstance(values[0], str) else pa.float32()
                for name, values in columns.items()
            }
            if writer is None and len(columns["image"]):
                writer = stack.enter_context(parquet.ParquetWriter(temporary, pa.schema(fields.items())))
            if writer is not None and len(columns["image"]):
                writer.write_table(pa.table(columns, schema=writer.schema))


class Sorter:
    """Files images under their category, one folder a value of the first categorical code.

    Images that are files are copied or linked; those of an array, a zip or a named data set are written as PNG.

    Args:
        model: With names for the values, or without.
        folder: Where to; made if missing.
        root: The folder in which the images are files, by their names; None where they are no files of their own.
        link: Whether to link files instead of copying them.

    Raises:
        UserError: the model has no category, ``folder`` is not empty, or it can not be written.
    """

    def __init__(self, model: InfoGAN, folder: Path, root: Path | None, *, link: bool) -> None:
        code = model.first_categorical()
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty: sorting into it would mix its files with the new ones")
        self._folder, self._root, self._link = folder, root, link
        self._folders = [folder / _safe_name(model.value_name(code.name, value)) for value in range(code.size)]

    @property
    def folders(self) -> list[Path]:
        """The folders, one a value."""
        return list(dict.fromkeys(self._folders))

    def file(self, values: NDArray[Any], names: Sequence[str], images: Callable[[], NDArray[np.uint8]]) -> None:
        """Files some images.

        Args:
            values: Of the category, one an image.
            names: Of the images.
            images: Gives them, where they are needed.

        Raises:
            UserError: the folder can not be written.
        """
        drawn = images() if self._root is None else np.empty(0, np.uint8)
        try:
            for target in self._folders:
                target.mkdir(parents=True, exist_ok=True)
            for index, (value, name) in enumerate(zip(values.tolist(), names, strict=True)):
                # Two folders may hold files of one name: the whole path makes the new one.
                target = self._folders[value] / _safe_name(name)
                if self._root is None:
                    file = f"{_safe_name(Path(name).with_suffix('').as_posix())}.png"
                    save_picture(picture_of(drawn[index]), self._folders[value] / file)
                elif self._link:
                    os.symlink((self._root / name).resolve(), target)
                else:
                    shutil.copyfile(self._root / name, target)
        except OSError as error:
            raise UserError(f"cannot sort images into {self._folder}: {error.strerror or error}") from error


def _safe_name(name: str) -> str:
    """A name that is one path component on any file system."""
    return "".join("_" if letter in '/\\:*?"<>|' or ord(letter) < 32 else letter for letter in name).strip(". ") or "_"
