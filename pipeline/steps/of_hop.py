"""The steps of a hop: convert, run in each runtime, check."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, fingerprint, gate, toolchains
from pipeline import contract as contracts
from pipeline.hops import BY_KIND
from pipeline.processes import Job
from pipeline.runtimes import RUNTIMES
from pipeline.settings import Bound
from pipeline.spec import Agent, Hop, Runtime
from pipeline.steps import checking, ladder, making
from pipeline.steps.making import Step
from pipeline.steps.of_agent import OBSERVATIONS, RETURNS, SOURCE


def checks_of(kind: str) -> tuple[str, ...]:
    """Names of the steps that a hop from this kind waits for."""
    if kind == SOURCE:
        return (OBSERVATIONS,)
    return tuple(f"{kind}:{runtime}:check" for runtime in BY_KIND[kind].runtimes)


def _setting(agent: Agent, dotted: str) -> Any:
    value: Any = agent
    for part in dotted.split("."):
        value = getattr(value, part)
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]


def convert(agent: Agent, home: Path, hop: Hop) -> Step:
    """source kind -> ``KIND/``: the artifact and its contract."""
    if hop.rungs:
        return ladder.choose(agent, home, hop)
    source, folder = home / hop.source, home / hop.kind
    settings = {**hop.settings, **{name: _setting(agent, dotted) for name, dotted in hop.reads.items()}}
    golden = home / OBSERVATIONS / "about.json" if hop.source == SOURCE else None

    def key() -> dict[str, Any]:
        inputs = {name: making.files(home / name) for name in hop.inputs}
        if golden:
            inputs["golden"] = {"about.json": making.files(home / OBSERVATIONS).get("about.json", "")}
        code = fingerprint.code("pipeline.doing", f"pipeline.hops.{hop.module}")
        found = making.key_of(agent, hop.toolchain, code, settings, source=making.files(source), **inputs)
        if hop.rung:
            found["unneeded"] = ladder.unneeded(agent, home, hop)
        if hop.program:
            found["program"] = shutil.which(_setting(agent, hop.program)[0]) or "none"
        return found

    def make(staged: Path, log: Path) -> None:
        if ladder.unneeded(agent, home, hop):
            raise errors.NotRun(ladder.unneeded(agent, home, hop))
        for name in hop.inputs:
            above = artifacts.manifest(home / name)
            if above is not None and above.status == "not_run":
                raise errors.NotRun(above.reason)
        job = {
            "do": "convert",
            "module": hop.module,
            "kind": hop.kind,
            "source": source,
            "target": staged,
            "golden": golden or "",
            "tools": {hop.toolchain: making.tools(agent, hop.toolchain)},
            "settings": {**settings, **{name: home / name for name in hop.inputs}},
        }
        making.job(agent, hop.toolchain, job, log, here=bool(hop.program))

    return making.folder_step(
        agent,
        home,
        folder,
        f"{hop.kind}:convert",
        f"{hop.source} → {hop.kind}: {hop.says}",
        after=(*checks_of(hop.source), *hop.inputs, *(ladder.before(hop) if hop.rung else ())),
        needs=(hop.toolchain,),
        key=key,
        make=make,
        source=source,
    )


def run(agent: Agent, home: Path, hop: Hop, runtime: Runtime) -> Step:
    """artifact × observations -> ``KIND/RUNTIME/``: outputs, and for inexact kinds closed-loop returns."""
    artifact, seen = home / hop.kind, home / OBSERVATIONS
    closed_loop = bool(agent.environment.id) and hop.precision != "float"
    bound = agent.limits(hop.precision)
    settings: dict[str, Any] = {"runtime": runtime.name}
    if closed_loop and isinstance(bound, Bound):
        limits = {name: getattr(bound, name) for name in ("episodes", "most", "seed", "return_kept")}
        settings["closed_loop"] = {"environment": dataclasses.asdict(agent.environment), **limits}

    def key() -> dict[str, Any]:
        code = fingerprint.code("pipeline.doing", f"pipeline.runtimes.{runtime.name}")
        if closed_loop:
            code += fingerprint.code("pipeline.agents.evaluating")
        locks = {name: toolchains.lock_digest(name) for name in runtime.needs}
        ready = {name: toolchains.attainable(name) for name in runtime.needs}
        inputs: dict[str, Any] = {"source": making.files(artifact), "observations": making.files(seen)}
        inputs |= {"needs": locks, "ready": ready}
        if closed_loop:
            inputs["returns"] = making.files(home / RETURNS)
            inputs["twin"] = making.files(answered.parent) if (answered := _twin(home, hop, runtime)) else {}
        return making.key_of(agent, runtime.toolchain, code, settings, **inputs)

    def make(staged: Path, log: Path) -> None:
        for name in runtime.needs:
            if not toolchains.attainable(name):
                raise errors.NotRun(toolchains.absence(name))
        job = {
            "do": "run",
            "runtime": runtime.name,
            "source": artifact,
            "target": staged,
            "observations": seen / "observations.npz",
            "needs": {name: str(toolchains.folder(name)) for name in runtime.needs},
        }
        making.job(agent, runtime.toolchain, job, log)
        if closed_loop and not _alike(staged / checking.OUTPUTS, _twin(home, hop, runtime)):
            _evaluate(agent, home, job, settings["closed_loop"], staged, log)

    after = (f"{hop.kind}:convert",) + ((RETURNS,) if closed_loop else ())
    if hop.rungs and runtime.name != hop.runtimes[0]:
        after += (f"{hop.kind}:{hop.runtimes[0]}:run",)  # its twin
    return making.folder_step(
        agent,
        home,
        artifact / runtime.name,
        f"{hop.kind}:{runtime.name}:run",
        f"run {hop.kind} in {runtime.name} on the observations{' and in closed loop' if closed_loop else ''}",
        after=after,
        needs=(runtime.toolchain, *runtime.needs) + (("torch",) if closed_loop else ()),
        key=key,
        make=make,
        source=artifact,
    )


def _twin(home: Path, hop: Hop, runtime: Runtime) -> Path | None:
    """What the artifact of the same network answered that acted before."""
    found = ladder.twin(home, hop, runtime.name)
    return home / found[0].kind / found[1] / checking.OUTPUTS if found else None


def _alike(ours: Path, twin: Path | None) -> bool:
    if twin is None or not twin.is_file():
        return False
    from pipeline import checks

    scales = contracts.load(twin.parent.parent).get("quantization", {})
    grid = {name: entry["scale"] for name, entry in scales.items()}
    return checks.alike(artifacts.arrays(ours), artifacts.arrays(twin), grid)


def _evaluate(agent: Agent, home: Path, job: Job, settings: dict[str, Any], staged: Path, log: Path) -> None:
    """The artifact acts from its own toolchain's process; environment and source are in torch's."""
    settings = {**settings, "returns": home / RETURNS / gate.PLAYED}
    asked = {"do": "evaluate", "source": home / SOURCE, "target": staged, "settings": settings}
    making.job(agent, "torch", asked, log, beside=(RUNTIMES[job["runtime"]].toolchain, {**job, "do": "decide"}))
