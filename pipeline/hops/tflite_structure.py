"""What a TFLite file holds, read from its flatbuffer: no interpreter, so compiled models open too."""

from __future__ import annotations

from typing import Any

from pipeline import errors
from pipeline.hops import tflite_graph

EDGETPU_OPERATOR = "edgetpu-custom-op"


def structure(content: bytes) -> dict[str, Any]:
    """Operators in order, and name, shape, dtype, scales and zero points of inputs and outputs.

    :param content: a ``.tflite`` file; of several subgraphs the first is told (schema version 3)
    :raises errors.TFLiteUnreadable: it is none, or damaged
    """
    graph = tflite_graph.read(content)

    def tensor(place: int) -> dict[str, Any]:
        entry = graph.tensors[place]
        return {
            "name": entry.name,
            "shape": list(entry.shape),
            "dtype": entry.dtype,
            "scale": list(entry.scale),
            "zero_point": list(entry.zero_point),
        }

    return {
        "operators": [operator.name for operator in graph.operators],
        "inputs": [tensor(place) for place in graph.inputs],
        "outputs": [tensor(place) for place in graph.outputs],
    }


def hold_compiled_to_source(source: bytes, compiled: bytes) -> dict[str, Any]:
    """Hold what the Edge TPU compiler wrote to what it was given.

    :return: ``mapped``, operators inside the custom operator, and ``left``, those that stay on the CPU, in order
    :raises errors.OutputsUnfit: it is not mapped at all, an input or output is another than the source's, or what
        stays on the CPU is not of the source
    :raises errors.TFLiteUnreadable: one of the two is no TFLite file
    """
    before, after = structure(source), structure(compiled)
    customs = after["operators"].count(EDGETPU_OPERATOR)
    if customs != 1:
        raise errors.OutputsUnfit(
            "the compiled model is not mapped to the Edge TPU", expected=f"one {EDGETPU_OPERATOR}", found=customs
        )
    for side in ("inputs", "outputs"):
        _hold_side(side, before[side], after[side])
    left = [operator for operator in after["operators"] if operator != EDGETPU_OPERATOR]
    remaining = iter(before["operators"])
    strange = next((operator for operator in left if operator not in remaining), None)  # it reads on to each in turn
    if strange is not None:
        raise errors.OutputsUnfit(
            "what the compiled model leaves on the CPU is not what its source holds, in its order",
            expected=", ".join(before["operators"]),
            found=f"{', '.join(left)} ({strange} is out of place)",
        )
    return {"mapped": len(before["operators"]) - len(left), "left": left}


def _hold_side(side: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    if len(before) != len(after):
        what = f"the compiled model has another number of {side}"
        raise errors.OutputsUnfit(what, expected=len(before), found=len(after))
    for wanted, found in zip(before, after, strict=True):
        for key, value in wanted.items():
            if found[key] != value:
                what = f"the compiled model's {side[:-1]} {wanted['name']} has another {key}"
                raise errors.OutputsUnfit(what, expected=value, found=found[key])
