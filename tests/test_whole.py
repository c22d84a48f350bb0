"""Agents that are up to date as a whole: when they are, and which calls of ./doit ask for steps all the same."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from doit import doit_cmd

from pipeline import told, toolchains
from pipeline.spec import Agent
from pipeline.steps import whole
from running import Built, doit


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """An agent with an archive and two files of artifacts, noted as fresh."""
    (tmp_path / "tiny.zip").write_bytes(b"zip")
    for name in ("tiny/onnx/policy.onnx", "tiny/onnx/manifest.json", "tiny/log/onnx.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    made = Agent("tiny", "tiny.toml", zip=str(tmp_path / "tiny.zip"))
    whole.record(made, tmp_path, False)
    return made


def rewrite(path: Path) -> None:
    """The same size and time, another file: what only the inode tells."""
    told = path.stat()
    beside = path.with_name("beside")
    beside.write_bytes(path.read_bytes()[::-1])
    os.utime(beside, ns=(told.st_atime_ns, told.st_mtime_ns))
    beside.replace(path)


def edit(path: Path) -> None:
    """The same size, inode and time of writing, which was set back."""
    told = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "an artifact is written to": lambda root: (root / "tiny/onnx/policy.onnx").write_text("other"),
    "an artifact is another file": lambda root: rewrite(root / "tiny/onnx/policy.onnx"),
    "an artifact is written to, and its time set back": lambda root: edit(root / "tiny/onnx/policy.onnx"),
    "an artifact is gone": lambda root: (root / "tiny/onnx/policy.onnx").unlink(),
    "there is one more": lambda root: (root / "tiny/onnx/extra").touch(),
    "the archive is another": lambda root: (root / "tiny.zip").write_bytes(b"another"),
    "the archive is gone": lambda root: (root / "tiny.zip").unlink(),
    "what was noted cannot be read": lambda root: (root / whole.FOLDER / "tiny").write_bytes(b"\xff"),
}


def test_agent_of_which_nothing_changed_is_fresh(agent: Agent, tmp_path: Path) -> None:
    assert whole.fresh(agent, tmp_path, False)
    (tmp_path / "tiny/log/onnx.txt").write_text("a log is no artifact")
    assert whole.fresh(agent, tmp_path, False)


@pytest.mark.parametrize("change", CHANGES)
def test_agent_is_not_fresh_when(agent: Agent, tmp_path: Path, change: str) -> None:
    CHANGES[change](tmp_path)
    assert not whole.fresh(agent, tmp_path, False)


def test_agent_is_not_fresh_with_another_config_or_tool(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not whole.fresh(dataclasses.replace(agent, stochastic=True), tmp_path, False)
    assert not whole.fresh(agent, tmp_path, True), "the baseline has steps of its own"
    whole._ours.cache_clear()
    monkeypatch.setattr(toolchains, "compiler", lambda: "another")
    assert not whole.fresh(agent, tmp_path, False)
    whole._ours.cache_clear()


def test_agent_with_an_interpreter_of_the_users_own_is_never_fresh(agent: Agent, tmp_path: Path) -> None:
    """Its packages may change, and no file of ours tells."""
    own = dataclasses.replace(agent, python="python3")
    whole.record(own, tmp_path, False)
    assert not whole.fresh(own, tmp_path, False)


@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("", "changed"),
        ("run", "changed"),
        ("-n 4 tiny memory=4", "changed"),
        ("-n4 --process=2 --process 2", "changed"),
        ("tiny other", "all"),
        ("tiny:onnx", "all"),
        ("onnx", "all"),
        ("verify=yes", "all"),
        ("clean tiny", "all"),
        ("forget", "all"),
        ("list", "none"),
        ("list artifacts=there", "none"),
        ("list --all", "all"),
        ("help run", "none"),
        ("inspect some.zip --json", "none"),
        ("bench:fleet", "none"),
        ("train:tiny", "all"),
    ],
)
def test_steps_are_made_only_for_calls_that_use_them(monkeypatch: pytest.MonkeyPatch, call: str, use: str) -> None:
    words = call.split()
    given = dict(word.split("=") for word in words if "=" in word and not word.startswith("-"))
    monkeypatch.setattr(doit_cmd, "_CMDLINE_VARS", given)
    assert told.use_of_steps(words, {"tiny"}, ("inspect", "bench")) == use


def test_run_with_nothing_to_do_asks_for_no_step_and_shows_the_table(shipped_agents: Built) -> None:
    folders = {"configs": shipped_agents.configs, "artifacts": shipped_agents.artifacts}
    doit(**folders)
    first, again, verified = doit(**folders), doit("list", "--all", **folders), doit("verify=yes", **folders)
    assert not first.done and "everything is up to date" in first.text
    assert first.text == verified.text
    assert "cartpole_ppo:onnx:convert" in again.text
    path = shipped_agents.artifacts / "cartpole_ppo" / "weights" / "weights.safetensors"
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    mended = doit(**folders)
    assert "cartpole_ppo:weights:convert" in mended.done
    assert path.read_bytes() == content
