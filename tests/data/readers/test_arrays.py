"""Arrays in .npz, .npy and IDX files: every layout and type by its values, every fault by its sentence."""

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


def test_arrays_are_resized_cropped_and_made_grey_like_pictures(tmp_path: Path) -> None:
    wide = np.full((1, 10, 20, 3), (255, 0, 0), np.uint8)
    wide[:, :, :5] = wide[:, :, 15:] = 0
    path = npy(tmp_path / "a.npy", wide)
    assert (load(path, size=16).images == np.array([255, 0, 0]).reshape(3, 1, 1)).all()
    assert (load(path, size=16, channels=1).images == 76).all()
    padded = load(path, size=20, shape="pad").images[0, 0]
    assert (padded[5:15, 5:15] == 255).all() and (padded[:5] == 0).all()
    with pytest.raises(UserError, match=r"found 20x10 .*--size N"):
        load(path)


def test_an_npy_that_fits_stays_on_disk_and_is_never_written(tmp_path: Path) -> None:
    path = npy(tmp_path / "a.npy", COLOUR)
    images = load(path).images
    assert isinstance(images, np.memmap) and images.flags.writeable
    images[:] = 0
    np.testing.assert_array_equal(np.load(path), COLOUR)


def test_npz_with_everything(tmp_path: Path) -> None:
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


def test_npz_as_keras_and_as_savez_name_them(tmp_path: Path) -> None:
    keras = npz(tmp_path / "k.npz", x_train=GREY, y_train=np.array([[3], [1]]), x_test=GREY[:1], y_test=np.array([0]))
    train = load(keras)
    assert train.labels is not None and train.labels.tolist() == [3, 1] and train.label_names == ("0", "1", "2", "3")
    assert len(load(keras, split="test")) == 1
    alone = tmp_path / "b.npz"
    np.savez(alone, GREY)
    np.testing.assert_array_equal(load(alone).images[:, 0], GREY)
    assert not has_test_split(alone)
    with pytest.raises(UserError, match="no test split: found arr_0"):
        load(alone, split="test")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GREY, "y": GREY}, "no array of images: found x, y; allowed are images"),
        ({}, "no array of images: found nothing"),
        ({"images": GREY.astype(np.int64)}, "image 0: values of type int64; allowed are uint8, uint16 and float"),
        ({"images": GREY * 1.5}, "image 0: float values from 0 to 94.5; allowed are 0 to 1"),
        ({"images": np.where(GREY == 70, np.nan, 0.5)}, "image 1: float values from nan to nan; allowed are 0 to 1"),
        ({"images": GREY[:, :, :4]}, "found 4x8 .*--size N"),
        ({"images": np.zeros((2, 784), np.uint8)}, r"images of shape \(2, 784\); allowed are"),
        ({"images": np.zeros((2, 2, 8, 8), np.uint8)}, r"images of shape \(2, 2, 8, 8\); allowed are"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, r"at least one image"),
        ({"images": np.array([{}, None])}, "cannot read .*Object arrays cannot be loaded"),
        ({"images": GREY, "labels": np.array([0])}, r"labels of type int64 and shape \(1,\).* shape \(2,\)"),
        ({"images": GREY, "labels": np.array([0.0, 1.0])}, "labels of type float64"),
        ({"images": GREY, "labels": np.array([0, -1])}, "labels from -1 to 0; allowed are 0 to 65535"),
        ({"images": GREY, "labels": np.array([0, 65536])}, "labels from 0 to 65536; allowed are 0 to 65535"),
        ({"images": GREY, "labels": np.array([0, 1]), "label_names": np.array(["a"])}, "allowed are 0 to 0"),
        ({"images": GREY, "names": np.array(["a"])}, "2 images and 1 names"),
        ({"images": GREY, "names": np.array([1, 2])}, "names of type int64"),
    ],
)
def test_a_fault_in_an_npz_is_one_sentence(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = npz(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_labels_up_to_the_limit_are_allowed(tmp_path: Path) -> None:
    images = load(npz(tmp_path / "a.npz", images=GREY, labels=np.array([0, 65535])))
    assert images.label_names[65535] == "65535"


def test_files_under_a_wrong_name_or_of_no_kind(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, GREY)
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match=r"a\.npz: found a single array, as in a \.npy file"):
        load(tmp_path / "a.npz")
    npz(tmp_path / "b.npz", images=GREY).rename(tmp_path / "b.npy")
    with pytest.raises(UserError, match=r"cannot read .*b\.npy: the magic string is not correct"):
        load(tmp_path / "b.npy")
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"begins with the bytes 89 50 4e 47; allowed are folders and \.zip files"):
        load(tmp_path / "c.png")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("stem", ["train-{}-idx{}-ubyte", "t10k-{}.idx{}-ubyte"])
