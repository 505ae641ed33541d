"""Images of any source, named or a path, as an `ImageSet` or a `Stream`."""

from infogan.data._load import has_test_split, load, prepare, prepare_shards, resolve_source, streamed
from infogan.data.dataset import ImageSet, describe_skipped, some_indices
from infogan.data.factors import Factors
from infogan.data.preprocess import FITS, SIZES, Progress, ValueRange
from infogan.data.registry import DATASETS, Dataset, cache_folder, dataset_note, dataset_status, fetch
from infogan.data.stream import Stream

__all__ = [
    "DATASETS",
    "FITS",
    "SIZES",
    "Dataset",
    "Factors",
    "ImageSet",
    "Progress",
    "Stream",
    "ValueRange",
    "cache_folder",
    "dataset_note",
    "dataset_status",
    "describe_skipped",
    "fetch",
    "has_test_split",
    "load",
    "prepare",
    "prepare_shards",
    "resolve_source",
    "some_indices",
    "streamed",
]
