"""Sharing models on the Hugging Face Hub, with a local server in its place."""

import inspect
import io
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from huggingface_hub import ModelCard, ModelHubMixin, constants
from PIL import Image
from typer.testing import CliRunner

from infogan.api.push import files_to_push
from infogan.cli.app import app
from infogan.models.hub import HubName, _explain_errors
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError
from tests.blocks import blocks
from tests.commands import infogan
from tests.helpers import small_model
from tests.hub_server import TOKEN, HubServer, Repository, hub_server

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=")  # huggingface_hub with recent versions of httpx

MODEL = small_model()
FIGURES = ["samples.png", "traversal-1-category.png", "traversal-2-knob1.png", "traversal-3-knob2.png"]
FILES = ["README.md", "config.json", "model.safetensors", *FIGURES]


@pytest.fixture(scope="module")
def running_server() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture
def hub(running_server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """An empty server that huggingface_hub uses in this process; the current folder is ``tmp_path``."""
    running_server.clear()
    for name, value in {
        "ENDPOINT": running_server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": running_server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    return running_server


def publish(hub: HubServer, repo_id: str, model: InfoGAN = MODEL, files: dict[str, bytes] | None = None) -> str:
    """Put a model on the server, with some files replaced; return the commit."""
    return hub.repositories.setdefault(repo_id, Repository()).commit(model_files(model) | (files or {}))


def model_files(model: InfoGAN) -> dict[str, bytes]:
    return {"config.json": model._config_bytes(), "model.safetensors": model._weights_bytes()}


def message_of(call: Callable[..., object], *arguments: object, **options: object) -> str:
    """Return the message of the UserError that a call raises, which has one line."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Uploading.


def test_a_run_is_pushed_in_one_commit_and_loads_from_the_hub(hub: HubServer, digits_run: Path) -> None:
    words = ["push", str(digits_run), "user/digits", "--private", "--license", "mit"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    repository = hub.repositories["user/digits"]
    (commit,) = repository.commits
    assert result.stdout.strip() == f"{hub.url}/user/digits/commit/{commit}"
    assert repository.private
    files = repository.at("main")
    assert sorted(files) == sorted(FILES)
    for name in ("config.json", "model.safetensors"):
        assert files[name] == (digits_run / "model" / name).read_bytes()
    assert {token for _, path, token in hub.requests if path.startswith("store")} == {None}
    assert {token for _, path, token in hub.requests if "user/digits" in path} == {TOKEN}

    # The model card is valid, and every figure that it shows exists.
    card = ModelCard(files["README.md"].decode())
    data = card.data.to_dict()
    assert (data["license"], data["library_name"]) == ("mit", "infogan")
    assert data["pipeline_tag"] == "unconditional-image-generation"
    assert set(data["tags"]) >= {"infogan", "clustering"}
    assert sorted(re.findall(r"!\[[^]]*\]\(([^)]+)\)", card.text)) == FIGURES
    for name in FIGURES:
        with Image.open(io.BytesIO(files[name])) as figure:
            assert figure.width > 200

    # Two files are downloaded, once.
    hub.requests.clear()
    model = InfoGAN.from_pretrained("user/digits", cache_dir="cache")
    cached = InfoGAN.from_pretrained("user/digits", cache_dir="cache", local_files_only=True)
    original = InfoGAN.load(digits_run)
    assert model.digest() == cached.digest() == original.digest()
    assert model.config == original.config
    downloads = hub.paths("GET")
    assert len(downloads) == 2
    assert downloads[0].endswith("/config.json") and downloads[1].startswith("store/")
    assert {Path(path).name for path in hub.paths("HEAD")} == {"config.json", "model.safetensors"}


def test_uploads_that_the_hub_denies_leave_repositories_unchanged(hub: HubServer) -> None:
    publish(hub, "user/open")
    push = MODEL.push_to_hub
    message = message_of(push, "somebody/model")
    assert "denies access to somebody/model" in message and "hf auth login" in message
    assert "user/open exists on the Hub and is public" in message_of(push, "user/open", private=True)
    assert "denies access" in message_of(push, "user/model", token="hf_stranger")
    assert "no revision" in message_of(push, "user/model", branch="v2")
    message = message_of(push, "model")
    assert "user/name" in message and "'model'" in message
    assert len(hub.repositories["user/open"].commits) == 1
    assert hub.repositories["user/model"].commits == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ["push", "RUN", "user/name"],
        ["push", "RUN", "user/name", "--private"],
        pytest.param(["sample", "hf://user/name"], marks=pytest.mark.integration),  # huggingface_hub tries it for 25 s
    ],
)
def test_a_hub_that_cannot_be_reached_is_reported_in_one_line(
    arguments: list[str], digits_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "RUN").symlink_to(digits_run)
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home")}
    result = infogan(*arguments, cwd=tmp_path, env=environment)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "user/name" in line and "refused" in line and "check the network" in line
    assert result.stdout == ""


def test_a_bug_is_not_reported_as_an_error_of_the_hub() -> None:
    with pytest.raises(TypeError, match="a bug"), _explain_errors("user/name"):
        raise TypeError("a bug")


def test_save_pretrained_writes_and_pushes_the_same_files(hub: HubServer, tmp_path: Path) -> None:
    assert "repo_id='user/name'" in message_of(MODEL.save_pretrained, "folder", push_to_hub=True)
    assert not (tmp_path / "folder").exists()
    address = MODEL.save_pretrained("folder", push_to_hub=True, repo_id="user/folder")
    assert address is not None and address.startswith(f"{hub.url}/user/folder/commit/")
    written = {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()}
    assert hub.repositories["user/folder"].at("main") == written


def test_a_dry_run_writes_the_folder_without_network(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", fail)
    words = ["push", str(digits_run), "user/digits", "--license", "mit", "--dry-run", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    assert sorted(Path(line).name for line in result.stdout.split()) == sorted(FILES)
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert written == files_to_push(digits_run, "user/digits", "mit")


def test_a_folder_with_a_card_is_pushed_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    MODEL.save_pretrained(folder)
    (folder / "notes.txt").write_text("private")
    (folder / "README.md").write_text("Written by a person.")
    files = files_to_push(folder, "user/model", None)
    assert sorted(files) == sorted(FILES)
    assert files["README.md"] == b"Written by a person."
    with pytest.raises(UserError, match=r"README\.md"):
        files_to_push(folder, "user/model", "mit")
    (folder / "a.png").symlink_to(folder / "notes.txt")
    with pytest.raises(UserError, match=r"a\.png is a symbolic link"):
        files_to_push(folder, "user/model", None)
    MODEL.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "Written by a person."


@pytest.mark.parametrize("words", [["--dry-run"], ["--out", "folder"], ["--license", "my own"], ["hf://"]])
def test_invalid_push_options_are_rejected(words: list[str], tmp_path: Path) -> None:
    MODEL.save(tmp_path / "model")
    name = words if words == ["hf://"] else ["user/model", *words]
    result = CliRunner().invoke(app, ["push", str(tmp_path / "model"), *name])
    assert isinstance(result.exception, UserError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


# Downloading.


def test_weights_that_are_not_finite_are_rejected(hub: HubServer) -> None:
    weights = safetensors.torch.load(MODEL._weights_bytes())
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    weights[name] = torch.full_like(weights[name], float("nan"))
    publish(hub, "user/model", files={"model.safetensors": safetensors.torch.save(weights)})
    assert f"{name} in model.safetensors is NaN or infinite" in message_of(InfoGAN.from_pretrained, "user/model")


def test_revisions_select_a_commit_and_weights_match_it(hub: HubServer) -> None:
    first = publish(hub, "user/model")
    second = publish(hub, "user/model", newer := small_model(seed=1))
    for loaded, expected in (
        (InfoGAN.from_pretrained("user/model"), newer),
        (InfoGAN.load("hf://user/model"), newer),
        (InfoGAN.from_pretrained(f"hf://user/model@{first}"), MODEL),
        (InfoGAN.from_pretrained("user/model", revision=first), MODEL),
    ):
        assert loaded.digest() == expected.digest()
    # Weights are requested by commit, not by branch.
    weights = [path for path in hub.paths("HEAD") if path.endswith("model.safetensors")]
    assert f"/user/model/resolve/{second}/model.safetensors" in weights
    assert not any("/main/" in path for path in weights)


def test_an_existing_folder_comes_before_the_hub(hub: HubServer, tmp_path: Path) -> None:
    local = small_model(seed=2)
    local.save(tmp_path / "here" / "model")
    publish(hub, "here/model")
    publish(hub, "here/other")
    assert InfoGAN.from_pretrained("here/model").digest() == local.digest()
    assert hub.requests == []
    assert "here/model is a folder" in message_of(InfoGAN.from_pretrained, "here/model", revision="v1")
    message = message_of(InfoGAN.from_pretrained, "here/other")  # perhaps a path with a typo
    assert "no other in the folder here" in message and "hf://here/other" in message
    assert InfoGAN.from_pretrained("hf://here/other").digest() == MODEL.digest()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("user/none", {}, ["no model user/none", "hf auth login"]),
        ("user/model", {"revision": "v9"}, ["no revision user/model@v9"]),
        ("hf://user/model@a", {"revision": "b"}, ["'a'", "'b'"]),
        ("user/empty", {}, ["user/empty on the Hub is not an infogan model", "config.json"]),
        ("user/gated", {}, ["user/gated", "restricted"]),
        ("user/hidden", {"token": "hf_stranger"}, ["no model user/hidden", "private"]),
        ("user/model", {"local_files_only": True}, ["user/model is not in the cache"]),
        ("hf://model", {}, ["'hf://model'", "hf://user/name"]),
        ("no/such/folder", {}, ["'no/such/folder' is neither a folder nor a name on the Hub"]),
    ],
)
def test_a_model_that_cannot_be_downloaded_is_reported(
    hub: HubServer, name: str, options: dict[str, Any], words: list[str]
) -> None:
    for repo_id in ("user/model", "user/gated", "user/hidden"):
        publish(hub, repo_id)
    hub.repositories["user/gated"].gated = hub.repositories["user/hidden"].private = True
    hub.repositories["user/empty"] = Repository()
    hub.repositories["user/empty"].commit({"README.md": b""})
    message = message_of(InfoGAN.from_pretrained, name, **options)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b'"format": 2', b'"format": 3', ["newer version of infogan", "format 3", "pip install --upgrade infogan"]),
        (b'"format": 2', b'"format": 2, "mood": 1', ["mood", "newer version of infogan may have written it"]),
        (b'"width": 4', b'"width": 4096', ["config.json describes other networks"]),
    ],
)
def test_a_downloaded_config_that_does_not_fit_is_reported(
    hub: HubServer, before: bytes, after: bytes, words: list[str]
) -> None:
    config = model_files(MODEL)["config.json"]
    assert before in config
    publish(hub, "user/model", files={"config.json": config.replace(before, after)})
    message = message_of(InfoGAN.from_pretrained, "user/model")
    for word in words:
        assert word in message


def test_damaged_weights_are_reported(hub: HubServer) -> None:
    publish(hub, "user/model", files={"model.safetensors": b"none"})
    assert "damaged or not an infogan model" in message_of(InfoGAN.from_pretrained, "user/model")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_file_that_is_too_large_is_not_downloaded(hub: HubServer, file: str) -> None:
    weights = model_files(MODEL)["model.safetensors"]
    values = len(weights) - 8 - int.from_bytes(weights[:8], "little")  # without the header and its length
    limit = {"model.safetensors": values + 2**20, "config.json": 2**20}[file]
    publish(hub, "user/model")
    hub.sizes["user/model", file] = limit + 1
    message = message_of(InfoGAN.from_pretrained, "user/model")
    assert f"{file} of user/model" in message and str(limit + 1) in message
    assert not any(path.startswith("store/") for path in hub.paths("GET"))
    assert file == "model.safetensors" or hub.paths("GET") == []
    # A file of the maximum size is requested, and then found to be shorter than reported.
    hub.sizes["user/model", file] = limit
    assert "Consistency check failed" in message_of(InfoGAN.from_pretrained, "user/model")


def test_commands_accept_names_on_the_hub(hub: HubServer, tmp_path: Path) -> None:
    publish(hub, "user/model")
    words = ["sample", "hf://user/model", "--count", "4", "--seed", "3", "--out", "samples.npz"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as samples:
        assert np.array_equal(samples["images"], MODEL.sample(4, seed=3).images)


@pytest.mark.parametrize("words", [["name", "3=x"], ["explore"], ["push", "user/other"]])
def test_commands_that_write_need_a_folder(words: list[str]) -> None:
    result = CliRunner().invoke(app, [words[0], "hf://user/model", *words[1:]])
    assert isinstance(result.exception, UserError)
    assert "not a folder" in str(result.exception) and "hf download" in str(result.exception)


def test_folders_work_without_huggingface_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it were not installed
    MODEL.save(tmp_path / "model")
    InfoGAN.load(tmp_path / "model").save_pretrained(tmp_path / "copy", repo_id="user/model")
    model = InfoGAN.from_pretrained(tmp_path / "copy")
    assert model.digest() == MODEL.digest()
    for call in (InfoGAN.from_pretrained, model.push_to_hub):
        assert "pip install 'infogan[hub]'" in message_of(call, "user/model")


# Names and signatures.


def test_signatures_are_those_of_huggingface_hub() -> None:
    additional = {"license"}
    omitted = {"config", "model_card_kwargs", "model_kwargs", "allow_patterns", "ignore_patterns", "delete_patterns"}
    for name in ("from_pretrained", "save_pretrained", "push_to_hub"):
        theirs, ours = (inspect.signature(getattr(cls, name)).parameters for cls in (ModelHubMixin, InfoGAN))
        assert ours.keys() - additional == theirs.keys() - omitted, name
        for argument in ours.keys() & theirs.keys() - {"commit_message"}:
            assert (ours[argument].kind, ours[argument].default) == (theirs[argument].kind, theirs[argument].default)


@pytest.mark.parametrize(
    ("text", "repo_id", "revision"),
    [
        ("user/name", "user/name", None),
        ("hf://user/name", "user/name", None),
        ("hf://user/na-me.v2@v1.0", "user/na-me.v2", "v1.0"),
        ("hf://user/name@refs/pr/3", "user/name", "refs/pr/3"),
    ],
)
def test_names_are_parsed(text: str, repo_id: str, revision: str | None) -> None:
    assert HubName.parse(text) == HubName(repo_id, revision)


@pytest.mark.parametrize(
    "text", ["", "name", "/user/name", "a/b/c", "user/name@v1", "hf://user/name@", "hf://", "~/x", "user/na me", "../x"]
)
def test_invalid_names_are_rejected(text: str) -> None:
    with pytest.raises(UserError, match="neither a folder nor a name on the Hub"):
        HubName.parse(text)


@pytest.mark.integration
def test_the_examples_of_the_documentation_work(hub: HubServer, digits_run: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_run, tmp_path / "runs" / "00000-digits")
    publish(hub, "user/digits", InfoGAN.load(digits_run))
    environment = hub.environment(tmp_path / "home", PYTHONPATH=os.pathsep.join(sys.path))
    command = [sys.executable, "-m", "tests.blocks", "hub.md"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.splitlines()[-1]) == len(blocks("hub.md")) == 9
    outputs = ("samples.png", "traversals/knob1.png", "codes.csv", "digits-model/README.md", "digits-folder/README.md")
    for name in outputs:
        assert (tmp_path / name).is_file(), name
    assert len(hub.repositories["user/digits"].commits) == 4
    assert hub.repositories["user/digits"].messages[-1] == "Named the categories"
