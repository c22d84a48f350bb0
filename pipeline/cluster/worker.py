"""What Dask's workers do: preloaded by each (``--preload pipeline.cluster.worker``), it makes Slipway's of them.

Where a worker has 4 threads, it has 4 of the resource ``torch-70e62f9ff859``, and so for every toolchain that is ready
on its machine, named with the first digits of its lock; and of ``slipway-…``, with those of Slipway's own code.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import errors, processes, scratch, toolchains, warm, worker
from pipeline.cluster import blobs, paths
from pipeline.cluster.asking import resource
from pipeline.warm import Limits, Place

Task = dict[str, Any]
CLOSING = 10.0  # seconds in which a worker that closes has ended


def dask_setup(dask_worker: Any) -> None:
    """Called by Dask before a worker goes to its scheduler: say what is there."""
    ready = [name for name in toolchains.TOOLCHAINS if toolchains.ready(name)]
    for name in ("", *ready):
        dask_worker.state.total_resources[resource(name)] = dask_worker.state.nthreads
        dask_worker.state.available_resources[resource(name)] = dask_worker.state.nthreads
    threading.Thread(target=_end, args=(dask_worker,), daemon=True).start()


def _end(dask_worker: Any) -> None:
    """See to it that the process of a worker that closes ends: a SIGTERM while it does stops Dask from closing it."""
    while dask_worker.status.name not in ("closing", "closed", "failed"):
        time.sleep(1)
    time.sleep(CLOSING)
    warm.stop_all()
    os._exit(1)


def do(task: Task) -> dict[str, Any]:
    """A job, in this machine's own warm processes.

    :param task: see :func:`pipeline.cluster.asking.run`; with ``blobs``, ``paths`` are trees
    :return: ``error``, or ``cpu`` and ``peak_kib``; ``made``, the folder that takes the target's place, or its tree;
        ``places``, the paths of this machine; ``log``, the log's tree where there are blobs; or ``lacking``, digests
    """
    try:
        return _by_blobs(task) if task["blobs"] else _by_path(task)
    except blobs.Lacking as lacking:
        return {"lacking": lacking.digests}
    except errors.SlipwayError as error:
        return {"error": error.to_json()}
    except OSError as error:
        return {"error": worker.from_os(error).to_json()}


def _by_path(task: Task) -> dict[str, Any]:
    """All machines see the same folders."""
    places = [Path(path) for path in task["paths"]]
    target = places[task["target"]]
    until = time.monotonic() + task["patience"]  # network file systems are slow to tell what is made elsewhere
    while not target.is_dir():
        if time.monotonic() > until:
            raise errors.FolderNotShared(f"the worker on {socket.gethostname()} does not see a folder", file=target)
        time.sleep(0.2)
    attempt = places[task["target"]] = target.with_name(f"{target.name}-{uuid.uuid4().hex[:12]}")
    shutil.copytree(target, attempt)
    return {**_done(task, places, Path(task["log"])), "made": str(attempt)}


def _by_blobs(task: Task) -> dict[str, Any]:
    """Machines share nothing but a store of blobs."""
    url = task["blobs"]
    with tempfile.TemporaryDirectory(dir=scratch.folder()) as name:
        root = Path(name)
        places = blobs.fetch(url, task["paths"], root)
        target, log = places[task["target"]], root / "log.txt"
        log.touch()
        told = _done(task, places, log)
        made, files = blobs.describe(target)
        said, lines = blobs.describe(log)
        blobs.send(url, files | lines)
        return {**told, "made": made, "log": said}


def _done(task: Task, places: list[Path], log: Path) -> dict[str, Any]:
    """Do the job, or two that speak with each other; how it ended."""
    asked = []
    for name, job in zip(task["toolchains"], paths.placed(task["jobs"], places), strict=True):
        told = toolchains.TOOLCHAINS[name]
        place = Place(toolchains.python(name), told.imports, told.rehearsal, name)
        needs = {need: str(toolchains.folder(need)) for need in job.get("needs", {})}
        asked.append((place, {**job, "needs": needs}))
    (place, job), *beside = asked
    limits = Limits(task["seconds"], task["memory"], _unwanted())
    told_places = {"places": [str(path) for path in places]}
    try:
        return {**processes.run(place, job, log, limits, beside[0] if beside else None), **told_places}
    except errors.SlipwayError as error:
        return {"error": error.to_json(), **told_places}


def _unwanted() -> Callable[[], bool]:
    """Whether the client has gone, or given the task up, or this worker is about to end."""
    from distributed import get_worker

    here = get_worker()
    key = here.get_current_task()

    def unwanted() -> bool:
        state = here.state.tasks.get(key)
        return state is None or state.state == "cancelled" or here.status.name not in ("running", "paused")

    return unwanted
