"""The layers of a TFLite file that have weights: read, and written in place. Runs in the tensorflow toolchain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Inputs = dict[str, np.ndarray]

ROOM = 1 << 24  # numbers watched at once, in all tensors: 128 MiB
PATCHES = 8  # places of an image that a convolution is looked at in


@dataclass(frozen=True)
class Layer:
    """A FULLY_CONNECTED or CONV_2D, by the indices of its tensors; ``bias`` is -1 where there is none.

    :param stride: of a convolution, (height, width); None for a dense layer
    """

    takes: int
    weights: int
    bias: int
    gives: int
    stride: tuple[int, int] | None


class File:
    """A TFLite file whose constants can be changed where they are; what is not a constant stays byte for byte."""

    def __init__(self, content: bytes) -> None:
        from tensorflow.lite.python import schema_py_generated as schema

        self.content = bytearray(content)
        self.schema = schema
        self.model = schema.Model.GetRootAs(self.content, 0)
        self.graph = self.model.Subgraphs(0)

    def layers(self) -> list[Layer]:
        """In the order in which they run."""
        return list(self._layers())

    def _layers(self) -> Iterator[Layer]:
        operators = self.schema.BuiltinOperator
        for index in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(index)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            if kind not in (operators.FULLY_CONNECTED, operators.CONV_2D):
                continue
            stride = None
            if kind == operators.CONV_2D:
                options = self.schema.Conv2DOptions()
                table = operator.BuiltinOptions()
                options.Init(table.Bytes, table.Pos)
                stride = (options.StrideH(), options.StrideW())
            given = [int(tensor) for tensor in operator.InputsAsNumpy()]
            bias = given[2] if len(given) > 2 else -1
            yield Layer(given[0], given[1], bias, int(operator.Outputs(0)), stride)

    def constant(self, tensor: int) -> np.ndarray:
        """A constant's values, in place; of size 0 where the tensor is none."""
        import numpy as np

        entry = self.graph.Tensors(tensor)
        held = self.model.Buffers(entry.Buffer()).DataAsNumpy()
        if isinstance(held, int):
            return np.empty(0)
        types = self.schema.TensorType
        dtypes = {types.FLOAT32: "<f4", types.INT8: "i1", types.INT32: "<i4", types.INT64: "<i8"}
        if entry.Type() not in dtypes:
            return np.empty(0)
        return held.view(dtypes[entry.Type()]).reshape(entry.ShapeAsNumpy())

    def kernel(self, layer: Layer) -> np.ndarray:
        """Weights as the real numbers that they stand for, float64."""
        import numpy as np

        weights, scale = self.constant(layer.weights).astype(np.float64), self.scale(layer.weights)
        return weights * scale.reshape(-1, *[1] * (weights.ndim - 1)) if scale.size else weights

    def bias(self, layer: Layer) -> np.ndarray:
        """[outputs], as the real numbers that it stands for, float64; zeros where there is none."""
        import numpy as np

        if layer.bias < 0:
            return np.zeros(self.shape(layer.weights)[0])
        scale = self.scale(layer.bias)
        return self.constant(layer.bias).astype(np.float64) * (scale if scale.size else 1.0)

    def range(self, tensor: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Minimum and maximum that calibration found, in place; None where it found none."""
        quantization = self.graph.Tensors(tensor).Quantization()
        low = 0 if quantization is None else quantization.MinAsNumpy()
        return None if isinstance(low, int) else (low, quantization.MaxAsNumpy())

    def size(self, tensor: int) -> int:
        return math.prod(self.shape(tensor))

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.graph.Tensors(tensor).ShapeAsNumpy())

    def scale(self, tensor: int) -> np.ndarray:
        """[1], or one for each channel; of size 0 where the tensor is not quantized."""
        import numpy as np

        quantization = self.graph.Tensors(tensor).Quantization()
        found = 0 if quantization is None else quantization.ScaleAsNumpy()
        return np.empty(0) if isinstance(found, int) else found.astype(np.float64)

    def shared(self, tensor: int) -> bool:
        """Whether a constant is that of several layers."""
        held = [t for layer in self.layers() for t in (layer.weights, layer.bias) if t >= 0]
        buffers = [self.graph.Tensors(place).Buffer() for place in held]
        return buffers.count(self.graph.Tensors(tensor).Buffer()) > 1


def watched(content: bytes, inputs: Inputs, tensors: list[int]) -> list[np.ndarray]:
    """Values of tensors for every row of the inputs, each [rows, ...], in real numbers.

    :param inputs: by the names of the signature, [rows, ...], float32
    """
    import numpy as np
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(
        model_content=_kept(content, tensors),
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    details = {entry["index"]: entry for entry in interpreter.get_tensor_details()}
    places = interpreter.get_signature_runner().get_input_details()
    ready = {name: _to_integers(inputs[name], entry) for name, entry in places.items()}
    found: list[list[np.ndarray]] = [[] for _ in tensors]
    for row in range(len(next(iter(ready.values())))):
        for name, values in ready.items():
            interpreter.set_tensor(places[name]["index"], values[row : row + 1])
        interpreter.invoke()
        for held, tensor in zip(found, tensors, strict=True):
            held.append(interpreter.get_tensor(tensor)[0])
    return [_from_integers(np.stack(held), details[tensor]) for held, tensor in zip(found, tensors, strict=True)]


def _kept(content: bytes, tensors: list[int]) -> bytes:
    """The file with further outputs. TFLite computes ADD, MUL and SUB in the place of what they take, also where it is
    told to preserve all tensors (2.15); but never of an output.
    """
    import numpy as np
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = model.subgraphs[0]
    graph.outputs = np.array(list(dict.fromkeys([*map(int, graph.outputs), *tensors])), np.int32)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def few(inputs: Inputs, numbers: int) -> Inputs:
    """As many rows, evenly spread, as leave room to watch so many numbers of each."""
    import numpy as np

    total = len(next(iter(inputs.values())))
    rows = np.linspace(0, total - 1, min(total, max(32, ROOM // numbers))).round().astype(int)
    return {name: values[rows] for name, values in inputs.items()}


def _to_integers(values: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    import numpy as np

    scale, zero_point = entry["quantization"]
    if not scale:
        return values.astype(entry["dtype"])
    limits = np.iinfo(entry["dtype"])
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(entry["dtype"])


def _from_integers(values: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    import numpy as np

    scale, zero_point = entry["quantization"]
    return (values.astype(np.float64) - zero_point) * scale if scale else values.astype(np.float64)


def seen_by(layer: Layer, values: np.ndarray, kernel: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """What a layer multiplies its weights with: [samples, inputs].

    :param values: of the tensor that it takes, [rows, ...]
    :param kernel: its weights, [outputs, inputs] or [outputs, height, width, channels]
    :param size: of the tensor that it gives, without the batch; of an image the height and width come first
    """
    import numpy as np

    if layer.stride is None:
        return values.reshape(-1, kernel.shape[1])
    high, wide = kernel.shape[1:3]
    # TensorFlow's padding: SAME puts half of what is missing before, VALID leaves nothing missing.
    missing = [
        max((size[axis] - 1) * layer.stride[axis] + kernel.shape[1 + axis] - values.shape[1 + axis], 0)
        for axis in (0, 1)
    ]
    margins = [(0, 0), *((short // 2, short - short // 2) for short in missing), (0, 0)]
    padded = np.pad(values, margins)
    places = np.linspace(0, size[0] * size[1] - 1, min(PATCHES, size[0] * size[1])).round().astype(int)
    found = []
    for place in places:
        top, left = (place // size[1]) * layer.stride[0], (place % size[1]) * layer.stride[1]
        found.append(padded[:, top : top + high, left : left + wide].reshape(len(values), -1))
    return np.concatenate(found)
