"""Codes of any number of images, written block by block to a CSV or Parquet file.

Finished blocks are kept in a folder next to the file until all are there, so that an interrupted job resumes and
several workers share the blocks. Rank 0 writes the file.
"""

import csv
import json
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infogan.api.append import EarlierCodes
from infogan.api.filing import FiledByFeatures
from infogan.api.sort import Sorter
from infogan.data import Progress, describe_skipped
from infogan.data.dataset import unusable
from infogan.data.readers.parquet import import_parquet
from infogan.data.stream import Stream
from infogan.models.groups import NO_GROUP, Assignment, Columns, code_columns, text_rows
from infogan.models.infogan import InfoGAN
from infogan.models.results import Encoding
from infogan.utils import distributed
from infogan.utils.errors import DataWarning, UserError
from infogan.utils.files import atomic_write, file_lock, make_output_folder, write_json
from infogan.utils.in_place import is_written_in_place
from infogan.utils.names import KEEP_BYTES

BLOCK = 5_000  # images
FORMAT = 3  # of the files of blocks
Block = dict[str, NDArray[Any]]


def encode_dataset(
    model: InfoGAN,
    stream: Stream,
    out: Path,
    *,
    features: FiledByFeatures | None = None,
    sort: Sorter | None = None,
    corrections: Mapping[str, str] | None = None,
    all_probabilities: bool = False,
    earlier: EarlierCodes | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Write the codes that a model predicts for images to a file, one row per image, in the order of the data.

    The columns are those of `models.groups.code_columns`.

    Args:
        model: A model with a recognizer.
        stream: The images.
        out: The file, which is replaced if it exists, or ``-`` for standard output; Parquet if its name ends in
            ``.parquet``, otherwise CSV.
        features: What predicts the category instead of the model, for a model that has learned it from there.
        sort: Where to sort the images by category as well.
        corrections: Labels that a person has given for the first category, by name of the image, from
            `corrections_of_run`.
        all_probabilities: Whether to write the probability of every value of every category, too.
        earlier: The rows that come first in the file, which is then CSV.
        strict: Raise an error for images that cannot be used instead of leaving them out.
        progress: Called with the number of images encoded.

    Returns:
        ``"name: reason"`` for each image that could not be used.

    Raises:
        UserError: The model predicts no codes, there is no usable image or with ``strict`` an unusable one, a file
            cannot be written, the library for Parquet is not installed, or another process writes the same file.

    Warns:
        DataWarning: An earlier, interrupted call had other images or another model, so that all is encoded again.

    Example:
        >>> with infogan.data.streamed("photos", size=32, channels=3) as stream:
        ...     encode_dataset(model, stream, Path("codes.csv"))
        ['broken.png: cannot identify image file']
    """
    with distributed.all_or_none():
        model.require_recognizer()
        write = _write_parquet if out.suffix.lower() == ".parquet" else _write_csv
        if write is _write_parquet:
            import_parquet()
    folder = distributed.broadcast_from_rank0(partial(_make_folder, out))
    job = EncodeJob(model, stream, out, folder, features, corrections or {}, all_probabilities)
    with ExitStack() as stack:

        def begin() -> None:
            if is_written_in_place(out):
                stack.callback(shutil.rmtree, job.folder, ignore_errors=True)
            stack.enter_context(file_lock(job.folder / "writer.json", str(out)))
            job.discard_other_blocks()
            if sort is not None:
                sort.begin(str(job.identity))

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
                skipped.extend(_unpack(block["skipped"]))
                rows += len(block["entropy"])
            if not rows:
                reason = describe_skipped(skipped) if skipped else "it is empty"
                raise UserError(f"{stream.source} has no usable image: {reason}")
            if strict and skipped:
                raise unusable(stream.source, skipped)
            if earlier is None:
                write(job)
            else:
                _write_csv(job, earlier)
            if sort is not None:
                for index, block in job.blocks():
                    names = _unpack(block["names"])
                    sort.sort(job.categories(block), names, partial(job.images, index, len(names)))
                sort.end()

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
        folder: The folder of the finished blocks.
        features: What predicts the category instead of the model.
        corrections: Labels that a person has given, by name of the image.
        all_probabilities: Whether the file has the probability of every value.
    """

    model: InfoGAN
    stream: Stream
    out: Path
    folder: Path
    features: FiledByFeatures | None = None
    corrections: Mapping[str, str] = field(default_factory=dict)
    all_probabilities: bool = False

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the blocks depend on: the model, the images, and the size and format of a block."""
        images = {"images": self.stream.fingerprint, "count": self.stream.count}
        features = {} if self.features is None else {"features": self.features.identity}
        return {"model": self.model.digest(), **images, **features, "block": BLOCK, "format": FORMAT}

    @property
    def block_count(self) -> int:
        """The number of blocks."""
        return -(-self.stream.count // BLOCK)

    def path(self, index: int) -> Path:
        """Return the file of a block."""
        return self.folder / f"{index:08d}.npz"

    def images(self, index: int, count: int) -> NDArray[np.uint8]:
        """Return the images of a block as uint8 (count, channels, height, width).

        Raises:
            UserError: They are not ``count`` any more.
        """
        images = self.stream.read(index * BLOCK, (index + 1) * BLOCK).images
        if len(images) != count:
            raise UserError(f"{self.stream.source} changed while it was encoded: run the same command again")
        return images

    def discard_other_blocks(self) -> None:
        """Remove the finished blocks if they are of another model or of other images."""
        path = self.folder / "what.json"
        with suppress(OSError, ValueError):
            if json.loads(path.read_bytes()) == self.identity:
                return
        blocks = list(self.folder.glob("*.npz"))
        if blocks:
            message = f"the images or the model have changed since {self.out} was begun: all images are encoded again"
            warnings.warn(message, DataWarning, stacklevel=2)
        for block in blocks:
            block.unlink(missing_ok=True)
        write_json(path, self.identity)

    def encode_block(self, index: int) -> None:
        """Encode the images of a block and save their codes."""
        images = self.stream.read(index * BLOCK, (index + 1) * BLOCK)
        encoding = self.model.encode(images.images)
        if self.features is not None and len(images):
            probabilities = self.features.probabilities(index * BLOCK, (index + 1) * BLOCK, images.names)
            encoding = encoding.with_probabilities(self.model.first_categorical().name, probabilities)
        arrays: Block = {"names": _pack(images.names), "skipped": _pack(images.skipped), "entropy": encoding.entropy}
        for position, (name, values) in enumerate(encoding.codes.items()):
            arrays[_key(position)] = values
            if name in encoding.probabilities:
                arrays[f"{_key(position)}_probabilities"] = encoding.probabilities[name]
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

    def encoding(self, block: Block) -> Encoding:
        """Return the codes in a block."""
        names = list(self.model.layout.codes)
        codes = {name: block[_key(position)] for position, name in enumerate(names)}
        keys = {name: f"{_key(position)}_probabilities" for position, name in enumerate(names)}
        probabilities = {name: block[key] for name, key in keys.items() if key in block}
        return Encoding(codes, probabilities, {}, block["entropy"])

    def columns(self, block: Block) -> Columns:
        """Return a block as columns of the file."""
        names = _unpack(block["names"])
        corrections = self._corrections(names)
        return code_columns(
            self.model, names, self.encoding(block), corrections, all_probabilities=self.all_probabilities
        )

    def categories(self, block: Block) -> list[str]:
        """Return the name of the first category of each image in a block, or its correction."""
        code = self.model.first_categorical().name
        corrections = self._corrections(_unpack(block["names"]))
        return Assignment.of(self.model, code, self.encoding(block).probabilities[code], corrections).names

    def _corrections(self, names: Sequence[str]) -> dict[int, str]:
        return {row: self.corrections[name] for row, name in enumerate(names) if name in self.corrections}


def _make_folder(out: Path) -> Path:
    """Create the folder of the finished blocks: next to the file, or a temporary one if there is no file."""
    if out.is_dir():
        raise UserError(f"{out} is a folder: name a file for the codes")
    if not is_written_in_place(out):
        folder = out.parent / f".{out.name}.parts"
        make_output_folder(folder)
        return folder
    try:
        return Path(tempfile.mkdtemp())
    except OSError as error:
        raise UserError(f"cannot create a temporary folder: {error.strerror or error}") from error


def _pack(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Return texts as an array; in an array of strings, each would take as much memory as the longest."""
    return np.frombuffer(json.dumps([*texts]).encode(), np.uint8)


def _unpack(array: NDArray[np.uint8]) -> list[str]:
    texts: list[str] = json.loads(array.tobytes())
    return texts


def _key(position: int) -> str:
    return f"code_{position}"  # the name of a code may be any text


def _write_csv(job: EncodeJob, earlier: EarlierCodes | None = None) -> None:
    with atomic_write(job.out) as path, path.open("w", encoding="utf-8", errors=KEEP_BYTES, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for index, block in job.blocks():
            columns = job.columns(block)
            if index == 0 and earlier is not None:
                earlier.check(tuple(columns))
                file.write(earlier.text)
            elif index == 0:
                writer.writerow(columns)
            writer.writerows(text_rows(columns))


def _write_parquet(job: EncodeJob) -> None:
    parquet = import_parquet()
    import pyarrow as pa

    def to_arrow(column: list[str] | NDArray[Any]) -> Any:
        if not isinstance(column, list):
            return pa.array(column, mask=column == NO_GROUP if column.dtype.kind == "i" else None)
        # Text in Parquet is UTF-8, which a file name need not be.
        texts = [text.encode("utf-8", KEEP_BYTES).decode("utf-8", "replace") for text in column]
        return pa.array(texts, pa.string())

    with ExitStack() as stack:
        path = stack.enter_context(atomic_write(job.out))
        file = stack.enter_context(path.open("wb"))  # pyarrow opens no path that is not UTF-8
        writer = None
        for _, block in job.blocks():
            table = pa.table({name: to_arrow(column) for name, column in job.columns(block).items()})
            writer = writer or stack.enter_context(parquet.ParquetWriter(file, table.schema))
            writer.write_table(table)
