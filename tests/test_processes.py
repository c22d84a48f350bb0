"""Jobs run in forks of warm processes; what ends badly is told, and the next job runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import config, errors, processes, steps, toolchains
from pipeline.hops import KINDS
from pipeline.steps import verdicts
from running import Built

DEVICE = toolchains.TOOLCHAINS["device"].imports


@pytest.fixture
def weights_job(shipped_agents: Built, tmp_path: Path) -> dict:
    home = shipped_agents.artifacts / "cartpole_ppo"
    return {
        "do": "run",
        "runtime": "weights",
        "source": str(home / "weights"),
        "target": str(tmp_path),
        "observations": str(home / "observations" / "observations.npz"),
        "needs": {},
    }


def test_process_is_kept_for_the_next_job(weights_job: dict, tmp_path: Path) -> None:
    python = toolchains.python("device")
    processes.run(python, DEVICE, weights_job, tmp_path / "log.txt", 60)
    before = list(processes._idle[python])
    processes.run(python, DEVICE, weights_job, tmp_path / "log.txt", 60)
    assert processes._idle[python] == before


def test_cold_and_warm_and_hundredth_answers_are_equal_bytes(weights_job: dict, tmp_path: Path) -> None:
    found = set()
    for _ in range(3):
        processes.run(toolchains.python("device"), DEVICE, weights_job, tmp_path / "log.txt", 60)
        with np.load(tmp_path / "outputs.npz") as stored:
            found.add(stored["logits"].tobytes())
    processes.stop_all()
    processes.run(toolchains.python("device"), DEVICE, weights_job, tmp_path / "log.txt", 60)
    with np.load(tmp_path / "outputs.npz") as stored:
        found.add(stored["logits"].tobytes())
    assert len(found) == 1


def test_toolchain_that_does_not_start_is_told(weights_job: dict, tmp_path: Path) -> None:
    processes.stop_all()  # a process that runs already would be taken
    with pytest.raises(errors.ToolchainBroken) as caught:
        processes.run(toolchains.python("device"), ("no_such_module",), weights_job, tmp_path / "log.txt", 60)
    assert "No module named 'no_such_module'" in str(caught.value)
    assert "Delete its folder under .toolchains and run ./doit again" in str(caught.value)


def test_job_that_takes_too_long_is_stopped(weights_job: dict, tmp_path: Path) -> None:
    with pytest.raises(errors.JobTimedOut, match=r"Run was stopped after 0 s. Raise `timeout` in the config"):
        processes.run(toolchains.python("device"), DEVICE, weights_job, tmp_path / "log.txt", 0.0001)


@pytest.mark.parametrize(
    ("absent", "runtime", "reason"),
    [("libtorch", "libtorch", "no C++ compiler found"), ("node", "ortweb", "the toolchain node has not been made")],
)
def test_runtime_without_its_toolchain_is_not_run(
    shipped_agents: Built, monkeypatch: pytest.MonkeyPatch, absent: str, runtime: str, reason: str
) -> None:
    ready = toolchains.ready
    monkeypatch.setattr(toolchains, "ready", lambda name: name != absent and ready(name))
    monkeypatch.setattr(toolchains, "compiler", lambda: None)
    agent = config.load(shipped_agents.configs / "cartpole_a2c.toml", KINDS)
    kind = {"libtorch": "torchscript", "ortweb": "onnx_web"}[runtime]
    found = {step.name: step for step in steps.steps(agent, shipped_agents.artifacts)}
    path = shipped_agents.artifacts / agent.name / kind / runtime / verdicts.FILE
    try:
        assert not found[f"{kind}:{runtime}:run"].fresh()
        found[f"{kind}:{runtime}:run"].act()
        found[f"{kind}:{runtime}:check"].act()
        verdict = verdicts.read(path)
        assert verdict is not None and verdict[0].status == "not_run"
        assert reason in verdict[0].reason
    finally:
        monkeypatch.undo()
        found[f"{kind}:{runtime}:run"].act()
        found[f"{kind}:{runtime}:check"].act()
    verdict = verdicts.read(path)
    assert verdict is not None and verdict[0].status == "passed"
