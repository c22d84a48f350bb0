"""Warm processes: one a toolchain, which forks a child for every job.

The protocol is at the head of :mod:`pipeline.worker`; what becomes of a job is told in :mod:`pipeline.processes`.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import errors, scratch, toolchains

GIB = 1 << 30
WATCHED = 0.2  # seconds between two looks at a job's time and memory


@dataclass(frozen=True)
class Limits:
    """What a job may take.

    :param seconds: of wall time
    :param memory: bytes that are resident, the libraries that it shares with others among them
    :param unwanted: whether nobody waits for it any more
    """

    seconds: float
    memory: float = 2.0 * GIB
    unwanted: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Place:
    """Where jobs run: an interpreter, and what its warm process has imported and rehearsed.

    :param toolchain: its name; "" for an interpreter of the user's own
    """

    interpreter: str
    imports: tuple[str, ...]
    rehearsal: str = ""
    toolchain: str = ""

    @property
    def command(self) -> list[str]:
        """What starts the warm process."""
        return [self.interpreter, "-m", "pipeline.worker", "--warm", self.rehearsal, *self.imports]


@dataclass
class _Asked:
    """A job that a warm process was given."""

    pid: int = 0
    ended: dict[str, Any] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)


class Warm:
    """A warm process, and the jobs that it was given."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.asked: dict[str, _Asked] = {}
        self.retired = False
        self.ready = threading.Event()
        self.said = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (as long as the process)
        self.process = subprocess.Popen(
            place.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            cwd=toolchains.ROOT,
            env={**toolchains.environment(), "TMPDIR": str(scratch.folder())},
            start_new_session=True,  # Ctrl-C is for us: we end the processes ourselves
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Take what the process tells, until it ends, and with it its jobs."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            if "says" in told:
                SAY(told["says"])
                continue
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

        :return: what the process told of its end: ``exit`` (None where the warm process itself is gone), ``peak_kib``,
            ``cpu``; and ``beyond``, the limit
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
        if limits.unwanted():
            return "unwanted"
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
        """SIGKILL; the jobs' processes asked to die with it (:func:`pipeline.worker.die_with_parent`)."""
        with contextlib.suppress(OSError):
            self.process.kill()
            self.process.wait()


def _say(text: str) -> None:
    print(text, file=sys.__stderr__, flush=True)  # doit exchanges sys.stderr while a step runs


SAY: Callable[[str], None] = _say  # where a process's remarks go; the reporter sets it
_warm: dict[Place, Warm] = {}
_all: list[Warm] = []
_lock = threading.Lock()  # of these two, of what a warm process was asked, and of its standard input


def process(place: Place, path: Path) -> Warm:
    """The warm process that is to do a job; a new one where there is none that lives."""
    with _lock:
        found = _warm.get(place)
        if found is None or found.process.poll() is not None:
            found = _warm[place] = Warm(place)
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


@atexit.register
def stop_all() -> None:
    """End the warm processes, and with them the jobs that they run."""
    for process in _all:
        process.stop()


def stop_on_signals() -> None:
    """Ctrl-C and a cancelled CI job end a run at once, in one line (:mod:`pipeline.__main__`)."""

    def interrupt(signum: int, frame: Any) -> None:
        stop_all()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
