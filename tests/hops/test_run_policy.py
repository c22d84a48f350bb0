"""run_policy.py: alone with an artifact's folder it acts as Slipway's own runtime does, and refuses what is broken."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline import contract as contracts
from pipeline import toolchains
from pipeline.hops import for_users, run_policy
from pipeline.runtimes import litert
from running import Built

AGENTS = [
    *("ppo_box", "ppo_discrete", "ppo_dict", "ppo_image", "a2c_multibinary", "maskable_multidiscrete", "sac", "tqc"),
    *("recurrent_box", "recurrent_dict"),
]
ROWS = 24


@pytest.fixture
def folder(tiny_agents: Built, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of an agent's artifact as users copy it: policy.json, the model, and the program."""

    def copied(agent: str) -> Path:
        source, target = tiny_agents.artifacts / agent / "tflite_int8", tmp_path / agent
        contract = contracts.load(source)
        target.mkdir()
        shutil.copy(source / "policy.tflite", target)
        contract["files"] = ["policy.tflite"]
        for_users.run_policy_copy(target, contract)
        contracts.dump(contract, target)
        assert sorted(path.name for path in target.iterdir()) == ["policy.json", "policy.tflite", "run_policy.py"]
        return target

    return copied


def seen(built: Built, agent: str) -> dict[str, np.ndarray]:
    """Observations of the agent's own, by input; sequences where it is recurrent."""
    home = built.artifacts / agent
    found = contracts.read_inputs(contracts.load(home / "sb3"), home / "observations" / "observations.npz")
    return {name: values[:2, :ROWS] if "keep" in found else values[:ROWS] for name, values in found.items()}


def program(folder: Path, *arguments: str, before: str = "pass") -> subprocess.CompletedProcess[str]:
    """The program in a fresh interpreter that finds nothing but installed packages."""
    text = f"import runpy, sys; {before}; sys.argv = {['run_policy.py', *arguments]!r}; "
    text += f"runpy.run_path({str(folder / 'run_policy.py')!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, text=True, timeout=120)


# --- acting ----------------------------------------------------------------------------------------

ALONE = """
import runpy, sys
import numpy as np
folder, where = sys.argv[1:]
policy = runpy.run_path(folder + "/run_policy.py")["Policy"](folder)
given = dict(np.load(where))
np.savez(where, **policy.decide(given))
ours = {"pipeline", "torch", "gymnasium", "stable_baselines3", "onnx", "tensorflow", "safetensors", "tflite_micro"}
assert not ours & {name.split(".")[0] for name in sys.modules}, sys.modules
"""


