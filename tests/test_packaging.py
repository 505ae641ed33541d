"""The wheel, as somebody installs it who has nothing of the repository."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import torch

import infogan
from tests import ROOT

MEGABYTE = 10**6


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, where libraries are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = str(programs / "python")
    words = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([python, "-m", "pip", *words], check=True)
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    # Behind the environment's own packages, so that infogan is the wheel's.
    (site / "others.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), str(Path(torch.__file__).parent.parent)})
    )
    return programs


def test_the_wheel_is_small_and_has_all_that_is_needed_and_nothing_else(wheel: Path) -> None:
    assert wheel.stat().st_size < MEGABYTE
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = HeaderParser().parsestr(archive.read(metadata).decode())
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "infogan").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {"infogan/py.typed", "infogan/static/report.html", "infogan/export/static/site.js"} <= expected
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert told["Name"] == "infogan"
    assert told["Version"] == infogan.__version__
    assert told["Requires-Python"] == ">=3.11"
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(told.get_all("Provides-Extra", [])) == set(options)


def test_an_installed_wheel_trains_and_draws_without_the_repository(installed: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def ran(*words: str) -> str:
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    program, python = str(installed / "infogan"), str(installed / "python")
    where = ran(python, "-c", "import infogan; print(infogan.__file__)").strip()
    assert Path(where).is_relative_to(installed.parent)
    assert "train" in ran(program, "--help")
    small = ["--recipe", "plain", "--steps", "4", "--set", "networks.width=4", "--set", "train.batch_size=16"]
    ran(program, "train", "digits", *small, "--out", "run")
    assert (tmp_path / "run" / "report.html").is_file()
    ran(python, "-m", "infogan", "sample", "run", "--out", "samples.png")
    assert (tmp_path / "samples.png").is_file()


def test_a_shell_completes_commands_and_options(installed: Path) -> None:
    def completed(line: str) -> set[str]:
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_INFOGAN_COMPLETE": "complete_bash"}
        environment = {**os.environ, **asked}
        done = subprocess.run([installed / "infogan"], env=environment, capture_output=True, text=True)
        return set(done.stdout.split())

    assert {"train", "traverse"} <= completed("infogan tra")
    assert "--categorical" in completed("infogan train --ca")
    # Within a shell, which is what it finds out; no other may be among the ancestors of this process.
    within = ["bash", "-c", '"$0" --show-completion && true', str(installed / "infogan")]
    script = subprocess.run(within, capture_output=True, text=True, check=True).stdout
    assert "_INFOGAN_COMPLETE=complete_bash" in script
