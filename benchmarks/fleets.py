"""The agents that benchmarks build many of: a folder of public ones, or where there is none as many untrained ones."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline import config, folder, toolchains
from pipeline.hops import KINDS
from pipeline.spec import Agent

ZOO = toolchains.ROOT.parent / "shared" / "zoo"
# Algorithm, environment, and (observations, actions) where gymnasium alone does not offer it; a number of actions is
# of choices where it is negative. Those of the excerpt of rl-trained-agents.
SHAPES = (
    ("A2C", "BipedalWalker-v3", (24, 4)), ("A2C", "CartPole-v1", None), ("A2C", "Pendulum-v1", None),
    ("ARS", "Pendulum-v1", None), ("ARS", "Swimmer-v3", (8, 2)), ("DDPG", "Pendulum-v1", None),
    ("DQN", "CartPole-v1", None), ("TQC", "FetchReach-v1", (16, 4)), ("PPO", "Ant-v3", (111, 8)),
    ("PPO", "LunarLander-v2", (8, -4)), ("PPO", "MountainCarContinuous-v0", None), ("QRDQN", "CartPole-v1", None),
    ("SAC", "MountainCarContinuous-v0", None), ("SAC", "Pendulum-v1", None), ("TQC", "PandaReach-v1", (18, 3)),
    ("TQC", "Pendulum-v1", None), ("TRPO", "Acrobot-v1", None), ("TRPO", "Hopper-v3", (11, 3)),
)  # fmt: skip
CONFIG = """zip = "{name}.zip"
vecnormalize = "none"
{environment}
[calibration]
drawn = true
[float16]
return_kept = 0.0
[int8]
rungs = ["int8"]
waiver = "untrained: there is no return to keep"
"""


def given(arguments: list[str], work: Path) -> tuple[str, str]:
    """What ./doit is told of the fleet, and whence it is, in words.

    :param arguments: the folder, or nothing
    :param work: a folder that untrained agents are made in
    """
    place = Path(arguments[0]).expanduser().resolve() if arguments else ZOO
    if place.is_dir():
        return f"folder={place}", "DLR-RM/rl-trained-agents, an excerpt" if place == ZOO else "a folder of agents"
    generate(work / "fleet")
    said = "untrained ones in the shapes of public ones, as there is no folder of those beside the clone"
    return f"configs={work / 'fleet'}", said


def agents(fleet: str, artifacts: Path) -> list[Agent]:
    """The agents that ./doit finds there."""
    where, _, place = fleet.partition("=")
    if where == "folder":
        return folder.scan(Path(place), artifacts)
    return [config.load(path, KINDS) for path in config.paths(Path(place))]


def generate(place: Path) -> None:
    """An untrained agent and its config of each of the shapes; in the test toolchain, which has SB3."""
    import gymnasium
    import sb3_contrib
    import stable_baselines3 as sb3
    import torch
    from gymnasium import spaces

    from benchmarks.coral import differ

    class Stub(gymnasium.Env):  # type: ignore[type-arg]
        def __init__(self, seen: int, acts: int) -> None:
            self.observation_space = spaces.Box(-5, 5, (seen,))
            self.action_space = spaces.Discrete(-acts) if acts < 0 else spaces.Box(-1, 1, (acts,))

    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for algorithm, known, shape in SHAPES:
        name = f"{algorithm.lower()}-{known}".replace(".", "_")
        torch.manual_seed(0)
        env = gymnasium.make(known) if shape is None else Stub(*shape)
        cls = getattr(sb3, algorithm, None) or getattr(sb3_contrib, algorithm)
        further = {"buffer_size": 10} if algorithm in ("DDPG", "DQN", "QRDQN", "SAC", "TQC") else {}
        agent = cls("MlpPolicy", env, device="cpu", **further)
        if hasattr(agent.policy, "action_net") and algorithm != "ARS":
            differ(agent)
        elif algorithm == "ARS":  # begins at 0
            torch.nn.utils.vector_to_parameters(
                torch.randn(sum(p.numel() for p in agent.policy.parameters())) * 0.3, agent.policy.parameters()
            )
        agent.save(place / f"{name}.zip")
        environment = f'[environment]\nid = "{known}"' if shape is None else ""
        (place / f"{name}.toml").write_text(CONFIG.format(name=name, environment=environment), encoding="utf-8")
