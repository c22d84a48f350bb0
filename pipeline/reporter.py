"""How doit's run is shown: a view or lines while it goes on, then the table; and the lock that a run holds."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pipeline import artifacts, cache, errors, live, report, scratch, survey, warm
from pipeline.hops import BY_KIND, wanted
from pipeline.spec import Agent
from pipeline.steps import documented, ladder, whole

CAPTURED = 0  # doit's verbosity of a task whose output is kept until it ended


class Reporter:
    """A doit reporter (its duck type: doit 0.37, ``doit/reporter.py``).

    ``root``, ``agents``, ``refused``, ``survey`` and ``cache`` are set by dodo.py: the artifacts folder, the agents,
    the names of the configs that are refused, whether the agents are a folder's, and what need not be made again.
    """

    desc = "Slipway's lines and table"
    root: Path
    agents: list[Agent]
    refused: list[str]
    survey = False
    baseline = False
    cache: cache.Cache | None = None
    ended: int | None = None  # the exit code, where a run of agents or a command has one of its own

    def __init__(self, outstream: Any, options: dict[str, Any]) -> None:
        self.out = outstream
        self.screen: report.Lines | live.View = report.Lines(outstream)
        self.counting = threading.Lock()  # steps start in doit's threads
        self.started: dict[str, float] = {}
        self.spent: dict[str, float] = {}
        self.selected: set[str] = set()
        self.kinds: set[str] = set()
        self.failed: dict[str, str] = {}
        self.refusals: set[str] = set()
        self.blocked: set[str] = set()
        self.asked: set[str] = set()
        self.partly: set[str] = set()
        self.settled: set[str] = set()
        self.ran = 0

    def initialize(self, tasks: dict[str, Any], selected_tasks: list[str]) -> None:
        """Take the lock, and note which agents the run is about."""
        self.begun = time.monotonic()
        # A task about files builds nothing: it waits for no build, and no table follows it.
        self.alone = all((tasks[name].meta or {}).get("alone") for name in selected_tasks) and bool(selected_tasks)
        self.lock = contextlib.nullcontext() if self.alone else artifacts.lock(self.root)
        try:
            self.lock.__enter__()
        except errors.SlipwayError as error:
            self.alone = True
            self.out.write(f"{error}\n")
            self.out.flush()
            sys.exit(errors.REFUSED)
        if not self.alone:
            scratch.clear_abandoned()
            cache.CURRENT = self.cache
        known = {agent.name for agent in self.agents}
        waiting = list(selected_tasks)
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += [*tasks[name].task_dep, *tasks[name].setup_tasks]
        self.selected = {name.partition(":")[0] for name in seen}
        steps = {name for name, task in tasks.items() if task.actions and name.partition(":")[0] in known}
        self.asked = steps & seen
        self.partly = {name.partition(":")[0] for name in steps - seen}
        self.kinds = {name.split(":")[1] for name in seen if ":" in name}
        for agent in self.agents:  # those without a step are up to date as a whole
            if agent.name in self.selected and not any(name.startswith(f"{agent.name}:") for name in seen):
                self.kinds |= {hop.kind for hop in wanted(agent.targets)}
                self.kinds |= {documented.DOCUMENTED} if self.baseline else set()
        if live.on_terminal(self.out):
            self.screen = live.View(self.out, self._progress(tasks, seen))
        warm.SAY = self.screen.note
        if any(documented.DOCUMENTED in name for name in self.asked):
            self.out.write("baseline=yes: SB3's own load executes what the pickles of the archives hold\n")

    def _progress(self, tasks: dict[str, Any], seen: set[str]) -> live.Progress:
        """All steps of the run, for the view."""
        known = [agent.name for agent in self.agents] + self.refused
        steps = [name for name in seen if tasks[name].actions]
        agents = [name for name in known if name in self.selected]
        return live.Progress(steps, agents, self._finding)

    def _finding(self, name: str, row: str) -> str:
        """What the view says of an agent's kind that is done, or of what stands before its hops."""
        agent = self._agent(name)
        if agent is not None and row in BY_KIND:
            found = report.cell_of_run(agent, self.root, BY_KIND[row], set(self.failed), self.blocked)
            return found or "done"
        steps = [step.partition(":")[2] for step in self.failed if step.partition(":")[0] == name]
        failed = [step for step in steps if step.partition(":")[0] == row or ":" not in step]
        return f"{report.MARKS['failed']} {failed[0]}".strip() if failed else report.MARKS["passed"]

    def _agent(self, name: str) -> Agent | None:
        return next((agent for agent in self.agents if agent.name == name), None)

    def execute_task(self, task: Any) -> None:
        if not task.actions:
            return
        with self.counting:
            self.ran += (task.meta or {}).get("counted", 1)
            self.started[task.name] = time.monotonic()
        if self.alone or not (task.meta or {}).get("agent"):
            self.screen.close()  # a program has the terminal for itself
            return
        if self.screen.live:
            task.verbosity = CAPTURED
        self.screen.start(task.name)

    def add_success(self, task: Any) -> None:
        self.settled.add(task.name)
        self._end(task, "done")

    def add_failure(self, task: Any, fail_info: Any) -> None:
        if type(fail_info).__name__ == "UnmetDependency":
            self.blocked.add(task.name)
            with self.counting:  # it was begun, where a toolchain was missing
                self.ran -= self.started.pop(task.name, None) is not None
            self.screen.skip(task.name)
            return
        self.failed[task.name] = fail_info.get_msg() if fail_info.traceback else fail_info.message
        if type(fail_info).__name__ == "TaskError" and not fail_info.traceback:
            self.refusals.add(task.name)
        self._end(task, "FAILED", self.failed[task.name])

    def skip_uptodate(self, task: Any) -> None:
        self.settled.add(task.name)
        self.screen.skip(task.name)

    def _end(self, task: Any, word: str, text: str = "") -> None:
        with self.counting:
            begun = self.started.pop(task.name, None)
        if self.alone:
            self.out.write(f"{text}\n" if text else "")
        elif begun is None:
            self.screen.skip(task.name)
        else:
            seconds = time.monotonic() - begun
            agent = task.name.partition(":")[0]
            self.spent[agent] = self.spent.get(agent, 0.0) + seconds
            if word == "done" and self._unneeded(task.name):
                self.screen.skip(task.name)
            else:
                said = "".join(action.out or "" for action in task.actions) if task.verbosity == CAPTURED else ""
                self.screen.end(task.name, word, seconds, f"{said}{text}".strip())

    def _unneeded(self, name: str) -> bool:
        """Whether a step is of a rung of the ladder, or of what only rungs use, that an earlier one has spared."""
        first, _, step = name.partition(":")
        agent, kind = self._agent(first), step.partition(":")[0]
        if agent is None:
            return False
        if kind == ladder.MORE:
            return bool(ladder.more_unneeded(agent, self.root / first))
        hop = BY_KIND.get(kind)
        return hop is not None and bool(hop.rung) and bool(ladder.unneeded(agent, self.root / first, hop))

    def complete_run(self) -> None:
        self.screen.close()
        if self.alone:
            return
        shown = [agent for agent in self.agents if agent.name in self.selected]
        refused = [name for name in self.refused if name in self.selected]
        if self.survey and shown:
            ran = survey.Ran(self.failed, self.blocked, self.kinds, self.spent)
            survey.table(self.out, shown, self.root, ran)
        else:
            report.table(self.out, shown, self.root, set(self.failed), self.blocked, refused)
        reached = [name for name in self.blocked if name.count(":") > 1]
        taken = self._close_cache()
        report.closing(self.out, self.ran, taken, len(self.failed), len(reached), time.monotonic() - self.begun)
        self._note_what_is_fresh(shown)
        if self.failed:  # doit's own code would tell whether a step was not reached
            Reporter.ended = errors.FAILED if set(self.failed) - self.refusals else errors.REFUSED
        self.lock.__exit__(None, None, None)

    def _close_cache(self) -> int:
        """How many results it gave; what is wrong with it is said."""
        if self.cache is None:
            return 0
        self.cache.close()
        for complaint in self.cache.complaints:
            self.out.write(f"{complaint}\n")
        return self.cache.taken

    def _note_what_is_fresh(self, agents: list[Agent]) -> None:
        """Agents of which every step was asked for, and is done or was up to date."""
        unsettled = self.partly | {name.partition(":")[0] for name in self.asked - self.settled}
        asked = {name.partition(":")[0] for name in self.asked}
        for agent in agents:
            if agent.name in asked - unsettled:
                whole.record(agent, self.root, self.baseline)

    def runtime_error(self, msg: str) -> None:
        self.screen.close()
        self.out.write(f"{msg}\n")

    def cleanup_error(self, exception: Any) -> None:
        self.screen.close()
        self.out.write(f"{exception.get_msg()}\n")

    def get_status(self, task: Any) -> None:
        """Nothing is said while a step is found fresh or not."""

    skip_ignore = teardown_task = get_status
