"""Image sets that are larger than memory: a folder of shards of equal size, written once and memory-mapped afterwards.

Shard ``k`` of a split consists of ``train-0000k.npy`` with pixels and ``train-0000k.json`` with names, labels and
skipped images (the sidecar). ``index.json``, written last, lists the shards with their SHA-256. An interrupted
preparation continues with the missing shards, and several processes can write shards at the same time.
"""

import hashlib
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from infogan.data.dataset import ImageSet, NumberedNames, describe_skipped, unusable
from infogan.data.factors import Factors
from infogan.data.preprocess import MAX_CHANNELS, SIZES, Progress, wrap_read_errors
from infogan.data.readers.remote import Location
from infogan.data.stream import Stream
from infogan.utils.distributed import local_shard_slice
from infogan.utils.errors import UserError
from infogan.utils.files import TEMPORARY_NAME, file_lock, make_output_folder, write_bytes
from infogan.utils.processes import process_pool

INDEX, PLAN, LOCK = "index.json", "plan.json", "writer.json"
FORMAT: Literal["infogan shards 1"] = "infogan shards 1"
MAX_SHARD_IMAGES, MAX_SHARD_BYTES = 16_384, 2**25
CACHED_SIDECARS = 8  # shards whose names are kept in memory


_Value = Annotated[int, Field(ge=0, lt=2**31)]  # a label, or the value of a factor


class _ShardEntry(BaseModel):
    """A shard in the index."""

    name: Annotated[str, Field(pattern="^(train|test)-[0-9]{5,9}$")]  # cannot be a path to another folder
    images: Annotated[int, Field(gt=0, le=2**31)]
    sha256: str


class _FactorTable(BaseModel):
    """What the factors of all images have in common."""

    model_config = ConfigDict(from_attributes=True)

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    value_names: tuple[tuple[str, ...], ...]


class _Index(BaseModel):
    """Contents of ``index.json``."""

    format: Literal["infogan shards 1"] = FORMAT
    channels: Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
    size: Annotated[int, Field(ge=SIZES.start, lt=SIZES.stop)]
    label_names: tuple[str, ...]
    named: bool
    factors: _FactorTable | None = None
    splits: dict[Literal["train", "test"], Annotated[list[_ShardEntry], Field(min_length=1)]]
    skipped: dict[Literal["train", "test"], tuple[str, ...]] = {}  # as `ImageSet.skipped`


class _Sidecar(BaseModel):
    """Contents of a shard's JSON file. ``names`` is None for numbered images, ``labels`` for unlabelled ones."""

    images: int
    sha256: str
    names: list[str] | None
    labels: list[_Value] | None
    label_names: tuple[str, ...]
    skipped: tuple[str, ...]
    factors: list[list[_Value]] | None = None


JsonModel = TypeVar("JsonModel", bound=BaseModel)
OpenStream = Callable[[], AbstractContextManager[Stream]]


