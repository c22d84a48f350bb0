"""A TFLite file's first subgraph as plain data. The file may be anyone's: nothing in it is trusted to be a count.

Every vector is held to a budget before it is read, so that a damaged or hostile file ends in one error and neither in a
crash nor in a loop over four billion entries.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import errors

IDENTIFIER = b"TFL3"
LARGEST = 1 << 30  # bytes of a file that is opened
TABLES = 1 << 16  # operators or tensors; networks have hundreds
NUMBERS = 1 << 22  # shapes, scales, indices and characters of names, together
OPTIONS = (
    "FusedActivationFunction", "DilationWFactor", "DilationHFactor", "WeightsFormat", "Axis", "EllipsisMask",
    "NewAxisMask",
)  # fmt: skip
DAMAGE = (struct.error, LookupError, TypeError, ValueError, AttributeError, OverflowError, AssertionError, MemoryError)


@dataclass(frozen=True)
class Tensor:
    """:param shape: as allocated; -1 where it is not known
    :param dtype: the schema's name: INT8, FLOAT32, …
    :param scale: one a tensor or one a channel; () where it is not quantized
    :param data: what the file holds of it, a view of its bytes; None where it is computed
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    data: memoryview | None

    @property
    def size(self) -> int:
        """Numbers in it."""
        count = 1
        for length in self.shape:
            count *= max(length, 0)
        return count

    @property
    def integers(self) -> tuple[int, ...]:
        """The values of a small int32 or int64 constant: axes, shapes, paddings. () of any other tensor."""
        width = {"INT32": 4, "INT64": 8}.get(self.dtype, 0)
        if self.data is None or not width or len(self.data) > 64 * width:
            return ()
        count = len(self.data) // width
        return struct.unpack(f"<{count}{'i' if width == 4 else 'q'}", self.data[: count * width])


@dataclass(frozen=True)
class Operator:
    """:param name: the schema's, or that of a custom operator
    :param inputs: places in the graph's ``tensors``; -1 where an optional input is left out
    :param options: of :data:`OPTIONS` those that this operator has
    """

    name: str
    code: int
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int]


@dataclass(frozen=True)
class Graph:
    """:param operators: in execution order: each reads what those before it wrote"""

    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_file(path: Path) -> bytes:
    """:raises errors.TFLiteUnreadable: it is not there, or too large to be looked at"""
    try:
        if path.stat().st_size > LARGEST:
            raise errors.TFLiteUnreadable("it is too large", file=path, expected=f"{LARGEST >> 20} MiB at most")
        return path.read_bytes()
    except OSError as error:
        raise errors.TFLiteUnreadable(f"it cannot be opened ({error.strerror})", file=path) from None


def read(content: bytes) -> Graph:
    """The first subgraph of a ``.tflite`` file (schema version 3).

    :raises errors.TFLiteUnreadable: it is none, or damaged
    """
    if content[4:8] != IDENTIFIER:
        found = f"{len(content)} bytes with {bytes(content[4:8])!r} there"
        raise errors.TFLiteUnreadable("it is not a TFLite file", expected=f"{IDENTIFIER!r} at byte 4", found=found)
    try:
        return _Reader(content).graph()
    except DAMAGE as error:
        raise errors.TFLiteUnreadable(f"the TFLite file is damaged ({type(error).__name__}: {error})") from None


