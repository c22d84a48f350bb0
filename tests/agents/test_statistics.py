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
from pipeline.agents import statistics
from pipeline.agents.statistics import Moments, Statistics

from .conftest import Tripwire
from .forging import EXECUTING
from .making import Case, described, told
from .making import statistics as collected
from .stubs import FIRST, FLAT, FOUR, GRID, TABLE, Stub

SEVERAL = spaces.Dict({"flat": FLAT, "table": TABLE, "gear": FOUR, "image": FIRST})


@pytest.fixture
def pkl(tmp_path: Path) -> Path:
    return tmp_path / "vecnormalize.pkl"


def read(path: Path, space: spaces.Space = FLAT) -> Statistics:
    return statistics.read(path, described(space))


def alone(found: Statistics) -> Moments:
    """Of an observation that is no Dict."""
    assert list(found.moments) == [""]
    return found.moments[""]


def save(path: Path, space: spaces.Space = FLAT, *, mean: Any = None, var: Any = None, **attributes: Any) -> Path:
    """Statistics that were collected, then changed."""
    normalizer = collected(DummyVecEnv([lambda: Stub(space, FOUR)]))
    for name, value in attributes.items():
        setattr(normalizer, name, value)
    for name, value in (("mean", mean), ("var", var)):
        if value is not None:
            getattr(normalizer.obs_rms, name)[1] = value
    normalizer.save(str(path))
    return path


def refusal(path: Path, error: type[errors.SlipwayError] = errors.StatisticsUnfit, space: spaces.Box = FLAT) -> str:
    with pytest.raises(errors.SlipwayError) as refused:
        read(path, space)
    assert type(refused.value) is error, refused.value
    assert refused.value.file == str(path)
    return told(refused.value)


@pytest.mark.parametrize("space", [FLAT, TABLE])
def test_statistics_are_those_that_were_collected(pkl: Path, space: spaces.Box) -> None:
    save(pkl, space)
    found = read(pkl, space)
    wanted = VecNormalize.load(str(pkl), DummyVecEnv([lambda: Stub(space, FOUR)]))
    np.testing.assert_array_equal(alone(found).mean, wanted.obs_rms.mean)
    np.testing.assert_array_equal(alone(found).variance, wanted.obs_rms.var)
    assert alone(found).mean.dtype == alone(found).variance.dtype == np.float64
    assert (found.clip, found.epsilon, alone(found).frames) == (wanted.clip_obs, wanted.epsilon, 1)


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ({"clip_obs": 5.0}, ("clip", 5.0)),
        ({"clip_obs": 5}, ("clip", 5.0)),
        ({"clip_obs": np.float32(2.5)}, ("clip", 2.5)),
        ({"clip_obs": np.inf}, ("clip", np.inf)),
        ({"epsilon": 1e-4}, ("epsilon", 1e-4)),
    ],
)
def test_settings_are_read(pkl: Path, attributes: dict[str, Any], wanted: tuple[str, Any]) -> None:
    found = read(save(pkl, **attributes))
    assert getattr(found, wanted[0]) == wanted[1]


@pytest.mark.parametrize(
    ("attributes", "normalized"),
    [({"norm_obs": False}, False), ({"norm_obs": np.bool_(False)}, False), ({"norm_reward": False}, True)],
)
def test_only_what_sb3_normalizes_has_moments(pkl: Path, attributes: dict[str, Any], normalized: bool) -> None:
    assert bool(read(save(pkl, **attributes)).moments) is normalized


def test_constant_dimension_is_no_error(pkl: Path) -> None:
    assert alone(read(save(pkl, var=0.0))).variance[1] == 0


def test_reading_executes_nothing(pkl: Path, tripwire: Tripwire) -> None:
    save(pkl)
    space = described(FLAT)
    with tripwire.set(pkl):
        statistics.read(pkl, space)
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
    collected(DummyVecEnv([lambda: Stub(FLAT, FOUR)]), norm_obs=False).save(str(pkl))
    assert read(pkl).moments == {}


@pytest.mark.parametrize("name", ["epsilon", "norm_obs", "mean", "var", "clip_obs as an array"])
def test_half_forged_statistics_are_refused(pkl: Path, name: str) -> None:
    normalizer = VecNormalize.load(str(save(pkl)), DummyVecEnv([lambda: Stub(FLAT, FOUR)]))
    if name == "clip_obs as an array":
        normalizer.clip_obs = np.ones(3)
    else:
        delattr(normalizer if name in ("epsilon", "norm_obs") else normalizer.obs_rms, name)
    normalizer.save(str(pkl))
    with pytest.raises(errors.SlipwayError):
        read(pkl)


def test_mean_and_variance_of_different_frames_are_refused(pkl: Path) -> None:
    """Either would fit a stack by itself."""
    normalizer = collected(DummyVecEnv([lambda: Stub(FLAT, FOUR)]))
    normalizer.obs_rms.var = np.ones(9)
    normalizer.save(str(pkl))
    assert "another shape" in refusal(pkl, space=spaces.Box(-5, 5, (9,)))


# --- stacked frames --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "stack", "frames"),
    [
        (FLAT, spaces.Box(-5, 5, (9,)), 3),
        (TABLE, spaces.Box(-5, 5, (2, 12)), 4),
        (spaces.Box(-5, 5, (1,)), spaces.Box(-5, 5, (64,)), 64),
    ],
    ids=str,
)
def test_moments_of_one_frame_are_repeated(pkl: Path, one: spaces.Box, stack: spaces.Box, frames: int) -> None:
    found, held = alone(read(save(pkl, one), stack)), alone(read(pkl, one))
    assert found.frames == frames
    assert found.mean.shape == found.variance.shape == stack.shape
    for repeated, values in ((found.mean, held.mean), (found.variance, held.variance)):
        for part in np.split(repeated, frames, axis=-1):
            np.testing.assert_array_equal(part, values)


