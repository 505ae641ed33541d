"""The commands ``sample``, ``traverse`` and ``encode``."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from infogan.data.preprocess import render
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError
from tests.commands import Command, invoke
from tests.helpers import bar_images, small_model


def test_samples_are_an_array_files_or_a_grid(run: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = ["sample", run, "--count", "5", "--seed", "2", "--code", "category=3", "--out"]
    result = invoke(*arguments, tmp_path / "s.npz")
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "s.npz", allow_pickle=False) as archive:
        assert archive["images"].shape == (5, 1, 8, 8)
        assert archive["images"].dtype == np.uint8
        assert archive["category"].tolist() == [3] * 5
        assert archive["knob1"].shape == (5,)
        first = archive["images"][0, 0].copy()
    assert invoke(*arguments, tmp_path / "files").stdout == f"5 images in {tmp_path / 'files'}\n"
    with Image.open(tmp_path / "files" / "0.png") as single:
        assert np.array_equal(np.asarray(single), first)
    assert len(list((tmp_path / "files").glob("[0-9].png"))) == 5
    assert invoke("sample", run, "--out", tmp_path / "grid.png").returncode == 0
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > 100


def test_seeds_give_one_image_each(run: Path, tmp_path: Path) -> None:
    assert invoke("sample", run, "--seeds", "2,5-6", "--out", tmp_path / "files").returncode == 0
    assert sorted(path.name for path in (tmp_path / "files").glob("*.png")) == ["seed2.png", "seed5.png", "seed6.png"]
    first = InfoGAN.load(run).sample(3, seed=5).images[0, 0]
    with Image.open(tmp_path / "files" / "seed5.png") as single:
        assert np.array_equal(np.asarray(single), first)


def test_a_fixed_code_needs_a_value(run: Path, tmp_path: Path) -> None:
    for code in ("category", "colour=1"):
        result = invoke("sample", run, "--code", code, "--out", tmp_path / "a.png")
        assert result.returncode == 2
        assert code.partition("=")[0] in result.stderr


def test_traversals_are_figures_and_animations(run: Path, tmp_path: Path) -> None:
    result = invoke("traverse", run, "--vary", "knob1", "--gif", "--rows", "2", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(tmp_path / "knob1.png"), str(tmp_path / "knob1.gif")]
    with Image.open(tmp_path / "knob1.gif") as animation:
        assert getattr(animation, "n_frames", 1) > 10
    invoke("traverse", run, "--rows", "1", "--out", tmp_path / "all")
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        ".infogan",
        "category.png",
        "knob1.png",
        "knob2.png",
    ]


def test_codes_are_a_csv_file_and_images_are_sorted(run: Path, images: Path, tmp_path: Path) -> None:
    out, target = tmp_path / "codes.csv", tmp_path / "sorted"
    result = invoke("encode", run, images, "--out", out, "--sort-into", target)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(out), *(str(target / str(value)) for value in range(10))]
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    header = "image,category,category_probability,knob1,knob2,entropy,category_number,source"
    assert out.read_text().splitlines()[0] == header
    assert len(rows) == 72
    assert rows[0]["image"] == "lying/0.png"
    assert all(0 <= float(row["category_probability"]) <= 1 for row in rows)
    assert sum(len(list(folder.iterdir())) for folder in target.iterdir()) == 72
    for row in rows:
        copy = target / row["category"] / row["image"].replace("/", "_")
        assert copy.read_bytes() == (images / row["image"]).read_bytes()


def test_a_named_data_set_is_encoded_by_split_and_index(run: Path, tmp_path: Path) -> None:
    assert invoke("encode", run, "digits", "--split", "test", "--out", tmp_path / "c.csv").returncode == 0
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert len(lines) == 361
    assert [line.split(",")[0] for line in lines[1:4]] == ["0", "1", "2"]


def test_images_are_read_like_those_of_the_training(tmp_path: Path) -> None:
    """In a model's shape and range of values, unless another range is given."""
    model = small_model(data={"shape": "pad", "value_range": (0, 4095)})
    model.save(tmp_path / "model")
    (tmp_path / "images").mkdir()
    scans = np.random.default_rng(0).integers(0, 4096, (5, 20, 12)).astype(np.uint16)
    for number, scan in enumerate(scans):
        Image.fromarray(scan).save(tmp_path / "images" / f"{number}.png")

    def knobs(*options: str) -> list[float]:
        result = invoke("encode", tmp_path / "model", tmp_path / "images", *options, "--out", tmp_path / "a.csv")
        assert result.returncode == 0, result.stderr
        with open(tmp_path / "a.csv") as file:
            return [float(row["knob1"]) for row in csv.DictReader(file)]

    def expected(shape: str, white: int) -> list[float]:
        images = np.stack([render(scan[None], 8, 1, shape, (0, white)) for scan in scans])
        knob: list[float] = model.encode(images).codes["knob1"].tolist()
        return knob

    assert knobs() == pytest.approx(expected("pad", 4095), abs=1e-4)
    assert knobs("--range", "0,9999") == pytest.approx(expected("pad", 9999), abs=1e-4)
    assert model.encode(tmp_path / "images").codes["knob1"].tolist() == pytest.approx(expected("pad", 4095), abs=1e-4)
    assert np.abs(np.subtract(expected("pad", 4095), expected("crop", 4095))).max() > 1e-3


