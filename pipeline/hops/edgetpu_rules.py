"""What the Edge TPU asks of an operator, as far as it is known. The compiler is closed; these are the sources.

[D] Coral's documentation: "TensorFlow models on the Edge TPU", model requirements and supported operations
    (coral.ai/docs/edgetpu/models-intro), as of compiler 16.
[V] TensorFlow Lite's own table of operator versions (tensorflow/lite/tools/versioning/runtime_version.cc). Compiler 16
    is of July 2021 and refuses a whole file for one version that is newer than TensorFlow 2.6's. Reported: CONV_2D 6,
    QUANTIZE 3, TRANSPOSE_CONV 4 and EXP 2 (google-coral/edgetpu issues 631, 879, 845; libedgetpu issue 71).
[P] pairs of models before and after the real compiler, which the tests hold the prediction to.
[I] inferred from logs that users of the compiler published; the issue of google-coral/edgetpu is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.hops.tflite_graph import Graph, Operator, Tensor

EIGHT_BITS = ("INT8", "UINT8")
FUSED = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}
LONGEST_SOFTMAX = 16_000  # [D]
LARGEST_RESIZED = 128  # [I] 128 × 128 maps, 256 (issue 187) and 512 (issue 31) do not
LAST_OPERATOR = 145  # [V] BROADCAST_ARGS: later numbers were given after TensorFlow 2.6
MANY = 1 << 20  # numbers: [D] names large reshapes, and no size; [I] issues 309 and 356


@dataclass(frozen=True)
class Rule:
    """
    :param told: places of the inputs that tell an axis, a shape or a size: integer constants
    :param weights: places of the inputs that must be constant
    :param bias: place of the input that may be int32
    :param fused: whether an activation may be fused into it
    :param further: why not, or "", of an operator that passed all else
    """

    told: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()
    bias: int = -1
    fused: bool = True
    further: Callable[[Graph, Operator], str] | None = None


def reason(graph: Graph, operator: Operator) -> str:
    """Why an operator stays on the CPU wherever it stands; "" where nothing is known against it."""
    rule = RULES.get(operator.name)
    if rule is None:
        return "the Edge TPU has no such operator"
    least = 1 + max((0, *rule.told, *rule.weights))
    if not operator.outputs or len(operator.inputs) < least or -1 in (*operator.inputs[:least], *operator.outputs):
        return "one of its inputs or outputs is missing"
    inputs = [(place, graph.tensors[number]) for place, number in enumerate(operator.inputs) if number >= 0]
    results = [graph.tensors[number] for number in operator.outputs]
    streams = [tensor for place, tensor in inputs if place not in (*rule.told, *rule.weights, rule.bias)] + results
    quantized = streams + [tensor for place, tensor in inputs if place in rule.weights]
    if operator.name in RECURRENT:  # its cell state is int16, its layer norms too
        streams = quantized = [inputs[0][1], results[0]]
    for tensor in quantized:
        if tensor.dtype not in EIGHT_BITS:
            return f"works on {tensor.dtype.lower()}, not on 8-bit integers"
        if not tensor.scale:
            return "a tensor of it is not quantized: it has no scale"
    for place, tensor in inputs:
        if place in (*rule.told, *rule.weights, rule.bias) and tensor.data is None:
            return f"its input {place + 1}, a parameter, is not constant"
        if place == rule.bias and tensor.dtype != "INT32":
            return f"its bias is {tensor.dtype.lower()}, not int32"
    deep = next((tensor for tensor in streams if any(length != 1 for length in tensor.shape[:-3])), None)
    if deep is not None:
        return f"more than the three inner dimensions are above 1: {_shape(deep)}"
    fused = operator.options.get("FusedActivationFunction", 0)
    if fused not in (0, 1, 2, 3) or (fused and not rule.fused):
        return f"a fused {FUSED.get(fused, fused)} is not supported in it"
    return rule.further(graph, operator) if rule.further else ""


def doubt(graph: Graph, operator: Operator) -> str:
    """What may yet keep on the CPU an operator that nothing is known against."""
    if operator.name.startswith("RESIZE_"):
        return "may stay on the CPU: for some sizes the Edge TPU is not precise enough"  # [D]
    largest = max((graph.tensors[n].size for n in (*operator.inputs, *operator.outputs) if n >= 0), default=0)
    moves = operator.name in ("RESHAPE", "TRANSPOSE", "CONCATENATION")
    return f"may stay on the CPU: it moves {largest:,} numbers" if moves and largest > MANY else ""


def unknown(operator: Operator) -> str:
    """Why the compiler would refuse the whole file for this operator; "" where it knows it [V]."""
    name, version = operator.name, operator.version
    if operator.name.startswith("Flex"):
        return f"{name} is TensorFlow's own operator, and no TensorFlow is in the compiler"
    if operator.code == CUSTOM:
        return ""
    if operator.code > LAST_OPERATOR:
        return f"{name} is newer than the compiler (TensorFlow 2.6)"
    newest = NEWEST.get(name, 1)
    if version > newest:
        return f"{name} is of version {version}, and the compiler knows it up to {newest} (TensorFlow 2.6)"
    return ""


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a scalar"


def _input(graph: Graph, operator: Operator, place: int = 0) -> Tensor:
    return graph.tensors[operator.inputs[place]]


def _convolution(graph: Graph, operator: Operator) -> str:
    if len(_input(graph, operator, 1).shape) != 4:
        return f"its weights are not of four dimensions: {_shape(_input(graph, operator, 1))}"
    x, y = (operator.options.get(f"Dilation{side}Factor", 1) for side in "WH")
    return "" if x == y else f"its dilation differs in x and y: {x} and {y}"


def _one_dimensional(graph: Graph, operator: Operator) -> str:
    """[D]; one published log of compiler 16 has such operators mapped, so this may be too strict."""
    output = graph.tensors[operator.outputs[0]]
    return "" if all(n == 1 for n in output.shape[:-1]) else f"it gives more than one dimension: {_shape(output)}"


def _fully_connected(graph: Graph, operator: Operator) -> str:
    if operator.options.get("WeightsFormat", 0) or len(_input(graph, operator, 1).shape) != 2:
        return "its weights are not in the default format, of two dimensions"
    return _one_dimensional(graph, operator)


def _softmax(graph: Graph, operator: Operator) -> str:
    size = _input(graph, operator).size
    too_long = f"it is over {size} numbers, {LONGEST_SOFTMAX} at most" if size > LONGEST_SOFTMAX else ""
    return _one_dimensional(graph, operator) or too_long


def _concatenation(graph: Graph, operator: Operator) -> str:
    constants = [graph.tensors[number] for number in operator.inputs if graph.tensors[number].data is not None]
    if not constants:
        return ""
    zero = (constants[0].zero_point or (0,))[0] % 256
    if len(operator.inputs) == 2 and len(constants) == 1 and set(constants[0].data or b"") <= {zero}:
        return ""
    return "a constant is concatenated that is not one block of zeros beside one other input"


def _axes(graph: Graph, operator: Operator) -> set[int]:
    """Axes that are reduced, counted from 0."""
    rank = len(_input(graph, operator).shape)
    return {axis % rank for axis in _input(graph, operator, 1).integers} if rank else set()


def _reduction(graph: Graph, operator: Operator) -> str:
    rank = len(_input(graph, operator).shape)
    return "it reduces the batch dimension" if rank > 1 and 0 in _axes(graph, operator) else ""


def _mean(graph: Graph, operator: Operator) -> str:
    shape = _input(graph, operator).shape
    last = len(shape) - 1
    if last > 0 and last in _axes(graph, operator) and shape[last] % 4:
        return f"it reduces the last dimension, whose {shape[last]} are no multiple of 4"
    return _reduction(graph, operator)


def _padding(graph: Graph, operator: Operator) -> str:
    pairs = _input(graph, operator, 1).integers
    batched = len(_input(graph, operator).shape) > 1
    return "it pads the batch dimension" if batched and any(pairs[:2]) else ""


def _packing(graph: Graph, operator: Operator) -> str:
    rank = len(graph.tensors[operator.outputs[0]].shape)
    return "it packs along the batch dimension" if rank > 1 and operator.options.get("Axis", 0) % rank == 0 else ""


def _splitting(graph: Graph, operator: Operator) -> str:
    rank = len(graph.tensors[operator.outputs[0]].shape)
    split = {axis % rank for axis in _input(graph, operator).integers} if rank else set()
    return "it splits the batch dimension" if rank > 1 and 0 in split else ""


def _prelu(graph: Graph, operator: Operator) -> str:
    alpha = _input(graph, operator, 1)
    wide = any(length != 1 for length in alpha.shape[:-1])
    return f"its slopes have more than one dimension: {_shape(alpha)}" if wide else ""


def _strides(graph: Graph, operator: Operator) -> str:
    if any(step != 1 for step in _input(graph, operator, 3).integers):
        return "its strides are not all 1"
    masked = operator.options.get("EllipsisMask", 0) or operator.options.get("NewAxisMask", 0)
    return "it has an ellipsis or a new axis" if masked else ""


def _resize(graph: Graph, operator: Operator) -> str:
    before, after = _input(graph, operator).shape[1:3], graph.tensors[operator.outputs[0]].shape[1:3]
    if 1 in before and before != after:  # [P]
        return "one pixel is spread over many, which is not precise enough there"
    if any(length > LARGEST_RESIZED for length in after):
        return f"its result of {' × '.join(map(str, after))} is too large to be precise enough there"
    return ""


RECURRENT = ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM")
CUSTOM = 32
_CONVOLUTION = Rule(weights=(1,), bias=2, further=_convolution)
_REDUCTION = Rule(told=(1,), further=_reduction)
_RESIZE = Rule(told=(1,), further=_resize)

RULES = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "RSQRT"), Rule()),
    **dict.fromkeys(("LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "L2_NORMALIZATION", "QUANTIZE"), Rule()),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), Rule(fused=False)),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _CONVOLUTION),
    **dict.fromkeys(("SUM", "REDUCE_MAX", "REDUCE_MIN"), _REDUCTION),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _RESIZE),
    **dict.fromkeys(RECURRENT, Rule()),
    "CONCATENATION": Rule(fused=False, further=_concatenation),
    "EXPAND_DIMS": Rule(told=(1,)),
    "FULLY_CONNECTED": Rule(weights=(1,), bias=2, further=_fully_connected),
    "MEAN": Rule(told=(1,), further=_mean),
    "PACK": Rule(further=_packing),
    "PAD": Rule(told=(1,), further=_padding),
    "PRELU": Rule(weights=(1,), further=_prelu),
    "RESHAPE": Rule(told=(1,)),
    "SLICE": Rule(told=(1, 2)),
    "SOFTMAX": Rule(further=_softmax),
    "SPACE_TO_DEPTH": Rule(),
    "SPLIT": Rule(told=(0,), further=_splitting),
    "SQUEEZE": Rule(),
    "STRIDED_SLICE": Rule(told=(1, 2, 3), further=_strides),
    "TRANSPOSE": Rule(told=(1,)),
    "TRANSPOSE_CONV": Rule(told=(0,), weights=(1,), bias=3),
}  # [D]

# Where a shape is told by a tensor: if that one is computed, so is the size of the result.
SHAPED_BY = {
    "RESHAPE": (1,), "EXPAND_DIMS": (1,), "PAD": (1,), "PADV2": (1,), "SLICE": (1, 2), "STRIDED_SLICE": (1, 2, 3),
    "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,), "TRANSPOSE": (1,), "TRANSPOSE_CONV": (0,),
    "MEAN": (1,), "SUM": (1,), "REDUCE_MAX": (1,), "REDUCE_MIN": (1,), "REDUCE_PROD": (1,), "SPLIT": (0,),
    "BROADCAST_TO": (1,), "FILL": (0,), "RANGE": (0, 1, 2), "TILE": (1,), "ONE_HOT": (1,), "TOPK_V2": (1,),
    "ARG_MAX": (1,), "ARG_MIN": (1,), "MIRROR_PAD": (1,), "SPLIT_V": (1, 2),
}  # fmt: skip

NEWEST = {
    name: version
    for version, names in {
        2: "ARG_MAX ARG_MIN DEPTH_TO_SPACE DIV FAKE_QUANT FLOOR_DIV GREATER GREATER_EQUAL L2_NORMALIZATION"
           " LEAKY_RELU LESS LESS_EQUAL LOG_SOFTMAX MIRROR_PAD QUANTIZE REDUCE_PROD RSQRT SELECT SPACE_TO_DEPTH"
           " SPLIT_V SQUARED_DIFFERENCE SQUEEZE SUM TILE TOPK_V2",
        3: "AVERAGE_POOL_2D BATCH_TO_SPACE_ND BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN BROADCAST_TO"
           " CONCATENATION EMBEDDING_LOOKUP EQUAL FILL GATHER_ND LOGISTIC MAX_POOL_2D MEAN NOT_EQUAL PACK REDUCE_MAX"
           " REDUCE_MIN RELU RELU6 REVERSE_V2 RNN SOFTMAX SPACE_TO_BATCH_ND SPARSE_TO_DENSE TANH TRANSPOSE_CONV"
           " UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN",
        4: "ABS ADD BATCH_MATMUL DEQUANTIZE LSTM MAXIMUM MINIMUM PAD PADV2 RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR"
           " SPLIT SVDF UNPACK",
        5: "CONV_2D GATHER MUL SLICE SUB TRANSPOSE",
        6: "DEPTHWISE_CONV_2D STRIDED_SLICE",
        9: "FULLY_CONNECTED",
    }.items()
    for name in names.split()
}  # fmt: skip
