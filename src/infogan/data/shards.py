"""Image sets that are larger than memory: a folder of shards of equal size, made once and mapped ever after.

In flows a `Stream` of images; out flows a folder that `load` reads. Shard ``k`` of a split holds the usable ones of as
many of its images as go into one: ``train-00000.npy``, their pixels, and ``train-00000.json``, their names,
labels, and who was skipped. ``index.json``, written last, lists the shards with their checksums. What was stopped goes
on with the shards that are missing; several processes make some each.
"""

import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from infogan.data.dataset import ImageSet, NumberedNames
from infogan.data.factors import Factors
from infogan.data.preprocess import SIZES, Progress
from infogan.data.readers.remote import Location
from infogan.data.stream import Stream
from infogan.utils.distributed import local_shard_slice
from infogan.utils.errors import UserError
from infogan.utils.files import file_lock, make_output_folder, write_bytes

INDEX, PLAN = "index.json", "plan.json"
FORMAT: Literal["infogan shards 1"] = "infogan shards 1"
SHARD, SHARD_BYTES = 16_384, 2**25  # images of a shard, or fewer of large ones
KEPT = 8  # shards whose names are kept in memory


class _Listed(BaseModel):
    name: Annotated[str, Field(pattern="^(train|test)-[0-9]{5,9}$")]  # of files of ours, and no path
    images: Annotated[int, Field(gt=0, le=2**31)]
    sha256: str


class _Factors(BaseModel):
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    value_names: tuple[tuple[str, ...], ...]


class _Index(BaseModel):
    format: Literal["infogan shards 1"] = FORMAT
    channels: Literal[1, 3]
    size: Annotated[int, Field(ge=SIZES.start, lt=SIZES.stop)]
    label_names: tuple[str, ...]
    named: bool
    factors: _Factors | None = None
    splits: dict[Literal["train", "test"], Annotated[list[_Listed], Field(min_length=1)]]


class _Beside(BaseModel):
    """What stands beside a shard's pixels. Numbered images have no names, and those without labels none."""

    images: int
    sha256: str
    names: list[str] | None
    labels: list[int] | None
    label_names: tuple[str, ...]
    skipped: tuple[str, ...]
    factors: list[list[int]] | None = None


Content = TypeVar("Content", bound=BaseModel)
Opened = Callable[[], AbstractContextManager[Stream]]


