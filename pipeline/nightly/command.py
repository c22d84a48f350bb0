"""``./doit nightly``: one night from its begin to its page, and its exit code."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, toolchains
from pipeline.nightly import comparing, history, latencies, newest, night, page, record, retention, summary, warnings
from pipeline.nightly.night import Night
from pipeline.nightly.record import Record
from pipeline.spec import Agent

INTO = "nightly"

_LIMIT = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True)
class Asked:
    """What the command line says.

    :param variables: ``name=value`` for the ./doit of the night: where agents are, what a job may take
    :param names: of the agents; none are all
    :param limit: as "2h", "90m" or "1h30m"; "" is none
    """

    into: Path
    variables: tuple[str, ...]
    names: tuple[str, ...]
    limit: str
    keep: int
    weeks: int
    newest: bool


def run(asked: Asked, agents: list[Agent]) -> int:
    """Do, or continue, a night.

    :param agents: all that there are
    :return: an exit code, see :mod:`pipeline.nightly.summary`
    :raises errors.NightlyUnfit: a word of the command line
    :raises errors.ArtifactsBusy: another night is going on there
    :raises errors.NightBroken: ./doit could not begin
    """
    deadline = seconds(asked.limit)
    deadline = None if deadline is None else time.monotonic() + deadline
    if asked.keep < 1 or asked.weeks < 0:
        raise errors.NightlyUnfit("want --keep of at least 1 and --weeks of at least 0")
    if any(name.startswith("-") for name in asked.names):
        raise errors.NightlyUnfit("options stand before the names of agents", found=" ".join(asked.names))
    if unknown := sorted({*asked.names} - {agent.name for agent in agents}):
        raise errors.NightlyUnfit(f"there is no agent {', '.join(unknown)}")
    for folder in (word.removeprefix("folder=") for word in asked.variables if word.startswith("folder=")):
        if asked.into.resolve().is_relative_to(Path(folder).resolve()):
            what = "the archives that nights make would be taken for agents: --into lies in the folder of agents"
            raise errors.NightlyUnfit(what, file=asked.into)
    chosen = [agent for agent in agents if not asked.names or agent.name in asked.names]
    with _alone(asked.into):
        of = {"variables": sorted(asked.variables), "agents": sorted(asked.names)}
        if asked.newest:
            return newest.run(asked.into / newest.FOLDER, of, chosen, deadline, asked.keep, asked.weeks)
        return _night(asked, of, chosen, deadline)


def seconds(limit: str) -> float | None:
    """``1h30m`` as seconds; None for "".

    :raises errors.NightlyUnfit: it is no time
    """
    if not limit:
        return None
    found = _LIMIT.fullmatch(limit)
    parts = [float(part or 0) for part in found.groups()] if found else [0.0]
    total = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not total:
        raise errors.NightlyUnfit("the limit is no time", expected="such as 2h, 90m or 1h30m", found=repr(limit))
    return total


@contextlib.contextmanager
def _alone(into: Path) -> Iterator[None]:
    """Two nights in one folder would be one another's last."""
    held = artifacts.lock(into)
    try:
        held.__enter__()
    except errors.ArtifactsBusy as busy:
        remedy = "Wait for it to end, or choose another folder: ./doit nightly --into FOLDER"
        raise errors.ArtifactsBusy(busy.what, remedy=remedy) from None
    try:
        yield
    finally:
        held.__exit__(None, None, None)


def _night(asked: Asked, of: dict[str, Any], agents: list[Agent], deadline: float | None) -> int:
    here = night.begin(asked.into, of, time.strftime("%Y-%m-%d"), print)
    begun = time.monotonic()
    here.attempts += 1
    here.save()
    ended = night.build(night.call(toolchains.ROOT, of, here.artifacts), here.folder / night.LOG, night.left(deadline))
    if ended == night.BROKEN:
        raise errors.NightBroken(f"./doit could not build in night {here.name}", file=here.folder / night.LOG)
    timed: latencies.Latencies = {}
    if ended == night.FINISHED:
        try:
            timed = latencies.measure(agents, here.artifacts, here.folder / "timing.txt", night.left(deadline))
        except TimeoutError:
            ended = night.STOPPED
    here.spent += time.monotonic() - begun
    said = (here.folder / night.LOG).read_text(encoding="utf-8")
    now = record.of(agents, here.artifacts, said, timed, toolchains.ROOT, toolchains.home())
    now |= {"night": here.name, "of": of, "began": here.began, "seconds": here.spent, "attempts": here.attempts,
            "finished": ended == night.FINISHED}  # fmt: skip
    outcome = _close(asked, here, now)
    here.finished = bool(now["finished"])
    here.save()
    if here.finished:
        retention.prune(asked.into, _good(asked.into, of), asked.keep, asked.weeks)
    return outcome


def _close(asked: Asked, here: Night, now: Record) -> int:
    """Compare, and write record, history and page."""
    lines = [line for line in history.read(asked.into, print) if line["night"] != here.name]
    before, against = _before(asked.into, here)
    changed = comparing.changes(before, now, whole=now["finished"]) if before else []
    warned = warnings.of(now, lines)
    outcome = summary.outcome(now, changed, warned)
    artifacts.replace_text(here.folder / night.RECORD, json.dumps(now, indent=1, sort_keys=True) + "\n")
    if now["finished"]:
        lines.append(history.line(now, here.name, outcome, {warning.identity for warning in warned}))
        history.append(asked.into, lines[-1])
    told = summary.of(now, against, changed, warned, lines, outcome)
    for folder in (here.folder, asked.into):
        artifacts.replace_text(folder / page.FILE, page.page(told))
        artifacts.replace_text(folder / page.TOLD, json.dumps(told, indent=1, sort_keys=True) + "\n")
    print(f"\nnight {here.name}: {told['headline']}\n{here.folder / page.FILE}")
    return outcome


def _before(into: Path, here: Night) -> tuple[Record | None, dict[str, Any]]:
    """The record of the last good night of the same agents, or else of the last that was finished."""
    found = [one for one in records(into, here.of) if one["night"] != here.name]
    good = next((one for one in found if not one["failed"]), None)
    chosen = good or next(iter(found), None)
    return chosen, {"night": chosen["night"] if chosen else "", "good": good is not None}


def records(into: Path, of: dict[str, Any]) -> Iterator[Record]:
    """The records of nights that were finished, the newest first. One that cannot be read is named."""
    for folder in reversed(night.nights(into)):
        path = folder / night.RECORD
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["finished"] and found["of"] == of:
                yield found
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"the record of a night cannot be read ({type(error).__name__}): it is not compared with"
            aside = path.with_name(f"{path.name}.damaged")
            with contextlib.suppress(OSError):
                path.replace(aside)
            print(errors.NightDamaged(what, file=aside))


def _good(into: Path, of: dict[str, Any]) -> str:
    return next((one["night"] for one in records(into, of) if not one["failed"]), "")
