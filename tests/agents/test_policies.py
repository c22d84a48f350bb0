"""Policies rebuilt from archives decide as Stable-Baselines3's own, or are refused by name."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from pipeline import errors
from pipeline.agents import archive, pickles, policies
from pipeline.agents.reference import Reference, normalizer

from .forging import kwargs, nest, nested_mappings, record, short
from .making import CASES, FLAT, FOUR, LOPSIDED, Case, Tiny, members, quickly, repack, serialized, write_zip

WEIGHT = "mlp_extractor.policy_net.0.weight"


def rebuilt(path: Path) -> Any:
    return policies.rebuild(archive.read(path))


@pytest.fixture
def forge(made: Callable[[str], Tiny], tmp_path: Path) -> Callable[..., Path]:
    """The archive of a tiny agent with other fields, as values to pickle; ``case`` names the agent."""

    def make(case: str = "ppo_box", **fields: Any) -> Path:
        return repack(made(case).zip, tmp_path / "agent.zip", **{k: serialized(v) for k, v in fields.items()})

    return make


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


def test_reference_decides_bit_for_bit_as_sb3(a_tiny_agent: Tiny) -> None:
    observation = a_tiny_agent.observations()
    wanted, found = a_tiny_agent.predict(observation), a_tiny_agent.reference.predict(observation)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


def test_tiny_agents_decide_variously(a_tiny_agent: Tiny) -> None:
    """Else the comparisons would say little."""
    actions = a_tiny_agent.predict(a_tiny_agent.observations())
    assert len(np.unique(actions, axis=0)) > 1


def test_further_outputs_are_those_of_sb3(a_tiny_agent: Tiny) -> None:
    reference, loaded = a_tiny_agent.reference, a_tiny_agent.loaded
    observation = a_tiny_agent.observations(8)
    names = [reference.parts.decision, *reference.parts.extras]
    found = reference.outputs({"observation": observation}, names)
    policy: Any = loaded.policy
    policy.set_training_mode(False)
    with torch.no_grad():
        tensor, _ = policy.obs_to_tensor(a_tiny_agent.normalized(observation))
        wanted = _wanted(policy, tensor)
    for name in names:
        np.testing.assert_array_equal(found[name], wanted[name].numpy())


def _wanted(policy: Any, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """By other ways through SB3 than the reference's."""
    if type(policy).__name__.startswith("ARS"):
        decided = policy.action_net(tensor.float().flatten(1))
        return {"logits": decided, "mean": decided, "scaled_action": decided}
    if hasattr(policy, "q_net"):
        return {"q_values": policy.q_net(tensor)}
    if hasattr(policy, "quantile_net"):
        return {"q_values": policy.quantile_net(tensor).mean(1)}
    if hasattr(policy, "predict_values"):
        distribution = policy.get_distribution(tensor).distribution
        latent = policy.mlp_extractor.forward_actor(policy.extract_features(tensor))
        found = {"value": policy.predict_values(tensor), "logits": policy.action_net(latent)}
        return {**found, "mean": getattr(distribution, "mean", None), "log_std": _log_std(distribution)}
    if hasattr(policy.actor, "log_std"):
        mean, log_std, _ = policy.actor.get_action_dist_params(tensor)
        return {"mean": mean, "log_std": log_std}
    return {"scaled_action": policy.actor(tensor)}


def _log_std(distribution: Any) -> torch.Tensor | None:
    return distribution.stddev.log() if hasattr(distribution, "stddev") else None


