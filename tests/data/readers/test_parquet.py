"""Images in Parquet files, in the form in which the Hugging Face Hub publishes them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from infogan.data import has_test_split, load, prepare_shards
from infogan.utils.errors import UserError
from tests.helpers import bar_images, image_folder

NAMES = ["upright", "lying"]  # in the order of their numbers, not of their letters


def png(image: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image[0]).save(content, "PNG")
    return content.getvalue()


def save(
    path: Path, contents: Sequence[bytes | None], *, struct: bool = True, named: bool = True, **columns: Any
) -> Path:
    """Write a file like the Hub's library: structs of bytes and path, and a description of the labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if struct:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        images = pa.array([None if content is None else {"bytes": content, "path": None} for content in contents], kind)
    else:
        images = pa.array(list(contents), pa.binary())
    table = pa.table({"image": images, **columns})
    if named:
        features = {"label": {"names": NAMES, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path, row_group_size=7)
    return path


@pytest.mark.parametrize("struct", [True, False])
def test_a_table_gives_images_names_and_labels(tmp_path: Path, struct: bool) -> None:
    labels = [number % 2 for number in range(30)]
    path = save(tmp_path / "images.parquet", [png(image) for image in bar_images(30)], struct=struct, label=labels)
    images = load(path)
    assert np.array_equal(images.images, bar_images(30))
    assert list(images.names) == [str(number) for number in range(30)]
    assert images.labels is not None
    assert images.labels.tolist() == labels
    assert images.label_names == tuple(NAMES)
    assert not has_test_split(path)


def test_images_are_converted_and_unusable_ones_named(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "folder", lambda number: f"{number}.png", 20, (4,))
    contents: list[bytes | None] = [(folder / f"{number}.png").read_bytes() for number in range(20)]
    contents[11] = None
    images = load(save(tmp_path / "images.parquet", contents), size=16, channels=3)
    assert images.skipped == ("4: not an image that can be read", "11: no image in this row")
    expected = load(folder, size=16, channels=3)
    present = [index for index, name in enumerate(expected.names) if name != "11.png"]
    assert np.array_equal(images.images, expected.images[present])


def test_a_folder_of_tables_has_splits_and_names(tmp_path: Path) -> None:
    contents = [png(image) for image in bar_images(40)]
    labels = ["b", "a"] * 10
    for part in range(2):
        rows = slice(20 * part, 20 * part + 20)
        save(tmp_path / "data" / f"train-{part:05d}-of-00002.parquet", contents[rows], named=False, label=labels)
    save(tmp_path / "data" / "test-00000-of-00001.parquet", contents[:5], named=False, label=["c"] * 5)
    save(tmp_path / "data" / "validation.parquet", contents[:5], named=False, label=["c"] * 5)
    train, test = load(tmp_path), load(tmp_path, split="test")
    assert np.array_equal(train.images, bar_images(40))
    assert np.array_equal(test.images, bar_images(40)[:5])
    assert train.label_names == test.label_names == ("a", "b", "c")
    assert train.labels is not None
    assert train.labels.tolist() == [1, 0] * 20
    assert train.names[21] == "data/train-00001-of-00002/1"
    assert [line.split(":")[0] for line in train.skipped] == [f"data/validation/{row}" for row in range(5)]
    (tmp_path / "data" / "test-00000-of-00001.parquet").unlink()
    assert np.array_equal(load(tmp_path, split="test").images, bar_images(40)[:5])  # now of the file for validation
    splits = prepare_shards(tmp_path, tmp_path.parent / "prepared", workers=2)
    assert (splits["train"].images, splits["test"].images) == (40, 5)
    prepared = load(tmp_path.parent / "prepared")
    assert np.array_equal(np.asarray(prepared.images), train.images)
    assert list(prepared.names) == list(train.names)


def test_names_come_from_a_column_if_they_are_unique(tmp_path: Path) -> None:
    contents = [png(image) for image in bar_images(8)]
    unique = save(tmp_path / "unique.parquet", contents, file_name=[f"{number}.jpg" for number in range(8)])
    assert load(unique).names[3] == "3.jpg"
    repeated = save(tmp_path / "repeated.parquet", contents, file_name=["a.jpg"] * 8)
    assert load(repeated).names[3] == "3"


@pytest.mark.parametrize("label", [[1.0, 0.0], [True, False]])
def test_whole_numbers_of_any_type_are_labels(tmp_path: Path, label: list[Any]) -> None:
    contents = [png(image) for image in bar_images(8)]
    images = load(save(tmp_path / "a.parquet", contents, named=False, label=label * 4))
    assert images.label_names == ("0", "1")
    assert images.labels is not None
    assert images.labels.tolist() == [1, 0] * 4


@pytest.mark.parametrize("label", [[0.5, 1.0], [10**12, 1], [-1, 1], [65536, 1], [None, 1], [[0, 1], [1, 0]]])
def test_other_targets_are_no_labels(tmp_path: Path, label: list[Any]) -> None:
    contents = [png(image) for image in bar_images(8)]
    images = load(save(tmp_path / "a.parquet", contents, named=False, label=label * 4))
    assert (images.labels, images.label_names) == (None, ())


def test_integers_without_a_name_are_not_labels_if_others_have_names(tmp_path: Path) -> None:
    contents = [png(image) for image in bar_images(8)]
    assert load(save(tmp_path / "a.parquet", contents, label=[0, 1, 0, 1, -1, 0, 1, 2])).labels is None
    numbered = load(save(tmp_path / "b.parquet", contents, named=False, label=[5, 10, 5, 10, 5, 10, 5, 10]))
    assert numbered.label_names == ("5", "10")


def test_tables_without_a_single_column_of_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(UserError, match=r"text\.parquet as a Parquet file"):
        load(tmp_path / "text.parquet")
    parquet.write_table(pa.table({"text": ["a"], "number": [1]}), tmp_path / "words.parquet")
    with pytest.raises(UserError, match=r"0 columns .*text, number"):
        load(tmp_path / "words.parquet")
    two = {"one": pa.array([b"a"], pa.binary()), "two": pa.array([b"a"], pa.binary())}
    parquet.write_table(pa.table(two), tmp_path / "two.parquet")
    with pytest.raises(UserError, match=r"2 columns .*one, two"):
        load(tmp_path / "two.parquet")
    parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "none.parquet")
    with pytest.raises(UserError, match="no usable image"):
        load(tmp_path / "none.parquet")


def test_a_damaged_table_is_read_or_refused(tmp_path: Path) -> None:
    intact = save(tmp_path / "whole.parquet", [png(image) for image in bar_images(12)], label=[0, 1] * 6).read_bytes()
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        content = bytearray(intact)
        for position in random.integers(0, len(intact), 3):
            content[position] ^= 1 << int(random.integers(8))
        (tmp_path / "damaged.parquet").write_bytes(
            content[: int(random.integers(1, len(intact))) if random.random() < 0.2 else None]
        )
        try:
            load(tmp_path / "damaged.parquet", size=8, channels=1)
            outcomes.add("read")
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
