"""Stacked frames as SB3's ``VecFrameStack`` gives them, for one environment.

Imports gymnasium, so it is imported inside functions only.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first


class Stacked(gymnasium.Wrapper[Any, Any, Any, Any]):
    """The last observations side by side along the last dimension, or the first of a channel-first image.

    :param frames: how many
    :param paddings: of one frame, flat, by key: what stands before the first observation. VecFrameStack puts 0
        there; behind VecNormalize that is a normalized 0, which in the environment's units is the mean.
    :raises TypeError: the environment observes something else than Boxes
    """

    def __init__(self, env: gymnasium.Env[Any, Any], frames: int, paddings: dict[str, list[float]]) -> None:
        super().__init__(env)
        self.frames = frames
        self.paddings = paddings
        self.held: dict[str, list[np.ndarray]] = {}
        space: Any = env.observation_space
        parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        self.axes = {key: _axis(part) for key, part in parts.items()}
        stacked: dict[str, spaces.Space[Any]] = {key: self._space(part, self.axes[key]) for key, part in parts.items()}
        self.observation_space = spaces.Dict(stacked) if isinstance(space, spaces.Dict) else stacked[""]

    def _space(self, space: Any, axis: int) -> spaces.Box:
        if not isinstance(space, spaces.Box):
            raise TypeError(f"only Box observations can be stacked, found {space}")
        low, high = (np.concatenate([bound] * self.frames, axis=axis) for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        parts = observation if isinstance(observation, dict) else {"": observation}
        self.held = {}
        for key, part in parts.items():
            first = np.zeros_like(part)
            if key in self.paddings:
                first = np.reshape(self.paddings[key], part.shape)
            self.held[key] = [first] * self.frames
        return self._pushed(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._pushed(observation), reward, terminated, truncated, info

    def _pushed(self, observation: Any) -> Any:
        parts = observation if isinstance(observation, dict) else {"": observation}
        found = {}
        for key, part in parts.items():
            self.held[key] = [*self.held[key][1:], part]
            found[key] = np.concatenate(self.held[key], axis=self.axes[key])
        return found if isinstance(observation, dict) else found[""]


def _axis(space: Any) -> int:
    """Along the channels of what SB3 takes for an image, else the last, as its ``StackedObservations`` does."""
    return 0 if is_image_space(space) and is_image_space_channels_first(space) else -1
