"""Environments of the tests, registered with gymnasium when this module is imported."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from pipeline.agents import spaces as agent_spaces

from .making import described
from .stubs import Stub, groups

WALK, STILL, OPEN = "SlipwayTests/Walk-v0", "SlipwayTests/Still-v0", "SlipwayTests/Open-v0"


class Walk(gymnasium.Env):
    """Observes [seed, step]; an episode has ``3 + seed % 3`` steps; action 0 earns 1.

    :param bad: the observation of this step is not finite
    """

    def __init__(self, bad: int = -1, value: float = np.nan, dtype: str = "float32", endless: bool = False) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), dtype)
        self.action_space = spaces.Discrete(2)
        self.bad, self.value, self.endless = bad, value, endless
        self.closed = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.seed, self.steps = seed or 0, 0
        return self.observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        ended = not self.endless and self.steps >= 3 + self.seed % 3
        return self.observation(), float(action == 0), ended, False, {}

    def observation(self) -> np.ndarray:
        found = np.array([self.seed, self.steps], self.observation_space.dtype)
        if self.steps == self.bad:
            found[1] = self.value
        return found


class Still(gymnasium.Env):
    """Spaces of its own choice; its observations are drawn from the seed, and episodes have 20 steps."""

    def __init__(
        self, observed: list[int] = (3,), acts: list[int] = (2,), mean: float = 0, dtype: str = "float32"
    ) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, tuple(observed), dtype)
        self.action_space = spaces.Box(np.full(acts, -1, np.float32), np.full(acts, 2, np.float32))
        self.mean = mean

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps = 0
        return self.observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        return self.observation(), float(np.sum(action)), self.steps >= 20, False, {}

    def observation(self) -> np.ndarray:
        drawn = self.mean + self.np_random.normal(size=self.observation_space.shape)
        return drawn.astype(self.observation_space.dtype)


class Open(Stub):
    """Any spaces; observations are drawn from the seed, and an episode has as many steps as it is told.

    :param masked: how many choices its mask is about; by default as many as there are, and none is 0
    """

    def __init__(self, observed: spaces.Space, acts: spaces.Space, steps: int = 10, masked: int | None = None) -> None:
        super().__init__(copy.deepcopy(observed), copy.deepcopy(acts))
        self.length = steps
        self.masked = masked

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        self.steps = 0
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.steps += 1
        return self.observation_space.sample(), float(np.sum(action)), self.steps >= self.length, False, {}

    def action_masks(self) -> np.ndarray:
        """The last choice of each decision is never allowed."""
        if self.masked is not None:
            return np.ones(self.masked, bool)
        return np.concatenate([np.arange(n) < max(n - 1, 1) for n in groups(self.action_space)])


class Longer(gymnasium.ObservationWrapper):
    """One more number in each observation."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, (env.observation_space.shape[0] + 1,))

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.append(observation, 0).astype(np.float32)


for name, world in ((WALK, Walk), (STILL, Still), (OPEN, Open)):
    gymnasium.register(name, entry_point=world)


def environment(name: str = WALK, **fields: Any) -> dict[str, Any]:
    """What a config says of an environment."""
    return {"id": name, "kwargs": {}, "wrappers": [], "imports": [], "frame_stack": 1, "optional": False, **fields}


def contract_of(
    observed: spaces.Space, acts: spaces.Space, images: str = "channel-last", masked: bool = False
) -> dict[str, Any]:
    """The part of a contract that an environment is held to.

    :param observed: as an archive holds it: images are channel-first
    """
    takes, epilogue = agent_spaces.inputs(described(observed), images), []
    if masked:
        shape = ["batch", sum(groups(acts))]
        takes.append({"name": "action_mask", "role": "mask", "shape": shape, "dtype": "bool", "layout": "batch first"})
        epilogue = [{"op": "argmax"} if acts.shape == () else {"op": "argmax", "sizes": groups(acts)}]
    return {
        "takes": takes,
        "images": images,
        "observation_space": described(observed),
        "action_space": described(acts),
        "epilogue": epilogue,
        "states": [],
    }


def spaces_of(name: str = WALK, **kwargs: Any) -> dict[str, Any]:
    """The contract of an agent that fits an environment."""
    made = gymnasium.make(name, disable_env_checker=True, **kwargs)
    return contract_of(made.observation_space, made.action_space)
