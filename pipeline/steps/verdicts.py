"""Verdicts as they are stored, beside the outputs that they are about."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline import artifacts, stored
from pipeline.spec import Verdict

FILE = "verdict.json"
DIGEST = "sha256"


def write(path: Path, verdict: Verdict, key: dict[str, Any]) -> None:
    """Store a verdict.

    :param key: what it was made from
    """
    entry = {**dataclasses.asdict(verdict), "key": key}
    text = json.dumps({**entry, DIGEST: _digest(entry)}, indent=1, sort_keys=True)
    artifacts.replace_text(path, text + "\n")


def read(path: Path) -> tuple[Verdict, dict[str, Any]] | None:
    """A stored verdict and the key it was made from; None where there is none, or none as it was written."""
    try:
        entry = stored.mapping(path)
        if entry.pop(DIGEST) != _digest(entry):
            return None
        return Verdict(entry["status"], entry["reason"], entry["figures"]), entry["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(entry: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
