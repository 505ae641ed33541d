"""The wheel, installed in an environment that has nothing of the repository."""

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

pytestmark = pytest.mark.integration

MEGABYTE = 10**6


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and with the libraries of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = str(programs / "python")
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *options, str(wheel)], check=True)
    query = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip())
    # After the environment's own packages, so that infogan is the wheel's.
    (site / "others.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), str(Path(torch.__file__).parent.parent)})
    )
    return programs


def test_wheel_contains_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.stat().st_size < MEGABYTE
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        header = HeaderParser().parsestr(archive.read(metadata).decode())
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "infogan").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {"infogan/py.typed", "infogan/explorer/static/index.html", "infogan/config/presets/robust.toml"} <= expected
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert header["Name"] == "infogan"
    assert header["Version"] == infogan.__version__
    assert header["Requires-Python"] == ">=3.11"
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(header.get_all("Provides-Extra", [])) == set(options)


def test_installed_wheel_trains_and_samples(installed: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def output(*words: str) -> str:
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    program, python = str(installed / "infogan"), str(installed / "python")
    path = output(python, "-c", "import infogan; print(infogan.__file__)").strip()
    assert Path(path).is_relative_to(installed.parent)
    assert "train" in output(program, "--help")
    small = ["--recipe", "plain", "--steps", "4", "--set", "networks.width=4", "--set", "train.batch_size=16"]
    output(program, "train", "digits", *small, "--out", "run")
    assert (tmp_path / "run" / "report.html").is_file()
    output(python, "-m", "infogan", "sample", "run", "--out", "samples.png")
    assert (tmp_path / "samples.png").is_file()


def test_shell_completes_commands_and_options(installed: Path) -> None:
    def completions(line: str) -> set[str]:
        variables = {
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
            "_INFOGAN_COMPLETE": "complete_bash",
        }
        environment = {**os.environ, **variables}
        process = subprocess.run([installed / "infogan"], env=environment, capture_output=True, text=True)
        return set(process.stdout.split())

    assert {"train", "traverse"} <= completions("infogan tra")
    assert "--categorical" in completions("infogan train --ca")
    # From within a shell, because it looks for the shell among its ancestors.
    command = ["bash", "-c", '"$0" --show-completion && true', str(installed / "infogan")]
    script = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "_INFOGAN_COMPLETE=complete_bash" in script
