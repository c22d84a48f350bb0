"""The graphs are as small as the network, and keep their batch and their names."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from pipeline.hops.tflite_structure import structure
from running import Built


def operators(folder: Path) -> list[str]:
    return [node.op_type for node in onnx.load(folder / "policy.onnx").graph.node]


MLP = ["MatMul", "Add", "Tanh", "MatMul", "Add", "Tanh", "MatMul", "Add"]


def test_discrete_policy_is_nine_onnx_nodes(shipped_agents: Built) -> None:
    assert operators(shipped_agents.artifacts / "cartpole_ppo" / "onnx") == [*MLP, "ArgMax"]


def test_newest_opset_adds_only_the_cast_for_browsers(shipped_agents: Built) -> None:
    assert operators(shipped_agents.artifacts / "cartpole_ppo" / "onnx_web") == [*MLP, "ArgMax", "Cast"]


def test_onnx_core_is_the_network_alone(shipped_agents: Built) -> None:
    assert operators(shipped_agents.artifacts / "cartpole_ppo" / "onnx_core") == MLP


def test_normalizer_and_squashed_action_take_seven_operators(shipped_agents: Built) -> None:
    found = operators(shipped_agents.artifacts / "pendulum_sac" / "onnx")
    net = ["MatMul", "Add", "Relu", "MatMul", "Add", "Relu", "MatMul", "Add"]
    assert found == ["Sub", "Mul", "Max", "Min", *net, "Tanh", "Mul"]


@pytest.mark.parametrize(("kind", "opset"), [("onnx", 14), ("onnx_core", 14), ("onnx_web", 26)])
def test_opset_is_the_one_asked_for(shipped_agents: Built, kind: str, opset: int) -> None:
    model = onnx.load(shipped_agents.artifacts / "cartpole_ppo" / kind / "policy.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]


@pytest.mark.parametrize("kind", ["onnx", "onnx_core", "onnx_web"])
@pytest.mark.parametrize("agent", ["cartpole_ppo", "pendulum_sac", "cartpole_a2c"])
def test_batch_dimension_stays_dynamic(shipped_agents: Built, agent: str, kind: str) -> None:
    graph = onnx.load(shipped_agents.artifacts / agent / kind / "policy.onnx").graph
    for value in [*graph.input, *graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param, value.name


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("tflite", ["FULLY_CONNECTED", "TANH", "FULLY_CONNECTED", "TANH", "FULLY_CONNECTED", "ARG_MAX"]),
        ("tflite_int8", ["FULLY_CONNECTED", "TANH", "FULLY_CONNECTED", "TANH", "FULLY_CONNECTED"]),
    ],
)
def test_discrete_policy_is_five_tflite_operators(shipped_agents: Built, kind: str, wanted: list[str]) -> None:
    path = shipped_agents.artifacts / "cartpole_ppo" / kind / "policy.tflite"
    assert structure(path.read_bytes())["operators"] == wanted


@pytest.mark.parametrize("agent", ["cartpole_ppo", "pendulum_sac", "cartpole_a2c"])
def test_int8_core_is_integer_throughout_at_batch_one(shipped_agents: Built, agent: str) -> None:
    found = structure((shipped_agents.artifacts / agent / "tflite_int8" / "policy.tflite").read_bytes())
    for tensor in [*found["inputs"], *found["outputs"]]:
        assert tensor["dtype"] == "INT8"
        assert tensor["shape"][0] == 1
        assert tensor["scale"] and tensor["zero_point"]
    assert not set(found["operators"]) - {"FULLY_CONNECTED", "TANH"}


def test_float16_halves_the_weights(shipped_agents: Built) -> None:
    home = shipped_agents.artifacts / "pendulum_sac"
    full, half = (len((home / kind / "policy.tflite").read_bytes()) for kind in ("tflite", "tflite_float16"))
    assert half < 0.7 * full


def test_tfjs_signature_keeps_the_names_of_outputs_of_one_shape(shipped_agents: Built) -> None:
    import json

    model = json.loads((shipped_agents.artifacts / "pendulum_sac" / "tfjs" / "model.json").read_text())
    assert sorted(model["signature"]["outputs"]) == ["action", "mean"]
    assert list(model["signature"]["inputs"]) == ["observation"]
