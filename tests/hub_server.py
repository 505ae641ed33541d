"""A local server with the part of the Hugging Face Hub's HTTP interface that downloads and commits use.

A second server stores large files, as for the real Hub; it must never receive a token.
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
LARGE_FILES = (".safetensors", ".png")  # as in the Hub's .gitattributes


@dataclass
class Repository:
    """Commits by their hash, and branches."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main", message: str = "") -> str:
        tree = self.at(branch) | files
        name = hashlib.sha1(repr((len(self.commits), sorted(tree))).encode()).hexdigest()
        self.commits[name], self.branches[branch] = tree, name
        self.messages.append(message)
        return name

    def at(self, revision: str) -> dict[str, bytes]:
        return dict(self.commits.get(self.branches.get(revision, revision), {}))


class HubServer:
    """The two servers and their content.

    Attributes:
        repositories: Repositories by ``user/name``.
        large_files: Contents of the store by SHA-256.
        requests: Method, path and token of every request; paths of the store begin with ``store``.
        sizes: By repository and file, a size to report instead of the actual one.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.sizes: dict[tuple[str, str], int] = {}
        self.hub, self.store = (
            ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, self)) for handler in (HubHandler, StoreHandler)
        )
        self.url, self.store_url = (f"http://127.0.0.1:{server.server_port}" for server in (self.hub, self.store))

    def clear(self) -> None:
        for content in (self.repositories, self.large_files, self.requests, self.sizes):
            content.clear()

    def environment(self, home: Path, **variables: str) -> dict[str, str]:
        """Return the environment of a process that uses this server, with a home of its own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        hub = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
        return inherited | hub | quiet | variables

    def paths(self, method: str) -> list[str]:
        return [path for name, path, _ in self.requests if name == method]


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """Serve from threads of this process."""
    server = HubServer()
    threads = [
        threading.Thread(target=part.serve_forever, kwargs={"poll_interval": 0.02})
        for part in (server.hub, server.store)
    ]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        for part in (server.hub, server.store):
            part.shutdown()
            part.server_close()
        for thread in threads:
            thread.join(20)


class Handler(BaseHTTPRequestHandler):
    """Common parts of both servers."""

    protocol_version = "HTTP/1.1"

    def __init__(self, content: HubServer, *arguments: Any) -> None:
        self.content = content
        super().__init__(*arguments)

    def log_message(self, *_: object) -> None:
        pass

    @property
    def token(self) -> str | None:
        header = self.headers.get("authorization")
        return header.removeprefix("Bearer ") if header else None

    def record(self, prefix: str = "") -> str:
        """Record the request and return its path."""
        path = unquote(urlsplit(self.path).path)
        self.content.requests.append((self.command, prefix + path, self.token))
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

    def respond(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def respond_json(self, value: Any, status: int = 200) -> None:
        self.respond(status, json.dumps(value).encode(), Content_Type="application/json")


class StoreHandler(Handler):
    """Large files, by their SHA-256."""

    def do_GET(self) -> None:
        digest = self.record("store").removeprefix("/")
        self.respond(200, self.content.large_files[digest], ETag=f'"{digest}"')

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        digest, content = self.record("store").removeprefix("/"), self.body()
        assert hashlib.sha256(content).hexdigest() == digest
        self.content.large_files[digest] = content
        self.respond(200)


class HubHandler(Handler):
    """Repositories, their files and commits."""

    def do_GET(self) -> None:
        path = self.record()
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            repository = self.readable(match[1])
            if repository is not None:
                self.respond_json({"id": match[1], "modelId": match[1], "private": repository.private, "siblings": []})
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(*match.groups())
        else:
            self.respond(404)

    do_HEAD = do_GET

    def resolve(self, repo_id: str, revision: str, file: str) -> None:
        repository = self.readable(repo_id)
        if repository is None:
            return
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self.respond(404, X_Error_Code="RevisionNotFound")
        files = repository.commits[commit]
        if file not in files:
            return self.respond(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        content = files[file]
        size = str(self.content.sizes.get((repo_id, file), len(content)))
        if not file.endswith(LARGE_FILES):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            length: dict[str, Any] = {"Content_Length": size} if self.command == "HEAD" else {}
            return self.respond(200, content, ETag=f'"{etag}"', X_Repo_Commit=commit, **length)
        digest = hashlib.sha256(content).hexdigest()
        self.content.large_files[digest] = content
        linked: dict[str, Any] = {"X_Linked_ETag": f'"{digest}"', "X_Linked_Size": size, "X_Repo_Commit": commit}
        self.respond(302, Location=f"{self.content.store_url}/{digest}", **linked)

    def readable(self, repo_id: str) -> Repository | None:
        """Return a repository; respond as the Hub does if it does not exist or the user may not read it."""
        repository = self.content.repositories.get(repo_id)
        if repository is None or (repository.private and self.token != TOKEN):
            # With a 401 as well: over https the library assumes this code.
            self.respond(404 if self.token == TOKEN else 401, X_Error_Code="RepoNotFound")
            return None
        if repository.gated:
            self.respond(403, X_Error_Code="GatedRepo")
            return None
        return repository

    def do_POST(self) -> None:
        path, content = self.record(), self.body()
        if self.token != TOKEN:
            return self.respond(401, X_Error_Message="Invalid username or password.")
        if path == "/api/repos/create":
            return self.create(json.loads(content))
        if path == "/api/validate-yaml":
            _, front_matter, _ = json.loads(content)["content"].split("---\n", 2)
            assert isinstance(yaml.safe_load(front_matter), dict)
            return self.respond_json({"errors": [], "warnings": []})
        if re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/[^/]+", path):
            names = [entry["path"] for entry in json.loads(content)["files"]]
            modes = {name: "lfs" if name.endswith(LARGE_FILES) else "regular" for name in names}
            files = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
            return self.respond_json({"files": files})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                entry | {"actions": {"upload": {"href": f"{self.content.store_url}/{entry['oid']}"}}}
                for entry in json.loads(content)["objects"]
            ]
            return self.respond_json({"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            return self.commit(match[1], match[2], content)
        self.respond(404)

    def create(self, request: dict[str, Any]) -> None:
        repo_id = f"{request['organization']}/{request['name']}"
        if request["organization"] != "user":
            return self.respond(403, X_Error_Message="You don't have the rights to create a model there")
        exists = repo_id in self.content.repositories
        private = request.get("visibility") == "private" or bool(request.get("private"))
        self.content.repositories.setdefault(repo_id, Repository(private))
        self.respond_json({"url": f"{self.content.url}/{repo_id}"}, 409 if exists else 200)

    def commit(self, repo_id: str, branch: str, content: bytes) -> None:
        repository = self.content.repositories[repo_id]
        if branch != "main" and branch not in repository.branches:
            return self.respond(404, X_Error_Code="RevisionNotFound")
        files, message = {}, ""
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert entry["key"] == "lfsFile"
                files[value["path"]] = self.content.large_files[value["oid"]]
                assert len(files[value["path"]]) == value["size"]
        name = repository.commit(files, branch, message)
        url = f"{self.content.url}/{repo_id}/commit/{name}"
        self.respond_json({"commitUrl": url, "commitOid": name, "hookOutput": ""})