class _Reader:
    """What of the budget is left, and the names of numbers."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.left = NUMBERS
        self.model = schema.Model.GetRootAs(content, 0)
        self.names, self.types, self.kinds = (
            {value: name for name, value in vars(kind).items() if isinstance(value, int)}
            for kind in (schema.BuiltinOperator, schema.TensorType, schema.BuiltinOptions)
        )

    def graph(self) -> Graph:
        first = self.model.Subgraphs(0)
        if first is None:
            raise ValueError("it has no subgraph")
        count = self.tables(self.model.BuffersLength())
        buffers = [_data(self.model.Buffers(place)) for place in range(count)]
        codes = [self.code(place) for place in range(self.tables(self.model.OperatorCodesLength()))]
        tensors = [self.tensor(first.Tensors(i), buffers) for i in range(self.tables(first.TensorsLength()))]
        operators = [self.operator(first.Operators(i), codes) for i in range(self.tables(first.OperatorsLength()))]
        inputs, outputs = (_integers(self.numbers(first, side)) for side in ("Inputs", "Outputs"))
        graph = Graph(tuple(operators), tuple(tensors), inputs, outputs)
        _check_order(graph)
        return graph

    def tables(self, count: int) -> int:
        if count > TABLES:
            raise ValueError(f"{count} tables in one vector, {TABLES} at most")
        return count

    def spend(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise ValueError(f"more than {NUMBERS} numbers and characters beside the weights")
        return count

    def numbers(self, table: Any, field: str) -> Any:
        self.spend(getattr(table, f"{field}Length")())
        found = getattr(table, f"{field}AsNumpy")()
        return [] if isinstance(found, int) else found.tolist()  # 0 says that the field is not there

    def text(self, value: bytes | None) -> str:
        return (value or b"")[: self.spend(len(value or b""))].decode("utf-8", "replace")

    def code(self, place: int) -> tuple[str, int, int]:
        table = self.model.OperatorCodes(place)
        number = max(table.BuiltinCode(), table.DeprecatedBuiltinCode())
        custom = self.text(table.CustomCode())
        return custom or self.names.get(number, f"BUILTIN_{number}"), number, table.Version()

    def tensor(self, table: Any, buffers: list[memoryview | None]) -> Tensor:
        quantization = table.Quantization()
        scale = [] if quantization is None else self.numbers(quantization, "Scale")
        zeros = [] if quantization is None else self.numbers(quantization, "ZeroPoint")
        return Tensor(
            self.text(table.Name()),
            _integers(self.numbers(table, "Shape")),
            self.types[table.Type()],
            tuple(map(float, scale)),
            _integers(zeros),
            buffers[table.Buffer()],
        )

    def operator(self, table: Any, codes: list[tuple[str, int, int]]) -> Operator:
        inputs, outputs = (_integers(self.numbers(table, side)) for side in ("Inputs", "Outputs"))
        kind, told = self.kinds.get(table.BuiltinOptionsType(), "NONE"), table.BuiltinOptions()
        options = {}
        if kind != "NONE" and told is not None:
            of_kind = getattr(self.schema, kind)()
            of_kind.Init(told.Bytes, told.Pos)
            options = {name: int(getattr(of_kind, name)()) for name in OPTIONS if hasattr(of_kind, name)}
        name, number, version = codes[table.OpcodeIndex()]
        return Operator(name, number, version, inputs, outputs, options)


def _integers(values: list[Any]) -> tuple[int, ...]:
    return tuple(map(int, values))


def _data(buffer: Any) -> memoryview | None:
    held = buffer.DataAsNumpy()
    return None if isinstance(held, int) or not len(held) else memoryview(held)


def _check_order(graph: Graph) -> None:
    """:raises ValueError: a place is outside, a tensor is written twice, or read before it is written"""
    count = len(graph.tensors)
    places = [place for operator in graph.operators for place in (*operator.inputs, *operator.outputs)]
    if any(not -1 <= place < count for place in (*places, *graph.inputs, *graph.outputs)):
        raise ValueError(f"it names a tensor outside of its {count}")
    outputs = [place for operator in graph.operators for place in operator.outputs if place >= 0]
    waiting = set(outputs)
    if len(waiting) < len(outputs):
        raise ValueError("a tensor is written twice")
    for operator in graph.operators:
        if not waiting.isdisjoint(operator.inputs):
            raise ValueError(f"{operator.name} reads what is only written by or after it")
        waiting.difference_update(operator.outputs)
