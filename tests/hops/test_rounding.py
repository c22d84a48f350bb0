"""Weights rounded together: what a layer answers stays nearer than with each weight at its nearest integer."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.hops import rounding

Layer = tuple[np.ndarray, np.ndarray, np.ndarray]


def layer(inputs: int = 300, outputs: int = 20, samples: int = 800, moving: int = 6) -> Layer:
    """Weights, scale and inputs that go up and down together, as those of a hidden layer do."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(outputs, inputs)) / inputs**0.5
    seen = np.maximum(random.normal(size=(samples, moving)) @ random.normal(size=(moving, inputs)) + 3, 0)
    return weights, np.array([np.abs(weights).max() / 127]), seen


def apart(integers: np.ndarray, bias: np.ndarray, scale: np.ndarray, seen: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean square of what the answers differ by."""
    return float(np.sqrt(np.mean((seen @ (integers * scale.reshape(-1, 1)).T + bias - wanted) ** 2)))


def test_layer_answers_nearer_than_with_nearest_integers() -> None:
    weights, scale, seen = layer()
    wanted = seen @ weights.T + 0.5
    integers, bias = rounding.together(weights, scale, seen, wanted)
    nearest = apart(np.round(weights / scale), np.full(20, 0.5), scale, seen, wanted)
    assert apart(integers, bias, scale, seen, wanted) < nearest / 10


def test_what_was_not_seen_in_calibration_is_answered_nearer_too() -> None:
    weights, scale, seen = layer()
    integers, bias = rounding.together(weights, scale, seen[:400], seen[:400] @ weights.T)
    wanted = seen[400:] @ weights.T
    nearest = apart(np.round(weights / scale), np.zeros(20), scale, seen[400:], wanted)
    assert apart(integers, bias, scale, seen[400:], wanted) < nearest / 10


def test_weights_that_are_integers_stay() -> None:
    _, _, seen = layer()
    integers = np.random.default_rng(1).integers(-127, 128, (20, 300))
    scale = np.full(20, 0.01)
    found, bias = rounding.together(integers * 0.01, scale, seen, seen @ (integers * 0.01).T + 0.25)
    assert np.array_equal(found, integers)
    assert found.dtype == np.int8
    assert np.allclose(bias, 0.25)


@pytest.mark.parametrize("per_channel", [False, True])
def test_integers_stay_in_range(per_channel: bool) -> None:
    weights, scale, seen = layer(inputs=9)
    scale = np.abs(weights).max(axis=1) / 127 if per_channel else scale
    found, _ = rounding.together(weights, scale, seen, seen @ weights.T)
    assert np.abs(found.astype(int)).max() <= 127


def test_error_of_the_layers_before_is_taken_back() -> None:
    """Inputs that arrive a tenth too small and shifted are answered as if they had not been."""
    weights, scale, seen = layer()
    wanted = seen @ weights.T
    arrived = seen * 0.9 + 0.2
    integers, bias = rounding.together(weights, scale, arrived, wanted)
    assert (
        apart(integers, bias, scale, arrived, wanted) < apart(weights / scale, np.zeros(20), scale, arrived, wanted) / 3
    )


def test_inputs_that_never_vary_keep_their_weights() -> None:
    weights, scale, seen = layer(inputs=40)
    seen[:, 7] = 1.0
    found, bias = rounding.together(weights, scale, seen, seen @ weights.T)
    assert np.abs(found[:, 7] - weights[:, 7] / scale).max() <= 0.51
    assert np.isfinite(bias).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, scale, seen = layer()
    wanted = seen @ weights.T
    found, _ = rounding.together(weights, scale, seen, wanted)
    monkeypatch.setattr(rounding, "BLOCK", 7)
    others, _ = rounding.together(weights, scale, seen, wanted)
    assert (found != others).mean() < 0.02, "but for ties that float arithmetic breaks in another way"
