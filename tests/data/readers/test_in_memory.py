"""Images in a program: arrays, tensors, lists, torch Datasets and Hugging Face data sets."""

import datetime
import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infogan.data.dataset import ImageSet
from infogan.data.preprocess import ImageSpec
from infogan.data.readers.in_memory import as_numbers, read_object, stream_object
from infogan.models.results import Samples
from infogan.utils.errors import UserError
from tests.helpers import bar_images, image_set

ANY = ImageSpec()


def load_object(data: Any, spec: ImageSpec) -> ImageSet:
    """Return all images of an object."""
    stream = stream_object(data, spec)
    return stream.read(0, stream.count)


class Items(torch.utils.data.Dataset[Any]):
    """A data set like torchvision's: items of an image and a label, and the names of the classes."""

    classes = ("lying", "upright")

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Any:
        return self.items[number]


def hugging_face(images: list[Image.Image | None], **columns: Any) -> Any:
    datasets = pytest.importorskip("datasets", reason="needs the extra [integration]")
    features: dict[str, Any] = {"image": datasets.Image()}
    if "label" in columns:
        features["label"] = datasets.ClassLabel(names=["lying", "upright"])
    features |= {name: datasets.Value("string") for name in columns if name != "label"}
    return datasets.Dataset.from_dict({"image": images, **columns}, features=datasets.Features(features))


def pillow_images(count: int) -> list[Any]:
    return [Image.fromarray(image[0]) for image in bar_images(count)]


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def image_paths(folder: Path, count: int) -> list[Path]:
    """Write `bar_images` as PNG files; return their paths."""
    paths = [folder / f"{number}.png" for number in range(count)]
    for path, image in zip(paths, pillow_images(count), strict=True):
        image.save(path)
    return paths


@pytest.mark.parametrize(
    "data",
    [
        bar_images(6),
        bar_images(6)[:, 0],
        bar_images(6).transpose(0, 2, 3, 1),
        torch.from_numpy(bar_images(6)),
        bar_images(6) / 255,
        (torch.from_numpy(bar_images(6)) / 255).bfloat16(),
        (torch.from_numpy(bar_images(6)) / 255).half(),
        (torch.from_numpy(bar_images(6)) / 255).requires_grad_(),
        (torch.from_numpy(bar_images(6).astype(np.int32)) * 257).to(torch.uint16),
        Samples(bar_images(6), {}),
        np.array([*pillow_images(6), None], object)[:6],
        pillow_images(6),
        tuple(pillow_images(6)),
        list(bar_images(6)),
        [torch.from_numpy(image).float() / 255 for image in bar_images(6)],
        [image.transpose(1, 2, 0) for image in bar_images(6)],
        Items([(image, 1) for image in bar_images(6)]),
        Items([{"image": image, "label": 1} for image in pillow_images(6)]),
        hugging_face(pillow_images(6)),
        hugging_face(pillow_images(6)).with_format("numpy"),
        [{"bytes": png(image), "path": None} for image in pillow_images(6)],
        image_set(6),
    ],
    ids=lambda data: type(data).__name__,
)
def test_every_kind_of_object_gives_the_same_images(data: Any) -> None:
    images = load_object(data, ANY)
    assert np.array_equal(images.images, bar_images(6))
    assert images.names[5] == "5"
    stream = stream_object(data, ANY)
    assert stream.count == 6
    assert np.array_equal(stream.read(2, 5).images, bar_images(6)[2:5])


def test_image_files_and_single_images_are_read(tmp_path: Path) -> None:
    paths = image_paths(tmp_path, 6)
    for data in (paths, [str(path) for path in paths], np.array([str(path) for path in paths], object)):
        assert np.array_equal(load_object(data, ANY).images, bar_images(6))
    assert np.array_equal(load_object(pillow_images(1)[0], ANY).images, bar_images(1))


