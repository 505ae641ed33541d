"""``load`` of named data sets and paths, and ``prepare`` with its files read back."""

import hashlib
import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infogan.data import DATASETS, ImageSet, cache_folder, dataset_status, fetch, has_test_split, load, prepare
from infogan.data.download import Origin
from infogan.utils.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INFOGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put_in_cache(monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes]) -> None:
    """Cache small files and declare them to be those of a data set, whose real files are too large for a test."""
    for file, content in files.items():
        path = cache_folder(name) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    origin = Origin({file: hashlib.sha256(content).hexdigest() for file, content in files.items()})
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], origin=origin))


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4) for n in array.shape) + array.tobytes()


def assert_same(actual: ImageSet, expected: ImageSet) -> None:
    np.testing.assert_array_equal(actual.images, expected.images)
    np.testing.assert_array_equal(actual.labels, expected.labels)  # also equal if both are None
    assert list(actual.names) == list(expected.names) and actual.label_names == expected.label_names


def test_digits_are_split_and_scaled() -> None:
    from sklearn.datasets import load_digits

    bundled = load_digits()
    train, test = load("digits"), load("digits", split="test")
    assert (len(train), len(test)) == (1437, 360)
    assert (train.source, test.source) == ("digits (train)", "digits (test)")
    together = np.concatenate([train.images, test.images])[:, 0]
    np.testing.assert_array_equal(together, np.rint(bundled.images * 255 / 16))
    assert together.max() == 255 and together.min() == 0
    assert train.labels is not None and test.labels is not None
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), bundled.target)
    assert list(test.names[:2]) == ["0", "1"] and train.label_names == tuple("0123456789")
    assert dataset_status("digits") == "built in" and fetch("digits") == []


def test_mnist_files_become_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = np.full((3, 28, 28), 7, np.uint8), np.full((2, 28, 28), 9, np.uint8)
    files = {
        "train-images-idx3-ubyte": idx(train),
        "train-labels-idx1-ubyte": idx(np.array([5, 0, 4], np.uint8)),
        "t10k-images-idx3-ubyte": idx(test),
        "t10k-labels-idx1-ubyte": idx(np.array([7, 2], np.uint8)),
    }
    put_in_cache(monkeypatch, "mnist", files)
    assert dataset_status("mnist") == "cached" and has_test_split("mnist")
    for split, images, labels in (("train", train, [5, 0, 4]), ("test", test, [7, 2])):
        read = load("mnist", split=split)
        np.testing.assert_array_equal(read.images[:, 0], images)
        assert read.labels is not None and read.labels.tolist() == labels
        assert read.label_names == tuple("0123456789")
    assert load("mnist", size=32, channels=3).images.shape == (3, 3, 32, 32)


def test_svhn_images_are_transposed_and_class_10_is_the_digit_0(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    images = np.arange(2 * 3 * 32 * 32).reshape(2, 3, 32, 32).astype(np.uint8)
    files = {}
    for split, labels in (("train", [10, 3]), ("test", [1, 9])):
        buffer = io.BytesIO()
        savemat(buffer, {"X": images.transpose(2, 3, 1, 0), "y": np.array(labels, np.uint8)[:, None]})
        files[f"{split}_32x32.mat"] = buffer.getvalue()
    put_in_cache(monkeypatch, "svhn", files)
    train = load("svhn")
    np.testing.assert_array_equal(train.images, images)
    assert train.labels is not None and train.labels.tolist() == [0, 3]
    test = load("svhn", split="test")
    assert test.labels is not None and test.labels.tolist() == [1, 9]


def test_cifar10_binary_batches_are_read_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(3 * 32 * 32).reshape(3, 32, 32).astype(np.uint8)
    batches = {f"data_batch_{i}.bin": i for i in (5, 4, 3, 2, 1)} | {"test_batch.bin": 9}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, label in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = 1 + pixels.size
            archive.addfile(member, io.BytesIO(bytes([label]) + pixels.tobytes()))
    put_in_cache(monkeypatch, "cifar10", {"cifar-10-binary.tar.gz": buffer.getvalue()})
    train, test = load("cifar10"), load("cifar10", split="test")
    assert train.labels is not None and train.labels.tolist() == [1, 2, 3, 4, 5]
    assert test.labels is not None and test.label_names[int(test.labels[0])] == "truck"
    np.testing.assert_array_equal(train.images, np.stack([pixels] * 5))


def test_unknown_names_are_refused_with_suggestions() -> None:
    with pytest.raises(UserError, match=r"'mnits'.*'mnist'"):
        load("mnits")
    with pytest.raises(UserError, match=r"split 'tset'.*'test'"):
        load("digits", split="tset")
    with pytest.raises(UserError, match=r"size is 4.*8 to 256"):
        load("no such thing", size=4)


def test_a_name_takes_precedence_over_a_folder_unlike_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    Image.new("L", (16, 16)).save(tmp_path / "digits" / "a.png")
    assert load("digits").size == 8
    assert load("./digits").size == load(Path("digits")).size == 16


def test_a_prepared_folder_reads_back_identical(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("train/kätze/2.png", "train/kätze/10.png", "train/dog/1.png", "test/dog/1.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    written = prepare(tmp_path / "in", tmp_path / "out.npz", size=16, shape="pad")
    assert set(written) == {"train", "test"} and has_test_split(tmp_path / "out.npz")
    for split, images in written.items():
        assert_same(load(tmp_path / "out.npz", split=split), images)
        assert_same(load(tmp_path / "in", split=split, size=16, shape="pad"), images)
    assert load(tmp_path / "out.npz").label_names == ("dog", "kätze")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.npz"]


def test_prepared_named_sets_and_unlabelled_arrays_read_back_identical(tmp_path: Path) -> None:
    written = prepare("digits", tmp_path / "digits.npz", channels=3)
    for split in ("train", "test"):
        assert_same(load(tmp_path / "digits.npz", split=split), written[split])
        assert_same(load("digits", split=split, channels=3), written[split])
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8), np.uint8))
    assert set(prepare(tmp_path / "a.npy", tmp_path / "a.npz")) == {"train"}
    back = load(tmp_path / "a.npz")
    assert back.labels is None and list(back.names) == ["0", "1"] and not has_test_split(tmp_path / "a.npz")


