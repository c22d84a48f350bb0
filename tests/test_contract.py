"""Prologue and epilogue in numpy, what an artifact is given, and the contract's text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import contract as contracts

OBSERVATION = np.array([[1.0, 2.0], [30.0, -4.0]], np.float32)


def prologue(step: dict[str, Any], values: np.ndarray) -> np.ndarray:
    return contracts.prologue([{"input": "x", **step}], {"x": values})["x"]


# --- steps before the core -------------------------------------------------------------------------


def test_normalize_is_vecnormalize() -> None:
    step = {"op": "normalize", "mean": [1.0, 0.0], "variance": [4.0, 1.0], "epsilon": 0.0, "clip": 3.0}
    assert prologue(step, OBSERVATION).tolist() == [[0.0, 2.0], [3.0, -3.0]]


def test_normalize_that_never_clips_says_so_in_a_word() -> None:
    step = {"op": "normalize", "mean": [0.0, 0.0], "variance": [1.0, 1.0], "epsilon": 0.0, "clip": "inf"}
    assert prologue(step, OBSERVATION).tolist() == OBSERVATION.tolist()


def test_equalize_maps_the_range_to_one() -> None:
    step = {"op": "equalize", "middle": [15.5, -1.0], "half": [14.5, 3.0]}
    found = prologue(step, OBSERVATION)
    assert found.dtype == np.float32
    assert np.allclose(found, [[-1, 1], [1, -1]])


@pytest.mark.parametrize(
    ("sizes", "index", "wanted"),
    [
        ([3], [2, 0], [[0, 0, 1], [1, 0, 0]]),
        ([2, 3], [[1, 2], [0, 0]], [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32])
def test_one_hot_marks_each_index(sizes: list[int], index: Any, wanted: list, dtype: type) -> None:
    found = prologue({"op": "one_hot", "sizes": sizes}, np.array(index, dtype))
    assert found.dtype == np.float32
    assert found.tolist() == wanted


def test_reset_forgets_where_keep_is_0() -> None:
    step = {"op": "reset", "input": "h0", "by": "keep"}
    given = {"h0": OBSERVATION, "keep": np.array([[0.0], [1.0]], np.float32)}
    assert contracts.prologue([step], given)["h0"].tolist() == [[0, 0], [30, -4]]


def test_steps_change_the_inputs_that_they_name_alone() -> None:
    step = {"op": "equalize", "input": "x", "middle": [0.0, 0.0], "half": [2.0, 2.0]}
    found = contracts.prologue([step, step], {"x": OBSERVATION, "y": OBSERVATION})
    assert found["x"].tolist() == (OBSERVATION / 4).tolist()
    assert found["y"].tolist() == OBSERVATION.tolist()


def test_steps_take_the_shape_of_an_observation() -> None:
    step = {"op": "equalize", "middle": [0.0, 1.0, 2.0, 3.0], "half": [1.0] * 4}
    assert prologue(step, np.arange(4.0).reshape(1, 2, 2)).tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize("dtype", [np.float64, np.uint8, np.int8, bool])
def test_empty_prologue_only_casts(dtype: type) -> None:
    found = contracts.prologue([], {"x": np.ones((2, 3), dtype)})["x"]
    assert found.dtype == np.float32
    assert (found == 1).all()


# --- steps behind the core -------------------------------------------------------------------------


def epilogue(steps: list[dict[str, Any]], values: np.ndarray = OBSERVATION, **inputs: np.ndarray) -> np.ndarray:
    return contracts.epilogue(steps, values, inputs)


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ([{"op": "argmax"}], [1, 0]),
        ([{"op": "argmax", "sizes": [2]}], [[1], [0]]),
        ([{"op": "argmax", "sizes": [1, 1]}], [[0, 0], [0, 0]]),
        ([{"op": "positive"}], [[1, 1], [1, 0]]),
        ([{"op": "clip", "low": [-1, -1], "high": [3, 3]}], [[1, 2], [3, -1]]),
        ([{"op": "clip", "low": ["-inf", -1], "high": [3, "inf"]}], [[1, 2], [3, -1]]),
        ([{"op": "unscale", "low": [0, 0], "high": [10, 20]}], [[10, 30], [155, -30]]),
        ([{"op": "tanh"}, {"op": "reshape", "shape": [2, 1]}], np.tanh(OBSERVATION)[:, :, None]),
    ],
)
def test_epilogue_step(steps: list, wanted: object) -> None:
    assert np.allclose(epilogue(steps), wanted)


def test_decisions_are_integers() -> None:
    for steps in ([{"op": "argmax"}], [{"op": "argmax", "sizes": [1, 1]}], [{"op": "positive"}]):
        assert epilogue(steps).dtype == np.int64


def test_first_of_equals_is_taken_and_zero_is_not_positive() -> None:
    zeros = np.zeros((1, 4), np.float32)
    assert epilogue([{"op": "argmax"}], zeros).tolist() == [0]
    assert epilogue([{"op": "argmax", "sizes": [2, 2]}], zeros).tolist() == [[0, 0]]
    assert epilogue([{"op": "positive"}], zeros).tolist() == [[0, 0, 0, 0]]


MASKED = [{"op": "mask", "input": "action_mask", "value": -1e8}, {"op": "argmax", "sizes": [2, 3]}]


def test_masked_choice_is_put_aside() -> None:
    values = np.array([[9.0, 1, 7, 8, 9]] * 3, np.float32)
    masks = np.array([[0, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 1]], bool)
    assert epilogue(MASKED, values, action_mask=masks).tolist() == [[1, 1], [0, 0], [0, 2]]


def test_group_without_a_choice_gives_the_first() -> None:
    values = np.array([[1.0, 9, 1, 2, 3]], np.float32)
    assert epilogue(MASKED, values, action_mask=np.zeros((1, 5), bool)).tolist() == [[0, 0]]


def test_unknown_step_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown prologue step 'whiten'"):
        prologue({"op": "whiten"}, OBSERVATION)
    with pytest.raises(ValueError, match="unknown epilogue step 'sample'"):
        epilogue([{"op": "sample", "low": 0, "high": 1}])


# --- its text --------------------------------------------------------------------------------------


def test_infinite_bounds_survive_json(tmp_path: Path) -> None:
    space = {"type": "Box", "shape": [2], "low": ["-inf", -1.0], "high": [1.0, "inf"]}
    contracts.dump({"action_space": space, "outputs": []}, tmp_path)
    loaded = contracts.load(tmp_path)["action_space"]
    assert contracts.bounds(loaded, "low").tolist() == [-np.inf, -1.0]
    assert contracts.action_range(loaded).tolist() == [1.0, 1.0], "an unbounded action is measured in its own unit"


def test_golden_vectors_are_those_of_the_stated_outputs() -> None:
    golden = {"inputs": {}, "outputs": {"action": [1], "logits": [2], "preferences": [3]}}
    text = contracts.text({"golden": golden, "outputs": [{"name": "action"}, {"name": "logits"}]})
    assert "preferences" not in text
    assert "preferences" in golden["outputs"], "the caller's contract is untouched"
