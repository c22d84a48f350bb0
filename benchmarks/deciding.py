"""How long a decision takes in every runtime, beside SB3's ``predict``: the shipped examples, one thread.

    ./doit bench:deciding [ARTIFACTS]

./doit builds ``cartpole_ppo`` and ``pendulum_sac``, unless ARTIFACTS is a folder that has them. Every artifact is
opened in a process of its own (:mod:`benchmarks.deciders` and its siblings in JavaScript and C++), which decides about
observations of the agent's own rollouts, when and for how long it is asked to. The processes take turns in short
slices, SB3's among them, so that whatever else the machine does meets all of them.

Writes ``docs/benchmarks/deciding.json``, ``.md``, ``.png`` and ``.svg``; ends with 1 where a figure is not reached.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import deciding_page, measuring
from benchmarks.measuring import Goal, Job
from pipeline import contract as contracts
from pipeline import toolchains

AGENTS = ("cartpole_ppo", "pendulum_sac")
ROWS, BATCHES = 256, (1, 8, 256)
STARTS = 3  # of each process; the last one stays
ROUNDS, SLICE = 20, 0.05  # turns of each process at each batch, and seconds of each
CLOSE = 1e-3  # of the action's range: float artifacts must act so near to predict, or something else was timed
SB3, ONNX, TFLITE = "sb3", "onnxruntime", "tflite"
FASTER = {ONNX: 15, TFLITE: 40}  # times, to reach


@dataclasses.dataclass(frozen=True)
class Method:
    """A kind of artifact in a runtime.

    :param call: the function of :mod:`benchmarks.deciders`, or of ``deciders.mjs``
    :param exact: in full precision
    """

    says: str
    kind: str
    toolchain: str
    call: str
    exact: bool = True
    batch_1: bool = False


METHODS = {
    SB3: Method("SB3's predict", "sb3", "torch", "sb3"),
    "sb3_normalized": Method("SB3's VecNormalize and predict", "sb3", "torch", "sb3_normalized"),
    "torchscript": Method("TorchScript, torch", "torchscript", "torch", "torchscript"),
    "libtorch": Method("TorchScript, libtorch (C++)", "torchscript", "libtorch", ""),
    "savedmodel": Method("SavedModel, TensorFlow", "savedmodel", "tensorflow", "savedmodel"),
    "tfjs": Method("TensorFlow.js, Node", "tfjs", "node", "tfjs"),
    "ortweb": Method("ONNX Runtime Web, Node", "onnx_web", "node", "ortweb"),
    "weights": Method("weights, NumPy", "weights", "device", "weights"),
    ONNX: Method("ONNX, ONNX Runtime", "onnx", "device", "onnx"),
    TFLITE: Method("TFLite float32, LiteRT", "tflite", "device", "litert", batch_1=True),
    "tflite_float16": Method("TFLite float16, LiteRT", "tflite_float16", "device", "litert", exact=False, batch_1=True),
    "tflite_whole": Method("TFLite int8, whole, LiteRT", "tflite_whole", "device", "litert", exact=False, batch_1=True),
    "tflite_core": Method("TFLite int8, NumPy around it, LiteRT", "tflite_quantized", "device", "litert_core",
                          exact=False, batch_1=True),
    "tflite_micro": Method("TFLite int8, TFLite Micro (reference kernels)", "tflite_quantized", "device",
                           "tflite_micro", exact=False, batch_1=True),
}  # fmt: skip


def build(work: Path) -> tuple[Path, str]:
    """The examples' artifacts, and what ./doit said."""
    configs = work / "configs"
    configs.mkdir()
    shutil.copytree(measuring.ROOT / "configs" / "agents", configs / "agents")
    for agent in AGENTS:
        shutil.copyfile(measuring.ROOT / "configs" / f"{agent}.toml", configs / f"{agent}.toml")
    said = measuring.build(configs, work / "artifacts")
    return work / "artifacts", said


