"""The command line as a person uses it: real processes, real files, exit codes."""

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infogan.models.infogan import InfoGAN
from tests.commands import infogan
from tests.helpers import pictures

SMALL = ["--set", "networks.width=4", "--set", "train.batch_size=16", "--steps", "8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    done = infogan("train", "digits", "--out", folder, *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["run"] == str(folder)
    assert {"accuracy", "purity", "nmi", "ari", "information", "entropy", "protocol"} <= result.keys()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for index, picture in enumerate(pictures(72)):
        kind = root / ("upright" if index % 2 else "lying")
        kind.mkdir(exist_ok=True)
        Image.fromarray(picture[0]).save(kind / f"{index}.png")
    return root


def test_help_names_every_command() -> None:
    done = infogan("--help")
    assert done.returncode == 0
    for command in ("train", "sample", "traverse", "encode", "evaluate", "name", "info", "data"):
        assert command in done.stdout


def test_a_run_folder_tells_all_of_itself(run: Path) -> None:
    for name in ("config.json", "environment.json", "log.txt", "stats.jsonl", "metrics.jsonl", "samples/reals.png",
                 "samples/00000008.png", "traversals/category.png", "traversals/knob1.png", "model/config.json",
                 "model/model.safetensors", "checkpoints/00000008.safetensors"):  # fmt: skip
        assert (run / name).is_file(), name


def test_runs_are_numbered_and_never_overwritten(tmp_path: Path) -> None:
    for _ in range(2):
        assert infogan("train", "digits", *SMALL, cwd=tmp_path).returncode == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["00000-digits", "00001-digits"]


def test_another_configuration_for_an_existing_run_is_refused_and_named(run: Path) -> None:
    before = (run / "config.json").read_bytes()
    done = infogan("train", "digits", "--out", run, *SMALL, "--seed", "3")
    assert done.returncode == 2
    assert "train.seed was 0, now 3" in done.stderr
    assert (run / "config.json").read_bytes() == before


def test_codes_come_as_csv_with_the_stated_header_and_order(run: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "codes.csv"
    done = infogan("encode", run, folder, "--out", out, "--sort-into", tmp_path / "sorted")
    assert done.returncode == 0, done.stderr
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert out.read_text().splitlines()[0] == "image,category,category_probability,knob1,knob2,entropy"
    assert len(rows) == 72
    assert rows[0]["image"] == "lying/0.png"
    assert all(0 <= float(row["category_probability"]) <= 1 for row in rows)
    assert sum(len(list(kind.iterdir())) for kind in (tmp_path / "sorted").iterdir()) == 72
    for row in rows:
        filed = tmp_path / "sorted" / row["category"] / row["image"].replace("/", "_")
        assert filed.read_bytes() == (folder / row["image"]).read_bytes()


def test_a_named_set_is_encoded_by_split_and_index(run: Path, tmp_path: Path) -> None:
    assert infogan("encode", run, "digits", "--split", "test", "--out", tmp_path / "c.csv").returncode == 0
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert len(lines) == 361
    assert [line.split(",")[0] for line in lines[1:4]] == ["0", "1", "2"]


def test_samples_are_written_as_array_grid_or_files(run: Path, tmp_path: Path) -> None:
    done = infogan("sample", run, "--count", "5", "--seed", "2", "--code", "category=3", "--out", tmp_path / "s.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "s.npz", allow_pickle=False) as archive:
        assert archive["images"].shape == (5, 1, 8, 8)
        assert archive["images"].dtype == np.uint8
        assert archive["category"].tolist() == [3] * 5
        assert archive["knob1"].shape == (5,)
        first = archive["images"][0, 0].copy()
    infogan("sample", run, "--count", "5", "--seed", "2", "--code", "category=3", "--out", tmp_path / "files")
    with Image.open(tmp_path / "files" / "0.png") as single:
        assert np.array_equal(np.asarray(single), first)
    assert len(list((tmp_path / "files").iterdir())) == 5
    assert infogan("sample", run, "--out", tmp_path / "grid.png").returncode == 0
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > 100


def test_seeds_draw_an_image_each(run: Path, tmp_path: Path) -> None:
    assert infogan("sample", run, "--seeds", "2,5-6", "--out", tmp_path / "files").returncode == 0
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == ["seed2.png", "seed5.png", "seed6.png"]
    first = InfoGAN.load(run).sample(3, seed=5).images[0, 0]
    with Image.open(tmp_path / "files" / "seed5.png") as single:
        assert np.array_equal(np.asarray(single), first)
    wrong = infogan("sample", run, "--seeds", "5-2", "--out", tmp_path / "x")
    assert (wrong.returncode, wrong.stderr) == (2, "error: --seeds '5-2' is not of the form 0-9 or 1,4\n")


def test_names_serve_in_sample_and_encode(run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in (run / "model").iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    names = [f"{value}=kind{value}" for value in range(10)]
    assert infogan("name", model, *names).returncode == 0
    assert infogan("sample", model, "--code", "category=kind4", "--out", tmp_path / "a.npz").returncode == 0
    infogan("encode", model, "digits", "--out", tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text().splitlines()[1].split(",")[1].startswith("kind")
    assert infogan("name", model, "--labels-of", "digits").returncode == 0
    renamed = infogan("name", model, "--rename", "category=digit", "--rename", "knob1=slant")
    assert renamed.stdout.splitlines() == ["category: digit", "knob1: slant"]
    held = ["--code", "digit=4", "--code", "slant=1"]
    assert infogan("sample", model, *held, "--out", tmp_path / "b.npz").returncode == 0
    infogan("encode", model, "digits", "--out", tmp_path / "d.csv")
    assert (tmp_path / "d.csv").read_text().startswith("image,digit,digit_probability,slant,")
    assert infogan("name", model, "--rename", "digit=a=b").returncode == 2


def test_traversals_are_sheets_and_animations(run: Path, tmp_path: Path) -> None:
    done = infogan("traverse", run, "--vary", "knob1", "--gif", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["knob1.gif", "knob1.png"]
    with Image.open(tmp_path / "knob1.gif") as animation:
        assert getattr(animation, "n_frames", 1) > 10


def test_evaluate_and_info_print_one_json_object(run: Path) -> None:
    done = infogan("evaluate", run, "--metrics", "clusters", "--json")
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads(done.stdout)["accuracy"] <= 1
    facts = json.loads(infogan("info", run, "--json").stdout)
    assert facts["steps_done"] == 8
    assert facts["image"] == [1, 8, 8]
    assert infogan("info", run / "model").returncode == 0


@pytest.mark.parametrize("kind", ["gan", "cgan"])
def test_the_predecessors_train_and_draw(tmp_path: Path, kind: str) -> None:
    done = infogan("train", "digits", "--objective", kind, "--out", tmp_path / "run", *SMALL)
    assert done.returncode == 0, done.stderr
    assert infogan("sample", tmp_path / "run", "--out", tmp_path / "a.png").returncode == 0
    refused = infogan("encode", tmp_path / "run", "digits", "--out", tmp_path / "c.csv")
    assert refused.returncode == 2
    assert f"this is a {kind}" in refused.stderr
    assert not (tmp_path / "c.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "mnits"], ["mnits", "mnist"]),
        (["train"], ["no images are named"]),
        (["train", "digits", "--preset", "papr-mnist"], ["papr-mnist", "paper-mnist"]),
        (["train", "digits", "--set", "train.stps=3"], ["train.stps", "train.steps"]),
        (["train", "digits", "--categorical", "1"], ["codes.0.size"]),
        (["train", "digits", "--categorical", "many"], ["many", "auto"]),
        (["train", "digits", "--categorical", "auto", "--preset", "plain"], ["only a recipe whose encoder learns"]),
        (["train", "digits", "--categorical", "auto", "--print-config"], ["is found in training"]),
        (["train", "digits", "--device", "quantum"], ["quantum"]),
        (["train", "digits", "--config", "none.toml"], ["none.toml"]),
        (["train", "digits", "--set", "train.batch_size=5000"], ["1437 usable images", "20000", "batch_size=359"]),
        (["train", "digits", "--preset", "paper-mnist", "--size", "30"], ["multiple of 4", "30"]),
        (["train", "digits", "--invariance", "rotat"], ["rotat", "rotate"]),
        (["train", "digits", "--invariance", "none"], ["no invariance says"]),
        (["train", "digits", "--budget", "soon"], ["soon", "5m"]),
        (["train", "digits", "--budget", "1s"], ["1 s is too short", "above"]),
        (["train", "digits", "--budget", "5m", "--steps", "3"], ["given twice"]),
        (["sample", "nowhere"], ["nowhere", "model"]),
        (["evaluate", "nowhere"], ["nowhere", "not a run folder"]),
        (["data", "fetch", "mnits"], ["mnits", "mnist"]),
        (["sample"], ["run"]),
        (["trian"], ["trian"]),
    ],
)
def test_mistakes_are_one_clear_message_and_exit_code_2(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    done = infogan(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.replace("RUN", "run")  # as older versions of typer call an argument
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_metric_is_answered_with_the_nearest(run: Path) -> None:
    done = infogan("evaluate", run, "--metrics", "cluster")
    assert done.returncode == 2
    assert "'clusters'" in done.stderr


def test_unreadable_images_are_skipped_and_named_or_refused(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "pictures"
    broken.mkdir()
    for path in folder.rglob("*.png"):
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "broken.png").write_bytes((broken / "0.png").read_bytes()[:40])
    done = infogan("train", broken, "--out", tmp_path / "run", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "skipped broken.png" in done.stderr
    assert "broken.png" in (tmp_path / "run" / "log.txt").read_text()
    refused = infogan("train", broken, "--strict", "--out", tmp_path / "strict", *SMALL)
    assert refused.returncode == 2
    assert "broken.png" in refused.stderr


def test_a_foreign_folder_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = infogan("train", "digits", "--out", tmp_path, *SMALL)
    assert done.returncode == 2
    assert "not a run folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_codes_that_no_flag_speaks_of_stay_as_the_preset_has_them() -> None:
    def codes(*flags: str) -> list[str | int]:
        done = infogan("train", "digits", *flags, "--print-config")
        assert done.returncode == 0, done.stderr
        return [code.get("size", code["name"]) for code in json.loads(done.stdout)["codes"]]

    assert codes("--categorical", "4", "--categorical", "3") == [4, 3, "knob1", "knob2"]
    assert codes("--continuous", "1") == [10, "knob1"]
    assert codes("--categorical", "4", "--continuous", "0") == [4]
    done = infogan("train", "digits", "--preset", "paper", "--continuous", "3", "--print-config")
    assert [code["weight"] for code in json.loads(done.stdout)["codes"]] == [1, 1, 1, 1], "knobs are the preset's"


def test_categories_are_counted_and_the_run_keeps_their_number(folder: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = [
        "train",
        folder,
        "--out",
        tmp_path / "run",
        "--categorical",
        "auto",
        "--size",
        "16",
        *SMALL,
    ]
    done = infogan(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "categories.json").read_text())
    assert found["best"] in found["counts"]
    assert f"{found['best']} categories were found" in done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["codes"][0]["size"] == found["best"]
    again = infogan(*arguments)  # a run that is there is not counted again
    assert again.returncode == 0, again.stderr
    assert "categories were found" not in again.stderr


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(run: Path) -> None:
    done = infogan("sample", run, "--out", "/dev/full/samples.npz")
    assert done.returncode == 2
    assert "cannot write /dev/full/samples.npz" in done.stderr


def _can_mount() -> bool:
    """Whether this user may mount a file system in a namespace that is gone with the process."""
    if not shutil.which("unshare"):
        return False
    tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return tried.returncode == 0


CAN_MOUNT = _can_mount()


@pytest.mark.skipif(not CAN_MOUNT, reason="needs a kernel that lets users mount a tmpfs")
def test_a_disk_that_fills_up_during_training_loses_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    command = shlex.join([sys.executable, "-m", "infogan", "train", "digits", "--out", str(small / "run"), *SMALL,
                          "--set", "train.save_every=2"])  # fmt: skip
    script = f"""
        mount -t tmpfs -o size=3600k none {small} || exit 99
        {command}; echo full $?
        find {small} -name '.*' -type f
        ls {small}/run/checkpoints
        mount -o remount,size=64m {small} || exit 99
        {command}; echo more room $?
    """
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    full = done.stdout.splitlines()
    at = full.index("full 2")
    # The checkpoint that did not fit left no half of itself, and the one before is there to go on from.
    assert re.fullmatch(r"0000000[246]\.safetensors", full[at + 1])
    assert "more room 0" in full
    assert "00000008.safetensors" not in full[: full.index("more room 0")]


@pytest.mark.skipif(not CAN_MOUNT, reason="needs a kernel that lets users mount a tmpfs")
def test_a_read_only_output_is_one_sentence(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    infogan_ = shlex.join([sys.executable, "-m", "infogan"])
    script = f"""
        mount -t tmpfs -o ro none {place} || exit 99
        {infogan_} train digits --out {place}/run {shlex.join(SMALL)}; echo train $?
        {infogan_} sample {run} --out {place}/a.npz; echo sample $?
        {infogan_} encode {run} digits --out {place}/a.csv; echo encode $?
        {infogan_} traverse {run} --out {place}/sheets; echo traverse $?
    """
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:-1] == ["train 2", "sample 2", "encode 2", "traverse 2"]
    assert done.stderr.count("Read-only file system") == 4
    assert "Traceback" not in done.stderr


def test_a_source_is_prepared_once_and_trained_from(folder: Path, tmp_path: Path) -> None:
    done = infogan("data", "prepare", folder, tmp_path / "bars.npz")
    assert done.returncode == 0, done.stderr
    trained = infogan("train", tmp_path / "bars.npz", "--out", tmp_path / "run", *SMALL)
    assert trained.returncode == 0, trained.stderr
    assert "digits" in infogan("data", "list").stdout
