"""What ./doit was told beside its tasks: ``name=value``."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline import errors, processes, toolchains
from pipeline.cluster import asking


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
        sys.exit(str(errors.ConfigWrongValue(what, found=asked, remedy=remedy)))


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
        sys.exit(str(errors.ConfigWrongValue(what, remedy=remedy)))
    asking.CLUSTER = asking.Cluster(address, blobs, seconds) if address else None


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
        sys.exit(str(errors.ConfigWrongValue(what, found=asked, remedy=remedy)))
    return bool(asked == "yes")


def use_of_steps(arguments: list[str], agents: set[str], stepless: tuple[str, ...]) -> str:
    """What a call of ./doit needs of the agents' steps: "all", "changed" (of agents that changed), or "none".

    :param arguments: of the command line
    :param stepless: tasks that are about no agent's steps
    """
    from doit import get_var

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
    return "all" if get_var("verify", "no") == "yes" else "changed"
