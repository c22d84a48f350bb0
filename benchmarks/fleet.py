"""What a fleet costs: a folder of agents through every target with every check, beside the floor and the recipe.

    ./doit bench:fleet [FOLDER]

FOLDER has the layout of rl-zoo's trained agents; without it that is ``../shared/zoo`` beside the clone, or else as many
untrained agents. One run of ./doit in fresh artifacts, its processes watched; then, in the same run of the benchmark:
the floor (:mod:`benchmarks.floor`), the documented recipe (:mod:`benchmarks.recipe`), and the checks once more.

Writes ``docs/benchmarks/fleet.json``, ``.md``, ``.png`` and ``.svg``; ends with 1 where a figure is not reached.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import fleet_page, fleets, floor, logs, measuring, recipe, watching
from benchmarks.measuring import ROOT, Goal, Job
from pipeline import toolchains

AT_ONCE = 2
OVER_FLOOR, FASTER, MEMORY, CACHED = 1.5, 10, 4e9, 0.2


def plain_environment() -> dict[str, str]:
    """The caller's variables, without those that this toolchain set."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def build(fleet: str, artifacts: Path, cache: Path) -> watching.Watched:
    """./doit over the fleet, watched. An agent that fails has no artifact."""
    command = [str(ROOT / "doit"), "-n", str(AT_ONCE), fleet, f"artifacts={artifacts}", f"cache={cache}"]
    return watching.run(command, ROOT, plain_environment())


def from_cache(fleet: str, artifacts: Path, cache: Path) -> Job:
    """The fleet once more, out of the cache that the first run filled: ``seconds``, and steps that were not in it."""
    took = build(fleet, artifacts, cache)
    told = re.search(r"(\d+) steps run, (\d+) taken from the cache", took.said)
    return {"seconds": took.seconds, "ran": int(told[1]) if told else -1, "taken": int(told[2]) if told else 0}


def verdicts(artifacts: Path) -> dict[str, int]:
    """How many verdicts there are of each status."""
    found: dict[str, int] = {}
    for path in artifacts.glob("*/*/*/verdict.json"):
        status = json.loads(path.read_text(encoding="utf-8"))["status"]
        found[status] = found.get(status, 0) + 1
    return found


