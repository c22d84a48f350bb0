"""VecNormalize's statistics are read without executing them, and held to the agent."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from pipeline import errors
from pipeline.agents import archive

from .conftest import Tripwire
from .forging import EXECUTING
from .making import FLAT, FOUR, GRID, TABLE, Stub, described, statistics, told


@pytest.fixture
def pkl(tmp_path: Path) -> Path:
    return tmp_path / "vecnormalize.pkl"


def save(path: Path, space: spaces.Space = FLAT, *, mean: Any = None, var: Any = None, **attributes: Any) -> Path:
    """Statistics that were collected, then changed."""
    normalizer = statistics(DummyVecEnv([lambda: Stub(space, FOUR)]))
    for name, value in attributes.items():
        setattr(normalizer, name, value)
    for name, value in (("mean", mean), ("var", var)):
        if value is not None:
            getattr(normalizer.obs_rms, name)[1] = value
    normalizer.save(str(path))
    return path


def refusal(path: Path, error: type[errors.SlipwayError] = errors.StatisticsUnfit, space: spaces.Box = FLAT) -> str:
    with pytest.raises(errors.SlipwayError) as refused:
        archive.statistics(path, described(space))
    assert type(refused.value) is error, refused.value
    assert refused.value.file == str(path)
    return told(refused.value)


@pytest.mark.parametrize("space", [FLAT, TABLE])
def test_statistics_are_those_that_were_collected(pkl: Path, space: spaces.Box) -> None:
    save(pkl, space)
    found = archive.statistics(pkl, described(space))
    wanted = VecNormalize.load(str(pkl), DummyVecEnv([lambda: Stub(space, FOUR)]))
    np.testing.assert_array_equal(found.mean, wanted.obs_rms.mean)
    np.testing.assert_array_equal(found.variance, wanted.obs_rms.var)
    assert found.mean.dtype == found.variance.dtype == np.float64
    assert (found.clip, found.epsilon, found.norm_obs) == (wanted.clip_obs, wanted.epsilon, True)


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ({"clip_obs": 5.0}, ("clip", 5.0)),
        ({"clip_obs": 5}, ("clip", 5.0)),
        ({"clip_obs": np.float32(2.5)}, ("clip", 2.5)),
        ({"clip_obs": np.inf}, ("clip", np.inf)),
        ({"epsilon": 1e-4}, ("epsilon", 1e-4)),
        ({"norm_obs": False}, ("norm_obs", False)),
        ({"norm_reward": False}, ("norm_obs", True)),
    ],
)
def test_settings_are_read(pkl: Path, attributes: dict[str, Any], wanted: tuple[str, Any]) -> None:
    found = archive.statistics(save(pkl, **attributes), described(FLAT))
    assert getattr(found, wanted[0]) == wanted[1]


def test_constant_dimension_is_no_error(pkl: Path) -> None:
    assert archive.statistics(save(pkl, var=0.0), described(FLAT)).variance[1] == 0


def test_reading_executes_nothing(pkl: Path, tripwire: Tripwire) -> None:
    save(pkl)
    with tripwire.set(pkl):
        archive.statistics(pkl, described(FLAT))
    assert tripwire.events == []


@pytest.mark.parametrize("attack", EXECUTING)
def test_code_is_refused_unexecuted(pkl: Path, tripwire: Tripwire, marker: Path, attack: str) -> None:
    pkl.write_bytes(EXECUTING[attack].replace(b"MARKER", str(marker).encode()))
    with tripwire.set(pkl):
        text = refusal(pkl, errors.PickleRefused)
    assert tripwire.events == []
    assert not marker.exists()
    assert "Nothing was executed" in text


@pytest.mark.parametrize("attack", ["os.system", "builtins.eval", "OBJ"])
def test_code_among_statistics_is_refused_unexecuted(pkl: Path, marker: Path, attack: str) -> None:
    """The pickle goes on behind the code as an honest one does."""
    forged = EXECUTING[attack].replace(b"MARKER", str(marker).encode())
    pkl.write_bytes(b"\x80\x04" + forged[:-1] + b"0" + save(pkl).read_bytes()[2:])
    assert "not on the allowed list" in refusal(pkl, errors.PickleRefused) or attack == "OBJ"
    assert not marker.exists()


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ({"var": -0.1}, "obs_rms.var[1] of vecnormalize.pkl is -0.1; must be finite and not negative"),
        ({"var": np.nan}, "obs_rms.var[1] of vecnormalize.pkl is nan"),
        ({"var": np.inf}, "obs_rms.var[1] of vecnormalize.pkl is inf"),
        ({"mean": np.nan}, "obs_rms.mean[1] of vecnormalize.pkl is nan"),
        ({"mean": -np.inf}, "obs_rms.mean[1] of vecnormalize.pkl is -inf"),
        ({"epsilon": 0.0}, "clip_obs 10.0 and epsilon 0.0; both must be above 0"),
        ({"epsilon": np.nan}, "epsilon nan; both must be above 0"),
        ({"epsilon": -1e-8}, "epsilon -1e-08; both must be above 0"),
        ({"clip_obs": 0.0}, "clip_obs 0.0 and epsilon 1e-08; both must be above 0"),
        ({"clip_obs": -1.0}, "clip_obs -1.0"),
        ({"clip_obs": np.nan}, "clip_obs nan"),
    ],
)
def test_impossible_numbers_are_named(pkl: Path, attributes: dict[str, Any], wanted: str) -> None:
    text = refusal(save(pkl, **attributes))
    assert wanted in text
    assert "Give the vecnormalize.pkl saved with this agent" in text


@pytest.mark.parametrize(("held", "wanted"), [(FLAT, TABLE), (TABLE, FLAT), (spaces.Box(-1, 1, (4,)), FLAT)])
def test_statistics_of_another_shape_are_refused_with_both(pkl: Path, held: spaces.Box, wanted: spaces.Box) -> None:
    text = refusal(save(pkl, held), space=wanted)
    assert "another shape than the agent observes" in text
    assert f"Expected {wanted.shape}, found {held.shape}" in text


def test_dict_statistics_are_not_supported_yet(pkl: Path) -> None:
    save(pkl, spaces.Dict(a=FLAT))
    assert "VecNormalize over a Dict observation" in refusal(pkl, errors.UnsupportedPolicy)


@pytest.mark.parametrize(
    "value", [{"clip_obs": 1}, [1.0], "text", None, GRID.low, FLAT], ids=lambda v: type(v).__name__
)
def test_pickle_of_something_else_is_refused(pkl: Path, value: object) -> None:
    pkl.write_bytes(pickle.dumps(value))
    assert "does not hold a VecNormalize" in refusal(pkl)


@pytest.mark.parametrize(
    "held", [b"", b"<!DOCTYPE html>\n", b"version https://git-lfs.github.com/spec/v1\n"], ids=["empty", "html", "lfs"]
)
def test_file_that_is_no_pickle_is_refused(pkl: Path, held: bytes) -> None:
    pkl.write_bytes(held)
    assert "is not a pickle (it starts with" in refusal(pkl, errors.StatisticsUnfit)


def test_cut_statistics_are_refused(pkl: Path) -> None:
    whole = save(pkl).read_bytes()
    for cut in range(50, len(whole), 50):
        pkl.write_bytes(whole[:cut])
        refusal(pkl, errors.PickleRefused)


@pytest.mark.parametrize(
    ("name", "value"), [("clip_obs", "ten"), ("clip_obs", None), ("epsilon", [1e-8]), ("epsilon", {"a": 1})]
)
def test_setting_that_is_no_number_is_refused(pkl: Path, name: str, value: object) -> None:
    assert "expected an array" in refusal(save(pkl, **{name: value}), errors.PickleRefused)


def test_statistics_of_the_reward_alone_are_read(pkl: Path) -> None:
    statistics(DummyVecEnv([lambda: Stub(FLAT, FOUR)]), norm_obs=False).save(str(pkl))
    assert archive.statistics(pkl, described(FLAT)).norm_obs is False


def test_numpy_false_is_false(pkl: Path) -> None:
    assert archive.statistics(save(pkl, norm_obs=np.bool_(False)), described(FLAT)).norm_obs is False


@pytest.mark.parametrize("name", ["epsilon", "norm_obs", "mean", "var", "clip_obs as an array"])
def test_half_forged_statistics_are_refused(pkl: Path, name: str) -> None:
    normalizer = VecNormalize.load(str(save(pkl)), DummyVecEnv([lambda: Stub(FLAT, FOUR)]))
    if name == "clip_obs as an array":
        normalizer.clip_obs = np.ones(3)
    else:
        delattr(normalizer if name in ("epsilon", "norm_obs") else normalizer.obs_rms, name)
    normalizer.save(str(pkl))
    with pytest.raises(errors.SlipwayError):
        archive.statistics(pkl, described(FLAT))
