"""Two records -> what changed, and why. Pure: no files, no clock.

A folder has changed where its files have other digests, or it was built and now is not. What it was made from says
why, and where that is another folder of the same agent that has changed as well, that one's cause is its cause: so a
cause is told with the hop where it entered. Where nothing that is known differs, the bytes are not reproducible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.hops import BY_KIND
from pipeline.nightly.record import Record
from pipeline.runtimes import RUNTIMES

SOURCE, SETTINGS, VERSIONS, CODE, MACHINE, UNKNOWN = "source", "settings", "versions", "code", "machine", "unknown"
FEW = 6
GIVEN = {"zip": "archive", "vecnormalize": "file of statistics", "given": "file of observations",
         "import_from": "code in import_from"}  # fmt: skip


@dataclass(frozen=True, order=True)
class Cause:
    """Why something differs.

    :param why: one of the words above
    :param at: folder in which it entered: the hop, or the run
    """

    why: str
    says: str
    at: str = ""


@dataclass(frozen=True)
class Change:
    """What differs of an agent's folder.

    :param what: "bytes", "verdict", "figures", "status", "appeared", "vanished", "failed" or "mended"
    :param says: from what to what, where digests do not tell
    """

    agent: str
    folder: str
    what: str
    says: str = ""
    causes: tuple[Cause, ...] = ()


def changes(before: Record, now: Record, *, whole: bool = True) -> list[Change]:
    """Everything that differs between two nights, in the order of agents and folders.

    :param whole: whether ``now`` is finished; of a night that is not, what is missing is no change
    """
    found = []
    for name in sorted({*before["agents"], *now["agents"]}):
        if name not in now["agents"]:
            found.append(Change(name, "", "vanished", "the agent is not built any more", (_removed("agent"),)))
        elif name not in before["agents"]:
            found.append(Change(name, "", "appeared", "a new agent", (Cause(SOURCE, "the agent is new"),)))
        else:
            found += _of_agent(_Two(before, now, name), whole)
    return found + _failures(before, now)


def _removed(what: str) -> Cause:
    return Cause(SOURCE, f"the {what} is gone from the configs or the folder")


class _Two:
    """An agent in two records, and the causes that were found."""

    def __init__(self, before: Record, now: Record, name: str) -> None:
        self.before, self.now, self.name = before, now, name
        self.old, self.new = before["agents"][name], now["agents"][name]
        self.known: dict[str, tuple[Cause, ...]] = {}

    def changed(self, folder: str) -> bool:
        old, new = (record["folders"].get(folder) for record in (self.old, self.new))
        if old is None or new is None:
            return old is not new
        return bool(old["files"] != new["files"] or old["status"] != new["status"])

    def causes(self, folder: str) -> tuple[Cause, ...]:
        """Why a folder differs: its own reasons, and those of the folders that it was made from."""
        if folder not in self.known:
            self.known[folder] = ()  # a rung and the ladder's end name each other: one of them begins
            old, new = (record["folders"].get(folder) for record in (self.old, self.new))
            if old is None or new is None:
                self.known[folder] = self.blamed(folder)
            else:
                found = {*self._inputs(folder, old, new), *self._own(folder, old, new)}
                self.known[folder] = tuple(sorted(found)) or (
                    self._nothing(folder, ": these bytes are not reproducible"),
                )
        return self.known[folder]

    def _inputs(self, folder: str, old: dict[str, Any], new: dict[str, Any]) -> Iterable[Cause]:
        for name in sorted({*old["inputs"], *new["inputs"]} - {"needs", "ready"}):
            if old["inputs"].get(name) == new["inputs"].get(name):
                continue
            above = [other for other in self._above(folder, name) if other != folder]
            moved = [other for other in above if self.changed(other)]
            for other in moved:
                yield from self.causes(other)
            if not above:
                yield Cause(SOURCE, f"the {GIVEN.get(name, name)} is another", folder)

    def _above(self, folder: str, name: str) -> list[str]:
        """The folders that an input may stand for; [] where it is a file of the user's."""
        kind, _, runtime = folder.partition("/")
        there = {*self.old["folders"], *self.new["folders"]}
        if name in ("zip", "vecnormalize"):
            return [other for other in ("recipe", "hub") if other in there]
        if name == "source" and runtime:
            return [kind]
        if name == "source" and kind in BY_KIND:
            return [BY_KIND[kind].source]
        if name == "source":
            return ["sb3"]
        if name == "golden":
            return ["observations"]
        if name in ("rungs", "verdicts", "best", "outputs"):
            rungs = {other.kind for other in BY_KIND.values() if other.rung}
            return [other for other in sorted(there) if other.partition("/")[0] in rungs]
        if name == "twin":
            return [other for other in sorted(there) if "/" in other]
        return [name] if name in there else []

    def _own(self, folder: str, old: dict[str, Any], new: dict[str, Any]) -> Iterable[Cause]:
        for part in ("settings", "further"):
            if told := _differences(old[part], new[part]):
                yield Cause(SETTINGS, told, folder)
        yield from self._toolchains(folder, old, new)
        if old["code"] != new["code"]:
            yield self._code(folder)

    def _toolchains(self, folder: str, old: dict[str, Any], new: dict[str, Any]) -> Iterable[Cause]:
        names = [new["toolchain"], *sorted(new["inputs"].get("needs", {}))]
        locks = [(entry["lock"], *(entry["inputs"].get("needs", {}).get(n) for n in names[1:])) for entry in (old, new)]
        for name, one, other in zip(names, *locks, strict=True):
            if one != other:
                yield Cause(VERSIONS, f"{name}: {moved(self.before, self.now, name)}", folder)
        if locks[0] == locks[1] and old["versions"] != new["versions"]:
            told = _differences(old["versions"], new["versions"])
            yield Cause(VERSIONS, f"{names[0]}, though its lock is the same: {told}", folder)
        for name in names[1:]:  # Node is the machine's own, and in no lock
            ours = [record["locks"].get(name, {}).get("pins", {}) for record in (self.before, self.now)]
            if locks[0] == locks[1] and ours[0] != ours[1]:
                yield Cause(VERSIONS, f"{name}, though its lock is the same: {_differences(*ours)}", folder)

    def _code(self, folder: str) -> Cause:
        commits = [record["commit"] or "?" for record in (self.before, self.now)]
        return Cause(CODE, "Slipway's own" + (f" ({' → '.join(commits)})" if commits[0] != commits[1] else ""), folder)

    def _nothing(self, folder: str, so: str = "") -> Cause:
        if self.before["machine"] != self.now["machine"]:
            return Cause(MACHINE, f"the machine: {self.before['machine']} → {self.now['machine']}", folder)
        return Cause(UNKNOWN, f"nothing that is known changed{so}", folder)

    def blamed(self, folder: str) -> tuple[Cause, ...]:
        """Why a folder that is missing on one side may be: whatever differs that its step depends on."""
        found = {cause for other in self._before(folder) if self.changed(other) for cause in self.causes(other)}
        if self.old["archive"] != self.new["archive"]:
            found.add(Cause(SOURCE, "the archive is another", "sb3"))
        if told := _differences(self.old["settings"], self.new["settings"]):
            found.add(Cause(SETTINGS, told, folder))
        for name in _toolchains_of(folder):
            if self.before["locks"].get(name) != self.now["locks"].get(name):
                found.add(Cause(VERSIONS, f"{name}: {moved(self.before, self.now, name)}", folder))
        if self.before["code"] != self.now["code"]:
            found.add(self._code(folder))
        return tuple(sorted(found)) or (self._nothing(folder),)

    def _before(self, folder: str) -> list[str]:
        """The folders that were made right before one, and are there on both sides."""
        kind, _, runtime = folder.partition("/")
        hop = BY_KIND.get(kind)
        above = [kind] if runtime else [hop.source, *hop.inputs] if hop else ["sb3"]
        return [name for name in above if name in self.old["folders"] and name in self.new["folders"]]