def test_prepare_keeps_class_names_if_a_split_lacks_the_last_class(tmp_path: Path) -> None:
    images = np.zeros((2, 8, 8), np.uint8)
    np.savez(tmp_path / "k.npz", x_train=images, y_train=[0, 3], x_test=images, y_test=[0, 1])
    prepare(tmp_path / "k.npz", tmp_path / "out.npz")
    for split, labels in (("train", [0, 3]), ("test", [0, 1])):
        back = load(tmp_path / "out.npz", split=split)
        assert back.labels is not None and back.labels.tolist() == labels
        assert back.label_names == ("0", "1", "2", "3")


def test_prepare_gives_the_test_split_the_form_of_the_train_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 16, 16), np.uint8), test_images=np.zeros((1, 3, 32, 32), np.uint8))
    assert prepare(tmp_path / "a.npz", tmp_path / "b.npz")["test"].images.shape == (1, 1, 16, 16)


def test_prepare_keeps_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    name = os.fsencode(tmp_path / "in") + b"/\xff.png"
    with open(name, "wb") as file:
        Image.new("L", (8, 8)).save(file, "PNG")
    written = prepare(tmp_path / "in", tmp_path / "out.npz")["train"]
    assert list(load(tmp_path / "out.npz").names) == list(written.names) == ["\udcff.png"]


def test_a_failed_prepare_keeps_the_existing_file(tmp_path: Path) -> None:
    (tmp_path / "out.npz").write_bytes(b"precious")
    with pytest.raises(UserError, match="'nothing'"):
        prepare("nothing", tmp_path / "out.npz")
    assert (tmp_path / "out.npz").read_bytes() == b"precious"
    with pytest.raises(UserError, match=r"out\.zip.*\.npz"):
        prepare("digits", tmp_path / "out.zip")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write"):
        prepare("digits", tmp_path / "file" / "out.npz")


def test_a_file_is_not_prepared_onto_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.arange(64, dtype=np.uint8).reshape(1, 8, 8))
    before = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.npz").symlink_to(path)
    for source, destination in (("a.npz", path), (path, Path("link.npz")), ("link.npz", path)):
        with pytest.raises(UserError, match="source itself"):
            prepare(source, Path(destination))
    assert path.read_bytes() == before


@pytest.mark.parametrize(("own", "max_size", "expected"), [((48, 48), 32, 32), ((16, 16), 32, 16), ((90, 60), 40, 40)])
def test_images_are_reduced_to_the_largest_size_that_is_wanted(
    tmp_path: Path, own: tuple[int, int], max_size: int, expected: int
) -> None:
    for number in range(3):
        Image.new("RGB", own, (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    assert load(tmp_path, max_size=max_size).size == expected
    assert load(tmp_path, size=24, max_size=max_size).size == 24  # a size that is requested is that of the images
