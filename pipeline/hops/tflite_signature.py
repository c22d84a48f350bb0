"""Which tensor of a TFLite file is which input or output: its signature, read from the flatbuffer."""

from __future__ import annotations

from typing import Any

from pipeline import errors
from pipeline.hops import tflite_structure

Tensors = dict[str, dict[str, Any]]


def signature(content: bytes) -> tuple[Tensors, Tensors]:
    """Inputs and outputs by name, in the order of the file.

    Interpreters without signatures (TFLite Micro, tflite_runtime before 2.7) know tensors by place alone, and
    converters list them in an order of their own.

    :param content: a ``.tflite`` file of one subgraph and one signature
    :return: two of ``{name: {"place", "tensor", "shape", "dtype", "scale", "zero_point"}}``: ``place`` counts the
        inputs, or the outputs, from 0; ``tensor`` is the name inside the file; ``dtype`` is numpy's;
        ``scale`` 0.0 says that the numbers are no integers of a scale
    :raises errors.OutputsUnfit: the file has no such signature
    """
    from ai_edge_litert import schema_py_generated as schema

    told = tflite_structure.structure(content)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    defined = model.signatureDefs or []
    if len(model.subgraphs) != 1 or len(defined) != 1:
        raise errors.OutputsUnfit(
            "the TFLite file's tensors cannot be bound by name",
            expected="one subgraph with one signature",
            found=f"{len(model.subgraphs)} with {len(defined)}",
        )
    graph = model.subgraphs[0]
    return (
        _named(defined[0].inputs, list(map(int, graph.inputs)), told["inputs"]),
        _named(defined[0].outputs, list(map(int, graph.outputs)), told["outputs"]),
    )


def _named(entries: list[Any], places: list[int], told: list[dict[str, Any]]) -> Tensors:
    found = {}
    for entry in sorted(entries, key=lambda entry: places.index(entry.tensorIndex)):
        place = places.index(entry.tensorIndex)
        tensor = told[place]
        found[entry.name.decode()] = {
            "place": place,
            "tensor": tensor["name"],
            "shape": tensor["shape"],
            "dtype": tensor["dtype"].lower(),
            "scale": tensor["scale"][0] if tensor["scale"] else 0.0,
            "zero_point": tensor["zero_point"][0] if tensor["zero_point"] else 0,
        }
    return found