def test_logits_are_the_distribution_of_sb3(made: Callable[[str], Tiny]) -> None:
    tiny = made("ppo_discrete")
    observation = tiny.observations(8)
    logits = tiny.reference.outputs({"observation": observation}, ["logits"])["logits"]
    with torch.no_grad():
        wanted = tiny.loaded.policy.get_distribution(torch.from_numpy(observation)).distribution.probs
    np.testing.assert_allclose(torch.softmax(torch.from_numpy(logits), 1).numpy(), wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("case", ["ppo_discrete", "dqn_discrete", "qrdqn_discrete"])
def test_preferences_are_the_decision_less_its_mean(made: Callable[[str], Tiny], case: str) -> None:
    reference = made(case).reference
    names = ["preferences", reference.parts.decision, "action"]
    found = reference.outputs({"observation": made(case).observations()}, names)
    np.testing.assert_allclose(found["preferences"].mean(axis=1), 0, atol=1e-5)
    np.testing.assert_array_equal(found["preferences"].argmax(axis=1), found["action"])


@pytest.mark.parametrize(
    ("case", "decision", "extras"),
    [
        ("ppo_discrete", "logits", ["value"]),
        ("ppo_box", "mean", ["value", "log_std"]),
        ("ppo_gsde", "mean", ["value"]),
        ("sac_box", "mean", ["log_std"]),
        ("sac_gsde", "mean", []),
        ("td3_box", "scaled_action", []),
        ("ddpg_box", "scaled_action", []),
        ("dqn_discrete", "q_values", []),
    ],
)
def test_family_names_its_outputs(made: Callable[[str], Tiny], case: str, decision: str, extras: list[str]) -> None:
    parts = made(case).reference.parts
    assert parts.decision == decision
    assert list(parts.extras) == extras


@pytest.mark.parametrize(
    ("case", "prologue", "epilogue"),
    [
        ("ppo_box", [], ["clip"]),
        ("ppo_normalized", ["normalize"], ["clip"]),
        ("ppo_discrete", [], ["argmax"]),
        ("ppo_grid", [], ["clip", "reshape"]),
        ("ppo_gsde", [], ["clip"]),
        ("ppo_gsde_squashed", [], ["tanh", "unscale"]),
        ("sac_normalized", ["normalize"], ["tanh", "unscale"]),
        ("sac_grid", [], ["tanh", "unscale", "reshape"]),
        ("td3_box", [], ["unscale"]),
        ("dqn_discrete_normalized", ["normalize"], ["argmax"]),
    ],
)
def test_steps_around_the_core(
    made: Callable[[str], Tiny], case: str, prologue: list[str], epilogue: list[str]
) -> None:
    parts = made(case).reference.parts
    assert [step["op"] for step in parts.prologue] == prologue
    assert [step["op"] for step in parts.epilogue] == epilogue


def test_normalizer_is_sb3s_own(a_tiny_ppo_agent: Tiny) -> None:
    observation = a_tiny_ppo_agent.observations()
    found = normalizer(archive.statistics(a_tiny_ppo_agent.pkl, {"shape": [3]}))(observation)
    np.testing.assert_array_equal(found, a_tiny_ppo_agent.normalized(observation))
    assert found.dtype == np.float32


def test_statistics_that_are_switched_off_change_nothing(a_tiny_ppo_agent: Tiny) -> None:
    opened = archive.read(a_tiny_ppo_agent.zip)
    held = archive.statistics(a_tiny_ppo_agent.pkl, opened.observation_space)
    off = archive.Statistics(held.clip, held.epsilon, False, held.mean, held.variance)
    reference, observation = Reference(opened, off), a_tiny_ppo_agent.observations()
    assert reference.parts.prologue == []
    np.testing.assert_array_equal(reference.predict(observation), Reference(opened, None).predict(observation))


@pytest.mark.parametrize(
    "observed",
    [
        spaces.Box(-5, 5, (3,), np.float64),
        spaces.Box(-10, 10, (3,), np.int32),
        spaces.Box(0, 255, (2, 4), np.uint8),
        spaces.Box(0, 1, (2, 4, 3), np.float32),
        spaces.Box(-np.inf, np.inf, (3,), np.float32),
        spaces.Box(-1, 1, (1,), np.float32),
    ],
    ids=str,
)
def test_other_dtypes_and_shapes_of_box_decide_as_sb3(observed: spaces.Box, tmp_path: Path) -> None:
    tiny = Case("PPO", observed, FOUR).save(tmp_path)
    observation = tiny.observations()
    np.testing.assert_array_equal(tiny.reference.predict(observation), tiny.predict(observation))


@pytest.mark.parametrize("acts", [spaces.Discrete(1), spaces.Discrete(3, start=2), spaces.Box(-2, 1, (), np.float32)])
def test_other_actions_decide_as_sb3(acts: spaces.Space, tmp_path: Path) -> None:
    tiny = Case("PPO", acts=acts).save(tmp_path)
    observation = tiny.observations()
    np.testing.assert_array_equal(tiny.reference.predict(observation), tiny.predict(observation))


def test_policy_is_in_evaluation_mode_with_its_spaces(made: Callable[[str], Tiny]) -> None:
    policy = made("ppo_box").reference.policy
    assert not policy.training
    assert policy.observation_space == FLAT
    assert policy.action_space == LOPSIDED


def test_net_arch_of_old_sb3_is_understood(forge: Callable[..., Path], made: Callable[[str], Tiny]) -> None:
    found = rebuilt(forge("ppo_tanh", policy_kwargs={"net_arch": [{"pi": [16], "vf": [8, 8]}]}))
    assert torch.equal(found.state_dict()[WEIGHT], made("ppo_tanh").loaded.policy.state_dict()[WEIGHT])


@pytest.mark.parametrize(
    "dropped",
    [{"device": "cuda"}, {"optimizer_class": torch.optim.SGD}, {"optimizer_kwargs": {"a": 1}}, {"sde_net_arch": None}],
    ids=lambda d: next(iter(d)),
)
def test_what_inference_never_uses_is_dropped(forge: Callable[..., Path], dropped: dict[str, Any]) -> None:
    assert rebuilt(forge(policy_kwargs=dropped)).device.type == "cpu"


def test_weights_of_sb3_before_1_7_are_read(made: Callable[[str], Tiny]) -> None:
    """They have one features extractor, and no copies of it."""
    opened = archive.read(made("ppo_box").zip)
    assert not [name for name in opened.weights if name.startswith("pi_features_")]
    assert policies.rebuild(opened)


def test_separate_features_extractors_are_read(tmp_path: Path) -> None:
    tiny = Case("PPO", acts=FOUR, kwargs=(("share_features_extractor", False),)).save(tmp_path)
    observation = tiny.observations(4)
    found = tiny.reference.outputs({"observation": observation}, ["action", "value"])
    np.testing.assert_array_equal(found["action"], tiny.predict(observation))


# --- what is not supported -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "space", "told"),
    [
        ("observation_space", spaces.Dict(a=FLAT), "Dict observations"),
        ("observation_space", spaces.Discrete(3), "Discrete observations"),
        ("observation_space", spaces.MultiDiscrete([2, 2]), "MultiDiscrete observations"),
        ("observation_space", spaces.MultiBinary(3), "MultiBinary observations"),
        ("observation_space", spaces.Box(0, 255, (3, 36, 36), np.uint8), "Image observations"),
        ("observation_space", spaces.Box(-1, 1, ()), "Box observations"),
        ("action_space", spaces.MultiDiscrete([2, 2]), "MultiDiscrete actions"),
        ("action_space", spaces.MultiBinary(3), "MultiBinary actions"),
        ("action_space", spaces.Dict(a=FOUR), "Dict actions"),
    ],
)
def test_unsupported_space_is_named(forge: Callable[..., Path], field: str, space: spaces.Space, told: str) -> None:
    with pytest.raises(errors.UnsupportedPolicy) as refused:
        rebuilt(forge(**{field: space}))
    assert f"{told} are not supported" in str(refused.value)
    assert "Box observations; Box and Discrete actions" in refused.value.expected


