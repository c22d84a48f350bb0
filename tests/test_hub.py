"""Agents of the Hugging Face Hub: its real client, against a server on this machine that answers as the Hub does."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from pipeline import config, errors
from pipeline.hops import KINDS
from running import Run, doit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "somebody/ppo-CartPole-v1"


@dataclass
class Hub:
    """One repository with one commit, and what was asked of it."""

    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    served: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    storage: str = ""  # under another host name, as the Hub has it

    def tree(self) -> list[dict[str, object]]:
        """The commit's files as the Hub lists them: archives in large file storage, the rest in git."""
        found = []
        for path, content in self.files.items():
            entry = {"type": "file", "oid": _git(content), "size": len(content), "path": path}
            if path.endswith((".zip", ".pkl")):
                entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 130}
            found.append(entry)
        return [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "ppo-CartPole-v1"}, *found]


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """The routes that the client asks for: a commit's tree, a file's resolution, and the storage behind it."""

    hub: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if path.startswith("/storage/"):
            return self.answer(200, self.hub.served[path.removeprefix("/storage/")])
        if path.startswith("/api/models/"):
            repo, _, commit = path.removeprefix("/api/models/").partition("/tree/")
            return self.refuse(repo, commit) or self.answer(200, json.dumps(self.hub.tree()).encode())
        repo, _, rest = path.strip("/").partition("/resolve/")
        commit, _, name = rest.partition("/")
        return self.refuse(repo, commit, name) or self.resolve(name)

    do_HEAD = do_GET

    def refuse(self, repo: str, commit: str, name: str = "") -> bool:
        if repo == "somebody/gated" and name:
            return self.error(403, "GatedRepo", "Access to model somebody/gated is restricted")
        if repo not in (REPO, "somebody/gated"):
            return self.error(401, "RepoNotFound", "Repository not found")
        if commit != COMMIT:
            return self.error(404, "RevisionNotFound", f"Invalid rev id: {commit}")
        return bool(name) and name not in self.hub.files and self.error(404, "EntryNotFound", "Entry not found")

    def error(self, code: int, kind: str, message: str) -> bool:
        self.answer(code, b"", {"X-Error-Code": kind, "X-Error-Message": message})
        return True

    def resolve(self, name: str) -> None:
        content = self.hub.files[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_git(content)}"'}
        if not name.endswith((".zip", ".pkl")):
            return self.answer(200, content, headers)
        digest = _sha256(content)
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        return self.answer(302, b"", {**headers, "Location": f"{self.hub.storage}/storage/{digest}"})

    def answer(self, code: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub(tiny_zip: Path) -> Iterator[Hub]:
    files = {
        "README.md": b"# An agent",
        "ppo-CartPole-v1.zip": tiny_zip.read_bytes(),
        "vec_normalize.pkl": tiny_zip.with_suffix(".pkl").read_bytes(),
        "old/ppo-CartPole-v1.zip": tiny_zip.read_bytes(),
        "raw/agent.bin": tiny_zip.read_bytes(),
    }
    held = Hub(files, served={_sha256(content): content for content in files.values()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": held}))
    held.url, held.storage = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield held
    server.shutdown()
    server.server_close()


HUB = f'[hub]\nrepo_id = "{REPO}"\nfilename = "a.zip"\n'
PINNED = f'{HUB}revision = "{COMMIT}"\n'


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        (HUB + 'revision = "main"', "hub.revision is no commit, and a branch or tag would be another agent tomorrow. Expected 40 hexadecimal digits, found 'main'. Copy the full commit from the repository's page: Files and versions, History"),
        (HUB + f'revision = "{COMMIT[:12]}"', f"found '{COMMIT[:12]}'"),
        (HUB, "[hub] lacks revision. Expected repo_id, filename and revision"),
        ("[hub]", "[hub] lacks repo_id and filename and revision"),
        (PINNED.replace(REPO, "CartPole"), "hub.repo_id is no repository. Expected owner/name, found 'CartPole'"),
        ('zip = "a.zip"\n' + PINNED, "Zip and [hub] are both set: the archive comes from one of them"),
        ('vecnormalize = "a.pkl"\n' + PINNED, "set hub.vecnormalize instead"),
        ("", "Neither zip nor [hub] nor [recipe] algorithm is set"),
        (HUB.replace("filename", "file_name"), "did you mean 'hub.filename'?"),
    ],
)  # fmt: skip
def test_table_that_names_no_agent_is_refused(tmp_path: Path, text: str, telling: str) -> None:
    (tmp_path / "agent.toml").write_text(text)
    with pytest.raises(errors.SlipwayError) as caught:
        config.load(tmp_path / "agent.toml", KINDS)
    assert telling in str(caught.value)


def build(folder: Path, hub: Hub, **environment: str) -> Run:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {"HF_ENDPOINT": hub.url, "HOME": str(home), "HF_HOME": str(home / "hf"), **environment}
    return doit(configs=folder, artifacts=folder / "artifacts", **environment)


def agent(folder: Path, name: str = "agent", **changed: str) -> None:
    table = {"repo_id": REPO, "filename": "ppo-CartPole-v1.zip", "revision": COMMIT, "vecnormalize": "none", **changed}
    lines = [f'{key} = "{value}"' for key, value in table.items() if value]
    (folder / f"{name}.toml").write_text('targets = ["weights"]\n[hub]\n' + "\n".join(lines) + "\n")


def test_agent_is_fetched_once_and_built(tmp_path: Path, hub: Hub, tiny_zip: Path) -> None:
    agent(tmp_path, vecnormalize="vec_normalize.pkl")
    run = build(tmp_path, hub)
    assert run.code == 0, run.text
    fetched = tmp_path / "artifacts" / "agent" / "hub"
    assert {path.name for path in fetched.iterdir()} == {"agent.zip", "vecnormalize.pkl", "manifest.json"}
    assert (fetched / "agent.zip").read_bytes() == tiny_zip.read_bytes()
    assert "agent:weights:weights:check" in run.done
    assert not [path for path in (tmp_path / "home").rglob("*") if "hf" in path.name or "hugging" in path.name]
    first = list(hub.asked)
    assert {line.split("/")[1] for line in first} == {"api", "somebody", "storage"}, "telemetry"
    assert f"GET /{REPO}/resolve/{COMMIT}/ppo-CartPole-v1.zip" not in first, "the storage was asked instead"
    assert sum(line.startswith("GET /storage/") for line in first) == 2

    again = build(tmp_path, hub)
    assert "everything is up to date" in again.text
    offline = build(tmp_path, hub, HF_HUB_OFFLINE="1")
    assert offline.code == 0
    assert hub.asked == first

    agent(tmp_path, revision="f" * 40)
    assert build(tmp_path, hub).error("agent").startswith("HubRevisionUnknown: ")


def test_damaged_archive_is_fetched_again(tmp_path: Path, hub: Hub) -> None:
    agent(tmp_path)
    build(tmp_path, hub)
    (tmp_path / "artifacts" / "agent" / "hub" / "agent.zip").write_bytes(b"damaged")
    count = len(hub.asked)
    run = build(tmp_path, hub)
    assert run.code == 0
    assert run.done == {"agent:hub"}, "what was made from the archive stays"
    assert len(hub.asked) > count


def test_file_that_git_itself_keeps_is_held_to_its_digest(tmp_path: Path, hub: Hub) -> None:
    agent(tmp_path, filename="raw/agent.bin")
    assert build(tmp_path, hub).code == 0


WRONG = [
    ("typo", {"filename": "ppo-CartPole-v2.zip"}, "HubFileMissing", "did you mean 'ppo-CartPole-v1.zip'? Expected ppo-CartPole-v1.zip, vec_normalize.pkl"),
    ("statistics", {"vecnormalize": "gone.pkl"}, "HubFileMissing", "has no file 'gone.pkl' in that commit"),
    ("nobody", {"repo_id": "somebody/nothing"}, "HubRepositoryMissing", "no repository somebody/nothing on the Hub, or it is private. Check repo_id in [hub]; for a private repository set HF_TOKEN"),
    ("gated", {"repo_id": "somebody/gated"}, "HubRepositoryGated", "Accept its conditions on its page"),
    ("commit", {"revision": "f" * 40}, "HubRevisionUnknown", f"has no commit {'f' * 40}. Copy the full commit from the repository's page"),
    ("beside", {"vecnormalize": ""}, "StatisticsMissing", "does not say whether vec_normalize.pkl belongs to the archive"),
    ("page", {"filename": "README.md"}, "NotAnAgent", "is not a zip"),
]  # fmt: skip


def test_each_wrong_table_gets_one_clear_error(tmp_path: Path, hub: Hub) -> None:
    for name, changed, _, _ in WRONG:
        agent(tmp_path, name, **changed)
    agent(tmp_path, "good")
    run = build(tmp_path, hub)
    for name, _, kind, telling in WRONG:
        assert run.error(name).startswith(f"{kind}: agent {name}, "), run.error(name)
        assert telling in run.error(name)
    assert "good:weights:weights:check" in run.done
    assert "Traceback" not in run.text


def test_file_that_is_not_what_the_repository_describes_is_refused(tmp_path: Path, hub: Hub) -> None:
    digest = _sha256(hub.files["ppo-CartPole-v1.zip"])
    content = hub.served[digest]
    hub.served[digest] = content[:-1] + bytes([content[-1] ^ 1])
    agent(tmp_path)
    run = build(tmp_path, hub)
    assert "is not the file that the repository describes" in run.error("agent")
    assert not (tmp_path / "artifacts" / "agent" / "hub").exists()


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_connection_the_error_says_so(tmp_path: Path, hub: Hub, offline: bool) -> None:
    agent(tmp_path)
    variables = {"HF_HUB_OFFLINE": "1"} if offline else {"HF_ENDPOINT": "http://127.0.0.1:9"}
    line = build(tmp_path, hub, **variables).error("agent")
    assert line.startswith("HubUnreachable: ")
    assert line.endswith("agents that were fetched before stay usable without it.")
    assert not hub.asked