def test_images_of_many_channels_are_sampled_sorted_and_encoded_again(tmp_path: Path) -> None:
    model = small_model(channels=5, data={"bands": (5, 1, 2)})
    model.save(tmp_path / "model")
    np.save(tmp_path / "images.npy", model.sample(12, seed=3).images.transpose(0, 2, 3, 1))
    folder, rows = tmp_path / "sorted", []
    for source in (tmp_path / "images.npy", folder):
        options: list[str | Path] = ["--sort-into", folder] if source != folder else []
        result = invoke("encode", tmp_path / "model", source, "--out", tmp_path / "a.csv", *options)
        assert result.returncode == 0, result.stderr
        with open(tmp_path / "a.csv") as file:
            rows.append({Path(row.pop("image")).stem: row for row in csv.DictReader(file)})
    assert len(rows[0]) == 12
    assert rows[0] == rows[1]
    assert invoke("sample", tmp_path / "model", "--out", tmp_path / "a.png", "--count", "1").returncode == 0
    with Image.open(tmp_path / "a.png") as image:
        shown = np.asarray(image)[2:-2, 2:-2][::8, ::8].transpose(2, 0, 1)
    np.testing.assert_array_equal(shown, model.sample(1).images[0][[4, 0, 1]])


def test_figures_of_codes_do_not_replace_one_another(tmp_path: Path) -> None:
    names = ["Knob", "knob", "a:b", "a?b", "nul", "\U0001f600" * 64]
    small_model(codes=[{"kind": "continuous", "name": name} for name in names]).save(tmp_path / "model")
    arguments: list[str | Path] = ["traverse", tmp_path / "model", "--rows", "1"]
    result = invoke(*arguments, "--out", tmp_path / "all")
    assert result.returncode == 0, result.stderr
    figures = sorted(path.name for path in (tmp_path / "all").glob("*.png"))
    assert len({name.lower() for name in figures}) == len(names)
    assert {"Knob.png", "a_b.png"} < {*figures}
    # The same names if only some of the codes vary.
    assert invoke(*arguments, "--vary", "knob", "--vary", "a?b", "--out", tmp_path / "some").returncode == 0
    assert {path.name for path in (tmp_path / "some").glob("*.png")} < {*figures} - {"Knob.png", "a_b.png"}


# What is replaced.


