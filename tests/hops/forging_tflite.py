"""TFLite files made by hand, an operator at a time: what no converter here would write."""

from __future__ import annotations

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


class Net:
    """A graph under construction. Its tensors are quantized to int8 unless told otherwise."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.codes: list[Any] = []
        self.buffers = [schema.BufferT()]

    def tensor(
        self, *shape: int, dtype: str = "INT8", scale: tuple[float, ...] = (0.5,), data: bytes | None = None
    ) -> int:
        """Its place."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"t{len(self.graph.tensors)}".encode(), list(shape)
        tensor.type = getattr(schema.TensorType, dtype)
        if dtype in ("INT8", "UINT8", "INT16") and scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = list(scale), [0] * len(scale)
        if data is not None:
            self.buffers.append(schema.BufferT())
            self.buffers[-1].data = list(data)
            tensor.buffer = len(self.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def weights(self, *shape: int, **how: Any) -> int:
        """A constant; a byte of it is held, for nobody reads more."""
        return self.tensor(*shape, data=b"\1", **how)

    def integers(self, *values: int) -> int:
        """A constant that tells axes, a shape or a size."""
        data = b"".join(value.to_bytes(4, "little", signed=True) for value in values)
        return self.tensor(len(values), dtype="INT32", data=data)

    def operator(self, name: str, inputs: list[int], outputs: list[int], version: int = 1, **options: Any) -> int:
        """Its first output. ``options`` may name their table as ``kind``; a name that is no builtin is a custom one."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        if not hasattr(schema.BuiltinOperator, name):
            code.customCode = name.encode()
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.codes), inputs, outputs
        kind = options.pop("kind", "")
        if kind:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = getattr(schema, f"{kind}T")()
            for field, value in options.items():
                setattr(operator.builtinOptions, field, value)
        self.codes.append(code)
        self.graph.operators.append(operator)
        return outputs[0]

    def dense(self, source: int, width: int, outputs: int, **how: Any) -> int:
        """A fully connected layer [1, width] -> [1, outputs]."""
        bias = self.tensor(outputs, dtype="INT32", data=b"\0")
        result = self.tensor(1, outputs)
        return self.operator("FULLY_CONNECTED", [source, self.weights(outputs, width), bias], [result], **how)

    def content(self, inputs: list[int], outputs: list[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        model = schema.ModelT()
        model.version, model.subgraphs = 3, [self.graph]
        model.operatorCodes, model.buffers = self.codes, self.buffers
        return packed(model)


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def policy() -> bytes:
    """What the network of a small PPO becomes: two layers of eight, and four logits."""
    net = Net()
    observation = hidden = net.tensor(1, 6)
    for width in (6, 8):
        dense = net.dense(hidden, width, 8)
        hidden = net.operator("TANH", [dense], [net.tensor(1, 8)])
    return net.content([observation], [net.dense(hidden, 8, 4)])
