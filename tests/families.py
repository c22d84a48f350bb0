"""Every kind of agent that Stable-Baselines3 and sb3-contrib make: what the support matrix lists.

A :class:`Family` is one combination of algorithm, policy, observations and actions, and of a feature where it has
one. :mod:`untrained` makes agents of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from torch import nn

from pipeline.agents.pickles import _ACTIVATIONS as ACTIVATIONS

IMAGE = spaces.Box(0, 255, (44, 52, 3), np.uint8)  # whose convolutions end in 2 × 3 pixels
VECTOR = spaces.Box(-5, 5, (3,), np.float32)
GOAL = spaces.Box(-np.inf, np.inf, (2,), np.float64)
_CARTPOLE = np.array([4.8, np.inf, 0.42, np.inf], np.float32)
OBSERVATIONS: dict[str, spaces.Space] = {
    "Box": VECTOR,
    "Box unbounded": spaces.Box(-_CARTPOLE, _CARTPOLE),
    "Box float64 2×3": spaces.Box(-5, 5, (2, 3), np.float64),
    "image": IMAGE,
    "image of floats": spaces.Box(0, 1, (3, 44, 52), np.float32),
    "Discrete": spaces.Discrete(5),
    "MultiDiscrete": spaces.MultiDiscrete([3, 4]),
    "MultiBinary": spaces.MultiBinary(6),
    "Dict": spaces.Dict({"image": IMAGE, "vector": VECTOR, "choice": spaces.Discrete(3)}),
    "Dict of goals (HER)": spaces.Dict({"achieved_goal": GOAL, "desired_goal": GOAL, "observation": VECTOR}),
    "Dict with odd keys": spaces.Dict({"my key": VECTOR, "action": spaces.MultiBinary(2), "1st": GOAL}),
}
ACTIONS: dict[str, spaces.Space] = {
    "Box": spaces.Box(np.array([-1, -0.5], np.float32), np.array([2, 3], np.float32)),
    "Discrete": spaces.Discrete(4),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2, 4]),
    "MultiBinary": spaces.MultiBinary(3),
    "Discrete of 2": spaces.Discrete(2),
}
ON_POLICY = ("PPO", "A2C", "TRPO", "MaskablePPO", "RecurrentPPO")
ALGORITHMS = (*ON_POLICY, "DQN", "QRDQN", "SAC", "TD3", "DDPG", "TQC", "CrossQ", "ARS")
HINDSIGHT = ("DQN", "QRDQN", "SAC", "TD3", "DDPG", "TQC")
STOCHASTIC = (*ON_POLICY, "SAC", "TQC", "CrossQ")
PLAIN = ("Box", "Box float64 2×3", "image", "Discrete", "MultiDiscrete", "MultiBinary", "Dict")
KINDS_OF_ACTION = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")


@dataclass(frozen=True)
class Family:
    """A kind of agent.

    :param observation: key of :data:`OBSERVATIONS`
    :param action: key of :data:`ACTIONS`
    :param feature: what it has beside; "" for nothing
    :param settings: keyword arguments of the algorithm's class
    :param kwargs: policy_kwargs, beside small layers
    :param normalize: keyword arguments of VecNormalize; None for none
    :param frames: that VecFrameStack puts side by side
    :param config: further keys of the agent's config, as lines of TOML
    """

    algorithm: str
    policy: str
    observation: str
    action: str
    feature: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    kwargs: dict[str, Any] = field(default_factory=dict)
    normalize: dict[str, Any] | None = None
    frames: int = 1
    config: str = ""

    @property
    def row(self) -> dict[str, str]:
        """What names it in the support matrix."""
        names = ("algorithm", "policy", "observation", "action", "feature")
        return {name: getattr(self, name) for name in names}


def families() -> list[Family]:
    """All of them, in the order of the support matrix."""
    return [*_plain(), *_mismatched(), *_features(), *_variants()]


def _policy(algorithm: str, kind: str) -> str:
    return f"{kind}LstmPolicy" if algorithm == "RecurrentPPO" else f"{kind}Policy"


def _kind(observation: str) -> str:
    if observation.startswith("Dict"):
        return "MultiInput"
    return "Cnn" if observation.startswith("image") else "Mlp"


def _plain() -> Iterator[Family]:
    """Algorithm × observations × actions, with the policy that is meant for the observations."""
    for algorithm in ALGORITHMS:
        for observation in PLAIN:
            for kind in dict.fromkeys([_kind(observation), "Mlp" if observation == "image" else _kind(observation)]):
                for action in KINDS_OF_ACTION:
                    yield Family(algorithm, _policy(algorithm, kind), observation, action)
    for action in ("Box", "Discrete"):
        yield Family("ARS", "LinearPolicy", "Box", action)
    for algorithm in HINDSIGHT:
        action = "Discrete" if "DQN" in algorithm else "Box"
        replay = {"replay_buffer_class": HerReplayBuffer}
        yield Family(algorithm, "MultiInputPolicy", "Dict of goals (HER)", action, settings=replay)


def _mismatched() -> Iterator[Family]:
    """Policies that are not meant for the observations."""
    for kind in ("Mlp", "Cnn", "MultiInput"):
        for observation in PLAIN:
            if kind != _kind(observation) and (kind, observation) != ("Mlp", "image"):
                yield Family("PPO", f"{kind}Policy", observation, "Discrete")


def _features() -> Iterator[Family]:
    """What VecNormalize, VecFrameStack, gSDE and the config add."""
    box, image, several = ("Mlp", "Box"), ("Cnn", "image"), ("MultiInput", "Dict")

    def each(algorithms: tuple[str, ...], form: tuple[str, str], feature: str, **further: Any) -> Iterator[Family]:
        for algorithm in algorithms:
            action = "Discrete" if "DQN" in algorithm or algorithm == "MaskablePPO" else "Box"
            yield Family(algorithm, _policy(algorithm, form[0]), form[1], action, feature, **further)

    yield from each(ALGORITHMS, box, "VecNormalize", normalize={})
    some = {"normalize": {"norm_obs_keys": ["vector"]}}
    yield from each(
        ("PPO", "MaskablePPO", "RecurrentPPO", "SAC", "DQN"), several, "VecNormalize, norm_obs_keys", **some
    )
    yield from each(("PPO", "DQN", "SAC"), box, "frame stack", frames=4)
    yield from each(("PPO", "DQN", "RecurrentPPO"), image, "frame stack", frames=4)
    yield from each(("PPO", "SAC"), box, "frame stack, VecNormalize", frames=4, normalize={})
    sde = {"settings": {"use_sde": True}}
    yield from each(("PPO", "A2C", "TRPO", "RecurrentPPO", "SAC", "TQC", "CrossQ"), box, "gSDE", **sde)
    squashed = {**sde, "kwargs": {"squash_output": True}}
    yield from each(("PPO", "A2C", "TRPO", "RecurrentPPO"), box, "gSDE, squashed", **squashed)
    apart = {"kwargs": {"share_features_extractor": False}, "config": 'outputs = ["value"]'}
    for form in (box, image, several):
        yield from each(("PPO", "A2C", "TRPO", "MaskablePPO"), form, "features extractors apart, value", **apart)
    yield from each(("RecurrentPPO",), image, "features extractors apart", kwargs={"share_features_extractor": False})
    shared = {"kwargs": {"share_features_extractor": True}}
    yield from each(("SAC", "TD3", "DDPG", "TQC"), image, "features extractor shared", **shared)
    floats = {"kwargs": {"normalize_images": False}}
    for form in (image, ("Cnn", "image of floats"), several, ("Mlp", "image")):
        yield from each(("PPO", "DQN", "SAC", "RecurrentPPO"), form, "normalize_images=False", **floats)
    first = {"config": 'images = "channel-first"'}
    for form in (image, several, ("Mlp", "image")):
        yield from each(("PPO", "DQN", "SAC", "RecurrentPPO"), form, "channel-first images", **first)
    random = {"config": "stochastic = true"}
    yield from each(STOCHASTIC, box, "stochastic", **random)
    for action in KINDS_OF_ACTION[1:]:
        for algorithm in ON_POLICY[:3] if action == "Discrete" else ON_POLICY[:4]:
            yield Family(algorithm, "MlpPolicy", "Box", action, "stochastic", **random)
    yield from each(("PPO", "RecurrentPPO", "SAC"), box, "stochastic, gSDE", **random, **sde)


def _variants() -> Iterator[Family]:
    """What policy_kwargs change: layers, activations, memory."""
    for name in (*ACTIVATIONS, "Identity"):
        kwargs = {"activation_fn": getattr(nn, name), "net_arch": [12, 12]}
        yield Family("PPO", "MlpPolicy", "Box", "Box", f"activation {name}", kwargs=kwargs)
    cartpole = {"kwargs": {"net_arch": {"pi": [64, 64], "vf": [64, 64]}}, "config": 'outputs = ["value"]'}
    yield Family("PPO", "MlpPolicy", "Box unbounded", "Discrete of 2", "layers by default", **cartpole)
    for algorithm in ("PPO", "DQN", "SAC", "TD3"):
        action = "Discrete" if algorithm in ("PPO", "DQN") else "Box"
        yield Family(algorithm, "MlpPolicy", "Box", action, "no hidden layer", kwargs={"net_arch": []})
        yield Family(algorithm, "MultiInputPolicy", "Dict with odd keys", action, "odd keys")
    yield Family("ARS", "MlpPolicy", "Box", "Box", "not squashed", kwargs={"squash_output": False})
    memories: dict[str, dict[str, Any]] = {
        "2 layers": {"n_lstm_layers": 2},
        "no bias": {"lstm_kwargs": {"bias": False}},
        "shared": {"shared_lstm": True, "enable_critic_lstm": False},
        "critic without": {"enable_critic_lstm": False},
    }
    for feature, kwargs in memories.items():
        yield Family("RecurrentPPO", "MlpLstmPolicy", "Box", "Discrete", f"LSTM: {feature}", kwargs=kwargs)


def covering() -> dict[str, Family]:
    """A few families, by the name of their agent: every algorithm, policy, observation and action is among them."""
    wanted = {
        "ppo_discrete": ("PPO", "MlpPolicy", "Box unbounded", "Discrete of 2", "layers by default"),
        "ppo_box": ("PPO", "MlpPolicy", "Box", "Box", "VecNormalize"),
        "ppo_image": ("PPO", "CnnPolicy", "image", "Discrete", ""),
        "ppo_dict": ("PPO", "MultiInputPolicy", "Dict", "MultiDiscrete", ""),
        "a2c_discrete": ("A2C", "MlpPolicy", "Box", "Discrete", ""),
        "a2c_multibinary": ("A2C", "MlpPolicy", "Discrete", "MultiBinary", ""),
        "trpo_box": ("TRPO", "MlpPolicy", "image", "Box", ""),
        "maskable_multidiscrete": ("MaskablePPO", "MlpPolicy", "MultiBinary", "MultiDiscrete", ""),
        "maskable_discrete": ("MaskablePPO", "MultiInputPolicy", "Dict", "Discrete", ""),
        "recurrent_box": ("RecurrentPPO", "MlpLstmPolicy", "Box float64 2×3", "Box", ""),
        "recurrent_image": ("RecurrentPPO", "CnnLstmPolicy", "image", "Discrete", ""),
        "recurrent_dict": ("RecurrentPPO", "MultiInputLstmPolicy", "Dict", "MultiBinary", ""),
        "dqn": ("DQN", "MlpPolicy", "Box", "Discrete", ""),
        "qrdqn": ("QRDQN", "MlpPolicy", "MultiDiscrete", "Discrete", ""),
        "sac": ("SAC", "MlpPolicy", "Box", "Box", "VecNormalize"),
        "td3": ("TD3", "MlpPolicy", "Box", "Box", ""),
        "ddpg": ("DDPG", "MultiInputPolicy", "Dict of goals (HER)", "Box", ""),
        "tqc": ("TQC", "MlpPolicy", "Box float64 2×3", "Box", ""),
        "crossq": ("CrossQ", "MlpPolicy", "Box", "Box", ""),
        "ars": ("ARS", "LinearPolicy", "Box", "Box", ""),
    }
    every = {tuple(family.row.values()): family for family in families()}
    return {name: every[row] for name, row in wanted.items()}
