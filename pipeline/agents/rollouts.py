"""Seeded episodes of a policy, the inputs that it saw in them, and their returns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors
from pipeline.agents import environments

if TYPE_CHECKING:
    import gymnasium
    import numpy as np

    Inputs = dict[str, np.ndarray]
    Answer = Callable[[Inputs], Inputs]

MAX_STEPS = 10_000


def episodes(
    environment: dict[str, Any], contract: dict[str, Any], answer: Answer | None, count: int, seed: int
) -> tuple[list[Inputs], list[float]]:
    """Run episodes side by side, so that each step asks the policy once, for all that still run.

    :param contract: the agent's
    :param answer: inputs [batch, ...] by name -> ``action`` and new states by name; None acts at random, seeded
    :param seed: of the first episode; each further one adds one
    :return: inputs by episode (but for states), each [steps, ...] in the environment's own dtypes, and the returns
    :raises errors.ObservationsNotFinite: the environment answered with NaN or infinity
    """
    with contextlib.ExitStack() as stack:
        envs = []
        for _ in range(count):
            envs.append(environments.make(environment, contract))
            stack.callback(envs[-1].close)
        return _Play(envs, contract, answer, environment["id"]).run(seed)


class _Play:
    """Environments side by side, and the states of a recurrent policy in each."""

    def __init__(
        self, envs: list[gymnasium.Env[Any, Any]], contract: dict[str, Any], answer: Answer | None, name: str
    ) -> None:
        import numpy as np

        self.envs, self.contract, self.answer, self.name = envs, contract, answer, name
        self.states = {
            state["input"]: np.zeros((len(envs), state["units"]), np.float32) for state in contract.get("states", [])
        }

    def run(self, seed: int) -> tuple[list[Inputs], list[float]]:
        import numpy as np

        self.random = np.random.default_rng(seed)
        for index, env in enumerate(self.envs):
            env.action_space.seed(seed + index)
        starts = [env.reset(seed=seed + index)[0] for index, env in enumerate(self.envs)]
        current = [
            environments.observed(env, start, self.contract) for env, start in zip(self.envs, starts, strict=True)
        ]
        seen: list[list[Inputs]] = [[] for _ in self.envs]
        returns = [0.0] * len(self.envs)
        running = list(range(len(self.envs)))
        for step in range(MAX_STEPS):
            if not running:
                break
            for index in running:
                seen[index].append(current[index])
            actions = self._actions([current[index] for index in running], running, step)
            still = []
            for action, index in zip(actions, running, strict=True):
                observation, reward, terminated, truncated, _ = self.envs[index].step(action)
                returns[index] += float(reward)
                if not (terminated or truncated):
                    current[index] = environments.observed(self.envs[index], observation, self.contract)
                    still.append(index)
            running = still
        return [_stacked(steps) for steps in seen], returns

    def _actions(self, rows: list[Inputs], running: list[int], step: int) -> list[Any]:
        import numpy as np

        if self.answer is None:
            return [self._at_random(row, self.envs[index]) for row, index in zip(rows, running, strict=True)]
        given = _stacked(rows)
        for values in given.values():
            _check_finite(values, self.name, running)
        if self.states:
            given |= {name: values[running] for name, values in self.states.items()}
            given["keep"] = np.full((len(running), 1), float(step > 0), np.float32)
        answers = self.answer(given)
        for state in self.contract.get("states", []):
            self.states[state["input"]][running] = answers[state["output"]]
        dtype = self.envs[0].action_space.dtype
        return list(answers["action"].astype(dtype))

    def _at_random(self, row: Inputs, env: gymnasium.Env[Any, Any]) -> Any:
        """Any action that the mask allows; a group without one gives the first."""
        import numpy as np

        if "action_mask" not in row:
            return env.action_space.sample()
        sizes = contracts.groups(self.contract) or []
        allowed = np.split(row["action_mask"], np.cumsum(sizes)[:-1])
        chosen = [self.random.choice(np.flatnonzero(part)) if part.any() else 0 for part in allowed]
        action = np.array(chosen, env.action_space.dtype)
        return action if env.action_space.shape else action[0]


def _stacked(rows: list[Inputs]) -> Inputs:
    import numpy as np

    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _check_finite(observations: np.ndarray, name: str, episodes: list[int]) -> None:
    """Look at what was seen in a step of some episodes, [episodes, ...]."""
    import numpy as np

    if observations.dtype.kind == "f" and not np.isfinite(observations).all():
        row, bad = np.argwhere(~np.isfinite(observations.reshape(len(observations), -1)))[0]
        where = f"observation[{bad}] in episode {episodes[row]}"
        raise errors.ObservationsNotFinite(f"{name} gave a NaN or infinite {where}")


def spread(seen: list[Inputs], samples: int) -> Inputs:
    """``samples`` rows (or all, if there are fewer), evenly spread over all steps."""
    import numpy as np

    steps = {name: np.concatenate([episode[name] for episode in seen]) for name in seen[0]}
    total = len(next(iter(steps.values())))
    if total <= samples:
        return steps
    rows = np.linspace(0, total - 1, samples).round().astype(int)
    return {name: values[rows] for name, values in steps.items()}


def chained(seen: list[Inputs], count: int, steps: int) -> Inputs:
    """Episodes one after the other, for a recurrent policy: [count, steps, ...], and ``keep``, 0 where one starts.

    An episode is cut where it would leave no room for another in its sequence.
    """
    import numpy as np

    most = max(1, steps * 3 // 4)
    cut = [{name: values[:most] for name, values in episode.items()} for episode in seen]
    for episode in cut:
        length = len(next(iter(episode.values())))
        episode["keep"] = (np.arange(length) > 0).astype(np.float32)[:, None]
    total = sum(len(episode["keep"]) for episode in cut)
    cut *= -(-count * steps // total)  # too few steps are played again
    joined = {name: np.concatenate([episode[name] for episode in cut]) for name in cut[0]}
    found = {name: v[: count * steps].reshape(count, steps, *v.shape[1:]).copy() for name, v in joined.items()}
    found["keep"][:, 0] = 0
    return found
