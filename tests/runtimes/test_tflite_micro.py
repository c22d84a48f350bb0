"""TensorFlow Lite Micro on this machine: as LiteRT within the rounding of kernels, in an arena that is just enough."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from pipeline import contract as contracts
from pipeline import doing, errors
from pipeline.hops import tflite_signature
from pipeline.runtimes import litert, micro_interpreter, signatures, tflite_micro
from running import Built

AGENTS = ["ppo_box", "sac", "ppo_image", "ppo_dict", "maskable_multidiscrete", "recurrent_box", "recurrent_dict"]
ROWS = 64


def core(built: Built, agent: str) -> tuple[Path, dict[str, Any]]:
    folder = built.artifacts / agent / "tflite_int8"
    return folder, contracts.load(folder)


def ready(built: Built, agent: str) -> dict[str, np.ndarray]:
    """What the core takes for observations of the agent's own; states of a recurrent one are drawn."""
    _, contract = core(built, agent)
    seen = contracts.read_inputs(contract, built.artifacts / agent / "observations" / "observations.npz")
    rng = np.random.default_rng(0)
    if contract["states"]:
        seen = {name: values.reshape(-1, *values.shape[2:]) for name, values in seen.items()}
        shape = len(seen["keep"])
        seen |= {s["input"]: rng.uniform(-1, 1, (shape, s["units"])).astype(np.float32) for s in contract["states"]}
    found = contracts.prologue(contract["prologue"], {name: values[:ROWS] for name, values in seen.items()})
    return {entry["name"]: found[entry["name"]] for entry in contract["inputs"]}


