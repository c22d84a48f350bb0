"""A step makes its folder from what its key names, or makes nothing."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import artifacts, cache, errors
from pipeline.artifacts import Manifest
from pipeline.cache import Local
from pipeline.spec import Agent
from pipeline.steps import making
from pipeline.steps.making import Step

KEY = {"inputs": {"source": "ab"}}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An agent's folder with an artifact in ``onnx/``."""
    root = tmp_path / "artifacts"
    with artifacts.staging(root) as staged:
        (staged / "policy.onnx").write_text("a graph")
        artifacts.commit(staged, root / "agent" / "onnx", Manifest({}, artifacts.digests(staged)))
    return root / "agent"


def step(home: Path, make: Callable[[Path, Path], None], key: Callable[[], dict[str, Any]] = lambda: KEY) -> Step:
    return making.folder_step(
        Agent("agent", "agent.toml"),
        home,
        home / "tflite",
        "tflite:convert",
        "",
        after=(),
        needs=("device",),
        key=key,
        make=make,
        source=home / "onnx",
    )


def write(staged: Path, log: Path) -> None:
    (staged / "policy.tflite").write_text("a model")


def test_folder_is_made_with_its_key(home: Path) -> None:
    made = step(home, write)
    assert not made.fresh()
    made.act()
    assert made.fresh()
    stored = artifacts.manifest(home / "tflite")
    assert stored is not None and (stored.key, sorted(stored.files)) == (KEY, ["policy.tflite"])


@pytest.mark.parametrize("change", ["written", "gone"])
def test_result_of_a_converter_that_changes_its_input_is_thrown_away(home: Path, change: str) -> None:
    def make(staged: Path, log: Path) -> None:
        write(staged, log)
        source = home / "onnx" / "policy.onnx"
        source.write_text("b graph") if change == "written" else source.unlink()

    with pytest.raises(errors.InputsChanged) as caught:
        step(home, make).act()
    assert str(caught.value) == (
        f"InputsChanged: agent agent, hop tflite:convert, file {home}/onnx/policy.onnx: A file that it is made from was "
        "changed while it was made. The result is thrown away: run ./doit again, which makes what was changed anew."
    )
    assert not (home / "tflite").exists()
    assert not list((home.parent / artifacts.STAGING).iterdir())


def test_result_is_thrown_away_where_its_key_changed_meanwhile(home: Path) -> None:
    """An archive that is replaced while it is read would be known by the other's digest."""
    keys = itertools.count()
    with pytest.raises(errors.InputsChanged, match="What it is made from was changed while it was made"):
        step(home, write, lambda: {"zip": next(keys)}).act()
    assert not (home / "tflite").exists()


def test_what_was_not_run_is_known_to_the_cache_with_its_reason(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "CURRENT", cache.Cache(Local(tmp_path / "cache", 1e9)))

    def refuse(staged: Path, log: Path) -> None:
        raise errors.NotRun("no operator Foo")

    step(home, refuse).act()
    shutil.rmtree(home / "tflite")
    again = step(home, write)
    assert again.fresh(), "taken, and not made"
    stored = artifacts.manifest(home / "tflite")
    assert stored is not None and (stored.status, stored.reason) == ("not_run", "no operator Foo")


def test_cache_that_is_full_of_damage_is_as_none(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cache.Cache(Local(tmp_path / "cache", 1e9))
    monkeypatch.setattr(cache, "CURRENT", found)
    step(home, write).act()
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damage")
    for path in (home / "tflite").iterdir():
        path.unlink()
    again = step(home, write)
    assert not again.fresh()
    again.act()
    assert again.fresh()
    assert (found.kept, found.taken) == (2, 0)
