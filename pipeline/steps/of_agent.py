"""The steps before the chain: fetch or train, read, observe."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, fingerprint
from pipeline.settings import Bound, Calibration, Observations
from pipeline.spec import Agent, Hop
from pipeline.steps import ladder, making
from pipeline.steps.making import Step

SOURCE, RECIPE, HUB, OBSERVATIONS, CALIBRATION = "sb3", "recipe", "hub", "observations", "calibration"
RETURNS = "returns"
MORE_TIMES = 3


def fetch(agent: Agent, home: Path) -> Step:
    """repository of the Hub -> ``hub/``: the archive, and statistics if the config names any.

    A commit never changes, so the key is what was asked for and nothing else: neither the client nor our code.
    """
    settings = dataclasses.asdict(agent.hub)

    def key() -> dict[str, Any]:
        return {"settings": settings}

    def make(staged: Path, log: Path) -> None:
        making.job(agent, "hub", {"do": "fetch", "target": staged, "settings": settings}, log)

    says = f"fetch {agent.hub.filename} of {agent.hub.repo_id} from the Hugging Face Hub"
    return making.folder_step(agent, home, home / HUB, HUB, says, after=(), needs=("hub",), key=key, make=make)


def train(agent: Agent, home: Path) -> Step:
    """recipe -> ``recipe/``: an archive, and statistics if the recipe normalizes."""
    settings = {
        "recipe": dataclasses.asdict(agent.recipe),
        "environment": dataclasses.asdict(agent.environment),
    }

    def key() -> dict[str, Any]:
        return making.key_of(agent, "torch", fingerprint.code("pipeline.agents.training"), settings)

    def make(staged: Path, log: Path) -> None:
        making.job(agent, "torch", {"do": "train", "target": staged, "settings": settings}, log)

    recipe = agent.recipe
    says = f"train {recipe.algorithm} on {agent.environment.id} for {recipe.steps:,} steps"
    place = home / RECIPE
    return making.folder_step(agent, home, place, RECIPE, says, after=(), needs=("torch",), key=key, make=make)


def read(agent: Agent, home: Path) -> Step:
    """archive -> ``sb3/``: the archive, its statistics, and the contract that they imply."""
    before = HUB if agent.hub.repo_id else RECIPE

    def given() -> dict[str, Any]:
        """Paths of the archive and its statistics."""
        if agent.zip:
            return {"zip": agent.zip, "vecnormalize": agent.vecnormalize}
        pkl = home / before / "vecnormalize.pkl"
        return {"zip": str(home / before / "agent.zip"), "vecnormalize": str(pkl) if pkl.is_file() else "none"}

    settings = {
        "agent": agent.name,
        "outputs": sorted(agent.outputs),
        "stochastic": agent.stochastic,
        "frame_stack": agent.environment.frame_stack,
        "opened": {
            "algorithm": agent.algorithm,
            "images": agent.images,
            "trust": agent.trust,
            "import_allowed": agent.import_allowed,
        },
    }

    def key() -> dict[str, Any]:
        inputs = {
            label: artifacts.digest(Path(path)) if path != "none" and Path(path).is_file() else "none"
            for label, path in given().items()
        }
        return making.key_of(agent, "torch", fingerprint.code("pipeline.agents.jobs"), settings, **inputs)

    def make(staged: Path, log: Path) -> None:
        paths = {label: path if path == "none" else Path(path) for label, path in given().items()}
        making.job(agent, "torch", {"do": "read", "target": staged, "settings": {**settings, **paths}}, log)

    after = () if agent.zip else (before,)
    says = (
        "open the archive with SB3's own loader, which executes it"
        if agent.trust
        else ("read the archive without executing it")
    )
    place = home / SOURCE
    return making.folder_step(agent, home, place, SOURCE, says, after=after, needs=("torch",), key=key, make=make)


def observe(agent: Agent, home: Path, name: str) -> Step:
    """sb3 -> ``observations/`` or a calibration: observations, and what ``predict`` answers.

    The further calibration is made where a rung of the ladder asks for it: three times the episodes and samples, the
    first ones among them.
    """
    source = home / SOURCE
    chosen: Observations | Calibration = agent.observations if name == OBSERVATIONS else agent.calibration
    if name == ladder.MORE:
        further = {f: min(MORE_TIMES * getattr(agent.calibration, f), 100_000) for f in ("episodes", "samples")}
        chosen = dataclasses.replace(agent.calibration, **further)
    settings = {
        "edges": 0,
        **dataclasses.asdict(chosen),
        "calibration": name != OBSERVATIONS,
        "environment": dataclasses.asdict(agent.environment),
    }

    def key() -> dict[str, Any]:
        code = fingerprint.code("pipeline.agents.observing")
        file = Path(settings["file"])
        given = artifacts.digest(file) if settings["file"] and file.is_file() else ""
        found = making.key_of(
            agent, "torch", code, {**settings, "file": file.name}, source=making.files(source), given=given
        )
        return {**found, "unneeded": ladder.more_unneeded(agent, home)} if name == ladder.MORE else found

    def make(staged: Path, log: Path) -> None:
        if name == ladder.MORE and ladder.more_unneeded(agent, home):
            raise errors.NotRun(ladder.more_unneeded(agent, home))
        own = {"file": Path(settings["file"])} if settings["file"] else {}
        job = {"do": "observe", "source": source, "target": staged, "settings": {**settings, **own}}
        making.job(agent, "torch", job, log)

    says = {
        OBSERVATIONS: "roll out the agent: observations to check on, and what predict answers",
        CALIBRATION: "roll out the agent again: representative observations for int8",
        ladder.MORE: "roll out the agent for longer: more representative observations, where int8 fails",
    }[name]
    place = home / name
    after = (SOURCE, *ladder.before(ladder.RUNG_HOPS[1])) if name == ladder.MORE else (SOURCE,)
    return making.folder_step(agent, home, place, name, says, after=after, needs=("torch",), key=key, make=make)


def play(agent: Agent, home: Path, hops: tuple[Hop, ...]) -> Step:
    """sb3 -> ``returns/``: what the agent and a random policy return in the episodes in which artifacts act.

    :param hops: those that are made; each precision has seeds and a number of episodes
    """
    source = home / SOURCE
    episodes: dict[str, int] = {}
    for bound in map(agent.limits, {hop.precision for hop in hops}):
        if isinstance(bound, Bound):
            episodes[str(bound.seed)] = max(bound.episodes, episodes.get(str(bound.seed), 0))
    settings = {"environment": dataclasses.asdict(agent.environment), "episodes": episodes}

    def key() -> dict[str, Any]:
        code = fingerprint.code("pipeline.agents.evaluating")
        return making.key_of(agent, "torch", code, settings, source=making.files(source))

    def make(staged: Path, log: Path) -> None:
        job = {"do": "play", "source": source, "target": staged, "settings": settings}
        making.job(agent, "torch", job, log)

    says = "let the agent and a random policy act: returns that artifacts are held to"
    place = home / RETURNS
    return making.folder_step(agent, home, place, RETURNS, says, after=(SOURCE,), needs=("torch",), key=key, make=make)
