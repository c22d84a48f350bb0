"""Fixtures that several test modules share: tiny agents, and runs of ./doit on them."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from families import covering
from matrix import CONFIG
from running import ROOT, SHARED, Built, doit

os.environ["SLIPWAY_CACHE"] = "none"  # what a test builds is built

settings.register_profile(
    "short",
    max_examples=3,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("long", settings.get_profile("short"), max_examples=40, derandomize=False, print_blob=True)
settings.load_profile("short")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """What is drawn at random can be drawn again."""
    if config.getoption("--hypothesis-profile") == "long" and config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(random.randrange(2**32))


def pytest_report_header(config: pytest.Config) -> list[str]:
    seed = config.getoption("--hypothesis-seed")
    return [f"drawn again by --hypothesis-seed={seed}"] if seed else []


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


@pytest.fixture(scope="session")
def tiny_agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Untrained agents of every algorithm, policy, observation and action through every hop."""
    from untrained import save

    folder = tmp_path_factory.mktemp("tiny")
    configs, artifacts = folder / "configs", folder / "artifacts"
    configs.mkdir()
    for name, family in covering().items():
        assert not save(family, configs, name, CONFIG)
    yield Built(configs, artifacts, doit(configs=configs, artifacts=artifacts, timeout=900))


@pytest.fixture(scope="session")
def shipped_agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The examples of configs/ through every hop, the recipe's training included."""
    artifacts = tmp_path_factory.mktemp("shipped") / "artifacts"
    yield Built(ROOT / "configs", artifacts, doit(configs=ROOT / "configs", artifacts=artifacts))
