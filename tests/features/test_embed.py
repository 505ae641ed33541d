"""Vectors of many images: nothing is computed twice, and nothing old is taken for new."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infogan.data import streamed
from infogan.features import FeatureExtractor, NamedVectors, embed
from infogan.utils.errors import UserError

SIZE = 16


class Means:
    """Computes mean colours, and counts the images that it has seen."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        self.seen += len(images)
        return np.asarray(images.mean(axis=(2, 3)))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INFOGAN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (20, 30), (number * 40, 10, 200)).save(folder / f"{number}.png")
    return folder


def embed_folder(folder: Path, means: Means, identity: str = "means", *, strict: bool = False) -> NamedVectors:
    with streamed(folder, size=SIZE, channels=3) as stream:
        return embed(stream, FeatureExtractor("means", SIZE, means, identity), strict=strict)


def test_each_image_gets_its_vector(photos: Path) -> None:
    vectors = embed_folder(photos, Means())
    assert vectors.names == [f"{number}.png" for number in range(6)]
    np.testing.assert_allclose(vectors.values[:, 0], [40 * number for number in range(6)])
    assert vectors.views is not None
    assert vectors.views.shape == (2, 6, 3)


def test_vectors_are_kept_for_the_same_weights_and_images(photos: Path) -> None:
    means = Means()
    first = embed_folder(photos, means)
    seen = means.seen
    again = embed_folder(photos, means)
    assert means.seen == seen == 6 * 3  # images, and two views of each
    assert again.values.tolist() == first.values.tolist()
    embed_folder(photos, means, "others")
    assert means.seen == 2 * seen


def test_without_an_identity_nothing_is_kept(photos: Path, tmp_path: Path) -> None:
    means = Means()
    embed_folder(photos, means, "")
    embed_folder(photos, means, "")
    assert means.seen == 2 * 6 * 3
    assert not (tmp_path / "cache" / "features").exists()


@pytest.mark.parametrize("change", ["pixels", "added", "removed"])
def test_other_images_are_computed_anew(photos: Path, change: str) -> None:
    embed_folder(photos, Means())
    if change == "removed":
        (photos / "0.png").unlink()
    else:
        Image.new("RGB", (20, 30), "white").save(photos / ("0.png" if change == "pixels" else "6.png"))
    means = Means()
    vectors = embed_folder(photos, means)
    assert means.seen == len(vectors.values) * 3
    assert vectors.names == sorted(path.name for path in photos.iterdir())
    if change == "pixels":
        assert vectors.values[0].tolist() == [255, 255, 255]


def test_an_interrupted_job_goes_on(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["infogan.features.embed"], "BLOCK", 2)

    class Interrupted(Means):
        def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
            if self.seen >= 12:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        embed_folder(photos, Interrupted())
    means = Means()
    vectors = embed_folder(photos, means)
    assert means.seen == 6
    np.testing.assert_allclose(vectors.values[:, 0], [40 * number for number in range(6)])


def test_unusable_images_are_left_out_and_named(photos: Path) -> None:
    (photos / "1.png").write_bytes(b"no image")
    vectors = embed_folder(photos, Means())
    assert vectors.names is not None
    assert "1.png" not in vectors.names
    assert len(vectors.values) == 5
    assert [line.partition(":")[0] for line in vectors.skipped] == ["1.png"]
    with pytest.raises(UserError, match=r"1\.png"):
        embed_folder(photos, Means(), strict=True)


def test_a_damaged_block_is_computed_again(photos: Path, tmp_path: Path) -> None:
    embed_folder(photos, Means())
    (block,) = (tmp_path / "cache" / "features").rglob("*.npz")
    block.write_bytes(block.read_bytes()[:100])
    with pytest.raises(UserError, match="run the same command again"):
        embed_folder(photos, Means())
    assert len(embed_folder(photos, Means()).values) == 6
