"""Public archives that nobody here made, of SB3 1.0 to 2.4, many pickled with old gym and numpy."""

from __future__ import annotations

import pickletools
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import errors
from pipeline.agents import archive, policies
from pipeline.agents.reference import Reference

from .conftest import Tripwire
from .making import pickled

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
    if pkl.is_file() and opened.observation_space["type"] == "Box":
        with tripwire.set(pkl):
            found = archive.statistics(pkl, opened.observation_space)
        assert tripwire.events == []
        assert list(found.mean.shape) == opened.observation_space["shape"]
        assert found.clip > 0 and found.epsilon > 0


def test_dict_statistics_are_refused_as_such(zoo: Path) -> None:
    with pytest.raises(errors.UnsupportedPolicy, match="VecNormalize over a Dict"):
        archive.statistics(files(zoo, "her/PandaReach-v1")[1], {"type": "Dict"})


@pytest.mark.parametrize("agent", AGENTS)
def test_public_agent_decides_or_is_refused_by_name(zoo: Path, agent: str) -> None:
    path, pkl = files(zoo, agent)
    opened = archive.read(path)
    try:
        policies.check_supported(opened)
    except errors.UnsupportedPolicy as refused:
        assert "supported" in refused.what
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
