"""A stand-in for the Hugging Face Hub: what huggingface_hub asks for when it downloads and commits, over HTTP, here.

Large files are kept by a second server, as the Hub's are: a token must not reach it.
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_somebody"
LARGE = (".safetensors", ".png")  # what the Hub's .gitattributes name


@dataclass
class Repository:
    """Commits by their hash, and branches."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main", message: str = "") -> str:
        whole = self.at(branch) | files
        name = hashlib.sha1(repr((len(self.commits), sorted(whole))).encode()).hexdigest()
        self.commits[name], self.branches[branch] = whole, name
        self.messages.append(message)
        return name

    def at(self, revision: str) -> dict[str, bytes]:
        return dict(self.commits.get(self.branches.get(revision, revision), {}))


class StandIn:
    """The two servers and what they hold."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, token; the store's paths begin with its port
        self.sizes: dict[tuple[str, str], int] = {}  # that are told of a repository's files instead of their own
        self.hub, self.store = (ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, self)) for kind in (Hub, Store))
        self.url, self.store_url = (f"http://127.0.0.1:{server.server_port}" for server in (self.hub, self.store))

    def forget(self) -> None:
        """Everything that it was told or asked."""
        for known in (self.repositories, self.large, self.asked, self.sizes):
            known.clear()

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Of a process that takes it for the Hub, and has a home of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        told = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
        return kept | told | quiet | more

    def paths(self, method: str) -> list[str]:
        return [path for asked, path, _ in self.asked if asked == method]


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Serves from threads of this process."""
    served = StandIn()
    threads = [threading.Thread(target=server.serve_forever) for server in (served.hub, served.store)]
    for thread in threads:
        thread.start()
    try:
        yield served
    finally:
        for server in (served.hub, served.store):
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join(20)


class Answering(BaseHTTPRequestHandler):
    """What both servers do alike."""

    protocol_version = "HTTP/1.1"

    def __init__(self, served: StandIn, *rest: Any) -> None:
        self.served = served
        super().__init__(*rest)

    def log_message(self, *_: object) -> None:
        pass

    @property
    def token(self) -> str | None:
        said = self.headers.get("authorization")
        return said.removeprefix("Bearer ") if said else None

    def note(self, where: str = "") -> str:
        path = unquote(urlsplit(self.path).path)
        self.served.asked.append((self.command, where + path, self.token))
        return path

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def tell(self, value: Any, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")


class Store(Answering):
    """Large files, by their SHA-256."""

    def do_GET(self) -> None:
        digest = self.note("store").removeprefix("/")
        self.answer(200, self.served.large[digest], ETag=f'"{digest}"')

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        digest, content = self.note("store").removeprefix("/"), self.body()
        assert hashlib.sha256(content).hexdigest() == digest
        self.served.large[digest] = content
        self.answer(200)


class Hub(Answering):
    """Repositories, their files and commits."""

    def do_GET(self) -> None:
        path = self.note()
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            repository = self.readable(found[1])
            if repository is not None:
                self.tell({"id": found[1], "modelId": found[1], "private": repository.private, "siblings": []})
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(*found.groups())
        else:
            self.answer(404)

    do_HEAD = do_GET

    def resolve(self, repo_id: str, revision: str, file: str) -> None:
        repository = self.readable(repo_id)
        if repository is None:
            return
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        files = repository.commits[commit]
        if file not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        content = files[file]
        size = str(self.served.sizes.get((repo_id, file), len(content)))
        if not file.endswith(LARGE):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            length: dict[str, Any] = {"Content_Length": size} if self.command == "HEAD" else {}
            return self.answer(200, content, ETag=f'"{etag}"', X_Repo_Commit=commit, **length)
        digest = hashlib.sha256(content).hexdigest()
        self.served.large[digest] = content
        linked: dict[str, Any] = {"X_Linked_ETag": f'"{digest}"', "X_Linked_Size": size, "X_Repo_Commit": commit}
        self.answer(302, Location=f"{self.served.store_url}/{digest}", **linked)

    def readable(self, repo_id: str) -> Repository | None:
        """A repository; one that is not there, or not for this user, is answered as the Hub does."""
        repository = self.served.repositories.get(repo_id)
        if repository is None or (repository.private and self.token != TOKEN):
            # The code goes with a 401 too: over https the library takes that for the same without it.
            self.answer(404 if self.token == TOKEN else 401, X_Error_Code="RepoNotFound")
            return None
        if repository.gated:
            self.answer(403, X_Error_Code="GatedRepo")
            return None
        return repository

    def do_POST(self) -> None:
        path, content = self.note(), self.body()
        if self.token != TOKEN:
            return self.answer(401, X_Error_Message="Invalid username or password.")
        if path == "/api/repos/create":
            asked = json.loads(content)
            repo_id = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] != "user":
                return self.answer(403, X_Error_Message="You don't have the rights to create a model there")
            known = repo_id in self.served.repositories
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            self.served.repositories.setdefault(repo_id, Repository(private, branches={}))
            return self.tell({"url": f"{self.served.url}/{repo_id}"}, 409 if known else 200)
        if path == "/api/validate-yaml":
            _, front, _ = json.loads(content)["content"].split("---\n", 2)
            assert isinstance(yaml.safe_load(front), dict)
            return self.tell({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", path):
            files = [entry["path"] for entry in json.loads(content)["files"]]
            modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in files}
            told = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
            return self.tell({"files": told})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                entry | {"actions": {"upload": {"href": f"{self.served.store_url}/{entry['oid']}"}}}
                for entry in json.loads(content)["objects"]
            ]
            return self.tell({"transfer": "basic", "objects": objects})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            return self.commit(self.served.repositories[found[1]], found[1], found[2], content)
        self.answer(404)

    def commit(self, repository: Repository, repo_id: str, branch: str, content: bytes) -> None:
        if branch != "main" and branch not in repository.branches:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        files, message = {}, ""
        for line in content.splitlines():
            told = json.loads(line)
            value = told["value"]
            if told["key"] == "header":
                message = value["summary"]
            elif told["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert told["key"] == "lfsFile"
                files[value["path"]] = self.served.large[value["oid"]]
                assert len(files[value["path"]]) == value["size"]
        name = repository.commit(files, branch, message)
        self.tell({"commitUrl": f"{self.served.url}/{repo_id}/commit/{name}", "commitOid": name, "hookOutput": ""})
