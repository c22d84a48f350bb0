"""Policies rebuilt from an archive without executing what is in it."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents import arguments, spaces
from pipeline.agents.archive import Archive
from pipeline.agents.arguments import ON_POLICY

if TYPE_CHECKING:
    import torch
    from stable_baselines3.common.policies import BasePolicy

SQUASHED = ("SAC", "TQC", "CrossQ")
DETERMINISTIC = ("TD3", "DDPG")
Q_LEARNING = ("DQN", "QRDQN")
CONTRIB = ("ARS", "CrossQ", "MaskablePPO", "QRDQN", "RecurrentPPO", "TQC", "TRPO")
SUPPORTED = (*ON_POLICY, *SQUASHED, *DETERMINISTIC, *Q_LEARNING, "ARS")
# What each algorithm of SB3 can act in; the others can in every space.
ACTS = {
    **dict.fromkeys((*SQUASHED, *DETERMINISTIC), ("Box",)),
    **dict.fromkeys(Q_LEARNING, ("Discrete",)),
    "ARS": ("Box", "Discrete"),
    "MaskablePPO": ("Discrete", "MultiDiscrete", "MultiBinary"),
}


def algorithm_class(name: str) -> Any:
    """The algorithm's class, of stable_baselines3 or sb3_contrib."""
    return getattr(importlib.import_module("sb3_contrib" if name in CONTRIB else "stable_baselines3"), name)


def check_supported(archive: Archive) -> None:
    """:raises errors.UnsupportedPolicy: what this version cannot convert, by name"""
    if archive.algorithm not in SUPPORTED:
        expected = ", ".join(SUPPORTED)
        raise errors.UnsupportedPolicy(f"{archive.algorithm} agents are not supported", expected=expected)
    spaces.check_observed(archive.observation_space)
    spaces.check_actions(archive.action_space)
    kind = archive.action_space["type"]
    if kind not in ACTS.get(archive.algorithm, (kind,)):
        expected = " or ".join(ACTS[archive.algorithm])
        raise errors.UnsupportedPolicy(f"{archive.algorithm} does not act in {kind} spaces", expected=expected)


def rebuild(archive: Archive, import_allowed: tuple[str, ...] = ()) -> BasePolicy:
    """SB3's own policy object, with the archive's weights, in evaluation mode.

    :param import_allowed: installed classes that policy_kwargs may name, as ``package.module:Class``
    :raises SlipwayError: :class:`errors.UnsupportedPolicy`, :class:`errors.WeightsUnfit` or
        :class:`errors.WeightsNotFinite`
    """
    check_supported(archive)
    module, _, name = archive.policy_class.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    kwargs = arguments.resolved(archive, cls, import_allowed)
    try:
        observed, acts = (spaces.gymnasium_space(s) for s in (archive.observation_space, archive.action_space))
        schedule = [] if archive.algorithm == "ARS" else [lambda _: 0.0]
        policy: BasePolicy = cls(observed, acts, *schedule, **kwargs)
    except Exception as error:  # whatever SB3 makes of spaces and arguments that it does not expect
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise errors.UnsupportedPolicy(f"{name} cannot be made from the archive: {line[:200]}") from None
    _load(policy, archive.weights)
    policy.set_training_mode(False)
    return policy


def check_weights(policy: BasePolicy, weights: dict[str, torch.Tensor]) -> None:
    """Hold every tensor to the policy's own of that name.

    :raises SlipwayError: :class:`errors.WeightsUnfit` or :class:`errors.WeightsNotFinite`
    """
    import torch

    wanted = policy.state_dict()
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


def _load(policy: BasePolicy, weights: dict[str, torch.Tensor]) -> None:
    wanted = policy.state_dict()
    if "action_net.0.weight" in wanted:  # ARS's linear policy before sb3-contrib 1.7
        weights = {re.sub(r"^action_net\.(weight|bias)$", r"action_net.0.\1", name): t for name, t in weights.items()}
    check_weights(policy, weights)
    # Before SB3 1.7 the policy had one features extractor; where it is shared, the names of today hold nothing more.
    shared = ("pi_features_", "vf_features_") if getattr(policy, "share_features_extractor", True) else ()
    missing = [name for name in wanted if name not in weights and not name.startswith(shared or ("\0",))]
    if missing:
        raise errors.WeightsUnfit(f"the file lacks {missing[0]} ({len(missing)} in all)")
    policy.load_state_dict(weights, strict=False)
