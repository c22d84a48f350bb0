"""What a night was, as JSON: every folder that a step made, with what it was made from, what was found, what it took.

A record holds no path, and so can be compared with that of another night, or of another clone:

    agents.NAME.archive, .settings      digest of the archive; the config's settings by dotted name
    agents.NAME.folders.FOLDER          FOLDER is "tflite", or "tflite/litert" for a run
        files, bytes, status, reason        digests by name, their size; "built" or "not_run", and why
        inputs, settings, lock, code        what it was made from: digests, settings, the toolchain's lock
        versions                            of the tools
    agents.NAME.verdicts.FOLDER         status, reason, ``figure`` as the table shows it, ``used``, ``kept``, ``limits``
    agents.NAME.seconds.STEP            wall seconds; "cpu" of the agent's jobs
    agents.NAME.latencies.FOLDER        median microseconds of a decision
    failed.AGENT:STEP                   the error
    locks.TOOLCHAIN                     digest, and version by package
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import artifacts, fingerprint, report, toolchains
from pipeline.nightly.latencies import Latencies
from pipeline.nightly.night import steps
from pipeline.spec import Agent, Verdict
from pipeline.steps import verdicts as stored_verdicts

Record = dict[str, Any]

_TOOK = re.compile(r"^\w+: [\d.]+ s, ([\d.]+) s of CPU, peak \d+ MiB$", re.MULTILINE)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


def of(agents: list[Agent], root: Path, said: str, latencies: Latencies, clone: Path, home: Path) -> Record:
    """The record of an artifacts folder.

    :param said: what ./doit said while it built
    :param clone: whose code and locks made it
    :param home: of the toolchains that made it
    """
    seconds, failed = steps(said)
    found = {}
    for agent in agents:
        took = {name.partition(":")[2]: s for name, s in seconds.items() if name.partition(":")[0] == agent.name}
        timed = latencies.get(agent.name, {})
        found[agent.name] = _agent(agent, root / agent.name) | {
            "seconds": took,
            "latencies": {folder: entry["us"] for folder, entry in timed.items() if "us" in entry},
            "untimed": {folder: entry["reason"] for folder, entry in timed.items() if "reason" in entry},
        }
    return {
        "agents": found,
        "failed": failed,
        "locks": {name: lock(name, clone, home) for name in toolchains.TOOLCHAINS},
        "code": fingerprint.everything(),
        "commit": commit(clone),
        "machine": machine(),
    }


def _agent(agent: Agent, home: Path) -> dict[str, Any]:
    verdicts = {}
    for path in sorted(home.glob(f"*/*/{stored_verdicts.FILE}")):
        if stored := stored_verdicts.read(path):
            verdicts[path.parent.relative_to(home).as_posix()] = _verdict(*stored)
    logs = (path.read_text(encoding="utf-8", errors="replace") for path in sorted(home.glob("log/*.txt")))
    return {
        "archive": _archive(agent),
        "settings": dict(_flat("", dataclasses.asdict(agent))),
        "folders": dict(_folders(home)),
        "verdicts": verdicts,
        "cpu": round(sum(float(cpu) for text in logs for cpu in _TOOK.findall(text)), 2),
    }


def _archive(agent: Agent) -> str:
    given = [Path(path) for path in (agent.zip, agent.vecnormalize) if path and path != "none"]
    digests = [artifacts.digest(path) if path.is_file() else "missing" for path in given]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest() if digests else ""


def _flat(start: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Settings by dotted name; where files lie is none."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            if not start and name in ("name", "config", "zip", "vecnormalize"):
                continue
            yield from _flat(f"{start}.{name}".lstrip("."), inner)
    else:
        yield start, value


def _folders(home: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted([*home.glob(f"*/{artifacts.MANIFEST}"), *home.glob(f"*/*/{artifacts.MANIFEST}")]):
        stored = artifacts.manifest(path.parent)
        if stored is None:
            continue
        key = dict(stored.key)
        inputs, toolchain = key.pop("inputs", {}), key.pop("toolchain", {})
        yield (
            path.parent.relative_to(home).as_posix(),
            {
                "files": stored.files,
                "bytes": sum((path.parent / name).stat().st_size for name in stored.files),
                "status": stored.status,
                "reason": stored.reason,
                "inputs": {
                    name: value if name in ("needs", "ready") else _short(value) for name, value in inputs.items()
                },
                "settings": dict(_flat("", key.pop("settings", {}))),
                "toolchain": toolchain.get("name", ""),
                "lock": toolchain.get("lock", ""),
                "code": key.pop("code", ""),
                "further": key,
                "versions": stored.versions or {},
            },
        )


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _verdict(verdict: Verdict, key: dict[str, Any]) -> dict[str, Any]:
    found = {"status": verdict.status, "reason": verdict.reason, "limits": key.get("limits", {})}
    if verdict.figures and verdict.status != "not_run":
        found |= {"figure": report.figure(verdict), "used": used(verdict.figures)}
        if "closed_loop" in verdict.figures:
            found["kept"] = verdict.figures["closed_loop"]["kept"]
    return found


def used(figures: dict[str, Any]) -> float | None:
    """The share of what a check grants that is used up: 1 is the limit. None where nothing that was granted is told.

    Of a tolerance, of the loss of return, or of the bound on single decisions, whichever decided.
    """
    closed, bound = figures.get("closed_loop"), figures.get("bound")
    if closed and bound:
        return _share(1 - closed["kept"], 1 - bound["return_kept"])
    if "action_error" in figures and bound:
        return _share(figures["action_error"], bound["action"])
    if "decisions" in figures and bound:
        return _share(1 - figures["decisions"]["share"], 1 - bound["decisions"])
    if "tolerance" not in figures:
        return None
    granted = figures["tolerance"]["absolute"]
    skipped = {"action"} if "decisions" in figures else set()  # equal or not, and that is no share
    shares = [_share(found["needed"], granted) for name, found in figures["outputs"].items() if name not in skipped]
    if "distribution" in figures:
        shares.append(_share(figures["distribution"]["distance"], figures["distribution"]["limit"]))
    return max(shares, default=0.0)


def _share(part: float, whole: float) -> float:
    """Of a limit that grants nothing, all is used by any part."""
    if part <= 0:
        return 0.0
    return round(part / whole, 4) if whole > 0 else 1.0


def lock(name: str, clone: Path, home: Path) -> dict[str, Any]:
    """Digest of a toolchain's lock, and version by package: what it pins, and what was found when it was proven."""
    digest = hashlib.sha256()
    pins: dict[str, str] = {}
    for file in toolchains.TOOLCHAINS[name].locks:
        content = (clone / file).read_bytes()
        digest.update(content)
        pins |= pinned(Path(file).name, content.decode("utf-8"))
    stamp = home / f"{name}-{digest.hexdigest()[:12]}" / toolchains.STAMP
    if stamp.is_file():
        pins |= json.loads(stamp.read_text(encoding="utf-8"))["versions"]
    return {"digest": digest.hexdigest(), "pins": pins}


def pinned(name: str, text: str) -> dict[str, str]:
    """Version by package of a lock, or of a file that is part of one its digest."""
    if name.endswith((".txt", ".in")):
        return {package.lower().replace("_", "-"): version for package, version in _PIN.findall(text)}
    if name.endswith(".json"):
        packages = json.loads(text).get("packages", {})
        found = {path.rpartition("node_modules/")[2]: entry.get("version", "") for path, entry in packages.items()}
        return {package: version for package, version in found.items() if package}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:12]}


def commit(clone: Path) -> str:
    """The clone's commit, with "+" where something in it is changed; "" where it is no git clone."""
    try:
        call = ["git", "-C", str(clone), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
        return subprocess.run(call, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def machine() -> str:
    """What computes here: float kernels are chosen by the processor."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = re.search(r"^model name\s*:\s*(.*)$", told, re.MULTILINE)
    except OSError:
        model = None
    return f"{platform.system()} {platform.machine()}" + (f", {model.group(1)}" if model else "")
