"""The job that lets an artifact act in closed loop, in the place of the agent that it was made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from pipeline import errors
from pipeline.agents import evaluating

from .making import Case, Inputs
from .stubs import FLAT, FOUR, IMAGE
from .worlds import OPEN, STILL, WALK, environment

SEEN = spaces.Box(-np.inf, np.inf, (3,), np.float32)
STEPS = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def settings(world: dict[str, Any], episodes: int, most: int = 0) -> dict[str, Any]:
    return {"environment": world, "episodes": episodes, "most": most or episodes, "seed": 3, "return_kept": 0.9}


def evaluate(
    source: Path, target: Path, answer: Callable[[Inputs], Inputs], asked: dict[str, Any], beside: int = 0
) -> None:
    """Let the agent and a random policy act, then the artifact.

    :param beside: episodes of those two; 0 for as many as the artifact begins with
    """
    played = {"environment": asked["environment"], "episodes": {str(asked["seed"]): beside or asked["episodes"]}}
    evaluating.play(source, target, played)
    evaluating.evaluate(source, target, answer, {**asked, "returns": str(target / "returns.json")})


def returns_in(folder: Path) -> dict[str, list[float]]:
    """What the job wrote."""
    return json.loads((folder / "episodes.json").read_text())["returns"]


def zero(inputs: Inputs) -> Inputs:
    return {"action": np.zeros(len(inputs["observation"]), np.int64)}


def test_returns_of_source_artifact_and_random(read: Callable[..., Any], tmp_path: Path) -> None:
    tiny = Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path)
    source, _ = read(tiny)
    evaluate(source, tmp_path, zero, settings(environment(WALK), 6))
    returns = returns_in(tmp_path)
    assert sorted(returns) == ["artifact", "random", "source"]
    assert returns["artifact"] == [3.0, 4.0, 5.0, 3.0, 4.0, 5.0]
    assert all(0 <= found <= most for found, most in zip(returns["random"], returns["artifact"], strict=True))


def test_artifact_that_decides_alike_returns_alike(read: Callable[..., Any], tmp_path: Path) -> None:
    tiny = Case("SAC", SEEN, spaces.Box(-1, 2, (2,))).save(tmp_path)
    source, _ = read(tiny)
    asked = settings(environment(STILL), 3)
    evaluate(source, tmp_path, lambda inputs: tiny.reference.outputs(inputs, ["action"]), asked)
    returns = returns_in(tmp_path)
    assert returns["artifact"] == returns["source"]
    assert returns["random"] != returns["source"]


def test_artifact_that_fails_is_not_covered_up(read: Callable[..., Any], tmp_path: Path) -> None:
    def ends(_: Inputs) -> Inputs:
        raise errors.ConverterFailed("the artifact's process ended in the middle of an episode")

    source, _ = read(Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path))
    with pytest.raises(errors.ConverterFailed):
        evaluate(source, tmp_path, ends, settings(environment(WALK), 1))
    assert not (tmp_path / "episodes.json").exists()


def test_memory_of_source_and_artifact_is_kept_over_an_episode(read: Callable[..., Any], tmp_path: Path) -> None:
    kwargs = {"lstm_hidden_size": 4}
    tiny = Case("RecurrentPPO", FLAT, FOUR, policy="MlpLstmPolicy", kwargs=kwargs).save(tmp_path)
    source, contract = read(tiny)
    world = environment(OPEN, kwargs={"observed": FLAT, "acts": FOUR, "steps": 12})
    names = [output["name"] for output in contract["outputs"]]
    asked = []

    def answer(inputs: Inputs) -> Inputs:
        asked.append(inputs)
        return tiny.reference.outputs(inputs, names)

    evaluate(source, tmp_path, answer, settings(world, 4))
    returns = returns_in(tmp_path)
    assert returns["artifact"] == returns["source"] != returns["random"]
    assert not asked[0]["h0"].any() and asked[1]["h0"].any()


def test_masked_agent_is_evaluated_with_its_masks(read: Callable[..., Any], tmp_path: Path) -> None:
    acts = spaces.MultiDiscrete([3, 2])
    source, _ = read(Case("MaskablePPO", FLAT, acts).save(tmp_path))
    world = environment(OPEN, kwargs={"observed": FLAT, "acts": acts, "steps": 30})

    def last(inputs: Inputs) -> Inputs:
        return {"action": np.tile([2, 1], (len(inputs["action_mask"]), 1))}

    evaluate(source, tmp_path, last, settings(world, 2))
    returns = returns_in(tmp_path)
    assert returns["artifact"] == [90.0, 90.0], "it does not care"
    assert max(returns["source"] + returns["random"]) <= 30, "1 and 0 are the most that the mask allows"


def test_images_are_evaluated_in_the_layout_of_users(read: Callable[..., Any], tmp_path: Path) -> None:
    tiny = Case("PPO", IMAGE, FOUR, policy="CnnPolicy").save(tmp_path)
    source, _ = read(tiny)
    world = environment(OPEN, kwargs={"observed": IMAGE, "acts": FOUR, "steps": 3})
    shapes = []

    def answer(inputs: Inputs) -> Inputs:
        shapes.append(inputs["observation"].shape)
        return tiny.reference.outputs(inputs, ["action"])

    evaluate(source, tmp_path, answer, settings(world, 2))
    assert shapes == [(2, 48, 40, 3)] * 3


@pytest.mark.parametrize("optional", [True, False])
def test_optional_environment_that_is_missing_leaves_no_returns(
    read: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], optional: bool
) -> None:
    source, _ = read(Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path))
    asked = settings(environment("NoSuchThing-v0", optional=optional), 1)
    if not optional:
        with pytest.raises(errors.EnvironmentMissing):
            evaluate(source, tmp_path, zero, asked)
        return
    evaluate(source, tmp_path, zero, asked)
    assert not (tmp_path / "episodes.json").exists()
    assert "no closed loop: EnvironmentMissing: No environment 'NoSuchThing-v0'" in capsys.readouterr().out


def test_more_episodes_are_run_until_it_is_settled_what_is_kept(read: Callable[..., Any], tmp_path: Path) -> None:
    source, _ = read(Case("PPO", STEPS, spaces.Discrete(2)).save(tmp_path))
    calls = iter(range(10**6))

    def sometimes(inputs: Inputs) -> Inputs:
        """Earns in every other step, whatever the agent does."""
        return {"action": np.full(len(inputs["observation"]), next(calls) % 2)}

    evaluate(source, tmp_path, sometimes, settings(environment(WALK), 4, most=14))
    returns = returns_in(tmp_path)
    assert {len(found) for found in returns.values()} == {8}, "four do not settle it, eight do"
    assert len(json.loads((tmp_path / "returns.json").read_text())["returns"]["3"]["source"]) == 4
    alone = tmp_path / "alone"
    alone.mkdir()
    evaluate(source, alone, zero, settings(environment(WALK), len(returns["source"])))
    assert returns_in(alone)["source"] == returns["source"], "further episodes have the seeds that follow"
    evaluate(source, alone, zero, settings(environment(WALK), 4), beside=8)
    assert returns_in(alone)["source"] == returns["source"][:4], "those that another precision needs are left out"


def test_reward_threshold_of_the_environment_is_written_down(read: Callable[..., Any], tmp_path: Path) -> None:
    box = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    source, _ = read(Case("PPO", box, spaces.Discrete(2)).save(tmp_path))
    evaluate(source, tmp_path, lambda i: {"action": np.zeros(len(i["observation"]), np.int64)},
                  settings(environment("CartPole-v1"), 2))  # fmt: skip
    assert json.loads((tmp_path / "episodes.json").read_text())["reward_threshold"] == 475.0
