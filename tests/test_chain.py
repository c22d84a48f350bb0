"""The chain end to end: every hop of every supported family decides as predict does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from families import covering
from pipeline.hops import BY_KIND, wanted
from running import Built, doit

TINY = tuple(covering())
SHIPPED = ("cartpole_ppo", "pendulum_sac", "cartpole_a2c")
BUILT = wanted(["all"])
CHECKS = [(hop.kind, runtime) for hop in BUILT for runtime in hop.runtimes]
FALLEN_TO = [hop.kind for hop in BUILT if hop.rung][1:]  # rungs that nothing falls to where int8 keeps the return
KINDS = [hop.kind for hop in BUILT if hop.kind not in FALLEN_TO]
SHOWN = [hop.kind for hop in BUILT if not hop.rung]


def verdict(built: Built, agent: str, kind: str, runtime: str) -> dict:
    return json.loads((built.artifacts / agent / kind / runtime / "verdict.json").read_text())


@pytest.mark.parametrize("agent", TINY)
@pytest.mark.parametrize(("kind", "runtime"), CHECKS)
def test_tiny_agent_passes_every_full_precision_hop(tiny_agents: Built, agent: str, kind: str, runtime: str) -> None:
    found = verdict(tiny_agents, agent, kind, runtime)
    if kind == "edgetpu":
        assert found["status"] == "not_run"
        assert "not found" in found["reason"]
    elif BY_KIND[kind].precision == "float":
        assert found["status"] == "passed", found["reason"]
        assert found["figures"]["observations"] >= 160
        assert "draws from" in found["figures"]["compared_with"]


@pytest.mark.parametrize("agent", SHIPPED)
@pytest.mark.parametrize(("kind", "runtime"), CHECKS)
def test_shipped_agent_passes_every_hop(shipped_agents: Built, agent: str, kind: str, runtime: str) -> None:
    found = verdict(shipped_agents, agent, kind, runtime)
    if kind in FALLEN_TO:
        assert (found["status"], found["reason"]) == ("not_run", "tflite_int8 keeps the return")
    else:
        assert found["status"] == ("not_run" if kind == "edgetpu" else "passed"), found["reason"]


@pytest.mark.parametrize("agent", SHIPPED)
def test_integers_keep_the_return_in_closed_loop(shipped_agents: Built, agent: str) -> None:
    found = verdict(shipped_agents, agent, "tflite_quantized", "litert")["figures"]
    closed = found["closed_loop"]
    assert closed["episodes"] >= 100
    assert closed["low"] <= closed["kept"] <= closed["high"]
    assert closed["kept"] >= 0.98
    assert found["acted_as"] == "tflite_int8 in litert"
    for kind, runtime in (("tflite_quantized", "tflite_micro"), ("micro", "micro")):
        others = verdict(shipped_agents, agent, kind, runtime)["figures"]
        assert others["acted_as"] == "tflite_int8 in litert", "it answers within two steps of its grid"
    assert verdict(shipped_agents, agent, "tflite_whole", "litert")["figures"]["closed_loop"]["kept"] >= 0.98
    assert closed["source"] > closed["random"] + 50, "the shipped agent should be worth keeping"


def test_run_succeeds_and_ends_with_a_table(shipped_agents: Built) -> None:
    run = shipped_agents.run
    assert run.code == 0, run.text
    header = next(line for line in run.text.splitlines() if line.split()[:2] == ["onnx", "onnx_core"])
    assert header.split() == SHOWN
    rows = [line for line in run.text.splitlines() if line.startswith(SHIPPED)]
    assert len(rows) == len(SHIPPED)
    assert all(row.count("✓") == len(SHOWN) - 1 for row in rows)
    assert "– not run: edgetpu in edgetpu: edgetpu_compiler not found" in run.text


def test_verdict_records_what_a_reader_needs(shipped_agents: Built) -> None:
    figures = verdict(shipped_agents, "pendulum_sac", "savedmodel", "tensorflow")["figures"]
    assert set(figures["outputs"]) == {"action", "mean"}
    wanted = {"max", "mean", "p99", "needed", "worst", "expected", "found", "observation"}
    assert set(figures["outputs"]["action"]) == wanted
    assert len(figures["outputs"]["action"]["observation"]["observation"]) == 3
    assert figures["tolerance"] == {"absolute": 5e-05, "relative": 0.0001}
    assert "episodes of Pendulum-v1 from seed" in figures["compared_with"]
    assert figures["edges"] == 64
    assert figures["drift"]["action"] < 1e-4, "difference to the artifact that it was made from"
    gap = verdict(shipped_agents, "cartpole_ppo", "onnx", "onnxruntime")["figures"]["decisions"]["smallest_gap"]
    assert 0 < gap < 1


@pytest.mark.parametrize("kind", KINDS)
def test_contract_says_what_the_artifact_is(shipped_agents: Built, kind: str) -> None:
    if kind == "edgetpu":
        pytest.skip("edgetpu_compiler is not here; its contract is tested with a stand-in in test_edgetpu.py")
    folder = shipped_agents.artifacts / "pendulum_sac" / kind
    contract = json.loads((folder / "policy.json").read_text())
    assert contract["kind"] == kind
    assert contract["algorithm"] == "SAC"
    assert contract["action_space"] == {"type": "Box", "shape": [1], "dtype": "float32", "low": [-2.0], "high": [2.0]}
    assert [step["op"] for step in contract["prologue"]][0] == "normalize"
    assert [step["op"] for step in contract["epilogue"]] == ["tanh", "unscale"]
    assert contract["golden"]["inputs"]["observation"] and contract["golden"]["outputs"]["action"]
    assert {entry["name"] for entry in contract["outputs"]} <= {"action", "mean"}
    assert contract["source"]["agent.zip"] and contract["source"]["vecnormalize.pkl"]
    assert contract["tools"]["torch"]["stable-baselines3"] == "2.9.2"
    assert kind.startswith(("onnx", "torchscript", "weights")) or contract["tools"]["tensorflow"]["onnx-tf"] == "1.10.0"
    assert all((folder / name).exists() for name in contract["files"])
    batch = contract["inputs"][0]["shape"][0]
    assert batch == (1 if kind.startswith(("tflite", "micro")) else "batch")


def test_contract_is_in_the_onnx_file_too(shipped_agents: Built) -> None:
    folder = shipped_agents.artifacts / "cartpole_ppo" / "onnx"
    model = onnx.load(folder / "policy.onnx")
    entry = next(prop for prop in model.metadata_props if prop.key == "slipway")
    assert json.loads(entry.value) == json.loads((folder / "policy.json").read_text())


@pytest.mark.parametrize("agent", SHIPPED)
def test_golden_vectors_are_the_reference_of_rollout_observations(shipped_agents: Built, agent: str) -> None:
    home = shipped_agents.artifacts / agent
    golden = json.loads((home / "onnx" / "policy.json").read_text())["golden"]
    with np.load(home / "observations" / "observations.npz") as observed:
        observation = observed["observation"]
    with np.load(home / "observations" / "reference.npz") as reference:
        action = reference["action"]
    for vector, answer in zip(golden["inputs"]["observation"], golden["outputs"]["action"], strict=True):
        row = np.flatnonzero((observation == np.float32(vector)).all(axis=1))[0]
        assert np.array_equal(action[row], np.asarray(answer, action.dtype))


def test_calibration_and_check_share_no_rollout(shipped_agents: Built) -> None:
    home = shipped_agents.artifacts / "cartpole_ppo"
    with (
        np.load(home / "observations" / "observations.npz") as one,
        np.load(home / "calibration" / "observations.npz") as other,
    ):
        checked, calibrated = (set(map(bytes, stored["observation"])) for stored in (one, other))
    assert not checked & calibrated


def test_artifacts_name_no_path_of_this_machine(shipped_agents: Built) -> None:
    needles = [str(Path.home()).encode() + b"/", str(shipped_agents.artifacts).encode(), b"/tmp/", b".toolchains"]
    for path in shipped_agents.artifacts.rglob("*"):
        inside = path.relative_to(shipped_agents.artifacts).parts
        if path.is_file() and "log" not in inside and "recipe" not in inside and path.name != "agent.zip":
            content = path.read_bytes()
            assert not [needle for needle in needles if needle in content], path


def test_targets_bring_what_they_are_made_from(tiny_agents: Built, tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "only_tfjs.toml").write_text(f'zip = "{tiny_agents.configs}/dqn.zip"\ntargets = ["tfjs"]\n')
    run = doit(configs=configs, artifacts=tmp_path / "artifacts")
    assert run.code == 0, run.text
    made = {path.name for path in (tmp_path / "artifacts" / "only_tfjs").iterdir()}
    assert made == {"sb3", "observations", "onnx", "savedmodel", "tfjs", "log"}
