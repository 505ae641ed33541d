"""Models on the Hub: against a stand-in for it that speaks HTTP, from processes that have never seen the real one."""

import inspect
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard, ModelHubMixin
from PIL import Image
from typer.testing import CliRunner

from infogan.api.train_run import files_to_share
from infogan.cli.app import app
from infogan.models.hub import HubName
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError
from tests import commands
from tests.blocks import blocks
from tests.helpers import small_model
from tests.stand_in import TOKEN, Repository, StandIn, stand_in

BARS = small_model()
PICTURES = ["samples.png", "traversal-1-category.png", "traversal-2-knob1.png", "traversal-3-knob2.png"]
FILES = ["README.md", "config.json", "model.safetensors", *PICTURES]


# In a process that asks the stand-in: reads folders and scripts, and says what each calls ``answers`` in the end.
ASKING = """
import json, os, sys
from infogan.errors import UserError
from infogan.model import InfoGAN

def said(call, *given, **named):
    try:
        return repr(call(*given, **named))
    except UserError as error:
        return str(error)

for line in sys.stdin:
    folder, script = json.loads(line)
    os.chdir(folder)
    names = {"InfoGAN": InfoGAN, "said": said, "sys": sys}
    exec(script, names)
    print(json.dumps(names["answers"]), flush=True)
"""


