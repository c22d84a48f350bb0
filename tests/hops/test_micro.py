"""The C++ for microcontrollers: really compiled, run around TFLM's kernels, and held to the contract's arithmetic.

The example alone is only compiled, against stand-ins for TFLM's headers (``micro_stub``).
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import contract as contracts
from pipeline import errors, toolchains
from pipeline.hops import micro_source, micro_template, tflite_int8_to_micro, tflite_structure
from pipeline.runtimes import micro, micro_interpreter, signatures, tflite_micro
from running import Built

AGENTS = [
    *("ppo_box", "ppo_discrete", "ppo_image", "ppo_dict", "a2c_multibinary", "maskable_discrete", "sac", "td3", "tqc"),
    *("maskable_multidiscrete", "recurrent_box", "recurrent_dict"),
]
STUB = Path(__file__).with_name("micro_stub")
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wdouble-promotion", "-Wconversion", "-Werror"]
ROWS = 48


@pytest.fixture
def compiler() -> str:
    found = toolchains.compiler()
    if found is None:
        pytest.skip(toolchains.absence("libtorch"))
    return found


def compiles(compiler: str, *arguments: str) -> str:
    """What the compiler says; "" where it is content."""
    return subprocess.run([compiler, *arguments], capture_output=True, text=True, timeout=120).stderr


def made(built: Built, agent: str, target: Path) -> tuple[Path, dict[str, Any]]:
    """The artifact of an agent, and its contract."""
    source = built.artifacts / agent / "tflite_int8"
    contract = contracts.load(source)
    target.mkdir(exist_ok=True)
    tflite_int8_to_micro.convert(source, target, contract, {})
    contracts.dump(contract, target)
    return target, contracts.load(target)


def observations(built: Built, agent: str) -> dict[str, np.ndarray]:
    """Of the agent's own rollouts and of the edges of its space; sequences where it is recurrent."""
    contract = contracts.load(built.artifacts / agent / "tflite_int8")
    seen = contracts.read_inputs(contract, built.artifacts / agent / "observations" / "observations.npz")
    if contract["states"]:
        return {name: values[:2, :ROWS] for name, values in seen.items()}
    return {name: np.concatenate([values[:ROWS], values[-ROWS:]]) for name, values in seen.items()}


def answers(contract: dict[str, Any], run: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if contract["states"]:
        return contracts.follow(contract, lambda inputs: contracts.decide(contract, run, inputs), given)[0]
    return contracts.decide(contract, run, given)


@pytest.mark.parametrize("agent", AGENTS)
def test_compiled_policy_answers_as_the_core_between_the_contracts_steps(
    compiler: str, tiny_agents: Built, tmp_path: Path, agent: str
) -> None:
    """Integers in and out are the same to the last one; ``tanh`` alone may differ in its last bit."""
    source = tiny_agents.artifacts / agent / "tflite_int8"
    core = contracts.load(source)
    folder, contract = made(tiny_agents, agent, tmp_path / "micro")
    given = observations(tiny_agents, agent)
    run = micro.load(folder, contract, {})
    found = answers(contract, run, given)
    wanted = answers(core, tflite_micro.load(source, core, {}), given)
    assert sorted(found) == sorted(wanted) == sorted(output["name"] for output in contract["outputs"])
    for output in contract["outputs"]:
        name = output["name"]
        assert found[name].shape == wanted[name].shape
        assert str(found[name].dtype) == output["dtype"]
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-6 if name == "action" else 0)
    assert run.figures == {"arena_bytes": contract["micro"]["measured"]}


def test_policies_in_one_process_keep_their_own_tables(compiler: str, tiny_agents: Built, tmp_path: Path) -> None:
    """Static variables of inline functions are one for a whole process, unless they are hidden."""
    held = {}
    for agent in ("tqc", "recurrent_box", "ppo_box", "sac"):
        folder, contract = made(tiny_agents, agent, tmp_path / agent)
        held[agent] = (contract, micro.load(folder, contract, {}))
    for agent, (contract, run) in reversed(held.items()):
        core = contracts.load(tiny_agents.artifacts / agent / "tflite_int8")
        given = observations(tiny_agents, agent)
        alone = tflite_micro.load(tiny_agents.artifacts / agent / "tflite_int8", core, {})
        np.testing.assert_allclose(
            answers(contract, run, given)["action"], answers(core, alone, given)["action"], atol=1e-6
        )


