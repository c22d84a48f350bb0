"""Jobs run in a toolchain, each in a fork of a warm process that has imported what the toolchain is for.

The protocol is at the head of :mod:`pipeline.worker`. A process does one job at a time; as many are kept
as jobs ever ran at once. Callers see a function that returns, or raises what the job raised.
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
from pathlib import Path
from typing import Any

from pipeline import errors, toolchains, worker

_idle: dict[str, list[subprocess.Popen[str]]] = {}
_all: list[subprocess.Popen[str]] = []
_lock = threading.Lock()


def run(interpreter: str, imports: tuple[str, ...], job: dict[str, Any], log: Path, timeout: float) -> dict[str, Any]:
    """Do a job in the interpreter's environment.

    :param interpreter: a toolchain's Python
    :param imports: modules that the warm process imports
    :param job: see :mod:`pipeline.worker`; ``log`` and ``result`` are filled in here
    :param log: text file that gets everything the job prints
    :param timeout: seconds
    :return: ``peak_kib``, the job's peak memory
    :raises SlipwayError: what the job raised, or :class:`errors.ConverterFailed` if it died, or
        :class:`errors.JobTimedOut`
    """
    process = _take(interpreter, imports)
    with tempfile.TemporaryDirectory() as name:
        path, result = Path(name) / "job.json", Path(name) / "result.json"
        path.write_text(json.dumps({**job, "log": str(log.resolve()), "result": str(result)}), encoding="utf-8")
        try:
            ended = _submit(process, path, timeout)
        except BaseException:
            _stop(process)
            raise
        with _lock:
            _idle.setdefault(interpreter, []).append(process)
        if not result.is_file():
            raise _died(job, log, ended, timeout)
        error = json.loads(result.read_text(encoding="utf-8"))
    if error:
        raise errors.from_json(error)
    return ended


def _take(interpreter: str, imports: tuple[str, ...]) -> subprocess.Popen[str]:
    with _lock:
        waiting = _idle.setdefault(interpreter, [])
        while waiting:
            process = waiting.pop()
            if process.poll() is None:
                return process
    return _start(interpreter, imports)


def _start(interpreter: str, imports: tuple[str, ...]) -> subprocess.Popen[str]:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [interpreter, "-m", "pipeline.worker", "--warm", *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            cwd=toolchains.ROOT,
            env=toolchains.environment(),
            start_new_session=True,  # Ctrl-C is for us: we end the processes ourselves
        )
        _all.append(process)
        assert process.stdout is not None
        if not process.stdout.readline():
            process.wait()
            said.seek(0)
            lines = [line.strip() for line in said if line.strip()] or [f"it ended with {process.returncode}"]
            ours = Path(interpreter).is_relative_to(toolchains.home())
            remedy = "" if ours else "Install what it lacks there, or leave `python` out of the config"
            what = f"a process of the toolchain does not start: {lines[-1]}"
            raise errors.ToolchainBroken(what, file=interpreter, remedy=remedy)
    return process


def _submit(process: subprocess.Popen[str], path: Path, timeout: float) -> dict[str, Any]:
    """Hand a job over and wait for its end; a job that takes too long is killed."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    child = json.loads(process.stdout.readline() or "{}").get("pid")
    late = threading.Event()

    def kill() -> None:
        late.set()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    watch = threading.Timer(timeout, kill)
    watch.daemon = True
    watch.start()
    try:
        line = process.stdout.readline()
    finally:
        watch.cancel()
    ended: dict[str, Any] = json.loads(line or '{"exit": null}')
    return {**ended, "late": late.is_set()}


def _died(job: dict[str, Any], log: Path, ended: dict[str, Any], timeout: float) -> errors.SlipwayError:
    if ended["late"]:
        return errors.JobTimedOut(f"{job['do']} was stopped after {timeout:.0f} s", file=log)
    full = worker.disk_full(job)
    if full:
        return full
    code = ended["exit"]
    if isinstance(code, int) and code < 0:
        return errors.ConverterFailed(f"{job['do']} died by {signal.Signals(-code).name}", file=log)
    return errors.ConverterFailed(f"{job['do']} ended with {code} and left no result", file=log)


def _stop(process: subprocess.Popen[str]) -> None:
    """SIGKILL; the job's process asked to die with it (:func:`pipeline.worker._die_with_parent`)."""
    with contextlib.suppress(OSError):
        process.kill()
        process.wait()


@atexit.register
def stop_all() -> None:
    """End the warm processes, and with them the jobs that they run."""
    for process in _all:
        _stop(process)
