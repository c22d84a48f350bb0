"""What SB3 draws of a stochastic policy is what the contract's sampler draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import contract as contracts
from pipeline.agents import observing

from .making import Tiny
from .observed import NONE, Observed

STOCHASTIC = [
    *("ppo_discrete", "ppo_choices", "ppo_switches", "ppo_box", "ppo_gsde", "ppo_gsde_squashed", "ppo_gsde_vector"),
    *(
        "sac_box",
        "sac_gsde",
        "tqc_gsde",
        "crossq_small",
        "a2c_normalized",
        "maskableppo_choices",
        "maskableppo_switches",
    ),
    *("recurrentppo_box", "recurrentppo_gsde", "recurrentppo_discrete", "ppo_grid"),
]


@pytest.mark.parametrize("case", STOCHASTIC)
def test_contracts_sampler_draws_as_sb3(
    made: Callable[[str], Tiny], observe: Callable[..., Observed], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(observing, "STEPS", 12)
    tiny = made(case)
    found = observe(tiny, stochastic=True)
    rows, theirs = found.draws["rows"], found.draws["actions"].astype(np.float64)
    assert (rows < found.about["samples"]).all()
    assert theirs.shape == (observing.DRAWN_ROWS, observing.DRAWS, *tiny.acts.shape)
    inputs = {
        name: values.reshape(-1, values.shape[-1]) if tiny.reference.parts.states else values
        for name, values in found.inputs.items()
    }
    repeated = {name: np.repeat(values[rows], observing.DRAWS, axis=0) for name, values in inputs.items()}
    outputs = {name: np.repeat(values[rows], observing.DRAWS, axis=0) for name, values in found.reference.items()}
    ours = contracts.sample(found.contract, outputs, repeated, seed=1).reshape(theirs.shape).astype(np.float64)
    if tiny.acts.dtype.kind == "f":
        assert ours.min() >= tiny.acts.low.min() and ours.max() <= tiny.acts.high.max()
    spread = np.sqrt((ours.var(axis=1) + theirs.var(axis=1)) / observing.DRAWS)
    np.testing.assert_array_less(np.abs(ours.mean(axis=1) - theirs.mean(axis=1)), 5 * spread + 1e-3)
    np.testing.assert_allclose(ours.std(axis=1), theirs.std(axis=1), rtol=0.15, atol=0.02)
    assert theirs.std(axis=1).max() > 0.01, "they differ"


def test_draws_are_seeded_and_of_observations_alone(
    made: Callable[[str], Tiny], read: Callable[..., Any], tmp_path: Path
) -> None:
    source, _ = read(made("ppo_box"), stochastic=True)
    held = {"environment": NONE, "episodes": 1, "samples": 16, "edges": 4, "file": "", "drawn": True}
    found = []
    for run, (seed, calibration) in enumerate(((1, False), (1, False), (2, False), (1, True))):
        target = tmp_path / str(run)
        target.mkdir()
        observing.observe(source, target, {**held, "seed": seed, "calibration": calibration})
        found.append((target / "draws.npz").read_bytes() if (target / "draws.npz").exists() else b"")
    assert found[0] == found[1] != found[2]
    assert found[3] == b"", "nobody calibrates on draws"


def test_policy_that_is_not_stochastic_has_no_draws(
    made: Callable[[str], Tiny], observe: Callable[..., Observed]
) -> None:
    assert observe(made("ppo_box")).draws == {}
