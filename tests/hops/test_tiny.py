"""The hops that torch makes, in this process: what they write decides as predict does, for every kind of policy."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from agents.making import Inputs, Tiny
from agents.test_exported import assert_near

from pipeline import contract as contracts
from pipeline import errors
from pipeline.agents import observing, pickles
from pipeline.hops import sb3_to_onnx, sb3_to_torchscript, sb3_to_weights
from pipeline.runtimes import torchscript, weights

ACTIVATIONS = [f"ppo_{name.lower()}" for name in (*pickles._ACTIVATIONS, "Identity")]
KINDS = [
    *("ppo_normalized", "ppo_choices", "ppo_switches", "ppo_grid", "ppo_table", "ppo_linear", "ppo_of_indices"),
    *("ppo_of_bit_table", "ppo_of_image", "ppo_of_first", "ppo_of_image_flat", "ppo_of_several", "ppo_of_scaled"),
    *("ppo_gsde_squashed", "sac_of_several_normalized", "crossq_small", "dqn_of_image_linear", "qrdqn_discrete"),
    *("ars_clipped", "maskableppo_discrete", "maskableppo_switches", "maskableppo_of_several", "td3_grid"),
    *("recurrentppo_deep", "recurrentppo_unbiased", "recurrentppo_of_several", "recurrentppo_normalized"),
]


@pytest.fixture
def convert(read: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Runs a hop on a tiny agent -> the artifact and its contract."""

    def make(tiny: Tiny, hop: Any, outputs: tuple[str, ...] = (), **settings: Any) -> tuple[Path, dict[str, Any]]:
        source, contract = read(tiny, outputs=list(outputs))
        target = tmp_path / "target"
        target.mkdir(exist_ok=True)
        hop.convert(source, target, contract, settings)
        contracts.dump(contract, target)
        return target, contracts.load(target)

    return make


def as_taken(contract: Mapping[str, Any], inputs: Inputs) -> Inputs:
    return {e["name"]: np.ascontiguousarray(inputs[e["name"]]).astype(e["dtype"]) for e in contract["takes"]}


# --- weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*KINDS, *ACTIVATIONS])
def test_numpy_policy_decides_as_sb3(made: Callable[[str], Tiny], convert: Callable[..., Any], case: str) -> None:
    tiny = made(case)
    folder, contract = convert(tiny, sb3_to_weights)
    inputs = as_taken(contract, tiny.inputs())
    found = weights.load(folder, contract, {})(inputs)
    assert sorted(found) == sorted(output["name"] for output in contract["outputs"])
    assert_near(found, tiny.reference.outputs(inputs, list(found)))
    assert contract["files"] == ["weights.safetensors", "architecture.json", "numpy_policy.py"]


def test_numpy_policy_takes_one_observation_as_it_takes_many(
    made: Callable[[str], Tiny], convert: Callable[..., Any]
) -> None:
    tiny = made("maskableppo_of_several")
    folder, contract = convert(tiny, sb3_to_weights)
    policy = runpy.run_path(str(folder / "numpy_policy.py"))["NumpyPolicy"](folder)
    inputs = as_taken(contract, tiny.inputs(4))
    together = policy(inputs)
    for row in range(4):
        alone = policy({name: values[row : row + 1] for name, values in inputs.items()})
        assert_near(alone, {name: values[row : row + 1] for name, values in together.items()})


def test_architecture_tells_the_network_in_order(made: Callable[[str], Tiny], convert: Callable[..., Any]) -> None:
    folder, _ = convert(made("recurrentppo_of_image"), sb3_to_weights)
    told = json.loads((folder / "architecture.json").read_text())
    (eye,) = told["features"]
    assert eye["input"] == "observation"
    ops = ["transpose", *["conv", "relu"] * 3, "transpose", "flatten", "linear", "relu"]
    assert [layer["op"] for layer in eye["layers"]] == ops
    assert len(told["memory"]) == 1
    assert [step["op"] for step in told["prologue"]] == ["reset", "reset"]


def test_sampler_needs_outputs_that_the_numpy_policy_lacks(
    made: Callable[[str], Tiny], read: Callable[..., Any], tmp_path: Path
) -> None:
    for case, wanted in (("ppo_box", {}), ("ppo_discrete", {"noise": "gumbel"})):
        source, contract = read(made(case), stochastic=True)
        sb3_to_weights.convert(source, tmp_path, contract, {})
        assert contract["distribution"] == wanted


# --- ONNX ------------------------------------------------------------------------------------------


@contextmanager
def session(path: Path) -> Iterator[Callable[[Inputs], Inputs]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    held = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in held.get_outputs()]
    yield lambda inputs: dict(zip(names, held.run(names, inputs), strict=True))


UNFIT = {"Gemm", "Unsqueeze", "Squeeze", "OneHot", "Gather", "LSTM", "Shape", "Constant", "RandomNormal"}
POLICY = {"opset": 14, "part": "policy", "integer": "int64", "calibration": ""}


