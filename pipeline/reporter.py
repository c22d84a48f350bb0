"""How doit's run is shown: a line as each step ends, then the table; and the lock that a run holds."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, report
from pipeline.spec import Agent

PASSED_THROUGH = 2  # doit's verbosity of a task whose own output is the progress


class Reporter:
    """A doit reporter (its duck type: doit 0.37, ``doit/reporter.py``).

    ``root``, ``agents`` and ``refused`` are set by dodo.py: the artifacts folder, the agents, and the names of
    the configs that are refused.
    """

    desc = "Slipway's lines and table"
    root: Path
    agents: list[Agent]
    refused: list[str]

    def __init__(self, outstream: Any, options: dict[str, Any]) -> None:
        self.out = outstream
        self.screen = report.Screen(outstream)
        self.started: dict[str, float] = {}
        self.selected: set[str] = set()
        self.failed: set[str] = set()
        self.blocked: set[str] = set()
        self.ran = 0

    def initialize(self, tasks: dict[str, Any], selected_tasks: list[str]) -> None:
        """Take the lock, and note which agents the run is about."""
        self.begun = time.monotonic()
        self.lock = artifacts.lock(self.root)
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
        self.failed.add(task.name)
        ours = type(fail_info).__name__ == "TaskFailed"
        self._end(task, "FAILED", fail_info.message if ours else fail_info.get_msg())

    def _end(self, task: Any, word: str, text: str = "") -> None:
        begun = self.started.pop(task.name, None)
        if begun is not None:
            self.screen.end(task.name, word, time.monotonic() - begun, text)

    def complete_run(self) -> None:
        self.screen.close()
        shown = [agent for agent in self.agents if agent.name in self.selected]
        refused = [name for name in self.refused if name in self.selected]
        report.table(self.out, shown, self.root, self.failed, self.blocked, refused)
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
