"""Policies rebuilt from an archive, and taken apart: ``predict = epilogue ∘ core ∘ prologue``.

Formulas: stable_baselines3 2.9 ``common/policies.py`` (``BasePolicy.predict``, ``ActorCriticPolicy``),
``dqn/policies.py``, ``sac/policies.py``, ``td3/policies.py``, ``common/preprocessing.py``.
"""

from __future__ import annotations

import importlib
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents import arguments
from pipeline.agents.archive import Archive, Statistics
from pipeline.agents.arguments import ON_POLICY

if TYPE_CHECKING:
    import gymnasium
    import torch
    from stable_baselines3.common.policies import BasePolicy

SQUASHED = ("SAC", "TQC")
DETERMINISTIC = ("TD3", "DDPG")
Q_LEARNING = ("DQN", "QRDQN")
SUPPORTED = (*ON_POLICY, *SQUASHED, *DETERMINISTIC, *Q_LEARNING, "ARS")


@dataclass(frozen=True)
class Parts:
    """A policy taken apart.

    :param prologue: steps before the core, as the contract lists them
    :param trunk: observation [batch, ...] float32 -> latent [batch, units]
    :param head: latent -> the core's output
    :param epilogue: steps behind the core, as the contract lists them
    :param decision: name of the core's output: what the epilogue decides by
    :param extras: further outputs: name -> (what it is computed from, module)
    """

    prologue: list[dict[str, Any]]
    trunk: torch.nn.Module
    head: torch.nn.Module
    epilogue: list[dict[str, Any]]
    decision: str
    extras: dict[str, tuple[str, torch.nn.Module]] = field(default_factory=dict)


