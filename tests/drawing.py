"""Agents drawn at random: what hypothesis builds with Stable-Baselines3 itself for test_properties."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from agents.stubs import Stub
from gymnasium import spaces
from hypothesis import strategies as st
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from families import ACTIVATIONS, ON_POLICY
from untrained import algorithm_class

KEYS = ("observation", "my key", "action", "1st", "image", "h0", "keep", "β", "A", "logits", "value")
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
BOUNDS = ("bounded", "unbounded", "half", "tiny", "huge", "lopsided")


@dataclass(frozen=True)
class Drawn:
    """How to make an agent.

    :param settings: keyword arguments of the algorithm's class
    :param kwargs: policy_kwargs
    :param normalize: keys whose observations VecNormalize normalizes ("" where there is no Dict); None without it
    :param moments: powers of ten around which means and variances of VecNormalize are drawn
    :param clip: its ``clip_obs``
    :param scale: by which all weights are multiplied
    :param images: how images are held
    :param seed: of weights and statistics
    """

    algorithm: str
    policy: str
    observed: spaces.Space
    acts: spaces.Space
    settings: dict[str, Any] = field(default_factory=dict)
    kwargs: dict[str, Any] = field(default_factory=dict)
    normalize: tuple[str, ...] | None = None
    moments: tuple[int, int] = (0, 0)
    clip: float = 10.0
    scale: float = 2.0
    images: str = "channel-last"
    seed: int = 0

    def outputs(self) -> list[str]:
        """Every further output that such an agent has."""
        found = ["value"] if self.algorithm in ON_POLICY[:-1] else []
        has_std = self.algorithm in (*ON_POLICY, "SAC", "TQC", "CrossQ") and isinstance(self.acts, spaces.Box)
        return [*found, "log_std"] if has_std else found

    def save(self, folder: Path) -> tuple[Path, Path | None]:
        """Paths of the archive, and of its statistics if it has some."""
        torch.manual_seed(self.seed)
        cls = algorithm_class(self.algorithm)
        settings = {"buffer_size": 10} if issubclass(cls, OffPolicyAlgorithm) else {}
        agent = cls(
            self.policy,
            self.venv(),
            policy_kwargs=copy.deepcopy(self.kwargs),
            device="cpu",
            **settings,
            **self.settings,
        )
        with torch.no_grad():
            for name, parameter in agent.policy.named_parameters():
                if "log_std" in name:
                    parameter.normal_(-1, 0.5)
                elif self.algorithm == "ARS" or parameter.ndim == 1:  # begin at 0
                    parameter.normal_(0, 0.3 * self.scale)
                else:
                    parameter.mul_(self.scale * (50 if name == "action_net.weight" else 1))
                if name.endswith("cnn.0.weight") and not self.kwargs.get("normalize_images", True):
                    parameter.div_(255)  # whoever trains on raw pixels ends up with small weights
            for name, buffer in agent.policy.named_buffers():
                if name.endswith("ra_mean"):  # of CrossQ's batch renormalization
                    buffer.normal_(0, 0.5)
                elif name.endswith("ra_var"):
                    buffer.uniform_(0.1, 3)
        path = folder / "agent.zip"
        agent.save(path)
        if self.normalize is None:
            return path, None
        self._statistics().save(str(path.with_suffix(".pkl")))
        return path, path.with_suffix(".pkl")

    def venv(self) -> DummyVecEnv:
        return DummyVecEnv([lambda: Stub(self.observed, self.acts)])

    def _statistics(self) -> VecNormalize:
        keys = {"norm_obs_keys": list(self.normalize or ())} if isinstance(self.observed, spaces.Dict) else {}
        found = VecNormalize(self.venv(), clip_obs=self.clip, **keys)
        rng = np.random.default_rng(self.seed)
        parts = self.observed.spaces if isinstance(self.observed, spaces.Dict) else {"": self.observed}
        for key, moments in (found.obs_rms if keys else {"": found.obs_rms}).items():
            mean, variance = (10.0 ** rng.uniform(power - 1, power + 1, moments.mean.shape) for power in self.moments)
            if parts[key].dtype == np.float64:  # artifacts take float32, which does not hold one far from 0
                mean = np.minimum(mean, 20 * np.sqrt(variance))
            moments.mean, moments.var = mean * rng.choice([-1, 1], mean.shape), variance
        return found


@st.composite
def boxes(draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, ...]] = SHAPES) -> spaces.Box:
    """Boxes of observations: any dtype, bounds of every sort in one."""
    shape = draw(shapes)
    dtype = draw(st.sampled_from([np.float32, np.float32, np.float64, np.int32, np.int8, np.uint8]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if issubclass(dtype, np.integer):
        low, high = (0, 255) if dtype is np.uint8 and draw(st.booleans()) else (0, 9)
        return spaces.Box(low, high, shape, dtype)
    sort = draw(st.sampled_from(BOUNDS))
    low, high = rng.uniform(-5, 0, shape), rng.uniform(0.1, 5, shape)
    if sort == "unbounded":
        low, high = low - np.inf, high + np.inf
    elif sort == "half":
        low = np.where(rng.random(shape) < 0.5, -np.inf, low)
        high = np.where(rng.random(shape) < 0.5, np.inf, high)
    elif sort in ("tiny", "huge"):
        factor = 1e-4 if sort == "tiny" else 1e30
        low, high = low * factor, high * factor
    elif sort == "lopsided":
        low, high = low + 100, high + 200
    return spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype)


@st.composite
def images(draw: st.DrawFn, layouts: tuple[str, ...] = ("last", "first")) -> spaces.Box:
    """Images large enough for NatureCNN."""
    height, width, channels = draw(st.integers(36, 52)), draw(st.integers(36, 52)), draw(st.sampled_from([1, 3, 4]))
    shape = (height, width, channels) if draw(st.sampled_from(layouts)) == "last" else (channels, height, width)
    return spaces.Box(0, 255, shape, np.uint8)


def choices(algorithm: str) -> st.SearchStrategy[spaces.Space]:
    """Discrete, MultiDiscrete and MultiBinary; the LSTM of RecurrentPPO takes no MultiDiscrete observations."""
    found: list[st.SearchStrategy[spaces.Space]] = [st.integers(1, 6).map(spaces.Discrete)]
    found.append(st.integers(1, 5).map(spaces.MultiBinary))
    if algorithm != "RecurrentPPO":
        found.append(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(spaces.MultiDiscrete))
    return st.one_of(*found)


@st.composite
def dicts(draw: st.DrawFn, algorithm: str) -> spaces.Dict:
    """Dicts of one to four keys, images in the user's layout."""
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True))
    flat = boxes(st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple))
    inner = st.one_of(flat, flat, choices(algorithm), images(("last",)))
    return spaces.Dict({key: draw(inner) for key in keys})


