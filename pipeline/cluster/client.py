"""The process that speaks with Dask's scheduler, started by doit's.

    python -m pipeline.cluster.client ADDRESS BLOBS PATIENCE

It reads a message's path from each line of standard input, and answers in the lines of :mod:`pipeline.worker`; a line
``{"says": TEXT}`` is for the user. When it ends, however it ends, the scheduler drops what it had asked for, and the
workers stop it (:func:`pipeline.cluster.worker._unwanted`): Ctrl-C needs nothing else.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import tempfile
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

from pipeline import errors, worker
from pipeline.cluster import blobs, paths
from pipeline.cluster.asking import Cluster
from pipeline.cluster.worker import Task

SENT = 4  # times that a job is sent where blobs were damaged: what it takes, then what it makes, and both once more
LOOK = 1.0  # seconds between two looks at which workers are there
SOON = 3.0  # seconds of waiting that are not worth a line

Message = dict[str, Any]


@dataclasses.dataclass
class Link:
    """The connection, and what is known of the workers.

    :param client: Dask's; None until it is connected
    :param had: names of resources by worker's address
    :param told: what the user has been told already
    """

    cluster: Cluster
    client: Any = None
    had: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    told: set[str] = dataclasses.field(default_factory=set)

    async def open(self) -> None:
        """Connect, and go on looking which workers are there."""
        from distributed import Client

        waiting = asyncio.get_running_loop().call_later(SOON, self.say, f"waiting for {self._scheduler()}")
        try:
            timeout = f"{self.cluster.patience} s"
            self.client = await Client(self.cluster.address, asynchronous=True, timeout=timeout, set_as_default=False)
            await self.look()
        except (OSError, ValueError, TypeError) as error:  # TypeError: TLS is asked for and not configured
            raise errors.ClusterUnreachable(f"there is no answer from {self._scheduler()}: {error}"[:300]) from None
        finally:
            waiting.cancel()

    def _scheduler(self) -> str:
        return f"a scheduler at {self.cluster.address} (for {self.cluster.patience:.0f} s at most)"

    async def look(self) -> None:
        """See which workers are there now."""
        found = await self.client.scheduler.identity(n_workers=-1)
        self.had = {address: set(told["resources"]) for address, told in found["workers"].items()}

    def able(self, needs: list[str]) -> bool:
        """Whether a worker has all resources that a job needs."""
        return any(set(needs) <= had for had in self.had.values())

    def say(self, text: str) -> None:
        """Tell the user something, once."""
        if text not in self.told:
            self.told.add(text)
            _tell({"says": text})

    def missing(self, needs: list[str]) -> errors.WorkersMissing:
        """The error where no worker can do a job."""
        versions = {name for had in self.had.values() for name in had if name.startswith("slipway-")}
        found = f"{len(self.had)} workers"
        if self.had and needs[0] not in versions:
            found += f" of another version ({', '.join(sorted(versions)) or 'none of Slipway at all'})"
        what = f"no worker at {self.cluster.address} can do a job, for {self.cluster.patience:.0f} s"
        return errors.WorkersMissing(what, expected=" and ".join(needs), found=found)


def _tell(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


async def serve(cluster: Cluster) -> None:
    """Answer each line of standard input."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    _tell({"ready": True})
    link = Link(cluster)
    opening = asyncio.create_task(link.open())
    looking = asyncio.create_task(_look(link, opening))
    answering = set()
    while line := await lines.readline():
        task = asyncio.create_task(_answer(link, opening, line.decode().rstrip("\n")))
        answering.add(task)
        task.add_done_callback(answering.discard)
    await asyncio.gather(*answering)
    looking.cancel()


async def _look(link: Link, opening: asyncio.Task[None]) -> None:
    await asyncio.wait([opening])
    while link.client is not None and link.client.status != "closed":
        await asyncio.sleep(LOOK)
        try:
            await link.look()
        except OSError:  # the jobs' own futures tell when the scheduler is lost
            continue


async def _answer(link: Link, opening: asyncio.Task[None], path: str) -> None:
    """Do what a message asks for, and tell how it ended."""
    message = json.loads(await asyncio.to_thread(Path(path).read_text, encoding="utf-8"))
    try:
        await asyncio.shield(opening)
        told = await _done(link, message)
    except errors.SlipwayError as error:
        told = {"error": error.to_json()}
    except OSError as error:
        told = {"error": worker.from_os(error).to_json()}
    except Exception as error:
        traceback.print_exc()
        told = {"error": errors.ConverterFailed(f"{type(error).__name__}: {error}"[:300]).to_json()}
    _tell({"job": path, "exit": 0, **told})


