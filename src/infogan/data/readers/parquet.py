"""Image files inside Parquet tables with one row per image, as the Hugging Face Hub publishes data sets.

Images are a column of bytes, or of structs with a field ``bytes``. Labels are a column ``label`` of integers or
strings; integers are named by the Hub's description in the file. A folder of Parquet files is one table. Files whose
name, or whose folder's name, begins with ``train`` or ``test`` are splits.
"""

import io
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from infogan.data.folder_layout import ImageFiles, Layout, has_image_extension, is_hidden, natural_key
from infogan.data.preprocess import error_reason
from infogan.data.readers.remote import Location
from infogan.utils.errors import UserError

EXTENSION = ".parquet"
IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img", "picture"), ("label", "labels")
NAME_COLUMNS = ("file_name", "name", "path", "id")


def is_parquet(path: Location) -> bool:
    """Return whether a path is a Parquet file, or a folder of them without image files."""
    if not path.is_dir():
        return path.suffix.lower() == EXTENSION
    has_tables = False
    for name in _files_in(path):
        if has_image_extension(name.rpartition("/")[2]):
            return False
        has_tables = has_tables or name.lower().endswith(EXTENSION)
    return has_tables


@contextmanager
def open_tables(path: Location) -> Iterator[ImageFiles]:
    """Open the images of a Parquet file or a folder of them; raises UserError if it cannot be read or has none."""
    parquet = import_parquet()
    tables: list[_Table] = []
    with ExitStack() as stack:
        for name, file in _parquet_files(path):
            try:
                content = stack.enter_context(file.open("rb") if isinstance(file, Path) else file.open())
                table = parquet.ParquetFile(content)
                _check_row_counts(table.metadata, content)
                tables.append(_Table(name, str(file), table, _find_columns(table, str(file))))
            except UserError:
                raise
            except Exception as error:  # pyarrow raises errors of its own, and of the system
                raise UserError(f"cannot read {file} as a Parquet file: {error_reason(error)}") from error
        yield _list_rows(tables)


def import_parquet() -> Any:
    """Return the module that reads and writes Parquet files; raises UserError if it is not installed."""
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UserError("Parquet files need another library: pip install 'infogan[parquet]'") from error
    return parquet


@dataclass(frozen=True)
class _Columns:
    """The columns of a table: that of the images, as a path to the bytes, and the optional others."""

    images: str
    labels: str | None
    label_names: tuple[str, ...]
    names: str | None


@dataclass(frozen=True)
class _Table:
    """An open Parquet file: its name within the folder, and its path for errors."""

    name: str
    path: str
    file: Any
    columns: _Columns

    def __len__(self) -> int:
        return int(self.file.metadata.num_rows)

    def read_column(self, column: str) -> list[Any]:
        """Return the values of a column, in all rows."""
        try:
            values = _values(self.file.read(columns=[column]), column)
        except Exception as error:
            raise UserError(f"cannot read {self.path}: {error_reason(error)}") from error
        if len(values) != len(self):
            raise UserError(f"cannot read {self.path}: its column {column} has {len(values)} rows, not {len(self)}")
        return values

    def read_images(self, row_group: int) -> list[bytes | None]:
        """Return the images of a row group."""
        return _values(self.file.read_row_group(row_group, columns=[self.columns.images]), self.columns.images)

    def read_classes(self, label_names: tuple[str, ...]) -> list[str | None]:
        """Return the class of each row: the name of its label, or the label itself if labels have no names."""

        def name_of(label: int | str | None) -> str | None:
            if label is None or isinstance(label, str) or not label_names:
                return None if label is None else str(label)
            return label_names[label] if 0 <= label < len(label_names) else None

        if self.columns.labels is None:
            return [None] * len(self)
        return [name_of(label) for label in self.read_column(self.columns.labels)]


def _values(table: Any, column: str) -> list[Any]:
    """Return the values of a column, which may be a field of a struct: ``column.field``."""
    name, _, struct_field = column.partition(".")
    array = table.column(name).combine_chunks()
    values: list[Any] = (array.field(struct_field) if struct_field else array).to_pylist()
    return values


