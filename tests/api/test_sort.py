"""Images sorted into folders: every image is filed, and a folder that was begun is completed."""

import os
import shutil
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.api import encode
from infogan.api.encode import encode_dataset
from infogan.api.sort import Sorter, mark_output_folder
from infogan.data import load, streamed
from infogan.data.folder_layout import OUTPUT_MARKER
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError
from tests.helpers import bar_images, image_folder, small_model

CODES: list[dict[str, Any]] = [{"kind": "categorical", "size": 3}]


@pytest.fixture
def model() -> InfoGAN:
    return small_model(codes=CODES)


@pytest.fixture
def one_category(model: InfoGAN) -> InfoGAN:
    """A model all of whose categories have one name, so that all images meet in one folder."""
    model.name_codes({"category": ["all"] * 3})
    return model


def sort_images(model: InfoGAN, source: Path, target: Path, *, link: bool = False) -> None:
    with streamed(source, size=8, channels=1) as images:
        sorter = Sorter(model, target, images.root, link=link)
        encode_dataset(model, images, target.parent / "codes.csv", sort=sorter)


def pixels_of(paths: list[Path]) -> Counter[bytes]:
    """Return the images at these paths, in any order."""
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(np.asarray(image.convert("L")).tobytes())
    return Counter(images)


def images_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != OUTPUT_MARKER]


# Names that agree as names of one folder.
AGREEING = ["a/b.png", "a_b.png", "c.png", " c.png", "x:y.png", "x?y.png", "con.png", f"{'x/' * 200}1.png"]
AGREEING += [f"{'x/' * 200}2.png", os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"caf\xe8.png")]


@pytest.mark.parametrize("link", [False, True])
def test_files_whose_names_agree_are_all_sorted(
    link: bool, one_category: InfoGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "BLOCK", 3)  # names of two blocks may agree
    source = tmp_path / "images"
    for name, image in zip(AGREEING, bar_images(len(AGREEING)), strict=True):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(source / name)
    sort_images(one_category, source, tmp_path / "sorted", link=link)
    paths = images_in(tmp_path / "sorted")
    assert pixels_of(paths) == pixels_of([source / name for name in AGREEING])
    assert len(pixels_of(paths)) == len(AGREEING)
    assert all(path.parent.name == "all" and path.is_symlink() == link for path in paths)
    assert {"a_b.png", "c.png", "x_y.png"} < {path.name for path in paths}
    again = tmp_path / "again" / "sorted"
    sort_images(one_category, source, again, link=link)
    assert {path.name for path in images_in(again)} == {path.name for path in paths}


def test_images_of_a_zip_are_all_sorted(one_category: InfoGAN, tmp_path: Path) -> None:
    members = [("1.png", "PNG"), ("1.bmp", "BMP"), ("1.tif", "TIFF"), ("A/2.png", "PNG"), ("a/2.png", "PNG")]
    images = bar_images(len(members))
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for (name, kind), image in zip(members, images, strict=True):
            content = BytesIO()
            Image.fromarray(image[0]).save(content, kind)
            archive.writestr(name, content.getvalue())
    sort_images(one_category, tmp_path / "images.zip", tmp_path / "sorted")
    paths = images_in(tmp_path / "sorted")
    assert pixels_of(paths) == Counter(image.tobytes() for image in images)
    assert {path.suffix for path in paths} == {".png"}
    assert len({path.name.lower() for path in paths}) == len(members)


@pytest.mark.parametrize(
    "names", [["shot.1", "shot.2", "shot.1"], ["", " ", "."], ["\ud800", "\udcff", "a"]], ids=["dots", "empty", "bytes"]
)
def test_images_of_an_array_are_all_sorted(names: list[str], one_category: InfoGAN, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=bar_images(3), names=np.array(names))
    sort_images(one_category, tmp_path / "images.npz", tmp_path / "sorted")
    assert pixels_of(images_in(tmp_path / "sorted")) == Counter(image.tobytes() for image in bar_images(3))