def test_contract_is_that_of_a_whole_policy_with_the_array_first(tiny_agents: Built, tmp_path: Path) -> None:
    _, contract = made(tiny_agents, "ppo_dict", tmp_path)
    assert contract["files"] == ["policy_data.cc", "policy_data.h", "policy.h", "policy_example.cc"]
    assert contract["part"] == "policy"
    assert [(e["name"], e["shape"][0], e["dtype"]) for e in contract["inputs"]] == [
        ("choice", 1, "int32"),
        ("image", 1, "uint8"),
        ("vector", 1, "float32"),
    ]
    assert contract["outputs"][0] == {"name": "action", "shape": [1, 3], "dtype": "int32"}
    told = contract["micro"]
    assert told["arena"] % 16 == 0 and told["measured"] * 1.25 + 1024 <= told["arena"]
    assert f"kArenaBytes = {told['arena']};" in (tmp_path / "policy.h").read_text()


@pytest.mark.parametrize("agent", ["ppo_box", "recurrent_dict"])
def test_array_is_the_model_to_the_byte_and_the_same_each_time(tiny_agents: Built, tmp_path: Path, agent: str) -> None:
    model = (tiny_agents.artifacts / agent / "tflite_int8" / "policy.tflite").read_bytes()
    texts = []
    for name in ("one", "other"):
        folder, contract = made(tiny_agents, agent, tmp_path / name)
        texts.append({file: (folder / file).read_text() for file in contract["files"]})
    assert texts[0] == texts[1]
    array = texts[0]["policy_data.cc"]
    assert bytes(int(byte, 16) for byte in re.findall(r"0x[0-9a-f]{2}", array)) == model
    assert "alignas(16) const unsigned char policy_data[] = {" in array
    assert f"policy_data_size = {len(model)};" in array


# --- the steps, each of them -----------------------------------------------------------------------


class Passed:
    """In the place of TFLM: the integers go through the network as they are."""

    def __init__(self, takes: dict[str, Any], gives: dict[str, Any]) -> None:
        self.takes, self.gives = takes, gives

    def __call__(self, **tensors: np.ndarray) -> dict[str, np.ndarray]:
        joined = np.concatenate([tensors[name].ravel() for name in self.takes])
        return {name: np.resize(joined, entry["shape"]).astype(entry["dtype"]) for name, entry in self.gives.items()}


def entry(name: str, size: int, place: int, dtype: str = "int8", **more: Any) -> dict[str, Any]:
    told = {"name": name, "shape": [1, size], "dtype": dtype, "place": place, "role": "observation"}
    return {**told, "layout": "batch first", **more}


def quantized(tensor: dict[str, Any], contract: dict[str, Any]) -> dict[str, Any]:
    told = contract["quantization"].get(tensor["name"], {"scale": 0.0, "zero_point": 0})
    return {**tensor, **told, "quantization": (told["scale"], told["zero_point"])}


STEPS = {
    "normalize": {"op": "normalize", "mean": [0.5, -3.0, 1e5], "variance": [4.0, 1e-9, 2e6], "epsilon": 1e-8, "clip": 10.0},
    "normalize without end": {"op": "normalize", "mean": [0.1, 0.2, 0.3], "variance": [1, 2, 3], "epsilon": 0.0, "clip": "inf"},
    "equalize": {"op": "equalize", "middle": [0.1, -2.0, 30.0], "half": [1.5, 0.003, 400.0]},
    "one_hot": {"op": "one_hot", "sizes": [4]},
    "one_hot of several": {"op": "one_hot", "sizes": [3, 2]},
    "reset": {"op": "reset", "by": "keep"},
    "mask": {"op": "mask", "input": "action_mask", "value": -1e8},
    "argmax": {"op": "argmax"},
    "argmax of several": {"op": "argmax", "sizes": [2, 1, 3]},
    "positive": {"op": "positive"},
    "tanh": {"op": "tanh"},
    "clip": {"op": "clip", "low": ["-inf", -0.25, 0.1, -1, -1, -1], "high": ["inf", 0.25, "inf", 1, 1, 1]},
    "unscale": {"op": "unscale", "low": [-2.0, 0.0, -0.1, -1, -1, -5], "high": [2.0, 1.0, 0.3, 1, 1, 7]},
    "reshape": {"op": "reshape", "shape": [2, 3]},
}  # fmt: skip
BEFORE = ("normalize", "equalize", "one_hot", "reset")
CASES: dict[str, list[list[str]]] = {
    **{name: [[name], []] for name in STEPS if name.startswith(BEFORE)},
    **{name: [[], [name]] for name in STEPS if not name.startswith(BEFORE)},
    "nothing": [[], []],
    "normalize, equalize": [["normalize", "equalize"], []],
    "mask, argmax of several": [[], ["mask", "argmax of several"]],
    "tanh, unscale, reshape": [[], ["tanh", "unscale", "reshape"]],
}


