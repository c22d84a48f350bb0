"""What ./doit was told beside its tasks: ``name=value``."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import NoReturn

from pipeline import cache as caches
from pipeline import errors, places, processes, toolchains
from pipeline.cluster import asking

SETTINGS = ("configs", "artifacts", "folder", "baseline", "memory", "verify", "cluster", "blobs", "patience",
            "cache", "cache_size")  # fmt: skip


def refuse(error: errors.SlipwayError) -> NoReturn:
    """End a run that cannot begin."""
    print(error, file=sys.stderr)
    sys.exit(errors.REFUSED)


def parted(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Settings by name, and the other arguments; what stands behind ``--`` is a program's own."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    settings, others = {}, []
    for argument in arguments[:end]:
        if not argument:
            refuse(errors.CommandUnfit("an argument is empty", remedy="Leave it out"))
        name, equals, value = argument.partition("=")
        if not equals or not name.isidentifier():
            others.append(argument)
            continue
        if name not in SETTINGS:
            close = difflib.get_close_matches(name, SETTINGS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(SETTINGS)}"
            remedy = f"Correct it; if it is a file, write ./{argument}"
            refuse(errors.CommandUnfit(f"there is no setting '{name}'; {hint}", remedy=remedy))
        if not value:
            refuse(errors.CommandUnfit(f"the setting '{name}' is empty", remedy=f"Give a value, or leave {name}= out"))
        settings[name] = value
    return settings, others + arguments[end:]


def located(file: str) -> Path:
    """A file of the command line, which is relative to where ./doit was called; doit itself runs in the clone."""
    return Path(os.environ.get("SLIPWAY_CALLED_FROM", ""), places.of_user(file))


def settings() -> tuple[Path, Path]:
    """Folders of the configs and of the artifacts: ``./doit configs=… artifacts=…``, relative to this clone."""
    from doit import get_var

    chosen = (get_var("configs", "configs"), get_var("artifacts", "artifacts"))
    found = [toolchains.ROOT / folder for folder in chosen]
    return found[0], found[1]


def limit_memory() -> None:
    """What a job may take: ``./doit memory=4``, in GiB; as many jobs run at once as ``-n`` says."""
    from doit import get_var

    asked = get_var("memory", str(processes.MEMORY))
    try:
        processes.MEMORY = float(asked)
        if not 0 < processes.MEMORY < float("inf"):
            raise ValueError
    except ValueError:
        what, remedy = "memory is a number of GiB above 0", "Run ./doit memory=4"
        refuse(errors.ConfigWrongValue(what, found=asked, remedy=remedy))


def use_cluster() -> None:
    """Where jobs are done: ``./doit cluster=tcp://HOST:PORT [blobs=URL] [patience=SECONDS]``; here if not told."""
    from doit import get_var

    address, blobs, patience = get_var("cluster", ""), get_var("blobs", ""), get_var("patience", "60")
    try:
        wrong = "blobs goes with cluster" if blobs and not address else ""
        if address and "://" not in address:
            wrong = "cluster is the address of a scheduler"
        if blobs and ("://" not in blobs or blobs.startswith("memory:")):
            wrong = "blobs is the URL of a folder that this machine and the workers can write to"
        seconds = float(patience)
        if wrong or not 0 < seconds < float("inf"):
            raise ValueError
    except ValueError:
        what = wrong or "patience is a number of seconds above 0"
        remedy = "Run ./doit cluster=tcp://HOST:PORT, perhaps with blobs=s3://BUCKET/FOLDER and patience=600"
        refuse(errors.ConfigWrongValue(what, remedy=remedy))
    asking.CLUSTER = asking.Cluster(address, blobs, seconds) if address else None


