"""Pictures in Parquet files, as data sets are published on the Hugging Face Hub: a row an image.

Pictures are a column of bytes, or of structs with ``bytes``; labels a column ``label`` of numbers or words. Numbers are
called as the Hub's own description in the file says. A folder of Parquet files is one table; files whose names, or the
names of whose folders, begin with ``train`` and ``test`` are splits.
"""

import io
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from infogan.data.folder_layout import ImageFiles, Layout, has_image_extension, is_hidden, natural_key
from infogan.data.preprocess import error_reason
from infogan.data.readers.remote import Location
from infogan.utils.errors import UserError

ENDING = ".parquet"
PICTURES, LABELS = ("image", "img", "picture"), ("label", "labels")
NAMES = ("file_name", "name", "path", "id")


def is_parquet(path: Location) -> bool:
    """Whether this is a Parquet file, or a folder of some without pictures of its own."""
    if not path.is_dir():
        return path.suffix.lower() == ENDING
    found = False
    for name in _files_in(path):
        if has_image_extension(name.rpartition("/")[2]):
            return False
        found = found or name.lower().endswith(ENDING)
    return found


@contextmanager
def open_tables(path: Location) -> Iterator[ImageFiles]:
    """Yields the pictures of a table; raises UserError where it can not be read or has none."""
    parquet = import_parquet()
    parts: list[_Part] = []
    with ExitStack() as stack:
        for name, file in _parquet_files(path):
            try:
                content = stack.enter_context(file.open("rb") if isinstance(file, Path) else file.open())
                table = parquet.ParquetFile(content)
                _check_rows(table.metadata, content)
                parts.append(_Part(name, str(file), table, *_columns(table, str(file))))
            except UserError:
                raise
            except Exception as error:  # pyarrow raises errors of its own, and the system's
                raise UserError(f"cannot read {file} as a Parquet file: {error_reason(error)}") from error
        yield _files(parts)


