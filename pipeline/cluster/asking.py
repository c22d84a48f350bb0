"""doit's side of a cluster: a job is handed to a process of the toolchain ``cluster``, which imports Dask for us."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import errors, fingerprint, scratch, toolchains, warm
from pipeline.cluster import paths
from pipeline.warm import Limits, Place

Job = dict[str, Any]
HERE = ("", "hub")  # done on this machine: the user's own interpreter, and what needs the user's tokens


@dataclass(frozen=True)
class Cluster:
    """Where a cluster is.

    :param address: of Dask's scheduler
    :param blobs: fsspec URL through which files are moved; "" where the workers see the same folders
    :param patience: seconds for which the scheduler, and then a worker for a job, may not be there
    """

    address: str
    blobs: str = ""
    patience: float = 60.0


CLUSTER: Cluster | None = None  # as ./doit was told


class _Client(Place):
    """The process that speaks with the scheduler; its lines are those of a warm process."""

    @property
    def command(self) -> list[str]:
        return [self.interpreter, "-m", "pipeline.cluster.client", *self.imports]


def does(place: Place) -> bool:
    """Whether the cluster does the jobs of a place."""
    return CLUSTER is not None and place.toolchain not in HERE


def connect() -> None:
    """Reach the scheduler, and a worker of this version.

    :raises errors.ClusterUnreachable:
    :raises errors.WorkersMissing:
    """
    _submit({"needs": [resource()]})


def run(place: Place, job: Job, log: Path, limits: Limits, beside: tuple[Place, Job] | None = None) -> dict[str, Any]:
    """Do a job on a machine of the cluster; parameters and errors are those of :func:`pipeline.processes.run`.

    :raises SlipwayError: also the classes of "other machines" in :mod:`pipeline.errors`
    """
    assert CLUSTER is not None
    asked = [(place, job), *([beside] if beside else [])]
    jobs, named = paths.numbered([own for _, own in asked])
    needed = {each.toolchain for each, _ in asked}.union(*(own.get("needs", {}) for _, own in asked))
    message = {
        "needs": [resource(), *sorted(resource(name) for name in needed)],
        "toolchains": [each.toolchain for each, _ in asked],
        "jobs": jobs,
        "paths": [str(path.absolute()) for path in named],
        "target": named.index(job["target"]),
        "log": str(log.resolve()),
        "seconds": limits.seconds,
        "memory": limits.memory,
        "patience": CLUSTER.patience,
    }
    ended = _submit(message)
    return {"peak_kib": ended["peak_kib"], "cpu": ended["cpu"]}


def resource(toolchain: str = "") -> str:
    """The name of the resource of workers that have a toolchain as it is locked here, or Slipway as it is here."""
    if toolchain:
        return f"{toolchain}-{toolchains.lock_digest(toolchain)[:12]}"
    return f"slipway-{fingerprint.everything()[:12]}"


def _submit(message: dict[str, Any]) -> dict[str, Any]:
    """Hand a message to the client, and wait for its answer."""
    assert CLUSTER is not None
    told = tuple(str(value) for value in dataclasses.astuple(CLUSTER))
    with tempfile.TemporaryDirectory(dir=scratch.folder()) as name:
        path = Path(name) / "message.json"
        path.write_text(json.dumps(message), encoding="utf-8")
        ended = warm.process(_Client(toolchains.python("cluster"), told), path).submit(path, Limits(math.inf, math.inf))
    if ended["exit"] is None:
        raise errors.ClusterUnreachable("the process that speaks with the scheduler has ended", found=CLUSTER.address)
    if "error" in ended:
        raise errors.from_json(ended["error"])
    return ended


def become(program: str, arguments: list[str]) -> None:
    """Become Dask's ``scheduler`` or ``worker``, in the toolchain ``cluster``; it does not return.

    Dask would listen on every interface of the machine: a scheduler does so only where it is told to, and so does the
    worker of a scheduler on this machine. Of the options, a later one overrides ours.
    """
    options = ["--dashboard-address", "127.0.0.1:0"]
    if program == "worker":
        options += ["--no-nanny", "--memory-limit", "0", "--preload", "pipeline.cluster.worker"]
    alone = program == "scheduler" or any("//127.0.0.1:" in argument for argument in arguments)
    if alone and not any(argument.startswith("--interface") for argument in arguments):
        options += ["--host", "127.0.0.1"]
    command = [toolchains.python("cluster"), "-m", f"distributed.cli.dask_{program}", *options, *arguments]
    os.execve(command[0], command, toolchains.environment())