@pytest.mark.parametrize(
    ("module", "name", "told"),
    [
        ("sb3_contrib.common.maskable.policies", "MaskableActorCriticPolicy", "MaskablePPO agents"),
        ("sb3_contrib.common.recurrent.policies", "RecurrentActorCriticPolicy", "RecurrentPPO agents"),
        ("sb3_contrib.crossq.policies", "CrossQPolicy", "CrossQ agents"),
        ("stable_baselines3.common.policies", "ActorCriticCnnPolicy", "ActorCriticCnnPolicy is not supported"),
        ("stable_baselines3.common.policies", "MultiInputActorCriticPolicy", "MultiInputActorCriticPolicy is not"),
        ("stable_baselines3.dqn.policies", "CnnPolicy", "dqn.policies.CnnPolicy is not supported"),
    ],
)
def test_unsupported_policy_is_named(forge: Callable[..., Path], module: str, name: str, told: str) -> None:
    with pytest.raises(errors.UnsupportedPolicy) as refused:
        rebuilt(forge(policy_class=f"c{module}\n{name}\n.".encode()))
    assert told in str(refused.value)
    assert "PPO, A2C, TRPO, SAC, TQC, TD3, DDPG, DQN, QRDQN, ARS" in refused.value.expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"banana": 1}, "policy_kwargs has 'banana', unknown to ActorCriticPolicy"),
        ({"activation_fn": "relu"}, "policy_kwargs.activation_fn is 'relu'; only torch.nn activations are supported"),
        ({"net_arch": [64, -5]}, "policy_kwargs.net_arch[1] = -5; want whole numbers 1..16384"),
        ({"net_arch": [0]}, "net_arch[0] = 0; want whole numbers"),
        ({"net_arch": [10**6]}, "net_arch[0] = 1000000; want whole numbers 1..16384"),
        ({"net_arch": ["64"]}, "net_arch[0] = '64'; want whole numbers"),
        ({"net_arch": [64.0]}, "net_arch[0] = 64.0; want whole numbers"),
        ({"net_arch": [True]}, "net_arch[0] = True; want whole numbers"),
        ({"net_arch": [[64]]}, "net_arch[0] = list; want whole numbers"),
        ({"net_arch": "64"}, "net_arch = '64'; want a list of whole numbers"),
        ({"net_arch": 64}, "net_arch = 64; want a list of whole numbers"),
        ({"net_arch": [1] * 65}, "want a list of whole numbers"),
        ({"net_arch": {"pi": [64], "vf": [-1]}}, "net_arch.vf[0] = -1; want whole numbers"),
        ({"net_arch": [64, {"pi": [64], "vf": [64]}]}, "net_arch shares layers between actor and critic (SB3 < 1.8)"),
        ({"squash_output": True}, "squash_output=True is only available when using gSDE"),
        ({"features_extractor_kwargs": {"x": 1}}, "unexpected keyword argument 'x'"),
        ({"features_extractor_class": NatureCNN}, "NatureCNN"),
        ({"activation_fn": None}, "cannot be made from the archive"),
    ],
    ids=str,
)
def test_unfit_policy_kwargs_are_named(forge: Callable[..., Path], given: dict[str, Any], told: str) -> None:
    with pytest.raises(errors.UnsupportedPolicy) as refused:
        rebuilt(forge(policy_kwargs=given))
    assert told in refused.value.what


