"""The steps of an agent: what to do, from what, and whether it is done. Knows nothing of doit.

Of each hop three: convert, run (in each runtime), check. A step is fresh when its manifest says that it was
made from the same inputs, settings, toolchain and code, and its files are whole.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.hops import wanted
from pipeline.runtimes import RUNTIMES
from pipeline.spec import Agent, Hop
from pipeline.steps import checking, documented, drawing, ladder, of_agent, of_hop
from pipeline.steps.making import Step


def steps(agent: Agent, root: Path, baseline: bool = False) -> list[Step]:
    """All steps of an agent, in order.

    :param root: the artifacts folder
    :param baseline: with those that follow SB3's own export guide; they execute the archive's pickles
    """
    home = root / agent.name
    hops = wanted(agent.targets)
    found = []
    if not agent.zip:
        found.append(of_agent.fetch(agent, home) if agent.hub.repo_id else of_agent.train(agent, home))
    found.append(of_agent.read(agent, home))
    found.append(of_agent.observe(agent, home, of_agent.OBSERVATIONS))
    if any(of_agent.CALIBRATION in hop.inputs for hop in hops):
        found.append(of_agent.observe(agent, home, of_agent.CALIBRATION))
    if agent.environment.id and any(hop.precision != "float" for hop in hops):
        found.append(of_agent.play(agent, home, hops))
    ladder_ends = any(hop.rungs for hop in hops)
    for hop in hops:
        if ladder.MORE in hop.inputs and ladder.MORE not in {step.name for step in found}:
            found.append(of_agent.observe(agent, home, ladder.MORE))
        found.append(of_hop.convert(agent, home, hop))
        for name in hop.runtimes:
            found.append(of_hop.run(agent, home, hop, RUNTIMES[name]))
            # Microcontrollers round otherwise: where that is too much, `micro` fails, and nothing else.
            tolerated = (bool(hop.rung) and ladder_ends) or (bool(hop.rungs) and name != hop.runtimes[0])
            found.append(checking.check(agent, home, hop, name, tolerated=tolerated))
        found += [drawing.pictures(agent, home, hop)] if hop.rungs else []
    if baseline:
        found += documented.steps(agent, home)
    return found


def ends_of(hop: Hop) -> tuple[str, ...]:
    """Names of the steps that a kind is done with: its checks, and of a ladder's end its pictures."""
    return of_hop.checks_of(hop.kind) + ((drawing.FOLDER,) if hop.rungs else ())


def retrain(agent: Agent, root: Path) -> Step:
    """The training of an agent's recipe, whether or not its archive is given."""
    return of_agent.train(agent, root / agent.name)
