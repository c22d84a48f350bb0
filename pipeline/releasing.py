"""The tasks of those who release: ``./doit bundle`` and ``./doit sign``."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from doit.exceptions import TaskFailed

from pipeline import artifacts, errors, told, toolchains
from pipeline.bundles import refusals, signing
from pipeline.commands import Parser, about_files
from pipeline.spec import Agent
from pipeline.steps import bundling
from pipeline.tasks import Task

USAGE = "./doit sign FILE… --key KEY"
LOST = ("failed", "not_built")


def for_bundles(agents: list[Agent], root: Path) -> Iterator[Task]:
    """One task an agent. Before the first, another ./doit builds what is missing of all that are asked for: doit itself
    would not reach a task that waits for steps of which one failed, and a bundle leaves that one out.
    """
    names = [agent.name for agent in agents]
    alone = {"agent": "", "step": "", "alone": True}
    held = threading.Lock()  # doit runs tasks in threads; one after the other they share a build and a lock
    built: list[str] = []

    def build() -> None:
        if not built:
            built[:] = _building(sys.argv[1:], names)
            subprocess.run([sys.executable, "-m", "pipeline", *built], cwd=toolchains.ROOT)

    yield {"basename": "bundle", "name": None, "meta": alone,
           "doc": "pack what passed of an agent, with all that vouches for it: ./doit bundle:NAME"}  # fmt: skip
    for agent in agents:

        def pack(agent: Agent = agent) -> TaskFailed | None:
            try:
                with held:
                    build()
                    with artifacts.lock(root):
                        lost = _pack(agent, root)
            except errors.SlipwayError as error:
                return TaskFailed(str(error))
            return TaskFailed(f"{agent.name}: {lost}, so the bundle is without") if lost else None

        yield {
            "basename": "bundle",
            "name": agent.name,
            "doc": f"{agent.name} → {bundling.FOLDER}/{agent.name}/{agent.name}.tar.zst",
            "actions": [pack],
            "uptodate": [False],
            "task_dep": ["toolchains:bundles"],
            "verbosity": 2,
            "meta": alone,
        }


def _building(arguments: list[str], names: list[str]) -> list[str]:
    """The command line that builds what is to be packed: agents for their bundles, options as they are.

    :raises refusals.NothingToBundle: other tasks are asked for beside
    """
    found: list[str] = []
    for word in arguments:
        head, _, name = word.partition(":")
        if head != "bundle":
            found.append(word)
        else:
            found += [name] if name else names
    beside = [word for word in found if word.partition(":")[0] not in names and word[:1] != "-" and "=" not in word]
    beside = [word for word in beside if not word.isdecimal() and word != "run"]
    if beside:
        remedy = "Run ./doit bundle, or ./doit bundle:NAME"
        raise refusals.NothingToBundle("bundle goes with no other task", found=", ".join(beside), remedy=remedy)
    return found


def _pack(agent: Agent, root: Path) -> str:
    """Pack what passed, and say what did not. What failed, or "".

    :raises refusals.NothingToBundle: nothing passed
    """
    step = bundling.bundle(agent, root)
    path = bundling.place(root, agent.name)
    fresh = step.fresh()
    if not fresh:
        step.act()
    chosen = bundling.select(agent, root)
    done = "is up to date" if fresh else "is written"
    print(f"{os.path.relpath(path)} {done}: {len(chosen.packed)} kinds, {path.stat().st_size:,} bytes")
    print(f"  sha256 {artifacts.digest(path)}")
    for one in chosen.left_out:
        print(f"  without {one['kind']}: {one['status'].replace('_', ' ')}: {one['reason']}")
    for kind, by in chosen.packed.items():
        if any(verdict.status == "waived" for verdict in by.values()):
            print(f"  with {kind}, which is waived: {agent.int8.waiver}")
    lost = [one["kind"] for one in chosen.left_out if one["status"] in LOST]
    return f"{', '.join(lost)} did not pass" if lost else ""


def for_signing() -> Task:
    """Sign bundles."""
    return about_files(f"sign a bundle with a key of yours, by ssh-keygen: {USAGE}", sign, {"key": str})


def sign(arguments: list[str]) -> bool:
    """Sign bundles with a key of the user's."""
    parser = Parser(usage=USAGE, add_help=False)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--key", required=True)
    asked = parser.parse_intermixed_args(arguments)
    for file in asked.files:
        try:
            print(f"{signing.sign(told.located(file), told.located(asked.key))} is written")
        except errors.NotRun as absent:
            raise refusals.SigningFailed(absent.what, file=file, remedy="Install it, and sign again") from None
    return True
