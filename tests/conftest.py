"""Fixtures that several test modules share: tiny agents, and runs of ./doit on them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from running import ROOT, SHARED, Built, doit


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public agents and compiled models beside the clone."""
    if not SHARED.is_dir():
        pytest.skip(f"the folder {SHARED.name} with public agents is not beside this clone")
    return SHARED


@pytest.fixture
def a_small_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a file system of 220 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=220k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def tiny_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained PPO for CartPole-v1, ``vecnormalize.pkl``'s content beside it under the same name."""
    import gymnasium
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("one") / "agent.zip"
    venv = VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]))
    PPO("MlpPolicy", venv, policy_kwargs={"net_arch": [16]}, device="cpu").save(path)
    venv.save(str(path.with_suffix(".pkl")))
    return path


def _save_agents(folder: Path) -> None:
    import gymnasium
    import numpy as np
    import torch
    from sb3_contrib import ARS
    from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    def normalized(env_id: str, seed: int) -> VecNormalize:
        venv = VecNormalize(DummyVecEnv([lambda: gymnasium.make(env_id)]))
        venv.obs_rms.mean = np.random.default_rng(seed).normal(size=venv.obs_rms.mean.shape)
        venv.obs_rms.var = np.random.default_rng(seed + 1).uniform(0.1, 4, size=venv.obs_rms.var.shape)
        return venv

    small = {"net_arch": [24, 16]}
    makers = {
        "ppo_discrete": lambda: PPO("MlpPolicy", gymnasium.make("CartPole-v1"), device="cpu"),
        "ppo_box": lambda: PPO("MlpPolicy", normalized("Pendulum-v1", 0), policy_kwargs=dict(small), device="cpu"),
        "ars": lambda: ARS("LinearPolicy", gymnasium.make("Pendulum-v1"), device="cpu"),
        "a2c_discrete": lambda: A2C("MlpPolicy", gymnasium.make("Acrobot-v1"), policy_kwargs=dict(small), device="cpu"),
        "dqn": lambda: DQN("MlpPolicy", gymnasium.make("CartPole-v1"), policy_kwargs=dict(small), device="cpu"),
        "sac": lambda: SAC("MlpPolicy", normalized("Pendulum-v1", 3), policy_kwargs=dict(small), device="cpu"),
        "td3": lambda: TD3("MlpPolicy", gymnasium.make("Pendulum-v1"), policy_kwargs=dict(small), device="cpu"),
        "ddpg": lambda: DDPG("MlpPolicy", gymnasium.make("Pendulum-v1"), policy_kwargs=dict(small), device="cpu"),
    }
    outputs = {"ppo_discrete": '"value"', "ppo_box": '"value", "log_std"', "sac": '"log_std"'}
    for name, make in makers.items():
        torch.manual_seed(0)
        model = make()
        with torch.no_grad():
            for parameter in model.policy.parameters():
                parameter.mul_(2.0).add_(0.1 * (name == "ars"))  # ARS starts its linear policy at 0
        model.save(folder / f"{name}.zip")
        lines = [f'zip = "{name}.zip"', 'vecnormalize = "none"', f"outputs = [{outputs.get(name, '')}]"]
        if isinstance(model.get_vec_normalize_env(), VecNormalize):
            model.get_vec_normalize_env().save(str(folder / f"{name}.pkl"))
            lines[1] = f'vecnormalize = "{name}.pkl"'
        (folder / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Eight untrained agents through every hop, from drawn observations."""
    folder = tmp_path_factory.mktemp("tiny")
    configs, artifacts = folder / "configs", folder / "artifacts"
    configs.mkdir()
    _save_agents(configs)
    yield Built(configs, artifacts, doit(configs=configs, artifacts=artifacts))


@pytest.fixture(scope="session")
def shipped_agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The examples of configs/ through every hop, the recipe's training included."""
    artifacts = tmp_path_factory.mktemp("shipped") / "artifacts"
    yield Built(ROOT / "configs", artifacts, doit(configs=ROOT / "configs", artifacts=artifacts))
