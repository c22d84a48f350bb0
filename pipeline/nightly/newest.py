"""``./doit nightly --newest``: one toolchain with the newest versions, all others as locked, and so on in turn.

So what breaks is that toolchain's doing; where several of its packages moved, each is then tried alone, to blame one.
Each trial is a copy of the clone with one lock made anew, and a toolchain of it that is removed afterwards. A
toolchain that cannot be resolved or installed is a finding like any other.

    newest/DATE/state.json     the trials that are done; a call that was stopped is continued by the next
    newest/DATE/TRIAL.txt      what the installers and ./doit said
    newest/DATE/index.html     the page, index.json beside it
"""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, toolchains
from pipeline.hops import wanted
from pipeline.nightly import comparing, newest_page, night, page, record, resolving, retention, summary
from pipeline.nightly.night import Night
from pipeline.nightly.record import Record
from pipeline.spec import Agent

FOLDER = "newest"
LOCKED = "locked"
PASSES, BREAKS, NOT_RESOLVED, NOT_INSTALLED, NOT_IMPORTED, NOTHING_NEWER = (
    "passes", "breaks", "cannot be resolved", "cannot be installed", "does not import", "nothing newer",
)  # fmt: skip

_BROKEN = re.compile(r"^ToolchainBroken: (?:file \S+: )?(.*?)(?: Read the log.*)?$", re.DOTALL)


@dataclass(frozen=True)
class Trial:
    """A toolchain whose packages, or one of them, are the newest; none is the baseline, with all as locked."""

    toolchain: str = ""
    package: str = ""

    @property
    def name(self) -> str:
        return "-".join(part.strip("@").replace("/", "_") for part in (self.toolchain, self.package) if part) or LOCKED


class Stopped(Exception):
    """The time limit."""


def run(place: Path, of: dict[str, Any], agents: list[Agent], deadline: float | None, keep: int, weeks: int) -> int:
    """Do, or continue, all trials."""
    here = night.begin(place, of, time.strftime("%Y-%m-%d"), print)
    here.attempts += 1
    here.save()
    begun = time.monotonic()
    rows = _rows(here)
    outcome = summary.STOPPED
    try:
        _trials(here, agents, rows, deadline)
        here.finished = True
        outcome = judged(rows)
    except Stopped:
        print("stopped by the time limit; the next call continues")
    finally:
        shutil.rmtree(here.folder / "work", ignore_errors=True)
    here.spent += time.monotonic() - begun
    told = {"night": here.name, "seconds": here.spent, "finished": here.finished, "outcome": outcome, "rows": rows,
            "commit": record.commit(toolchains.ROOT), "machine": record.machine()}  # fmt: skip
    artifacts.replace_text(here.folder / page.TOLD, json.dumps(told, indent=1, sort_keys=True) + "\n")
    artifacts.replace_text(here.folder / page.FILE, newest_page.page(told))
    here.save()
    print(f"\n{newest_page.text(rows)}\n{here.folder / page.FILE}")
    if here.finished:
        shutil.rmtree(here.artifacts, ignore_errors=True)
        retention.prune(place, "", keep, weeks)
    return outcome


def judged(rows: list[dict[str, Any]]) -> int:
    """The exit code of all trials."""
    if rows[0]["ended"] != PASSES:
        return summary.FAILED
    return summary.AS_BEFORE if all(row["ended"] in (PASSES, NOTHING_NEWER) for row in rows) else summary.CHANGED


def _rows(here: Night) -> list[dict[str, Any]]:
    """The trials that are done; none where the record of the first, which the others are held to, is not there."""
    path = here.folder / "rows.json"
    try:
        if not path.is_file():
            return []
        json.loads((here.folder / night.RECORD).read_text(encoding="utf-8"))
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        what = f"the trials that were done cannot be read ({type(error).__name__}), and are done again"
        print(errors.NightDamaged(what, file=path))
        return []


def _trials(here: Night, agents: list[Agent], rows: list[dict[str, Any]], deadline: float | None) -> None:
    """Do the trials that are not done, and add their rows."""
    tried = [name for name in resolving.FILES if name != "hub" or any(agent.hub.repo_id for agent in agents)]
    waiting = [Trial(), *(Trial(name) for name in tried)]
    base: Record | None = None
    while waiting:
        trial = waiting.pop(0)
        row = next(
            (row for row in rows if (row["toolchain"], row["package"]) == (trial.toolchain, trial.package)), None
        )
        if row is None:
            print(f"\n{trial.name}: {'all as locked' if trial == Trial() else 'the newest versions'}", flush=True)
            if base is None and trial != Trial():
                base = json.loads((here.folder / night.RECORD).read_text(encoding="utf-8"))
            row = _trial(here, agents, trial, base, deadline)
            rows.append(row)
            artifacts.replace_text(here.folder / "rows.json", json.dumps(rows, indent=1, sort_keys=True) + "\n")
            print(f"{trial.name}: {row['ended']}", flush=True)
        if trial == Trial() and row["ended"] != PASSES:
            return  # nothing can be blamed on newer versions
        broken = row["ended"] not in (PASSES, NOTHING_NEWER)
        if broken and not trial.package and len(row["moved"]) != 1:
            named = row["moved"] or resolving.direct(toolchains.ROOT, trial.toolchain)
            waiting[:0] = [Trial(trial.toolchain, package) for package in named]


