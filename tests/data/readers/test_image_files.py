"""Folders and zips of images: their order, labels and splits, and hostile or broken files."""

import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from infogan.data import ImageSet, has_test_split, load, streamed
from infogan.data.folder_layout import natural_key, unread_reason
from infogan.utils.errors import DataWarning, UserError
from infogan.utils.files import BoundedReader

Tree = dict[str, bytes]
Layout = Callable[[Path, Tree], Path]


def png(value: int | tuple[int, int, int] = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L" if isinstance(value, int) else "RGB", size, value).save(buffer, "PNG")
    return buffer.getvalue()


def folder(root: Path, tree: Tree) -> Path:
    path = root / "images"
    for name, content in tree.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def archive(root: Path, tree: Tree) -> Path:
    path = root / "images.zip"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in tree.items():
            file.writestr(name, content)
    return path


both = pytest.mark.parametrize("layout", [folder, archive])


def values(images: ImageSet) -> list[int]:
    return [int(image[0, 0, 0]) for image in images.images]


@both
def test_images_are_in_natural_order_with_relative_names(tmp_path: Path, layout: Layout) -> None:
    images = load(layout(tmp_path, {"10.png": png(10), "b/1.png": png(3), "2.png": png(2), "a/1.png": png(1)}))
    assert list(images.names) == ["2.png", "10.png", "a/1.png", "b/1.png"]
    assert values(images) == [2, 10, 1, 3]
    assert images.images.shape == (4, 1, 8, 8) and images.images.dtype == np.uint8
    assert images.labels is None and images.skipped == ()


def test_natural_order_sorts_digits_as_numbers() -> None:
    names = [
        "10",
        "9",
        "img12.png",
        "img2.png",
        "img02.png",
        "a/10/1",
        "a/9/1",
        "a-b/1",
        "9" * 5000,
        "1x2",
        "1x10",
        "x",
    ]
    shuffled = random.Random(0).sample(names, len(names))
    expected = [
        "1x2",
        "1x10",
        "9",
        "10",
        "9" * 5000,
        "a/9/1",
        "a/10/1",
        "a-b/1",
        "img02.png",
        "img2.png",
        "img12.png",
        "x",
    ]
    assert sorted(shuffled, key=natural_key) == expected


@both
def test_class_folders_become_labels_in_natural_order(tmp_path: Path, layout: Layout) -> None:
    images = load(layout(tmp_path, {"10/a.png": png(1), "9/a.png": png(2), "9/deep/b.png": png(3)}))
    assert images.label_names == ("9", "10")
    assert images.labels is not None and images.labels.dtype == np.int64
    assert list(zip(images.names, images.labels.tolist(), strict=True)) == [
        ("9/a.png", 0),
        ("9/deep/b.png", 0),
        ("10/a.png", 1),
    ]


@both
def test_there_are_no_labels_if_an_image_is_outside_the_class_folders(tmp_path: Path, layout: Layout) -> None:
    images = load(layout(tmp_path, {"cat/a.png": png(1), "dog/a.png": png(2), "c.png": png(3)}))
    assert images.labels is None and images.label_names == ()


@both
def test_folders_around_everything_are_skipped_over(tmp_path: Path, layout: Layout) -> None:
    source = layout(tmp_path, {"data/all/cat/a.png": png(1), "data/all/dog/a.png": png(2)})
    images = load(source)
    assert images.label_names == ("cat", "dog")
    assert list(images.names) == ["data/all/cat/a.png", "data/all/dog/a.png"]


@both
def test_a_single_folder_is_not_a_class(tmp_path: Path, layout: Layout) -> None:
    assert load(layout(tmp_path, {"cat/a.png": png(1), "cat/b.png": png(2)})).labels is None


@both
@pytest.mark.parametrize("parent", ["", "photos/"])
def test_train_and_test_folders_are_splits_with_the_same_labels(tmp_path: Path, layout: Layout, parent: str) -> None:
    tree = {"train/cat/1.png": png(1), "train/dog/1.png": png(2), "test/dog/1.png": png(3), "rest/cat/1.png": png(9)}
    source = layout(tmp_path, {parent + name: content for name, content in tree.items()})
    assert has_test_split(source)
    train, test = load(source), load(source, split="test")
    assert values(train) == [1, 2] and values(test) == [3]
    assert values(load(source, split="train")) == [1, 2]
    assert list(test.names) == [f"{parent}test/dog/1.png"]
    assert train.label_names == test.label_names == ("cat", "dog")
    assert test.labels is not None and test.labels.tolist() == [1]
    assert test.source == f"{source} (test)"


@both
@pytest.mark.parametrize("extra", ["bus/1.png", "train.png"])
def test_without_both_folders_all_images_are_train(tmp_path: Path, layout: Layout, extra: str) -> None:
    source = layout(tmp_path, {"train/1.png": png(1), extra: png(2)})
    assert not has_test_split(source)
    assert sorted(values(load(source))) == [1, 2]
    with pytest.raises(UserError, match=r"no test split.*train and test"):
        load(source, split="test")


@both
def test_hidden_files_and_files_that_are_not_images_are_ignored(tmp_path: Path, layout: Layout) -> None:
    tree = {
        "a.PNG": png(1),
        ".DS_Store": b"x",
        ".hidden.png": png(2),
        "__MACOSX/._a.png": b"x",
        ".cache/b.png": png(3),
        "notes.txt": b"x",
        "paper.pdf": b"x",
        "LICENSE": b"x",
    }
    images = load(layout(tmp_path, tree), strict=True)
    assert list(images.names) == ["a.PNG"] and images.skipped == ()


@both
def test_broken_images_are_skipped_and_named(tmp_path: Path, layout: Layout) -> None:
    intact = png(7, (64, 64))
    tree = {"a.png": png(1), "text.png": b"not an image", "cut.png": intact[:-30], "empty.jpg": b"", "z.png": png(2)}
    source = layout(tmp_path, tree)
    images = load(source, size=8)
    assert list(images.names) == ["a.png", "z.png"] and values(images) == [1, 2]
    assert [line.split(":")[0] for line in sorted(images.skipped)] == ["cut.png", "empty.jpg", "text.png"]
    assert "text.png: not an image that can be read" in images.skipped
    assert any("truncated" in line for line in images.skipped)
    with pytest.raises(UserError, match=r"3 files .*\(2, e\.g\. empty\.jpg\).*\(1, e\.g\. cut\.png\)"):
        load(source, size=8, strict=True)


@both
def test_mixed_images_are_read_if_size_and_channels_are_requested(tmp_path: Path, layout: Layout) -> None:
    source = layout(tmp_path, {"a.png": png(50), "b.png": png((255, 0, 0), (20, 10)), "c.png": b"junk"})
    images = load(source, size=16, channels=3)
    assert images.images.shape == (2, 3, 16, 16)
    assert images.images[:, :, 8, 8].tolist() == [[50, 50, 50], [255, 0, 0]]
    assert images.skipped == ("c.png: not an image that can be read",)


def test_mixed_images_get_one_size_and_colours(tmp_path: Path) -> None:
    mixed = load(folder(tmp_path / "1", {"a.png": png(1, (20, 12)), "b.png": png((1, 2, 3), (9, 10))})).images
    assert mixed.shape == (2, 3, 12, 12)
    assert mixed[:, :, 6, 6].tolist() == [[1, 1, 1], [1, 2, 3]]
    assert load(folder(tmp_path / "2", {"a.png": png(1, (900, 600)), "b.png": png(1, (640, 480))})).size == 64
    assert load(folder(tmp_path / "3", {"a.png": png((1, 2, 3))})).channels == 3


@both
@pytest.mark.parametrize(
    ("tree", "size"),
    [({"readme.txt": b"x"}, None), ({"a.png": b"x"}, None), ({"a.png": b"x"}, 16), ({".a.png": png()}, 16)],
)
def test_sources_without_usable_images_are_refused(
    tmp_path: Path, layout: Layout, tree: Tree, size: int | None
) -> None:
    with pytest.raises(UserError, match="no usable image"):
        load(layout(tmp_path, tree), size=size, channels=size and 1)


def test_links_are_followed_only_inside_the_folder(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a.png": png(1), "real/b.png": png(2)})
    (tmp_path / "secret.png").write_bytes(png(3))
    (root / "inside.png").symlink_to(root / "a.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "gone.png").symlink_to(root / "nowhere.png")
    (root / "loop").symlink_to(root)
    images = load(root)
    assert list(images.names) == ["a.png", "inside.png", "real/b.png"]
    assert sorted(images.skipped) == [
        "gone.png: not a file",
        "loop: a link to a folder; use --follow-links to follow it",
        "out.png: a link that leads out of the folder; use --follow-links to follow it",
    ]
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    assert len(load(linked)) == 3


def test_links_are_followed_out_of_the_folder_on_request(tmp_path: Path) -> None:
    store = folder(tmp_path / "store", {"abc.png": png(3), "cat/b.png": png(4)})
    root = folder(tmp_path, {"dog/a.png": png(1), "dog/deep/c.png": png(2)})
    (root / "dog" / "d.png").symlink_to(store / "abc.png")
    (root / "cat").symlink_to(store / "cat")
    (root / "dog" / "up").symlink_to(root)  # back to where it began
    (root / "dog" / "again").symlink_to(root / "dog" / "deep")
    images = load(root, follow_links=True)
    assert dict(zip(images.names, values(images), strict=True)) == {
        "cat/b.png": 4,
        "dog/a.png": 1,
        "dog/d.png": 3,
        "dog/deep/c.png": 2,
    }
    assert images.label_names == ("cat", "dog")
    assert sorted(line.split(":")[0] for line in images.skipped) == ["dog/again", "dog/up"]


def test_links_that_lead_to_themselves_are_skipped_and_named(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a.png": png(1)})
    (root / "current").symlink_to("current")
    (root / "b.png").symlink_to("c.png")
    (root / "c.png").symlink_to("b.png")
    for follow_links in (False, True):
        images = load(root, follow_links=follow_links)
        assert list(images.names) == ["a.png"]
        assert [line.split(":")[0] for line in images.skipped] == ["b.png", "c.png", "current"]
        assert all("symbolic links" in line for line in images.skipped)


@both
@pytest.mark.parametrize(
    ("splits", "train", "test", "left_out"),
    [
        (("train", "val"), [0], [1], 0),
        (("Train", "Test"), [0], [1], 0),
        (("TRAINING", "Testing"), [0], [1], 0),
        (("train", "valid", "test"), [0], [2], 1),
        (("train", "validation", "test", "extra"), [0], [2], 2),
        (("train", "Train", "test"), [0, 1], [2], 0),
        (("test", "val"), [0, 1], None, 0),  # no training split: all images, and the folders are no classes
    ],
)
def test_split_folders_are_no_classes(
    tmp_path: Path, layout: Layout, splits: tuple[str, ...], train: list[int], test: list[int] | None, left_out: int
) -> None:
    tree = {
        f"{split}/images/{kind}/1.png": png(10 * number + label)
        for number, split in enumerate(splits)
        for label, kind in enumerate(("cat", "dog"))
    }
    source = layout(tmp_path, tree)
    images = load(source)
    assert sorted(values(images)) == [10 * number + label for number in train for label in (0, 1)]
    assert images.label_names == ("cat", "dog")
    assert images.labels is not None
    assert images.labels.tolist() == [value % 10 for value in values(images)]
    assert len(images.skipped) == 2 * left_out
    assert has_test_split(source) == (test is not None)
    if test is not None:
        expected = [10 * number + label for number in test for label in (0, 1)]
        assert sorted(values(load(source, split="test"))) == expected
    if left_out:
        with pytest.raises(UserError, match=rf"{2 * left_out} files"):
            load(source, strict=True)


@both
def test_dataset_json_gives_the_classes(tmp_path: Path, layout: Layout) -> None:
    tree = {f"{i // 2:05d}/img{i}.png": png(i) for i in range(4)}
    labels = [[name, number % 2] for number, name in enumerate(tree)]
    images = load(layout(tmp_path / "a", tree | {"dataset.json": json.dumps({"labels": labels}).encode()}))
    assert images.labels is not None
    assert (images.labels.tolist(), images.label_names) == ([0, 1, 0, 1], ("0", "1"))
    for content in (b'{"labels": null}', b'{"labels": [["00000/img0.png", [0.5, 1]]]}'):  # folders are no classes there
        images = load(layout(tmp_path / "b", tree | {"dataset.json": content}))
        assert images.labels is None
    for number, content in enumerate((b"[]", b"{", b'{"labels": 3}', b'{"images": []}')):  # of another program
        images = load(layout(tmp_path / str(number), tree | {"dataset.json": content}))
        assert images.label_names == ("00000", "00001")


@both
def test_files_with_other_endings_are_counted_and_named(tmp_path: Path, layout: Layout) -> None:
    tree = {"a.png": png(1), "scraped1": png(2), "scraped2": png(3), "b.dng": b"x", "c.JXL": b"x", "movie.mov": b"x"}
    source = layout(tmp_path, tree | {"labels.csv": b"x", "Thumbs.db": b"x"})
    with pytest.warns(DataWarning, match=r"5 files .*no file ending \(2, e\.g\. scraped1\)"):
        images = load(source)
    assert values(images) == [1]
    assert [line.split(":")[0] for line in images.skipped] == ["b.dng", "c.JXL", "movie.mov", "scraped1", "scraped2"]
    with pytest.raises(UserError, match=r"5 files .*\.dng"):
        load(source, strict=True)


@both
def test_folders_that_infogan_wrote_are_not_read(tmp_path: Path, layout: Layout) -> None:
    tree = {"a.png": png(1), "b.png": png(2)}
    run = {"config.json": b"{}", "environment.json": b"[]", "samples/reals.png": png(3), "deep/x/report.png": png(3)}
    model = {"config.json": b"{}", "model.safetensors": b"", "card.png": png(3)}
    filed = {".infogan": b"", "3/a.png": png(3)}
    outputs = {"runs/0": run, "model": model, "sorted": filed}
    tree |= {f"{folder}/{name}": content for folder, files in outputs.items() for name, content in files.items()}
    source = layout(tmp_path / "a", tree | {"config.json": b"{}"})  # which is not one of infogan
    assert values(load(source, strict=True)) == [1, 2]
    assert values(load(folder(tmp_path / "b", filed))) == [3]  # unless it is what is asked for
    assert values(load(folder(tmp_path / "c", {"config.json": b"{}", "a.png": png(4)}))) == [4]


@both
def test_the_fingerprint_changes_with_the_content_of_a_file(tmp_path: Path, layout: Layout) -> None:
    fingerprints = []
    for value in (1, 2):
        source = layout(tmp_path / "1", {"a.png": png(value), "b.png": png(3)})
        with streamed(source, size=8, channels=1) as stream:
            fingerprints.append(stream.fingerprint)
    with streamed(source, size=8, channels=1) as stream:
        assert stream.fingerprint == fingerprints[1]
    with streamed(source, size=8, channels=1, value_range=(0, 9)) as stream:
        fingerprints.append(stream.fingerprint)
    assert len({*fingerprints}) == 3


def test_pipes_are_skipped(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a.png": png(1)})
    os.mkfifo(root / "pipe.png")
    assert load(root).skipped == ("pipe.png: not a file",)


def test_zip_members_that_lead_out_of_the_zip_are_skipped(tmp_path: Path) -> None:
    tree = {"a.png": png(1), "../b.png": png(2), "/etc/c.png": png(3), "x/../../d.png": png(4), "C:/e.png": png(5)}
    images = load(archive(tmp_path, tree | {"win\\f.png": png(6)}))
    assert list(images.names) == ["a.png", "win/f.png"]
    assert len(images.skipped) == 4 and all("leads out of the zip file" in line for line in images.skipped)


def test_a_zip_member_that_unpacks_to_too_much_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = archive(tmp_path, {"a.png": png(1), "bomb.png": bytes(100_001)})
    monkeypatch.setattr("infogan.data.readers.containers.MAX_FILE_BYTES", 100_000)
    assert load(source).skipped == ("bomb.png: 100,001 bytes, more than 100,000",)


def test_a_zip_member_is_not_unpacked_beyond_its_declared_size(tmp_path: Path) -> None:
    source = archive(tmp_path, {"a.png": png(1), "liar.png": bytes(10_000_000)})
    content = source.read_bytes()
    size = (10_000_000).to_bytes(4, "little")
    assert content.count(size) == 2  # in the member's own header and in the directory
    source.write_bytes(content.replace(size, (1000).to_bytes(4, "little")))
    images = load(source)
    assert list(images.names) == ["a.png"] and len(images.skipped) == 1


def test_a_file_that_is_not_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK not really")
    with pytest.raises(UserError, match=r"a\.zip as a zip file"):
        load(path)


def test_progress_counts_the_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    root = folder(tmp_path, {"a.png": png(1), "b.png": png(2)})
    load(root, progress=lambda description, done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_zip_gives_images_or_an_error_that_names_it(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(archive(tmp_path, {"x/a.png": png(1), "y/b.gif": png(2), "c.png": png(3)}).read_bytes())
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "mutated.zip"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        assert 1 <= len(load(path, size=8, channels=1)) <= 3
    except UserError as error:
        assert str(path) in str(error)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), format=st.sampled_from(["PNG", "GIF", "TIFF", "BMP", "JPEG", "WEBP", "PPM", "ICO", "TGA"]))
def test_a_mutated_image_is_read_or_skipped(tmp_path: Path, data: st.DataObject, format: str) -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(buffer, format)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    root = folder(tmp_path, {"a.png": png((1, 2, 3), (16, 16)), "b.png": bytes(content)})
    images = load(root, size=16, channels=3)
    assert len(images) + len(images.skipped) == 2


def test_zip_members_without_a_name_are_ignored(tmp_path: Path) -> None:
    path = archive(tmp_path, {"a.png": png(1), "b.png": png(2)})
    content = path.read_bytes()
    # In the directory at the end of the zip, the name of b.png begins with a zero byte, where zipfile cuts names off.
    listed = content.index(b"PK\x01\x02")
    path.write_bytes(content[:listed] + content[listed:].replace(b"b.png", b"\0.png"))
    images = load(path)
    assert list(images.names) == ["a.png"]


def test_headers_that_claim_huge_sizes_allocate_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with BoundedReader(path) as file:
        assert file.read(2**62) == b"0123456789"  # more than the memory
        assert file.read(5) == b""
        file.seek(4)
        assert [file.read(3), file.read(), file.read(-1), file.read(None)] == [b"456", b"789", b"", b""]
    # A chunk that claims 2 GiB, and a header that claims 4 GiB.
    broken = png(3)[:33] + (2**31 - 1).to_bytes(4) + png(3)[37:]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(broken)
    (tmp_path / "images" / "b.png").write_bytes(png(3))
    assert len(load(tmp_path / "images")) == 2  # all pixels of the first are present
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b"{'descr'")
    with pytest.raises(UserError, match="4,294,967,295 bytes"):
        load(tmp_path / "a.npy")


def test_photographs_of_phones_are_read_with_the_extra(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra [heif]")
    source = folder(tmp_path, {"a.png": png((200, 0, 0), (16, 16))})
    heif.from_pillow(Image.new("RGB", (16, 16), (0, 200, 0))).save(source / "IMG_1.HEIC", quality=100)
    images = load(source, strict=True)
    assert list(images.names) == ["IMG_1.HEIC", "a.png"]
    assert images.images[0, :, 8, 8].tolist() == pytest.approx([0, 200, 0], abs=6)


def test_photographs_of_phones_name_the_extra_that_reads_them() -> None:
    reason = unread_reason("IMG_1.HEIC")
    assert reason is not None
    assert "infogan[heif]" in reason
    assert (unread_reason("notes.txt"), unread_reason("LICENSE")) == (None, None)
