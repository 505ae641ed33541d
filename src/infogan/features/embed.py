"""Vectors of any number of images, computed block by block and kept in a cache.

Finished blocks are kept below the cache folder, so that an interrupted job resumes, several workers share the blocks,
and nothing is computed twice for the same weights and the same images.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infogan.data import Progress
from infogan.data.augment import augment
from infogan.data.batches import to_network, to_pixels
from infogan.data.dataset import unusable
from infogan.data.registry import cache_folder
from infogan.data.stream import Stream
from infogan.features.extractor import FeatureExtractor
from infogan.features.vectors import NamedVectors
from infogan.utils import distributed
from infogan.utils.errors import UserError
from infogan.utils.files import atomic_write, file_lock, make_folder

BLOCK = 512  # images; at 10 images a second, a minute is lost at most
VIEWED = 2_000  # images of which augmented views are computed as well
VIEWS = 2  # of each
VIEW_BATCH = 100
VIEW_AUGMENTATIONS = {"crop": 0.5, "flip": 0.5, "colour": 0.4}  # which kinds of photograph survive
CACHE = "features"  # folder below the cache folder
FORMAT = 1  # of the files of blocks


def embed(
    stream: Stream, extractor: FeatureExtractor, *, strict: bool = False, progress: Progress | None = None
) -> NamedVectors:
    """Return the vectors of images, from the cache as far as it has them.

    Args:
        stream: The images, at the extractor's size and in colour.
        extractor: The pretrained encoder. If its identity is unknown, nothing is kept.
        strict: Raise an error for images that cannot be used instead of leaving them out.
        progress: Called with the number of images whose vectors are known.

    Raises:
        UserError: The encoder fails, there is no usable image or with ``strict`` an unusable one, or the cache cannot
            be written.

    Example:
        >>> with infogan.data.streamed("photos", size=224, channels=3) as stream:
        ...     vectors = embed(stream, open_extractor("lite0"))
    """
    with ExitStack() as stack:

        def make() -> Path:
            if not extractor.identity:
                return Path(stack.enter_context(TemporaryDirectory()))
            folder = cache_folder(CACHE) / _key(stream, extractor)
            make_folder(folder)
            return folder

        job = EmbedJob(stream, extractor, distributed.broadcast_from_rank0(make))
        distributed.on_rank0(lambda: stack.enter_context(file_lock(job.folder / "writer.json", str(job.folder), 60.0)))
        with distributed.all_or_none():
            for index in range(distributed.rank(), job.block_count, distributed.world_size()):
                if not job.path(index).is_file():
                    job.compute(index)
                if progress is not None:
                    done = min((index + distributed.world_size()) * BLOCK, stream.count)
                    progress(f"features {extractor.name} of {stream.source}", done, stream.count)

        def collect() -> NamedVectors:
            blocks = [*job.blocks()]
            skipped = [*stream.skipped, *(line for block in blocks for line in block[2])]
            names = [name for block in blocks for name in block[0]]
            if not names:
                raise UserError(f"{stream.source} has no usable image")
            if strict and skipped:
                raise unusable(stream.source, skipped)
            vectors = np.concatenate([block[1] for block in blocks if len(block[1])])
            views = [block[3] for block in blocks if block[3].size]
            of_views = np.concatenate(views, axis=1) if views else None
            return NamedVectors(vectors, names, of_views, tuple(skipped), extractor.description)

        with distributed.all_or_none():  # every worker reads the blocks; a temporary folder goes when all have
            return collect()


def _key(stream: Stream, extractor: FeatureExtractor) -> str:
    """Return a name for the vectors of these images from these weights."""
    parts = [extractor.identity, stream.fingerprint, stream.count, BLOCK, VIEWS, VIEW_AUGMENTATIONS, FORMAT]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class EmbedJob:
    """The images to embed, and the blocks that are finished.

    Attributes:
        stream: The images.
        extractor: The pretrained encoder.
        folder: The folder of the finished blocks.
    """

    stream: Stream
    extractor: FeatureExtractor
    folder: Path

    @cached_property
    def block_count(self) -> int:
        """The number of blocks."""
        return -(-self.stream.count // BLOCK)

    def path(self, index: int) -> Path:
        """Return the file of a block."""
        return self.folder / f"{index:08d}.npz"

    def compute(self, index: int) -> None:
        """Compute the vectors of a block and save them."""
        images = self.stream.read(index * BLOCK, (index + 1) * BLOCK)
        vectors = self.extractor(images.images) if len(images) else np.empty((0, 0), np.float32)
        views = [*self._views(images.images, index)]
        texts = np.frombuffer(json.dumps([[*images.names], [*images.skipped]]).encode(), np.uint8)
        with atomic_write(self.path(index)) as temporary:
            np.savez(temporary, allow_pickle=False, vectors=vectors, views=np.array(views), texts=texts)

    def _views(self, images: NDArray[np.uint8], index: int) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors of each view of a block's share of the images whose views are computed."""
        share = min(1.0, VIEWED / self.stream.count)
        generator = torch.Generator().manual_seed(index)
        rows = np.random.default_rng(index).random(len(images)) < share
        for _ in range(VIEWS if rows.any() else 0):
            parts = np.array_split(images[rows], -(-int(rows.sum()) // VIEW_BATCH))  # floats need four times the memory
            yield np.concatenate([self.extractor(_view(part, generator)) for part in parts])

    def blocks(self) -> Iterator[tuple[list[str], Any, list[str], Any]]:
        """Yield the names, the vectors, the skipped images and the vectors of views of each block, in order.

        Raises:
            UserError: A file is damaged; it is removed, so that the same command computes its block again.
        """
        for index in range(self.block_count):
            path = self.path(index)
            try:
                with open(path, "rb") as content, np.load(content, allow_pickle=False) as file:
                    names, skipped = json.loads(file["texts"].tobytes())
                    vectors, views = file["vectors"], file["views"]
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                raise UserError(f"{path} is damaged: run the same command again") from error
            yield names, vectors, skipped, views


def _view(images: NDArray[np.uint8], generator: torch.Generator) -> NDArray[np.uint8]:
    """Return an augmented view of each image."""
    batch = to_network(torch.from_numpy(np.ascontiguousarray(images)))
    return to_pixels(augment(batch, VIEW_AUGMENTATIONS, generator))
