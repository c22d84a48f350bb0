"""Seeded episodes of a policy, observations from them, and their returns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors
from pipeline.agents import environments
from pipeline.agents.archive import Statistics

if TYPE_CHECKING:
    import gymnasium
    import numpy as np

    Policy = Callable[[np.ndarray], np.ndarray]

MAX_STEPS = 10_000


def episodes(
    environment: dict[str, Any], contract: dict[str, Any], policy: Policy | None, count: int, seed: int
) -> tuple[list[np.ndarray], list[float]]:
    """Run episodes side by side, so that each step asks the policy once, for all that still run.

    :param policy: [batch, ...] observations -> [batch, ...] actions; None acts at random, seeded
    :param seed: of the first episode; each further one adds one
    :return: observations by episode, each [steps, ...] in the environment's own dtype, and the returns
    :raises errors.ObservationsNotFinite: the environment answered with NaN or infinity
    """
    with contextlib.ExitStack() as stack:
        envs = [environments.make(environment, contract) for _ in range(count)]
        for env in envs:
            stack.callback(env.close)
        return _play(envs, policy, seed, environment["id"])


def _play(
    envs: list[gymnasium.Env[Any, Any]], policy: Policy | None, seed: int, name: str
) -> tuple[list[np.ndarray], list[float]]:
    import numpy as np

    for index, env in enumerate(envs):
        env.action_space.seed(seed + index)
    current = [np.asarray(env.reset(seed=seed + index)[0]) for index, env in enumerate(envs)]
    seen: list[list[np.ndarray]] = [[] for _ in envs]
    returns = [0.0] * len(envs)
    running = list(range(len(envs)))
    for _ in range(MAX_STEPS):
        if not running:
            break
        for index in running:
            _check_finite(current[index], name, index)
            seen[index].append(current[index])
        actions = None if policy is None else policy(np.stack([current[index] for index in running]))
        still = []
        for row, index in enumerate(running):
            action = envs[index].action_space.sample() if actions is None else actions[row]
            observed, reward, terminated, truncated, _ = envs[index].step(action)
            current[index] = np.asarray(observed)
            returns[index] += float(reward)
            if not (terminated or truncated):
                still.append(index)
        running = still
    return [np.stack(steps) for steps in seen], returns


def _check_finite(observation: np.ndarray, name: str, episode: int) -> None:
    import numpy as np

    if observation.dtype.kind == "f" and not np.isfinite(observation).all():
        bad = int(np.flatnonzero(~np.isfinite(observation.ravel()))[0])
        raise errors.ObservationsNotFinite(f"{name} gave a NaN or infinite observation[{bad}] in episode {episode}")


def spread(episodes_seen: list[np.ndarray], samples: int) -> np.ndarray:
    """``samples`` observations (or all, if there are fewer), evenly spread over all steps."""
    import numpy as np

    steps = np.concatenate(episodes_seen)
    if len(steps) <= samples:
        return steps
    return steps[np.linspace(0, len(steps) - 1, samples).round().astype(int)]


def drawn(contract: dict[str, Any], statistics: Statistics | None, samples: int, seed: int) -> tuple[np.ndarray, str]:
    """Observations where there is no environment: from VecNormalize's statistics, or from the space.

    :return: [samples, ...] and a phrase that says where they come from
    """
    import numpy as np

    space = contract["observation_space"]
    low, high = (contracts.bounds(space, key) for key in ("low", "high"))
    noise = np.random.default_rng(seed)
    normal = noise.normal(size=(samples, *space["shape"]))
    if statistics is not None:
        values = statistics.mean + normal * np.sqrt(statistics.variance)
        return np.clip(values, low, high).astype(space["dtype"]), "normal draws from VecNormalize's statistics"
    bounded = (high - low) < 1e3
    low_end, high_end = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    middle, half = (low_end + high_end) / 2, (high_end - low_end) / 2
    uniform = noise.uniform(-1, 1, size=normal.shape)
    values = np.clip(middle + half * np.where(bounded, uniform, normal), low, high)
    return values.astype(space["dtype"]), "draws from the observation space (standard normal where it has no bounds)"


def edges(contract: dict[str, Any], seen: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Observations from the edges of the space: each dimension at its lower or upper end.

    A dimension without a usable bound ends half its seen range beyond what was seen.
    """
    import numpy as np

    space = contract["observation_space"]
    low, high = (contracts.bounds(space, key) for key in ("low", "high"))
    least, most = (fold(seen, axis=0).astype(np.float64) for fold in (np.min, np.max))
    beyond = 0.5 * np.maximum(most - least, 1e-3)
    usable = (high - low) < 1e3 * np.maximum(most - least, 1e-3)
    lower, upper = np.where(usable, low, least - beyond), np.where(usable, high, most + beyond)
    side = np.random.default_rng(seed).integers(0, 2, size=(count, *space["shape"]))
    return np.where(side, upper, lower).astype(seen.dtype)
