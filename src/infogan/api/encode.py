"""Codes of any number of images, written block by block to a CSV or Parquet file, and images sorted by category.

Finished blocks are kept in a folder next to the file until all are there, so that an interrupted job resumes and
several workers share the blocks. Rank 0 writes the file.
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
from infogan.reports.figures import save_image, to_image
from infogan.utils import distributed
from infogan.utils.errors import UserError
from infogan.utils.files import atomic_write, file_lock, make_output_folder, write_json

BLOCK = 5_000  # images
Block = dict[str, NDArray[Any]]


def encode_dataset(
    model: InfoGAN,
    stream: Stream,
    out: Path,
    *,
    sort: "Sorter | None" = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write the codes that a model predicts for images to a file, one row per image, in the order of the data.

    The columns are ``image``; for each code its value (a category by its name or, without one, by its number), followed
    by its probability if it is a category; and ``entropy``, the sum of the entropies of the categories, in nats.

    Args:
        model: A model with a recognizer.
        stream: The images.
        out: The file, which is replaced if it exists; Parquet if its name ends in ``.parquet``, otherwise CSV.
        sort: Where to sort the images by category as well.
        progress: Called with the number of images encoded.

    Returns:
        ``"name: reason"`` for each image that could not be used.

    Raises:
        UserError: The model predicts no codes, there is no usable image, a file cannot be written, the library for
            Parquet is not installed, or another process writes the same file.

    Example:
        >>> with infogan.data.streamed("photos", size=32, channels=3) as stream:
        ...     encode_dataset(model, stream, Path("codes.csv"))
        ['broken.png: cannot identify image file']
    """
    job = EncodeJob(model, stream, out)
    with distributed.all_or_none():
        model.require_recognizer()
        write = _write_parquet if out.suffix.lower() == ".parquet" else _write_csv
        if write is _write_parquet:
            import_parquet()
    with ExitStack() as stack:

        def begin() -> None:
            make_output_folder(job.folder)
            stack.enter_context(file_lock(job.folder / "writer.json", str(out)))
            job.discard_other_blocks()

        distributed.on_rank0(begin)
        with distributed.all_or_none():
            for index in range(distributed.rank(), job.block_count, distributed.world_size()):
                if not job.path(index).is_file():
                    job.encode_block(index)
                if progress is not None:
                    done = min((index + distributed.world_size()) * BLOCK, stream.count)
                    progress(f"encoding {stream.source}", done, stream.count)
        skipped: list[str] = [*stream.skipped]

        def finish() -> None:
            rows = 0
            for _, block in job.blocks():
                skipped.extend(block["skipped"].tolist())
                rows += len(block["names"])
            if not rows:
                raise UserError(f"{stream.source} has no usable image: {'; '.join(skipped[:3]) or 'it is empty'}")
            write(job)
            if sort is not None:
                category = _key(list(model.layout.codes).index(model.first_categorical().name))
                for index, block in job.blocks():
                    sort.sort(block[category], block["names"].tolist(), partial(job.images, index))

        distributed.on_rank0(finish)
    if distributed.is_rank0():
        shutil.rmtree(job.folder, ignore_errors=True)
    return skipped


@dataclass(frozen=True)
class EncodeJob:
    """The images to encode, and the blocks that are finished.

    Attributes:
        model: The model.
        stream: The images.
        out: The file to write.
    """

    model: InfoGAN
    stream: Stream
    out: Path

    @property
    def folder(self) -> Path:
        """The folder of the finished blocks."""
        return self.out.parent / f".{self.out.name}.parts"

    @property
    def block_count(self) -> int:
        """The number of blocks."""
        return -(-self.stream.count // BLOCK)

    def path(self, index: int) -> Path:
        """Return the file of a block."""
        return self.folder / f"{index:08d}.npz"

    def images(self, index: int) -> NDArray[np.uint8]:
        """Return the images of a block as uint8 (count, channels, height, width)."""
        return self.stream.read(index * BLOCK, (index + 1) * BLOCK).images

    def discard_other_blocks(self) -> None:
        """Remove the finished blocks if they are of another model or of other images."""
        stream, path = self.stream, self.folder / "what.json"
        job = {"model": self.model.digest(), "images": stream.fingerprint, "count": stream.count, "block": BLOCK}
        with suppress(OSError, ValueError):
            if json.loads(path.read_text()) == job:
                return
        for block in self.folder.glob("*.npz"):
            block.unlink(missing_ok=True)
        write_json(path, job)

    def encode_block(self, index: int) -> None:
        """Encode the images of a block and save their codes."""
        images = self.stream.read(index * BLOCK, (index + 1) * BLOCK)
        encoding = self.model.encode(images.images)
        arrays: Block = {"names": np.array(list(images.names), np.str_), "entropy": encoding.entropy}
        arrays["skipped"] = np.array(images.skipped, np.str_)
        for position, (name, values) in enumerate(encoding.codes.items()):
            arrays[_key(position)] = values
            if name in encoding.probabilities:
                arrays[f"{_key(position)}_probability"] = encoding.probabilities[name].max(axis=1)
        with atomic_write(self.path(index)) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)

    def blocks(self) -> Iterator[tuple[int, Block]]:
        """Yield the index and the arrays of each block, in order.

        Raises:
            UserError: A file is damaged; it is removed, so that the same command encodes its block again.
        """
        for index in range(self.block_count):
            path = self.path(index)
            try:
                with open(path, "rb") as content, np.load(content, allow_pickle=False) as file:
                    block = dict(file)
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
                path.unlink(missing_ok=True)
                raise UserError(f"{path} is damaged: run the same command again") from error
            yield index, block

    def columns(self, block: Block) -> dict[str, NDArray[Any]]:
        """Return a block as columns of the file, text or float32, with the names of categories."""
        columns = {"image": block["names"]}
        for position, name in enumerate(self.model.layout.codes):
            columns[name] = block[_key(position)]
            if f"{_key(position)}_probability" in block:
                names = [self.model.value_name(name, value) for value in columns[name].tolist()]
                columns[name] = np.array(names, np.str_)
                columns[f"{name}_probability"] = block[f"{_key(position)}_probability"]
        return columns | {"entropy": block["entropy"]}


