"""Images that a program holds, in every form that people hold them in."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from infogan.data import ImageSet
from infogan.data.preprocess import ImageSpec
from infogan.data.readers.in_memory import load_object, stream_object
from infogan.utils.errors import UserError
from tests.helpers import image_set, pictures

ANY = ImageSpec()


class Items(torch.utils.data.Dataset[Any]):
    """As torchvision's sets are: an image and a label, and the names of the classes."""

    classes = ("lying", "upright")

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Any:
        return self.items[number]


def hugging_face(images: list[Image.Image | None], **columns: Any) -> Any:
    features: dict[str, Any] = {"image": datasets.Image()}
    if "label" in columns:
        features["label"] = datasets.ClassLabel(names=["lying", "upright"])
    features |= {name: datasets.Value("string") for name in columns if name != "label"}
    return datasets.Dataset.from_dict({"image": images, **columns}, features=datasets.Features(features))


def as_pillow(count: int) -> list[Any]:
    return [Image.fromarray(image[0]) for image in pictures(count)]


@pytest.mark.parametrize(
    "held",
    [
        pictures(6),
        pictures(6)[:, 0],
        pictures(6).transpose(0, 2, 3, 1),
        torch.from_numpy(pictures(6)),
        pictures(6) / 255,
        as_pillow(6),
        list(pictures(6)),
        [torch.from_numpy(image).float() / 255 for image in pictures(6)],
        [image.transpose(1, 2, 0) for image in pictures(6)],
        Items([(image, 1) for image in pictures(6)]),
        hugging_face(as_pillow(6)),
        hugging_face(as_pillow(6)).with_format("numpy"),
        image_set(6),
    ],
    ids=lambda held: type(held).__name__,
)
def test_images_are_the_same_in_whatever_form_they_come(held: Any) -> None:
    found = load_object(held, ANY)
    assert np.array_equal(found.images, pictures(6))
    assert found.names[5] == "5"
    stream = stream_object(held, ANY)
    assert stream.count == 6
    assert np.array_equal(stream.read(2, 5).images, pictures(6)[2:5])


def test_labels_and_their_names_come_along() -> None:
    labels = [0, 1, 1, 0]
    for held in (
        Items([(image, label) for image, label in zip(pictures(4), labels, strict=True)]),
        Items([(image, torch.tensor(label)) for image, label in zip(pictures(4), labels, strict=True)]),
        hugging_face(as_pillow(4), label=labels),
    ):
        found = load_object(held, ANY)
        assert found.labels is not None
        assert found.labels.tolist() == labels
        assert found.label_names == ("lying", "upright")
    assert load_object(hugging_face(as_pillow(4), label=[0, 1, -1, 0]), ANY).labels is None
    assert load_object(hugging_face(as_pillow(4), text=["a"] * 4), ANY).labels is None
    factors = load_object(image_set(6), ANY)
    assert isinstance(factors, ImageSet)


def test_pictures_are_brought_to_form() -> None:
    mixed = [Image.new("RGB", (30, 20), "red"), Image.new("L", (9, 9), 7)]
    found = load_object(mixed, ImageSpec(8, 3))
    assert found.images.shape == (2, 3, 8, 8)
    assert found.images[0, :, 4, 4].tolist() == [255, 0, 0]
    with pytest.raises(UserError, match=r"has no one size .* 30x20 \(item 0\) and 9x9 \(item 1\)"):
        load_object(mixed, ImageSpec(None, 3))
    with pytest.raises(UserError, match=r"mixes grey images \(item 1\) and colour images \(item 0\)"):
        load_object(mixed, ImageSpec(8))


def test_what_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    held = [pictures(1)[0], np.full((1, 8, 8), 2.0), pictures(1)[0]]
    found = load_object(held, ImageSpec(8, 1))
    assert found.skipped == ("1: float values from 2 to 2; allowed are 0 to 1",)
    assert list(found.names) == ["0", "2"]


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ({"train": 1, "test": 2}, r"a dict holds several sets \(train, test\): pass one of them"),
        (iter(pictures(2)), "is no set of images: allowed are paths, arrays"),
        ([], "the list is empty"),
        ([7], "item 0 is a int, which is no image"),
        ([np.zeros((2, 8, 8))], r"item 0 has the shape \(2, 8, 8\)"),
        (np.zeros((3, 5)), r"an array has images of shape \(3, 5\)"),
        (np.full((3, 8, 8), np.nan), "float values from nan to nan"),
        (datasets.Dataset.from_dict({"text": ["a"]}), "with the columns text has no one column of images"),
    ],
)
def test_what_is_no_set_of_images_is_refused_in_a_sentence(held: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_object(held, ANY)


def test_another_set_has_another_stamp() -> None:
    one, other = pictures(200), pictures(200)
    other[100] = 255 - other[100]
    assert stream_object(one, ANY).fingerprint == stream_object(one.copy(), ANY).fingerprint
    assert stream_object(one, ANY).fingerprint != stream_object(other, ANY).fingerprint
    items = [Items([(image, 0) for image in images]) for images in (one, one, 255 - one)]
    stamps = [stream_object(held, ANY).fingerprint for held in items]
    assert stamps[0] == stamps[1] != stamps[2]
