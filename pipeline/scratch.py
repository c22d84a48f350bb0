"""A folder for what a run needs for a moment, and what libraries leave behind; gone with the run, or with the next.

It is in the system's place for temporary files, because the path of a socket must be short. Libraries clean up when
their process exits, which a fork does not do (TensorFlow's autograph leaves a file for each function). Its owner holds
a lock in it: that is free again when the owner was killed, whoever has its process number by then.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import shutil
import tempfile
import threading
from pathlib import Path
from typing import IO

PREFIX = "slipway-"
LOCK = "held"

_held: list[IO[str]] = []
_making = threading.Lock()


def folder() -> Path:
    """This process's; made at the first call, of whichever thread."""
    with _making:
        return _made()


@functools.cache
def _made() -> Path:
    clear_abandoned()
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
    _held.append((made / LOCK).open("w", encoding="utf-8"))
    fcntl.flock(_held[-1], fcntl.LOCK_EX)
    return made.rename(made.with_name(made.name.removeprefix(".")))


@atexit.register
def clear() -> None:
    """Remove it, if it was made: when the process exits, after its warm processes have ended (as they import this)."""
    if _made.cache_info().currsize:
        with contextlib.suppress(OSError):
            _remove(_made())


def clear_abandoned() -> None:
    """Remove those of processes that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            with (left / LOCK).open(encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(left)
        except OSError:  # its owner lives, or it is none of these
            continue


def _remove(place: Path) -> None:
    """The lock goes last: a job that was killed may not be dead yet and write one more file, and the folder stays."""
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)
    if [path.name for path in place.iterdir()] == [LOCK]:
        shutil.rmtree(place, ignore_errors=True)
