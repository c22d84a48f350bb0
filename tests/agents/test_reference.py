"""The reference decides as Stable-Baselines3's own ``predict``, bit for bit, and its further outputs are SB3's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from pipeline import contract as contracts
from pipeline.agents import archive, parts, policies, statistics
from pipeline.agents.reference import Reference, normalizer

from .cases import CASES
from .making import Case, Inputs, Tiny, described
from .stubs import FOUR


def test_reference_decides_bit_for_bit_as_sb3(a_tiny_agent: Tiny) -> None:
    inputs = a_tiny_agent.inputs()
    wanted = a_tiny_agent.answer(inputs)
    action, states = a_tiny_agent.reference.predict(inputs)
    found = {"action": action, **states}
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def test_tiny_agents_decide_variously(a_tiny_agent: Tiny) -> None:
    """Else the comparisons would say little."""
    actions = a_tiny_agent.predict(a_tiny_agent.inputs())
    assert len(np.unique(actions.reshape(len(actions), -1), axis=0)) > 1


@pytest.mark.parametrize("case", ["ppo_box", "a2c_normalized", "recurrentppo_box", "ppo_gsde", "ars_clipped"])
def test_box_actions_reach_the_bounds_and_stay_within(made: Callable[[str], Tiny], case: str) -> None:
    tiny = made(case)
    actions = tiny.reference.predict(tiny.inputs(256))[0]
    assert (actions.min(axis=0) == tiny.acts.low).any() and (actions.max(axis=0) == tiny.acts.high).any()
    assert ((actions > tiny.acts.low) & (actions < tiny.acts.high)).any()


def test_every_supported_family_is_tried() -> None:
    assert {case.algorithm for case in CASES.values()} == set(policies.SUPPORTED)


# --- further outputs -------------------------------------------------------------------------------


def test_further_outputs_are_those_of_sb3(a_tiny_agent: Tiny) -> None:
    reference, policy = a_tiny_agent.reference, a_tiny_agent.loaded.policy
    inputs = a_tiny_agent.inputs(8)
    names = [reference.parts.decision, *reference.parts.extras]
    found = reference.outputs(inputs, names)
    policy.set_training_mode(False)
    with torch.no_grad():
        tensor, _ = policy.obs_to_tensor(a_tiny_agent.observation(inputs))
        wanted = _wanted(policy, tensor, inputs)
    for name in names:
        values = _as_probabilities(found[name], reference) if name == "logits" else found[name]
        np.testing.assert_allclose(values, wanted[name].numpy(), rtol=2e-6, atol=2e-6, err_msg=name)


def _as_probabilities(logits: np.ndarray, reference: Reference) -> np.ndarray:
    """Of each group of choices; of independent bits the logits themselves."""
    sizes = parts.choices(reference.archive.action_space, reference.parts.epilogue)
    if not sizes or reference.archive.algorithm == "ARS":
        return logits
    groups = torch.from_numpy(logits).split(sizes, dim=1)
    return torch.cat([group.softmax(dim=1) for group in groups], dim=1).numpy()


def _wanted(policy: Any, tensor: Any, inputs: Inputs) -> dict[str, torch.Tensor]:
    """By other ways through SB3 than the reference's."""
    if type(policy).__name__.startswith("ARS"):
        decided = policy.action_net(tensor.float().flatten(1))
        return {"logits": decided, "mean": decided, "scaled_action": decided}
    if hasattr(policy, "q_net"):
        return {"q_values": policy.q_net(tensor)}
    if hasattr(policy, "quantile_net"):
        return {"q_values": policy.quantile_net(tensor).mean(1)}
    if hasattr(policy, "lstm_actor"):
        layers = range(policy.lstm_actor.num_layers)
        states = tuple(torch.stack([torch.as_tensor(inputs[f"{kind}{i}"]) for i in layers]) for kind in "hc")
        distribution, _ = policy.get_distribution(tensor, states, torch.as_tensor(1 - inputs["keep"][:, 0]))
        return _distribution(distribution)
    if hasattr(policy, "predict_values"):
        _, value, _ = policy(tensor, deterministic=True)
        return {"value": value, **_distribution(policy.get_distribution(tensor))}
    if hasattr(policy.actor, "log_std"):
        mean, log_std, kwargs = policy.actor.get_action_dist_params(tensor)
        if policy.actor.use_sde:
            std = policy.actor.action_dist.get_std(policy.actor.log_std)
            log_std = torch.log(torch.sqrt(kwargs["latent_sde"] ** 2 @ std**2 + policy.actor.action_dist.epsilon))
        return {"mean": mean, "log_std": log_std}
    return {"scaled_action": policy.actor(tensor)}


def _distribution(found: Any) -> dict[str, torch.Tensor]:
    held = getattr(found, "distributions", None) or found.distribution
    if isinstance(held, list):
        return {"logits": torch.cat([part.probs for part in held], dim=1)}
    if isinstance(held, torch.distributions.Normal):
        return {"mean": held.mean, "log_std": held.stddev.log()}
    return {"logits": held.logits if isinstance(held, torch.distributions.Bernoulli) else held.probs}


