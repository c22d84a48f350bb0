"""Spaces as a contract describes them, and the inputs that an artifact takes for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from pipeline import errors
from pipeline.agents import spaces as agent_spaces

from .making import described
from .stubs import FIRST, FLAT, FOUR, GRID, IMAGE, LOPSIDED, SCALED, SEVERAL, TABLE

CHOICES = spaces.MultiDiscrete([3, 2, 4])
EVERY: list[spaces.Space] = [
    *(FLAT, TABLE, FOUR, LOPSIDED, GRID, IMAGE, FIRST, SCALED, SEVERAL, CHOICES),
    spaces.Discrete(3, start=-1),
    spaces.MultiBinary(4),
    spaces.MultiBinary([2, 3]),
    spaces.Box(np.array([-np.inf, 0], np.float64), np.array([1, np.inf], np.float64), dtype=np.float64),
    spaces.Box(-3, 300, (2,), np.int32),
    spaces.Box(-1, 1, (), np.float32),
]


@pytest.mark.parametrize("space", EVERY, ids=str)
def test_description_makes_the_space_again(space: spaces.Space) -> None:
    assert agent_spaces.gymnasium_space(described(space)) == space


def test_order_of_a_dict_is_kept() -> None:
    """SB3 joins features in it."""
    description = {"type": "Dict", "spaces": {key: described(FLAT) for key in ("z", "a", "m")}}
    assert list(agent_spaces.gymnasium_space(description).spaces) == ["z", "a", "m"]
    assert [entry["name"] for entry in agent_spaces.inputs(description, "channel-last")] == ["z", "a", "m"]


# --- images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "space",
    [
        IMAGE,
        FIRST,
        SCALED,
        FLAT,
        TABLE,
        spaces.Box(0, 255, (36, 36, 2), np.uint8),
        spaces.Box(0, 255, (48, 40), np.uint8),
        spaces.Box(0, 255, (1, 2, 3, 4), np.uint8),
        spaces.Box(0, 255, (48, 40, 3), np.float32),
        spaces.Box(0, 254, (48, 40, 3), np.uint8),
        spaces.Box(1, 255, (48, 40, 3), np.uint8),
        spaces.Box(0, 255, (48, 40, 3), np.int32),
        spaces.Box(np.zeros((2, 2, 2), np.uint8), np.array([[[255, 255], [255, 9]]] * 2, np.uint8), dtype=np.uint8),
    ],
    ids=str,
)
def test_image_is_what_sb3_takes_for_one(space: spaces.Box) -> None:
    assert agent_spaces.is_image(described(space)) == is_image_space(space)


@pytest.mark.parametrize("space", [FOUR, CHOICES, spaces.MultiBinary([2, 3, 4])], ids=str)
def test_other_spaces_are_no_images(space: spaces.Space) -> None:
    assert not agent_spaces.is_image(described(space))


def test_users_hold_images_in_their_own_layout() -> None:
    held = agent_spaces.held(described(spaces.Dict({"image": FIRST, "scaled": SCALED, "flat": FLAT})), "channel-last")
    shapes = {key: part["shape"] for key, part in held["spaces"].items()}
    assert shapes == {"image": [48, 40, 3], "scaled": [3, 48, 40], "flat": [3]}
    assert agent_spaces.held(described(FIRST), "channel-first") == described(FIRST)


# --- inputs ----------------------------------------------------------------------------------------


def entry(space: spaces.Space, images: str = "channel-last") -> tuple[list[Any], str, str]:
    (found,) = agent_spaces.inputs(described(space), images)
    assert (found["name"], found["role"]) == ("observation", "observation")
    assert "key" not in found
    return found["shape"], found["dtype"], found["layout"]


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [
        (FLAT, [3], "float32"),
        (TABLE, [2, 3], "float32"),
        (spaces.Box(-5, 5, (2,), np.float64), [2], "float32"),
        (spaces.Box(0, 9, (2, 4), np.int64), [2, 4], "float32"),
        (spaces.Box(0, 255, (2, 4), np.uint8), [2, 4], "float32"),
        (SCALED, [3, 48, 40], "float32"),
        (FOUR, [], "int32"),
        (CHOICES, [3], "int32"),
        (spaces.MultiBinary(4), [4], "float32"),
        (spaces.MultiBinary([2, 3]), [2, 3], "float32"),
    ],
    ids=str,
)
@pytest.mark.parametrize("images", ["channel-last", "channel-first"])
def test_input_has_the_shape_of_an_observation(space: spaces.Space, shape: list[int], dtype: str, images: str) -> None:
    assert entry(space, images) == (["batch", *shape], dtype, "batch first")


def test_image_is_taken_as_its_users_hold_it() -> None:
    assert entry(FIRST, "channel-last") == (["batch", 48, 40, 3], "float32", "channel-last")
    assert entry(FIRST, "channel-first") == (["batch", 3, 48, 40], "float32", "channel-first")


def test_inputs_of_a_dict_name_their_keys() -> None:
    several = spaces.Dict({"a": FIRST, "b": FOUR, "c": FLAT})
    found = agent_spaces.inputs(described(several), "channel-last")
    assert [(e["name"], e["key"], e["shape"][1:], e["layout"]) for e in found] == [
        ("a", "a", [48, 40, 3], "channel-last"),
        ("b", "b", [], "batch first"),
        ("c", "c", [3], "batch first"),
    ]


def named(*keys: str) -> list[str]:
    return list(agent_spaces.names({"type": "Dict", "spaces": dict.fromkeys(keys, described(FLAT))}).values())


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("camera", "camera"),
        ("a key", "a_key"),
        ("position/x", "position_x"),
        ("é", "observation__"),
        ("日本", "observation___"),
        ("1st", "observation_1st"),
        ("_x", "observation__x"),
        ("", "observation_"),
        ("action", "observation_action"),
        ("action_mask", "observation_action_mask"),
        ("keep", "observation_keep"),
        ("h0", "observation_h0"),
        ("new_c12", "observation_new_c12"),
        ("logits", "observation_logits"),
        ("value", "observation_value"),
        ("preferences", "observation_preferences"),
        ("self", "observation_self"),
        ("h", "h"),
        ("observation", "observation"),
        ("achieved_goal", "achieved_goal"),
        ("x:0", "x_0"),
        ("a\nb", "a_b"),
    ],
)
def test_name_of_an_input_is_fit_for_every_converter(key: str, name: str) -> None:
    assert named(key) == [name]


def test_names_of_inputs_are_unique() -> None:
    assert named("a b", "a/b", "a_b", "a_b_") == ["a_b", "a_b_", "a_b__", "a_b___"]
    assert named("action", "observation_action") == ["observation_action", "observation_action_"]
    found = named(*(chr(n) for n in range(32, 200)))
    assert len(set(found)) == len(found)
    assert all(name.isascii() and name.isidentifier() for name in found)


# --- groups of choices, and what is refused --------------------------------------------------------


def test_groups_are_how_many_choices_each_part_has() -> None:
    spaces_ = (FOUR, CHOICES, spaces.MultiBinary(3))
    assert [agent_spaces.groups(described(space)) for space in spaces_] == [[4], [3, 2, 4], [2, 2, 2]]


@pytest.mark.parametrize("space", [FLAT, TABLE, IMAGE, FOUR, CHOICES, SEVERAL, spaces.MultiBinary([2, 3])], ids=str)
def test_observations_that_sb3_has_a_policy_for_are_taken(space: spaces.Space) -> None:
    agent_spaces.check_observed(described(space))


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (spaces.Dict({"a": FLAT, "b": spaces.Dict({"c": FLAT})}), "A Dict inside a Dict under 'b'"),
        (spaces.Dict({"a": spaces.Discrete(3, start=1)}), "Discrete observations under 'a' start at 1"),
        (spaces.Discrete(3, start=1), "Discrete observations start at 1"),
        (spaces.Box(-1, 1, ()), "Box observations without a dimension are not supported"),
    ],
    ids=str,
)
def test_observations_that_sb3_has_no_policy_for_are_refused(space: spaces.Space, told: str) -> None:
    with pytest.raises(errors.UnsupportedPolicy, match=told):
        agent_spaces.check_observed(described(space))


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (SEVERAL, "Dict actions are not supported. Expected Box, Discrete, MultiDiscrete or MultiBinary"),
        (spaces.MultiBinary([2, 2]), "MultiBinary actions of several dimensions are not supported by SB3 either"),
    ],
    ids=str,
)
def test_actions_that_sb3_has_no_policy_for_are_refused(space: spaces.Space, told: str) -> None:
    with pytest.raises(errors.UnsupportedPolicy, match=told):
        agent_spaces.check_actions(described(space))
