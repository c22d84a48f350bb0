"""Seeded episodes, and observations where there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from pipeline import errors
from pipeline.agents import archive, rollouts

from .making import FLAT, FOUR, TABLE, described
from .worlds import STILL, WALK, environment, spaces_of


def zero(observation: np.ndarray) -> np.ndarray:
    return np.zeros(len(observation), np.int64)


def walk(policy: Any = zero, count: int = 4, seed: int = 10, **kwargs: Any) -> tuple[list[np.ndarray], list[float]]:
    return rollouts.episodes(environment(kwargs=kwargs), spaces_of(**kwargs), policy, count, seed)


# --- episodes --------------------------------------------------------------------------------------


def test_each_episode_has_its_own_seed_and_length() -> None:
    seen, returns = walk()
    assert [steps[0].tolist() for steps in seen] == [[10, 0], [11, 0], [12, 0], [13, 0]]
    assert [len(steps) for steps in seen] == [4, 5, 3, 4]
    assert returns == [4.0, 5.0, 3.0, 4.0]


def test_observations_are_those_that_the_policy_was_asked_about() -> None:
    (steps,), _ = walk(count=1)
    assert steps[:, 1].tolist() == [0, 1, 2, 3]


def test_policy_is_asked_once_a_step_for_all_that_still_run() -> None:
    asked: list[int] = []

    def counting(observation: np.ndarray) -> np.ndarray:
        asked.append(len(observation))
        return zero(observation)

    walk(counting)
    assert asked == [4, 4, 4, 3, 1]


def test_each_episode_gets_its_own_action() -> None:
    _, returns = walk(lambda observation: (observation[:, 0] % 2).astype(np.int64))
    assert returns == [4.0, 0.0, 3.0, 0.0]


def test_random_policy_is_seeded() -> None:
    assert walk(None, 8)[1] == walk(None, 8)[1]
    assert walk(None, 30, seed=0)[1] != walk(None, 30, seed=3)[1]


def test_same_seed_gives_the_same_observations() -> None:
    def still(seed: int) -> np.ndarray:
        acting = np.zeros((1, 2), np.float32)
        return rollouts.episodes(environment(STILL), spaces_of(STILL), lambda _: acting, 1, seed)[0][0]

    np.testing.assert_array_equal(still(3), still(3))
    assert not np.array_equal(still(3), still(4))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_observations_keep_the_environments_dtype(dtype: str) -> None:
    (steps,), _ = walk(count=1, dtype=dtype)
    assert steps.dtype == dtype


def test_endless_episodes_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "MAX_STEPS", 50)
    seen, returns = walk(count=2, endless=True)
    assert [len(steps) for steps in seen] == [50, 50]
    assert returns == [50.0, 50.0]


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_observation_that_is_not_finite_is_located(step: int, value: float) -> None:
    with pytest.raises(errors.ObservationsNotFinite) as refused:
        walk(bad=step, value=value)
    assert refused.value.what == f"{WALK} gave a NaN or infinite observation[1] in episode 0"
    assert "Mend the environment or its wrappers" in str(refused.value)


def test_environment_of_another_agent_is_refused() -> None:
    contract = {"observation_space": described(FLAT), "action_space": described(FOUR)}
    with pytest.raises(errors.EnvironmentUnfit):
        rollouts.episodes(environment(), contract, zero, 1, 0)


# --- a sample of them ------------------------------------------------------------------------------


def test_spread_takes_the_first_and_the_last_and_evenly_between() -> None:
    seen = [np.arange(40.0)[:, None], np.arange(40.0, 101.0)[:, None]]
    assert rollouts.spread(seen, 5).ravel().tolist() == [0, 25, 50, 75, 100]


def test_spread_takes_all_where_there_are_few() -> None:
    seen = [np.arange(3.0)[:, None]]
    assert rollouts.spread(seen, 5).ravel().tolist() == [0, 1, 2]
    assert len(rollouts.spread(seen, 3)) == 3


# --- without an environment ------------------------------------------------------------------------


def contract_of(space: spaces.Box) -> dict[str, Any]:
    return {"observation_space": described(space)}


@pytest.mark.parametrize("space", [FLAT, TABLE, spaces.Box(-np.inf, np.inf, (4,)), spaces.Box(-9, 9, (2,), np.int32)])
def test_drawn_observations_fit_the_space_and_the_seed(space: spaces.Box) -> None:
    found, origin = rollouts.drawn(contract_of(space), None, 100, 3)
    assert found.shape == (100, *space.shape)
    assert found.dtype == space.dtype
    assert all(space.contains(row) for row in found)
    assert "draws from the observation space" in origin
    np.testing.assert_array_equal(found, rollouts.drawn(contract_of(space), None, 100, 3)[0])
    assert not np.array_equal(found, rollouts.drawn(contract_of(space), None, 100, 4)[0])


def test_drawn_observations_reach_the_bounds() -> None:
    found, _ = rollouts.drawn(contract_of(FLAT), None, 1000, 0)
    assert found.min() < -4.9
    assert found.max() > 4.9


def test_dimension_of_huge_bounds_is_drawn_near_0() -> None:
    """A uniform draw up to 3.4e38 would leave one observation only."""
    space = spaces.Box(np.array([-1, -3.4e38], np.float32), np.array([1, 3.4e38], np.float32))
    found, _ = rollouts.drawn(contract_of(space), None, 1000, 0)
    assert np.abs(found[:, 1]).max() < 6
    assert 0.8 < found[:, 1].std() < 1.2


def test_drawn_observations_follow_the_statistics() -> None:
    mean, variance = np.array([1e4, -2.0, 0.5]), np.array([100.0, 0.25, 1e-4])
    space = spaces.Box(-np.inf, np.inf, (3,))
    held = archive.Statistics(10.0, 1e-8, True, mean, variance)
    found, origin = rollouts.drawn(contract_of(space), held, 4000, 0)
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=4 * np.sqrt(variance.max() / 4000))
    np.testing.assert_allclose(found.std(axis=0), np.sqrt(variance), rtol=0.1)
    assert "VecNormalize's statistics" in origin


def test_draws_from_statistics_stay_in_the_space() -> None:
    held = archive.Statistics(10.0, 1e-8, True, np.full(3, 4.0), np.full(3, 9.0))
    found, _ = rollouts.drawn(contract_of(FLAT), held, 500, 0)
    assert found.min() >= -5
    assert found.max() == 5


# --- edges -----------------------------------------------------------------------------------------


def test_edges_are_corners_of_the_space() -> None:
    seen = np.random.default_rng(0).uniform(-5, 5, size=(50, 3)).astype(np.float32)
    found = rollouts.edges(contract_of(FLAT), seen, 40, 1)
    assert set(np.unique(found)) == {-5.0, 5.0}
    assert found.shape == (40, 3)
    assert found.dtype == np.float32
    assert len(np.unique(found, axis=0)) == 8


def test_edges_of_an_unbounded_dimension_lie_half_its_range_beyond() -> None:
    seen = np.array([[0.0, -1.0], [2.0, 3.0]], np.float32)
    found = rollouts.edges(contract_of(spaces.Box(-np.inf, np.inf, (2,))), seen, 40, 1)
    assert set(found[:, 0]) == {-1.0, 3.0}
    assert set(found[:, 1]) == {-3.0, 5.0}


def test_edges_of_huge_bounds_lie_by_what_was_seen() -> None:
    seen = np.array([[0.0], [2.0]], np.float32)
    found = rollouts.edges(contract_of(spaces.Box(-3.4e38, 3.4e38, (1,))), seen, 40, 1)
    assert set(found[:, 0]) == {-1.0, 3.0}


def test_edges_of_what_never_varied_are_finite() -> None:
    seen = np.full((4, 2), 7.0, np.float32)
    found = rollouts.edges(contract_of(spaces.Box(-np.inf, np.inf, (2,))), seen, 10, 1)
    assert np.isfinite(found).all()
    assert len(np.unique(found)) == 2


def test_no_edges_are_none() -> None:
    seen = np.zeros((4, 2, 3), np.float32)
    assert rollouts.edges(contract_of(TABLE), seen, 0, 1).shape == (0, 2, 3)


def test_edges_keep_shape_dtype_and_seed() -> None:
    space = spaces.Box(0, 255, (2, 4), np.uint8)
    seen = np.arange(80, dtype=np.uint8).reshape(10, 2, 4)
    found = rollouts.edges(contract_of(space), seen, 9, 5)
    assert found.dtype == np.uint8
    assert set(np.unique(found)) == {0, 255}
    np.testing.assert_array_equal(found, rollouts.edges(contract_of(space), seen, 9, 5))
