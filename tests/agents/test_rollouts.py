"""Seeded episodes: what the policy saw in them, and their returns."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from pipeline import errors
from pipeline.agents import rollouts

from .making import Inputs
from .stubs import FIRST, FLAT, FOUR, groups
from .worlds import OPEN, STILL, WALK, contract_of, environment, spaces_of


def zero(inputs: Inputs) -> Inputs:
    return {"action": np.zeros(len(inputs["observation"]), np.int64)}


def walk(policy: Any = zero, count: int = 4, seed: int = 10, **kwargs: Any) -> tuple[list[np.ndarray], list[float]]:
    seen, returns = rollouts.episodes(environment(kwargs=kwargs), spaces_of(**kwargs), policy, count, seed)
    assert all(list(episode) == ["observation"] for episode in seen)
    return [episode["observation"] for episode in seen], returns


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

    def counting(inputs: Inputs) -> Inputs:
        asked.append(len(inputs["observation"]))
        return zero(inputs)

    walk(counting)
    assert asked == [4, 4, 4, 3, 1]


def test_each_episode_gets_its_own_action() -> None:
    _, returns = walk(lambda inputs: {"action": (inputs["observation"][:, 0] % 2).astype(np.int64)})
    assert returns == [4.0, 0.0, 3.0, 0.0]


def test_random_policy_is_seeded() -> None:
    assert walk(None, 8)[1] == walk(None, 8)[1]
    assert walk(None, 30, seed=0)[1] != walk(None, 30, seed=3)[1]


def test_same_seed_gives_the_same_observations() -> None:
    def still(seed: int) -> np.ndarray:
        acting = {"action": np.zeros((1, 2), np.float32)}
        return rollouts.episodes(environment(STILL), spaces_of(STILL), lambda _: acting, 1, seed)[0][0]["observation"]

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
    with pytest.raises(errors.EnvironmentUnfit):
        rollouts.episodes(environment(), contract_of(FLAT, FOUR), zero, 1, 0)


# --- several inputs, masks and memories ------------------------------------------------------------

CHOICES = spaces.MultiDiscrete([3, 2])


def opened(observed: spaces.Space, acts: spaces.Space, steps: int = 10, masked: int | None = None) -> dict[str, Any]:
    """An environment that holds images as users do."""
    kwargs = {"observed": observed, "acts": acts, "steps": steps, "masked": masked}
    return environment(OPEN, kwargs=kwargs)


def test_inputs_of_a_dict_are_kept_by_name() -> None:
    seen_by = spaces.Dict({"a key": FLAT, "image": spaces.Box(0, 255, (48, 40, 3), np.uint8), "gear": FOUR})
    contract = contract_of(spaces.Dict({"a key": FLAT, "image": FIRST, "gear": FOUR}), FOUR)
    (episode,), _ = rollouts.episodes(
        opened(seen_by, FOUR), contract, lambda inputs: {"action": np.zeros(len(inputs["a_key"]), np.int64)}, 1, 0
    )
    found = {name: (values.shape, str(values.dtype)) for name, values in episode.items()}
    assert found == {
        "a_key": ((10, 3), "float32"),
        "gear": ((10,), "int64"),
        "image": ((10, 48, 40, 3), "uint8"),
    }


def test_policy_is_given_the_mask_of_each_environment() -> None:
    asked: list[np.ndarray] = []

    def masked(inputs: Inputs) -> Inputs:
        asked.append(inputs["action_mask"])
        return {"action": np.zeros((len(inputs["observation"]), 2), np.int64)}

    rollouts.episodes(opened(FLAT, CHOICES), contract_of(FLAT, CHOICES, masked=True), masked, 2, 0)
    assert asked[0].tolist() == [[True, True, False, True, False]] * 2
    assert asked[0].dtype == bool


@pytest.mark.parametrize("acts", [CHOICES, FOUR, spaces.MultiBinary(2)], ids=str)
def test_random_policy_acts_as_the_mask_allows(acts: spaces.Space, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    step = gymnasium.spec(OPEN).entry_point.step
    monkeypatch.setattr(
        gymnasium.spec(OPEN).entry_point, "step", lambda env, action: taken.append(action) or step(env, action)
    )
    for seed in (3, 3):
        rollouts.episodes(opened(FLAT, acts, steps=20), contract_of(FLAT, acts, masked=True), None, 2, seed)
    assert all(acts.contains(action) for action in taken)
    decisions = np.array(taken).reshape(len(taken), -1)
    assert (decisions < np.array(groups(acts)) - 1).all(), "the last choice is forbidden"
    assert (decisions[: len(taken) // 2] == decisions[len(taken) // 2 :]).all(), "it is seeded"


def test_mask_of_another_width_is_told_with_both() -> None:
    with pytest.raises(errors.EnvironmentUnfit) as refused:
        rollouts.episodes(opened(FLAT, CHOICES, masked=4), contract_of(FLAT, CHOICES, masked=True), zero, 1, 0)
    assert refused.value.what == "the environment's action mask has another width"
    assert (refused.value.expected, refused.value.found) == ("5", "4")


def test_states_are_fed_back_and_an_episode_starts_without() -> None:
    """Each episode keeps its own, although some end before others."""
    contract = {**spaces_of(), "states": [{"input": "h0", "output": "new_h0", "units": 1}]}
    asked: list[Inputs] = []

    def counting(inputs: Inputs) -> Inputs:
        asked.append(inputs)
        return {**zero(inputs), "new_h0": inputs["h0"] + inputs["observation"][:, :1]}

    seen, _ = rollouts.episodes(environment(), contract, counting, 3, 10)
    assert [inputs["keep"].ravel().tolist() for inputs in asked[:2]] == [[0, 0, 0], [1, 1, 1]]
    assert asked[0]["h0"].tolist() == [[0], [0], [0]]
    assert asked[2]["h0"].tolist() == [[20], [22], [24]]
    assert asked[3]["h0"].tolist() == [[30], [33]], "the third has ended"
    assert [sorted(episode) for episode in seen] == [["observation"]] * 3


# --- a sample of them ------------------------------------------------------------------------------


def test_spread_takes_the_first_and_the_last_and_evenly_between() -> None:
    seen = [{"a": np.arange(40.0), "b": np.zeros((40, 2))}, {"a": np.arange(40.0, 101.0), "b": np.ones((61, 2))}]
    found = rollouts.spread(seen, 5)
    assert found["a"].tolist() == [0, 25, 50, 75, 100]
    assert found["b"].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1], [1, 1]]


def test_spread_takes_all_where_there_are_few() -> None:
    seen = [{"a": np.arange(3.0)}]
    assert rollouts.spread(seen, 5)["a"].tolist() == [0, 1, 2]
    assert len(rollouts.spread(seen, 3)["a"]) == 3


# --- sequences of them -----------------------------------------------------------------------------


def test_episodes_are_chained_and_each_start_is_told() -> None:
    seen = [{"a": np.arange(n) + 10.0 * i} for i, n in enumerate((3, 2, 4), start=1)]
    found = rollouts.chained(seen, 2, 4)
    assert found["a"].tolist() == [[10, 11, 12, 20], [21, 30, 31, 32]]
    assert found["keep"][..., 0].tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]], "every sequence starts an episode"


def test_long_episode_is_cut_so_that_another_follows_in_its_sequence() -> None:
    seen = [{"a": np.arange(100.0)}, {"a": 1000 + np.arange(100.0)}]
    found = rollouts.chained(seen, 1, 8)
    assert found["a"].tolist() == [[0, 1, 2, 3, 4, 5, 1000, 1001]]
    assert found["keep"][0, :, 0].tolist() == [0, 1, 1, 1, 1, 1, 0, 1]


def test_too_few_steps_are_played_again() -> None:
    found = rollouts.chained([{"a": np.arange(3.0)}], 1, 8)
    assert found["a"].tolist() == [[0, 1, 2, 0, 1, 2, 0, 1]]
    assert found["keep"][0, :, 0].tolist() == [0, 1, 1, 0, 1, 1, 0, 1]
