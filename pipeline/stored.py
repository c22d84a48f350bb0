"""JSON that a run has left beside artifacts: since then, anything may have happened to it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

LARGEST = 1 << 26


def text(path: Path) -> str:
    """What a file holds.

    :raises OSError: it is not there, or cannot be read
    :raises ValueError: it is no file, far too large, or no text
    """
    held = path.stat()
    if not stat.S_ISREG(held.st_mode) or held.st_size > LARGEST:  # a pipe would never end
        raise ValueError(f"{path} is no file, or has more than {LARGEST >> 20} MiB")
    return path.read_text(encoding="utf-8")


def mapping(path: Path) -> dict[str, Any]:
    """The JSON object in a file; errors as those of :func:`text`."""
    try:
        found = json.loads(text(path))
    except RecursionError:
        raise ValueError(f"{path} is too deeply nested") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object")
    return found
