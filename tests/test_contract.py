"""Prologue and epilogue in numpy, and the contract's text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import contract as contracts

OBSERVATION = np.array([[1.0, 2.0], [30.0, -4.0]], np.float32)


def test_normalize_is_vecnormalize() -> None:
    step = {"op": "normalize", "mean": [1.0, 0.0], "variance": [4.0, 1.0], "epsilon": 0.0, "clip": 3.0}
    assert contracts.prologue([step], OBSERVATION).tolist() == [[0.0, 2.0], [3.0, -3.0]]


def test_equalize_maps_the_range_to_one() -> None:
    step = {"op": "equalize", "middle": [15.5, -1.0], "half": [14.5, 3.0]}
    found = contracts.prologue([step], OBSERVATION)
    assert found.dtype == np.float32
    assert np.allclose(found, [[-1, 1], [1, -1]])


def test_empty_prologue_only_casts() -> None:
    assert contracts.prologue([], OBSERVATION.astype(np.float64)).dtype == np.float32


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ([{"op": "argmax"}], [1, 0]),
        ([{"op": "clip", "low": [-1, -1], "high": [3, 3]}], [[1, 2], [3, -1]]),
        ([{"op": "unscale", "low": [0, 0], "high": [10, 20]}], [[10, 30], [155, -30]]),
        ([{"op": "tanh"}, {"op": "reshape", "shape": [2, 1]}], np.tanh(OBSERVATION)[:, :, None]),
    ],
)
def test_epilogue_step(steps: list, wanted: object) -> None:
    assert np.allclose(contracts.epilogue(steps, OBSERVATION), wanted)


def test_unknown_step_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown prologue step 'whiten'"):
        contracts.prologue([{"op": "whiten"}], OBSERVATION)
    with pytest.raises(ValueError, match="unknown epilogue step 'sample'"):
        contracts.epilogue([{"op": "sample", "low": 0, "high": 1}], OBSERVATION)


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
