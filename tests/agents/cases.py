"""The tiny agents that every test of a policy is run on, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from torch import nn

from pipeline.agents import pickles

from .making import Case
from .stubs import FIRST, FLAT, FOUR, GRID, IMAGE, LOPSIDED, SCALED, SEVERAL, TABLE

CHOICES = spaces.MultiDiscrete([3, 2, 4])
SWITCHES = spaces.MultiBinary(3)
OBSERVED: dict[str, spaces.Space] = {
    "float64": spaces.Box(-5, 5, (2, 3), np.float64),
    "index": spaces.Discrete(5),
    "indices": spaces.MultiDiscrete([3, 4]),
    "bits": spaces.MultiBinary(6),
    "bit_table": spaces.MultiBinary([2, 3]),
}
FOUR_ENDS: dict[str, spaces.Space] = {"box": LOPSIDED, "discrete": FOUR, "choices": CHOICES, "switches": SWITCHES}
CHOOSING = {name: FOUR_ENDS[name] for name in ("discrete", "choices", "switches")}
ENDS = {
    **{name: FOUR_ENDS for name in ("PPO", "A2C", "TRPO", "RecurrentPPO")},
    "MaskablePPO": CHOOSING,
    **{name: {"discrete": FOUR} for name in ("DQN", "QRDQN")},
    **{name: {"box": LOPSIDED} for name in ("SAC", "TD3", "DDPG", "TQC", "CrossQ")},
    "ARS": {"box": LOPSIDED, "discrete": FOUR},
}
IMAGES = [name for name in ENDS if name not in ("CrossQ", "ARS")]  # these two have no CnnPolicy
LARGE = ("SAC", "TD3", "DDPG", "TQC", "CrossQ")  # their nets are, unless told otherwise
MEMORY = {"lstm_hidden_size": 8}
GSDE = {"use_sde": True}


def _shaped(activation: type[nn.Module]) -> dict[str, Any]:
    return {"activation_fn": activation, "net_arch": {"pi": [16], "vf": [8, 8]}}


def _named(algorithm: str, observed: spaces.Space, acts: spaces.Space, policy: str = "Mlp", **fields: Any) -> Case:
    """A case with SB3's name of the policy; memories and nets are small, and extractors give few features."""
    kwargs = dict(fields.pop("kwargs", {}))
    if algorithm in LARGE and observed != FLAT:
        kwargs = {"net_arch": [16, 12] if algorithm != "CrossQ" else {"pi": [16, 12], "qf": [8]}, **kwargs}
    if policy == "Cnn":
        kwargs["features_extractor_kwargs"] = {"features_dim": 24, **kwargs.get("features_extractor_kwargs", {})}
    elif policy == "MultiInput":
        kwargs["features_extractor_kwargs"] = {"cnn_output_dim": 12}
    recurrent = algorithm == "RecurrentPPO"
    kwargs = {**MEMORY, **kwargs} if recurrent else kwargs
    scale = 3 if policy == "Mlp" else 1.5 if recurrent else 2.5
    full = f"{policy}{'Lstm' if recurrent else ''}Policy"
    return Case(algorithm, observed, acts, kwargs=kwargs, policy=full, **{"scale": scale, **fields})


def _plain() -> dict[str, Case]:
    """Every algorithm with every kind of action, on a few numbers."""
    return {f"{a.lower()}_{end}": _named(a, FLAT, acts) for a, ends in ENDS.items() for end, acts in ends.items()}


def _observing() -> dict[str, Case]:
    """Every algorithm on images and on several inputs; every kind of observation."""
    found = {}
    for name, observed in OBSERVED.items():
        for algorithm in ("PPO", "DQN", "SAC", "TD3", "MaskablePPO", "RecurrentPPO", "CrossQ", "QRDQN"):
            if (algorithm, name) != ("RecurrentPPO", "indices"):  # SB3 2.9.2 cannot make it: its width is an int64
                acts = list(ENDS[algorithm].values())[-1]
                found[f"{algorithm.lower()}_of_{name}"] = _named(algorithm, observed, acts)
    for algorithm in IMAGES:
        acts = list(ENDS[algorithm].values())[0]
        found[f"{algorithm.lower()}_of_image"] = _named(algorithm, IMAGE, acts, "Cnn")
        found[f"{algorithm.lower()}_of_several"] = _named(algorithm, _several(algorithm), acts, "MultiInput")
    return found


