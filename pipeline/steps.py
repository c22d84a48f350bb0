"""The steps of an agent: what to do, from what, and whether it is done. Knows nothing of doit.

Of each hop three: convert, run (in each runtime), check. A step is fresh when its manifest says that it was
made from the same inputs, settings, toolchain and code, and its files are whole.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, fingerprint, processes, toolchains
from pipeline.artifacts import Manifest
from pipeline.hops import BY_KIND, wanted
from pipeline.runtimes import RUNTIMES
from pipeline.spec import Agent, Bound, Hop, Runtime, Tolerance, Verdict

VERDICT = "verdict.json"
SOURCE, RECIPE, OBSERVATIONS, CALIBRATION = "sb3", "recipe", "observations", "calibration"


@dataclass(frozen=True)
class Step:
    """One thing to do for an agent.

    :param name: unique within the agent, e.g. "onnx:convert"
    :param after: names of the steps that must have succeeded
    :param toolchains: that it needs
    :param fresh: whether there is nothing to do
    :param act: does it; raises :class:`errors.SlipwayError`
    :param record: the file that says it is done
    """

    name: str
    says: str
    after: tuple[str, ...]
    toolchains: tuple[str, ...]
    fresh: Callable[[], bool]
    act: Callable[[], None]
    record: Path


def steps(agent: Agent, root: Path) -> list[Step]:
    """All steps of an agent, in order.

    :param root: the artifacts folder
    """
    home = root / agent.name
    hops = wanted(agent.targets)
    found = [] if agent.zip else [_train(agent, home)]
    found.append(_read(agent, home))
    found.append(_observe(agent, home, OBSERVATIONS))
    if any(CALIBRATION in hop.inputs for hop in hops):
        found.append(_observe(agent, home, CALIBRATION))
    for hop in hops:
        found.append(_convert(agent, home, hop))
        for name in hop.runtimes:
            found += [_run(agent, home, hop, RUNTIMES[name]), _check(agent, home, hop, name)]
    return found


def retrain(agent: Agent, root: Path) -> Step:
    """The training of an agent's recipe, whether or not its archive is given."""
    return _train(agent, root / agent.name)


def checks_of(kind: str) -> tuple[str, ...]:
    """Names of the steps that a hop from this kind waits for."""
    if kind == SOURCE:
        return (OBSERVATIONS,)
    return tuple(f"{kind}:{runtime}:check" for runtime in BY_KIND[kind].runtimes)


# --- the machinery that all steps share --------------------------------------------------------------


def _identity(agent: Agent, name: str) -> str:
    """What a toolchain is, for a key: the digest of its lock, or the packages of the user's interpreter."""
    if name == "torch" and agent.python:
        return toolchains.foreign_identity(agent.python)
    return toolchains.lock_digest(name)


def _job(agent: Agent, toolchain: str, job: dict[str, Any], log: Path) -> None:
    """Run a job in a toolchain, or in the user's own interpreter where the config names one."""
    interpreter = agent.python if toolchain == "torch" and agent.python else toolchains.python(toolchain)
    processes.run(interpreter, toolchains.TOOLCHAINS[toolchain].imports, job, log, agent.timeout)


def _tools(agent: Agent, toolchain: str) -> dict[str, str]:
    if toolchain == "torch" and agent.python:
        return toolchains.foreign_versions(agent.python)
    return toolchains.versions(toolchain)


def _files(folder: Path) -> dict[str, str]:
    stored = artifacts.manifest(folder)
    return {} if stored is None else stored.files


def _log(home: Path, name: str) -> Path:
    path = home / "log" / f"{name.replace(':', '.')}.txt"
    with artifacts.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
    return path


