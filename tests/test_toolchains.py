"""Environments: whole or absent, from their locks, also where the machine lacks Node or a compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline import errors, toolchains
from pipeline.toolchains import making
from running import ROOT, Built, doit


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for toolchains."""
    monkeypatch.setenv("SLIPWAY_TOOLCHAINS", str(tmp_path / "toolchains"))
    (tmp_path / "toolchains").mkdir()
    return tmp_path / "toolchains"


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH with neither Node nor a compiler."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.mark.parametrize("name", toolchains.TOOLCHAINS)
def test_toolchain_was_proven_with_the_locked_versions(name: str) -> None:
    assert toolchains.ready(name)
    stamp = json.loads((toolchains.folder(name) / toolchains.STAMP).read_text())
    assert stamp["lock"] == toolchains.lock_digest(name)
    lock = (ROOT / toolchains.TOOLCHAINS[name].locks[0]).read_text()
    for package, version in stamp["versions"].items():
        if package not in ("torch", "node", "c++"):
            assert f"{package}=={version}" in lock or f'"version": "{version}"' in lock


def test_changed_lock_is_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = toolchains.folder("device")
    monkeypatch.setattr(toolchains, "ROOT", tmp_path)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "device.txt").write_text("numpy==1")
    assert toolchains.folder("device") != before


def test_node_comes_from_a_wheel_where_the_machine_has_none(elsewhere: Path, bare_path: None, tmp_path: Path) -> None:
    making.make("node", tmp_path / "log.txt")
    place = toolchains.folder("node")
    assert (place / "node").resolve().is_relative_to(elsewhere)
    assert json.loads((place / "slipway.json").read_text())["versions"]["node"] == "24.19.0"
    answer = subprocess.run([place / "node", "-p", "1 + 1"], capture_output=True, text=True)
    assert answer.stdout == "2\n"


def test_libtorch_is_not_made_without_a_compiler(elsewhere: Path, bare_path: None, tmp_path: Path) -> None:
    with pytest.raises(errors.NotRun, match="No C\\+\\+ compiler found"):
        making.make("libtorch", tmp_path / "log.txt")
    assert not toolchains.ready("libtorch")
    assert not list(elsewhere.iterdir())


def test_failed_install_is_quoted_and_leaves_nothing(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("no-such-package-of-ours==1 --hash=sha256:" + "0" * 64)
    broken = toolchains.Toolchain("device", (str(lock),), ("numpy",), ("numpy",), "")
    monkeypatch.setitem(toolchains.TOOLCHAINS, "device", broken)
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(errors.ToolchainBroken, match="Installing device failed") as caught:
        making.make("device", tmp_path / "log.txt")
    assert caught.value.file == str(tmp_path / "log.txt")
    assert "no-such-package-of-ours" in (tmp_path / "log.txt").read_text()
    assert not list(elsewhere.iterdir())


def test_environment_that_does_not_import_is_not_committed(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.txt").write_text("")
    broken = toolchains.Toolchain("device", (str(tmp_path / "empty.txt"),), ("no_such_module",), ("pip",), "")
    monkeypatch.setitem(toolchains.TOOLCHAINS, "device", broken)
    with pytest.raises(errors.ToolchainBroken, match="No module named 'no_such_module'"):
        making.make("device", tmp_path / "log.txt")
    assert not toolchains.ready("device")


def test_half_made_folder_is_not_ready(elsewhere: Path) -> None:
    (toolchains.folder("device") / "bin").mkdir(parents=True)
    (toolchains.folder("device") / "bin" / "python").touch()
    assert not toolchains.ready("device")


def test_what_a_killed_run_left_is_cleared(elsewhere: Path) -> None:
    (elsewhere / ".staging-torch-999999999").mkdir()
    (elsewhere / f".staging-torch-{os.getpid()}").mkdir()
    making._clear_abandoned()
    assert [path.name for path in elsewhere.iterdir()] == [f".staging-torch-{os.getpid()}"]


def test_variables_of_the_caller_do_not_reach_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    found = toolchains.environment()
    assert (found["PYTHONHASHSEED"], found["TF_ENABLE_ONEDNN_OPTS"]) == ("0", "0")


def test_interpreter_of_the_user_stands_in_for_the_torch_toolchain(tiny_agents: Built, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        f'zip = "{tiny_agents.configs}/dqn.zip"\npython = "{toolchains.python("test")}"\ntargets = ["onnx", "weights"]\n'
    )
    run = doit(configs=tmp_path, artifacts=tmp_path / "artifacts")
    assert run.code == 0, run.text
    manifest = json.loads((tmp_path / "artifacts" / "mine" / "onnx" / "manifest.json").read_text())
    assert manifest["key"]["toolchain"]["lock"] == toolchains.foreign_identity(toolchains.python("test"))
    assert doit(configs=tmp_path, artifacts=tmp_path / "artifacts").done == set()


def test_interpreter_that_lacks_a_package_is_told_what_to_install(tiny_agents: Built, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        f'zip = "{tiny_agents.configs}/dqn.zip"\npython = "{toolchains.python("device")}"\n'
    )
    run = doit(configs=tmp_path, artifacts=tmp_path / "artifacts")
    assert "No package metadata was found for torch" in run.error("mine")
    assert "Install there: torch, stable-baselines3" in run.error("mine")


def test_first_environment_is_made_again_when_its_lock_changed(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "doit", clone)
    shutil.copy(ROOT / "requirements" / "make_host.py", clone / "requirements")
    (clone / "requirements" / "host.txt").write_text("no-such-package-of-ours==1 --hash=sha256:" + "0" * 64)
    done = subprocess.run(
        [clone / "doit", "list"], capture_output=True, text=True, env={**os.environ, "PIP_NO_INDEX": "1"}
    )
    assert done.returncode != 0
    assert "Slipway's first environment could not be made" in done.stderr
    assert not (clone / ".toolchains" / "host" / "host.txt").exists()
