"""How much of the Edge TPU's memory the parameters of a model need.

Documented (coral.ai/docs/edgetpu/compiler, "Parameter data caching"): the chip caches parameters in roughly 8 MB, less
what the model's executable takes; what does not fit is streamed from the host at every inference.

Measured: how the compiler lays parameters out, from the PARAMETER_CACHING executables inside the compiled pairs (the
format is libedgetpu's ``executable/executable.fbs``). Weights lie in blocks of four inputs by four outputs, of which a
line of 64 bytes holds four. A convolution fills its outputs up to 16; a layer of one place (fully connected, or a
convolution of one pixel) spreads them over 16 tiles first. A depthwise kernel keeps four bytes a number, a dilated one
its zeros. Each output channel takes four bytes more, for its bias, and again four if each channel has a scale. Four of
the five pairs come out within 0.2 %, and the fifth, of one kilobyte, within 200 bytes. What is left for parameters,
7.7 MiB where activations are small, is from two published logs of compiler 16 (66.00 KiB used and 7.67 MiB remaining;
49.75 KiB and 7.68 MiB); large activations leave less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.hops.tflite_graph import Graph, Operator, Tensor

ON_CHIP = 8 << 20
CACHE = int(7.73 * (1 << 20))
LINE, BLOCK, TILES = 64, 4, 16


@dataclass(frozen=True)
class Memory:
    """:param parameters: bytes, as the compiler will lay them out; an estimate"""

    parameters: int

    @property
    def streamed(self) -> int:
        """Bytes that do not fit the chip; at least, since a layer is cached as a whole or not."""
        return max(0, self.parameters - CACHE)

    @property
    def left(self) -> int:
        """Bytes on the chip that further models could use; less where activations are large."""
        return max(0, CACHE - self.parameters)

    @property
    def sentence(self) -> str:
        of = f"{size(self.parameters)} of about {size(ON_CHIP)} on chip"
        return f"{of}, at least {size(self.streamed)} streamed at every inference" if self.streamed else of


def size(count: int) -> str:
    """Bytes as the compiler writes them."""
    for unit, power in (("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            return f"{count / (1 << power):.3g} {unit}" if count % (1 << power) else f"{count >> power} {unit}"
    return f"{count} B"


def needed(graph: Graph, mapped: set[int]) -> Memory:
    """Of the constants that the mapped operators read.

    :param mapped: places of operators
    """
    total = sum(_parameters(graph, graph.operators[number]) for number in sorted(mapped))
    return Memory(_up(total, LINE))


def _up(count: int, step: int) -> int:
    return -(-count // step) * step


def _parameters(graph: Graph, operator: Operator) -> int:
    constants = [graph.tensors[n] for n in operator.inputs if n >= 0 and graph.tensors[n].data is not None]
    if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return sum(tensor.size for tensor in constants if tensor.dtype in ("INT8", "UINT8"))
    weights, result = graph.tensors[operator.inputs[1]], graph.tensors[operator.outputs[0]]
    channel = 8 if len(weights.scale) > 1 else 4
    if operator.name == "DEPTHWISE_CONV_2D":
        return _up(weights.shape[-1], BLOCK) * (BLOCK * _kernel(weights, operator) + channel)
    outputs, inputs = weights.shape[0], weights.shape[-1]
    if all(length == 1 for length in result.shape[:-1]):
        tiles = max(min(TILES, outputs), 1)
        spread = _up(tiles, BLOCK) * _up(-(-outputs // tiles), BLOCK)
    else:
        spread = _up(outputs, TILES)
    return spread * _kernel(weights, operator) * _up(inputs, BLOCK) + channel * _up(outputs, BLOCK)


def _kernel(weights: Tensor, operator: Operator) -> int:
    """Places of a kernel [outputs, height, width, inputs], those between the taps of a dilated one too."""
    dilations = [operator.options.get(f"Dilation{side}Factor", 1) for side in "HW"]
    return math.prod((length - 1) * d + 1 for length, d in zip(weights.shape[1:-1], dilations, strict=False))
