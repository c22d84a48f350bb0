"""What SB3's own ``predict`` answers, with SB3's own VecNormalize: what every artifact is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.agents import arguments, parts, policies, spaces
from pipeline.agents.archive import Archive
from pipeline.agents.statistics import Statistics

if TYPE_CHECKING:
    import numpy as np
    from stable_baselines3.common.policies import BasePolicy

    Arrays = Mapping[str, np.ndarray]
    Outputs = dict[str, np.ndarray]


def normalizer(statistics: Statistics | None) -> Callable[[Any], Any]:
    """SB3's ``VecNormalize.normalize_obs`` with these statistics; identity without them."""
    from stable_baselines3.common.running_mean_std import RunningMeanStd
    from stable_baselines3.common.vec_env import VecNormalize

    if statistics is None:
        return lambda observation: observation

    def running(mean: np.ndarray, variance: np.ndarray) -> RunningMeanStd:
        found = RunningMeanStd(shape=mean.shape)
        found.mean, found.var = mean, variance
        return found

    wrapper = VecNormalize.__new__(VecNormalize)
    moments = {key: running(found.mean, found.variance) for key, found in statistics.moments.items()}
    attributes = {
        "obs_rms": moments.get("", moments),
        "clip_obs": statistics.clip,
        "epsilon": statistics.epsilon,
        "norm_obs": bool(moments),
        "norm_obs_keys": list(moments),
    }
    wrapper.__dict__.update(attributes)
    normalize: Callable[[Any], Any] = wrapper.normalize_obs
    return normalize


class Reference:
    """An agent with SB3's own policy.

    :param archive: what was read
    :param statistics: VecNormalize's, or None
    :param images: how users hold images: "channel-last" or "channel-first"
    :param policy: SB3's, where the archive was trusted; otherwise it is rebuilt
    :param import_allowed: installed classes that the archive may name
    """

    def __init__(
        self,
        archive: Archive,
        statistics: Statistics | None = None,
        images: str = spaces.CHANNEL_LAST,
        policy: BasePolicy | None = None,
        import_allowed: tuple[str, ...] = (),
    ) -> None:
        self.archive = archive
        self.policy: Any = policy if policy is not None else policies.rebuild(archive, import_allowed)
        self.statistics = statistics
        self.images = images
        self.normalize = normalizer(statistics)
        self.parts = parts.take_apart(self.policy, archive, statistics, images)

    def observation(self, inputs: Arrays) -> Any:
        """Inputs by name, as users hold them -> what SB3's policy takes, normalized."""
        found = {}
        for entry in self.parts.inputs:
            if entry["role"] == "observation":
                value = inputs[entry["name"]]
                found[entry.get("key", "")] = (
                    value.transpose(0, 3, 1, 2) if entry["layout"] == spaces.CHANNEL_LAST else value
                )
        return self.normalize(found.get("", found))

    def predict(self, inputs: Arrays, deterministic: bool = True) -> tuple[np.ndarray, Outputs]:
        """The action, [batch, ...], and the new states of a recurrent policy, by name."""
        observation = self.observation(inputs)
        if "action_mask" in inputs:
            masks = inputs["action_mask"]
            return self.policy.predict(observation, deterministic=deterministic, action_masks=masks)[0], {}
        if not self.parts.states:
            return self.policy.predict(observation, deterministic=deterministic)[0], {}
        action, (hidden, cell) = self.policy.predict(
            observation,
            state=self._memory(inputs),
            episode_start=1 - inputs["keep"][:, 0],
            deterministic=deterministic,
        )
        layers = range(len(hidden))
        return action, {f"new_{kind}{i}": value[i] for i in layers for kind, value in (("h", hidden), ("c", cell))}

    def _memory(self, inputs: Arrays) -> tuple[np.ndarray, ...]:
        import numpy as np

        layers = range(len(self.parts.states) // 2)
        return tuple(np.stack([inputs[f"{kind}{i}"] for i in layers]) for kind in "hc")

    def outputs(self, inputs: Arrays, names: list[str]) -> Outputs:
        """``action`` and the named further outputs, each from SB3's own functions.

        ``preferences`` are logits or Q values less their mean over the choices, as an integer core answers.
        """
        action, states = self.predict(inputs)
        if self.archive.action_space["type"] == "MultiBinary":
            action = action.astype("int64")  # SB3 rounds probabilities, and answers 0.0 and 1.0
        found = {"action": action, **states, **self._inner(inputs)}
        if "preferences" in names:
            sizes = parts.choices(self.archive.action_space, self.parts.epilogue)
            found["preferences"] = centered(found[self.parts.decision], sizes)
        return {name: found[name] for name in names}

    def _inner(self, inputs: Arrays) -> Outputs:
        import torch

        policy = self.policy
        with torch.no_grad():
            tensor, _ = policy.obs_to_tensor(self.observation(inputs))
            if self.archive.algorithm == "RecurrentPPO":
                found = self._recurrent(tensor, inputs)
            elif self.archive.algorithm in arguments.ON_POLICY:
                found = _actor_critic(policy, tensor, self.parts.decision)
            elif self.archive.algorithm in policies.SQUASHED:
                found = _squashed(policy.actor, tensor)
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

    def _recurrent(self, tensor: Any, inputs: Arrays) -> dict[str, Any]:
        import torch
        from stable_baselines3.common.policies import BasePolicy

        policy = self.policy
        features = BasePolicy.extract_features(policy, tensor, policy.pi_features_extractor)
        states = tuple(torch.as_tensor(state) for state in self._memory(inputs))
        starts = torch.as_tensor(1 - inputs["keep"][:, 0])
        seen, _ = policy._process_sequence(features, states, starts, policy.lstm_actor)
        latent = policy.mlp_extractor.forward_actor(seen)
        return _distribution(policy, latent, self.parts.decision)


def centered(values: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Less their mean over each group of choices: [batch, choices]."""
    import numpy as np

    groups = np.split(values, np.cumsum(sizes)[:-1], axis=1)
    return np.concatenate([group - group.mean(axis=1, keepdims=True) for group in groups], axis=1)


def _distribution(policy: Any, latent: Any, decision: str) -> dict[str, Any]:
    """The decision, and the log standard deviation of a Box."""
    import torch

    decided = policy.action_net(latent)
    found = {decision: decided}
    if hasattr(policy, "log_std"):
        distribution = policy._get_action_dist_from_latent(latent).distribution
        found["log_std"] = torch.log(distribution.stddev).expand_as(decided)
    return found


def _actor_critic(policy: Any, tensor: Any, decision: str) -> dict[str, Any]:
    features = policy.extract_features(tensor)
    if not policy.share_features_extractor:
        features, _ = features
    latent = policy.mlp_extractor.forward_actor(features)
    return {**_distribution(policy, latent, decision), "value": policy.predict_values(tensor)}


def _squashed(actor: Any, tensor: Any) -> dict[str, Any]:
    import torch

    mean, log_std, kwargs = actor.get_action_dist_params(tensor)
    if actor.use_sde:
        distribution = actor.action_dist.proba_distribution(mean, log_std, **kwargs).distribution
        log_std = torch.log(distribution.stddev)
    return {"mean": mean, "log_std": log_std}
