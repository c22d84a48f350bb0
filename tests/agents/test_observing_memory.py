"""A policy with a memory is observed in sequences, and calibrated on its states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline import contract as contracts
from pipeline.agents import observing

from .making import Case, Tiny
from .observed import Observed
from .stubs import FLAT, FOUR
from .worlds import OPEN, environment

MEMORIES = ["recurrentppo_box", "recurrentppo_dropout", "recurrentppo_of_several"]


@pytest.mark.parametrize("case", MEMORIES)
def test_recurrent_policy_is_followed_through_sequences(
    made: Callable[[str], Tiny], observe: Callable[..., Observed], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(observing, "STEPS", 12)
    tiny = made(case)
    found = observe(tiny)
    states = [state["input"] for state in found.contract["states"]]
    assert not set(states) & set(found.inputs), "they are what the reference gave before"
    assert {values.shape[:2] for values in found.inputs.values()} == {(3, 12)}, "one sequence of edges"
    assert (found.about["samples"], found.about["edges"]) == (24, 12)
    assert not found.inputs["keep"][:, 0].any()
    assert 0 < found.inputs["keep"].mean() < 1
    names = ["action", *(state["output"] for state in found.contract["states"])]
    followed, _ = contracts.follow(found.contract, lambda rows: tiny.reference.outputs(rows, names), found.inputs)
    for name, values in followed.items():
        np.testing.assert_array_equal(found.reference[name], values)


def test_samples_of_a_memory_are_whole_sequences(made: Callable[[str], Tiny], observe: Callable[..., Observed]) -> None:
    found = observe(made("recurrentppo_box"))
    assert found.inputs["observation"].shape == (3, 256, 3)
    assert found.about["samples"] == 512


def test_calibration_of_a_memory_stores_its_states_as_inputs(
    made: Callable[[str], Tiny], observe: Callable[..., Observed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "STEPS", 12)
    found = observe(made("recurrentppo_box"), calibration=True)
    assert {name: values.shape for name, values in found.inputs.items()} == {
        "observation": (24, 3),
        "keep": (24, 1),
        "h0": (24, 8),
        "c0": (24, 8),
    }
    assert found.about["edges"] == 0
    contracts.check_inputs(found.contract, found.inputs)
    going = found.inputs["keep"][1:, 0] == 1
    np.testing.assert_array_equal(found.inputs["h0"][1:][going], found.reference["new_h0"][:-1][going])


def test_golden_vectors_of_a_memory_are_the_first_steps_of_an_episode(
    made: Callable[[str], Tiny], observe: Callable[..., Observed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a reader can follow the states from one to the next."""
    monkeypatch.setattr(observing, "STEPS", 12)
    tiny = made("recurrentppo_dropout")
    found = observe(tiny)
    inputs, outputs = found.golden(), found.about["golden"]["outputs"]
    np.testing.assert_allclose(outputs["action"], tiny.predict(inputs))
    assert inputs["keep"][0] == 0 and not inputs["h0"][0].any()
    for name in ("h0", "c0", "h1", "c1"):
        np.testing.assert_allclose(inputs[name][1:], np.float32(outputs[f"new_{name}"])[:-1], rtol=1e-5, atol=1e-6)


def test_rollouts_of_a_memory_are_chained_episodes(
    observe: Callable[..., Observed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "STEPS", 12)
    kwargs = {"lstm_hidden_size": 4}
    tiny = Case("RecurrentPPO", FLAT, FOUR, policy="MlpLstmPolicy", kwargs=kwargs).save(tmp_path)
    found = observe(tiny, environment(OPEN, kwargs={"observed": FLAT, "acts": FOUR, "steps": 5}), episodes=3, edges=0)
    assert found.about["origin"] == f"3 episodes of {OPEN} from seed 5"
    assert found.inputs["keep"][0, :, 0].tolist() == [0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1]
    assert found.inputs["observation"].shape == (2, 12, 3)