@st.composite
def actions(draw: st.DrawFn, algorithm: str) -> spaces.Space:
    """What the algorithm acts in; Stable-Baselines3 wants finite bounds."""
    if algorithm in ("DQN", "QRDQN") or (algorithm == "ARS" and draw(st.booleans())):
        return spaces.Discrete(draw(st.integers(1, 6)))
    if algorithm == "MaskablePPO" or (algorithm in ON_POLICY and draw(st.booleans())):
        return draw(choices(""))
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    scale = 10.0 ** rng.integers(-2, 2)
    low, high = scale * rng.uniform(-3, 0.5, shape), scale * rng.uniform(0.6, 4, shape)
    return spaces.Box(low.astype(np.float32), high.astype(np.float32))


@st.composite
def agents(draw: st.DrawFn, algorithm: str) -> Drawn:
    """Any agent of the algorithm that Stable-Baselines3 and sb3-contrib make."""
    kinds = ("Mlp",) if algorithm in ("CrossQ", "ARS") else ("Mlp", "Mlp", "Cnn", "MultiInput")
    kind = draw(st.sampled_from(kinds))
    flat = st.one_of(boxes(), boxes(), choices(algorithm))
    observed = draw({"Mlp": flat, "Cnn": images(), "MultiInput": dicts(algorithm)}[kind])
    acts = draw(actions(algorithm))
    policy = f"{kind}LstmPolicy" if algorithm == "RecurrentPPO" else f"{kind}Policy"
    settings = {"use_sde": True} if _may_use_sde(algorithm, acts) and draw(st.integers(0, 3)) == 0 else {}
    return Drawn(
        algorithm,
        policy,
        observed,
        acts,
        settings,
        draw(_kwargs(algorithm, kind, bool(settings))),
        draw(_normalized(observed)),
        draw(st.tuples(st.integers(-3, 4), st.integers(-6, 6))),
        draw(st.sampled_from([10.0, 5.0, 0.5])),
        draw(st.sampled_from([0.5, 1.0, 1.5])),
        "channel-first" if is_image_space(observed) and is_image_space_channels_first(observed) else "channel-last",
        draw(st.integers(0, 99)),
    )


