"""Public archives that nobody here made, of SB3 1.0 to 2.4, many pickled with old gym and numpy."""

from __future__ import annotations

import pickletools
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import contract as contracts
from pipeline.agents import archive, draws, exported, policies, statistics
from pipeline.agents import spaces as agent_spaces
from pipeline.agents.reference import Reference

from .conftest import Tripwire
from .making import pickled
from .test_exported import assert_near, made_of, run

ZOO = Path(__file__).resolve().parents[2].parent / "shared" / "zoo"
AGENTS = [f"{path.parts[-3]}/{path.stem}" for path in sorted(ZOO.glob("*/*/*.zip"))]
FAMILIES = {"her": ("SAC", "TD3", "DDPG", "TQC"), "ppo_lstm": ("RecurrentPPO",), "ppo_mask": ("MaskablePPO",)}


def files(zoo: Path, agent: str) -> tuple[Path, Path]:
    """The archive, and its statistics, which not every agent has."""
    algorithm, _, world = agent.partition("/")
    folder = zoo / algorithm / f"{world}_1"
    return folder / f"{world}.zip", folder / world / "vecnormalize.pkl"


def test_every_public_archive_is_tried(zoo: Path) -> None:
    assert len(AGENTS) >= 18
    assert sorted(zoo.rglob("*.zip")) == sorted(files(zoo, agent)[0] for agent in AGENTS)


@pytest.mark.parametrize("agent", AGENTS)
def test_public_archive_is_read_and_nothing_is_imported(zoo: Path, agent: str, tripwire: Tripwire) -> None:
    path, pkl = files(zoo, agent)
    with tripwire.set(path):
        opened = archive.read(path)
    assert tripwire.events == []
    family = agent.partition("/")[0]
    assert opened.algorithm in FAMILIES.get(family, (family.upper(),))
    assert opened.observation_space["type"] in ("Box", "Dict", "Discrete", "MultiDiscrete", "MultiBinary")
    assert opened.weights
    assert "gym" not in sys.modules
    if pkl.is_file():
        with tripwire.set(pkl):
            found = statistics.read(pkl, opened.observation_space)
        assert tripwire.events == []
        parts = agent_spaces.parts(opened.observation_space)
        assert {key: list(moments.mean.shape) for key, moments in found.moments.items()} == {
            key: parts[key]["shape"] for key in found.moments
        }
        assert found.clip > 0 and found.epsilon > 0


def test_statistics_of_a_dict_are_those_of_its_keys(zoo: Path) -> None:
    path, pkl = files(zoo, "her/PandaReach-v1")
    found = statistics.read(pkl, archive.read(path).observation_space)
    assert sorted(found.moments) == ["achieved_goal", "desired_goal", "observation"]


@pytest.mark.parametrize("agent", AGENTS)
def test_public_agent_decides_as_its_export_does(zoo: Path, agent: str) -> None:
    path, pkl = files(zoo, agent)
    opened = archive.read(path)
    assert opened.algorithm in policies.SUPPORTED
    held = statistics.read(pkl, opened.observation_space) if pkl.is_file() else None
    reference = Reference(opened, held)
    parts = reference.parts
    contract = {
        "takes": parts.inputs,
        "part": "core",
        "inputs": exported.inputs_of(parts, "core"),
        **{name: getattr(opened, name) for name in ("observation_space", "action_space")},
        **{name: getattr(parts, name) for name in ("prologue", "epilogue", "decision", "states")},
    }
    inputs, _ = draws.drawn(contract, held, 64, 0)
    if parts.states:
        inputs = draws.resets(inputs, 16, 0)
        names = ["action", *(state["output"] for state in parts.states)]
        answered, states = contracts.follow(contract, lambda rows: reference.outputs(rows, names), inputs)
        inputs = {**{name: v.reshape(-1, *v.shape[2:]) for name, v in inputs.items()}, **states}
        np.testing.assert_array_equal(answered["action"], reference.predict(inputs)[0])
    wanted = reference.outputs(inputs, ["action", parts.decision])
    assert all(np.isfinite(values).all() for values in wanted.values())
    if opened.action_space["type"] == "Box":
        assert list(wanted["action"].shape[1:]) == opened.action_space["shape"]
    core = made_of(reference, "core")
    assert_near(contracts.decide(contract, lambda ready: run(core, ready), inputs), wanted)
    assert_near(run(made_of(reference), inputs), wanted)


def test_public_archives_name_modules_that_are_absent(zoo: Path) -> None:
    """So reading them proves that names are not imported."""
    path, _ = files(zoo, "a2c/BipedalWalker-v3")
    named = {arg for op, arg, _ in pickletools.genops(pickled(path, "observation_space")) if op.name == "GLOBAL"}
    strings = {arg for op, arg, _ in pickletools.genops(pickled(path, "observation_space")) if isinstance(arg, str)}
    assert "gym.spaces.box" in strings or "gym.spaces.box Box" in named
    with pytest.raises(ImportError):
        __import__("gym")
