"""A Hub on the loopback interface: enough of its API to create a repository, commit to it, and load from it."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_dummy"


@dataclass
class Repository:
    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        names = [f"{name} {hashlib.sha1(content).hexdigest()}" for name, content in sorted(files.items())]
        sha = hashlib.sha1("\n".join([branch, str(len(self.commits)), *names]).encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        self.messages.append(message)
        return sha

    def sha(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)


class Hub(ThreadingHTTPServer):
    """Serves from its construction to `close`. `repositories` by id; `requests`: (method, path, token) of each.

    `drop_commits`: hang up in the middle of a commit. `hold_commits`: while set, commits wait, received but not made;
    `commit_arrived` tells that one waits.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.drop_commits = self.hold_commits = False
        self.commit_arrived = threading.Event()
        self.release = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        repository = self.repositories[repo_id]
        return repository.commits[str(repository.sha(revision))]


class HubHandler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    ROUTES = [
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate_card"),
        ("GET", r"/api/whoami-v2", "who_am_i"),
        ("POST", r"/api/models/([^/]+/[^/]+)/branch/([^/]+)", "branch"),
        ("POST", r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", "preupload"),
        ("POST", r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", "commit"),
        ("GET", r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", "info"),
        ("GET", r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", "tree"),
        ("GET", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
    ]

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.server.requests.append((self.command, path, token))
        for method, pattern, name in self.ROUTES:
            if ("GET" if self.command == "HEAD" else self.command) == method and (m := re.fullmatch(pattern, path)):
                arguments = [unquote(group) if group else group for group in m.groups()]
                repository = self.server.repositories.get(arguments[0]) if arguments else None
                if token != TOKEN and (method == "POST" or (repository and repository.private)):
                    return self.refuse(401, "RepoNotFound")
                return getattr(self, name)(*arguments)
        return self.refuse(404, "EntryNotFound")

    do_HEAD = do_POST = do_GET  # noqa: N815

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    def create(self) -> None:
        asked = json.loads(self.body)
        repo_id = f"{asked.get('organization') or 'ann'}/{asked['name']}"
        if repo_id in self.server.repositories:
            return self.answer({"url": f"{self.server.address}/{repo_id}", "error": "exists"}, 409)
        self.server.repositories[repo_id] = Repository(private=asked.get("visibility") == "private")
        self.server.repositories[repo_id].commit("main", {".gitattributes": b""}, "initial commit")
        return self.answer({"url": f"{self.server.address}/{repo_id}", "name": repo_id})

    def validate_card(self) -> None:
        self.answer({"errors": [], "warnings": []})

    def who_am_i(self) -> None:
        self.answer({"type": "user", "name": "ann", "orgs": []})

    def branch(self, repo_id: str, name: str) -> None:
        repository = self.server.repositories[repo_id]
        if name in repository.branches:
            return self.answer({"error": "exists"}, 409)
        repository.branches[name] = repository.branches["main"]
        return self.answer({})

    def preupload(self, repo_id: str, revision: str) -> None:
        files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(self.body)["files"]]
        self.answer({"files": [{key: file[key] for key in ("path", "uploadMode", "shouldIgnore")} for file in files]})

    def commit(self, repo_id: str, branch: str) -> None:
        if self.server.drop_commits:
            self.close_connection = True
            return
        if self.server.hold_commits:
            self.server.commit_arrived.set()
            self.server.release.wait()
            self.close_connection = True
            return
        repository = self.server.repositories[repo_id]
        files, message = dict(self.server.files(repo_id, branch)), ""
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(branch, files, message)
        self.answer({"success": True, "commitUrl": f"{self.server.address}/{repo_id}/commit/{sha}", "commitOid": sha})

    def info(self, repo_id: str, revision: str | None) -> None:
        repository = self.server.repositories.get(repo_id)
        if repository is None:
            return self.refuse(404, "RepoNotFound")
        sha = repository.sha(revision or "main")
        if sha is None:
            return self.refuse(404, "RevisionNotFound")
        files = [{"rfilename": name} for name in repository.commits[sha]]
        return self.answer({"id": repo_id, "sha": sha, "private": repository.private, "siblings": files, "tags": []})

    def tree(self, repo_id: str, revision: str) -> None:
        files = self.server.files(repo_id, revision)
        self.answer([
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in files.items()
        ])  # fmt: skip

    def resolve(self, repo_id: str, revision: str, name: str) -> None:
        repository = self.server.repositories.get(repo_id)
        if repository is None:
            return self.refuse(404, "RepoNotFound")
        sha = repository.sha(revision)
        if sha is None:
            return self.refuse(404, "RevisionNotFound")
        if name not in repository.commits[sha]:
            return self.refuse(404, "EntryNotFound")
        content = repository.commits[sha][name]
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self.answer(content, ETag=etag, X_Repo_Commit=sha)

    def log_message(self, format: str, *args: Any) -> None:
        pass
