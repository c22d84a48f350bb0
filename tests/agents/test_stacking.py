"""Stacked frames are those of SB3's VecFrameStack, behind VecNormalize too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from pipeline import contract as contracts
from pipeline.agents import environments, jobs, rollouts, stacking, statistics

from .making import Case, Tiny, described
from .stubs import FIRST, FLAT, FOUR, IMAGE, LOPSIDED, TABLE
from .worlds import OPEN, Open, environment

STEPS = 7


def played(env: Any, seed: int) -> list[Any]:
    """Observations of an episode, the first of the next one included."""
    observation, _ = env.reset(seed=seed)
    seen, ended = [observation], False
    while not ended:
        observation, _, ended, _, _ = env.step(0)
        seen.append(observation)
    return [*seen, env.reset(seed=seed + 1)[0]]


def wanted(venv: Any, seed: int) -> list[Any]:
    """The same of SB3's, which resets by itself."""
    seen = []
    for episode in range(2):
        venv.seed(seed + episode)
        seen.append(_copied(venv.reset()))
        for _ in range(STEPS if not episode else 0):
            observation, _, (ended,), (info,) = venv.step([0])
            seen.append(_copied([info["terminal_observation"]]) if ended else _copied(observation))
    return seen


def _copied(observation: Any) -> Any:
    if isinstance(observation, list):
        return observation[0]
    return (
        {key: part[0].copy() for key, part in observation.items()}
        if isinstance(observation, dict)
        else observation[0].copy()
    )


def assert_same(found: Any, expected: Any) -> None:
    for key in expected if isinstance(expected, dict) else [...]:
        np.testing.assert_array_equal(found[key], expected[key])
        assert found[key].dtype == expected[key].dtype


@pytest.mark.parametrize(
    "observed",
    [
        FLAT,
        TABLE,
        IMAGE,
        FIRST,
        spaces.Box(0, 255, (84, 84, 1), np.uint8),
        spaces.Box(0, 255, (1, 84, 84), np.uint8),
        spaces.Box(0, 255, (2, 48, 3), np.uint8),
        spaces.Box(0, 200, (3, 48, 40), np.uint8),
        spaces.Box(0, 1, (3, 48, 40), np.float32),
        spaces.Box(-5, 5, (4,), np.float64),
        spaces.Dict({"image": IMAGE, "first": FIRST, "flat": FLAT}),
    ],
    ids=str,
)
@pytest.mark.parametrize("frames", [2, 4])
def test_frames_are_stacked_as_sb3_does(observed: spaces.Space, frames: int) -> None:
    env = stacking.Stacked(Open(observed, FOUR, STEPS), frames, {})
    venv = VecFrameStack(DummyVecEnv([lambda: Open(observed, FOUR, STEPS)]), frames)
    found, expected = played(env, 5), wanted(venv, 5)
    assert len(found) == len(expected) == STEPS + 2
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)
    assert env.observation_space.shape == venv.observation_space.shape
    assert env.observation_space.contains(found[0])


def test_stacked_space_has_each_frames_bounds() -> None:
    """SB3's own repeats each number's bounds beside it, which are those of another number."""
    found = stacking.Stacked(Open(LOPSIDED, FOUR), 2, {}).observation_space
    assert found == spaces.Box(np.tile(LOPSIDED.low, 2), np.tile(LOPSIDED.high, 2))


# --- behind VecNormalize ---------------------------------------------------------------------------


def test_padding_is_the_mean_which_is_a_normalized_0() -> None:
    env = stacking.Stacked(Open(FLAT, FOUR), 3, {"": [1.0, 2.0, 3.0]})
    first, _ = env.reset(seed=0)
    np.testing.assert_array_equal(first[:6], [1, 2, 3, 1, 2, 3])
    second = env.step(0)[0]
    np.testing.assert_array_equal(second[:3], [1, 2, 3])
    np.testing.assert_array_equal(second[3:6], first[6:])


@pytest.fixture
def a_stacked_agent(tmp_path: Path) -> Callable[..., tuple[Tiny, dict[str, Any]]]:
    """A tiny agent of stacked and normalized frames, and its contract as it is read."""

    def make(observed: spaces.Space = FLAT, **fields: Any) -> tuple[Tiny, dict[str, Any]]:
        tiny = Case("PPO", observed, FOUR, frames=3, normalize=True, **fields).save(tmp_path)
        target = tmp_path / "sb3"
        target.mkdir()
        opened = {"algorithm": "", "images": "channel-last", "trust": False, "import_allowed": []}
        told = {"agent": "t", "zip": str(tiny.zip), "vecnormalize": str(tiny.pkl), "outputs": [], "stochastic": False}
        jobs.read(target, {**told, "opened": opened, "frame_stack": 3})
        return tiny, contracts.load(target)

    return make


@pytest.mark.parametrize("observed", [FLAT, TABLE, spaces.Box(-5, 5, (4,), np.float64)], ids=str)
def test_agent_sees_what_it_saw_in_training(a_stacked_agent: Callable[..., Any], observed: spaces.Space) -> None:
    """VecNormalize, then VecFrameStack, whose padding is 0; ours stacks first, and normalizes with repeated moments."""
    tiny, contract = a_stacked_agent(observed)
    kwargs = {"observed": observed, "acts": FOUR, "steps": STEPS}
    env = environments.make(environment(OPEN, kwargs=kwargs, frame_stack=3), contract)
    found = [tiny.reference.normalize(seen) for seen in played(env, 5)]
    venv = DummyVecEnv([lambda: Open(observed, FOUR, STEPS)])
    normalizer = VecNormalize.load(str(tiny.pkl), venv)
    normalizer.training = False
    expected = wanted(VecFrameStack(normalizer, 3), 5)
    for step, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if step != STEPS:  # what ended the episode, which VecFrameStack hands out as it came
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
            assert (ours[theirs == 0] == 0).all(), "padding is exact"
    assert not expected[0][..., : observed.shape[-1]].any()


def test_contract_tells_frames_and_padding(a_stacked_agent: Callable[..., Any]) -> None:
    tiny, contract = a_stacked_agent()
    (entry,) = contract["takes"]
    one = statistics.read(tiny.pkl, described(FLAT)).moments[""]
    assert entry["frames"] == 3
    assert entry["padding"] == one.mean.tolist()
    assert entry["shape"] == ["batch", 9]


def test_stacked_agent_plays_an_environment_of_single_frames(a_stacked_agent: Callable[..., Any]) -> None:
    tiny, contract = a_stacked_agent()
    asked = []

    def answer(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked.append(inputs["observation"].shape)
        return {"action": tiny.reference.predict(inputs)[0]}

    world = environment(OPEN, kwargs={"observed": FLAT, "acts": FOUR, "steps": 4}, frame_stack=3)
    seen, _ = rollouts.episodes(world, contract, answer, 2, 0)
    assert asked == [(2, 9)] * 4
    assert [episode["observation"].shape for episode in seen] == [(4, 9)] * 2
