"""The step that packs what passed of an agent -> ``bundles/AGENT/AGENT.tar.zst``.

It waits for no check to pass: what failed or was not run is left out, and the bundle says why.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, fingerprint, gate, steps, toolchains
from pipeline import contract as contracts
from pipeline.bundles import archive, licences, locks, portable, refusals
from pipeline.hops import BY_KIND, wanted
from pipeline.settings import Hub
from pipeline.spec import Agent, Hop, Verdict
from pipeline.steps import ladder, making, of_agent, verdicts, whole
from pipeline.steps.making import Step

FOLDER = "bundles"  # beside the agents' own
TOOLCHAIN = "bundles"
DATE = "SOURCE_DATE_EPOCH"


@dataclass
class Selection:
    """What goes into a bundle.

    :param steps: names of the agent's steps that are up to date, with all that they wait for
    :param packed: hops whose artifact passed or is waived, with the verdicts on it by runtime
    :param left_out: of the others, kind, status and reason
    """

    steps: set[str] = field(default_factory=set)
    packed: dict[str, dict[str, Verdict]] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)


def place(root: Path, name: str) -> Path:
    """Where an agent's bundle is."""
    return root / FOLDER / name / f"{name}.tar.zst"


def bundle(agent: Agent, root: Path, config: str = "", epoch: int = -1) -> Step:
    """Artifacts, contracts, verdicts and all that tells of them -> ``bundles/AGENT/``.

    :param config: as a bundle has it, where another bundle is made anew; else that of the agent
    :param epoch: seconds since 1970 of every member; else SOURCE_DATE_EPOCH
    """
    home = root / agent.name
    told = config or portable.text(agent)

    def key() -> dict[str, Any]:
        found = facts(agent, root, told, date() if epoch < 0 else epoch)
        code = fingerprint.code("pipeline.bundles.packing")
        given = {"golden": making.files(home / of_agent.OBSERVATIONS).get("about.json", "")}
        given |= {"contract": making.files(home / of_agent.SOURCE).get(contracts.FILE, "")}
        given |= {f"{name}/{runtime}": artifacts.digest(home / name / runtime / verdicts.FILE)
                  for kind in found["kinds"] for name in [kind["kind"]] for runtime in kind["runtimes"]}  # fmt: skip
        texts = {file.name: artifacts.digest(file) for file in (toolchains.ROOT / "LICENSE", licences.FILE)}
        return making.key_of(agent, TOOLCHAIN, code, found, **given, **texts)

    def make(staged: Path, log: Path) -> None:
        found = facts(agent, root, told, date() if epoch < 0 else epoch)
        if not found["kinds"]:
            why = "; ".join(f"{one['kind']}: {one['reason']}" for one in found["left_out"][:3])
            raise refusals.NothingToBundle(f"no artifact passed ({why})")
        making.job(
            agent, TOOLCHAIN, {"do": "pack", "source": home, "target": staged, "settings": found}, log, here=True
        )

    return making.folder_step(
        agent, home, place(root, agent.name).parent, "bundle", "what passed, in one archive",
        after=(), needs=(TOOLCHAIN,), key=key, make=make, cached=False,
    )  # fmt: skip


def date() -> int:
    """The time of what is in a bundle.

    :raises errors.ConfigWrongValue: SOURCE_DATE_EPOCH is no time
    """
    told = os.environ.get(DATE, str(archive.EPOCH))
    if not told.isdecimal() or int(told) > archive.LARGEST:
        remedy = f"Set it to seconds since 1970, say git log -1 --format=%ct, or unset it: {archive.EPOCH} is used"
        raise errors.ConfigWrongValue(f"{DATE} is no time", found=repr(told), remedy=remedy)
    return int(told)


def facts(agent: Agent, root: Path, config: str, epoch: int) -> dict[str, Any]:
    """What :mod:`pipeline.bundles.packing` is told."""
    home, chosen = root / agent.name, select(agent, root)
    if not chosen.packed:
        return {"kinds": [], "left_out": chosen.left_out}
    every = {step.name: step for step in steps.steps(agent, root)}
    took_part = _closure(every, [f"{kind}:{runtime}:check" for kind, by in chosen.packed.items() for runtime in by])
    used = {name for step in took_part for name in step.toolchains} | {locks.HOST, TOOLCHAIN}
    return {
        "agent": agent.name,
        "environment": agent.environment.id,
        "licence": agent.bundle.licence,
        "config": config,
        "epoch": epoch,
        "kinds": [_kind(home, BY_KIND[kind], by) for kind, by in chosen.packed.items()],
        "left_out": chosen.left_out,
        "findings": list(_findings(agent, home)),
        "steps": [told for step in took_part if (told := _told(step))],
        "dependencies": list(_dependencies(agent, home, config, used)),
        "versions": {name: lock for name in sorted(used - {locks.HOST}) if (lock := making.identity(agent, name))},
        "toolchains": sorted(used),
        "source": agent.bundle.source,
    }