def test_categories_share_a_folder_only_if_they_have_one_name(model: InfoGAN, tmp_path: Path) -> None:
    model.name_codes({"category": ["a/b", "a:b", "a/b"]})
    folders = Sorter(model, tmp_path, None, link=False).folders
    assert len(folders) == 2
    assert folders[0] == tmp_path / "a_b"
    model.name_codes({"category": ["A", "a", ".."]})
    names = [folder.name.lower() for folder in Sorter(model, tmp_path, None, link=False).folders]
    assert len({*names}) == 3
    assert ".." not in names


# Folders that hold something already.


@pytest.mark.filterwarnings("ignore:the images or the model have changed")
def test_a_sort_that_failed_is_completed_by_the_same_command(
    model: InfoGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "BLOCK", 5)
    source = image_folder(tmp_path / "images", lambda i: f"{i}.png", 12, ())
    target, copyfile, copies = source / "sorted", shutil.copyfile, list[Path]()

    def copy(source: Path, path: Path) -> None:
        copies.append(source)
        if len(copies) == 8:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        copyfile(source, path)

    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(UserError, match="No space left"):
        sort_images(model, source, target)
    assert len(load(source)) == 12  # what was sorted so far does not count
    with pytest.raises(UserError, match="is not empty"):
        sort_images(model, source, target, link=True)
    with pytest.raises(UserError, match="is not empty"):
        sort_images(small_model(codes=CODES, seed=1), source, target)
    sort_images(model, source, target)
    assert pixels_of(images_in(target)) == pixels_of([source / f"{i}.png" for i in range(12)])
    with pytest.raises(UserError, match="is not empty"):
        sort_images(model, source, target)


def test_links_that_failed_are_completed_by_the_same_command(
    model: InfoGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = image_folder(tmp_path / "images", lambda i: f"{i}.png", 12, ())
    with monkeypatch.context() as patch, pytest.raises(UserError, match="Input/output error"):
        symlink, links = os.symlink, list[Path]()

        def link(source: Path, path: Path) -> None:
            links.append(path)
            if len(links) == 8:
                raise OSError(5, "Input/output error")
            symlink(source, path)

        patch.setattr(os, "symlink", link)
        sort_images(model, source, tmp_path / "sorted", link=True)
    sort_images(model, source, tmp_path / "sorted", link=True)
    assert pixels_of(images_in(tmp_path / "sorted")) == pixels_of([source / f"{i}.png" for i in range(12)])


def test_a_sorted_folder_inside_the_images_does_not_become_images(model: InfoGAN, tmp_path: Path) -> None:
    source = image_folder(tmp_path / "images", lambda i: f"{i}.png", 12, ())
    for target in (source / "sorted", tmp_path / "outside"):
        sort_images(model, source, target)
        assert len(images_in(target)) == 12
        assert (target / OUTPUT_MARKER).is_file() == (target == source / "sorted")
        assert len(load(source)) == 12
    assert len(load(tmp_path / "outside")) == 12
    assert len(load(source / "sorted")) == 12  # if it is asked for


def test_a_folder_is_marked_unless_it_holds_files_of_others(tmp_path: Path) -> None:
    images = image_folder(tmp_path / "images", lambda i: f"own/{i}.png", 3, ())
    for name in ("new", "empty"):
        (images / "empty").mkdir(exist_ok=True)
        mark_output_folder(images / name)
        shutil.copyfile(images / "own" / "0.png", images / name / "0.png")
        mark_output_folder(images / name)
        assert "infogan" in (images / name / OUTPUT_MARKER).read_text()
    mark_output_folder(images / "own")
    assert len(load(images)) == 3
    with pytest.raises(UserError, match="cannot read the folder"):
        mark_output_folder(images / "own" / "0.png")


def test_a_folder_with_nothing_but_the_marker_counts_as_empty(model: InfoGAN, tmp_path: Path) -> None:
    source = image_folder(tmp_path / "images", lambda i: f"{i}.png", 3, ())
    target = source / "sorted"
    mark_output_folder(target)
    sort_images(model, source, target)
    assert len(images_in(target)) == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".hidden").touch()
    with pytest.raises(UserError, match="is not empty"):
        Sorter(model, tmp_path / "other", None, link=False)