def test_idx_images_and_the_labels_beside_them(tmp_path: Path, suffix: str, stem: str) -> None:
    path = tmp_path / (stem.format("images", 3) + suffix)
    path.write_bytes(gzip.compress(idx(GREY)) if suffix else idx(GREY))
    images = load(path)
    np.testing.assert_array_equal(images.images, GREY[:, None])
    assert images.images.flags.writeable and images.labels is None
    for packed in (False, True):  # the labels may be packed when the images are not, and the other way round
        content = idx(np.array([4, int(packed)], np.uint8))
        labels = tmp_path / (stem.format("labels", 1) + (".gz" if packed else ""))
        labels.write_bytes(gzip.compress(content) if packed else content)
        found = load(path).labels
        assert found is not None and found.tolist() == [4, int(packed)]
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
        (b"", r"begins with the bytes \(none\)"),
        (idx(GREY)[:10], "promises"),
        (idx(GREY)[:-1], "promises 128 bytes of values, found 127"),
        (idx(GREY) + b"x", "promises 128 bytes of values, found more"),
        (idx(GREY.ravel()), "begins with the bytes 00 00 08 01; .* which begin with 00 00 08 03"),
        (bytes((0, 0, 13, 3)) + idx(GREY)[4:], "begins with the bytes 00 00 0d 03"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + bytes(9), "promises 79,228,162,458,924,105,385,300,197,375 bytes"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_idx_is_one_sentence(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    path = tmp_path / ("bad-idx3-ubyte" + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(UserError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_gz_that_is_none_or_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a-idx3-ubyte.gz"
    for content in (idx(GREY), gzip.compress(idx(GREY))[:-20]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot read"):
            load(path)


def test_labels_that_do_not_match_their_images(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(GREY))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(UserError, match=r"labels of type uint8 and shape \(3,\); allowed are integers of shape \(2,\)"):
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


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=kinds)
def test_a_mutated_file_gives_images_or_one_clear_error(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    content = bytearray(valid(kind))
    # Headers are where the traps are: half of the changes go there.
    positions = st.integers(0, len(content) - 1) | st.integers(0, min(150, len(content) - 1))
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(positions)] = data.draw(st.integers(0, 255))
    path = tmp_path / kind
    path.unlink(missing_ok=True)  # not rewritten: an earlier example may have it mapped
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        images = load(path, size=8)
        assert images.images.shape[1:] in ((1, 8, 8), (3, 8, 8)) and len(images.names) == len(images)
    except UserError as error:
        assert str(path) in str(error)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), kind=kinds)
def test_random_bytes_are_one_clear_error(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / kind
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot read"):
        load(path)


def test_images_without_names_are_numbered_without_a_list_of_names(tmp_path: Path) -> None:
    names = load(npy(tmp_path / "a.npy", COLOUR)).names
    assert isinstance(names, NumberedNames)
    expected = [str(number) for number in range(len(COLOUR))]
    assert list(names) == expected == names
    assert (names[1], names[-1], names[1:], len(names)) == ("1", expected[-1], expected[1:], len(COLOUR))
    assert names != expected[1:]
    with pytest.raises(IndexError):
        names[len(COLOUR)]


def test_the_largest_label_of_a_byte_is_a_label_like_others(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((2, 8, 8), np.uint8), labels=np.array([3, 255], np.uint8))
    images = load(path)
    assert images.labels is not None
    assert images.labels.tolist() == [3, 255]
    assert len(images.label_names) == 256


def test_arrays_that_unpack_to_more_than_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(
        path, images=np.zeros((1000, 1, 32, 32), np.uint8), test_images=np.zeros((1, 1, 32, 32), np.uint8)
    )
    limit = tmp_path / "limit"
    monkeypatch.setattr("infogan.utils.memory.CGROUP_LIMIT", limit)
    limit.write_text("1000000")
    with pytest.raises(UserError, match=r"a\.npz unpacks to 1,024,128 bytes, more than the 1,000,000 of memory"):
        load(path)
    assert len(load(path, split="test")) == 1  # which is another array
    limit.write_text("1100000")
    assert len(load(path)) == 1000
