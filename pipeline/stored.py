"""JSON that a run has left beside artifacts: since then, anything may have happened to it."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGEST = 1 << 26
SEAL = "sha256"


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


def sealed(entry: Mapping[str, Any]) -> str:
    """An object as JSON, with a digest of it: so that one that is not as it was written is known."""
    told = json.loads(json.dumps(entry))  # as it will be read
    return json.dumps({**told, SEAL: _digest(told)}, indent=1, sort_keys=True) + "\n"


def opened(path: Path) -> dict[str, Any]:
    """The object that was :func:`sealed`; ValueError too where it is not as it was, else errors as :func:`text`."""
    entry = mapping(path)
    if entry.pop(SEAL, "") != _digest(entry):
        raise ValueError(f"{path} is not as it was written")
    return entry


def _digest(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