def contract_of(before: list[str], behind: list[str], dtype: str) -> dict[str, Any]:
    """A contract of one observation, with these steps around a network that passes integers on."""
    hot = next((STEPS[name]["sizes"] for name in before if name.startswith("one_hot")), None)
    taken = entry("class", len(hot) if hot else 3, 0, "int32" if hot else "float32")
    takes = [taken, entry("keep", 1, 0, "float32", role="keep"), entry("action_mask", 6, 0, "bool", role="mask")]
    levels = {"int8": 0.031, "int16": 1e-4}.get(dtype)
    scales = {"class": {"scale": levels, "zero_point": -3 if dtype == "int8" else 0}} if levels else {}
    if levels:
        scales["logits"] = {"scale": levels * 0.7, "zero_point": 5 if dtype == "int8" else 0}
    return {
        "agent": "tiny",
        "algorithm": "PPO",
        "part": "core",
        "takes": takes,
        "inputs": [entry("class", sum(hot) if hot else 3, 0, dtype)],
        "outputs": [entry("logits", 6, 0, dtype)],
        "decision": "logits",
        "states": [],
        "prologue": [{"input": "class", **STEPS[name]} for name in before],
        "epilogue": [STEPS[name] for name in behind],
        "quantization": scales,
    }


@pytest.mark.parametrize(
    ("case", "dtype"),
    [*((case, "int8") for case in CASES), *((case, t) for case in ("equalize", "mask") for t in ("int16", "float32"))],
)
def test_each_step_in_cpp_is_the_contracts(compiler: str, tmp_path: Path, case: str, dtype: str) -> None:
    contract = contract_of(*CASES[case], dtype)
    action = tflite_int8_to_micro._action(contract)
    sizes = {"bytes": 1, "measured": 1, "arena": 16}
    (tmp_path / "policy.h").write_text(micro_source.header(contract, sizes, "a test", action))
    (tmp_path / "policy_data.h").write_text(micro_template.DATA_HEADER.format(told="a test"))
    (tmp_path / "policy_data.cc").write_text(micro_source.array(b"x", "a test"))
    sides = [{e["name"]: quantized(e, contract) for e in contract[side]} for side in ("inputs", "outputs")]
    passed: Any = Passed(*sides)
    whole = {
        **contract,
        "inputs": [{**e, "dtype": micro_source.taken(e)} for e in contract["takes"]],
        "outputs": [{"name": "action", "shape": action["shape"], "dtype": "float32" if action["type"] == "float" else "int32"}],
    }  # fmt: skip
    run = micro._Policy(micro._library(tmp_path), passed, whole)
    rng = np.random.default_rng(0)
    rows = 300
    inputs: dict[str, np.ndarray] = {
        "keep": rng.integers(0, 2, (rows, 1)).astype(np.float32),
        "action_mask": rng.random((rows, 6)) < 0.5,
    }
    if contract["takes"][0]["dtype"] == "int32":
        inputs["class"] = rng.integers(0, 2, (rows, contract["takes"][0]["shape"][1])).astype(np.int32)
    else:
        inputs["class"] = (rng.normal(size=(rows, 3)) * 10.0 ** rng.integers(-3, 6, (rows, 1))).astype(np.float32)
        inputs["class"][:4] = [[np.inf, -np.inf, 0], [3.4e38, -3.4e38, 1e-40], [0.0465, 0.0775, -0.0155], [0, 0, 0]]
    found = run(inputs)
    wanted = contracts.decide(contract, signatures.rows(passed, *sides), inputs)
    tolerance = 1e-6 if "tanh" in case else 0
    np.testing.assert_allclose(found["logits"], wanted["logits"], rtol=tolerance, atol=0)
    np.testing.assert_allclose(found["action"], wanted["action"], rtol=tolerance, atol=tolerance)


