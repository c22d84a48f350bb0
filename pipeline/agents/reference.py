"""What SB3's own ``predict`` answers, with SB3's own VecNormalize: what every artifact is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.agents import arguments, policies
from pipeline.agents.archive import Archive, Statistics

if TYPE_CHECKING:
    import numpy as np
    from stable_baselines3.common.policies import BasePolicy

    Outputs = dict[str, np.ndarray]


def normalizer(statistics: Statistics | None) -> Callable[[np.ndarray], np.ndarray]:
    """SB3's ``VecNormalize.normalize_obs`` with these statistics; identity without them."""
    from stable_baselines3.common.running_mean_std import RunningMeanStd
    from stable_baselines3.common.vec_env import VecNormalize

    if statistics is None:
        return lambda observation: observation
    wrapper = VecNormalize.__new__(VecNormalize)
    moments = RunningMeanStd(shape=statistics.mean.shape)
    moments.mean, moments.var = statistics.mean, statistics.variance
    attributes = {
        "obs_rms": moments,
        "clip_obs": statistics.clip,
        "epsilon": statistics.epsilon,
        "norm_obs": statistics.norm_obs,
        "norm_obs_keys": None,
    }
    wrapper.__dict__.update(attributes)
    normalize: Callable[[Any], Any] = wrapper.normalize_obs
    return normalize


class Reference:
    """A rebuilt agent.

    :param archive: what was read
    :param statistics: VecNormalize's, or None
    """

    def __init__(self, archive: Archive, statistics: Statistics | None) -> None:
        self.archive = archive
        self.policy: BasePolicy = policies.rebuild(archive)
        self.normalize = normalizer(statistics)
        self.parts = policies.take_apart(self.policy, archive, statistics)

    def predict(self, observation: np.ndarray) -> np.ndarray:
        """The deterministic action: [batch, ...] observations -> [batch, ...] actions."""
        action, _ = self.policy.predict(self.normalize(observation), deterministic=True)
        return action

    def outputs(self, observations: Mapping[str, np.ndarray], names: list[str]) -> Outputs:
        """``action`` and the named further outputs, each from SB3's own functions.

        ``preferences`` are logits or Q values less their mean over the actions, as an integer core answers.
        """
        observation = observations["observation"]
        found = {"action": self.predict(observation), **self._inner(self.normalize(observation))}
        if self.archive.action_space["type"] == "Discrete":
            decided = found[self.parts.decision]
            found["preferences"] = decided - decided.mean(axis=1, keepdims=True)
        return {name: found[name] for name in names}

    def _inner(self, normalized: np.ndarray) -> Outputs:
        import torch

        policy: Any = self.policy
        with torch.no_grad():
            tensor, _ = policy.obs_to_tensor(normalized)
            if self.archive.algorithm in arguments.ON_POLICY:
                found = _actor_critic(policy, tensor, self.parts.decision)
            elif self.archive.algorithm in policies.SQUASHED:
                mean, log_std, _ = policy.actor.get_action_dist_params(tensor)
                found = {"mean": mean, "log_std": log_std}
            elif self.archive.algorithm in policies.DETERMINISTIC:
                found = {"scaled_action": policy.actor(tensor)}
            elif self.archive.algorithm == "ARS":
                features = policy.extract_features(tensor, policy.features_extractor)
                found = {self.parts.decision: policy.action_net(features)}
            elif hasattr(policy, "quantile_net"):
                found = {"q_values": policy.quantile_net(tensor).mean(dim=1)}
            else:
                found = {"q_values": policy.q_net(tensor)}
        return {name: value.detach().numpy() for name, value in found.items()}


def _actor_critic(policy: Any, tensor: Any, decision: str) -> dict[str, Any]:
    features = policy.extract_features(tensor)
    if not policy.share_features_extractor:
        features, _ = features
    decided = policy.action_net(policy.mlp_extractor.forward_actor(features))
    found = {decision: decided, "value": policy.predict_values(tensor)}
    if hasattr(policy, "log_std") and not policy.use_sde:
        found["log_std"] = policy.log_std.expand_as(decided)
    return found
