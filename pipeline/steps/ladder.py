"""The ladder of quantization: rungs are tried in order until one keeps the return, and that one is what is handed on.

A rung that fails is a finding, not a failure of the run, as long as a later one may pass.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pipeline import contract as contracts
from pipeline import errors, fingerprint, gate
from pipeline.hops import BY_KIND, HOPS
from pipeline.spec import Agent, Hop, Verdict
from pipeline.steps import making, verdicts
from pipeline.steps.making import Step

RUNG_HOPS = tuple(hop for hop in HOPS if hop.rung)
MORE = "calibration_more"


def runtime_of(kind: str) -> str:
    """The runtime in which a rung acts."""
    return BY_KIND[kind].runtimes[0]


def verdict_of(home: Path, kind: str) -> Verdict | None:
    """What the check found of a kind, where it acted; None where there is nothing yet."""
    stored = verdicts.read(home / kind / runtime_of(kind) / verdicts.FILE)
    return stored[0] if stored else None


def before(hop: Hop) -> tuple[str, ...]:
    """Names of the checks that a rung waits for: those of the rung before it."""
    place = RUNG_HOPS.index(hop)
    return tuple(f"{other.kind}:{runtime_of(other.kind)}:check" for other in RUNG_HOPS[max(0, place - 1) : place])


def unneeded(agent: Agent, home: Path, hop: Hop) -> str:
    """Why a rung is not to be made; "" where it is."""
    if hop.rung and hop.rung not in agent.int8.rungs:
        return f"int8.rungs leaves {hop.rung} out"
    for other in RUNG_HOPS[: RUNG_HOPS.index(hop)] if hop.rung else ():
        found = verdict_of(home, other.kind)
        if other.rung in agent.int8.rungs and found is not None and certain(found):
            return f"{other.kind} keeps the return"
    return ""


def more_unneeded(agent: Agent, home: Path) -> str:
    """Why the further calibration is not to be made; "" where a rung needs it."""
    reasons = [unneeded(agent, home, hop) for hop in RUNG_HOPS if MORE in hop.inputs]
    return "" if "" in reasons else reasons[-1]


def certain(verdict: Verdict) -> bool:
    """Whether a rung passed, and its episodes settled that it keeps the return."""
    return verdict.status == "passed" and bool(verdict.figures.get("closed_loop", {}).get("settled", True))


def chosen(agent: Agent, home: Path, hop: Hop) -> tuple[str, bool]:
    """The kind of the rung that is handed on, and whether only the config's waiver lets it.

    It is the first that passed for certain; where none is certain, the first that passed.

    :raises errors.NotRun: no rung could be made
    :raises errors.CheckFailed: none passed, and nothing is waived
    """
    found = judged(agent, home, hop)
    if passed := _first_that_passed(found):
        return passed, False
    if not (most := _that_keeps_most(found)):
        raise errors.NotRun(next((verdict.reason for verdict in found.values()), "no rung of the ladder was made"))
    if agent.int8.waiver:
        return most, True
    said = "; ".join(f"{kind}: {verdict.reason}" for kind, verdict in found.items() if verdict.status == "failed")
    raise errors.CheckFailed(
        f"no rung of the ladder keeps the return. {said}",
        remedy="Calibrate on more episodes ([calibration]), allow further rungs (int8.rungs), lower int8.return_kept, "
        'or take the best all the same with int8.waiver = "the reason"',
    )


def best(agent: Agent, home: Path, hop: Hop) -> str:
    """The kind of the rung that is handed on; where none is, of the one that keeps most, or else the first."""
    found = judged(agent, home, hop)
    return _first_that_passed(found) or _that_keeps_most(found) or hop.rungs[0]


def judged(agent: Agent, home: Path, hop: Hop) -> dict[str, Verdict]:
    """Verdicts by kind of the rungs that the config allows, as far as there are some, in the ladder's order."""
    found = {kind: verdict_of(home, kind) for kind in hop.rungs if BY_KIND[kind].rung in agent.int8.rungs}
    return {kind: verdict for kind, verdict in found.items() if verdict is not None}


