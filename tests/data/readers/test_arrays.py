"""Arrays in .npz, .npy and IDX files: the values of every layout and type, and the error for every fault."""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from infogan.data import has_test_split, load
from infogan.data.dataset import NumberedNames
from infogan.utils.errors import UserError

GREY = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
COLOUR = np.arange(2 * 3 * 8 * 8, dtype=np.uint16).reshape(2, 3, 8, 8).astype(np.uint8)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def npy(path: Path, array: NDArray[Any]) -> Path:
    np.save(path, array)
    return path


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4) for n in array.shape) + array.tobytes()


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (GREY.astype(np.uint16) * 257, GREY[:, None]),
        (GREY.astype(">u2") * 257, GREY[:, None]),
        (GREY / np.float32(255), GREY[:, None]),
        (np.asfortranarray(GREY / 255), GREY[:, None]),
    ],
)
def test_every_layout_and_type_gives_the_same_bytes(
    tmp_path: Path, array: NDArray[Any], expected: NDArray[np.uint8]
) -> None:
    for path in (npy(tmp_path / "a.npy", array), npz(tmp_path / "a.npz", images=array)):
        images = load(path)
        assert images.images.dtype == np.uint8
        np.testing.assert_array_equal(images.images, expected)
        assert list(images.names) == ["0", "1"] and images.labels is None


def test_arrays_are_resized_cropped_and_made_grey_like_images(tmp_path: Path) -> None:
    wide = np.full((1, 10, 20, 3), (255, 0, 0), np.uint8)
    wide[:, :, :5] = wide[:, :, 15:] = 0
    path = npy(tmp_path / "a.npy", wide)
    assert (load(path, size=16).images == np.array([255, 0, 0]).reshape(3, 1, 1)).all()
    assert (load(path, size=16, channels=1).images == 76).all()
    padded = load(path, size=20, shape="pad").images[0, 0]
    assert (padded[5:15, 5:15] == 255).all() and (padded[:5] == 0).all()
    assert load(path).images.shape == (1, 3, 10, 10)


def test_an_npy_of_the_right_form_is_mapped_and_never_written(tmp_path: Path) -> None:
    path = npy(tmp_path / "a.npy", COLOUR)
    images = load(path).images
    assert isinstance(images, np.memmap) and images.flags.writeable
    images[:] = 0
    np.testing.assert_array_equal(np.load(path), COLOUR)


def test_an_npz_can_have_labels_names_and_a_test_split(tmp_path: Path) -> None:
    path = npz(
        tmp_path / "a.npz",
        images=GREY,
        labels=np.array([1, 0], np.uint8),
        names=np.array(["x/ä.png", "y.png"]),
        label_names=np.array(["cat", "dog", "cow"]),
        test_images=GREY[:1] + 1,
        test_labels=np.array([[2]]),
        test_names=np.array(["z.png"]),
    )
    assert has_test_split(path)
    train, test = load(path), load(path, split="test")
    assert train.labels is not None and train.labels.tolist() == [1, 0] and train.labels.dtype == np.int64
    assert list(train.names) == ["x/ä.png", "y.png"] and train.label_names == ("cat", "dog", "cow")
    assert test.labels is not None and test.labels.tolist() == [2] and list(test.names) == ["z.png"]
    np.testing.assert_array_equal(test.images[:, 0], GREY[:1] + 1)


