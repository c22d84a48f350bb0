"""What a night comes to: the outcome, and all that its page shows, as JSON. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from pipeline.hops import KINDS
from pipeline.nightly import history
from pipeline.nightly.comparing import Change
from pipeline.nightly.history import Line
from pipeline.nightly.record import Record
from pipeline.nightly.warnings import Warned

AS_BEFORE, FAILED, CHANGED, STOPPED = 0, 1, 3, 4  # exit codes; 2 is doit's own: nothing could be done
SHOWN = 60  # nights in a trend


def outcome(now: Record, changed: Iterable[Change], warned: Iterable[Warned]) -> int:
    """How a night ended; a warning that the night before gave as well changes nothing."""
    if now["failed"]:
        return FAILED
    if not now["finished"]:
        return STOPPED
    return CHANGED if any(changed) or any(warning.new for warning in warned) else AS_BEFORE


def of(now: Record, against: dict[str, Any], changed: list[Change], warned: list[Warned], lines: list[Line],
       ended: int) -> dict[str, Any]:  # fmt: skip
    """All that a page shows.

    :param against: ``night`` that it is compared with, "" where there is none, and whether that one is ``good``
    :param lines: of the history, this night's the last where it is finished
    """
    failures = [_failure(step, text, changed) for step, text in now["failed"].items()]
    groups = _grouped([change for change in changed if change.what != "failed"])
    return {
        **{name: now[name] for name in ("night", "began", "seconds", "attempts", "finished", "commit", "machine")},
        "outcome": ended,
        "headline": headline(ended, len(failures), groups, warned, against),
        "against": against,
        "counts": _counts(now, changed, bool(against["night"])),
        "failures": failures,
        "changes": groups,
        "warnings": [vars(warning) for warning in warned],
        "trends": trends(lines[-SHOWN:]),
        "agents": {name: _agent(name, agent, lines[-SHOWN:]) for name, agent in sorted(now["agents"].items())},
        "versions": {name: entry["pins"] for name, entry in now["locks"].items()},
    }


def headline(ended: int, failures: int, groups: list[dict[str, Any]], warned: list[Warned],
             against: dict[str, Any]) -> str:  # fmt: skip
    """The night in a line."""
    parts = [f"{failures} failed"] if failures else []
    count = sum(len(group["changes"]) for group in groups)
    if count:
        why = list(dict.fromkeys(cause["why"] for group in groups for cause in group["causes"]))
        said = ["NOT REPRODUCIBLE" if cause == "unknown" else cause for cause in why]
        parts.append(f"{count} change{'s' * (count > 1)}" + (f" ({', '.join(said)})" if said else ""))
    if new := sum(warning.new for warning in warned):
        parts.append(f"{new} new warning" + "s" * (new > 1))
    if ended == STOPPED or (ended == FAILED and not parts):
        parts.insert(0, "stopped by its time limit; the next call continues")
    if not parts:
        return f"all as in the night of {against['night']}" if against["night"] else "all passed; the first night"
    return "; ".join(parts)


def _failure(step: str, text: str, changed: list[Change]) -> dict[str, Any]:
    agent, _, name = step.partition(":")
    new = next((c for c in changed if c.what == "failed" and (c.agent, c.folder) == (agent, name)), None)
    causes = [vars(cause) for cause in new.causes] if new else []
    return {"agent": agent, "step": name, "says": text, "new": new is not None, "causes": causes}


def _grouped(changed: list[Change]) -> list[dict[str, Any]]:
    """Changes by what caused them, the hop where a cause entered with it."""
    found: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for change in changed:
        key = tuple(dict.fromkeys((cause.why, cause.says) for cause in change.causes))
        group = found.setdefault(key, {"causes": {pair: [] for pair in key}, "changes": []})
        for cause in change.causes:
            where = group["causes"][cause.why, cause.says]
            where += [cause.at] if cause.at and cause.at not in where else []
        told = {"agent": change.agent, "folder": change.folder, "what": change.what, "says": change.says}
        group["changes"].append(told)
    unknown_first = sorted(found.items(), key=lambda item: (not any(why == "unknown" for why, _ in item[0]),
                                                            -len(item[1]["changes"])))  # fmt: skip
    return [
        {"causes": [{"why": why, "says": says, "at": at} for (why, says), at in group["causes"].items()],
         "changes": group["changes"]}
        for _, group in unknown_first
    ]  # fmt: skip


def _counts(now: Record, changed: list[Change], compared: bool) -> dict[str, int]:
    verdicts = [
        verdict["status"]
        for agent in now["agents"].values()
        for folder, verdict in agent["verdicts"].items()
        if not history.is_rung(folder)
    ]
    folders = [entry for agent in now["agents"].values() for entry in agent["folders"].values()]
    built = [entry for entry in folders if entry["status"] == "built"]
    other = {(c.agent, c.folder) for c in changed if c.what in ("bytes", "appeared", "status")}
    return {
        "agents": len(now["agents"]),
        "checks": len(verdicts),
        "passed": verdicts.count("passed"),
        "not run": verdicts.count("not_run"),
        "failed steps": len(now["failed"]),
        "folders": len(built),
        **({"of the same bytes": len(built) - len(other)} if compared else {}),
        "bytes": sum(entry["bytes"] for entry in built),
    }


def _agent(name: str, agent: dict[str, Any], lines: list[Line]) -> list[dict[str, Any]]:
    """A row for each folder that has figures, or was not run."""
    rows = []
    figures = dict(history.shown(agent))
    for folder, entry in sorted(agent["folders"].items(), key=lambda item: _place(item[0])):
        verdict = agent["verdicts"].get(folder, {})
        if history.is_rung(folder) or (folder not in figures and verdict.get("status") != "not_run"):
            continue
        past = [line["agents"].get(name, {}).get(folder, {}) for line in lines]
        rows.append(
            {
                "folder": folder,
                "status": verdict.get("status", entry["status"]),
                "reason": verdict.get("reason", entry["reason"]),
                "figure": verdict.get("figure", ""),
                **{key: figures.get(folder, {}).get(key) for key in ("used", "bytes", "us")},
                "past": {key: [old.get(key) for old in past] for key in ("used", "bytes", "us")},
            }
        )
    return rows


def _place(folder: str) -> tuple[int, str]:
    """The order of the chain, a kind before the runs of it."""
    kind = folder.partition("/")[0]
    return (KINDS.index(kind) if kind in KINDS else -1), folder


def trends(lines: list[Line]) -> dict[str, Any]:
    """Of each night: how it ended, and the figures that are plotted.

    Decisions are told as times what is usual: each against the median of its own nights, and of these the median.
    """
    usual: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        for name, folder, entry in _entries(line):
            if "us" in entry:
                usual.setdefault((name, folder), []).append(entry["us"])
    median = {key: statistics.median(values) for key, values in usual.items()}
    found: dict[str, list[Any]] = {key: [] for key in ("night", "outcome", "seconds", "failed", "used", "bytes", "us")}
    for line in lines:
        entries = list(_entries(line))
        times = [entry["us"] / median[name, folder] for name, folder, entry in entries if "us" in entry]
        for key in ("night", "outcome", "seconds"):
            found[key].append(line[key])
        found["failed"].append(line.get("failed", 0))
        found["used"].append(max((entry["used"] for _, _, entry in entries if "used" in entry), default=None))
        found["bytes"].append(sum(entry.get("bytes", 0) for _, _, entry in entries))
        found["us"].append(round(statistics.median(times), 3) if times else None)
    return found


def _entries(line: Line) -> Iterable[tuple[str, str, dict[str, float]]]:
    for name, folders in line["agents"].items():
        for folder, entry in folders.items():
            yield name, folder, entry
