"""The commands ``data list``, ``data fetch`` and ``data prepare``."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import invoke


def test_data_sets_are_listed_and_fetched() -> None:
    assert any(line.startswith("digits ") for line in invoke("data", "list").stdout.splitlines())
    assert invoke("data", "fetch", "digits").returncode == 0


def test_a_prepared_file_can_be_trained_on(images: Path, tmp_path: Path, small: list[str]) -> None:
    result = invoke("data", "prepare", images, tmp_path / "bars.npz")
    assert result.returncode == 0, result.stderr
    assert "train: 72 images, 1 x 8 x 8" in result.stderr
    assert result.stdout == f"{tmp_path / 'bars.npz'}\n"
    trained = invoke("train", tmp_path / "bars.npz", "--recipe", "plain", "--out", tmp_path / "run", *small)
    assert trained.returncode == 0, trained.stderr


def test_the_destination_may_be_an_option(images: Path, tmp_path: Path) -> None:
    result = invoke("data", "prepare", images, "--out", "a.npz", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "a.npz").is_file()
    for arguments in ([], ["b.npz", "--out", "c.npz"]):
        refused = invoke("data", "prepare", images, *arguments, cwd=tmp_path)
        assert refused.returncode == 2
        assert "--out" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_deep_images_are_read_with_their_range(tmp_path: Path) -> None:
    source = tmp_path / "images"
    source.mkdir()
    pixels = np.random.default_rng(0).integers(0, 4096, (8, 8)).astype(np.uint16)
    Image.fromarray(pixels).save(source / "a.png")
    dark = invoke("data", "prepare", source, tmp_path / "a.npz")
    assert dark.returncode == 0
    assert "--range" in dark.stderr
    result = invoke("data", "prepare", source, tmp_path / "a.npz", "--range", "0,4095")
    assert result.returncode == 0
    assert "--range" not in result.stderr
    with np.load(tmp_path / "a.npz") as archive:
        assert np.array_equal(archive["images"][0, 0], np.rint(pixels * (255 / 4095)))
    for text in ("0", "a,b", "3,3", "nan,1", "0,inf"):
        assert invoke("data", "prepare", source, tmp_path / "b.npz", "--range", text).returncode == 2


def test_links_out_of_the_folder_are_followed_on_request(images: Path, tmp_path: Path) -> None:
    source = tmp_path / "links"
    source.mkdir()
    (source / "lying").symlink_to(images / "lying")
    (source / "a.png").symlink_to(images / "upright" / "1.png")
    result = invoke("data", "prepare", source, tmp_path / "a.npz")
    assert result.returncode == 2
    assert "--follow-links" in result.stderr
    result = invoke("data", "prepare", source, tmp_path / "a.npz", "--follow-links")
    assert result.returncode == 0, result.stderr
    assert "train: 37 images" in result.stderr


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images")
    os.mkfifo(tmp_path / "images.zip")
    for source in (tmp_path / "images", tmp_path / "images.zip", Path("/dev/zero")):
        result = invoke("data", "prepare", source, tmp_path / "a.npz")
        assert result.returncode == 2
        assert "neither a file nor a folder" in result.stderr


def test_shards_are_written_to_a_folder(images: Path, tmp_path: Path) -> None:
    result = invoke("data", "prepare", images, tmp_path / "shards", "--size", "16")
    assert result.returncode == 0, result.stderr
    assert "train: 72 images" in result.stderr
    assert (tmp_path / "shards" / "index.json").is_file()


@pytest.mark.parametrize("flag", ["--shape", "--fit"])
def test_oblong_images_are_padded_on_request(flag: str, tmp_path: Path) -> None:
    source = tmp_path / "images"
    source.mkdir()
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, :4] = 255  # which a centred square does not contain
    Image.fromarray(pixels).save(source / "wide.png")
    for arguments, is_padded in (([], False), ([flag, "pad"], True)):
        assert invoke("data", "prepare", source, tmp_path / "a.npz", "--size", "8", *arguments).returncode == 0
        with np.load(tmp_path / "a.npz") as archive:
            assert bool(archive[archive.files[0]].max() > 0) == is_padded
