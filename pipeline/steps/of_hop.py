"""The steps of a hop: convert, run in each runtime, check."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, fingerprint, toolchains
from pipeline.hops import BY_KIND
from pipeline.runtimes import RUNTIMES
from pipeline.settings import Bound, Tolerance
from pipeline.spec import Agent, Hop, Runtime, Verdict
from pipeline.steps import making
from pipeline.steps.making import Step
from pipeline.steps.of_agent import OBSERVATIONS, SOURCE

VERDICT = "verdict.json"
LEGIBLE = 256  # numbers of an observation that a verdict shows; an image is found by its row


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
    source, folder = home / hop.source, home / hop.kind
    settings = {**hop.settings, **{name: _setting(agent, dotted) for name, dotted in hop.reads.items()}}
    golden = home / OBSERVATIONS / "about.json" if hop.source == SOURCE else None

    def key() -> dict[str, Any]:
        inputs = {name: making.files(home / name) for name in hop.inputs}
        if golden:
            inputs["golden"] = {"about.json": making.files(home / OBSERVATIONS).get("about.json", "")}
        code = fingerprint.code("pipeline.worker", f"pipeline.hops.{hop.module}")
        found = making.key_of(agent, hop.toolchain, code, settings, source=making.files(source), **inputs)
        if hop.program:
            found["program"] = shutil.which(_setting(agent, hop.program)[0]) or "none"
        return found

    def make(staged: Path, log: Path) -> None:
        job = {
            "do": "convert",
            "module": hop.module,
            "kind": hop.kind,
            "source": str(source),
            "target": str(staged),
            "golden": str(golden) if golden else "",
            "tools": {hop.toolchain: making.tools(agent, hop.toolchain)},
            "settings": {**settings, **{name: str(home / name) for name in hop.inputs}},
        }
        making.job(agent, hop.toolchain, job, log)

    return making.folder_step(
        agent,
        home,
        folder,
        f"{hop.kind}:convert",
        f"{hop.source} → {hop.kind}: {hop.says}",
        after=(*checks_of(hop.source), *hop.inputs),
        needs=(hop.toolchain,),
        key=key,
        make=make,
        source=source,
    )


def run(agent: Agent, home: Path, hop: Hop, runtime: Runtime) -> Step:
    """artifact × observations -> ``KIND/RUNTIME/``: outputs, and for inexact kinds closed-loop returns."""
    artifact, seen = home / hop.kind, home / OBSERVATIONS
    closed_loop = hop.precision != "float" and bool(agent.environment.id)
    bound = _limits(agent, hop)
    settings: dict[str, Any] = {"runtime": runtime.name}
    if closed_loop and isinstance(bound, Bound):
        environment = dataclasses.asdict(agent.environment)
        settings["closed_loop"] = {"environment": environment, "episodes": bound.episodes, "seed": bound.seed}

    def key() -> dict[str, Any]:
        code = fingerprint.code("pipeline.worker", f"pipeline.runtimes.{runtime.name}")
        if closed_loop:
            code += fingerprint.code("pipeline.agents.jobs")
        locks = {name: toolchains.lock_digest(name) for name in runtime.needs}
        ready = {name: toolchains.ready(name) for name in runtime.needs}
        inputs = {"source": making.files(artifact), "observations": making.files(seen), "needs": locks, "ready": ready}
        return making.key_of(agent, runtime.toolchain, code, settings, **inputs)

    def make(staged: Path, log: Path) -> None:
        for name in runtime.needs:
            if not toolchains.ready(name):
                raise errors.NotRun(toolchains.absence(name))
        job = {
            "do": "run",
            "runtime": runtime.name,
            "source": str(artifact),
            "target": str(staged),
            "observations": str(seen / "observations.npz"),
            "needs": {name: str(toolchains.folder(name)) for name in runtime.needs},
        }
        making.job(agent, runtime.toolchain, job, log)
        if closed_loop:
            _evaluate(agent, home, job, settings["closed_loop"], staged, log)

    return making.folder_step(
        agent,
        home,
        artifact / runtime.name,
        f"{hop.kind}:{runtime.name}:run",
        f"run {hop.kind} in {runtime.name} on the observations{' and in closed loop' if closed_loop else ''}",
        after=(f"{hop.kind}:convert",),
        needs=(runtime.toolchain, *runtime.needs) + (("torch",) if closed_loop else ()),
        key=key,
        make=make,
        source=artifact,
    )


def _evaluate(agent: Agent, home: Path, job: dict[str, Any], settings: dict[str, Any], staged: Path, log: Path) -> None:
    """The artifact acts from its own toolchain's process; environment and source are in torch's."""
    described = staged / "decide.json"
    described.write_text(json.dumps(job), encoding="utf-8")
    command = [toolchains.python(RUNTIMES[job["runtime"]].toolchain), "-m", "pipeline.worker", "--decide"]
    asked = {
        "do": "evaluate",
        "source": str(home / SOURCE),
        "target": str(staged),
        "command": [*command, str(described)],
        "settings": settings,
    }
    making.job(agent, "torch", asked, log)
    described.unlink()


def _limits(agent: Agent, hop: Hop) -> Tolerance | Bound:
    limits: dict[str, Tolerance | Bound] = {
        "float": agent.tolerance,
        "float16": agent.float16,
        "int8": agent.int8,
    }
    return limits[hop.precision]


def check(agent: Agent, home: Path, hop: Hop, runtime: str) -> Step:
    """outputs × reference -> ``verdict.json``, which fails the step where it says "failed"."""
    ran, seen = home / hop.kind / runtime, home / OBSERVATIONS
    path = ran / VERDICT
    name = f"{hop.kind}:{runtime}:check"
    before = home / hop.source / BY_KIND[hop.source].runtimes[0] if hop.source in BY_KIND else None
    limits = _limits(agent, hop)

    def key() -> dict[str, Any]:
        stored = artifacts.manifest(ran)
        return {
            "ran": None if stored is None else [stored.files, stored.reason],
            "reference": making.files(seen).get("reference.npz", ""),
            "previous": making.files(before) if before else {},
            "limits": dataclasses.asdict(limits),
            "code": fingerprint.code("pipeline.checks"),
        }

    def fresh() -> bool:
        found = verdict(path)
        return found is not None and found[1] == json.loads(json.dumps(key())) and found[0].status != "failed"

    def act() -> None:
        stored = artifacts.manifest(ran)
        if stored is not None and stored.status == "not_run":
            found = Verdict("not_run", stored.reason)
        else:
            found = _compare(home, hop, ran, before, limits)
        entry = {**dataclasses.asdict(found), "key": key()}
        artifacts.replace_text(path, json.dumps(entry, indent=1, sort_keys=True) + "\n")
        if found.status == "failed":
            raise errors.CheckFailed(found.reason, agent=agent.name, hop=name, file=path)

    says = f"hold {hop.kind} in {runtime} to predict"
    return Step(name, says, (f"{hop.kind}:{runtime}:run",), (), fresh, act, path)


def _compare(home: Path, hop: Hop, ran: Path, before: Path | None, limits: Tolerance | Bound) -> Verdict:
    import numpy as np

    from pipeline import checks
    from pipeline import contract as contracts

    def arrays(path: Path) -> dict[str, np.ndarray]:
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}

    about = json.loads((home / OBSERVATIONS / "about.json").read_text(encoding="utf-8"))
    episodes = ran / "episodes.json"
    contract = contracts.load(home / hop.kind)
    observations = contracts.read_inputs(contract, home / OBSERVATIONS / "observations.npz")
    if contract["states"]:  # sequences, one after the other
        observations = {name: values.reshape(-1, *values.shape[2:]) for name, values in observations.items()}
    verdict = checks.compare(
        arrays(home / OBSERVATIONS / "reference.npz"),
        arrays(ran / "outputs.npz"),
        contract,
        limits,
        samples=about["samples"],
        returns=json.loads(episodes.read_text(encoding="utf-8")) if episodes.is_file() else None,
        previous=arrays(before / "outputs.npz") if before and (before / "outputs.npz").is_file() else None,
        inputs=observations,
        draws=arrays(drawn) if (drawn := home / OBSERVATIONS / "draws.npz").is_file() else None,
    )
    for found in verdict.figures.get("outputs", {}).values():
        worst = {name: values[found["worst"]].ravel() for name, values in observations.items()}
        found["observation"] = {name: values.tolist() for name, values in worst.items() if len(values) <= LEGIBLE}
    verdict.figures["compared_with"] = f"predict(deterministic=True) of stable-baselines3, on {about['origin']}"
    verdict.figures["edges"] = about["edges"] if isinstance(limits, Tolerance) else 0
    return verdict


def verdict(path: Path) -> tuple[Verdict, dict[str, Any]] | None:
    """A stored verdict and the key it was made from; None where there is none that can be read."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        return Verdict(entry["status"], entry["reason"], entry["figures"]), entry["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
