"""What an artifact is given, how a memory is followed, what is drawn, and how far decisions are apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import contract as contracts
from pipeline import errors

MASKED = [{"op": "mask", "input": "action_mask", "value": -1e8}, {"op": "argmax", "sizes": [2, 3]}]


# --- what an artifact is given ---------------------------------------------------------------------


def entry(name: str, role: str, *shape: int, layout: str = "batch first", dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "role": role, "shape": ["batch", *shape], "dtype": dtype, "layout": layout}


TAKES = [
    entry("eye", "observation", 48, 40, 3, layout="channel-last"),
    entry("gear", "observation", dtype="int32"),
    entry("h0", "state", 8),
    entry("keep", "keep", 1),
    entry("action_mask", "mask", 4, dtype="bool"),
]
CONTRACT: dict[str, Any] = {
    "part": "core",
    "takes": TAKES,
    "inputs": [
        entry("eye", "observation", 48, 40, 3, layout="channel-last"),
        entry("gear", "observation", 3),
        TAKES[2],
    ],
    "prologue": [{"op": "one_hot", "input": "gear", "sizes": [3]}, {"op": "reset", "input": "h0", "by": "keep"}],
    "epilogue": [{"op": "mask", "input": "action_mask", "value": -1e8}, {"op": "argmax"}],
    "decision": "logits",
    "states": [{"input": "h0", "output": "new_h0", "units": 8}],
}


def given(rows: int = 2) -> dict[str, np.ndarray]:
    found = {e["name"]: np.ones((rows, *e["shape"][1:]), e["dtype"]) for e in TAKES}
    found["action_mask"][:, 3] = False
    return found


def answer(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"logits": np.arange(4.0)[None].repeat(len(inputs["eye"]), 0), "new_h0": inputs["h0"] + 1}


def test_core_gets_what_its_contract_lists_and_the_decision_is_made_behind_it() -> None:
    asked: list[Mapping[str, np.ndarray]] = []

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked.append(inputs)
        return answer(inputs)

    found = contracts.decide(CONTRACT, run, given())
    assert {name: (values.shape[1:], str(values.dtype)) for name, values in asked[0].items()} == {
        "eye": ((48, 40, 3), "float32"),
        "gear": ((3,), "float32"),
        "h0": ((8,), "float32"),
    }
    assert found["action"].tolist() == [2, 2], "the last one is forbidden"
    assert sorted(found) == ["action", "logits", "new_h0"]


def test_policy_gets_its_inputs_as_they_are() -> None:
    asked: list[Mapping[str, np.ndarray]] = []
    contract = {**CONTRACT, "part": "policy", "inputs": TAKES}
    inputs = given()
    contracts.decide(contract, lambda inputs: asked.append(inputs) or answer(inputs), inputs)
    assert list(asked[0]) == [e["name"] for e in TAKES]
    assert all(asked[0][name] is values for name, values in inputs.items())


UNFIT = {
    "missing": ({"gear": None}, "the input 'gear' is missing", "eye, gear, h0, keep, action_mask", "eye, h0, keep, action_mask"),
    "unknown": ({"hand": np.zeros((2, 3))}, "there is no input 'hand'", "eye, gear, h0, keep, action_mask", "hand"),
    "mask": ({"action_mask": np.ones((2, 3), bool)}, "the input 'action_mask' (mask) has another shape", "['batch', 4]", "['batch', 3]"),
    "state": ({"h0": np.zeros((2, 16))}, "the input 'h0' (state) has another shape", "['batch', 8]", "['batch', 16]"),
    "flat state": ({"h0": np.zeros(8)}, "the input 'h0' (state) has another shape", "['batch', 8]", "['batch']"),
    "keep": ({"keep": np.ones(2)}, "the input 'keep' (keep) has another shape", "['batch', 1]", "['batch']"),
    "index": ({"gear": np.ones((2, 1), int)}, "the input 'gear' (observation) has another shape", "['batch']", "['batch', 1]"),
    "layout": ({"eye": np.ones((2, 3, 48, 40))}, "the image 'eye' has another layout than channel-last", "['batch', 48, 40, 3]", "['batch', 3, 48, 40]"),
    "size": ({"eye": np.ones((2, 84, 84, 3))}, "the input 'eye' (observation) has another shape", "['batch', 48, 40, 3]", "['batch', 84, 84, 3]"),
    "no batch": ({"eye": np.ones((48, 40, 3))}, "the input 'eye' (observation) has another shape", "['batch', 48, 40, 3]", "['batch', 40, 3]"),
}  # fmt: skip


@pytest.mark.parametrize("part", ["policy", "core"])
@pytest.mark.parametrize("name", UNFIT)
def test_unfit_input_is_told_before_anything_runs(part: str, name: str) -> None:
    change, what, expected, found = UNFIT[name]
    inputs = {key: values for key, values in {**given(), **change}.items() if values is not None}
    with pytest.raises(errors.InputsUnfit) as refused:
        contracts.decide({**CONTRACT, "part": part}, lambda _: pytest.fail("it ran"), inputs)
    assert (refused.value.what, refused.value.expected, refused.value.found) == (what, expected, found)
    assert "policy.json lists the inputs with their shapes, dtypes and layouts" in str(refused.value)


def test_image_that_should_be_channel_first_is_told_so() -> None:
    contract = {"takes": [entry("observation", "observation", 3, 48, 40, layout="channel-first")]}
    with pytest.raises(errors.InputsUnfit, match="The image 'observation' has another layout than channel-first"):
        contracts.check_inputs(contract, {"observation": np.ones((1, 48, 40, 3))})


def test_vector_in_another_order_is_no_layout() -> None:
    contract = {"takes": [entry("observation", "observation", 2, 3)]}
    with pytest.raises(errors.InputsUnfit, match=r"The input 'observation' \(observation\) has another shape"):
        contracts.check_inputs(contract, {"observation": np.ones((1, 3, 2))})


def test_stored_inputs_come_in_the_dtypes_that_are_taken(tmp_path: Path) -> None:
    stored = {"eye": np.full((2, 48, 40, 3), 200, np.uint8), "gear": np.array([0, 2])}
    np.savez(tmp_path / "observations.npz", **stored)
    found = contracts.read_inputs(CONTRACT, tmp_path / "observations.npz")
    assert {name: str(values.dtype) for name, values in found.items()} == {"eye": "float32", "gear": "int32"}
    assert (found["eye"] == 200).all()


# --- states ----------------------------------------------------------------------------------------


def test_new_states_are_fed_back_step_by_step() -> None:
    contract = {"states": [{"input": "h0", "output": "new_h0", "units": 1}]}

    def step(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = rows["h0"] * rows["keep"]
        return {"action": kept[:, 0], "new_h0": kept + rows["x"]}

    x = np.array([[1.0, 2, 3], [10, 20, 30]])[..., None]
    keep = np.array([[0.0, 1, 1], [0, 1, 0]])[..., None]
    outputs, states = contracts.follow(contract, step, {"x": x, "keep": keep})
    assert outputs["new_h0"].ravel().tolist() == [1, 3, 6, 10, 30, 30]
    assert outputs["action"].tolist() == [0, 1, 3, 0, 10, 0]
    assert states["h0"].ravel().tolist() == [0, 1, 3, 0, 10, 30]
    assert states["h0"].shape == (6, 1)


# --- draws -----------------------------------------------------------------------------------------

COUNT = 20_000


def repeated(*row: float) -> np.ndarray:
    return np.tile(np.array(row, np.float32), (COUNT, 1))


def test_gumbel_noise_draws_from_the_softmax() -> None:
    contract = {
        "algorithm": "PPO",
        "decision": "logits",
        "epilogue": [{"op": "argmax"}],
        "distribution": {"noise": "gumbel"},
    }
    drawn = contracts.sample(contract, {"logits": repeated(0, 1, -1)}, {}, seed=0)
    assert drawn.shape == (COUNT,)
    wanted = np.exp([0, 1, -1]) / np.exp([0, 1, -1]).sum()
    assert np.bincount(drawn) / COUNT == pytest.approx(wanted, abs=0.015)


def test_masked_choice_is_never_drawn() -> None:
    contract = {
        "algorithm": "MaskablePPO",
        "decision": "logits",
        "epilogue": MASKED,
        "distribution": {"noise": "gumbel"},
    }
    mask = np.tile([True, False, False, True, True], (COUNT, 1))
    drawn = contracts.sample(contract, {"logits": repeated(0, 9, 9, 0, 1)}, {"action_mask": mask}, seed=0)
    assert set(drawn[:, 0]) == {0} and set(drawn[:, 1]) == {1, 2}
    assert (drawn[:, 1] == 2).mean() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.015)


def test_logistic_noise_draws_from_the_sigmoid() -> None:
    contract = {
        "algorithm": "PPO",
        "decision": "logits",
        "epilogue": [{"op": "positive"}],
        "distribution": {"noise": "logistic"},
    }
    drawn = contracts.sample(contract, {"logits": repeated(0, 2, -1)}, {}, seed=0)
    assert drawn.mean(axis=0) == pytest.approx(1 / (1 + np.exp([0, -2, 1])), abs=0.015)


def test_normal_noise_is_scaled_before_the_epilogue() -> None:
    told = {"noise": "normal", "log_std": "log_std"}
    steps = [{"op": "clip", "low": [-1.0, -9.0], "high": [1.0, 9.0]}]
    contract = {"algorithm": "PPO", "decision": "mean", "epilogue": steps, "distribution": told}
    outputs = {"mean": repeated(0.5, -2), "log_std": repeated(0, np.log(0.1))}
    drawn = contracts.sample(contract, outputs, {}, seed=0)
    assert drawn[:, 0].min() == -1 and drawn[:, 0].max() == 1
    assert (drawn[:, 1].mean(), drawn[:, 1].std()) == pytest.approx((-2, 0.1), abs=0.005)
    assert (drawn == contracts.sample(contract, outputs, {}, seed=0)).all()
    assert (drawn != contracts.sample(contract, outputs, {}, seed=1)).any()


@pytest.mark.parametrize("contract", [{"algorithm": "DQN"}, {"algorithm": "DQN", "distribution": {}}])
def test_policy_without_a_distribution_cannot_be_sampled(contract: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="DQN policies have no distribution"):
        contracts.sample(contract, {}, {}, seed=0)


# --- gaps ------------------------------------------------------------------------------------------


def gaps(
    kind: str, steps: list[dict[str, Any]], values: list[float], mask: list[int] | None = None, **space: Any
) -> list[float]:
    contract = {"action_space": {"type": kind, **space}, "epilogue": steps}
    inputs = {} if mask is None else {"action_mask": np.array([mask], bool)}
    return contracts.gaps(contract, np.array([values], np.float32), inputs)[0].tolist()


def test_gap_is_between_the_two_best_choices_of_each_decision() -> None:
    assert gaps("Discrete", [{"op": "argmax"}], [1, 4, 3.5], n=3) == [0.5]
    assert gaps("MultiDiscrete", [{"op": "argmax", "sizes": [2, 3]}], [1, 4, 0, 0, 2], nvec=[2, 3]) == [3, 2]
    assert gaps("MultiBinary", [{"op": "positive"}], [-0.25, 3], n=[2]) == [0.25, 3]


def test_forbidden_choice_is_no_alternative() -> None:
    values = [5, 4.5, 1, 2, 2.25]
    assert gaps("MultiDiscrete", MASKED, values, [1, 0, 1, 1, 1], nvec=[2, 3]) == [np.inf, 0.25]
    assert gaps("MultiDiscrete", MASKED, values, [0, 0, 1, 0, 1], nvec=[2, 3]) == [np.inf, 1.25]


def test_only_choice_has_no_alternative() -> None:
    assert gaps("Discrete", [{"op": "argmax"}], [1], n=1) == [np.inf]
    assert gaps("MultiDiscrete", [{"op": "argmax", "sizes": [1, 2]}], [5, 1, 2], nvec=[1, 2]) == [np.inf, 1]


def test_groups_are_what_is_decided() -> None:
    def groups(kind: str, steps: list[dict[str, Any]], **space: Any) -> list[int] | None:
        return contracts.groups({"action_space": {"type": kind, **space}, "epilogue": steps})

    assert groups("Discrete", [{"op": "argmax"}], n=4) == [4]
    assert groups("MultiDiscrete", [{"op": "argmax", "sizes": [2, 3]}], nvec=[2, 3]) == [2, 3]
    assert groups("MultiBinary", [{"op": "positive"}], n=[3]) == [1, 1, 1]
    assert groups("MultiBinary", MASKED, n=[2]) == [2, 3]
    assert groups("Box", [], shape=[2]) is None
