"""What docs/contract.md says is so: its snippets run, and its tables name what contracts hold."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import contract as contracts
from pipeline import toolchains
from pipeline.agents import jobs
from running import ROOT, Built

PAGE = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"<!-- runs on: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_snippet_says_what_it_runs_on() -> None:
    assert len(SNIPPETS) == PAGE.count("```python") == 3


def agent_for(tiny_agents: Built, algorithm: str, text: str) -> Path:
    """A tiny agent of the algorithm that takes the snippet's observation."""
    width = int(re.search(r"np\.zeros\(\(1, (\d)\)", text)[1])
    mask = np.array([[True, False, True, True]])
    for path in sorted(tiny_agents.artifacts.glob("*/onnx/policy.json")):
        contract = json.loads(path.read_text())
        takes = {entry["name"]: entry["shape"][1:] for entry in contract["takes"]}
        fits = takes.get("observation") == [width] and takes.get("action_mask", [4]) == list(mask.shape[1:])
        if contract["algorithm"] == algorithm and fits and contract["action_space"]["type"] == "Discrete":
            return path.parents[1]
    pytest.fail(f"no tiny {algorithm} agent observes {width} numbers")


def expected(home: Path, algorithm: str, text: str) -> int:
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
    return int(action[0])


@pytest.mark.parametrize(("algorithm", "text"), SNIPPETS, ids=[name for name, _ in SNIPPETS])
def test_snippet_runs(tiny_agents: Built, tmp_path: Path, algorithm: str, text: str) -> None:
    home = agent_for(tiny_agents, algorithm, text)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "my_agent").symlink_to(home)
    command = [toolchains.python("device"), "-c", text + "\nprint(int(action[0]))"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    if algorithm != "PPO":  # which draws
        assert int(done.stdout) == expected(home, algorithm, text)


def test_table_names_the_fields_of_a_contract(tiny_agents: Built) -> None:
    table = PAGE.split("| field |")[1].split("\n\n")[0]
    named = {name for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    contract = contracts.load(next(tiny_agents.artifacts.glob("*/onnx")))
    assert named <= set(contract)


def test_every_step_is_explained() -> None:
    source = (ROOT / "pipeline" / "contract.py").read_text(encoding="utf-8")
    steps = set(re.findall(r'step\["op"\] == "(\w+)"', source))
    table = PAGE.split("| step |")[1].split("\n\n")[0]
    assert len(steps) >= 10
    assert steps <= set(re.findall(r"`(\w+)`", table))
