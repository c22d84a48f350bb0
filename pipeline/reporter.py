"""How doit's run is shown: a line as each step ends, then the table; and the lock that a run holds."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, report, survey
from pipeline.spec import Agent
from pipeline.steps import documented

PASSED_THROUGH = 2  # doit's verbosity of a task whose own output is the progress


class Reporter:
    """A doit reporter (its duck type: doit 0.37, ``doit/reporter.py``).

    ``root``, ``agents``, ``refused`` and ``survey`` are set by dodo.py: the artifacts folder, the agents, the names
    of the configs that are refused, and whether the agents are a folder's.
    """

    desc = "Slipway's lines and table"
    root: Path
    agents: list[Agent]
    refused: list[str]
    survey = False

    def __init__(self, outstream: Any, options: dict[str, Any]) -> None:
        self.out = outstream
        self.screen = report.Screen(outstream)
        self.started: dict[str, float] = {}
        self.spent: dict[str, float] = {}
        self.selected: set[str] = set()
        self.kinds: set[str] = set()
        self.failed: dict[str, str] = {}
        self.blocked: set[str] = set()
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
            self.out.write(f"{error}\n")
            self.out.flush()
            sys.exit(2)
        waiting = list(selected_tasks)
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += tasks[name].task_dep
        self.selected = {name.partition(":")[0] for name in seen}
        self.kinds = {name.split(":")[1] for name in seen if ":" in name}
        if documented.DOCUMENTED in self.kinds:
            self.out.write("baseline=yes: SB3's own load executes what the pickles of the archives hold\n")

    def execute_task(self, task: Any) -> None:
        if task.actions:
            self.ran += 1
            self.started[task.name] = time.monotonic()
            if task.verbosity != PASSED_THROUGH:
                self.screen.start(task.name)

    def add_success(self, task: Any) -> None:
        self._end(task, "done")

    def add_failure(self, task: Any, fail_info: Any) -> None:
        if type(fail_info).__name__ == "UnmetDependency":
            self.blocked.add(task.name)
            return
        self.failed[task.name] = fail_info.get_msg() if fail_info.traceback else fail_info.message
        self._end(task, "FAILED", self.failed[task.name])

    def _end(self, task: Any, word: str, text: str = "") -> None:
        begun = self.started.pop(task.name, None)
        if self.alone:
            self.out.write(f"{text}\n" if text else "")
        elif begun is not None:
            seconds = time.monotonic() - begun
            agent = task.name.partition(":")[0]
            self.spent[agent] = self.spent.get(agent, 0.0) + seconds
            self.screen.end(task.name, word, seconds, text)

    def complete_run(self) -> None:
        if self.alone:
            return
        self.screen.close()
        shown = [agent for agent in self.agents if agent.name in self.selected]
        refused = [name for name in self.refused if name in self.selected]
        if self.survey and shown:
            ran = survey.Ran(self.failed, self.blocked, self.kinds, self.spent)
            survey.table(self.out, shown, self.root, ran)
        else:
            report.table(self.out, shown, self.root, set(self.failed), self.blocked, refused)
        reached = [name for name in self.blocked if name.count(":") > 1]
        report.closing(self.out, self.ran, len(self.failed), len(reached), time.monotonic() - self.begun)
        self.lock.__exit__(None, None, None)

    def runtime_error(self, msg: str) -> None:
        self.out.write(f"{msg}\n")

    def cleanup_error(self, exception: Any) -> None:
        self.out.write(f"{exception.get_msg()}\n")

    def get_status(self, task: Any) -> None:
        """Nothing is said while a step is found fresh or not."""

    skip_uptodate = skip_ignore = teardown_task = get_status