def test_codes_do_not_replace_the_images(run: Path, tmp_path: Path) -> None:
    source = tmp_path / "images.npy"
    np.save(source, bar_images(3))
    content = source.read_bytes()
    (tmp_path / "link.csv").symlink_to(source)
    for out in (source, tmp_path / "link.csv"):
        result = invoke("encode", run, source, "--out", out)
        assert result.returncode == 2
        assert "is the file of the images" in result.stderr
    assert source.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "replaced"),
    [
        (["sample", "RUN"], "samples.png"),
        (["sample", "RUN", "--out", "a.npz"], "a.npz"),
        (["sample", "RUN", "--count", "3", "--out", "files"], "3 files in files"),
        (["traverse", "RUN", "--rows", "1"], "3 files in traversals"),
        (["traverse", "RUN", "--rows", "1", "--vary", "knob1"], f"traversals{os.sep}knob1.png"),
        (["traverse", "RUN", "--rows", "1", "--vary", "knob1", "--gif"], "2 files in traversals"),
        (["encode", "RUN", "IMAGES"], "codes.csv"),
        (["encode", "RUN", "IMAGES", "--out", "codes.csv"], "codes.csv"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_results_that_are_replaced_are_reported(
    arguments: list[str], replaced: str, run: Path, images: Path, tmp_path: Path
) -> None:
    places = {"RUN": run, "IMAGES": images}
    words = [places.get(word, word) for word in arguments]
    first, second = (invoke(*words, cwd=tmp_path) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert "replaced" not in first.stderr
    assert [line for line in second.stderr.splitlines() if "replaced" in line] == [f"replaced {replaced}"]
    assert first.stdout == second.stdout


# Standard output, pipes and devices.


def is_png(content: bytes) -> bool:
    return content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB\x60\x82")


@pytest.mark.parametrize("out", ["-", "/dev/stdout"])
def test_standard_output_gets_the_result_and_nothing_else(out: str, run: Path, images: Path, tmp_path: Path) -> None:
    if out != "-" and not Path(out).exists():
        pytest.skip("this platform has no /dev/stdout")
    drawn = Command("sample", run, "--out", out, cwd=tmp_path).wait_for_bytes()
    assert drawn.returncode == 0, drawn.stderr
    assert is_png(drawn.stdout)
    words: list[str | Path] = ["encode", run, images, "--out", out, "--sort-into", "sorted"]
    coded = Command(*words, cwd=tmp_path).wait_for_bytes()
    assert coded.returncode == 0, coded.stderr
    header, *rows = coded.stdout.decode().splitlines()
    assert header.startswith("image,category,")
    assert len(rows) == 72
    assert b"sorted/3" in coded.stderr  # the folders
    assert b"replaced" not in coded.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sorted"]


def test_a_reader_that_has_enough_ends_the_command_quietly(run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infogan", "sample", str(run), "--out", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="this platform has no /dev/null")
def test_devices_are_written_to(run: Path, images: Path) -> None:
    commands: list[list[str | Path]] = [["sample", run], ["encode", run, images]]
    for words in commands:
        result = invoke(*words, "--out", "/dev/null")
        assert (result.returncode, result.stdout) == (0, "/dev/null\n"), result.stderr
        assert "replaced" not in result.stderr
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("out", ["-", "/dev/null"])
def test_figures_need_a_folder(out: str, run: Path) -> None:
    result = invoke("traverse", run, "--out", out)
    assert result.returncode == 2
    assert "folder" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode on this platform")
@pytest.mark.parametrize(
    ("command", "out", "printed"),
    [
        (["sample", "RUN"], "a.png", "OUT"),
        (["sample", "RUN", "--count", "2"], "files", "2 images in OUT"),
        (["traverse", "RUN", "--vary", "knob1", "--rows", "1"], "figures", "OUT/knob1.png"),
        (["encode", "RUN", "IMAGES"], "c.csv", "OUT"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_paths_that_are_not_utf_8_are_printed_as_they_are(
    command: list[str], out: str, printed: str, run: Path, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(images, folder / "images")
    (folder / "images" / "lying" / os.fsdecode(b"\xff.png")).write_bytes(b"broken")
    places = {"RUN": str(run), "IMAGES": str(folder / "images")}
    result = Command(*(places.get(word, word) for word in command), "--out", str(folder / out)).wait_for_bytes()
    assert result.returncode == 0, result.stderr
    assert result.stdout == printed.encode().replace(b"OUT", os.fsencode(folder / out)) + b"\n"


def test_images_that_are_left_out_are_counted_or_refused(run: Path, images: Path, tmp_path: Path) -> None:
    source = tmp_path / "images"
    shutil.copytree(images, source)
    (source / "photo.dng").write_bytes(b"x")
    (source / "lying" / "broken.png").write_bytes(b"x")
    refused = invoke("encode", run, source, "--out", tmp_path / "a.csv", "--strict")
    assert refused.returncode == 2
    assert "2 files" in refused.stderr
    assert not (tmp_path / "a.csv").exists()
    result = invoke("encode", run, source, "--out", tmp_path / "a.csv")
    assert result.returncode == 0
    assert "2 files are left out" in result.stderr
    assert "skipped lying/broken.png: " in result.stderr
    assert "skipped photo.dng: " in result.stderr
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 73


def test_images_that_changed_meanwhile_are_encoded_again(run: Path, images: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "images", tmp_path / "a.csv"
    shutil.copytree(images, source)
    assert invoke("encode", run, source, "--out", out).returncode == 0
    expected = out.read_text()
    out.unlink()
    with mock.patch("infogan.api.encode._write_csv", side_effect=UserError("stopped")):
        assert invoke("encode", run, source, "--out", out).returncode == 2
    resumed = invoke("encode", run, source, "--out", out)
    assert "have changed" not in resumed.stderr
    assert out.read_text() == expected
    with mock.patch("infogan.api.encode._write_csv", side_effect=UserError("stopped")):
        assert invoke("encode", run, source, "--out", out).returncode == 2
    first, second = source / "lying" / "0.png", source / "upright" / "1.png"  # the same names, with other content
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    again = invoke("encode", run, source, "--out", out)
    assert again.returncode == 0
    assert "have changed" in again.stderr
    assert out.read_text() != expected
