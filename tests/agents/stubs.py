"""Spaces, and environments of any space."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

FLAT = spaces.Box(-5, 5, (3,), np.float32)
TABLE = spaces.Box(-5, 5, (2, 3), np.float32)
FOUR = spaces.Discrete(4)
LOPSIDED = spaces.Box(np.array([-1, -0.5], np.float32), np.array([2, 3], np.float32))
GRID = spaces.Box(-2, 1, (2, 3), np.float32)
IMAGE = spaces.Box(0, 255, (48, 40, 3), np.uint8)
FIRST = spaces.Box(0, 255, (3, 48, 40), np.uint8)
SCALED = spaces.Box(0, 1, (3, 48, 40), np.float32)  # channel-first, as NatureCNN takes what SB3 does not prepare
SEVERAL = spaces.Dict(
    {
        "picture": IMAGE,
        "position": spaces.Box(-5, 5, (4,), np.float32),
        "action": spaces.MultiBinary(2),
        "gear": spaces.Discrete(3),
        "a key": spaces.MultiDiscrete([2, 3]),
    }
)


class Stub(gymnasium.Env):
    """An environment of given spaces, whose observations are drawn from its space; its masks allow every action."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, False, False, {}

    def action_masks(self) -> np.ndarray:
        return np.ones(sum(groups(self.action_space)), bool)


def groups(acts: spaces.Space) -> list[int]:
    """How many choices each of an action's parts has."""
    if isinstance(acts, spaces.Discrete):
        return [int(acts.n)]
    if isinstance(acts, spaces.Box):
        return []
    return [int(n) for n in acts.nvec] if isinstance(acts, spaces.MultiDiscrete) else [2] * int(acts.n)


def sampled(space: spaces.Space, count: int, rng: np.random.Generator) -> np.ndarray:
    """Observations of a space. Images are blocks of one brightness each: to a convolution all noise looks alike."""
    if isinstance(space, spaces.Box) and len(space.shape) == 3 and max(space.shape) >= 40:
        sizes = [8 if n >= 40 else 1 for n in space.shape]
        shape = [-(-n // size) for n, size in zip(space.shape, sizes, strict=True)]
        blocks = rng.uniform(space.low.min(), space.high.max(), size=(count, *shape))
        for axis, size in enumerate(sizes, start=1):
            blocks = blocks.repeat(size, axis=axis)
        return blocks[(slice(None), *map(slice, space.shape))].astype(space.dtype)
    space.seed(int(rng.integers(1 << 30)))
    return np.stack([space.sample() for _ in range(count)])