@pytest.mark.parametrize("function", [lambda x: x, lambda: nn.ReLU()])
def test_lambda_as_activation_is_refused_by_name(forge: Callable[..., Path], function: object) -> None:
    with pytest.raises(errors.PickleRefused, match=r"(?i)policy_kwargs.*_make_function.*allowed list"):
        rebuilt(forge(policy_kwargs={"activation_fn": function}))


@pytest.mark.parametrize("cls", [nn.Softmax, nn.MultiheadAttention, nn.Linear, torch.optim.Adagrad])
def test_other_classes_of_torch_are_refused_by_name(forge: Callable[..., Path], cls: type) -> None:
    with pytest.raises(errors.PickleRefused, match=cls.__name__):
        rebuilt(forge(policy_kwargs={"activation_fn": cls}))


AS_ACTIVATION = sorted(pair for pair in pickles.ALLOWED if not pair[0].startswith("gym."))


@pytest.mark.parametrize(("module", "name"), AS_ACTIVATION)
def test_allowed_name_in_the_wrong_place_is_harmless(forge: Callable[..., Path], module: str, name: str) -> None:
    """It is imported, and called without arguments."""
    try:
        rebuilt(forge(policy_kwargs=kwargs("activation_fn", f"c{module}\n{name}\n".encode())))
    except errors.SlipwayError:
        return
    assert module == "torch.nn.modules.activation"


