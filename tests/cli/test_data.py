"""The commands ``data list``, ``data fetch`` and ``data prepare``."""

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
