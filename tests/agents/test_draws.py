"""Inputs where there is no environment, and from the edges of the observation space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from pipeline.agents import draws
from pipeline.agents.statistics import Moments, Statistics

from .making import Inputs
from .stubs import FIRST, FLAT, FOUR, LOPSIDED, TABLE
from .worlds import contract_of

UNBOUNDED = spaces.Box(-np.inf, np.inf, (2,))
SEVERAL = spaces.Dict(
    {
        "image": FIRST,
        "flat": FLAT,
        "gear": spaces.Discrete(3),
        "pair": spaces.MultiDiscrete([2, 5]),
        "bits": spaces.MultiBinary([2, 3]),
    }
)
CHOICES = spaces.MultiDiscrete([3, 2])


def contract(space: spaces.Space, acts: spaces.Space = LOPSIDED, **fields: Any) -> dict[str, Any]:
    return contract_of(space, acts, **fields)


def drawn(space: spaces.Space, samples: int, seed: int = 0, held: Statistics | None = None) -> tuple[np.ndarray, str]:
    found, origin = draws.drawn(contract(space), held, samples, seed)
    assert list(found) == ["observation"]
    return found["observation"], origin


def edges(space: spaces.Space, seen: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    found = draws.edges(contract(space), {"observation": seen}, count, seed)
    assert list(found) == ["observation"]
    return found["observation"]


def statistics(mean: Any, variance: Any, key: str = "") -> Statistics:
    return Statistics(10.0, 1e-8, {key: Moments(np.array(mean), np.array(variance), 1)})


# --- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [FLAT, TABLE, spaces.Box(-np.inf, np.inf, (4,)), spaces.Box(-9, 9, (2,), np.int32)])
def test_drawn_observations_fit_the_space_and_the_seed(space: spaces.Box) -> None:
    found, origin = drawn(space, 100, 3)
    assert found.shape == (100, *space.shape)
    assert found.dtype == space.dtype
    assert all(space.contains(row) for row in found)
    assert "draws from the observation space" in origin
    np.testing.assert_array_equal(found, drawn(space, 100, 3)[0])
    assert not np.array_equal(found, drawn(space, 100, 4)[0])


def test_drawn_observations_reach_the_bounds() -> None:
    found, _ = drawn(FLAT, 1000)
    assert found.min() < -4.9
    assert found.max() > 4.9


def test_dimension_of_huge_bounds_is_drawn_near_0() -> None:
    """A uniform draw up to 3.4e38 would leave one observation only."""
    space = spaces.Box(np.array([-1, -3.4e38], np.float32), np.array([1, 3.4e38], np.float32))
    found, _ = drawn(space, 1000)
    assert np.abs(found[:, 1]).max() < 6
    assert 0.8 < found[:, 1].std() < 1.2


def test_drawn_observations_follow_the_statistics() -> None:
    mean, variance = np.array([1e4, -2.0, 0.5]), np.array([100.0, 0.25, 1e-4])
    found, origin = drawn(spaces.Box(-np.inf, np.inf, (3,)), 4000, held=statistics(mean, variance))
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=4 * np.sqrt(variance.max() / 4000))
    np.testing.assert_allclose(found.std(axis=0), np.sqrt(variance), rtol=0.1)
    assert origin == "draws from VecNormalize's statistics"


def test_draws_from_statistics_stay_in_the_space() -> None:
    found, _ = drawn(FLAT, 500, held=statistics(np.full(3, 4.0), np.full(3, 9.0)))
    assert found.min() >= -5
    assert found.max() == 5


# --- other spaces ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "space",
    [
        FOUR,
        spaces.MultiDiscrete([3, 1, 5]),
        spaces.MultiBinary(4),
        spaces.MultiBinary([2, 3]),
        spaces.Box(0, 255, (3, 36, 36), np.uint8),
    ],
    ids=str,
)
def test_other_observations_fit_the_space_and_the_seed(space: spaces.Space) -> None:
    found, origin = draws.drawn(contract(space, images="channel-first"), None, 60, 3)
    values = found["observation"]
    assert all(space.contains(row) for row in values)
    assert origin == "draws from the observation space"
    assert len(np.unique(values.reshape(60, -1), axis=0)) > 3
    np.testing.assert_array_equal(
        values, draws.drawn(contract(space, images="channel-first"), None, 60, 3)[0]["observation"]
    )


def test_every_index_and_bit_is_drawn() -> None:
    found, _ = draws.drawn(contract(SEVERAL), None, 300, 0)
    assert set(found["gear"].tolist()) == {0, 1, 2}
    assert [set(column.tolist()) for column in found["pair"].T] == [{0, 1}, {0, 1, 2, 3, 4}]
    assert found["bits"].mean(axis=0) == pytest.approx(0.5, abs=0.15)


def test_inputs_of_a_dict_are_drawn_by_name_in_the_layout_of_users() -> None:
    found, origin = draws.drawn(contract(SEVERAL), statistics(np.zeros(3), np.ones(3), "flat"), 5, 0)
    assert {name: values.shape for name, values in found.items()} == {
        "bits": (5, 2, 3),
        "flat": (5, 3),
        "gear": (5,),
        "image": (5, 48, 40, 3),
        "pair": (5, 2),
    }
    assert origin == "draws from VecNormalize's statistics and the observation space"


def test_images_hold_blocks_of_every_size() -> None:
    """Uniform noise alone looks all the same to a convolution."""
    images = drawn(FIRST, 200)[0].astype(int)
    assert images.min() == 0 and images.max() == 255
    alike = (np.diff(images, axis=1) == 0).mean(axis=(1, 2, 3))
    assert (alike < 0.02).any() and (alike > 0.85).any()


# --- masks and resets ------------------------------------------------------------------------------


@pytest.mark.parametrize("acts", [FOUR, CHOICES, spaces.MultiBinary(3)], ids=str)
def test_mask_allows_something_of_each_decision(acts: spaces.Space) -> None:
    told = contract(FLAT, acts, masked=True)
    masks = draws.drawn(told, None, 500, 0)[0]["action_mask"]
    assert masks.dtype == bool
    assert 0.4 < masks.mean() < 0.8
    for group in np.split(masks, np.cumsum(groups_of(told))[:-1], axis=1):
        assert group.any(axis=1).all()
        assert not group.all()


def test_half_of_the_edges_may_allow_nothing_of_a_decision() -> None:
    told = contract(FLAT, CHOICES, masked=True)
    seen = draws.drawn(told, None, 20, 0)[0]
    masks = draws.edges(told, seen, 400, 0)["action_mask"]
    barren = ~masks[:, :3].any(axis=1) | ~masks[:, 3:].any(axis=1)
    assert 0.02 < barren.mean() < 0.4


def groups_of(told: dict[str, Any]) -> list[int]:
    (step,) = told["epilogue"]
    return step.get("sizes") or [told["action_space"]["n"]]


def test_rows_become_sequences_that_start_an_episode_each() -> None:
    rows: Inputs = {"a": np.arange(70.0), "b": np.arange(140.0).reshape(70, 2)}
    found = draws.resets(rows, 32, 0)
    assert {name: values.shape for name, values in found.items()} == {"a": (2, 32), "b": (2, 32, 2), "keep": (2, 32, 1)}
    assert found["a"].ravel().tolist() == list(range(64))
    assert found["keep"].dtype == np.float32
    assert (found["keep"][:, 0] == 0).all()
    many = draws.resets({"a": np.arange(6400.0)}, 64, 0)["keep"]
    assert set(many.ravel().tolist()) == {0.0, 1.0}
    assert 0.03 < (many == 0).mean() < 0.12
    np.testing.assert_array_equal(found["keep"], draws.resets(rows, 32, 0)["keep"])


# --- edges -----------------------------------------------------------------------------------------


def test_edges_are_corners_of_the_space() -> None:
    seen = np.random.default_rng(0).uniform(-5, 5, size=(50, 3)).astype(np.float32)
    found = edges(FLAT, seen, 40)
    assert set(np.unique(found)) == {-5.0, 5.0}
    assert found.shape == (40, 3)
    assert found.dtype == np.float32
    assert len(np.unique(found, axis=0)) == 8


def test_edges_of_an_unbounded_dimension_lie_half_its_range_beyond() -> None:
    found = edges(UNBOUNDED, np.array([[0.0, -1.0], [2.0, 3.0]], np.float32), 40)
    assert set(found[:, 0]) == {-1.0, 3.0}
    assert set(found[:, 1]) == {-3.0, 5.0}


def test_edges_of_huge_bounds_lie_by_what_was_seen() -> None:
    found = edges(spaces.Box(-3.4e38, 3.4e38, (1,)), np.array([[0.0], [2.0]], np.float32), 40)
    assert set(found[:, 0]) == {-1.0, 3.0}


def test_edges_of_what_never_varied_are_finite() -> None:
    found = edges(UNBOUNDED, np.full((4, 2), 7.0, np.float32), 10)
    assert np.isfinite(found).all()
    assert len(np.unique(found)) == 2


def test_no_edges_are_none() -> None:
    assert edges(TABLE, np.zeros((4, 2, 3), np.float32), 0).shape == (0, 2, 3)


def test_edges_keep_shape_dtype_and_seed() -> None:
    space = spaces.Box(0, 255, (2, 4), np.uint8)
    seen = np.arange(80, dtype=np.uint8).reshape(10, 2, 4)
    found = edges(space, seen, 9, 5)
    assert found.dtype == np.uint8
    assert set(np.unique(found)) == {0, 255}
    np.testing.assert_array_equal(found, edges(space, seen, 9, 5))


def test_edges_of_several_inputs_are_those_of_each() -> None:
    told = contract(SEVERAL)
    seen, _ = draws.drawn(told, None, 30, 0)
    found = draws.edges(told, seen, 20, 0)
    assert found.keys() == seen.keys()
    assert {name: values.dtype for name, values in found.items()} == {name: v.dtype for name, v in seen.items()}
    assert set(np.unique(found["flat"])) == {-5.0, 5.0}
    assert set(found["gear"].tolist()) <= {0, 1, 2}
    assert found["image"].shape == (20, 48, 40, 3)
