"""Verdicts as they are stored, beside the outputs that they are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.spec import Verdict

FILE = "verdict.json"


def read(path: Path) -> tuple[Verdict, dict[str, Any]] | None:
    """A stored verdict and the key it was made from; None where there is none that can be read."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        return Verdict(entry["status"], entry["reason"], entry["figures"]), entry["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