def test_rows_and_columns_of_tables_are_read(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs the extra [integration]")
    table = pandas.DataFrame({"note": list("abcdef"), "image": pillow_images(6), "label": [0, 1, 1, 0, 1, 0]})
    filtered = table[table["label"] == 1]  # its index is 1, 2, 4
    expected = bar_images(6)[[1, 2, 4]]
    images = load_object(filtered, ANY)
    assert np.array_equal(images.images, expected)
    assert images.labels is not None
    assert images.labels.tolist() == [1, 1, 1]
    paths = pandas.Series([str(path) for path in image_paths(tmp_path, 6)])
    for data in (filtered["image"], paths[filtered.index], pandas.Series(list(bar_images(6)))[filtered.index]):
        assert np.array_equal(load_object(data, ANY).images, expected)
    with pytest.raises(UserError, match="no column of images"):
        load_object(pandas.DataFrame(bar_images(6).reshape(6, -1)), ANY)
    with pytest.raises(UserError, match="2 columns of images among first, second"):
        load_object(pandas.DataFrame({"first": pillow_images(2), "second": pillow_images(2)}), ANY)


def test_arrays_of_jax_are_read() -> None:
    jax = pytest.importorskip("jax", reason="needs the extra [integration]")
    for data in (jax.numpy.asarray(bar_images(6)), jax.numpy.asarray(bar_images(6) / 255, jax.numpy.bfloat16)):
        assert np.array_equal(load_object(data, ANY).images, bar_images(6))


def test_labels_and_their_names_are_read() -> None:
    labels = [0, 1, 1, 0]
    for data in (
        Items([(image, label) for image, label in zip(bar_images(4), labels, strict=True)]),
        Items([(image, torch.tensor(label)) for image, label in zip(bar_images(4), labels, strict=True)]),
        hugging_face(pillow_images(4), label=labels),
    ):
        images = load_object(data, ANY)
        assert images.labels is not None
        assert images.labels.tolist() == labels
        assert images.label_names == ("lying", "upright")
    assert load_object(hugging_face(pillow_images(4), label=[0, 1, -1, 0]), ANY).labels is None
    assert load_object(hugging_face(pillow_images(4), text=["a"] * 4), ANY).labels is None


WHOLE = {
    "floats": [3.0, 0.0],
    "NumPy floats": [np.float32(3), np.float32(0)],
    "integers": [np.int64(3), np.uint8(0)],
    "arrays": [np.array(3), np.array([0])],
    "tensors": [torch.tensor(3), torch.tensor([0.0]).bfloat16()],
}
NO_LABELS = {
    "fractions": [3.7, 1.0],
    "one-hot": [np.eye(3)[0], np.eye(3)[1]],
    "attributes": [torch.zeros(40, dtype=torch.long)] * 2,
    "lists": [[1], [0]],
    "huge": [10**12, 1],
    "astronomic": [10**400, 1],
    "too large": [65536, 1],
    "negative": [-1, 1],
    "infinite": [float("inf"), 1],
    "NaN": [float("nan"), 1],
    "missing": [None, 1],
    "text": ["1", "0"],
    "dates": [datetime.date(2020, 1, 1)] * 2,
    "NumPy dates": [np.datetime64(1, "ns"), np.datetime64(0, "ns")],
    "durations": [np.timedelta64(1, "ns"), np.timedelta64(0, "ns")],
    "masks": [Image.new("L", (8, 8))] * 2,
    "tables": [{"boxes": [1]}] * 2,
    "nothing": [torch.zeros(0)] * 2,
}


@pytest.mark.parametrize("targets", WHOLE.values(), ids=WHOLE)
def test_whole_numbers_of_any_type_are_labels(targets: list[Any]) -> None:
    images = load_object(Items(list(zip(bar_images(2), targets, strict=True))), ANY)
    assert images.labels is not None
    assert images.labels.tolist() == [3, 0]


def test_largest_label_and_truth_values_are_labels() -> None:
    for targets, expected in (([65535, 0], [65535, 0]), ([True, np.False_], [1, 0])):
        images = load_object(list(zip(bar_images(2), targets, strict=True)), ANY)
        assert images.labels is not None
        assert images.labels.tolist() == expected


@pytest.mark.parametrize("targets", NO_LABELS.values(), ids=NO_LABELS)
def test_other_targets_are_no_labels(targets: list[Any]) -> None:
    started = time.monotonic()
    images = load_object(Items(list(zip(bar_images(2), targets, strict=True))), ANY)
    assert (images.labels, images.label_names) == (None, ())
    assert len(images) == 2
    assert time.monotonic() - started < 1  # nothing is made for every number below the largest target


@pytest.mark.parametrize("values", [[1.0, 0.0], [True, False]])
def test_numbers_in_a_column_of_hugging_face_are_labels_if_they_are_whole(values: list[Any]) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra [integration]")
    for column, expected in ((values, values), ([0.5, 1.0], None), ([10**12, 1], None), (["0", "1"], None)):
        table = datasets.Dataset.from_dict({"image": pillow_images(2), "label": column})
        labels = load_object(table.cast_column("image", datasets.Image()), ANY).labels
        assert (None if labels is None else labels.tolist()) == expected


@pytest.mark.parametrize("classes", [None, 10, {"lying": 0}, "ab", [1, 2]])
def test_classes_that_are_no_names_are_ignored(classes: Any) -> None:
    data = Items([(image, 1) for image in bar_images(2)])
    data.classes = classes
    assert load_object(data, ANY).label_names == ("0", "1")


def test_labels_of_an_image_set_are_kept() -> None:
    original = image_set(6)
    copy = load_object(original, ANY)
    np.testing.assert_array_equal(copy.labels, original.labels)
    assert (copy.label_names, list(copy.names)) == (original.label_names, list(original.names))


def test_images_are_converted_to_the_requested_form() -> None:
    mixed = [Image.new("RGB", (30, 20), "red"), Image.new("L", (9, 9), 7)]
    images = load_object(mixed, ImageSpec(8, 3)).images
    assert images.shape == (2, 3, 8, 8)
    assert images[0, :, 4, 4].tolist() == [255, 0, 0]
    assert load_object(mixed, ImageSpec()).images.shape == (2, 3, 20, 20)


def test_unusable_items_are_skipped_and_named() -> None:
    data = [bar_images(1)[0], np.full((1, 8, 8), 2.0), bar_images(1)[0]]
    images = load_object(data, ImageSpec(8, 1))
    (line,) = images.skipped
    assert line.startswith("1: float values from 2 to 2")
    assert list(images.names) == ["0", "2"]


def test_errors_of_the_data_set_itself_are_raised() -> None:
    class Failing(Items):
        def __getitem__(self, number: int) -> Any:
            raise RuntimeError("the program is wrong")

    with pytest.raises(RuntimeError, match="the program is wrong"):
        load_object(Failing(list(bar_images(3))), ImageSpec(8, 1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": 1, "test": 2}, r"dict .*\(train, test\)"),
        (iter(bar_images(2)), "iterator .*allowed are paths, arrays"),
        ([], "the list is empty"),
        ([7], "item 0 .*int"),
        ([None], "item 0 .*NoneType"),
        ("photos", "'photos' is not a set of images"),
        (torch.zeros(2, 1, 8, 8).to_sparse(), "Tensor cannot be read as an array"),
        (torch.zeros(2, 1, 8, 8, device="meta"), "Tensor cannot be read as an array"),
        ([np.zeros((17, 20, 20))], r"item 0 .*\(17, 20, 20\)"),
        (np.zeros((3, 5)), r"an array .*\(5,\)"),
        (np.full((3, 8, 8), np.nan), "nan to nan"),
    ],
)
def test_objects_that_are_not_sets_of_images_are_refused(data: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_object(data, ANY)


def test_hugging_face_data_set_without_images_is_refused() -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra [integration]")
    with pytest.raises(UserError, match="0 columns of images among text"):
        load_object(datasets.Dataset.from_dict({"text": ["a"]}), ANY)


def test_different_sets_have_different_fingerprints() -> None:
    one, changed = bar_images(200), bar_images(200)
    changed[100] = 255 - changed[100]
    assert stream_object(one, ANY).fingerprint == stream_object(one.copy(), ANY).fingerprint
    assert stream_object(one, ANY).fingerprint != stream_object(changed, ANY).fingerprint
    items = [Items([(image, 0) for image in images]) for images in (one, one, 255 - one)]
    fingerprints = [stream_object(data, ANY).fingerprint for data in items]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_all_images_are_read_or_the_unusable_one_is_named(tmp_path: Path) -> None:
    paths = image_paths(tmp_path, 4)
    for data in (tmp_path, str(tmp_path), paths, pillow_images(4)):
        assert np.array_equal(read_object(data, ImageSpec(8, 1)), bar_images(4))
    paths[2].write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"2\.png"):
        read_object(tmp_path, ImageSpec(8, 1))
    with pytest.raises(UserError, match=r"item 2 of a list cannot be used: not an image.*1 of 4 items"):
        read_object(paths, ImageSpec(8, 1))


def test_missing_files_and_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "nowhere.png"):
        with pytest.raises(UserError, match=f"no file .*{name}"):
            read_object([tmp_path / name], ImageSpec(8, 1))


def test_numbers_of_arrays_keep_their_range() -> None:
    images = bar_images(4).astype(np.float64) * 16
    rows = images.reshape(4, -1)
    for data in (images, list(images), tuple(map(torch.from_numpy, images)), [image.tolist() for image in images]):
        assert np.array_equal(as_numbers(data, ANY), images)
    for data in (rows, rows.tolist(), [tuple(row) for row in rows.tolist()]):
        assert np.array_equal(as_numbers(data, ANY), rows)
    for other in (pillow_images(4), image_set(4), Items(list(bar_images(4)))):
        assert as_numbers(other, ANY).dtype == np.uint8
        assert np.array_equal(as_numbers(other, ANY), bar_images(4))
    with pytest.raises(UserError, match="different shapes"):
        as_numbers([np.zeros((8, 8)), np.zeros((9, 9))], ANY)