def _check_rows(metadata: Any, content: BinaryIO) -> None:
    """Raises ValueError where a file says that it has more rows than bytes, or than its parts: each would be listed."""
    size = content.seek(0, io.SEEK_END)
    parts = sum(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
    if not 0 <= metadata.num_rows == parts <= size:
        raise ValueError(f"{metadata.num_rows} rows, of which {parts} are in its parts, in {size} bytes")


def import_parquet() -> Any:
    """The library that reads and writes Parquet; raises UserError where it is missing."""
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UserError("Parquet files need another library: pip install 'infogan[parquet]'") from error
    return parquet


@dataclass(frozen=True)
class _Part:
    """A Parquet file: how it is called, and which of its columns are what."""

    name: str
    where: str
    table: Any
    pictures: str  # the column, down to the bytes
    labels: str | None
    label_names: tuple[str, ...]
    names: str | None

    def column(self, column: str) -> list[Any]:
        """All of a column, read at once."""
        try:
            found = self.table.read(columns=[column]).column(column.partition(".")[0]).combine_chunks()
            if "." in column:
                found = found.field(column.partition(".")[2])
            values: list[Any] = found.to_pylist()
        except Exception as error:
            raise UserError(f"cannot read {self.where}: {error_reason(error)}") from error
        if len(values) != self.table.metadata.num_rows:
            raise UserError(f"cannot read {self.where}: its column {column} has another length than it says")
        return values

    def group(self, number: int) -> list[bytes | None]:
        """The pictures of a row group."""
        found = self.table.read_row_group(number, columns=[self.pictures]).column(self.pictures.partition(".")[0])
        found = found.combine_chunks()
        values: list[bytes | None] = (found.field("bytes") if "." in self.pictures else found).to_pylist()
        return values


def _columns(table: Any, where: str) -> tuple[str, str | None, tuple[str, ...], str | None]:
    """The columns of pictures and labels, the names of the labels, and the column of names."""
    import pyarrow

    schema = table.schema_arrow
    kinds = pyarrow.types
    fields = {field.name: field.type for field in schema}
    found = {}
    for name, kind in fields.items():
        if kinds.is_struct(kind) and any(inner.name == "bytes" for inner in kind):
            found[name] = f"{name}.bytes"
        elif kinds.is_binary(kind) or kinds.is_large_binary(kind):
            found[name] = name
    named = [name for name in PICTURES if name in found] or list(found)
    if len(named) != 1:
        columns = ", ".join(fields)
        raise UserError(
            f"{where} has {'no column' if not named else 'more than one column'} of pictures among {columns}: allowed "
            f"is one of bytes, or one that is called {PICTURES[0]}"
        )
    worded = {name for name, kind in fields.items() if kinds.is_string(kind) or kinds.is_large_string(kind)}
    labels = next(
        (name for name in LABELS if name in worded or (name in fields and kinds.is_integer(fields[name]))), None
    )
    names = next((name for name in NAMES if name in worded), None)
    return found[named[0]], labels, _label_names(schema.metadata or {}, labels), names


def _label_names(metadata: dict[bytes, bytes], labels: str | None) -> tuple[str, ...]:
    """The names of classes in the description that the Hub's own library leaves in a file; mostly none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][labels]["names"]
        return tuple(names) if all(isinstance(name, str) for name in names) else ()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def _files(parts: "list[_Part]") -> ImageFiles:
    rows: dict[str, tuple[int, int]] = {}
    class_of: dict[str, str | None] = {}
    by_split: dict[str, list[str]] = {"train": [], "test": []}
    skipped: dict[str, str] = {}
    worded = [None if part.names is None else part.column(part.names) for part in parts]
    known = [str(name) for names in worded for name in names or [None] * 2]
    if len(set(known)) < len(known):  # not one name a row
        worded = [None] * len(parts)
    splits = [_split_of(part.name) for part in parts]
    apart = {"train", "test"} <= {*splits}
    said = next((part.label_names for part in parts if part.label_names), ())
    for place, part in enumerate(parts):
        if apart and splits[place] is None:
            skipped[part.name] = "neither train nor test"
            continue
        classes = _classes_of(part, said)
        for row in range(part.table.metadata.num_rows):
            given = worded[place]
            alone = str(row) if len(parts) == 1 else f"{part.name.removesuffix(ENDING)}/{row}"
            name = str(given[row]) if given is not None else alone
            rows[name] = place, row
            class_of[name] = classes[row] if classes is not None else None
            by_split[(splits[place] if apart else None) or "train"].append(name)
    found = {name for name in class_of.values() if name is not None}
    every = said if found <= {*said} else tuple(sorted(found, key=natural_key))
    filled = {split: names for split, names in by_split.items() if names or split == "train"}
    arrangement = Layout(filled, class_of, every)
    return ImageFiles(list(rows), _opener(parts, rows), skipped, arrangement)


def _classes_of(part: _Part, names: tuple[str, ...]) -> list[str | None] | None:
    """The class of each row by its name, or by what stands there where there are no names."""

    def called(label: int | str | None) -> str | None:
        if label is None or isinstance(label, str) or not names:
            return None if label is None else str(label)
        return names[label] if 0 <= label < len(names) else None

    return None if part.labels is None else [called(label) for label in part.column(part.labels)]


def _opener(parts: "Sequence[_Part]", rows: dict[str, tuple[int, int]]) -> Any:
    starts: list[list[int]] = []
    for part in parts:
        metadata = part.table.metadata
        ends = [0]
        for number in range(metadata.num_row_groups):
            ends.append(ends[-1] + metadata.row_group(number).num_rows)
        starts.append(ends)
    group = lru_cache(2)(lambda place, number: parts[place].group(number))

    def opened(name: str) -> io.BytesIO:
        place, row = rows[name]
        number = bisect_right(starts[place], row) - 1
        content = group(place, number)[row - starts[place][number]]
        if content is None:
            raise ValueError("no picture in this row")
        return io.BytesIO(content)

    return opened


def _split_of(name: str) -> str | None:
    """The split that the name of a file, or of the folder that it is in, begins with."""
    for part in reversed(name.split("/")):
        for split in ("train", "test"):
            if part.lower().startswith(split):
                return split
    return None


def _parquet_files(path: Location) -> list[tuple[str, Location]]:
    if not path.is_dir():
        return [(path.name, path)]
    names = sorted((name for name in _files_in(path) if name.lower().endswith(ENDING)), key=natural_key)
    return [(name, path / name if isinstance(path, Path) else path.child(name)) for name in names]


def _files_in(path: Location) -> Iterator[str]:
    """The paths of the files in a folder, but for hidden ones; raises UserError where it can not be reached."""
    if not isinstance(path, Path):
        yield from (name for name in path.find() if not any(map(is_hidden, name.split("/"))))
        return
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not is_hidden(name)]
        inside = Path(folder).relative_to(path).as_posix()
        yield from (name if inside == "." else f"{inside}/{name}" for name in files if not is_hidden(name))