def _may_use_sde(algorithm: str, acts: spaces.Space) -> bool:
    return algorithm in ("PPO", "A2C", "TRPO", "RecurrentPPO", "SAC", "TQC", "CrossQ") and isinstance(acts, spaces.Box)


@st.composite
def _normalized(draw: st.DrawFn, observed: spaces.Space) -> tuple[str, ...] | None:
    parts = observed.spaces if isinstance(observed, spaces.Dict) else {"": observed}
    fit = [key for key, part in parts.items() if isinstance(part, spaces.Box) and not is_image_space(part)]
    if not fit or draw(st.booleans()):
        return None
    return tuple(draw(st.lists(st.sampled_from(fit), min_size=1, unique=True)))


@st.composite
def _kwargs(draw: st.DrawFn, algorithm: str, kind: str, sde: bool) -> dict[str, Any]:
    """policy_kwargs that the algorithm's policies take."""
    layers = st.lists(st.integers(1, 20), max_size=3)
    found: dict[str, Any] = {"activation_fn": getattr(nn, draw(st.sampled_from(ACTIVATIONS)))}
    critic = "vf" if algorithm in ON_POLICY else "qf"
    if algorithm in ("DQN", "QRDQN", "ARS") or draw(st.booleans()):
        found["net_arch"] = draw(layers)
    else:
        found["net_arch"] = {"pi": draw(layers), critic: draw(layers)}
    if kind != "Mlp":
        units = draw(st.integers(1, 20))
        found["features_extractor_kwargs"] = {"features_dim" if kind == "Cnn" else "cnn_output_dim": units}
        found["normalize_images"] = draw(st.booleans())
    if algorithm in ON_POLICY or algorithm in ("SAC", "TD3", "DDPG", "TQC"):
        found["share_features_extractor"] = draw(st.booleans())
    if sde and algorithm in ON_POLICY:
        found |= {
            "squash_output": draw(st.booleans()),
            "full_std": draw(st.booleans()),
            "use_expln": draw(st.booleans()),
        }
    if algorithm in ("QRDQN", "TQC"):
        found["n_quantiles"] = draw(st.integers(1, 9))
    if algorithm == "ARS":
        found["squash_output"] = draw(st.booleans())
    if algorithm == "RecurrentPPO":
        found |= draw(_memory(found["share_features_extractor"]))
    return found


@st.composite
def _memory(draw: st.DrawFn, shared: bool) -> dict[str, Any]:
    critics = [{}, {"enable_critic_lstm": False}, {"shared_lstm": True, "enable_critic_lstm": False}]
    sizes = {"lstm_hidden_size": draw(st.integers(1, 16)), "n_lstm_layers": draw(st.integers(1, 3))}
    bias = draw(st.sampled_from([None, {"bias": False}]))
    return {**draw(st.sampled_from(critics if shared else critics[:2])), **sizes, "lstm_kwargs": bias}
