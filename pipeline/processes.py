"""Jobs run on this machine, each in a fork of its toolchain's warm process.

The protocol is at the head of :mod:`pipeline.worker`. One warm process serves a toolchain, and forks as many children
as jobs are asked for at once. Callers see a function that returns, or raises what the job raised. A job that dies, or
takes too long or too much memory, is done once more, by a warm process that is new; then that is its error.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import deciding, errors, toolchains, worker

Job = dict[str, Any]
GIB = 1 << 30
MEMORY = 2.0  # GiB that a job may take, unless ./doit is told another number
WATCHED = 0.2  # seconds between two looks at a job's time and memory


@dataclass(frozen=True)
class Limits:
    """What a job may take.

    :param seconds: of wall time
    :param memory: bytes that are resident, the libraries that it shares with others among them
    """

    seconds: float
    memory: float = MEMORY * GIB


@dataclass(frozen=True)
class Place:
    """Where jobs run: an interpreter, and what its warm process has imported and rehearsed."""

    interpreter: str
    imports: tuple[str, ...]
    rehearsal: str = ""


@dataclass
class _Asked:
    """A job that a warm process was given."""

    pid: int = 0
    ended: dict[str, Any] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)


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
    if isinstance(ended, errors.SlipwayError):
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
    with tempfile.TemporaryDirectory(prefix="slipway-") as name:
        path, result = Path(name) / "job.json", Path(name) / "result.json"
        filled = {"socket": str(Path(name) / "socket"), **job, "log": str(log.resolve()), "result": str(result)}
        path.write_text(json.dumps(filled), encoding="utf-8")
        process = _process(place, path)
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


class _Warm:
    """A warm process, and the jobs that it was given."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.asked: dict[str, _Asked] = {}
        self.retired = False
        self.ready = threading.Event()
        self.said = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (as long as the process)
        self.process = subprocess.Popen(
            [place.interpreter, "-m", "pipeline.worker", "--warm", place.rehearsal, *place.imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            cwd=toolchains.ROOT,
            env=toolchains.environment(),
            start_new_session=True,  # Ctrl-C is for us: we end the processes ourselves
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Take what the process tells, until it ends, and with it its jobs."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            asked = self.asked.get(told.pop("job", ""))
            if asked is None:
                self.ready.set()
            elif "pid" in told:
                asked.pid = told["pid"]
            else:
                asked.ended = told
                asked.done.set()
        self.process.wait()
        self.ready.set()
        for asked in list(self.asked.values()):
            asked.done.set()

    def submit(self, path: Path, limits: Limits) -> dict[str, Any]:
        """Hand a job over, wait for its end, and stop it where it goes beyond its limits.

        :return: ``exit`` (None where the warm process itself is gone), ``peak_kib``, ``cpu``, and ``beyond``, the limit
        :raises errors.ToolchainBroken: the process does not start
        """
        asked = self.asked[str(path)]
        self._begin(path)
        begun, beyond = time.monotonic(), ""
        while not asked.done.wait(WATCHED):
            beyond = beyond or self._beyond(asked.pid, time.monotonic() - begun, limits)
            if beyond and asked.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(asked.pid, signal.SIGKILL)
        with _lock:
            del self.asked[str(path)]
            self._end_if_done()
        return {"exit": None, "peak_kib": 0, "cpu": 0.0, **asked.ended, "beyond": beyond}

    def _begin(self, path: Path) -> None:
        self.ready.wait()
        with _lock, contextlib.suppress(OSError):
            if self.process.poll() is None:
                assert self.process.stdin is not None
                self.process.stdin.write(f"{path}\n")
                self.process.stdin.flush()
                return
        raise self._broken()

    def _broken(self) -> errors.ToolchainBroken:
        self.said.seek(0)
        lines = [line.strip() for line in self.said if line.strip()] or [f"it ended with {self.process.returncode}"]
        ours = Path(self.place.interpreter).is_relative_to(toolchains.home())
        remedy = "" if ours else "Install what it lacks there, or leave `python` out of the config"
        what = f"a process of the toolchain does not start: {lines[-1]}"
        return errors.ToolchainBroken(what, file=self.place.interpreter, remedy=remedy)

    @staticmethod
    def _beyond(pid: int, seconds: float, limits: Limits) -> str:
        if seconds > limits.seconds:
            return "seconds"
        return "memory" if pid and _resident(pid) > limits.memory else ""

    def retire(self) -> None:
        """Give it no further job; it ends with those that it has."""
        with _lock:
            self.retired = True
            if _warm.get(self.place) is self:
                del _warm[self.place]
            self._end_if_done()

    def _end_if_done(self) -> None:
        if self.retired and not self.asked:
            with contextlib.suppress(OSError):
                assert self.process.stdin is not None
                self.process.stdin.close()

    def stop(self) -> None:
        """SIGKILL; the jobs' processes asked to die with it (:func:`pipeline.worker._die_with_parent`)."""
        with contextlib.suppress(OSError):
            self.process.kill()
            self.process.wait()


_warm: dict[Place, _Warm] = {}
_all: list[_Warm] = []
_lock = threading.Lock()  # of these two, of what a warm process was asked, and of its standard input


def _process(place: Place, path: Path) -> _Warm:
    """The warm process that is to do a job; a new one where there is none that lives."""
    with _lock:
        found = _warm.get(place)
        if found is None or found.process.poll() is not None:
            found = _warm[place] = _Warm(place)
            _all.append(found)
        found.asked[str(path)] = _Asked()
        return found


def _resident(pid: int) -> int:
    """Bytes of a process that are resident; 0 where this system does not tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGESIZE")


def _died(job: Job, log: Path, ended: dict[str, Any], limits: Limits) -> errors.SlipwayError:
    if ended["beyond"] == "seconds":
        return errors.JobTimedOut(f"{job['do']} was stopped after {limits.seconds:.0f} s, twice", file=log)
    if ended["beyond"] == "memory":
        what = f"{job['do']} was stopped as it grew past its share of memory, twice"
        return errors.MemoryExceeded(what, file=log, expected=f"at most {limits.memory / GIB:.1f} GiB")
    full = worker.disk_full(job)
    if full:
        return full
    code = ended["exit"]
    if isinstance(code, int) and code < 0:
        return errors.ConverterFailed(f"{job['do']} died by {signal.Signals(-code).name}, twice", file=log)
    return errors.ConverterFailed(f"{job['do']} ended with {code} and left no result, twice", file=log)


@atexit.register
def stop_all() -> None:
    """End the warm processes, and with them the jobs that they run."""
    for process in _all:
        process.stop()
