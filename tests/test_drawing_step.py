"""The step that draws the gate: when it draws, from what, and when again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import artifacts, stored
from pipeline.artifacts import Manifest
from pipeline.hops import BY_KIND
from pipeline.settings import Environment, Ladder
from pipeline.spec import Agent, Verdict
from pipeline.steps import drawing, making, steps, verdicts

END = BY_KIND["tflite_quantized"]
AGENT = Agent("tiny", "tiny.toml", zip="tiny.zip", environment=Environment(id="CartPole-v1"))


def store(folder: Path, files: dict[str, Any], status: str = "built") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    entry = Manifest(
        {}, artifacts.digests(folder, ("litert", "pictures")), status, "it fell" if status != "built" else ""
    )
    (folder / artifacts.MANIFEST).write_text(stored.sealed(entry.__dict__))


def judge(home: Path, kind: str, status: Any, kept: float = 1.0) -> None:
    loop = {"closed_loop": {"kept": kept}}
    found = Verdict(status, "", loop if status != "not_run" else {})
    verdicts.write(home / kind / "litert" / verdicts.FILE, found, {})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ladder of which the first rung failed and the second is handed on; jobs are written down, not run."""

    def job(_: Agent, toolchain: str, asked: dict[str, Any], log: Path) -> None:
        (Path(asked["target"]) / "job.json").write_text(json.dumps({**asked, "toolchain": toolchain}, default=str))

    monkeypatch.setattr(making, "job", job)
    monkeypatch.setattr(making, "tools", lambda *_: {})
    found = tmp_path / "tiny"
    for kind, status in (("tflite_int8", "failed"), ("tflite_int8_ranges", "passed"), ("tflite_int16x8", "not_run")):
        store(found / kind, {"layers.json": []})
        store(found / kind / "litert", {"episodes.json": {}, "outputs.npz": 0})
        judge(found, kind, status)
    store(found / "observations", {"observations.npz": 0})
    return found


def test_what_was_tried_is_drawn_in_order(home: Path) -> None:
    step = drawing.pictures(AGENT, home, END)
    assert not step.fresh()
    step.act()
    assert step.fresh()
    asked = json.loads((home / "pictures" / "job.json").read_text())
    assert (asked["do"], asked["toolchain"]) == ("draw", drawing.TOOLCHAIN)
    told = [(rung["rung"], rung["status"], rung["chosen"]) for rung in asked["settings"]["rungs"]]
    assert told == [("int8", "failed", False), ("int8_ranges", "passed", True)]


@pytest.mark.parametrize("changed", ["verdict", "episodes", "layers", "outputs", "observations", "limit"])
def test_it_is_drawn_again_when_something_in_it_changes(home: Path, changed: str) -> None:
    drawing.pictures(AGENT, home, END).act()
    agent = AGENT
    if changed == "verdict":
        judge(home, "tflite_int8", "failed", 0.5)
    elif changed == "episodes":
        store(home / "tflite_int8" / "litert", {"episodes.json": {"returns": 1}})
    elif changed == "layers":
        store(home / "tflite_int8_ranges", {"layers.json": [1]})
    elif changed == "outputs":
        store(home / "tflite_int8_ranges" / "litert", {"outputs.npz": 1})
    elif changed == "observations":
        store(home / "observations", {"observations.npz": 1})
    else:
        agent = Agent("tiny", "tiny.toml", zip="tiny.zip", environment=AGENT.environment, int8=Ladder(return_kept=0.5))
    assert not drawing.pictures(agent, home, END).fresh()


def test_it_stays_when_nothing_in_it_changes(home: Path) -> None:
    drawing.pictures(AGENT, home, END).act()
    store(home / "tflite_int8", {"run_policy.py": "new"})
    assert drawing.pictures(AGENT, home, END).fresh()


def test_what_keeps_most_is_drawn_where_none_is_handed_on(home: Path) -> None:
    judge(home, "tflite_int8_ranges", "failed", 0.9)
    drawing.pictures(AGENT, home, END).act()
    asked = json.loads((home / "pictures" / "job.json").read_text())
    assert not any(rung["chosen"] for rung in asked["settings"]["rungs"])
    assert asked["source"] == str(home / "tflite_int8")
    waived = dataclasses.replace(AGENT, int8=Ladder(waiver="a demo"))
    drawing.pictures(waived, home, END).act()
    asked = json.loads((home / "pictures" / "job.json").read_text())
    assert [rung["chosen"] for rung in asked["settings"]["rungs"]] == [True, False]


def test_nothing_is_drawn_of_what_was_not_made(home: Path) -> None:
    for kind in ("tflite_int8", "tflite_int8_ranges"):
        judge(home, kind, "not_run")
    step = drawing.pictures(AGENT, home, END)
    step.act()
    found = artifacts.manifest(step.record.parent)
    assert found is not None and (found.status, found.files) == ("not_run", {})
    assert found.reason == "no rung of the ladder was made"


def test_only_the_end_of_a_ladder_is_drawn(tmp_path: Path) -> None:
    def names(*targets: str) -> list[str]:
        agent = Agent("tiny", "tiny.toml", zip="tiny.zip", targets=list(targets))
        return [step.name for step in steps(agent, tmp_path)]

    assert names("tflite_quantized")[-1] == "pictures"
    assert "pictures" not in names("tflite_int8", "tflite")