@pytest.mark.parametrize("agent", AGENTS)
def test_alone_it_answers_as_litert_between_the_contracts_steps(
    tiny_agents: Built, folder: Callable[[str], Path], tmp_path: Path, agent: str
) -> None:
    place = folder(agent)
    contract = contracts.load(place)
    given = {name: values.reshape(-1, *values.shape[2:]) if contract["states"] else values for name, values in seen(tiny_agents, agent).items()}  # fmt: skip
    rng = np.random.default_rng(0)
    for state in contract["states"]:
        given[state["input"]] = rng.uniform(-1, 1, (len(given["keep"]), state["units"])).astype(np.float32)
    np.savez(tmp_path / "held.npz", **given)
    command = [sys.executable, "-I", "-c", ALONE, str(place), str(tmp_path / "held.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    wanted = contracts.decide(contract, litert.load(place, contract, {}), given)
    with np.load(tmp_path / "held.npz") as found:
        assert sorted(found.files) == sorted(wanted)
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values)


def policy_of(place: Path) -> Any:
    return runpy.run_path(str(place / "run_policy.py"))["Policy"](place)


def observed(contract: dict[str, Any], inputs: dict[str, np.ndarray], row: Any) -> Any:
    """Rows as the environment gives them: a Dict by its keys, images in bytes."""
    entries = [entry for entry in contract["takes"] if entry["role"] == "observation"]
    found = {e.get("key", ""): inputs[e["name"]][row] for e in entries}
    bytes_ = {e.get("key", "") for e in entries if e["layout"].startswith("channel-")}
    found = {key: values.astype(np.uint8) if key in bytes_ else values for key, values in found.items()}
    return found.get("", found)


@pytest.mark.parametrize("agent", ["ppo_box", "ppo_discrete", "ppo_dict", "ppo_image", "a2c_multibinary", "sac"])
def test_one_observation_and_a_batch_give_the_same_actions(
    tiny_agents: Built, folder: Callable[[str], Path], agent: str
) -> None:
    policy, inputs = policy_of(folder(agent)), seen(tiny_agents, agent)
    contract = policy.contract
    batch = policy.predict(observed(contract, inputs, slice(None)))
    wanted = contracts.decide(contract, litert.load(policy.folder, contract, {}), inputs)["action"]
    np.testing.assert_array_equal(batch, wanted)
    for row in range(4):
        alone = policy.predict(observed(contract, inputs, row))
        assert np.shape(alone) == batch.shape[1:]
        np.testing.assert_array_equal(alone, batch[row])


@pytest.mark.parametrize("agent", ["recurrent_box", "recurrent_dict"])
def test_states_are_kept_until_an_episode_starts(tiny_agents: Built, folder: Callable[[str], Path], agent: str) -> None:
    policy, inputs = policy_of(folder(agent)), seen(tiny_agents, agent)
    contract = policy.contract
    inputs["keep"][:, [0, 7]] = 0
    inputs["keep"][1, 5] = 0
    assert inputs["keep"].min() == 0 and inputs["keep"].max() == 1
    run = litert.load(policy.folder, contract, {})
    wanted, _ = contracts.follow(contract, lambda given: contracts.decide(contract, run, given), inputs)
    actions = []
    for step in range(ROWS):
        starts = inputs["keep"][:, step, 0] == 0
        policy.reset(None if starts.all() else starts)
        actions.append(policy.predict(observed(contract, {n: v[:, step] for n, v in inputs.items()}, slice(None))))
    np.testing.assert_array_equal(np.stack(actions, axis=1).reshape(wanted["action"].shape), wanted["action"])
    one = observed(contract, {name: values[:, 0] for name, values in inputs.items()}, 0)
    with pytest.raises(ValueError, match="the states are not of 1 observations: call reset\\(\\) in between"):
        policy.predict(one)
    policy.reset()
    np.testing.assert_array_equal(policy.predict(one), actions[0][0])
    again = policy.predict(one)
    policy.reset()
    assert not np.array_equal(policy.predict(one), again) or agent != "recurrent_box", "states make a difference"


def test_action_mask_forbids(tiny_agents: Built, folder: Callable[[str], Path]) -> None:
    policy, inputs = policy_of(folder("maskable_multidiscrete")), seen(tiny_agents, "maskable_multidiscrete")
    free = policy.predict(inputs["observation"])
    sizes = policy.contract["epilogue"][-1]["sizes"]
    mask = np.ones((ROWS, sum(sizes)), bool)
    for row in range(ROWS):
        mask[row, free[row, 0]] = False
    held = policy.predict(inputs["observation"], mask)
    assert (held[:, 0] != free[:, 0]).all() and (held[:, 1:] == free[:, 1:]).all()
    np.testing.assert_array_equal(policy.predict(inputs["observation"][0], mask[0].tolist()), held[0])


@pytest.mark.parametrize(
    ("agent", "observation", "mask", "said"),
    [
        ("ppo_box", [1.0, 2.0], None, r"expected \(3,\) or \(batch, ...\) of it, batch first; found \(2,\)"),
        ("ppo_box", 1.0, None, r"found \(\)"),
        ("ppo_box", [np.nan, 0, 0], None, "holds NaN"),
        ("ppo_box", [1, 2, 3], [True], "takes no action_mask"),
        ("ppo_image", np.zeros((3, 40, 36), np.uint8), None, r"channel-last; found \(3, 40, 36\)"),
        ("ppo_dict", {"vector": [1, 2, 3], "image": np.zeros((40, 36, 3))}, None, "has no key 'choice'"),
        ("ppo_dict", [1, 2, 3], None, "has no key 'choice'"),
        ("maskable_multidiscrete", [0] * 6, [True] * 4, "cannot reshape"),
    ],
)
def test_observation_that_does_not_fit_is_told(
    folder: Callable[[str], Path], agent: str, observation: Any, mask: Any, said: str
) -> None:
    policy = policy_of(folder(agent))
    with pytest.raises(ValueError, match=said):
        policy.predict(observation, mask)


def test_parts_of_a_dict_are_of_one_batch(folder: Callable[[str], Path]) -> None:
    policy = policy_of(folder("ppo_dict"))
    image = np.zeros(policy.contract["takes"][1]["shape"][1:])
    for choice, vectors in ((1, np.zeros((2, 3))), (np.zeros(3, int), np.zeros((2, 3)))):
        images = np.zeros((2, *image.shape))
        with pytest.raises(ValueError, match="not of one batch"):
            policy.predict({"choice": choice, "vector": vectors, "image": images})


# --- the program -----------------------------------------------------------------------------------


def test_program_tells_errors_latency_and_the_action(folder: Callable[[str], Path]) -> None:
    place = folder("ppo_box")
    done = program(place, "--decisions", "50", "--observation", "[0.5, -0.25, 2]")
    assert done.returncode == 0, done.stderr
    first, golden, latency, action = done.stdout.splitlines()
    assert first == "ppo_box (PPO): policy.tflite in ai_edge_litert on the CPU"
    assert re.fullmatch(r"golden vectors hold: 8, largest error of mean [\d.e-]+ \(allowed [\d.e-]+\)", golden)
    assert re.fullmatch(r"latency of 50 decisions: p50 [\d.]+ ms, p99 [\d.]+ ms", latency)
    wanted = policy_of(place).predict([0.5, -0.25, 2]).tolist()
    assert json.loads(action.removeprefix("action: ")) == wanted


def test_program_takes_a_dict_and_a_mask(folder: Callable[[str], Path]) -> None:
    place = folder("maskable_discrete")
    takes = {entry["key"]: entry["shape"][1:] for entry in contracts.load(place)["takes"] if "key" in entry}
    observation = json.dumps({key: np.zeros(shape).tolist() for key, shape in takes.items()})
    for allowed in range(4):
        mask = json.dumps([choice == allowed for choice in range(4)])
        done = program(place, "--decisions", "1", "--observation", observation, "--action-mask", mask)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"action: {allowed}"


def test_program_finds_its_own_folder(folder: Callable[[str], Path], tmp_path: Path) -> None:
    place = folder("sac")
    command = [sys.executable, "-I", str(place / "run_policy.py"), "--decisions", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sac (SAC)")


def test_observation_of_another_shape_ends_the_program(folder: Callable[[str], Path]) -> None:
    done = program(folder("ppo_box"), "--decisions", "1", "--observation", "[1]")
    assert done.returncode == 1
    assert "run_policy: the observation observation has another shape: expected (3,)" in done.stderr


# --- what is broken --------------------------------------------------------------------------------


def contract_with(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(place: Path) -> None:
        contract = json.loads((place / "policy.json").read_text())
        change(contract)
        (place / "policy.json").write_text(json.dumps(contract))

    return damage


def model_with(change: Callable[[Any], None]) -> Callable[[Path], None]:
    """Another model, with policy.json made to agree with its bytes: only the golden vectors can tell."""

    def damage(place: Path) -> None:
        path = place / "policy.tflite"
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
        change(model)
        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        contract_with(lambda contract: contract.update(sha256={"policy.tflite": digest}))(place)

    return damage


def zero_weights(model: Any) -> None:
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data) > 100:
            buffer.data = np.zeros(len(buffer.data), np.uint8)


def other_scale(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.outputs[0]].quantization.scale = [0.125]


def flip(place: Path) -> None:
    content = bytearray((place / "policy.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (place / "policy.tflite").write_bytes(bytes(content))


def truncate(name: str, size: int) -> Callable[[Path], None]:
    def damage(place: Path) -> None:
        (place / name).write_bytes((place / name).read_bytes()[:size])

    return damage


def other_json(place: Path) -> None:
    (place / "policy.json").write_text("[1]")


def no_tflite(place: Path) -> None:
    (place / "policy.tflite").write_bytes(b"nothing")
    contract_with(lambda contract: contract.update(sha256={}))(place)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no policy.json": (lambda place: (place / "policy.json").unlink(), "policy.json cannot be read"),
    "truncated policy.json": (truncate("policy.json", 900), "policy.json or model damaged (JSONDecodeError"),
    "empty policy.json": (truncate("policy.json", 0), "policy.json or model damaged (JSONDecodeError"),
    "other JSON": (other_json, "policy.json or model damaged (TypeError"),
    "no model": (lambda place: (place / "policy.tflite").unlink(), "policy.tflite cannot be read"),
    "truncated model": (truncate("policy.tflite", 1500), "policy.tflite is damaged"),
    "one bit of the model": (flip, "policy.tflite is damaged, or not of this policy.json: its sha256 differs"),
    "no TFLite file": (no_tflite, "policy.json or model damaged (ValueError"),
    "weights of zero": (model_with(zero_weights), "this does not decide as the agent did"),
    "another scale": (model_with(other_scale), "mean is [[1, 2], 'int8', 0.125"),
    "another mean": (contract_with(lambda c: c["prologue"][0].update(mean=[9.0, -9.0, 9.0])), "this does not decide as"),
    "another bound": (contract_with(lambda c: c["epilogue"][0].update(low=[0.0, 0.0], high=[0.1, 0.1])), "golden actions"),
    "no step": (contract_with(lambda c: c.update(epilogue=[{"op": "whiten"}])), "unknown step 'whiten'"),
    "no golden vectors": (contract_with(lambda c: c.pop("golden")), "KeyError: 'golden'"),
    "empty golden vectors": (
        contract_with(lambda c: c["golden"].update(inputs={"observation": []}, outputs={"mean": [], "action": []})),
        "policy.json or model damaged",
    ),
    "golden vectors that are no numbers": (
        contract_with(lambda c: c["golden"]["outputs"].update(mean=[[float("nan")] * 2] * 8)),
        "mean is off by nan",
    ),
    "no recorded error": (contract_with(lambda c: c["golden"].pop("largest_error")), "KeyError: 'largest_error'"),
    "no tensor of that name": (contract_with(lambda c: c["inputs"][0].update(tensor="x")), "KeyError: 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_broken_folder_is_refused_with_its_reason(folder: Callable[[str], Path], damage: str) -> None:
    place = folder("ppo_box")
    breaks, said = DAMAGES[damage]
    breaks(place)
    done = program(place, "--observation", "[0, 0, 0]")
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stderr
    assert "run_policy: " in done.stderr and "Traceback" not in done.stderr
    assert "action" not in done.stdout


def test_model_of_another_agent_is_refused(folder: Callable[[str], Path]) -> None:
    place, other = folder("sac"), folder("crossq")
    shutil.copy(other / "policy.tflite", place)
    done = program(place)
    assert done.returncode == 1
    assert "policy.tflite is damaged, or not of this policy.json" in done.stderr


def test_without_a_tflite_runtime_it_says_what_to_install(folder: Callable[[str], Path]) -> None:
    block = "sys.modules.update(dict.fromkeys(['ai_edge_litert', 'tflite_runtime', 'tensorflow']))"
    done = program(folder("ppo_box"), before=block)
    assert done.returncode == 1
    assert "run_policy: no TFLite runtime is installed: pip install ai-edge-litert" in done.stderr


@pytest.mark.parametrize(("module", "name"), [("tflite_runtime", "interpreter"), ("tensorflow", "lite")])
def test_other_runtimes_are_taken_where_litert_is_not(folder: Callable[[str], Path], module: str, name: str) -> None:
    """Stand-ins under their names, each LiteRT's own interpreter."""
    block = (
        "import types, ai_edge_litert.interpreter as held; sys.modules['ai_edge_litert.interpreter'] = None; "
        f"made = types.ModuleType('{module}'); sys.modules['{module}'] = made; "
        "inner = types.SimpleNamespace(Interpreter=held.Interpreter, load_delegate=held.load_delegate, "
        "experimental=types.SimpleNamespace(load_delegate=held.load_delegate)); "
        f"made.{name} = inner; sys.modules['{module}.{name}'] = inner"
    )
    done = program(folder("ppo_box"), "--decisions", "1", before=block)
    assert done.returncode == 0, done.stderr
    assert f"policy.tflite in {module} on the CPU" in done.stdout


def test_compiled_model_wants_its_coral_and_the_cpu_the_other_model(folder: Callable[[str], Path]) -> None:
    place = folder("ppo_box")
    compiled = place / "policy_edgetpu.tflite"
    (place / "policy.tflite").rename(compiled)
    contract = contracts.load(place)
    recorded = contract["golden"]["largest_error"]
    contract["files"] = [compiled.name]
    for_users.run_policy_copy(place, contract)
    assert contract["files"] == [compiled.name, "run_policy.py"] and list(contract["sha256"]) == [compiled.name]
    assert contract["golden"]["largest_error"] == recorded, "what is compiled cannot be measured here"
    contracts.dump(contract, place)
    done = program(place)
    assert done.returncode == 1
    assert "run_policy: no Coral answers (libedgetpu.so.1 gave no delegate)" in done.stderr
    done = program(place, "--cpu")
    assert done.returncode == 1
    assert "policy.tflite cannot be read" in done.stderr
    shutil.copy(compiled, place / "policy.tflite")
    done = program(place, "--cpu", "--decisions", "1")
    assert done.returncode == 0, done.stderr
    assert "policy.tflite in ai_edge_litert on the CPU" in done.stdout


# --- what the artifact brings ----------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["ppo_box", "recurrent_dict"])
def test_contract_records_how_far_the_model_is_from_its_golden_vectors(
    tiny_agents: Built, folder: Callable[[str], Path], agent: str
) -> None:
    policy = policy_of(folder(agent))
    recorded = policy.contract["golden"]["largest_error"]
    assert sorted(recorded) == sorted(output["name"] for output in policy.contract["outputs"])
    for name, error in policy.errors.items():
        step = policy.contract["quantization"][name]["scale"]
        assert abs(error - recorded[name]) <= 8 * step, "kernels differ by a few steps"
        assert policy.allowed[name] == pytest.approx(recorded[name] + 16 * step, rel=1e-3)


def test_integer_artifacts_bring_the_program(tiny_agents: Built) -> None:
    built = tiny_agents.artifacts / "ppo_box" / "tflite_int8"
    assert contracts.load(built)["files"][:2] == ["policy.tflite", "run_policy.py"]
    ours = toolchains.ROOT / "pipeline" / "hops" / "run_policy.py"
    assert (built / "run_policy.py").read_bytes() == ours.read_bytes()


def test_program_needs_numpy_and_the_standard_library_alone_of_python_3_7() -> None:
    text = Path(run_policy.__file__).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 7))
    nodes = list(ast.walk(tree))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert imported == {"argparse", "hashlib", "importlib", "json", "sys", "time", "pathlib", "numpy"}
    later = (ast.NamedExpr, ast.Match, ast.TryStar)
    assert not [node for node in nodes if isinstance(node, later)]
    assert not [node for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)]
    assert not re.search(r"removeprefix|removesuffix|math\.prod|strict=|from __future__", text)


@pytest.mark.parametrize("side", ["prologue", "epilogue"])
def test_its_steps_are_those_of_the_contract(side: str) -> None:
    def steps(path: Path) -> set[str]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        body = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == side)
        return set(re.findall(r"step\['op'\] == '(\w+)'", ast.unparse(body)))

    ours = steps(Path(contracts.__file__))
    assert len(ours) >= 4
    assert steps(Path(run_policy.__file__)) == ours
