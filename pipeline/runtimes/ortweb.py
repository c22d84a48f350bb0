"""An ONNX file in ONNX Runtime Web (WebAssembly), in Node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.runtimes import raw

if TYPE_CHECKING:
    from pipeline.contract import Run

SCRIPT = Path(__file__).with_name("ortweb.mjs")


def load(artifact: Path, contract: Mapping[str, Any], needs: Mapping[str, str]) -> Run:
    command = [needs["node"] + "/node", str(SCRIPT), needs["node"]]
    names = [output["name"] for output in contract["outputs"]]
    return raw.Program(command, artifact / contract["files"][0], names)
