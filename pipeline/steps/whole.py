"""What is up to date as a whole: of an agent of which nothing has changed since all its steps were, no step is asked.

A hundred agents have nine thousand steps, and to ask each takes seconds. So when all steps of an agent are done or
found up to date, ``.fresh/AGENT`` keeps a digest of what that rests on: the config, the code, the locks, which tools
are there, and size, times and inode of every file that went in or came out, as git's index has them: who writes to a
file can set back the time of that, and not the time of setting it back. An agent that
differs in any of them is asked step by step, and every file's digest is computed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline import artifacts, errors, stored, toolchains
from pipeline.spec import Agent

FOLDER = ".fresh"
LOG = "log"


def fresh(agent: Agent, root: Path, baseline: bool) -> bool:
    """Whether nothing has changed since :func:`record`."""
    try:
        noted = stored.text(root / FOLDER / agent.name)
        return bool(noted) and noted == _digest(agent, root, baseline)
    except (OSError, ValueError):
        return False


def record(agent: Agent, root: Path, baseline: bool) -> None:
    """Note that all steps of an agent are done or up to date. Where it cannot be noted, each is asked again."""
    with contextlib.suppress(OSError, errors.ArtifactsNotWritable, errors.DiskFull):
        if found := _digest(agent, root, baseline):
            if (root / FOLDER).is_symlink() or (root / FOLDER).is_file():
                artifacts.remove(root / FOLDER)
            (root / FOLDER).mkdir(exist_ok=True)
            artifacts.replace_text(root / FOLDER / agent.name, found)


def _digest(agent: Agent, root: Path, baseline: bool) -> str:
    """What the freshness of an agent rests on; "" where files do not tell: of the user's own interpreter."""
    if agent.python:
        return ""
    given = [agent.zip, agent.vecnormalize, agent.observations.file, agent.calibration.file, *agent.import_from]
    home = root / agent.name
    entries = [
        repr(agent),
        str(baseline),
        _ours(),
        str([shutil.which(agent.edgetpu.command[0])]),
        *(line for path in given if path and path != "none" for line in _entries(Path(path))),
        *(line for line in _entries(home, below=home) if not line.startswith(f"{LOG}/")),
    ]
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()


@functools.cache
def _ours() -> str:
    """The code, the locks, and what there is of tools."""
    lines = [line for name in ("pipeline", "requirements") for line in _entries(toolchains.ROOT / name)]
    ready = {name: toolchains.ready(name) for name in toolchains.TOOLCHAINS}
    return json.dumps([lines, ready, toolchains.compiler()])


def _entries(path: Path, below: Path | None = None) -> Iterator[str]:
    """A line for a file, or for every file in a folder: its name, size, times and inode."""
    if path.is_file():
        yield _entry(path.name, path.stat())
        return
    if not path.exists():
        yield f"{path.name} is not there"
        return
    places = [os.fspath(path)]
    while places:
        place = places.pop()
        with os.scandir(place) as found:
            for entry in sorted(found, key=lambda one: one.name):
                if entry.name == "__pycache__":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    places.append(entry.path)
                else:
                    yield _entry(os.path.relpath(entry.path, below) if below else entry.path, entry.stat())


def _entry(name: str, stat: os.stat_result) -> str:
    return f"{name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
