"""What every export traces computes what predict does: the whole policy, and its core between numpy's steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import contract as contracts
from pipeline.agents import exported
from pipeline.agents.exported import Exported
from pipeline.agents.parts import Parts
from pipeline.agents.reference import Reference

from .making import Inputs, Tiny

RELATIVE, ABSOLUTE = 1e-4, 5e-5


def made_of(reference: Reference, part: str = "policy", names: list[str] | None = None) -> Exported:
    """An export with every output that there is."""
    parts = reference.parts
    states = [state["output"] for state in parts.states]
    every = ["action", parts.decision, *parts.extras] if part == "policy" else [parts.decision]
    return Exported(parts, reference.archive.observation_space, part, names or [*every, *states])


def run(module: Exported, inputs: Inputs) -> Inputs:
    entries = exported.inputs_of(module.parts, module.part)
    given = [np.ascontiguousarray(inputs[entry["name"]]).astype(entry["dtype"]) for entry in entries]
    answers = module(*map(torch.from_numpy, given))
    return {name: answer.numpy() for name, answer in zip(module.outputs, answers, strict=True)}


def assert_near(found: Inputs, wanted: Inputs) -> None:
    for name, values in wanted.items():
        assert found[name].shape == values.shape, name
        if values.dtype.kind in "iu":
            np.testing.assert_array_equal(found[name], values, err_msg=name)
        else:
            np.testing.assert_allclose(found[name], values, rtol=RELATIVE, atol=ABSOLUTE, err_msg=name)


# --- the whole policy and its core -----------------------------------------------------------------


def test_exported_policy_decides_as_sb3(a_tiny_agent: Tiny) -> None:
    inputs = a_tiny_agent.inputs()
    wanted = a_tiny_agent.answer(inputs)
    found = run(made_of(a_tiny_agent.reference), inputs)
    integers = a_tiny_agent.reference.archive.action_space["type"] != "Box"
    assert found["action"].dtype == (np.int64 if integers else np.float32)
    assert_near(found, wanted)


def test_exported_further_outputs_are_the_references(a_tiny_agent: Tiny) -> None:
    module, inputs = made_of(a_tiny_agent.reference), a_tiny_agent.inputs()
    assert_near(run(module, inputs), a_tiny_agent.reference.outputs(inputs, module.outputs))


def test_core_between_numpys_prologue_and_epilogue_decides_as_sb3(a_tiny_agent: Tiny) -> None:
    core, inputs = made_of(a_tiny_agent.reference, "core"), a_tiny_agent.inputs()
    found = contracts.decide(a_tiny_agent.contract("core"), lambda ready: run(core, ready), inputs)
    assert list(found) == ["action", *core.outputs]
    assert_near(found, a_tiny_agent.answer(inputs))


def test_batch_dimension_is_free(a_tiny_agent: Tiny) -> None:
    module, inputs = made_of(a_tiny_agent.reference), a_tiny_agent.inputs(3)
    together = run(module, inputs)
    for row in range(3):
        alone = run(module, {name: values[row : row + 1] for name, values in inputs.items()})
        assert_near(alone, {name: values[row : row + 1] for name, values in together.items()})


def test_exported_module_is_frozen(a_tiny_agent: Tiny) -> None:
    module = made_of(a_tiny_agent.reference)
    assert not any(layer.training for layer in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_exported_module_has_no_idle_operators(a_tiny_agent: Tiny) -> None:
    module = made_of(a_tiny_agent.reference)
    extras = [getattr(extra, "layers", extra) for extra in module.extras.values()]
    held = {type(layer) for stack in (module.trunk, module.head, module.epilogue, *extras) for layer in stack.modules()}
    assert not held & {nn.Linear, nn.Identity, nn.Dropout}
    assert not [layer for layer in module.modules() if type(layer).__name__ in ("BatchRenorm1d", "LSTM")]


def test_samples_to_trace_with_are_taken(a_tiny_agent: Tiny) -> None:
    for part in ("policy", "core"):
        module = made_of(a_tiny_agent.reference, part)
        answers = module(*module.samples(3))
        assert [len(answer) for answer in answers] == [3] * len(module.outputs)


def test_outputs_come_in_the_order_asked_for(made: Callable[[str], Tiny]) -> None:
    reference, inputs = made("ppo_box").reference, made("ppo_box").inputs(4)
    forth, back = (run(made_of(reference, names=names), inputs) for names in (["action", "value"], ["value", "action"]))
    assert list(back) == ["value", "action"]
    assert all(np.array_equal(forth[name], back[name]) for name in forth)


def test_outputs_that_are_not_asked_for_are_not_computed(made: Callable[[str], Tiny]) -> None:
    module = made_of(made("ppo_of_image_apart").reference, names=["action"])
    assert not module.extras
    assert len(module(*module.samples())) == 1


def test_core_has_neither_prologue_nor_action(made: Callable[[str], Tiny]) -> None:
    module = made_of(made("ppo_normalized").reference, "core")
    assert len(module.prologue.steps) == 0
    assert module.outputs == ["mean"]


@pytest.mark.parametrize("case", ["dqn_discrete", "ppo_choices", "ppo_switches", "maskableppo_choices"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32], ids=str)
def test_decisions_have_the_integers_asked_for(made: Callable[[str], Tiny], case: str, dtype: torch.dtype) -> None:
    tiny = made(case)
    inputs = tiny.inputs()
    module = Exported(tiny.reference.parts, tiny.reference.archive.observation_space, "policy", ["action"], dtype)
    (action,) = run(module, inputs).values()
    assert str(action.dtype) == str(dtype).removeprefix("torch.")
    np.testing.assert_array_equal(action, tiny.predict(inputs))


def test_parameters_count_the_core_alone(made: Callable[[str], Tiny]) -> None:
    def counted(case: str) -> int:
        return exported.parameters(made(case).reference.parts)

    assert counted("ppo_box") == 3 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2
    assert counted("dqn_linear") == 3 * 4 + 4
    assert counted("recurrentppo_linear") == 4 * 8 * (6 + 8 + 2) + 8 * 2 + 2
    image = 3 * 64 * 32 + 32 + 32 * 16 * 64 + 64 + 64 * 9 * 64 + 64 + 128 * 24 + 24
    assert counted("dqn_of_image_linear") == image + 24 * 4 + 4


# --- what the parts take ---------------------------------------------------------------------------


def shapes(tiny: Tiny, part: str) -> dict[str, tuple[list[int], str]]:
    entries = exported.inputs_of(tiny.reference.parts, part)
    return {entry["name"]: (entry["shape"][1:], entry["dtype"]) for entry in entries}


def test_core_takes_what_the_prologue_gives(made: Callable[[str], Tiny]) -> None:
    tiny = made("ppo_of_several")
    assert shapes(tiny, "policy") == {
        "a_key": ([2], "int32"),
        "observation_action": ([2], "float32"),
        "gear": ([], "int32"),
        "picture": ([48, 40, 3], "float32"),
        "position": ([4], "float32"),
    }
    assert shapes(tiny, "core") == {**shapes(tiny, "policy"), "a_key": ([5], "float32"), "gear": ([3], "float32")}


def test_core_takes_neither_mask_nor_keep(made: Callable[[str], Tiny]) -> None:
    assert list(shapes(made("maskableppo_discrete"), "core")) == ["observation"]
    assert list(shapes(made("recurrentppo_discrete"), "core")) == ["observation", "h0", "c0"]


def test_prologue_gives_every_input_of_the_core(a_tiny_agent: Tiny) -> None:
    contract, inputs = a_tiny_agent.contract("core"), a_tiny_agent.inputs(3)
    ready = contracts.prologue(contract["prologue"], inputs)
    for entry in contract["inputs"]:
        assert ready[entry["name"]].dtype == entry["dtype"]
        assert list(ready[entry["name"]].shape[1:]) == entry["shape"][1:]


# --- folding for integers --------------------------------------------------------------------------

EQUALIZED = [
    *("ppo_discrete", "ppo_normalized", "dqn_discrete", "dqn_linear", "dqn_table", "sac_normalized", "td3_table"),
    *("qrdqn_discrete", "crossq_normalized", "ppo_of_bits", "recurrentppo_normalized", "recurrentppo_linear"),
    *("ppo_of_several", "sac_of_several_normalized", "td3_of_several", "ppo_stacked_normalized"),
]


@pytest.mark.parametrize("case", EQUALIZED)
def test_equalized_core_decides_alike_on_equalized_inputs(made: Callable[[str], Tiny], case: str) -> None:
    tiny = made(case)
    inputs, contract, rng = tiny.inputs(), tiny.contract("core"), np.random.default_rng(1)
    core = made_of(tiny.reference, "core")
    one_hot = [step["input"] for step in contract["prologue"] if step["op"] == "one_hot"]
    names = [name for name in core.features.slices if name not in one_hot]
    assert names
    for name in names:
        size = int(np.prod(inputs[name].shape[1:]))
        middle, half = rng.normal(size=size), rng.uniform(0.05, 20, size=size)
        core.equalize(name, torch.from_numpy(middle), torch.from_numpy(half))
        step = {"op": "equalize", "input": name, "middle": middle.tolist(), "half": half.tolist()}
        contract["prologue"] = [*contract["prologue"], step]
    answered = contracts.decide(contract, lambda ready: run(core, ready), inputs)
    plain = made_of(tiny.reference, "core")
    wanted = contracts.decide(tiny.contract("core"), lambda ready: run(plain, ready), inputs)
    for name, values in wanted.items():
        np.testing.assert_allclose(answered[name], values, rtol=1e-4, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(answered["action"], tiny.predict(inputs), atol=1e-4)


def test_images_are_not_equalized(made: Callable[[str], Tiny]) -> None:
    assert made_of(made("ppo_of_image").reference, "core").features.slices == {}
    assert sorted(made_of(made("ppo_of_several").reference, "core").features.slices) == [
        "a_key",
        "gear",
        "observation_action",
        "position",
    ]


CENTERED = [
    *("ppo_discrete", "a2c_discrete", "dqn_discrete", "dqn_linear", "qrdqn_discrete", "ppo_choices", "dqn_of_image"),
    *("maskableppo_choices", "maskableppo_switches", "recurrentppo_choices", "ars_discrete"),
]


@pytest.mark.parametrize("case", CENTERED)
def test_centered_core_decides_alike(made: Callable[[str], Tiny], case: str) -> None:
    tiny = made(case)
    contract, inputs = tiny.contract("core"), tiny.inputs()
    core = made_of(tiny.reference, "core")
    core.center(contracts.groups(contract))
    found = contracts.decide(contract, lambda ready: run(core, ready), inputs)
    preferences = found[tiny.reference.parts.decision]
    wanted = tiny.reference.outputs(inputs, ["preferences"])["preferences"]
    np.testing.assert_allclose(preferences, wanted, rtol=1e-4, atol=2e-5)
    for group in np.split(preferences, np.cumsum(contracts.groups(contract))[:-1], axis=1):
        np.testing.assert_allclose(group.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_array_equal(found["action"], tiny.predict(inputs))


def test_folding_leaves_the_reference_as_it_was(a_tiny_agent: Tiny) -> None:
    """A layer of one output is as long transposed: its weights must be copied all the same."""
    policy = a_tiny_agent.reference.policy
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    made_of(a_tiny_agent.reference)
    core = made_of(a_tiny_agent.reference, "core")
    for name, (start, stop) in core.features.slices.items():
        core.equalize(name, torch.zeros(stop - start).double(), torch.full((stop - start,), 9.0).double())
    sizes = contracts.groups(a_tiny_agent.contract())
    if sizes:
        core.center(sizes)
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.state_dict().items())


def test_core_that_does_not_start_with_a_layer_cannot_be_equalized(made: Callable[[str], Tiny]) -> None:
    reference = made("ppo_box").reference
    given = {**vars(reference.parts), "trunk": nn.Sequential(nn.Tanh())}
    core = Exported(Parts(**given), reference.archive.observation_space, "core", ["mean"])
    with pytest.raises(TypeError, match="first layer is Tanh, which cannot take other inputs"):
        core.equalize("observation", torch.zeros(3), torch.ones(3))


def test_core_that_does_not_end_with_a_layer_cannot_be_centered(made: Callable[[str], Tiny]) -> None:
    with pytest.raises(TypeError, match="last layer is Tanh, which cannot be centered"):
        made_of(made("td3_box").reference, "core").center([2])