@pytest.mark.parametrize(
    "fields",
    [
        {"policy_kwargs": {"features_extractor_class": nn.ReLU}},
        {"policy_kwargs": kwargs("activation_fn", b"cgym.spaces.box\nBox\n")},
        {"policy_class": b"cstable_baselines3.dqn.policies\nDQNPolicy\n."},
        {"action_space": record("gymnasium.spaces.discrete", "Discrete", {"n": 0, "start": 0})},
        {"action_space": record("gymnasium.spaces.discrete", "Discrete", {"n": 10**13, "start": 0})},
        {"action_space": record("gymnasium.spaces.discrete", "Discrete", {"n": 2**70, "start": 0})},
        {
            "observation_space": record(
                "gymnasium.spaces.box",
                "Box",
                {"_shape": (3,), "low": FLAT.high, "high": FLAT.low, "dtype": np.dtype("f4")},
            )
        },
    ],
    ids=["extractor", "absent package", "class and space", "no action", "10**13 actions", "2**70 actions", "inverted"],
)
def test_impossible_agent_is_refused(forge: Callable[..., Path], fields: dict[str, Any]) -> None:
    with pytest.raises(errors.SlipwayError):
        rebuilt(forge(**fields))


def test_other_features_extractor_is_refused(tmp_path: Path) -> None:
    extractor = {"normalized_image": True, "features_dim": 16}
    given = (
        ("features_extractor_class", NatureCNN),
        ("features_extractor_kwargs", extractor),
        ("normalize_images", False),
    )
    tiny = Case("PPO", spaces.Box(0, 1, (3, 36, 36), np.float32), FOUR, kwargs=given).save(tmp_path)
    with pytest.raises(errors.UnsupportedPolicy, match="NatureCNN"):
        tiny.reference


class TooLarge(Exception):
    """A layer that the archive's weights cannot fill."""


@pytest.mark.parametrize(
    ("case", "given"),
    [("dqn_discrete", {"net_arch": [16_384] * 64}), ("td3_box", {"n_critics": 10**9})],
    ids=["68 GB of layers", "a thousand million critics"],
)
def test_description_cannot_make_more_layers_than_there_are_weights(
    forge: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, case: str, given: dict[str, Any]
) -> None:
    made_so_far = 0
    initialize = nn.Linear.__init__

    def limited(self: nn.Linear, inputs: int, outputs: int, *args: Any, **kwargs: Any) -> None:
        nonlocal made_so_far
        made_so_far += inputs * outputs
        if made_so_far > 10**7:
            raise TooLarge
        initialize(self, inputs, outputs, *args, **kwargs)

    monkeypatch.setattr(nn.Linear, "__init__", limited)
    with pytest.raises(errors.SlipwayError):
        rebuilt(forge(case, policy_kwargs=given))


@pytest.mark.parametrize(
    ("key", "value"),
    [("net_arch", nest(21)), ("activation_fn", nest(21)), ("net_arch", nested_mappings(20))],
    ids=["net_arch", "activation_fn", "net_arch of mappings"],
)
def test_nested_policy_kwargs_are_refused_at_once(forge: Callable[..., Path], key: str, value: bytes) -> None:
    path = forge(policy_kwargs=kwargs(key, value))
    with quickly(0.15), pytest.raises(errors.SlipwayError):
        rebuilt(path)


def test_net_arch_in_itself_is_refused(forge: Callable[..., Path]) -> None:
    with pytest.raises(errors.UnsupportedPolicy, match="net_arch"):
        rebuilt(forge(policy_kwargs=kwargs("net_arch", b"}q\x01" + short("a") + b"h\x01s")))


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


def test_every_supported_family_is_tried() -> None:
    assert {case.algorithm for case in CASES.values()} == set(policies.SUPPORTED)
