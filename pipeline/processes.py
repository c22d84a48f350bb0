"""Jobs run on this machine, each in a fork of its toolchain's warm process (:mod:`pipeline.warm`).

Callers see a function that returns, or raises what the job raised. A job that dies, or takes too long or too much
memory, is done once more, by a warm process that is new; then that is its error.
"""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import deciding, errors, scratch, warm, worker
from pipeline.warm import GIB, Limits, Place

Job = dict[str, Any]  # a Path in it is a file or folder, which other machines may have elsewhere
MEMORY = 2.0  # GiB that a job may take, unless ./doit is told another number


def run(place: Place, job: Job, log: Path, limits: Limits, beside: tuple[Place, Job] | None = None) -> dict[str, Any]:
    """Do a job.

    :param job: see :mod:`pipeline.doing`; ``log``, ``result`` and ``socket`` are filled in here
    :param log: text file that gets everything the job prints
    :param beside: another job, which is done at the same time and has the same socket
    :return: ``peak_kib``, the job's peak memory, and ``cpu``, its seconds
    :raises SlipwayError: what the job raised; :class:`errors.ConverterFailed` if it died,
        :class:`errors.JobTimedOut` or :class:`errors.MemoryExceeded`
    """
    ended = _attempt(place, job, log, limits, beside)
    if isinstance(ended, errors.SlipwayError) and not limits.unwanted():
        ended = _attempt(place, job, log, limits, beside)
    if isinstance(ended, errors.SlipwayError):
        raise ended
    return ended


def _attempt(
    place: Place, job: Job, log: Path, limits: Limits, beside: tuple[Place, Job] | None
) -> dict[str, Any] | errors.SlipwayError:
    """What the job took; or how it died, and then its warm process is given no other.

    :raises SlipwayError: what the job raised
    """
    with tempfile.TemporaryDirectory(dir=scratch.folder()) as name:
        path, result = Path(name) / "job.json", Path(name) / "result.json"
        filled = {"socket": str(Path(name) / "socket"), **job, "log": str(log.resolve()), "result": str(result)}
        path.write_text(json.dumps(filled, default=str), encoding="utf-8")
        process = warm.process(place, path)
        with _beside(beside, filled["socket"], log, limits) as companion:
            ended = process.submit(path, limits)
        error = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else None
    if error is None:
        process.retire()
        return _died(job, log, ended, limits)
    if companion.died:
        return companion.died
    if error:
        raise companion.error or errors.from_json(error)
    return {"peak_kib": ended["peak_kib"], "cpu": ended["cpu"] + companion.cpu}


@dataclass
class _Companion:
    """What became of the job beside a job."""

    cpu: float = 0.0
    died: errors.SlipwayError | None = None
    error: errors.SlipwayError | None = None


@contextlib.contextmanager
def _beside(asked: tuple[Place, Job] | None, address: str, log: Path, limits: Limits) -> Iterator[_Companion]:
    """Do another job, if there is one, while the block runs."""
    found = _Companion()
    if asked is None:
        yield found
        return
    place, job = asked

    def act() -> None:
        try:
            ended = _attempt(place, {**job, "socket": address}, log, limits, None)
            if isinstance(ended, errors.SlipwayError):
                found.died = ended
            else:
                found.cpu = ended["cpu"]
        except errors.SlipwayError as error:
            found.error = error
        finally:
            deciding.hang_up(address)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield found
    finally:
        deciding.over(address)
        thread.join()


def _died(job: Job, log: Path, ended: dict[str, Any], limits: Limits) -> errors.SlipwayError:
    if ended["beyond"] == "seconds":
        return errors.JobTimedOut(f"{job['do']} was stopped after {limits.seconds:.0f} s, twice", file=log)
    if ended["beyond"] == "memory":
        what = f"{job['do']} was stopped as it grew past its share of memory, twice"
        return errors.MemoryExceeded(what, file=log, expected=f"at most {limits.memory / GIB:.1f} GiB")
    if ended["beyond"] == "unwanted":
        return errors.JobUnwanted(f"{job['do']} was stopped: nobody waits for it", file=log)
    full = worker.disk_full(job)
    if full:
        return full
    code = ended["exit"]
    if isinstance(code, int) and code < 0:
        return errors.ConverterFailed(f"{job['do']} died by {signal.Signals(-code).name}, twice", file=log)
    return errors.ConverterFailed(f"{job['do']} ended with {code} and left no result, twice", file=log)