def _trial(
    here: Night, agents: list[Agent], trial: Trial, base: Record | None, deadline: float | None
) -> dict[str, Any]:
    """One row."""
    begun = time.monotonic()
    row: dict[str, Any] = {"toolchain": trial.toolchain, "package": trial.package, "moved": {}, "hops": [], "says": ""}
    log = here.folder / f"{trial.name}.txt"
    clone, home = toolchains.ROOT, toolchains.home()
    if trial != Trial():
        clone, home = here.folder / "work" / "clone", here.folder / "work" / "toolchains"
        before = resolving.direct(toolchains.ROOT, trial.toolchain)
        resolving.copy(toolchains.ROOT, clone)
        try:
            resolving.resolve(clone, trial.toolchain, trial.package, log)
        except errors.ToolchainBroken as broken:
            return {**row, "ended": NOT_RESOLVED, "says": broken.what, "seconds": time.monotonic() - begun}
        after = resolving.direct(clone, trial.toolchain)
        row["moved"] = {name: [old, after[name]] for name, old in before.items() if after[name] != old}
        if not any(_moved(trial.toolchain, clone)):
            return {**row, "ended": NOTHING_NEWER, "seconds": time.monotonic() - begun}
        _link(trial, home)
    made = here.artifacts / trial.name
    ended = night.build(night.call(clone, here.of, made), log, night.left(deadline), {"SLIPWAY_TOOLCHAINS": str(home)})
    if ended == night.STOPPED:
        raise Stopped
    said = log.read_text(encoding="utf-8")
    if trial != Trial():
        _keep_logs(home, log)
    found = record.of(agents, made, said, {}, clone, home)
    row["seconds"] = time.monotonic() - begun
    if trial == Trial():
        artifacts.replace_text(here.folder / night.RECORD, json.dumps(found, indent=1, sort_keys=True) + "\n")
    known = base["failed"] if base else {}
    failed = {step: text for step, text in found["failed"].items() if step not in known}
    row |= _judged(failed, ended, said)
    if row["ended"] in (NOT_INSTALLED, NOT_IMPORTED):
        row["without"] = _made_by(trial.toolchain, agents)
    if base and row["ended"] in (PASSES, BREAKS):
        changed = comparing.changes(base, found, whole=False)
        row["other_bytes"] = sum(change.what == "bytes" for change in changed)
        row["verdicts"] = [f"{c.agent} {c.folder}: {c.says}" for c in changed if c.what in ("verdict", "status")]
    shutil.rmtree(made, ignore_errors=True)
    return row


def _judged(failed: dict[str, str], ended: str, said: str) -> dict[str, Any]:
    """How a trial ended, and the steps at which."""
    installing = [text for step, text in failed.items() if step.startswith("toolchains:")]
    hops = [{"step": step, "says": text} for step, text in failed.items() if not step.startswith("toolchains:")]
    if installing or (ended == night.BROKEN and not failed):
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
        told = _BROKEN.sub(r"\1", (installing or [last])[0])
        return {"ended": NOT_IMPORTED if told.startswith("Proving ") else NOT_INSTALLED, "says": told}
    return {"ended": BREAKS if failed else PASSES, "hops": hops}


def _made_by(toolchain: str, agents: list[Agent]) -> list[str]:
    """The kinds that a toolchain makes."""
    hops = {hop.kind: hop for agent in agents for hop in wanted(agent.targets) if not hop.rung}
    return [hop.kind for hop in hops.values() if hop.toolchain == toolchain]


def _keep_logs(home: Path, log: Path) -> None:
    """What the installers said lies with the toolchains, which go."""
    with log.open("a", encoding="utf-8") as file:
        for path in sorted(home.glob("*.log")):
            file.write(f"\n--- {path.name}\n{path.read_text(encoding='utf-8', errors='replace')}")


def _moved(toolchain: str, clone: Path) -> list[str]:
    """Files of a toolchain's lock that the trial has changed in anything but comments."""

    def pins(root: Path, name: str) -> dict[str, str]:
        file = f"requirements/{'node/package-lock.json' if name == 'node' else f'{name}.txt'}"
        found = record.pinned(Path(file).name, (root / file).read_text(encoding="utf-8"))
        if name != "node":
            asked = f"requirements/{name}.in"
            found |= record.pinned(Path(asked).name, (root / asked).read_text(encoding="utf-8"))
        return found

    return [name for name in resolving.FILES[toolchain] if pins(toolchains.ROOT, name) != pins(clone, name)]


def _link(trial: Trial, home: Path) -> None:
    """A folder of toolchains with those that are locked. The first environment has no digest in its name, and so is
    left out where it is what is tried.
    """
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    names = [toolchains.folder(name).name for name in toolchains.TOOLCHAINS if toolchains.ready(name)]
    for name in [*names, *(["host"] if trial.toolchain != "host" else [])]:
        (home / name).symlink_to(toolchains.home().resolve() / name)
