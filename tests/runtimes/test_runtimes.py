"""Each runtime binds by name, and says what is wrong when an artifact does not run."""

from __future__ import annotations

import json
import shutil
import sys
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


# --- programs that are kept running ----------------------------------------------------------------

# Answers with its first input doubled, its number of calls, and its model's path.
PROGRAM = r"""
import json, os, pathlib, sys
calls = 0
for line in sys.stdin:
    calls += 1
    folder = pathlib.Path(line.strip())
    job = json.loads((folder / "job.json").read_text())
    entry = job["inputs"][0]
    held = (folder / entry["file"]).read_bytes()
    if entry["shape"][0] == 7:
        sys.exit("a batch of seven\nRuntimeError: no such batch\nbye")
    (folder / "out0").write_bytes(held)
    (folder / "out1").write_bytes(calls.to_bytes(4, "little"))
    calls_entry = {"name": job["outputs"][1], "shape": [1], "dtype": "int32", "file": "out1"}
    echo = {**entry, "name": job["outputs"][0], "file": "out0"}
    (folder / "outputs.json").write_text(json.dumps([echo, calls_entry]))
    print("done", flush=True)
"""


@pytest.fixture
def a_program(tmp_path: Path) -> raw.Program:
    return raw.Program([sys.executable, "-c", PROGRAM], tmp_path / "model", ["echo", "calls"])


@pytest.mark.parametrize(
    "values",
    [
        OBSERVATION["observation"],
        np.arange(24, dtype=np.int32).reshape(2, 3, 4),
        np.array([[True, False, True]]),
        np.arange(24.0, dtype=np.float32).reshape(2, 3, 4).transpose(0, 2, 1),
        np.array([3], np.int64),
    ],
    ids=["float", "int32", "bool", "transposed", "indices"],
)
def test_tensors_reach_a_program_and_come_back(a_program: raw.Program, values: np.ndarray) -> None:
    found = a_program({"x": values, "y": np.zeros((2, 1), np.float32)})
    assert found["echo"].dtype == values.dtype
    np.testing.assert_array_equal(found["echo"], values)


def test_program_is_started_once_for_all_calls(a_program: raw.Program) -> None:
    """A recurrent policy asks it at every step."""
    calls = [int(a_program({"x": np.zeros((n, 2), np.float32)})["calls"][0]) for n in (1, 5, 2)]
    assert calls == [1, 2, 3]


def test_program_is_given_its_model(tmp_path: Path) -> None:
    tells = "import sys; sys.exit('model ' + sys.argv[1])"
    with pytest.raises(errors.ConverterFailed, match=f"model {tmp_path.resolve()}/model"):
        raw.Program([sys.executable, "-c", tells], tmp_path / "model", [])({"x": np.zeros(1)})


def test_program_that_fails_is_quoted(tmp_path: Path) -> None:
    command = ["python3", "-c", "import sys; print('starting', file=sys.stderr); sys.exit('error: no such tensor')"]
    with pytest.raises(errors.ConverterFailed, match="python3 ended with 1: error: no such tensor"):
        raw.Program(command, tmp_path / "model", ["action"])(OBSERVATION)


def test_program_that_fails_later_is_quoted_by_its_telling_line(
    a_program: raw.Program, capsys: pytest.CaptureFixture[str]
) -> None:
    a_program(OBSERVATION)
    with pytest.raises(errors.ConverterFailed, match="ended with 1: RuntimeError: no such batch"):
        a_program({"x": np.zeros((7, 2), np.float32)})
    assert "a batch of seven" in capsys.readouterr().out, "the log has it all"


def test_program_ends_with_who_asks_it(a_program: raw.Program) -> None:
    a_program(OBSERVATION)
    process = a_program.process
    a_program.__del__()
    assert process.returncode == 0


def test_numpy_policy_needs_nothing_of_the_repository(artifact: Path) -> None:
    text = (artifact / "weights" / "numpy_policy.py").read_text()
    imported = {line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import", "from"))}
    assert imported == {"json", "math", "pathlib", "numpy", "safetensors"}
    layers = json.loads((artifact / "weights" / "architecture.json").read_text())["layers"]
    assert [layer["op"] for layer in layers] == ["linear", "tanh", "linear", "tanh", "linear"]
