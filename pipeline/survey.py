"""The table of a folder of agents: a row an agent, what was found of each, and how many of all."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import artifacts, report
from pipeline.hops import BY_KIND, HOPS
from pipeline.report import MARKS
from pipeline.spec import Agent, Hop
from pipeline.steps import documented, of_agent

BASELINE = ("guide loads", "guide exports", "guide action")
LEGEND = f"{report.LEGEND}; seconds: of the agent's steps in this run, - where all was up to date"
BASELINE_LEGEND = (
    "guide: SB3's export guide followed as written. loads: ALGO.load of the archive, which executes its pickles; "
    "where that fails, the rest is tried on the policy that Slipway rebuilt. exports: as written; or only with "
    "dynamo=False, after what the default exporter raised; ≠ where the file answers other than its wrapper. action: "
    "the file's first output held to predict, as every full-precision artifact is"
)


@dataclass
class Ran:
    """What a run did.

    :param failed: error by name of the steps that failed
    :param blocked: names of the steps that were not reached
    :param kinds: kinds of artifact that the run was about
    :param seconds: spent, by agent; agents of which no step ran are not in it
    """

    failed: Mapping[str, str]
    blocked: set[str]
    kinds: set[str]
    seconds: Mapping[str, float]


@dataclass
class Row:
    """One agent's: cells of the table, and for each kind the mark alone."""

    name: str
    loaded: str
    marks: dict[str, str] = field(default_factory=dict)
    cells: list[str] = field(default_factory=list)
    guide: dict[str, Any] = field(default_factory=dict)


def table(out: Any, agents: list[Agent], root: Path, ran: Ran) -> None:
    """Write the table, its legend, why what was not run was not, and the summary."""
    baseline = documented.DOCUMENTED in ran.kinds
    hops = [hop for hop in HOPS if hop.kind in ran.kinds and any(hop in report.shown(agent) for agent in agents)]
    rows = [_row(agent, root, hops, ran) for agent in agents]
    lines = [["", "loaded", *(hop.kind for hop in hops), *(BASELINE if baseline else ()), "seconds"]]
    for row in rows:
        guide = _guide_cells(row.guide) if baseline else []
        spent = f"{ran.seconds[row.name]:.1f}" if row.name in ran.seconds else "-"
        lines.append([row.name, row.loaded, *row.cells, *guide, spent])
    width = shutil.get_terminal_size().columns if hasattr(out, "isatty") and out.isatty() else 1000
    out.write(f"\n{_fitted(lines, width, len(hops))}\n\n{LEGEND}\n")
    if baseline:
        out.write(f"{BASELINE_LEGEND}\n")
    report.reasons(out, agents, root)
    out.write("\n" + "\n".join(_summary(rows, hops)) + "\n")
    if baseline:
        out.write(_baseline_summary([row.guide for row in rows]) + "\n")


def _row(agent: Agent, root: Path, hops: list[Hop], ran: Ran) -> Row:
    loaded = _loaded(agent, root, ran.failed)
    row = Row(agent.name, loaded)
    for hop in hops:
        cell = report.cell_of_run(agent, root, hop, set(ran.failed), ran.blocked) if loaded == "yes" else ""
        row.cells.append(cell)
        row.marks[hop.kind] = cell[:1]
    row.guide = documented.found(root / agent.name) if loaded == "yes" else {}
    return row


def _loaded(agent: Agent, root: Path, failed: Mapping[str, str]) -> str:
    """ "yes", or the class of the error that ended the agent before its first hop."""
    for step in (of_agent.SOURCE, of_agent.OBSERVATIONS):
        text = failed.get(f"{agent.name}:{step}")
        if text is not None:
            return text.partition(":")[0]
    return "yes" if artifacts.manifest(root / agent.name / of_agent.SOURCE) else MARKS["missing"]


def _fitted(rows: list[list[str]], width: int, kinds: int) -> str:
    """With figures if they fit the width, else with marks alone."""
    text = report.aligned(rows)
    if max(map(len, text.split("\n"))) <= width:
        return text
    return report.aligned(
        [row[:2] + [cell if not number else cell[:1] for cell in row[2 : 2 + kinds]] + row[2 + kinds :]
         for number, row in enumerate(rows)]
    )  # fmt: skip


def _guide_cells(guide: dict[str, Any]) -> list[str]:
    if not guide:
        return [""] * len(BASELINE)
    if "uncovered" in guide:
        return [guide.get("loads", ""), "not covered", MARKS["not_run"]]
    return [guide.get("loads", ""), _exports(guide), _action(guide)]


def _exports(guide: dict[str, Any]) -> str:
    tried = guide.get("exporters", {})
    worked = [name for name, found in tried.items() if found == "yes"]
    if not worked:
        return "no: " + ", ".join(dict.fromkeys(tried.values()))
    runs = guide.get("runs", "yes")
    differs = "" if guide.get("wrapper", {}).get("same", True) else " ≠"
    how = "yes" if worked == ["default"] else f"{worked[0]} (else {tried['default']})"
    return how + (differs if runs == "yes" else f", runs: {runs}")


def _action(guide: dict[str, Any]) -> str:
    if "action" not in guide:
        return MARKS["not_run"]
    return f"{MARKS['passed' if guide['action']['same'] else 'failed']} {guide['action']['figure']}"


def _summary(rows: list[Row], hops: list[Hop]) -> list[str]:
    loaded = [row for row in rows if row.loaded == "yes"]
    exact = [hop.kind for hop in hops if hop.precision == "float" and not _calibrated(hop)]
    every = sum(all(row.marks[kind] == MARKS["passed"] for kind in exact) for row in loaded)
    refused = Counter(row.loaded for row in rows if row.loaded != "yes")
    told = ", ".join(f"{name} {count}" for name, count in sorted(refused.items()))
    passed = f", {every} passed every full-precision hop" if exact else ""
    lines = [f"{len(rows)} agents: {len(loaded)} loaded{passed}"]
    if refused:
        lines.append(f"not loaded: {told}")
    return lines + [_of_kind(hop.kind, [row.marks[hop.kind] for row in loaded]) for hop in hops]


def _calibrated(hop: Hop) -> bool:
    """Whether a kind is made with the help of calibration, which not every archive gives."""
    return bool(hop.inputs) or (hop.source in BY_KIND and _calibrated(BY_KIND[hop.source]))


def _of_kind(kind: str, marks: list[str]) -> str:
    counted = Counter(marks)
    others = (("failed", "failed"), ("not_run", "not run"), ("missing", "not built"))
    further = [f"{counted[MARKS[status]]} {said}" for status, said in others if counted[MARKS[status]]]
    return ", ".join([f"  {kind:16} {counted[MARKS['passed']]} passed", *further])


def _baseline_summary(guides: list[dict[str, Any]]) -> str:
    tried = [guide for guide in guides if guide]
    loads = sum(guide.get("loads") == "yes" for guide in tried)
    exporters = [guide.get("exporters", {}) for guide in tried]
    default = sum(found.get("default") == "yes" for found in exporters)
    older = sum("yes" in found.values() and found["default"] != "yes" for found in exporters)
    same = {name: sum(guide.get(name, {}).get("same", False) for guide in tried) for name in ("wrapper", "action")}
    return (
        f"guide, of {len(tried)}: {loads} load as written; {default} export as written, {older} more with "
        f"dynamo=False; {same['wrapper']} files answer as their wrapper, {same['action']} as predict"
    )
