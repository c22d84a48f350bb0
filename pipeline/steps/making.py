"""What all steps share: how a folder is made from what it depends on, and how a job gets to its toolchain."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import artifacts, cache, errors, fingerprint, places, processes, toolchains, warm
from pipeline.artifacts import Manifest
from pipeline.cluster import asking
from pipeline.processes import Job
from pipeline.spec import Agent
from pipeline.warm import Place


@dataclass(frozen=True)
class Step:
    """One thing to do for an agent.

    :param name: unique within the agent, e.g. "onnx:convert"
    :param after: names of the steps that must have succeeded
    :param toolchains: that it needs
    :param fresh: whether there is nothing to do
    :param act: does it; raises :class:`errors.SlipwayError`
    :param record: the file that says it is done
    """

    name: str
    says: str
    after: tuple[str, ...]
    toolchains: tuple[str, ...]
    fresh: Callable[[], bool]
    act: Callable[[], None]
    record: Path


def identity(agent: Agent, name: str) -> str:
    """What a toolchain is, for a key: the digest of its lock, or the packages of the user's interpreter."""
    if name == "torch" and agent.python:
        return toolchains.foreign_identity(agent.python)
    return toolchains.lock_digest(name)


def place(agent: Agent, toolchain: str) -> Place:
    """Where a job of a toolchain runs: there, or in the user's own interpreter where the config names one."""
    told = toolchains.TOOLCHAINS[toolchain]
    if toolchain == "torch" and agent.python:
        toolchains.foreign_versions(agent.python)  # says what it lacks
        return Place(agent.python, told.imports)
    return Place(toolchains.python(toolchain), told.imports, told.rehearsal, toolchain)


def job(
    agent: Agent, toolchain: str, job: Job, log: Path, beside: tuple[str, Job] | None = None, *, here: bool = False
) -> None:
    """Run a job in a toolchain, on a machine of the cluster if there is one.

    :param beside: another toolchain and job, which the first one speaks with
    :param here: it needs what only this machine is known to have
    """
    begun = time.monotonic()
    if toolchain == "torch" and agent.import_from:
        job = {**job, "import_from": [Path(folder).resolve() for folder in agent.import_from]}
    other = (place(agent, beside[0]), beside[1]) if beside else None
    limits = warm.Limits(agent.timeout, processes.MEMORY * warm.GIB)
    first = place(agent, toolchain)
    run = asking.run if asking.does(first) and not here else processes.run
    ended = run(first, job, log, limits, other)
    took = f"{time.monotonic() - begun:.2f} s, {ended['cpu']:.2f} s of CPU, peak {ended['peak_kib'] / 1024:.0f} MiB"
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{job['do']}: {took}\n")


def tools(agent: Agent, toolchain: str) -> dict[str, str]:
    """Versions of the packages that matter in a toolchain."""
    if toolchain == "torch" and agent.python:
        return toolchains.foreign_versions(agent.python)
    return toolchains.versions(toolchain)


def files(folder: Path) -> dict[str, str]:
    """Digests of an artifact's files, as its manifest has them: verified when its own step was."""
    stored = artifacts.manifest(folder)
    return {} if stored is None else stored.files


