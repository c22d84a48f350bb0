"""What integers cost public agents: Slipway's default, SB3's own Coral example, and what each part of ours gains.

    ./doit bench:quantization [FOLDER]

FOLDER has the layout of rl-zoo's trained agents; without it that is ``../shared/zoo`` beside the clone, or else the
three agents of ``configs/``. Of those whose environment gymnasium offers, every method's artifact acts in the same
seeded episodes, none of which was used to build it: ``kept = (artifact - random) / (source - random)`` of mean returns.
The methods are described in :mod:`benchmarks.rivals`. The example's own way to open an archive **executes what its
pickles hold**: name no folder of strangers' archives here.

Writes ``docs/benchmarks/quantization.json``, ``.md``, ``.png`` and ``.svg``; ends with 1 where a figure is not reached.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import measuring, quantization_page, rivals
from benchmarks.measuring import Goal, Job
from pipeline import checks, config, folder, spec
from pipeline import contract as contracts
from pipeline.hops import KINDS, edgetpu_lint, edgetpu_memory
from pipeline.settings import Ladder

ZOO = measuring.ROOT.parent / "shared" / "zoo"
OURS = "ours"
EXAMPLES, ABLATIONS = tuple(rivals.EXAMPLES), tuple(rivals.ABLATIONS)
METHODS = (OURS, *EXAMPLES, *ABLATIONS)
TARGETS = ["tflite", "edgetpu"]
KEPT = Ladder().return_kept
KILLED = 0.5  # of the return that is kept: below it the best of the example's variants has killed the agent
SMALLER, WIDE = 0.30, 256 * 256  # of the float32 file, for networks with as many parameters as two layers of 256


def configs_of(zoo: Path, target: Path) -> str:
    """A config with default settings for each agent; whence they are, in words."""
    if zoo.is_dir():
        target.mkdir()
        for agent in folder.scan(zoo, target):
            (target / f"{agent.name}.toml").write_text(config_of(agent), encoding="utf-8")
        return "DLR-RM/rl-trained-agents, an excerpt" if zoo == ZOO else "a folder of agents"
    shutil.copytree(measuring.ROOT / "configs", target)
    for path in config.paths(target):
        path.write_text(f"targets = {json.dumps(TARGETS)}\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    return "the three agents of configs/, as there is no folder of public ones beside the clone"


def config_of(agent: spec.Agent) -> str:
    """The config of an archive in a folder."""
    held = agent.environment
    lines = [f"zip = {json.dumps(agent.zip)}", f"vecnormalize = {json.dumps(agent.vecnormalize)}"]
    lines += [f"targets = {json.dumps(TARGETS)}", "[environment]", f"id = {json.dumps(held.id)}"]
    return "\n".join([*lines, f"frame_stack = {held.frame_stack}", "optional = true"]) + "\n"


def chosen(configs: Path) -> tuple[list[Job], dict[str, str]]:
    """The agents whose environment can be made here, and why others are left out; their configs are taken away."""
    jobs: list[Job] = []
    left_out: dict[str, str] = {}
    for path in config.paths(configs):
        agent = config.load(path, KINDS)
        jobs.append({"name": agent.name, "environment": dataclasses.asdict(agent.environment)})
    for job, told in zip(jobs, measuring.inside("torch", "benchmarks.playing:offered", jobs), strict=True):
        job |= told
        if job["reason"]:
            left_out[job["name"]] = job["reason"]
            (configs / f"{job['name']}.toml").unlink()
    return [job for job in jobs if not job["reason"]], left_out


def measure(jobs: list[Job], work: Path) -> dict[str, dict[str, Job]]:
    """Every method's figures by agent; or ``reason``, where it could not be followed.

    :param jobs: agents, as of :func:`chosen`
    :param work: the folder with ``artifacts``, in which ours are built
    """
    found: dict[str, dict[str, Job]] = {job["name"]: {} for job in jobs}
    built = []
    for job in jobs:
        folders = {"home": "artifacts", "folder": "rivals", "answers": "answers"}
        job |= {key: str(work / name / job["name"]) for key, name in folders.items()}
        if (Path(job["home"]) / "tflite_quantized" / contracts.FILE).is_file():
            built.append(job)
        else:
            found[job["name"]][OURS] = {"reason": "./doit built no tflite_quantized"}
    exported = measuring.inside("torch", "benchmarks.rivals:export", built)
    for job, reasons in zip(built, exported, strict=True):
        job["variants"] = [variant for variant, reason in reasons.items() if not reason]
    converted = measuring.inside("tensorflow", "benchmarks.rivals:convert", built)
    acting, asked = [], []
    for job, before, behind in zip(built, exported, converted, strict=True):
        reasons = {OURS: "", **before, **behind}
        found[job["name"]] = {name: {"reason": reasons[name]} for name in METHODS if reasons[name]}
        places = {name: place(job, name) for name in METHODS if not reasons[name]}
        runs = {name: run_of(job, name, artifact) for name, artifact in places.items()}
        asked += [{"name": f"{job['name']} {name}", **run} for name, run in runs.items()]
        acting.append(
            {**job, "methods": {name: decider(run) for name, run in runs.items()}, "fully": [OURS], **episodes()}
        )
    measuring.inside("device", "pipeline.doing:run", asked)
    acting.sort(key=lambda job: -job["steps"])  # the longest first, so that no core waits for one agent in the end
    played = measuring.inside("torch", "benchmarks.playing:play", acting)
    for job, returns in zip(acting, played, strict=True):
        for name, told in returns.items():
            found[job["name"]][name] = figures(job, name, told)
    return found


def episodes() -> Job:
    """As many as the gate takes by default."""
    return {name: getattr(Ladder(), name) for name in ("episodes", "most", "return_kept")}


def place(job: Job, method: str) -> Path:
    """The folder of a method's artifact."""
    return Path(job["home"]) / "tflite_quantized" if method == OURS else Path(job["folder"]) / method