def _several(algorithm: str) -> spaces.Dict:
    """Without MultiDiscrete for a memory: its width would be an int64, which torch's LSTM refuses."""
    left_out = ("a key",) if algorithm == "RecurrentPPO" else ()
    return spaces.Dict({key: part for key, part in SEVERAL.spaces.items() if key not in left_out})


FLOATS = spaces.Dict({"near": FLAT, "far": TABLE, "picture": IMAGE})
UNSCALED = {"normalize_images": False, "features_extractor_kwargs": {"features_dim": 16, "normalized_image": True}}

CASES: dict[str, Case] = {
    **_plain(),
    **_observing(),
    # --- images ---
    "ppo_of_image_flat": _named("PPO", IMAGE, LOPSIDED),
    "dqn_of_image_flat": _named("DQN", IMAGE, FOUR),
    "ppo_of_image_default": Case("PPO", IMAGE, CHOICES, policy="CnnPolicy", scale=2),
    "ppo_of_first": _named("PPO", FIRST, CHOICES, "Cnn", images="channel-first"),
    "sac_of_first_flat": _named("SAC", FIRST, LOPSIDED, images="channel-first"),
    "ppo_of_scaled": _named("PPO", SCALED, FOUR, "Cnn", kwargs=UNSCALED),
    "ppo_of_image_unscaled": _named("PPO", IMAGE, CHOICES, "Cnn", kwargs={"normalize_images": False}, scale=1),
    "ppo_of_image_flat_unscaled": _named("PPO", IMAGE, FOUR, kwargs={"normalize_images": False}, scale=0.3),
    "ppo_of_image_apart": _named("PPO", IMAGE, LOPSIDED, "Cnn", kwargs={"share_features_extractor": False}),
    "sac_of_image_shared": _named("SAC", IMAGE, LOPSIDED, "Cnn", kwargs={"share_features_extractor": True}),
    "ppo_of_several_apart": _named("PPO", SEVERAL, CHOICES, "MultiInput", kwargs={"share_features_extractor": False}),
    "ppo_of_several_linear": _named("PPO", SEVERAL, SWITCHES, "MultiInput", kwargs={"net_arch": []}),
    "ppo_of_image_flat_linear": _named("PPO", IMAGE, FOUR, kwargs={"net_arch": []}),
    "dqn_of_image_linear": _named("DQN", IMAGE, FOUR, "Cnn", kwargs={"net_arch": []}),
    # --- VecNormalize and stacked frames ---
    **{f"{a.lower()}_normalized": _named(a, FLAT, LOPSIDED, normalize=True) for a in ("PPO", "A2C", "SAC", "TD3", "DDPG", "TQC", "CrossQ", "RecurrentPPO")},
    **{f"{a.lower()}_discrete_normalized": _named(a, FLAT, FOUR, normalize=True) for a in ("PPO", "DQN", "MaskablePPO")},
    "ppo_table_normalized": Case("PPO", TABLE, LOPSIDED, normalize=True),
    "ppo_of_several_normalized": _named("PPO", FLOATS, LOPSIDED, "MultiInput", normalize={"norm_obs_keys": ["far"]}),
    "sac_of_several_normalized": _named("SAC", FLOATS, LOPSIDED, "MultiInput", normalize={"norm_obs_keys": ["near", "far"]}),
    "ppo_stacked": Case("PPO", FLAT, FOUR, frames=3),
    "ppo_stacked_normalized": Case("PPO", FLAT, LOPSIDED, frames=3, normalize=True),
    "dqn_stacked_images": _named("DQN", IMAGE, FOUR, "Cnn", frames=2, scale=4),
    "ppo_stacked_first": _named("PPO", FIRST, FOUR, "Cnn", frames=2, images="channel-first"),
    # --- gSDE ---
    **{f"{a.lower()}_gsde": _named(a, FLAT, LOPSIDED, settings=GSDE) for a in ("PPO", "A2C", "SAC", "TQC", "RecurrentPPO")},
    "ppo_gsde_squashed": Case("PPO", settings=GSDE, kwargs={"squash_output": True}),
    "ppo_gsde_expln": Case("PPO", settings=GSDE, kwargs={"use_expln": True}),
    "ppo_gsde_vector": Case("PPO", settings=GSDE, kwargs={"full_std": False}),
    "sac_gsde_expln": Case("SAC", settings=GSDE, kwargs={"use_expln": True}),
    "sac_gsde_unclipped": Case("SAC", settings=GSDE, kwargs={"clip_mean": 0.0}),
    "ppo_gsde_of_image": _named("PPO", IMAGE, LOPSIDED, "Cnn", settings=GSDE),
    "ppo_gsde_linear": Case("PPO", settings=GSDE, kwargs={"net_arch": []}),
    "ppo_gsde_linear_of_image": _named("PPO", IMAGE, LOPSIDED, settings=GSDE, kwargs={"net_arch": []}),
    # --- memory ---
    "recurrentppo_deep": _named("RecurrentPPO", FLAT, LOPSIDED, kwargs={"n_lstm_layers": 3}),
    "recurrentppo_dropout": _named("RecurrentPPO", FLAT, FOUR, kwargs={"n_lstm_layers": 2, "lstm_kwargs": {"dropout": 0.5}}),
    "recurrentppo_unbiased": _named("RecurrentPPO", FLAT, CHOICES, kwargs={"lstm_kwargs": {"bias": False}}),
    "recurrentppo_shared": _named("RecurrentPPO", FLAT, FOUR, kwargs={"shared_lstm": True, "enable_critic_lstm": False}),
    "recurrentppo_uncritical": _named("RecurrentPPO", FLAT, SWITCHES, kwargs={"enable_critic_lstm": False}),
    "recurrentppo_linear": _named("RecurrentPPO", TABLE, LOPSIDED, kwargs={"net_arch": []}),
    "recurrentppo_image_flat": _named("RecurrentPPO", IMAGE, FOUR),
    "recurrentppo_image_apart": _named("RecurrentPPO", IMAGE, FOUR, "Cnn", kwargs={"share_features_extractor": False, "n_lstm_layers": 2}),
    # --- shapes of actions, of observations and of networks ---
    "ars_linear": Case("ARS", policy="LinearPolicy"),
    "ars_clipped": Case("ARS", kwargs={"squash_output": False}),
    "ppo_table": Case("PPO", TABLE, FOUR),
    "dqn_table": Case("DQN", TABLE, FOUR),
    "td3_table": Case("TD3", TABLE),
    **{f"{a.lower()}_grid": Case(a, acts=GRID) for a in ("PPO", "SAC", "TD3")},
    **{f"ppo_{name.lower()}": Case("PPO", kwargs=_shaped(getattr(nn, name))) for name in pickles._ACTIVATIONS},
    "ppo_identity": Case("PPO", kwargs=_shaped(nn.Identity)),
    "ppo_list": Case("PPO", acts=FOUR, kwargs={"net_arch": [12, 6]}),
    "ppo_linear": Case("PPO", acts=FOUR, kwargs={"net_arch": []}),
    "dqn_elu": Case("DQN", acts=FOUR, kwargs={"activation_fn": nn.ELU, "net_arch": [9]}),
    "dqn_linear": Case("DQN", acts=FOUR, kwargs={"net_arch": []}),
    "sac_uneven": Case("SAC", kwargs={"net_arch": {"pi": [8], "qf": [5, 5]}}),
    "crossq_small": Case("CrossQ", kwargs={"net_arch": {"pi": [7], "qf": [5]}, "activation_fn": nn.Tanh}),
    "ddpg_elu": Case("DDPG", kwargs={"activation_fn": nn.ELU, "net_arch": [8]}),
    "td3_gelu": Case("TD3", kwargs={"activation_fn": nn.GELU, "net_arch": [8]}),
}  # fmt: skip
