"""The history: a line of JSON for every night that was finished, for ever. Of a night, what trends are drawn from.

A line holds ``night``, ``outcome``, ``seconds``, ``commit``, ``warned`` (what was warned of, by its identity) and
``agents``: by agent and folder ``used``, ``bytes`` and ``us``, where there are such figures.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors
from pipeline.hops import BY_KIND
from pipeline.nightly.record import Record

FILE = "history.jsonl"
Line = dict[str, Any]


def line(record: Record, night: str, outcome: int, warned: Iterable[str]) -> Line:
    """What history keeps of a record."""
    agents: dict[str, dict[str, dict[str, float]]] = {}
    for name, agent in record["agents"].items():
        entries = agents.setdefault(name, {})
        for folder, entry in shown(agent):
            entries[folder] = entry
    failed = sorted(record["failed"])
    counts = {"failed": len(failed), "checks": sum(len(agent["verdicts"]) for agent in record["agents"].values())}
    told = {"night": night, "outcome": outcome, "seconds": record["seconds"], "commit": record["commit"]}
    return {**told, **counts, "warned": sorted(warned), "agents": agents}


def is_rung(folder: str) -> bool:
    """Whether a folder is of a rung: the end of its ladder tells of it."""
    hop = BY_KIND.get(folder.partition("/")[0])
    return hop is not None and bool(hop.rung)


def shown(agent: dict[str, Any]) -> Iterable[tuple[str, dict[str, float]]]:
    """The figures of an agent by folder: sizes of kinds, and of runs what they use of their tolerance, and the time
    of a decision. Rungs of a ladder are told by its end.
    """
    for folder, entry in agent["folders"].items():
        if folder.partition("/")[0] not in BY_KIND or is_rung(folder):
            continue
        found: dict[str, float] = {}
        if "/" not in folder and entry["status"] == "built":
            found["bytes"] = entry["bytes"]
        if (used := agent["verdicts"].get(folder, {}).get("used")) is not None:
            found["used"] = used
        if folder in agent["latencies"]:
            found["us"] = agent["latencies"][folder]
        if found:
            yield folder, found


def read(place: Path, say: Callable[[str], None]) -> list[Line]:
    """All lines, the oldest first. Lines that cannot be read are named, and set aside once: the rest is used."""
    path = place / FILE
    found: list[Line] = []
    damaged = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    except OSError as error:
        say(str(errors.NightDamaged(f"the history cannot be read ({error.strerror})", file=path)))
        return []
    for number, text in enumerate(lines, 1):
        try:
            entry = json.loads(text)
            assert {"night", "outcome", "seconds", "warned", "agents"} <= entry.keys()
            found.append(entry)
        except (ValueError, AttributeError, AssertionError):
            damaged.append((number, text))
    if damaged:
        aside = path.with_name(f"{FILE}.damaged")
        with artifacts.writing(aside), aside.open("a", encoding="utf-8") as file:
            file.write("".join(f"{text}\n" for _, text in damaged))
        artifacts.replace_text(path, "".join(f"{json.dumps(entry, sort_keys=True)}\n" for entry in found))
        where = ", ".join(str(number) for number, _ in damaged)
        what = f"what is no night in it is set aside as {aside.name} (line {where})"
        say(str(errors.NightDamaged(what, file=path)))
    return found


def append(place: Path, entry: Line) -> None:
    """One more night; that of the same name is replaced, as where a night was continued after its line was written."""
    path = place / FILE
    kept = [old for old in read(place, lambda text: None) if old["night"] != entry["night"]]
    artifacts.replace_text(path, "".join(f"{json.dumps(old, sort_keys=True)}\n" for old in [*kept, entry]))


def median(lines: list[Line], agent: str, folder: str, figure: str, nights: int) -> tuple[float, int] | None:
    """Of the last nights that have a figure: its median, and how many they are."""
    found = [value for old in lines if (value := old["agents"].get(agent, {}).get(folder, {}).get(figure)) is not None][
        -nights:
    ]
    return (statistics.median(found), len(found)) if found else None
