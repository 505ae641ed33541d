"""The command ``train``."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infogan.cli.train import parse_seconds
from infogan.training import first_stage
from infogan.utils.errors import UserError
from tests.commands import invoke


def printed_config(*arguments: str) -> dict[str, Any]:
    result = invoke("train", "digits", *arguments, "--print-config")
    assert result.returncode == 0, result.stderr
    config: dict[str, Any] = json.loads(result.stdout)
    return config


def test_a_run_folder_has_every_documented_file(run: Path) -> None:
    for name in ("config.json", "environment.json", "log.txt", "stats.jsonl", "metrics.jsonl", "samples/reals.png",
                 "samples/00000008.png", "traversals/category.png", "traversals/knob1.png", "model/config.json",
                 "model/model.safetensors", "checkpoints/00000008.safetensors", "report.html"):  # fmt: skip
        assert (run / name).is_file(), name


def test_runs_are_numbered(tmp_path: Path, small: list[str]) -> None:
    for _ in range(2):
        result = invoke("train", "digits", "--recipe", "plain", *small, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["00000-digits", "00001-digits"]
    lines = result.stdout.splitlines()
    assert "model: runs/00001-digits/model" in lines
    assert "figure: runs/00001-digits/traversals/knob1.png" in lines
    assert lines[-1] == "report: runs/00001-digits/report.html"
    assert any("images, fitted" in line for line in lines)
    assert any(line.startswith("step 8/8 ") for line in result.stderr.splitlines())


def test_declared_knobs_have_their_names_in_every_output(tmp_path: Path, small: list[str]) -> None:
    command = ["train", "digits", "--recipe", "plain", *small, "--knob", "shift-x,slant=10", "--continuous", "1"]
    result = invoke(*command, "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "traversals" / "shift-x.png").is_file()
    encoded = invoke("encode", "run", "digits", "--out", "codes.csv", cwd=tmp_path)
    assert encoded.returncode == 0, encoded.stderr
    header = (tmp_path / "codes.csv").read_text().splitlines()[0].split(",")
    assert {"shift-x", "slant", "knob1"} <= set(header)
    sampled = invoke("sample", "run", "--code", "slant=-0.5", "--out", "sample.png", cwd=tmp_path)
    assert sampled.returncode == 0, sampled.stderr
    resumed = invoke(*command, "--out", "run", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.parametrize("knobs", ["slat", "rotate=x", "rotate=181", "slant,slant"])
def test_knobs_that_cannot_be_are_refused(knobs: str, tmp_path: Path) -> None:
    result = invoke("train", "digits", "--knob", knobs, "--out", "run", cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_another_configuration_for_an_existing_run_is_refused(run: Path, small: list[str]) -> None:
    before = (run / "config.json").read_bytes()
    result = invoke("train", "digits", "--out", run, *small, "--seed", "3")
    assert result.returncode == 2
    assert "train.seed was 0, now 3" in result.stderr
    assert (run / "config.json").read_bytes() == before


def test_a_name_that_is_also_a_folder_here_is_refused(images: Path, tmp_path: Path, small: list[str]) -> None:
    shutil.copytree(images, tmp_path / "digits")
    for command in (["train"], ["sweep", "--seeds", "0"], ["data", "prepare", "--out", "a.npz"]):
        result = invoke(*command, "digits", cwd=tmp_path)
        assert result.returncode == 2
        assert "./digits" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits"]
    trained = invoke("train", "./digits", "--recipe", "plain", "--out", "run", *small, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "72 images" in trained.stderr


def test_an_untrusted_run_can_be_an_error(run: Path, tmp_path: Path, small: list[str]) -> None:
    """The small run has too few steps to be trusted."""
    result = invoke("train", "digits", "--out", tmp_path / "run", *small, "--json", "--require-trust")
    assert result.returncode == 3
    assert json.loads(result.stdout)["verdict"]["trust"] is False
    assert invoke("evaluate", run, "--metrics", "trust").returncode == 0
    assert invoke("evaluate", run, "--metrics", "trust", "--require-trust").returncode == 3
    refused = invoke("evaluate", run, "--metrics", "kernel", "--require-trust")
    assert refused.returncode == 2
    assert "verdict" in refused.stderr


def test_few_images_are_trained_on_in_smaller_batches(images: Path, tmp_path: Path) -> None:
    narrow = ["--set", "networks.width=4", "--set", "networks.encoder_width=4", "--categorical", "2", "--steps", "8"]
    result = invoke("train", images, "--out", tmp_path / "run", *narrow)
    assert result.returncode == 0, result.stderr
    assert "72 images are fewer than a batch of 256" in result.stderr
    assert "fewer than 500" in result.stderr
    assert "fewer than 500" in (tmp_path / "run" / "log.txt").read_text()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["batch_size"] == 36


@pytest.mark.parametrize("kind", ["gan", "cgan"])
def test_gan_and_cgan_train_and_sample(tmp_path: Path, small: list[str], kind: str) -> None:
    result = invoke("train", "digits", "--objective", kind, "--out", tmp_path / "run", *small)
    assert result.returncode == 0, result.stderr
    assert invoke("sample", tmp_path / "run", "--out", tmp_path / "a.png").returncode == 0
    refused = invoke("encode", tmp_path / "run", "digits", "--out", tmp_path / "c.csv")
    assert refused.returncode == 2
    assert f"is a {kind}" in refused.stderr
    assert not (tmp_path / "c.csv").exists()


def test_unreadable_images_are_skipped_or_refused(images: Path, tmp_path: Path, small: list[str]) -> None:
    source = tmp_path / "images"
    source.mkdir()
    for path in images.rglob("*.png"):
        (source / path.name).write_bytes(path.read_bytes())
    (source / "broken.png").write_bytes((source / "0.png").read_bytes()[:40])
    result = invoke("train", source, "--recipe", "plain", "--out", tmp_path / "run", *small)
    assert result.returncode == 0, result.stderr
    (warning,) = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert "1 files" in warning
    assert "broken.png" in warning
    assert "broken.png" in (tmp_path / "run" / "log.txt").read_text()
    refused = invoke("train", source, "--strict", "--out", tmp_path / "strict", *small)
    assert refused.returncode == 2
    assert "broken.png" in refused.stderr


def test_a_folder_with_other_files_is_refused(tmp_path: Path, small: list[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = invoke("train", "digits", "--out", tmp_path, *small)
    assert result.returncode == 2
    assert "not a run folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_codes_replace_those_of_the_recipe_kind_by_kind() -> None:
    def codes(*flags: str) -> list[str | int]:
        return [code.get("size", code["name"]) for code in printed_config(*flags)["codes"]]

    assert codes("--categorical", "4", "--categorical", "3") == [4, 3, "knob1", "knob2"]
    assert codes("--continuous", "1") == [10, "knob1"]
    assert codes("--categorical", "4", "--continuous", "0") == [4]
    config = printed_config("--recipe", "paper", "--continuous", "3")
    assert [code["weight"] for code in config["codes"]] == [1, 1, 1, 1]  # as in the recipe


def test_options_are_layered(tmp_path: Path) -> None:
    """Assignments go on top of flags, flags on top of the file, and the file on top of the recipe."""
    file = tmp_path / "options.toml"
    file.write_text("[train]\nseed = 1\nbatch_size = 32\n[noise]\nsize = 7\n")
    config = printed_config("--config", str(file), "--seed", "2", "--steps", "9", "--set", "noise.size=8")
    train = config["train"]
    assert (train["seed"], train["batch_size"], train["steps"], config["noise"]["size"]) == (2, 32, 9, 8)
    assert train["budget"] is None  # another length replaces that of the recipe


def test_every_flag_sets_its_option() -> None:
    config = printed_config(
        *("--size", "16", "--channels", "1", "--shape", "pad", "--strict", "--seed", "4", "--precision", "fp32"),
        *("--no-compile", "--deterministic", "--augment", "shift=0.2", "--budget", "2m", "--objective", "gan"),
    )
    data, train = config["data"], config["train"]
    assert (data["source"], data["size"], data["channels"]) == ("digits", 16, 1)
    assert (data["shape"], data["strict"]) == ("pad", True)
    assert (train["seed"], train["precision"], train["compile"], train["deterministic"]) == (4, "fp32", False, True)
    assert train["budget"] == 120
    assert config["augment"] == printed_config("--augment", "shift=0.2")["augment"]
    assert config["augment"] != printed_config()["augment"]
    assert config["objective"]["kind"] == "gan"


@pytest.mark.parametrize(
    ("name", "old_name", "value", "other"),
    [
        ("--recipe", "--preset", "paper", "plain"),
        ("--augment", "--invariance", "rotate=20", "shift"),
        ("--shape", "--fit", "pad", "crop"),
        ("--images-seen", "--images", "5000", "6000"),
    ],
)
def test_old_names_of_options_still_work(name: str, old_name: str, value: str, other: str) -> None:
    config = printed_config(name, value)
    assert config != printed_config()
    assert printed_config(old_name, value) == printed_config(f"{old_name}={value}") == config
    result = invoke("train", "digits", old_name, value, name, other, "--print-config")
    assert result.returncode == 2
    assert f"{name} and {old_name}" in result.stderr


def test_a_time_is_parsed_as_seconds() -> None:
    assert [parse_seconds(text) for text in ("90s", "1.5m", "2h")] == [90, 90, 7200]
    for text in ("", "5", "-1m", "0s", "nans", "infh", "5 minutes"):
        with pytest.raises(UserError, match="--budget"):
            parse_seconds(text)


def test_categories_are_counted_once(
    countable_images: Path, tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_stage, "MIN_STEPS", 60)
    shares = [argument for stage in range(4) for argument in ("--set", f"stages.{stage}.share=1")]
    arguments: list[str | Path] = [
        "train",
        countable_images,
        "--out",
        tmp_path / "run",
        "--categorical",
        "auto",
        *small,
        *shares,
    ]
    result = invoke(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "run" / "categories.json").read_text())
    assert found["low"] <= found["best"] <= found["high"]
    assert "to count the categories" in result.stderr
    assert f"most probably {found['best']}" in result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["codes"][0]["size"] == found["high"]
    again = invoke(*arguments)  # a run that exists keeps its number
    assert again.returncode == 0, again.stderr
    assert "to count the categories" not in again.stderr
    assert "most probably" not in again.stderr
