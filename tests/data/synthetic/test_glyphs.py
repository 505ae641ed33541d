"""Glyphs show what their factors state, and unusable fonts are left out."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import features

from infogan.data import load
from infogan.data.synthetic import glyphs
from infogan.utils.errors import UserError

Letters = list[NDArray[np.bool_]]


@pytest.fixture(scope="module")
def capitals() -> NDArray[np.uint8]:
    """All images of Pillow's font, (letters, weights, slants, heights, 32, 32)."""
    (face,) = glyphs.find_faces([])
    images = np.stack([glyphs._draw_variants(letter, face, 32) for letter in glyphs.LETTERS])
    return images.reshape(26, len(glyphs.WEIGHTS), len(glyphs.SLANTS), len(glyphs.HEIGHTS), 32, 32)


def test_images_are_in_the_order_of_the_grid(capitals: NDArray[np.uint8]) -> None:
    faces = glyphs.find_faces([])
    images = np.concatenate(list(glyphs.draw(faces, 32)))
    grid = glyphs.grid(faces)
    assert len(images) == len(grid) == 26 * 3 * 5 * 4 and grid.names == ("letter", "font", "weight", "slant", "size")
    for number in range(0, len(grid), 37):
        letter, _, weight, slant, size = grid.values(np.array([number]))[0]
        np.testing.assert_array_equal(images[number, 0], capitals[letter, weight, slant, size])
    assert len({image.tobytes() for image in images}) == len(images)


def test_weight_size_and_slant_have_their_effect(capitals: NDArray[np.uint8]) -> None:
    ink = capitals.astype(float).sum(axis=(4, 5)) / 255
    assert (np.diff(ink, axis=1) > 1).all()  # heavier, for every letter, slant and size
    assert (np.diff(ink, axis=3) > 1).all()  # larger
    np.testing.assert_allclose(ink, ink[:, :, [2]].repeat(5, axis=2), rtol=0.02)  # a shear keeps the area
    upright_h = capitals[glyphs.LETTERS.index("H"), 0, 2].astype(float)
    for image, height in zip(upright_h, glyphs.HEIGHTS, strict=True):
        assert image.sum(axis=0).max() / 255 == pytest.approx(32 * height, abs=1)
    rows, columns = np.mgrid[:32, :32] - 15.5
    for j, degrees in enumerate(glyphs.SLANTS):
        bar = capitals[glyphs.LETTERS.index("I"), 1, j, 3].astype(float)
        # The regression of columns on rows: a bar that leans to the right is further right at the top.
        slope = -(bar * rows * columns).sum() / (bar * rows**2).sum()
        assert slope == pytest.approx(math.tan(math.radians(degrees)), abs=0.03)


def test_letters_are_complete_and_centred(capitals: NDArray[np.uint8]) -> None:
    assert not capitals[..., [0, -1], :].any() and not capitals[..., [0, -1]].any()
    for mask in capitals[:, 0, 2, 3] > 127:
        for axis in (0, 1):
            ink = np.flatnonzero(mask.any(axis=axis))
            assert abs((ink[0] + ink[-1]) / 2 - 15.5) <= 1


def test_unusable_font_files_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_only = glyphs.find_faces([])
    assert [face.name for face in pillow_only] == ["Aileron"] and pillow_only[0].source is None
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0" + b"\xff" * 5000)
    (tmp_path / "empty.ttf").write_bytes(b"")
    (tmp_path / "folder.ttf").mkdir()
    (tmp_path / "large.ttf").write_bytes(b"x")
    os.truncate(tmp_path / "large.ttf", glyphs.MAX_FONT_BYTES + 1)
    load_font = glyphs._load_font
    opened: list[str] = []

    def record(source: Path | None, size: float) -> Any:
        opened.append("" if source is None else source.name)
        return load_font(source, size)

    monkeypatch.setattr(glyphs, "_load_font", record)
    assert glyphs.find_faces(sorted(tmp_path.iterdir())) == pillow_only
    assert {name for name in opened if name} == {"broken.ttf"}
    monkeypatch.setattr(glyphs, "MAX_FONT_FILES", 3)
    opened.clear()
    glyphs.find_faces(tmp_path / "broken.ttf" for _ in range(100))
    assert opened.count("broken.ttf") == 3


def wider(letters: Letters) -> Letters:
    return [np.repeat(letter, 2, axis=1) for letter in letters]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (wider, ["own", "other"]),
        (lambda letters: letters, ["own"]),  # the same font under another name
        (lambda letters: wider(letters)[7:] + wider(letters)[:7], ["own"]),  # A looks like H
        (lambda letters: [letters[0], *wider(letters)[1:]], ["own"]),  # the A is the same
    ],
    ids=["usable", "equal", "rotated", "shared letter"],
)
def test_font_must_have_its_own_recognizable_letters(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Letters], Letters], names: list[str]
) -> None:
    load_letters = glyphs._load_letters

    def load_changed(source: Path | None) -> Letters:
        letters = load_letters(None)
        assert letters is not None
        return letters if source is None else change(letters)

    def make_face(source: Path | None, letters: Letters) -> glyphs.Face:
        return glyphs.Face("own" if source is None else "other", source, 1.0, "")

    monkeypatch.setattr(glyphs, "_load_letters", load_changed)
    monkeypatch.setattr(glyphs, "_make_face", make_face)
    assert [face.name for face in glyphs.find_faces([Path("x.ttf")])] == names


def test_missing_freetype_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(UserError, match="pip install --force-reinstall pillow"):
        load("glyphs")


def test_other_fonts_have_another_version(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "find_font_files", lambda: iter(()))
    version = glyphs.rendering(cache).version
    with monkeypatch.context() as patch:
        patch.setattr(glyphs, "_make_face", lambda source, letters: glyphs.Face("a", None, 1.0, "other letters"))
        assert glyphs.rendering(cache).version != version
    assert glyphs.rendering(cache).version == version


def test_set_loads_at_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "find_font_files", lambda: iter(()))
    test = load("glyphs", split="test", size=24)
    assert test.images.shape == (156, 1, 24, 24) and test.factors is not None
    assert test.factors.value_names[1] == ("Aileron",) and test.label_names == tuple(glyphs.LETTERS)
