"""What every fuzzer holds Slipway to."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

from pipeline import errors

LONG = settings.default.max_examples > 10
SECONDS = 10.0  # more than anything takes on a busy machine

# What stands where a file, or a value in it, is expected.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            "none",
            "all",
            "..",
            "/",
            "/etc/passwd",
            "~nobody/x",
            "a\0b",
            "x" * 300,
            "é",
            "1e999",
            "-1",
            "[",
            "\x1b[2J",
        ]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def often(short: int, long: int) -> settings:
    """Examples in the test command, and in ``./doit fuzz``."""
    return settings(settings.default, max_examples=long if LONG else short)


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """What stands inside neither hangs nor fails otherwise than by a SlipwayError."""
    begun = time.monotonic()
    with contextlib.suppress(errors.SlipwayError):
        yield
    assert time.monotonic() - begun < SECONDS


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every entry below a folder: kind, size and time."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            held = path.lstat()
            found[str(path.relative_to(folder))] = (
                held.st_mode,
                held.st_size,
                held.st_mtime_ns if path.is_file() else 0,
            )
    return found
