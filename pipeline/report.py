"""A run told in lines while it goes on, and at its end its verdicts as a table of agents × kinds."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

from pipeline import contract as contracts
from pipeline import errors, gate
from pipeline.hops import HOPS, wanted
from pipeline.spec import Agent, Hop, Verdict
from pipeline.steps import ladder
from pipeline.steps import verdicts as stored_verdicts

PREDICTED = "; predicted: "
BEFORE = ("recipe", "hub", "sb3", "observations")
LEGEND = (
    "✓ decides as predict: equal decisions, or largest action error; % = return kept in closed loop; "
    "±% = mean action error of its range, where there is no environment; · not built"
)
MARKS = {"passed": "✓", "failed": "✗", "waived": "!", "not_run": "–", "missing": "·"}


def line(name: str, word: str, seconds: float) -> str:
    """What is said of a step that ended."""
    return f"{seconds:7.1f} s  {word:6}  {name}"


class Lines:
    """A line for every step that ended, and one when nothing has ended for a while."""

    QUIET = 15.0
    live = False

    def __init__(self, out: Any) -> None:
        self.out = out
        self.running: dict[str, float] = {}
        self.spoken = time.monotonic()
        self.lock = threading.Lock()
        self.closed = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self, name: str) -> None:
        with self.lock:
            self.running[name] = time.monotonic()
            if self.thread is None:
                self.thread = threading.Thread(target=self._watch, daemon=True)
                self.thread.start()

    def skip(self, name: str) -> None:
        """A step that there was nothing to do for."""
        with self.lock:
            self.running.pop(name, None)

    def end(self, name: str, word: str, seconds: float, text: str = "") -> None:
        with self.lock:
            self.running.pop(name, None)
            self._write(f"{line(name, word, seconds)}\n" + (f"{text}\n" if text else ""))

    def note(self, text: str) -> None:
        """What a run waits for."""
        with self.lock:
            self._write(f"{text}\n")

    def close(self) -> None:
        self.closed.set()

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()
        self.spoken = time.monotonic()

    def _watch(self) -> None:
        while not self.closed.wait(0.2):
            with self.lock:
                now = time.monotonic()
                if self.running and now - self.spoken > self.QUIET:
                    shown = ", ".join(f"{name} {now - since:.0f} s" for name, since in self.running.items())
                    self._write(f"           running: {shown}\n")


def verdicts(agent: Agent, root: Path, hop: Hop) -> list[tuple[str, Verdict | None]]:
    """Runtime and verdict of each check of a hop, as stored."""
    found = []
    for runtime in hop.runtimes:
        stored = stored_verdicts.read(root / agent.name / hop.kind / runtime / stored_verdicts.FILE)
        found.append((runtime, stored[0] if stored else None))
    return found


def cell(agent: Agent, root: Path, hop: Hop) -> str:
    """One cell of the table: a mark, and the figure that the check decides by."""
    if hop not in shown(agent):
        return ""
    found = [verdict for _, verdict in verdicts(agent, root, hop)][: 1 if hop.rungs else None]
    done = [verdict for verdict in found if verdict is not None]
    if len(done) < len(found):
        return MARKS["missing"]
    worst = min(done, key=lambda verdict: ("failed", "waived", "passed", "not_run").index(verdict.status))
    return f"{MARKS[worst.status]} {figure(worst)} {_rung(root / agent.name, hop)}".strip()


def _rung(home: Path, hop: Hop) -> str:
    """Which rung of the ladder a kind is; "" where it is none, or is the first."""
    try:
        name = contracts.load(home / hop.kind)["rung"] if hop.rungs else ""
    except (OSError, KeyError, errors.OutputsUnfit):
        return ""
    return "" if name == ladder.RUNG_HOPS[0].rung else str(name)


def shown(agent: Agent) -> list[Hop]:
    """The hops of an agent that a table shows: rungs of a ladder are told by its end, where there is one."""
    hops = wanted(agent.targets)
    return [hop for hop in hops if not (hop.rung and any(hop.kind in other.rungs for other in hops))]


def figure(verdict: Verdict) -> str:
    """The number that a verdict decided by: the return kept, if it was measured; else decisions or errors."""
    figures = verdict.figures
    if verdict.status == "not_run" or not figures:
        return ""
    closed = figures.get("closed_loop")
    if isinstance(closed, dict):
        return f"{closed['kept']:.0%}"
    if "action_error" in figures:
        return f"±{figures['action_error']:.1%}"
    if "decisions" in figures:
        decided = figures["decisions"]
        return f"{decided['equal'] + decided['excused']}/{figures['observations']}"
    return f"{figures['outputs']['action']['max']:.0e}"


def table(out: Any, agents: list[Agent], root: Path, failed: set[str], blocked: set[str], refused: list[str]) -> None:
    """Write agents × kinds. Nothing where no agent was asked for.

    :param failed: names of the steps that failed in this run
    :param blocked: names of the steps that this run did not reach
    :param refused: agents whose config is refused
    """
    if not agents and not refused:
        return
    hops = [hop for hop in HOPS if any(hop in shown(agent) for agent in agents)]
    rows = [["", *(hop.kind for hop in hops)]]
    for agent in agents:
        before = [name for name in (*BEFORE, "calibration") if f"{agent.name}:{name}" in failed]
        cells = [cell_of_run(agent, root, hop, failed, blocked) for hop in hops]
        rows.append([agent.name, *([f"✗ {before[0]}", *cells[1:]] if before else cells)])
    width = shutil.get_terminal_size().columns if hasattr(out, "isatty") and out.isatty() else 1000
    out.write("\n" + _fitted(rows, width) + "\n")
    for name in refused:
        out.write(f"{name}  ✗ its config is refused\n")
    out.write(f"\n{LEGEND}\n")
    reasons(out, agents, root)


def reasons(out: Any, agents: list[Agent], root: Path) -> None:
    """Write why what was not run was not, each reason once, and what the agents' contracts warn of."""
    for agent in agents:
        for kind, said in _fallen(agent, root):
            out.write(f"↓ {agent.name}: {kind} {said}\n")
    for reason in _grouped([absence for agent in agents for absence in _absences(agent, root)]):
        out.write(f"– not run: {reason}\n")
    for agent in agents:
        kinds = ("sb3", *(hop.kind for hop in shown(agent) if hop.rungs or hop.program))
        found = [warning for kind in kinds for warning in _warnings(root / agent.name / kind)]
        for warning in dict.fromkeys(found):
            out.write(f"! {agent.name}: {warning}\n")


