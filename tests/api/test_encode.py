"""Codes of images that are read block by block are those that are read at once, whoever stopped in between."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infogan.api import encode
from infogan.api.encode import Sorter, encode_dataset
from infogan.data import load, prepare_shards, streamed
from infogan.data.dataset import ImageSet
from infogan.data.stream import Stream
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError
from tests.commands import Command, infogan
from tests.helpers import bar_images, image_folder, small_model

CODES: list[dict[str, Any]] = [{"kind": "continuous"}, {"kind": "categorical", "size": 3}]


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
    """30 pictures in two folders, natural order, one broken in each block but the last."""
    return image_folder(tmp_path / "pictures", lambda i: f"{'ab'[i % 2]}/{i}.png", 30, (3, 12, 20, 23))


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def expected(model: InfoGAN, images: NDArray[np.uint8], names: list[str]) -> list[dict[str, str]]:
    """What `InfoGAN.encode` says of all images at once."""
    read = model.encode(images)
    probabilities = read.probabilities["category"]
    return [
        {
            "image": name,
            "knob1": f"{read.codes['knob1'][i]:.6f}",
            "category": model.value_name("category", int(read.codes["category"][i])),
            "category_probability": f"{probabilities[i].max():.6f}",
            "entropy": f"{-(probabilities[i] * np.log(probabilities[i])).sum():.6f}",
        }
        for i, name in enumerate(names)
    ]


def close(found: list[dict[str, str]], wanted: list[dict[str, str]]) -> bool:
    """Whether rows say the same, but for the last digit."""
    assert [list(row) for row in found] == [list(row) for row in wanted]
    for one, other in zip(found, wanted, strict=True):
        for key, text in one.items():
            if key in ("image", "category"):
                if text != other[key]:
                    return False
            elif abs(float(text) - float(other[key])) > 2e-6:
                return False
    return True


def test_a_folder_is_read_in_its_order_and_what_is_broken_is_named(model: InfoGAN, folder: Path) -> None:
    out = folder.parent / "out" / "codes.csv"
    with streamed(folder, size=8, channels=1) as images:
        skipped = encode_dataset(model, images, out)
        assert images.count == 30
    order = [*range(0, 30, 2), *range(1, 30, 2)]
    usable = [number for number in order if number not in (3, 12, 20, 23)]
    names = [f"{'ab'[number % 2]}/{number}.png" for number in usable]
    assert close(rows(out), expected(model, bar_images(30)[usable], names))
    assert [line.partition(":")[0] for line in skipped] == ["a/12.png", "a/20.png", "b/3.png", "b/23.png"]
    assert [path.name for path in out.parent.iterdir()] == ["codes.csv"]


def test_an_array_is_read_from_its_file(model: InfoGAN, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", bar_images(20))
    with streamed(tmp_path / "images.npy", size=8, channels=1) as images:
        assert encode_dataset(model, images, tmp_path / "codes.csv") == []
    assert close(rows(tmp_path / "codes.csv"), expected(model, bar_images(20), [str(i) for i in range(20)]))


def test_parquet_says_what_csv_says(model: InfoGAN, folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("codes.csv", "codes.parquet"):
        with streamed(folder, size=8, channels=1) as images:
            encode_dataset(model, images, folder.parent / name)
    table = parquet.read_table(folder.parent / "codes.parquet")
    assert [str(field.type) for field in table.schema] == ["string", "float", "string", "float", "float"]
    found = [
        {key: f"{value:.6f}" if isinstance(value, float) else value for key, value in row.items()}
        for row in table.to_pylist()
    ]
    assert close(found, rows(folder.parent / "codes.csv"))


def test_parquet_without_its_library_is_one_sentence(
    model: InfoGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"infogan\[parquet\]"):
        encode_dataset(model, counted(bar_images(9), []), tmp_path / "codes.parquet")
    assert list(tmp_path.iterdir()) == []


def counted(images: NDArray[np.uint8], asked: list[int], stamp: str = "one") -> Stream:
    """Images, and where they were asked for; after three blocks nothing can be read."""

    def read(first: int, last: int) -> ImageSet:
        asked.append(first)
        if len(asked) == 3:
            raise UserError("the disk is gone")
        return ImageSet(images[first:last], [str(i) for i in range(len(images))][first:last], "images")

    return Stream(len(images), "images", stamp, read)


def test_what_was_stopped_goes_on_and_other_images_or_models_begin_anew(model: InfoGAN, tmp_path: Path) -> None:
    out, images, asked = tmp_path / "codes.csv", bar_images(40), list[int]()
    with pytest.raises(UserError, match="the disk is gone"):
        encode_dataset(model, counted(images, asked), out)
    assert asked == [0, 7, 14]
    assert not out.exists()
    encode_dataset(model, counted(images, asked), out)
    assert asked[3:] == [14, 21, 28, 35]
    assert close(rows(out), expected(model, images, [str(i) for i in range(40)]))
    for other, stamp in ((model, "two"), (small_model(codes=CODES, seed=1), "one")):
        asked = []
        with pytest.raises(UserError):
            encode_dataset(model, counted(images, asked), out)
        asked = [-1] * 5
        encode_dataset(other, counted(images, asked, stamp), out)
        assert asked[5:] == [0, 7, 14, 21, 28, 35]


def test_a_block_that_was_damaged_is_read_anew(model: InfoGAN, tmp_path: Path) -> None:
    out, images, asked = tmp_path / "codes.csv", bar_images(40), list[int]()
    with pytest.raises(UserError):
        encode_dataset(model, counted(images, asked), out)
    part = tmp_path / ".codes.csv.parts" / "00000001.npz"
    whole = part.read_bytes()
    name = whole.index("7".encode("utf-32-le"))
    for content in (b"", b"PK", whole[:-40], whole[: len(whole) // 2], whole[:name] + b"9" + whole[name + 1 :]):
        part.write_bytes(content)
        with pytest.raises(UserError, match="give the same command again"):
            encode_dataset(model, counted(images, [-1] * 5), out)
        assert not out.exists()
        assert not part.exists()
    asked = [-1] * 5
    encode_dataset(model, counted(images, asked), out)
    assert asked[5:] == [7]
    assert len(rows(out)) == 40


def test_sorting_files_each_image_under_its_category(model: InfoGAN, folder: Path, tmp_path: Path) -> None:
    for link in (False, True):
        target, out = tmp_path / f"sorted-{link}", tmp_path / "codes.csv"
        with streamed(folder, size=8, channels=1) as images:
            encode_dataset(model, images, out, sort=Sorter(model, target, images.root, link=link))
        found = {(path.parent.name, path.name): path for path in target.rglob("*.png")}
        assert set(found) == {(row["category"], row["image"].replace("/", "_")) for row in rows(out)}
        assert all(path.is_symlink() == link for path in found.values())
    with pytest.raises(UserError, match="is not empty"):
        Sorter(model, target, None, link=False)


@pytest.mark.parametrize("made", ["shards", "zip", "npy"])
def test_what_are_no_files_of_their_own_are_written_as_pictures(
    model: InfoGAN, folder: Path, tmp_path: Path, made: str
) -> None:
    source = tmp_path / made
    if made == "shards":
        prepare_shards(folder, source)
    elif made == "zip":
        source = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))
    else:
        source = tmp_path / "images.npy"
        np.save(source, load(folder).images)
    with streamed(source, size=8, channels=1) as images:
        encode_dataset(
            model, images, tmp_path / "codes.csv", sort=Sorter(model, tmp_path / "sorted", images.root, link=False)
        )
    found = {path.name: np.asarray(Image.open(path)) for path in (tmp_path / "sorted").rglob("*.png")}
    pixels = load(folder)
    names = pixels.names if made != "npy" else [f"{i}.png" for i in range(len(pixels))]
    assert set(found) == {name.replace("/", "_") for name in names}
    for name, image in zip(names, pixels.images, strict=True):
        assert np.array_equal(found[name.replace("/", "_")], image[0])


def test_nothing_usable_is_one_sentence_and_leaves_no_file(model: InfoGAN, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.png").write_bytes(b"no picture")
    with (
        streamed(tmp_path / "in", size=8, channels=1) as images,
        pytest.raises(UserError, match=r"no usable image: 1\.png"),
    ):
        encode_dataset(model, images, tmp_path / "codes.csv")
    assert not (tmp_path / "codes.csv").exists()


def test_a_model_that_reads_no_codes_is_refused(tmp_path: Path) -> None:
    gan = small_model(kind="gan")
    with pytest.raises(UserError, match="can not encode"):
        encode_dataset(gan, counted(bar_images(9), []), tmp_path / "codes.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def many(tmp_path: Path) -> Iterator[types.SimpleNamespace]:
    small_model(codes=CODES).save(tmp_path / "model")
    np.save(tmp_path / "images.npy", bar_images(60_000))
    command = ["encode", str(tmp_path / "model"), str(tmp_path / "images.npy"), "--out"]
    yield types.SimpleNamespace(command=command, folder=tmp_path, environment={**os.environ, "OMP_NUM_THREADS": "1"})


def test_a_real_process_that_is_killed_goes_on_and_workers_share(many: types.SimpleNamespace) -> None:
    whole, cut, shared = (many.folder / f"{name}.csv" for name in ("whole", "cut", "shared"))
    assert infogan(*many.command, whole).returncode == 0
    process = Command(*many.command, cut)
    parts = many.folder / ".cut.csv.parts"
    while process.running and len(list(parts.glob("[0-9]*.npz"))) < 2:
        time.sleep(0.01)
    process.signal(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    assert not cut.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("[0-9]*.npz")}
    assert json.loads((parts / "what.json").read_text())["count"] == 60_000
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "infogan"]
    subprocess.run([*launch, *many.command, str(shared)], env=many.environment, check=True)
    assert infogan(*many.command, cut).returncode == 0
    assert kept
    assert cut.read_bytes() == whole.read_bytes() == shared.read_bytes()
    assert len(rows(whole)) == 60_000
