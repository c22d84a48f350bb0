"""A TFLite file in LiteRT, what devices run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.runtimes import signatures

if TYPE_CHECKING:
    from pipeline.contract import Run


def load(artifact: Path, contract: Mapping[str, Any], needs: Mapping[str, str]) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    return signatures.bind(Interpreter(str(artifact / contract["files"][0]), num_threads=1))
