"""What goes into a bundle, and where. Nothing in it depends on the clock, the machine, the folder or the user.

``facts`` is what the caller knows, as JSON has it:

- ``agent``, ``environment``, ``licence`` (of the agent, or ""), ``config`` (as TOML), ``epoch``
- ``kinds``: what passed; each ``kind``, ``source``, ``says``, ``status`` ("passed" or "waived"), ``waiver``,
  ``files`` (sha256 by name), ``runtimes`` (those with a verdict)
- ``left_out``: ``kind``, ``status`` ("failed", "not_run", "not_built") and ``reason`` of what did not
- ``findings``: lines for the report
- ``steps``, ``dependencies``, ``versions``: of the provenance
- ``toolchains``: that took part
- ``source``: whether the agent's own archive goes in
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import artifacts, toolchains
from pipeline import contract as contracts
from pipeline.bundles import archive, bill, locks, portable, refusals, statement, telling
from pipeline.bundles.archive import Content

SUMS, GOLDEN = "SHA256SUMS", "golden.json"
ARTIFACTS, VERDICTS, LOCKS, SOURCE = "artifacts", "verdicts", "locks", "source"
LICENCE = "licences/slipway.txt"
SUFFIX = ".tar.zst"


def pack(home: Path, target: Path, facts: dict[str, Any]) -> None:
    """Write ``AGENT.tar.zst`` into a folder.

    :param home: the agent's artifacts
    :raises refusals.ArtifactsChanged: a file is not as its manifest says
    """
    members = dict(_members(home, facts))
    sums = {name: _digest(content) for name, content in members.items()}
    for kind in facts["kinds"]:
        for name, wanted in kind["files"].items():
            place = f"{ARTIFACTS}/{kind['kind']}/{name}"
            if sums[place] != wanted:
                raise refusals.ArtifactsChanged(
                    "it is not as it was built", file=members[place], expected=wanted, found=sums[place]
                )
    members[statement.FILE] = statement.text(facts, sums).encode()
    sums[statement.FILE] = _digest(members[statement.FILE])
    members[SUMS] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    name = facts["agent"]
    placed = {f"{name}/{member}": content for member, content in members.items()}
    archive.write(target / f"{name}{SUFFIX}", placed, facts["epoch"])


def _members(home: Path, facts: dict[str, Any]) -> Iterator[tuple[str, Content]]:
    """All but what is about all of them."""
    verdicts = {}
    for kind in facts["kinds"]:
        for name in kind["files"]:
            yield f"{ARTIFACTS}/{kind['kind']}/{name}", home / kind["kind"] / name
        for runtime in kind["runtimes"]:
            path = home / kind["kind"] / runtime / "verdict.json"
            verdicts[f"{kind['kind']}/{runtime}"] = json.loads(path.read_text(encoding="utf-8"))
            yield f"{VERDICTS}/{kind['kind']}/{runtime}.json", path
    for toolchain in facts["toolchains"]:
        for file in locks.files(toolchain):
            yield f"{LOCKS}/{file.removeprefix('requirements/')}", toolchains.ROOT / file
    if facts["source"]:
        for name in contracts.load(home / "sb3")["source"]:
            yield f"{SOURCE}/{name}", home / "sb3" / name
    about = json.loads((home / "observations" / "about.json").read_text(encoding="utf-8"))
    yield GOLDEN, (json.dumps(about["golden"], indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    yield LICENCE, toolchains.ROOT / "LICENSE"
    yield portable.FILE, facts["config"].encode()
    yield bill.FILE, bill.text(facts["agent"], facts["licence"], facts["toolchains"], facts["epoch"]).encode()
    yield telling.README, telling.readme(facts, contracts.load(home / "sb3")).encode()
    yield telling.REPORT, telling.report(facts, verdicts).encode()


def _digest(content: Content) -> str:
    return artifacts.read_digest(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()


def listed(text: str) -> dict[str, str]:
    """sha256 by name, as ``SHA256SUMS`` has them.

    :raises ValueError: a line is not of this form
    """
    found = {}
    for line in text.splitlines():
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64 or set(digest) - set("0123456789abcdef") or name in found:
            raise ValueError(f"no line of a list of digests: {line[:100]!r}")
        found[name] = digest
    return found


def same(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Names whose digests differ between two bundles, or which only one of them has."""
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