@pytest.mark.parametrize(
    "stack", [spaces.Box(-5, 5, (8,)), spaces.Box(-5, 5, (3, 3)), spaces.Box(-5, 5, (1,))], ids=str
)
def test_moments_that_do_not_divide_the_observation_are_refused(pkl: Path, stack: spaces.Box) -> None:
    assert "another shape than the agent observes" in refusal(save(pkl), space=stack)


# --- several inputs --------------------------------------------------------------------------------


def several(path: Path, keys: list[str] | None, space: spaces.Space = SEVERAL, **attributes: Any) -> Path:
    normalizer = collected(DummyVecEnv([lambda: Stub(space, FOUR)]), norm_obs_keys=keys)
    for name, value in attributes.items():
        setattr(normalizer, name, value)
    normalizer.save(str(path))
    return path


@pytest.mark.parametrize("keys", [["flat"], ["table", "flat"]])
def test_moments_of_a_dict_are_those_of_its_normalized_keys(pkl: Path, keys: list[str]) -> None:
    found = read(several(pkl, keys), SEVERAL)
    wanted = VecNormalize.load(str(pkl), DummyVecEnv([lambda: Stub(SEVERAL, FOUR)]))
    assert list(found.moments) == sorted(keys), "in the space's order"
    for key in keys:
        np.testing.assert_array_equal(found.moments[key].mean, wanted.obs_rms[key].mean)
        np.testing.assert_array_equal(found.moments[key].variance, wanted.obs_rms[key].var)


def test_every_key_is_normalized_where_none_is_named(pkl: Path) -> None:
    space = spaces.Dict({"flat": FLAT, "table": TABLE})
    assert list(read(several(pkl, None, space), space).moments) == ["flat", "table"]


def test_statistics_of_a_dict_before_sb3_1_6_name_no_keys(pkl: Path) -> None:
    space = spaces.Dict({"flat": FLAT, "table": TABLE})
    normalizer = collected(DummyVecEnv([lambda: Stub(space, FOUR)]))
    del normalizer.norm_obs_keys
    normalizer.save(str(pkl))
    assert list(read(pkl, space).moments) == ["flat", "table"]


@pytest.mark.parametrize(
    ("held", "agent", "expected", "found"),
    [(SEVERAL, FLAT, "of one observation", "of a Dict"), (FLAT, SEVERAL, "of a Dict", "of one observation")],
    ids=["a Dict", "no Dict"],
)
def test_statistics_of_the_other_kind_belong_to_another_agent(
    pkl: Path, held: spaces.Space, agent: spaces.Space, expected: str, found: str
) -> None:
    _ = several(pkl, ["flat"]) if held is SEVERAL else save(pkl)
    text = refusal(pkl, space=agent)
    assert "vecnormalize.pkl belongs to another agent" in text
    assert f"Expected statistics {expected}, found {found}" in text


def test_key_that_the_agent_lacks_is_named(pkl: Path) -> None:
    several(pkl, ["flat"])
    text = refusal(pkl, space=spaces.Dict({"other": FLAT}))
    assert "normalizes 'flat'. Expected keys of the agent: other" in text


@pytest.mark.parametrize("keys", [["gone"], "flat", [["flat"]], 5, [None], {"flat": 1}], ids=str)
def test_forged_keys_are_refused(pkl: Path, keys: object) -> None:
    several(pkl, ["flat"], norm_obs_keys=keys)
    if keys == {"flat": 1}:
        assert list(read(pkl, SEVERAL).moments) == ["flat"], "its keys are the names"
        return
    refusal(pkl, space=SEVERAL)


def test_impossible_numbers_under_a_key_are_named(pkl: Path) -> None:
    normalizer = collected(DummyVecEnv([lambda: Stub(SEVERAL, FOUR)]), norm_obs_keys=["flat"])
    normalizer.obs_rms["flat"].var[2] = -1
    normalizer.save(str(pkl))
    assert "obs_rms['flat'].var[2] of vecnormalize.pkl is -1.0" in refusal(pkl, space=SEVERAL)


@pytest.mark.parametrize("space", [FOUR, spaces.MultiBinary(3)], ids=str)
def test_moments_of_what_is_no_box_are_refused(pkl: Path, space: spaces.Space) -> None:
    several(pkl, ["a"], spaces.Dict({"a": FLAT}))
    told_ = refusal(pkl, space=spaces.Dict({"a": space}))
    assert f"normalizes {type(space).__name__} observations, which SB3 does not" in told_


def test_normalized_image_is_not_supported(pkl: Path) -> None:
    image = spaces.Box(0, 255, (3, 8, 8), np.uint8)
    save(pkl, image)
    assert "normalizes an image" in refusal(pkl, errors.UnsupportedPolicy, image)


def test_every_statistics_of_a_tiny_agent_is_read(tmp_path: Path) -> None:
    tiny = Case(
        "PPO", spaces.Dict({"flat": FLAT, "table": TABLE}), FOUR, normalize=True, policy="MultiInputPolicy"
    ).save(tmp_path)
    assert sorted(step["input"] for step in tiny.reference.parts.prologue) == ["flat", "table"]