def _grouped(absences: list[tuple[str, str, str]]) -> list[str]:
    """Each reason once, with the kinds that it is about; reasons that differ only in what they predict as one."""
    found: dict[str, tuple[dict[tuple[str, str], None], set[str]]] = {}
    for kind, runtime, reason in absences:
        head, _, predicted = reason.partition(PREDICTED)
        where, told = found.setdefault(head, ({}, set()))
        where[kind, runtime] = None
        told.add(predicted)
    return [f"{_where(list(where))}: {head}{_predicted(sorted(told))}" for head, (where, told) in found.items()]


def _where(found: list[tuple[str, str]]) -> str:
    kinds = list(dict.fromkeys(kind for kind, _ in found))
    return f"{found[0][0]} in {found[0][1]}" if len(found) == 1 else ", ".join(kinds)


def _predicted(told: list[str]) -> str:
    if len(told) == 1:
        return PREDICTED + told[0] if told[0] else ""
    others = [text for text in told if not text.startswith("all ")]
    few = f", but: {'; '.join(others[:5])}{', …' if len(others) > 5 else ''}" if others else ""
    return f"{PREDICTED}all operators map{few}"


def _fitted(rows: list[list[str]], width: int) -> str:
    """The table as text: agents as rows if that fits the width, else as columns, else with marks alone."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    marks = [[text.partition(" ")[0] if row and column else text for column, text in enumerate(line)]
             for row, line in enumerate(columns)]  # fmt: skip
    for shape in (rows, columns):
        text = aligned(shape)
        if max(map(len, text.split("\n"))) <= width:
            return text
    return aligned(marks)


def aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def cell_of_run(agent: Agent, root: Path, hop: Hop, failed: set[str], blocked: set[str]) -> str:
    """What this run found; an old verdict of a step that was not reached is no finding."""
    start = f"{agent.name}:{hop.kind}:"
    if any(name.startswith(start) for name in failed):
        return MARKS["failed"] + " " + _failed_figure(agent, root, hop)
    if any(name.startswith(start) for name in blocked):
        return MARKS["missing"]
    return cell(agent, root, hop)


def _failed_figure(agent: Agent, root: Path, hop: Hop) -> str:
    found = [verdict for _, verdict in verdicts(agent, root, hop) if verdict is not None]
    return next((figure(verdict) for verdict in found if verdict.status == "failed"), "")


def _warnings(artifact: Path) -> list[str]:
    try:
        return [str(warning) for warning in contracts.load(artifact)["warnings"]]
    except (OSError, KeyError, TypeError, errors.OutputsUnfit):
        return []


def _fallen(agent: Agent, root: Path) -> list[tuple[str, str]]:
    """Every rung that failed or is not certain, and why, where the ladder has an end."""
    found = []
    for hop in wanted(agent.targets):
        verdict = None if hop in shown(agent) else ladder.verdict_of(root / agent.name, hop.kind)
        if verdict is not None and verdict.status == "failed":
            found.append((hop.kind, f"failed: {verdict.reason}"))
        elif verdict is not None and verdict.status == "passed" and not ladder.certain(verdict):
            found.append((hop.kind, f"is not certain: {gate.phrase(verdict.figures['closed_loop'])}"))
    return found


def _absences(agent: Agent, root: Path) -> list[tuple[str, str, str]]:
    """Kind, runtime and reason of what was not run."""
    found = []
    for hop in shown(agent):
        for runtime, verdict in verdicts(agent, root, hop):
            if verdict is not None and verdict.status == "not_run":
                found.append((hop.kind, runtime, verdict.reason))
    return found


def closing(out: Any, ran: int, taken: int, failures: int, blocked: int, seconds: float) -> None:
    """One line that says how the run ended.

    :param ran: steps that were
    :param taken: steps that the cache had
    """
    done = f"{ran} steps run" + (f", {taken} taken from the cache" if taken else "")
    if failures:
        waiting = f", {blocked} not reached" if blocked else ""
        out.write(f"{failures} failed{waiting}, {done} in {seconds:.1f} s\n")
    elif ran or taken:
        out.write(f"{done} in {seconds:.1f} s\n")
    else:
        out.write("everything is up to date\n")
    out.flush()
