"""The step that checks: what an artifact answered in a runtime, held to ``predict``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pipeline import artifacts, cache, errors, fingerprint, gate
from pipeline.hops import BY_KIND, tflite_blame
from pipeline.settings import Bound, Tolerance
from pipeline.spec import Agent, Hop, Verdict
from pipeline.steps import ladder, making, verdicts
from pipeline.steps.making import Step
from pipeline.steps.of_agent import OBSERVATIONS

OUTPUTS = "outputs.npz"
LEGIBLE = 256  # numbers of an observation that a verdict shows; an image is found by its row


def check(agent: Agent, home: Path, hop: Hop, runtime: str, tolerated: bool = False) -> Step:
    """outputs × reference -> ``verdict.json``, which fails the step where it says "failed".

    :param tolerated: a rung of a ladder that has an end: that it failed is a finding
    """
    ran, seen = home / hop.kind / runtime, home / OBSERVATIONS
    path = ran / verdicts.FILE
    name = f"{hop.kind}:{runtime}:check"
    before = home / hop.source / BY_KIND[hop.source].runtimes[0] if hop.source in BY_KIND else None
    granted = agent.limits(hop.precision)

    def key() -> dict[str, Any]:
        stored = artifacts.manifest(ran)
        return {
            "ran": None if stored is None else [stored.files, stored.reason],
            "reference": making.files(seen).get("reference.npz", ""),
            "previous": making.files(before) if before else {},
            "acted": making.files(ladder.acted(home, hop, runtime)).get(gate.EPISODES, ""),
            "limits": dataclasses.asdict(granted),
            "code": fingerprint.code("pipeline.checks", "pipeline.steps.checking"),
        }

    def fresh() -> bool:
        wanted = key()
        found = verdicts.read(path)
        if found is None or found[1] != json.loads(json.dumps(wanted)):
            return taken(wanted)
        return found[0].status != "failed" or tolerated

    def taken(wanted: dict[str, Any]) -> bool:
        """Whether the cache had it."""
        entry = cache.CURRENT.find(cache.Source(name, wanted)) if cache.CURRENT else None
        if cache.CURRENT is None or entry is None or not ran.is_dir():
            return False
        with artifacts.staging(home.parent) as staged:
            if cache.CURRENT.take(entry, staged) is None:
                return False
            artifacts.remove(path)
            (staged / verdicts.FILE).replace(path)
        return True

    def act() -> None:
        stored = artifacts.manifest(ran)
        if stored is not None and stored.status == "not_run":
            found = Verdict("not_run", stored.reason)
        else:
            found = _compare(home, hop, runtime, before, granted)
        made_from = key()
        verdicts.write(path, found, made_from)
        if found.status == "failed" and not tolerated:
            raise errors.CheckFailed(found.reason, agent=agent.name, hop=name, file=path)
        if cache.CURRENT:
            made = artifacts.Manifest(made_from, {verdicts.FILE: artifacts.digest(path)})
            cache.CURRENT.keep(cache.Source(name, made_from), made, ran)

    says = f"hold {hop.kind} in {runtime} to predict"
    after = {f"{hop.kind}:{hop.runtimes[0]}:run", f"{hop.kind}:{runtime}:run"}
    return Step(name, says, tuple(sorted(after)), (), fresh, act, path)


def _compare(home: Path, hop: Hop, runtime: str, before: Path | None, granted: Tolerance | Bound) -> Verdict:
    from pipeline import checks
    from pipeline import contract as contracts

    ran, seen = home / hop.kind / runtime, home / OBSERVATIONS
    about = json.loads((seen / "about.json").read_text(encoding="utf-8"))
    contract = contracts.load(home / hop.kind)
    observations = contracts.read_inputs(contract, seen / "observations.npz")
    if contract["states"]:  # sequences, one after the other
        observations = {name: values.reshape(-1, *values.shape[2:]) for name, values in observations.items()}
    acted = ladder.acted(home, hop, runtime)
    episodes = acted / gate.EPISODES
    verdict = checks.compare(
        artifacts.arrays(seen / "reference.npz"),
        artifacts.arrays(ran / OUTPUTS),
        contract,
        granted,
        samples=about["samples"],
        episodes=json.loads(episodes.read_text(encoding="utf-8")) if episodes.is_file() else None,
        previous=artifacts.arrays(before / OUTPUTS) if before and (before / OUTPUTS).is_file() else None,
        inputs=observations,
        draws=artifacts.arrays(drawn) if (drawn := seen / "draws.npz").is_file() else None,
    )
    for found in verdict.figures.get("outputs", {}).values():
        worst = {name: values[found["worst"]].ravel() for name, values in observations.items()}
        found["observation"] = {name: values.tolist() for name, values in worst.items() if len(values) <= LEGIBLE}
    verdict.figures["compared_with"] = f"predict(deterministic=True) of stable-baselines3, on {about['origin']}"
    if "closed_loop" in verdict.figures and acted != ran:
        verdict.figures["acted_as"] = f"{acted.parent.name} in {acted.name}"
    verdict.figures["edges"] = about["edges"] if isinstance(granted, Tolerance) else 0
    if (measured := ran / "figures.json").is_file():
        verdict.figures["runtime"] = json.loads(measured.read_text(encoding="utf-8"))
    layers = home / hop.kind / tflite_blame.FILE
    if layers.is_file():
        verdict.figures["layers"] = json.loads(layers.read_text(encoding="utf-8"))
        if verdict.status == "failed":
            blame = tflite_blame.phrase(verdict.figures["layers"])
            verdict = dataclasses.replace(verdict, reason=f"{verdict.reason}; {blame}")
    if verdict.status == "failed" and "waiver" in contract:
        return dataclasses.replace(verdict, status="waived")
    return verdict
