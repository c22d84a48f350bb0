"""Tiny agents, made with Stable-Baselines3, and archives forged from them."""

from __future__ import annotations

import base64
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import sb3_contrib
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from pipeline import errors
from pipeline.agents import archive
from pipeline.agents.reference import Reference

FLAT = spaces.Box(-5, 5, (3,), np.float32)
TABLE = spaces.Box(-5, 5, (2, 3), np.float32)
FOUR = spaces.Discrete(4)
LOPSIDED = spaces.Box(np.array([-1, -0.5], np.float32), np.array([2, 3], np.float32))
GRID = spaces.Box(-2, 1, (2, 3), np.float32)


class Stub(gymnasium.Env):
    """An environment of given spaces, whose observations are drawn from its space."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, False, False, {}


@dataclass(frozen=True)
class Tiny:
    """A saved agent, and what Stable-Baselines3 itself makes of it."""

    cls: type
    zip: Path
    pkl: Path | None
    observed: spaces.Box
    acts: spaces.Space

    def observations(self, count: int = 64) -> np.ndarray:
        self.observed.seed(7)
        return np.stack([self.observed.sample() for _ in range(count)])

    @cached_property
    def loaded(self) -> Any:
        return self.cls.load(self.zip, device="cpu")

    def normalized(self, observation: np.ndarray) -> np.ndarray:
        if self.pkl is None:
            return observation
        return VecNormalize.load(str(self.pkl), self.venv()).normalize_obs(observation)

    def predict(self, observation: np.ndarray) -> np.ndarray:
        return self.loaded.predict(self.normalized(observation), deterministic=True)[0]

    def venv(self) -> DummyVecEnv:
        return DummyVecEnv([lambda: Stub(self.observed, self.acts)])

    @cached_property
    def reference(self) -> Reference:
        opened = archive.read(self.zip)
        return Reference(opened, archive.statistics(self.pkl, opened.observation_space) if self.pkl else None)


@dataclass(frozen=True)
class Case:
    """How to make a tiny agent."""

    algorithm: str
    observed: spaces.Box = field(default_factory=lambda: FLAT)
    acts: spaces.Space = field(default_factory=lambda: LOPSIDED)
    normalize: bool = False
    settings: tuple[tuple[str, Any], ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()
    policy: str = "MlpPolicy"

    def save(self, folder: Path) -> Tiny:
        cls = getattr(sb3, self.algorithm, None) or getattr(sb3_contrib, self.algorithm)
        small = {"buffer_size": 10} if hasattr(cls, "_sample_action") else {}
        tiny = Tiny(cls, folder / "agent.zip", folder / "v.pkl" if self.normalize else None, self.observed, self.acts)
        torch.manual_seed(0)
        self.observed.seed(3)
        kwargs = {"policy_kwargs": dict(self.kwargs)} if self.kwargs else {}
        agent = cls(self.policy, tiny.venv(), device="cpu", **small, **dict(self.settings), **kwargs)
        with torch.no_grad():
            for parameter in agent.policy.parameters():
                if self.algorithm == "ARS":  # starts at 0
                    parameter.normal_(0, 0.3)
                else:
                    parameter.mul_(3)
        agent.save(tiny.zip)
        if tiny.pkl:
            statistics(tiny.venv()).save(str(tiny.pkl))
        return tiny


def statistics(venv: DummyVecEnv, steps: int = 50, **settings: Any) -> VecNormalize:
    """A VecNormalize with statistics that were really collected."""
    normalizer = VecNormalize(venv, **settings)
    normalizer.seed(5)
    normalizer.reset()
    for _ in range(steps):
        normalizer.step([venv.action_space.sample()])
    return normalizer


def _shaped(activation: type[nn.Module]) -> tuple[tuple[str, Any], ...]:
    return ("activation_fn", activation), ("net_arch", {"pi": [16], "vf": [8, 8]})


GSDE = (("use_sde", True),)
CASES = {
    **{f"{a.lower()}_box": Case(a) for a in ("PPO", "A2C", "TRPO", "SAC", "TQC", "TD3", "DDPG")},
    **{f"{a.lower()}_discrete": Case(a, acts=FOUR) for a in ("PPO", "A2C", "TRPO", "DQN", "QRDQN")},
    **{f"{a.lower()}_normalized": Case(a, normalize=True) for a in ("PPO", "A2C", "SAC", "TD3", "DDPG")},
    **{f"{a.lower()}_discrete_normalized": Case(a, acts=FOUR, normalize=True) for a in ("PPO", "DQN")},
    "ars_box": Case("ARS"),
    "ars_discrete": Case("ARS", acts=FOUR),
    "ars_linear": Case("ARS", policy="LinearPolicy"),
    "ars_clipped": Case("ARS", kwargs=(("squash_output", False),)),
    **{f"{a.lower()}_gsde": Case(a, settings=GSDE) for a in ("PPO", "A2C", "SAC")},
    "ppo_gsde_squashed": Case("PPO", settings=GSDE, kwargs=(("squash_output", True),)),
    "ppo_table": Case("PPO", TABLE, FOUR),
    "ppo_table_normalized": Case("PPO", TABLE, LOPSIDED, normalize=True),
    "dqn_table": Case("DQN", TABLE, FOUR),
    "td3_table": Case("TD3", TABLE),
    "ppo_grid": Case("PPO", acts=GRID),
    "sac_grid": Case("SAC", acts=GRID),
    "td3_grid": Case("TD3", acts=GRID),
    **{f"ppo_{act.__name__.lower()}": Case("PPO", kwargs=_shaped(act)) for act in (nn.ReLU, nn.ELU, nn.Tanh, nn.SiLU)},
    "ppo_list": Case("PPO", acts=FOUR, kwargs=(("net_arch", [12, 6]),)),
    "ppo_linear": Case("PPO", acts=FOUR, kwargs=(("net_arch", []),)),
    "dqn_elu": Case("DQN", acts=FOUR, kwargs=(("activation_fn", nn.ELU), ("net_arch", [9]))),
    "dqn_linear": Case("DQN", acts=FOUR, kwargs=(("net_arch", []),)),
    "sac_uneven": Case("SAC", kwargs=(("net_arch", {"pi": [8], "qf": [5, 5]}),)),
    "ddpg_elu": Case("DDPG", kwargs=(("activation_fn", nn.ELU), ("net_arch", [8]))),
    "td3_gelu": Case("TD3", kwargs=(("activation_fn", nn.GELU), ("net_arch", [8]))),
}


# --- forged archives -------------------------------------------------------------------------------


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def write_zip(
    path: Path,
    content: dict[str, bytes],
    *,
    forge: Callable[[zipfile.ZipFile], None] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A zip of these members; ``forge`` edits what its directory will say."""
    with zipfile.ZipFile(path, "w", compression) as opened:
        for name, held in content.items():
            opened.writestr(name, held)
        if forge:
            forge(opened)
    return path