async def _done(link: Link, message: Message) -> dict[str, Any]:
    """Let a worker do a job, and take what it made.

    :return: ``cpu`` and ``peak_kib``, or ``error``
    """
    if "jobs" not in message:
        await _waited(link, message["needs"], None)
        return {}
    told: dict[str, Any] = {}
    for _ in range(SENT):
        try:
            task = await asyncio.to_thread(_packed, link.cluster.blobs, message)
            told = await _asked(link, message, task)
            if "lacking" in told:
                raise blobs.Lacking(told["lacking"])
            if "made" in told:
                return await asyncio.to_thread(_taken, link.cluster.blobs, message, told)
            return told
        except blobs.Lacking as lacking:
            await asyncio.to_thread(blobs.drop, link.cluster.blobs, lacking.digests)
            told = {"lacking": lacking.digests}
    what = f"blobs were lost or damaged {SENT} times, among them {told['lacking'][0]}"
    raise errors.BlobsUnfit(what, found=link.cluster.blobs)


def _packed(url: str, message: Message) -> Task:
    """What the worker is sent; where there are blobs, its files have been sent before."""
    task = {name: value for name, value in message.items() if name != "needs"} | {"blobs": url}
    if not url:
        return task
    target = Path(message["paths"][message["target"]])
    trees = []
    for path in map(Path, message["paths"]):
        root = target.parent.parent  # the artifacts, which may be below a folder of the user's code
        tree, files = blobs.describe(path, None if path.is_relative_to(root) else root)
        blobs.send(url, files)
        trees.append(tree)
    return {**task, "paths": trees, "log": ""}


def _do(task: Task) -> dict[str, Any]:
    """Let the worker do a task. This module is ``__main__``, so the function travels by value: the scheduler, which
    unpickles it too, may be one that does not have Slipway.
    """
    from pipeline.cluster import worker

    return worker.do(task)


async def _asked(link: Link, message: Message, task: Task) -> dict[str, Any]:
    """What a worker answers.

    :raises errors.WorkersDied: one after the other, as often as the scheduler's ``allowed-failures`` says
    :raises errors.ClusterUnreachable: the scheduler has gone
    :raises errors.WorkersMissing: there is none
    """
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    what = message["jobs"][0]["do"]
    needs = dict.fromkeys(message["needs"], 1)
    future = link.client.submit(_do, task, key=f"{what}-{uuid.uuid4().hex}", resources=needs, pure=False)
    answer = asyncio.ensure_future(link.client.gather(future))
    try:
        await _waited(link, message["needs"], answer)
        found: dict[str, Any] = await answer
        return found
    except KilledWorker as died:
        raise errors.WorkersDied(f"{what} was given up, as {died.allowed_failures + 1} workers died of it") from None
    except FutureCancelledError:
        raise errors.ClusterUnreachable(f"the scheduler at {link.cluster.address} has gone") from None
    finally:
        answer.cancel()
        future.release()


async def _waited(link: Link, needs: list[str], answer: asyncio.Future[Any] | None) -> None:
    """Wait for an answer, or where there is none to come, for a worker.

    :raises errors.WorkersMissing: no worker could do the job, for as long as the patience is
    """
    since = time.monotonic()
    while not (answer and answer.done()):
        waited = time.monotonic() - since
        if link.able(needs):
            since = time.monotonic()
            if answer is None:
                return
        elif waited > link.cluster.patience:
            raise link.missing(needs)
        elif waited > min(SOON, link.cluster.patience / 2):
            link.say(f"waiting for a worker with {', '.join(needs)} (for {link.cluster.patience:.0f} s at most)")
        if answer:
            await asyncio.wait({answer}, timeout=LOOK)
        else:
            await asyncio.sleep(LOOK)


def _taken(url: str, message: Message, told: dict[str, Any]) -> dict[str, Any]:
    """Move what was made into place; its log and its error tell of this machine's paths.

    :raises blobs.Lacking: what was made did not arrive whole
    """
    target = Path(message["paths"][message["target"]])
    if url:
        with tempfile.TemporaryDirectory(prefix=f"{target.name}-", dir=target.parent) as name:
            made, lines = blobs.fetch(url, [told["made"], told["log"]], Path(name))
            said = lines.read_text(encoding="utf-8", errors="replace")
            paths.replace(made, target)
        with Path(message["log"]).open("a", encoding="utf-8") as file:
            file.write(paths.renamed(said, told["places"], message["paths"]))
    else:
        paths.replace(Path(told["made"]), target)
    if "error" not in told:
        return {"cpu": told["cpu"], "peak_kib": told["peak_kib"]}
    ours = {name: paths.renamed(text, told["places"], message["paths"]) for name, text in told["error"].items()}
    return {"error": ours}


def main(arguments: list[str]) -> None:
    worker.die_with_parent()
    address, url, patience = arguments
    asyncio.run(serve(Cluster(address, url, float(patience))))


if __name__ == "__main__":
    main(sys.argv[1:])
