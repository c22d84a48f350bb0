"""Policies are rebuilt from archives with the weights that they hold, or refused by what is wrong."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from pipeline import errors
from pipeline.agents import archive, policies

from .forging import record
from .making import Tiny, members, write_zip
from .stubs import FLAT, FOUR, LOPSIDED

WEIGHT = "mlp_extractor.policy_net.0.weight"


def rebuilt(path: Path) -> Any:
    return policies.rebuild(archive.read(path))


@pytest.fixture
def reweigh(made: Callable[[str], Tiny], tmp_path: Path) -> Callable[..., Path]:
    """The archive of a tiny agent with some weights replaced; None takes one out."""

    def make(case: str = "ppo_box", **weights: Any) -> Path:
        path = made(case).zip
        state = {**archive.read(path).weights, **{name.replace("__", "."): value for name, value in weights.items()}}
        held = io.BytesIO()
        torch.save({name: value for name, value in state.items() if value is not None}, held)
        return write_zip(tmp_path / "agent.zip", {**members(path), "policy.pth": held.getvalue()})

    return make


# --- what is rebuilt -------------------------------------------------------------------------------


def test_policy_is_in_evaluation_mode_with_its_spaces(made: Callable[[str], Tiny]) -> None:
    policy = made("ppo_box").reference.policy
    assert not policy.training
    assert policy.observation_space == FLAT
    assert policy.action_space == LOPSIDED


def test_image_space_is_channel_first_as_sb3_saves_it(made: Callable[[str], Tiny]) -> None:
    assert made("ppo_of_image").reference.policy.observation_space == spaces.Box(0, 255, (3, 48, 40), np.uint8)
    assert made("ppo_of_several").reference.policy.observation_space["picture"].shape == (3, 48, 40)
    assert made("ppo_stacked_first").reference.policy.observation_space.shape == (6, 48, 40)


def test_policy_holds_the_weights_of_the_archive(a_tiny_agent: Tiny) -> None:
    wanted = a_tiny_agent.loaded.policy.state_dict()
    found = a_tiny_agent.reference.policy.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_weights_of_sb3_before_1_7_are_read(made: Callable[[str], Tiny]) -> None:
    """They have one features extractor, and no copies of it."""
    opened = archive.read(made("ppo_box").zip)
    assert not [name for name in opened.weights if name.startswith("pi_features_")]
    assert policies.rebuild(opened)


@pytest.mark.parametrize("case", ["ppo_of_image", "recurrentppo_of_image", "maskableppo_of_several"])
def test_shared_extractor_may_be_stored_once(made: Callable[[str], Tiny], case: str) -> None:
    opened = archive.read(made(case).zip)
    once = {name: t for name, t in opened.weights.items() if not name.startswith(("pi_features_", "vf_features_"))}
    assert len(once) < len(opened.weights)
    found = policies.rebuild(dataclasses.replace(opened, weights=once)).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in opened.weights.items())


def test_extractors_that_are_not_shared_must_all_be_there(made: Callable[[str], Tiny]) -> None:
    opened = archive.read(made("ppo_of_image_apart").zip)
    for prefix in ("pi_features_", "vf_features_"):
        without = {name: t for name, t in opened.weights.items() if not name.startswith(prefix)}
        with pytest.raises(errors.WeightsUnfit, match=f"lacks {prefix}extractor.cnn.0.weight"):
            policies.rebuild(dataclasses.replace(opened, weights=without))


def test_linear_policies_of_ars_before_contrib_1_7_are_read(made: Callable[[str], Tiny]) -> None:
    opened = archive.read(made("ars_linear").zip)
    old = {name.replace("action_net.0.", "action_net."): tensor for name, tensor in opened.weights.items()}
    found = policies.rebuild(dataclasses.replace(opened, weights=old))
    assert torch.equal(found.state_dict()["action_net.0.weight"], old["action_net.weight"])


# --- what is not supported -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "space", "told"),
    [
        ("observation_space", spaces.Dict(a=FLAT, b=spaces.Dict(c=FLAT)), "a Dict inside a Dict under 'b' is not supported"),
        ("observation_space", spaces.Box(-1, 1, ()), "Box observations without a dimension are not supported"),
        ("observation_space", spaces.Dict(a=spaces.Box(-1, 1, ())), "without a dimension under 'a' are not supported"),
        ("observation_space", spaces.Discrete(3, start=2), "Discrete observations start at 2; SB3's one-hot encoding starts at 0"),
        ("observation_space", spaces.Dict(a=spaces.Discrete(3, start=-1)), "Discrete observations under 'a' start at -1"),
        ("action_space", spaces.MultiBinary([2, 2]), "MultiBinary actions of several dimensions are not supported by SB3 either"),
        ("action_space", spaces.Dict(a=FOUR), "Dict actions are not supported"),
    ],
    ids=str,
)  # fmt: skip
def test_unsupported_space_is_named(forge: Callable[..., Path], field: str, space: spaces.Space, told: str) -> None:
    with pytest.raises(errors.UnsupportedPolicy) as refused:
        rebuilt(forge(**{field: space}))
    assert told in refused.value.what


@pytest.mark.parametrize("field", ["observation_space", "action_space"])
@pytest.mark.parametrize("space", [spaces.Tuple([FLAT, FLAT]), spaces.Text(5)], ids=["Tuple", "Text"])
def test_space_that_sb3_has_no_policy_for_is_refused_by_name(
    forge: Callable[..., Path], field: str, space: spaces.Space
) -> None:
    with pytest.raises(errors.PickleRefused, match=rf"{field}: the pickle refers to gymnasium.*{type(space).__name__}"):
        rebuilt(forge(**{field: space}))


def test_unsupported_algorithm_is_named(made: Callable[[str], Tiny]) -> None:
    opened = archive.read(made("ppo_box").zip)
    with pytest.raises(errors.UnsupportedPolicy, match="PPG agents are not supported") as refused:
        policies.rebuild(dataclasses.replace(opened, algorithm="PPG"))
    assert refused.value.expected == ", ".join(policies.SUPPORTED)


@pytest.mark.parametrize(
    ("module", "name", "error", "told"),
    [
        ("stable_baselines3.common.policies", "ActorCriticCnnPolicy", errors.UnsupportedPolicy, "You should use NatureCNN only with images"),
        ("stable_baselines3.common.policies", "MultiInputActorCriticPolicy", errors.UnsupportedPolicy, "MultiInputActorCriticPolicy cannot be made from the archive"),
        ("sb3_contrib.common.recurrent.policies", "RecurrentActorCriticPolicy", errors.WeightsUnfit, "The memory asks for more weights than there are"),
        ("stable_baselines3.dqn.policies", "DQNPolicy", errors.UnsupportedPolicy, "DQN does not act in Box spaces"),
        ("stable_baselines3.sac.policies", "SACPolicy", errors.WeightsUnfit, "which SACPolicy does not"),
    ],
)  # fmt: skip
def test_policy_class_of_another_agent_is_refused(
    forge: Callable[..., Path], module: str, name: str, error: type[errors.SlipwayError], told: str
) -> None:
    with pytest.raises(error, match=told):
        rebuilt(forge(policy_class=f"c{module}\n{name}\n.".encode()))


@pytest.mark.parametrize(
    "fields",
    [
        {"action_space": record("gymnasium.spaces.discrete", "Discrete", {"n": 0, "start": 0})},
        {"action_space": record("gymnasium.spaces.discrete", "Discrete", {"n": 10**13, "start": 0})},
        {"action_space": record("gymnasium.spaces.discrete", "Discrete", {"n": 2**70, "start": 0})},
        {"action_space": record("gymnasium.spaces.multi_binary", "MultiBinary", {"n": 10**13})},
        {"observation_space": record("gymnasium.spaces.discrete", "Discrete", {"n": 10**13, "start": 0})},
        {"observation_space": record("gymnasium.spaces.multi_binary", "MultiBinary", {"n": 10**13})},
        {
            "observation_space": record(
                "gymnasium.spaces.box",
                "Box",
                {"_shape": (3,), "low": FLAT.high, "high": FLAT.low, "dtype": np.dtype("f4")},
            )
        },
    ],
    ids=[
        "no action",
        "10**13 actions",
        "2**70 actions",
        "10**13 bits",
        "10**13 states",
        "10**13 bits seen",
        "inverted",
    ],
)
def test_impossible_agent_is_refused(forge: Callable[..., Path], fields: dict[str, Any]) -> None:
    with pytest.raises(errors.SlipwayError):
        rebuilt(forge(**fields))


# --- weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weight_that_is_not_finite_is_located(
    reweigh: Callable[..., Path], made: Callable[[str], Tiny], bad: float
) -> None:
    weight = archive.read(made("ppo_box").zip).weights[WEIGHT].clone()
    weight[2, 1] = bad
    with pytest.raises(errors.WeightsNotFinite) as refused:
        rebuilt(reweigh(mlp_extractor__policy_net__0__weight=weight))
    assert f"1 of 192 numbers in {WEIGHT} are NaN or infinite, the first at [2,1]" in refused.value.what
    assert "The training diverged" in str(refused.value)


def test_nan_in_a_bias_of_the_critic_is_found(reweigh: Callable[..., Path]) -> None:
    with pytest.raises(errors.WeightsNotFinite, match="in value_net.bias"):
        rebuilt(reweigh(value_net__bias=torch.tensor([float("nan")])))


def test_weight_of_another_shape_is_told_with_both(reweigh: Callable[..., Path]) -> None:
    with pytest.raises(errors.WeightsUnfit) as refused:
        rebuilt(reweigh(mlp_extractor__policy_net__0__weight=torch.zeros(64, 2)))
    assert WEIGHT in refused.value.what
    assert (refused.value.expected, refused.value.found) == ("64x3", "64x2")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_weight_of_another_precision_is_refused(reweigh: Callable[..., Path], dtype: torch.dtype) -> None:
    with pytest.raises(errors.WeightsUnfit, match=f"(?i)action_net.bias is {dtype}; only float32 is supported"):
        rebuilt(reweigh(action_net__bias=torch.zeros(2, dtype=dtype)))


def test_missing_weight_is_named(reweigh: Callable[..., Path]) -> None:
    with pytest.raises(errors.WeightsUnfit, match=r"lacks (log_std|action_net.weight) \(2 in all\)"):
        rebuilt(reweigh(action_net__weight=None, log_std=None))


def test_further_weight_is_named(reweigh: Callable[..., Path]) -> None:
    with pytest.raises(errors.WeightsUnfit, match="has extra.weight, which ActorCriticPolicy does not"):
        rebuilt(reweigh(extra__weight=torch.zeros(1)))


def test_weights_of_another_agent_are_refused(made: Callable[[str], Tiny], tmp_path: Path) -> None:
    with zipfile.ZipFile(made("sac_box").zip) as other:
        pth = other.read("policy.pth")
    path = write_zip(tmp_path / "agent.zip", {**members(made("ppo_box").zip), "policy.pth": pth})
    with pytest.raises(errors.WeightsUnfit, match="which ActorCriticPolicy does not"):
        rebuilt(path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool], ids=str)
def test_weight_that_is_no_float_is_refused(reweigh: Callable[..., Path], dtype: torch.dtype) -> None:
    with pytest.raises(errors.WeightsUnfit, match="only float32"):
        rebuilt(reweigh(action_net__bias=torch.zeros(2, dtype=dtype)))


@pytest.mark.parametrize(
    "convert",
    [
        torch.Tensor.to_sparse,
        torch.Tensor.to_sparse_csr,
        lambda t: t.to("meta"),
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        lambda t: t.to(torch.complex64),
    ],
    ids=["sparse", "csr", "meta", "quantized", "complex"],
)
@pytest.mark.filterwarnings("ignore")
def test_weight_of_another_layout_is_refused(
    reweigh: Callable[..., Path], convert: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    with pytest.raises(errors.PickleRefused, match="policy.pth: the pickle refers to torch"):
        rebuilt(reweigh(action_net__weight=convert(torch.ones(2, 64))))
