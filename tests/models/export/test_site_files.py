"""The files of an exported page: its script, and the runtime onnxruntime-web, which is verified."""

import hashlib
import re
import tarfile
from pathlib import Path

import pytest

from infogan.data.download import Origin
from infogan.models.export import export
from infogan.models.export import runtime as runtimes
from infogan.models.export.runtime import CODE, SCRIPT, read_runtime
from infogan.models.export.site import MODULES, STATIC, bundle
from infogan.utils.errors import UserError
from tests.helpers import small_model


def test_the_runtime_is_taken_from_where_it_is_said_to_be(runtime: None, tmp_path: Path) -> None:
    parts = read_runtime()
    dist = tmp_path / "unpacked" / "package" / "dist"
    dist.mkdir(parents=True)
    for file, content in parts.items():
        (dist / file).write_bytes(content)
    for folder in (dist, dist.parent, dist.parent.parent):
        assert read_runtime(folder) == parts
    with tarfile.open(tmp_path / "r.tgz", "w:gz", compresslevel=1) as archive:
        archive.add(dist.parent, "package")
    assert read_runtime(tmp_path / "r.tgz") == parts


def test_another_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not the npm package onnxruntime-web.*ort\.wasm\.bundle"):
        read_runtime(tmp_path)
    for file in (SCRIPT, CODE):
        (tmp_path / file).write_bytes(b"x")
    with pytest.raises(UserError, match=r"not version 1\.30\.0 of onnxruntime-web: ort\.wasm\.bundle\.min\.mjs"):
        read_runtime(tmp_path)
    (tmp_path / "r.tgz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"r\.tgz is not the npm package onnxruntime-web: "):
        read_runtime(tmp_path / "r.tgz")
    with tarfile.open(tmp_path / "r.tgz", "w:gz") as archive:
        archive.add(tmp_path / SCRIPT, f"package/dist/{SCRIPT}")
    with pytest.raises(UserError, match=r"r\.tgz is not version 1\.30\.0 of onnxruntime-web"):
        read_runtime(tmp_path / "r.tgz")


def test_without_npm_one_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFOGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"onnxruntime-web 1\.30\.0.*npm is not installed.*--runtime"):
        export(small_model(), "site", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_in_the_cache_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFOGAN_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    small = {name: hashlib.sha256(name.encode()).hexdigest() for name in "ab"}
    monkeypatch.setattr(runtimes, "ORIGIN", Origin(files=small, npm="none", npm_folder="package/dist"))
    folder = tmp_path / "onnxruntime-web-1.30.0"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_text(name)
    assert [*read_runtime().values()] == [b"a", b"b"]
    (folder / "b").write_text("c")
    with pytest.raises(UserError, match="could not be fetched"):
        read_runtime()


def test_the_pages_own_files_are_small() -> None:
    assert len(bundle(MODULES)) < 45_000
    assert sum(path.stat().st_size for path in STATIC.iterdir()) < 25_000


def test_a_bundle_has_no_imports_and_exports() -> None:
    script = bundle(MODULES)
    assert not re.search(r"^\s*(import|export)\b", script, re.MULTILINE)
    names = re.findall(r"^(?:const|let|function|async function|class) ([\w$]+)", script, re.MULTILINE)
    assert len(names) > 60
    assert len(set(names)) == len(names)
