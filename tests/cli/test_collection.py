"""The commands ``duplicates``, ``outliers`` and ``similar``, and their functions."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import infogan
from infogan.api.duplicates import Copy, move_copies
from infogan.data import load
from infogan.utils.errors import UserError
from tests.commands import invoke
from tests.data.test_duplicates import cropped, scene
from tests.features.test_providers import write_onnx

SCENES = 20


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFOGAN_CACHE", str(tmp_path_factory.getbasetemp() / "collection-cache"))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder of photographs with copies of three."""
    folder = tmp_path / "album"
    (folder / "old").mkdir(parents=True)
    for seed in range(SCENES):
        scene(seed).save(folder / f"{seed:02}.png")
    shutil.copy(folder / "03.png", folder / "old" / "03-again.png")
    cropped(scene(3)).save(folder / "old" / "03-cropped.png")
    scene(5).resize((96, 96)).save(folder / "old" / "05-small.png")
    scene(8).transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((384, 384)).save(folder / "old" / "08-large.png")
    return folder


EXPECTED = [
    ("1", "03.png", "original"),
    ("1", "old/03-again.png", "exact"),
    ("1", "old/03-cropped.png", "near"),
    ("2", "05.png", "original"),
    ("2", "old/05-small.png", "near"),
    ("3", "old/08-large.png", "original"),  # the larger file
    ("3", "08.png", "mirrored"),
]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_duplicates_are_listed_by_group(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "copies.csv"
    result = invoke("duplicates", album, "--out", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{out}\n"
    rows = rows_of(out)
    assert [(row["group"], row["image"], row["kind"]) for row in rows] == EXPECTED
    assert all(0.93 <= float(row["similarity"]) <= 1 for row in rows)
    assert float(rows[1]["similarity"]) == 1
    assert "4 copies of 3 images" in result.stderr
    assert len(load(album).images) == SCENES + 4  # nothing was moved
    found = [(str(copy.group), copy.image, copy.kind) for copy in infogan.find_duplicates(album)]
    assert found == EXPECTED


def test_copies_are_moved_and_can_be_moved_back(album: Path, tmp_path: Path) -> None:
    target = album / "copies"  # inside: it is not read as part of the album afterwards
    result = invoke("duplicates", album, "--out", tmp_path / "c.csv", "--move-to", target)
    assert result.returncode == 0, result.stderr
    moved = sorted(str(path.relative_to(target)) for path in target.rglob("*.png"))
    assert moved == ["08.png", "old/03-again.png", "old/03-cropped.png", "old/05-small.png"]
    assert len(load(album).images) == SCENES
    assert infogan.find_duplicates(album) == []
    again = invoke("duplicates", album, "--out", tmp_path / "c.csv", "--move-to", target)
    assert again.returncode == 0
    assert (tmp_path / "c.csv").read_text() == "group,image,kind,similarity\n"


def test_nothing_is_moved_onto_a_file(album: Path, tmp_path: Path) -> None:
    copies = infogan.find_duplicates(album)
    (tmp_path / "bin" / "old").mkdir(parents=True)
    (tmp_path / "bin" / "old" / "05-small.png").write_bytes(b"precious")
    before = sorted(album.rglob("*"))
    result = invoke("duplicates", album, "--out", tmp_path / "c.csv", "--move-to", tmp_path / "bin")
    assert result.returncode == 2
    assert "05-small.png exists already" in result.stderr
    assert sorted(album.rglob("*")) == before
    inside = invoke("duplicates", album, "--out", tmp_path / "c.csv", "--move-to", album / "old")
    assert inside.returncode == 2
    assert "is a part of" in inside.stderr
    assert sorted(album.rglob("*")) == before
    with pytest.raises(UserError, match="files of a folder"):
        move_copies(copies, "digits", tmp_path / "other")
    missing = [Copy(1, "00.png", "original", 1.0), Copy(1, "gone.png", "exact", 1.0)]
    with pytest.raises(UserError, match=r"gone\.png is not a file"):
        move_copies(missing, album, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_same_images_of_an_array_are_exact_copies(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
    images[[17, 29]] = images[4]
    np.save(tmp_path / "images.npy", images)
    found = infogan.find_duplicates(tmp_path / "images.npy")
    assert [(copy.image, copy.kind) for copy in found] == [("4", "original"), ("17", "exact"), ("29", "exact")]
    result = invoke("duplicates", tmp_path / "images.npy", "--out", "-", "--move-to", tmp_path / "bin")
    assert result.returncode == 2
    assert "only the files of a folder can be moved" in result.stderr


def test_a_link_is_no_copy(album: Path) -> None:
    (album / "again.png").symlink_to("03.png")
    (album / "old" / "small.png").symlink_to("05-small.png")
    assert [copy.image for copy in infogan.find_duplicates(album)] == [name for _, name, _ in EXPECTED]


def test_an_archive_has_duplicates_too(album: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "album"), "zip", album)
    found = {copy.image for copy in infogan.find_duplicates(archive)}
    assert found == {name for _, name, _ in EXPECTED}


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """A pretrained encoder that sees mean colours."""
    return f"onnx:{write_onnx(tmp_path / 'means.onnx')}"


@pytest.fixture
def walls(tmp_path: Path) -> Path:
    """A folder of red images, one of which is green."""
    folder, random = tmp_path / "walls", np.random.default_rng(0)
    folder.mkdir()
    for number in range(40):
        colour = (30, 200, 40) if number == 13 else (220, 30, 30)
        pixels = np.array(colour) + random.normal(0, 12, 3) + random.normal(0, 20, (24, 24, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def test_outliers_come_first(walls: Path, encoder: str, tmp_path: Path) -> None:
    result = invoke("outliers", walls, "--features", encoder, "--out", tmp_path / "o.csv")
    assert result.returncode == 0, result.stderr
    rows = rows_of(tmp_path / "o.csv")
    assert len(rows) == 40
    assert rows[0]["image"] == "13.png"
    assert "13.png" in result.stderr
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 3 * scores[1]
    assert np.median(scores) == pytest.approx(1, abs=1e-3)
    ranked = infogan.find_outliers(walls, features=encoder)
    assert [(outlier.image, f"{outlier.score:.4f}") for outlier in ranked] == [
        (row["image"], row["score"]) for row in rows
    ]


def test_files_that_cannot_be_read_are_counted(walls: Path, run: Path, encoder: str, tmp_path: Path) -> None:
    (walls / "broken.png").write_bytes(b"no image")
    for options in (["--features", encoder], ["--run", run]):
        result = invoke("outliers", walls, *options, "--out", tmp_path / "o.csv")
        assert result.returncode == 0, result.stderr
        assert "1 files" in result.stderr and "broken.png" in result.stderr
        assert len(rows_of(tmp_path / "o.csv")) == 40


def test_outliers_by_the_features_of_a_run(run: Path, tmp_path: Path) -> None:
    images = load("digits").images
    mixed = np.concatenate([images[:200], 255 - images[200:203]])
    np.savez(tmp_path / "mixed.npz", images=mixed)
    result = invoke("outliers", tmp_path / "mixed.npz", "--run", run, "--out", tmp_path / "o.csv")
    assert result.returncode == 0, result.stderr
    assert sorted(int(row["image"]) for row in rows_of(tmp_path / "o.csv")) == [*range(203)]


def test_similar_images_of_a_run(run: Path, tmp_path: Path) -> None:
    images = load("digits")
    Image.fromarray(images.images[42, 0]).save(tmp_path / "query.png")
    result = invoke("similar", run, tmp_path / "query.png", "--count", "3", "--out", tmp_path / "s.csv")
    assert result.returncode == 0, result.stderr
    rows = rows_of(tmp_path / "s.csv")
    assert rows[0]["image"] == images.names[42]
    assert float(rows[0]["similarity"]) == pytest.approx(1, abs=1e-3)
    assert len(rows) == 3
    by_array = infogan.find_similar(run, images.images[42], count=3)
    assert [found.image for found in by_array] == [row["image"] for row in rows]
    with pytest.raises(UserError, match="one image or more"):
        infogan.find_similar(run, images.images[42], count=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["duplicates", "nowhere"], ["nowhere"]),
        (["duplicates", "digits", "--split", "half"], ["half"]),
        (["outliers", "digits", "--features", "lite9"], ["lite9"]),
        (["outliers", "digits", "--run", "nowhere"], ["nowhere"]),
        (["similar", "RUN", "nowhere.png"], ["nowhere.png", "not a file"]),
        (["duplicates", "digits", "--out", "RUN"], ["a folder"]),
        (["outliers", "digits", "--out", "RUN"], ["a folder"]),
        (["similar", "RUN", "RUN/config.json"], ["cannot be used"]),
        (["similar", "nowhere", "RUN/config.json"], ["nowhere"]),
    ],
)
def test_bad_input_is_one_sentence(run: Path, arguments: list[str], words: list[str]) -> None:
    out = [] if "--out" in arguments else ["--out", "-"]
    result = invoke(*(argument.replace("RUN", str(run)) for argument in arguments), *out)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert all(word in line for word in words)
