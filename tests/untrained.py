"""Untrained agents of the families, made by Stable-Baselines3 itself, with decisions that differ."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sb3_contrib
import stable_baselines3 as sb3
import torch
from agents.stubs import Stub
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize

from families import ACTIONS, IMAGE, OBSERVATIONS, ON_POLICY, Family


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """The algorithm's class, of Stable-Baselines3 or sb3-contrib."""
    cls: type[BaseAlgorithm] = getattr(sb3, name, None) or getattr(sb3_contrib, name)
    return cls


def make(family: Family) -> BaseAlgorithm:
    """An untrained agent whose decisions differ, by Stable-Baselines3 itself; whatever that raises."""
    cls = algorithm_class(family.algorithm)
    settings = {"buffer_size": 10} if issubclass(cls, OffPolicyAlgorithm) else {}
    torch.manual_seed(0)
    agent = cls(
        family.policy,
        environment(family, family.frames),
        device="cpu",
        policy_kwargs=_small(family),
        **{**settings, **family.settings},
    )
    _vary(agent, family)
    observation = environment(family, family.frames).reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent.predict(observation)  # some can be made, but not asked
    return agent


def _vary(agent: BaseAlgorithm, family: Family) -> None:
    """Weights at which decisions differ, as those of an untrained agent do not."""
    noise = torch.Generator().manual_seed(1)
    raw = not family.kwargs.get("normalize_images", True) and family.observation in ("image", "Dict")
    with torch.no_grad():
        for name, parameter in agent.policy.named_parameters():
            if family.algorithm == "ARS" or parameter.ndim == 1 or "log_std" in name:  # begin at 0, or -3
                wide = parameter[0].numel() if parameter.ndim > 1 else 1
                deviation = 0.3 * min(1.0, (64 / wide) ** 0.5)  # an image has thousands of inputs
                parameter.normal_(-0.5 if "log_std" in name else 0.0, deviation, generator=noise)
            else:
                parameter.mul_(100 if name == "action_net.weight" else 2)  # that one is a hundredth of the others
            if raw and (name.endswith("cnn.0.weight") or parameter.shape[1:] == (math.prod(IMAGE.shape),)):
                parameter.div_(255)  # whoever trains on raw pixels ends up with small weights
        for name, buffer in agent.policy.named_buffers():
            if name.endswith(("ra_mean", "ra_var")):  # of CrossQ's batch renormalization; begin at 0 and 1
                buffer.uniform_(-0.5, 0.5, generator=noise).add_(1.0 if name.endswith("ra_var") else 0.0)


def environment(family: Family, frames: int = 1) -> VecEnv:
    """A vectorized environment of the family's spaces that gives drawn observations."""
    observed = OBSERVATIONS[family.observation]
    observed.seed(3)
    venv: VecEnv = DummyVecEnv([lambda: Stub(observed, ACTIONS[family.action])])
    return VecFrameStack(venv, frames) if frames > 1 else venv


def _statistics(family: Family) -> VecNormalize:
    """VecNormalize with moments that are not those of the observations."""
    found = VecNormalize(environment(family), **(family.normalize or {}))
    rng = np.random.default_rng(0)
    for moments in found.obs_rms.values() if isinstance(found.obs_rms, dict) else [found.obs_rms]:
        moments.mean, moments.var = rng.normal(size=moments.mean.shape), rng.uniform(0.1, 4, size=moments.var.shape)
    return found


def _small(family: Family) -> dict[str, Any]:
    """policy_kwargs with layers of few units, where the family states none."""
    found: dict[str, Any] = {}
    if not family.policy.startswith("Linear"):
        found["net_arch"] = [16] if family.algorithm == "ARS" else [24, 16]
    if family.policy == "CnnPolicy" and family.algorithm in (*ON_POLICY, "DQN", "QRDQN"):
        del found["net_arch"]  # there are no layers behind NatureCNN by default
    if family.policy.startswith("Cnn"):
        found["features_extractor_kwargs"] = {"features_dim": 32}
    elif family.observation == "Dict":
        found["features_extractor_kwargs"] = {"cnn_output_dim": 32}
    if family.algorithm == "RecurrentPPO":
        found["lstm_hidden_size"] = 16
    if family.algorithm in ("QRDQN", "TQC"):
        found["n_quantiles"] = 7
    return {**found, **family.kwargs}


def save(family: Family, folder: Path, name: str, config: str = "") -> str:
    """Make and save an agent, its statistics and its config, as ``NAME.zip``, ``.pkl`` and ``.toml``.

    :param config: further tables of the config
    :return: "", or the reason for which Stable-Baselines3 does not make it
    """
    try:
        agent = make(family)
    except Exception as error:  # whatever it raises is its reason
        return reason(error)
    agent.save(folder / f"{name}.zip")
    lines = [f'zip = "{name}.zip"', family.config]
    if family.normalize is not None:
        _statistics(family).save(str(folder / f"{name}.pkl"))
        lines.append(f'vecnormalize = "{name}.pkl"')
    else:
        lines.append('vecnormalize = "none"')
    if family.frames > 1:
        lines.append(f"[environment]\nframe_stack = {family.frames}")
    (folder / f"{name}.toml").write_text("\n".join([*filter(None, lines), config]) + "\n", encoding="utf-8")
    return ""


def reason(error: Exception) -> str:
    """The first line of what Stable-Baselines3 said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