def rechecked(fleet: str, artifacts: Path) -> dict[str, float]:
    """CPU seconds of every check, by step."""
    host = toolchains.home() / "host" / "bin" / "python"
    command = [str(host), "-m", "benchmarks.rechecking", fleet, str(artifacts)]
    done = subprocess.run(command, cwd=ROOT, env=plain_environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def shares(took: watching.Watched, jobs: list[logs.Job], checks: dict[str, float]) -> dict[str, Job]:
    """CPU of a run by what it was for; the rest is what the looks and the logs do not tell apart."""
    found = {logs.KINDS.get(do, do): held for do, held in logs.by_kind(jobs).items()}
    for command, cpu in took.own("--warm").items():
        name = re.search(r"/(\w+)-[0-9a-f]{12}/bin/python", command)
        found[f"warm process: {name[1] if name else 'another'}"] = {"count": 1, "cpu": cpu}
    checking = sum(checks.values())
    found["checks"] = {"count": len(checks), "cpu": checking}
    found["doit itself"] = {"count": 1, "cpu": max(0.0, took.itself - checking)}
    told = sum(held["cpu"] for held in found.values())
    found["what is not told apart"] = {"count": 0, "cpu": took.cpu - told}
    return found


def per_hop(jobs: list[logs.Job], checks: dict[str, float], floors: dict[str, float]) -> dict[str, Job]:
    """CPU seconds of each hop over all agents: by kind of job, of its checks, and of its conversions in the floor."""
    found: dict[str, Job] = {hop: dict(held) for hop, held in logs.by_hop(jobs).items()}
    for name, cpu in checks.items():
        held = found.setdefault(name.split(":")[1], {})
        held["check"] = held.get("check", 0.0) + cpu
    for kind, cpu in floors.items():
        found.setdefault(kind, {})["floor"] = cpu
    return found


def per_agent(jobs: list[logs.Job]) -> dict[str, Job]:
    """CPU seconds of each agent's jobs, by kind."""
    found: dict[str, Job] = {}
    for job in jobs:
        held = found.setdefault(job.agent, {})
        held[job.do] = held.get(job.do, 0.0) + job.cpu
    return found


def followed(recipes: dict[str, Any]) -> Job:
    """Means of the recipe over the agents for which every script worked; where none did, over none."""
    whole = [steps for steps in recipes.values() if not any(step["reason"] for step in steps.values())]
    means = {
        key: sum(step[key] for steps in whole for step in steps.values()) / len(whole) if whole else 0.0
        for key in ("seconds", "cpu")
    }
    return {"agents": len(whole), "of": len(recipes), **means}


def goals(found: Job) -> list[Goal]:
    """What is to be reached."""
    agents, run, base = found["agents"], found["run"], found["recipe"]
    over = run["cpu"] / found["floor_cpu"]
    wall, cpu = (base[key] * agents / run[key] for key in ("seconds", "cpu"))
    known = base["agents"] > 0
    cached = found["cached"]["seconds"] / agents
    return [
        Goal("agents of which no check failed", f"{found['passed']} of {agents}", "all", found["passed"] == agents),
        Goal("CPU of the whole run by that of the floor", f"{over:.1f} times", f"≤ {OVER_FLOOR} times",
             over <= OVER_FLOOR),
        Goal("wall time of the documented recipe by ours, per agent", f"{wall:.1f} times", f"≥ {FASTER} times",
             wall >= FASTER if known else None),
        Goal("CPU of the documented recipe by ours, per agent", f"{cpu:.1f} times", f"≥ {FASTER} times",
             cpu >= FASTER if known else None),
        Goal("wall time of an agent out of a full cache", f"{cached:.2f} s", f"< {CACHED} s",
             found["cached"]["ran"] == 0 and cached < CACHED),
        Goal(f"peak memory of all processes, -n {AT_ONCE}", f"{run['peak'] / 1e9:.2f} GB", f"< {MEMORY / 1e9:.0f} GB",
             run["peak"] < MEMORY),
    ]  # fmt: skip


def passed(artifacts: Path, names: list[str]) -> int:
    """How many agents have verdicts, none of them "failed" but those of a ladder's rungs."""
    found = 0
    for name in names:
        stored = [
            (path.parents[1].name, json.loads(path.read_text(encoding="utf-8"))["status"])
            for path in (artifacts / name).glob("*/*/verdict.json")
        ]
        rungs = floor.rungs()
        ended = "tflite_quantized" in {kind for kind, _ in stored}
        found += ended and not any(status == "failed" for kind, status in stored if kind not in rungs)
    return found


def measure(arguments: list[str], work: Path) -> Job:
    """Everything, in order: ours first, as a user would find the machine."""
    fleet, origin = fleets.given(arguments, work)
    artifacts = work / "artifacts"
    agents = fleets.agents(fleet, artifacts)
    print(f"{len(agents)} agents: {origin}", flush=True)
    took = build(fleet, artifacts, work / "cache")
    print(f"    ./doit: {took.seconds:.0f} s, {took.cpu:.0f} s of CPU", flush=True)
    print(measuring.refusals(took.said), end="")
    cached = from_cache(fleet, work / "again", work / "cache")
    print(f"    out of the cache: {cached}", flush=True)
    jobs = logs.read(artifacts)
    checks = rechecked(fleet, artifacts)
    floors = floor.measure(agents, artifacts, work / "floor")
    print(f"    the floor: {sum(floors.values()):.0f} s of CPU", flush=True)
    recipes = {}
    for agent in agents:
        recipes[agent.name] = recipe.follow(artifacts / agent.name, work / "recipe" / agent.name)
        reasons = [step["reason"] for step in recipes[agent.name].values() if step["reason"]]
        seconds = sum(step["seconds"] for step in recipes[agent.name].values())
        print(f"    the recipe: {seconds:5.1f} s  {agent.name} {reasons[0] if reasons else ''}", flush=True)
    return {
        "agents_of": origin,
        "agents": len(agents),
        "passed": passed(artifacts, [agent.name for agent in agents]),
        "verdicts": verdicts(artifacts),
        "run": {"seconds": took.seconds, "cpu": took.cpu, "peak": took.peak, "at_once": AT_ONCE},
        "cached": cached,
        "shares": shares(took, jobs, checks),
        "per_hop": per_hop(jobs, checks, floors),
        "per_agent": per_agent(jobs),
        "largest_job": max((job.peak for job in jobs), default=0),
        "floor": floors,
        "floor_cpu": sum(floors.values()),
        "recipe": followed(recipes),
        "recipes": recipes,
    }


def main(arguments: list[str]) -> int:
    """Measure, write and judge."""
    begun = time.monotonic()
    with measuring.alone(), tempfile.TemporaryDirectory() as name:
        found = measure(arguments, Path(name))
    return measuring.finish("fleet", begun, goals(found), found, fleet_page.page, "charts")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