def _key(position: int) -> str:
    return f"code_{position}"  # the name of a code may be any text


def _write_csv(job: EncodeJob) -> None:
    def texts(column: NDArray[Any]) -> list[str]:
        return [f"{value:.6f}" for value in column.tolist()] if column.dtype.kind == "f" else column.tolist()

    with atomic_write(job.out) as path, path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for index, block in job.blocks():
            columns = job.columns(block)
            if index == 0:
                writer.writerow(columns)
            writer.writerows(zip(*map(texts, columns.values()), strict=True))


def _write_parquet(job: EncodeJob) -> None:
    parquet = import_parquet()
    import pyarrow as pa

    def to_arrow(column: NDArray[Any]) -> Any:
        if column.dtype.kind == "f":
            return pa.array(column)
        # Text in Parquet is UTF-8, which a file name need not be.
        texts = [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in column.tolist()]
        return pa.array(texts, pa.string())

    with ExitStack() as stack:
        path = stack.enter_context(atomic_write(job.out))
        writer = None
        for _, block in job.blocks():
            table = pa.table({name: to_arrow(column) for name, column in job.columns(block).items()})
            writer = writer or stack.enter_context(parquet.ParquetWriter(path, table.schema))
            writer.write_table(table)


class Sorter:
    """Sorts images into one folder per value of the first categorical code.

    Images that are files are copied or linked; those of an array, a zip or a named data set are written as PNG.

    Args:
        model: The model, whose names of categories name the folders.
        folder: The folder to write to, which is created if it is missing.
        root: The folder that the images' names are relative to; None if the images are not files of their own.
        link: Whether to link files instead of copying them.

    Raises:
        UserError: The model has no categorical code, ``folder`` is not empty, or it cannot be written.

    Example:
        >>> sorter = Sorter(model, Path("sorted"), Path("photos"), link=False)
        >>> with infogan.data.streamed("photos", size=32, channels=3) as stream:
        ...     encode_dataset(model, stream, Path("codes.csv"), sort=sorter)
    """

    def __init__(self, model: InfoGAN, folder: Path, root: Path | None, *, link: bool) -> None:
        code = model.first_categorical()
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty: choose another folder to sort the images into")
        self._folder, self._root, self._link = folder, root, link
        self._folders = [folder / _safe_name(model.value_name(code.name, value)) for value in range(code.size)]

    @property
    def folders(self) -> list[Path]:
        """The folders, one per value."""
        return list(dict.fromkeys(self._folders))

    def sort(self, values: NDArray[Any], names: Sequence[str], images: Callable[[], NDArray[np.uint8]]) -> None:
        """Sort some images.

        Args:
            values: (count,), the category of each image.
            names: The names of the images.
            images: Called for the images as uint8 (count, channels, height, width), if they are not files.

        Raises:
            UserError: The folder cannot be written.
        """
        pixels = images() if self._root is None else np.empty(0, np.uint8)
        try:
            for folder in self._folders:
                folder.mkdir(parents=True, exist_ok=True)
            for index, (value, name) in enumerate(zip(values.tolist(), names, strict=True)):
                # Files in two folders may have the same name, so the new name is made of the whole path.
                path = self._folders[value] / _safe_name(name)
                if self._root is None:
                    save_image(to_image(pixels[index]), path.with_suffix(".png"))
                elif self._link:
                    os.symlink((self._root / name).resolve(), path)
                else:
                    shutil.copyfile(self._root / name, path)
        except OSError as error:
            raise UserError(f"cannot sort images into {self._folder}: {error.strerror or error}") from error


def _safe_name(name: str) -> str:
    """Return the name as one path component that any file system allows."""
    return "".join("_" if letter in '/\\:*?"<>|' or ord(letter) < 32 else letter for letter in name).strip(". ") or "_"
