"""One night: a dated folder, and the ./doit that builds everything in it from nothing.

    DATE/state.json    what is built, how often it was begun, whether it is finished
    DATE/artifacts/    what ./doit made
    DATE/log.txt       what ./doit said
    DATE/record.json   what the night made (:mod:`pipeline.nightly.record`)
    DATE/index.html    the page

A night that was stopped, by its time limit or by a power cut, is continued by the next call: ./doit's manifests say
what is done.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import artifacts, errors, worker

STATE, LOG, ARTIFACTS, RECORD = "state.json", "log.txt", "artifacts", "record.json"
FINISHED, STOPPED, BROKEN = "finished", "stopped", "broken"
PATIENCE = 30  # seconds that a ./doit has to end after it was asked to

_running: list[subprocess.Popen[str]] = []

_NAME = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.(\d+))?")
_CLOSING = re.compile(r"^(\d+ failed.*, )?\d+ steps run in [\d.]+ s$|^everything is up to date$", re.MULTILINE)
_ENDED = re.compile(r"^ *([\d.]+) s  (done|FAILED) +(\S+)$")
_NOT_ITS_TEXT = re.compile(r"^ *([\d.]+ s  \w+ +\S+|running: .*)?$")


@dataclass
class Night:
    """A dated folder, and what its ``state.json`` says.

    :param of: what is built: ``variables`` of the command line, and names of ``agents``
    :param began: seconds since 1970
    :param spent: seconds of all attempts so far
    """

    folder: Path
    of: dict[str, Any]
    began: float
    attempts: int = 0
    spent: float = 0.0
    finished: bool = False

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def artifacts(self) -> Path:
        return self.folder / ARTIFACTS

    def save(self) -> None:
        told = {name: getattr(self, name) for name in ("of", "began", "attempts", "spent", "finished")}
        artifacts.replace_text(self.folder / STATE, json.dumps(told, indent=1, sort_keys=True) + "\n")


def nights(place: Path) -> list[Path]:
    """Folders of nights, the oldest first."""
    found = [path for path in place.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)] if place.is_dir() else []
    return sorted(found, key=lambda path: order(path.name))


def order(name: str) -> tuple[str, int]:
    """By which nights are sorted: a second night of a date is ``DATE.2``."""
    day, number = _NAME.fullmatch(name).groups()  # type: ignore[union-attr]
    return day, int(number or 1)


def begin(place: Path, of: dict[str, Any], today: str, say: Callable[[str], None]) -> Night:
    """The newest night where it is unfinished and of the same agents; else a new one."""
    there = nights(place)
    if there and (last := _opened(there[-1], say)) and not last.finished:
        if last.of == of:
            say(f"night {last.name} was not finished: continuing")
            return last
        say(f"night {last.name} was of other agents and is not finished: it stays so")
    name, number = today, 1
    while (place / name).exists():
        number += 1
        name = f"{today}.{number}"
    found = Night(place / name, of, time.time())
    with artifacts.writing(found.folder):
        found.folder.mkdir(parents=True)
    found.save()
    return found


def _opened(folder: Path, say: Callable[[str], None]) -> Night | None:
    try:
        return Night(folder, **json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        what = f"what it says of its night cannot be read ({type(error).__name__}), so a new night is begun"
        say(str(errors.NightDamaged(what, file=folder / STATE)))
        return None


def call(clone: Path, of: dict[str, Any], made: Path) -> list[str]:
    """The ./doit of a clone that builds what a night is of, without a cache: what was made once is made again."""
    return [str(clone / "doit"), *of["variables"], f"artifacts={made}", "cache=none", *of["agents"]]


def build(call: list[str], log: Path, seconds: float | None, environment: dict[str, str] | None = None) -> str:
    """Run ./doit; what it says is told on, and kept in ``log``.

    :param seconds: after which it is interrupted; None is never
    :return: ``FINISHED`` (steps may have failed), ``STOPPED``, or ``BROKEN``, where it could not even begin
    """
    process = subprocess.Popen(
        call, env={**os.environ, **(environment or {})}, text=True, encoding="utf-8", errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, preexec_fn=worker.die_with_parent,
    )  # fmt: skip
    _running.append(process)
    timers = []
    if seconds is not None:
        for after, what in ((seconds, signal.SIGINT), (seconds + PATIENCE, signal.SIGKILL)):
            timers.append(threading.Timer(max(0.0, after), process.send_signal, [what]))
            timers[-1].daemon = True
            timers[-1].start()
    said = ""
    try:
        assert process.stdout is not None
        with process.stdout, log.open("a", encoding="utf-8") as kept:
            for line in process.stdout:
                print(line, end="", flush=True)
                kept.write(line)
                kept.flush()
                said += line
        code = process.wait()
    finally:
        for timer in timers:
            timer.cancel()
    if code in (-signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL):
        return STOPPED
    return FINISHED if code in (0, errors.FAILED, errors.REFUSED) and _CLOSING.search(said) else BROKEN


@atexit.register
def stop() -> None:
    """Whoever ends this ./doit ends the one that it has started, which keeps what it has done."""
    for process in _running:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in _running:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


def left(deadline: float | None) -> float | None:
    """Seconds until then, on the monotonic clock."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def steps(log: str) -> tuple[dict[str, float], dict[str, str]]:
    """What a ./doit said of its steps: wall seconds of those that ended, and the error of those that failed.

    Of a step that ran more than once, as its night was continued, the last end counts.
    """
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    lines = log.splitlines()
    for number, line in enumerate(lines):
        if not (found := _ENDED.match(line)):
            continue
        took, word, name = found.groups()
        seconds[name] = float(took)
        failed.pop(name, None)
        if word == "FAILED":
            text = []
            for below in lines[number + 1 :]:
                if _NOT_ITS_TEXT.match(below):
                    break
                text.append(below)
            failed[name] = "\n".join(text)
    return seconds, failed
