"""Images in a program: arrays, tensors, lists, torch Datasets and Hugging Face data sets."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infogan.data.dataset import ImageSet
from infogan.data.preprocess import ImageSpec
from infogan.data.readers.in_memory import stream_object
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


@pytest.mark.parametrize(
    "data",
    [
        bar_images(6),
        bar_images(6)[:, 0],
        bar_images(6).transpose(0, 2, 3, 1),
        torch.from_numpy(bar_images(6)),
        bar_images(6) / 255,
        pillow_images(6),
        list(bar_images(6)),
        [torch.from_numpy(image).float() / 255 for image in bar_images(6)],
        [image.transpose(1, 2, 0) for image in bar_images(6)],
        Items([(image, 1) for image in bar_images(6)]),
        hugging_face(pillow_images(6)),
        hugging_face(pillow_images(6)).with_format("numpy"),
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
    with pytest.raises(UserError, match=r"30x20 \(item 0\) and 9x9 \(item 1\)"):
        load_object(mixed, ImageSpec(None, 3))
    with pytest.raises(UserError, match=r"grey .*item 1.* colour .*item 0"):
        load_object(mixed, ImageSpec(8))


def test_unusable_items_are_skipped_and_named() -> None:
    data = [bar_images(1)[0], np.full((1, 8, 8), 2.0), bar_images(1)[0]]
    images = load_object(data, ImageSpec(8, 1))
    assert images.skipped == ("1: float values from 2 to 2; allowed are 0 to 1",)
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
        ([np.zeros((2, 8, 8))], r"item 0 .*\(2, 8, 8\)"),
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