def test_the_array_names_of_keras_and_of_savez_are_accepted(tmp_path: Path) -> None:
    keras = npz(tmp_path / "k.npz", x_train=GREY, y_train=np.array([[3], [1]]), x_test=GREY[:1], y_test=np.array([0]))
    train = load(keras)
    assert train.labels is not None and train.labels.tolist() == [3, 1] and train.label_names == ("0", "1", "2", "3")
    assert len(load(keras, split="test")) == 1
    alone = tmp_path / "b.npz"
    np.savez(alone, GREY)
    np.testing.assert_array_equal(load(alone).images[:, 0], GREY)
    assert not has_test_split(alone)
    with pytest.raises(UserError, match=r"no test split.*arr_0"):
        load(alone, split="test")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GREY, "y": GREY}, "x, y; allowed are images"),
        ({}, "found nothing"),
        ({"images": GREY.astype(np.int64)}, "image 0.*int64.*uint8, uint16 and float"),
        ({"images": GREY * 1.5}, "image 0.*0 to 94.5.*0 to 1"),
        ({"images": np.where(GREY == 70, np.nan, 0.5)}, "image 1.*nan to nan.*0 to 1"),
        ({"images": np.zeros((2, 784), np.uint8)}, r"\(784,\).*height, width"),
        ({"images": np.zeros((2, 17, 20, 20), np.uint8)}, r"\(17, 20, 20\).*1 to 16 channels"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "no images"),
        ({"images": np.array([{}, None])}, "Object arrays"),
        ({"images": GREY, "labels": np.array([0])}, r"labels .*\(1,\).*\(2,\)"),
        ({"images": GREY, "labels": np.array([0, 1]), "label_names": np.array(["a"])}, "0 to 1.*0 to 0"),
        ({"images": GREY, "names": np.array(["a"])}, "2 images and 1 names"),
        ({"images": GREY, "names": np.array([1, 2])}, "names .*int64"),
    ],
)
def test_a_faulty_npz_is_refused_in_one_line(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = npz(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=message) as error:
        load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "labels",
    [np.array([3.0, 0.0]), np.array([3.0, 0.0], np.float16), np.array([3, 0], np.uint64), np.array([[3], [0]])],
)
def test_whole_numbers_of_any_type_are_labels(tmp_path: Path, labels: NDArray[Any]) -> None:
    images = load(npz(tmp_path / "a.npz", x_train=GREY, y_train=labels))
    assert images.labels is not None
    assert images.labels.tolist() == [3, 0]
    assert images.labels.dtype == np.int64
    truth = load(npz(tmp_path / "b.npz", x_train=GREY, y_train=labels.reshape(2) == 3)).labels
    assert truth is not None
    assert truth.tolist() == [1, 0]


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3.7, 1]),
        np.array([np.nan, 1]),
        np.array([np.inf, 1]),
        np.array([-1, 1]),
        np.array([65536, 1]),
        np.array([10**12, 1]),
        np.array([2**64 - 1, 1], np.uint64),
        np.eye(2),
        np.zeros((2, 40), np.int64),
        np.array(["1", "0"]),
        np.array(["2020-01-01"] * 2, "datetime64[D]"),
    ],
)
def test_other_targets_are_no_labels(tmp_path: Path, labels: NDArray[Any]) -> None:
    images = load(npz(tmp_path / "a.npz", x_train=GREY, y_train=labels))
    assert (images.labels, images.label_names) == (None, ())
    assert len(images) == 2


def test_the_largest_label_is_allowed(tmp_path: Path) -> None:
    images = load(npz(tmp_path / "a.npz", images=GREY, labels=np.array([0, 65535])))
    assert images.label_names[65535] == "65535"


def test_files_with_a_wrong_extension_or_unknown_format_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, GREY)
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match=r"a\.npz.*single array.*\.npy"):
        load(tmp_path / "a.npz")
    npz(tmp_path / "b.npz", images=GREY).rename(tmp_path / "b.npy")
    with pytest.raises(UserError, match=r"b\.npy.*magic string"):
        load(tmp_path / "b.npy")
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"c\.png.*89 50 4e 47.*\.zip"):
        load(tmp_path / "c.png")


@pytest.mark.parametrize(("suffix", "stem"), [("", "train-{}-idx{}-ubyte"), (".gz", "t10k-{}.idx{}-ubyte")])
def test_idx_images_are_read_with_the_labels_next_to_them(tmp_path: Path, suffix: str, stem: str) -> None:
    path = tmp_path / (stem.format("images", 3) + suffix)
    path.write_bytes(gzip.compress(idx(GREY)) if suffix else idx(GREY))
    images = load(path)
    np.testing.assert_array_equal(images.images, GREY[:, None])
    assert images.images.flags.writeable and images.labels is None
    for packed in (False, True):  # labels may be compressed if images are not, and vice versa
        content = idx(np.array([4, int(packed)], np.uint8))
        labels = tmp_path / (stem.format("labels", 1) + (".gz" if packed else ""))
        labels.write_bytes(gzip.compress(content) if packed else content)
        values = load(path).labels
        assert values is not None and values.tolist() == [4, int(packed)]
        labels.unlink()