class Shards:
    """The images of many mapped files as one array, of which parts are read as they are asked for.

    Args:
        files: The ``.npy`` files.
        counts: Images of each.
        checksums: SHA-256 of each, in hex.
        shape: (channels, height, width) of an image.

    Attributes:
        starts: (files + 1,), the place of each file's first image, and the number of all.
        shape: (images, channels, height, width).
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, files: Sequence[Path], counts: Sequence[int], checksums: Sequence[str], shape: tuple[int, int, int]
    ) -> None:
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.shape = (int(self.starts[-1]), *shape)
        self._files, self._checksums = list(files), list(checksums)
        self._maps: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Of all images."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, wanted: Any) -> NDArray[np.uint8]:
        if isinstance(wanted, slice):
            wanted = np.arange(*wanted.indices(len(self)))
        if isinstance(wanted, int | np.integer):
            one: NDArray[np.uint8] = self[np.array([wanted])][0]
            return one
        places = np.asarray(wanted)
        if places.dtype == bool:
            places = np.flatnonzero(places)
        places = np.where(places < 0, places + len(self), places)
        if places.size and not (places.min() >= 0 and places.max() < len(self)):
            raise IndexError(f"there are {len(self)} images")
        found = np.empty((len(places), *self.shape[1:]), np.uint8)
        owners = np.searchsorted(self.starts, places, side="right") - 1
        for owner in np.unique(owners).tolist():
            here = owners == owner
            found[here] = self._mapped(owner)[places[here] - self.starts[owner]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        everything: NDArray[Any] = self[:].astype(dtype or self.dtype, copy=False)
        return everything

    def _mapped(self, shard: int) -> NDArray[np.uint8]:
        if shard not in self._maps:
            self._maps[shard] = np.lib.format.open_memmap(self._files[shard], mode="r")
        return self._maps[shard]

    def verify(self) -> str:
        """Compares every shard with its checksum; returns a digest of all of them.

        Workers of one machine, which read the same files, compare a share each.

        Raises:
            UserError: one is not as it was written, or can not be read.
        """
        mine = local_shard_slice(len(self._files))
        for file, checksum in zip(self._files[mine], self._checksums[mine], strict=True):
            try:
                with open(file, "rb") as content:
                    found = hashlib.file_digest(content, "sha256").hexdigest()
            except OSError as error:
                raise UserError(f"{file} can not be read: {error.strerror or error}") from error
            if found != checksum:
                raise UserError(f"{file} is damaged, its checksum is another one: prepare the data anew")
        return hashlib.sha256(" ".join(self._checksums).encode()).hexdigest()


class ShardNames(Sequence[str]):
    """The names of the images of shards, read as they are asked for."""

    def __init__(self, files: Sequence[Path], starts: NDArray[np.int64]) -> None:
        self._files, self._starts = list(files), starts
        self._of_shard = lru_cache(KEPT)(self._read)

    def _read(self, shard: int) -> list[str]:
        names = _beside(self._files[shard]).names
        if names is None or len(names) != self._starts[shard + 1] - self._starts[shard]:
            raise UserError(f"{self._files[shard]} does not name each of its images")
        return names

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        shard = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._of_shard(shard)[place - int(self._starts[shard])]

    def __iter__(self) -> Iterator[str]:
        for shard in range(len(self._files)):
            yield from self._of_shard(shard)


def as_shards(images: object) -> Shards | None:
    """The images, if that is what they are; an `ImageSet` takes them for an array."""
    return images if isinstance(images, Shards) else None


# Reading.


def is_sharded(path: Location) -> TypeGuard[Path]:
    """Whether a folder holds shards, whole or half made; elsewhere there are none."""
    return isinstance(path, Path) and ((path / INDEX).is_file() or (path / PLAN).is_file())


def shard_splits(path: Path) -> tuple[str, ...]:
    """The splits of a folder of shards; raises UserError as `read_shards`."""
    return tuple(_index(path).splits)


def read_shards(path: Path, split: str) -> ImageSet:
    """One split of a folder of shards, its pixels left in their files.

    Raises:
        UserError: it was not made to its end, a shard is missing or of another size, or there is no such split.
    """
    index = _index(path)
    if split not in index.splits:
        raise UserError(f"{path} has no test split")
    listed = index.splits[split]
    shape = (index.channels, index.size, index.size)
    files, sides = ([path / f"{shard.name}{ending}" for shard in listed] for ending in (".npy", ".json"))
    for file, shard in zip(files, listed, strict=True):
        _check_shard(file, shard.images, shape)
    images = Shards(files, [shard.images for shard in listed], [shard.sha256 for shard in listed], shape)
    labels = None
    if index.label_names:
        labels = np.concatenate([np.array(_beside(side).labels, np.int64) for side in sides])
        if len(labels) != len(images) or labels.min() < 0 or labels.max() >= len(index.label_names):
            raise UserError(f"{path} has labels that are none of its images'")
    names: Sequence[str] = ShardNames(sides, images.starts) if index.named else NumberedNames(len(images))
    factors = None if index.factors is None else _read_factors(path, sides, index.factors, len(images))
    return ImageSet(
        cast(NDArray[np.uint8], images), names, f"{path} ({split})", labels, index.label_names, factors=factors
    )


def _read_factors(path: Path, sides: Sequence[Path], known: "_Factors", count: int) -> Factors:
    rows = [row for side in sides for row in _beside(side).factors or ()]
    if len(rows) != count or any(len(row) != len(known.names) for row in rows):
        raise UserError(f"{path} has factors that are none of its images'")
    return Factors(known.names, known.sizes, np.array(rows, np.int64), known.value_names)


def _check_shard(file: Path, count: int, shape: tuple[int, int, int]) -> None:
    try:
        with open(file, "rb") as content:
            np.lib.format.read_magic(content)
            found, fortran, kind = np.lib.format.read_array_header_1_0(content)
            begun = content.tell()
            size = content.seek(0, io.SEEK_END) - begun
    except FileNotFoundError:
        raise UserError(f"the shard {file} is missing: prepare the data anew") from None
    except (OSError, ValueError) as error:
        raise UserError(f"the shard {file} can not be read: {error}") from error
    if found != (count, *shape) or fortran or kind != np.uint8 or size < count * math.prod(shape):
        raise UserError(f"the shard {file} is not what {INDEX} says: prepare the data anew")


def _index(path: Path) -> "_Index":
    if not (path / INDEX).is_file():
        raise UserError(f"{path} was not prepared to its end: give the command of before again")
    return _parsed(_Index, path / INDEX)


def _beside(path: Path) -> "_Beside":
    return _parsed(_Beside, path)


def _parsed(kind: type[Content], path: Path) -> Content:
    """A JSON file of ours; raises UserError where it can not be read or says something else."""
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is damaged, or made by another version: {where}: {first['msg']}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} can not be read: {error}") from error


# Making.


@dataclass(frozen=True)
class Made:
    """What became of a split: how many images it has, and a line ``"name: why"`` for each that could not be used."""

    images: int
    skipped: tuple[str, ...]


_stream: Stream | None = None  # of a process that makes shards
_open_streams = ExitStack()


def write_shards(
    splits: Mapping[str, Opened],
    folder: Path,
    shape: tuple[int, int],
    *,
    strict: bool,
    workers: int,
    progress: Progress | None = None,
) -> dict[str, Made]:
    """Makes a folder of shards, or goes on with one.

    Args:
        splits: By name, what opens the images of each, in this process and in others.
        folder: Where to.
        shape: Channels and side.
        strict: Refuse images that can not be used instead of skipping them.
        workers: Processes that make shards.
        progress: Told of the images done.

    Raises:
        UserError: the folder holds something else, or can not be written; no usable image, or with ``strict`` one that
            is not; or another process makes them.
    """
    if folder.is_dir() and not is_sharded(folder) and any(path.name != "writer.json" for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty and holds no shards: choose another destination")
    make_output_folder(folder)
    with file_lock(folder / "writer.json", str(folder)), ExitStack() as stack:
        streams = {split: stack.enter_context(opened()) for split, opened in splits.items()}
        most = max(1, min(SHARD, SHARD_BYTES // (shape[0] * shape[1] ** 2)))
        planned = {split: f"{stream.count} {stream.fingerprint}" for split, stream in streams.items()}
        plan = {"format": FORMAT, "channels": shape[0], "size": shape[1], "most": most, "splits": planned}
        if (folder / PLAN).is_file() and (folder / PLAN).read_text(encoding="utf-8") != json.dumps(plan):
            raise UserError(f"{folder} holds shards of other images, or in another form: choose another destination")
        write_bytes(folder / PLAN, json.dumps(plan).encode())
        listed, made = {}, {}
        label_names: tuple[str, ...] = ()
        named = False
        for split, stream in streams.items():
            # All but the last of one size, so that workers have the same to do.
            each = max(1, -(-stream.count // max(1, -(-stream.count // most))))
            sides = _make_split(folder, split, splits[split], stream, each, strict, workers, progress)
            skipped = [*stream.skipped, *(line for side in sides for line in side.skipped)]
            listed[split] = [
                _Listed(name=f"{split}-{number:05d}", images=side.images, sha256=side.sha256)
                for number, side in enumerate(sides)
                if side.images
            ]
            made[split] = Made(sum(side.images for side in sides), tuple(skipped))
            if not listed[split]:
                raise UserError(f"{stream.source} has no usable image: {'; '.join(skipped[:3]) or 'it is empty'}")
            label_names = max([label_names, *(side.label_names for side in sides)], key=len)
            named = named or any(side.names is not None for side in sides)
        made_of = {"channels": shape[0], "size": shape[1], "label_names": label_names, "named": named}
        if known := next((stream.factors for stream in streams.values() if stream.factors is not None), None):
            made_of["factors"] = {"names": known.names, "sizes": known.sizes, "value_names": known.value_names}
        index = _Index.model_validate({**made_of, "splits": listed})
        write_bytes(folder / INDEX, index.model_dump_json(indent=1).encode())
    return made


def _make_split(
    folder: Path,
    split: str,
    opened: Opened,
    stream: Stream,
    each: int,
    strict: bool,
    workers: int,
    progress: Progress | None,
) -> "list[_Beside]":
    """Makes the shards of a split that are not there yet; what stands beside each of them all."""
    numbers = range(-(-stream.count // each))
    missing = [number for number in numbers if not (folder / f"{split}-{number:05d}.json").is_file()]

    def tell(left: int) -> None:
        if progress is not None:
            progress(f"preparing {stream.source}", min(stream.count, (len(numbers) - left) * each), stream.count)

    if workers > 1 and len(missing) > 1:
        with ProcessPoolExecutor(min(workers, len(missing)), initializer=_open, initargs=(opened,)) as pool:
            waited: list[Future[None]] = [pool.submit(_make, folder, split, number, each, strict) for number in missing]
            try:
                for done, future in enumerate(waited, start=1):
                    future.result()
                    tell(len(missing) - done)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    else:
        for done, number in enumerate(missing, start=1):
            _make(folder, split, number, each, strict, stream)
            tell(len(missing) - done)
    return [_beside(folder / f"{split}-{number:05d}.json") for number in numbers]


def _open(opened: Opened) -> None:
    global _stream
    _stream = _open_streams.enter_context(opened())


def _make(folder: Path, split: str, number: int, each: int, strict: bool, stream: Stream | None = None) -> None:
    """Makes one shard: its pixels, and then what stands beside them."""
    source = stream or _stream
    assert source is not None
    images = source.read(number * each, min((number + 1) * each, source.count))
    if strict and images.skipped:
        raise UserError(f"{source.source} has files that cannot be used: {'; '.join(images.skipped[:3])}")
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(images.images), allow_pickle=False)
    name = f"{split}-{number:05d}"
    write_bytes(folder / f"{name}.npy", content.getvalue())
    numbered = source.numbered
    beside = _Beside(
        images=len(images),
        sha256=hashlib.sha256(content.getbuffer()).hexdigest(),
        names=None if numbered else list(images.names),
        labels=None if images.labels is None else images.labels.tolist(),
        label_names=images.label_names,
        skipped=images.skipped,
        factors=None if images.factors is None else images.factors.values.tolist(),
    )
    # Python's own writer: names may be no UTF-8, and are then written as what they are.
    write_bytes(folder / f"{name}.json", json.dumps(beside.model_dump()).encode())
