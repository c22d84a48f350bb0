"""A command watched while it runs: its wall time, and CPU time and memory of it and all that it starts.

Linux only: what loses its parent is adopted (``PR_SET_CHILD_SUBREAPER``), so that its CPU time is counted too, and
memory is the sum of ``Pss`` in ``/proc/PID/smaps_rollup``, which shares out among processes what they share.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
EACH = 0.3  # seconds between two looks
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Process:
    """A process as it was last seen."""

    parent: int
    command: str
    cpu: float


@dataclass
class Watched:
    """What a command took.

    :param cpu: seconds of it and all that it started
    :param peak: bytes, the most of any look; 0 where none was taken
    :param processes: by pid, those that were seen; a process that lives shorter than the looks are apart is not
    """

    code: int = 0
    said: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    pid: int = 0
    processes: dict[int, Process] = field(default_factory=dict)

    def own(self, word: str) -> dict[str, float]:
        """CPU seconds, without that of their children, of the command's own children whose command line has a word."""
        kept = {p: held for p, held in self.processes.items() if held.parent == self.pid and word in held.command}
        found: dict[str, float] = {}
        for held in kept.values():
            found[held.command] = found.get(held.command, 0.0) + held.cpu
        return found

    @property
    def itself(self) -> float:
        """CPU seconds of the command's process alone."""
        held = self.processes.get(self.pid)
        return held.cpu if held else 0.0


def run(
    command: Sequence[str], where: Path, environment: Mapping[str, str] | None = None, looks: bool = True
) -> Watched:
    """Run a command to its end.

    :param looks: whether to look at its processes; what a look takes is not in ``cpu``
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1)
    found, over = Watched(), threading.Event()
    before, begun = _used(), time.perf_counter()
    with subprocess.Popen(
        command, cwd=where, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    ) as process:  # fmt: skip
        found.pid = process.pid
        looking = threading.Thread(target=_look_until, args=(over, found), daemon=True)
        if looks:
            looking.start()
        assert process.stdout is not None
        found.said = process.stdout.read()
        found.code = process.wait()
    found.seconds = time.perf_counter() - begun
    over.set()
    if looks:
        looking.join()
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0)[0]:
            pass
    found.cpu = _used() - before
    return found


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _look_until(over: threading.Event, found: Watched) -> None:
    while not over.wait(EACH):
        seen = tree(found.pid)
        for pid, (parent, cpu) in seen.items():
            known = found.processes.get(pid)
            if known is None:
                found.processes[pid] = Process(parent, _command(pid), cpu)
            else:
                known.cpu = cpu
        found.peak = max(found.peak, sum(map(_memory, seen)))


def tree(root: int) -> dict[int, tuple[int, float]]:
    """Parent and own CPU seconds, by pid, of a process, of all that it started, and of orphans that are ours."""
    found: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (path / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                found[int(path.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
    kept = {pid for pid, (parent, _) in found.items() if pid == root or parent == os.getpid()}
    while more := {pid for pid, (parent, _) in found.items() if parent in kept} - kept:
        kept |= more
    return {pid: found[pid] for pid in kept}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
    except OSError:
        return ""


def _memory(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