def _step(
    agent: Agent,
    home: Path,
    folder: Path,
    name: str,
    says: str,
    *,
    after: tuple[str, ...],
    needs: tuple[str, ...],
    key: Callable[[], dict[str, Any]],
    make: Callable[[Path, Path], None],
    source: Path | None = None,
) -> Step:
    """A step that makes one folder.

    :param key: what the folder is made from
    :param make: writes into a staging folder; its second argument is the log
    :param source: folder that it is made from: if that one was not run, this one is not either
    """

    def act() -> None:
        log = _log(home, name)
        status, reason = "built", ""
        with artifacts.staging(folder) as staged:
            try:
                above = artifacts.manifest(source) if source else None
                if above is not None and above.status == "not_run":
                    raise errors.NotRun(above.reason)
                make(staged, log)
            except errors.NotRun as not_run:
                status, reason = "not_run", not_run.what
                shutil.rmtree(staged)
                staged.mkdir()
            except errors.SlipwayError as error:
                raise error.at(agent=agent.name, hop=name, file=log) from None
            versions = {} if status == "not_run" else _tools(agent, needs[0])
            entry = Manifest(key(), artifacts.digests(staged), status, reason, versions)
            artifacts.commit(staged, folder, entry)

    return Step(name, says, after, needs, lambda: artifacts.fresh(folder, key()), act, folder / artifacts.MANIFEST)


def _key(agent: Agent, toolchain: str, code: str, settings: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "settings": settings,
        "toolchain": {"name": toolchain, "lock": _identity(agent, toolchain)},
        "code": code,
    }


# --- the agent ---------------------------------------------------------------------------------------


def _train(agent: Agent, home: Path) -> Step:
    settings = {
        "recipe": dataclasses.asdict(agent.recipe),
        "environment": dataclasses.asdict(agent.environment),
    }

    def key() -> dict[str, Any]:
        return _key(agent, "torch", fingerprint.code("pipeline.agents.training"), settings)

    def make(staged: Path, log: Path) -> None:
        _job(agent, "torch", {"do": "train", "target": str(staged), "settings": settings}, log)

    recipe = agent.recipe
    says = f"train {recipe.algorithm} on {agent.environment.id} for {recipe.steps:,} steps"
    return _step(agent, home, home / RECIPE, RECIPE, says, after=(), needs=("torch",), key=key, make=make)


def _read(agent: Agent, home: Path) -> Step:
    recipe = home / RECIPE

    def given() -> dict[str, Any]:
        """Paths of the archive and its statistics."""
        if agent.zip:
            return {"zip": agent.zip, "vecnormalize": agent.vecnormalize}
        pkl = recipe / "vecnormalize.pkl"
        return {"zip": str(recipe / "agent.zip"), "vecnormalize": str(pkl) if pkl.is_file() else "none"}

    settings = {"agent": agent.name, "algorithm": agent.algorithm, "outputs": sorted(agent.outputs)}

    def key() -> dict[str, Any]:
        inputs = {
            label: artifacts.digest(Path(path)) if path != "none" and Path(path).is_file() else "none"
            for label, path in given().items()
        }
        return _key(agent, "torch", fingerprint.code("pipeline.agents.jobs"), settings, **inputs)

    def make(staged: Path, log: Path) -> None:
        _job(agent, "torch", {"do": "read", "target": str(staged), "settings": {**settings, **given()}}, log)

    after = () if agent.zip else (RECIPE,)
    says = "read the archive without executing it"
    return _step(agent, home, home / SOURCE, SOURCE, says, after=after, needs=("torch",), key=key, make=make)


def _observe(agent: Agent, home: Path, name: str) -> Step:
    source = home / SOURCE
    chosen = agent.observations if name == OBSERVATIONS else agent.calibration
    settings = {"edges": 0, **dataclasses.asdict(chosen), "environment": dataclasses.asdict(agent.environment)}

    def key() -> dict[str, Any]:
        return _key(agent, "torch", fingerprint.code("pipeline.agents.jobs"), settings, source=_files(source))

    def make(staged: Path, log: Path) -> None:
        job = {"do": "observe", "source": str(source), "target": str(staged), "settings": settings}
        _job(agent, "torch", job, log)

    says = {
        OBSERVATIONS: "roll out the agent: observations to check on, and what predict answers",
        CALIBRATION: "roll out the agent again: representative observations for int8",
    }[name]
    return _step(agent, home, home / name, name, says, after=(SOURCE,), needs=("torch",), key=key, make=make)


