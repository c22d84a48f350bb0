"""Observations that the config names: read, spread, and refused with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from pipeline import errors
from pipeline.agents import given, observing

from .making import Case, Tiny
from .stubs import FLAT, FOUR

ROWS = np.random.default_rng(0).normal(size=(40, *FLAT.shape)).astype(np.float32)
HELD = {
    "environment": {"id": "", "optional": False},
    "episodes": 1,
    "samples": 24,
    "edges": 8,
    "seed": 0,
    "calibration": True,
    "drawn": False,
}


@pytest.fixture
def source(read: Callable[..., Any], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    folder, contract = read(Case("PPO", FLAT, FOUR).save(tmp_path))
    return folder, contract


def saved(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "seen.npz"
    np.savez(path, **arrays)
    return path


def test_rows_are_spread_over_the_file(source: Any, tmp_path: Path) -> None:
    found = given.read(saved(tmp_path, observation=ROWS), source[1], 20)
    assert found["observation"].shape == (20, *FLAT.shape)
    assert np.array_equal(found["observation"][[0, -1]], ROWS[[0, -1]])


def test_single_array_may_have_any_name(source: Any, tmp_path: Path) -> None:
    assert len(given.read(saved(tmp_path, arr_0=ROWS), source[1], 100)["observation"]) == 40


def broken(row: int, value: float) -> np.ndarray:
    rows = ROWS.copy()
    rows[row, 0] = value
    return rows


@pytest.mark.parametrize(
    ("arrays", "error", "says"),
    [
        ({"observation": ROWS[:, :2]}, errors.InputsUnfit, "another shape"),
        ({"observation": ROWS, "more": ROWS}, errors.InputsUnfit, "there is no input 'more'"),
        ({"observation": ROWS[:3]}, errors.InputsUnfit, "too few"),
        ({"observation": np.full(ROWS.shape, "x")}, errors.InputsUnfit, "not of numbers"),
        ({"observation": broken(7, np.nan)}, errors.ObservationsNotFinite, "row 7"),
        ({"observation": broken(39, np.inf)}, errors.ObservationsNotFinite, "row 39"),
    ],
)
def test_unfit_observations_are_refused(source: Any, tmp_path: Path, arrays: Any, error: Any, says: str) -> None:
    with pytest.raises(error) as refused:
        given.read(saved(tmp_path, **arrays), source[1], 20)
    assert says in str(refused.value).lower()
    assert "seen.npz" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken", b"\x93NUMPY"])
def test_file_that_is_none_is_refused(source: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seen.npz"
    path.write_bytes(content)
    with pytest.raises(errors.InputsUnfit, match="(?i)cannot be read"):
        given.read(path, source[1], 20)


def test_pickles_in_it_are_not_opened(source: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.InputsUnfit, match="(?i)cannot be read"):
        given.read(saved(tmp_path, observation=np.array([{"a": 1}] * 40, object)), source[1], 20)


def observed(source: Path, target: Path, **more: Any) -> dict[str, np.ndarray]:
    target.mkdir()
    observing.observe(source, target, {**HELD, "file": "", **more})
    with np.load(target / "observations.npz") as stored:
        return dict(stored)


def test_nothing_is_calibrated_blindly(source: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.NotRun, match="(?i)nothing to calibrate on: no environment, no statistics"):
        observed(source[0], tmp_path / "a")
    assert observed(source[0], tmp_path / "b", drawn=True)["observation"].shape == (24, *FLAT.shape)
    assert observed(source[0], tmp_path / "c", calibration=False)["observation"].shape == (32, *FLAT.shape)


def test_file_calibrates(source: Any, tmp_path: Path) -> None:
    found = observed(source[0], tmp_path / "a", file=str(saved(tmp_path, observation=ROWS)))
    assert {tuple(row) for row in found["observation"]} <= {tuple(row) for row in ROWS}


def test_statistics_tell_enough(made: Callable[[str], Tiny], read: Callable[..., Any], tmp_path: Path) -> None:
    folder, _ = read(made("ppo_normalized"))
    assert len(observed(folder, tmp_path / "a")["observation"]) == 24


def test_space_of_choices_tells_enough(read: Callable[..., Any], tmp_path: Path) -> None:
    folder, _ = read(Case("PPO", spaces.Discrete(5), FOUR).save(tmp_path))
    assert len(observed(folder, tmp_path / "a")["observation"]) == 24


def test_recurrent_agent_follows_whole_sequences_of_the_file(read: Callable[..., Any], tmp_path: Path) -> None:
    case = Case("RecurrentPPO", FLAT, FOUR, policy="MlpLstmPolicy", kwargs={"lstm_hidden_size": 4})
    folder, _ = read(case.save(tmp_path))
    found = observed(
        folder, tmp_path / "a", file=str(saved(tmp_path, observation=ROWS)), calibration=False, samples=512
    )
    assert found["observation"].shape[1] == observing.STEPS