def test_idx_has_no_test_split(tmp_path: Path) -> None:
    path = tmp_path / "a-idx3-ubyte"
    path.write_bytes(idx(GREY))
    assert not has_test_split(path)
    with pytest.raises(UserError, match="no test split"):
        load(path, split="test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"\(none\)"),
        (idx(GREY)[:10], "promises"),
        (idx(GREY)[:-1], "128 .*127"),
        (idx(GREY) + b"x", "128 .*more"),
        (idx(GREY.ravel()), "00 00 08 01.*00 00 08 03"),
        (bytes((0, 0, 13, 3)) + idx(GREY)[4:], "00 00 0d 03"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + bytes(9), "79,228,162,458,924,105,385,300,197,375"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_idx_file_is_refused(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    path = tmp_path / ("bad-idx3-ubyte" + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(UserError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


def test_a_gz_file_that_is_not_compressed_or_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a-idx3-ubyte.gz"
    for content in (idx(GREY), gzip.compress(idx(GREY))[:-20]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot read"):
            load(path)


def test_labels_that_do_not_match_their_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(GREY))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(UserError, match=r"labels .*\(3,\).*\(2,\)"):
        load(tmp_path / "train-images-idx3-ubyte")


def valid(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "a.npz":
        np.savez(buffer, images=GREY, labels=np.array([0, 1]), names=np.array(["a", "b"]), test_images=GREY)
    elif kind == "a.npy":
        np.save(buffer, GREY)
    else:
        return gzip.compress(idx(GREY)) if kind.endswith(".gz") else idx(GREY)
    return buffer.getvalue()


kinds = st.sampled_from(["a.npz", "a.npy", "a-idx3-ubyte", "a-idx3-ubyte.gz"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=kinds)
def test_a_mutated_file_gives_images_or_an_error_that_names_it(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    content = bytearray(valid(kind))
    # Headers are the most sensitive part: half of the changes go there.
    positions = st.integers(0, len(content) - 1) | st.integers(0, min(150, len(content) - 1))
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(positions)] = data.draw(st.integers(0, 255))
    path = tmp_path / kind
    path.unlink(missing_ok=True)  # replaced, not rewritten: an earlier example may have it mapped
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        images = load(path, size=8)
        assert images.images.shape[1:] in ((1, 8, 8), (3, 8, 8)) and len(images.names) == len(images)
    except UserError as error:
        assert str(path) in str(error)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), kind=kinds)
def test_random_bytes_are_refused(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / kind
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot read"):
        load(path)


def test_images_without_names_are_numbered_without_a_list(tmp_path: Path) -> None:
    names = load(npy(tmp_path / "a.npy", COLOUR)).names
    assert isinstance(names, NumberedNames)
    expected = [str(number) for number in range(len(COLOUR))]
    assert list(names) == expected
    assert (names[1], names[-1], names[1:], len(names)) == ("1", expected[-1], expected[1:], len(COLOUR))
    with pytest.raises(IndexError):
        names[len(COLOUR)]


def test_labels_of_one_byte_can_be_255(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((2, 8, 8), np.uint8), labels=np.array([3, 255], np.uint8))
    images = load(path)
    assert images.labels is not None
    assert images.labels.tolist() == [3, 255]
    assert len(images.label_names) == 256


def test_a_file_that_unpacks_to_far_more_than_images_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infogan.data.readers.arrays._LARGE_UNPACKED", 10**5)
    zeros = np.zeros((1000, 32, 32), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", images=zeros)
    header = bytes((0, 0, 8, 3)) + b"".join(side.to_bytes(4) for side in zeros.shape)
    (tmp_path / "a.gz").write_bytes(gzip.compress(header + zeros.tobytes()))
    for name in ("a.npz", "a.gz"):
        with pytest.raises(UserError, match=rf"{name} .*claims to unpack to 1,024,"):
            load(tmp_path / name)
    monkeypatch.setattr("infogan.data.readers.arrays._LARGE_UNPACKED", 1_024_128)  # real images of that size
    assert len(load(tmp_path / "a.npz")) == len(load(tmp_path / "a.gz")) == 1000
    monkeypatch.setattr("infogan.data.readers.arrays._LARGE_UNPACKED", 10**5)
    masks = np.random.default_rng(0).integers(0, 2, zeros.shape, dtype=np.uint8) * np.uint8(255)
    np.savez_compressed(tmp_path / "masks.npz", images=masks)
    assert len(load(tmp_path / "masks.npz")) == 1000


@pytest.mark.parametrize(
    ("arrays", "test"),
    [
        ({"train_images": 1, "val_images": 2, "test_images": 3}, 3),  # as in MedMNIST
        ({"train_images": 1, "val_images": 2}, 2),
        ({"x_train": 1, "x_val": 2}, 2),
        ({"images": 1, "x_validation": 2}, 2),
    ],
)
def test_usual_names_of_splits_are_understood(tmp_path: Path, arrays: dict[str, int], test: int) -> None:
    images = {name: np.full((4, 8, 8), value, np.uint8) for name, value in arrays.items()}
    labels = {f"{name.removesuffix('images')}labels": np.arange(4) for name in arrays if name.endswith("images")}
    np.savez(tmp_path / "a.npz", allow_pickle=False, **images, **labels)
    assert int(load(tmp_path / "a.npz").images.max()) == 1
    assert has_test_split(tmp_path / "a.npz")
    assert int(load(tmp_path / "a.npz", split="test").images.max()) == test


def test_an_npz_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(
        path, images=np.zeros((1000, 1, 32, 32), np.uint8), test_images=np.zeros((1, 1, 32, 32), np.uint8)
    )
    limit = tmp_path / "limit"
    monkeypatch.setattr("infogan.utils.memory.CGROUP_LIMIT", limit)
    limit.write_text("1000000")
    with pytest.raises(UserError, match=r"a\.npz .*1,024,128 .*1,000,000 "):
        load(path)
    assert len(load(path, split="test")) == 1  # a smaller array
    limit.write_text("1100000")
    assert len(load(path)) == 1000