def _first_that_passed(found: dict[str, Verdict]) -> str:
    """For certain, if there is one; "" where none passed."""
    passed = [kind for kind, verdict in found.items() if verdict.status == "passed"]
    return next((kind for kind in passed if certain(found[kind])), passed[0] if passed else "")


def _that_keeps_most(found: dict[str, Verdict]) -> str:
    """Of those that failed; "" where none did."""
    failed = [kind for kind, verdict in found.items() if verdict.status == "failed"]
    return max(failed, key=lambda kind: worth(found[kind]), default="")


def worth(verdict: Verdict) -> float:
    """The share of the return that is kept, or else of decisions that are equal, or of the range that is no error."""
    figures = verdict.figures
    if "closed_loop" in figures:
        return float(figures["closed_loop"]["kept"])
    return float(figures["decisions"]["share"]) if "decisions" in figures else -float(figures.get("action_error", 1e9))


def choose(agent: Agent, home: Path, hop: Hop) -> Step:
    """The rungs -> ``KIND/``: the files of the chosen one, and its contract with ``rung``."""

    def key() -> dict[str, Any]:
        found = {kind: verdict_of(home, kind) for kind in hop.rungs}
        verdicts_by_kind = {kind: [v.status, v.reason, certain(v)] if v else [] for kind, v in found.items()}
        inputs = {"rungs": {kind: making.files(home / kind) for kind in hop.rungs}, "verdicts": verdicts_by_kind}
        settings = {"rungs": agent.int8.rungs, "waiver": agent.int8.waiver}
        return making.key_of(agent, hop.toolchain, fingerprint.code("pipeline.steps.ladder"), settings, **inputs)

    def make(staged: Path, log: Path) -> None:
        kind, waived = chosen(agent, home, hop)
        contract = contracts.load(home / kind)
        for name in contract["files"]:
            shutil.copyfile(home / kind / name, staged / name)
        contract["kind"] = hop.kind
        contract["rung"] = BY_KIND[kind].rung
        if waived:
            reason = verdict_of(home, kind)
            said = reason.reason if reason else ""
            contract["waiver"] = {"reason": agent.int8.waiver, "of": said}
            contract["warnings"] = [
                *contract["warnings"],
                f"{kind} failed, and is waived: {agent.int8.waiver} ({said})",
            ]
        contracts.dump(contract, staged)
        log.write_text(f"{kind} is chosen\n", encoding="utf-8")

    return making.folder_step(
        agent,
        home,
        home / hop.kind,
        f"{hop.kind}:convert",
        f"{', '.join(hop.rungs)} → {hop.kind}: {hop.says}",
        after=tuple(f"{kind}:{runtime_of(kind)}:check" for kind in hop.rungs),
        needs=(hop.toolchain,),
        key=key,
        make=make,
    )


def twin(home: Path, hop: Hop, runtime: str) -> tuple[Hop, str] | None:
    """Kind and runtime in which the same network is before, whose episodes stand where the answers are equal."""
    if hop.rungs and runtime == hop.runtimes[0]:
        try:
            rung = contracts.load(home / hop.kind)["rung"]
            kind = next(other.kind for other in RUNG_HOPS if other.rung == rung)
        except (OSError, KeyError, StopIteration, errors.OutputsUnfit):
            return None
        return BY_KIND[kind], runtime_of(kind)
    if hop.rungs:
        return hop, hop.runtimes[0]
    if hop.acts_as:
        kind, _, other = hop.acts_as.partition("/")
        return BY_KIND[kind], other
    return None


def acted(home: Path, hop: Hop, runtime: str) -> Path:
    """The folder of an artifact's episodes: its own, or that of its twin, where it did not have to act."""
    own = home / hop.kind / runtime
    other = None if (own / gate.EPISODES).is_file() else twin(home, hop, runtime)
    return acted(home, *other) if other else own
