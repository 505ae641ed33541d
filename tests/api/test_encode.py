"""Encoding of many images: the blocks together give what one call gives, even if the work was interrupted."""

import csv
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infogan.api import encode
from infogan.api.encode import EncodeJob, encode_dataset
from infogan.api.sort import Sorter
from infogan.data import load, prepare_shards, streamed
from infogan.data.dataset import ImageSet
from infogan.data.stream import Stream
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import DataWarning, UserError
from infogan.utils.files import file_lock
from tests.commands import Command, infogan, infogan_workers
from tests.helpers import bar_images, image_folder, small_model

CODES: list[dict[str, Any]] = [{"kind": "continuous"}, {"kind": "categorical", "size": 3}]
BROKEN = (3, 12, 20, 23)


@pytest.fixture
def model() -> InfoGAN:
    model = small_model(codes=CODES)
    model.name_codes({"category": {1: "upright"}})
    return model


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "BLOCK", 7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """30 images in two folders, of which every block but the last has a broken one."""
    return image_folder(tmp_path / "images", lambda i: f"{'ab'[i % 2]}/{i}.png", 30, BROKEN)


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def expected_rows(model: InfoGAN, images: NDArray[np.uint8], names: list[str]) -> list[dict[str, str]]:
    """The rows for images that are encoded all at once."""
    encoding = model.encode(images)
    probabilities = encoding.probabilities["category"]
    return [
        {
            "image": name,
            "knob1": f"{encoding.codes['knob1'][i]:.6f}",
            "category": model.value_name("category", int(encoding.codes["category"][i])),
            "category_probability": f"{probabilities[i].max():.6f}",
            "entropy": f"{-(probabilities[i] * np.log(probabilities[i])).sum():.6f}",
            "category_number": str(encoding.codes["category"][i]),
            "source": "model",
        }
        for i, name in enumerate(names)
    ]


def assert_close(rows: list[dict[str, str]], expected: list[dict[str, str]]) -> None:
    """Check that rows are equal except for the last digit."""
    assert [list(row) for row in rows] == [list(row) for row in expected]
    for row, other in zip(rows, expected, strict=True):
        for key, text in row.items():
            if key in ("image", "category", "category_number", "source"):
                assert text == other[key]
            else:
                assert float(text) == pytest.approx(float(other[key]), abs=2e-6)


def numbered(count: int) -> list[str]:
    return [str(number) for number in range(count)]