def compiled(work: Path) -> str:
    """``decider.cpp`` as a program, linked as the toolchain's own; "" where there is no compiler."""
    compiler = toolchains.compiler()
    if compiler is None or not toolchains.ready("libtorch"):
        return ""
    asked = [toolchains.python("torch"), "-c", "import torch; print(torch.__path__[0])"]
    torch = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[-1])
    flags = ["-std=c++20", "-O2", *(["-Wl,--no-as-needed"] if sys.platform == "linux" else [])]
    places = [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    source = str(measuring.ROOT / "benchmarks" / "decider.cpp")
    subprocess.run([compiler, *flags, *places, source, "-o", str(work / "decider"), *libraries], check=True)
    return str(work / "decider")


def command(method: Method, home: Path, rows: Path, width: int, program: str) -> list[str]:
    """What opens an artifact; [] where this machine lacks what it needs."""
    folder = home / method.kind
    told = [str(rows), str(width)]
    if method.toolchain == "libtorch":
        return [program, str(folder / "policy.pt"), *told] if program else []
    if not toolchains.ready(method.toolchain):
        return []
    if method.toolchain == "node":
        node = toolchains.folder("node")
        return [str(node / "node"), "benchmarks/deciders.mjs", method.call, str(node), str(folder), *told]
    return [toolchains.python(method.toolchain), "-m", "benchmarks.deciders", method.call, str(folder), *told]


class Decider:
    """A process that has an artifact open; ``seconds`` from its start to its first decision."""

    def __init__(self, call: Sequence[str], log: Path) -> None:
        begun = time.perf_counter()
        with log.open("a", encoding="utf-8") as said:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": said, "text": True}
            self.process = subprocess.Popen(call, cwd=measuring.ROOT, env=toolchains.environment(), **pipes)  # type: ignore[call-overload]
        while (line := self.process.stdout.readline()) and line != "ready\n":
            pass  # a library's greeting
        if not line:
            sys.exit(f"{' '.join(call)} ended with {self.process.wait()}:\n{log.read_text(encoding='utf-8')[-3000:]}")
        self.seconds = time.perf_counter() - begun

    def ask(self, line: str) -> np.ndarray:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return np.array(json.loads(self.process.stdout.readline()), float)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def measure(home: Path, work: Path, program: str) -> dict[str, Job]:
    """Figures of one agent by method; ``reason`` where it was not measured."""
    with np.load(home / "observations" / "observations.npz") as stored:
        seen = stored["observation"].astype(np.float32)[:ROWS]
    rows = work / f"{home.name}.f32"
    np.resize(seen, (ROWS, seen.shape[1])).tofile(rows)
    found: dict[str, Job] = {}
    running: dict[str, Decider] = {}
    starts: dict[str, list[float]] = {}
    normalized = (home / "sb3" / "vecnormalize.pkl").is_file()
    for start in range(STARTS):
        for name, method in METHODS.items():
            call = command(method, home, rows, seen.shape[1], program)
            if name == "sb3_normalized" and not normalized:
                continue
            if not call or not (home / method.kind / contracts.FILE).is_file():
                found[name] = {"reason": f"no {method.toolchain} here" if not call else "./doit did not build it"}
                continue
            decider = Decider(call, work / f"{home.name}-{name}.txt")
            starts.setdefault(name, []).append(decider.seconds)
            if start < STARTS - 1:
                decider.end()
            else:
                running[name] = decider
    actions = {name: decider.ask("act") for name, decider in running.items()}
    times = in_turns(running)
    for decider in running.values():
        decider.end()
    contract = contracts.load(home / "sb3")
    for name in running:
        held = contracts.load(home / METHODS[name].kind) if name not in (SB3, "sb3_normalized") else {}
        files = held.get("files", ["agent.zip", "vecnormalize.pkl"])
        found[name] = {
            "batches": {str(batch): figures(slices, batch, times[SB3][batch]) for batch, slices in times[name].items()},
            "start": statistics.median(starts[name]),
            "bytes": sum(size(home / METHODS[name].kind / file) for file in files),
            **agreement(actions[SB3], actions[name], contract),
        }
        if METHODS[name].exact and not found[name]["as_predict"]:
            sys.exit(f"{home.name}: {name} does not act as predict ({found[name]['agreement']})")
    return found


def size(path: Path) -> int:
    """Bytes of a file, or of all in a folder; 0 where it is not there."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".py")


def in_turns(running: dict[str, Decider]) -> dict[str, dict[int, list[np.ndarray]]]:
    """Nanoseconds of decisions, by method and batch a list of slices; the slices of one round belong together."""
    found: dict[str, dict[int, list[np.ndarray]]] = {name: {batch: [] for batch in BATCHES} for name in running}
    for _ in range(ROUNDS):
        for batch in BATCHES:
            for name, decider in running.items():
                found[name][batch].append(decider.ask(f"time {batch} {SLICE}"))
    return found


def figures(slices: list[np.ndarray], batch: int, reference: list[np.ndarray]) -> Job:
    """What decisions took, in microseconds, and how many times that is faster than the reference's in the same rounds.

    :param slices: nanoseconds of decisions, an array a round
    """
    every = np.concatenate(slices)
    rounds = [float(np.median(theirs) / np.median(ours)) for ours, theirs in zip(slices, reference, strict=True)]
    return {
        "p50": float(np.quantile(every, 0.5)) / 1e3,
        "p99": float(np.quantile(every, 0.99)) / 1e3,
        "per_second": float(batch * len(every) / every.sum() * 1e9),
        "decisions": len(every),
        "faster": float(np.median(np.concatenate(reference)) / np.median(every)),
        "faster_in_rounds": [min(rounds), max(rounds)],
    }


def agreement(wanted: np.ndarray, found: np.ndarray, contract: Job) -> Job:
    """Whether actions are predict's, and the figure for it."""
    span = contracts.action_range(contract["action_space"])
    if span is None:
        equal = int((wanted == found).all(axis=1).sum())
        return {"as_predict": equal == len(wanted), "agreement": f"{equal}/{len(wanted)}"}
    error = float((np.abs(wanted - found) / span).max())
    return {"as_predict": error <= CLOSE, "agreement": f"±{error:.1e}"}


def goals(agents: dict[str, dict[str, Job]]) -> list[Goal]:
    """What is to be reached: so many times faster than predict, at the median, for each agent."""
    found = []
    for name, times in FASTER.items():
        held = {agent: methods[name]["batches"]["1"]["faster"] for agent, methods in agents.items()
                if "batches" in methods.get(name, {})}  # fmt: skip
        said = ", ".join(f"{value:.1f} ({agent})" for agent, value in held.items()) or "not measured"
        reached = len(held) == len(agents) and min(held.values(), default=0) >= times
        found.append(Goal(f"predict's p50 by that of {METHODS[name].says}", said, f"≥ {times} for each", reached))
    return found


def main(arguments: list[str]) -> int:
    """Measure, write and judge."""
    begun = time.monotonic()
    said = ""
    with measuring.alone(), tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if arguments:
            artifacts = Path(arguments[0]).expanduser().resolve()
        else:
            print(f"building {' and '.join(AGENTS)} with ./doit", flush=True)
            artifacts, said = build(work)
        program = compiled(work)
        found = {}
        for agent in AGENTS:
            found[agent] = measure(artifacts / agent, work, program)
            print(f"    {agent}: predict p50 {found[agent][SB3]['batches']['1']['p50']:.0f} µs", flush=True)
    print(measuring.refusals(said), end="")
    reached = goals(found)
    result = {
        "unit": "microseconds",
        "slice": SLICE,
        "rounds": ROUNDS,
        "starts": STARTS,
        "methods": {key: {"says": held.says, "batch_1": held.batch_1} for key, held in METHODS.items()},
        "load": os.getloadavg()[0],
        "agents": found,
    }
    return measuring.finish("deciding", begun, reached, result, deciding_page.page, "charts")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