def cache() -> caches.Cache | None:
    """What need not be made again: ``./doit cache=FOLDER``, ``cache=URL`` or ``cache=FOLDER,URL``, or SLIPWAY_CACHE.

    The folder is one in this clone if none is named; None for ``cache=none``. ``cache_size`` is the most that the
    folder may hold, in GiB.
    """
    from doit import get_var

    size = get_var("cache_size", str(caches.GIB))
    try:
        most = float(size) * (1 << 30)
        if not 0 < most < float("inf"):
            raise ValueError
    except ValueError:
        what, remedy = "cache_size is a number of GiB above 0", "Run ./doit cache_size=20"
        refuse(errors.ConfigWrongValue(what, found=size, remedy=remedy))
    named, url = _cache_places()
    if named == "none":
        return None
    folder = caches.Local(toolchains.ROOT / places.of_user(named or caches.DEFAULT), most)
    return caches.Cache(folder, caches.Remote(url, folder.root) if url else None)


def _cache_places() -> tuple[str, str]:
    """Folder and URL that were named, "" where none was."""
    from doit import get_var

    told: str = get_var("cache", "") or os.environ.get("SLIPWAY_CACHE", "")
    parts = [part.strip() for part in told.split(",")]
    urls = [part for part in parts if "://" in part]
    folders = [part for part in parts if part and "://" not in part]
    if len(urls) > 1 or len(folders) > 1 or (urls and folders == ["none"]):
        what, expected = "the cache is one folder, and perhaps one URL behind it", "FOLDER, URL, FOLDER,URL or none"
        remedy = "Run ./doit cache=s3://BUCKET/FOLDER"
        refuse(errors.ConfigWrongValue(what, expected=expected, found=told, remedy=remedy))
    return (*folders, "")[0], (*urls, "")[0]


def cache_needs() -> tuple[str, ...]:
    """Toolchains that the cache cannot be asked without."""
    return (caches.TOOLCHAIN,) if _cache_places()[1] else ()


def surveyed() -> str:
    """The folder whose archives are built instead of the configs: ``./doit folder=…``; "" where there is none."""
    from doit import get_var

    found: str = get_var("folder", "")
    return found


def baseline() -> bool:
    """Whether the folder's table compares with SB3's own export guide: ``./doit folder=… baseline=yes``."""
    from doit import get_var

    asked = get_var("baseline", "no")
    if asked not in ("yes", "no") or (asked == "yes" and not surveyed()):
        what, remedy = "baseline is yes or no, and goes with folder", "Run ./doit folder=PATH baseline=yes"
        refuse(errors.ConfigWrongValue(what, found=asked, remedy=remedy))
    return bool(asked == "yes")


def passed_on() -> list[str]:
    """What another ./doit has to be told to do its jobs as this one would: ``name=value``."""
    from doit import get_var

    found = {name: get_var(name, "") for name in ("memory", "cluster", "blobs", "patience")}
    return [f"{name}={value}" for name, value in found.items() if value]


def use_of_steps(arguments: list[str], agents: set[str], stepless: tuple[str, ...]) -> str:
    """What a call of ./doit needs of the agents' steps: "all", "changed" (of agents that changed), or "none".

    :param arguments: of the command line
    :param stepless: tasks that are about no agent's steps
    """
    verify = _yes("verify", "Run ./doit verify=yes")
    words = [word for word in arguments if "=" not in word or word.startswith("-")]
    if words in (["list"], ["help"]) or words[:1] == ["help"]:
        return "none"
    if words and words[0].partition(":")[0] in stepless:
        return "none"
    while words:
        word = words.pop(0)
        if word in ("-n", "--process"):
            words[:1] = []
        elif not (word == "run" or word in agents or word.startswith(("-n", "--process="))):
            return "all"
    return "all" if verify else "changed"


def _yes(name: str, remedy: str) -> bool:
    from doit import get_var

    asked: str = get_var(name, "no")
    if asked not in ("yes", "no"):
        refuse(errors.ConfigWrongValue(f"{name} is yes or no", found=asked, remedy=remedy))
    return asked == "yes"