def apart(contract: dict[str, Any], one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Distances in steps of each output's scale."""
    steps = {name: contract["quantization"][name]["scale"] for name in one}
    return {name: np.abs(one[name] - other[name]) / steps[name] for name in one}


@pytest.mark.parametrize("agent", AGENTS)
def test_answers_are_those_of_litert_but_for_the_rounding_of_kernels(tiny_agents: Built, agent: str) -> None:
    """LiteRT's delegate XNNPACK rounds otherwise than its own kernels, and TFLM's otherwise than both."""
    folder, contract = core(tiny_agents, agent)
    given = ready(tiny_agents, agent)
    found = tflite_micro.load(folder, contract, {})(given)
    assert list(found) != [] and sorted(found) == sorted(output["name"] for output in contract["outputs"])
    plain = Interpreter(
        str(folder / "policy.tflite"), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    for other, mean in ((litert.load(folder, contract, {}), 2.0), (signatures.bind(plain), 1.0)):
        for name, steps in apart(contract, found, other(given)).items():
            assert steps.mean() <= mean, name
            assert np.quantile(steps, 0.9) <= 3 * mean, name
    assert all(len(np.unique(values)) > 1 for values in found.values()), "it does not answer the same to everything"


@pytest.mark.parametrize("agent", AGENTS)
def test_rows_do_not_know_of_one_another(tiny_agents: Built, agent: str) -> None:
    folder, contract = core(tiny_agents, agent)
    given = ready(tiny_agents, agent)
    run = tflite_micro.load(folder, contract, {})
    whole = run(given)
    backwards = run({name: values[::-1] for name, values in given.items()})
    for name, values in whole.items():
        np.testing.assert_array_equal(values, backwards[name][::-1])


@pytest.mark.parametrize("agent", AGENTS)
def test_arena_is_the_smallest_that_is_enough(tiny_agents: Built, agent: str) -> None:
    from tflite_micro import runtime

    folder, contract = core(tiny_agents, agent)
    content = (folder / "policy.tflite").read_bytes()
    arena = tflite_micro.load(folder, contract, {}).figures["arena_bytes"]
    runtime.Interpreter.from_bytes(content, arena_size=arena).invoke()
    with pytest.raises(RuntimeError, match="TFLM failed to allocate tensors"):
        runtime.Interpreter.from_bytes(content, arena_size=arena - micro_interpreter.ALIGNMENT)
    largest = max(np.prod(entry["shape"]) for entry in contract["inputs"])
    assert largest < arena < len(content) + 40 * largest


def test_search_for_the_arena_leaves_the_log_clean(tiny_agents: Built, capfd: pytest.CaptureFixture[str]) -> None:
    tflite_micro.load(*core(tiny_agents, "ppo_box"), {})
    assert "Failed" not in capfd.readouterr().err


def test_worker_writes_what_a_runtime_measured(tiny_agents: Built, tmp_path: Path) -> None:
    home = tiny_agents.artifacts / "ppo_box"
    seen = str(home / "observations" / "observations.npz")
    for runtime, measured in (("tflite_micro", True), ("litert", False)):
        target = tmp_path / runtime
        target.mkdir()
        job = {"runtime": runtime, "source": str(home / "tflite_int8"), "target": str(target), "needs": {}}
        doing.run({**job, "observations": seen})
        assert (target / "outputs.npz").is_file()
        assert (target / "figures.json").is_file() is measured
    figures = json.loads((tmp_path / "tflite_micro" / "figures.json").read_text())
    assert list(figures) == ["arena_bytes"] and 1000 < figures["arena_bytes"] < 10000


# --- files that TFLM cannot run --------------------------------------------------------------------


def forged(source: Path, target: Path, change: Callable[[Any], None]) -> Path:
    """A copy of an artifact with another graph in its model."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs((source / "policy.tflite").read_bytes(), 0))
    change(model)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    (target / "policy.tflite").write_bytes(bytes(builder.Output()))
    return target


def instead_of_tanh(operator: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        code = next(c for c in model.operatorCodes if c.builtinCode == schema.BuiltinOperator.TANH)
        code.builtinCode = operator
        code.deprecatedBuiltinCode = min(operator, 127)

    return change


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        ("SEGMENT_SUM", "not supported: TensorFlow Lite Micro has no operator SEGMENT_SUM"),
        ("EXP", "not supported: TensorFlow Lite Micro's operator EXP does not take its inputs"),
    ],
)
def test_operator_that_tflm_lacks_is_named_and_is_no_failure(
    tiny_agents: Built, tmp_path: Path, operator: str, said: str
) -> None:
    folder, contract = core(tiny_agents, "ppo_box")
    forged(folder, tmp_path, instead_of_tanh(getattr(schema.BuiltinOperator, operator)))
    with pytest.raises(errors.NotRun) as caught:
        tflite_micro.load(tmp_path, contract, {})
    assert caught.value.what.startswith(said)


def test_file_without_a_signature_is_refused(tiny_agents: Built, tmp_path: Path) -> None:
    folder, contract = core(tiny_agents, "ppo_box")
    forged(folder, tmp_path, lambda model: setattr(model, "signatureDefs", None))
    with pytest.raises(errors.OutputsUnfit, match="Expected one subgraph with one signature, found 1 with 0"):
        tflite_micro.load(tmp_path, contract, {})


def test_truncated_file_is_refused(tiny_agents: Built, tmp_path: Path) -> None:
    folder, contract = core(tiny_agents, "ppo_box")
    (tmp_path / "policy.tflite").write_bytes((folder / "policy.tflite").read_bytes()[:900])
    with pytest.raises(errors.TFLiteUnreadable):
        tflite_micro.load(tmp_path, contract, {})


def test_signature_tells_each_tensors_place(tiny_agents: Built) -> None:
    folder, contract = core(tiny_agents, "recurrent_dict")
    content = (folder / "policy.tflite").read_bytes()
    takes, gives = tflite_signature.signature(content)
    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner()
    for told, details, listed in (
        (takes, runner.get_input_details(), interpreter.get_input_details()),
        (gives, runner.get_output_details(), interpreter.get_output_details()),
    ):
        assert sorted(told) == sorted(details)
        for name, entry in told.items():
            held = listed[entry["place"]]
            assert held["index"] == details[name]["index"]
            assert (entry["tensor"], entry["shape"]) == (held["name"], held["shape"].tolist())
            assert (entry["scale"], entry["zero_point"]) == held["quantization"]
            assert np.dtype(entry["dtype"]) == held["dtype"]
    assert list(takes) != [entry["name"] for entry in contract["inputs"]], "converters have an order of their own"
