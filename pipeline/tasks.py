"""Steps -> doit task dicts, and how a run is reported. The only module that knows doit's keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from doit.exceptions import TaskError, TaskFailed

from pipeline import config, errors, folder, steps, told, toolchains
from pipeline.cluster import asking
from pipeline.hops import HOPS, KINDS, wanted
from pipeline.spec import Agent
from pipeline.steps import documented, whole
from pipeline.steps.making import Step
from pipeline.toolchains import making

Task = dict[str, Any]

ROOT = toolchains.ROOT
CORES = min(os.cpu_count() or 1, 8)
_STEPLESS = ("toolchains", "cluster", "scheduler", "work", "inspect", "coral", "new", "test", "lint", "bench", "matrix",
             "properties")  # fmt: skip
_COMMANDS = (*_STEPLESS, "train")
AGAIN = "Give one: ./doit new FILE NAME"
RESERVED = (*_COMMANDS, "documented", "sb3", "observations", "calibration", "returns", *KINDS)


def guarded(act: Callable[[], None]) -> Callable[[], TaskFailed | None]:
    """Our errors become one line of doit's; everything else keeps its traceback, being a defect."""

    def action() -> TaskFailed | None:
        try:
            act()
        except errors.SlipwayError as error:
            return TaskFailed(str(error))
        return None

    return action


def load(configs: Path, artifacts: Path) -> tuple[list[Agent], list[tuple[str, errors.SlipwayError]]]:
    """The agents of ``folder=``, or else of the configs; and the configs that are refused, each with its error."""
    if told.surveyed():
        try:
            return folder.scan(ROOT / Path(told.surveyed()).expanduser(), artifacts, RESERVED), []
        except errors.SlipwayError as error:
            sys.exit(str(error))
    agents: list[Agent] = []
    refused: list[tuple[str, errors.SlipwayError]] = []
    found = config.paths(configs)
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
    needs = [f"toolchains:{name}" for name in step.toolchains if not (name == "torch" and agent.python)]
    reached = ["cluster"] if asking.CLUSTER else []
    return {
        "basename": agent.name,
        "name": step.name,
        "doc": step.says,
        "actions": [guarded(step.act)],
        "uptodate": [step.fresh],
        "task_dep": [f"{agent.name}:{name}" for name in step.after] + needs + reached,
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


def for_cluster() -> Iterator[Task]:
    """Reach the cluster, so that where it is not there this is said once; and become a part of one."""
    if asking.CLUSTER:
        yield {
            "basename": "cluster",
            "doc": f"reach the scheduler at {asking.CLUSTER.address}",
            "actions": [guarded(asking.connect)],
            "task_dep": ["toolchains:cluster"],
            "verbosity": 2,
            "meta": {"agent": "cluster", "step": "", "counted": 0},
        }
    for name, part, doc, needs in (
        ("scheduler", "scheduler", "Dask's scheduler: ./doit scheduler [-- OPTION…]", "toolchains:cluster"),
        ("work", "worker", "do steps for a cluster: ./doit work tcp://HOST:PORT [OPTION…]", "toolchains"),
    ):

        def become(arguments: list[str], part: str = part) -> bool:
            asking.become(part, [argument for argument in arguments if argument != "--"])
            return True

        yield {"basename": name, **about_files(doc, become), "task_dep": [needs]}


def for_training(agents: list[Agent], root: Path) -> Iterator[Task]:
    """Train an agent by its recipe, also where the config ships the archive that the recipe once made."""
    for agent in agents:
        if agent.recipe.algorithm:
            step = steps.retrain(agent, root)
            task = _for_step(agent, step)
            task |= {"basename": "train", "name": agent.name, "doc": f"{step.says} → artifacts/{agent.name}/recipe/"}
            yield task


def program(doc: str, calls: list[list[str]], after: tuple[str, ...]) -> Task:
    """A task that runs Python programs of the test toolchain; output and further arguments are passed through."""

    def run(pos: list[str]) -> TaskFailed | None:
        for call in calls:
            done = subprocess.run([toolchains.python("test"), *call, *pos], cwd=ROOT, env=toolchains.environment())
            if done.returncode:
                return TaskFailed(f"{' '.join(call)} ended with {done.returncode}")
        return None

    return {
        "doc": doc,
        "actions": [run],
        "pos_arg": "pos",
        "uptodate": [False],
        "task_dep": list(after),
        "verbosity": 2,
        "meta": {"agent": "", "step": ""},
    }


def about_files(doc: str, act: Callable[[list[str]], bool]) -> Task:
    """A task about the files that it is given, and no agent: what it prints is all that a run shows.

    :param act: takes the arguments; whether all is well
    """

    def run(pos: list[str], as_json: bool) -> TaskError | None:
        try:
            return None if act(["--json"] * as_json + pos) else TaskError("")
        except errors.SlipwayError as error:
            return TaskError(str(error))

    return {
        "doc": doc,
        "actions": [run],
        "pos_arg": "pos",
        "params": [{"name": "as_json", "long": "json", "type": bool, "default": False}],
        "uptodate": [False],
        "verbosity": 2,
        "meta": {"agent": "", "step": "", "alone": True},
    }


def inspect(arguments: list[str]) -> bool:
    """Show what each file is; with ``--json`` as one object a line."""
    from pipeline.agents import listing

    files = [Path(argument) for argument in arguments if argument != "--json"]
    if not files:
        raise errors.AgentFileMissing("no file is named", remedy="./doit inspect FILE… [--json]")
    return listing.show(files, "--json" in arguments)


def coral(arguments: list[str]) -> bool:
    """Predict what the Edge TPU compiler will make of each TFLite file; with ``--json`` as one object a line."""
    if not set(arguments) - {"--json"}:
        raise errors.TFLiteUnreadable("no file is named", remedy="./doit coral FILE… [--json]")
    call = [toolchains.python("device"), "-m", "pipeline.hops.edgetpu_lint", *arguments]
    return not subprocess.run(call, env=toolchains.environment()).returncode


def draft(arguments: list[str], configs: Path) -> bool:
    """Write the config of an archive: FILE and, if it is not to have the file's, NAME."""
    from pipeline.agents import drafting

    if len(arguments) not in (1, 2):
        raise errors.AgentFileMissing("want one archive, and perhaps a name", remedy="./doit new FILE [NAME]")
    path = Path(arguments[0])
    name = arguments[1] if len(arguments) == 2 else drafting.fit_name(path, RESERVED)
    if not config.fit(name) or name in RESERVED:
        want = "letters, digits, '-' and '_', at most 64, and not the name of a task"
        raise errors.AgentNameUnfit("the agent needs another name", expected=want, found=repr(name), remedy=AGAIN)
    target = configs / f"{name}.toml"
    drafting.write(path, target)
    config.load(target, KINDS, RESERVED)
    print(f"{os.path.relpath(target)} is written. Read its comments, then: ./doit {name}")
    return True
