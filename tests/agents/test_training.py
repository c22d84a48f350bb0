"""Agents from recipes."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from pipeline import errors
from pipeline.agents import archive, statistics, training

from .making import described, told
from .stubs import FLAT, FOUR
from .worlds import OPEN, environment

ON = {"n_steps": 16, "policy_kwargs": {"net_arch": [8]}}
OFF = {"buffer_size": 100, "learning_starts": 20, "batch_size": 8, "policy_kwargs": {"net_arch": [8]}}
ROLLOUT = {**ON, "batch_size": 16, "n_epochs": 1}
RECIPES = {
    "PPO": ("CartPole-v1", ROLLOUT),
    "A2C": ("CartPole-v1", ON),
    "DQN": ("CartPole-v1", OFF),
    "SAC": ("Pendulum-v1", OFF),
    "TD3": ("Pendulum-v1", OFF),
    "DDPG": ("Pendulum-v1", OFF),
    "ARS": ("CartPole-v1", {"n_delta": 2, "policy_kwargs": {"net_arch": [8]}}),
    "CrossQ": ("Pendulum-v1", OFF),
    "MaskablePPO": (OPEN, ROLLOUT),
    "QRDQN": ("CartPole-v1", OFF),
    "RecurrentPPO": ("CartPole-v1", ROLLOUT),
    "TQC": ("Pendulum-v1", OFF),
    "TRPO": ("CartPole-v1", {**ON, "batch_size": 16}),
}
POLICIES = {"RecurrentPPO": "MlpLstmPolicy"}
WORLDS = {"MaskablePPO": {"kwargs": {"observed": FLAT, "acts": FOUR}}}


def settings(name: str = "CartPole-v1", world: dict[str, Any] | None = None, **recipe: Any) -> dict[str, Any]:
    """The settings of a training job; further keywords are fields of the recipe."""
    held = {"algorithm": "PPO", "policy": "MlpPolicy", "steps": 32, "seed": 0, "environments": 1}
    held |= {"hyperparameters": ROLLOUT, "normalize": {}, **recipe}
    return {"recipe": copy.deepcopy(held), "environment": environment(name, **(world or {}))}


def refusal(target: Path, error: type[errors.SlipwayError], **fields: Any) -> str:
    with pytest.raises(errors.SlipwayError) as refused:
        training.train(target, settings(**fields))
    assert type(refused.value) is error, refused.value
    assert not (target / "agent.zip").exists()
    return told(refused.value)


# --- what is trained -------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", RECIPES)
def test_recipe_makes_an_archive_that_can_be_read(tmp_path: Path, algorithm: str) -> None:
    name, hyperparameters = RECIPES[algorithm]
    world, policy = WORLDS.get(algorithm, {}), POLICIES.get(algorithm, "MlpPolicy")
    recipe = {"algorithm": algorithm, "policy": policy, "hyperparameters": hyperparameters}
    training.train(tmp_path, settings(name, world, **recipe))
    opened = archive.read(tmp_path / "agent.zip")
    assert opened.algorithm == algorithm
    assert opened.observation_space == described(gymnasium.make(name, **world.get("kwargs", {})).observation_space)
    assert opened.policy_kwargs["net_arch"] == [8]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.zip"]


def test_every_algorithm_of_the_recipes_is_tried() -> None:
    assert set(RECIPES) == {*training.ALGORITHMS, *training.CONTRIB}


def test_same_recipe_gives_the_same_weights(tmp_path: Path) -> None:
    weights = []
    for run, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(run)
        folder.mkdir()
        training.train(folder, settings(seed=seed, environments=2))
        weights.append(archive.read(folder / "agent.zip").weights["action_net.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


TRAINS = """
import json, sys
from pathlib import Path
from pipeline.agents import training
training.train(Path(sys.argv[1]), json.loads(sys.argv[2]))
"""


@pytest.mark.parametrize("normalize", [{}, {"clip_obs": 5.0}])
def test_same_recipe_gives_the_same_bytes_in_another_process(tmp_path: Path, normalize: dict[str, Any]) -> None:
    made = []
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        told = json.dumps(settings(environments=2, normalize=normalize))
        command = [sys.executable, "-c", TRAINS, str(tmp_path / run), told]
        subprocess.run(command, check=True, env={**os.environ, "TZ": f"Etc/GMT+{1 + len(made)}"})
        made.append({path.name: path.read_bytes() for path in (tmp_path / run).iterdir()})
    assert len(made[0]) == 1 + bool(normalize)
    assert made[0] == made[1]
    assert PPO.load(tmp_path / "one" / "agent.zip", device="cpu").num_timesteps, "SB3 reads it as its own"


def test_statistics_are_saved_where_the_recipe_normalizes(tmp_path: Path) -> None:
    training.train(tmp_path, settings(normalize={"norm_reward": False, "clip_obs": 5.0}))
    opened = archive.read(tmp_path / "agent.zip")
    found = statistics.read(tmp_path / "vecnormalize.pkl", opened.observation_space)
    assert found.clip == 5.0
    assert np.any(found.moments[""].mean != 0)
    assert pickle.loads((tmp_path / "vecnormalize.pkl").read_bytes()).norm_reward is False


def test_agent_that_normalizes_its_reward_alone_can_be_read(tmp_path: Path) -> None:
    training.train(tmp_path, settings(normalize={"norm_obs": False}))
    opened = archive.read(tmp_path / "agent.zip")
    assert statistics.read(tmp_path / "vecnormalize.pkl", opened.observation_space).moments == {}


def test_environments_are_made_with_their_wrappers(tmp_path: Path) -> None:
    training.train(tmp_path, settings(world={"wrappers": ["gymnasium.wrappers:FlattenObservation"]}))
    assert (tmp_path / "agent.zip").is_file()


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ppo", "; did you mean 'PPO'?"),
        ("PPOO", "; did you mean 'PPO'?"),
        ("sacc", "; did you mean 'SAC'?"),
        ("Td3", "; did you mean 'TD3'?"),
        ("DQM", "; did you mean 'DQN'?"),
        ("XYZW", ""),
        ("os.system", ""),
        ("__init__", ""),
        ("VecEnv", ""),
    ],
)
def test_unknown_algorithm_is_named_with_what_it_may_mean(tmp_path: Path, name: str, hint: str) -> None:
    text = refusal(tmp_path, errors.UnknownAlgorithm, algorithm=name)
    assert f"algorithm '{name}' is unknown{hint}" in text
    assert "Expected A2C, DDPG, DQN, PPO, SAC, TD3" in text


@pytest.mark.parametrize(
    ("hyperparameters", "wanted"),
    [
        ({"banana": 1}, "unexpected keyword argument 'banana'"),
        ({"device": "cuda"}, "multiple values for keyword argument 'device'"),
        ({"learning_rate": "fast"}, "learning rate"),
        ({"learning_rate": -1.0}, "Invalid learning rate: -1.0"),
        ({**ROLLOUT, "batch_size": 0}, "`batch_size` must be greater than 1"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_steps": 8.5}, "float"),
        ({**ON, "policy_kwargs": {"banana": 1}}, "banana"),
        ({**ON, "policy_kwargs": {"activation_fn": "ReLU"}}, "'str' object is not callable"),
    ],
    ids=str,
)
def test_unfit_hyperparameters_are_told(tmp_path: Path, hyperparameters: dict[str, Any], wanted: str) -> None:
    text = refusal(tmp_path, errors.TrainingFailed, hyperparameters=hyperparameters)
    assert "PPO refused the recipe: " in text
    assert wanted in text
    assert "Correct [recipe] in the config" in text


def test_training_that_diverges_is_told(tmp_path: Path) -> None:
    hyperparameters = {**ROLLOUT, "learning_rate": 1e30}
    text = refusal(tmp_path, errors.TrainingFailed, hyperparameters=hyperparameters, steps=200)
    assert "invalid values" in text


@pytest.mark.parametrize(
    ("policy", "wanted"), [("MlpPolicyy", "Policy MlpPolicyy unknown"), ("CnnPolicy", "NatureCNN")]
)
def test_unfit_policy_is_told(tmp_path: Path, policy: str, wanted: str) -> None:
    assert wanted in refusal(tmp_path, errors.TrainingFailed, policy=policy)


def test_algorithm_that_cannot_act_there_is_told(tmp_path: Path) -> None:
    text = refusal(tmp_path, errors.TrainingFailed, algorithm="SAC", hyperparameters=OFF)
    assert "only supports" in text
    assert "Discrete(2) was provided" in text


def test_unknown_environment_is_told(tmp_path: Path) -> None:
    text = refusal(tmp_path, errors.EnvironmentMissing, name="NoSuchThing-v0")
    assert "no environment 'NoSuchThing-v0'" in text


def test_wrapper_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    text = refusal(tmp_path, errors.EnvironmentMissing, world={"wrappers": ["no_such_package:Wrapper"]})
    assert "no_such_package:Wrapper" in text


@pytest.mark.parametrize(
    "fields",
    [
        {"normalize": {"norm_obz": True}},
        {"normalize": {"norm_reward": False}, "name": "FrozenLake-v1"},
        {"hyperparameters": {**ON, "policy_kwargs": {"net_arch": [-1]}}},
        {"hyperparameters": {**ON, "policy_kwargs": {"net_arch": [10**13]}}},
        {"hyperparameters": {**ROLLOUT, "tensorboard_log": "log"}},
    ],
    ids=["keyword of VecNormalize", "space of VecNormalize", "negative layer", "huge layer", "absent tensorboard"],
)
def test_any_unfit_recipe_is_told(tmp_path: Path, fields: dict[str, Any]) -> None:
    refusal(tmp_path, errors.TrainingFailed, **fields)
