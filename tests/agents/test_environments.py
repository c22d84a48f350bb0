"""Environments are made as the config says, held to the agent's spaces, and refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium import spaces

from pipeline import errors
from pipeline.agents import environments

from .making import FLAT, FOUR, described, told
from .worlds import WALK, Longer, environment, spaces_of

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
    contract = {"observation_space": described(observed), "action_space": described(acts)}
    text = refusal(errors.EnvironmentUnfit, contract, name=WALK)
    assert f"the agent and {WALK} differ in their spaces" in text
    assert f"an environment that {wanted}" in text
    assert "found Box(-inf, inf, (2,), float32)" in text or "found Discrete(2)" in text


def test_wrapper_that_changes_the_space_is_noticed() -> None:
    text = refusal(errors.EnvironmentUnfit, spaces_of(), name=WALK, wrappers=[f"{Longer.__module__}:Longer"])
    assert "observes Box(-inf, inf, (2,), float32), found Box(-inf, inf, (3,), float32)" in text
