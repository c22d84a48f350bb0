"""Steps -> doit task dicts, and how a run is reported. The only module that knows doit's keys."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from doit.exceptions import TaskError, TaskFailed, UnmetDependency

from pipeline import config, errors, folder, places, steps, told, toolchains
from pipeline.cluster import asking
from pipeline.hops import HOPS, KINDS, wanted
from pipeline.spec import Agent
from pipeline.steps import documented, whole
from pipeline.steps.making import Step
from pipeline.toolchains import making

Task = dict[str, Any]

ROOT = toolchains.ROOT
CORES = min(os.cpu_count() or 1, 8)
_STEPLESS = ("toolchains", "cluster", "scheduler", "work", "inspect", "coral", "new", "verify", "sign", "nightly",
             "cache", "test", "lint", "bench", "matrix", "properties", "catalogue", "fuzz", "bundle")  # fmt: skip
_COMMANDS = (*_STEPLESS, "train")
RESERVED = (*_COMMANDS, "bundles", "documented", "sb3", "observations", "calibration", "returns", *KINDS)


_unmade: set[str] = set()  # toolchains that this run failed to make


def guarded(act: Callable[[], None]) -> Callable[[], TaskFailed | TaskError | None]:
    """Our errors become one line of doit's, an error where they refuse what was given, else a failure; everything else
    keeps its traceback, being a defect.
    """

    def action() -> TaskFailed | TaskError | None:
        try:
            act()
        except errors.BadInput as error:
            return TaskError(str(error))
        except errors.SlipwayError as error:
            return TaskFailed(str(error))
        return None

    return action


def load(configs: Path, artifacts: Path) -> tuple[list[Agent], list[tuple[str, errors.SlipwayError]]]:
    """The agents of ``folder=``, or else of the configs; and the configs that are refused, each with its error."""
    if told.surveyed():
        try:
            return folder.scan(ROOT / places.of_user(told.surveyed()), artifacts, RESERVED), []
        except errors.SlipwayError as error:
            told.refuse(error)
    agents: list[Agent] = []
    refused: list[tuple[str, errors.SlipwayError]] = []
    found = config.paths(configs)
    if not found and told.use_of_steps(sys.argv[1:], set(), _STEPLESS) != "none":
        told.refuse(config.none_in(configs))
    met = config.duplicates(path.stem for path in found)
    for path in found:
        try:
            if path.stem in met:
                what = f"agents '{met[path.stem]}' and '{path.stem}' would share one folder where case is ignored"
                raise errors.AgentNameUnfit(what, agent=path.stem, file=path)
            agents.append(config.load(path, KINDS, RESERVED))
        except errors.SlipwayError as error:
            refused.append((path.stem, error))
    return agents, refused


def spared(agents: list[Agent], root: Path, baseline: bool) -> set[str]:
    """The agents whose steps this call of ./doit has no use for."""
    use = told.use_of_steps(sys.argv[1:], {agent.name for agent in agents}, _STEPLESS)
    if use == "changed":
        return {agent.name for agent in agents if whole.fresh(agent, root, baseline)}
    return {agent.name for agent in agents} if use == "none" else set()


def for_agents(agents: list[Agent], root: Path, baseline: bool, spared: set[str]) -> Iterator[Task]:
    """Every agent with its steps; ``AGENT:KIND`` does all of a kind.

    :param spared: agents without steps, as those are not asked for, or are up to date as a whole
    """
    for agent in agents:
        yield {"basename": agent.name, "name": None, "doc": _describe(agent)}
        if agent.name in spared:
            continue
        for step in steps.steps(agent, root, baseline):
            yield _for_step(agent, step)
        for hop in wanted(agent.targets):
            names = [f"{agent.name}:{name}" for name in steps.ends_of(hop)]
            doc = f"{hop.source} → {hop.kind}, run and checked"
            yield {"basename": agent.name, "name": hop.kind, "doc": doc, "actions": None, "task_dep": names}


def _describe(agent: Agent) -> str:
    made = Path(agent.zip).name or agent.hub.repo_id or f"trained by its recipe ({agent.recipe.algorithm})"
    acts = f", acts in {agent.environment.id}" if agent.environment.id else ""
    return f"{made}{acts} → {len(wanted(agent.targets))} kinds of artifact"


def _for_step(agent: Agent, step: Step) -> Task:
    needs = [name for name in step.toolchains if not (name == "torch" and agent.python)]
    reached = ["cluster"] if asking.CLUSTER else []
    before = [f"{agent.name}:{name}" for name in step.after] + [f"toolchains:{name}" for name in told.cache_needs()]
    act = guarded(step.act)

    def acted() -> TaskFailed | TaskError | None:
        """doit goes on where what it calls a setup has failed."""
        lost = _unmade & set(needs)
        return UnmetDependency(f"the toolchain {min(lost)} was not made") if lost else act()

    return {
        "basename": agent.name,
        "name": step.name,
        "doc": step.says,
        "actions": [acted],
        "uptodate": [step.fresh],
        "task_dep": before + reached,
        # Where there is nothing to do, or the cache has it, no toolchain is made.
        "setup": [f"toolchains:{name}" for name in needs],
        "verbosity": 0,
        "clean": [(shutil.rmtree, [step.record.parent], {"ignore_errors": True})],
        "meta": {"agent": agent.name, "step": step.name},
    }


def for_refused(refused: list[tuple[str, errors.SlipwayError]]) -> Iterator[Task]:
    """A config that is refused is a task that fails with its error, so that the other agents are built."""
    for name, error in refused:

        def refuse(error: errors.SlipwayError = error) -> None:
            raise error

        meta = {"agent": name, "step": "config"}
        basename = name if name not in RESERVED and config.fit(name) else f"config-{abs(hash(name))}"
        yield {"basename": basename, "doc": "its config is refused", "actions": [guarded(refuse)], "meta": meta}


def for_kinds(agents: list[Agent], baseline: bool) -> Iterator[Task]:
    """One task a kind, for every agent: together they read as a map of the chain. Beside it, where asked for, the
    baseline.
    """
    every = [a.name for a in agents]
    yield {"basename": "sb3", "doc": ".zip → sb3: read without executing", "actions": None,
           "task_dep": [f"{name}:sb3" for name in every]}  # fmt: skip
    yield {"basename": "observations", "doc": "sb3 → observations, and what predict answers", "actions": None,
           "task_dep": [f"{name}:observations" for name in every]}  # fmt: skip
    for hop in HOPS:
        having = [agent.name for agent in agents if hop in wanted(agent.targets)]
        where = " and ".join(hop.runtimes)
        yield {
            "basename": hop.kind,
            "doc": f"{hop.source} → {hop.kind}: {hop.says}; run in {where}",
            "actions": None,
            "task_dep": [f"{name}:{hop.kind}" for name in having],
        }
    if baseline:
        yield {"basename": "documented", "doc": "what SB3's own export guide makes of the archives", "actions": None,
               "task_dep": [f"{name}:{documented.ANSWER}" for name in every]}  # fmt: skip


def for_toolchains() -> Iterator[Task]:
    """The environments; each is made once for a lock."""
    for name, toolchain in toolchains.TOOLCHAINS.items():

        def make(name: str = name) -> None:
            log = toolchains.home() / f"{name}.log"
            toolchains.home().mkdir(parents=True, exist_ok=True)
            log.write_text("", encoding="utf-8")
            try:
                making.make(name, log)
            except errors.NotRun as absent:
                print(f"toolchain {name} is not made: {absent.what}")
            except errors.SlipwayError:
                _unmade.add(name)
                raise

        def ready(name: str = name) -> bool:
            return toolchains.ready(name)

        yield {
            "basename": "toolchains",
            "name": name,
            "doc": toolchain.says,
            "actions": [guarded(make)],
            "uptodate": [ready],
            "task_dep": [f"toolchains:{other}" for other in toolchain.after],
            "verbosity": 2,
            "meta": {"agent": "toolchains", "step": name},
        }


def for_training(agents: list[Agent], root: Path) -> Iterator[Task]:
    """Train an agent by its recipe, also where the config ships the archive that the recipe once made."""
    for agent in agents:
        if agent.recipe.algorithm:
            step = steps.retrain(agent, root)
            task = _for_step(agent, step)
            task |= {"basename": "train", "name": agent.name, "doc": f"{step.says} → artifacts/{agent.name}/recipe/"}
            yield task