def test_every_step_of_the_contract_has_its_cpp() -> None:
    source = (toolchains.ROOT / "pipeline" / "contract.py").read_text(encoding="utf-8")
    steps = set(re.findall(r'step\["op"\] == "(\w+)"', source))
    assert len(steps) >= 10
    assert steps == {step["op"] for step in STEPS.values()}


@pytest.mark.parametrize("side", ["prologue", "epilogue"])
def test_step_without_cpp_is_not_run(side: str) -> None:
    contract = {**contract_of([], [], "int8"), side: [{"op": "whiten", "input": "class"}]}
    with pytest.raises(errors.NotRun, match="Not supported: there is no C\\+\\+ for the step whiten"):
        micro_source.header(contract, {"bytes": 1, "measured": 1, "arena": 16}, "", {"type": "float", "count": 6})


@pytest.mark.parametrize("name", ["class", "INPUT", "PI", "linux", "co_await", "a__b", "observation"])
def test_names_of_keys_are_names_in_cpp(compiler: str, tmp_path: Path, name: str) -> None:
    contract = contract_of(["equalize"], ["argmax"], "int8")
    for entries in (contract["takes"], contract["inputs"]):
        entries[0] |= {"name": name, "key": 'a "key"\\'}
    contract["prologue"][0]["input"] = name
    contract["quantization"][name] = {"scale": 1.0, "zero_point": 0}
    text = micro_source.header(
        contract, {"bytes": 1, "measured": 1, "arena": 16}, "", {"type": "int32_t", "count": 1, "shape": [1]}
    )
    macros = "#define INPUT 0x0\n#define PI 3.14\n"
    (tmp_path / "policy.cc").write_text(macros + text + "\nint main() { return 0; }\n")
    assert not compiles(compiler, "-std=gnu++20", "-w", "-fsyntax-only", str(tmp_path / "policy.cc"))


# --- the example -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "standard"),
    [("ppo_box", "c++17"), ("maskable_discrete", "c++17"), *(("recurrent_dict", f"c++{n}") for n in (11, 17, 20))],
)
def test_example_compiles_against_stand_ins_for_tflms_headers(
    compiler: str, tiny_agents: Built, tmp_path: Path, agent: str, standard: str
) -> None:
    folder, _ = made(tiny_agents, agent, tmp_path)
    files = [str(folder / name) for name in ("policy_example.cc", "policy_data.cc")]
    flags = [f"-std={standard}", *STRICT, "-fsyntax-only", f"-I{STUB}"]
    assert not compiles(compiler, *flags, *files)


@pytest.mark.parametrize(
    ("there", "instead"),
    [("AddTanh", "AddTangent"), ("arena_used_bytes", "arena_bytes"), ("policy::act(", "policy::act(1, ")],
)
def test_stand_ins_lack_what_tflm_lacks(
    compiler: str, tiny_agents: Built, tmp_path: Path, there: str, instead: str
) -> None:
    folder, _ = made(tiny_agents, "ppo_box", tmp_path)
    text = (folder / "policy_example.cc").read_text()
    assert there in text
    (folder / "policy_example.cc").write_text(text.replace(there, instead))
    said = compiles(compiler, "-std=c++17", "-fsyntax-only", f"-I{STUB}", str(folder / "policy_example.cc"))
    assert "error:" in said


def test_snippet_of_the_documentation_compiles(compiler: str, tiny_agents: Built, tmp_path: Path) -> None:
    page = (toolchains.ROOT / "docs" / "microcontrollers.md").read_text(encoding="utf-8")
    snippets = re.findall(r"<!-- compiled with: (\w+) -->\n```cpp\n(.*?)```", page, re.DOTALL)
    assert len(snippets) == page.count("```cpp") == 1
    for agent, text in snippets:
        folder, contract = made(tiny_agents, agent, tmp_path)
        body = f"int decide(tflite::MicroInterpreter& interpreter) {{\n{text}\nreturn torque > 0 ? 2 : 3;\n}}\n"
        includes = '#include "policy.h"\n#include "tensorflow/lite/micro/micro_interpreter.h"\n'
        (folder / "snippet.cc").write_text(includes + body)
        assert not compiles(compiler, "-std=c++17", *STRICT, "-fsyntax-only", f"-I{STUB}", str(folder / "snippet.cc"))
        files = page.split("| file |")[1].split("\n\n")[0]
        assert set(contract["files"]) <= set(re.findall(r"`([\w.]+)`", files))