def space(description: dict[str, Any]) -> gymnasium.Space[Any]:
    """The gymnasium space that a contract describes."""
    import numpy as np
    from gymnasium import spaces

    from pipeline import contract

    kind = description["type"]
    if kind == "Box":
        dtype = np.dtype(description["dtype"])
        low, high = (contract.bounds(description, key).astype(dtype) for key in ("low", "high"))
        return spaces.Box(low, high, dtype=dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(description["n"], start=description["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(description["nvec"])
    if kind == "MultiBinary":
        n = description["n"]
        return spaces.MultiBinary(n[0] if len(n) == 1 else n)
    return spaces.Dict({key: space(value) for key, value in description["spaces"].items()})


def check_supported(archive: Archive) -> None:
    """Refuse what this version cannot convert, by name, with what it can.

    :raises errors.UnsupportedPolicy:
    """
    supported = f"MlpPolicy of {', '.join(SUPPORTED)}; Box observations; Box and Discrete actions"
    if archive.algorithm not in SUPPORTED:
        raise errors.UnsupportedPolicy(f"{archive.algorithm} agents are not supported", expected=supported)
    if "Cnn" in archive.policy_class or "MultiInput" in archive.policy_class:
        raise errors.UnsupportedPolicy(f"the policy {archive.policy_class} is not supported", expected=supported)
    observed, acts = archive.observation_space, archive.action_space
    if observed["type"] != "Box" or not observed["shape"]:
        raise errors.UnsupportedPolicy(f"{observed['type']} observations are not supported", expected=supported)
    if len(observed["shape"]) == 3 and observed["dtype"] == "uint8":
        raise errors.UnsupportedPolicy("image observations are not supported", expected=supported)
    if acts["type"] not in ("Box", "Discrete"):
        raise errors.UnsupportedPolicy(f"{acts['type']} actions are not supported", expected=supported)


def rebuild(archive: Archive) -> BasePolicy:
    """SB3's own policy object, with the archive's weights, in evaluation mode.

    :raises SlipwayError: :class:`errors.UnsupportedPolicy`, :class:`errors.WeightsUnfit` or
        :class:`errors.WeightsNotFinite`
    """
    check_supported(archive)
    module, _, name = archive.policy_class.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    kwargs = arguments.resolved(archive, cls)
    try:
        observed, acts = space(archive.observation_space), space(archive.action_space)
        schedule = [] if archive.algorithm == "ARS" else [lambda _: 0.0]
        policy: BasePolicy = cls(observed, acts, *schedule, **kwargs)
    except Exception as error:  # whatever SB3 makes of spaces and arguments that it does not expect
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise errors.UnsupportedPolicy(f"{name} cannot be made from the archive: {line[:200]}") from None
    _load(policy, archive.weights)
    policy.set_training_mode(False)
    return policy


def _load(policy: BasePolicy, weights: dict[str, torch.Tensor]) -> None:
    import torch

    wanted = policy.state_dict()
    if "action_net.0.weight" in wanted:  # ARS's linear policy before sb3-contrib 1.7
        weights = {re.sub(r"^action_net\.(weight|bias)$", r"action_net.0.\1", name): t for name, t in weights.items()}
    for name, tensor in weights.items():
        if name not in wanted:
            raise errors.WeightsUnfit(f"the file has {name}, which {type(policy).__name__} does not")
        if tensor.shape != wanted[name].shape:
            raise errors.WeightsUnfit(
                f"{name} does not fit the spaces and policy_kwargs",
                expected="x".join(map(str, wanted[name].shape)),
                found="x".join(map(str, tensor.shape)),
            )
        if tensor.dtype != wanted[name].dtype or tensor.layout != torch.strided or tensor.is_meta:
            kind = f"{tensor.dtype} {'' if tensor.layout == torch.strided else tensor.layout}".strip()
            raise errors.WeightsUnfit(f"{name} is {kind}; only float32 is supported")
        bad = torch.nonzero(~torch.isfinite(tensor))
        if len(bad):
            place = ",".join(str(int(i)) for i in bad[0])
            kind = f"{len(bad):,} of {tensor.numel():,} numbers"
            raise errors.WeightsNotFinite(f"{kind} in {name} are NaN or infinite, the first at [{place}]")
    # Before SB3 1.7 the policy had one features extractor; the copies of today hold nothing of their own.
    missing = [n for n in wanted if n not in weights and not n.startswith(("pi_features_", "vf_features_"))]
    if missing:
        raise errors.WeightsUnfit(f"the file lacks {missing[0]} ({len(missing)} in all)")
    policy.load_state_dict(weights, strict=False)


def take_apart(policy: BasePolicy, archive: Archive, statistics: Statistics | None) -> Parts:
    """Prologue, core and epilogue of a rebuilt policy."""
    from torch import nn

    steps = [] if statistics is None or not statistics.norm_obs else [_normalize(statistics)]
    flatten = [nn.Flatten()] if len(archive.observation_space["shape"]) > 1 else []
    make = _actor_critic
    if archive.algorithm in SQUASHED:
        make = _squashed
    elif archive.algorithm in DETERMINISTIC:
        make = _deterministic
    elif archive.algorithm in Q_LEARNING:
        make = _q_learning
    elif archive.algorithm == "ARS":
        make = _random_search
    return make(policy, archive.action_space, steps, flatten)


def _normalize(statistics: Statistics) -> dict[str, Any]:
    return {
        "op": "normalize",
        "mean": statistics.mean.ravel().tolist(),
        "variance": statistics.variance.ravel().tolist(),
        "epsilon": statistics.epsilon,
        "clip": statistics.clip if math.isfinite(statistics.clip) else "inf",
    }


def _finish(acts: dict[str, Any], op: str) -> list[dict[str, Any]]:
    """``clip`` or ``unscale`` to the action space, then its shape if it is not flat."""
    shape = [{"op": "reshape", "shape": acts["shape"]}] if len(acts["shape"]) != 1 else []
    if op == "clip" and not any(isinstance(v, float) for v in acts["low"] + acts["high"]):
        return shape
    return [{"op": op, "low": acts["low"], "high": acts["high"]}, *shape]


def _actor_critic(policy: Any, acts: dict[str, Any], steps: list[Any], flatten: list[Any]) -> Parts:
    from torch import nn

    from pipeline.agents import modules

    trunk = nn.Sequential(*flatten, policy.mlp_extractor.policy_net)
    value = nn.Sequential(*flatten, policy.mlp_extractor.value_net, policy.value_net)
    extras: dict[str, tuple[str, nn.Module]] = {"value": ("observation", value)}
    if acts["type"] == "Discrete":
        return Parts(steps, trunk, policy.action_net, [{"op": "argmax"}], "logits", extras)
    if not policy.use_sde:  # gSDE's deviation depends on the latent features, and is not exported
        extras["log_std"] = ("decision", modules.Constant(policy.log_std))
    squash = policy.use_sde and policy.squash_output
    epilogue = [{"op": "tanh"}, *_finish(acts, "unscale")] if squash else _finish(acts, "clip")
    return Parts(steps, trunk, policy.action_net, epilogue, "mean", extras)


def _squashed(policy: Any, acts: dict[str, Any], steps: list[Any], flatten: list[Any]) -> Parts:
    from torch import nn

    actor = policy.actor
    extras: dict[str, tuple[str, nn.Module]] = {}
    if not actor.use_sde:
        extras["log_std"] = ("latent", nn.Sequential(actor.log_std, nn.Hardtanh(-20.0, 2.0)))
    trunk = nn.Sequential(*flatten, actor.latent_pi)
    return Parts(steps, trunk, actor.mu, [{"op": "tanh"}, *_finish(acts, "unscale")], "mean", extras)


def _deterministic(policy: Any, acts: dict[str, Any], steps: list[Any], flatten: list[Any]) -> Parts:
    from torch import nn

    trunk = nn.Sequential(*flatten)
    return Parts(steps, trunk, policy.actor.mu, _finish(acts, "unscale"), "scaled_action")


def _random_search(policy: Any, acts: dict[str, Any], steps: list[Any], flatten: list[Any]) -> Parts:
    from torch import nn

    trunk = nn.Sequential(*flatten)
    if acts["type"] == "Discrete":
        return Parts(steps, trunk, policy.action_net, [{"op": "argmax"}], "logits")
    if policy.squash_output:
        return Parts(steps, trunk, policy.action_net, _finish(acts, "unscale"), "scaled_action")
    return Parts(steps, trunk, policy.action_net, _finish(acts, "clip"), "mean")


def _q_learning(policy: Any, acts: dict[str, Any], steps: list[Any], flatten: list[Any]) -> Parts:
    from torch import nn

    from pipeline.agents import modules

    argmax = [{"op": "argmax"}]
    if hasattr(policy, "quantile_net"):
        net = policy.quantile_net
        head = modules.mean_of_quantiles(net.quantile_net, net.n_quantiles)
        return Parts(steps, nn.Sequential(*flatten), head, argmax, "q_values")
    return Parts(steps, nn.Sequential(*flatten), policy.q_net.q_net, argmax, "q_values")
