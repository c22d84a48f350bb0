"""What a hop says when its source or its tool is not as it should be."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from pipeline import contract as contracts
from pipeline import errors, processes, toolchains
from pipeline.spec import Agent
from pipeline.steps import making
from running import Built

RUNG = {"activations": "int8", "ranges": "extremes", "head": "int8"}
JOB = {"do": "convert", "golden": "", "tools": {}}


def place(toolchain: str) -> processes.Place:
    return making.place(Agent("a", "a.toml"), toolchain)


def convert(source: Path, target: Path, module: str, toolchain: str, **settings: object) -> None:
    target.mkdir(exist_ok=True)
    job = {**JOB, "module": module, "kind": "x", "source": str(source), "target": str(target), "settings": settings}
    processes.run(place(toolchain), job, target / "log.txt", processes.Limits(120))


@pytest.fixture
def an_onnx_artifact(shipped_agents: Built, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_agents.artifacts / "cartpole_ppo" / "onnx", tmp_path / "onnx"))


def test_wrong_opset_is_refused_with_both_numbers(an_onnx_artifact: Path, tmp_path: Path) -> None:
    model = onnx.load(an_onnx_artifact / "policy.onnx")
    model.opset_import[0].version = 11
    onnx.save(model, an_onnx_artifact / "policy.onnx")
    with pytest.raises(errors.OpsetUnfit, match=r"Expected 14, found 11"):
        convert(an_onnx_artifact, tmp_path / "out", "onnx_to_savedmodel", "tensorflow", opset=14)


def forge(artifact: Path, node: onnx.NodeProto, *constants: onnx.TensorProto) -> Path:
    """Put a graph of one node, observation [batch, 4] -> action, into an ONNX artifact."""
    takes, gives = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("observation", "action")
    )
    graph = helper.make_graph([node], "g", [takes], [gives], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), artifact / "policy.onnx"
    )
    return artifact


AXES = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
LACKING = {
    "onnx_to_savedmodel": (
        helper.make_node("Unsqueeze", ["observation", "axes"], ["action"]),
        "onnx-tf has no operator Unsqueeze",
    ),
    "savedmodel_to_tflite": (
        helper.make_node("Erf", ["observation"], ["action"]),
        "TensorFlow Lite has no operator Erf",
    ),
    "savedmodel_to_tflite_int8": (
        helper.make_node("Erf", ["observation"], ["action"]),
        "TensorFlow Lite has no operator Erf",
    ),
    "savedmodel_to_tfjs": (
        helper.make_node("Gather", ["observation", "axes"], ["action"], axis=1),
        "TensorFlow.js has no operator Assert",
    ),
}


@pytest.mark.parametrize("module", LACKING)
def test_operator_that_a_converter_lacks_is_named_and_is_no_failure(
    shipped_agents: Built, an_onnx_artifact: Path, tmp_path: Path, module: str
) -> None:
    node, wanted = LACKING[module]
    source = forge(an_onnx_artifact, node, AXES)
    if module != "onnx_to_savedmodel":
        convert(source, tmp_path / "savedmodel", "onnx_to_savedmodel", "tensorflow", opset=14)
        source = tmp_path / "savedmodel"
    calibration = str(shipped_agents.artifacts / "cartpole_ppo" / "calibration")
    with pytest.raises(errors.NotRun) as caught:
        given = {**RUNG, "opset": 14, "weights": "float32", "calibration": calibration}
        convert(source, tmp_path / "out", module, "tensorflow", **given)
    assert caught.value.what == f"not supported: {wanted}"


def test_truncated_source_quotes_the_telling_line_and_keeps_the_traceback(
    an_onnx_artifact: Path, tmp_path: Path
) -> None:
    content = (an_onnx_artifact / "policy.onnx").read_bytes()
    (an_onnx_artifact / "policy.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(errors.ConverterFailed, match="DecodeError: Error parsing message"):
        convert(an_onnx_artifact, tmp_path / "out", "onnx_to_savedmodel", "tensorflow", opset=14)
    assert "Traceback" in (tmp_path / "out" / "log.txt").read_text()


def test_constant_calibration_is_refused(shipped_agents: Built, tmp_path: Path) -> None:
    import numpy as np

    home = shipped_agents.artifacts / "cartpole_ppo"
    np.savez(tmp_path / "observations.npz", observation=np.full((40, 4), 3.4e38, np.float32))
    source = Path(shutil.copytree(home / "savedmodel_core", tmp_path / "core"))
    contract = contracts.load(source)
    contract["prologue"] = []
    contracts.dump(contract, source)
    with pytest.raises(errors.ObservationsNotFinite, match="gives int8 no useful scale"):
        calibration = str(tmp_path)
        given = {**RUNG, "calibration": calibration}
        convert(source, tmp_path / "out", "savedmodel_to_tflite_int8", "tensorflow", **given)


def test_job_that_dies_by_a_signal_names_it(tmp_path: Path) -> None:
    hop = toolchains.ROOT / "pipeline" / "hops" / "crashing_in_a_test.py"
    hop.write_text("import os\n\n\ndef convert(*_):\n    os.abort()\n", encoding="utf-8")
    (tmp_path / "policy.json").write_text("{}")
    try:
        with pytest.raises(errors.ConverterFailed, match="Convert died by SIGABRT") as caught:
            convert(tmp_path, tmp_path / "out", "crashing_in_a_test", "device")
    finally:
        hop.unlink()
    assert caught.value.file.endswith("log.txt")


def test_next_job_runs_although_the_last_one_died(shipped_agents: Built, tmp_path: Path) -> None:
    test_job_that_dies_by_a_signal_names_it(tmp_path)
    job = {
        "do": "run",
        "runtime": "weights",
        "source": str(shipped_agents.artifacts / "cartpole_ppo" / "weights"),
        "target": str(tmp_path),
        "observations": str(shipped_agents.artifacts / "cartpole_ppo" / "observations" / "observations.npz"),
        "needs": {},
    }
    ended = processes.run(place("device"), job, tmp_path / "log.txt", processes.Limits(60))
    assert ended["peak_kib"] > 0
    assert (tmp_path / "outputs.npz").is_file()
