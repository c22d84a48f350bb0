"""What docs/contract.md says is so: its snippets run, and its tables name what contracts hold."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import untrained
from families import Family
from pipeline import contract as contracts
from pipeline import toolchains
from pipeline.agents import jobs
from running import ROOT, Built, doit

PAGE = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"<!-- runs on: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_snippet_says_what_it_runs_on() -> None:
    assert len(SNIPPETS) == PAGE.count("```python") == 3


FAMILIES = {
    "MaskablePPO": Family("MaskablePPO", "MlpPolicy", "Box", "Discrete"),
    "RecurrentPPO": Family("RecurrentPPO", "MlpLstmPolicy", "Box", "Discrete"),
    "PPO": Family("PPO", "MlpPolicy", "Box unbounded", "Discrete"),
}


@pytest.fixture(scope="module")
def snippet_agents(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An untrained agent for each snippet, as ONNX."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "configs").mkdir()
    for name, family in FAMILIES.items():
        assert not untrained.save(family, folder / "configs", name)
    run = doit("onnx", configs=folder / "configs", artifacts=folder / "artifacts")
    assert run.code == 0, run.text
    return Built(folder / "configs", folder / "artifacts", run)


def expected(home: Path, algorithm: str) -> np.ndarray:
    """What SB3's predict answers at the end of the snippet."""
    reference = jobs.open_agent(home / "sb3")
    takes: list[dict[str, Any]] = contracts.load(home / "sb3")["takes"]
    inputs = {entry["name"]: np.zeros((1, *entry["shape"][1:]), np.float32) for entry in takes}
    if algorithm == "MaskablePPO":
        inputs["action_mask"] = np.array([[True, False, True, True]])
    action, states = reference.predict(inputs)
    for _ in range(9 if algorithm == "RecurrentPPO" else 0):
        states = {name.removeprefix("new_"): values for name, values in states.items()}
        action, states = reference.predict({**inputs, **states, "keep": np.ones((1, 1), np.float32)})
    return action.ravel()


@pytest.mark.parametrize(("algorithm", "text"), SNIPPETS, ids=[name for name, _ in SNIPPETS])
def test_snippet_runs(snippet_agents: Built, tmp_path: Path, algorithm: str, text: str) -> None:
    home = snippet_agents.artifacts / algorithm
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "my_agent").symlink_to(home)
    command = [toolchains.python("device"), "-c", text + "\nprint(action.ravel().tolist())"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    if algorithm != "PPO":  # which draws
        assert json.loads(done.stdout) == pytest.approx(expected(home, algorithm), abs=1e-4)


def test_table_names_the_fields_of_a_contract(snippet_agents: Built) -> None:
    table = PAGE.split("| field |")[1].split("\n\n")[0]
    named = {name for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    contract = contracts.load(snippet_agents.artifacts / "PPO" / "onnx")
    assert named <= set(contract)


def test_every_step_is_explained() -> None:
    source = (ROOT / "pipeline" / "contract.py").read_text(encoding="utf-8")
    steps = set(re.findall(r'step\["op"\] == "(\w+)"', source))
    table = PAGE.split("| step |")[1].split("\n\n")[0]
    assert len(steps) >= 10
    assert steps <= set(re.findall(r"`(\w+)`", table))