class Client:
    """A process that takes a stand-in for the Hub; leaving the context ends it."""

    def __init__(self, served: StandIn, home: Path) -> None:
        command, told = [sys.executable, "-c", ASKING], served.environment(home)
        self._process = subprocess.Popen(command, env=told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=20)

    def answers(self, script: str, folder: Path) -> Any:
        """What a script, run in ``folder``, calls ``answers`` in the end."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps([str(folder), textwrap.dedent(script)]) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())


@pytest.fixture(scope="module")
def served() -> Iterator[StandIn]:
    with stand_in() as served:
        yield served


@pytest.fixture
def there(served: StandIn) -> StandIn:
    """The one stand-in of all tests here, with nothing in it."""
    served.forget()
    return served


@pytest.fixture(scope="module")
def client(served: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(served, tmp_path_factory.mktemp("client")) as asking:
        yield asking


def infogan(*words: str | Path, served: StandIn, folder: Path) -> subprocess.CompletedProcess[str]:
    return commands.infogan(*words, cwd=folder, env=served.environment(folder / "home"))


def shared(served: StandIn, repo_id: str, model: InfoGAN = BARS, other: dict[str, bytes] | None = None) -> str:
    """Has a model lie on the stand-in, with some other files; returns the commit."""
    files = {name: content for name, content in model.files().items() if name in ("config.json", "model.safetensors")}
    return served.repositories.setdefault(repo_id, Repository()).commit(files | (other or {}))


def test_a_run_is_pushed_in_one_commit_and_comes_back_equal(
    there: StandIn, client: Client, digits_run: Path, tmp_path: Path
) -> None:
    done = infogan("push", digits_run, "user/digits", "--private", "--license", "mit", served=there, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    repository = there.repositories["user/digits"]
    (commit,) = repository.commits
    assert done.stdout.strip() == f"{there.url}/user/digits/commit/{commit}"
    assert repository.private
    files = repository.at("main")
    assert sorted(files) == sorted(FILES)
    for name in ("config.json", "model.safetensors"):
        assert files[name] == (digits_run / "model" / name).read_bytes()
    assert {token for _, path, token in there.asked if path.startswith("store")} == {None}
    assert {token for _, path, token in there.asked if not path.startswith("store")} == {TOKEN}

    # Its card is one, and every picture that it names is there.
    card = ModelCard(files["README.md"].decode())
    data = card.data.to_dict()
    assert (data["license"], data["library_name"]) == ("mit", "infogan")
    assert data["pipeline_tag"] == "unconditional-image-generation"
    assert set(data["tags"]) >= {"infogan", "clustering"}
    assert sorted(re.findall(r"!\[[^]]*\]\(([^)]+)\)", card.text)) == PICTURES
    for name in PICTURES:
        with Image.open(io.BytesIO(files[name])) as picture:
            assert picture.width > 200

    # Two files are fetched, once.
    there.asked.clear()
    script = """
        model = InfoGAN.from_pretrained("user/digits", cache_dir="cache")
        again = InfoGAN.from_pretrained("user/digits", cache_dir="cache", local_files_only=True)
        answers = [model.digest(), again.digest(), model.config.model_dump(mode="json")]
    """
    digest, again, config = client.answers(script, tmp_path)
    local = InfoGAN.load(digits_run)
    assert digest == again == local.digest()
    assert config == local.config.model_dump(mode="json")
    fetched = there.paths("GET")
    assert [path.rpartition("/")[2] for path in fetched[:1]] == ["config.json"]
    assert len(fetched) == 2 and fetched[1].startswith("store/")
    assert {Path(path).name for path in there.paths("HEAD")} == {"config.json", "model.safetensors"}


def test_a_name_on_the_hub_stands_for_a_folder(there: StandIn, tmp_path: Path) -> None:
    shared(there, "user/bars")
    words = ["--count", "4", "--seed", "3", "--out", "samples.npz"]
    done = infogan("sample", "hf://user/bars", *words, served=there, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as drawn:
        assert np.array_equal(drawn["images"], BARS.sample(4, seed=3).images)


@pytest.mark.parametrize("words", [["name", "3=x"], ["explore"], ["push", "user/other"]])
def test_what_needs_a_folder_says_so(words: list[str]) -> None:
    result = CliRunner().invoke(app, [words[0], "hf://user/bars", *words[1:]])
    assert isinstance(result.exception, UserError)
    assert "a folder is needed" in str(result.exception) and "hf download" in str(result.exception)


def test_revisions_folders_caches_and_what_is_refused(there: StandIn, client: Client, tmp_path: Path) -> None:
    first = shared(there, "user/bars")
    second = shared(there, "user/bars", other := small_model(seed=1))
    config = BARS.files()["config.json"]
    for name, was, now in (
        ("new", b'"format": 1', b'"format": 2'),
        ("newer", b'"format": 1', b'"format": 1, "mood": 1'),
        ("wide", b'"width": 4', b'"width": 4096'),
    ):
        assert was in config
        shared(there, f"user/{name}", other={"config.json": config.replace(was, now)})
    shared(there, "user/torn", other={"model.safetensors": b"none"})
    there.repositories["user/other"] = Repository()
    there.repositories["user/other"].commit({"README.md": b""})
    shared(there, "user/gated")
    there.repositories["user/gated"].gated = True
    shared(there, "user/hidden")
    there.repositories["user/hidden"].private = True
    small_model(seed=2).save(tmp_path / "here" / "bars")
    shared(there, "here/bars")
    shared(there, "here/there")
    script = f"""
        load = InfoGAN.from_pretrained
        digests = [
            load("user/bars").digest(),
            load("hf://user/bars@{first}").digest(),
            load("user/bars", revision="{first}").digest(),
            InfoGAN.load("hf://user/bars").digest(),
            load("here/bars").digest(),
            load("hf://here/there").digest(),
        ]
        answers = digests, dict(
            unknown=said(load, "user/none"),
            revision=said(load, "user/bars", revision="v9"),
            twice=said(load, "hf://user/bars@a", revision="b"),
            folder=said(load, "here/bars", revision="v1"),
            mistyped=said(load, "here/there"),
            other=said(load, "user/other"),
            gated=said(load, "user/gated"),
            hidden=said(load, "user/hidden", token="hf_stranger"),
            new=said(load, "user/new"),
            newer=said(load, "user/newer"),
            wide=said(load, "user/wide"),
            torn=said(load, "user/torn"),
            cached=said(load, "user/bars", cache_dir="empty", local_files_only=True),
            form=said(load, "hf://bars"),
            path=said(load, "no/such/folder"),
        )
    """
    digests, told = client.answers(script, tmp_path)
    alone = small_model(seed=2).digest()
    assert digests == [other.digest(), BARS.digest(), BARS.digest(), other.digest(), alone, BARS.digest()]
    assert not any("here/bars" in path for _, path, _ in there.asked)
    assert not any(path.endswith("/main/model.safetensors") for path in there.paths("HEAD"))  # but of the commit
    assert any(path == f"/user/bars/resolve/{second}/model.safetensors" for path in there.paths("HEAD"))
    expected = {
        "unknown": ["no model user/none", "hf auth login"],
        "revision": ["no revision user/bars@v9"],
        "twice": ["'a'", "'b'"],
        "folder": ["here/bars is a folder", "'v1'"],
        "mistyped": ["no there in the folder here", "hf://here/there"],
        "other": ["user/other on the Hub is no infogan model", "config.json"],
        "gated": ["user/gated", "ask"],
        "hidden": ["no model user/hidden", "private"],
        "new": ["a newer version of infogan made this model", "format 2", "pip install --upgrade infogan"],
        "newer": ["mood: Extra inputs are not permitted (a newer version of infogan may have made it)"],
        "wide": ["config.json tells of other networks than those whose weights these are"],
        "torn": ["is damaged or not an infogan model"],
        "cached": ["user/bars was not fetched before"],
        "form": ["'hf://bars'", "hf://user/name"],
        "path": ["'no/such/folder' is neither a folder nor a name on the Hub"],
    }
    assert told.keys() == expected.keys()
    for name, words in expected.items():
        for word in words:
            assert word in told[name], (name, told[name])
        assert "\n" not in told[name]


def test_what_is_larger_than_it_can_be_is_not_fetched(there: StandIn, client: Client, tmp_path: Path) -> None:
    weights = BARS.files()["model.safetensors"]
    values = len(weights) - 8 - int.from_bytes(weights[:8], "little")  # without the header and its length
    most = {"model.safetensors": values + 2**20, "config.json": 2**20}
    for number, (file, size) in enumerate((file, size) for file, most_ in most.items() for size in (most_, most_ + 1)):
        shared(there, f"user/bars{number}")
        there.sizes[f"user/bars{number}", file] = size
    script = 'answers = [said(InfoGAN.from_pretrained, f"user/bars{number}") for number in range(4)]'
    told = client.answers(script, tmp_path)
    for number, file in ((1, "model.safetensors"), (3, "config.json")):
        assert f"{file} of user/bars{number}" in told[number] and f"has {most[file] + 1} bytes" in told[number]
        # That of the very size is asked for, and then found to be shorter than was said.
        assert "Consistency check failed" in told[number - 1]
    asked = there.paths("GET")
    assert sum(path.startswith("store/") for path in asked) == 1
    assert [path.split("/")[2] for path in asked if path.endswith("config.json")] == ["bars0", "bars1", "bars2"]


def test_a_folder_never_asks_the_network_nor_for_its_library(served: StandIn, tmp_path: Path) -> None:
    script = """
        InfoGAN.load("model").save_pretrained("again", repo_id="user/bars")
        model = InfoGAN.from_pretrained("again")
        unneeded = "huggingface_hub" not in sys.modules
        sys.modules["huggingface_hub"] = None  # as where it is not installed
        told = [said(call, "user/bars") for call in (InfoGAN.from_pretrained, model.push_to_hub)]
        answers = [model.digest(), unneeded, *told]
    """
    BARS.save(tmp_path / "model")
    with Client(served, tmp_path) as fresh:
        digest, unneeded, *told = fresh.answers(script, tmp_path)
    assert digest == BARS.digest() and unneeded
    assert told == ["models on the Hugging Face Hub need another library: pip install 'infogan[hub]'"] * 2


def test_what_the_hub_refuses_to_keep(there: StandIn, client: Client, tmp_path: Path) -> None:
    BARS.save(tmp_path / "model")
    shared(there, "user/open")
    script = """
        push = InfoGAN.load("model").push_to_hub
        answers = [
            said(push, "somebody/bars"),
            said(push, "user/open", private=True),
            said(push, "user/bars", token="hf_stranger"),
            said(push, "user/bars", branch="v2"),
            said(push, "bars"),
            said(InfoGAN.load("model").save_pretrained, "folder", push_to_hub=True),
            said(InfoGAN.load("model").save_pretrained, "folder", push_to_hub=True, repo_id="user/folder"),
        ]
    """
    told = client.answers(script, tmp_path)
    assert "does not let you do that with somebody/bars" in told[0] and "hf auth login" in told[0]
    assert "user/open is on the Hub already, and everyone can see it" in told[1]
    assert "does not let you" in told[2]
    assert "no revision" in told[3]
    assert "user/name" in told[4] and "'bars'" in told[4]
    assert "repo_id='user/name'" in told[5]
    assert not any("\n" in words for words in told)
    assert len(there.repositories["user/open"].commits) == 1  # nothing went there
    assert there.repositories["user/bars"].commits == {}
    assert told[6].strip("'").startswith(f"{there.url}/user/folder/commit/")
    committed = there.repositories["user/folder"].at("main")
    assert committed == {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()}


def test_a_dry_run_writes_the_same_folder_and_asks_nobody(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(socket, "socket", asked)
    words = ["push", str(digits_run), "user/digits", "--license", "mit", "--dry-run", "--out", str(tmp_path / "shared")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    assert sorted(Path(line).name for line in done.stdout.split()) == sorted(FILES)
    written = {path.name: path.read_bytes() for path in (tmp_path / "shared").iterdir()}
    assert written == files_to_share(digits_run, "user/digits", "mit")


def test_a_folder_with_a_card_is_shared_as_it_is_and_nothing_else_of_it(tmp_path: Path) -> None:
    BARS.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    (tmp_path / "model" / "README.md").write_text("Written by a person.")
    files = files_to_share(tmp_path / "model", "user/bars", None)
    assert sorted(files) == sorted(FILES)
    assert files["README.md"] == b"Written by a person."
    with pytest.raises(UserError, match=r"README\.md is shared as it is"):
        files_to_share(tmp_path / "model", "user/bars", "mit")
    (tmp_path / "model" / "a.png").symlink_to(tmp_path / "model" / "notes.txt")
    with pytest.raises(UserError, match=r"a\.png is a link"):
        files_to_share(tmp_path / "model", "user/bars", None)
    BARS.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "README.md").read_text() == "Written by a person."


@pytest.mark.parametrize("words", [["--dry-run"], ["--out", "folder"], ["--license", "my own"], ["hf://"]])
def test_a_push_that_can_not_be_meant_is_refused(words: list[str], tmp_path: Path) -> None:
    BARS.save(tmp_path / "model")
    name = words if words == ["hf://"] else ["user/bars", *words]
    result = CliRunner().invoke(app, ["push", str(tmp_path / "model"), *name])
    assert isinstance(result.exception, UserError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_arguments_are_those_that_users_of_huggingface_hub_know() -> None:
    ours_alone = {"license"}
    left_out = {"config", "model_card_kwargs", "model_kwargs", "allow_patterns", "ignore_patterns", "delete_patterns"}
    for name in ("from_pretrained", "save_pretrained", "push_to_hub"):
        theirs, ours = (inspect.signature(getattr(of, name)).parameters for of in (ModelHubMixin, InfoGAN))
        assert ours.keys() - ours_alone == theirs.keys() - left_out, name
        for argument in ours.keys() & theirs.keys() - {"commit_message"}:
            assert (ours[argument].kind, ours[argument].default) == (theirs[argument].kind, theirs[argument].default)


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("user/name", "user/name", None),
        ("hf://user/name", "user/name", None),
        ("hf://user/na-me.v2@v1.0", "user/na-me.v2", "v1.0"),
        ("hf://user/name@refs/pr/3", "user/name", "refs/pr/3"),
    ],
)
def test_names(text: str, name: str, revision: str | None) -> None:
    assert HubName.parse(text) == HubName(name, revision)


@pytest.mark.parametrize(
    "text", ["", "name", "/user/name", "a/b/c", "user/name@v1", "hf://user/name@", "hf://", "~/x", "user/na me", "../x"]
)
def test_no_names(text: str) -> None:
    with pytest.raises(UserError, match="neither a folder nor a name on the Hub"):
        HubName.parse(text)


def test_the_page_on_it_does_what_it_says(there: StandIn, digits_run: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_run, tmp_path / "runs" / "00000-digits")
    shared(there, "user/digits", InfoGAN.load(digits_run))
    told = there.environment(tmp_path / "home", PYTHONPATH=os.pathsep.join(sys.path))
    command = [sys.executable, "-m", "tests.blocks", "hub.md"]
    done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == len(blocks("hub.md")) == 9
    for made in (
        "samples.png",
        "traversals/knob1.png",
        "codes.csv",
        "digits-model/README.md",
        "digits-folder/README.md",
    ):
        assert (tmp_path / made).is_file(), made
    assert len(there.repositories["user/digits"].commits) == 4
    assert there.repositories["user/digits"].messages[-1] == "Named the categories"
