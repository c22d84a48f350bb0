"""A folder for what a run needs for a moment, and for what libraries leave behind; gone with the run, or with the next.

It is in the system's place for temporary files, because the path of a socket must be short. Libraries clean up when
their process exits, which a fork does not do (TensorFlow's autograph leaves a file for each function).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "slipway-"


@functools.cache
def folder() -> Path:
    """This process's; made at the first call."""
    clear_abandoned()
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))


@atexit.register
def clear() -> None:
    """Remove it, if it was made: when the process exits, after its warm processes have ended (as they import this)."""
    if folder.cache_info().currsize:
        shutil.rmtree(folder(), ignore_errors=True)


def clear_abandoned() -> None:
    """Remove those of processes that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = left.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(PermissionError):  # it lives, and is another user's
            if pid.isdigit() and not _lives(int(pid)):
                shutil.rmtree(left, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
