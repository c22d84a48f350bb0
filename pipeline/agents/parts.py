"""A policy taken apart: ``predict = epilogue ∘ core ∘ prologue``, the core being features, memory, trunk and head.

Formulas: stable_baselines3 and sb3_contrib 2.9: ``common/policies.py`` (``BasePolicy.predict``,
``ActorCriticPolicy``), ``common/distributions.py``, ``dqn/policies.py``, ``sac/policies.py``, ``td3/policies.py``,
``common/maskable/distributions.py``, ``common/recurrent/policies.py``, ``crossq/policies.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline.agents import policies, spaces
from pipeline.agents.archive import Archive
from pipeline.agents.statistics import Statistics

if TYPE_CHECKING:
    import torch
    from torch import nn

Step = dict[str, Any]
MASKED = -1e8  # what MaskableCategorical puts in the place of a logit that is not allowed


@dataclass(frozen=True)
class Parts:
    """What a policy is made of.

    :param inputs: the contract's entries, in order
    :param prologue: steps before the core, as the contract lists them
    :param extractor: SB3's features extractor
    :param trunk: features (or the memory's output) -> latent [batch, units]
    :param head: latent -> the core's output
    :param epilogue: steps behind the core, as the contract lists them
    :param decision: name of the core's output: what the epilogue decides by
    :param extras: further outputs: name -> (what it is computed from, module); a value that has a features
        extractor of its own is computed from "inputs", and its module is (extractor, layers)
    :param lstm: of a recurrent policy
    :param states: of a recurrent policy: {"input", "output", "units"}
    :param distribution: the noise of ``predict(deterministic=False)``, as the contract tells it; {} where there is none
    :param scaled: whether the policy divides images by 255
    """

    inputs: list[dict[str, Any]]
    prologue: list[Step]
    extractor: nn.Module
    trunk: nn.Module
    head: nn.Module
    epilogue: list[Step]
    decision: str
    extras: dict[str, tuple[str, Any]] = field(default_factory=dict)
    lstm: torch.nn.LSTM | None = None
    states: list[dict[str, Any]] = field(default_factory=list)
    distribution: dict[str, Any] = field(default_factory=dict)
    scaled: bool = True


def take_apart(policy: Any, archive: Archive, statistics: Statistics | None, images: str) -> Parts:
    """Prologue, core and epilogue of a rebuilt policy.

    :param images: how users hold images: "channel-last" or "channel-first"
    """
    make = _actor_critic
    if archive.algorithm in policies.SQUASHED:
        make = _squashed
    elif archive.algorithm in policies.DETERMINISTIC:
        make = _deterministic
    elif archive.algorithm in policies.Q_LEARNING:
        make = _q_learning
    elif archive.algorithm == "ARS":
        make = _random_search
    inputs = spaces.inputs(archive.observation_space, images)
    given = {
        "inputs": inputs,
        "prologue": _prologue(archive.observation_space, statistics),
        "scaled": policy.normalize_images,
    }
    if archive.algorithm == "MaskablePPO":
        choices = sum(spaces.groups(archive.action_space))
        given["inputs"] = [*inputs, _entry("action_mask", "mask", [choices], "bool")]
    return make(policy, archive.action_space, given)


def choices(acts: dict[str, Any], epilogue: list[Step]) -> list[int]:
    """Sizes of the groups that the epilogue takes the best of; [] where it takes none."""
    return spaces.groups(acts) if contracts.chooses(epilogue) else []


def _entry(name: str, role: str, shape: list[int], dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "role": role, "shape": ["batch", *shape], "dtype": dtype, "layout": spaces.FLAT}


def _prologue(observed: dict[str, Any], statistics: Statistics | None) -> list[Step]:
    """VecNormalize and one-hot encoding, by input. Images are scaled and turned inside the core."""
    called = spaces.names(observed)
    steps: list[Step] = []
    for key, space in spaces.parts(observed).items():
        moments = statistics.moments.get(key) if statistics is not None else None
        if moments is not None and statistics is not None:
            steps.append(
                {
                    "op": "normalize",
                    "input": called[key],
                    "mean": moments.mean.ravel().tolist(),
                    "variance": moments.variance.ravel().tolist(),
                    "epsilon": statistics.epsilon,
                    "clip": statistics.clip if math.isfinite(statistics.clip) else "inf",
                }
            )
        if "Discrete" in space["type"]:
            steps.append({"op": "one_hot", "input": called[key], "sizes": spaces.groups(space)})
    return steps


def _box_end(acts: dict[str, Any], op: str) -> list[Step]:
    """``clip`` or ``unscale`` to the action space, then its shape if it is not flat."""
    shape = [{"op": "reshape", "shape": acts["shape"]}] if len(acts["shape"]) != 1 else []
    if op == "clip" and not any(isinstance(v, float) for v in acts["low"] + acts["high"]):
        return shape
    return [{"op": op, "low": acts["low"], "high": acts["high"]}, *shape]


def _choice_end(acts: dict[str, Any], masked: bool) -> list[Step]:
    """The decision among logits or Q values; one that a mask forbids is put aside first."""
    mask = [{"op": "mask", "input": "action_mask", "value": MASKED}] if masked else []
    if acts["type"] == "Discrete":
        return [*mask, {"op": "argmax"}]
    if acts["type"] == "MultiBinary" and not masked:
        return [{"op": "positive"}]
    return [*mask, {"op": "argmax", "sizes": spaces.groups(acts)}]


def _features(policy: Any) -> Any:
    return policy.features_extractor if policy.share_features_extractor else policy.pi_features_extractor


def _actor_critic(policy: Any, acts: dict[str, Any], given: dict[str, Any]) -> Parts:
    from torch import nn

    from pipeline.agents import modules

    given |= {"extractor": _features(policy), "trunk": policy.mlp_extractor.policy_net, "head": policy.action_net}
    extras: dict[str, tuple[str, Any]] = {}
    if hasattr(policy, "lstm_actor"):
        given |= _memory(policy.lstm_actor, given["inputs"])
        given["prologue"] = [*given["prologue"], *_resets(given["states"])]
    else:
        layers = nn.Sequential(policy.mlp_extractor.value_net, policy.value_net)
        shared = policy.share_features_extractor
        extras["value"] = ("features", layers) if shared else ("inputs", (policy.vf_features_extractor, layers))
    if acts["type"] != "Box":
        masked = any(entry["role"] == "mask" for entry in given["inputs"])
        logistic = acts["type"] == "MultiBinary" and not masked
        noise = {"noise": "logistic" if logistic else "gumbel"}
        return Parts(**given, epilogue=_choice_end(acts, masked), decision="logits", extras=extras, distribution=noise)
    squash = policy.use_sde and policy.squash_output
    if policy.use_sde:
        extras["log_std"] = ("latent", modules.StateDependentLogStd(policy.action_dist, policy.log_std))
    else:
        extras["log_std"] = ("decision", modules.Constant(policy.log_std))
    epilogue = [{"op": "tanh"}, *_box_end(acts, "unscale")] if squash else _box_end(acts, "clip")
    noise = {"noise": "normal", "log_std": "log_std"}
    return Parts(**given, epilogue=epilogue, decision="mean", extras=extras, distribution=noise)


def _memory(lstm: torch.nn.LSTM, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """The inputs and states of an LSTM: per layer ``h`` and ``c``, and ``keep``, 0 where an episode starts."""
    named = [f"{kind}{layer}" for layer in range(lstm.num_layers) for kind in "hc"]
    units = lstm.hidden_size
    entries = [_entry(name, "state", [units]) for name in named]
    states = [{"input": name, "output": f"new_{name}", "units": units} for name in named]
    return {"lstm": lstm, "states": states, "inputs": [*inputs, *entries, _entry("keep", "keep", [1])]}


def _resets(states: list[dict[str, Any]]) -> list[Step]:
    return [{"op": "reset", "input": state["input"], "by": "keep"} for state in states]


def _squashed(policy: Any, acts: dict[str, Any], given: dict[str, Any]) -> Parts:
    from torch import nn

    from pipeline.agents import modules

    actor = policy.actor
    trunk, ending = modules.without_ending_norm(actor.latent_pi)
    extras: dict[str, tuple[str, Any]] = {}
    if actor.use_sde:
        std = modules.StateDependentLogStd(actor.action_dist, actor.log_std)
        extras["log_std"] = ("latent", nn.Sequential(*ending, std))
    else:
        extras["log_std"] = ("latent", nn.Sequential(*ending, actor.log_std, nn.Hardtanh(-20.0, 2.0)))
    return Parts(
        **given,
        extractor=actor.features_extractor,
        trunk=trunk,
        head=nn.Sequential(*ending, actor.mu),
        epilogue=[{"op": "tanh"}, *_box_end(acts, "unscale")],
        decision="mean",
        extras=extras,
        distribution={"noise": "normal", "log_std": "log_std"},
    )


def _deterministic(policy: Any, acts: dict[str, Any], given: dict[str, Any]) -> Parts:
    from torch import nn

    actor = policy.actor
    given |= {"extractor": actor.features_extractor, "trunk": nn.Sequential(), "head": actor.mu}
    return Parts(**given, epilogue=_box_end(acts, "unscale"), decision="scaled_action")


def _random_search(policy: Any, acts: dict[str, Any], given: dict[str, Any]) -> Parts:
    from torch import nn

    given |= {"extractor": policy.features_extractor, "trunk": nn.Sequential(), "head": policy.action_net}
    if acts["type"] != "Box":
        return Parts(**given, epilogue=_choice_end(acts, masked=False), decision="logits")
    if policy.squash_output:
        return Parts(**given, epilogue=_box_end(acts, "unscale"), decision="scaled_action")
    return Parts(**given, epilogue=_box_end(acts, "clip"), decision="mean")


def _q_learning(policy: Any, acts: dict[str, Any], given: dict[str, Any]) -> Parts:
    from torch import nn

    from pipeline.agents import modules

    if hasattr(policy, "quantile_net"):
        net = policy.quantile_net
        head = modules.mean_of_quantiles(net.quantile_net, net.n_quantiles)
    else:
        net = policy.q_net
        head = net.q_net
    given |= {"extractor": net.features_extractor, "trunk": nn.Sequential(), "head": head}
    return Parts(**given, epilogue=_choice_end(acts, masked=False), decision="q_values")
