"""Each runtime binds by name, and says what is wrong when an artifact does not run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from pipeline import contract as contracts
from pipeline import errors, toolchains
from pipeline.runtimes import edgetpu, litert, ortweb, raw, signatures, tfjs, weights
from running import Built

OBSERVATION = {"observation": np.array([[0.01, -0.02, 0.03, 0.04], [0.0, 0.5, -0.1, 1.0]], np.float32)}
NODE = {"node": str(toolchains.folder("node"))}


@pytest.fixture
def artifact(shipped_agents: Built, tmp_path: Path) -> Path:
    """All artifacts of an agent, for a test to break."""
    return Path(shutil.copytree(shipped_agents.artifacts / "cartpole_ppo", tmp_path / "agent"))


@pytest.mark.parametrize(("runtime", "kind"), [(ortweb, "onnx_web"), (tfjs, "tfjs")])
def test_node_runtimes_answer_by_name_in_the_contracts_dtypes(artifact: Path, runtime: object, kind: str) -> None:
    contract = contracts.load(artifact / kind)
    found = runtime.load(artifact / kind, contract, NODE)(OBSERVATION)
    assert {name: str(values.dtype) for name, values in found.items()} == {"action": "int32", "logits": "float32"}
    reference = weights.load(artifact / "weights", {}, {})(OBSERVATION)
    assert np.array_equal(found["action"], reference["action"])
    assert np.allclose(found["logits"], reference["logits"], atol=1e-5)


def test_newest_opset_is_the_newest_that_onnx_runtime_web_takes(artifact: Path) -> None:
    folder = artifact / "onnx_web"
    model = onnx.load(folder / "policy.onnx")
    newest = model.opset_import[0].version
    model.opset_import[0].version = newest + 1
    onnx.save(model, folder / "policy.onnx")
    with pytest.raises(
        errors.ConverterFailed, match="Node ended with 1: Error: Can't create a session.*ValidateOpsetForDomain"
    ):
        ortweb.load(folder, contracts.load(folder), NODE)(OBSERVATION)


@pytest.mark.parametrize(
    ("runtime", "kind", "file"), [(ortweb, "onnx_web", "policy.onnx"), (tfjs, "tfjs", "model.json")]
)
def test_truncated_file_is_told_by_node(artifact: Path, runtime: object, kind: str, file: str) -> None:
    path = artifact / kind / file
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(errors.ConverterFailed, match=r"Node ended with 1: \w*Error: "):
        runtime.load(artifact / kind, contracts.load(artifact / kind), NODE)(OBSERVATION)


def test_tflite_takes_a_batch_row_by_row(artifact: Path) -> None:
    run = litert.load(artifact / "tflite", contracts.load(artifact / "tflite"), {})
    whole = run(OBSERVATION)
    rows = [run({"observation": OBSERVATION["observation"][row : row + 1]}) for row in (0, 1)]
    assert np.array_equal(whole["logits"], np.concatenate([row["logits"] for row in rows]))


class FakeSignature:
    """An interpreter with two inputs, one of them int8, in another order than they are given."""

    def get_signature_runner(self) -> FakeSignature:
        return self

    def get_input_details(self) -> dict:
        return {
            "b": {"quantization": (0.0, 0), "dtype": np.float32},
            "a": {"quantization": (0.5, -3), "dtype": np.int8},
        }

    def get_output_details(self) -> dict:
        return {"y": {"quantization": (0.25, 4), "dtype": np.int8}}

    def __call__(self, *, a: np.ndarray, b: np.ndarray) -> dict:
        assert (a.dtype, b.dtype) == (np.int8, np.float32)
        return {"y": (a + b.astype(np.int8)).astype(np.int8)}


def test_integers_are_quantized_and_dequantized_by_their_own_scale() -> None:
    run = signatures.bind(FakeSignature())
    given = {"a": np.array([[1.0], [1000.0]], np.float32), "b": np.array([[2.0], [0.0]], np.float32)}
    # a: round(1 / 0.5) - 3 = -1, and 127 at the end of its range; y: (-1 + 2 - 4) / 4 and (127 - 4) / 4
    assert run(given)["y"].tolist() == [[-0.75], [30.75]]


def test_coral_that_is_not_attached_is_not_run(artifact: Path) -> None:
    with pytest.raises(errors.NotRun, match="no Coral attached|No Coral attached"):
        edgetpu.load(artifact / "tflite_int8", contracts.load(artifact / "tflite_int8"), {})


def test_program_that_fails_is_quoted(tmp_path: Path) -> None:
    command = ["python3", "-c", "import sys; print('starting', file=sys.stderr); sys.exit('error: no such tensor')"]
    with pytest.raises(errors.ConverterFailed, match="python3 ended with 1: error: no such tensor"):
        raw.call(command, tmp_path / "model", OBSERVATION, ["action"])


def test_tensors_reach_a_program_and_come_back(tmp_path: Path) -> None:
    program = (
        "import json, pathlib, shutil, sys; folder = pathlib.Path(sys.argv[1])\n"
        "job = json.loads((folder / 'job.json').read_text()); entry = job['inputs'][0]\n"
        "shutil.copy(folder / entry['file'], folder / 'out0')\n"
        "(folder / 'outputs.json').write_text(json.dumps([{**entry, 'name': job['outputs'][0], 'file': 'out0'}]))"
    )
    found = raw.call(["python3", "-c", program], tmp_path / "model", OBSERVATION, ["echo"])
    assert np.array_equal(found["echo"], OBSERVATION["observation"])


def test_numpy_policy_needs_nothing_of_the_repository(artifact: Path) -> None:
    text = (artifact / "weights" / "numpy_policy.py").read_text()
    imported = {line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import", "from"))}
    assert imported == {"json", "pathlib", "numpy", "safetensors"}
    layers = json.loads((artifact / "weights" / "architecture.json").read_text())["layers"]
    assert [layer["op"] for layer in layers] == ["linear", "tanh", "linear", "tanh", "linear"]
