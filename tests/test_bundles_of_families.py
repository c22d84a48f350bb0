"""Bundles of agents of every algorithm, policy, observation and action: their golden vectors hold, their READMEs run."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from pipeline import config, toolchains
from pipeline.bundles import golden, packing, portable, verifying
from pipeline.hops import BY_KIND, KINDS
from pipeline.steps import bundling
from running import Built


def test_golden_vectors_hold_for_every_agent_and_kind(tiny_agents: Built) -> None:
    compared = 0
    for home in sorted(path for path in tiny_agents.artifacts.iterdir() if (path / "sb3").is_dir()):
        for kind in BY_KIND:
            verdicts = [json.loads(path.read_text()) for path in (home / kind).glob("*/verdict.json")]
            if golden.runtime_of(kind) and any(verdict["status"] == "passed" for verdict in verdicts):
                assert not golden.compare(home / kind, golden.runtime_of(kind), verdicts), f"{home.name}: {kind}"
                compared += 1
    assert compared > 100


@pytest.mark.parametrize("name", ["recurrent_dict", "maskable_multidiscrete", "ppo_image"])
def test_bundle_holds_and_the_snippets_of_its_readme_run(tiny_agents: Built, tmp_path: Path, name: str) -> None:
    agent = config.load(tiny_agents.configs / f"{name}.toml", KINDS)
    root = tiny_agents.artifacts
    facts = bundling.facts(agent, root, portable.text(agent), bundling.date())
    packing.pack(root / name, tmp_path, facts)
    found = verifying.verify(tmp_path / f"{name}.tar.zst", tmp_path / "opened")
    assert {"onnx", "tflite", "weights"} <= set(found["kinds"])
    folder = tmp_path / "opened" / name
    snippets = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 3
    for text in snippets:
        done = subprocess.run([toolchains.python("device"), "-c", text], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("["), done.stderr