def _check_row_counts(metadata: Any, content: BinaryIO) -> None:
    """Raise ValueError if a file claims more rows than bytes, or than its row groups have: each row is listed."""
    size = content.seek(0, io.SEEK_END)
    in_groups = sum(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
    if not 0 <= metadata.num_rows == in_groups <= size:
        raise ValueError(f"{metadata.num_rows} rows, of which {in_groups} are in its row groups, in {size} bytes")


def _find_columns(table: Any, path: str) -> _Columns:
    import pyarrow

    schema, types = table.schema_arrow, pyarrow.types
    fields = {field.name: field.type for field in schema}
    images = {}
    for name, kind in fields.items():
        if types.is_struct(kind) and any(inner.name == "bytes" for inner in kind):
            images[name] = f"{name}.bytes"
        elif types.is_binary(kind) or types.is_large_binary(kind):
            images[name] = name
    candidates = [name for name in IMAGE_COLUMNS if name in images] or list(images)
    if len(candidates) != 1:
        raise UserError(
            f"{path} has {'more than one column' if candidates else 'no column'} of images among {', '.join(fields)}; "
            f"allowed is one column of bytes, or one named {IMAGE_COLUMNS[0]}"
        )
    strings = {name for name, kind in fields.items() if types.is_string(kind) or types.is_large_string(kind)}
    integers = {name for name, kind in fields.items() if types.is_integer(kind)}
    labels = next((name for name in LABEL_COLUMNS if name in strings | integers), None)
    names = next((name for name in NAME_COLUMNS if name in strings), None)
    return _Columns(images[candidates[0]], labels, _read_label_names(schema.metadata or {}, labels), names)


def _read_label_names(metadata: dict[bytes, bytes], labels: str | None) -> tuple[str, ...]:
    """Return the names of the classes from the Hub's description in a file; empty if there is none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][labels]["names"]
        return tuple(names) if all(isinstance(name, str) for name in names) else ()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def _list_rows(tables: Sequence[_Table]) -> ImageFiles:
    """Return the rows of tables as image files."""
    rows: dict[str, tuple[int, int]] = {}  # number of the table, and row in it
    class_of: dict[str, str | None] = {}
    splits: dict[str, list[str]] = {"train": [], "test": []}
    skipped: dict[str, str] = {}
    split_of = [_split_of(table.name) for table in tables]
    if not {"train", "test"} <= {*split_of}:
        split_of = ["train"] * len(tables)
    label_names = next((table.columns.label_names for table in tables if table.columns.label_names), ())
    all_names = _row_names(tables)
    for number, table in enumerate(tables):
        split = split_of[number]
        if split is None:
            skipped[table.name] = "neither train nor test"
            continue
        names = all_names[number]
        rows |= {name: (number, row) for row, name in enumerate(names)}
        class_of |= dict(zip(names, table.read_classes(label_names), strict=True))
        splits[split] += names
    classes = {name for name in class_of.values() if name is not None}
    ordered = label_names if classes <= {*label_names} else tuple(sorted(classes, key=natural_key))
    layout = Layout({split: names for split, names in splits.items() if names or split == "train"}, class_of, ordered)
    return ImageFiles(list(rows), _row_opener(tables, rows), skipped, layout)


def _row_names(tables: Sequence[_Table]) -> list[list[str]]:
    """Return the names of the rows of each table: those in a column if each row has its own, or else numbers."""
    columns = [table.read_column(table.columns.names) if table.columns.names else [] for table in tables]
    names = [[str(name) for name in column] for column in columns]
    if len(set[str]().union(*names)) == sum(map(len, tables)):
        return names
    if len(tables) == 1:
        return [[str(row) for row in range(len(tables[0]))]]
    return [[f"{table.name.removesuffix(EXTENSION)}/{row}" for row in range(len(table))] for table in tables]


def _row_opener(tables: Sequence[_Table], rows: dict[str, tuple[int, int]]) -> Callable[[str], BinaryIO]:
    """Return the function that opens the image of a row by its name; it keeps two row groups in memory."""
    group_starts = []
    for table in tables:
        metadata = table.file.metadata
        counts = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        group_starts.append(list(accumulate(counts, initial=0)))
    read_group = lru_cache(2)(lambda number, group: tables[number].read_images(group))

    def open_row(name: str) -> BinaryIO:
        number, row = rows[name]
        group = bisect_right(group_starts[number], row) - 1
        content = read_group(number, group)[row - group_starts[number][group]]
        if content is None:
            raise ValueError("no image in this row")
        return io.BytesIO(content)

    return open_row


def _split_of(name: str) -> str | None:
    """Return the split that the name of a file, or else of a folder around it, begins with."""
    for part in reversed(name.split("/")):
        for split in ("train", "test"):
            if part.lower().startswith(split):
                return split
    return None


def _parquet_files(path: Location) -> list[tuple[str, Location]]:
    """Return the Parquet files of a folder, or the file itself, with their names."""
    if not path.is_dir():
        return [(path.name, path)]
    names = sorted((name for name in _files_in(path) if name.lower().endswith(EXTENSION)), key=natural_key)
    return [(name, path / name if isinstance(path, Path) else path.child(name)) for name in names]


def _files_in(path: Location) -> Iterator[str]:
    """Yield the relative paths of the files in a folder, except hidden ones."""
    if not isinstance(path, Path):
        yield from (name for name in path.find() if not any(map(is_hidden, name.split("/"))))
        return
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in files:
            if not is_hidden(name):
                yield Path(folder, name).relative_to(path).as_posix()