def log_of(home: Path, name: str) -> Path:
    """The empty log of a step, outside of what the step makes: it stays when the step fails."""
    path = home / "log" / log_name(name)
    if path.parent.is_symlink() or not path.parent.is_dir():
        artifacts.remove(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    artifacts.remove(path)  # a link would be written through
    path.write_text("", encoding="utf-8")
    return path


def log_name(step: str) -> str:
    """File name of a step's log."""
    return f"{step.replace(':', '.')}.txt"


@dataclass(frozen=True)
class _Folder:
    """A step that makes one folder: see :func:`folder_step`."""

    agent: Agent
    home: Path
    folder: Path
    name: str
    toolchain: str
    key: Callable[[], dict[str, Any]]
    make: Callable[[Path, Path], None]
    source: Path | None
    cached: bool

    def above(self) -> str:
        """Why there is nothing to make it from; "" where there is."""
        stored = artifacts.manifest(self.source) if self.source else None
        return stored.reason if stored is not None and stored.status == "not_run" else ""

    def fresh(self) -> bool:
        """Whether there is nothing to do; what the cache has is taken."""
        try:
            key = self.key()
            return artifacts.fresh(self.folder, key) or (self.cached and self._taken(key))
        except errors.SlipwayError:  # what is wrong is said when the step acts
            return False

    def _taken(self, key: dict[str, Any]) -> bool:
        found = cache.CURRENT.find(cache.Source(self.name, key, self.above())) if cache.CURRENT else None
        if cache.CURRENT is None or found is None:
            return False
        with artifacts.staging(self.home.parent) as staged, artifacts.writing(self.folder):
            made = cache.CURRENT.take(found, staged)
            if made is not None:
                artifacts.commit(staged, self.folder, made, lasting=False)
                said = f"taken from the cache: {found.address}\n"
                log_of(self.home, self.name).write_text(said, encoding="utf-8")
        return made is not None

    def act(self) -> None:
        """Make it."""
        try:
            with artifacts.writing(self.folder):
                log = log_of(self.home, self.name)
                with artifacts.staging(self.home.parent) as staged:
                    made = self._built(staged, log)
                    artifacts.commit(staged, self.folder, made)
        except errors.SlipwayError as error:
            refused = isinstance(error, errors.BadInput)
            log = self.home / "log" / log_name(self.name)
            place = places.of_sentence(Path(self.agent.config), error.what) if refused else log
            raise error.at(agent=self.agent.name, hop=self.name, file=place) from None
        if cache.CURRENT and self.cached:
            cache.CURRENT.keep(cache.Source(self.name, made.key, self.above()), made, self.folder)

    def _built(self, staged: Path, log: Path) -> Manifest:
        """
        :raises errors.InputsChanged: what it is made from is not what it was when it was begun
        """
        key = self.key()
        try:
            if self.above():
                raise errors.NotRun(self.above())
            self.make(staged, log)
        except errors.NotRun as not_run:
            shutil.rmtree(staged)
            staged.mkdir()
            return Manifest(self.key(), {}, "not_run", not_run.what, {})
        if self.source and (altered := artifacts.altered(self.source)):
            what = "a file that it is made from was changed while it was made"
            raise errors.InputsChanged(what, file=self.source / altered)
        if self.key() != key:
            raise errors.InputsChanged("what it is made from was changed while it was made")
        return Manifest(key, artifacts.digests(staged), versions=tools(self.agent, self.toolchain))


def folder_step(
    agent: Agent,
    home: Path,
    folder: Path,
    name: str,
    says: str,
    *,
    after: tuple[str, ...],
    needs: tuple[str, ...],
    key: Callable[[], dict[str, Any]],
    make: Callable[[Path, Path], None],
    source: Path | None = None,
    cached: bool = True,
) -> Step:
    """A step that makes one folder.

    :param key: what the folder is made from
    :param make: writes into a staging folder; its second argument is the log
    :param source: folder that it is made from: if that one was not run, this one is not either
    :param cached: whether what it makes hangs on its key alone
    """
    made = _Folder(agent, home, folder, name, needs[0], key, make, source, cached)
    return Step(name, says, after, needs, made.fresh, made.act, folder / artifacts.MANIFEST)


def key_of(agent: Agent, toolchain: str, code: str, settings: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """What a folder is made from.

    :param code: digest of the code that makes it
    :param settings: that the maker is given
    :param inputs: digests by name
    """
    if agent.import_from:
        inputs = {**inputs, "import_from": [fingerprint.sources(Path(folder)) for folder in agent.import_from]}
    return {
        "inputs": inputs,
        "settings": settings,
        "toolchain": {"name": toolchain, "lock": identity(agent, toolchain)},
        "code": code,
    }
