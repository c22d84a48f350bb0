"""The only entry inside a toolchain: one job, from a JSON file, in a fresh process or a fork of a warm one.

    python -m pipeline.worker JOB                          do one job
    python -m pipeline.worker --warm REHEARSAL IMPORT ...  import, rehearse, then fork a child for every job

A warm process reads a job's path from each line of standard input and answers in lines of JSON:

    {"ready": true}                                        once, when it has imported
    {"job": PATH, "pid": 123}                              a child has begun
    {"job": PATH, "exit": 0, "peak_kib": 1, "cpu": 0.5}    it has ended; peak resident memory, seconds of CPU

Any number of children run at once; after the end of its input it waits for them. A child has only imported and
rehearsed what the warm process had, which itself does no job, so no job can leak into the next. What a job did is in
the file that it names as ``result``: ``{}``, or an error of :mod:`pipeline.errors`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from pipeline import errors


def execute(path: Path) -> int:
    """Do the job in this process; everything that is printed goes to the job's log."""
    job = json.loads(path.read_text(encoding="utf-8"))
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    result: dict[str, str] = {}
    sys.path[:0] = job.get("import_from", [])
    try:
        importlib.import_module("pipeline.doing").JOBS[job["do"]](job)
    except errors.SlipwayError as error:
        result = error.to_json()
    except OSError as error:
        traceback.print_exc()
        result = from_os(error).to_json()
    except Exception as error:
        traceback.print_exc()
        result = (disk_full(job) or errors.ConverterFailed(_telling(error))).to_json()
    sys.stdout.flush()
    sys.stderr.flush()
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 1 if result else 0


def _telling(error: Exception) -> str:
    """The line of an error that tells: the first, or where that only opens a traceback of its own, the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    line = lines[-1] if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {line}"[:300]


def disk_full(job: dict[str, Any]) -> errors.DiskFull | None:
    """The converters tell a full disk in many ways, or die of it: so look at the disk itself."""
    free = shutil.disk_usage(Path(job["target"]).parent).free
    return errors.DiskFull("the disk is full", found=f"{free:,} bytes free") if free < 1 << 16 else None


def from_os(error: OSError) -> errors.SlipwayError:
    """What the system refused, as ours."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.DiskFull("the disk is full", file=error.filename or "")
    return errors.ConverterFailed(f"{type(error).__name__}: {error.strerror or error}", file=error.filename or "")


def warm(rehearsal: str, imports: list[str]) -> None:
    """Import, rehearse, and fork; see the head of this module."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in imports:
        importlib.import_module(name)
    if rehearsal:
        module, _, function = rehearsal.partition(":")
        getattr(importlib.import_module(module), function)()
    gc.collect()
    gc.freeze()  # a collection in a fork would write to what it shares, and so copy it
    print(json.dumps({"ready": True}), file=answers, flush=True)
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    children: dict[int, str] = {}
    asked, more = b"", True
    while more or children:
        ready, _, _ = select.select([0, ended] if more else [ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            for told in _reaped(children):
                print(json.dumps(told), file=answers, flush=True)
        if 0 in ready:
            read = os.read(0, 65536)
            more = bool(read)
            *lines, asked = (asked + read).split(b"\n")
            for line in lines:
                pid = _fork(line.decode())
                children[pid] = line.decode()
                print(json.dumps({"job": line.decode(), "pid": pid}), file=answers, flush=True)


def _reaped(children: dict[int, str]) -> list[dict[str, Any]]:
    """What is to be told of the children that have ended."""
    found = []
    while children:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if not pid:
            break
        figures = {"peak_kib": usage.ru_maxrss, "cpu": round(usage.ru_utime + usage.ru_stime, 3)}
        found.append({"job": children.pop(pid), "exit": os.waitstatus_to_exitcode(status), **figures})
    return found


def _fork(path: str) -> int:
    """The pid of a child that does the job."""
    child = os.fork()
    if child:
        return child
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent()
    code = 1
    try:
        code = execute(Path(path))
    finally:  # whatever happens, a full disk under the log included: a fork must not go on as its parent
        os._exit(code)


def die_with_parent() -> None:
    """On Linux, ask for SIGKILL when the parent dies, so that a killed run leaves no stray process."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    die_with_parent()
    if arguments[0] == "--warm":
        warm(arguments[1], arguments[2:])
        return 0
    return execute(Path(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
