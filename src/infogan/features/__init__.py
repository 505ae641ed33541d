"""Features of images from pretrained encoders and from files of vectors."""

from infogan.features.embed import embed
from infogan.features.extractor import FeatureExtractor, from_module
from infogan.features.sources import absolute_source, is_at_hand, open_extractor
from infogan.features.vectors import NamedVectors, check_destination, is_vector_file, read_vectors, write_vectors

__all__ = [
    "FeatureExtractor",
    "NamedVectors",
    "absolute_source",
    "check_destination",
    "embed",
    "from_module",
    "is_at_hand",
    "is_vector_file",
    "open_extractor",
    "read_vectors",
    "write_vectors",
]