@pytest.mark.parametrize(
    "case", ["ppo_discrete", "dqn_discrete", "qrdqn_discrete", "ppo_choices", "maskableppo_switches", "dqn_of_image"]
)
def test_preferences_are_the_decision_less_its_mean(made: Callable[[str], Tiny], case: str) -> None:
    tiny = made(case)
    names = ["preferences", tiny.reference.parts.decision]
    found = tiny.reference.outputs(tiny.inputs(), names)
    sizes = contracts.groups(tiny.contract())
    for preferred, decided in zip(
        *(np.split(found[name], np.cumsum(sizes)[:-1], axis=1) for name in names), strict=True
    ):
        np.testing.assert_allclose(preferred.mean(axis=1), 0, atol=1e-5)
        np.testing.assert_allclose(preferred, decided - decided.mean(axis=1, keepdims=True), rtol=1e-6)
        np.testing.assert_array_equal(preferred.argmax(axis=1), decided.argmax(axis=1))


def test_bits_are_integers_whatever_sb3_answers(made: Callable[[str], Tiny]) -> None:
    """It rounds probabilities, and answers 0.0 and 1.0."""
    tiny = made("ppo_switches")
    found = tiny.reference.outputs(tiny.inputs(), ["action"])["action"]
    assert found.dtype == np.int64
    assert tiny.predict(tiny.inputs()).dtype == np.float32
    assert set(found.ravel().tolist()) == {0, 1}


def test_group_without_a_legal_action_gives_the_first(made: Callable[[str], Tiny]) -> None:
    tiny = made("maskableppo_choices")
    inputs = tiny.inputs()
    inputs["action_mask"][:, 3:5] = False
    assert set(tiny.reference.predict(inputs)[0][:, 1]) == {0} == set(tiny.predict(inputs)[:, 1])


# --- statistics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["ppo_normalized", "ppo_of_several_normalized", "ppo_stacked_normalized"])
def test_normalizer_is_sb3s_own(made: Callable[[str], Tiny], case: str) -> None:
    tiny = made(case)
    seen = tiny.observations()
    found = normalizer(statistics.read(tiny.pkl, described(tiny.observed)))(seen)
    wanted = tiny.normalized(seen)
    for key in wanted if isinstance(wanted, dict) else [slice(None)]:
        np.testing.assert_array_equal(found[key], wanted[key])
        assert found[key].dtype == wanted[key].dtype


def test_statistics_that_are_switched_off_change_nothing(a_tiny_ppo_agent: Tiny) -> None:
    opened = archive.read(a_tiny_ppo_agent.zip)
    held = statistics.read(a_tiny_ppo_agent.pkl, opened.observation_space)
    reference, inputs = Reference(opened, dataclasses.replace(held, moments={})), a_tiny_ppo_agent.inputs()
    assert reference.parts.prologue == []
    np.testing.assert_array_equal(reference.predict(inputs)[0], Reference(opened, None).predict(inputs)[0])


# --- spaces that are rare --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "observed",
    [
        spaces.Box(-5, 5, (3,), np.float64),
        spaces.Box(-10, 10, (3,), np.int32),
        spaces.Box(0, 255, (2, 4), np.uint8),
        spaces.Box(0, 1, (2, 4, 3), np.float32),
        spaces.Box(-np.inf, np.inf, (3,), np.float32),
        spaces.Box(-1, 1, (1,), np.float32),
        spaces.Discrete(1),
        spaces.MultiDiscrete([1, 5]),
        spaces.MultiBinary(1),
        spaces.Box(0, 255, (1, 36, 36), np.uint8),
        spaces.Box(0, 255, (40, 36, 1), np.uint8),
    ],
    ids=str,
)
def test_other_observations_decide_as_sb3(observed: spaces.Space, tmp_path: Path) -> None:
    tiny = Case("PPO", observed, FOUR, images="channel-first" if observed.shape[:1] == (1,) else "channel-last").save(
        tmp_path
    )
    inputs = tiny.inputs()
    np.testing.assert_array_equal(tiny.reference.predict(inputs)[0], tiny.predict(inputs))


@pytest.mark.parametrize(
    "acts",
    [
        spaces.Discrete(1),
        spaces.Discrete(3, start=2),
        spaces.Box(-2, 1, (), np.float32),
        spaces.Box(-1, 1, (2,), np.float64),
        spaces.MultiDiscrete([1]),
        spaces.MultiDiscrete([4, 1, 2]),
        spaces.MultiBinary(1),
    ],
    ids=str,
)
def test_other_actions_decide_as_sb3(acts: spaces.Space, tmp_path: Path) -> None:
    tiny = Case("PPO", acts=acts).save(tmp_path)
    inputs = tiny.inputs()
    np.testing.assert_array_equal(tiny.reference.predict(inputs)[0], tiny.predict(inputs))


def test_one_zip_decides_alike_in_both_layouts(made: Callable[[str], Tiny]) -> None:
    tiny = made("ppo_of_image")
    first = Reference(archive.read(tiny.zip), None, "channel-first")
    image = tiny.inputs()["observation"]
    turned = {"observation": image.transpose(0, 3, 1, 2)}
    np.testing.assert_array_equal(first.predict(turned)[0], tiny.predict({"observation": image}))
