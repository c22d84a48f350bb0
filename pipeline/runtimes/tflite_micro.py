"""A TFLite file in TensorFlow Lite Micro, what microcontrollers run; here its reference kernels, on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.runtimes import micro_interpreter, signatures

if TYPE_CHECKING:
    from pipeline.contract import Run


def load(artifact: Path, contract: Mapping[str, Any], needs: Mapping[str, str]) -> Run:
    """One observation at a time, in the smallest arena; ``figures`` holds its size.

    :raises errors.NotRun: TFLM lacks an operator
    """
    fitted = micro_interpreter.fit((artifact / contract["files"][0]).read_bytes())
    return micro_interpreter.Measured(
        signatures.rows(fitted, *map(_details, (fitted.takes, fitted.gives))),
        {"arena_bytes": fitted.arena_bytes},
    )


def _details(tensors: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: {"quantization": (entry["scale"], entry["zero_point"]), "dtype": entry["dtype"]}
        for name, entry in tensors.items()
    }
