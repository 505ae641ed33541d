"""Image files inside Parquet tables with one row per image, as the Hugging Face Hub publishes data sets.

Images are a column of bytes, or of structs with a field ``bytes``. Labels are a column ``label`` of whole numbers or
strings; numbers are named by the Hub's description in the file. A folder of Parquet files is one table. Files whose
name, or whose folder's name, begins with ``train`` or ``test`` are splits; without ``test``, ``val`` takes its place.
"""

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from infogan.data.folder_layout import ImageFiles, Layout, has_image_extension, is_hidden, natural_key
from infogan.data.preprocess import wrap_read_errors
from infogan.data.readers.arrays import as_label
from infogan.data.readers.remote import Location, open_location
from infogan.utils.errors import UserError, import_extra
from infogan.utils.files import BoundedReader

EXTENSION = ".parquet"
IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img", "picture"), ("label", "labels")
NAME_COLUMNS = ("file_name", "name", "path", "id")


def is_parquet(path: Location) -> bool:
    """Return whether a path is a Parquet file, or a folder of them without image files."""
    if not path.is_dir():
        return path.suffix.lower() == EXTENSION
    has_tables = False
    for name in _files_in(path):
        if has_image_extension(name):
            return False
        has_tables = has_tables or name.lower().endswith(EXTENSION)
    return has_tables


@contextmanager
def open_tables(path: Location) -> Iterator[ImageFiles]:
    """Open the images of a Parquet file or a folder of them; raises UserError if it cannot be read or has none."""
    with ExitStack() as stack:
        tables = []
        for name, file in _parquet_files(path):
            with wrap_read_errors(file, " as a Parquet file"):  # pyarrow raises errors of its own, and of the system
                tables.append(_Table.open(name, str(file), stack.enter_context(open_location(file))))
        yield _list_rows(tables)


def import_parquet() -> Any:
    """Return the module that reads and writes Parquet files; raises UserError if it is not installed."""
    import_extra("pyarrow", "parquet", "Parquet files need")
    from pyarrow import parquet

    return parquet


def choose_images(images: Sequence[str], columns: Iterable[str], source: str) -> str:
    """Return the one column of images of a table, or the one with a usual name.

    Args:
        images: The columns that could be it.
        columns: All columns, for errors.
        source: The table, for errors.

    Raises:
        UserError: There is no column of images, or there are several.
    """
    candidates = next(([name] for name in IMAGE_COLUMNS if name in images), images)
    if len(candidates) != 1:
        counts = f"{len(candidates)} columns of images among {', '.join(columns)}"
        raise UserError(f"{source} has {counts}; expected one, or one named {IMAGE_COLUMNS[0]}")
    return candidates[0]


@dataclass(frozen=True)
class _Table:
    """An open Parquet file.

    Attributes:
        name: Its name within the folder.
        path: Its path, for errors.
        file: A ``pyarrow.parquet.ParquetFile``.
        group_sizes: The number of rows of each row group.
        images: The column of images, as a path to the bytes.
        labels: The column of labels, or None.
        label_names: The names of integer labels; empty if they have none.
        names: The column of names, or None.
        version: Its size and, if it is local, the time of its last change.
    """

    name: str
    path: str
    file: Any
    group_sizes: tuple[int, ...]
    images: str
    labels: str | None
    label_names: tuple[str, ...]
    names: str | None
    version: str

    @classmethod
    def open(cls, name: str, path: str, content: BinaryIO) -> "_Table":
        """Open a file and find its columns; raises UserError, and pyarrow's exceptions for a broken file."""
        file = import_parquet().ParquetFile(content)
        from pyarrow import types

        rows, size = file.metadata.num_rows, content.seek(0, io.SEEK_END)
        changed = os.fstat(content.fileno()).st_mtime_ns if isinstance(content, BoundedReader) else ""
        group_sizes = tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        if not 0 <= rows == sum(group_sizes) <= size:  # each row is listed, so their number must be plausible
            raise ValueError(f"{rows} rows, of which {sum(group_sizes)} are in its row groups, in {size} bytes")

        columns = {field.name: field.type for field in file.schema_arrow}
        texts = [name for name, kind in columns.items() if types.is_string(kind) or types.is_large_string(kind)]
        is_number = [types.is_integer, types.is_floating, types.is_boolean]
        numbers = [name for name, kind in columns.items() if any(test(kind) for test in is_number)]
        images = {}
        for column, kind in columns.items():
            if types.is_struct(kind) and any(field.name == "bytes" for field in kind):
                images[column] = f"{column}.bytes"
            elif types.is_binary(kind) or types.is_large_binary(kind):
                images[column] = column
        labels = next((column for column in LABEL_COLUMNS if column in texts + numbers), None)
        return cls(
            name=name,
            path=path,
            file=file,
            group_sizes=group_sizes,
            images=images[choose_images(list(images), columns, path)],
            labels=labels,
            label_names=_read_label_names(file.schema_arrow.metadata or {}, labels),
            names=next((column for column in NAME_COLUMNS if column in texts), None),
            version=f"{size} {changed}",
        )

    def __len__(self) -> int:
        return sum(self.group_sizes)

    def read_column(self, column: str) -> list[Any]:
        """Return the values of a column, in all rows."""
        with wrap_read_errors(self.path):
            values: list[Any] = self.file.read(columns=[column]).flatten()[column].to_pylist()
        if len(values) != len(self):
            raise UserError(f"cannot read {self.path}: its column {column} has {len(values)} rows, not {len(self)}")
        return values

    def read_images(self, row_group: int) -> list[bytes | None]:
        """Return the images of a row group."""
        table = self.file.read_row_group(row_group, columns=[self.images])
        return list(table.flatten()[self.images].to_pylist())

    def read_classes(self, label_names: tuple[str, ...]) -> list[str | None]:
        """Return the class of each row: the name of its label, or the label itself if labels have no names."""
        if self.labels is None:
            return [None] * len(self)
        labels = [label if isinstance(label, str) else as_label(label) for label in self.read_column(self.labels)]
        if label_names and not any(isinstance(label, str) for label in labels):
            names: dict[str | int | None, str] = dict(enumerate(label_names))
            return [names.get(label) for label in labels]
        return [None if label is None else str(label) for label in labels]


