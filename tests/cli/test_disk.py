"""Disks that are full or read-only: one message, and no file that is half written."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import invoke


def test_a_full_disk_is_one_message_and_leaves_no_file(run: Path) -> None:
    result = invoke("sample", run, "--out", "/dev/full/samples.npz")
    assert result.returncode == 2
    assert "cannot write /dev/full/samples.npz" in result.stderr


def can_mount() -> bool:
    """Return whether this user may mount a file system in a namespace of its own."""
    if not shutil.which("unshare"):
        return False
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="needs a kernel that lets users mount a tmpfs")
PROGRAM = shlex.join([sys.executable, "-m", "infogan"])


def run_script(script: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell script in a mount namespace of its own."""
    return subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.integration
@needs_mount
def test_a_disk_that_fills_up_during_training_loses_nothing(tmp_path: Path, small: list[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    arguments = shlex.join([*small, "--set", "train.save_every=2"])
    command = f"{PROGRAM} train digits --out {disk}/run {arguments}"
    result = run_script(f"""
        mount -t tmpfs -o size=4400k none {disk} || exit 99
        {command}; echo full $?
        find {disk} -name '.*.*' -type f
        ls {disk}/run/checkpoints
        mount -o remount,size=64m {disk} || exit 99
        {command}; echo more space $?
    """)
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stdout.splitlines()
    # The checkpoint that did not fit left nothing behind, and training resumes from the one before.
    assert re.fullmatch(r"0000000[246]\.safetensors", lines[lines.index("full 2") + 1])
    assert "more space 0" in lines
    assert "00000008.safetensors" not in lines[: lines.index("more space 0")]


@pytest.mark.integration
@needs_mount
def test_a_read_only_disk_is_one_message(run: Path, tmp_path: Path, small: list[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    result = run_script(f"""
        mount -t tmpfs -o ro none {disk} || exit 99
        {PROGRAM} train digits --out {disk}/run {shlex.join(small)}; echo train $?
        {PROGRAM} sample {run} --out {disk}/a.npz; echo sample $?
        {PROGRAM} encode {run} digits --out {disk}/a.csv; echo encode $?
        {PROGRAM} traverse {run} --out {disk}/figures; echo traverse $?
    """)
    assert result.stdout.splitlines() == ["train 2", "sample 2", "encode 2", "traverse 2"]
    assert result.stderr.count("Read-only file system") == 4
    assert "Traceback" not in result.stderr
