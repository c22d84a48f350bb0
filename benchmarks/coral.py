"""The benchmark of SB3's Coral example, done again: how long one decision takes, by a network's width and depth.

    ./doit bench:coral

Untrained PPO agents (``MlpPolicy``, four observations, two actions) are made by SB3 and go through ./doit to TFLite in
float32 and int8, and to the Edge TPU where there is a compiler. Then each decides about one observation at a time, in
one thread: SB3's own ``predict`` (the baseline), and LiteRT. The turns are taken in short slices, one method after the
other, so that whatever else the machine does meets all of them; only ratios of one run mean something.

Writes ``docs/benchmarks/coral.json``, ``.md``, ``.png`` and ``.svg``; ends with 1 where a figure is not reached.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import coral_page, measuring
from benchmarks.measuring import Goal, Job
from pipeline import artifacts, errors
from pipeline import contract as contracts
from pipeline.hops import edgetpu_lint, edgetpu_memory
from pipeline.runtimes import edgetpu

WIDTHS, DEPTHS = (16, 64, 256, 512, 1024, 2048), (1, 2, 3)
OBSERVATIONS = 64  # that decisions take in turn
ROUNDS, SLICE = 20, 0.03  # slices of each method, and seconds of each
LEAST, MOST = 5, 200  # decisions in a slice
CONFIG = """zip = "{name}.zip"
vecnormalize = "none"
targets = ["tflite", "tflite_whole", "edgetpu"]
[environment]
id = "CartPole-v1"
[int8]
rungs = ["int8"]
episodes = 1
most = 1
waiver = "untrained: there is no return to keep"
"""


def make(configs: Path) -> list[Job]:
    """An archive and its config for each network."""
    import torch
    from stable_baselines3 import PPO

    configs.mkdir()
    networks = []
    for width in WIDTHS:
        for depth in DEPTHS:
            name = f"w{width}xd{depth}"
            torch.manual_seed(0)
            layers = {"net_arch": {"pi": [width] * depth, "vf": [8]}}
            agent = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu", policy_kwargs=layers)
            differ(agent)
            agent.save(configs / f"{name}.zip")
            (configs / f"{name}.toml").write_text(CONFIG.format(name=name), encoding="utf-8")
            networks.append({"name": name, "width": width, "depth": depth})
    return networks


def differ(agent: Any) -> None:
    """Weights at which decisions differ, as those of a trained agent do: SB3 begins with biases of 0, and with a last
    layer a hundredth of the others.
    """
    import torch

    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        agent.policy.action_net.weight.mul_(100)
        for parameter in agent.policy.parameters():
            if parameter.ndim == 1:
                parameter.normal_(0, 0.3, generator=noise)


def describe(network: Job, home: Path) -> Job:
    """Sizes of what was built, and what an Edge TPU makes of it; ``reason`` where it was not built."""
    if not (home / "tflite_whole" / contracts.FILE).is_file():
        return {**network, "reason": "./doit did not build it"}
    core = (home / "tflite_quantized" / "policy.tflite").read_bytes()
    prediction = edgetpu_lint.predict(core)
    return {
        **network,
        "parameters": contracts.load(home / "sb3")["parameters"],
        "float32_bytes": (home / "tflite" / "policy.tflite").stat().st_size,
        "int8_bytes": len(core),
        "edge_tpu": prediction.sentence,
        "all_map": prediction.outcome == "all",
        "on_chip_bytes": prediction.memory.parameters,
        "streamed_bytes": prediction.memory.streamed,
        "compiler": compiled(home),
    }


def compiled(home: Path) -> Job:
    """What Google's compiler made of it; ``not_run`` and why, where it is not here."""
    stored = artifacts.manifest(home / "edgetpu")
    if stored is None or stored.status == "not_run":
        reason = stored.reason if stored else "it failed"
        return {"not_run": reason.split(";")[0]}
    mapping = contracts.load(home / "edgetpu")["mapping"]
    return {key: mapping[key] for key in ("compiler", "mapped", "left", "memory")}