# --- the hops ----------------------------------------------------------------------------------------


def _setting(agent: Agent, dotted: str) -> Any:
    value: Any = agent
    for part in dotted.split("."):
        value = getattr(value, part)
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]


def _convert(agent: Agent, home: Path, hop: Hop) -> Step:
    source, folder = home / hop.source, home / hop.kind
    settings = {**hop.settings, **{name: _setting(agent, dotted) for name, dotted in hop.reads.items()}}
    golden = home / OBSERVATIONS / "about.json" if hop.source == SOURCE else None

    def key() -> dict[str, Any]:
        inputs = {name: _files(home / name) for name in hop.inputs}
        if golden:
            inputs["golden"] = {"about.json": _files(home / OBSERVATIONS).get("about.json", "")}
        code = fingerprint.code("pipeline.worker", f"pipeline.hops.{hop.module}")
        found = _key(agent, hop.toolchain, code, settings, source=_files(source), **inputs)
        if hop.kind == "edgetpu":
            found["compiler"] = shutil.which(agent.edgetpu.command[0]) or "none"
        return found

    def make(staged: Path, log: Path) -> None:
        job = {
            "do": "convert",
            "module": hop.module,
            "kind": hop.kind,
            "source": str(source),
            "target": str(staged),
            "golden": str(golden) if golden else "",
            "tools": _tools(agent, hop.toolchain),
            "settings": {**settings, **{name: str(home / name) for name in hop.inputs}},
        }
        _job(agent, hop.toolchain, job, log)

    return _step(
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


def _run(agent: Agent, home: Path, hop: Hop, runtime: Runtime) -> Step:
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
        inputs = {"source": _files(artifact), "observations": _files(seen), "needs": locks, "ready": ready}
        if runtime.name == "edgetpu":
            inputs["status"] = getattr(artifacts.manifest(artifact), "status", "")
        return _key(agent, runtime.toolchain, code, settings, **inputs)

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
        _job(agent, runtime.toolchain, job, log)
        if closed_loop:
            _evaluate(agent, home, job, settings["closed_loop"], staged, log)

    return _step(
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


def _evaluate(
    agent: Agent, home: Path, job: dict[str, Any], settings: dict[str, Any], staged: Path, log: Path
) -> None:
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
    _job(agent, "torch", asked, log)
    described.unlink()


def _limits(agent: Agent, hop: Hop) -> Tolerance | Bound:
    return {"float": agent.tolerance, "float16": agent.float16, "int8": agent.int8}[hop.precision]


def _check(agent: Agent, home: Path, hop: Hop, runtime: str) -> Step:
    ran, seen = home / hop.kind / runtime, home / OBSERVATIONS
    path = ran / VERDICT
    name = f"{hop.kind}:{runtime}:check"
    before = home / hop.source / BY_KIND[hop.source].runtimes[0] if hop.source in BY_KIND else None
    limits = _limits(agent, hop)

    def key() -> dict[str, Any]:
        stored = artifacts.manifest(ran)
        return {
            "ran": None if stored is None else [stored.files, stored.reason],
            "reference": _files(seen).get("reference.npz", ""),
            "previous": _files(before) if before else {},
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
    verdict = checks.compare(
        arrays(home / OBSERVATIONS / "reference.npz"),
        arrays(ran / "outputs.npz"),
        contracts.load(home / hop.kind),
        limits,
        samples=about["samples"],
        returns=json.loads(episodes.read_text(encoding="utf-8")) if episodes.is_file() else None,
        previous=arrays(before / "outputs.npz") if before and (before / "outputs.npz").is_file() else None,
    )
    verdict.figures["observed"] = about["origin"]
    return verdict


def verdict(path: Path) -> tuple[Verdict, dict[str, Any]] | None:
    """A stored verdict and the key it was made from; None where there is none that can be read."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        return Verdict(entry["status"], entry["reason"], entry["figures"]), entry["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