class Shards:
    """The images of many memory-mapped files as one array, read on access.

    Args:
        folder: The folder of shards.
        entries: The shards of a split, from the index.
        shape: (channels, height, width) of an image.

    Attributes:
        starts: int64 (files + 1,), the index of each file's first image, and the number of all images.
        shape: (images, channels, height, width).
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, folder: Path, entries: Sequence[_ShardEntry], shape: tuple[int, int, int]) -> None:
        self.starts = np.cumsum([0, *(entry.images for entry in entries)], dtype=np.int64)
        self.shape = (int(self.starts[-1]), *shape)
        files = [folder / f"{entry.name}.npy" for entry in entries]
        self._files, self._checksums = files, [entry.sha256 for entry in entries]
        self._map = cache(lambda shard: np.lib.format.open_memmap(files[shard], mode="r"))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Size of all images in bytes."""
        return math.prod(self.shape)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        selection = np.arange(*index.indices(len(self))) if isinstance(index, slice) else np.asarray(index)
        if selection.dtype == bool:
            selection = np.flatnonzero(selection)
        rows = np.where(selection < 0, selection + len(self), selection).ravel()
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"index {index} is out of range for {len(self)} images")
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        gather(self.starts, self._map, rows, images)
        return images.reshape(*selection.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array: NDArray[Any] = self[:].astype(dtype or self.dtype, copy=False)
        return array

    def checksum(self, *, verify: bool) -> str:
        """Return a digest of the checksums of all shards.

        Args:
            verify: Whether to compare every shard with its checksum. The workers of one machine, which read the same
                files, compare a part each.

        Raises:
            UserError: A shard is damaged or cannot be read.
        """
        local = local_shard_slice(len(self._files)) if verify else slice(0)
        for file, checksum in zip(self._files[local], self._checksums[local], strict=True):
            with wrap_read_errors(file), open(file, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if digest != checksum:
                raise UserError(f"{file} is damaged: its SHA-256 differs from {INDEX}; prepare the data again")
        return hashlib.sha256(" ".join(self._checksums).encode()).hexdigest()


def gather(
    starts: NDArray[np.int64], part: Callable[[int], NDArray[Any]], rows: NDArray[np.int64], output: NDArray[Any]
) -> None:
    """Copy rows of an array that consists of parts.

    Args:
        starts: (parts + 1,), the index of the first row of each part, and the number of all rows.
        part: Returns a part by number.
        rows: (rows,), the indices of the rows.
        output: (rows, ...), where they are copied to.
    """
    part_of_row = np.searchsorted(starts, rows, side="right") - 1
    for number in np.unique(part_of_row).tolist():
        mask = part_of_row == number
        output[mask] = part(number)[rows[mask] - starts[number]]


class ShardNames(Sequence[str]):
    """The names of the images of shards, read on access.

    Args:
        sidecars: The JSON file of each shard.
        starts: As in `Shards`.
    """

    def __init__(self, sidecars: Sequence[Path], starts: NDArray[np.int64]) -> None:
        self._sidecars, self._starts = list(sidecars), starts
        self._names_of_shard = lru_cache(CACHED_SIDECARS)(self._read_names)

    def _read_names(self, shard: int) -> list[str]:
        names = _read_json(_Sidecar, self._sidecars[shard]).names
        count = int(self._starts[shard + 1] - self._starts[shard])
        if names is None or len(names) != count:
            raise UserError(f"{self._sidecars[shard]} is damaged: it must name {count} images; prepare the data again")
        return names

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._names_of_shard(shard)[row - int(self._starts[shard])]

    def __iter__(self) -> Iterator[str]:
        for shard in range(len(self._sidecars)):
            yield from self._names_of_shard(shard)


def as_shards(images: object) -> Shards | None:
    """Return ``images`` if they are shards, which the type of `ImageSet.images` hides, otherwise None."""
    return images if isinstance(images, Shards) else None


def is_sharded(path: Location) -> TypeGuard[Path]:
    """Return whether a path is a local folder of shards, complete or not."""
    return isinstance(path, Path) and ((path / INDEX).is_file() or (path / PLAN).is_file())


def shard_splits(path: Path) -> tuple[str, ...]:
    """Return the splits of a folder of shards.

    Raises:
        UserError: As for `read_shards`.
    """
    return tuple(_read_index(path).splits)


def read_shards(path: Path, split: str) -> ImageSet:
    """Return one split of a folder of shards; its pixels stay in their files.

    Raises:
        UserError: The folder is incomplete or damaged, or has no such split.
    """
    index = _read_index(path)
    if split not in index.splits:
        raise UserError(f"{path} has no {split} split")
    entries = index.splits[split]
    shape = (index.channels, index.size, index.size)
    for entry in entries:
        file = path / f"{entry.name}.npy"
        with wrap_read_errors(file):  # only the header and the length are read
            pixels: NDArray[Any] = np.lib.format.open_memmap(file, mode="r")
        if pixels.shape != (entry.images, *shape) or pixels.dtype != np.uint8:
            raise UserError(f"the shard {file} differs from {INDEX}; prepare the data again")
    images = Shards(path, entries, shape)
    sidecars = [path / f"{entry.name}.json" for entry in entries]
    labels, factors = _read_truth(path, sidecars, index, len(images))
    return ImageSet(
        cast(NDArray[np.uint8], images),
        ShardNames(sidecars, images.starts) if index.named else NumberedNames(len(images)),
        f"{path} ({split})",
        labels,
        index.label_names,
        index.skipped.get(split, ()),
        factors,
    )


def _read_truth(
    path: Path, sidecars: Sequence[Path], index: _Index, count: int
) -> tuple[NDArray[np.int64] | None, Factors | None]:
    """Return the labels, if every shard of the split has them, and the factors of a split."""
    labels: list[int] = []
    rows: list[list[int]] = []
    is_labelled = bool(index.label_names)
    table, classes = index.factors, len(index.label_names)
    if classes or table:
        for file in sidecars:
            sidecar = _read_json(_Sidecar, file)
            labels += sidecar.labels or []
            is_labelled = is_labelled and sidecar.labels is not None
            rows += sidecar.factors or []
    if is_labelled and not (len(labels) == count and max(labels) < classes):
        raise UserError(f"{path} is damaged: it must have {count} labels below {classes}; prepare the data again")
    if table and not (len(rows) == count and all(len(row) == len(table.names) for row in rows)):
        raise UserError(f"{path} is damaged: it must have {len(table.names)} factors per image; prepare the data again")
    return (
        np.array(labels, np.int64) if is_labelled else None,
        Factors(table.names, table.sizes, np.array(rows, np.int64), table.value_names) if table else None,
    )


def _read_index(path: Path) -> _Index:
    if not (path / INDEX).is_file():
        raise UserError(f"{path} is incomplete: run `infogan data prepare` again")
    return _read_json(_Index, path / INDEX)


def _read_json(model: type[JsonModel], path: Path) -> JsonModel:
    with wrap_read_errors(path):
        # Python's own reader: names may contain bytes that are not UTF-8, as surrogates.
        return model.model_validate(json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class PreparedSplit:
    """A split that was written to shards.

    Attributes:
        images: Number of images written.
        skipped: One line ``"name: reason"`` for each image that could not be used.
    """

    images: int
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class _SplitWriter:
    """How one split is divided into shards; worker processes receive a copy.

    Attributes:
        folder: The folder of shards.
        split: ``"train"`` or ``"test"``.
        open_stream: Opens the images.
        shard_images: Images per shard, before unusable ones are skipped.
        strict: Whether an unusable image is an error.
    """

    folder: Path
    split: str
    open_stream: OpenStream
    shard_images: int
    strict: bool

    def path(self, number: int, extension: str) -> Path:
        """Return the path of a shard's pixels, ``".npy"``, or of its sidecar, ``".json"``, which is written last."""
        return self.folder / f"{self.split}-{number:05d}{extension}"

    def write(self, number: int, stream: Stream) -> None:
        """Write one shard: its pixels, then its sidecar."""
        images = stream.read(number * self.shard_images, min((number + 1) * self.shard_images, stream.count))
        if self.strict and images.skipped:
            raise unusable(stream.source, images.skipped)
        content = io.BytesIO()
        np.save(content, np.ascontiguousarray(images.images), allow_pickle=False)
        write_bytes(self.path(number, ".npy"), content.getvalue())
        sidecar = _Sidecar(
            images=len(images),
            sha256=hashlib.sha256(content.getbuffer()).hexdigest(),
            names=None if stream.is_numbered else list(images.names),
            labels=None if images.labels is None else images.labels.tolist(),
            label_names=images.label_names,
            skipped=images.skipped,
            factors=None if images.factors is None else images.factors.values.tolist(),
        )
        # Python's own writer, because pydantic's refuses names that are not UTF-8.
        write_bytes(self.path(number, ".json"), json.dumps(sidecar.model_dump()).encode())


def write_shards(
    splits: Mapping[str, OpenStream],
    folder: Path,
    shape: tuple[int, int],
    *,
    strict: bool,
    workers: int,
    progress: Progress | None = None,
) -> dict[str, PreparedSplit]:
    """Write a folder of shards, or continue an interrupted one.

    Args:
        splits: By name of the split, a function that opens its images, in this process or in a worker.
        folder: Destination.
        shape: (channels, size) of the images.
        strict: Whether an image that cannot be used is an error; otherwise it is skipped.
        workers: Number of processes that write shards.
        progress: Callback for the number of images done.

    Returns:
        What was written, by name of the split.

    Raises:
        UserError: The folder holds something else, is not writable or is being written by another process; or there is
            no usable image, or with ``strict`` an unusable one.
    """
    # A process that was killed at its very start left nothing but its lock and temporary files.
    names = {path.name for path in folder.iterdir()} - {LOCK} if folder.is_dir() else set()
    if not is_sharded(folder) and not all(map(TEMPORARY_NAME.fullmatch, names)):
        raise UserError(f"{folder} is not empty and holds no shards; choose another destination")
    make_output_folder(folder)
    with file_lock(folder / LOCK, str(folder)), ExitStack() as stack:
        stack.callback(_remove_temporary_files, folder)  # of processes that were killed
        streams = {split: stack.enter_context(open_stream()) for split, open_stream in splits.items()}
        limit = max(1, min(MAX_SHARD_IMAGES, MAX_SHARD_BYTES // (shape[0] * shape[1] ** 2)))
        _write_plan(folder, shape, limit, streams)
        sidecars, written = {}, {}
        for split, stream in streams.items():
            if strict and stream.skipped:
                raise unusable(stream.source, stream.skipped)
            # Shards of equal size, apart from the last, so that all workers have the same amount of work.
            shard_images = max(1, math.ceil(stream.count / max(1, math.ceil(stream.count / limit))))
            writer = _SplitWriter(folder, split, splits[split], shard_images, strict)
            sidecars[split] = _write_split(writer, stream, workers, progress)
            skipped = (*stream.skipped, *(line for sidecar in sidecars[split] for line in sidecar.skipped))
            written[split] = PreparedSplit(sum(sidecar.images for sidecar in sidecars[split]), skipped)
            if strict and skipped:  # in shards of an earlier, interrupted preparation
                raise unusable(stream.source, skipped)
            if not written[split].images:
                reason = describe_skipped(skipped) if skipped else "it is empty"
                raise UserError(f"{stream.source} has no usable image: {reason}")
        _write_index(folder, shape, streams, sidecars, {split: made.skipped for split, made in written.items()})
    return written


def _remove_temporary_files(folder: Path) -> None:
    for path in folder.glob(".*"):
        if TEMPORARY_NAME.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _write_plan(folder: Path, shape: tuple[int, int], limit: int, streams: Mapping[str, Stream]) -> None:
    """Record what the shards are made from, so that an interrupted preparation continues with the same images."""
    fingerprints = {split: f"{stream.count} {stream.fingerprint}" for split, stream in streams.items()}
    plan = json.dumps({"format": FORMAT, "channels": shape[0], "size": shape[1], "most": limit, "splits": fingerprints})
    if (folder / PLAN).is_file() and (folder / PLAN).read_text(encoding="utf-8") != plan:
        raise UserError(f"{folder} holds shards of other images or of another size; choose another destination")
    write_bytes(folder / PLAN, plan.encode())


def _write_split(writer: _SplitWriter, stream: Stream, workers: int, progress: Progress | None) -> list[_Sidecar]:
    """Write the missing shards of a split, in several processes if possible; return the sidecars of all its shards."""
    numbers = range(math.ceil(stream.count / writer.shard_images))
    missing = [number for number in numbers if not writer.path(number, ".json").is_file()]
    with ExitStack() as stack:
        writes: Iterable[None] = map(partial(writer.write, stream=stream), missing)
        if workers > 1 and len(missing) > 1:
            pool = process_pool(min(workers, len(missing)), _open_in_worker, (writer.open_stream,))
            writes = stack.enter_context(pool).map(partial(_write_in_worker, writer), missing)
        for count, _ in enumerate(writes, start=len(numbers) - len(missing) + 1):
            if progress is not None:
                progress(f"preparing {stream.source}", min(stream.count, count * writer.shard_images), stream.count)
    return [_read_json(_Sidecar, writer.path(number, ".json")) for number in numbers]


# The images that a worker process reads, and what keeps them open.
_worker_streams: list[Stream] = []
_worker_context = ExitStack()


def _open_in_worker(open_stream: OpenStream) -> None:
    _worker_streams.append(_worker_context.enter_context(open_stream()))


def _write_in_worker(writer: _SplitWriter, number: int) -> None:
    writer.write(number, _worker_streams[-1])


def _write_index(
    folder: Path,
    shape: tuple[int, int],
    streams: Mapping[str, Stream],
    sidecars: Mapping[str, list[_Sidecar]],
    skipped: Mapping[str, tuple[str, ...]],
) -> None:
    all_sidecars = [sidecar for split in sidecars.values() for sidecar in split]
    factors = next((stream.factors for stream in streams.values() if stream.factors is not None), None)
    index = {
        "channels": shape[0],
        "size": shape[1],
        "label_names": max((sidecar.label_names for sidecar in all_sidecars), key=len),
        "named": any(sidecar.names is not None for sidecar in all_sidecars),
        "factors": factors,
        "splits": {
            split: [
                {"name": f"{split}-{number:05d}", "images": sidecar.images, "sha256": sidecar.sha256}
                for number, sidecar in enumerate(split_sidecars)
                if sidecar.images
            ]
            for split, split_sidecars in sidecars.items()
        },
        "skipped": skipped,
    }
    # Python's own writer, because pydantic's refuses names that are not UTF-8.
    write_bytes(folder / INDEX, json.dumps(_Index.model_validate(index).model_dump(), indent=1).encode())
