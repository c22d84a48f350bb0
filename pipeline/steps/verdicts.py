"""Verdicts as they are stored, beside the outputs that they are about."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pipeline import artifacts, stored
from pipeline.spec import Verdict

FILE = "verdict.json"


def write(path: Path, verdict: Verdict, key: dict[str, Any]) -> None:
    """Store a verdict.

    :param key: what it was made from
    """
    artifacts.replace_text(path, stored.sealed({**dataclasses.asdict(verdict), "key": key}))


def read(path: Path) -> tuple[Verdict, dict[str, Any]] | None:
    """A stored verdict and the key it was made from; None where there is none, or none as it was written."""
    try:
        entry = stored.opened(path)
        return Verdict(entry["status"], entry["reason"], entry["figures"]), entry["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
