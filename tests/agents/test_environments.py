"""Environments are made as the config says, held to the agent's spaces, and refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from pipeline import errors
from pipeline.agents import environments

from .making import told
from .stubs import FIRST, FLAT, FOUR, IMAGE, SEVERAL
from .worlds import OPEN, WALK, Longer, Open, contract_of, environment, spaces_of

CARTPOLE = "CartPole-v1"


def refusal(error: type[errors.SlipwayError], contract: dict[str, Any] | None = None, **fields: Any) -> str:
    with pytest.raises(errors.SlipwayError) as refused:
        environments.make(environment(**{"name": CARTPOLE, **fields}), contract)
    assert type(refused.value) is error, refused.value
    return told(refused.value)


def test_environment_is_made_by_its_id() -> None:
    assert environments.make(environment(CARTPOLE)).unwrapped.spec.id == CARTPOLE


def test_environment_that_fits_the_agent_is_made() -> None:
    assert environments.make(environment(), spaces_of()).observation_space.shape == (2,)


def test_kwargs_reach_the_environment() -> None:
    made = environments.make(environment(kwargs={"bad": 3}))
    assert made.unwrapped.bad == 3


def test_wrappers_are_applied_innermost_first() -> None:
    wrappers = ["gymnasium.wrappers:FlattenObservation", "gymnasium.wrappers:NormalizeObservation"]
    made = environments.make(environment(wrappers=wrappers))
    assert isinstance(made, gymnasium.wrappers.NormalizeObservation)
    assert isinstance(made.env, gymnasium.wrappers.FlattenObservation)


def test_imports_register_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"import gymnasium\ngymnasium.register('Imported-v0', entry_point=gymnasium.spec({WALK!r}).entry_point)\n"
    (tmp_path / "registers_one.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert environments.make(environment("Imported-v0", imports=["registers_one"]), spaces_of())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("NoSuchThing-v0", "no environment 'NoSuchThing-v0'"),
        ("CarPole-v1", "Did you mean: `CartPole`"),
        ("CartPole-v9", "provides versioned environments"),
        ("LunarLander-v2", "Please use `LunarLander-v3` instead"),
        ("NoSuchPlace/Pong-v5", "Namespace NoSuchPlace not found"),
        ("no_such_package:Thing-v0", "No module named 'no_such_package'"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_unknown_environment_is_named(name: str, wanted: str) -> None:
    text = refusal(errors.EnvironmentMissing, name=name)
    assert wanted in text
    assert "leave [environment] out" in text


def test_missing_package_of_an_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking() -> None:
        raise gymnasium.error.DependencyNotInstalled("Box3D is not installed, run `pip install box3d`")

    gymnasium.register("Lacking-v0", entry_point=lacking)
    try:
        text = refusal(errors.EnvironmentMissing, name="Lacking-v0")
    finally:
        del gymnasium.registry["Lacking-v0"]
    assert "environment Lacking-v0 lacks a package: Box3D is not installed" in text
    assert "Install its package" in text


def test_missing_import_is_named() -> None:
    assert "No module named 'no_such_package'" in refusal(errors.EnvironmentMissing, imports=["no_such_package"])


@pytest.mark.parametrize("name", ["not an id!", "-v1", ""])
def test_malformed_id_is_refused(name: str) -> None:
    with pytest.raises((errors.EnvironmentUnfit, errors.EnvironmentMissing)):
        environments.make(environment(name))


def test_unknown_kwarg_is_named() -> None:
    text = refusal(errors.EnvironmentUnfit, kwargs={"banana": 1})
    assert "environment CartPole-v1 cannot be made" in text
    assert "banana" in text


@pytest.mark.parametrize(
    ("wrapper", "wanted"),
    [
        ("no_such_package.wrappers:Wrapper", "No module named 'no_such_package'"),
        ("gymnasium.wrappers:NoSuchWrapper", "has no attribute 'NoSuchWrapper'"),
    ],
)
def test_wrapper_that_cannot_be_imported_is_named(wrapper: str, wanted: str) -> None:
    text = refusal(errors.EnvironmentMissing, wrappers=[wrapper])
    assert f"the wrapper {wrapper} cannot be imported" in text
    assert wanted in text


@pytest.mark.parametrize(
    "wrapper", ["gymnasium.wrappers:TimeLimit", "gymnasium.wrappers:ClipAction", "math:pi", "builtins:id"]
)
def test_wrapper_that_cannot_be_applied_is_named(wrapper: str) -> None:
    with pytest.raises(errors.SlipwayError, match=wrapper):
        environments.make(environment(CARTPOLE, wrappers=[wrapper]), spaces_of(CARTPOLE))


@pytest.mark.parametrize(
    ("observed", "acts", "wanted"),
    [
        (FLAT, spaces.Discrete(2), "observes Box(-5.0, 5.0, (3,), float32)"),
        (spaces.Box(-1, 1, (2, 2)), spaces.Discrete(2), "observes Box(-1.0, 1.0, (2, 2), float32)"),
        (spaces.Discrete(2), spaces.Discrete(2), "observes Discrete(2)"),
        (spaces.Box(-1, 1, (2,)), FOUR, "acts in Discrete(4)"),
        (spaces.Box(-1, 1, (2,)), FLAT, "acts in Box(-5.0, 5.0, (3,), float32)"),
    ],
)
def test_other_spaces_are_told_with_both(observed: spaces.Space, acts: spaces.Space, wanted: str) -> None:
    text = refusal(errors.EnvironmentUnfit, contract_of(observed, acts), name=WALK)
    assert f"the agent and {WALK} differ in their spaces" in text
    assert f"an environment that {wanted}" in text
    assert "found Box(-inf, inf, (2,), float32)" in text or "found Discrete(2)" in text


def test_wrapper_that_changes_the_space_is_noticed() -> None:
    text = refusal(errors.EnvironmentUnfit, spaces_of(), name=WALK, wrappers=[f"{Longer.__module__}:Longer"])
    assert "observes Box(-inf, inf, (2,), float32), found Box(-inf, inf, (3,), float32)" in text


# --- several inputs, images, stacks ----------------------------------------------------------------

CHANNEL_FIRST = spaces.Dict({**SEVERAL.spaces, "picture": FIRST})  # as an archive holds it


def opened(observed: spaces.Space, acts: spaces.Space = FOUR, **fields: Any) -> dict[str, Any]:
    return {"name": OPEN, "kwargs": {"observed": observed, "acts": acts}, **fields}


def test_images_are_held_to_the_layout_of_users() -> None:
    assert environments.make(environment(**opened(IMAGE)), contract_of(FIRST, FOUR))
    assert environments.make(environment(**opened(FIRST)), contract_of(FIRST, FOUR, "channel-first"))
    assert environments.make(environment(**opened(SEVERAL)), contract_of(CHANNEL_FIRST, FOUR))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("images", "held", "other"), [("channel-last", FIRST, "channel-first"), ("channel-first", IMAGE, "channel-last")]
)
def test_image_in_the_other_layout_is_told_with_what_to_set(
    images: str, held: spaces.Box, other: str, several: bool
) -> None:
    agent, world = (spaces.Dict({"a": FLAT, "b": space}) if several else space for space in (FIRST, held))
    text = refusal(errors.EnvironmentUnfit, contract_of(agent, FOUR, images), **opened(world))
    assert "differ in their spaces" in text
    assert f'The image has the other layout: set images = "{other}" in the config' in text


@pytest.mark.parametrize(
    ("agent", "world", "frames"),
    [
        (spaces.Box(-1, 1, (12,)), spaces.Box(-1, 1, (3,)), 4),
        (spaces.Box(-1, 1, (2, 6)), spaces.Box(-1, 1, (2, 3)), 2),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Box(0, 255, (84, 84, 1), np.uint8), 4),
        (spaces.Box(0, 255, (9, 48, 40), np.uint8), IMAGE, 3),
        (
            spaces.Dict({"a": FLAT, "b": spaces.Box(-1, 1, (6,))}),
            spaces.Dict({"a": FLAT, "b": spaces.Box(-1, 1, (2,))}),
            3,
        ),
    ],
    ids=str,
)
def test_one_frame_of_a_stack_is_told_with_what_to_set(agent: spaces.Space, world: spaces.Space, frames: int) -> None:
    text = refusal(errors.EnvironmentUnfit, contract_of(agent, FOUR), **opened(world))
    assert f"If it was trained with VecFrameStack, set environment.frame_stack = {frames}" in text


def test_declared_stack_fits() -> None:
    observed = spaces.Box(0, 255, (9, 48, 40), np.uint8)
    made = environments.make(environment(**opened(IMAGE, frame_stack=3)), contract_of(observed, FOUR))
    assert made.observation_space.shape == (48, 40, 9)


def test_stack_of_what_cannot_be_stacked_is_told() -> None:
    text = refusal(errors.EnvironmentUnfit, contract_of(FOUR, FOUR), **opened(FOUR, frame_stack=2))
    assert "cannot be stacked: only Box observations can be stacked, found Discrete(4)" in text
    assert "Leave frame_stack out" in text


def test_keys_that_differ_are_told() -> None:
    agent = contract_of(spaces.Dict({"a": FLAT, "b": FLAT, "c": FLAT}), FOUR)
    text = refusal(errors.EnvironmentUnfit, agent, **opened(spaces.Dict({"a": FLAT, "d": FLAT})))
    assert "Keys of the observation: missing ['b', 'c'], unknown ['d']" in text
    text = refusal(errors.EnvironmentUnfit, agent, **opened(spaces.Dict({"a": FLAT, "b": FLAT, "c": FLAT, "d": FLAT})))
    assert "missing none, unknown ['d']" in text


@pytest.mark.parametrize(
    ("agent", "world"),
    [
        (spaces.Dict({"a": FLAT}), FLAT),
        (FLAT, spaces.Dict({"a": FLAT})),
        (spaces.Dict({"a": FLAT}), spaces.Dict({"a": FOUR})),
        (spaces.Discrete(3), spaces.Discrete(4)),
        (spaces.MultiDiscrete([3, 4]), spaces.MultiDiscrete([4, 3])),
        (spaces.MultiBinary(3), spaces.MultiBinary(4)),
        (spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (4,))),
    ],
    ids=str,
)
def test_every_other_space_is_noticed(agent: spaces.Space, world: spaces.Space) -> None:
    text = refusal(errors.EnvironmentUnfit, contract_of(agent, FOUR), **opened(world))
    assert "frame_stack" not in text and "layout" not in text
    assert "Name the environment (and wrappers) that the agent was trained in" in text
    text = refusal(errors.EnvironmentUnfit, contract_of(FLAT, agent), **opened(FLAT, world))
    assert "an environment that acts in" in text


# --- what it observes ------------------------------------------------------------------------------


def test_observation_is_given_by_the_contracts_names() -> None:
    env = Open(SEVERAL, FOUR)
    observation, _ = env.reset(seed=0)
    found = environments.observed(env, observation, contract_of(CHANNEL_FIRST, FOUR))
    assert found["a_key"] is observation["a key"]
    assert list(found) == ["a_key", "observation_action", "gear", "picture", "position"]
    assert found["picture"].shape == (48, 40, 3)


def test_mask_is_what_the_environment_gives() -> None:
    env = Open(FLAT, spaces.MultiDiscrete([3, 2]))
    observation, _ = env.reset(seed=0)
    found = environments.observed(env, observation, contract_of(FLAT, env.action_space, masked=True))
    assert found["action_mask"].tolist() == [True, True, False, True, False]


def test_mask_reaches_through_wrappers() -> None:
    contract = contract_of(FLAT, FOUR, masked=True)
    wrappers = ["gymnasium.wrappers:FlattenObservation"]
    env = environments.make(environment(**opened(FLAT, wrappers=wrappers)), contract)
    observation, _ = env.reset(seed=0)
    assert environments.observed(env, observation, contract)["action_mask"].tolist() == [True, True, True, False]


def test_everything_is_allowed_where_the_environment_has_no_mask() -> None:
    contract = contract_of(spaces.Box(-1, 1, (2,)), spaces.Discrete(2), masked=True)
    env = environments.make(environment(), contract)
    observation, _ = env.reset(seed=0)
    assert environments.observed(env, observation, contract)["action_mask"].tolist() == [True, True]


@pytest.mark.parametrize("width", [3, 5, 0])
def test_mask_of_another_width_is_told_with_both(width: int) -> None:
    env = Open(FLAT, FOUR, masked=width)
    observation, _ = env.reset(seed=0)
    with pytest.raises(errors.EnvironmentUnfit, match="action mask has another width") as refused:
        environments.observed(env, observation, contract_of(FLAT, FOUR, masked=True))
    assert (refused.value.expected, refused.value.found) == ("4", str(width))


def test_version_that_is_no_more_is_stood_in_for_where_the_environment_is_optional(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Public agents were trained on versions that gymnasium has dropped since."""
    made = environments.make(environment("Pendulum-v0", optional=True))
    assert made.spec is not None and made.spec.id == "Pendulum-v1"
    assert "gymnasium has no Pendulum-v0 any more: Pendulum-v1 stands in for it" in capsys.readouterr().out
    with pytest.raises(errors.EnvironmentMissing, match="Pendulum-v1"):
        environments.make(environment("Pendulum-v0"))