def select(agent: Agent, root: Path) -> Selection:
    """What passed of the kinds that a table shows. A verdict counts if all that led to it is up to date."""
    home, chosen = root / agent.name, Selection()
    known = whole.fresh(agent, root, False)
    for step in steps.steps(agent, root):
        if set(step.after) <= chosen.steps and (known or step.fresh()):
            chosen.steps.add(step.name)
    hops = wanted(agent.targets)
    for hop in hops:
        if hop.rung and any(hop.kind in other.rungs for other in hops):
            continue
        status, reason = _why_not(home, hop, chosen)
        if status:
            chosen.left_out.append({"kind": hop.kind, "status": status, "reason": reason})
            continue
        checked = [runtime for runtime in hop.runtimes if f"{hop.kind}:{runtime}:check" in chosen.steps]
        found = {runtime: _verdict(home, hop, runtime) for runtime in checked}
        chosen.packed[hop.kind] = {runtime: verdict for runtime, verdict in found.items() if verdict}
    return chosen


def _verdict(home: Path, hop: Hop, runtime: str) -> Verdict | None:
    stored = verdicts.read(home / hop.kind / runtime / verdicts.FILE)
    return stored[0] if stored else None


def _why_not(home: Path, hop: Hop, chosen: Selection) -> tuple[str, str]:
    """Status and reason of a kind that is left out; "" where it is not."""
    if f"{hop.kind}:convert" not in chosen.steps:
        above = next((one["status"] for one in chosen.left_out if one["kind"] == hop.source), "")
        return "not_built", f"it is made from {hop.source}, which is not here" if above else "its conversion failed"
    judging = hop.runtimes[:1] if hop.rungs else hop.runtimes  # as the table at the end of a run has it
    found = {runtime: _verdict(home, hop, runtime) for runtime in judging}
    for runtime, verdict in found.items():
        if verdict is not None and verdict.status == "failed":
            return "failed", f"in {runtime}: {verdict.reason}"
        if verdict is None or f"{hop.kind}:{runtime}:check" not in chosen.steps:
            return "not_built", f"it was not checked in {runtime}"
    absent = [verdict.reason for verdict in found.values() if verdict is not None and verdict.status == "not_run"]
    return ("not_run", absent[0]) if len(absent) == len(found) else ("", "")


def _kind(home: Path, hop: Hop, by: dict[str, Verdict]) -> dict[str, Any]:
    stated = contracts.load(home / hop.kind)
    waived = any(verdict.status == "waived" for verdict in by.values())
    return {
        "kind": hop.kind,
        "source": hop.source,
        "says": hop.says,
        "status": "waived" if waived else "passed",
        "waiver": stated.get("waiver", {}) if waived else {},
        "files": making.files(home / hop.kind),
        "runtimes": {runtime: verdict.status for runtime, verdict in by.items()},
    }


def _findings(agent: Agent, home: Path) -> Iterator[str]:
    """What the ladder found on its way, and what the contract warns of."""
    for hop in wanted(agent.targets):
        found = ladder.verdict_of(home, hop.kind) if hop.rung else None
        if found is not None and found.status == "failed":
            yield f"{hop.kind} failed: {found.reason}"
        elif found is not None and found.status == "passed" and not ladder.certain(found):
            yield f"{hop.kind} is not certain: {gate.phrase(found.figures['closed_loop'])}"
    yield from contracts.load(home / of_agent.SOURCE)["warnings"]


def _closure(every: dict[str, Step], ends: list[str]) -> list[Step]:
    """The steps that led to some, from the archive on, in order."""
    found: set[str] = set()
    waiting = list(ends)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += every[name].after
    return [step for name, step in every.items() if name in found - {of_agent.HUB, of_agent.RECIPE}]


def _told(step: Step) -> dict[str, Any]:
    """A step for the provenance; {} where it made nothing."""
    if step.record.name == verdicts.FILE:
        stored = verdicts.read(step.record)
        outputs = {verdicts.FILE: artifacts.digest(step.record)}
        return {"name": step.name, "key": stored[1], "outputs": outputs} if stored else {}
    entry = artifacts.manifest(step.record.parent)
    if entry is None or entry.status != "built":
        return {}
    key = dict(entry.key)
    if "program" in key:  # its folder is this machine's
        key["program"] = Path(key["program"]).name
    return {"name": step.name, "key": key, "outputs": entry.files}


def _dependencies(agent: Agent, home: Path, config: str, used: set[str]) -> Iterator[dict[str, str]]:
    """What went in: the agent, what it was checked on, the locks and our code."""
    hub = Hub(**tomllib.loads(config).get("hub", {}))
    for name, digest in sorted(contracts.load(home / of_agent.SOURCE)["source"].items()):
        asked = hub.filename if name == portable.ZIP else hub.vecnormalize
        uri = f"pkg:huggingface/{hub.repo_id}@{hub.revision}#{asked}" if hub.repo_id else ""
        yield {"name": name, "sha256": digest, "uri": uri}
    for name, given in (("observations", agent.observations.file), ("calibration", agent.calibration.file)):
        if given:
            yield {"name": f"{name}.npz", "sha256": artifacts.digest(Path(given))}
    for number, folder in enumerate(agent.import_from):
        yield {"name": f"import_from_{number}", "sha256": fingerprint.sources(Path(folder))}
    for file in sorted({file for name in used for file in locks.files(name)}):
        digest = hashlib.sha256((toolchains.ROOT / file).read_bytes()).hexdigest()
        yield {"name": f"locks/{file.removeprefix('requirements/')}", "sha256": digest}
    yield {"name": "pipeline", "sha256": fingerprint.everything()}
