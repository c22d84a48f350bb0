"""The floor: the chain's own conversions in one process a toolchain, everything imported and exercised once before.

No orchestration, no checks, nothing run, no other process. Its CPU time is what the converters themselves need.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.measuring import Job
from pipeline import artifacts, toolchains
from pipeline.hops import HOPS, wanted
from pipeline.spec import Agent, Hop


def measure(agents: Sequence[Agent], built: Path, target: Path) -> dict[str, float]:
    """CPU seconds by kind of artifact, over all agents.

    :param built: the artifacts of these agents, from which every conversion starts
    :param target: a folder for what is made
    """
    found: dict[str, float] = {}
    for toolchain in ("torch", "tensorflow", "device"):
        jobs = [job for agent in agents for job in conversions(agent, built, target) if job["toolchain"] == toolchain]
        asked = {"name": toolchain, "imports": toolchains.TOOLCHAINS[toolchain].imports, "jobs": jobs}
        (seconds,) = measuring.inside(toolchain, "benchmarks.floor:convert", [asked], 1)
        for job, cpu in zip(jobs, seconds, strict=True):
            found[job["kind"]] = found.get(job["kind"], 0.0) + cpu
    return found


def conversions(agent: Agent, built: Path, target: Path) -> list[Job]:
    """A job of :mod:`pipeline.doing` for each conversion that the chain did: not what it found no need for, and not
    the end of a ladder, which is a copy.
    """
    home = built / agent.name
    found = []
    for hop in wanted(agent.targets):
        made = artifacts.manifest(home / hop.kind)
        if made is not None and made.status == "built" and not hop.rungs:
            found.append(_job(agent, hop, home, target / agent.name / hop.kind))
    return found


def rungs() -> set[str]:
    """Kinds of which a failed check is a finding, as a later one may pass."""
    return {kind for hop in HOPS for kind in hop.rungs}


def _job(agent: Agent, hop: Hop, home: Path, target: Path) -> Job:
    from pipeline.steps import of_hop

    settings = {**hop.settings, **{name: of_hop._setting(agent, dotted) for name, dotted in hop.reads.items()}}
    golden = str(home / "observations" / "about.json") if hop.source == "sb3" else ""
    return {
        "module": hop.module,
        "kind": hop.kind,
        "toolchain": hop.toolchain,
        "source": str(home / hop.source),
        "target": str(target),
        "golden": golden,
        "tools": {},
        "settings": {**settings, **{name: str(home / name) for name in hop.inputs}},
    }


def convert(asked: Job) -> list[float]:
    """In the toolchain: CPU seconds of each conversion, in this one process.

    :param asked: ``imports`` and ``jobs``
    """
    doing: Any = importlib.import_module("pipeline.doing")
    for name in asked["imports"]:
        importlib.import_module(name)
    once = {job["kind"]: job for job in reversed(asked["jobs"])}
    for kind in [job["kind"] for job in asked["jobs"]]:
        if kind in once:
            _do(doing, once.pop(kind), "-once")
    return [_do(doing, job, "") for job in asked["jobs"]]


def _do(doing: Any, job: Job, suffix: str) -> float:
    target = job["target"] + suffix
    Path(target).mkdir(parents=True)
    begun = time.process_time()
    doing.convert({**job, "target": target})
    return time.process_time() - begun
