"""A compiled TFLite file on an attached Coral, through libedgetpu's delegate."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.runtimes import signatures

if TYPE_CHECKING:
    from pipeline.contract import Run

LIBRARY = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}.get(sys.platform, "libedgetpu.so.1")


def load(artifact: Path, contract: Mapping[str, Any], needs: Mapping[str, str]) -> Run:
    """:raises errors.NotRun: libedgetpu or a Coral is not here"""
    from ai_edge_litert.interpreter import Interpreter, load_delegate

    try:
        delegate = load_delegate(LIBRARY)
    except (OSError, ValueError):
        raise errors.NotRun(f"no Coral attached ({LIBRARY} gave no delegate)") from None
    model = str(artifact / contract["files"][0])
    return signatures.bind(Interpreter(model, experimental_delegates=[delegate]))
