"""The step that draws: the gate at the end of a ladder as pictures. They judge nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pipeline import contract as contracts
from pipeline import errors, fingerprint, gate
from pipeline.hops import BY_KIND
from pipeline.spec import Agent, Hop, Verdict
from pipeline.steps import checking, ladder, making
from pipeline.steps.making import Step
from pipeline.steps.of_agent import OBSERVATIONS

FOLDER = "pictures"
TOOLCHAIN = "pictures"


def pictures(agent: Agent, home: Path, hop: Hop) -> Step:
    """The rungs that were tried -> ``pictures/``: returns, errors and layers, and ``pictures.json``.

    Drawn also where none is handed on: then most of all one wants to see why.

    :param hop: the end of the ladder
    """
    seen = home / OBSERVATIONS
    about = {
        "agent": agent.name,
        "environment": dataclasses.asdict(agent.environment),
        "return_kept": agent.int8.return_kept,
    }

    def key() -> dict[str, Any]:
        rungs = {}
        best = ladder.best(agent, home, hop)
        for kind, found in tried(agent, home, hop):
            acted = making.files(home / kind / ladder.runtime_of(kind)).get(gate.EPISODES, "")
            layers = making.files(home / kind).get("layers.json", "")
            rungs[kind] = [found.status, found.figures.get("closed_loop", {}), acted, layers]
        inputs = {
            "best": best,
            "source": making.files(home / best).get(contracts.FILE, ""),
            "outputs": making.files(home / best / ladder.runtime_of(best)).get(checking.OUTPUTS, ""),
            "observations": making.files(seen),
            "rungs": rungs,
        }
        return making.key_of(agent, TOOLCHAIN, fingerprint.code("pipeline.agents.pictures"), about, **inputs)

    def make(staged: Path, log: Path) -> None:
        best = ladder.best(agent, home, hop)
        if not tried(agent, home, hop):
            raise errors.NotRun("no rung of the ladder was made")
        rungs = [
            {
                "rung": BY_KIND[kind].rung,
                "folder": home / kind,
                "episodes": home / kind / ladder.runtime_of(kind) / gate.EPISODES,
                "status": found.status,
                "chosen": kind == best and (found.status == "passed" or bool(agent.int8.waiver)),
                "closed_loop": found.figures.get("closed_loop", {}),
            }
            for kind, found in tried(agent, home, hop)
        ]
        outputs = home / best / ladder.runtime_of(best)
        settings = {**about, "rungs": rungs, "observations": seen, "outputs": outputs}
        asked = {"do": "draw", "source": home / best, "target": staged, "settings": settings}
        making.job(agent, TOOLCHAIN, asked, log)

    return making.folder_step(
        agent,
        home,
        home / FOLDER,
        FOLDER,
        "draw the gate: returns, what the error depends on, what rounding costs in each layer",
        after=tuple(f"{kind}:{ladder.runtime_of(kind)}:check" for kind in hop.rungs),
        needs=(TOOLCHAIN,),
        key=key,
        make=make,
    )


def tried(agent: Agent, home: Path, hop: Hop) -> list[tuple[str, Verdict]]:
    """Kinds and verdicts of the rungs that were made, in the ladder's order."""
    found = ladder.judged(agent, home, hop)
    return [(kind, verdict) for kind, verdict in found.items() if verdict.status != "not_run"]
