"""The weights of a quantized TFLite file, rounded anew, layer by layer, by :mod:`pipeline.hops.rounding`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.hops import rounding, tflite_layers

if TYPE_CHECKING:
    from pipeline.hops.tflite_layers import Inputs

WIDEST = 4096  # inputs of a layer; a wider one keeps its weights as they are, as its variance would fill the memory


def round_together(content: bytes, exact: bytes, inputs: Inputs) -> bytes:
    """The same file with other integers as weights and biases.

    :param content: quantized; what is in float in it stays as it is
    :param exact: the same network in float32, its layers in the same order
    :param inputs: calibration observations after the prologue, by name, [rows, ...]
    """
    import numpy as np

    file, float_file = tflite_layers.File(content), tflite_layers.File(exact)
    layers = list(zip(float_file.layers(), file.layers(), strict=True))
    given = [layer.takes for layer, _ in layers]
    chosen = tflite_layers.few(inputs, sum(float_file.size(tensor) for tensor in given))
    for (original, layer), values in zip(layers, tflite_layers.watched(exact, chosen, given), strict=True):
        weights, bias = file.constant(layer.weights), file.constant(layer.bias) if layer.bias >= 0 else None
        if weights.dtype.name != "int8" or file.shared(layer.weights) or (bias is not None and file.shared(layer.bias)):
            continue
        kernel = float_file.kernel(original)
        flat = kernel.reshape(len(kernel), -1)
        if flat.shape[1] > WIDEST:
            continue
        size = float_file.shape(original.gives)[1:]
        answers = tflite_layers.seen_by(original, values, kernel, size) @ flat.T + float_file.bias(original)
        (now,) = tflite_layers.watched(bytes(file.content), chosen, [layer.takes])
        scale = file.scale(layer.weights)
        integers, middle = rounding.together(flat, scale, tflite_layers.seen_by(layer, now, kernel, size), answers)
        weights[...] = integers.reshape(weights.shape)
        if bias is not None:
            limits = np.iinfo(bias.dtype)
            steps = np.round(middle / (scale * file.scale(layer.takes)))
            bias[...] = np.clip(steps, limits.min, limits.max).astype(bias.dtype)
    return bytes(file.content)