@pytest.mark.parametrize("agent", AGENTS)
def test_example_registers_the_operators_of_its_network_and_no_others(
    tiny_agents: Built, tmp_path: Path, agent: str
) -> None:
    folder, contract = made(tiny_agents, agent, tmp_path)
    model = (tiny_agents.artifacts / agent / "tflite_int8" / "policy.tflite").read_bytes()
    operators = set(tflite_structure.structure(model)["operators"])
    added = re.findall(r"resolver\.Add(\w+)\(\)", (folder / "policy_example.cc").read_text())
    assert sorted(name.upper() for name in added) == sorted(operator.replace("_", "") for operator in operators)
    assert f"MicroMutableOpResolver<{len(added)}>" in (folder / "policy_example.cc").read_text()
    assert set(contract["micro"]["operators"]) == operators


def test_every_operator_of_tflm_is_registered_by_its_name() -> None:
    """Those that its Python package has, but for signal processing's, which converters never write."""
    import tflite_micro

    (library,) = Path(tflite_micro.__file__).parent.rglob("_runtime*.so")
    registered = {name.decode() for name in re.findall(rb"Register_([A-Z0-9_]+?)Ev", library.read_bytes())}
    names = set(re.findall(r"Add(\w+)\(\)", (STUB / "tensorflow/lite/micro/micro_mutable_op_resolver.h").read_text()))
    methods = {
        re.search(r"Add(\w+)\(\)", tflite_int8_to_micro._added(operator))[1]: operator for operator in registered
    }  # type: ignore[index]
    assert len(registered) > 100
    absent = names - set(methods)
    assert absent <= {"CircularBuffer", "DetectionPostprocess"}, "custom operators"


# --- what goes wrong -------------------------------------------------------------------------------


def test_without_a_compiler_it_is_not_run(tiny_agents: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, contract = made(tiny_agents, "ppo_box", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.NotRun, match="No C\\+\\+ compiler found"):
        micro.load(folder, contract, {})


def altered(folder: Path, file: str, there: str, instead: str) -> None:
    text = (folder / file).read_text()
    assert there in text
    (folder / file).write_text(text.replace(there, instead, 1))


def test_cpp_that_does_not_compile_is_quoted(compiler: str, tiny_agents: Built, tmp_path: Path) -> None:
    folder, contract = made(tiny_agents, "ppo_box", tmp_path)
    altered(folder, "policy.h", "struct Action {", "struct Action")
    with pytest.raises(errors.ConverterFailed, match="The C\\+\\+ does not compile: .*error:"):
        micro.load(folder, contract, {})


@pytest.mark.parametrize(
    ("file", "there", "instead", "said"),
    [
        ("policy_data.cc", "policy_data_size = ", "policy_data_size = 1 + ", "policy.h is of another policy_data.cc"),
        ("policy.h", "float observation[3];", "float observation[4];", "policy.h takes other inputs than policy.json"),
    ],
)
def test_files_of_two_builds_are_refused(
    compiler: str, tiny_agents: Built, tmp_path: Path, file: str, there: str, instead: str, said: str
) -> None:
    folder, contract = made(tiny_agents, "ppo_box", tmp_path)
    altered(folder, file, there, instead)
    with pytest.raises(errors.OutputsUnfit, match=said):
        micro.load(folder, contract, {})


def test_wrong_number_in_the_header_shows_in_the_answers(compiler: str, tiny_agents: Built, tmp_path: Path) -> None:
    """That the runtime takes the header's arithmetic, not the contract's."""
    folder, contract = made(tiny_agents, "ppo_box", tmp_path)
    given = observations(tiny_agents, "ppo_box")
    before = answers(contract, micro.load(folder, contract, {}), given)
    altered(folder, "policy.h", "x = (x - middle1[i]) / half1[i];", "x = (x - middle1[i]) / (2 * half1[i]);")
    after = answers(contract, micro.load(folder, contract, {}), given)
    assert np.abs(before["mean"] - after["mean"]).max() > 0.05


def test_failing_network_ends_the_decision(
    compiler: str, tiny_agents: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, contract = made(tiny_agents, "ppo_box", tmp_path)
    run = micro.load(folder, contract, {})

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("TFLM failed to invoke")

    monkeypatch.setattr(micro_interpreter.Fitted, "__call__", broken)
    with pytest.raises(RuntimeError, match="TFLM failed to invoke"):
        contracts.decide(contract, run, observations(tiny_agents, "ppo_box"))