def run_of(job: Job, method: str, artifact: Path) -> Job:
    """The job of :mod:`pipeline.doing` that runs an artifact in LiteRT."""
    target = Path(job["answers"]) / method
    target.mkdir(parents=True)
    seen = Path(job["home"]) / "observations" / "observations.npz"
    found = {"runtime": "litert", "source": artifact, "target": target, "observations": seen}
    return {**{key: str(value) for key, value in found.items()}, "needs": {}}


def decider(run: Job) -> str:
    """The file of the job in which an artifact answers."""
    path = Path(run["target"]) / "decide.json"
    files = {name: f"{run['target']}/{name}" for name in ("log", "result", "socket")}
    path.write_text(json.dumps({"do": "decide", **run, **files}), encoding="utf-8")
    return str(path)


def figures(job: Job, method: str, told: Job) -> Job:
    """What one method's artifact is worth."""
    home, artifact = Path(job["home"]), place(job, method)
    contract = contracts.load(artifact)
    about = json.loads((home / "observations" / "about.json").read_text(encoding="utf-8"))
    answers = Path(job["answers"]) / method / "outputs.npz"
    wanted, given = (dict(np.load(path)) for path in (home / "observations" / "reference.npz", answers))
    verdict = checks.compare(wanted, given, contract, Ladder(), samples=about["samples"], episodes=told)
    if "closed_loop" not in verdict.figures:
        return {"reason": verdict.reason}
    content = (artifact / contract["files"][0]).read_bytes()
    prediction = edgetpu_lint.predict(content)
    returns = {name: np.array(values) for name, values in told["returns"].items()}
    half = abs(returns["source"].mean() - returns["random"].mean()) / 2
    found = {
        **verdict.figures["closed_loop"],
        "died": float((returns["artifact"] < returns["source"] - half).mean()),
        "decisions": verdict.figures["decisions"]["share"] if "decisions" in verdict.figures else None,
        "action_error": verdict.figures.get("action_error"),
        "bytes": len(content),
        "edge_tpu": prediction.sentence,
        "all_map": prediction.outcome == "all",
        "mapped": [prediction.mapped, len(prediction.operators)],
    }
    if method == OURS:
        whole = (home / "tflite" / "policy.tflite").stat().st_size
        found |= {"rung": contract["rung"], "waived": "waiver" in contract, "float32_bytes": whole}
        found |= {"parameters": contract["parameters"], "environment": job["environment"]["id"]}
        found |= {"algorithm": contract["algorithm"], "on_chip": edgetpu_memory.size(prediction.memory.parameters)}
    return found


def best_example(methods: dict[str, Job]) -> float | None:
    """What the best of the example's variants keeps; None where none could be followed."""
    kept = [methods[name]["kept"] for name in EXAMPLES if "kept" in methods.get(name, {})]
    return max(kept) if kept else None


def goals(found: dict[str, dict[str, Job]]) -> list[Goal]:
    """What is to be reached with default settings."""
    ours = {agent: methods[OURS] for agent, methods in found.items()}
    kept = {agent: held.get("kept", 0.0) for agent, held in ours.items()}
    least = min(kept, key=lambda agent: kept[agent])
    lost = [agent for agent in kept if kept[agent] < KEPT or ours[agent].get("waived")]
    known = {agent: best_example(methods) for agent, methods in found.items()}
    killed = [agent for agent, best in known.items() if best is not None and best < KILLED]
    int8 = {agent: held for agent, held in ours.items() if held.get("rung", "").startswith("int8")}
    unmapped = [agent for agent, held in int8.items() if not held["all_map"]]
    wide = {a: h["bytes"] / h["float32_bytes"] for a, h in int8.items() if h["parameters"] >= WIDE}
    largest = max(wide.values(), default=0.0)
    saved = [agent for agent in killed if agent not in lost]
    return [
        Goal("return kept", f"at least {kept[least]:.1%} ({least}), of {len(kept)} agents", f"≥ {KEPT:.0%} on each",
             not lost),
        Goal(f"of agents of whose return the example's best variant keeps less than {KILLED:.0%}",
             f"{len(saved)} of {len(killed)} kept", "none lost", saved == killed if killed else None),
        Goal("int8 cores that map to the Edge TPU as a whole, as predicted",
             f"{len(int8) - len(unmapped)} of {len(int8)}", "all", not unmapped if int8 else None),
        Goal(f"size by the float32 TFLite, networks of 2×256 and more ({len(wide)})", f"at most {largest:.0%}",
             f"≤ {SMALLER:.0%}", largest <= SMALLER if wide else None),
    ]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Measure, write and judge."""
    begun = time.monotonic()
    zoo = Path(arguments[0]).expanduser().resolve() if arguments else ZOO
    if arguments and not zoo.is_dir():
        sys.exit(f"{zoo} is not a folder")
    with measuring.alone(), tempfile.TemporaryDirectory() as name:
        work = Path(name)
        origin = configs_of(zoo, work / "configs")
        print(f"agents: {origin}", flush=True)
        jobs, left_out = chosen(work / "configs")
        if not jobs:
            sys.exit(f"gymnasium has none of their environments here: {left_out}")
        print(f"building {len(jobs)} agents with ./doit", flush=True)
        said = measuring.build(work / "configs", work / "artifacts")
        found = measure(jobs, work)
    print(measuring.refusals(said), end="")
    reached = goals(found)
    result = {
        "agents_of": origin,
        "left_out": left_out,
        "episodes": episodes(),
        "methods": quantization_page.METHODS,
        "agents": found,
    }
    return measuring.finish("quantization", begun, reached, result, quantization_page.page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
