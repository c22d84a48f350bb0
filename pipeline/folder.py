"""A folder of archives -> agents, without a config each: ``./doit folder=PATH``.

Made for folders of rl-zoo, ``ALGO/ENV_1/ENV.zip`` with ``ENV/vecnormalize.pkl`` and ``ENV/config.yml`` beside, and
takes any other: nested or flat, every ``*.zip`` is an agent. No archive is opened here, so a broken one is found
when its turn comes, and is one row of the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline import errors, places, surroundings
from pipeline.settings import Environment
from pipeline.spec import Agent

LONGEST = 64

_RUN = re.compile(r"_\d+$")  # rl-zoo numbers the runs of an environment
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")


def scan(folder: Path, skip: Path, reserved: Iterable[str] = ()) -> list[Agent]:
    """Every archive below a folder, in the order of their paths.

    :param skip: the artifacts folder, which holds archives of its own if it lies inside
    :param reserved: names that an agent cannot have, being names of tasks
    :raises errors.FolderUnfit: it does not exist, or holds no archive
    """
    if not places.is_folder(folder):
        what = "it is not a folder" if places.is_file(folder) else "it does not exist"
        raise errors.FolderUnfit(what, file=folder)
    taken = {name.casefold() for name in reserved}
    agents = [_agent(path, _unique(_name(path.relative_to(folder)), taken)) for path in _archives(folder, skip)]
    if not agents:
        raise errors.FolderUnfit("it holds no *.zip, nor does any folder in it", file=folder)
    return agents


def _archives(folder: Path, skip: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() == ".zip" and path.is_file() and not hidden and not path.is_relative_to(skip):
            yield path


def _name(relative: Path) -> str:
    """``ppo/CartPole-v1_1/CartPole-v1.zip`` -> ``ppo-CartPole-v1_1``: the path, fit for a path and a task."""
    parts = list(relative.parent.parts)
    if not parts or _RUN.sub("", parts[-1]) != relative.stem:
        parts.append(relative.stem)
    fit = _UNFIT.sub("_", "-".join(parts))
    return fit[-LONGEST:].lstrip("_-") or "agent"


def _unique(name: str, taken: set[str]) -> str:
    """The name, numbered where another agent (or a task) has it, also where that differs in case only."""
    found, number = name, 1
    while found.casefold() in taken:
        number += 1
        found = f"{name[: LONGEST - len(f'-{number}')]}-{number}"
    taken.add(found.casefold())
    return found


def _agent(path: Path, name: str) -> Agent:
    told = surroundings.training(path)
    known = told.environment or surroundings.environment(path)
    environment = Environment(id=known, optional=True, frame_stack=min(told.frame_stack, 64))
    found = str(surroundings.statistics(path) or "none")
    return Agent(name=name, config=str(path), zip=str(path), vecnormalize=found, environment=environment)