class FlakyImages:
    """Images that record which blocks are read; the third read fails."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images
        self.blocks: list[int] = []

    def stream(self, fingerprint: str = "first") -> Stream:
        return Stream(len(self.images), "images", fingerprint, self._read)

    def _read(self, first: int, last: int) -> ImageSet:
        self.blocks.append(first)
        if len(self.blocks) == 3:
            raise UserError("the disk is gone")
        return ImageSet(self.images[first:last], numbered(len(self.images))[first:last], "images")


@pytest.fixture
def interrupted(model: InfoGAN, tmp_path: Path) -> FlakyImages:
    """40 images whose encoding to codes.csv has failed after two blocks."""
    images = FlakyImages(bar_images(40))
    with pytest.raises(UserError, match="the disk is gone"):
        encode_dataset(model, images.stream(), tmp_path / "codes.csv")
    assert images.blocks == [0, 7, 14]
    assert not (tmp_path / "codes.csv").exists()
    return images


def test_a_folder_is_encoded_in_order_without_broken_images(model: InfoGAN, folder: Path) -> None:
    out = folder.parent / "out" / "codes.csv"
    with streamed(folder, size=8, channels=1) as images:
        skipped = encode_dataset(model, images, out)
        assert images.count == 30
    usable = [number for number in [*range(0, 30, 2), *range(1, 30, 2)] if number not in BROKEN]
    names = [f"{'ab'[number % 2]}/{number}.png" for number in usable]
    assert_close(read_rows(out), expected_rows(model, bar_images(30)[usable], names))
    assert [line.partition(":")[0] for line in skipped] == ["a/12.png", "a/20.png", "b/3.png", "b/23.png"]
    assert [path.name for path in out.parent.iterdir()] == ["codes.csv"]


def test_an_array_is_encoded(model: InfoGAN, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", bar_images(20))
    steps = []
    with streamed(tmp_path / "images.npy", size=8, channels=1) as images:
        encode_dataset(model, images, tmp_path / "codes.csv", progress=lambda *step: steps.append(step[1:]))
    assert_close(read_rows(tmp_path / "codes.csv"), expected_rows(model, bar_images(20), numbered(20)))
    assert steps == [(7, 20), (14, 20), (20, 20)]


def test_parquet_has_the_same_rows_as_csv(model: InfoGAN, folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("codes.csv", "codes.parquet"):
        with streamed(folder, size=8, channels=1) as images:
            encode_dataset(model, images, folder.parent / name)
    table = parquet.read_table(folder.parent / "codes.parquet")
    types = ["string", "float", "string", "float", "float", "int64", "string"]
    assert [str(field.type) for field in table.schema] == types
    rows = [
        {key: f"{value:.6f}" if isinstance(value, float) else str(value) for key, value in row.items()}
        for row in table.to_pylist()
    ]
    assert_close(rows, read_rows(folder.parent / "codes.csv"))


def test_codes_named_like_other_columns_have_columns_of_their_own(tmp_path: Path) -> None:
    names = ("image", "entropy", "a", "a_probability")
    kinds: list[dict[str, Any]] = [{"kind": "categorical", "size": 3}, {"kind": "continuous"}]
    codes = [{**kinds[number % 2], "name": name} for number, name in enumerate(names)]
    model, images = small_model(codes=codes), FlakyImages(bar_images(5))
    encode_dataset(model, images.stream(), tmp_path / "codes.csv")
    rows, encoding = read_rows(tmp_path / "codes.csv"), model.encode(images.images)
    header = "image,code image,image_probability,code entropy,a,a_probability,code a_probability,entropy,"
    header += "image_number,a_number,source"
    assert (tmp_path / "codes.csv").read_text().splitlines()[0] == header
    assert [row["image"] for row in rows] == numbered(5)
    for name, column in zip(names, ["code image", "code entropy", "a", "code a_probability"], strict=True):
        values = encoding.codes[name].tolist()
        assert [float(row[column]) for row in rows] == pytest.approx(values, abs=2e-6)
    for name in ("image", "a"):
        probabilities = encoding.probabilities[name].max(axis=1).tolist()
        assert [float(row[f"{name}_probability"]) for row in rows] == pytest.approx(probabilities, abs=2e-6)


def test_names_that_are_not_utf_8_are_kept_or_escaped(model: InfoGAN, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    names = [os.fsdecode(b"caf\xe9"), "\ud800", "é"]
    model.name_codes({"category": ["\ud800", os.fsdecode(b"\xff"), "é"]})
    stream = Stream(3, "images", "", lambda first, last: ImageSet(bar_images(3), names, "images"))
    outs = [tmp_path / os.fsdecode(b"caf\xe9.csv"), tmp_path / os.fsdecode(b"caf\xe9.parquet")]
    for out in outs:
        encode_dataset(model, stream, out)
    lines = outs[0].read_bytes().splitlines()[1:]
    assert [line.split(b",")[0] for line in lines] == [b"caf\xe9", b"\\ud800", "é".encode()]
    categories = [line.split(b",")[2] for line in lines]
    assert {*categories} <= {b"\\ud800", b"\xff", "é".encode()}
    with outs[1].open("rb") as file:
        assert parquet.read_table(file)["image"].to_pylist() == ["caf\ufffd", "\\ud800", "é"]


def test_a_long_name_takes_no_more_memory_than_itself(model: InfoGAN, tmp_path: Path) -> None:
    names = ["x" * 10**6, *numbered(6)]
    stream = Stream(7, "images", "", lambda first, last: ImageSet(bar_images(7), names, "images"))
    sizes: list[int] = []
    sort = Sorter(model, tmp_path / "sorted", None, link=False)
    with pytest.MonkeyPatch.context() as patch:
        read_blocks = EncodeJob.blocks

        def blocks(job: EncodeJob) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
            sizes.append(job.path(0).stat().st_size)
            return read_blocks(job)

        patch.setattr(EncodeJob, "blocks", blocks)
        encode_dataset(model, stream, tmp_path / "codes.csv", sort=sort)
    assert max(sizes) < 1.1e6
    assert [line.split(",")[0] for line in (tmp_path / "codes.csv").read_text().splitlines()[1:]] == names
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == 7


def test_images_that_change_before_they_are_sorted_are_noticed(model: InfoGAN, tmp_path: Path) -> None:
    reads: list[int] = []

    def read(first: int, last: int) -> ImageSet:
        reads.append(first)
        count = 5 if len(reads) == 1 else 4
        return ImageSet(bar_images(count), numbered(count), "images")

    sort = Sorter(model, tmp_path / "sorted", None, link=False)
    with pytest.raises(UserError, match="images changed"):
        encode_dataset(model, Stream(5, "images", "", read), tmp_path / "codes.csv", sort=sort)


def test_a_folder_as_the_file_is_refused_before_the_images_are_read(model: InfoGAN, tmp_path: Path) -> None:
    images = FlakyImages(bar_images(9))
    with pytest.raises(UserError, match="is a folder"):
        encode_dataset(model, images.stream(), tmp_path)
    assert images.blocks == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_gets_the_codes_and_nothing_is_left(
    model: InfoGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, temporary = tmp_path / "folder", tmp_path / "temporary"
    for path in (folder, temporary):
        path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    os.mkfifo(folder / "pipe")
    images = FlakyImages(bar_images(40))
    listings: list[list[str]] = []
    encode_block = EncodeJob.encode_block

    def list_and_encode(job: EncodeJob, index: int) -> None:
        listings.append(os.listdir(folder))
        encode_block(job, index)

    monkeypatch.setattr(EncodeJob, "encode_block", list_and_encode)
    with pytest.raises(UserError, match="the disk is gone"):
        encode_dataset(model, images.stream(), folder / "pipe")
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append((folder / "pipe").read_text()))
    reader.start()
    encode_dataset(model, images.stream(), folder / "pipe")
    reader.join()
    rows = [*csv.DictReader(received[0].splitlines())]
    assert_close(rows, expected_rows(model, images.images, numbered(40)))
    assert images.blocks[3:] == [0, 7, 14, 21, 28, 35]  # from the beginning
    assert [*listings, os.listdir(folder)] == [["pipe"]] * 10
    assert [*temporary.iterdir()] == []


def test_parquet_needs_its_library(model: InfoGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"infogan\[parquet\]"):
        encode_dataset(model, FlakyImages(bar_images(9)).stream(), tmp_path / "codes.parquet")
    assert list(tmp_path.iterdir()) == []


def test_finished_blocks_are_kept(model: InfoGAN, interrupted: FlakyImages, tmp_path: Path) -> None:
    encode_dataset(model, interrupted.stream(), tmp_path / "codes.csv")
    assert interrupted.blocks[3:] == [14, 21, 28, 35]
    assert_close(read_rows(tmp_path / "codes.csv"), expected_rows(model, interrupted.images, numbered(40)))


@pytest.mark.parametrize("change", ["images", "model"])
def test_blocks_of_other_images_or_of_another_model_are_discarded(
    change: str, model: InfoGAN, interrupted: FlakyImages, tmp_path: Path
) -> None:
    other = small_model(codes=CODES, seed=1) if change == "model" else model
    stream = interrupted.stream("second" if change == "images" else "first")
    with pytest.warns(DataWarning, match="have changed"):
        encode_dataset(other, stream, tmp_path / "codes.csv")
    assert interrupted.blocks[3:] == [0, 7, 14, 21, 28, 35]


def test_a_damaged_block_is_encoded_again(model: InfoGAN, interrupted: FlakyImages, tmp_path: Path) -> None:
    out = tmp_path / "codes.csv"
    path = tmp_path / ".codes.csv.parts" / "00000001.npz"
    content = path.read_bytes()
    name = content.index(b'"7"') + 1
    damaged = (b"", b"PK", content[:-40], content[: len(content) // 2], content[:name] + b"9" + content[name + 1 :])
    for damage in damaged:
        path.write_bytes(damage)
        with pytest.raises(UserError, match=path.name):
            encode_dataset(model, interrupted.stream(), out)
        assert not out.exists()
        assert not path.exists()
    interrupted.blocks.clear()
    encode_dataset(model, interrupted.stream(), out)
    assert interrupted.blocks == [7]
    assert len(read_rows(out)) == 40


def test_one_process_writes_a_file_at_a_time(model: InfoGAN, interrupted: FlakyImages, tmp_path: Path) -> None:
    lock = file_lock(tmp_path / ".codes.csv.parts" / "writer.json", "codes.csv")
    with lock, pytest.raises(UserError, match=r"codes\.csv"):
        encode_dataset(model, interrupted.stream(), tmp_path / "codes.csv")


@pytest.mark.parametrize("link", [False, True])
def test_images_are_sorted_by_category(link: bool, model: InfoGAN, folder: Path, tmp_path: Path) -> None:
    target, out = tmp_path / "sorted", tmp_path / "codes.csv"
    with streamed(folder, size=8, channels=1) as images:
        encode_dataset(model, images, out, sort=Sorter(model, target, images.root, link=link))
    paths = {(path.parent.name, path.name): path for path in target.rglob("*.png")}
    assert set(paths) == {(row["category"], row["image"].replace("/", "_")) for row in read_rows(out)}
    assert all(path.is_symlink() == link for path in paths.values())
    with pytest.raises(UserError, match="is not empty"):
        Sorter(model, target, None, link=False)


@pytest.mark.parametrize("form", ["shards", "zip", "npy"])
def test_images_that_are_not_files_are_written_as_png(form: str, model: InfoGAN, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / form
    if form == "shards":
        prepare_shards(folder, source)
    elif form == "zip":
        source = Path(shutil.make_archive(str(tmp_path / "archive"), "zip", folder))
    else:
        source = tmp_path / "images.npy"
        np.save(source, load(folder).images)
    with streamed(source, size=8, channels=1) as images:
        sorter = Sorter(model, tmp_path / "sorted", images.root, link=False)
        encode_dataset(model, images, tmp_path / "codes.csv", sort=sorter)
    pixels = {path.name: np.asarray(Image.open(path)) for path in (tmp_path / "sorted").rglob("*.png")}
    originals = load(folder)
    names = originals.names if form != "npy" else [f"{number}.png" for number in numbered(len(originals))]
    assert set(pixels) == {name.replace("/", "_") for name in names}
    for name, image in zip(names, originals.images, strict=True):
        assert np.array_equal(pixels[name.replace("/", "_")], image[0])


def test_a_source_without_usable_images_leaves_no_file(model: InfoGAN, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.png").write_bytes(b"not an image")
    with streamed(tmp_path / "in", size=8, channels=1) as images, pytest.raises(UserError, match=r"1\.png"):
        encode_dataset(model, images, tmp_path / "codes.csv")
    assert not (tmp_path / "codes.csv").exists()


def test_a_model_without_recognizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gan"):
        encode_dataset(small_model(kind="gan"), FlakyImages(bar_images(9)).stream(), tmp_path / "codes.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_resumes_and_workers_share_blocks(tmp_path: Path) -> None:
    small_model(codes=CODES).save(tmp_path / "model")
    np.save(tmp_path / "images.npy", bar_images(30_000))
    command = ["encode", str(tmp_path / "model"), str(tmp_path / "images.npy"), "--out"]
    complete, resumed, shared = (tmp_path / f"{name}.csv" for name in ("complete", "resumed", "shared"))
    assert infogan(*command, complete).returncode == 0
    process = Command(*command, resumed)
    blocks = tmp_path / ".resumed.csv.parts"
    while process.running and len(list(blocks.glob("[0-9]*.npz"))) < 2:
        time.sleep(0.005)
    process.signal(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    assert not resumed.exists()
    assert json.loads((blocks / "what.json").read_text())["count"] == 30_000
    assert infogan(*command, resumed).returncode == 0
    assert [result.returncode for result in infogan_workers(2, *command, shared)] == [0, 0]
    assert complete.read_bytes() == resumed.read_bytes() == shared.read_bytes()
    assert len(read_rows(complete)) == 30_000