def _of_agent(two: _Two, whole: bool) -> list[Change]:
    found = []
    failing = any(step.partition(":")[0] == two.name for step in two.now["failed"])
    whole = whole and not failing  # what stands behind a failure was not reached, and is told with it
    for folder in sorted({*two.old["folders"], *two.new["folders"]}):
        old, new = two.old["folders"].get(folder), two.new["folders"].get(folder)
        if new is None:
            found += [Change(two.name, folder, "vanished", "", two.causes(folder))] if whole else []
        elif old is None:
            found.append(Change(two.name, folder, "appeared", "", two.causes(folder)))
        elif old["status"] != new["status"]:
            says = f"{old['status']} → {new['status']}" + (f": {new['reason']}" if new["reason"] else "")
            found.append(Change(two.name, folder, "status", says, two.causes(folder)))
        elif old["files"] != new["files"]:
            names = {*old["files"], *new["files"]}
            other = sorted(name for name in names if old["files"].get(name) != new["files"].get(name))
            found.append(Change(two.name, folder, "bytes", _few(other), two.causes(folder)))
    for folder in sorted({*two.old["verdicts"]} & {*two.new["verdicts"]}):
        old, new = two.old["verdicts"][folder], two.new["verdicts"][folder]
        if old["status"] != new["status"]:
            says = f"{old['status']} → {new['status']}" + (f": {new['reason']}" if new["reason"] else "")
            found.append(Change(two.name, folder, "verdict", says, _judged(two, folder)))
        elif told := _differences(_figures(old), _figures(new)):
            found.append(Change(two.name, folder, "figures", told, _judged(two, folder)))
    return found


