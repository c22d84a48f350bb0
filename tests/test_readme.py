"""The README's snippets run, and give the action of predict."""

from __future__ import annotations

import functools
import http.server
import re
import subprocess
import threading
from pathlib import Path

import pytest

from pipeline import toolchains
from running import ROOT, Built

README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"<!-- runs in: (\w+) -->\n```(\w+)\n(.*?)```", README, re.DOTALL)
FENCED = re.findall(r"^```\w+$", README, re.MULTILINE)


def test_every_snippet_says_where_it_runs() -> None:
    assert len(SNIPPETS) == len(FENCED) == 8


@pytest.fixture(scope="module")
def actions(shipped_agents: Built) -> dict[str, float]:
    """What predict answers to the observations of the snippets."""
    import numpy as np

    from pipeline.agents import jobs

    questions = {"cartpole_ppo": [[0.01, -0.02, 0.03, 0.04]], "pendulum_sac": [[0.5, 0.8, -1.0]]}
    answers = {
        agent: jobs.open_agent(shipped_agents.artifacts / agent / "sb3").predict({"observation": np.float32(rows)})
        for agent, rows in questions.items()
    }
    return {agent: float(np.ravel(action)[0]) for agent, (action, _) in answers.items()}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippet_gives_the_action_of_predict(
    shipped_agents: Built, actions: dict[str, float], tmp_path: Path, number: int
) -> None:
    where, language, text = SNIPPETS[number]
    (tmp_path / "artifacts").symlink_to(shipped_agents.artifacts)
    if language == "python":
        text += "\nprint(float(np.ravel(action)[0]))" if "np" in text else "\nprint(float(action[0]))"
        script = tmp_path / "snippet.py"
        command = [toolchains.python(where), str(script)]
        found = run(command, script, text, tmp_path)
    else:
        handler = functools.partial(Quiet, directory=str(shipped_agents.artifacts))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (tmp_path / "node_modules").symlink_to(toolchains.folder("node") / "node_modules")
        script = tmp_path / "snippet.mjs"
        text = text.replace("localhost:8000", f"127.0.0.1:{server.server_port}")
        found = run([str(toolchains.folder("node") / "node"), str(script)], script, text, tmp_path)
        server.shutdown()
    agent = next(name for name in actions if name in text)
    near = 0.1 if "tflite_quantized" in text else 1e-4
    assert found == pytest.approx(actions[agent], abs=near)


def run(command: list[str], script: Path, text: str, where: Path) -> float:
    script.write_text(text, encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, cwd=where, timeout=120)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


def test_keys_of_the_table_are_keys_of_the_config() -> None:
    from pipeline.spec import Agent

    table = README.split("| key | what it says")[1].split("\n\n")[0]
    named = {
        name.partition(".")[0]
        for name in re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`\[?([\w.]+)\]?`", name)
    }
    inner = {"id", "kwargs", "wrappers", "imports"}
    assert named - inner <= set(Agent.__dataclass_fields__)
