"""The ranges of a calibrated TFLite file: what the integers of each tensor stand for. In the tensorflow toolchain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.hops import tflite_layers

if TYPE_CHECKING:
    import numpy as np

    from pipeline.hops.tflite_layers import Inputs

NARROWED = 40  # ranges that are tried, from a quarter of the extremes to the extremes
WATCHED = 200_000  # numbers of a tensor that a range is judged by


def with_least_error(calibrated: bytes, inputs: Inputs) -> bytes:
    """The same file, its ranges narrowed where leaving outliers out costs less than the coarser steps that they ask.

    The mean squared error of rounding and clipping decides, tensor by tensor (as in Banner et al. 2019,
    arXiv:1810.05723, by search and without their model of the distribution).

    :param calibrated: a float file with the minimum and maximum of each tensor
    :param inputs: calibration observations after the prologue, by name, [rows, ...]
    """
    import numpy as np

    file = tflite_layers.File(calibrated)
    ranges = {
        tensor: found for tensor in range(file.graph.TensorsLength()) if (found := file.range(tensor)) is not None
    }
    chosen = tflite_layers.few(inputs, sum(file.size(tensor) for tensor in ranges))
    for (low, high), values in zip(
        ranges.values(), tflite_layers.watched(calibrated, chosen, list(ranges)), strict=True
    ):
        flat = values.ravel()[:: max(1, values.size // WATCHED)]
        shares = np.linspace(0.25, 1, NARROWED)
        best = shares[int(np.argmin([_error(flat, float(low[0]) * share, float(high[0]) * share) for share in shares]))]
        low *= best
        high *= best
    return bytes(file.content)


def _error(values: np.ndarray, low: float, high: float) -> float:
    import numpy as np

    step = (high - low) / 255
    if step <= 0:
        return float("inf")
    return float(((np.clip(np.round((values - low) / step), 0, 255) * step + low - values) ** 2).mean())


def outputs_of_last_layers(calibrated: bytes) -> list[str]:
    """Names of the tensors that the last layers with weights give: what the converter is told to leave in float."""
    file = tflite_layers.File(calibrated)
    layers = file.layers()
    ends = {int(tensor) for tensor in file.graph.OutputsAsNumpy()}
    last = [layer for layer in layers if layer.gives in ends] or layers[-1:]
    return [file.graph.Tensors(layer.gives).Name().decode() for layer in last]
