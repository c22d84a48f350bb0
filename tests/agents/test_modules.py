"""What is exported computes what predict does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import contract
from pipeline.agents import modules
from pipeline.agents.modules import Exported
from pipeline.agents.policies import Parts

from .making import Tiny


def exported(tiny: Tiny, part: str = "policy", names: list[str] | None = None) -> Exported:
    parts = tiny.reference.parts
    wanted = names or (["action", parts.decision, *parts.extras] if part == "policy" else [parts.decision])
    return Exported(parts, part, wanted, list(tiny.observed.shape))


def run(module: Exported, observation: np.ndarray) -> dict[str, np.ndarray]:
    answers = module(torch.from_numpy(observation.astype(np.float32)))
    return {name: answer.numpy() for name, answer in zip(module.outputs, answers, strict=True)}


# --- the whole policy and its core -----------------------------------------------------------------


def test_exported_policy_decides_as_sb3(a_tiny_agent: Tiny) -> None:
    observation = a_tiny_agent.observations()
    wanted = a_tiny_agent.predict(observation)
    found = run(exported(a_tiny_agent), observation)["action"]
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_exported_further_outputs_are_the_references(a_tiny_agent: Tiny) -> None:
    module, observation = exported(a_tiny_agent), a_tiny_agent.observations()
    wanted = a_tiny_agent.reference.outputs({"observation": observation}, module.outputs)
    found = run(module, observation)
    for name in module.outputs:
        assert found[name].shape == wanted[name].shape
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_core_between_numpys_prologue_and_epilogue_decides_as_sb3(a_tiny_agent: Tiny) -> None:
    parts, observation = a_tiny_agent.reference.parts, a_tiny_agent.observations()
    core = run(exported(a_tiny_agent, "core"), contract.prologue(parts.prologue, observation))
    found, wanted = contract.epilogue(parts.epilogue, core[parts.decision]), a_tiny_agent.predict(observation)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_batch_dimension_is_free(a_tiny_agent: Tiny) -> None:
    module, observation = exported(a_tiny_agent), a_tiny_agent.observations(7)
    together = run(module, observation)
    for row in range(7):
        alone = run(module, observation[row : row + 1])
        for name, values in together.items():
            np.testing.assert_allclose(alone[name][0], values[row], rtol=1e-4, atol=1e-5)


def test_outputs_come_in_the_order_asked_for(made: Callable[[str], Tiny]) -> None:
    tiny = made("ppo_box")
    observation = tiny.observations(4)
    forth, back = (
        run(exported(tiny, names=names), observation) for names in (["action", "value"], ["value", "action"])
    )
    assert list(back) == ["value", "action"]
    assert all(np.array_equal(forth[name], back[name]) for name in forth)


def test_outputs_that_are_not_asked_for_are_not_computed(made: Callable[[str], Tiny]) -> None:
    module = exported(made("ppo_box"), names=["action"])
    assert not module.extras
    assert len(module(torch.zeros(2, 3))) == 1


def test_core_has_neither_prologue_nor_action(made: Callable[[str], Tiny]) -> None:
    module = exported(made("ppo_normalized"), "core")
    assert len(module.prologue) == 0
    assert module.outputs == ["mean"]


def test_exported_module_is_frozen(a_tiny_agent: Tiny) -> None:
    module = exported(a_tiny_agent)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_exported_module_has_no_idle_operators(a_tiny_agent: Tiny) -> None:
    held = {type(module) for module in exported(a_tiny_agent).modules()}
    assert not held & {nn.Linear, nn.Identity, nn.Dropout}


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32], ids=str)
def test_discrete_action_has_the_integers_asked_for(made: Callable[[str], Tiny], dtype: torch.dtype) -> None:
    tiny = made("dqn_discrete")
    module = Exported(tiny.reference.parts, "policy", ["action"], [3], dtype)
    (action,) = module(torch.from_numpy(tiny.observations()))
    assert action.dtype == dtype
    np.testing.assert_array_equal(action.numpy(), tiny.predict(tiny.observations()))


def test_parameters_count_the_core_alone(made: Callable[[str], Tiny]) -> None:
    assert modules.parameters(made("ppo_box").reference.parts) == 3 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2
    assert modules.parameters(made("dqn_linear").reference.parts) == 3 * 4 + 4


# --- Normalize -------------------------------------------------------------------------------------


def normalize_step(mean: Any, variance: Any, clip: float = 10.0, epsilon: float = 1e-8) -> dict[str, Any]:
    return {"op": "normalize", "mean": list(mean), "variance": list(variance), "clip": clip, "epsilon": epsilon}


@pytest.mark.parametrize(
    ("mean", "variance"),
    [
        ([0.0, 0.5, -2.0], [1.0, 4.0, 0.01]),
        ([1e6 + 0.3, -1e6 - 0.7, 12345.678], [1.0, 1.0, 1e-2]),
        ([1e6 + 0.03, 3e7 + 1.5, 0.1], [1e-2, 4.0, 1e-10]),
        ([0.1, 0.1, 0.1], [0.0, 0.0, 0.0]),
    ],
    ids=["near 0", "far beside their deviation", "very far", "constant"],
)
def test_normalize_keeps_float64s_precision(mean: list[float], variance: list[float]) -> None:
    step = normalize_step(mean, variance)
    noise = np.random.default_rng(0).normal(size=(500, 3))
    observation = (np.array(mean) + noise * np.sqrt(variance)).astype(np.float32)
    wanted = np.clip((observation.astype(np.float64) - mean) / np.sqrt(np.array(variance) + 1e-8), -10, 10)
    found = modules.Normalize(step, [3])(torch.from_numpy(observation)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(contract.prologue([step], observation), wanted, rtol=1e-6, atol=1e-7)


def test_one_subtraction_is_enough_where_the_mean_is_near() -> None:
    assert modules.Normalize(normalize_step([0.5, 0.25, -2.0], [1, 4, 9]), [3]).rest is None
    assert modules.Normalize(normalize_step([1e6 + 0.3], [1.0]), [1]).rest is not None


@pytest.mark.parametrize("clip", [10.0, 0.5, float("inf")])
def test_normalize_clips_on_both_sides(clip: float) -> None:
    module = modules.Normalize(normalize_step([0.0, 0.0], [1.0, 1.0], clip), [2])
    found = module(torch.tensor([[1e3, -1e3], [0.25, -0.25]]))
    torch.testing.assert_close(found, torch.tensor([[min(clip, 1e3), -min(clip, 1e3)], [0.25, -0.25]]))


def test_normalize_takes_the_shape_of_an_observation() -> None:
    module = modules.Normalize(normalize_step(range(6), [4.0] * 6), [2, 3])
    torch.testing.assert_close(module(torch.arange(6.0).reshape(1, 2, 3) + 2), torch.ones(1, 2, 3))


# --- the other steps -------------------------------------------------------------------------------


def test_clip_takes_bounds_that_are_words() -> None:
    module = modules.Clip([-1.0, "-inf"], ["inf", 2.0])
    torch.testing.assert_close(
        module(torch.tensor([[-9.0, -9.0], [9.0, 9.0]])), torch.tensor([[-1.0, -9.0], [9.0, 2.0]])
    )


def test_unscale_reaches_both_bounds() -> None:
    module = modules.Unscale([-1.0, -0.5], [2.0, 3.0])
    torch.testing.assert_close(
        module(torch.tensor([[-1.0, 1.0], [1.0, -1.0]])), torch.tensor([[-1.0, 3.0], [2.0, -0.5]])
    )


def test_unscale_of_symmetric_bounds_only_multiplies() -> None:
    assert modules.Unscale([-2.0, -3.0], [2.0, 3.0]).middle is None
    assert modules.Unscale([-2.0], [3.0]).middle is not None


def test_argmax_takes_the_first_of_equals() -> None:
    assert modules.Argmax(torch.int64)(torch.tensor([[1.0, 2.0, 2.0]])).tolist() == [1]


def test_constant_is_repeated_along_the_batch() -> None:
    found = modules.Constant(torch.tensor([1.0, 2.0]))(torch.zeros(3, 2))
    assert found.tolist() == [[1.0, 2.0]] * 3


def test_matmul_and_add_are_a_linear_layer() -> None:
    layer = nn.Linear(5, 3)
    x = torch.randn(4, 5)
    torch.testing.assert_close(modules.MatMulAdd(layer)(x), layer(x))


def test_mean_of_quantiles_is_folded() -> None:
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6 * 3))
    x = torch.randn(4, 5)
    torch.testing.assert_close(modules.mean_of_quantiles(net, 6)(x), net(x).view(-1, 6, 3).mean(1))


def test_flat_leaves_out_what_does_nothing() -> None:
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Sequential(nn.Tanh())))
    assert [type(leaf) for leaf in modules.flat(net)] == [nn.ReLU, nn.Tanh]


@pytest.mark.parametrize(("shape", "wanted"), [([2, 3], (5, 2, 3)), ([], (5,))])
def test_reshape_gives_the_shape_of_the_action(shape: list[int], wanted: tuple[int, ...]) -> None:
    parts = Parts([], nn.Sequential(), nn.Linear(4, 6 if shape else 1), [{"op": "reshape", "shape": shape}], "mean")
    (action,) = Exported(parts, "policy", ["action"], [4])(torch.zeros(5, 4))
    assert tuple(action.shape) == wanted


# --- folding for integers --------------------------------------------------------------------------


def ranges(tiny: Tiny) -> tuple[np.ndarray, np.ndarray]:
    size = int(np.prod(tiny.observed.shape))
    rng = np.random.default_rng(1)
    return rng.normal(size=size), rng.uniform(0.05, 20, size=size)


@pytest.mark.parametrize(
    "case",
    [
        "ppo_discrete",
        "ppo_normalized",
        "dqn_discrete",
        "dqn_linear",
        "dqn_table",
        "sac_normalized",
        "td3_table",
        "qrdqn_discrete",
    ],
)
def test_equalized_core_decides_alike_on_equalized_inputs(made: Callable[[str], Tiny], case: str) -> None:
    tiny = made(case)
    parts, observation = tiny.reference.parts, tiny.observations()
    middle, half = ranges(tiny)
    core = exported(tiny, "core")
    core.equalize(torch.from_numpy(middle), torch.from_numpy(half))
    steps = [*parts.prologue, {"op": "equalize", "middle": middle.tolist(), "half": half.tolist()}]
    answered = run(core, contract.prologue(steps, observation))[parts.decision]
    wanted = run(exported(tiny, "core"), contract.prologue(parts.prologue, observation))[parts.decision]
    np.testing.assert_allclose(answered, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(contract.epilogue(parts.epilogue, answered), tiny.predict(observation), atol=1e-4)


@pytest.mark.parametrize("case", ["ppo_discrete", "a2c_discrete", "dqn_discrete", "dqn_linear", "qrdqn_discrete"])
def test_centered_core_decides_alike(made: Callable[[str], Tiny], case: str) -> None:
    tiny = made(case)
    reference, observation = tiny.reference, tiny.observations()
    core = exported(tiny, "core")
    core.center()
    found = run(core, observation)[reference.parts.decision]
    wanted = reference.outputs({"observation": observation}, ["preferences"])["preferences"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(axis=1), tiny.predict(observation))


def test_folding_leaves_the_reference_as_it_was(made: Callable[[str], Tiny]) -> None:
    reference = made("dqn_discrete").reference
    before = {name: tensor.clone() for name, tensor in reference.policy.state_dict().items()}
    core = Exported(reference.parts, "core", ["q_values"], [3])
    core.equalize(torch.zeros(3, dtype=torch.float64), torch.full((3,), 9.0, dtype=torch.float64))
    core.center()
    assert all(torch.equal(before[name], tensor) for name, tensor in reference.policy.state_dict().items())


def test_core_that_does_not_start_with_a_layer_cannot_be_equalized() -> None:
    parts = Parts([], nn.Sequential(nn.Tanh()), nn.Linear(3, 2), [], "mean")
    with pytest.raises(TypeError, match="first layer is Tanh, which cannot take equalized inputs"):
        Exported(parts, "core", ["mean"], [3]).equalize(torch.zeros(3), torch.ones(3))


def test_core_that_does_not_end_with_a_layer_cannot_be_centered(made: Callable[[str], Tiny]) -> None:
    with pytest.raises(TypeError, match="last layer is Tanh, which cannot be centered"):
        exported(made("td3_box"), "core").center()
