"""TFLite files joined into one, each in front of the next, by the names of their signatures. Integers meet floats in
operators of their own. Runs in the tensorflow toolchain.
"""

from __future__ import annotations

import copy
from typing import Any

FLOAT32, UINT8, INT8 = 0, 3, 9  # TensorType of TensorFlow Lite's schema
SIGNATURE = "serving_default"


def joined(parts: list[bytes], outputs: list[str], outside: int = FLOAT32) -> bytes:
    """One file.

    What a part takes is what a part before it gives under that name, or else an input of the whole.

    :param parts: files of one signature at batch 1, in the order in which they run
    :param outputs: names of what the whole gives, each by the last part that has it
    :param outside: the type in which the whole takes and gives what is an 8-bit integer inside: FLOAT32 or UINT8
    """
    whole = _Whole(outside)
    for part in parts:
        whole.append(part)
    return whole.packed(outputs)


class _Whole:
    """The file that grows. Uses the schema's classes as TensorFlow generates them."""

    def __init__(self, outside: int) -> None:
        from tensorflow.lite.python import schema_py_generated as schema

        self.schema: Any = schema
        self.outside = outside
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs, self.graph.outputs = [], [], [], []
        self.graph.name = b"main"
        self.buffers = [schema.BufferT()]  # the schema's first buffer is empty
        self.codes: list[Any] = []
        self.known: dict[str, int] = {}
        self.inputs: dict[str, int] = {}

    def append(self, content: bytes) -> None:
        """Put a file behind what is there."""
        model = self.schema.ModelT.InitFromObj(self.schema.Model.GetRootAs(content, 0))
        graph, (signature,) = model.subgraphs[0], model.signatureDefs
        takes = {entry.tensorIndex: entry.name.decode() for entry in signature.inputs}
        places: dict[int, int] = {-1: -1}
        for index, tensor in enumerate(graph.tensors):
            if index in takes:
                places[index] = self._given(takes[index], tensor)
            else:
                self.buffers.append(model.buffers[tensor.buffer])
                tensor.buffer = len(self.buffers) - 1
                places[index] = self._tensor(tensor)
        for operator in graph.operators:
            operator.opcodeIndex = self._code(model.operatorCodes[operator.opcodeIndex])
            operator.inputs = [places[int(index)] for index in operator.inputs]
            operator.outputs = [places[int(index)] for index in operator.outputs]
            self.graph.operators.append(operator)
        self.known |= {entry.name.decode(): places[entry.tensorIndex] for entry in signature.outputs}

    def _given(self, name: str, like: Any) -> int:
        """The tensor of a name, in the type of another; a new input where there is none of that name yet."""
        if name not in self.known:
            tensor = self._outside(like, name)
            self.known[name] = self.inputs[name] = self._tensor(tensor)
        return self._as(self.known[name], like)

    def _outside(self, like: Any, name: str) -> Any:
        tensor = copy.deepcopy(like)
        tensor.name, tensor.buffer = name.encode(), 0
        if like.type == FLOAT32 or like.quantization is None or not _scale(like):
            return tensor
        tensor.type = self.outside
        tensor.quantization = None
        if self.outside == UINT8:
            tensor.quantization = copy.deepcopy(like.quantization)
            tensor.quantization.zeroPoint = [int(like.quantization.zeroPoint[0]) + 128]
        return tensor

    def _as(self, index: int, like: Any) -> int:
        tensor = self.graph.tensors[index]
        if tensor.type == like.type and _scale(tensor) == _scale(like):
            return index
        operators = self.schema.BuiltinOperator
        kind = operators.DEQUANTIZE if like.type == FLOAT32 else operators.QUANTIZE
        made = copy.deepcopy(like)
        made.name, made.buffer = tensor.name + b"/" + str(len(self.graph.tensors)).encode(), 0
        operator = self.schema.OperatorT()
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 2 if kind == operators.DEQUANTIZE else 1
        operator.opcodeIndex = self._code(code)
        place = self._tensor(made)
        operator.inputs, operator.outputs = [index], [place]
        self.graph.operators.append(operator)
        return place

    def _tensor(self, tensor: Any) -> int:
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _code(self, code: Any) -> int:
        wanted = (code.builtinCode, code.deprecatedBuiltinCode, code.version, code.customCode)
        for place, held in enumerate(self.codes):
            if (held.builtinCode, held.deprecatedBuiltinCode, held.version, held.customCode) == wanted:
                return place
        self.codes.append(code)
        return len(self.codes) - 1

    def packed(self, outputs: list[str]) -> bytes:
        import flatbuffers

        places = {}
        for name in outputs:
            tensor = self.graph.tensors[self.known[name]]
            places[name] = self._as(self.known[name], self._outside(tensor, name))
            self.graph.tensors[places[name]].name = name.encode()
        self.graph.inputs, self.graph.outputs = list(self.inputs.values()), list(places.values())
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
        signature.inputs = [self._named(*entry) for entry in self.inputs.items()]
        signature.outputs = [self._named(*entry) for entry in places.items()]
        model = self.schema.ModelT()
        model.version, model.description = 3, b"joined"
        model.operatorCodes, model.subgraphs, model.signatureDefs = self.codes, [self.graph], [signature]
        model.buffers = [_Aligned(self.schema, buffer.data) for buffer in self.buffers]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _named(self, name: str, place: int) -> Any:
        entry = self.schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), place
        return entry


class _Aligned:
    """A buffer whose content lies at a multiple of 16 bytes, as the schema asks and its generated Python does not."""

    def __init__(self, schema: Any, content: Any) -> None:
        self.schema, self.content = schema, b"" if content is None else bytes(content)

    def Pack(self, builder: Any) -> int:
        place = None
        if self.content:
            builder.StartVector(1, len(self.content), 16)
            builder.head -= len(self.content)
            builder.Bytes[builder.head : builder.head + len(self.content)] = self.content
            place = builder.EndVector()
        self.schema.BufferStart(builder)
        if place is not None:
            self.schema.BufferAddData(builder, place)
        return int(self.schema.BufferEnd(builder))


def _scale(tensor: Any) -> tuple[float, int] | None:
    """Scale and zero point of a tensor of one scale; None where there is none."""
    found = tensor.quantization
    if found is None or found.scale is None or not len(found.scale):
        return None
    return float(found.scale[0]), int(found.zeroPoint[0])
