"""The tasks that are about no agent's steps: commands, programs, a cluster's parts."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from doit.exceptions import TaskError

from pipeline import cache, config, errors, places, told, toolchains
from pipeline.cluster import asking
from pipeline.hops import KINDS
from pipeline.reporter import Reporter
from pipeline.spec import Agent
from pipeline.tasks import RESERVED, ROOT, Task, guarded

AGAIN = "Give one: ./doit new FILE NAME"


class Parser(argparse.ArgumentParser):
    """What a command takes, where it takes more than files: what is wrong with it is one line of ours."""

    def error(self, message: str) -> NoReturn:
        raise errors.CommandUnfit(message, remedy=self.usage or "")


JSON: dict[str, type] = {"json": bool}


def about_files(doc: str, act: Callable[[list[str]], bool], options: Mapping[str, type] = JSON) -> Task:
    """A task about the files that it is given, and no agent: what it prints is all that a run shows.

    :param act: takes the arguments; whether all is well
    :param options: that may stand before the files, each with its type: bool or str. Behind them doit takes any
    """

    def run(pos: list[str], **given: bool | str) -> TaskError | None:
        said = [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items() if value]
        try:
            return None if act(said + pos) else TaskError("")
        except errors.SlipwayError as error:
            return TaskError(str(error))

    return {
        "doc": doc,
        "actions": [run],
        "pos_arg": "pos",
        "params": [{"name": name, "long": name, "type": kind, "default": kind()} for name, kind in options.items()],
        "uptodate": [False],
        "verbosity": 2,
        "meta": {"agent": "", "step": "", "alone": True},
    }


def inspect(arguments: list[str]) -> bool:
    """Show what each file is; with ``--json`` as one object a line."""
    from pipeline.agents import listing

    files = [told.located(argument) for argument in arguments if argument != "--json"]
    if not files:
        raise errors.AgentFileMissing("no file is named", remedy="./doit inspect FILE… [--json]")
    return listing.show(files, "--json" in arguments)


def coral(arguments: list[str]) -> bool:
    """Predict what the Edge TPU compiler will make of each TFLite file; with ``--json`` as one object a line."""
    if not set(arguments) - {"--json"}:
        raise errors.TFLiteUnreadable("no file is named", remedy="./doit coral FILE… [--json]")
    files = [argument if argument == "--json" else str(told.located(argument)) for argument in arguments]
    call = [toolchains.python("device"), "-m", "pipeline.hops.edgetpu_lint", *files]
    return not subprocess.run(call, env=toolchains.environment()).returncode


def cached(arguments: list[str], found: cache.Cache | None) -> bool:
    """Tell how large the cache is; ``check`` holds each of its files to its digest, ``prune`` bounds it now."""
    if arguments not in ([], ["check"], ["prune"]):
        raise errors.ConfigWrongValue(
            "the cache knows two words", expected="check or prune", remedy="./doit cache check"
        )
    if found is None:
        print("there is no cache (cache=none)")
        return True
    if arguments == ["check"]:
        entries, blobs = found.folder.check()
        print(f"{entries} entries and {blobs} files were damaged, and are dropped")
    if arguments == ["prune"]:
        print(f"{found.folder.prune()} results are dropped")
    entries, held = found.folder.size()
    most = found.folder.most / (1 << 30)
    print(
        f"{found.folder.root}: {entries} results in {held / (1 << 30):.2f} GiB, of {most:g} GiB at most (cache_size=)"
    )
    if found.behind:
        print(f"and behind it {found.behind.url}, which is not counted")
    return True


def draft(arguments: list[str], configs: Path) -> bool:
    """Write the config of an archive: FILE and, if it is not to have the file's, NAME."""
    from pipeline.agents import drafting

    if len(arguments) not in (1, 2):
        raise errors.AgentFileMissing("want one archive, and perhaps a name", remedy="./doit new FILE [NAME]")
    path = told.located(arguments[0])
    name = arguments[1] if len(arguments) == 2 else drafting.fit_name(path, RESERVED)
    if not config.fit(name) or name in RESERVED:
        want = "letters, digits, '-' and '_', at most 64, and not the name of a task"
        raise errors.AgentNameUnfit("the agent needs another name", expected=want, found=repr(name), remedy=AGAIN)
    target = configs / f"{name}.toml"
    drafting.write(path, target)
    config.load(target, KINDS, RESERVED)
    print(f"{os.path.relpath(target, told.located(''))} is written. Read its comments, then: ./doit {name}")
    return True


def for_nights(agents: list[Agent], configs: Path) -> Task:
    """Build everything from nothing, as a ./doit of its own, and compare it with the last good night."""

    def act(pos: list[str], newest: bool, limit: str, keep: int, weeks: int, into: str) -> TaskError | None:
        from pipeline.nightly import command

        where = f"folder={ROOT / places.of_user(told.surveyed())}" if told.surveyed() else f"configs={configs}"
        place = ROOT / places.of_user(into)
        asked = command.Asked(place, (where, *told.passed_on()), tuple(pos), limit, keep, weeks, newest)
        try:
            Reporter.ended = command.run(asked, agents)
        except errors.SlipwayError as error:
            return TaskError(str(error))
        return None

    return {
        "doc": "all agents from nothing, compared with the last good night: ./doit nightly [--limit 2h] [--newest]",
        "actions": [act],
        "pos_arg": "pos",
        "params": [
            {"name": "newest", "long": "newest", "type": bool, "default": False},
            {"name": "limit", "long": "limit", "type": str, "default": ""},
            {"name": "keep", "long": "keep", "type": int, "default": 14},
            {"name": "weeks", "long": "weeks", "type": int, "default": 8},
            {"name": "into", "long": "into", "type": str, "default": "nightly"},
        ],
        "uptodate": [False],
        "verbosity": 2,
        "meta": {"agent": "", "step": "", "alone": True},
    }


def for_cluster() -> Iterator[Task]:
    """Reach the cluster, so that where it is not there this is said once; and become a part of one."""
    if asking.CLUSTER:
        yield {
            "basename": "cluster",
            "doc": f"reach the scheduler at {asking.CLUSTER.address}",
            "actions": [guarded(asking.connect)],
            "task_dep": ["toolchains:cluster"],
            "verbosity": 2,
            "meta": {"agent": "cluster", "step": "", "counted": 0},
        }
    for name, part, doc, needs in (
        ("scheduler", "scheduler", "Dask's scheduler: ./doit scheduler [-- OPTION…]", "toolchains:cluster"),
        ("work", "worker", "do steps for a cluster: ./doit work tcp://HOST:PORT [OPTION…]", "toolchains"),
    ):

        def become(arguments: list[str], part: str = part) -> bool:
            asking.become(part, [argument for argument in arguments if argument != "--"])
            return True

        yield {"basename": name, **about_files(doc, become), "task_dep": [needs]}
