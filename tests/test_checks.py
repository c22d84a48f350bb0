"""compare(): shape, names and NaN before numbers; then the tolerance, the decisions, the return."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.checks import alike, compare
from pipeline.settings import Bound, Tolerance

BOX = {
    "part": "policy",
    "decision": "mean",
    "action_space": {"type": "Box", "shape": [2], "dtype": "float32", "low": [-2.0, -2.0], "high": [2.0, 2.0]},
    "epilogue": [],
    "outputs": [{"name": "action", "dtype": "float32"}, {"name": "mean", "dtype": "float32"}],
}
DISCRETE = {
    "part": "policy",
    "decision": "logits",
    "action_space": {"type": "Discrete", "n": 3, "start": 0},
    "epilogue": [{"op": "argmax"}],
    "outputs": [{"name": "action", "dtype": "int64"}, {"name": "logits", "dtype": "float32"}],
}


def box(rows: int = 40) -> dict[str, np.ndarray]:
    mean = np.random.default_rng(0).uniform(-1, 1, size=(rows, 2)).astype(np.float32)
    return {"action": mean.clip(-2, 2), "mean": mean}


def discrete(rows: int = 40) -> dict[str, np.ndarray]:
    logits = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    return {"action": logits.argmax(1), "logits": logits}


def judged(reference: dict, outputs: dict, contract: dict, limits: Any = None, **more: Any) -> Any:
    return compare(reference, outputs, contract, limits or Tolerance(), samples=len(reference["action"]), **more)


def test_equal_outputs_pass() -> None:
    found = judged(box(), box(), BOX)
    assert found.status == "passed"
    assert found.figures["outputs"]["action"]["max"] == 0


def test_difference_above_the_tolerance_fails_and_says_what_it_would_have_needed() -> None:
    wrong = box()
    wrong["mean"][17, 1] += 0.024
    found = judged(box(), wrong, BOX)
    assert found.status == "failed"
    assert "mean: max difference 2.40e-02" in found.reason
    assert "at observation 17" in found.reason
    assert found.figures["outputs"]["mean"]["worst"] == 17
    assert found.figures["outputs"]["mean"]["needed"] == pytest.approx(0.024, rel=0.01)


def test_relative_tolerance_counts() -> None:
    large = {name: values * 1e4 for name, values in box().items()}
    near = {name: values * np.float32(1 + 5e-5) for name, values in large.items()}
    assert judged(large, near, BOX).status == "passed"
    assert judged(large, near, BOX, Tolerance(relative=1e-6)).status == "failed"


@pytest.mark.parametrize("name", ["action", "mean"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_fails_on_either_side(name: str, value: float) -> None:
    for side in (0, 1):
        pair = [box(), box()]
        pair[side][name][3, 0] = value
        found = judged(*pair, BOX)
        assert found.status == "failed"
        assert "is NaN or infinite at observation 3" in found.reason
        assert ("reference", "artifact")[side] in found.reason
        assert not found.figures, "no number was compared"


def test_nan_everywhere_fails_although_both_sides_are_equal() -> None:
    gone = {name: np.full_like(values, np.nan) for name, values in box().items()}
    assert judged(gone, gone, BOX).status == "failed"


@pytest.mark.parametrize("change", ["missing", "renamed", "extra", "transposed", "short", "flat", "float"])
def test_misfit_fails_before_numbers(change: str) -> None:
    outputs = discrete()
    if change == "missing":
        del outputs["logits"]
    elif change == "renamed":
        outputs["Identity_1"] = outputs.pop("logits")
    elif change == "extra":
        outputs["value"] = outputs["logits"]
    elif change == "transposed":
        outputs["logits"] = outputs["logits"].T
    elif change == "short":
        outputs["action"] = outputs["action"][:-1]
    elif change == "flat":
        outputs["action"] = outputs["action"][:, None]
    else:
        outputs["action"] = outputs["action"].astype(np.float32)
    found = judged(discrete(), outputs, DISCRETE)
    assert found.status == "failed"
    assert not found.figures


def test_contract_that_misstates_the_dtype_of_the_action_fails() -> None:
    outputs = discrete()
    outputs["action"] = outputs["action"].astype(np.int32)
    assert "the contract says int64" in judged(discrete(), outputs, DISCRETE).reason


def test_swapped_outputs_of_one_shape_fail() -> None:
    reference = {"action": box()["action"] * 0.5, "mean": box()["mean"]}
    assert judged(reference, {"action": reference["mean"], "mean": reference["action"]}, BOX).status == "failed"


def test_decision_that_differs_at_a_clear_gap_fails() -> None:
    outputs = discrete()
    outputs["action"][5] = (outputs["action"][5] + 1) % 3
    found = judged(discrete(), outputs, DISCRETE)
    assert "1 of 40 decisions differ, the first at observation 5" in found.reason


def test_decision_that_differs_within_the_tolerance_is_excused_and_counted() -> None:
    reference = discrete()
    reference["logits"][5] = [1.0, 1.0 + 1e-6, -3.0]
    reference["action"] = reference["logits"].argmax(1)
    outputs = {name: values.copy() for name, values in reference.items()}
    outputs["action"][5] = 0
    found = judged(reference, outputs, DISCRETE)
    assert found.status == "passed"
    assert found.figures["decisions"]["excused"] == 1
    assert found.figures["decisions"]["smallest_gap"] == pytest.approx(1e-6, rel=0.1)


# --- several decisions, bits and masks -------------------------------------------------------------

CHOICES = {
    **DISCRETE,
    "action_space": {"type": "MultiDiscrete", "nvec": [2, 3]},
    "epilogue": [{"op": "argmax", "sizes": [2, 3]}],
}
BITS = {
    **DISCRETE,
    "action_space": {"type": "MultiBinary", "n": [3]},
    "epilogue": [{"op": "positive"}],
}
MASKED = {**CHOICES, "epilogue": [{"op": "mask", "input": "action_mask", "value": -1e8}, *CHOICES["epilogue"]]}


def choices(rows: int = 40) -> dict[str, np.ndarray]:
    logits = np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)
    return {"action": np.stack([logits[:, :2].argmax(1), logits[:, 2:].argmax(1)], axis=1), "logits": logits}


def bits(rows: int = 40) -> dict[str, np.ndarray]:
    logits = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    return {"action": (logits > 0).astype(np.int64), "logits": logits}


@pytest.mark.parametrize(("made", "contract"), [(choices, CHOICES), (bits, BITS)], ids=["choices", "bits"])
def test_one_of_several_decisions_that_differs_fails(made: Any, contract: dict) -> None:
    outputs = made()
    outputs["action"][5, 1] = (outputs["action"][5, 1] + 1) % 2
    found = judged(made(), outputs, contract)
    assert "1 of 40 decisions differ, the first at observation 5" in found.reason
    assert found.figures["decisions"]["share"] == 1 - 1 / outputs["action"].size


def test_each_of_several_decisions_is_excused_by_its_own_gap() -> None:
    reference = choices()
    reference["logits"][5] = [1.0, 1.0 + 1e-6, 3.0, -3.0, 3.0 - 1e-6]
    reference["action"][5] = [1, 0]
    outputs = {name: values.copy() for name, values in reference.items()}
    outputs["action"][5] = [0, 2]
    found = judged(reference, outputs, CHOICES)
    assert found.status == "passed"
    assert found.figures["decisions"]["excused"] == 1
    reference["logits"][5, 4] = outputs["logits"][5, 4] = 2.5
    assert "1 of 40 decisions differ" in judged(reference, outputs, CHOICES).reason


def test_bit_near_0_is_excused() -> None:
    reference = bits()
    reference["logits"][7, 2] = 1e-6
    reference["action"][7, 2] = 1
    outputs = {name: values.copy() for name, values in reference.items()}
    outputs["action"][7, 2] = 0
    found = judged(reference, outputs, BITS)
    assert found.status == "passed"
    assert found.figures["decisions"]["smallest_gap"] == pytest.approx(1e-6, rel=0.1)


def test_forbidden_choice_excuses_nothing() -> None:
    """The best two choices are near, but only one of them was allowed."""
    reference = choices()
    reference["logits"][5] = [1.0, 1.0 + 1e-6, 3.0, -3.0, 0.0]
    masks = np.ones((40, 5), bool)
    masks[5, 1] = False
    reference["action"][5] = [0, 0]
    outputs = {name: values.copy() for name, values in reference.items()}
    outputs["action"][5, 0] = 1
    assert judged(reference, outputs, MASKED, inputs={"action_mask": np.ones((40, 5), bool)}).status == "passed"
    assert "1 of 40 decisions differ" in judged(reference, outputs, MASKED, inputs={"action_mask": masks}).reason


def test_bound_counts_single_decisions() -> None:
    outputs = choices()
    outputs["action"][::2, 0] = 1 - outputs["action"][::2, 0]
    assert "75.0% of decisions are equal" in judged(choices(), outputs, CHOICES, Bound()).reason


# --- draws of a stochastic policy ------------------------------------------------------------------

STOCHASTIC = {
    **BOX,
    "algorithm": "PPO",
    "epilogue": [{"op": "clip", "low": [-2.0, -2.0], "high": [2.0, 2.0]}],
    "distribution": {"noise": "normal", "log_std": "log_std"},
    "outputs": [*BOX["outputs"], {"name": "log_std", "dtype": "float32"}],
}


def drawn(deviation: float, shift: float = 0.0, count: int = 2000) -> dict[str, np.ndarray]:
    """What SB3 might have drawn at two observations."""
    rows = np.array([3, 30])
    noise = np.random.default_rng(1).normal(size=(2, count, 2)) * deviation + shift
    return {"rows": rows, "actions": (box()["mean"][rows][:, None] + noise).clip(-2, 2).astype(np.float32)}


@pytest.mark.parametrize(
    ("deviation", "shift", "status"), [(0.5, 0, "passed"), (0.8, 0, "failed"), (0.5, 0.2, "failed")]
)
def test_draws_are_held_to_sb3s_by_distribution(deviation: float, shift: float, status: str) -> None:
    held = {**box(), "log_std": np.full((40, 2), np.log(0.5), np.float32)}
    found = judged(held, held, STOCHASTIC, draws=drawn(deviation, shift))
    assert found.status == status
    assert found.figures["distribution"]["draws"] == 2000
    if status == "failed":
        assert "what is drawn differs from SB3's draws: Kolmogorov-Smirnov distance" in found.reason


def test_artifact_without_the_deviation_is_not_asked_to_draw() -> None:
    assert (
        "distribution" not in judged(box(), box(), {**STOCHASTIC, "outputs": BOX["outputs"]}, draws=drawn(0.5)).figures
    )


# --- differences, returns, edges -------------------------------------------------------------------


def test_centered_values_are_held_relative_to_what_they_were_centered_from() -> None:
    q_values = 100 + np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    preferences = q_values - q_values.mean(1, keepdims=True)
    reference = {"action": q_values.argmax(1), "q_values": q_values, "preferences": preferences}
    contract = {**DISCRETE, "part": "core", "decision": "preferences", "centered": "q_values"}
    contract["outputs"] = [{"name": "preferences", "dtype": "float32"}]
    outputs = {"action": reference["action"], "preferences": preferences + np.float32(3e-3)}
    assert judged(reference, outputs, contract).status == "passed"
    outputs["preferences"] = preferences + np.float32(0.1)
    assert judged(reference, outputs, contract).status == "failed"


def test_closed_loop_judges_inexact_artifacts() -> None:
    near = box()
    near["action"] = near["action"] + np.float32(0.1)
    alive = {"source": [100.0, 90.0], "artifact": [99.0, 90.0], "random": [10.0, 0.0]}
    found = judged(box(), near, BOX, Bound(), episodes={"returns": alive, "reward_threshold": 95.0})
    assert found.status == "passed"
    assert found.figures["closed_loop"]["kept"] == pytest.approx(1 - 0.5 / 90)
    assert found.figures["closed_loop"]["solved"] == {"source": 0.5, "artifact": 0.5, "random": 0.0}
    assert found.figures["action_error"] == pytest.approx(0.025, rel=0.01)
    dead = {**alive, "artifact": [5.0, 5.0]}
    reason = judged(box(), box(), BOX, Bound(), episodes={"returns": dead, "reward_threshold": None}).reason
    assert "the mean return fell from 95 to 5" in reason


def test_answers_are_alike_where_one_in_a_hundred_differs() -> None:
    ours = discrete(200)
    twin = {name: values.copy() for name, values in ours.items()}
    for rows, expected in ((0, True), (2, True), (3, False)):
        twin["action"][:rows] = (ours["action"][:rows] + 1) % 3
        assert alike(ours, twin) is expected
    assert alike(ours, {"action": ours["action"], "other": twin["logits"][:9]}), "what only one answers says nothing"
    assert not alike(ours, {"logits": ours["logits"]})


def test_integers_are_alike_within_two_steps_of_their_grid() -> None:
    mean = np.linspace(-1, 1, 200, dtype=np.float32)[:, None]
    ours, grid = {"action": np.tanh(mean), "mean": mean}, {"mean": 0.01}
    for steps, rows, expected in ((2, 200, True), (3, 2, True), (3, 3, False)):
        other = mean.copy()
        other[:rows] += np.float32(0.01 * steps)
        assert alike(ours, {"action": np.tanh(other), "mean": other}, grid) is expected
    decided = {"action": np.arange(200) % 3, "preferences": mean}
    turned = {**decided, "action": (np.arange(200) + (np.arange(200) < 3)) % 3}
    assert not alike(decided, turned, {"preferences": 0.01}), "decisions have no grid"


def test_bounds_on_single_decisions_judge_where_there_is_no_environment() -> None:
    far = box()
    far["action"] = far["action"] + np.float32(1.0)
    found = judged(box(), far, BOX, Bound())
    assert "mean action error is 25.00% of the action range, bound 10.0%" in found.reason
    assert "no environment" in found.figures["judged_by"]
    half = discrete()
    half["action"][::2] = (half["action"][::2] + 1) % 3
    assert "50.0% of decisions are equal, bound 90%" in judged(discrete(), half, DISCRETE, Bound()).reason


def test_edges_of_the_space_are_not_judged_for_inexact_artifacts() -> None:
    far = box()
    far["action"][30:] = 2.0
    assert compare(box(), far, BOX, Bound(), samples=30).status == "passed"
    assert compare(box(), far, BOX, Tolerance(), samples=30).status == "failed"


def test_drift_from_the_previous_artifact_is_reported() -> None:
    previous = {name: values + np.float32(1e-6) for name, values in box().items()}
    found = judged(box(), box(), BOX, previous=previous)
    assert 0 < found.figures["drift"]["action"] < 1e-5