def _figures(verdict: dict[str, Any]) -> dict[str, Any]:
    return {name: verdict[name] for name in ("figure", "used", "kept") if verdict.get(name) is not None}


def _judged(two: _Two, folder: str) -> tuple[Cause, ...]:
    """Why a verdict differs: what was run does, or what it is held to, or what is granted."""
    found: set[Cause] = set()
    for other in (folder, "observations"):
        if two.changed(other):
            found |= {*two.causes(other)}
    old, new = two.old["verdicts"][folder], two.new["verdicts"][folder]
    if told := _differences(old["limits"], new["limits"]):
        found.add(Cause(SETTINGS, f"limits: {told}", folder))
    if not found and two.before["code"] != two.now["code"]:
        found.add(two._code(folder))
    return tuple(sorted(found)) or (two._nothing(folder),)


def _failures(before: Record, now: Record) -> list[Change]:
    """Steps that fail now and did not, and those that did and no longer do."""
    found = []
    for step in sorted({*before["failed"], *now["failed"]}):
        agent, _, name = step.partition(":")
        parts = name.split(":")
        folder = "/".join(parts[:2]) if len(parts) == 3 else parts[0]
        if step in now["failed"] and step not in before["failed"]:
            known = agent in before["agents"] and agent in now["agents"]
            causes = _Two(before, now, agent).blamed(folder) if known else ()
            found.append(Change(agent, name, "failed", now["failed"][step], causes))
        elif step not in now["failed"]:
            found.append(Change(agent, name, "mended", before["failed"][step]))
    return found


def _toolchains_of(folder: str) -> list[str]:
    kind, _, runtime = folder.partition("/")
    if runtime in RUNTIMES:
        return [RUNTIMES[runtime].toolchain, *RUNTIMES[runtime].needs]
    return [BY_KIND[kind].toolchain] if kind in BY_KIND else ["torch"]


def moved(before: Record, now: Record, toolchain: str) -> str:
    """The packages of a toolchain whose versions differ."""
    pins = [record["locks"].get(toolchain, {}).get("pins", {}) for record in (before, now)]
    return _differences(*pins) or "its lock, though no version in it"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """``name old → new`` for every entry that differs."""
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return _few([f"{name} {_told(old, name)} → {_told(new, name)}" for name in names])


def _told(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name, "none")
    return f"{value:.4g}" if isinstance(value, float) else (str(value)[:60] or '""')


def _few(names: list[str]) -> str:
    return ", ".join(names[:FEW]) + (f", and {len(names) - FEW} more" if len(names) > FEW else "")
