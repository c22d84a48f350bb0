"""TensorFlow Lite Micro's own interpreter, by its Python package, in the smallest arena that it runs in.

The package holds TFLM's reference kernels, compiled for this machine. TFLM allocates nothing but its arena, so
construction tells whether one is large enough; how large it must be is found by halving.
"""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.hops import tflite_signature, tflite_structure

if TYPE_CHECKING:
    import numpy as np

    from pipeline.contract import Run

TOOL = "TensorFlow Lite Micro"
ALIGNMENT = 16  # of TFLM's buffers, and so the step in which arenas are tried
BYTES = {"int8": 1, "uint8": 1, "bool": 1, "int16": 2, "int32": 4, "float32": 4}


@dataclass(frozen=True)
class Measured:
    """A run that carries what its runtime measured beside the answers."""

    run: Run
    figures: dict[str, Any]

    def __call__(self, inputs: Any) -> dict[str, np.ndarray]:
        return self.run(inputs)


@dataclass(frozen=True)
class Fitted:
    """An interpreter in the smallest arena that is enough for it.

    :param arena_bytes: size of that arena, on this machine
    :param takes: the inputs, as :func:`tflite_signature.signature` tells them
    :param gives: the outputs
    """

    interpreter: Any
    arena_bytes: int
    takes: tflite_signature.Tensors
    gives: tflite_signature.Tensors

    def __call__(self, **tensors: np.ndarray) -> dict[str, np.ndarray]:
        """Tensors [1, ...] by name, in the file's own dtypes -> tensors [1, ...] by name."""
        for name, values in tensors.items():
            self.interpreter.set_input(values, self.takes[name]["place"])
        self.interpreter.invoke()
        return {name: self.interpreter.get_output(entry["place"]) for name, entry in self.gives.items()}


def fit(content: bytes) -> Fitted:
    """Find the smallest arena, in steps of 16 bytes, in which TFLM runs a TFLite file.

    :raises errors.NotRun: TFLM lacks an operator, or its kernel does not take the operator's dtypes
    :raises errors.OutputsUnfit: the file's tensors cannot be bound by name
    """
    takes, gives = tflite_signature.signature(content)
    enough = _plenty(content)
    made, said = _quietly(lambda: _interpreter(content, enough))
    print(said, file=sys.stderr)
    if made is None:
        raise _refusal(said)
    least = 0
    while enough - least > ALIGNMENT:
        tried = (least + enough) // 2 // ALIGNMENT * ALIGNMENT
        # What TFLM says of an arena that is too small is the answer that is looked for, and no news for the log.
        fits, _ = _quietly(lambda size=tried: _interpreter(content, size))  # type: ignore[misc]
        least, enough = (least, tried) if fits is not None else (tried, enough)
    return Fitted(_interpreter(content, enough), enough, takes, gives)


def _interpreter(content: bytes, arena: int) -> Any:
    from tflite_micro import runtime

    return runtime.Interpreter.from_bytes(content, arena_size=arena)


def _plenty(content: bytes) -> int:
    """An arena that is enough for any order of the tensors, and for what TFLM keeps of each and of each operator."""
    told = tflite_structure.structure(content)
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    tensors = map(graph.Tensors, range(graph.TensorsLength()))
    sizes = [math.prod(tensor.Shape(axis) for axis in range(tensor.ShapeLength())) for tensor in tensors]
    needed = 8 * sum(sizes) + 4096 * (len(sizes) + len(told["operators"])) + (1 << 16)
    return needed // ALIGNMENT * ALIGNMENT


def _quietly(make: Callable[[], Any]) -> tuple[Any, str]:
    """What ``make`` makes, None where TFLM refuses; and what it said to file descriptor 2 meanwhile."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            made = make()
        except RuntimeError:
            made = None
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        said.seek(0)
        return made, said.read().decode(errors="replace")


def _refusal(said: str) -> errors.SlipwayError:
    """Why TFLM does not run a file at all, from what it said."""
    absent = re.findall(r"Didn't find op for builtin opcode '(\w+)'", said)
    if absent:
        return errors.lacking(TOOL, absent)
    unfit = re.search(r"Node (\w+) \(number \w+\) failed to prepare", said)
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    if unfit:
        why = re.sub(r"^\S+\.(cc|h):\d+ ", "", lines[0]).rstrip(".")
        return errors.NotRun(f"not supported: {TOOL}'s operator {unfit[1]} does not take its inputs ({why})")
    return errors.ConverterFailed(f"{TOOL} does not take the file: {lines[0]}")
