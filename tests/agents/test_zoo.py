"""Public archives that nobody here made, of SB3 1.0 to 2.4, many pickled with old gym and numpy."""

from __future__ import annotations

import pickletools
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import errors
from pipeline.agents import archive
from pipeline.agents.policies import SUPPORTED
from pipeline.agents.reference import Reference

from .conftest import Tripwire
from .making import pickled

FAMILIES = {"a2c": "A2C", "ars": "ARS", "ddpg": "DDPG", "dqn": "DQN", "her": "SAC", "ppo": "PPO", "qrdqn": "QRDQN"}
FAMILIES |= {"sac": "SAC", "tqc": "TQC", "trpo": "TRPO"}
AGENTS = [
    *("a2c/BipedalWalker-v3", "a2c/CartPole-v1", "a2c/Pendulum-v1", "ars/Pendulum-v1", "ars/Swimmer-v3"),
    *("ddpg/Pendulum-v1", "dqn/CartPole-v1", "her/PandaReach-v1", "ppo/Ant-v3", "ppo/LunarLander-v2"),
    *("ppo/MountainCarContinuous-v0", "qrdqn/CartPole-v1", "sac/MountainCarContinuous-v0", "sac/Pendulum-v1"),
    *("tqc/PandaReach-v1", "tqc/Pendulum-v1", "trpo/Acrobot-v1", "trpo/Hopper-v3"),
]
DICT = ("her/PandaReach-v1", "tqc/PandaReach-v1")


def files(zoo: Path, agent: str) -> tuple[Path, Path]:
    """The archive, and its statistics, which not every agent has."""
    algorithm, _, world = agent.partition("/")
    folder = zoo / algorithm / f"{world}_1"
    return folder / f"{world}.zip", folder / world / "vecnormalize.pkl"


def test_every_public_archive_is_tried(zoo: Path) -> None:
    assert sorted(zoo.rglob("*.zip")) == sorted(files(zoo, agent)[0] for agent in AGENTS)


@pytest.mark.parametrize("agent", AGENTS)
def test_public_archive_is_read_and_nothing_is_imported(zoo: Path, agent: str, tripwire: Tripwire) -> None:
    path, pkl = files(zoo, agent)
    with tripwire.set(path):
        opened = archive.read(path)
    assert tripwire.events == []
    assert opened.algorithm == FAMILIES[agent.partition("/")[0]]
    assert opened.observation_space["type"] == ("Dict" if agent in DICT else "Box")
    assert opened.weights
    assert "gym" not in sys.modules
    if pkl.is_file() and agent not in DICT:
        with tripwire.set(pkl):
            found = archive.statistics(pkl, opened.observation_space)
        assert tripwire.events == []
        assert list(found.mean.shape) == opened.observation_space["shape"]
        assert (found.clip, found.epsilon, found.norm_obs) == (10.0, 1e-8, True)


@pytest.mark.parametrize("agent", DICT)
def test_dict_statistics_are_refused_as_such(zoo: Path, agent: str) -> None:
    with pytest.raises(errors.UnsupportedPolicy, match="VecNormalize over a Dict"):
        archive.statistics(files(zoo, agent)[1], {"type": "Dict"})


@pytest.mark.parametrize("agent", AGENTS)
def test_public_agent_decides_or_is_refused_by_name(zoo: Path, agent: str) -> None:
    path, pkl = files(zoo, agent)
    opened = archive.read(path)
    if opened.algorithm not in SUPPORTED or agent in DICT:
        with pytest.raises(errors.UnsupportedPolicy, match="supported"):
            Reference(opened, None)
        return
    reference = Reference(opened, archive.statistics(pkl, opened.observation_space) if pkl.is_file() else None)
    shape = opened.observation_space["shape"]
    action = reference.predict(np.random.default_rng(0).normal(size=(16, *shape)).astype(np.float32))
    assert action.shape[0] == 16
    assert np.isfinite(action).all()
    if opened.action_space["type"] == "Box":
        assert list(action.shape[1:]) == opened.action_space["shape"]


def test_public_archives_name_modules_that_are_absent(zoo: Path) -> None:
    """So reading them proves that names are not imported."""
    path, _ = files(zoo, "a2c/BipedalWalker-v3")
    named = {arg for op, arg, _ in pickletools.genops(pickled(path, "observation_space")) if op.name == "GLOBAL"}
    strings = {arg for op, arg, _ in pickletools.genops(pickled(path, "observation_space")) if isinstance(arg, str)}
    assert "gym.spaces.box" in strings or "gym.spaces.box Box" in named
    with pytest.raises(ImportError):
        __import__("gym")