def deciders(configs: Path, home: Path) -> tuple[dict[str, Callable[[int], object]], str]:
    """Every method as a function that decides about one of the observations; and why there is no Coral among them."""
    import torch
    from stable_baselines3 import PPO

    torch.set_num_threads(1)
    seen = np.random.default_rng(0).uniform(-1, 1, (OBSERVATIONS, 4)).astype(np.float32)
    agent = PPO.load(configs / f"{home.name}.zip", device="cpu")
    core = contracts.prologue(contracts.load(home / "tflite_quantized")["prologue"], {"observation": seen})
    found: dict[str, Callable[[int], object]] = {
        "sb3": lambda turn: agent.predict(seen[turn], deterministic=True),
        "float32": lite(home / "tflite" / "policy.tflite", seen),
        "int8": lite(home / "tflite_whole" / "policy.tflite", seen),
        "int8_core": lite(home / "tflite_quantized" / "policy.tflite", core["observation"]),
    }
    why = compiled(home).get("not_run", "")
    if not why:
        try:
            found["coral"] = lite(home / "edgetpu" / "policy_edgetpu.tflite", core["observation"], coral=True)
        except errors.NotRun as absent:
            why = absent.what
    return found, why


def lite(path: Path, seen: np.ndarray, coral: bool = False) -> Callable[[int], object]:
    """A TFLite file in LiteRT, in one thread: observation set, invoked, answer read.

    :param seen: what it takes, [observations, ...], in float; made integers beforehand where it takes those
    """
    from ai_edge_litert.interpreter import Interpreter, load_delegate

    delegates = []
    if coral:
        try:
            delegates = [load_delegate(edgetpu.LIBRARY)]
        except (OSError, ValueError):
            raise errors.NotRun(f"no Coral attached ({edgetpu.LIBRARY} gave no delegate)") from None
    interpreter = Interpreter(str(path), num_threads=1, experimental_delegates=delegates)
    interpreter.allocate_tensors()
    (taken,), given = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = taken["quantization"]
    ready = np.clip(np.round(seen / scale) + zero_point, -128, 127) if scale else seen
    rows = [row[None] for row in ready.astype(taken["dtype"])]

    def decide(turn: int) -> object:
        interpreter.set_tensor(taken["index"], rows[turn])
        interpreter.invoke()
        return [interpreter.get_tensor(tensor["index"]) for tensor in given]

    return decide


def latencies(methods: dict[str, Callable[[int], object]]) -> dict[str, Job]:
    """Milliseconds of a decision by method, p50 and p99, of slices that were taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    counts = {}
    for name, decide in methods.items():
        for turn in range(LEAST):  # what is made at the first decisions is made now
            begun = time.perf_counter()
            decide(turn)
            once = time.perf_counter() - begun
        counts[name] = int(np.clip(SLICE / once, LEAST, MOST))
    for _ in range(ROUNDS):
        for name, decide in methods.items():
            for turn in range(counts[name]):
                begun = time.perf_counter()
                decide(turn % OBSERVATIONS)
                times[name].append((time.perf_counter() - begun) * 1e3)
    return {
        name: {
            "p50": float(np.quantile(found, 0.5)),
            "p99": float(np.quantile(found, 0.99)),
            "decisions": len(found),
        }
        for name, found in times.items()
    }


def goals(networks: list[Job]) -> list[Goal]:
    """What is to be reached."""
    built = [row for row in networks if "latency" in row]
    mapped = sum(row["all_map"] for row in built)
    faster = [row["latency"]["sb3"]["p50"] / row["latency"]["int8"]["p50"] for row in built]
    least = min(faster, default=0.0)
    return [
        Goal("networks built and run", f"{len(built)} of {len(networks)}", "all", len(built) == len(networks)),
        Goal("that map to the Edge TPU as a whole, as predicted", f"{mapped} of {len(built)}", "all",
             mapped == len(built)),
        Goal("SB3's predict by int8 in LiteRT, p50", f"at least {least:.1f} times", "> 1 time for each", least > 1),
    ]  # fmt: skip


def main() -> int:
    """Measure, write and judge."""
    begun = time.monotonic()
    networks: list[Job] = []
    with measuring.alone(), tempfile.TemporaryDirectory() as name:
        work = Path(name)
        made = make(work / "configs")
        print(f"building {len(made)} networks with ./doit", flush=True)
        said = measuring.build(work / "configs", work / "artifacts")
        for network in made:
            home = work / "artifacts" / network["name"]
            row: dict[str, Any] = describe(network, home)
            if "reason" not in row:
                methods, why = deciders(work / "configs", home)
                row |= {"latency": latencies(methods), "coral": {"not_run": why} if why else {}}
                print(f"    {network['name']}: int8 p50 {row['latency']['int8']['p50']:.3f} ms", flush=True)
            networks.append(row)
    print(measuring.refusals(said), end="")
    reached = goals(networks)
    result = {
        "unit": "milliseconds",
        "slice": SLICE,
        "on_chip_bytes": edgetpu_memory.CACHE,
        "networks": networks,
    }
    return measuring.finish("coral", begun, reached, result, coral_page.page)


if __name__ == "__main__":
    sys.exit(main())
