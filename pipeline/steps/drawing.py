"""The step that draws: the gate at the end of a ladder as pictures. They judge nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pipeline import contract as contracts
from pipeline import fingerprint
from pipeline.hops import BY_KIND
from pipeline.spec import Agent, Hop, Verdict
from pipeline.steps import checking, ladder, making
from pipeline.steps.making import Step
from pipeline.steps.of_agent import OBSERVATIONS

FOLDER = "pictures"
TOOLCHAIN = "pictures"


def pictures(agent: Agent, home: Path, hop: Hop) -> Step:
    """The rungs that were tried -> ``KIND/pictures/``: returns, errors and layers, and ``pictures.json``."""
    end, seen = home / hop.kind, home / OBSERVATIONS
    ran = end / hop.runtimes[0]
    about = {
        "agent": agent.name,
        "environment": dataclasses.asdict(agent.environment),
        "return_kept": agent.int8.return_kept,
    }

    def key() -> dict[str, Any]:
        rungs = {}
        for kind, found in tried(agent, home, hop):
            acted = making.files(home / kind / ladder.runtime_of(kind)).get(checking.EPISODES, "")
            layers = making.files(home / kind).get("layers.json", "")
            rungs[kind] = [found.status, found.figures.get("closed_loop", {}), acted, layers]
        inputs = {
            "source": making.files(end).get(contracts.FILE, ""),
            "outputs": making.files(ran).get(checking.OUTPUTS, ""),
            "observations": making.files(seen),
            "rungs": rungs,
        }
        return making.key_of(agent, TOOLCHAIN, fingerprint.code("pipeline.agents.pictures"), about, **inputs)

    def make(staged: Path, log: Path) -> None:
        chosen = contracts.load(end)["rung"]
        rungs = [
            {
                "rung": BY_KIND[kind].rung,
                "folder": str(home / kind),
                "episodes": str(home / kind / ladder.runtime_of(kind) / checking.EPISODES),
                "status": found.status,
                "chosen": BY_KIND[kind].rung == chosen,
                "closed_loop": found.figures.get("closed_loop", {}),
            }
            for kind, found in tried(agent, home, hop)
        ]
        settings = {**about, "rungs": rungs, "observations": str(seen), "outputs": str(ran)}
        making.job(
            agent, TOOLCHAIN, {"do": "draw", "source": str(end), "target": str(staged), "settings": settings}, log
        )

    return making.folder_step(
        agent,
        home,
        end / FOLDER,
        f"{hop.kind}:{FOLDER}",
        "draw the gate: returns, what the error depends on, what rounding costs in each layer",
        after=(f"{hop.kind}:{hop.runtimes[0]}:check",),
        needs=(TOOLCHAIN,),
        key=key,
        make=make,
        source=end,
    )


def tried(agent: Agent, home: Path, hop: Hop) -> list[tuple[str, Verdict]]:
    """Kinds and verdicts of the rungs that were judged, in the ladder's order."""
    found = [(kind, ladder.verdict_of(home, kind)) for kind in hop.rungs if BY_KIND[kind].rung in agent.int8.rungs]
    return [(kind, verdict) for kind, verdict in found if verdict is not None and verdict.status != "not_run"]