def repack(source: Path, target: Path, members_: dict[str, bytes] | None = None, **fields: Any) -> Path:
    """The archive with other members, and other fields in ``data`` (None takes one out)."""
    content = members(source)
    data = {**json.loads(content["data"]), **fields}
    content["data"] = json.dumps({key: value for key, value in data.items() if value is not None}).encode()
    return write_zip(target, {**content, **(members_ or {})})


def serialized(value: object) -> dict[str, str]:
    """A field as SB3 writes what JSON cannot hold; bytes are a pickle already."""
    held = value if isinstance(value, bytes) else cloudpickle.dumps(value)
    return {":type:": "anything", ":serialized:": base64.b64encode(held).decode()}


def pickled(path: Path, name: str) -> bytes:
    """The pickle of one field of ``data``."""
    return base64.b64decode(json.loads(members(path)["data"])[name][":serialized:"])


def described(space: spaces.Box | spaces.Discrete) -> dict[str, Any]:
    """A space as the contract describes it."""
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    bounds = {key: getattr(space, key).ravel().tolist() for key in ("low", "high")}
    shown = {key: [v if np.isfinite(v) else str(v) for v in values] for key, values in bounds.items()}
    return {"type": "Box", "shape": list(space.shape), "dtype": space.dtype.name, **shown}


@contextmanager
def quickly(seconds: float = 0.3) -> Iterator[None]:
    """What stands inside is done at once; forged nests double its time with every level."""
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def told(error: errors.SlipwayError) -> str:
    """What an error says, but for where; as its raiser wrote it."""
    return f"{error.what}. Expected {error.expected}, found {error.found}. {error.remedy}"
