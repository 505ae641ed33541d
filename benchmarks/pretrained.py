"""Measure categories from pretrained features: a JSON line for each seed.

    python -m benchmarks.pretrained cifar10.zip --features lite0 --features-size 128 --seeds 0-4 --out cifar10.jsonl

*pretrained* is the accuracy of the groups that are found in the features, *distilled* that of the run's own encoder,
which has learned them at 32 pixels; both one category a label, matched on the training images. They are reported on
the test split, if there is one. *kmeans* is k-means on the same features, for comparison. The generator is not
trained. Labels are used for evaluation only.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from benchmarks.accuracy import add
from infogan.api.features import load_vectors
from infogan.api.resolve import compose, resolve, validate
from infogan.api.sweep import parse_seeds
from infogan.data import ImageSet, has_test_split, load, streamed
from infogan.evaluation.metrics.clustering import accuracy, hungarian_mapping
from infogan.features import embed, open_extractor
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.teacher import fit_teacher
from infogan.training.time_budget import with_stages

SIZE = 32  # pixels, of the run's own encoder


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a folder or zip with a subfolder per class")
    parser.add_argument("--features", default="lite0")
    parser.add_argument("--features-size", type=int)
    parser.add_argument("--categorical", type=int, default=10)
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--no-distillation", action="store_true", help="measure the pretrained features alone")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to append to")
    arguments = parser.parse_args()
    images = load(arguments.data, size=SIZE, channels=3)
    test = load(arguments.data, split="test", size=SIZE, channels=3) if has_test_split(arguments.data) else None
    for seed in parse_seeds(arguments.seeds):
        add(arguments.out, measure(arguments, images, test, seed))


def measure(arguments: argparse.Namespace, images: ImageSet, test: ImageSet | None, seed: int) -> dict[str, Any]:
    """Return the accuracies of a seed."""
    categories = arguments.categorical
    features = {"source": arguments.features, "size": arguments.features_size}
    layer = {
        "data": {"source": arguments.data, "size": SIZE, "channels": 3},
        "features": {name: value for name, value in features.items() if value is not None},
        "train": {"seed": seed},
    }
    options = compose("robust", [layer], categorical=categories)
    started = time.monotonic()
    vectors = load_vectors(validate(options), images, "cpu", None, None)
    assert vectors is not None
    embedded = time.monotonic()
    teacher = fit_teacher(vectors, categories, seed)
    fitted = time.monotonic()
    kmeans = KMeans(categories, n_init=3, random_state=seed).fit_predict(vectors.values)
    line: dict[str, Any] = {"data": Path(arguments.data).stem, **features, "seed": seed, "categories": categories}
    predicted = teacher.probabilities.argmax(axis=1)
    line["kmeans"] = _accuracy(kmeans, images, kmeans, images, categories)
    line["pretrained"] = _accuracy(predicted, images, predicted, images, categories)
    if test is not None:
        extractor = open_extractor(arguments.features, size=arguments.features_size)
        with streamed(arguments.data, size=extractor.size, channels=3, split="test", for_encoder=True) as stream:
            of_test = embed(stream, extractor).of(test.names, arguments.data)
        found = teacher.head.probabilities(of_test.values).argmax(axis=1)
        line["pretrained_test"] = _accuracy(predicted, images, found, test, categories)
    line |= {"seconds_embedding": round(embedded - started, 1), "seconds_head": round(fitted - embedded, 1)}
    if arguments.no_distillation:
        return line
    config = resolve(options, images, timed=False).config
    started = time.monotonic()
    with TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        model = train(with_stages(config, config.stages[:1]), images, run, targets=teacher.probabilities)
    line["seconds_distillation"] = round(time.monotonic() - started, 1)
    distilled = model.encode(images.images).codes["category"]
    line["distilled"] = _accuracy(distilled, images, distilled, images, categories)
    if test is not None:
        found = model.encode(test.images).codes["category"]
        line["distilled_test"] = _accuracy(distilled, images, found, test, categories)
    return line


def _accuracy(
    fitted: NDArray[np.integer], train: ImageSet, found: NDArray[np.integer], reported: ImageSet, categories: int
) -> float:
    """Return the accuracy of categories, matched to labels on the training images."""
    assert train.labels is not None
    assert reported.labels is not None
    mapping = hungarian_mapping(fitted, train.labels, categories, len(train.label_names))
    return round(float(accuracy(mapping, found, reported.labels)), 4)


if __name__ == "__main__":
    main()
