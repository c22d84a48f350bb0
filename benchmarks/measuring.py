"""What the benchmarks share: one at a time, runs of ./doit, jobs in a toolchain, figures to reach, pages.

    python -m benchmarks.measuring MODULE:FUNCTION JOBS RESULTS LOG

calls a function with each job of a JSON list, as many at once as there are cores, and writes what it returns. It is how
the programs here get into a toolchain: they import its libraries inside functions only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib
import json
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import toolchains

ROOT = toolchains.ROOT
PAGES = ROOT / "docs" / "benchmarks"
CORES = min(os.cpu_count() or 1, 8)
os.environ["SLIPWAY_CACHE"] = "none"  # what is measured is made

Job = dict[str, Any]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other benchmark runs on this machine: ``./doit bench`` starts as many as there are cores."""
    with (Path(tempfile.gettempdir()) / "slipway-bench.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(configs: Path, artifacts: Path) -> str:
    """Run ./doit on folders of a benchmark's own; what it said. An agent that fails has no artifact."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(ROOT / "doit"), f"configs={configs}", f"artifacts={artifacts}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.stdout + done.stderr


def refusals(said: str) -> str:
    """The lines in which ./doit says why an agent was not built."""
    return "".join(f"{line}\n" for line in said.splitlines() if re.match(r"\w+: agent ", line))


def inside(toolchain: str, function: str, jobs: Sequence[Job], processes: int = CORES) -> list[Any]:
    """Call a function in a toolchain with each job; what it returned, in their order.

    :param function: "module:function"; it takes the job, and returns what JSON can hold
    :param jobs: each with a ``name``, which is printed when it is done
    :raises SystemExit: one failed
    """
    with tempfile.TemporaryDirectory() as name:
        asked, answered, log = (Path(name) / file for file in ("jobs.json", "results.json", "log.txt"))
        asked.write_text(json.dumps({"jobs": list(jobs), "processes": processes}), encoding="utf-8")
        call = [toolchains.python(toolchain), "-m", "benchmarks.measuring", function]
        call += [str(path) for path in (asked, answered, log)]
        done = subprocess.run(call, cwd=ROOT, env=toolchains.environment())
        if done.returncode:
            said = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
            sys.exit(f"{function} ended with {done.returncode} in the toolchain {toolchain}:\n{said[-4000:]}")
        found: list[Any] = json.loads(answered.read_text(encoding="utf-8"))
        return found


def main(arguments: list[str]) -> None:
    """The other side of :func:`inside`: what libraries print goes to the log, a line for each job to the caller."""
    function, asked, answered, log = arguments
    given = json.loads(Path(asked).read_text(encoding="utf-8"))
    said = os.fdopen(os.dup(1), "w")
    to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(to, 1)
    os.dup2(to, 2)
    with multiprocessing.get_context("fork").Pool(given["processes"]) as pool:
        found = []
        for job, (seconds, result) in zip(given["jobs"], pool.imap(_Call(function), given["jobs"]), strict=True):
            print(f"{seconds:7.1f} s  {function.split(':')[1]} {job['name']}", file=said, flush=True)
            found.append(result)
    Path(answered).write_text(json.dumps(found), encoding="utf-8")


@dataclass(frozen=True)
class _Call:
    """A function by name, so that only the processes of the pool import its libraries; and how long it took."""

    function: str

    def __call__(self, job: Job) -> tuple[float, Any]:
        begun = time.monotonic()
        module, name = self.function.split(":")
        act: Callable[[Job], Any] = getattr(importlib.import_module(module), name)
        found = act(job)
        return time.monotonic() - begun, found


@dataclass(frozen=True)
class Goal:
    """A figure to reach.

    :param found: what was measured, in words
    :param want: what it should be, in words
    :param reached: None where there is nothing to judge
    """

    what: str
    found: str
    want: str
    reached: bool | None

    @property
    def mark(self) -> str:
        return {True: "✓", False: "✗ missed", None: "– nothing to judge"}[self.reached]


def _judge(goals: Sequence[Goal]) -> int:
    """Print the goals; 1 where one is missed."""
    for goal in goals:
        print(f"{goal.mark[0]} {goal.what}: {goal.found} (to reach: {goal.want})")
    return int(any(goal.reached is False for goal in goals))


def goals_page(goals: Sequence[Goal]) -> str:
    """The goals as a Markdown table."""
    rows = [[goal.what, goal.found, goal.want, goal.mark] for goal in goals]
    return table(["figure", "found", "to reach", ""], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def finish(
    name: str, begun: float, goals: Sequence[Goal], found: Job, page: Callable[[Job], str], module: str = "pictures"
) -> int:
    """Write ``docs/benchmarks/NAME.json``, ``.md`` and the picture, and judge; 1 where a goal is missed.

    :param begun: when the benchmark did, by ``time.monotonic``
    :param found: what was measured; ``goals`` and ``machine`` are added here
    :param page: makes the page of all that
    :param module: that draws; "" where there is no picture
    """
    result = {"goals": [dataclasses.asdict(goal) for goal in goals], "machine": machine(), **found}
    PAGES.mkdir(parents=True, exist_ok=True)
    (PAGES / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (PAGES / f"{name}.md").write_text(page(result), encoding="utf-8")
    if module:
        _draw(name, module)
    print(f"docs/benchmarks/{name}.md is written; {time.monotonic() - begun:.0f} s")
    return _judge(goals)


def _draw(name: str, module: str) -> None:
    """The picture of ``NAME.json`` beside it, by a function of a module of ours; says so where it cannot be drawn."""
    said = "the toolchain pictures is not made"
    if toolchains.ready("pictures"):
        job = {"name": f"{name}.svg, {name}.png", "folder": str(PAGES)}
        (said,) = inside("pictures", f"benchmarks.{module}:{name}", [job], 1)
    if said:
        print(f"no picture is drawn: {said}")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    try:
        told = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        told = None
    return {
        "processor": told[1] if told else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "packages": {name: toolchains.versions(name) for name in ("torch", "tensorflow", "device")},
    }


if __name__ == "__main__":
    main(sys.argv[1:])
