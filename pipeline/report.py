"""Verdicts drawn for a reader: progress while a run goes on, and agents × kinds at its end."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from pipeline.hops import HOPS, wanted
from pipeline.spec import Agent, Hop, Verdict
from pipeline.steps import of_hop

MARKS = {"passed": "✓", "failed": "✗", "not_run": "–", "missing": "·"}


class Screen:
    """Progress: on a terminal the last line shows what runs now and for how long; elsewhere lines are added."""

    def __init__(self, out: Any) -> None:
        self.out = out
        self.live = hasattr(out, "isatty") and out.isatty()
        self.running: dict[str, float] = {}
        self.lock = threading.Lock()
        self.closed = threading.Event()
        if self.live:
            threading.Thread(target=self._redraw, daemon=True).start()

    def start(self, name: str, doc: str) -> None:
        with self.lock:
            self.running[name] = time.monotonic()
            if not self.live:
                self.out.write(f"      … {name}  {doc}\n")
                self.out.flush()

    def end(self, name: str, word: str, seconds: float) -> None:
        with self.lock:
            self.running.pop(name, None)
            self.out.write(f"{self._wipe()}{seconds:6.1f} s {word} {name}\n")
            self.out.flush()

    def close(self) -> None:
        self.closed.set()
        with self.lock:
            self.out.write(self._wipe())

    def _wipe(self) -> str:
        return "\r\033[K" if self.live else ""

    def _redraw(self) -> None:
        while not self.closed.wait(0.2):
            with self.lock:
                now = time.monotonic()
                shown = "   ".join(f"{name} {now - since:.0f} s" for name, since in self.running.items())
                self.out.write(f"{self._wipe()}  ▸ {shown}"[:160])
                self.out.flush()


def verdicts(agent: Agent, root: Path, hop: Hop) -> list[tuple[str, Verdict | None]]:
    """Runtime and verdict of each check of a hop, as stored."""
    found = []
    for runtime in hop.runtimes:
        stored = of_hop.verdict(root / agent.name / hop.kind / runtime / of_hop.VERDICT)
        found.append((runtime, stored[0] if stored else None))
    return found


def cell(agent: Agent, root: Path, hop: Hop) -> str:
    """One cell of the table: a mark, and the figure that the check decides by."""
    if hop not in wanted(agent.targets):
        return ""
    found = [verdict for _, verdict in verdicts(agent, root, hop)]
    done = [verdict for verdict in found if verdict is not None]
    if len(done) < len(found):
        return MARKS["missing"]
    worst = min(done, key=lambda verdict: ("failed", "passed", "not_run").index(verdict.status))
    return f"{MARKS[worst.status]} {figure(worst)}".strip()


def figure(verdict: Verdict) -> str:
    """The number that a verdict decided by: largest action error or equal decisions; return kept, if measured."""
    figures = verdict.figures
    if verdict.status == "not_run" or not figures:
        return ""
    closed = figures.get("closed_loop")
    if isinstance(closed, dict):
        return f"{closed['kept']:.0%}"
    if "decisions" in figures:
        decided = figures["decisions"]
        return f"{decided['equal'] + decided['excused']}/{figures['observations']}"
    return f"{figures['outputs']['action']['max']:.0e}"


def table(out: Any, agents: list[Agent], root: Path, failed: dict[str, str], refused: list[str]) -> None:
    """Write agents × kinds. Nothing where no agent was asked for."""
    if not agents and not refused:
        return
    rows = [["", *(hop.kind for hop in HOPS)]]
    rows += [[agent.name, *(_cell(agent, root, hop, failed.get(agent.name, "")) for hop in HOPS)] for agent in agents]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    out.write("\n")
    for row in rows:
        out.write("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() + "\n")
    for name in refused:
        out.write(f"{name}  ✗ its config is refused\n")
    out.write("\n✓ decides as predict: equal decisions, or largest action error; % = return kept in closed loop\n")
    for reason in sorted({reason for agent in agents for reason in _absences(agent, root)}):
        out.write(f"– not run: {reason}\n")


def _cell(agent: Agent, root: Path, hop: Hop, failed: str) -> str:
    return MARKS["failed"] if failed.partition(":")[0] == hop.kind else cell(agent, root, hop)


def _absences(agent: Agent, root: Path) -> list[str]:
    found = []
    for hop in wanted(agent.targets):
        for runtime, verdict in verdicts(agent, root, hop):
            if verdict is not None and verdict.status == "not_run":
                found.append(f"{hop.kind} in {runtime}: {verdict.reason}")
    return found


def closing(out: Any, ran: int, failures: int, blocked: int, seconds: float) -> None:
    """One line that says how the run ended."""
    if failures:
        waiting = f", {blocked} not reached" if blocked else ""
        out.write(f"{failures} failed{waiting}, {ran} steps run in {seconds:.1f} s\n")
    elif ran:
        out.write(f"{ran} steps run in {seconds:.1f} s\n")
    else:
        out.write("everything is up to date\n")
    out.flush()
