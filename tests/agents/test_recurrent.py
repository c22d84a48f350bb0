"""Policies with a memory through whole sequences: states fed back, and reset where an episode starts."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import contract as contracts

from .cases import CASES
from .making import Inputs, Tiny
from .test_exported import assert_near, made_of, run

COUNT, STEPS = 3, 20
RECURRENT = [name for name, case in CASES.items() if case.algorithm == "RecurrentPPO"]


@pytest.fixture(params=RECURRENT)
def a_recurrent_agent(request: pytest.FixtureRequest, made: object) -> Tiny:
    return made(request.param)  # type: ignore[operator]


def sequences(tiny: Tiny) -> Inputs:
    """Inputs but for the states, [sequences, steps, ...]; episodes of several lengths, the first without a start."""
    names = {state["input"] for state in tiny.reference.parts.states}
    rows = {name: values for name, values in tiny.inputs(COUNT * STEPS).items() if name not in names}
    found = {name: values.reshape(COUNT, STEPS, *values.shape[1:]) for name, values in rows.items()}
    found["keep"] = np.ones((COUNT, STEPS, 1), np.float32)
    for sequence, starts in enumerate(((0, 7), (0, 1, 2, 15), ())):
        found["keep"][sequence, list(starts)] = 0
    return found


def wanted(tiny: Tiny, seen: Inputs) -> Inputs:
    """SB3's own loop: it starts without a state, and keeps what predict gives."""
    state, actions, states = None, [], []
    for step in range(STEPS):
        observation = tiny.observation({name: values[:, step] for name, values in seen.items()})
        starts = seen["keep"][:, step, 0] == 0
        action, state = tiny.loaded.predict(observation, state=state, episode_start=starts, deterministic=True)
        actions.append(action)
        states.append(state)
    found = {"action": np.stack(actions, axis=1).reshape(COUNT * STEPS, *actions[0].shape[1:])}
    for layer in range(len(states[0][0])):
        for kind, index in (("h", 0), ("c", 1)):
            values = np.stack([state[index][layer] for state in states], axis=1)
            found[f"new_{kind}{layer}"] = values.reshape(COUNT * STEPS, -1)
    return found


def test_reference_keeps_its_states_as_sb3_does(a_recurrent_agent: Tiny) -> None:
    reference, seen = a_recurrent_agent.reference, sequences(a_recurrent_agent)
    names = ["action", *(state["output"] for state in reference.parts.states)]
    found, given = contracts.follow(a_recurrent_agent.contract(), lambda rows: reference.outputs(rows, names), seen)
    expected = wanted(a_recurrent_agent, seen)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert list(given) == [state["input"] for state in reference.parts.states]


@pytest.mark.parametrize("part", ["policy", "core"])
def test_exported_memory_follows_sb3_through_episodes(a_recurrent_agent: Tiny, part: str) -> None:
    contract, seen = a_recurrent_agent.contract(part), sequences(a_recurrent_agent)
    module = made_of(a_recurrent_agent.reference, part)

    def answer(rows: Inputs) -> Inputs:
        return contracts.decide(contract, lambda ready: run(module, ready), rows)

    found, _ = contracts.follow(contract, answer, seen)
    assert_near(found, wanted(a_recurrent_agent, seen))


def test_states_that_were_fed_are_those_that_came_out_before(a_recurrent_agent: Tiny) -> None:
    reference, seen = a_recurrent_agent.reference, sequences(a_recurrent_agent)
    states = reference.parts.states
    names = ["action", *(state["output"] for state in states)]
    found, given = contracts.follow(a_recurrent_agent.contract(), lambda rows: reference.outputs(rows, names), seen)
    for state in states:
        fed = given[state["input"]].reshape(COUNT, STEPS, state["units"])
        came = found[state["output"]].reshape(fed.shape)
        assert not fed[:, 0].any()
        np.testing.assert_array_equal(fed[:, 1:], came[:, :-1])
    again = reference.outputs({**{n: v.reshape(-1, *v.shape[2:]) for n, v in seen.items()}, **given}, names)
    for name in names:
        np.testing.assert_allclose(again[name], found[name], rtol=1e-5, atol=1e-6)


def test_start_of_an_episode_forgets_and_nothing_else_does(a_recurrent_agent: Tiny) -> None:
    inputs, units = a_recurrent_agent.inputs(16), a_recurrent_agent.reference.parts.states[0]["units"]
    module = made_of(a_recurrent_agent.reference)
    started, going = ({**inputs, "keep": np.full((16, 1), keep, np.float32)} for keep in (0, 1))
    empty = {name: np.zeros((16, units), np.float32) for name in inputs if name[0] in "hc"}
    for name, values in run(module, {**going, **empty}).items():
        np.testing.assert_array_equal(run(module, started)[name], values)
        if name.startswith("new_"):
            assert not np.allclose(run(module, going)[name], values)


def test_memory_matters(a_recurrent_agent: Tiny) -> None:
    """Else following it would prove nothing."""
    seen, reference = sequences(a_recurrent_agent), a_recurrent_agent.reference
    names = [reference.parts.decision, *(state["output"] for state in reference.parts.states)]

    def followed(keep: np.ndarray) -> np.ndarray:
        given = {**seen, "keep": keep}
        found, _ = contracts.follow(a_recurrent_agent.contract(), lambda rows: reference.outputs(rows, names), given)
        return found[reference.parts.decision]

    assert not np.allclose(followed(seen["keep"]), followed(np.zeros_like(seen["keep"])), atol=1e-3)
    assert not np.allclose(followed(seen["keep"]), followed(np.ones_like(seen["keep"])), atol=1e-3)