@pytest.mark.parametrize("case", KINDS)
def test_onnx_policy_decides_as_sb3(made: Callable[[str], Tiny], convert: Callable[..., Any], case: str) -> None:
    tiny = made(case)
    extras = tuple(tiny.reference.parts.extras)
    folder, contract = convert(tiny, sb3_to_onnx, extras, **POLICY)
    inputs = as_taken(contract, tiny.inputs())
    with session(folder / "policy.onnx") as run:
        found = contracts.decide(contract, run, inputs)
        one = contracts.decide(contract, run, {name: values[:1] for name, values in inputs.items()})
    assert list(found) == [output["name"] for output in contract["outputs"]]
    assert_near(found, tiny.reference.outputs(inputs, list(found)))
    assert_near(one, {name: values[:1] for name, values in found.items()})
    operators = {node.op_type for node in onnx.load(folder / "policy.onnx").graph.node}
    assert not operators & UNFIT, "onnx-tf lacks them, or surrounds them with others"


@pytest.mark.parametrize("case", ["ppo_grid", "recurrentppo_of_several", "maskableppo_choices"])
def test_newest_opset_decides_as_sb3(made: Callable[[str], Tiny], convert: Callable[..., Any], case: str) -> None:
    tiny = made(case)
    folder, contract = convert(tiny, sb3_to_onnx, **{**POLICY, "opset": 26, "integer": "int32"})
    inputs = as_taken(contract, tiny.inputs())
    with session(folder / "policy.onnx") as run:
        found = contracts.decide(contract, run, inputs)
    assert str(found["action"].dtype) == contract["outputs"][0]["dtype"] != "int64"
    assert_near(found, tiny.reference.outputs(inputs, list(found)))
    assert "Shape" not in {node.op_type for node in onnx.load(folder / "policy.onnx").graph.node}


def test_one_extractor_scales_nothing_and_normalizes_nothing_twice(
    made: Callable[[str], Tiny], convert: Callable[..., Any]
) -> None:
    folder, _ = convert(made("dqn_of_image_linear"), sb3_to_onnx, **POLICY)
    found = [node.op_type for node in onnx.load(folder / "policy.onnx").graph.node]
    convolutions = ["Transpose", *["Conv", "Relu"] * 3, "Transpose", "Flatten"]
    assert found == [*convolutions, "MatMul", "Add", "Relu", "MatMul", "Add", "ArgMax"]


@pytest.mark.parametrize("case", KINDS)
def test_core_for_integers_decides_as_sb3(
    made: Callable[[str], Tiny], read: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Inputs equalized and outputs centered by the calibration, told in the contract."""
    monkeypatch.setattr(observing, "STEPS", 16)
    tiny = made(case)
    source, contract = read(tiny)
    calibration, target = tmp_path / "calibration", tmp_path / "target"
    calibration.mkdir()
    target.mkdir()
    world = {"id": "", "optional": False}
    held = {
        "environment": world,
        "episodes": 1,
        "samples": 64,
        "edges": 0,
        "seed": 1,
        "calibration": True,
        "file": "",
        "drawn": True,
    }
    observing.observe(source, calibration, held)
    sb3_to_onnx.convert(source, target, contract, {**POLICY, "part": "core", "calibration": str(calibration)})
    inputs = as_taken(contract, tiny.inputs())
    with session(target / "policy.onnx") as run:
        found = contracts.decide(contract, run, inputs)
    wanted = tiny.reference.outputs(inputs, list(found))
    for name, values in wanted.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=2e-4, err_msg=name)
    if wanted["action"].dtype.kind == "i":
        assert (found["action"] == wanted["action"]).mean() > 0.98
    chosen = any(step["op"] == "argmax" for step in contract["epilogue"])
    assert (contract["decision"] == "preferences") is chosen
    names = {entry["name"] for entry in contract["inputs"]}
    assert not names & {"keep", "action_mask"}


# --- TorchScript -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", KINDS)
def test_torchscript_decides_as_sb3(made: Callable[[str], Tiny], convert: Callable[..., Any], case: str) -> None:
    tiny = made(case)
    folder, contract = convert(tiny, sb3_to_torchscript)
    inputs = as_taken(contract, tiny.inputs())
    threads = torch.get_num_threads()
    found = torchscript.load(folder, contract, {})(inputs)
    torch.set_num_threads(threads)
    assert_near(found, tiny.reference.outputs(inputs, list(found)))


@pytest.mark.parametrize("hop", [sb3_to_onnx, sb3_to_weights], ids=lambda hop: hop.__name__)
def test_same_agent_gives_the_same_bytes(made: Callable[[str], Tiny], convert: Callable[..., Any], hop: Any) -> None:
    written = []
    for _ in range(2):
        folder, contract = convert(made("maskableppo_of_several"), hop, **POLICY)
        written.append({name: (folder / name).read_bytes() for name in contract["files"]})
    assert written[0] == written[1]


def test_extractor_that_the_numpy_policy_lacks_is_not_run(
    made: Callable[[str], Tiny], convert: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sb3_to_weights, "OPERATORS", {})
    with pytest.raises(errors.NotRun, match="Not supported: the NumPy policy has no Tanh"):
        convert(made("ppo_box"), sb3_to_weights)