def _read_label_names(metadata: dict[bytes, bytes], labels: str | None) -> tuple[str, ...]:
    """Return the names of the classes from the Hub's description in a file; empty if there is none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][labels]["names"]
        return tuple(names) if all(isinstance(name, str) for name in names) else ()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def _list_rows(tables: Sequence[_Table]) -> ImageFiles:
    """Return the rows of tables as image files."""
    rows: dict[str, tuple[int, int, int]] = {}  # number of the table, row group, and row in it
    class_of: dict[str, str | None] = {}
    splits: dict[str, list[str]] = {"train": []}
    skipped: list[str] = []
    split_of: list[str | None] = [_split_of(table.name) for table in tables]
    if "test" not in split_of:
        split_of = ["test" if split == "val" else split for split in split_of]
    if not {"train", "test"} <= {*split_of}:
        split_of = ["train"] * len(tables)
    label_names = next((table.label_names for table in tables if table.label_names), ())
    for number, (table, split, names) in enumerate(zip(tables, split_of, _row_names(tables), strict=True)):
        if split not in ("train", "test"):
            skipped += [f"{name}: in {table.name}, which is no split that is used" for name in names]
            continue
        positions = ((group, row) for group, size in enumerate(table.group_sizes) for row in range(size))
        rows |= {name: (number, *position) for name, position in zip(names, positions, strict=True)}
        class_of |= dict(zip(names, table.read_classes(label_names), strict=True))
        splits.setdefault(split, []).extend(names)
    classes = {name for name in class_of.values() if name is not None}
    ordered = label_names if classes <= {*label_names} else tuple(sorted(classes, key=natural_key))
    version = " ".join(table.version for table in tables)
    return ImageFiles(Layout(splits, class_of, ordered), _row_opener(tables, rows), lambda: version, skipped)


def _row_names(tables: Sequence[_Table]) -> list[list[str]]:
    """Return the names of the rows of each table: those in a column if each row has its own, or else numbers."""
    names = [[str(name) for name in table.read_column(table.names)] if table.names else [] for table in tables]
    if len(set[str]().union(*names)) == sum(map(len, tables)):
        return names
    prefixes = [f"{table.name.removesuffix(EXTENSION)}/" if len(tables) > 1 else "" for table in tables]
    return [[f"{prefix}{row}" for row in range(len(table))] for prefix, table in zip(prefixes, tables, strict=True)]


def _row_opener(tables: Sequence[_Table], rows: dict[str, tuple[int, int, int]]) -> Callable[[str], BinaryIO]:
    """Return the function that opens the image of a row by its name; it keeps two row groups in memory."""
    read_group = lru_cache(2)(lambda number, group: tables[number].read_images(group))

    def open_row(name: str) -> BinaryIO:
        number, group, row = rows[name]
        content = read_group(number, group)[row]
        if content is None:
            raise ValueError("no image in this row")
        return io.BytesIO(content)

    return open_row


def _split_of(name: str) -> str | None:
    """Return the split that the name of a file, or else of a folder around it, begins with."""
    for part in reversed(name.lower().split("/")):
        for split in ("train", "test", "val"):
            if part.startswith(split):
                return split
    return None


def _parquet_files(path: Location) -> list[tuple[str, Location]]:
    """Return the Parquet files of a folder, or the file itself, with their names."""
    if not path.is_dir():
        return [(path.name, path)]
    names = sorted((name for name in _files_in(path) if name.lower().endswith(EXTENSION)), key=natural_key)
    return [(name, path / name) for name in names]


def _files_in(path: Location) -> Iterator[str]:
    """Yield the relative paths of the files in a folder, except hidden ones."""
    if isinstance(path, Path):
        paths = (Path(folder, file) for folder, _, files in os.walk(path) for file in files)
        names = (file.relative_to(path).as_posix() for file in paths)
    else:
        names = (name for name in path.find())
    return (name for name in names if not is_hidden(name))
